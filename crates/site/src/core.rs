//! The site's one loop: what the driver and the processes say goes into the node, what the node says goes to
//! them. Everything that waits is taken in before the node settles, so that batches grow with the load.

mod casts;
mod probing;
mod processes;
mod room;
mod slow;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use multicast::call::Lazy;
use net::{Disk, Down, Input, Inputs, Links, SendError};
use stack::{CallId, CastError, ChangeId, Channel, Connection, Event, Looked, Node, Ticket};
use tokio::sync::mpsc;
use wire::frame::{self, Kind};
use wire::{GroupName, Incarnation, ProcessId, SiteId};

use crate::clocks::Clocks;
use crate::directory::{Directory, Learned};
use crate::handle::{Answer, Command, Handle, RequestError};
use crate::hosting::{Failed, FromDisk, Hosting};
use crate::levels::Unsupported;
use crate::metrics::Metrics;
use casts::{Cast, Waiter};
use probing::{Due, Probing};
use processes::Processes;
use room::Room;
use slow::Slow;

/// Inputs, and commands, that are taken in before the node settles.
const BATCH_MAX: usize = 512;
/// Questions for groups' views that may wait at an attached site.
const LOOKING_MAX: usize = 1_024;
/// A site that can't leave in order stops anyway after so long.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Why the loop ended.
#[derive(Debug)]
pub enum Ended {
    /// In order.
    InOrder,
    /// The disk failed: what it holds is not known until it is read again.
    Disk(net::DiskError),
    /// The disk of a durable group failed.
    Store(String),
    /// Peers have seen a later life of this store: it is an old copy.
    Surpassed,
    /// The cluster's feature level is one that this program does not have.
    Level(Unsupported),
    /// The site had another store before, whose lives went up to this one; this one was just made.
    Outlived(Incarnation),
}

/// What a site stands on.
pub(crate) struct World {
    pub(crate) clock: net::Clock,
    pub(crate) links: Links,
    pub(crate) disk: Disk,
    pub(crate) inputs: Inputs,
    pub(crate) directory: Arc<Directory>,
    pub(crate) refusals: Arc<net::Metrics>,
    pub(crate) hosting: Hosting,
    pub(crate) clocks: Arc<Clocks>,
    /// The store was just made.
    pub(crate) fresh: bool,
}

pub(crate) struct Core {
    node: Node,
    clock: net::Clock,
    links: Links,
    disk: Disk,
    inputs: Inputs,
    directory: Arc<Directory>,
    refusals: Arc<net::Metrics>,
    hosting: Hosting,
    clocks: Arc<Clocks>,
    commands: mpsc::Receiver<Command>,
    handle: mpsc::WeakSender<Command>,
    metrics: Arc<Metrics>,
    processes: Processes,
    probing: Probing,
    room: Room,
    slow: Slow,
    /// Casts that wait for the end of a view change or for room, in order, by group.
    waiting: BTreeMap<GroupName, VecDeque<Cast>>,
    /// Casts of members that are held back to travel with others.
    lazy: Lazy<(GroupName, Cast)>,
    /// Who waits for a call's end.
    calls: BTreeMap<CallId, Waiter>,
    flushes: BTreeMap<u64, Answer<()>>,
    /// Who waits for a change of groups; as many as the node takes.
    changes: BTreeMap<ChangeId, Answer<()>>,
    /// Who waits to be told of a group that an attached site has asked its mserver for.
    looking: BTreeMap<GroupName, Vec<Answer<Arc<GroupView>>>>,
    stopping: Option<tokio::time::Instant>,
    /// The store was just made, and was in no view.
    fresh: bool,
    ended: Option<Ended>,
}

impl Core {
    pub(crate) fn new(
        node: Node,
        world: World,
        (handle, commands): (&Handle, mpsc::Receiver<Command>),
        metrics: Arc<Metrics>,
        slow_member_after: Duration,
    ) -> Core {
        let World { clock, links, disk, inputs, directory, refusals, hosting, clocks, fresh } = world;
        Core {
            node,
            clock,
            links,
            disk,
            inputs,
            directory,
            refusals,
            hosting,
            clocks,
            commands,
            handle: handle.downgrade(),
            metrics,
            processes: Processes::default(),
            probing: Probing::default(),
            room: Room::default(),
            slow: Slow::new(slow_member_after),
            waiting: BTreeMap::new(),
            lazy: Lazy::default(),
            calls: BTreeMap::new(),
            flushes: BTreeMap::new(),
            changes: BTreeMap::new(),
            looking: BTreeMap::new(),
            stopping: None,
            fresh,
            ended: None,
        }
    }

    /// Runs until the site has stopped.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            self.settle();
            if let Some(ended) = self.ended.take() {
                self.links.close();
                return ended;
            }
            let deadlines = [
                self.node.poll_timeout(),
                self.probing.poll_timeout(),
                self.room.poll_timeout(),
                self.lazy.poll_timeout(),
                self.slow.poll_timeout(&self.processes),
                Some(self.hosting.poll_timeout()),
            ];
            let deadline = deadlines.into_iter().flatten().min();
            let clock = self.clock;
            let timer = async move {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let give_up = async {
                match self.stopping {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                input = self.inputs.recv() => match input {
                    Some(input) => self.take_inputs(input),
                    None => self.ended = Some(Ended::InOrder),
                },
                Some(said) = self.hosting.recv() => self.store_says(said),
                command = self.commands.recv() => match command {
                    Some(command) => self.take_commands(command),
                    // Nobody can speak to the site any more: it leaves in order.
                    None => self.begin_to_stop(),
                },
                () = timer => {}
                () = give_up => self.ended = Some(Ended::InOrder),
            }
            let now = self.clock.now();
            if self.node.poll_timeout().is_some_and(|at| at <= now) {
                self.node.handle_timeout(now);
            }
            self.probe(now);
            if self.room.handle_timeout(now, self.node.is_off_primary()) {
                tracing::warn!(
                    "this site can promise nothing, and keeps away from the others until its disk has room"
                );
                self.links.keep_away(true);
            }
            self.ask_slow_members_to_leave(now);
            self.ride_due(now);
            self.hosting.handle_timeout(&mut self.node, now);
        }
    }

    /// A store that was just made is an old copy of none: that life was an earlier store's of this site.
    fn outlived(&mut self, later: Incarnation) {
        tracing::info!(later = later.0, "this site had another store before");
        self.ended = Some(Ended::Outlived(later));
    }

    /// A durable group's disk says something; others may have, too.
    fn store_says(&mut self, first: FromDisk) {
        let now = self.clock.now();
        let mut next = Some(first);
        while let Some(said) = next {
            let handled = self.hosting.handle_disk(&mut self.node, now, said);
            self.stop_if_failed(handled);
            next = self.hosting.try_recv();
        }
    }

    fn stop_if_failed(&mut self, handled: Result<(), Failed>) {
        match handled {
            Ok(()) => {}
            Err(Failed::Disk(why)) => {
                tracing::error!(why, "a durable group's disk failed");
                self.ended = Some(Ended::Store(why));
            }
            Err(Failed::Surpassed) => self.ended = Some(Ended::Surpassed),
            Err(Failed::Level(why)) => self.ended = Some(Ended::Level(why)),
        }
    }

    /// Asks processes whether they take their events, and gives up those that have not answered in time.
    fn probe(&mut self, now: wire::Time) {
        if self.probing.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        for due in self.probing.handle_timeout(now) {
            match due {
                Due::Ask(process, probe) => self.processes.probe(process, probe),
                Due::GiveUp(group, member, within) => {
                    self.metrics.hung.inc();
                    tracing::warn!(%group, %member, ?within, "a program does not take its events: its member has failed");
                    // Refused, it is tried again: the member is still there then.
                    let _ = self.node.expel(now, &group, member);
                }
            }
        }
    }

    fn ask_slow_members_to_leave(&mut self, now: wire::Time) {
        if self.slow.poll_timeout(&self.processes).is_none_or(|at| at > now) {
            return;
        }
        let casts_wait = |group: &GroupName| self.waiting.contains_key(group);
        for (group, member) in self.slow.handle_timeout(now, &self.processes, casts_wait) {
            self.metrics.slow.inc();
            tracing::warn!(%group, %member, "a program holds back casts of this site: its member is asked to leave");
            // Refused, it is tried again: the member is still there then.
            let _ = self.node.expel(now, &group, member);
        }
    }

    fn take_inputs(&mut self, first: Input) {
        let mut next = Some(first);
        for _ in 0..BATCH_MAX {
            let Some(input) = next else { break };
            self.take_input(input);
            next = self.inputs.try_recv();
        }
        if let Some(input) = next {
            self.take_input(input);
        }
        // Commands wait meanwhile; they get their turn in every round too.
        if let Ok(command) = self.commands.try_recv() {
            self.take_commands(command);
        }
    }

    fn take_commands(&mut self, first: Command) {
        let mut next = Some(first);
        for _ in 0..BATCH_MAX {
            let Some(command) = next else { return };
            self.command(command);
            next = self.commands.try_recv().ok();
        }
        if let Some(command) = next {
            self.command(command);
        }
    }

    fn take_input(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Up { site, incarnation, hello: _ } => {
                tracing::info!(%site, incarnation = incarnation.0, "connected");
                // The node hears of a site before it hears from it.
                let learned = self.directory.linked(site);
                self.learn(learned);
                self.node.handle_connection(now, site, Connection::Up(incarnation));
            }
            Input::Down { site, reason } => {
                let connection = match reason {
                    Down::Refused => Connection::Refused,
                    Down::Silent => Connection::Silent,
                    // A newer connection follows at once.
                    Down::Replaced => return,
                    Down::Closed | Down::Expelled | Down::Unlisted => Connection::Closed,
                };
                tracing::debug!(%site, %reason, "connection down");
                self.directory.unlinked(site);
                self.node.handle_connection(now, site, connection);
            }
            Input::Packets(site, packets) => {
                for packet in packets {
                    self.packet(site, packet);
                }
            }
            Input::Probe(site, probe) => self.packet(site, probe),
            Input::Stale { newest } if self.fresh => self.outlived(newest),
            // The links have said so, and go on trying: the peer may be wrong, and forget it.
            Input::Stale { newest: _ } => {}
            Input::Writable(site) => self.node.handle_choked(site, false),
            Input::Stored(ticket) => {
                self.node.handle_stored(now, Ticket(ticket));
                if self.room.stored() {
                    tracing::info!("the disk has room again");
                    self.links.keep_away(false);
                }
            }
            Input::Disk(error) if error.is_fatal() => {
                tracing::error!(%error, "the disk failed");
                self.ended = Some(Ended::Disk(error));
            }
            Input::Disk(error) => {
                tracing::error!(%error, "the disk");
                self.room.full(now);
            }
        }
    }

    fn packet(&mut self, site: SiteId, packet: Bytes) {
        let now = self.clock.now();
        self.metrics.packets.inc();
        if packet.first() == Some(&(Kind::Acquire as u8)) {
            return self.told_of_sites(site, packet);
        }
        if packet.first() == Some(&(Kind::Clock as u8)) {
            let handled = self.clocks.handle_packet(site, packet);
            return handled.unwrap_or_else(|why| self.refusals.refuse(why));
        }
        if let Err(error) = self.node.handle_packet(now, site, packet) {
            self.metrics.packets_refused.inc();
            tracing::debug!(%site, %error, "refused a packet");
        }
    }

    /// A peer tells of sites that are in nobody's configuration.
    fn told_of_sites(&mut self, from: SiteId, packet: Bytes) {
        let told = match frame::split(packet, frame::PACKET_BYTES_MAX) {
            Ok((_, body)) => self.directory.told(from, &body),
            Err(_) => Err(net::Refusal::BadBid),
        };
        match told {
            Ok(learned) => self.learn(learned),
            Err(why) => self.refusals.refuse(why),
        }
    }

    fn learn(&mut self, learned: impl IntoIterator<Item = Learned>) {
        for Learned { site, name, mserver } in learned {
            self.node.learn_site(site, &name, mserver);
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Open { answer } => {
                let process = self.node.open_process();
                let events = self.processes.open(process, &self.handle);
                if answer.send((process, events)).is_err() {
                    self.close(process, true);
                }
            }
            Command::Close { process, in_order } => self.close(process, in_order),
            Command::Join { process, group, options, answer } => {
                let joined = self.node.join(now, process, group, options).map_err(RequestError::from);
                drop(answer.send(joined));
            }
            Command::Leave { process, group, answer } => {
                if let Some(id) = self.processes.membership(process, &group) {
                    self.ride(id);
                }
                let left = self.node.leave(now, process, &group).map_err(RequestError::from);
                drop(answer.send(left));
            }
            Command::Cast { process, group, options, payloads, lazy, answer } => {
                let waiter = Waiter::Taken(answer);
                let cast = Cast { process, options, payloads: payloads.into(), waiter };
                match lazy {
                    Some(patience) => self.cast_lazily(group, cast, patience),
                    None => self.cast(group, cast),
                }
            }
            Command::Call { process, group, options, payload, answer } => {
                let waiter = Waiter::Replies(answer);
                self.cast(group, Cast { process, options, payloads: [payload].into(), waiter });
            }
            Command::Reply { process, to, kind, payload, answer } => {
                let taken = match to.member.process == process {
                    true => self.node.reply(now, to, kind, payload),
                    false => Err(CastError::NotAwaited),
                };
                drop(answer.send(taken.map_err(RequestError::from)));
            }
            Command::Flush { process, group, answer } => self.flush(process, group, answer),
            Command::Watch { process, group, on } => {
                // An attached site may not know yet: the view comes as an event then.
                let view = match self.node.look(&group) {
                    Looked::View(view) => Some(view),
                    Looked::Missing | Looked::Unknown => None,
                };
                self.processes.watch(process, group, on, view);
            }
            Command::Change { change, answer } => match self.node.change(now, change) {
                Ok(change) => drop(self.changes.insert(change, answer)),
                Err(error) => drop(answer.send(Err(error.into()))),
            },
            Command::View { group, answer } => match self.node.look(&group) {
                Looked::View(view) => drop(answer.send(Ok(view))),
                Looked::Missing => drop(answer.send(Err(CastError::NoSuchGroup.into()))),
                Looked::Unknown => self.look_later(group, answer),
            },
            Command::Alive { process, probe } => self.probing.alive(now, process, probe),
            Command::Status { answer } => drop(answer.send(self.node.status())),
            Command::Sites { answer } => drop(answer.send(self.node.sites())),
            Command::Resume { process } => {
                let released = self.processes.resume(process);
                self.release(released);
            }
            Command::Host(ask) => self.hosting.ask(&mut self.node, now, ask),
            Command::Stop => self.begin_to_stop(),
        }
    }

    /// Keeps who asks for a group that an attached site does not know yet; answers those that have gone away.
    fn look_later(&mut self, group: GroupName, answer: Answer<Arc<GroupView>>) {
        self.looking.values_mut().for_each(|waiting| waiting.retain(|answer| !answer.is_closed()));
        self.looking.retain(|_, waiting| !waiting.is_empty());
        if self.looking.values().map(Vec::len).sum::<usize>() >= LOOKING_MAX {
            return drop(answer.send(Err(CastError::Busy.into())));
        }
        self.looking.entry(group).or_default().push(answer);
    }

    fn looked(&mut self, name: &GroupName) {
        let found = self.node.look(name);
        for answer in self.looking.remove(name).into_iter().flatten() {
            drop(answer.send(match &found {
                Looked::View(view) => Ok(Arc::clone(view)),
                Looked::Missing | Looked::Unknown => Err(CastError::NoSuchGroup.into()),
            }));
        }
        self.retry(name);
    }

    fn begin_to_stop(&mut self) {
        if self.stopping.is_none() {
            tracing::info!("leaving in order");
            self.stopping = Some(tokio::time::Instant::now() + STOP_WITHIN);
            self.node.leave_cluster(self.clock.now());
        }
    }

    fn close(&mut self, process: ProcessId, in_order: bool) {
        let now = self.clock.now();
        for group in self.processes.memberships(process) {
            self.ride(group);
        }
        self.node.close_process(now, process, in_order);
        self.probing.closed(process);
        let released = self.processes.close(process);
        for casts in self.waiting.values_mut() {
            casts.retain(|cast| cast.process != process);
        }
        self.waiting.retain(|_, casts| !casts.is_empty());
        self.release(released);
    }

    /// Nobody here holds these groups back any longer.
    fn release(&mut self, groups: Vec<GroupName>) {
        let now = self.clock.now();
        for group in groups {
            self.node.hold(now, &group, false);
            self.retry(&group);
        }
    }

    /// Lets the node take its course and carries out what it says.
    fn settle(&mut self) {
        loop {
            let now = self.clock.now();
            self.node.settle(now);
            while let Some(store) = self.node.poll_store() {
                self.disk.store(store.ticket.0, store.record.into());
            }
            self.transmit();
            self.hosting.pass_on(&mut self.node);
            let mut busy = false;
            while let Some(event) = self.node.poll_event() {
                busy = true;
                self.event(event);
            }
            if !busy {
                return self.hosting.tell_watchers();
            }
        }
    }

    fn transmit(&mut self) {
        let now = self.clock.now();
        let mut batch = self.links.batch();
        while let Some(transmit) = self.node.poll_transmit(now) {
            let to = transmit.to;
            let sent = match transmit.channel {
                Channel::Stream => batch.send(to, &transmit.header, transmit.body),
                Channel::Datagram if transmit.body.is_empty() => {
                    self.links.send_probe(to, transmit.header).map(drop)
                }
                Channel::Datagram => {
                    let whole = [&transmit.header[..], &transmit.body[..]].concat();
                    self.links.send_probe(to, whole.into()).map(drop)
                }
            };
            match sent {
                Ok(()) | Err(SendError::Down) => {}
                // It was taken, and no more will be until there is room.
                Err(SendError::Filled | SendError::Full) => self.node.handle_choked(to, true),
                Err(error @ SendError::TooLong(_)) => tracing::error!(%to, %error, "a packet is lost"),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Admitted { view, primary, position, members } => {
                self.fresh = false;
                self.metrics.view_changes.inc();
                self.metrics.core_members.set(members.len() as i64);
                self.metrics.primary.set(i64::from(primary));
                let members = members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                tracing::info!(%view, primary, position, members, "view");
            }
            Event::GroupView(view) => self.processes.tell_watchers(&view),
            Event::Changed { change, outcome } => {
                if let Some(answer) = self.changes.remove(&change) {
                    drop(answer.send(outcome.map_err(RequestError::from)));
                }
            }
            Event::Looked { name } => self.looked(&name),
            Event::View { view, members, transitional } => {
                self.metrics.group_views.inc();
                if members.iter().any(|member| self.hosting.is_own(*member)) {
                    self.hosting.in_view(&view);
                }
                let here = self.processes.tell_view(&view, &members, &transitional);
                self.probing.view(self.clock.now(), &view, &here);
                self.retry(&view.name);
            }
            Event::Left { name, member, .. } if self.hosting.is_own(member) => {
                self.hosting.left(self.clock.now(), &name);
            }
            Event::Left { group, name, member, why } => {
                self.give_up_lazy(group, member.process);
                let slow = self.slow.left(member).then(|| {
                    format!("asked to leave: it held others back for {} s", self.slow.after().as_secs())
                });
                let given_up = self.probing.left(&name, member).map(|within| {
                    format!("the program did not take its events within {} ms", within.as_millis())
                });
                let given_up = given_up.or(slow);
                if !self.node.is_succeeded(member, &name) {
                    self.processes.tell_left(&name, member, given_up.as_deref().unwrap_or(why));
                }
                if self.processes.left(&name, member) {
                    self.node.hold(self.clock.now(), &name, false);
                }
                self.fail_waiting(&name, member.process);
                if !self.processes.hold_back(&name) {
                    self.release(vec![name]);
                }
            }
            Event::Rejoining { was, member, group } => {
                if self.hosting.is_own(was) {
                    self.hosting.rejoining(self.clock.now(), &group);
                }
                tracing::info!(%was, %member, %group, "joins again");
            }
            Event::JoinFailed { member, group, .. } if self.hosting.is_own(member) => {
                self.hosting.left(self.clock.now(), &group);
            }
            Event::JoinFailed { member, group, error } => {
                self.processes.tell_join_failed(&group, member, &error);
            }
            Event::Deliver { group, view, from, to, order, reply_to, payload } => {
                self.metrics.delivered.inc();
                let now = self.clock.now();
                if let Some(to) = reply_to.filter(|to| self.hosting.is_own(to.member)) {
                    self.hosting.asked(&mut self.node, now, to, &payload);
                }
                let held = self.processes.deliver(now, group, view, from, &to, order, reply_to, &payload);
                if let Some(name) = held {
                    self.node.hold(self.clock.now(), &name, true);
                }
            }
            Event::TransitionalSignal { group, members } => self.processes.tell_signal(group, &members),
            Event::CallDone { process, call, outcome } if self.hosting.is_process(process) => {
                let now = self.clock.now();
                self.hosting.call_done(&mut self.node, now, call, outcome);
            }
            Event::CallDone { process: _, call, outcome } => self.call_done(call, outcome),
            Event::Blocked { group, blocked } => {
                let name = self.processes.tell_blocked(group, blocked);
                if let (false, Some(name)) = (blocked, name) {
                    self.retry(&name);
                }
            }
            Event::Writable { group } => self.writable(group),
            Event::Flushed { process: _, flush } => {
                if let Some(answer) = self.flushes.remove(&flush) {
                    drop(answer.send(Ok(())));
                }
            }
            Event::Reconnect(site) => self.links.reconnect(site),
            Event::Disconnect(life) => self.links.disconnect(life.site, life.incarnation),
            Event::Surpassed(later) if self.fresh => self.outlived(later),
            Event::Surpassed(later) => {
                tracing::error!(
                    later = later.0,
                    "peers have seen a later life of this store: it is an old copy"
                );
                self.ended = Some(Ended::Surpassed);
            }
            Event::Note(note) => tracing::info!("{note}"),
            Event::Durable { group, said } => {
                let now = self.clock.now();
                let handled = self.hosting.handle_event(&mut self.node, now, &group, said);
                self.stop_if_failed(handled);
            }
            Event::MayStop => self.ended = Some(Ended::InOrder),
            Event::Trace(name) => tracing::trace!(name),
        }
    }
}
