//! What a machine asks of its disk, and what it finds there.
//!
//! The disk has three things: one small *meta record*, replaced atomically; the *log*; at most two *checkpoints*, the
//! current one and one being received. Writes of the log happen in the order in which they were asked for, and are
//! durable in that order too; the meta record and the checkpoint may overtake them.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::configuration::Configuration;
use crate::entry::Number;

/// Names one operation. Tokens rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its position.
    pub position: u64,
    /// Its bytes, with a checksum of their own.
    pub bytes: Bytes,
}

/// A place in a checkpoint: everything before it has been sent. It means something to the application that made the
/// checkpoint, and the same at every store that has the checkpoint of this number (D19).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Locator {
    /// The domain, a type of state; they are sent in this order. 0 is the machine's own: the window of answers, by
    /// byte offset (8 bytes, big-endian; empty: 0).
    #[n(0)]
    pub domain: u16,
    /// Where in the domain; empty: at its beginning.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Vec<u8>,
}

/// A part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// What is at the locator, at most about the bytes that were asked for.
    pub bytes: Bytes,
    /// Where the next part is; none: this was the last.
    pub next: Option<Locator>,
}

/// What a checkpoint is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct CheckpointHead {
    /// The last entry that was applied before it.
    #[n(0)]
    pub number: Number,
    /// The time of the state: the greatest of its entries.
    #[n(1)]
    pub clock: u64,
    /// The entry of the configuration in force, and the configuration.
    #[n(2)]
    pub configuration: (Number, Configuration),
}

/// Something for the disk. Each is answered by [`handle_stored`](crate::Durable::handle_stored), or by
/// [`handle_store_failed`](crate::Durable::handle_store_failed) after which nothing more is asked, or by
/// [`handle_disk_full`](crate::Durable::handle_disk_full) if nothing of it was written; reads by what they read.
/// When one write of the log is refused for want of room, those behind it that were asked for already are refused too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoreOp {
    /// Replace the meta record.
    Meta {
        /// Which operation.
        token: Token,
        /// The whole record.
        record: Bytes,
    },
    /// Append records to the log; the first is at its end. One sync may cover many of these.
    Append {
        /// Which operation.
        token: Token,
        /// Without gaps.
        records: Vec<Record>,
    },
    /// Cut the log: this position and all behind it go.
    Cut {
        /// Which operation.
        token: Token,
        /// The first position to go.
        from: u64,
    },
    /// Write a record again where a damaged one is (D14).
    Repair {
        /// Which operation.
        token: Token,
        /// What belongs there.
        record: Record,
    },
    /// Free the log before a position, by whole segments; what stays is no error. It need not be durable.
    Compact {
        /// Which operation.
        token: Token,
        /// The first position that is still needed.
        before: u64,
    },
    /// Read records: [`handle_read`](crate::Durable::handle_read).
    Read {
        /// Which operation.
        token: Token,
        /// The first position.
        from: u64,
        /// The last; fewer may be read, at least one.
        to: u64,
        /// Stop when more bytes than this would be read.
        bytes_max: usize,
        /// Nobody is expected to read them again: the system need not keep them in memory.
        once: bool,
    },
    /// Read a part of the current checkpoint: [`handle_checkpoint_read`](crate::Durable::handle_checkpoint_read).
    ReadCheckpoint {
        /// Which operation.
        token: Token,
        /// Of which checkpoint.
        number: Number,
        /// Where.
        at: Locator,
        /// About how much.
        bytes_max: usize,
    },
    /// Keep a part of the checkpoint that is being received. A part at the beginning (an empty locator) replaces
    /// whatever was being received before.
    WriteCheckpoint {
        /// Which operation.
        token: Token,
        /// Of which checkpoint.
        number: Number,
        /// Where it belongs.
        at: Locator,
        /// The part.
        bytes: Bytes,
    },
    /// What was received is the current checkpoint from now on, and the log is empty behind it, or as it was: both or neither.
    /// Answered by [`handle_checkpoint_installed`](crate::Durable::handle_checkpoint_installed).
    InstallCheckpoint {
        /// Which operation.
        token: Token,
        /// What it is of.
        head: CheckpointHead,
        /// Whether what the log has behind it stays.
        keep: bool,
    },
}

impl StoreOp {
    /// Which operation it is.
    pub fn token(&self) -> Token {
        match self {
            StoreOp::Meta { token, .. }
            | StoreOp::Append { token, .. }
            | StoreOp::Cut { token, .. }
            | StoreOp::Repair { token, .. }
            | StoreOp::Compact { token, .. }
            | StoreOp::Read { token, .. }
            | StoreOp::ReadCheckpoint { token, .. }
            | StoreOp::WriteCheckpoint { token, .. }
            | StoreOp::InstallCheckpoint { token, .. } => *token,
        }
    }
}

/// What has become of an operation: for [`handle_done`](crate::Durable::handle_done), which calls the `handle_*` of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A write is durable.
    Stored(Token),
    /// These are, by one sync: one acknowledgement says so (D2).
    StoredTogether(Vec<Token>),
    /// It failed (D4).
    Failed(Token),
    /// There was no room, and nothing of it was written.
    Full(Token),
    /// Records were read.
    Read(Token, Vec<Record>),
    /// A part of a checkpoint was read; none: that checkpoint is not there any more.
    Part(Token, Option<Chunk>),
    /// A received checkpoint is the current one; its domain 0.
    Installed(Token, Bytes),
    /// The checkpoint of [`Event::Checkpoint`](crate::Event::Checkpoint) is the current one, and has so many bytes.
    Taken(Number, u64),
    /// It is not, for want of room: the one before stays.
    NotTaken(Number),
}

impl Done {
    /// The same, with writes that are durable one after the other as one.
    pub fn together(done: impl IntoIterator<Item = Done>) -> Vec<Done> {
        let mut all: Vec<Done> = Vec::new();
        for done in done {
            match (done, all.last_mut()) {
                (Done::Stored(token), Some(Done::StoredTogether(tokens))) => tokens.push(token),
                (Done::Stored(token), _) => all.push(Done::StoredTogether(vec![token])),
                (done, _) => all.push(done),
            }
        }
        all
    }
}

/// Something that may leave only when all writes up to a token are durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AfterWrite<T> {
    needs: Token,
    what: T,
}

impl<T> AfterWrite<T> {
    pub(crate) fn new(needs: Token, what: T) -> AfterWrite<T> {
        AfterWrite { needs, what }
    }

    /// What it holds, if the oldest write that is not durable (none: all are) is a later one.
    pub(crate) fn open(self, oldest: Option<Token>) -> Result<T, AfterWrite<T>> {
        match oldest.is_none_or(|oldest| oldest > self.needs) {
            true => Ok(self.what),
            false => Err(self),
        }
    }
}
