//! The receiving half: pieces come in any order and any number of times; frames go out in order, once.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use wire::Time;

use crate::config::{Config, Counters};
use crate::packet::PacketError;

/// A piece that has arrived.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Bytes,
    /// The frame goes on in the next piece.
    more: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// The lowest number that has not arrived.
    next: u64,
    /// Whole frames in order.
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// The pieces so far of a frame that came in several.
    partial: BytesMut,
    /// Pieces that arrived ahead of a missing one.
    late: BTreeMap<u64, Piece>,
    late_bytes: usize,
    /// What arrived in order since the last acknowledgement.
    owed_packets: u32,
    owed_bytes: usize,
    /// When what is owed is acknowledged at the latest.
    ack_at: Option<Time>,
    /// An acknowledgement is due now.
    ack_due: bool,
}

impl Receiver {
    pub fn new() -> Receiver {
        Receiver {
            next: 1,
            ready: VecDeque::new(),
            ready_bytes: 0,
            partial: BytesMut::new(),
            late: BTreeMap::new(),
            late_bytes: 0,
            owed_packets: 0,
            owed_bytes: 0,
            ack_at: None,
            ack_due: false,
        }
    }

    /// Takes the piece with number `seq`. An error leaves the piece untaken, to be sent again.
    pub fn accept(
        &mut self,
        config: &Config,
        counters: &mut Counters,
        now: Time,
        seq: u64,
        bytes: Bytes,
        more: bool,
    ) -> Result<(), PacketError> {
        let piece = Piece { bytes, more };
        if seq < self.next || self.late.contains_key(&seq) {
            // The acknowledgement was lost, or there are two paths: tell the sender where we are.
            counters.duplicates += 1;
            self.ack_due = true;
            return Ok(());
        }
        if seq > self.next {
            self.ack_due = true;
            self.keep_late(config, seq, piece)?;
            counters.late += 1;
            return Ok(());
        }
        self.check_room(config, &piece)?;
        self.take_next(piece);
        while let Some(entry) = self.late.first_entry() {
            if *entry.key() != self.next {
                break;
            }
            let piece = entry.remove();
            self.late_bytes -= piece.bytes.len();
            if self.check_room(config, &piece).is_err() {
                // Not lost: its sender still has it, because it was not acknowledged.
                break;
            }
            self.take_next(piece);
        }
        self.owe(config, now);
        Ok(())
    }

    fn keep_late(&mut self, config: &Config, seq: u64, piece: Piece) -> Result<(), PacketError> {
        let full = self.late.len() >= config.late_packets_max
            || self.late_bytes + piece.bytes.len() > config.late_bytes_max;
        if full || seq - self.next > config.late_packets_max as u64 {
            return Err(PacketError::TooFarAhead);
        }
        self.late_bytes += piece.bytes.len();
        self.late.insert(seq, piece);
        Ok(())
    }

    fn check_room(&self, config: &Config, piece: &Piece) -> Result<(), PacketError> {
        if self.partial.len() + piece.bytes.len() > config.frame_bytes_max {
            return Err(PacketError::FrameTooLong { max: config.frame_bytes_max });
        }
        if self.ready_bytes >= config.ready_bytes_max {
            return Err(PacketError::ReadyFull);
        }
        Ok(())
    }

    fn take_next(&mut self, piece: Piece) {
        self.next += 1;
        self.owed_packets += 1;
        self.owed_bytes += piece.bytes.len();
        if piece.more || !self.partial.is_empty() {
            self.partial.extend_from_slice(&piece.bytes);
        }
        if piece.more {
            return;
        }
        let frame = match self.partial.is_empty() {
            true => piece.bytes,
            false => std::mem::take(&mut self.partial).freeze(),
        };
        self.ready_bytes += frame_cost(&frame);
        self.ready.push_back(frame);
    }

    fn owe(&mut self, config: &Config, now: Time) {
        let gap = !self.late.is_empty();
        if gap || self.owed_packets >= config.ack_packets || self.owed_bytes >= config.ack_bytes {
            self.ack_due = true;
        } else {
            self.ack_at.get_or_insert(now + config.ack_delay);
        }
    }

    /// The next frame in order.
    pub fn pop(&mut self) -> Option<Bytes> {
        let frame = self.ready.pop_front()?;
        self.ready_bytes -= frame_cost(&frame);
        Some(frame)
    }

    /// An acknowledgement is due, whatever has arrived.
    pub fn demand_ack(&mut self) {
        self.ack_due = true;
    }

    pub fn is_ack_due(&self) -> bool {
        self.ack_due
    }

    /// What to acknowledge, and whether there is a gap: the caller sends it, so nothing is owed any more.
    pub fn take_ack(&mut self) -> (u64, bool) {
        self.owed_packets = 0;
        self.owed_bytes = 0;
        self.ack_at = None;
        self.ack_due = false;
        (self.next - 1, !self.late.is_empty())
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if self.ack_at.is_some_and(|at| at <= now) {
            self.ack_at = None;
            self.ack_due = true;
        }
    }

    pub fn timeout(&self) -> Option<Time> {
        self.ack_at
    }

    /// The bytes that are kept: late, partial, and not yet taken.
    pub fn kept_bytes(&self) -> usize {
        self.late_bytes + self.partial.len() + self.ready_bytes
    }
}

/// Empty frames count too, so that a flood of them is bounded.
fn frame_cost(frame: &Bytes) -> usize {
    frame.len() + crate::HEADER_BYTES
}
