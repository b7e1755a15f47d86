//! The production machine as a [`Host`]: a [`stack::Node`], and its words in those that the properties
//! understand.

use std::time::Duration;

use bytes::Bytes;
use durable::ProposeError;
use membership::kernel;
use membership::step::Peer;
use stack::{CastError, CastOptions, Casted, Config, JoinOptions, LocalMembers, Node, ReplyKind};
use wire::frame::Kind;
use wire::{Bugs, ClusterId, GroupName, ProcessId, SiteId, Time};

use crate::coverage::{self, FAULTS, WORKLOAD};
use crate::host::{Answer, Boot, Cast, Channel, Connection, Durably, Event, Host, Request, Transmit, Write};
use crate::world::index;

/// What all nodes of a run are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How fast a silent site is to be found.
    pub detection_max: Duration,
    /// Bytes of one sender's messages that may be unstable.
    pub window_bytes_max: usize,
    /// Bugs to re-introduce.
    pub bugs: Bugs,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { detection_max: Duration::from_millis(1000), window_bytes_max: 64 << 10, bugs: Bugs::NONE }
    }
}

/// Links as the program has them, or with room for so many bytes, so that a stalled one is full within a seed.
fn links(bytes_max: Option<usize>) -> link::Config {
    let usual = link::Config::default();
    match bytes_max {
        Some(send_bytes_max) => {
            link::Config { send_bytes_max, frame_bytes_max: send_bytes_max - send_bytes_max / 16, ..usual }
        }
        None => usual,
    }
}

/// A node, and the time at which it was last given something.
pub struct Site {
    node: Node,
    now: Time,
    unsettled: bool,
    /// The phase of a change that a transition leads to, told after it.
    phase: Option<Event>,
}

/// A call's replies are waited for so long.
const CALL_WITHIN: Duration = Duration::from_secs(5);

impl Site {
    /// The node, to be looked at.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn given(&mut self, now: Time) -> &mut Node {
        self.now = now;
        self.unsettled = true;
        &mut self.node
    }

    fn cast(&mut self, now: Time, process: ProcessId, group: &wire::GroupName, cast: Cast) -> Answer {
        let options = CastOptions {
            order: cast.order,
            safe: cast.safe,
            exclude_self: cast.exclude_self,
            only: cast.only,
            replies: cast.replies,
            timeout: CALL_WITHIN,
        };
        match self.given(now).cast(now, process, group, &options, &cast.payload) {
            Ok(Casted::Done) => Answer::Taken(0),
            Ok(Casted::Call(call)) => Answer::Taken(call.0),
            Err(CastError::Full | CastError::Blocked | CastError::Busy) => Answer::Later,
            Err(
                CastError::NotMember
                | CastError::TooLarge
                | CastError::ReadOnly
                | CastError::NoSuchGroup
                | CastError::NotOffered
                | CastError::NotAwaited,
            ) => Answer::Refused("the cast was refused"),
        }
    }
}

impl Host for Site {
    type Config = Settings;

    fn start(settings: &Settings, boot: Boot, now: Time) -> Result<Site, String> {
        let me = Peer { site: boot.life.site, incarnation: boot.life.incarnation, store: boot.store };
        let name = |site: &SiteId| format!("site-{}", site.0);
        let others = boot.sites.iter().filter(|site| **site != me.site);
        let config = Config {
            cluster: ClusterId(1),
            cluster_epoch: 0,
            me,
            name: name(&me.site),
            founders: boot.sites[..boot.founders].to_vec(),
            known: others.map(|site| (*site, name(site))).collect(),
            mservers: boot.sites[..boot.mservers].iter().copied().filter(|site| *site != me.site).collect(),
            addresses: Vec::new(),
            mserver: index(me.site) < boot.mservers,
            window_bytes_max: settings.window_bytes_max,
            slow_member_after: Duration::from_secs(30),
            link: links(boot.link_bytes_max),
            detection_max: settings.detection_max,
            bugs: settings.bugs,
            trace: true,
        };
        let node = Node::start(config, boot.record.as_ref(), now, boot.seed).map_err(|e| e.to_string())?;
        Ok(Site { node, now, unsettled: true, phase: None })
    }

    fn open_process(&mut self) -> ProcessId {
        self.node.open_process()
    }

    fn handle_packet(&mut self, now: Time, from: SiteId, _: Channel, bytes: Bytes) {
        // A refused packet changes nothing; the driver counts it.
        let _ = self.given(now).handle_packet(now, from, bytes);
    }

    fn handle_connection(&mut self, now: Time, site: SiteId, connection: Connection) {
        self.given(now).handle_connection(now, site, connection);
    }

    fn handle_stored(&mut self, now: Time, ticket: u64) {
        self.given(now).handle_stored(now, stack::Ticket(ticket));
    }

    fn handle_timeout(&mut self, now: Time) {
        self.given(now).handle_timeout(now);
    }

    fn handle_request(&mut self, now: Time, request: Request) -> Answer {
        let node = self.given(now);
        let taken = match request {
            Request::Join(process, group, rules) => {
                let options = JoinOptions { rules, ..JoinOptions::default() };
                node.join(now, process, group, options).is_ok().then_some(0)
            }
            Request::Leave(process, group) => node.leave(now, process, &group).is_ok().then_some(0),
            Request::Gone(process) => {
                node.close_process(now, process, false);
                Some(0)
            }
            Request::Cast(process, group, cast) => return self.cast(now, process, &group, cast),
            Request::Durable(group, what) => return durably(node, now, group, what),
            Request::Reply(ticket, bytes) => {
                node.reply(now, ticket, ReplyKind::Reply, bytes).is_ok().then_some(0)
            }
            Request::Flush(process, group) => node.flush(process, &group).ok(),
            Request::Stop => {
                node.leave_cluster(now);
                Some(0)
            }
        };
        taken.map_or(Answer::Refused("refused"), Answer::Taken)
    }

    fn poll_write(&mut self) -> Option<Write> {
        if std::mem::take(&mut self.unsettled) {
            self.node.settle(self.now);
        }
        let store = self.node.poll_store()?;
        Some(Write { ticket: store.ticket.0, record: store.record })
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let packet = self.node.poll_transmit(self.now)?;
        let bytes =
            if packet.body.is_empty() { packet.header } else { [packet.header, packet.body].concat().into() };
        Some(Transmit { to: packet.to, channel: packet.channel, bytes })
    }

    fn poll_event(&mut self) -> Option<Event> {
        if let Some(phase) = self.phase.take() {
            return Some(phase);
        }
        if let Some((group, op)) = self.node.poll_durable_store() {
            return Some(Event::Store(group, op));
        }
        loop {
            if let Some(event) = translate(self.node.poll_event()?) {
                if let Event::Transition(name) = event {
                    self.phase = phase(name).map(Event::Coordinating);
                }
                return Some(event);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.node.poll_timeout()
    }

    fn describe(bytes: &[u8]) -> String {
        let Some(kind) = bytes.get(KIND_AT).and_then(|byte| Kind::from_byte(*byte)) else {
            return format!("{} bytes", bytes.len());
        };
        match kind {
            Kind::LinkData | Kind::LinkAck => link_packet(bytes).unwrap_or_else(|| format!("{kind:?}")),
            _ => format!("{kind:?}, {} bytes", bytes.len()),
        }
    }

    fn about(bytes: &[u8]) -> &'static str {
        let kind = |at: usize| bytes.get(at).and_then(|byte| Kind::from_byte(*byte));
        match kind(KIND_AT) {
            Some(Kind::LinkData) => subject(kind(link::HEADER_BYTES + KIND_AT)),
            direct => subject(direct),
        }
    }
}

/// What is asked of a durable group's store; nothing of a site that has none.
fn durably(node: &mut Node, now: Time, name: GroupName, what: Durably) -> Answer {
    if let Durably::Open(machine) = what {
        node.open_durable(name, *machine);
        return Answer::Taken(0);
    }
    let Some(mut group) = node.durable(now, &name) else { return Answer::Refused("no store") };
    let taken = match what {
        Durably::Open(_) => return Answer::Taken(0),
        Durably::Propose(time, request) => group.propose(time, request).map(|()| 0),
        Durably::Read => group.read().map(|read| read.0),
        Durably::Change(change) => {
            return if group.change(change).is_ok() { Answer::Taken(0) } else { Answer::Later };
        }
        Durably::Applied(position, answer) => {
            group.applied(position, answer);
            Ok(0)
        }
        Durably::Done(done) => {
            group.done(done);
            Ok(0)
        }
    };
    match taken {
        Ok(number) => Answer::Taken(number),
        Err(ProposeError::NotActive | ProposeError::Full | ProposeError::Busy) => Answer::Later,
        Err(ProposeError::TooLarge | ProposeError::Stopped) => Answer::Refused("refused"),
    }
}

/// What frames of a kind are about. The second and later packets of a frame that is too long for one begin with
/// anything: they are few, and counted as what they look like.
fn subject(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Control) => "agreement",
        Some(Kind::Interface) => "interface",
        Some(Kind::Multicast) => "multicast",
        Some(Kind::Call) => "calls",
        Some(Kind::Store) => "stores",
        Some(Kind::Detect) => "probes",
        Some(Kind::LinkAck) => "acknowledgements",
        Some(Kind::Acquire | Kind::Clock | Kind::Hello | Kind::LinkData | Kind::Relay | Kind::Session)
        | None => "other",
    }
}

/// Where a frame's header says what the frame is.
const KIND_AT: usize = 0;

/// A link's packet in words: its number, what it acknowledges, and what it begins with.
fn link_packet(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?));
    let (number, acknowledged) = (word(48)?, word(56)?);
    if number == 0 {
        return Some(format!("acknowledges {acknowledged}"));
    }
    let inner = bytes.get(link::HEADER_BYTES + KIND_AT).and_then(|byte| Kind::from_byte(*byte));
    let inner = inner.map_or("more of a frame".to_owned(), |kind| format!("{kind:?}"));
    Some(format!("#{number} {inner}, {} bytes, acknowledges {acknowledged}", bytes.len()))
}

/// An event in the simulator's words; none if no property asks for it.
fn translate(event: stack::Event) -> Option<Event> {
    Some(match event {
        stack::Event::Admitted { view, primary, position, members } => {
            let sites = members.iter().map(|life| life.site).collect();
            Event::Core { view: Some(view), primary, position, sites }
        }
        stack::Event::View { view, members, transitional } => Event::View { view, members, transitional },
        stack::Event::Left { group, member, name: _, why: _ } => Event::Left { group, member },
        stack::Event::Rejoining { was, group, member: _ } => Event::Rejoining { was, group },
        stack::Event::JoinFailed { member, group, error: _ } => {
            Event::JoinFailed { process: member.process, group }
        }
        stack::Event::Deliver { group, view, from, to, order, reply_to, payload } => {
            let to = match to {
                LocalMembers::All => None,
                LocalMembers::Only(members) => Some(members),
            };
            Event::Deliver { group, view, from, to, order, reply: reply_to.map(Box::new), payload }
        }
        stack::Event::TransitionalSignal { group, members: _ } => Event::Signal { group },
        stack::Event::CallDone { process, call, outcome } => match outcome {
            Ok(outcome) => {
                let complete = !outcome.timed_out && outcome.missing.is_empty() && outcome.failed.is_empty();
                let replied = outcome.replies.into_iter().map(|(member, _)| member).collect();
                Event::CallDone { process, call: call.0, complete, replied }
            }
            Err(stack::CallFailed::NotSent) => Event::NotSent { process, call: call.0 },
            Err(stack::CallFailed::Unknown) => return None,
        },
        stack::Event::Blocked { group, blocked } => Event::Blocked { group, blocked },
        stack::Event::Flushed { process, flush } => Event::Flushed { process, flush },
        stack::Event::Durable { group, said } => Event::Durable(group, said),
        stack::Event::Note(note) => Event::Note(note),
        stack::Event::MayStop => Event::MayStop,
        stack::Event::Surpassed(_) => Event::MayStop,
        stack::Event::Trace(name) => Event::Transition(name),
        stack::Event::GroupView(_)
        | stack::Event::Looked { .. }
        | stack::Event::Changed { .. }
        | stack::Event::Writable { .. }
        | stack::Event::Reconnect(_)
        | stack::Event::Disconnect(_) => return None,
    })
}

/// The phases of a change, for its coordinator.
pub const PHASES: &[&str] = &[
    "collecting (C9)",
    "proposing directly (C6)",
    "proposing a forced value (C9.2)",
    "proposing a primary step (C9.2)",
    "proposing a non-primary step (C9.3)",
    "committing (C12)",
];

/// What many seeds must reach: every fault, act, phase and transition that a cluster without an intruder can get to.
pub fn expected() -> Vec<(coverage::Kind, &'static str)> {
    // An old copy of a store has to be put back by hand, and a member of the core-set moves by command.
    let by_hand = [kernel::Transition::OldStore, kernel::Transition::Reorder];
    let agreement = kernel::Transition::ALL.iter().filter(|t| !by_hand.contains(t)).map(|t| t.name());
    let transitions = agreement.chain(JOINED.iter().copied()).map(|name| (coverage::Kind::Transition, name));
    let faults = FAULTS.iter().map(|name| (coverage::Kind::Fault, *name));
    let phases = PHASES.iter().map(|name| (coverage::Kind::CrashedIn, *name));
    let workload = WORKLOAD.iter().map(|name| (coverage::Kind::Workload, *name));
    transitions.chain(faults).chain(phases).chain(workload).collect()
}

/// What the node calls the transitions of detection and multicast.
const JOINED: &[&str] = &[
    "detection: announced shutdown",
    "detection: bad link",
    "detection: detour",
    "detection: direct path restored",
    "detection: failed",
    "detection: woke late",
    "flush: cascade",
    "flush: fetched what was missing",
    "flush: installed alone",
    "flush: installed with others",
    "flush: started",
    "flush: time-out",
    "gbcast: delivered",
    "multicast: a message in fragments",
    "multicast: begun anew in the turn of its end",
    "multicast: dropped, of an earlier view",
    "multicast: kept for a later view",
    "multicast: link full",
    "multicast: window full",
    "order: another sequencer",
    "order: unordered at the cut",
    "safe: delivered after the signal",
];

/// Where a transition of the kernel takes a coordinator; none if the transition is nothing of a coordinator's.
fn phase(transition: &str) -> Option<Option<&'static str>> {
    Some(match transition {
        "Election" => Some(PHASES[0]),
        "DirectAttempt" => Some(PHASES[1]),
        "ForcedValue" => Some(PHASES[2]),
        "ComposePrimary" => Some(PHASES[3]),
        "ComposeNonPrimary" => Some(PHASES[4]),
        "CommitByAll" | "CommitByQuorum" | "CommitNonPrimary" => Some(PHASES[5]),
        "Abandon" | "Outbid" | "LineMoved" | "AckRanOut" => None,
        _ => return None,
    })
}
