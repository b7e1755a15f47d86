//! Several detectors on one seeded network with virtual time: one-way cuts, loss, pauses, crashes.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use detect::{Config, Connection, Detector, Event, Path};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Incarnation, SiteId, SiteIncarnation, Time};

pub fn life(site: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
}

#[derive(Clone, Debug)]
enum Input {
    Hop { from: u32, origin: u32, to: u32, path: Path, body: Vec<u8> },
    Connection { at: u32, site: u32, connection: Connection },
}

struct Site {
    detector: Detector,
    alive: bool,
    paused: bool,
    waiting: VecDeque<Input>,
}

pub struct Cluster {
    pub now: Time,
    pub events: Vec<(Time, u32, Event)>,
    /// Directed paths that carry nothing.
    pub cut: BTreeSet<(u32, u32)>,
    /// Per cent of packets lost on a directed path.
    pub loss: BTreeMap<(u32, u32), u64>,
    pub loss_everywhere: u64,
    /// Hosts that answer nothing any more.
    pub dark: BTreeSet<u32>,
    pub latency_us_max: u64,
    pub packets: u64,
    sites: BTreeMap<u32, Site>,
    queue: BTreeMap<(Time, u64), Input>,
    count: u64,
    rng: ChaCha8Rng,
}

impl Cluster {
    pub fn new(n: u32, config: Config, seed: u64) -> Cluster {
        let members: Vec<SiteIncarnation> = (1..=n).map(life).collect();
        let mut cluster = Cluster {
            now: Time::from_millis(1),
            events: Vec::new(),
            cut: BTreeSet::new(),
            loss: BTreeMap::new(),
            loss_everywhere: 0,
            dark: BTreeSet::new(),
            latency_us_max: 800,
            packets: 0,
            sites: BTreeMap::new(),
            queue: BTreeMap::new(),
            count: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        for site in 1..=n {
            let mut detector = Detector::new(config, life(site), seed * 1_000 + u64::from(site));
            detector.handle_members(cluster.now, &members);
            let waiting = VecDeque::new();
            cluster.sites.insert(site, Site { detector, alive: true, paused: false, waiting });
        }
        for site in 1..=n {
            cluster.drain(site);
        }
        cluster
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    pub fn detector(&mut self, site: u32) -> &mut Detector {
        &mut self.sites.get_mut(&site).expect("a site of the cluster").detector
    }

    /// `kill -9`: the host closes the connections and refuses new ones.
    pub fn kill(&mut self, site: u32) {
        self.sites.get_mut(&site).expect("a site of the cluster").alive = false;
        let others: Vec<u32> = self.sites.keys().copied().filter(|other| *other != site).collect();
        for at in others {
            self.soon(Input::Connection { at, site, connection: Connection::Closed });
        }
    }

    /// The host loses power or its cable.
    pub fn darken(&mut self, site: u32) {
        self.dark.insert(site);
        self.sites.get_mut(&site).expect("a site of the cluster").alive = false;
    }

    pub fn pause(&mut self, site: u32) {
        self.sites.get_mut(&site).expect("a site of the cluster").paused = true;
    }

    /// The site goes on: its timers and what waited in its socket meet in an order that the seed picks.
    pub fn resume(&mut self, site: u32) {
        let timers_first = self.random(2) == 0;
        let now = self.now;
        let paused = self.sites.get_mut(&site).expect("a site of the cluster");
        paused.paused = false;
        let waiting = std::mem::take(&mut paused.waiting);
        if timers_first {
            paused.detector.handle_timeout(now);
        }
        for input in waiting {
            self.take(input);
        }
        self.drain(site);
    }

    /// Every site that lives hears every other, as if by the traffic of a busy group.
    pub fn chatter(&mut self, n: u32) {
        let alive: Vec<u32> = (1..=n).filter(|at| self.sites[at].alive).collect();
        for at in alive {
            for from in (1..=n).filter(|from| *from != at) {
                self.call(at, |detector, now| detector.handle_heard(now, life(from)));
            }
        }
    }

    pub fn members_are(&mut self, at: u32, members: &[u32]) {
        let members: Vec<SiteIncarnation> = members.iter().map(|&site| life(site)).collect();
        let now = self.now;
        self.detector(at).handle_members(now, &members);
        self.drain(at);
    }

    pub fn call(&mut self, at: u32, f: impl FnOnce(&mut Detector, Time)) {
        let now = self.now;
        f(self.detector(at), now);
        self.drain(at);
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let packet = self.queue.keys().next().map(|(at, _)| *at);
            let timer = self.sites.iter().filter(|(_, site)| site.alive && !site.paused);
            let timer = timer.filter_map(|(&id, site)| Some((site.detector.poll_timeout()?, id))).min();
            let next = [packet, timer.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, input) = self.queue.pop_first().expect("it was there");
                self.take(input);
            } else if let Some((_, site)) = timer {
                let now = self.now;
                self.detector(site).handle_timeout(now);
                self.drain(site);
            }
        }
        self.now = end;
    }

    pub fn failed(&self) -> Vec<(Time, u32, u32)> {
        let failed = self.events.iter().filter_map(|(at, by, event)| match event {
            Event::Failed { who, .. } => Some((*at, *by, who.site.0)),
            _ => None,
        });
        failed.collect()
    }

    fn soon(&mut self, input: Input) {
        let delay = 50_000 + self.random(self.latency_us_max) * 1_000;
        self.count += 1;
        self.queue.insert((self.now + Duration::from_nanos(delay), self.count), input);
    }

    fn hop(&mut self, from: u32, origin: u32, next: u32, to: u32, path: Path, body: Vec<u8>) {
        self.packets += 1;
        let loss = self.loss.get(&(from, next)).copied().unwrap_or(0).max(self.loss_everywhere);
        let lost = self.random(100) < loss;
        let dark = self.dark.contains(&from) || self.dark.contains(&next);
        if !lost && !dark && !self.cut.contains(&(from, next)) {
            self.soon(Input::Hop { from: next, origin, to, path, body });
        }
    }

    fn take(&mut self, input: Input) {
        let at = match &input {
            Input::Hop { from: at, .. } | Input::Connection { at, .. } => *at,
        };
        let now = self.now;
        let Some(site) = self.sites.get_mut(&at) else { return };
        if !site.alive {
            return;
        }
        if site.paused {
            site.waiting.push_back(input);
            return;
        }
        match input {
            Input::Hop { origin, to, path, body, .. } if to == at => {
                site.detector.handle_probe(now, life(origin), path, &body).expect("a detector's message");
            }
            Input::Hop { origin, to, path, body, .. } => self.hop(at, origin, to, to, path, body),
            Input::Connection { site: of, connection, .. } => {
                site.detector.handle_connection(now, SiteId(of), connection);
            }
        }
        self.drain(at);
    }

    fn drain(&mut self, site: u32) {
        while let Some(transmit) = self.detector(site).poll_transmit() {
            let next = match transmit.path {
                Path::Direct => transmit.to.0,
                Path::Via(via) => via.0,
            };
            self.hop(site, site, next, transmit.to.0, transmit.path, transmit.body);
        }
        while let Some(event) = self.detector(site).poll_event() {
            if let Event::Reconnect { site: to } = event {
                let dark = self.dark.contains(&to.0) || self.cut.contains(&(site, to.0));
                if !dark && !self.sites[&to.0].alive {
                    self.soon(Input::Connection { at: site, site: to.0, connection: Connection::Refused });
                }
            }
            self.events.push((self.now, site, event));
        }
    }
}
