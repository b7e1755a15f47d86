//! The member interface, which runs on every site [Neely 94, III.B.2, V.C].
//!
//! [`Interface`] serves the local processes: it numbers them and their joins, turns wishes into requests and
//! passes views on to them. [`Host`] is the other end at an mserver, for sites that have none of their own.
//! `attachment` chooses and keeps such an mserver; [`message`] is what the two say to each other.

mod attachment;
mod host;
mod local;
mod looks;
pub mod message;

use std::sync::Arc;
use std::time::Duration;

use wire::{GroupId, GroupName, MemberId, SiteId, SiteIncarnation, ViewId};

use crate::group::{Create, GroupOptions, GroupView, Outcome, Reason};
use crate::step::{RequestId, Why};

pub use host::Host;
pub use local::Interface;
pub use looks::{LOOKS_MAX, Looked};

/// Wishes of local processes that may wait for an outcome. At the bound a wish is answered with [`WishError::Busy`].
/// What the interface must ask itself (leaves and failures) is bounded by the memberships it has.
pub const WISHES_MAX: usize = 1_024;

/// A member interface numbers its requests from here, its site's mserver from 1: one life of a site never uses
/// a number twice.
pub const INTERFACE_REQUESTS: u64 = 1 << 63;

/// What an interface or a host must know before it starts. The defaults suit a local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This life of this site.
    pub life: SiteIncarnation,
    /// Mservers to attach to, in order of preference; empty: the site runs its own.
    pub mservers: Vec<SiteId>,
    /// An unanswered request is said again after this long, then after twice as long, and so on.
    pub retry_min: Duration,
    /// The longest time between two repeats.
    pub retry_max: Duration,
    /// How long a wish waits for its outcome.
    pub patience: Duration,
    /// How often an attached site gives a sign of life.
    pub beat: Duration,
    /// After so long without an answer an mserver is taken for gone. An attached site is taken for gone after
    /// twice as long, so that it has the time to attach elsewhere.
    pub silence: Duration,
}

impl Config {
    /// The defaults for a site with an mserver of its own.
    pub fn new(life: SiteIncarnation) -> Config {
        Config {
            life,
            mservers: Vec::new(),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            beat: Duration::from_millis(250),
            silence: Duration::from_millis(1_500),
        }
    }

    /// The defaults for a site that attaches to one of these mservers.
    pub fn attached(life: SiteIncarnation, mservers: Vec<SiteId>) -> Config {
        Config { mservers, ..Config::new(life) }
    }
}

/// How to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The role to play, if any.
    pub role: Option<String>,
    /// Whether the join may create the group.
    pub create: Create,
    /// The group's rules, if it does.
    pub options: GroupOptions,
}

/// A wish was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// [`WISHES_MAX`] wishes wait already.
    #[error("too many requests wait; try again")]
    Busy,
    /// No such process lives here, or it is not a member.
    #[error("no such process or member here")]
    Unknown,
}

/// Why a wish came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was refused.
    #[error("{0}")]
    Refused(Reason),
    /// This side of a partition may not decide it, and the line did not come back in time.
    #[error("this side of the partition may only read")]
    NotPrimary,
    /// No answer came in time.
    #[error("no answer from the membership service in time")]
    Unanswered,
}

/// What the interface tells its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A view of a group with members here: once, in order, never below one that was told. A member of a
    /// Weak group may miss views that a newer one overtook in the queue.
    View {
        /// The view. Members without a previous view are given the group's state.
        view: Arc<GroupView>,
        /// The local members that it lists.
        members: Vec<MemberId>,
    },
    /// At an attached site: a view that lists no member here. If there was one, the group ends here with it.
    Over {
        /// The view.
        view: Arc<GroupView>,
    },
    /// A change of a group has begun (a hint, M12).
    StartChange {
        /// The group.
        group: GroupId,
        /// The attempt.
        attempt: ViewId,
        /// The members that it would leave.
        members: Vec<MemberId>,
    },
    /// A join came to nothing: the process is not a member under this number and never will be.
    JoinFailed {
        /// Who wanted to join.
        member: MemberId,
        /// What.
        group: GroupName,
        /// Why not.
        why: Failure,
    },
    /// A member is no longer in its group.
    Left {
        /// Who.
        member: MemberId,
        /// Which group.
        group: GroupId,
        /// Why.
        why: Why,
    },
    /// A member of a side that died joins again as another member; it will be given the living side's state.
    Rejoining {
        /// The member that it was.
        was: MemberId,
        /// The member that it will be.
        member: MemberId,
        /// The group.
        group: GroupName,
    },
    /// A wish other than a join or a leave has its outcome.
    Answered {
        /// Which.
        id: RequestId,
        /// What became of it; none if the interface's patience ran out.
        outcome: Option<Outcome>,
    },
    /// Something new is known of a group that an attached site looks at.
    Looked {
        /// The group.
        name: GroupName,
    },
    /// The site is attached to this mserver now.
    Attached {
        /// Where the mserver is.
        via: SiteId,
    },
    /// No mserver answers; the interface goes on trying.
    Detached,
}
