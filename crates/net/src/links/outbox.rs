//! What waits to be written to one connection: packets laid out as they will stand on the stream.
//!
//! Small packets are copied one behind the other; a large body stays where it is and is written from there. So a
//! batch of small messages costs no allocation each, and a large one no copy.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bodies from this size on are not copied.
const BODY_BYTES_OWN: usize = 4 * 1024;

/// How much room is made at once for small packets.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The length prefix of a packet.
pub(crate) const PREFIX_BYTES: usize = 4;

/// Set in the prefix of a probe.
pub(crate) const PROBE_BIT: u32 = 1 << 31;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It was queued.
    Roomy,
    /// It was queued, and the queue is full now: `written` will tell when there is room.
    Filled,
    /// The queue was full already: the packet was not queued.
    Refused,
}

/// A bounded queue of packets.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes_max: usize,
    /// Queued and being written.
    bytes: usize,
    /// Whether the site was told that the queue is full.
    full: bool,
    segments: VecDeque<Bytes>,
    scratch: BytesMut,
}

/// A batch that is being written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    segments: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(bytes_max: usize) -> Outbox {
        Outbox { bytes_max, bytes: 0, full: false, segments: VecDeque::new(), scratch: BytesMut::new() }
    }

    /// Queues a packet. The one that fills the queue is taken: else it would be sent again only after a time-out.
    #[inline]
    pub(crate) fn push(&mut self, flags: u32, header: &[u8], body: Bytes) -> Pushed {
        let length = header.len() + body.len();
        if self.bytes > self.bytes_max {
            self.full = true;
            return Pushed::Refused;
        }
        self.append(flags, length, header);
        if body.len() < BODY_BYTES_OWN {
            self.scratch.extend_from_slice(&body);
        } else {
            self.segments.push_back(self.scratch.split().freeze());
            self.segments.push_back(body);
        }
        self.bytes += PREFIX_BYTES + length;
        if self.bytes <= self.bytes_max {
            return Pushed::Roomy;
        }
        self.full = true;
        Pushed::Filled
    }

    fn append(&mut self, flags: u32, length: usize, header: &[u8]) {
        let prefix = u32::try_from(length).expect("a packet is far below 2 GiB") | flags;
        let room = PREFIX_BYTES + header.len() + BODY_BYTES_OWN;
        if self.scratch.capacity() - self.scratch.len() < room {
            if !self.scratch.is_empty() {
                self.segments.push_back(self.scratch.split().freeze());
            }
            self.scratch.reserve(SCRATCH_BYTES.max(room));
        }
        self.scratch.extend_from_slice(&prefix.to_le_bytes());
        self.scratch.extend_from_slice(header);
    }

    /// Takes everything that waits.
    pub(crate) fn take(&mut self) -> Outgoing {
        if !self.scratch.is_empty() {
            self.segments.push_back(self.scratch.split().freeze());
        }
        let segments = std::mem::take(&mut self.segments);
        Outgoing { bytes: segments.iter().map(Bytes::len).sum(), segments }
    }

    /// So many bytes have left. True if the site waits for room and there is room now.
    pub(crate) fn written(&mut self, bytes: usize) -> bool {
        self.bytes -= bytes;
        self.full && self.bytes <= self.bytes_max / 2 && std::mem::replace(&mut self.full, false)
    }
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let first = self.segments.front_mut().expect("no more is written than there is");
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(mut outgoing: Outgoing, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while outgoing.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = outgoing.chunks_vectored(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = all.len().min(step);
            bytes.extend_from_slice(&all[..taken]);
            outgoing.advance(taken);
        }
        bytes
    }

    #[test]
    fn packets_stand_on_the_stream_in_order_whatever_their_size() {
        for step in [997, 4096, usize::MAX] {
            let mut outbox = Outbox::new(usize::MAX);
            let mut expected = Vec::new();
            for i in 0..40u8 {
                let body = vec![i; usize::from(i) * 311];
                assert_eq!(outbox.push(0, &[i, 0xff], Bytes::from(body.clone())), Pushed::Roomy);
                expected.extend_from_slice(&(body.len() as u32 + 2).to_le_bytes());
                expected.extend_from_slice(&[i, 0xff]);
                expected.extend_from_slice(&body);
            }
            assert_eq!(stream(outbox.take(), step), expected);
            assert_eq!(outbox.take().bytes(), 0);
        }
    }

    #[test]
    fn a_full_queue_refuses_and_tells_once_when_half_of_it_is_written() {
        let mut outbox = Outbox::new(1000);
        let mut queued = 0;
        while outbox.push(0, &[0; 6], Bytes::from(vec![0; 90])) == Pushed::Roomy {
            queued += 1;
        }
        assert_eq!(queued, 10);
        assert_eq!(outbox.push(0, &[0; 6], Bytes::from(vec![0; 90])), Pushed::Refused);
        let taken = outbox.take().bytes();
        assert_eq!(taken, 1100, "the eleventh made it full and was taken, the twelfth was not");
        assert!(!outbox.written(500));
        assert!(outbox.written(100));
        assert!(!outbox.written(500));
        assert_eq!(outbox.push(0, &[], Bytes::from(vec![0; 5000])), Pushed::Filled);
        assert_eq!(outbox.take().bytes(), 5004);
    }
}
