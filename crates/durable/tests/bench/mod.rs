//! A bench for schedules written by hand: a few machines, disks that do everything at once, views that all install at
//! once. A site may hear nothing, and its disk may be held.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use durable::{
    CheckpointHead, Chunk, ClientId, Configuration, Done, Durable, Event, Life, Record, Recovery, Request,
    Settings, Status, StoreOp, View,
};
use wire::{Incarnation, SiteId, StoreId, Time, ViewId};

/// An empty window of answers.
pub const WINDOW: &[u8] = &[0x82, 0, 0x80];
/// Rounds until something that is awaited must have happened: ten minutes.
const ROUNDS: usize = 30_000;

#[derive(Clone, Default)]
pub struct Disk {
    pub meta: Option<Bytes>,
    pub log: BTreeMap<u64, Bytes>,
    /// Positions that cannot be read.
    pub rotten: BTreeSet<u64>,
    pub checkpoint: Option<CheckpointHead>,
    lives: u64,
}

impl Disk {
    fn work(&mut self, op: StoreOp) -> Done {
        let token = op.token();
        match op {
            StoreOp::Meta { record, .. } => self.meta = Some(record),
            StoreOp::Append { records, .. } => {
                self.log.extend(records.into_iter().map(|record| (record.position, record.bytes)));
            }
            StoreOp::Cut { from, .. } => {
                self.log.split_off(&from);
                self.rotten.split_off(&from);
            }
            StoreOp::Repair { record, .. } => {
                self.rotten.remove(&record.position);
                self.log.insert(record.position, record.bytes);
            }
            StoreOp::Read { from, to, .. } => {
                let whole = (from..=to).take_while(|position| !self.rotten.contains(position));
                let records = whole
                    .map_while(|position| Some(Record { position, bytes: self.log.get(&position)?.clone() }));
                return Done::Read(token, records.collect());
            }
            StoreOp::ReadCheckpoint { .. } => {
                return Done::Part(token, Some(Chunk { bytes: Bytes::from_static(WINDOW), next: None }));
            }
            StoreOp::InstallCheckpoint { head, keep, .. } => {
                let kept = if keep { head.number.position + 1 } else { u64::MAX };
                self.log = self.log.split_off(&kept);
                self.rotten = self.rotten.split_off(&kept);
                self.checkpoint = Some(head);
                return Done::Installed(token, Bytes::from_static(WINDOW));
            }
            StoreOp::Compact { .. } | StoreOp::WriteCheckpoint { .. } => {}
        }
        Done::Stored(token)
    }

    fn recovery(&self, settings: &Settings) -> Recovery {
        let checkpoint = self.checkpoint.clone().map(|head| (head, Bytes::from_static(WINDOW)));
        let mut recovery = Recovery::new(settings.clone(), self.meta.clone(), checkpoint);
        for (position, bytes) in &self.log {
            match self.rotten.contains(position) {
                true => recovery.missing(*position, *position),
                false => recovery.record(*position, bytes.clone(), true),
            }
            .expect("in order");
        }
        recovery
    }
}

pub struct Host {
    pub machine: Durable,
    pub disk: Disk,
    /// All that it has said, but what there was to apply.
    pub events: Vec<Event>,
    /// The client's numbers that it has applied.
    pub applied: Vec<u64>,
    /// Where it has taken checkpoints.
    pub taken: Vec<u64>,
    /// What its disk was asked for and has not done, while it is held.
    pub held: Vec<StoreOp>,
}

/// A site, and which operations its disk does not do.
pub type Stalls = (u32, fn(&StoreOp) -> bool);

pub struct Bench {
    pub now: Time,
    pub hosts: BTreeMap<u32, Host>,
    pub settings: Settings,
    founding: Configuration,
    epoch: u64,
    here: Vec<SiteId>,
    /// Sites that hear nothing of others, and are heard by nobody.
    pub deaf: BTreeSet<u32>,
    /// Sites whose disks do nothing.
    pub slow: BTreeSet<u32>,
    /// Sites whose disks have no room for entries.
    pub full: BTreeSet<u32>,
    /// A site whose disk does nothing from the first such operation on.
    pub stalls: Option<Stalls>,
    /// Checkpoints are taken at once. No site may be started again then: they are on no disk.
    pub takes_checkpoints: bool,
    /// How often another view was asked for and made.
    pub refreshed: u32,
}

impl Bench {
    /// Stores 1 to `stores`, each at the site of its number, with empty disks; no view.
    pub fn new(stores: u32) -> Bench {
        let all = (1..=stores).map(|n| (StoreId(n.into()), SiteId(n)));
        let mut bench = Bench {
            now: Time::ZERO,
            hosts: BTreeMap::new(),
            settings: Settings { recent_bytes_max: 0, ..Settings::default() },
            founding: Configuration::majority(all),
            epoch: 0,
            here: Vec::new(),
            deaf: BTreeSet::new(),
            slow: BTreeSet::new(),
            full: BTreeSet::new(),
            stalls: None,
            takes_checkpoints: false,
            refreshed: 0,
        };
        (1..=stores).for_each(|site| bench.start(site, Disk::default()));
        bench
    }

    /// A site starts, with what is on this disk.
    pub fn start(&mut self, site: u32, mut disk: Disk) {
        disk.lives += 1;
        let life = Life { incarnation: Incarnation(disk.lives), nonce: disk.lives };
        let machine = disk
            .recovery(&self.settings)
            .start(SiteId(site), StoreId(site.into()), life, Some(self.founding.clone()))
            .expect("a sound disk");
        let host = Host {
            machine,
            disk,
            events: Vec::new(),
            applied: Vec::new(),
            taken: Vec::new(),
            held: Vec::new(),
        };
        self.hosts.insert(site, host);
    }

    /// A site dies, and starts with what is on its disk.
    pub fn restart(&mut self, site: u32) {
        let disk = self.hosts[&site].disk.clone();
        self.start(site, disk);
    }

    /// These sites install the next view.
    pub fn view(&mut self, sites: &[u32]) {
        self.epoch += 1;
        self.here = sites.iter().copied().map(SiteId).collect();
        let id = ViewId { epoch: self.epoch, ..ViewId::default() };
        for site in sites {
            let (now, sites) = (self.now, self.here.clone());
            let machine = &mut self.host(*site).machine;
            machine.handle_blocked(now);
            machine.handle_view(now, View { id, primary: true, sites });
        }
    }

    pub fn host(&mut self, site: u32) -> &mut Host {
        self.hosts.get_mut(&site).expect("a site")
    }

    pub fn status(&self, site: u32) -> Status {
        self.hosts[&site].machine.status()
    }

    /// The client asks for its next thing at a site.
    pub fn ask(&mut self, site: u32, sequence: u64) {
        let payload = Bytes::from_static(b"x");
        let request = Request { client: ClientId([1; 16]), sequence, answered: sequence - 1, payload };
        let now = self.now;
        self.host(site).machine.propose(now, 0, request).expect("it is active");
    }

    /// Goes on until that is so.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Bench) -> bool) {
        for _ in 0..ROUNDS {
            if is_so(self) {
                return;
            }
            self.round();
        }
        let hosts: Vec<Status> = self.hosts.values().map(|host| host.machine.status()).collect();
        panic!("{what}: it never came; {hosts:#?}");
    }

    /// So many rounds.
    pub fn rounds(&mut self, rounds: usize) {
        (0..rounds).for_each(|_| self.round());
    }

    /// Whether these sites have applied the same, all there is.
    pub fn at_rest(&self, sites: &[u32]) -> bool {
        let mut ends = sites.iter().map(|site| {
            let status = self.status(*site);
            (status.applied == status.last.position && status.damaged.is_empty()).then_some(status.last)
        });
        let first = ends.next().flatten();
        first.is_some() && ends.all(|end| end == first)
    }

    pub fn round(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        let now = self.now;
        let (mut casts, mut messages, mut refresh) = (Vec::new(), Vec::new(), false);
        for (site, host) in &mut self.hosts {
            host.machine.handle_timeout(now);
            loop {
                host.held.extend(std::iter::from_fn(|| host.machine.poll_store()));
                if self.stalls.is_some_and(|(of, is)| of == *site && host.held.iter().any(is)) {
                    self.slow.insert(*site);
                    self.stalls = None;
                }
                if self.slow.contains(site) || host.held.is_empty() {
                    break;
                }
                for op in std::mem::take(&mut host.held) {
                    let done = match (self.full.contains(site), op) {
                        (true, StoreOp::Append { token, .. }) => Done::Full(token),
                        (_, op) => host.disk.work(op),
                    };
                    host.machine.handle_done(now, done);
                }
            }
            casts.extend(std::iter::from_fn(|| host.machine.poll_cast()).map(|cast| (*site, cast)));
            messages.extend(std::iter::from_fn(|| host.machine.poll_transmit()).map(|sent| (*site, sent)));
            refresh |= host.machine.poll_refresh();
            while let Some(event) = host.machine.poll_event() {
                match event {
                    Event::Apply { entry, .. } => {
                        if let durable::Body::Request(request) = &entry.body {
                            host.applied.push(request.sequence);
                        }
                        host.machine.handle_applied(now, entry.number.position, Bytes::new());
                    }
                    Event::Checkpoint { head, .. } if self.takes_checkpoints => {
                        host.taken.push(head.number.position);
                        host.machine.handle_done(now, Done::Taken(head.number, 1));
                    }
                    event => host.events.push(event),
                }
            }
        }
        for site in self.here.clone() {
            let hears =
                |from: u32| from == site.0 || !(self.deaf.contains(&site.0) || self.deaf.contains(&from));
            let casts: Vec<_> = casts.iter().filter(|(from, _)| hears(*from)).cloned().collect();
            let sent = messages.iter().filter(|(from, sent)| hears(*from) && sent.to.contains(&site));
            let sent: Vec<_> = sent.cloned().collect();
            let machine = &mut self.host(site.0).machine;
            for (from, cast) in casts {
                machine.handle_delivery(now, SiteId(from), cast).expect("its own kind");
            }
            for (from, sent) in sent {
                machine.handle_message(now, SiteId(from), &sent.message).expect("its own kind");
            }
        }
        if refresh {
            self.refreshed += 1;
            let sites: Vec<u32> = self.here.iter().map(|site| site.0).collect();
            self.view(&sites);
        }
    }
}
