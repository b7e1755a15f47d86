//! The seeded world: sites, the network between them, their clocks and disks, and time.
//!
//! Single-threaded and without a source of chance but its [`Dice`]: the same seed and the same calls give the
//! same run, bit for bit. The embedder calls [`World::step`] until it has seen enough, asks hosts for things
//! with [`World::request`], makes faults with [`World::crash`] and its sisters, and takes what the hosts said
//! with [`World::take_happenings`].

pub mod clock;
mod connections;
pub mod disk;
mod driving;
pub mod network;
mod site;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use wire::{Incarnation, ProcessId, SiteId, SiteIncarnation, Time};

use crate::coverage::{Kind, Reached};
use crate::dice::{Concern, Dice};
use crate::host::{self, Answer, Boot, Host, Request};
use crate::trace::{Keep, Trace};
use disk::Disk;
use network::{Epoch, Network, Way};
use site::{Input, Slot};

/// How a seed's world behaves.
#[derive(Clone, Debug)]
pub struct Model {
    /// How many sites there are.
    pub sites: usize,
    /// How many of them founded the cluster.
    pub founders: usize,
    /// How many of them, the first, have an mserver.
    pub mservers: usize,
    /// The network.
    pub network: network::Model,
    /// The disks.
    pub disk: disk::Model,
    /// How many bytes may wait for one other site before a host holds data back; none: as many as it likes.
    pub link_bytes_max: Option<usize>,
    /// How far a clock's rate may be off.
    pub drift_ppm_max: u64,
    /// A host that is given something is heard after about so long, and meanwhile given whatever else comes: a *turn*, as a
    /// busy site takes them. Zero: it is heard after each input.
    pub turn_mean: Duration,
    /// So many transitions of a thousand doom their site: it dies while it sends what comes next.
    pub doom_per_mille: u32,
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

/// How much has left hosts, by what it is about.
pub type Traffic = BTreeMap<&'static str, Sent>;

/// So many packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets: frames, or parts of one that is too long for a packet.
    pub packets: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
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
    Turn { site: usize, boot: u64 },
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
    doom_dice: Dice,
    turn_dice: Dice,
    happenings: Vec<Happening>,
    reached: Reached,
    trace: Trace,
    traffic: Traffic,
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
            doom_dice: Dice::new(seed, Concern::Doom),
            turn_dice: Dice::new(seed, Concern::Turns),
            happenings: Vec::new(),
            reached: Reached::new(),
            trace: Trace::new(keep),
            traffic: Traffic::default(),
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
        self.traffic.values().map(|sent| sent.packets).sum()
    }

    /// What has left hosts so far, by what it is about.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
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
            Event::Turn { site, boot } => self.end_turn(site, boot),
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
            link_bytes_max: self.model.link_bytes_max,
            mservers: self.model.mservers,
            seed: self.clock_dice.number(),
        };
        let now = slot.clock.local(self.now);
        self.note(1, site, 0, || format!("{life} starts"));
        self.reach_if(self.model.drift_ppm_max > 0, "clock drift");
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
        self.model.doom_per_mille = 0;
        self.model.disk.slow_per_mille = 0;
        self.model.disk.error_per_mille = 0;
        for slot in &mut self.slots {
            slot.doom = None;
        }
    }

    /// A process is born at a running site.
    pub fn open_process(&mut self, site: usize) -> Option<ProcessId> {
        self.slots[site].host.as_mut().map(|host| host.open_process())
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
        self.hear(site);
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
