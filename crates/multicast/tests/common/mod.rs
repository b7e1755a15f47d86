//! A seeded cluster of endpoints: FIFO links between lives of sites, an oracle that makes views (with
//! cascades, partitions, joins and crashes in mid-flush), and a log of all that each life was told.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod check;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::group::{GroupMember, GroupOptions, GroupView};
use multicast::{Cast, CastError, Config, Endpoint, Event, Order, Transition};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{
    Bugs, GroupId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, Time, ViewId,
};

/// What a life was told, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    View { view: Arc<GroupView>, transitional: Vec<MemberId> },
    Deliver(multicast::Delivery),
    Signal,
    Stable(u64),
}

/// One life of one site.
#[derive(Clone)]
pub struct Life {
    pub endpoint: Endpoint,
    pub told: Vec<Told>,
    pub views: VecDeque<Arc<GroupView>>,
    pub alive: bool,
    /// Asked for a view for its gbcast.
    pub refresh: bool,
}

/// A message that was accepted: when and after what.
#[derive(Clone)]
pub struct Sent {
    pub view: ViewId,
    pub order: Order,
    pub safe: bool,
    pub payload: Bytes,
    /// How long the caster's log was: everything in it causally precedes the message.
    pub after: usize,
}

/// Names a message: the life that cast it, and its number there.
pub type Name = (SiteIncarnation, u64);

#[derive(Clone)]
pub struct Cluster {
    pub rng: ChaCha8Rng,
    pub now: Time,
    pub config: Config,
    pub lives: BTreeMap<SiteIncarnation, Life>,
    pub current: BTreeMap<SiteId, SiteIncarnation>,
    pub links: BTreeMap<(SiteIncarnation, SiteIncarnation), VecDeque<Bytes>>,
    /// Which side of a partition a site is on, and the members that the oracle last listed there.
    side: BTreeMap<SiteId, u32>,
    epoch: u64,
    /// The newest view that lists a life.
    listed: BTreeMap<SiteIncarnation, ViewId>,
    pub sent: BTreeMap<Name, Sent>,
    pub seen: BTreeSet<Transition>,
    pub members_per_site: u64,
    /// The oracle's opinion of seniority.
    pub age: Vec<SiteIncarnation>,
    pub trouble: Vec<String>,
    pub large: bool,
}

pub fn member(life: SiteIncarnation, local: u64) -> MemberId {
    MemberId { process: ProcessId { birth: life, local }, join: 1 }
}

impl Cluster {
    pub fn new(seed: u64, bugs: Bugs) -> Cluster {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let members_per_site = 1 + u64::from(rng.next_u32() % 2);
        let config = Config {
            window_bytes: if rng.next_u32() % 4 == 0 { 4 << 10 } else { 1 << 20 },
            flush_timeout: Duration::from_millis(40),
            trace: true,
            bugs,
            ..Config::default()
        };
        let large = rng.next_u32() % 8 == 0;
        Cluster {
            rng,
            now: Time::ZERO,
            config,
            lives: BTreeMap::new(),
            current: BTreeMap::new(),
            links: BTreeMap::new(),
            side: BTreeMap::new(),
            epoch: 0,
            listed: BTreeMap::new(),
            sent: BTreeMap::new(),
            seen: BTreeSet::new(),
            members_per_site,
            age: Vec::new(),
            trouble: Vec::new(),
            large,
        }
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    /// Starts a site, or starts it again as another life.
    pub fn start(&mut self, site: u32) {
        let before = self.current.get(&SiteId(site)).map_or(0, |life| life.incarnation.0);
        let life = SiteIncarnation { site: SiteId(site), incarnation: Incarnation(before + 1) };
        let endpoint = Endpoint::new(self.config.clone(), GroupId::default(), life);
        self.lives.insert(
            life,
            Life { endpoint, told: Vec::new(), views: VecDeque::new(), alive: true, refresh: false },
        );
        self.current.insert(SiteId(site), life);
        self.age.push(life);
        self.side.entry(SiteId(site)).or_insert(0);
    }

    pub fn alive(&self) -> Vec<SiteIncarnation> {
        self.current.values().copied().filter(|life| self.lives[life].alive).collect()
    }

    /// Crashes a site: a tail of what it sent last is lost, a different one on each link.
    pub fn crash(&mut self, life: SiteIncarnation) {
        self.lives.get_mut(&life).expect("a known life").alive = false;
        self.age.retain(|other| *other != life);
        let links: Vec<_> = self.links.keys().copied().filter(|(from, _)| *from == life).collect();
        for link in links {
            let kept = self.below(self.links[&link].len() + 1);
            self.links.get_mut(&link).expect("a known link").truncate(kept);
        }
    }

    /// The oracle makes a view for each side of the cluster that has `of` in it.
    pub fn decide(&mut self, side: u32, skip_percent: u32) {
        let members: Vec<SiteIncarnation> =
            self.age.iter().copied().filter(|life| self.side[&life.site] == side).collect();
        if members.is_empty() {
            return;
        }
        let view = self.next_view(&members);
        for life in members {
            if !self.chance(skip_percent) {
                self.lives.get_mut(&life).expect("a known life").views.push_back(view.clone());
            }
        }
    }

    /// A view newer than all others.
    pub fn next_view(&mut self, members: &[SiteIncarnation]) -> Arc<GroupView> {
        self.epoch += 1;
        let id = ViewId { epoch: self.epoch, attempt: 0, coordinator: members[0] };
        let mut listed = Vec::new();
        for life in members {
            let previous = self.listed.insert(*life, id);
            let at = (1..=self.members_per_site).map(|local| member(*life, local));
            listed.extend(at.map(|id| GroupMember { id, role: None, previous }));
        }
        Arc::new(GroupView {
            group: GroupId::default(),
            name: GroupName::parse("test").expect("a good name"),
            id,
            primary: true,
            lives: true,
            members: listed,
            joined: Vec::new(),
            left: Vec::new(),
            options: GroupOptions::default(),
        })
    }

    pub fn sides(&self) -> BTreeSet<u32> {
        self.alive().iter().map(|life| self.side[&life.site]).collect()
    }

    /// Puts each site on a side of its own choosing and decides a view for each side.
    pub fn partition(&mut self) {
        let sites: Vec<SiteId> = self.side.keys().copied().collect();
        for site in sites {
            let side = self.below(2) as u32;
            self.side.insert(site, side);
        }
        for side in self.sides() {
            self.decide(side, 0);
        }
    }

    pub fn heal(&mut self) {
        self.side.values_mut().for_each(|side| *side = 0);
        self.decide(0, 0);
    }

    pub fn cast(&mut self, life: SiteIncarnation) {
        let order =
            [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast, Order::Abcast][self.below(5)];
        let safe = self.chance(20);
        let size = if self.large && self.chance(3) { 100_000 } else { self.below(80) };
        let local = 1 + self.below(self.members_per_site as usize) as u64;
        let gbcast = self.chance(2);
        let _refused = self.cast_this(life, local, order, safe, size, gbcast);
    }

    #[allow(clippy::too_many_arguments)]
    pub fn cast_this(
        &mut self,
        life: SiteIncarnation,
        local: u64,
        order: Order,
        safe: bool,
        size: usize,
        gbcast: bool,
    ) -> Result<u64, CastError> {
        let fill = self.rng.next_u32() as u8;
        let payload = Bytes::from(vec![fill; size]);
        let now = self.now;
        let at = self.lives.get_mut(&life).expect("a known life");
        // What was delivered but not polled yet precedes the message too.
        at.refresh |= drain(at, &mut self.seen, &mut self.trouble);
        let Some(view) = at.endpoint.view().map(|view| view.id) else { return Err(CastError::Blocked) };
        let after = at.told.len();
        let from = member(life, local);
        let (order, result) = if gbcast {
            (Order::Gbcast, at.endpoint.gbcast(now, from, payload.clone()))
        } else {
            (order, at.endpoint.cast(now, from, Cast { order, safe, payload: payload.clone() }))
        };
        let number = result?.0;
        let safe = safe && order != Order::Gbcast;
        self.sent.insert((life, number), Sent { view, order, safe, payload, after });
        Ok(number)
    }

    /// Takes what an endpoint wants to send and to say.
    pub fn poll(&mut self, life: SiteIncarnation) {
        let now = self.now;
        let at = self.lives.get_mut(&life).expect("a known life");
        while let Some(transmit) = at.endpoint.poll_transmit(now) {
            for to in transmit.to.iter() {
                assert_ne!(*to, life.site, "a frame to oneself");
                if let Some(to) = self.current.get(to) {
                    self.links.entry((life, *to)).or_default().push_back(transmit.frame.clone());
                }
            }
        }
        at.refresh |= drain(at, &mut self.seen, &mut self.trouble);
        if std::mem::take(&mut at.refresh) {
            let side = self.side[&life.site];
            self.decide(side, 0);
        }
    }

    /// The links on which a frame could arrive now.
    pub fn ready_links(&self) -> Vec<(SiteIncarnation, SiteIncarnation)> {
        let ready = |(from, to): &(SiteIncarnation, SiteIncarnation)| {
            self.side[&from.site] == self.side[&to.site]
                && self.current[&to.site] == *to
                && self.lives[to].alive
                && !self.links[&(*from, *to)].is_empty()
        };
        self.links.keys().copied().filter(ready).collect()
    }

    pub fn arrive(&mut self, link: (SiteIncarnation, SiteIncarnation)) {
        let frame = self.links.get_mut(&link).and_then(VecDeque::pop_front).expect("a ready link");
        let now = self.now;
        let at = self.lives.get_mut(&link.1).expect("a known life");
        if let Err(error) = at.endpoint.handle_frame(now, link.0.site, frame) {
            self.trouble.push(format!("{} refuses a frame of {}: {error}", link.1, link.0));
        }
    }

    pub fn view(&mut self, life: SiteIncarnation) {
        let now = self.now;
        let at = self.lives.get_mut(&life).expect("a known life");
        if let Some(view) = at.views.pop_front() {
            at.endpoint.handle_view(now, view).expect("a good view");
        }
    }

    pub fn tick(&mut self, by: Duration) {
        self.now = self.now + by;
        for life in self.alive() {
            let now = self.now;
            let at = self.lives.get_mut(&life).expect("a known life");
            if at.endpoint.poll_timeout().is_some_and(|due| due <= now) {
                at.endpoint.handle_timeout(now);
                self.poll(life);
            }
        }
    }

    /// One random step of the safety phase.
    pub fn step(&mut self, sites: u32) {
        let alive = self.alive();
        let kind = self.below(100);
        match kind {
            0..30 if !alive.is_empty() => {
                let life = alive[self.below(alive.len())];
                for _ in 0..1 + self.below(4) {
                    self.cast(life);
                }
                if self.chance(60) {
                    self.poll(life);
                }
            }
            30..75 => {
                let links = self.ready_links();
                if !links.is_empty() {
                    let link = links[self.below(links.len())];
                    self.arrive(link);
                    if self.chance(70) {
                        self.poll(link.1);
                    }
                }
            }
            75..88 => {
                let waiting: Vec<_> =
                    alive.iter().copied().filter(|life| !self.lives[life].views.is_empty()).collect();
                if !waiting.is_empty() {
                    let life = waiting[self.below(waiting.len())];
                    let (late, again) = (self.chance(15), self.chance(10));
                    let views = &mut self.lives.get_mut(&life).expect("a known life").views;
                    if late && views.len() > 1 {
                        let newer = views[1].clone(); // an older view after a newer one, which is repeated
                        views.push_front(newer);
                    } else if again {
                        views.push_front(views[0].clone()); // one view twice (schedule 14)
                    }
                    self.view(life);
                    if self.chance(70) {
                        self.poll(life);
                    }
                }
            }
            88..96 => {
                let millis = self.below(6) as u64;
                self.tick(Duration::from_millis(millis));
            }
            96 => self.disturb(sites),
            _ => alive.iter().for_each(|life| self.poll(*life)),
        }
    }

    /// A crash, a restart, a partition, a healing, or a view without a reason.
    fn disturb(&mut self, sites: u32) {
        let alive = self.alive();
        match self.below(6) {
            0 if alive.len() > 2 => {
                let life = alive[self.below(alive.len())];
                self.crash(life);
                if self.chance(70) {
                    self.decide(self.side[&life.site], 10);
                }
            }
            1 => {
                let site = 1 + self.below(sites as usize) as u32;
                if !alive.iter().any(|life| life.site == SiteId(site)) {
                    self.start(site);
                    self.decide(self.side[&SiteId(site)], 10);
                }
            }
            2 => self.partition(),
            3 => self.heal(),
            _ => {
                let side = self.below(2) as u32;
                self.decide(side, 20);
            }
        }
    }

    /// Heals everything, decides a last view, and runs until nothing moves.
    pub fn quiesce(&mut self) {
        self.heal();
        for _ in 0..4_000 {
            for life in self.alive() {
                while !self.lives[&life].views.is_empty() {
                    self.view(life);
                }
                self.poll(life);
            }
            let links = self.ready_links();
            let idle = links.is_empty();
            for link in links {
                while self.links.get(&link).is_some_and(|frames| !frames.is_empty()) {
                    self.arrive(link);
                }
                self.poll(link.1);
            }
            let refused = self.alive().iter().any(|life| !self.lives[life].views.is_empty());
            if idle && !refused && self.quiet() {
                return;
            }
            self.tick(Duration::from_millis(5));
        }
        self.trouble.push("it does not come to rest".into());
    }

    fn quiet(&self) -> bool {
        self.alive().iter().all(|life| self.lives[life].endpoint.poll_timeout().is_none())
    }

    /// A whole run: some members, random steps, then rest.
    pub fn run(seed: u64, bugs: Bugs, steps: usize) -> Cluster {
        let mut cluster = Cluster::new(seed, bugs);
        let sites = 2 + cluster.below(4) as u32;
        (1..=sites).for_each(|site| cluster.start(site));
        cluster.decide(0, 0);
        for _ in 0..steps {
            cluster.step(sites);
        }
        cluster.quiesce();
        cluster
    }
}

/// Takes all events; says whether a view was asked for.
fn drain(at: &mut Life, seen: &mut BTreeSet<Transition>, trouble: &mut Vec<String>) -> bool {
    let mut refresh = false;
    while let Some(event) = at.endpoint.poll_event() {
        match event {
            Event::View { view, transitional } => at.told.push(Told::View { view, transitional }),
            Event::Deliver(delivery) => at.told.push(Told::Deliver(delivery)),
            Event::TransitionalSignal { .. } => at.told.push(Told::Signal),
            Event::Stable { number } => at.told.push(Told::Stable(number.0)),
            Event::RequestRefresh => refresh = true,
            Event::Trace(transition) => {
                if transition == Transition::CutNotClosed {
                    trouble.push("a cut is not causally closed".into());
                }
                seen.insert(transition);
            }
            Event::Ended { .. } => at.alive = false,
            Event::Blocked
            | Event::Unblocked { .. }
            | Event::Writable
            | Event::Suspect(_)
            | Event::Slow(_) => {}
        }
    }
    refresh
}
