//! What goes into a machine and comes out of it, beside casts and the disk.

use bytes::Bytes;
use wire::{SiteId, StoreId, ViewId};

use crate::configuration::ChangeError;
use crate::entry::{ClientId, Entry, Number};
use crate::message::Life;
use crate::storage::CheckpointHead;

/// A view as a machine needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Its id; rises.
    pub id: ViewId,
    /// Whether it is on the primary line, and its side lives.
    pub primary: bool,
    /// The sites with members, this one included, the most senior first.
    pub sites: Vec<SiteId>,
}

/// Names a read at the site that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What the group can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It can be read here as this site last knew it, and not written (D9).
    ReadOnly(Why),
    /// It can be written and read.
    Active,
}

/// Why a group can only be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// There is no view yet.
    NoView,
    /// The view is not on the primary line.
    NotPrimary,
    /// The view's stores have not agreed on a base. It goes on by itself if enough of them are here.
    Stores {
        /// How many that count are known to be here.
        here: u16,
        /// How many are needed; 0 if the configuration is not known here.
        needed: u16,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was applied, once, and this is what the application said then.
    Applied(Bytes),
    /// It was applied, once; the answer was too long to be kept for a repeat.
    AppliedLong,
    /// It was not applied by this repeat.
    Refused(Refused),
}

/// Why a request was refused by the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refused {
    /// Its answer was given and has been forgotten since (D13).
    #[error("it was answered before, and the answer is forgotten")]
    Answered,
    /// The client is not known, and has been answered before: whether this was applied is not known. It needs a new id.
    #[error("the client is forgotten; whether the request was applied is not known")]
    Forgotten,
}

/// Why a request or a read was not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The group may only be read now.
    #[error("the group can only be read now")]
    NotActive,
    /// There is no room for it: this store's disk is full, or those of so many that W are not left
    /// ([`Status::full`](crate::Status)).
    #[error("the disks of too many stores are full")]
    Full,
    /// Too much waits here.
    #[error("too many requests wait here; try again")]
    Busy,
    /// The payload is longer than the settings allow, or the sequence number is 0.
    #[error("the request is too large")]
    TooLarge,
    /// The store has failed.
    #[error("the store has failed and says nothing any more")]
    Stopped,
}

/// Why a store says nothing any more. The site has to be restarted, and recovers from its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fatal {
    /// A write or a sync failed (D4).
    #[error("a write failed: what is on the disk is not known any more")]
    WriteFailed,
    /// Something committed does not agree with what is here.
    #[error("this store's log differs from what the group has committed")]
    Diverged,
}

/// What a machine tells its site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// What the group can do from now on.
    Mode(Mode),
    /// Apply this entry, a request, and call [`handle_applied`](crate::Durable::handle_applied) with the answer. No other
    /// is told before. Its time is that of the state: it never goes back.
    Apply {
        /// The entry.
        entry: Entry,
        /// The time of the state.
        clock: u64,
    },
    /// A request that was proposed here is answered.
    Answer {
        /// Who asked.
        client: ClientId,
        /// Its number.
        sequence: u64,
        /// What became of it.
        answer: Answer,
    },
    /// Everything that was acknowledged before the read was asked for is applied here.
    Read(ReadId),
    /// Take a checkpoint of the state as it is now, with `window` as domain 0, and call
    /// [`handle_checkpoint_taken`](crate::Durable::handle_checkpoint_taken) when it is durable and the current one.
    Checkpoint {
        /// What it is of.
        head: CheckpointHead,
        /// The machine's own domain.
        window: Bytes,
    },
    /// The current checkpoint was received from others: take the state from it.
    Restore(CheckpointHead),
    /// A change of the configuration that was asked for here is in force, or was refused.
    Changed(Result<Number, ChangeError>),
    /// Peers have seen a later life of this store than it remembers: it may learn, and does not count (D16). The driver
    /// takes a new store.
    Surpassed {
        /// This store.
        store: StoreId,
        /// The life they have seen.
        seen: Life,
    },
    /// This store's disk is full: it is behind, takes no requests, and goes on by itself when there is room. Or there is
    /// room again.
    Full(bool),
    /// The store has failed.
    Fatal(Fatal),
}

/// A message from site to site, beside the group's order. It may be lost; order does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transmit {
    /// To whom; never empty, never this site.
    pub to: Vec<SiteId>,
    /// What.
    pub message: Bytes,
}
