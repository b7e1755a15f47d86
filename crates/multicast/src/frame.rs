//! The frames on the wire.
//!
//! Every frame begins with version, kind, group and view. A *data* frame is a batch: a fixed header, the
//! messages, then a trailer (acknowledgements, order runs, a vector time), little-endian throughout, read in
//! place. Its payloads are delivered as slices of the frame. The control frames are numbered CBOR fields.

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use wire::{GroupId, Incarnation, SiteId, SiteIncarnation, ViewId};

use crate::event::{FrameError, Order};

const VERSION: u8 = 1;
/// Version, kind, group, view.
pub(crate) const HEAD: usize = 2 + 28 + 24;
/// The fixed part of a data frame behind the head.
const DATA: usize = 37;
/// Where the messages of a data frame begin.
pub(crate) const BODY: usize = HEAD + DATA;
/// The header of one message.
pub(crate) const MESSAGE: usize = 6;
/// What a fragment's header has in addition.
pub(crate) const FRAGMENT: usize = 12;
/// The most bytes of messages in one frame; the rest is left for header and trailer.
pub(crate) const BODY_BYTES_MAX: usize = 48 << 10;
/// The most order runs in one frame.
pub(crate) const RUNS_MAX: usize = 384;
/// How many large messages one site may have under way at once.
pub(crate) const STREAMS_MAX: usize = 16;

const FLAG_VECTOR: u8 = 1;

const ORDER_BITS: u8 = 0b11;
const SAFE: u8 = 1 << 2;
const IS_FRAGMENT: u8 = 1 << 3;
const FIRST: u8 = 1 << 4;
const LAST: u8 = 1 << 5;
const UNKNOWN: u8 = 0b1100_0000;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Flush,
    Fetch,
    OrderTail,
    Installed,
}

/// What every frame begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub kind: Kind,
    pub group: GroupId,
    pub view: ViewId,
}

fn put_view(buf: &mut BytesMut, view: ViewId) {
    buf.put_u64_le(view.epoch);
    buf.put_u32_le(view.attempt);
    buf.put_u32_le(view.coordinator.site.0);
    buf.put_u64_le(view.coordinator.incarnation.0);
}

fn put_head(buf: &mut BytesMut, kind: Kind, group: GroupId, view: ViewId) {
    buf.put_u8(VERSION);
    buf.put_u8(match kind {
        Kind::Data => 1,
        Kind::Flush => 2,
        Kind::Fetch => 3,
        Kind::OrderTail => 4,
        Kind::Installed => 5,
    });
    put_view(buf, group.created);
    buf.put_u32_le(group.index);
    put_view(buf, view);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn view_at(bytes: &[u8], at: usize) -> ViewId {
    ViewId {
        epoch: u64_at(bytes, at),
        attempt: u32_at(bytes, at + 8),
        coordinator: SiteIncarnation {
            site: SiteId(u32_at(bytes, at + 12)),
            incarnation: Incarnation(u64_at(bytes, at + 16)),
        },
    }
}

impl Head {
    pub(crate) fn parse(frame: &[u8]) -> Result<Head, FrameError> {
        if frame.len() < HEAD || frame.len() > crate::FRAME_BYTES_MAX || frame[0] != VERSION {
            return Err(FrameError::Malformed);
        }
        let kind = match frame[1] {
            1 => Kind::Data,
            2 => Kind::Flush,
            3 => Kind::Fetch,
            4 => Kind::OrderTail,
            5 => Kind::Installed,
            _ => return Err(FrameError::Malformed),
        };
        let group = GroupId { created: view_at(frame, 2), index: u32_at(frame, 26) };
        Ok(Head { kind, group, view: view_at(frame, 30) })
    }
}

/// The header of one message in a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHeader {
    pub bytes: usize,
    pub order: Order,
    pub safe: bool,
    pub rank: u16,
    pub fragment: Option<Fragment>,
}

/// What a fragment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub stream: u8,
    pub first: bool,
    pub last: bool,
    /// The number of the whole message.
    pub number: u64,
    /// The bytes of the whole message.
    pub total: u32,
}

impl MessageHeader {
    /// Whether this entry of the sequence is (the end of) a message, not a fragment before the end.
    pub(crate) fn completes(&self) -> bool {
        self.fragment.is_none_or(|f| f.last)
    }

    /// The bytes of the header itself.
    pub(crate) fn len(&self) -> usize {
        if self.fragment.is_some() { MESSAGE + FRAGMENT } else { MESSAGE }
    }

    pub(crate) fn put(&self, buf: &mut BytesMut) {
        let mut flags = match self.order {
            Order::Mbcast => 0,
            Order::Fbcast => 1,
            Order::Cbcast => 2,
            Order::Abcast => 3,
            Order::Gbcast => unreachable!("a gbcast rides in a Flush"),
        };
        flags |= if self.safe { SAFE } else { 0 };
        let mut stream = 0;
        if let Some(f) = self.fragment {
            flags |= IS_FRAGMENT | if f.first { FIRST } else { 0 } | if f.last { LAST } else { 0 };
            stream = f.stream;
        }
        buf.put_u16_le(u16::try_from(self.bytes).expect("a message in a batch is at most 48 KiB"));
        buf.put_u8(flags);
        buf.put_u8(stream);
        buf.put_u16_le(self.rank);
        if let Some(f) = self.fragment {
            buf.put_u64_le(f.number);
            buf.put_u32_le(f.total);
        }
    }

    /// Reads the header at `at`; none if the bytes before `end` do not hold it and its payload.
    #[inline]
    pub(crate) fn parse(frame: &[u8], at: usize, end: usize) -> Option<MessageHeader> {
        let fixed = frame.get(at..end)?.first_chunk::<MESSAGE>()?;
        let flags = fixed[2];
        if flags & UNKNOWN != 0 {
            return None;
        }
        let order = match flags & ORDER_BITS {
            0 => Order::Mbcast,
            1 => Order::Fbcast,
            2 => Order::Cbcast,
            _ => Order::Abcast,
        };
        let mut header = MessageHeader {
            bytes: usize::from(u16::from_le_bytes([fixed[0], fixed[1]])),
            order,
            safe: flags & SAFE != 0,
            rank: u16::from_le_bytes([fixed[4], fixed[5]]),
            fragment: None,
        };
        if flags & IS_FRAGMENT != 0 {
            if at + MESSAGE + FRAGMENT > end || usize::from(fixed[3]) >= STREAMS_MAX {
                return None;
            }
            header.fragment = Some(Fragment {
                stream: fixed[3],
                first: flags & FIRST != 0,
                last: flags & LAST != 0,
                number: u64_at(frame, at + MESSAGE),
                total: u32_at(frame, at + MESSAGE + 8),
            });
        }
        (at + header.len() + header.bytes <= end).then_some(header)
    }
}

/// A data frame, its structure checked, read in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    frame: &'a [u8],
    /// The place of the casting site in the view.
    pub origin: usize,
    /// The first entry's place in the sequence of its site.
    pub first: u64,
    /// How many entries.
    pub count: u64,
    /// The number of the first whole message in it.
    pub number: u64,
    /// Where the messages end.
    pub body_end: usize,
    /// The place of the first run in the order.
    pub order_index: u64,
    acks: usize,
    runs: usize,
    vector: usize,
}

impl<'a> Data<'a> {
    pub(crate) fn parse(frame: &'a [u8]) -> Result<Data<'a>, FrameError> {
        if frame.len() < BODY {
            return Err(FrameError::Malformed);
        }
        let vector_flag = frame[HEAD + 4];
        let body_end = BODY + u32_at(frame, HEAD + 9) as usize;
        let data = Data {
            frame,
            origin: usize::from(u16_at(frame, HEAD)),
            count: u64::from(u16_at(frame, HEAD + 2)),
            acks: usize::from(u16_at(frame, HEAD + 5)),
            runs: usize::from(u16_at(frame, HEAD + 7)),
            body_end,
            first: u64_at(frame, HEAD + 13),
            number: u64_at(frame, HEAD + 21),
            order_index: u64_at(frame, HEAD + 29),
            vector: 0,
        };
        let before_vector = body_end + 10 * (data.acks + data.runs);
        let in_range = |n: u64| n < 1 << 56;
        let numbers = in_range(data.first) && in_range(data.number) && in_range(data.order_index);
        if vector_flag & !FLAG_VECTOR != 0 || before_vector > frame.len() || !numbers {
            return Err(FrameError::Malformed);
        }
        let rest = frame.len() - before_vector;
        if !rest.is_multiple_of(8) || (vector_flag & FLAG_VECTOR != 0) != (rest > 0) {
            return Err(FrameError::Malformed);
        }
        Ok(Data { vector: rest / 8, ..data })
    }

    /// Acknowledgements: place of a site (perhaps with [`ACK_DELIVERED`], or [`ACK_ORDER`]), and how far.
    pub(crate) fn acks(&self) -> impl Iterator<Item = (u16, u64)> + use<'a> {
        pairs(&self.frame[self.body_end..][..10 * self.acks])
    }

    /// Order runs: place of a site, and up to which entry its abcasts come next.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u16, u64)> + use<'a> {
        pairs(&self.frame[self.body_end + 10 * self.acks..][..10 * self.runs])
    }

    /// How many runs.
    pub(crate) fn run_count(&self) -> usize {
        self.runs
    }

    /// The vector time of the batch, if it holds a cbcast.
    pub(crate) fn vector(&self) -> Option<Box<[u64]>> {
        let at = self.body_end + 10 * (self.acks + self.runs);
        (self.vector > 0).then(|| (0..self.vector).map(|i| u64_at(self.frame, at + 8 * i)).collect())
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = (u16, u64)> + use<'_> {
    bytes.chunks_exact(10).map(|pair| (u16_at(pair, 0), u64_at(pair, 2)))
}

/// In the place of a site among acknowledgements: the length of the order list that is known.
pub(crate) const ACK_ORDER: u16 = u16::MAX;
/// Added to the place of a site: not how far its sequence is here, but how far it is delivered.
pub(crate) const ACK_DELIVERED: u16 = 1 << 15;
/// The most acknowledgements in one frame; the rest goes in the next.
pub(crate) const ACKS_MAX: usize = 520;

/// A data frame being written: `Writer::new`, messages into `buf`, `finish`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub buf: BytesMut,
}

/// What is known about a batch only when it is closed.
pub(crate) struct Trailer<'a> {
    pub origin: usize,
    pub count: u16,
    pub first: u64,
    pub number: u64,
    pub acks: &'a [(u16, u64)],
    pub order_index: u64,
    pub runs: &'a [(u16, u64)],
    pub vector: Option<&'a [u64]>,
}

impl Writer {
    pub(crate) fn new(group: GroupId, view: ViewId, capacity: usize) -> Writer {
        let mut buf = BytesMut::with_capacity(BODY + capacity);
        put_head(&mut buf, Kind::Data, group, view);
        buf.put_bytes(0, DATA);
        Writer { buf }
    }

    /// The bytes of messages written so far.
    pub(crate) fn body_bytes(&self) -> usize {
        self.buf.len() - BODY
    }

    pub(crate) fn finish(mut self, trailer: &Trailer<'_>) -> Bytes {
        let body = u32::try_from(self.body_bytes()).expect("a body is at most 48 KiB");
        let counted = |n: usize| u16::try_from(n).expect("at most 512 sites and 384 runs");
        let mut fixed = Vec::with_capacity(DATA);
        fixed.put_u16_le(counted(trailer.origin));
        fixed.put_u16_le(trailer.count);
        fixed.put_u8(if trailer.vector.is_some() { FLAG_VECTOR } else { 0 });
        fixed.put_u16_le(counted(trailer.acks.len()));
        fixed.put_u16_le(counted(trailer.runs.len()));
        fixed.put_u32_le(body);
        fixed.put_u64_le(trailer.first);
        fixed.put_u64_le(trailer.number);
        fixed.put_u64_le(trailer.order_index);
        self.buf[HEAD..BODY].copy_from_slice(&fixed);
        let vector = trailer.vector.unwrap_or_default();
        self.buf.reserve(10 * (trailer.acks.len() + trailer.runs.len()) + 8 * vector.len());
        for (place, value) in trailer.acks.iter().chain(trailer.runs) {
            self.buf.put_u16_le(*place);
            self.buf.put_u64_le(*value);
        }
        for value in vector {
            self.buf.put_u64_le(*value);
        }
        assert!(self.buf.len() <= crate::FRAME_BYTES_MAX, "a data frame exceeds its bound");
        self.buf.freeze()
    }
}

/// A gbcast on its way in a Flush (M11).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Gbcast {
    #[n(0)]
    pub rank: u16,
    #[n(1)]
    pub number: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

/// What a site says about the view it comes from (M2); the view it is for is in the head.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Flush {
    /// The view it comes from; none at a site's first view.
    #[n(0)]
    pub from: Option<ViewId>,
    /// What is causally deliverable of each site (M3).
    #[n(1)]
    pub have: Vec<u64>,
    /// How much of the order list is known.
    #[n(2)]
    pub order: u64,
    /// What every site of the view is known to have acknowledged.
    #[n(3)]
    pub stable: Vec<u64>,
    /// How much of the order list every site is known to have acknowledged.
    #[n(4)]
    pub order_stable: u64,
    /// The gbcasts that waited for this change.
    #[n(5)]
    pub gbcasts: Vec<Gbcast>,
}

/// A request for what the cut has and the sender lacks (M6); the view the messages are of is in the head.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Fetch {
    /// Place of a site, first entry, end.
    #[n(0)]
    pub ranges: Vec<(u16, u64, u64)>,
    /// First and end of the order runs, if any are missing.
    #[n(1)]
    pub order: Option<(u64, u64)>,
}

/// A part of the order list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct OrderTail {
    #[n(0)]
    pub index: u64,
    #[n(1)]
    pub runs: Vec<(u16, u64)>,
}

/// The sender has installed the view in the head and needs nothing more of those before it (M6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Installed {}

/// Writes a control frame.
pub(crate) fn control<T: Encode<()>>(kind: Kind, group: GroupId, view: ViewId, body: &T) -> Bytes {
    let mut buf = BytesMut::new();
    put_head(&mut buf, kind, group, view);
    buf.extend_from_slice(&minicbor::to_vec(body).expect("writing to memory does not fail"));
    assert!(buf.len() <= crate::FRAME_BYTES_MAX, "a control frame exceeds its bound");
    buf.freeze()
}

/// Reads the body of a control frame.
pub(crate) fn body<T: for<'b> Decode<'b, ()>>(frame: &[u8]) -> Result<T, FrameError> {
    minicbor::decode(&frame[HEAD..]).map_err(|_| FrameError::Malformed)
}
