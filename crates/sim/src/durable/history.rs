//! What was observed of a durable group: what disks hold, what members apply, what clients are told.

use bytes::Bytes;
use durable::{ClientId, Configuration, Number};
use wire::{SiteIncarnation, StoreId, Time};

/// A request's name.
pub type RequestId = (ClientId, u64);

/// One thing that was seen.
#[derive(Clone, Debug)]
pub struct Observation<S> {
    /// When, in the world's time.
    pub at: Time,
    /// What.
    pub what: What<S>,
}

/// What has become of something that a site without a majority has written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spooled {
    /// Whoever asked for it was told.
    Told,
    /// It is there, and the answer was lost.
    Untold,
    /// Nobody has it any more: the site was emptied, as a machine is whose disk has rotted, and it was on no other.
    Lost,
}

/// What was seen; `S` is what readers see of the service.
#[derive(Clone, Debug)]
pub enum What<S> {
    /// A store was given the first entry of a view, which goes on from a log that ends here.
    Begun(Number, Number),
    /// A store was given the entry of a configuration.
    Configured(Number, Configuration),
    /// A store has a request's entry on its disk.
    Held(StoreId, Number),
    /// A store has a state of all up to this position on its disk.
    HeldUpTo(StoreId, u64),
    /// A member applied an entry.
    Applied {
        /// Where.
        life: SiteIncarnation,
        /// The entry.
        number: Number,
        /// The request in it.
        request: RequestId,
        /// What the application answered: a digest, to which no other history leads, and the service's answer.
        answer: Bytes,
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
    /// A client asked for the first time, for this.
    Asked(RequestId, Bytes),
    /// A client was answered.
    Answered(RequestId, Bytes),
    /// A client was refused what it had asked for.
    Refused(RequestId, String),
    /// A site without a majority has written this down.
    Queued(Bytes, Spooled),
    /// Somebody asked to read what was acknowledged before.
    ReadAsked(u64),
    /// He may read.
    ReadDone {
        /// Which read.
        number: u64,
        /// So much is applied where he asked.
        position: u64,
        /// What he reads.
        seen: S,
    },
    /// Somebody looked at what a site had.
    Looked(SiteIncarnation, S),
    /// Everything is over, and this is what can be read at a site.
    Left(SiteIncarnation, Vec<S>),
}
