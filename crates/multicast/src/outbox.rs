//! What this site has cast and not yet sent: the open batch, large messages under way, frames that wait for
//! the link.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use wire::{SiteId, Time};

use crate::event::{Order, Transmit};
use crate::frame::{BODY_BYTES_MAX, FRAGMENT, Fragment, MESSAGE, MessageHeader, STREAMS_MAX, Writer};
use crate::inbox::Has;

/// Messages up to this size go whole into a batch; larger ones in fragments of at most [`FRAGMENT_BYTES_MAX`].
pub(crate) const WHOLE_BYTES_MAX: usize = 32 << 10;
const FRAGMENT_BYTES_MAX: usize = BODY_BYTES_MAX - MESSAGE - FRAGMENT;

/// A batch that still takes messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Open {
    pub writer: Writer,
    pub count: u16,
    /// The number of the first whole message.
    pub number: u64,
    pub has: Has,
    pub since: Time,
}

/// A large message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Large {
    pub stream: u8,
    pub number: u64,
    pub rank: u16,
    pub order: Order,
    pub safe: bool,
    pub payload: Bytes,
    /// How much of the payload has been sent.
    pub sent: usize,
}

impl Large {
    /// Cuts off the next fragment: equal parts, so that the last is not a crumb.
    pub(crate) fn next_fragment(&mut self) -> (MessageHeader, Bytes) {
        let parts = self.payload.len().div_ceil(FRAGMENT_BYTES_MAX);
        let size = self.payload.len().div_ceil(parts);
        let end = (self.sent + size).min(self.payload.len());
        let part = self.payload.slice(self.sent..end);
        let fragment = Fragment {
            stream: self.stream,
            first: self.sent == 0,
            last: end == self.payload.len(),
            number: self.number,
            total: u32::try_from(self.payload.len()).expect("a message is at most 256 MiB"),
        };
        self.sent = end;
        let (order, safe, rank) = (self.order, self.safe, self.rank);
        (MessageHeader { bytes: part.len(), order, safe, rank, fragment: Some(fragment) }, part)
    }
}

/// What this site has cast and not yet sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outbox {
    pub open: Option<Open>,
    /// Large messages, the next to send a fragment of first.
    pub large: VecDeque<Large>,
    /// Whether the next turn is a large message's: fragments and batches alternate.
    pub large_turn: bool,
    /// Closed batches and Flushes, in the order in which they must leave.
    pub frames: VecDeque<Transmit>,
    /// How many of these leave even if a link is full: all up to a Flush.
    pub forced: usize,
    /// Frames that need not keep their place: acknowledgements, fetches and their answers.
    pub control: VecDeque<Transmit>,
    /// Links that take no more.
    pub full: BTreeSet<SiteId>,
    /// The body of the last batch, as a guess at the next.
    pub batch_bytes: usize,
}

impl Outbox {
    /// The next of the frames that must keep their order, if the links take it.
    pub(crate) fn next_frame(&mut self) -> Option<Transmit> {
        if self.forced == 0 && !self.full.is_empty() {
            return None;
        }
        self.forced = self.forced.saturating_sub(1);
        self.frames.pop_front()
    }

    /// A stream that no large message uses.
    pub(crate) fn free_stream(&self) -> Option<u8> {
        (0..STREAMS_MAX as u8).find(|stream| self.large.iter().all(|large| large.stream != *stream))
    }

    /// Bytes cast and in no frame yet.
    pub(crate) fn bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.writer.body_bytes());
        open + self.large.iter().map(|large| large.payload.len() - large.sent).sum::<usize>()
    }

    /// Messages cast and in no frame yet.
    pub(crate) fn messages(&self) -> usize {
        self.open.as_ref().map_or(0, |open| usize::from(open.count)) + self.large.len()
    }

    /// Every message up to this number is in a frame, `last` being the last that was cast.
    pub(crate) fn through(&self, last: u64) -> u64 {
        let open = self.open.as_ref().filter(|open| open.count > 0).map(|open| open.number);
        self.large.iter().map(|large| large.number).chain(open).min().map_or(last, |first| first - 1)
    }
}
