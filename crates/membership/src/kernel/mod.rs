//! The change-processing kernel of one core-set: agreement on *who*, without any time in it.
//!
//! A core-set is a replicated state machine; one [`Step`] is one view change with a whole batch of requests.
//! Primary steps form one line: the successor of a line view is decided by single-decree Paxos among the
//! acceptors (stores) of that view, in the words of [Neely 94]: the broadcast election (`CoordFail`, `Status`)
//! is *prepare* and *promise*, `Initiate` is *accept*, `Ack` is *accepted*, `Commit` is *learn*. Without a
//! quorum the same messages make a non-primary step. The rules C0 to C19 are in `docs/membership.md`.

mod agree;
mod compose;
mod elect;
mod learn;
mod meeting;
pub mod message;
pub mod output;
mod pending;
pub mod quorum;
pub mod record;
pub mod tables;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use wire::{Bugs, ClusterEpoch, ClusterId, Incarnation, SiteId, SiteIncarnation, StoreId, ViewId};

pub use message::{Body, Header, Message, Status};
pub use output::{Delay, Output, Timer, Transition};
pub(crate) use record::RecordWriter;
pub use record::{Learned, Record, Ticket};
pub use tables::{Applied, NoTables, Tables};

use crate::step::{CoreMember, Peer, Request, RequestId, RequestKind, Step};
use agree::Initiating;
use elect::Electing;
use record::{Durable, Outbox};

/// Requests of one origin that may be pending; beyond it `submit` answers [`Busy`], and what others know of
/// it stays with them.
pub const PENDING_PER_ORIGIN_MAX: usize = 64;
/// Attempts that are remembered to answer questions about the past.
pub const RECORD_MAX: usize = 32;
/// Requests in one step; the others wait for the next.
pub const REQUESTS_PER_STEP_MAX: usize = 1024;
/// Sites that are remembered; others are not listened to.
pub const SITES_MAX: usize = 1024;
/// How often a coordinator may say Wait (C14).
pub const WAITS_MAX: u32 = 3;
/// View ids of a cluster between two recoveries by force: more than ever are given out.
pub const EPOCHS_PER_RECOVERY: u64 = 1_000_000_000_000;
/// Sites of one kind that one site asks in one round: members of its view in the search for laggards, sponsors of a
/// join. Of more it asks others in the next round, so that all together do not ask as many questions as there are
/// pairs of sites.
pub const ASKED_AT_ONCE_MAX: usize = 8;
/// Where counting of tries ends: the back-off does not grow beyond it.
pub const TRIES_MAX: u32 = 4;

/// What a kernel must know before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster epoch.
    pub cluster_epoch: u32,
    /// The founders as `init` listed them, the same at every founder (C0).
    pub founders: Vec<SiteId>,
    /// Sites that may be asked: sponsors of a join, and where to search for a merge.
    pub known: Vec<SiteId>,
    /// Bugs to re-introduce; empty in the shipped program.
    pub bugs: Bugs,
}

/// Nothing was taken: as many requests of this site are pending as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests of this site are pending")]
pub struct Busy;

/// Why a message was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is of another cluster.
    #[error("a message of another cluster")]
    Cluster,
    /// It is of another cluster epoch.
    #[error("a message of another cluster epoch")]
    ClusterEpoch,
    /// It is of an earlier life of its site; if that life still speaks, it was told.
    #[error("a message of a life that is over")]
    EarlierLife,
    /// More sites speak than a cluster may have.
    #[error("more sites than a cluster may have")]
    TooManySites,
}

/// What was last seen of another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Glimpse {
    /// Its newest life.
    pub peer: Peer,
    /// Its newest view.
    pub view: Option<ViewId>,
    /// Its newest line; none: a joiner.
    pub line: Option<(ViewId, u64)>,
    /// That life left of its own accord: it is not to be merged.
    pub left: bool,
}

/// Somebody else's attempt, whose Commit is awaited (C14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owed {
    pub attempt: ViewId,
    pub waits_left: u32,
    pub asked: bool,
}

/// What an mserver is doing about an attempt of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Idle,
    Electing(Electing),
    Initiating(Initiating),
}

/// One mserver of one core-set.
///
/// # Call order
///
/// `handle_*` and the requests in any order; after each, drain [`Kernel::poll_output`] and do what it says, in
/// order. The driver owns disk, network and time: it calls [`Kernel::handle_stored`] when a record is on disk,
/// and [`Kernel::handle_timer`] when a timer ran out. A site that crashes loses everything but its last record,
/// and starts again with [`Kernel::start`], in a higher life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kernel<T: Tables> {
    config: Arc<Config>,
    me: Peer,
    // On disk, as one record.
    line: Option<Arc<Learned<T>>>,
    promised: ViewId,
    accepted: Option<(ViewId, Arc<Step>)>,
    // In memory.
    view: Option<Arc<Learned<T>>>,
    role: Role,
    owed: Option<Owed>,
    /// The highest attempt that was awaited in vain: awaiting it is not renewed.
    in_vain: ViewId,
    ran_out: bool,
    pending: BTreeMap<RequestId, RequestKind>,
    record: BTreeMap<ViewId, Arc<Step>>,
    seen: BTreeMap<SiteId, Glimpse>,
    heard: BTreeSet<SiteId>,
    /// The highest number seen in a Refuse.
    raised: ViewId,
    /// How often in a row the time was over in which a side that is met should have been heard in whole.
    waited: u32,
    tries: u32,
    backoff: bool,
    requests: u64,
    /// How often sponsors were asked, if there are more than are asked at once.
    joins_asked: u32,
    leaving: bool,
    /// It may not act any more: it left, or its store was surpassed.
    retired: bool,
    dirty: bool,
    outbox: Outbox<Arc<Message<T>>>,
    // Empty between two calls.
    held: Vec<Durable<(SiteId, Arc<Message<T>>)>>,
    inbox: VecDeque<Arc<Message<T>>>,
    outputs: Outputs<T>,
}

/// The outputs that wait to be polled: no part of the kernel's identity.
#[derive(Clone, Debug)]
struct Outputs<T: Tables>(VecDeque<Output<T>>);

impl<T: Tables> PartialEq for Outputs<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T: Tables> Eq for Outputs<T> {}

impl<T: Tables> std::hash::Hash for Outputs<T> {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// Step 0: the founders, before their stores are known (C0). A cluster that was recovered by force begins its line
/// anew, and its view ids above those that were given out before.
fn step_zero<T: Tables>(config: &Config) -> Learned<T> {
    let tables = T::default();
    let generation = u64::from(ClusterEpoch(config.cluster_epoch).generation());
    let id = ViewId { epoch: generation * EPOCHS_PER_RECOVERY, ..ViewId::default() };
    let member = |site: &SiteId| CoreMember {
        peer: Peer { site: *site, incarnation: Incarnation(0), store: StoreId(0) },
        joined_at: ViewId::default(),
    };
    let step = Step {
        id,
        base: id,
        position: 0,
        primary: true,
        members: config.founders.iter().map(member).collect(),
        removed: Vec::new(),
        requests: Vec::new(),
        digest: tables.digest(),
        branches: Vec::new(),
    };
    Learned { step, tables }
}

impl<T: Tables> Kernel<T> {
    /// Starts an mserver. With a record it comes back (C19); without one it is a founder if `init` listed it
    /// (C0), else a joiner (C16). `me` is a life that was made durable before this call, above every earlier
    /// life of the site, also above those of an earlier store.
    pub fn start(config: Config, me: Peer, record: Option<Record<T>>) -> Kernel<T> {
        let founder = config.founders.contains(&me.site);
        let mut kernel = Kernel {
            me,
            line: None,
            promised: ViewId::default(),
            accepted: None,
            view: None,
            role: Role::Idle,
            owed: None,
            in_vain: ViewId::default(),
            ran_out: false,
            pending: BTreeMap::new(),
            record: BTreeMap::new(),
            seen: BTreeMap::new(),
            heard: BTreeSet::new(),
            raised: ViewId::default(),
            waited: 0,
            tries: 0,
            backoff: false,
            requests: 0,
            joins_asked: 0,
            leaving: false,
            retired: false,
            dirty: false,
            outbox: Outbox::new(),
            held: Vec::new(),
            inbox: VecDeque::new(),
            outputs: Outputs(VecDeque::new()),
            config: Arc::new(config),
        };
        match record {
            Some(record) => kernel.resume(record), // C19
            // C0
            None if founder => {
                let line = step_zero(&kernel.config);
                kernel.promised = line.step.id;
                kernel.line = Some(Arc::new(line));
            }
            None => kernel.ask_to_join(), // C16
        }
        kernel.turn();
        kernel
    }

    /// Takes a message. An error changes nothing.
    pub fn handle_message(&mut self, message: Message<T>) -> Result<(), Refused> {
        self.admit(&message.header)?;
        self.inbox.push_back(Arc::new(message));
        self.turn();
        Ok(())
    }

    /// A timer ran out; one that is over is dropped.
    pub fn handle_timer(&mut self, timer: Timer) {
        if self.retired {
            return;
        }
        match timer {
            Timer::Collect(attempt) => self.collect_ran_out(attempt),
            Timer::Resend(attempt) => self.resend(attempt),
            Timer::Ack(attempt) => self.ack_ran_out(attempt),
            Timer::Commit(attempt) => self.commit_ran_out(attempt),
            Timer::Backoff => self.backoff_ran_out(),
            Timer::Join => self.ask_again_to_join(),
            Timer::Leave => self.leave_ran_out(),
        }
        self.turn();
    }

    /// A record is on disk, and so is each before it.
    pub fn handle_stored(&mut self, ticket: Ticket) {
        for (to, message) in self.outbox.stored(ticket) {
            self.post(to, message);
        }
        self.turn();
    }

    /// Which sites detection hears now.
    pub fn handle_heard(&mut self, sites: &BTreeSet<SiteId>) {
        self.heard = sites.iter().copied().filter(|s| *s != self.me.site).take(SITES_MAX).collect();
        self.turn();
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.0.pop_front()
    }

    /// Who this is.
    pub fn me(&self) -> Peer {
        self.me
    }

    /// The newest primary step known, with its tables.
    pub fn line(&self) -> Option<&Learned<T>> {
        self.line.as_deref()
    }

    /// The installed view, with its tables.
    pub fn view(&self) -> Option<&Learned<T>> {
        self.view.as_deref()
    }

    /// Nothing below this is acknowledged.
    pub fn promised(&self) -> ViewId {
        self.promised
    }

    /// What was accepted in the line's instance, and at which attempt.
    pub fn accepted(&self) -> Option<(ViewId, &Step)> {
        self.accepted.as_ref().map(|(attempt, step)| (*attempt, &**step))
    }

    /// Whether this site is in a primary view that is the newest line it knows. A site that is not may not act
    /// as primary.
    pub fn is_primary(&self) -> bool {
        self.view.as_ref().is_some_and(|v| v.step.primary) && !self.is_stale()
    }

    /// Requests that are not settled on the line.
    pub fn pending(&self) -> impl Iterator<Item = Request> + '_ {
        self.pending.iter().map(|(id, kind)| Request { id: *id, kind: kind.clone() })
    }

    /// The sites whose answer is waited for before there can be a primary view again, for `status`.
    pub fn waiting_for(&self) -> Vec<SiteId> {
        let Some(line) = &self.line else { return self.config.known.clone() };
        if self.is_primary() || self.quorum_heard() {
            return Vec::new();
        }
        let silent = |m: &&CoreMember| m.peer.site != self.me.site && !self.heard.contains(&m.peer.site);
        line.step.members.iter().filter(silent).map(|m| m.peer.site).collect()
    }

    /// The timers that run now.
    pub fn timers(&self) -> Vec<Timer> {
        let mut timers = Vec::new();
        if self.retired {
            return timers;
        }
        match &self.role {
            Role::Idle => {}
            Role::Electing(electing) => timers.push(Timer::Collect(electing.attempt)),
            Role::Initiating(initiating) => {
                if !initiating.resent {
                    timers.push(Timer::Resend(initiating.attempt));
                }
                timers.push(Timer::Ack(initiating.attempt));
            }
        }
        timers.extend(self.owed.map(|owed| Timer::Commit(owed.attempt)));
        timers.extend(self.backoff.then_some(Timer::Backoff));
        timers.extend(self.line.is_none().then_some(Timer::Join));
        timers.extend(self.leaving.then_some(Timer::Leave));
        timers
    }

    /// The oldest write of the record that is under way.
    pub fn writing(&self) -> Option<Ticket> {
        self.outbox.oldest()
    }

    /// One more site that may be asked.
    pub fn add_known(&mut self, site: SiteId) {
        let config = Arc::make_mut(&mut self.config);
        if site != self.me.site && !config.known.contains(&site) && config.known.len() < SITES_MAX {
            config.known.push(site);
        }
    }

    fn resume(&mut self, record: Record<T>) {
        self.trace(Transition::Restart);
        self.promised = record.promised;
        self.accepted = record.accepted.map(|(attempt, step)| (attempt, Arc::new(step)));
        if self.config.bugs.has(wire::Bug::PromisesLost) {
            self.promised = record.line.step.id;
            self.accepted = None;
        }
        self.line = Some(Arc::new(record.line));
    }

    /// Runs until nothing is left to do, then asks for what must be on disk.
    fn turn(&mut self) {
        loop {
            while let Some(message) = self.inbox.pop_front() {
                self.handle_body(&message);
            }
            self.stop_waiting_for_the_failed();
            self.consider();
            if self.inbox.is_empty() {
                break;
            }
        }
        self.write();
    }

    fn handle_body(&mut self, message: &Message<T>) {
        if self.retired {
            return;
        }
        let header = &message.header;
        let from = header.from;
        match &message.body {
            Body::Query => self.on_query(header),
            Body::Reply => self.help_laggard(header),
            Body::Submit(request) => self.on_submit(header, request),
            Body::CoordFail { attempt } => self.on_coord_fail(header, *attempt),
            Body::Status(status) => self.on_status(from, status),
            Body::Initiate { attempt, step, base, pending } => {
                self.on_initiate(header, *attempt, step, base, pending);
            }
            Body::Ack { attempt, accepted } => self.on_ack(from, *attempt, *accepted),
            Body::Refuse { attempt, promised } => self.on_refuse(from, *attempt, *promised),
            Body::Commit { attempt, step } => self.on_commit(from, *attempt, step),
            Body::Init { line, step } => self.on_init(from, line, step.as_ref()),
            Body::MsgQuery { attempt, full } => self.on_msg_query(header, *attempt, *full),
            Body::Wait { attempt, left: _ } => self.on_wait(*attempt),
            Body::Surpassed { old, newest } => self.on_surpassed(*old, *newest),
        }
        self.ask_for_newer_line(header);
    }

    /// Whether the message is to be listened to at all; notes what it shows of its sender.
    fn admit(&mut self, header: &Header) -> Result<(), Refused> {
        if header.cluster != self.config.cluster {
            return Err(Refused::Cluster);
        }
        if header.cluster_epoch != self.config.cluster_epoch {
            return Err(Refused::ClusterEpoch);
        }
        let from = header.from;
        if from.site == self.me.site {
            return if from == self.me { Ok(()) } else { Err(Refused::EarlierLife) };
        }
        let newest = self.seen.get(&from.site).map(|g| g.peer);
        if let Some(newest) = newest
            && (newest.incarnation > from.incarnation
                || (newest.incarnation == from.incarnation && newest.store != from.store))
        {
            // C13: nothing is counted from an old copy of a disk; it is told, and a late packet does no harm.
            self.trace(Transition::OldStore);
            self.send(from.site, Body::Surpassed { old: from, newest });
            self.turn();
            return Err(Refused::EarlierLife);
        }
        if newest.is_none() && self.seen.len() >= SITES_MAX {
            return Err(Refused::TooManySites);
        }
        self.note(header);
        Ok(())
    }

    fn note(&mut self, header: &Header) {
        let fresh = Glimpse { peer: header.from, view: header.view, line: header.line, left: false };
        let glimpse = self.seen.entry(header.from.site).or_insert(fresh);
        if glimpse.peer == header.from {
            glimpse.view = glimpse.view.max(header.view);
            if header.line.map(|l| l.1) > glimpse.line.map(|l| l.1) {
                glimpse.line = header.line;
            }
        } else {
            *glimpse = fresh;
        }
        self.heard.insert(header.from.site);
    }

    fn on_surpassed(&mut self, old: Peer, newest: Peer) {
        if old == self.me && newest.site == self.me.site && newest != self.me {
            // C13: this disk is an old copy. Say so and be silent: its promises may be forgotten ones.
            self.retired = true;
            self.role = Role::Idle;
            self.owed = None;
            self.backoff = false;
            self.outputs.0.push_back(Output::Surpassed(newest.incarnation));
        }
    }

    /// Sends a message, after the disk if it must be (A5).
    fn send(&mut self, to: SiteId, body: Body<T>) {
        let header = Header {
            cluster: self.config.cluster,
            cluster_epoch: self.config.cluster_epoch,
            from: self.me,
            view: self.view.as_ref().map(|v| v.step.id),
            line: self.line.as_ref().map(|l| (l.step.id, l.step.position)),
        };
        let message = Arc::new(Message { header, body });
        if message.body.needs_disk() && !self.config.bugs.has(wire::Bug::PromiseBeforeDisk) {
            self.held.push(Durable::new((to, message)));
        } else {
            self.post(to, message);
        }
    }

    fn post(&mut self, to: SiteId, message: Arc<Message<T>>) {
        if to == self.me.site {
            self.inbox.push_back(message);
        } else {
            self.outputs.0.push_back(Output::Send { to, message });
        }
    }

    /// Asks for the record to be written, if it changed, and lets go what waits for no write.
    fn write(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !self.dirty {
            if held.is_empty() {
                return;
            }
            for (to, message) in self.outbox.wait(held) {
                self.post(to, message);
            }
            if !self.inbox.is_empty() {
                self.turn();
            }
            return;
        }
        self.dirty = false;
        let line = self.line.as_ref().expect("only a site with a line has a record");
        let record = Box::new(Record {
            line: (**line).clone(),
            promised: self.promised,
            accepted: self.accepted.as_ref().map(|(attempt, step)| (*attempt, (**step).clone())),
        });
        let ticket = self.outbox.write(held);
        self.outputs.0.push_back(Output::Store { ticket, record });
    }

    fn arm(&mut self, timer: Timer, delay: Delay) {
        self.outputs.0.push_back(Output::Arm { timer, delay });
    }

    fn trace(&mut self, transition: Transition) {
        self.outputs.0.push_back(Output::Trace(transition));
    }

    /// Raises the promise.
    fn promise(&mut self, attempt: ViewId) {
        if attempt > self.promised {
            self.promised = attempt;
            // A site without a line has no vote and nothing to remember.
            self.dirty |= self.line.is_some();
        }
    }

    /// The view is of an older line than this site knows.
    fn is_stale(&self) -> bool {
        match (&self.view, &self.line) {
            (Some(view), Some(line)) => view.step.position < line.step.position,
            (None, _) | (_, None) => true,
        }
    }

    /// The newest life known of a site.
    fn newest_life(&self, site: SiteId) -> Option<SiteIncarnation> {
        if site == self.me.site {
            return Some(self.me.life());
        }
        self.seen.get(&site).map(|g| g.peer.life())
    }
}
