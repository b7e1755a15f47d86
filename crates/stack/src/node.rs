//! The node: who tells whom what.
//!
//! ```text
//!  packets ─▶ Peers ─▶ Detector ─▶ Service ─▶ Interface ─▶ Groups ─▶ events
//!               ▲          │ (who failed) │ (steps)  │ (views)   │
//!               └──────────┴──────────────┴──────────┴───────────┘ frames
//! ```

mod detection;
mod requests;
mod status;
mod stores;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use detect::{Detector, Path};
use link::Class;
use membership::group::{GroupRequest, GroupView, Outcome, SiteInfo, SiteRole};
use membership::interface::message::Answer;
use membership::interface::{self, Host, Interface, Looked};
use membership::kernel::Ticket as WriteTicket;
use membership::service::{Event as Decided, RecordError, Service};
use membership::step::{Step, Why};
use membership::tables::GroupTables;
use wire::frame::{self, Header, Kind};
use wire::{SiteId, SiteIncarnation, Time, ViewId};

use crate::api::{
    ChangeError, ChangeId, Channel, Config, Connection, Event, JoinError, Record, Store, Ticket, Transmit,
};
use crate::groups::{Action, Groups};
use crate::peers::{Inbound, Peers, Refused};

/// An agreement message up to this size travels by itself; a longer one, with tables in it, in the link's order.
const BARE_BYTES_MAX: usize = 60_000;
/// A message between stores up to this size goes as agreement does.
const STORE_BYTES_MAX: usize = 4 << 10;
/// The longest payload of a cast.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Room for what is put in front of a payload.
const ENVELOPE_BYTES_MAX: usize = 64 << 10;

/// One site as a pure state machine.
///
/// # Call order
///
/// Any number of `handle_*` calls and requests; then [`Node::settle`] once; then drain [`Node::poll_store`],
/// [`Node::poll_transmit`] and [`Node::poll_event`] until each returns `None`; then arm one timer for
/// [`Node::poll_timeout`]. The more is handed in before `settle`, the larger are the batches that leave.
///
/// What must be on disk first waits inside: the driver stores what [`Node::poll_store`] gives, in order, and says
/// so with [`Node::handle_stored`]; messages that depend on it leave only then.
pub struct Node {
    config: Config,
    peers: Peers,
    detector: Detector,
    /// None: this site attaches to an mserver elsewhere.
    service: Option<Service<GroupTables>>,
    host: Host,
    interface: Interface,
    groups: Groups,
    /// The core members of the installed view by rank.
    members: Vec<SiteIncarnation>,
    heard: BTreeSet<SiteId>,
    heard_due: Time,
    /// Sites whose links were full when last looked at.
    full: BTreeSet<SiteId>,
    /// Changes that somebody here waits for; as many as the interface has wishes.
    changes: BTreeSet<u64>,
    leaving: bool,
    stores: std::collections::VecDeque<Store>,
    events: std::collections::VecDeque<Event>,
}

/// Why a node can't start. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The record on disk can't be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Node {
    /// Starts a site. `record` is what it last stored, `seed` feeds back-offs and probe times.
    pub fn start(config: Config, record: Option<&Record>, now: Time, seed: u64) -> Result<Node, StartError> {
        let life = config.me.life();
        let service = match config.mserver {
            true => {
                let kernel = membership::kernel::Config {
                    cluster: config.cluster,
                    cluster_epoch: config.cluster_epoch,
                    founders: config.founders.clone(),
                    known: config.mservers.clone(),
                    bugs: config.bugs,
                };
                let record = record.map(|bytes| &bytes[..]);
                Some(Service::new(now, kernel, config.me, record, seed ^ 0x5e_41ce)?)
            }
            false => None,
        };
        let at_interface = match config.mserver {
            true => interface::Config::new(life),
            false => interface::Config::attached(life, spread(&config.mservers, life.site)),
        };
        let settings = detection::settings(config.detection_max);
        let multicast = multicast::Config {
            window_bytes: config.window_bytes_max,
            slow_after: config.slow_member_after,
            message_bytes_max: PAYLOAD_BYTES_MAX + ENVELOPE_BYTES_MAX,
            trace: config.trace,
            bugs: config.bugs,
            ..multicast::Config::default()
        };
        let mut node = Node {
            peers: Peers::new(life, config.link.clone(), config.bugs),
            detector: Detector::new(detect::Config { settings, bugs: config.bugs }, life, seed),
            service,
            host: Host::new(at_interface.clone()),
            interface: Interface::new(at_interface, now),
            groups: Groups::new(life, multicast),
            members: Vec::new(),
            heard: BTreeSet::new(),
            heard_due: now,
            full: BTreeSet::new(),
            changes: BTreeSet::new(),
            leaving: false,
            stores: std::collections::VecDeque::new(),
            events: std::collections::VecDeque::new(),
            config,
        };
        node.settle(now);
        Ok(node)
    }

    /// A packet from a site, which the driver has authenticated. An error changes nothing but a counter.
    pub fn handle_packet(&mut self, now: Time, from: SiteId, packet: Bytes) -> Result<(), Refused> {
        if let Some(life) = self.peers.life(from) {
            self.detector.handle_heard(now, life);
        }
        self.peers.handle_packet(now, from, packet)?;
        self.take_inbound(now)
    }

    /// The connection to a site changed.
    pub fn handle_connection(&mut self, now: Time, site: SiteId, connection: Connection) {
        self.peers.handle_connection(now, site, connection);
        let seen = match connection {
            Connection::Up(incarnation) => detect::Connection::Up(incarnation),
            Connection::Closed => detect::Connection::Closed,
            Connection::Refused => detect::Connection::Refused,
            Connection::Silent => detect::Connection::Silent,
        };
        self.detector.handle_connection(now, site, seen);
        let strange = || self.config.known.iter().all(|(known, _)| *known != site);
        if let Some(service) = &mut self.service
            && (self.config.mservers.contains(&site) || strange())
        {
            service.add_known(site);
        }
        if connection == Connection::Refused {
            // Its machine answers, and nobody is there any more.
            self.interface.handle_unreachable(now, site);
            self.host.handle_refused(now, site);
        }
        // What the connection's end brought about is no packet of a peer's: nothing can be refused.
        let _ = self.take_inbound(now);
    }

    /// The driver's queue to a site is full (`true`), or has room again.
    pub fn handle_choked(&mut self, site: SiteId, choked: bool) {
        self.peers.handle_choked(site, choked);
    }

    /// This write, and all before it, are durable.
    pub fn handle_stored(&mut self, now: Time, ticket: Ticket) {
        if let Some(service) = &mut self.service {
            service.handle_stored(now, WriteTicket(ticket.0));
        }
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        for site in self.peers.handle_timeout(now) {
            self.detector.handle_doubt(now, site);
        }
        self.detector.handle_timeout(now);
        if let Some(service) = &mut self.service {
            service.handle_timeout(now);
            if let Some(view) = service.view() {
                self.host.handle_timeout(now, &view.tables);
            }
        }
        self.interface.handle_timeout(now);
        self.groups.handle_timeout(now);
    }

    /// When [`Node::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        [
            self.peers.poll_timeout(),
            self.detector.poll_timeout(),
            self.service.as_ref().and_then(Service::poll_timeout),
            self.service.as_ref().and_then(|_| self.host.poll_timeout()),
            self.interface.poll_timeout(),
            self.groups.poll_timeout(),
            self.service.as_ref().map(|_| self.heard_due),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets everything that was handed in take its course.
    pub fn settle(&mut self, now: Time) {
        if self.service.is_some() && now >= self.heard_due {
            self.look_around(now);
        }
        let mut idle = false;
        while !idle {
            idle = true;
            idle &= !self.settle_detection(now);
            idle &= !self.settle_agreement(now);
            idle &= !self.settle_interface(now);
            idle &= !self.settle_groups(now);
        }
    }

    /// The next record to put on disk.
    pub fn poll_store(&mut self) -> Option<Store> {
        self.stores.pop_front()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        self.peers.poll_transmit(now)
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn take_inbound(&mut self, now: Time) -> Result<(), Refused> {
        let mut result = Ok(());
        while let Some(inbound) = self.peers.poll_inbound() {
            let taken = match inbound {
                Inbound::Frame { from, kind, body } => {
                    self.detector.handle_heard(now, from);
                    self.take_frame(now, from.site, kind, body)
                }
                Inbound::Bare { from, life, via, kind, body } => {
                    self.take_bare(now, (from, life), via, kind, body)
                }
                Inbound::NewLife { life } => {
                    self.detector.handle_heard(now, life);
                    Ok(())
                }
                Inbound::Writable { site } => {
                    self.full.remove(&site);
                    self.groups.handle_link(site, true);
                    Ok(())
                }
            };
            result = result.and(taken);
        }
        result
    }

    fn take_frame(&mut self, now: Time, from: SiteId, kind: Kind, body: Bytes) -> Result<(), Refused> {
        match kind {
            Kind::Multicast => self.groups.handle_frame(now, from, body).map_err(Refused::Body),
            Kind::Call => self.groups.handle_point(now, from, body).map_err(Refused::Body),
            Kind::Store => self.groups.handle_store_message(now, from, &body).map_err(Refused::Body),
            Kind::Control => self.take_control(now, from, &body),
            Kind::Interface => self.take_interface(now, from, &body),
            Kind::Detect
            | Kind::Acquire
            | Kind::Clock
            | Kind::Hello
            | Kind::LinkData
            | Kind::LinkAck
            | Kind::Relay
            | Kind::Session => Err(Refused::Unexpected(kind)),
        }
    }

    fn take_bare(
        &mut self,
        now: Time,
        (from, life): (SiteId, Option<SiteIncarnation>),
        via: Option<SiteId>,
        kind: Kind,
        body: Bytes,
    ) -> Result<(), Refused> {
        match kind {
            Kind::Control => self.take_control(now, from, &body),
            Kind::Detect => {
                // Until the peer's life is known, there is nobody to answer.
                let Some(life) = life else { return Ok(()) };
                let path = via.map_or(Path::Direct, Path::Via);
                match self.detector.handle_probe(now, life, path, &body) {
                    // A stranger's probe is answered, and tells nothing.
                    Ok(()) | Err(detect::ProbeError::NotMember | detect::ProbeError::StaleLife) => Ok(()),
                    Err(error) => Err(Refused::Body(error.to_string())),
                }
            }
            Kind::Interface
            | Kind::Multicast
            | Kind::Call
            | Kind::Store
            | Kind::Acquire
            | Kind::Clock
            | Kind::Hello
            | Kind::LinkData
            | Kind::LinkAck
            | Kind::Relay
            | Kind::Session => Err(Refused::Unexpected(kind)),
        }
    }

    fn take_control(&mut self, now: Time, from: SiteId, body: &[u8]) -> Result<(), Refused> {
        let Some(service) = &mut self.service else { return Ok(()) };
        service.handle_packet(now, from, body).map_err(|error| Refused::Body(error.to_string()))
    }

    /// What an attached site and its mserver say to each other.
    fn take_interface(&mut self, now: Time, from: SiteId, body: &[u8]) -> Result<(), Refused> {
        let taken = match self.service.as_ref().and_then(Service::view) {
            Some(view) => self.host.handle_bytes(now, from, body, &view.tables),
            None => self.interface.handle_bytes(now, from, body),
        };
        taken.map_err(|error| Refused::Body(error.to_string()))
    }

    fn settle_agreement(&mut self, now: Time) -> bool {
        let Some(service) = &mut self.service else { return false };
        let (mut packets, mut decided) = (Vec::new(), Vec::new());
        while let Some(write) = service.poll_store() {
            self.stores.push_back(Store { ticket: Ticket(write.ticket.0), record: write.bytes.into() });
        }
        while let Some(packet) = service.poll_transmit() {
            packets.push(packet);
        }
        while let Some(event) = service.poll_event() {
            decided.push(event);
        }
        for packet in packets {
            let whole = frame::join(Kind::Control, 0, &packet.bytes);
            if packet.bytes.len() <= BARE_BYTES_MAX {
                let by = match self.detector.path(packet.to) {
                    Some(Path::Via(neighbour)) => Some(neighbour),
                    Some(Path::Direct) | None => None,
                };
                self.peers.send_bare(packet.to, Channel::Stream, by, whole);
            } else if self.peers.send(now, packet.to, whole, Class::Control).is_err() {
                self.note(format!(
                    "{} takes nothing: an agreement message is dropped, and will be repeated",
                    packet.to
                ));
            }
        }
        let busy = !decided.is_empty();
        for event in decided {
            self.decided(now, event);
        }
        busy
    }

    fn decided(&mut self, now: Time, event: Decided<Arc<GroupView>>) {
        match event {
            Decided::StartChange { id, members } => {
                let sites: Vec<SiteId> = members.iter().map(|life| life.site).collect();
                self.groups.handle_start_change(now, id, &sites);
                if let Some(view) = self.service.as_ref().and_then(Service::view) {
                    self.host.handle_core_change(id, &view.tables);
                }
            }
            Decided::Installed { step, group_views } => self.installed(now, &step, &group_views),
            Decided::Excluded(view) => {
                self.note(format!("view {view} excludes this site: it will join again"))
            }
            Decided::Settled { request, outcome, on_line: _ } => {
                self.interface.handle_answer(now, request, Answer::Outcome(outcome));
            }
            Decided::Suspect(life) => self.detector.handle_doubt(now, life.site),
            Decided::Left => self.events.push_back(Event::MayStop),
            Decided::Surpassed(by) => self.events.push_back(Event::Surpassed(by)),
            Decided::Diverged(step) => {
                self.note(format!(
                    "the tables after {step} differ from the coordinator's: asking for them in whole"
                ));
            }
            Decided::Trace(transition) => self.trace(transition.name()),
        }
    }

    fn installed(&mut self, now: Time, step: &Step, views: &[Arc<GroupView>]) {
        let before = std::mem::take(&mut self.members);
        self.members = step.members.iter().map(|member| member.peer.life()).collect();
        self.detector.handle_members(now, &self.members);
        let lives = self.members.clone();
        self.expect_lives(now, &lives);
        for gone in before.iter().filter(|life| !self.members.contains(life)) {
            self.groups.handle_life_ended(now, *gone);
        }
        self.groups.handle_core(now, self.members.iter().copied().collect());
        let unheard = |why: &Why| matches!(why, Why::Failed | Why::Partitioned);
        for (peer, _) in
            step.removed.iter().filter(|(peer, why)| peer.site != self.config.me.site && unheard(why))
        {
            self.events.push_back(Event::Disconnect(peer.life()));
        }
        if let Some(own) = step.members.iter().find(|member| member.peer == self.config.me) {
            self.interface.handle_admitted(own.joined_at);
        }
        if let Some(view) = self.service.as_ref().and_then(Service::view) {
            self.interface.handle_step(now, views, &view.tables);
            self.host.handle_step(now, views, &view.tables);
        }
        for view in views {
            self.groups.handle_end(now, view);
            self.groups.tell_outsiders(now, view);
            self.events.push_back(Event::GroupView(Arc::clone(view)));
        }
        self.events.push_back(Event::Admitted {
            view: step.id,
            primary: step.primary,
            position: step.position,
            members: self.members.clone(),
        });
        self.enter_site_table(now);
        self.return_to_the_line(now, step);
    }

    /// A site that went off the line for a while and comes back to it unnoticed, its side unmerged, is still a member of
    /// groups whose views it left behind there: these need new views to have it back.
    fn return_to_the_line(&mut self, now: Time, step: &Step) {
        let Some(view) = self.service.as_ref().and_then(Service::view).filter(|_| step.primary) else {
            return;
        };
        for group in self.groups.strayed(|id| view.tables.group_view_id(id)) {
            // If too much is asked already, the next view asks again.
            let _ = self.interface.request(now, GroupRequest::Refresh { group });
        }
    }

    /// What is sent from now on is for these lives, even if they have not been heard yet: it waits for them, and is
    /// not dropped with what an earlier life was sent.
    fn expect_lives(&mut self, now: Time, lives: &[SiteIncarnation]) {
        for life in lives.iter().filter(|life| life.site != self.config.me.site) {
            self.peers.expect(now, *life);
        }
        // Nothing came from a peer: nothing can be refused.
        let _ = self.take_inbound(now);
    }

    /// Makes sure that the site table has this site's name and addresses.
    fn enter_site_table(&mut self, now: Time) {
        let role = if self.config.mserver { SiteRole::Mserver } else { SiteRole::Attached };
        let info =
            SiteInfo { name: self.config.name.clone(), addresses: self.config.addresses.clone(), role };
        let site = self.config.me.site;
        let known =
            self.service.as_ref().and_then(Service::view).and_then(|view| view.tables.site(site).cloned());
        if known.as_ref() != Some(&info) {
            // If too much is asked already, the next view asks again.
            let _ = self.interface.request(now, GroupRequest::SetSite { site, info });
        }
    }

    fn settle_interface(&mut self, now: Time) -> bool {
        let mut busy = false;
        while let Some(wish) = self.host.poll_wish() {
            busy = true;
            // If it is not taken, the host wishes again when its time comes.
            let _ = self.interface.request(now, wish);
        }
        let own = std::iter::from_fn(|| self.interface.poll_submit());
        let guests = std::iter::from_fn(|| self.host.poll_submit());
        for request in own.chain(guests).collect::<Vec<_>>() {
            busy = true;
            if let Some(service) = &mut self.service {
                // Busy: the interface, or the guest's, says it again.
                let _ = service.submit_request(now, &request);
            }
        }
        let up = std::iter::from_fn(|| self.interface.poll_transmit());
        let down = std::iter::from_fn(|| self.host.poll_transmit());
        for (to, message) in up.chain(down).collect::<Vec<_>>() {
            let whole = frame::join(Kind::Interface, 0, &message.encode());
            // A full link means a site that takes nothing: both ends repeat.
            let _ = self.peers.send(now, to, whole, Class::Control);
        }
        while let Some(event) = self.interface.poll_event() {
            busy = true;
            self.interface_says(now, event);
        }
        busy
    }

    fn interface_says(&mut self, now: Time, event: interface::Event) {
        match event {
            interface::Event::View { view, members: _ } => {
                let lives: Vec<_> = view.members.iter().map(|member| member.id.process.birth).collect();
                self.expect_lives(now, &lives);
                self.groups.handle_view(now, view);
            }
            interface::Event::Over { view } => self.groups.handle_end(now, &view),
            interface::Event::StartChange { group, attempt, members } => {
                let sites: Vec<SiteId> = members.iter().map(|member| member.site()).collect();
                self.groups.handle_group_start_change(now, group, attempt, &sites);
            }
            interface::Event::JoinFailed { member, group, why } => {
                let error = match why {
                    interface::Failure::Refused(reason) => JoinError::Refused(reason.to_string()),
                    interface::Failure::NotPrimary => JoinError::NotPrimary,
                    interface::Failure::Unanswered => JoinError::NotAdmitted,
                };
                self.groups.handle_join_failed(member);
                // It had asked twice, and the other join was granted.
                let is_in = self.groups.member(member.process, &group).is_some();
                if !is_in {
                    self.events.push_back(Event::JoinFailed { member, group, error });
                }
            }
            interface::Event::Left { member, group: _, why } => {
                self.groups.handle_left(member, crate::why_text(Some(why)));
            }
            interface::Event::Rejoining { was, member, group } => {
                self.groups.handle_rejoining(was);
                self.events.push_back(Event::Rejoining { was, member, group });
            }
            interface::Event::Answered { id, outcome } => {
                if self.changes.remove(&id.n) {
                    let outcome = match outcome {
                        Some(Outcome::Done) => Ok(()),
                        Some(Outcome::Refused(reason)) => Err(ChangeError::Refused(reason.to_string())),
                        Some(Outcome::Pending) => Err(ChangeError::NotPrimary),
                        None => Err(ChangeError::Unanswered),
                    };
                    self.events.push_back(Event::Changed { change: ChangeId(id.n), outcome });
                }
            }
            interface::Event::Looked { name } => {
                if let Looked::View(view) = self.interface.look(&name) {
                    let lives: Vec<_> = view.members.iter().map(|member| member.id.process.birth).collect();
                    self.expect_lives(now, &lives);
                    self.groups.tell_outsiders(now, &view);
                    self.events.push_back(Event::GroupView(view));
                }
                self.events.push_back(Event::Looked { name });
            }
            interface::Event::Attached { via } => self.note(format!("attached to the mserver at {via}")),
            interface::Event::Detached => self.note("no mserver answers; trying on".to_owned()),
        }
    }

    fn settle_groups(&mut self, now: Time) -> bool {
        self.groups.settle(now);
        let mut busy = false;
        while let Some(action) = self.groups.poll_action() {
            busy = true;
            match action {
                Action::Frame { to, frame } => self.send_frame(now, &to, &frame),
                Action::Point { to, message } if to == self.config.me.site => {
                    // A message of this site to itself was made here: it can be read.
                    let _ = self.groups.handle_point(now, to, message.encode());
                }
                Action::Point { to, message } => {
                    let whole = frame::join(Kind::Call, 0, &message.encode());
                    // A full link means a site that takes nothing: clients repeat, calls time out.
                    let _ = self.peers.send(now, to, whole, Class::Control);
                }
                Action::Store { to, message } => {
                    let header = Header::new(Kind::Store, 0, message.len()).to_bytes();
                    // A chunk of a log or of a checkpoint waits like data: the reserve is there for flushes.
                    let class = if message.len() > STORE_BYTES_MAX { Class::Data } else { Class::Control };
                    for site in to {
                        // A full link means a site that takes nothing: what matters is sent again.
                        let _ = self.peers.send_parts(now, site, (header, message.clone()), class);
                    }
                }
                Action::Submit(request) => {
                    // Busy: the view change that is wanted comes with the next one.
                    let _ = self.interface.request(now, request);
                }
                Action::Suspect(site) => self.detector.handle_doubt(now, site),
            }
        }
        while let Some(event) = self.groups.poll_event() {
            match event {
                Event::Trace(name) => self.trace(name),
                event => self.events.push_back(event),
            }
        }
        busy
    }

    fn send_frame(&mut self, now: Time, to: &[SiteId], body: &Bytes) {
        let header = Header::new(Kind::Multicast, 0, body.len()).to_bytes();
        for &site in to {
            if site == self.config.me.site {
                continue;
            }
            // The reserve of the control class is there for flushes and acknowledgements: batches stop
            // when the endpoints hear that the link is full for data.
            let taken = self.peers.send_parts(now, site, (header, body.clone()), Class::Control);
            let full = taken.is_err() || !self.peers.is_writable(site);
            if full && self.full.insert(site) {
                self.peers.want_room(site);
                self.groups.handle_link(site, false);
            }
            if taken.is_err() {
                self.note(format!("{site} has taken nothing for long: a frame to it is lost"));
                self.detector.handle_doubt(now, site);
            }
        }
    }

    fn note(&mut self, note: String) {
        self.events.push_back(Event::Note(note));
    }

    fn trace(&mut self, name: &'static str) {
        if self.config.trace {
            self.events.push_back(Event::Trace(name));
        }
    }

    fn view_id(&self) -> Option<ViewId> {
        self.service.as_ref().and_then(Service::view).map(|view| view.step.id)
    }
}

/// The mservers in the order in which this site tries them: another first for each, so that no mserver has all the
/// attached sites.
fn spread(mservers: &[SiteId], me: SiteId) -> Vec<SiteId> {
    let mut order = mservers.to_vec();
    if !order.is_empty() {
        let first = (me.0 as usize).wrapping_sub(1) % order.len();
        order.rotate_left(first);
    }
    order
}
