//! The vocabulary of application groups: options, requests, views.

use minicbor::{Decode, Encode};
use wire::{GroupId, GroupName, MemberId, ProcessId, ViewId};

use crate::step::Why;

/// How much agreement a group asks for [Neely 94, IV].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Consistency {
    /// Eventual and cheap: views may be skipped.
    #[n(0)]
    Weak,
    /// Every member sees the same views in the same order.
    #[n(1)]
    Strong,
    /// Strong, and messages are delivered in views.
    #[n(2)]
    #[default]
    VirtuallySynchronous,
}

/// Which side of a partition lives [Neely 94, IV.E.2].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Lives {
    /// The side that holds the line.
    #[n(0)]
    #[default]
    Primary,
    /// Every side.
    #[n(1)]
    All,
    /// A side with at least so many members.
    #[n(2)]
    AtLeast(#[n(0)] u32),
    /// A side that holds this member, with its join number.
    #[n(3)]
    ContainingMember(#[n(0)] MemberId),
    /// Every side that holds a member with this role.
    #[n(4)]
    ContainingRole(#[n(0)] String),
}

/// Which sides become one group again [Neely 94, IV.E.2].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Merges {
    /// None: they stay two groups.
    #[n(0)]
    Never,
    /// Sides of one name.
    #[n(1)]
    #[default]
    SameName,
    /// Sides of one name of which one holds a member with this role.
    #[n(2)]
    ContainingRole(#[n(0)] String),
}

/// A group's rules, fixed by the join that creates it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct GroupOptions {
    /// How much agreement.
    #[n(0)]
    pub consistency: Consistency,
    /// Which side lives.
    #[n(1)]
    pub lives: Lives,
    /// Which sides merge.
    #[n(2)]
    pub merges: Merges,
    /// Members must answer at the application level within so many milliseconds; 0: not asked.
    #[n(3)]
    pub probe_ms: u32,
    /// Changes are gathered for so many milliseconds before they are asked for; 0: at once.
    #[n(4)]
    pub aggregate_ms: u32,
}

/// Whether a join may create the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Create {
    /// Create it if it does not exist.
    #[n(0)]
    #[default]
    IfMissing,
    /// It must exist.
    #[n(1)]
    MustExist,
    /// It must not exist.
    #[n(2)]
    MustCreate,
}

/// What may be asked about application groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum GroupRequest {
    /// A process joins.
    #[n(0)]
    Join {
        /// The group.
        #[n(0)]
        group: GroupName,
        /// The joining member.
        #[n(1)]
        member: MemberId,
        /// The role it plays, if any.
        #[n(2)]
        role: Option<String>,
        /// Whether it may create the group.
        #[n(3)]
        create: Create,
        /// The rules, if it creates the group.
        #[n(4)]
        options: GroupOptions,
    },
    /// A member leaves.
    #[n(1)]
    Leave {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The member.
        #[n(1)]
        member: MemberId,
    },
    /// A process is gone, from all its groups.
    #[n(2)]
    Fail {
        /// The process.
        #[n(0)]
        process: ProcessId,
    },
    /// A member is asked to go (slow, or hung).
    #[n(3)]
    Expel {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The member.
        #[n(1)]
        member: MemberId,
    },
    /// Some members become a group of their own.
    #[n(4)]
    Split {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// Who goes.
        #[n(1)]
        members: Vec<MemberId>,
        /// The new group's name.
        #[n(2)]
        into: GroupName,
    },
    /// All members of one group enter another.
    #[n(5)]
    Merge {
        /// The group that ends.
        #[n(0)]
        from: GroupId,
        /// The group that goes on.
        #[n(1)]
        into: GroupId,
    },
    /// A new view without a change of members (gbcast, M11).
    #[n(6)]
    Refresh {
        /// The group.
        #[n(0)]
        group: GroupId,
    },
    /// A member moves to rank 0 of its group.
    #[n(7)]
    Reorder {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The member.
        #[n(1)]
        member: MemberId,
    },
}

/// A member as a view lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct GroupMember {
    /// Who.
    #[n(0)]
    pub id: MemberId,
    /// The role it plays, if any.
    #[n(1)]
    pub role: Option<String>,
    /// The view of this group from which it comes; none if it joins with this one.
    #[n(2)]
    pub previous: Option<ViewId>,
}

/// A view of an application group: a function of steps, the same wherever it is seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct GroupView {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// Its name.
    #[n(1)]
    pub name: GroupName,
    /// The id of the step that made this view.
    #[n(2)]
    pub id: ViewId,
    /// Whether that step is on the primary line.
    #[n(3)]
    pub primary: bool,
    /// Whether this side lives; a side that died gets one last view and may only be read.
    #[n(4)]
    pub lives: bool,
    /// The members by rank, the oldest first.
    #[n(5)]
    pub members: Vec<GroupMember>,
    /// Who joined with this view.
    #[n(6)]
    pub joined: Vec<MemberId>,
    /// Who is no longer there since the members' previous views, and why.
    #[n(7)]
    pub left: Vec<(MemberId, Why)>,
    /// The group's rules.
    #[n(8)]
    pub options: GroupOptions,
}
