//! What mservers of a core-set say to each other (A3).

use minicbor::{Decode, Encode};
use wire::{ClusterId, ViewId};

use crate::group::Branch;
use crate::kernel::record::Learned;
use crate::step::{Peer, Request, Step};

/// What every message carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// The cluster: messages of another are refused.
    #[n(0)]
    pub cluster: ClusterId,
    /// The cluster epoch: messages of another are refused.
    #[n(1)]
    pub cluster_epoch: u32,
    /// Who speaks.
    #[n(2)]
    pub from: Peer,
    /// The view it has installed, if any.
    #[n(3)]
    pub view: Option<ViewId>,
    /// The newest primary view it knows, and its position; none before it was let in.
    #[n(4)]
    pub line: Option<(ViewId, u64)>,
}

/// A message between mservers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Message<T> {
    /// What every message carries.
    #[n(0)]
    pub header: Header,
    /// What is said.
    #[n(1)]
    pub body: Body<T>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Body<T> {
    /// Where are you? Asked at start, of silent members, and in search of a merge.
    #[n(0)]
    Query,
    /// Here; the header says the rest.
    #[n(1)]
    Reply,
    /// A request, to all mservers of the view.
    #[n(2)]
    Submit(#[n(0)] Request),
    /// The broadcast election: *prepare* in Paxos.
    #[n(3)]
    CoordFail {
        /// The attempt.
        #[n(0)]
        attempt: ViewId,
    },
    /// The answer to CoordFail: *promise*.
    #[n(4)]
    Status(#[n(0)] Status),
    /// A proposed step: *accept*.
    #[n(5)]
    Initiate {
        /// The attempt.
        #[n(0)]
        attempt: ViewId,
        /// The proposed step.
        #[n(1)]
        step: Step,
        /// The line view that it starts from.
        #[n(2)]
        base: Step,
        /// Requests that the coordinator knows and that are not settled.
        #[n(3)]
        pending: Vec<Request>,
    },
    /// *Accepted*, or ready from who is no acceptor.
    #[n(6)]
    Ack {
        /// The attempt: an acknowledgement counts for this one only (C13).
        #[n(0)]
        attempt: ViewId,
        /// Whether it is a vote: the step is in the acceptor's record.
        #[n(1)]
        accepted: bool,
    },
    /// No: a higher attempt was promised, or this one is over.
    #[n(7)]
    Refuse {
        /// The attempt that is refused.
        #[n(0)]
        attempt: ViewId,
        /// What was promised.
        #[n(1)]
        promised: ViewId,
    },
    /// An agreed step: *learn*.
    #[n(8)]
    Commit {
        /// The attempt that was acknowledged.
        #[n(0)]
        attempt: ViewId,
        /// The step.
        #[n(1)]
        step: Step,
    },
    /// The line with its tables, for who lacks the base; and a step off it, if that is what is meant.
    #[n(9)]
    Init {
        /// The line.
        #[n(0)]
        line: Box<Learned<T>>,
        /// A non-primary step that starts from it.
        #[n(1)]
        step: Option<Step>,
    },
    /// What became of this attempt, or of the view of this id?
    #[n(10)]
    MsgQuery {
        /// The attempt, or the id of a view.
        #[n(0)]
        attempt: ViewId,
        /// The tables are wanted too.
        #[n(1)]
        full: bool,
    },
    /// The attempt goes on.
    #[n(11)]
    Wait {
        /// The attempt.
        #[n(0)]
        attempt: ViewId,
        /// How many acknowledgements are missing.
        #[n(1)]
        left: u32,
    },
    /// The life that spoke is not the newest of its site: its disk is an old copy (C13).
    #[n(12)]
    Surpassed {
        /// The life that spoke.
        #[n(0)]
        old: Peer,
        /// The newest life seen.
        #[n(1)]
        newest: Peer,
    },
}

/// What a promise tells (C8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    /// The attempt that is promised.
    #[n(0)]
    pub attempt: ViewId,
    /// The newest primary step known.
    #[n(1)]
    pub line: Step,
    /// What was accepted in that line view's instance, and at which attempt.
    #[n(2)]
    pub accepted: Option<(ViewId, Step)>,
    /// The view that is installed.
    #[n(3)]
    pub view: Option<ViewId>,
    /// Requests that are not settled on the line.
    #[n(4)]
    pub pending: Vec<Request>,
    /// What the sender's side of a partition brings.
    #[n(5)]
    pub branch: Option<Branch>,
    /// The newest lives that the sender has seen.
    #[n(6)]
    pub hears: Vec<Peer>,
}

impl<T> Body<T> {
    /// Whether the sender's record must be on disk before this leaves the site (A5). An acknowledgement that is
    /// no vote, and everything that only repeats what is decided or asks, needs nothing.
    pub fn needs_disk(&self) -> bool {
        match self {
            Body::Status(_) => true,
            Body::Ack { accepted, .. } => *accepted,
            Body::Query
            | Body::Reply
            | Body::Submit(_)
            | Body::CoordFail { .. }
            | Body::Initiate { .. }
            | Body::Refuse { .. }
            | Body::Commit { .. }
            | Body::Init { .. }
            | Body::MsgQuery { .. }
            | Body::Wait { .. }
            | Body::Surpassed { .. } => false,
        }
    }

    /// Its name, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Query => "Query",
            Body::Reply => "Reply",
            Body::Submit(_) => "Submit",
            Body::CoordFail { .. } => "CoordFail",
            Body::Status(_) => "Status",
            Body::Initiate { .. } => "Initiate",
            Body::Ack { .. } => "Ack",
            Body::Refuse { .. } => "Refuse",
            Body::Commit { .. } => "Commit",
            Body::Init { .. } => "Init",
            Body::MsgQuery { .. } => "MsgQuery",
            Body::Wait { .. } => "Wait",
            Body::Surpassed { .. } => "Surpassed",
        }
    }
}
