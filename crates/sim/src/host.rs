//! What the simulator needs of a machine in order to run it: one site as a state machine.
//!
//! [`Host`] is the seam between the seeded world and what runs in it. The vocabulary is plain: the properties
//! are checked on it, and nothing in it knows how the production node represents a thing.

use std::sync::Arc;

use bytes::Bytes;
use membership::group::{GroupOptions, GroupView};
pub use multicast::Order;
pub use multicast::call::{Replies, Ticket};
pub use stack::{Channel, Connection};
use wire::{GroupId, GroupName, MemberId, ProcessId, SiteId, SiteIncarnation, StoreId, Time, ViewId};

/// A packet that leaves a host.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub to: SiteId,
    /// How.
    pub channel: Channel,
    /// What.
    pub bytes: Bytes,
}

/// A write that a host asks for: it replaces the whole record, atomically.
#[derive(Clone, Debug)]
pub struct Write {
    /// Names the write when it is done.
    pub ticket: u64,
    /// The record.
    pub record: Bytes,
}

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// This life; the incarnation has been made durable already.
    pub life: SiteIncarnation,
    /// The data directory.
    pub store: StoreId,
    /// What the disk holds, if anything.
    pub record: Option<Bytes>,
    /// All sites of the cluster; the first `founders` of them founded it.
    pub sites: Vec<SiteId>,
    /// How many of them are founders.
    pub founders: usize,
    /// How many bytes may wait for one other site before data is held back; none: as many as the host likes.
    pub link_bytes_max: Option<usize>,
    /// How many of them, the first, have an mserver; the others attach to one elsewhere.
    pub mservers: usize,
    /// For the host's own generator.
    pub seed: u64,
}

/// A cast.
#[derive(Clone, Debug)]
pub struct Cast {
    /// In which order.
    pub order: Order,
    /// Whether it is delivered only when every member has it.
    pub safe: bool,
    /// Whether its caster is left out.
    pub exclude_self: bool,
    /// Who gets it; empty: everybody.
    pub only: Vec<MemberId>,
    /// How many replies are waited for.
    pub replies: Replies,
    /// The message.
    pub payload: Bytes,
}

/// What a local process asks of its host.
#[derive(Clone, Debug)]
pub enum Request {
    /// A process joins a group, with these rules if that creates it.
    Join(ProcessId, GroupName, GroupOptions),
    /// A member leaves.
    Leave(ProcessId, GroupName),
    /// A process has died.
    Gone(ProcessId),
    /// A process casts to a group, as a member or from outside.
    Cast(ProcessId, GroupName, Cast),
    /// A member replies to a message.
    Reply(Ticket, Bytes),
    /// A process asks to be told when all it cast so far in a group is everywhere.
    Flush(ProcessId, GroupName),
    /// The site leaves the core-set in order to stop.
    Stop,
    /// Something of the store of a durable group.
    Durable(GroupName, Durably),
}

/// What is asked of a site's store of a durable group.
#[derive(Clone, Debug)]
pub enum Durably {
    /// It is there from now on.
    Open(Box<durable::Durable>),
    /// Apply a client's request. The proposer's clock says so many milliseconds.
    Propose(u64, durable::Request),
    /// Say when everything that was acknowledged before is applied here: taken with the read's number.
    Read,
    /// Change the configuration.
    Change(durable::Change),
    /// The application has applied the entry at a position, and answers.
    Applied(u64, Bytes),
    /// The disk has done something.
    Done(durable::Done),
}

/// What a host says to a request at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken; the number names what is answered later (a call, a flush); 0 if nothing is.
    Taken(u64),
    /// It was not taken, nothing was sent, and it may be tried again.
    Later,
    /// It was refused.
    Refused(&'static str),
}

/// What a host tells the processes at its site.
#[derive(Clone, Debug)]
pub enum Event {
    /// The core-set has a new view here, or this site is in none.
    Core {
        /// Which.
        view: Option<ViewId>,
        /// Whether it is on the primary line.
        primary: bool,
        /// Its place on the line.
        position: u64,
        /// The sites in it.
        sites: Vec<SiteId>,
    },
    /// A group has a new view.
    View {
        /// The view.
        view: Arc<GroupView>,
        /// The local members that see it.
        members: Vec<MemberId>,
        /// Who came along from the same previous view.
        transitional: Vec<MemberId>,
    },
    /// A local member is out of its group.
    Left {
        /// Which group.
        group: GroupId,
        /// Which member.
        member: MemberId,
    },
    /// A join came to nothing.
    JoinFailed {
        /// Who wanted to join.
        process: ProcessId,
        /// What.
        group: GroupName,
    },
    /// A message.
    Deliver {
        /// The group.
        group: GroupId,
        /// The view it is delivered in.
        view: ViewId,
        /// Who cast it; an outsider has join number 0.
        from: MemberId,
        /// For which local members; none: for all of them.
        to: Option<Vec<MemberId>>,
        /// In which order it was cast.
        order: Order,
        /// What to reply with, if a reply of one member is wanted.
        reply: Option<Box<Ticket>>,
        /// The message.
        payload: Bytes,
    },
    /// From here to the next view, deliveries are sure for the transitional members only.
    Signal {
        /// The group.
        group: GroupId,
    },
    /// A call is over.
    CallDone {
        /// Whose call.
        process: ProcessId,
        /// Which.
        call: u64,
        /// Whether it got the replies it asked for.
        complete: bool,
        /// Who replied.
        replied: Vec<MemberId>,
    },
    /// A call came to nothing: its message was delivered nowhere.
    NotSent {
        /// Whose call.
        process: ProcessId,
        /// Which.
        call: u64,
    },
    /// A member that was left behind on a side that died joins again by itself.
    Rejoining {
        /// The member that it was.
        was: MemberId,
        /// What it joins.
        group: GroupName,
    },
    /// What a process cast before the flush of this number is at every member.
    Flushed {
        /// Whose.
        process: ProcessId,
        /// Which flush.
        flush: u64,
    },
    /// Casting is refused, or taken again.
    Blocked {
        /// The group.
        group: GroupId,
        /// Whether it is refused.
        blocked: bool,
    },
    /// The store of a durable group says something.
    Durable(GroupName, durable::Event),
    /// The store of a durable group wants something of its disk.
    Store(GroupName, durable::StoreOp),
    /// The site has left and may stop.
    MayStop,
    /// A transition of a protocol, for coverage.
    Transition(&'static str),
    /// The site coordinates a change and is in this phase of it, or coordinates none any more.
    Coordinating(Option<&'static str>),
    /// Something for the trace.
    Note(String),
}

/// One site as a state machine. After every `handle_*` the world polls until nothing comes any more.
pub trait Host: Sized {
    /// What the embedder chose for all hosts of a run, for example bugs to re-introduce.
    type Config: Clone + Sync;

    /// A site starts. An error is a disk record that cannot be read: the site stays down.
    fn start(config: &Self::Config, boot: Boot, now: Time) -> Result<Self, String>;
    /// A process is born at the site.
    fn open_process(&mut self) -> ProcessId;
    /// A packet has arrived.
    fn handle_packet(&mut self, now: Time, from: SiteId, channel: Channel, bytes: Bytes);
    /// The connection to a site has changed.
    fn handle_connection(&mut self, now: Time, site: SiteId, connection: Connection);
    /// A write is durable.
    fn handle_stored(&mut self, now: Time, ticket: u64);
    /// The time that `poll_timeout` named has come.
    fn handle_timeout(&mut self, now: Time);
    /// A local process asks for something.
    fn handle_request(&mut self, now: Time, request: Request) -> Answer;
    /// The next write.
    fn poll_write(&mut self) -> Option<Write>;
    /// The next packet.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;
    /// When to call `handle_timeout`.
    fn poll_timeout(&self) -> Option<Time>;
    /// A packet in words, for traces.
    fn describe(_bytes: &[u8]) -> String {
        String::new()
    }
    /// What a packet is about, to be counted by.
    fn about(_bytes: &[u8]) -> &'static str {
        "packets"
    }
}
