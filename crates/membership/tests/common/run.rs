//! A seeded run of a few services: loss, doubling, overtaking, crashes, lost writes, partitions; then everything
//! heals and the sites must come to one view. The same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use membership::group::{Create, GroupOptions, GroupRequest, Lives};
use membership::kernel::{Config, Message, Tables, Ticket, Transition};
use membership::service::{Event, Service};
use membership::step::{Peer, RequestKind, Step, Why, Witnesses};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{
    Bugs, ClusterId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, StoreId, Time,
};

use super::oracle::Oracle;

const FAULTS_END: Time = Time::from_millis(2_000);
const DEADLINE: Time = Time::from_millis(20_000);
const ROUND_TRIP: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Packet { from: u32, to: u32, bytes: Vec<u8> },
    Stored { site: u32, life: u64, ticket: u64, bytes: Vec<u8> },
    Detect { site: u32 },
    Fault,
}

struct Site<T: Tables> {
    service: Option<Service<T>>,
    disk: Option<Vec<u8>>,
    life: u64,
    lost_since: BTreeMap<u32, Time>,
}

/// A failure or a leave of who is gone already rides on the next step and makes none of its own.
fn moot(kind: &RequestKind) -> bool {
    matches!(kind, RequestKind::Fail(..) | RequestKind::Leave(_))
}

/// One run.
pub struct Run<T: Tables> {
    now: Time,
    random: ChaCha8Rng,
    bugs: Bugs,
    founders: u32,
    sites: BTreeMap<u32, Site<T>>,
    heap: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    sequence: u64,
    /// Which side each site is on.
    sides: BTreeMap<u32, u64>,
    /// A path that is cut one way.
    deaf: Option<(u32, u32)>,
    loss_percent: u64,
    /// One packet in so many is very late, one in so many is doubled.
    late_one_in: u64,
    double_one_in: u64,
    healed: bool,
    pub oracle: Oracle,
    pub transitions: BTreeMap<Transition, u64>,
    pub steps: u64,
}

impl<T: Tables> Run<T> {
    pub fn new(seed: u64, bugs: Bugs) -> Run<T> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let founders = 2 + (random.next_u64() % 4) as u32;
        let joiners = (random.next_u64() % 2) as u32;
        let loss_percent = [0, 2, 10, 25][(random.next_u64() % 4) as usize];
        let late_one_in = [15, 5][(random.next_u64() % 2) as usize];
        let double_one_in = [20, 4][(random.next_u64() % 2) as usize];
        let mut run = Run {
            now: Time::ZERO,
            random,
            bugs,
            founders,
            sites: BTreeMap::new(),
            heap: BinaryHeap::new(),
            sequence: 0,
            sides: BTreeMap::new(),
            deaf: None,
            loss_percent,
            late_one_in,
            double_one_in,
            healed: false,
            oracle: Oracle::counting(),
            transitions: BTreeMap::new(),
            steps: 0,
        };
        for n in 1..=founders + joiners {
            run.sites.insert(n, Site { service: None, disk: None, life: 0, lost_since: BTreeMap::new() });
            run.start(n);
            run.at(Duration::from_millis(u64::from(n)), Happening::Detect { site: n });
        }
        run.at(Duration::from_millis(100), Happening::Fault);
        run
    }

    /// Runs to the end. An error says what went wrong, and is always the same for the same seed.
    pub fn finish(&mut self) -> Result<(), String> {
        loop {
            if self.now >= FAULTS_END && !self.healed {
                self.heal();
            }
            if self.healed && self.agreed() {
                return Ok(());
            }
            if self.now >= DEADLINE {
                return Err(format!("no agreement after healing: {}", self.picture()));
            }
            self.turn();
            if let Some(violation) = &self.oracle.violation {
                return Err(violation.clone());
            }
        }
    }

    fn turn(&mut self) {
        let due =
            self.sites.iter().filter_map(|(n, s)| Some((s.service.as_ref()?.poll_timeout()?, *n))).min();
        let next = self.heap.peek().map(|Reverse((at, _, _))| *at);
        match (due, next) {
            (Some((at, n)), next) if next.is_none_or(|next| at <= next) => {
                self.now = self.now.max(at);
                let now = self.now;
                self.with(n, |s| s.handle_timeout(now));
            }
            _ => {
                let Reverse((at, _, happening)) = self.heap.pop().expect("detection goes on for ever");
                self.now = self.now.max(at);
                self.happen(happening);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Packet { from, to, bytes } => {
                self.with(to, |s| {
                    let _ = s.handle_packet(now, SiteId(from), &bytes);
                });
            }
            Happening::Stored { site, life, ticket, bytes } => {
                let at = self.sites.get_mut(&site).expect("a site");
                if at.life == life && at.service.is_some() {
                    at.disk = Some(bytes);
                    self.with(site, |s| s.handle_stored(now, Ticket(ticket)));
                }
            }
            Happening::Detect { site } => self.detect(site),
            Happening::Fault => self.fault(),
        }
    }

    fn start(&mut self, n: u32) {
        let seed = self.random.next_u64();
        let all: Vec<SiteId> = self.sites.keys().filter(|s| **s != n).map(|s| SiteId(*s)).collect();
        let site = self.sites.get_mut(&n).expect("a site");
        site.life += 1;
        site.lost_since.clear();
        let me = Peer { site: SiteId(n), incarnation: Incarnation(site.life), store: StoreId(u64::from(n)) };
        let config = Config {
            cluster: ClusterId(1),
            cluster_epoch: 1,
            founders: (1..=self.founders).map(SiteId).collect(),
            known: all,
            bugs: self.bugs,
        };
        let mut service =
            Service::new(self.now, config, me, site.disk.as_deref(), seed).expect("its own record");
        // The sites do not agree on how far apart they are.
        service.set_round_trip_bound(ROUND_TRIP * (1 + (seed % 4) as u32) / 2);
        site.service = Some(service);
        self.with(n, |_| {});
    }

    /// What detection would say: who is heard, and who has been silent for long.
    fn detect(&mut self, n: u32) {
        self.at(Duration::from_millis(40), Happening::Detect { site: n });
        let others: Vec<u32> = self.sites.keys().copied().filter(|m| *m != n).collect();
        let now = self.now;
        let heard: BTreeSet<u32> = others.iter().copied().filter(|m| self.reaches(*m, n)).collect();
        let Some(site) = self.sites.get_mut(&n) else { return };
        if site.service.is_none() {
            return;
        }
        let mut gone = Vec::new();
        for m in others {
            if heard.contains(&m) {
                site.lost_since.remove(&m);
            } else if now.since(*site.lost_since.entry(m).or_insert(now)) > Duration::from_millis(120) {
                gone.push(m);
            }
        }
        let view: Vec<SiteIncarnation> = site
            .service
            .as_ref()
            .and_then(|s| s.kernel().view().or(s.kernel().line()))
            .map_or(Vec::new(), |v| v.step.members.iter().map(|m| m.peer.life()).collect());
        let set: BTreeSet<SiteId> = heard.iter().map(|m| SiteId(*m)).collect();
        self.with(n, |s| {
            s.handle_heard(now, &set);
            for life in view.iter().filter(|life| gone.contains(&life.site.0)) {
                s.establish(now, *life, Why::Failed, Witnesses::Two);
            }
        });
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let wait = 20 + self.random.next_u64() % 200;
        self.at(Duration::from_millis(wait), Happening::Fault);
        let all: Vec<u32> = self.sites.keys().copied().collect();
        let n = all[(self.random.next_u64() % all.len() as u64) as usize];
        let m = all[(self.random.next_u64() % all.len() as u64) as usize];
        let now = self.now;
        match self.random.next_u64() % 14 {
            0..=2 => {
                let site = self.sites.get_mut(&n).expect("a site");
                if site.service.is_some() {
                    site.service = None;
                } else {
                    self.start(n);
                }
            }
            3 | 4 => {
                let sides = 1 + self.random.next_u64() % 2;
                for n in all {
                    self.sides.insert(n, self.random.next_u64() % (sides + 1));
                }
            }
            5 => self.sides.clear(),
            6 => self.deaf = if self.deaf.is_some() { None } else { Some((n, m)) },
            7 => {
                let life = SiteIncarnation { site: SiteId(m), incarnation: Incarnation(self.sites[&m].life) };
                let witnesses = if n < m { Witnesses::One } else { Witnesses::Two };
                self.with(n, |s| s.establish(now, life, Why::Failed, witnesses));
            }
            8 => self.with(n, |s| s.leave(now)),
            9 => self.with(n, |s| {
                let _ = s.submit(now, RequestKind::Reorder(SiteId(m)));
            }),
            10 | 11 => {
                let request = self.join_a_group(n);
                self.with(n, |s| {
                    let _ = s.submit(now, RequestKind::Group(request));
                });
            }
            _ => {
                for n in all {
                    if self.sites[&n].service.is_none() {
                        self.start(n);
                    }
                }
            }
        }
    }

    /// A process of a site joins one of a few groups, which live on the line or on all sides.
    fn join_a_group(&mut self, n: u32) -> GroupRequest {
        let join = self.random.next_u64();
        let birth = SiteIncarnation { site: SiteId(n), incarnation: Incarnation(self.sites[&n].life) };
        let all = join.is_multiple_of(2);
        let lives = if all { Lives::All } else { Lives::Primary };
        GroupRequest::Join {
            group: GroupName::parse(if all { "all" } else { "line" }).expect("a good name"),
            member: MemberId { process: ProcessId { birth, local: join % 4 }, join },
            role: None,
            create: Create::IfMissing,
            options: GroupOptions { lives, ..GroupOptions::default() },
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.sides.clear();
        self.deaf = None;
        self.loss_percent = 0;
        for n in self.sites.keys().copied().collect::<Vec<_>>() {
            if self.sites[&n].service.is_none() {
                self.start(n);
            }
        }
    }

    fn agreed(&self) -> bool {
        let mut views = self.sites.values().map(|s| s.service.as_ref()?.view().map(|v| &v.step));
        let Some(Some(first)) = views.next() else { return false };
        first.primary
            && first.members.len() == self.sites.len()
            && views.all(|view| view == Some(first))
            && self
                .sites
                .values()
                .all(|s| s.service.as_ref().is_some_and(|s| s.kernel().pending().all(|r| moot(&r.kind))))
    }

    fn reaches(&self, from: u32, to: u32) -> bool {
        let up = |n| self.sites.get(&n).is_some_and(|s: &Site<T>| s.service.is_some());
        up(from) && up(to) && self.sides.get(&from) == self.sides.get(&to) && self.deaf != Some((from, to))
    }

    fn with(&mut self, n: u32, call: impl FnOnce(&mut Service<T>)) {
        let Some(service) = self.sites.get_mut(&n).and_then(|s| s.service.as_mut()) else { return };
        call(service);
        self.steps += 1;
        self.drain(n);
    }

    fn drain(&mut self, n: u32) {
        let site = self.sites.get_mut(&n).expect("a site");
        let life = site.life;
        let service = site.service.as_mut().expect("it is up");
        let writes: Vec<_> = std::iter::from_fn(|| service.poll_store()).collect();
        let packets: Vec<_> = std::iter::from_fn(|| service.poll_transmit()).collect();
        let events: Vec<_> = std::iter::from_fn(|| service.poll_event()).collect();
        let mut installed: Vec<Step> = Vec::new();
        let (mut committed, mut left) = (false, false);
        for event in events {
            match event {
                Event::Installed { step, .. } => installed.push((*step).clone()),
                Event::Trace(transition) => {
                    *self.transitions.entry(transition).or_default() += 1;
                    committed |= matches!(
                        transition,
                        Transition::CommitByAll | Transition::CommitByQuorum | Transition::CommitNonPrimary
                    );
                }
                Event::Left => left = true,
                Event::Diverged(step) => {
                    self.oracle.violation.get_or_insert(format!("tables diverge at {step}"));
                }
                Event::StartChange { .. }
                | Event::Excluded(_)
                | Event::Settled { .. }
                | Event::Suspect(_)
                | Event::Surpassed(_) => {}
            }
        }
        let sent: Vec<Message<T>> =
            packets.iter().map(|p| minicbor::decode(&p.bytes).expect("own messages decode")).collect();
        let sent: Vec<&Message<T>> = sent.iter().collect();
        let installed: Vec<&Step> = installed.iter().collect();
        self.oracle.observe(service.kernel(), &sent, &installed, committed);
        // Writes are done in order, each after a while; a crash loses those under way.
        let mut delay = Duration::ZERO;
        for write in writes {
            delay += Duration::from_micros(self.random.next_u64() % 5_000);
            let (ticket, bytes) = (write.ticket.0, write.bytes);
            self.at(delay, Happening::Stored { site: n, life, ticket, bytes });
        }
        if left {
            self.sites.get_mut(&n).expect("a site").service = None;
            if self.healed {
                self.start(n); // Who was still leaving comes back like who had left.
            }
        }
        for packet in packets {
            self.travel(n, packet.to.0, packet.bytes);
        }
    }

    fn travel(&mut self, from: u32, to: u32, bytes: Vec<u8>) {
        if self.sides.get(&from) != self.sides.get(&to) || self.deaf == Some((from, to)) {
            return;
        }
        let copies = 1 + u64::from(self.random.next_u64().is_multiple_of(self.double_one_in));
        for _ in 0..copies {
            if self.random.next_u64() % 100 < self.loss_percent {
                continue;
            }
            let late = if self.random.next_u64().is_multiple_of(self.late_one_in) && !self.healed {
                150_000
            } else {
                8_000
            };
            let delay = Duration::from_micros(500 + self.random.next_u64() % late);
            self.at(delay, Happening::Packet { from, to, bytes: bytes.clone() });
        }
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.heap.push(Reverse((self.now + delay, self.sequence, happening)));
    }

    fn picture(&self) -> String {
        let mut text = String::new();
        for (n, site) in &self.sites {
            let Some(service) = &site.service else { continue };
            let kernel = service.kernel();
            let view = kernel.view().map(|v| {
                let members: Vec<_> = v.step.members.iter().map(|m| m.peer.life()).collect();
                (v.step.id, v.step.primary, v.step.position, members)
            });
            let line = kernel.line().map(|l| (l.step.id, l.step.position));
            let pending: Vec<_> = kernel.pending().map(|r| r.kind).collect();
            text += &format!(
                "\n  site {n}: view {view:?}, line {line:?}, promised {}, timers {:?}, pending {pending:?}",
                kernel.promised(),
                kernel.timers(),
            );
        }
        text
    }
}
