//! What a detector knows of one other member.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{SiteId, SiteIncarnation, Time};

use super::Connection;
use crate::aty::Monitor;
use crate::estimate::RoundTrip;
use crate::message::Sign;

/// The shortest that a broken path stays broken, doubled with every flap.
const HOLD_FIRST: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(60);

/// The inquiry into whether a member lives (C15). Opened by this site's own suspicion or by another's.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) opened: Time,
    pub(super) deadline: Time,
    /// When to say everything again; none: not any more, or this site is no witness.
    pub(super) resend: Option<Time>,
    /// Until then a silence may be due to a path that is just changing: the suspect was asked to refute by
    /// every path, and has not had the time.
    pub(super) patience: Time,
    pub(super) resends: u32,
    /// What this site has seen, once it is a witness.
    pub(super) mine: Option<Sign>,
    pub(super) witnesses: BTreeMap<SiteId, Sign>,
    /// Who hears it, and whether on the direct path.
    pub(super) hearers: BTreeMap<SiteId, bool>,
}

impl Case {
    pub(super) fn new(now: Time, refutation: Duration) -> Case {
        Case {
            opened: now,
            deadline: now + refutation,
            resend: None,
            patience: now,
            resends: 0,
            mine: None,
            witnesses: BTreeMap::new(),
            hearers: BTreeMap::new(),
        }
    }
}

/// How packets get to a member.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Direct,
    Broken(Broken),
}

/// A direct path that does not work, in one direction or both.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// This site's own probes say so; else only the other end does.
    pub(super) own: bool,
    /// The other end said at this time that it hears nothing on the direct path.
    pub(super) deaf: Option<Time>,
    /// The neighbour that carries packets meanwhile.
    pub(super) via: Option<SiteId>,
    pub(super) since: Time,
    /// Nobody reaches it: the site is deaf, not the path cut.
    pub(super) unreachable: bool,
    /// When the loss of the last common neighbour is told.
    pub(super) bad_link: Option<Time>,
    /// When the direct path is tried again.
    pub(super) retry: Time,
    /// Direct round trips in a row.
    pub(super) good: u32,
}

/// Doubling patience with a path that flaps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flap {
    flaps: u32,
    restored: Option<Time>,
}

impl Flap {
    /// How long the path has to stay broken at least.
    pub(super) fn hold(&self) -> Duration {
        (HOLD_FIRST * 2u32.saturating_pow(self.flaps.min(6))).min(HOLD_MAX)
    }

    pub(super) fn broke(&mut self, now: Time) {
        match self.restored {
            Some(restored) if now.since(restored) < self.hold() * 4 => self.flaps = (self.flaps + 1).min(6),
            Some(_) | None => self.flaps = 0,
        }
    }

    pub(super) fn restored(&mut self, now: Time) {
        self.restored = Some(now);
    }
}

/// Whether a member is still watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Watched,
    /// Established as failed; told once in a life, kept until a view settles it (schedule 10).
    Failed(Time),
    /// It said that it leaves.
    Left,
}

/// One other member.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) life: SiteIncarnation,
    pub(super) rank: usize,
    pub(super) standing: Standing,
    pub(super) monitor: Monitor,
    pub(super) trip: RoundTrip,
    /// The last sign of life, by whatever path.
    pub(super) news: Option<Time>,
    pub(super) connection: Option<Connection>,
    pub(super) case: Option<Case>,
    pub(super) route: Route,
    pub(super) flap: Flap,
    /// How long the next loss of all neighbours lasts before it is told; doubles.
    pub(super) bad_link_after: Duration,
}

impl Peer {
    pub(super) fn new(now: Time, life: SiteIncarnation, rank: usize, bad_link_after: Duration) -> Peer {
        Peer {
            life,
            rank,
            standing: Standing::Watched,
            monitor: Monitor::new(now),
            trip: RoundTrip::default(),
            news: None,
            connection: None,
            case: None,
            route: Route::Direct,
            flap: Flap::default(),
            bad_link_after,
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.standing == Standing::Watched
    }

    pub(super) fn is_suspected(&self) -> bool {
        self.case.as_ref().is_some_and(|case| case.mine.is_some())
    }

    /// Whether the direct path is good enough to carry other sites' packets.
    pub(super) fn is_good_neighbour(&self) -> bool {
        self.is_watched() && !self.is_suspected() && matches!(self.route, Route::Direct)
    }

    /// What this end tells the other about their direct path.
    pub(super) fn deaf(&self) -> bool {
        match &self.route {
            Route::Direct => false,
            Route::Broken(broken) => broken.own,
        }
    }

    /// The earliest of the peer's timers.
    pub(super) fn due(&self) -> Option<Time> {
        if !self.is_watched() {
            return None;
        }
        let case =
            self.case.as_ref().map(|case| case.resend.map_or(case.deadline, |at| at.min(case.deadline)));
        let route = match &self.route {
            Route::Direct => None,
            Route::Broken(broken) => Some(broken.bad_link.map_or(broken.retry, |at| at.min(broken.retry))),
        };
        [self.monitor.due(), case, route].into_iter().flatten().min()
    }
}
