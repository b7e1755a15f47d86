//! What machines say to each other: casts in the group's order, and messages from site to site.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use wire::{Incarnation, SiteId, StoreId, ViewId};

use crate::configuration::{Change, Configuration};
use crate::entry::{Entry, Number, Request, get_request, put_request};
use crate::storage::{CheckpointHead, Locator};

/// The most runs of a log that a statement carries: the newest.
pub(crate) const RUNS_MAX: usize = 64;
/// The most guessed positions that a statement carries: the lowest.
pub(crate) const HOLES_MAX: usize = 64;
/// The most lives of its own that a store remembers and states: the newest.
pub(crate) const LIVES_MAX: usize = 16;
/// The most configurations that a statement is in doubt of.
pub(crate) const DOUBTED_MAX: usize = 64;
/// The most stores of which a statement tells what it has seen.
pub(crate) const SEEN_MAX: usize = 2 * Configuration::STORES_MAX;

/// Why bytes from another site were refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No message of this version.
    #[error("a malformed message")]
    Malformed,
    /// It says what no honest site would.
    #[error("a message that contradicts itself")]
    Impossible,
}

/// One start of a store (D16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Life {
    /// Raised on disk before the machine is made.
    #[n(0)]
    pub incarnation: Incarnation,
    /// Drawn at random at each start: tells a copy of the disk that was started too.
    #[n(1)]
    pub nonce: u64,
}

/// A stretch of the log that one view numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub(crate) struct Run {
    /// Its first position; it goes on to the next run.
    #[n(0)]
    pub first: u64,
    /// The view.
    #[n(1)]
    pub view: ViewId,
}

/// What a member has seen of a store (D16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub(crate) struct Seen {
    /// Its highest life.
    #[n(0)]
    pub life: Life,
    /// In which view, and up to which position, it acknowledged last.
    #[n(1)]
    pub acked: Number,
    /// The state's time when it was last in a view.
    #[n(2)]
    pub at: u64,
}

/// What a store says of itself in a new view (D5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Statement {
    /// The view that it promises.
    #[n(0)]
    pub view: ViewId,
    /// The store.
    #[n(1)]
    pub store: StoreId,
    /// Its life.
    #[n(2)]
    pub life: Life,
    /// The last view whose base it followed.
    #[n(3)]
    pub adopted: ViewId,
    /// The end of its log.
    #[n(4)]
    pub last: Number,
    /// The newest runs of its log, ascending.
    #[n(5)]
    pub runs: Vec<Run>,
    /// Positions within it that are damaged, and their views guessed.
    #[n(6)]
    pub guessed: Vec<u64>,
    /// It may have held entries up to this number (D14).
    #[n(7)]
    pub floor: Option<Number>,
    /// The newest configuration in its log, and its entry.
    #[n(8)]
    pub configuration: (Number, Configuration),
    /// What it has seen of stores.
    #[n(9)]
    pub seen: Vec<(StoreId, Seen)>,
    /// The newest lives of its own in which it has promised a view, ascending; the last is `life`.
    #[n(10)]
    #[cbor(default)]
    pub lives: Vec<Life>,
    /// An operator has put that configuration in the place of the one in the log (D22).
    #[n(11)]
    #[cbor(default)]
    pub forced: bool,
    /// If it may have held more than its log has (`floor`): the other configurations that it knows, and their entries.
    #[n(12)]
    #[cbor(default)]
    pub doubted: Vec<(Number, Configuration)>,
}

impl Statement {
    /// Refuses what no honest store says.
    pub(crate) fn check(&self) -> Result<(), MessageError> {
        let ascending = self.runs.windows(2).all(|w| w[0].first < w[1].first && w[0].view < w[1].view);
        let ends = self.runs.last().is_none_or(|run| {
            run.first >= 1 && run.first <= self.last.position && run.view == self.last.view
        });
        let bounded = self.runs.len() <= RUNS_MAX
            && self.guessed.len() <= HOLES_MAX
            && self.seen.len() <= SEEN_MAX
            && self.lives.len() <= LIVES_MAX
            && self.configuration.1.stores.len() <= Configuration::STORES_MAX
            && self.doubted.len() <= DOUBTED_MAX
            && self.doubted.iter().all(|(_, other)| other.stores.len() <= Configuration::STORES_MAX);
        let valid = self.configuration.1.stores.is_empty() || self.configuration.1.check().is_ok();
        // Who states late may follow the view already.
        let past = self.last.view <= self.view && self.last.position < u64::MAX / 2;
        match ascending && ends && bounded && valid && past {
            true => Ok(()),
            false => Err(MessageError::Impossible),
        }
    }
}

/// What is cast in the group's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cast {
    /// A store speaks up in a view.
    Statement(Box<Statement>),
    /// A client's request, with its proposer's time.
    Request(u64, Request),
    /// A change of the configuration.
    Change(ChangeCast),
    /// It is time for a checkpoint.
    Mark(ViewId),
}

/// A change of the configuration on its way (D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ChangeCast {
    /// The view for which it is meant.
    #[n(0)]
    pub view: ViewId,
    /// What its proposer knew to be committed.
    #[n(1)]
    pub committed: u64,
    /// The change.
    #[n(2)]
    pub change: Change,
    /// The proposer's number for it.
    #[n(3)]
    pub ticket: u64,
}

const CAST_REQUEST: u8 = 1;
const CAST_STATEMENT: u8 = 2;
const CAST_CHANGE: u8 = 3;
const CAST_MARK: u8 = 4;

impl Cast {
    pub(crate) fn encode(&self) -> Bytes {
        let mut buf = BytesMut::new();
        match self {
            Cast::Request(time, request) => {
                buf.reserve(48 + request.payload.len());
                buf.put_u8(CAST_REQUEST);
                buf.put_u64_le(*time);
                put_request(&mut buf, request);
            }
            Cast::Statement(statement) => {
                buf.put_u8(CAST_STATEMENT);
                buf.put_slice(&wire::codec::encode(&**statement));
            }
            Cast::Change(change) => {
                buf.put_u8(CAST_CHANGE);
                buf.put_slice(&wire::codec::encode(change));
            }
            Cast::Mark(view) => {
                buf.put_u8(CAST_MARK);
                buf.put_slice(&wire::codec::encode(view));
            }
        }
        buf.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Cast, MessageError> {
        const BAD: MessageError = MessageError::Malformed;
        if bytes.is_empty() {
            return Err(BAD);
        }
        match bytes.get_u8() {
            CAST_REQUEST if bytes.len() >= 8 => {
                let time = bytes.get_u64_le();
                Ok(Cast::Request(time, get_request(bytes).ok_or(BAD)?))
            }
            CAST_STATEMENT => {
                let statement: Statement = wire::codec::decode(&bytes).map_err(|_| BAD)?;
                statement.check()?;
                Ok(Cast::Statement(Box::new(statement)))
            }
            CAST_CHANGE => Ok(Cast::Change(wire::codec::decode(&bytes).map_err(|_| BAD)?)),
            CAST_MARK => Ok(Cast::Mark(wire::codec::decode(&bytes).map_err(|_| BAD)?)),
            _ => Err(BAD),
        }
    }
}

/// A message from site to site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) enum Message {
    /// "On my disk, in this view, up to there" (D2).
    #[n(0)]
    Ack(#[n(0)] Ack),
    /// A read barrier: are you still in this view? (D12)
    #[n(1)]
    Ask {
        #[n(0)]
        view: ViewId,
        #[n(1)]
        round: u64,
    },
    /// Yes.
    #[n(2)]
    Here {
        #[n(0)]
        view: ViewId,
        #[n(1)]
        round: u64,
        /// How far it has acknowledged in this view.
        #[n(2)]
        acked: u64,
        /// The entry of the newest configuration that it knows.
        #[n(3)]
        configuration: u64,
    },
    /// Send what is behind `after` (D18).
    #[n(3)]
    Fetch {
        #[n(0)]
        view: ViewId,
        #[n(1)]
        after: Number,
        #[n(2)]
        bytes_max: u32,
    },
    /// A chunk of the view's log.
    #[n(4)]
    Tail {
        #[n(0)]
        view: ViewId,
        /// Behind which number it begins.
        #[n(1)]
        after: Number,
        /// Records, each with its length before it.
        #[cbor(n(2), with = "minicbor::bytes")]
        records: Vec<u8>,
    },
    /// Ask somebody else, or for a checkpoint.
    #[n(5)]
    Refuse {
        #[n(0)]
        view: ViewId,
        #[n(1)]
        why: NoTail,
    },
    /// Send the part of a checkpoint that is at a locator (D19).
    #[n(6)]
    FetchCheckpoint {
        #[n(0)]
        view: ViewId,
        /// Of which; none: of the current one, from its beginning.
        #[n(1)]
        number: Option<Number>,
        #[n(2)]
        at: Locator,
        #[n(3)]
        bytes_max: u32,
        /// The parts behind it are welcome too, up to so many bytes in all. Who does not know of this sends one.
        #[n(4)]
        #[cbor(default)]
        several: bool,
    },
    /// A part of a checkpoint.
    #[n(7)]
    Part {
        #[n(0)]
        view: ViewId,
        #[n(1)]
        head: CheckpointHead,
        #[n(2)]
        at: Locator,
        #[n(3)]
        next: Option<Locator>,
        #[cbor(n(4), with = "minicbor::bytes")]
        bytes: Vec<u8>,
        /// The next one comes without being asked for.
        #[n(5)]
        #[cbor(default)]
        more: bool,
    },
    /// Do you have the entry at this position? Mine is damaged (D14). Who has the number in `proof` has the same log up to it.
    #[n(8)]
    Want {
        #[n(0)]
        view: ViewId,
        #[n(1)]
        position: u64,
        #[n(2)]
        proof: Number,
    },
    /// Here it is.
    #[n(9)]
    Found {
        #[n(0)]
        view: ViewId,
        #[cbor(n(1), with = "minicbor::bytes")]
        record: Vec<u8>,
    },
}

/// What a store has on its disk in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Ack {
    #[n(0)]
    pub view: ViewId,
    /// All up to here is on its disk and is the view's log.
    #[n(1)]
    pub position: u64,
    /// The view that numbered that entry, for the receiver to compare; none if it is damaged or freed by now.
    #[n(2)]
    pub entry: Option<ViewId>,
    /// What it knows to be committed.
    #[n(3)]
    pub committed: u64,
    /// Up to where it can send: the view's log, on disk or in memory.
    #[n(4)]
    pub holds: u64,
    /// It was sent before; who knows of more that is committed answers with his own.
    #[n(5)]
    pub again: bool,
    /// Its disk is full: it writes nothing until somebody makes room.
    #[n(6)]
    #[cbor(default)]
    pub full: bool,
}

/// Why a site does not send a tail or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum NoTail {
    /// It has not got it itself, or not yet.
    #[n(0)]
    Lacking,
    /// It serves as many as it may.
    #[n(1)]
    Busy,
    /// It has freed it, or it is far: a checkpoint is there instead.
    #[n(2)]
    Checkpoint,
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        wire::codec::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
        wire::codec::decode_within(bytes, 1 << 30).map_err(|_| MessageError::Malformed)
    }

    /// The view that it is about.
    pub(crate) fn view(&self) -> ViewId {
        match self {
            Message::Ack(ack) => ack.view,
            Message::Ask { view, .. }
            | Message::Here { view, .. }
            | Message::Fetch { view, .. }
            | Message::Tail { view, .. }
            | Message::Refuse { view, .. }
            | Message::FetchCheckpoint { view, .. }
            | Message::Part { view, .. }
            | Message::Want { view, .. }
            | Message::Found { view, .. } => *view,
        }
    }
}

/// Puts a record into a chunk.
pub(crate) fn put_record(chunk: &mut Vec<u8>, record: &[u8]) {
    chunk.put_u32_le(u32::try_from(record.len()).unwrap_or(u32::MAX));
    chunk.extend_from_slice(record);
}

/// The entries of a chunk, which must follow each other behind `after`.
pub(crate) fn entries_of(chunk: Vec<u8>, after: Number) -> Result<Vec<Entry>, MessageError> {
    let mut chunk = Bytes::from(chunk);
    let (mut entries, mut last) = (Vec::new(), after);
    while !chunk.is_empty() {
        if chunk.len() < 4 {
            return Err(MessageError::Malformed);
        }
        let length = chunk.get_u32_le() as usize;
        if length > chunk.len() {
            return Err(MessageError::Malformed);
        }
        let entry = Entry::from_record(chunk.split_to(length)).map_err(|_| MessageError::Malformed)?;
        if entry.number.position != last.position + 1 || entry.number.view < last.view {
            return Err(MessageError::Impossible);
        }
        last = entry.number;
        entries.push(entry);
    }
    Ok(entries)
}

/// The sites of a view without this one.
pub(crate) fn others(sites: &[SiteId], me: SiteId) -> Vec<SiteId> {
    sites.iter().copied().filter(|site| *site != me).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was before a part could be followed by another.
    #[derive(Debug, PartialEq, Encode, Decode)]
    enum Before {
        #[n(6)]
        FetchCheckpoint {
            #[n(0)]
            view: ViewId,
            #[n(1)]
            number: Option<Number>,
            #[n(2)]
            at: Locator,
            #[n(3)]
            bytes_max: u32,
        },
        #[n(7)]
        Part {
            #[n(0)]
            view: ViewId,
            #[n(1)]
            head: CheckpointHead,
            #[n(2)]
            at: Locator,
            #[n(3)]
            next: Option<Locator>,
            #[cbor(n(4), with = "minicbor::bytes")]
            bytes: Vec<u8>,
        },
    }

    #[test]
    fn a_store_of_before_asks_for_one_part_and_takes_it() {
        let (view, at, head) = (ViewId::default(), Locator::default(), CheckpointHead::default());
        let old = Before::FetchCheckpoint { view, number: None, at: at.clone(), bytes_max: 9 };
        let new =
            Message::FetchCheckpoint { view, number: None, at: at.clone(), bytes_max: 9, several: false };
        assert_eq!(Message::decode(&wire::codec::encode(&old)), Ok(new.clone()));
        assert_eq!(wire::codec::decode::<Before>(&new.encode()).ok(), Some(old));
        let old = Before::Part { view, head: head.clone(), at: at.clone(), next: None, bytes: vec![1] };
        let new = Message::Part { view, head, at, next: None, bytes: vec![1], more: false };
        assert_eq!(Message::decode(&wire::codec::encode(&old)), Ok(new.clone()));
        assert_eq!(wire::codec::decode::<Before>(&new.encode()).ok(), Some(old));
    }
}
