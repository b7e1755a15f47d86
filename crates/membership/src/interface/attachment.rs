//! Choosing an mserver elsewhere, and leaving it when it falls silent.

use std::time::Duration;

use wire::{SiteId, Time};

use super::Config;

/// Which mserver the site uses, and what it knows of it.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    mservers: Vec<SiteId>,
    at: usize,
    /// It has answered since it was chosen.
    confirmed: bool,
    /// The tables list the site as attached through it.
    admitted: bool,
    heard: Time,
    next_beat: Time,
    /// Mservers tried without success since the last answer.
    tried: u32,
    beat: Duration,
    silence: Duration,
    retry_max: Duration,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// Give a sign of life.
    Beat,
    /// The mserver is gone: a sign of life to the next.
    FailedOver {
        /// The one that is gone had answered before.
        lost: bool,
    },
}

impl Attachment {
    pub(super) fn new(config: &Config, now: Time) -> Option<Attachment> {
        if config.mservers.is_empty() {
            return None;
        }
        Some(Attachment {
            mservers: config.mservers.clone(),
            at: 0,
            confirmed: false,
            admitted: false,
            heard: now,
            next_beat: now,
            tried: 0,
            beat: config.beat,
            silence: config.silence,
            retry_max: config.retry_max,
        })
    }

    /// The mserver in use.
    pub(super) fn via(&self) -> SiteId {
        self.mservers[self.at]
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.confirmed && self.admitted
    }

    /// An answer of the mserver in use; whether it is its first.
    pub(super) fn heard(&mut self, now: Time, admitted: bool) -> bool {
        self.heard = now;
        self.admitted = admitted;
        self.tried = 0;
        !std::mem::replace(&mut self.confirmed, true)
    }

    pub(super) fn poll(&mut self, now: Time) -> Due {
        if now >= self.deadline() {
            return self.fail_over(now);
        }
        if now >= self.next_beat {
            self.next_beat = now + self.beat;
            return Due::Beat;
        }
        Due::Nothing
    }

    /// The mserver in use is gone: on to the next, in order. After a whole round without an answer each next
    /// one is given twice as long, up to `retry_max` more.
    pub(super) fn fail_over(&mut self, now: Time) -> Due {
        let lost = self.confirmed;
        self.at = (self.at + 1) % self.mservers.len();
        self.confirmed = false;
        self.admitted = false;
        self.tried = self.tried.saturating_add(1);
        self.heard = now;
        self.next_beat = now + self.beat;
        Due::FailedOver { lost }
    }

    fn deadline(&self) -> Time {
        let rounds = self.tried / self.mservers.len() as u32;
        let extra = self.silence * (2u32.saturating_pow(rounds.min(6)) - 1);
        self.heard + self.silence + extra.min(self.retry_max)
    }

    pub(super) fn timeout(&self) -> Time {
        self.next_beat.min(self.deadline())
    }
}
