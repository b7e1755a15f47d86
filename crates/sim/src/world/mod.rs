//! The seeded world: sites, the network between them, their clocks and disks, and time.
//!
//! Single-threaded and without a source of chance but its [`Dice`]: the same seed and the same calls give the
//! same run, bit for bit. The embedder calls [`World::step`] until it has seen enough, asks hosts for things
//! with [`World::request`], makes faults with [`World::crash`] and its sisters, and takes what the hosts said
//! with [`World::take_happenings`].

pub mod clock;
pub mod disk;
pub mod network;
mod site;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use wire::{Incarnation, SiteId, SiteIncarnation, Time};

use crate::coverage::{Kind, Reached};
use crate::dice::{Concern, Dice};
use crate::host::{self, Answer, Boot, Channel, Connection, Host, Request};
use crate::trace::{Keep, Trace};
use disk::{Disk, Done};
use network::{Datagram, Epoch, Network, Stream, Way};
use site::{Input, Slot};

/// How a seed's world behaves.
#[derive(Clone, Debug)]
pub struct Model {
    /// How many sites there are.
    pub sites: usize,
    /// How many of them founded the cluster.
    pub founders: usize,
    /// The network.
    pub network: network::Model,
    /// The disks.
    pub disk: disk::Model,
    /// How far a clock's rate may be off.
    pub drift_ppm_max: u64,
}

/// How a site dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process only: its machine says so to whoever asks.
    Process,
    /// The machine: silence.
    Machine,
}

/// Something that the embedder should know.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A site started.
    Started(SiteIncarnation),
    /// A site died, by a fault or because its disk failed.
    Died(SiteIncarnation),
    /// A host said something to its processes.
    Said(SiteIncarnation, host::Event),
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something between hosts.
    Moved,
    /// A time the embedder asked to be woken at, with its token.
    Woken(u64),
}

/// A crash this soon after a coordinator entered a phase is a crash in that phase.
const PHASE_LASTS: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Event {
    Input { site: usize, boot: Option<u64>, input: Input },
    Timer { site: usize, boot: u64, serial: u64 },
    Dial { low: usize, high: usize },
    Patience { way: Way, epoch: Epoch },
    Hangup { way: Way, epoch: Epoch },
    Resume { site: usize, boot: u64 },
    Wake(u64),
}

struct Entry {
    at: Time,
    tie: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie, self.serial).cmp(&(other.at, other.tie, other.serial))
    }
}

/// The world.
pub struct World<H: Host> {
    model: Model,
    config: H::Config,
    now: Time,
    queue: BinaryHeap<Reverse<Entry>>,
    serial: u64,
    boots: u64,
    slots: Vec<Slot<H>>,
    network: Network,
    dialling: Vec<bool>,
    network_dice: Dice,
    disk_dice: Dice,
    clock_dice: Dice,
    happenings: Vec<Happening>,
    reached: Reached,
    trace: Trace,
    packets: u64,
}

impl<H: Host> World<H> {
    /// A world in which nobody has started yet.
    pub fn new(seed: u64, model: Model, config: H::Config, keep: Keep) -> World<H> {
        let mut disk_dice = Dice::new(seed, Concern::Disk);
        let slots = (0..model.sites).map(|_| Slot::new(Disk::new(&mut disk_dice))).collect();
        World {
            network: Network::new(model.sites, model.network.clone()),
            dialling: vec![false; model.sites * model.sites],
            config,
            now: Time::ZERO,
            queue: BinaryHeap::new(),
            serial: 0,
            boots: 0,
            slots,
            network_dice: Dice::new(seed, Concern::Network),
            disk_dice,
            clock_dice: Dice::new(seed, Concern::Clock),
            happenings: Vec::new(),
            reached: Reached::new(),
            trace: Trace::new(keep),
            packets: 0,
            model,
        }
    }

    /// The time of the world, which no site can see.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many sites there are, dead ones included.
    pub fn sites(&self) -> usize {
        self.slots.len()
    }

    /// The life of a site, if it is running (or paused).
    pub fn life(&self, site: usize) -> Option<SiteIncarnation> {
        let slot = &self.slots[site];
        slot.host.as_ref().map(|_| life_of(site, &slot.disk))
    }

    /// Whether a site is stopped for a while.
    pub fn paused(&self, site: usize) -> bool {
        self.slots[site].backlog.is_some()
    }

    /// The host, to be looked at.
    pub fn host(&self, site: usize) -> Option<&H> {
        self.slots[site].host.as_deref()
    }

    /// How many packets have left hosts so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What was reached so far.
    pub fn reached(&mut self) -> &mut Reached {
        &mut self.reached
    }

    /// The record of the run.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// The record of the run, when it is over.
    pub fn into_trace(self) -> Trace {
        self.trace
    }

    /// What hosts said since the last call.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// Asks to be woken.
    pub fn wake(&mut self, at: Time, token: u64) {
        self.at(at.max(self.now), Event::Wake(token));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse(entry)| entry.at)
    }

    /// Lets the next thing happen; none if nothing ever will.
    pub fn step(&mut self) -> Option<Step> {
        let Reverse(entry) = self.queue.pop()?;
        self.now = entry.at;
        match entry.event {
            Event::Wake(token) => return Some(Step::Woken(token)),
            Event::Input { site, boot, input } => self.arrive(site, boot, input),
            Event::Timer { site, boot, serial } => self.timer(site, boot, serial),
            Event::Dial { low, high } => self.dial(low, high),
            Event::Patience { way, epoch } => {
                if !self.network.open(way) || !self.network.open(way.back()) || !self.running(way.to) {
                    self.hang_up(way, epoch);
                }
            }
            Event::Hangup { way, epoch } => self.hang_up(way, epoch),
            Event::Resume { site, boot } => self.resume(site, boot),
        }
        Some(Step::Moved)
    }

    /// Starts a site that is down. False if it would not start: its disk cannot be read.
    pub fn start(&mut self, site: usize) -> bool {
        assert!(self.slots[site].host.is_none(), "a running site is not started");
        self.boots += 1;
        let boot = self.boots;
        let slot = &mut self.slots[site];
        slot.disk.incarnation += 1;
        slot.reset(boot, clock::Clock::start(self.now, self.model.drift_ppm_max, &mut self.clock_dice));
        let life = life_of(site, &slot.disk);
        let papers = Boot {
            life,
            store: slot.disk.store,
            record: slot.disk.record(),
            sites: (0..self.model.sites).map(site_id).collect(),
            founders: self.model.founders,
            seed: self.clock_dice.number(),
        };
        let now = slot.clock.local(self.now);
        self.note(1, site, 0, || format!("{life} starts"));
        match H::start(&self.config, papers, now) {
            Ok(host) => self.slots[site].host = Some(Box::new(host)),
            Err(why) => {
                self.note(2, site, 0, || format!("{life} cannot start: {why}"));
                return false;
            }
        }
        self.happenings.push(Happening::Started(life));
        self.drain(site);
        for other in (0..self.sites()).filter(|o| *o != site) {
            self.dial_soon(site, other, Duration::from_millis(2));
        }
        true
    }

    /// Kills a site, now.
    pub fn crash(&mut self, site: usize, death: Death) {
        let Some(life) = self.life(site) else { return };
        let (kept, lost) = self.slots[site].disk.crash(self.now, &mut self.disk_dice);
        self.reach_if(kept > 0, "crash kept a write under way");
        self.reach_if(lost > 0, "crash lost a write under way");
        let slot = &mut self.slots[site];
        slot.host = None;
        slot.backlog = None;
        slot.machine_up = death == Death::Process;
        if let Some((phase, _)) = slot.phase.filter(|(_, since)| self.now.since(*since) < PHASE_LASTS) {
            self.reached.insert((Kind::CrashedIn, phase));
        }
        self.note(3, site, death as u64, || format!("{life} dies ({death:?})"));
        self.happenings.push(Happening::Died(life));
        for other in (0..self.sites()).filter(|o| *o != site) {
            self.lose_peer(Way { from: other, to: site }, death);
        }
    }

    /// Kills a site after so many more packets: in the middle of what it is saying.
    pub fn crash_after(&mut self, site: usize, packets: u64) {
        self.slots[site].doom = Some(packets);
    }

    /// Empties the disk of a dead site.
    pub fn wipe(&mut self, site: usize) {
        assert!(self.slots[site].host.is_none(), "only a dead site's disk is wiped");
        self.slots[site].disk.wipe(&mut self.disk_dice);
        self.note(4, site, 0, || format!("disk of {} is emptied", site_id(site)));
    }

    /// Stops a site for a while (SIGSTOP): it handles nothing, then everything at once.
    pub fn pause(&mut self, site: usize, lasting: Duration) {
        let slot = &mut self.slots[site];
        if slot.host.is_none() || slot.backlog.is_some() {
            return;
        }
        slot.backlog = Some(Vec::new());
        let boot = slot.boot;
        self.note(5, site, lasting.as_nanos() as u64, || format!("{} stops for {lasting:?}", site_id(site)));
        self.at(self.now + lasting, Event::Resume { site, boot });
    }

    /// Cuts one way between two sites. Cuts add up.
    pub fn cut(&mut self, way: Way) {
        self.network.cut(way);
        self.note(6, way.from, way.to as u64, || {
            format!("the way {} -> {} is cut", site_id(way.from), site_id(way.to))
        });
        for end in [way, way.back()] {
            if let Some(epoch) = self.network.end(end) {
                let patience = self.network.patience(&mut self.network_dice);
                self.at(self.now + patience, Event::Patience { way: end, epoch });
            }
        }
    }

    /// Takes one cut back.
    pub fn mend(&mut self, way: Way) {
        self.note(7, way.from, way.to as u64, || {
            format!("the way {} -> {} is mended", site_id(way.from), site_id(way.to))
        });
        for (at, epoch, bytes) in self.network.mend(self.now, way, &mut self.network_dice) {
            let input = Input::Packet { from: way.from, on: Some(epoch), bytes };
            let boot = Some(self.slots[way.to].boot);
            self.at(at, Event::Input { site: way.to, boot, input });
        }
    }

    /// Every directed pair of sites.
    pub fn ways(&self) -> impl Iterator<Item = Way> + use<H> {
        self.network.ways()
    }

    /// Makes one way slower by so much; zero makes it normal.
    pub fn slow(&mut self, way: Way, by: Duration) {
        self.network.slow(way, by);
        self.note(8, way.from, by.as_nanos() as u64, || {
            format!("the way {} -> {} is slower by {by:?}", site_id(way.from), site_id(way.to))
        });
    }

    /// Breaks the connection between two sites, with what is in flight.
    pub fn break_connection(&mut self, a: usize, b: usize) {
        for way in [Way { from: a, to: b }, Way { from: b, to: a }] {
            if let Some(epoch) = self.network.end(way) {
                let latency = self.network.latency(way, &mut self.network_dice);
                self.at(self.now + latency, Event::Hangup { way, epoch });
                self.reached.insert((Kind::Fault, "connection broken"));
            }
        }
    }

    /// Ends chance on the network and the disks: the second phase of a seed.
    pub fn calm(&mut self) {
        self.network.calm();
        self.model.disk.slow_per_mille = 0;
        self.model.disk.error_per_mille = 0;
        for slot in &mut self.slots {
            slot.doom = None;
        }
    }

    /// A local process asks a running site for something; none if the site is dead or paused.
    pub fn request(&mut self, site: usize, request: Request) -> Option<Answer> {
        let slot = &mut self.slots[site];
        if slot.backlog.is_some() {
            return None;
        }
        let host = slot.host.as_mut()?;
        let now = slot.clock.local(self.now);
        let answer = host.handle_request(now, request);
        self.drain(site);
        Some(answer)
    }

    fn running(&self, site: usize) -> bool {
        self.slots[site].host.is_some()
    }

    fn at(&mut self, at: Time, event: Event) {
        self.serial += 1;
        let entry = Entry { at, tie: self.network_dice.below(1 << 16), serial: self.serial, event };
        self.queue.push(Reverse(entry));
    }

    fn note(&mut self, kind: u64, site: usize, detail: u64, say: impl FnOnce() -> String) {
        self.trace.event(self.now, [kind, site as u64, detail], &[], say);
    }

    fn reach_if(&mut self, reached: bool, name: &'static str) {
        if reached {
            self.reached.insert((Kind::Fault, name));
        }
    }

    fn arrive(&mut self, site: usize, boot: Option<u64>, input: Input) {
        let slot = &mut self.slots[site];
        if slot.host.is_none() || boot.is_some_and(|boot| boot != slot.boot) {
            return;
        }
        match &mut slot.backlog {
            Some(backlog) => backlog.push(input),
            None => self.take(site, input),
        }
    }

    fn take(&mut self, site: usize, input: Input) {
        let World { slots, network, trace, now, .. } = self;
        let slot = &mut slots[site];
        let Some(host) = slot.host.as_mut() else { return };
        let local = slot.clock.local(*now);
        match input {
            Input::Packet { from, on, bytes } => {
                let channel = if on.is_some() { Channel::Stream } else { Channel::Datagram };
                if on.is_some() && network.end(Way { from: site, to: from }) != on {
                    self.reached.insert((Kind::Fault, "stream packet lost with its connection"));
                    return;
                }
                trace.event(*now, [10, site as u64, from as u64], &bytes, || {
                    format!("{} <- {} {channel:?} {}", site_id(site), site_id(from), H::describe(&bytes))
                });
                host.handle_packet(local, site_id(from), channel, bytes);
            }
            Input::Connection { peer, connection } => {
                trace.event(*now, [11, site as u64, peer as u64], &[], || {
                    format!("{} sees {} {connection:?}", site_id(site), site_id(peer))
                });
                host.handle_connection(local, site_id(peer), connection);
            }
            Input::WriteDone => match slot.disk.done(&self.model.disk, &mut self.disk_dice) {
                Done::Stored(ticket) => {
                    trace.event(*now, [12, site as u64, ticket], &[], || {
                        format!("{} has stored {ticket}", site_id(site))
                    });
                    host.handle_stored(local, ticket);
                }
                Done::Failed => {
                    self.reached.insert((Kind::Fault, "fsync error"));
                    self.crash(site, Death::Process);
                    return;
                }
            },
        }
        self.drain(site);
    }

    fn timer(&mut self, site: usize, boot: u64, serial: u64) {
        let slot = &mut self.slots[site];
        if slot.boot != boot || slot.timer.is_none_or(|(_, armed)| armed != serial) {
            return;
        }
        slot.timer = None;
        if slot.backlog.is_some() {
            return;
        }
        let Some(host) = slot.host.as_mut() else { return };
        let local = slot.clock.local(self.now);
        if host.poll_timeout().is_some_and(|due| due <= local) {
            self.trace.event(self.now, [13, site as u64, 0], &[], || format!("{} wakes", site_id(site)));
            host.handle_timeout(local);
        }
        self.drain(site);
    }

    fn resume(&mut self, site: usize, boot: u64) {
        let slot = &mut self.slots[site];
        if slot.boot != boot {
            return;
        }
        let Some(backlog) = slot.backlog.take() else { return };
        self.reached.insert((Kind::Fault, "pause"));
        self.note(9, site, backlog.len() as u64, || format!("{} goes on", site_id(site)));
        // Whether the sockets or the timers are looked at first is up to the operating system.
        let timers_first = self.clock_dice.chance(500);
        if timers_first {
            self.overdue(site);
        }
        for input in backlog {
            self.take(site, input);
        }
        self.overdue(site);
    }

    fn overdue(&mut self, site: usize) {
        let slot = &mut self.slots[site];
        let local = slot.clock.local(self.now);
        if let Some(host) = slot.host.as_mut() {
            if host.poll_timeout().is_some_and(|due| due <= local) {
                host.handle_timeout(local);
            }
            self.drain(site);
        }
    }

    /// Takes everything out of a host, in the order that its driver must: writes, packets, events.
    fn drain(&mut self, site: usize) {
        loop {
            let Some(host) = self.slots[site].host.as_mut() else { return };
            if let Some(write) = host.poll_write() {
                self.write(site, write);
            } else if let Some(transmit) = host.poll_transmit() {
                self.transmit(site, transmit);
            } else if let Some(event) = host.poll_event() {
                self.said(site, event);
            } else {
                break;
            }
        }
        self.arm(site);
    }

    fn arm(&mut self, site: usize) {
        let slot = &mut self.slots[site];
        let Some(due) = slot.host.as_ref().and_then(|host| host.poll_timeout()) else { return };
        // A host that asks for the past is served, but time must go on.
        let at = slot.clock.when(due, self.now + Duration::from_micros(1));
        if slot.timer.is_some_and(|(armed, _)| armed <= at) {
            return;
        }
        self.serial += 1;
        slot.timer = Some((at, self.serial));
        let event = Event::Timer { site, boot: slot.boot, serial: self.serial };
        self.at(at, event);
    }

    fn write(&mut self, site: usize, write: host::Write) {
        let boot = self.slots[site].boot;
        let ticket = write.ticket;
        self.trace.event(self.now, [14, site as u64, ticket], &write.record, || {
            format!("{} stores {ticket}", site_id(site))
        });
        let done = self.slots[site].disk.write(self.now, write, &self.model.disk, &mut self.disk_dice);
        self.at(done, Event::Input { site, boot: Some(boot), input: Input::WriteDone });
    }

    fn said(&mut self, site: usize, event: host::Event) {
        if let host::Event::Transition(name) = event {
            self.reached.insert((Kind::Transition, name));
        }
        if let host::Event::Coordinating(phase) = event {
            self.slots[site].phase = phase.map(|phase| (phase, self.now));
        }
        let life = life_of(site, &self.slots[site].disk);
        self.note(15, site, 0, || format!("{life}: {event:?}"));
        self.happenings.push(Happening::Said(life, event));
    }

    fn transmit(&mut self, site: usize, transmit: host::Transmit) {
        if let Some(left) = &mut self.slots[site].doom {
            if *left == 0 {
                self.reached.insert((Kind::Fault, "crash in the middle of sending"));
                return self.crash(site, Death::Process);
            }
            *left -= 1;
        }
        let to = index(transmit.to);
        assert!(to < self.sites() && to != site, "{} sends to {}", site_id(site), transmit.to);
        self.packets += 1;
        let way = Way { from: site, to };
        let channel = transmit.channel;
        self.trace.event(self.now, [16, site as u64, to as u64], &transmit.bytes, || {
            format!("{} -> {} {channel:?} {}", site_id(site), transmit.to, H::describe(&transmit.bytes))
        });
        match channel {
            Channel::Stream => self.stream(way, transmit.bytes),
            Channel::Datagram => self.datagram(way, transmit.bytes),
        }
    }

    fn stream(&mut self, way: Way, bytes: Bytes) {
        match self.network.stream(self.now, way, &bytes, &mut self.network_dice) {
            Stream::Unconnected => {}
            Stream::Held => {
                self.reached.insert((Kind::Fault, "stream stalled"));
            }
            Stream::At(at, epoch) => {
                let input = Input::Packet { from: way.from, on: Some(epoch), bytes };
                let boot = Some(self.slots[way.to].boot);
                self.at(at, Event::Input { site: way.to, boot, input });
            }
        }
    }

    fn datagram(&mut self, way: Way, bytes: Bytes) {
        let fate = self.network.datagram(self.now, way, &mut self.network_dice);
        let times = match fate {
            Datagram::Lost => {
                self.reached.insert((Kind::Fault, "datagram lost"));
                [None, None]
            }
            Datagram::Once(at) => [Some(at), None],
            Datagram::Twice(first, second) => {
                self.reached.insert((Kind::Fault, "datagram doubled"));
                [Some(first), Some(second)]
            }
        };
        for at in times.into_iter().flatten() {
            let input = Input::Packet { from: way.from, on: None, bytes: bytes.clone() };
            self.at(at, Event::Input { site: way.to, boot: None, input });
        }
    }

    /// The end `way.from` of a connection to a site that has just died.
    fn lose_peer(&mut self, way: Way, death: Death) {
        if let Some(epoch) = self.network.end(way.back()) {
            self.network.closed(way.back(), epoch);
        }
        let Some(epoch) = self.network.end(way) else { return };
        if death == Death::Process && self.network.open(way.back()) {
            let latency = self.network.latency(way.back(), &mut self.network_dice);
            self.at(self.now + latency, Event::Hangup { way, epoch });
        } else {
            let patience = self.network.patience(&mut self.network_dice);
            self.at(self.now + patience, Event::Patience { way, epoch });
        }
    }

    /// The end `way.from` gives a connection up.
    fn hang_up(&mut self, way: Way, epoch: Epoch) {
        if !self.network.closed(way, epoch) {
            return;
        }
        if self.running(way.from) {
            let input = Input::Connection { peer: way.to, connection: Connection::Closed };
            let boot = Some(self.slots[way.from].boot);
            self.arrive(way.from, boot, input);
        }
        if self.network.end(way.back()) == Some(epoch) {
            if self.network.open(way) {
                let latency = self.network.latency(way, &mut self.network_dice);
                self.at(self.now + latency, Event::Hangup { way: way.back(), epoch });
            } else {
                let patience = self.network.patience(&mut self.network_dice);
                self.at(self.now + patience, Event::Patience { way: way.back(), epoch });
            }
        }
        self.dial_soon(way.from, way.to, Duration::from_millis(30));
    }

    fn dial_soon(&mut self, a: usize, b: usize, mean: Duration) {
        let (low, high) = (a.min(b), a.max(b));
        let dialling = &mut self.dialling[low * self.model.sites + high];
        if !std::mem::replace(dialling, true) {
            let wait = self.network_dice.wait(mean);
            self.at(self.now + wait, Event::Dial { low, high });
        }
    }

    /// Two sites try to connect, unless both are down.
    fn dial(&mut self, low: usize, high: usize) {
        self.dialling[low * self.model.sites + high] = false;
        let ways = [Way { from: low, to: high }, Way { from: high, to: low }];
        let ends = ways.map(|way| self.network.end(way));
        if (ends[0].is_some() && ends[0] == ends[1]) || !(self.running(low) || self.running(high)) {
            return;
        }
        let reachable = ways.iter().all(|way| self.network.open(*way));
        let awake = |slot: &Slot<H>| slot.host.is_some() && slot.backlog.is_none();
        if reachable && awake(&self.slots[low]) && awake(&self.slots[high]) {
            return self.connect(ways, ends);
        }
        for (way, end) in ways.into_iter().zip(ends) {
            if end.is_none() && awake(&self.slots[way.from]) {
                let nobody = self.slots[way.to].host.is_none() && self.slots[way.to].machine_up;
                let connection = if reachable && nobody { Connection::Refused } else { Connection::Silent };
                self.take(way.from, Input::Connection { peer: way.to, connection });
            }
        }
        self.dial_soon(low, high, Duration::from_millis(150));
    }

    fn connect(&mut self, ways: [Way; 2], ends: [Option<Epoch>; 2]) {
        for (way, end) in ways.into_iter().zip(ends) {
            if let Some(old) = end {
                self.network.closed(way, old);
                self.take(way.from, Input::Connection { peer: way.to, connection: Connection::Closed });
            }
        }
        let epoch = self.network.connect();
        for way in ways {
            self.network.opened(self.now, way, epoch);
        }
        for way in ways {
            let incarnation = Incarnation(self.slots[way.to].disk.incarnation);
            // The first of the two may crash while it is told, and then there is nothing to tell the other.
            if self.network.end(way) == Some(epoch) {
                let connection = Connection::Up(incarnation);
                self.take(way.from, Input::Connection { peer: way.to, connection });
            }
        }
    }
}

/// The id of the site with this index.
pub fn site_id(site: usize) -> SiteId {
    SiteId(site as u32 + 1)
}

/// The index of the site with this id.
pub fn index(site: SiteId) -> usize {
    (site.0 as usize).wrapping_sub(1)
}

fn life_of(site: usize, disk: &Disk) -> SiteIncarnation {
    SiteIncarnation { site: site_id(site), incarnation: Incarnation(disk.incarnation) }
}
