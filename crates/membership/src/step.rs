//! The vocabulary of core-set agreement: peers, requests, steps.

use minicbor::{Decode, Encode};
use wire::{Incarnation, SiteId, SiteIncarnation, StoreId, ViewId};

use crate::group::{Branch, GroupRequest};

/// One life of a site, with the store it votes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Peer {
    /// The site.
    #[n(0)]
    pub site: SiteId,
    /// Which of its lives.
    #[n(1)]
    pub incarnation: Incarnation,
    /// Its data directory. A restarted site keeps its vote (same store) but is another member.
    #[n(2)]
    pub store: StoreId,
}

impl Peer {
    /// The life, without the store.
    pub fn life(&self) -> SiteIncarnation {
        SiteIncarnation { site: self.site, incarnation: self.incarnation }
    }
}

/// A member of a core-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct CoreMember {
    /// Who.
    #[n(0)]
    pub peer: Peer,
    /// The step that let it in.
    #[n(1)]
    pub joined_at: ViewId,
}

/// Why a member is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Why {
    /// It left of its own accord.
    #[n(0)]
    Left,
    /// It was established as failed.
    #[n(1)]
    Failed,
    /// It is on another side, or could be reached by nobody.
    #[n(2)]
    Partitioned,
}

/// How many sites' word a failure rests on (C15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Witnesses {
    /// One does not hear it, nobody else spoke, and it did not refute. The one may be deaf.
    #[n(0)]
    One,
    /// Two do not hear it, or it said so itself.
    #[n(1)]
    Two,
}

/// Names a request for ever: the life of the site that made it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId {
    /// Where it was made.
    #[n(0)]
    pub origin: SiteIncarnation,
    /// Its number there: an mserver's own requests (joins, failures) from 1, those that its member interface
    /// numbers from 2^63, so that the two need not share a counter.
    #[n(1)]
    pub n: u64,
}

/// Something that a step may grant. Applied at most once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Request {
    /// Which request.
    #[n(0)]
    pub id: RequestId,
    /// What is asked.
    #[n(1)]
    pub kind: RequestKind,
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum RequestKind {
    /// Let a site into the core-set (C16).
    #[n(0)]
    Join(#[n(0)] Peer),
    /// A member goes of its own accord (C18).
    #[n(1)]
    Leave(#[n(0)] SiteIncarnation),
    /// A member is established as failed (C15).
    #[n(2)]
    Fail(#[n(0)] SiteIncarnation, #[n(1)] Why, #[n(2)] Witnesses),
    /// Move a member to rank 0.
    #[n(3)]
    Reorder(#[n(0)] SiteId),
    /// Something about an application group; the kernel passes it to the tables unread.
    #[n(4)]
    Group(#[n(0)] GroupRequest),
}

/// One view change of a core-set. Immutable; `id` is the attempt that first proposed it and stays when it is
/// proposed again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Step {
    /// The view this step makes.
    #[n(0)]
    pub id: ViewId,
    /// The line view it starts from.
    #[n(1)]
    pub base: ViewId,
    /// Its place on the line: one more than its base's if primary, else its base's.
    #[n(2)]
    pub position: u64,
    /// Whether it is on the line.
    #[n(3)]
    pub primary: bool,
    /// The members by rank, 0 first.
    #[n(4)]
    pub members: Vec<CoreMember>,
    /// Who is no longer there, and why.
    #[n(5)]
    pub removed: Vec<(Peer, Why)>,
    /// What it grants, oldest first.
    #[n(6)]
    pub requests: Vec<Request>,
    /// Digest of the tables after the step.
    #[n(7)]
    pub digest: u64,
    /// What the sides of a partition bring, by the view of each (A6). The tables after a step are a function of
    /// its base's tables and of the step alone, so that whoever must propose it again can.
    #[n(8)]
    pub branches: Vec<Branch>,
}

impl Step {
    /// Whether the step lists this peer: the site, in this life, with this store.
    pub fn lists(&self, peer: Peer) -> bool {
        self.members.iter().any(|m| m.peer == peer)
    }

    /// The rank of a site, if it is a member.
    pub fn rank(&self, site: SiteId) -> Option<usize> {
        self.members.iter().position(|m| m.peer.site == site)
    }
}
