//! What was observed of a durable group: what disks hold, what members apply, what clients are told.

use bytes::Bytes;
use durable::{ClientId, Number};
use wire::{SiteIncarnation, StoreId, Time};

/// A request's name.
pub type RequestId = (ClientId, u64);

/// One thing that was seen.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When, in the world's time.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum What {
    /// A store that counts has an entry on its disk.
    Held(StoreId, Number),
    /// A store that counts has a state of all up to this position on its disk.
    HeldUpTo(StoreId, u64),
    /// A member applied an entry.
    Applied {
        /// Where.
        life: SiteIncarnation,
        /// The entry.
        number: Number,
        /// The request in it.
        request: RequestId,
        /// What the application answered: no other history leads to this answer.
        answer: Bytes,
        /// How many stores had to hold the entry.
        writes: usize,
    },
    /// A member took its state from a checkpoint.
    Restored {
        /// Where.
        life: SiteIncarnation,
        /// The state is of all up to here.
        position: u64,
        /// The digest of all that was applied.
        digest: u64,
    },
    /// A client asked for the first time.
    Asked(RequestId),
    /// A client was answered.
    Answered(RequestId, Bytes),
    /// A client was refused what it had asked for.
    Refused(RequestId, String),
    /// Somebody asked to read what was acknowledged before.
    ReadAsked(u64),
    /// He may read: this is applied where he asked.
    ReadDone(u64, u64),
}
