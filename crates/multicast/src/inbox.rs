//! The sequence of one site in one view: what was received, what of it is causally deliverable, what is
//! delivered, and what must still be kept for others. Work is per batch; a message costs a header's reading.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::event::{FrameError, Order};
use crate::frame::{BODY, Data, Fragment, MessageHeader, STREAMS_MAX};

/// One data frame, its structure checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    pub first: u64,
    pub end: u64,
    pub number: u64,
    pub frame: Bytes,
    pub body_end: usize,
    pub vector: Option<Box<[u64]>>,
    pub has: Has,
    /// At its own site: every message up to this number has been sent with this batch or before it.
    pub through: u64,
}

/// What kinds of messages a batch completes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Has {
    pub mbcast: bool,
    pub cbcast: bool,
    pub abcast: bool,
    pub safe: bool,
}

impl Has {
    pub(crate) fn add(&mut self, header: &MessageHeader) {
        if !header.completes() {
            self.mbcast |= header.order == Order::Mbcast;
            return;
        }
        self.safe |= header.safe;
        match header.order {
            Order::Mbcast => self.mbcast = true,
            Order::Fbcast => {}
            Order::Cbcast => self.cbcast = true,
            Order::Abcast => self.abcast = true,
            Order::Gbcast => unreachable!("a gbcast rides in a Flush"),
        }
    }
}

impl Batch {
    /// Checks the messages of a received frame: their lengths, and that their senders are members at the site
    /// that cast them.
    pub(crate) fn check(frame: Bytes, data: &Data<'_>, site_of_rank: &[u16]) -> Result<Batch, FrameError> {
        let mut has = Has::default();
        let mut at = BODY;
        for _ in 0..data.count {
            let header = MessageHeader::parse(&frame, at, data.body_end).ok_or(FrameError::Malformed)?;
            let site = site_of_rank.get(usize::from(header.rank)).ok_or(FrameError::Malformed)?;
            if usize::from(*site) != data.origin {
                return Err(FrameError::Malformed);
            }
            has.add(&header);
            at += header.len() + header.bytes;
        }
        let vector = data.vector();
        if at != data.body_end || has.cbcast != vector.is_some() {
            return Err(FrameError::Malformed);
        }
        let (first, end) = (data.first, data.first + data.count);
        Ok(Batch { first, end, number: data.number, body_end: data.body_end, frame, vector, has, through: 0 })
    }
}

/// A large message of which the end has not come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Stream {
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Stream {
    fn join(&self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.bytes);
        self.parts.iter().for_each(|part| whole.extend_from_slice(part));
        whole.freeze()
    }
}

/// An entry of the sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub seq: u64,
    pub header: MessageHeader,
    /// Where its payload begins.
    at: usize,
    number: u64,
}

/// The sequence of one site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inbox {
    batches: VecDeque<Batch>,
    /// Entries received, without a gap.
    received: u64,
    /// Entries causally deliverable (M3).
    have: u64,
    /// Index in `batches` of the first that is not causally deliverable.
    have_index: usize,
    /// Entries delivered, or passed because they complete nothing.
    head: u64,
    /// Where the next entry is: index in `batches`, offset in its frame, number of the next whole message.
    cursor: (usize, usize, u64),
    /// Entries of which the mbcasts have been delivered ahead of `head`.
    mbcast_head: u64,
    /// Bytes of the frames kept.
    bytes: usize,
    /// Large messages whose end has not come: those at `head`, then those of mbcasts ahead of it.
    streams: BTreeMap<usize, Stream>,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            batches: VecDeque::new(),
            received: 0,
            have: 0,
            have_index: 0,
            head: 0,
            cursor: (0, BODY, 0),
            mbcast_head: 0,
            bytes: 0,
            streams: BTreeMap::new(),
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.batches.front().map_or(0, |first| self.received - first.first)
    }

    /// Takes the next batch.
    pub(crate) fn accept(&mut self, batch: Batch) {
        assert!(batch.first == self.received, "a sequence has a gap");
        self.received = batch.end;
        self.bytes += batch.frame.len();
        if self.cursor.0 == self.batches.len() {
            self.cursor = (self.cursor.0, BODY, batch.number);
        }
        self.batches.push_back(batch);
    }

    /// The first batch that is not yet known to be causally deliverable.
    pub(crate) fn next_batch(&self) -> Option<&Batch> {
        self.batches.get(self.have_index)
    }

    /// That batch is causally deliverable.
    pub(crate) fn have_next(&mut self) {
        let batch = &self.batches[self.have_index];
        self.have = batch.end;
        self.have_index += 1;
    }

    /// The batch in which the next entry is.
    pub(crate) fn head_batch(&self) -> Option<&Batch> {
        self.batches.get(self.cursor.0)
    }

    /// The next entry to be delivered.
    #[inline]
    pub(crate) fn peek(&self) -> Option<Entry> {
        let (index, offset, number) = self.cursor;
        let batch = self.batches.get(index)?;
        let header =
            MessageHeader::parse(&batch.frame, offset, batch.body_end).expect("checked when it was received");
        Some(Entry { seq: self.head, header, at: offset + header.len(), number })
    }

    /// Passes the entry that `peek` named and yields what it completes: number and payload.
    #[inline]
    pub(crate) fn pass(&mut self, entry: &Entry, bytes_max: usize) -> Option<(u64, Bytes)> {
        let early = entry.seq < self.mbcast_head && entry.header.order == Order::Mbcast && !entry.header.safe;
        let (index, _, _) = self.cursor;
        let completed = if early { None } else { self.complete(index, entry, bytes_max) };
        let end = entry.at + entry.header.bytes;
        self.head += 1;
        let number = entry.number + u64::from(entry.header.fragment.is_none());
        self.cursor = (index, end, number);
        if self.head == self.batches[index].end {
            self.cursor = (index + 1, BODY, self.batches.get(index + 1).map_or(0, |next| next.number));
        }
        completed
    }

    fn complete(&mut self, index: usize, entry: &Entry, bytes_max: usize) -> Option<(u64, Bytes)> {
        let payload = self.batches[index].frame.slice(entry.at..entry.at + entry.header.bytes);
        match entry.header.fragment {
            None => Some((entry.number, payload)),
            Some(fragment) => {
                // mbcasts run ahead of the rest, where the same stream may be another message.
                let ahead = entry.header.order == Order::Mbcast && !entry.header.safe;
                let slot = usize::from(fragment.stream) + if ahead { STREAMS_MAX } else { 0 };
                Some((fragment.number, self.reassemble(slot, fragment, payload, bytes_max)?))
            }
        }
    }

    /// Adds a fragment to its stream. A stream that says what no honest site would is dropped.
    fn reassemble(
        &mut self,
        slot: usize,
        fragment: Fragment,
        payload: Bytes,
        bytes_max: usize,
    ) -> Option<Bytes> {
        if fragment.first {
            self.streams.insert(slot, Stream::default());
        }
        let stream = self.streams.get_mut(&slot)?;
        stream.bytes += payload.len();
        stream.parts.push(payload);
        let total = fragment.total as usize;
        if stream.bytes > total || total > bytes_max || fragment.last {
            let stream = self.streams.remove(&slot)?;
            return (stream.bytes == total && total <= bytes_max).then(|| stream.join());
        }
        None
    }

    /// Delivers the mbcasts of what has just become causally deliverable, ahead of the rest: rank, number,
    /// payload.
    pub(crate) fn mbcasts(&mut self, bytes_max: usize, mut deliver: impl FnMut(u16, u64, Bytes)) {
        let index = self.have_index - 1;
        let (first, end, mut number) = {
            let batch = &self.batches[index];
            (batch.first, batch.end, batch.number)
        };
        if self.batches[index].has.mbcast && self.mbcast_head == first && self.head <= first {
            let mut offset = BODY;
            for seq in first..end {
                let batch = &self.batches[index];
                let header = MessageHeader::parse(&batch.frame, offset, batch.body_end)
                    .expect("checked when it was received");
                let entry = Entry { seq, header, at: offset + header.len(), number };
                number += u64::from(header.fragment.is_none());
                offset = entry.at + header.bytes;
                if header.order == Order::Mbcast
                    && !header.safe
                    && let Some((number, payload)) = self.complete(index, &entry, bytes_max)
                {
                    deliver(header.rank, number, payload);
                }
            }
        }
        if self.mbcast_head == first {
            self.mbcast_head = end;
        }
    }

    /// Drops the batches that are delivered and of which everything below `stable` is held by all. Yields
    /// the last dropped batch's `through`.
    pub(crate) fn release(&mut self, stable: u64) -> Option<u64> {
        let mut through = None;
        while let Some(batch) = self.batches.front()
            && batch.end <= stable
            && batch.end <= self.head
        {
            self.bytes -= batch.frame.len();
            through = Some(batch.through);
            self.batches.pop_front();
            self.cursor.0 -= 1;
            self.have_index -= 1;
        }
        through
    }

    /// How far this may be acknowledged without keeping more than `credit` bytes of it.
    pub(crate) fn ackable(&self, credit: usize) -> u64 {
        if self.bytes <= credit {
            return self.have;
        }
        let mut bytes = 0;
        let mut upto = self.batches.front().map_or(self.have, |first| first.first);
        for batch in self.batches.iter().take(self.have_index) {
            bytes += batch.frame.len();
            if bytes > credit {
                break;
            }
            upto = batch.end;
        }
        upto
    }

    /// The frames that hold entries from `from` to `end`.
    pub(crate) fn frames(&self, from: u64, end: u64) -> impl Iterator<Item = &Bytes> {
        self.batches.iter().filter(move |b| b.first < end && b.end > from).map(|b| &b.frame)
    }

    /// The kept batches that begin before `end`.
    pub(crate) fn batches_before(&self, end: u64) -> impl Iterator<Item = &Batch> {
        self.batches.iter().take_while(move |batch| batch.first < end)
    }
}
