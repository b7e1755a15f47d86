//! The sending half: frames from the moment they are given until the peer has acknowledged them.
//!
//! Pieces of frames stand in one queue by number: acknowledged ones leave at the front, new ones enter at the
//! back, and a cursor between says which is to be transmitted next. Going back is moving the cursor.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::Time;

use crate::config::Config;
use crate::packet::{FrameHeader, HEADER_BYTES, PIECE_BYTES_MAX, Piece};
use crate::rtt::Estimate;

/// What a frame is for: it decides only how full the queue may be. All frames share one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Agreement, detection, flush: may use the reserve.
    Control,
    /// Payload: held back first.
    Data,
}

/// Why a frame was not taken. Nothing has changed, except that [`crate::Event::Writable`] follows a `Full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No room until the peer acknowledges more.
    #[error("{pending} bytes wait for {peer}: no room for more")]
    Full {
        /// The peer.
        peer: wire::SiteId,
        /// The bytes that wait.
        pending: usize,
    },
    /// Longer than [`Config::frame_bytes_max`].
    #[error("a frame of {bytes} bytes; {max} are allowed")]
    TooLong {
        /// The frame's bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// A piece of a frame under its number.
#[derive(Clone, Debug)]
struct Slot {
    piece: Piece,
    /// The frame goes on in the next slot.
    more: bool,
    /// Sent more than once: its acknowledgement measures nothing.
    again: bool,
    sent: Time,
}

/// A piece to transmit.
pub(crate) struct Sending {
    pub seq: u64,
    pub piece: Piece,
    pub more: bool,
    pub again: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Sender {
    slots: VecDeque<Slot>,
    /// The number of the first slot: the lowest not acknowledged.
    base: u64,
    /// The number to transmit next; never below `base`.
    cursor: u64,
    /// The lowest number never transmitted.
    fresh: u64,
    /// Bytes in `slots`, headers counted.
    pending: usize,
    /// How far the cursor may run ahead of `base`: unbounded, but for a while after a time-out.
    window: u64,
    /// The window opens again when everything below this is acknowledged.
    recover: u64,
    /// The first slot alone is to be sent again: the peer holds later ones.
    resend_first: bool,
    estimate: Estimate,
    retransmit_at: Option<Time>,
    /// A frame was refused, and the room since then was not yet told of.
    blocked: bool,
}

impl Sender {
    pub fn new() -> Sender {
        Sender {
            slots: VecDeque::new(),
            base: 1,
            cursor: 1,
            fresh: 1,
            pending: 0,
            window: u64::MAX,
            recover: 1,
            resend_first: false,
            estimate: Estimate::default(),
            retransmit_at: None,
            blocked: false,
        }
    }

    /// Takes a frame whole or not at all: `Err` is the bytes that wait.
    pub fn push(
        &mut self,
        config: &Config,
        lead: Option<FrameHeader>,
        frame: Bytes,
        class: Class,
    ) -> Result<(), usize> {
        let mut rest = Piece { lead, rest: frame };
        let pieces = rest.bytes().div_ceil(PIECE_BYTES_MAX).max(1);
        let cost = rest.bytes() + pieces * HEADER_BYTES;
        if self.pending + cost > limit(config, class) {
            self.blocked = true;
            return Err(self.pending);
        }
        self.pending += cost;
        while rest.bytes() > PIECE_BYTES_MAX {
            let piece = rest.split_to(PIECE_BYTES_MAX);
            self.slots.push_back(Slot { piece, more: true, again: false, sent: Time::ZERO });
        }
        self.slots.push_back(Slot { piece: rest, more: false, again: false, sent: Time::ZERO });
        Ok(())
    }

    /// The next piece to transmit.
    pub fn poll(&mut self, config: &Config, now: Time) -> Option<Sending> {
        let seq = if std::mem::take(&mut self.resend_first) && self.base < self.cursor {
            self.base
        } else if self.cursor < self.end() && self.cursor - self.base < self.window {
            self.cursor += 1;
            self.cursor - 1
        } else {
            return None;
        };
        let again = seq < self.fresh;
        self.fresh = self.fresh.max(seq + 1);
        self.retransmit_at.get_or_insert(now + self.estimate.retransmit_after(config));
        let slot = &mut self.slots[(seq - self.base) as usize];
        slot.again = again;
        slot.sent = now;
        Some(Sending { seq, piece: slot.piece.clone(), more: slot.more, again })
    }

    /// Whether `ack` acknowledges only what was sent.
    pub fn can_acknowledge(&self, ack: u64) -> bool {
        ack < self.fresh
    }

    /// Everything up to `ack` has arrived; with `gap` the peer holds something beyond a missing piece.
    pub fn acknowledge(&mut self, config: &Config, now: Time, ack: u64, gap: bool) {
        assert!(self.can_acknowledge(ack), "the caller has checked the acknowledgement");
        if ack >= self.base {
            self.release(now, ack);
            self.retransmit_at =
                (self.base < self.cursor).then(|| now + self.estimate.retransmit_after(config));
        }
        // What was sent less than a round trip ago may still be under way.
        if gap && ack + 1 == self.base && self.base < self.cursor {
            let age = now.since(self.slots[0].sent);
            self.resend_first = age >= self.estimate.smoothed();
        }
    }

    /// Another path: everything that is not acknowledged is sent again, at the pace of the driver.
    pub fn change_path(&mut self) {
        self.cursor = self.base;
        self.window = u64::MAX;
        self.resend_first = false;
        self.estimate = Estimate::default();
        self.retransmit_at = None;
    }

    /// Goes back to the first piece that is not acknowledged if its time has passed; says whether.
    pub fn handle_timeout(&mut self, config: &Config, now: Time) -> bool {
        if self.retransmit_at.is_none_or(|at| now < at) {
            return false;
        }
        self.retransmit_at = None;
        self.cursor = self.base;
        self.recover = self.fresh;
        self.window = config.burst_packets;
        self.resend_first = false;
        self.estimate.back_off();
        true
    }

    pub fn timeout(&self) -> Option<Time> {
        self.retransmit_at
    }

    /// Whether, after a refusal, there is room again; says so once. Room is told of only at half the bound,
    /// so that a sender is not woken for every frame.
    pub fn take_writable(&mut self, config: &Config) -> bool {
        let writable = self.blocked && self.pending <= config.send_bytes_max / 2;
        self.blocked &= !writable;
        writable
    }

    pub fn has_room(&self, config: &Config, class: Class) -> bool {
        self.pending < limit(config, class)
    }

    pub fn pending(&self) -> usize {
        self.pending
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Forgets everything but that somebody waits for room.
    pub fn reset(&mut self) {
        *self = Sender { blocked: self.blocked, ..Sender::new() };
    }

    /// Lets go of everything up to `ack`, measures the round trip and opens the window.
    fn release(&mut self, now: Time, ack: u64) {
        let released = ack + 1 - self.base;
        for _ in 1..released {
            self.release_first();
        }
        let last = self.release_first();
        if !last.again {
            self.estimate.measure(now.since(last.sent));
        }
        self.estimate.forgive();
        self.cursor = self.cursor.max(self.base);
        self.window = match self.base >= self.recover {
            true => u64::MAX,
            false => self.window.saturating_add(released),
        };
    }

    fn release_first(&mut self) -> Slot {
        let slot =
            self.slots.pop_front().expect("only what was sent is acknowledged, and it is kept until then");
        self.base += 1;
        self.pending -= slot.piece.bytes() + HEADER_BYTES;
        slot
    }

    fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }
}

fn limit(config: &Config, class: Class) -> usize {
    match class {
        Class::Control => config.send_bytes_max + config.control_reserve_bytes,
        Class::Data => config.send_bytes_max,
    }
}
