//! Casts of outsiders: a client of a group that is no member has its casts carried by a contact, a site that
//! has members [ISIS Manual 2.0, chapter 1: a program addresses the group and need not know who is in it].
//!
//! * The [`Client`] numbers its casts, keeps each until its fate is known, and sends it again through another
//!   contact when the first dies. A repeated request keeps its id [Ravindran & Chanson 85, 4.2].
//! * The [`Contact`] casts it in the group, in total order, under the client's own id, and tells the client when
//!   the cast is *settled*: delivered here, and every member of the view has it and its place in the order.
//! * The [`Dedup`] at every member delivers each (client, sequence) at most once: by what was delivered in the view,
//!   which is the same at all its sites, and by never letting a contact cast what was delivered in an earlier one.
//!
//! From this follows the promise: a cast that the client was told is carried has been delivered exactly once at
//! every member that stays, in one view; one whose fate is unknown, at most once.

mod client;
mod contact;
mod dedup;
#[cfg(test)]
mod random_test;
mod table;

pub use client::{Client, ClientError, ClientEvent, Fate};
pub use contact::{Contact, ContactOutput};
pub use dedup::{Carriage, Dedup, DedupError, DedupOutput, Opened};
pub use table::{Judgement, Table};

use bytes::Bytes;
use minicbor::{Decode, Encode};
use wire::{GroupId, ProcessId, SiteIncarnation, ViewId};

use super::caller::{Outcome, Replies};

/// How far a client's casts may run ahead of its oldest one whose fate is open.
pub const CLIENT_WINDOW: u64 = 64;
/// How many sequence numbers behind the newest a table tells apart. Older ones count as delivered. Four times
/// [`CLIENT_WINDOW`], so that a repeated cast never falls out of it.
pub const TABLE_WINDOW: u64 = 256;

/// A client of a group: the process, and which of its streams of casts. A stream's numbers are never used again, so a
/// process that makes a second [`Client`] for a group gives it another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClientId {
    /// The process.
    #[n(0)]
    pub process: ProcessId,
    /// Its stream.
    #[n(1)]
    pub stream: u32,
}

/// Where a carried cast comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whose cast it is.
    pub client: ClientId,
    /// Its number in the stream, from 1.
    pub sequence: u64,
    /// Whether the client had asked a contact to carry it before.
    pub again: bool,
}

/// In which order a client's cast is carried. The weaker orders are not offered to outsiders: one order for all
/// is what makes all sites judge copies alike, and it contains the weaker ones (a client's casts arrive first-in first-out, where not several sides of a partition
/// live).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// In total order (abcast).
    #[default]
    Total,
    /// In total order, when every member has it (safe).
    Safe,
    /// Ordered against everything, views included (gbcast).
    Group,
}

/// A client's request to a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// Into which group.
    pub group: GroupId,
    /// Whose cast.
    pub origin: Origin,
    /// The client's oldest cast whose fate is open.
    pub oldest: u64,
    /// The group's view that the client knew when it first asked a contact to carry this.
    pub as_of: ViewId,
    /// In which order.
    pub order: Order,
    /// How many replies the client wants.
    pub replies: Replies,
    /// After how many milliseconds the collection of replies ends.
    pub time_out_ms: u32,
    /// The cast's payload.
    pub payload: Bytes,
}

/// What a contact tells a client about a cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is settled: delivered exactly once at every member of the view.
    Carried,
    /// It was not carried this time.
    Refused(Refusal),
    /// The replies to it; it is settled too.
    Outcome(Box<Outcome>),
}

/// Why a contact did not carry a cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// The contact's site has no member in the group: ask another.
    #[error("the contact is no member of the group")]
    NotMember,
    /// The contact carries as much as it may: ask again later, or another.
    #[error("the contact is busy")]
    Busy,
    /// The group no longer knows whether it has delivered the cast, since it has forgotten the client.
    #[error("the group has forgotten the client")]
    Forgotten,
    /// The group holds the client for dead.
    #[error("the group holds the client for dead")]
    Gone,
}

/// Which clients are gone: the body of a [`super::Kind::Gone`] cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Gone {
    /// A process, with all its streams.
    #[n(0)]
    Process(#[n(0)] ProcessId),
    /// Everything that lived in this life of a site.
    #[n(1)]
    Life(#[n(0)] SiteIncarnation),
}

impl Gone {
    /// The payload of the cast that tells a group.
    pub(crate) fn encode(&self) -> Bytes {
        minicbor::to_vec(self).expect("writing to memory does not fail").into()
    }

    /// Whether this client is among them.
    pub fn covers(&self, client: &ClientId) -> bool {
        match self {
            Gone::Process(process) => client.process == *process,
            Gone::Life(life) => client.process.birth == *life,
        }
    }
}
