//! The vocabulary of application groups: options, requests, views.

use minicbor::{Decode, Encode};
use wire::{GroupId, GroupName, MemberId, ProcessId, SiteId, SiteIncarnation, ViewId};

use crate::step::{RequestId, Why};

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

/// What may be asked about application groups and the sites that carry them.
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
    /// A site is entered into the site table, or what is known of it changes.
    #[n(8)]
    SetSite {
        /// The site.
        #[n(0)]
        site: SiteId,
        /// What to know of it.
        #[n(1)]
        info: SiteInfo,
    },
    /// A site is taken out of the site table for good.
    #[n(9)]
    RemoveSite {
        /// The site.
        #[n(0)]
        site: SiteId,
    },
    /// A site without an mserver of its own attaches to one elsewhere, or moves to another.
    #[n(10)]
    Attach {
        /// The life of the site.
        #[n(0)]
        life: SiteIncarnation,
        /// The mserver's site.
        #[n(1)]
        via: SiteId,
    },
    /// An attached site is gone, with all its processes.
    #[n(11)]
    Detach {
        /// The life of the site.
        #[n(0)]
        life: SiteIncarnation,
        /// Why.
        #[n(1)]
        why: Why,
    },
}

/// What a site does in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SiteRole {
    /// It runs an mserver.
    #[n(0)]
    #[default]
    Mserver,
    /// It has none and attaches to one elsewhere.
    #[n(1)]
    Attached,
}

/// A line of the site table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct SiteInfo {
    /// Its name, for people; unique in the table.
    #[n(0)]
    pub name: String,
    /// Where it listens, the preferred address first.
    #[n(1)]
    pub addresses: Vec<String>,
    /// What it does.
    #[n(2)]
    pub role: SiteRole,
}

/// What became of a request in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Outcome {
    /// What was asked holds after the step; a repeat is `Done` too.
    #[n(0)]
    Done,
    /// Nothing was changed.
    #[n(1)]
    Refused(#[n(0)] Reason),
    /// This side may not decide it. It changed nothing, is not settled, and waits for the line.
    #[n(2)]
    Pending,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Reason {
    /// No such group.
    #[n(0)]
    #[error("no such group")]
    NoSuchGroup,
    /// A group, or a site, of that name exists.
    #[n(1)]
    #[error("that name is taken")]
    Exists,
    /// No such member.
    #[n(2)]
    #[error("not a member")]
    NotMember,
    /// This side of a partition may not decide it.
    #[n(3)]
    #[error("this side of the partition may only read")]
    NotPrimary,
    /// The group has as many members as a group may have.
    #[n(4)]
    #[error("the group is full")]
    Full,
    /// There are as many groups as there may be.
    #[n(5)]
    #[error("there are too many groups")]
    TooManyGroups,
    /// The role has too many bytes.
    #[n(6)]
    #[error("the role is too long")]
    RoleTooLong,
    /// The site of the member is not, or no longer, in the view: ask again under a new join number.
    #[n(7)]
    #[error("the member's site is not in the view")]
    SiteAbsent,
    /// A newer join of the same process, or a newer life of the same site, is known.
    #[n(8)]
    #[error("a newer one is known")]
    Stale,
    /// No such site in the table.
    #[n(9)]
    #[error("no such site")]
    NoSuchSite,
    /// The site's name or addresses are too long or too many, or the table is full.
    #[n(10)]
    #[error("the site table has no room for that")]
    SiteTableFull,
    /// The site is in the core-set: let it leave first.
    #[n(11)]
    #[error("the site is in the core-set")]
    SiteInUse,
}

/// A group as one side of a partition brings it to a merge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BranchGroup {
    /// Its last view on that side.
    #[n(0)]
    pub view: GroupView,
    /// The Refresh requests that were granted on that side: a later step there does not grant them again.
    #[n(1)]
    pub refreshed: Vec<RequestId>,
}

/// What one side of a partition brings to a merge. It is part of the step that merges, so that whoever must
/// propose that step again can, and so that everybody computes the same tables from it (A6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Branch {
    /// The side's last view.
    #[n(0)]
    pub view: ViewId,
    /// The core members of that view.
    #[n(1)]
    pub sites: Vec<SiteIncarnation>,
    /// The attached sites: which life, through which mserver, since which step.
    #[n(2)]
    pub attached: Vec<(SiteIncarnation, SiteId, ViewId)>,
    /// The groups that have members there.
    #[n(3)]
    pub groups: Vec<BranchGroup>,
}

/// What a group has been through ("group statistics" of [Neely 94, II.D.2]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct GroupStatistics {
    /// Members now.
    #[n(0)]
    pub members: u32,
    /// Views so far, the present one included.
    #[n(1)]
    pub views: u64,
    /// Joins so far, the founder's included.
    #[n(2)]
    pub joins: u64,
    /// Members that left, were expelled or went into another group.
    #[n(3)]
    pub leaves: u64,
    /// Members that failed or were cut off.
    #[n(4)]
    pub failures: u64,
    /// The step that created it.
    #[n(5)]
    pub created: ViewId,
    /// The step of its present view.
    #[n(6)]
    pub changed: ViewId,
    /// Sites that have members in it now.
    #[n(7)]
    pub sites: u32,
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
    /// The members by rank, the oldest first. None at all: the group has ended.
    #[n(5)]
    pub members: Vec<GroupMember>,
    /// Who joined with this view, or comes to it from another side (then with a previous view of its own).
    #[n(6)]
    pub joined: Vec<MemberId>,
    /// Who is no longer there since the members' previous views, and why.
    #[n(7)]
    pub left: Vec<(MemberId, Why)>,
    /// The group's rules.
    #[n(8)]
    pub options: GroupOptions,
}
