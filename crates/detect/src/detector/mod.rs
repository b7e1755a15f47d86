//! A site's failure detection as one state machine.

mod clock;
mod detour;
mod event;
mod peer;
mod suspicion;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Incarnation, SiteId, SiteIncarnation, Time};

use crate::aty::{Action, Timing};
use crate::estimate::Lateness;
use crate::message::{Body, ProbeError, Sign};
use crate::settings::{Config, Settings};
pub use event::{Connection, Counters, Event, Evidence, Path, Transmit};
use peer::{Peer, Route, Standing};

/// Up to this many members, every pair of sites checks its path now and then; beyond, only ring neighbours
/// and pairs whose link is in doubt.
const PATH_CHECK_MEMBERS_MAX: usize = 16;
const PATH_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How many sites a suspicion is put to, and by how many neighbours a suspect is asked to refute.
const FAN_OUT_MAX: usize = 8;
/// Messages that wait to be polled; beyond, the newest are dropped and counted: all are repeated.
const OUTBOX_MAX: usize = 4_096;
/// Sites outside the view whose last sign of life is remembered; beyond, the longest unheard is forgotten.
const OUTSIDERS_MAX: usize = 256;
/// Two live sites that no neighbour connects are told about after this (C15, A7).
const BAD_LINK: Duration = Duration::from_secs(10);

/// A site's failure detection.
///
/// # Call order
///
/// Hand in the members with every view ([`Detector::handle_members`]), then what happens. After any
/// `handle_*` call drain [`Detector::poll_transmit`] and [`Detector::poll_event`] and arm one timer for
/// [`Detector::poll_timeout`]. [`Detector::handle_heard`] is cheap and is meant for every packet; after it
/// the timer need not be armed again.
#[derive(Clone, Debug)]
pub struct Detector {
    config: Config,
    settings: Settings,
    me: SiteIncarnation,
    rank: usize,
    peers: BTreeMap<SiteId, Peer>,
    /// The sites of the view by rank.
    ring: Vec<SiteId>,
    outsiders: BTreeMap<SiteIncarnation, Time>,
    rng: ChaCha8Rng,
    lateness: Lateness,
    /// How often in a row this site forgave a small lateness.
    forgiven: u32,
    /// When the earliest timer is due; may be earlier than it needs to be.
    armed: Option<Time>,
    holds: bool,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Detector {
    /// A detector without a view. `seed` spreads the probes of several sites.
    pub fn new(config: Config, me: SiteIncarnation, seed: u64) -> Detector {
        Detector {
            config,
            settings: config.settings.usable(),
            me,
            rank: 0,
            peers: BTreeMap::new(),
            ring: Vec::new(),
            outsiders: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            lateness: Lateness::default(),
            forgiven: 0,
            armed: None,
            holds: true,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The members of the current view by rank, this site among them or not. What is known of lives that
    /// stay is kept; a failure is forgotten with the life, and also when a view keeps a life that was heard
    /// since it was called failed.
    pub fn handle_members(&mut self, now: Time, members: &[SiteIncarnation]) {
        self.wake(now);
        let mut peers = BTreeMap::new();
        self.ring.clear();
        for (rank, &life) in members.iter().enumerate() {
            self.ring.push(life.site);
            if life.site == self.me.site {
                self.rank = rank;
                continue;
            }
            self.outsiders.remove(&life);
            let known = self.peers.remove(&life.site).filter(|peer| peer.life == life && !is_forgiven(peer));
            let mut peer = known.unwrap_or_else(|| Peer::new(now, life, rank, BAD_LINK));
            peer.rank = rank;
            peers.insert(life.site, peer);
        }
        self.peers = peers;
        self.rewatch(now);
        self.mend_detours(now);
        self.rearm();
    }

    /// Probes by other settings from now on, as groups with settings of their own come and go.
    pub fn handle_settings(&mut self, now: Time, settings: Settings) {
        self.wake(now);
        self.settings = settings.usable();
        self.rewatch(now);
        self.judge_bound();
        self.rearm();
    }

    /// An authenticated packet came from this life, by whatever path.
    pub fn handle_heard(&mut self, now: Time, life: SiteIncarnation) {
        self.wake(now);
        match self.peers.get_mut(&life.site) {
            Some(peer) if peer.life == life && peer.case.is_none() => {
                peer.news = Some(now);
                peer.monitor.heard(now);
            }
            Some(peer) if peer.life == life => {
                self.news(now, life.site, None, false);
                self.rearm();
            }
            Some(_) | None => {
                self.meet(now, life);
            }
        }
    }

    /// The link to this site has had frames unacknowledged for longer than it should: is the path good?
    pub fn handle_doubt(&mut self, now: Time, site: SiteId) {
        self.wake(now);
        if let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) {
            peer.monitor.probe_now(now, true);
        }
        self.rearm();
    }

    /// The connection to a site changed.
    pub fn handle_connection(&mut self, now: Time, site: SiteId, connection: Connection) {
        self.wake(now);
        if let Connection::Up(incarnation) = connection {
            self.meet(now, SiteIncarnation { site, incarnation });
        }
        if self.peers.get(&site).is_some_and(Peer::is_watched) {
            self.connection_changed(now, site, connection);
        }
        self.rearm();
    }

    /// Another detector's message arrived from `from`, which the driver has authenticated. `path` is the way
    /// it came.
    pub fn handle_probe(
        &mut self,
        now: Time,
        from: SiteIncarnation,
        path: Path,
        body: &[u8],
    ) -> Result<(), ProbeError> {
        let body = Body::decode(body)?;
        if from.site == self.me.site {
            return Err(ProbeError::OwnLife);
        }
        if self.peers.get(&from.site).is_some_and(|peer| peer.life.incarnation > from.incarnation) {
            return Err(ProbeError::StaleLife);
        }
        self.wake(now);
        self.meet(now, from);
        let member = self.peers.get(&from.site).is_some_and(|peer| peer.life == from);
        if let Body::AreYouThere { seq, .. } = body {
            let deaf = member && self.peers.get(&from.site).is_some_and(Peer::deaf);
            self.send_by(from.site, path, Body::HereIAm { seq, deaf });
        }
        let taken = if member { self.message(now, from.site, path, body) } else { stranger(body) };
        self.rearm();
        taken
    }

    /// Fires whatever is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        self.wake(now);
        self.measure_lateness(now);
        let due: Vec<SiteId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.due().is_some_and(|due| due <= now))
            .map(|(&site, _)| site)
            .collect();
        for site in due {
            self.fire_monitor(now, site);
            self.fire_case(now, site);
            self.fire_route(now, site);
        }
        self.judge_bound();
        self.rearm();
    }

    /// This site shuts down as scheduled: says so to everybody [Ravindran & Chanson 85, 7.0].
    pub fn announce_shutdown(&mut self) {
        let all: Vec<SiteId> = self.peers.keys().copied().collect();
        for site in all {
            self.send(site, Body::Leaving { life: self.me.incarnation });
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// The next thing to tell the site.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Detector::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.armed
    }

    /// The lives heard: members without an open suspicion, directly or by a detour, and sites outside the
    /// view that were heard lately. A member that nobody has reason to probe is presumed heard.
    /// In no order.
    pub fn heard(&self, now: Time) -> impl Iterator<Item = SiteIncarnation> + '_ {
        let members = self.peers.values().filter(|peer| peer.is_watched() && !peer.is_suspected());
        let fresh = self.detection_bound();
        let outsiders = self.outsiders.iter().filter(move |(_, at)| now.since(**at) < fresh);
        members.map(|peer| peer.life).chain(outsiders.map(|(&life, _)| life))
    }

    /// Whether this member was itself heard by this site within the time that detection takes: a reason to
    /// refuse another site's word that it failed.
    pub fn hears(&self, now: Time, life: SiteIncarnation) -> bool {
        self.peers.get(&life.site).is_some_and(|peer| {
            peer.life == life
                && peer.is_watched()
                && !peer.is_suspected()
                && peer.news.is_some_and(|at| now.since(at) < self.detection_bound())
        })
    }

    /// The members that this site suspects, or knows to have failed.
    pub fn suspected(&self) -> impl Iterator<Item = SiteIncarnation> {
        self.peers
            .values()
            .filter(|peer| peer.is_suspected() || matches!(peer.standing, Standing::Failed(_)))
            .map(|peer| peer.life)
    }

    /// The way to a site now; none if it is cut off and no neighbour is known.
    pub fn path(&self, site: SiteId) -> Option<Path> {
        match self.peers.get(&site).map(|peer| &peer.route) {
            None | Some(Route::Direct) => Some(Path::Direct),
            Some(Route::Broken(broken)) => broken.via.map(Path::Via),
        }
    }

    /// The smoothed round trip to a site, once measured.
    pub fn round_trip(&self, site: SiteId) -> Option<Duration> {
        self.peers.get(&site).and_then(|peer| peer.trip.smoothed())
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A life speaks. If it is a newer one of a member, the member's life is over: that is the paper's
    /// NON_EXISTENT, told by the one who must know.
    fn meet(&mut self, now: Time, life: SiteIncarnation) {
        if life.site == self.me.site {
            return;
        }
        let member = self.peers.get(&life.site).map(|peer| peer.life.incarnation);
        match member {
            Some(known) if known >= life.incarnation => return,
            Some(_) => {
                self.fail(now, life.site, Evidence::NewLife { incarnation: life.incarnation });
                self.rearm();
            }
            None => {}
        }
        if self.outsiders.len() >= OUTSIDERS_MAX && !self.outsiders.contains_key(&life) {
            let oldest = self.outsiders.iter().min_by_key(|(_, at)| **at).map(|(&life, _)| life);
            oldest.map(|life| self.outsiders.remove(&life));
        }
        self.outsiders.insert(life, now);
    }

    fn message(&mut self, now: Time, from: SiteId, path: Path, body: Body) -> Result<(), ProbeError> {
        match body {
            Body::AreYouThere { deaf, .. } => {
                self.news(now, from, Some(path), false);
                self.other_end_says(now, from, path, deaf);
            }
            Body::HereIAm { seq, deaf } => {
                self.answer(now, from, path, seq);
                self.other_end_says(now, from, path, deaf);
            }
            Body::Alive {} => self.news(now, from, Some(path), true),
            Body::Suspect { who, sign } => {
                self.news(now, from, Some(path), false);
                self.asked_about(now, from, path, who, sign);
            }
            Body::Witness { who, sign } => {
                self.news(now, from, Some(path), false);
                self.witnessed(now, from, who, sign);
            }
            Body::Refute { who } => {
                self.news(now, from, Some(path), false);
                if who == self.me {
                    self.say_alive(from);
                }
            }
            Body::Hear { who, direct } => {
                self.news(now, from, Some(path), false);
                self.heard_by(now, from, who, direct);
            }
            Body::Leaving { life } => return self.leaving(now, from, life),
        }
        Ok(())
    }

    fn leaving(&mut self, now: Time, from: SiteId, life: Incarnation) -> Result<(), ProbeError> {
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.is_watched()) else { return Ok(()) };
        if peer.life.incarnation != life {
            return Err(ProbeError::StaleLife); // it came late, and the site is back
        }
        peer.standing = Standing::Left;
        peer.case = None;
        peer.monitor.stop();
        let who = peer.life;
        self.events.push_back(Event::Left { who });
        self.rewatch(now);
        self.mend_detours(now);
        Ok(())
    }

    fn fire_monitor(&mut self, now: Time, site: SiteId) {
        let timing = Timing { timeout: self.timeout(site), tries: self.settings.tries() };
        let path = self.path(site).unwrap_or(Path::Direct);
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        match peer.monitor.handle_timeout(now, timing, path == Path::Direct) {
            Action::Rest => {}
            Action::Probe(seq) => self.probe(site, path, seq),
            Action::Silent => self.suspect(now, site, Sign::Silence),
            Action::OneWay => self.suspect(now, site, Sign::OneWay),
        }
    }

    fn probe(&mut self, site: SiteId, path: Path, seq: u64) {
        let Some(peer) = self.peers.get(&site) else { return };
        self.counters.probes += 1;
        let body = Body::AreYouThere { seq, whom: peer.life.incarnation, deaf: peer.deaf() };
        self.send_by(site, path, body);
    }

    /// The monitoring ring [Neely 94, III.A.3]: a site watches its next successors by rank. A successor that
    /// is suspected or gone does not count, so that several failures in a row are found together.
    fn rewatch(&mut self, now: Time) {
        let mut wanted = self.settings.successors;
        let small = self.ring.len() <= PATH_CHECK_MEMBERS_MAX;
        let watching = self.ring.contains(&self.me.site);
        for step in 1..self.ring.len() {
            let site = self.ring[(self.rank + step) % self.ring.len()];
            let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { continue };
            let interval = if wanted > 0 && watching {
                if !peer.is_suspected() {
                    wanted -= 1;
                }
                Some(self.settings.probe_interval)
            } else {
                small.then_some(PATH_CHECK_INTERVAL)
            };
            let nanos = self.settings.probe_interval.as_nanos() as u64;
            let first = Duration::from_nanos(self.rng.next_u64() % nanos.max(1));
            peer.monitor.watch(now, interval, first);
        }
    }

    fn send(&mut self, to: SiteId, body: Body) {
        let path = self.path(to).unwrap_or(Path::Direct);
        self.send_by(to, path, body);
    }

    fn send_by(&mut self, to: SiteId, path: Path, body: Body) {
        if self.outbox.len() >= OUTBOX_MAX {
            self.counters.dropped += 1;
            return;
        }
        self.outbox.push_back(Transmit { to, path, body: body.encode() });
    }

    fn rearm(&mut self) {
        self.armed = self.peers.values().filter_map(Peer::due).min();
    }
}

/// Heard since it was called failed, and a view keeps it: a fresh start.
fn is_forgiven(peer: &Peer) -> bool {
    matches!(peer.standing, Standing::Failed(at) if peer.news.is_some_and(|news| news > at))
}

/// What a site outside the view may say.
fn stranger(body: Body) -> Result<(), ProbeError> {
    match body {
        Body::AreYouThere { .. } | Body::HereIAm { .. } => Ok(()),
        Body::Suspect { .. }
        | Body::Witness { .. }
        | Body::Refute { .. }
        | Body::Alive {}
        | Body::Hear { .. }
        | Body::Leaving { .. } => Err(ProbeError::NotMember),
    }
}
