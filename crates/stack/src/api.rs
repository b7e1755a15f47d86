//! What goes into a [`Node`](crate::Node) and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::group::{Create, GroupOptions, GroupView};
use membership::step::Peer;
use multicast::Order;
use multicast::call::{Outcome, Replies};
use wire::{
    Bugs, ClusterId, GroupId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, ViewId,
};

/// What a node must know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The cluster epoch: raised only by an operator's `recover --force`.
    pub cluster_epoch: u32,
    /// This life of this site: its incarnation has been raised on disk already.
    pub me: Peer,
    /// The site's name, for people.
    pub name: String,
    /// The founders as `init` listed them, the same at every site.
    pub founders: Vec<SiteId>,
    /// Every site that this one knows how to reach, itself excepted, with its name.
    pub known: Vec<(SiteId, String)>,
    /// Those of them that have an mserver, as far as is known: an attached site uses one of them, a joiner asks them
    /// to let it in, and after a partition they are looked for.
    pub mservers: Vec<SiteId>,
    /// Where the other sites reach this one: for the site table.
    pub addresses: Vec<String>,
    /// Whether this site runs an mserver; else it attaches to one elsewhere.
    pub mserver: bool,
    /// Bytes of one sender's messages that may be unstable before it must wait.
    pub window_bytes_max: usize,
    /// How long a member may hold others back before it is asked to leave.
    pub slow_member_after: Duration,
    /// Bounds and times of the link to each other site.
    pub link: link::Config,
    /// The longest that detection of a silent site should take.
    pub detection_max: Duration,
    /// Bugs to re-introduce; empty in the shipped program.
    pub bugs: Bugs,
    /// Whether [`Event::Trace`] is emitted.
    pub trace: bool,
}

/// How a packet travels between two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// On the pair's connection: in order while the connection lasts.
    Stream,
    /// By itself: may be lost, doubled or overtaken.
    Datagram,
}

/// A packet to send. The two parts are one packet; they are apart so that a payload is never copied.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// The next site on its way.
    pub to: SiteId,
    /// How.
    pub channel: Channel,
    /// First part.
    pub header: Bytes,
    /// Second part, possibly empty.
    pub body: Bytes,
}

/// Names one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a site keeps on disk, as bytes that a later version can read.
pub type Record = Bytes;

/// Something to put on disk, replacing what was there, atomically. When it is durable, the driver calls
/// `handle_stored` with the ticket; what depends on it leaves only then.
#[derive(Clone, Debug)]
pub struct Store {
    /// Which write.
    pub ticket: Ticket,
    /// The whole record.
    pub record: Record,
}

/// What the driver knows of the connection to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connection {
    /// Established with this life of the site.
    Up(Incarnation),
    /// It was up and is closed; packets in flight may be lost.
    Closed,
    /// The site's host answers, and nobody listens.
    Refused,
    /// Nothing answers.
    Silent,
}

/// How to join a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinOptions {
    /// The role to play, if any.
    pub role: Option<String>,
    /// Whether the join may create the group.
    pub create: Create,
    /// The group's rules, if this join creates it.
    pub rules: GroupOptions,
}

/// How to cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CastOptions {
    /// The order asked for.
    pub order: Order,
    /// Deliver only when every member of the view has it.
    pub safe: bool,
    /// The caster itself is not delivered it.
    pub exclude_self: bool,
    /// Only these members are delivered it; empty: all.
    pub only: Vec<MemberId>,
    /// Replies wanted.
    pub replies: Replies,
    /// How long to wait for them.
    pub timeout: Duration,
}

impl CastOptions {
    /// A plain cast in this order.
    pub fn plain(order: Order) -> CastOptions {
        CastOptions {
            order,
            safe: false,
            exclude_self: false,
            only: Vec::new(),
            replies: Replies::None,
            timeout: Duration::from_secs(60),
        }
    }
}

/// What became of a cast at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Casted {
    /// It is on its way.
    Done,
    /// It is on its way, and [`Event::CallDone`] will say how it ended.
    Call(CallId),
}

/// What kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// An answer.
    Reply,
    /// This member has nothing to say.
    Null,
    /// The call shall end at once.
    Abort,
}

/// Names a cast that waits for something, at the site that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why a cast from outside came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailed {
    /// No member could be reached: it was not delivered anywhere.
    #[error("no member of the group could be reached; the message was not delivered")]
    NotSent,
    /// Members could not be reached to the end: it was delivered once or not at all.
    #[error("nobody could say whether the message was delivered")]
    Unknown,
}

/// A change of groups that somebody asks for, beside joins and leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A member moves to rank 0 of its group.
    Reorder {
        /// The group.
        group: GroupName,
        /// The member.
        member: MemberId,
    },
    /// Some members become a group of their own, by the same rules. They stay the members that they are.
    Split {
        /// The group.
        group: GroupName,
        /// Who goes.
        members: Vec<MemberId>,
        /// The new group's name.
        into: GroupName,
    },
    /// All members of one group enter another, behind those that are there. They stay the members that they are.
    Merge {
        /// The group that ends.
        from: GroupName,
        /// The group that goes on, by its own rules.
        into: GroupName,
    },
}

/// Names a change that was asked for, at the site where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// Why a change came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The cluster refused.
    #[error("{0}")]
    Refused(String),
    /// This side of a partition may not decide it.
    #[error("this side of the partition may not decide it; try again when the network has healed")]
    NotPrimary,
    /// No answer came in time: it may be granted yet.
    #[error("no answer from the cluster in time; it may be done yet")]
    Unanswered,
    /// No such group is known.
    #[error("no such group; `unanimous groups` lists them")]
    NoSuchGroup,
    /// Too much is asked at once.
    #[error("too many requests wait; try again")]
    Busy,
}

/// What a node tells its driver and the processes there.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new view of the core-set with this site in it.
    Admitted {
        /// The view.
        view: ViewId,
        /// Whether it is on the primary line.
        primary: bool,
        /// Its place on the line.
        position: u64,
        /// Its members by rank.
        members: Vec<SiteIncarnation>,
    },
    /// A new view of any group, for those who watch from outside.
    GroupView(Arc<GroupView>),
    /// An attached site has learned of a group that was asked for: there is none, or [`Event::GroupView`] came before.
    Looked {
        /// The group's name.
        name: GroupName,
    },
    /// A change that was asked for here is done, or came to nothing. The views that it makes may come later.
    Changed {
        /// Which.
        change: ChangeId,
        /// What became of it.
        outcome: Result<(), ChangeError>,
    },
    /// A new view of a group with members here.
    View {
        /// The view.
        view: Arc<GroupView>,
        /// The local members to which it comes: those it lists, without those that were told to be out already.
        members: Vec<MemberId>,
        /// Who came from the same previous view together with this site.
        transitional: Vec<MemberId>,
    },
    /// A local member is no longer in its group.
    Left {
        /// The group.
        group: GroupId,
        /// Its name.
        name: GroupName,
        /// The member.
        member: MemberId,
        /// The reason, for people.
        why: &'static str,
    },
    /// A local member of a side that died joins again by itself, as another member.
    Rejoining {
        /// The member that it was.
        was: MemberId,
        /// The member that it will be.
        member: MemberId,
        /// The group.
        group: GroupName,
    },
    /// A join came to nothing.
    JoinFailed {
        /// The member that will not be.
        member: MemberId,
        /// What it wanted to join.
        group: GroupName,
        /// Why not.
        error: JoinError,
    },
    /// A message for local members.
    Deliver {
        /// The group.
        group: GroupId,
        /// The view in which it is delivered.
        view: ViewId,
        /// Who cast it; an outsider's process has join number 0.
        from: MemberId,
        /// The local members that it is for.
        to: LocalMembers,
        /// In which order.
        order: Order,
        /// Set if the caster waits for a reply: hand it to `reply`.
        reply_to: Option<ReplyTo>,
        /// The message.
        payload: Bytes,
    },
    /// What follows up to the next view is delivered to these only (safe delivery's transitional signal).
    TransitionalSignal {
        /// The group.
        group: GroupId,
        /// Who is sure to have what was delivered before.
        members: Vec<MemberId>,
    },
    /// A call is over.
    CallDone {
        /// Whose.
        process: ProcessId,
        /// Which.
        call: CallId,
        /// How it ended.
        outcome: Result<Outcome, CallFailed>,
    },
    /// Local members may not cast (a view change), or may again.
    Blocked {
        /// The group.
        group: GroupId,
        /// Whether casting is refused now.
        blocked: bool,
    },
    /// There is room for casts again after `CastError::Full`.
    Writable {
        /// The group.
        group: GroupId,
    },
    /// All of a process's casts before `flush` are at every member of the views they were cast in, those excepted
    /// that have left or failed, or did not come along into the next view.
    Flushed {
        /// Whose.
        process: ProcessId,
        /// The number `flush` returned.
        flush: u64,
    },
    /// A group's store at this site says something.
    Durable {
        /// The group.
        group: GroupName,
        /// What.
        said: durable::Event,
    },
    /// A connection to this site is wanted at once.
    Reconnect(SiteId),
    /// This life was removed because it was not heard: what is left of a connection with it is to be broken and made
    /// anew. A broken path that is whole again would revive the old one only when its end repeats what was lost.
    Disconnect(SiteIncarnation),
    /// Peers have seen a later life of this store: it is an old copy. The driver takes a new store and starts
    /// again in a life above this one.
    Surpassed(Incarnation),
    /// For the log: something an operator may want to know.
    Note(String),
    /// The site has left the core-set and may stop.
    MayStop,
    /// For coverage: a transition of a protocol, by name.
    Trace(&'static str),
}

/// Names a delivered message that waits for a reply of one member.
pub type ReplyTo = multicast::call::Ticket;

/// Which local members a delivery is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalMembers {
    /// All of the group's members here.
    All,
    /// These.
    Only(Vec<MemberId>),
}

/// Why a join came to nothing. The process is in no group that it was not in before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The cluster refused.
    #[error("{0}")]
    Refused(String),
    /// This side of a partition may not decide it.
    #[error("this side of the partition may not decide it; try again when the network has healed")]
    NotPrimary,
    /// This site is not admitted yet, or cut off.
    #[error("no answer from the cluster in time; see `unanimous status`")]
    NotAdmitted,
    /// Too much is asked at once.
    #[error("too many requests wait; try again")]
    Busy,
    /// No such process here.
    #[error("no such process or member at this site")]
    Unknown,
}

/// Why a cast was not taken. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// No such member here.
    #[error("not a member of the group")]
    NotMember,
    /// A view change is going on: wait for `Blocked { blocked: false }`.
    #[error("a view change is going on; cast again when it is over")]
    Blocked,
    /// The window is full: wait for `Writable`.
    #[error("members have not caught up; cast again when there is room")]
    Full,
    /// The message is larger than a message may be.
    #[error("the message is too large (a gbcast carries 32 KiB, other casts 64 MiB)")]
    TooLarge,
    /// This side of a partition may only read.
    #[error("this side of the partition may only read")]
    ReadOnly,
    /// No such group is known.
    #[error("no such group; `unanimous groups` lists them")]
    NoSuchGroup,
    /// The group's consistency does not offer this order.
    #[error("a weak or strong group has mbcast only")]
    NotOffered,
    /// Too many calls or casts are open.
    #[error("too many casts wait; try again")]
    Busy,
    /// Nothing waits for this reply any more.
    #[error("nothing waits for this reply: it was given already, or its caller is gone")]
    NotAwaited,
}

impl From<multicast::CastError> for CastError {
    fn from(error: multicast::CastError) -> CastError {
        match error {
            multicast::CastError::Blocked => CastError::Blocked,
            multicast::CastError::Full => CastError::Full,
            multicast::CastError::TooLarge => CastError::TooLarge,
            multicast::CastError::NotMember => CastError::NotMember,
            multicast::CastError::ReadOnly => CastError::ReadOnly,
            multicast::CastError::NotOffered => CastError::NotOffered,
        }
    }
}

/// A site's state, as this site sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteState {
    /// In the view.
    Up,
    /// In the view, and suspected.
    Suspected,
    /// Known, and not in the view.
    Down,
}

/// One site in [`Status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSummary {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: SiteState,
    /// Its last known incarnation.
    pub incarnation: Option<Incarnation>,
    /// Its rank in the view.
    pub rank: Option<usize>,
}

/// One group in [`Status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// The current view.
    pub view: Arc<GroupView>,
}

/// What a site knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The core-set's view, if this site is in one.
    pub view: Option<ViewId>,
    /// Whether it is on the primary line.
    pub primary: bool,
    /// Its place on the line.
    pub position: u64,
    /// The sites, by id.
    pub sites: Vec<SiteSummary>,
    /// The groups, by name.
    pub groups: Vec<GroupSummary>,
    /// What the site waits for, in one line, if it cannot serve.
    pub waiting_for: Option<String>,
}
