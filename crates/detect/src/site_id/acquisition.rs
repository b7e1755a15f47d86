//! The new site's side: search, bid, announce.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{SiteId, Time};

use super::{Message, Responder, SiteIdError, Station, To, Transmit};

/// The lowest id, taken by who finds nobody.
const LOWEST: u32 = 1;
/// The paper's ID_INTERVAL and BASE: ranges of 10, 100, 1000, …
const RANGE_FIRST: u32 = 10;
const RANGE_BASE: u32 = 10;
/// Back-off doubles with every collision, up to this power of two.
const BACK_OFF_POWER_MAX: u32 = 6;
/// Collisions and objections after which a fixed id is given up.
const FIXED_TRIES_MAX: u32 = 8;

/// So often an id is announced without a majority, if somebody objects: the voters may be divided for good.
const DIVIDED_MAX: u32 = 64;

/// An id is announced again after this many waits: who missed it learns it, and two holders of one id find
/// out when the network that kept them apart heals.
const REMINDER_WAITS: u32 = 64;

/// Where the tentative id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A random number, seeded with the station address (6.1.1).
    Random,
    /// The next after the highest id in the network, found by a search with a widening range (6.1.2).
    Network,
    /// Fixed by configuration; objections are asked for all the same.
    Fixed(SiteId),
}

/// How patiently an id is acquired.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the tentative id comes from.
    pub method: Method,
    /// How long answers to one broadcast are gathered.
    pub wait: Duration,
    /// How often one search is broadcast.
    pub searches: u32,
    /// How often objections are asked for, and the id announced.
    pub probes: u32,
    /// Ids are from 1 to this.
    pub highest_id: u32,
    /// The stations whose [`super::Registrar`]s decide: more than half of them must consent to a bid and put the announced
    /// id down. The same for all who may ever bid. None: silence is consent, as on a medium that all hear.
    pub voters: BTreeSet<Station>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            method: Method::Network,
            wait: Duration::from_millis(100),
            searches: 2,
            probes: 4,
            highest_id: u32::MAX >> 1,
            voters: BTreeSet::new(),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The id is this site's, and announced. With voters it is not its own before [`Event::Confirmed`]; it must be on
    /// disk before the announcement, which is the next to come out of `poll_transmit`, leaves.
    Acquired(SiteId),
    /// More than half of the voters have put the id down: it is this site's for ever.
    Confirmed(SiteId),
    /// The fixed id is somebody else's: an operator must choose another. Nothing more happens.
    FixedIdInUse(SiteId),
    /// Another station, which takes precedence, turned out to hold the id that this site acquired while they
    /// could not hear each other; or too many of the voters have put it down for another. Another id is being
    /// acquired.
    Lost(SiteId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Step 1 over the network.
    Searching {
        range: u32,
        broadcasts: u32,
        best: Option<SiteId>,
    },
    /// Step 2.
    Bidding {
        site: SiteId,
        broadcasts: u32,
    },
    /// Between two bids.
    BackingOff,
    /// Step 3 and after.
    Official {
        site: SiteId,
        announcements: u32,
    },
    GivenUp,
    ShutDown,
}

/// Acquires an id for this site and defends it afterwards.
///
/// After [`Acquisition::start`] and every `handle_*` drain `poll_event` and `poll_transmit`, then arm a timer
/// for `poll_timeout`.
#[derive(Clone, Debug)]
pub struct Acquisition {
    config: Config,
    station: Station,
    responder: Responder,
    phase: Phase,
    seq: u32,
    tries: u32,
    /// Voters that consented to the bid, or put down the announced id.
    consents: BTreeSet<Station>,
    /// Voters that have the announced id down for another.
    objectors: BTreeSet<Station>,
    confirmed: bool,
    due: Option<Time>,
    rng: ChaCha8Rng,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Acquisition {
    /// A site that has no id yet. What it remembers of used ids comes in `responder`. Random numbers are
    /// seeded by the station address and `seed`.
    pub fn new(config: Config, station: Station, responder: Responder, seed: u64) -> Acquisition {
        Acquisition {
            config,
            station,
            responder,
            phase: Phase::BackingOff,
            seq: 0,
            tries: 0,
            consents: BTreeSet::new(),
            objectors: BTreeSet::new(),
            confirmed: false,
            due: None,
            rng: ChaCha8Rng::seed_from_u64(station.0 ^ seed.rotate_left(32)),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Begins.
    pub fn start(&mut self, now: Time) {
        match self.config.method {
            Method::Random => {
                let span = u64::from(self.config.highest_id.max(LOWEST));
                let site = loop {
                    let site = SiteId((self.rng.next_u64() % span) as u32 + LOWEST);
                    // With every id in use, an objection ends the bid.
                    if self.is_free(site) || self.tries > FIXED_TRIES_MAX {
                        break site;
                    }
                    self.tries += 1;
                };
                self.bid(now, site);
            }
            Method::Network => self.search(now, 0),
            Method::Fixed(site) => self.bid(now, site),
        }
    }

    /// The own id, once it is official.
    pub fn site(&self) -> Option<SiteId> {
        self.responder.own()
    }

    /// What this site remembers of ids.
    pub fn responder(&self) -> &Responder {
        &self.responder
    }

    /// Another station's message.
    pub fn handle_message(&mut self, now: Time, from: Station, body: &[u8]) -> Result<(), SiteIdError> {
        let message = Message::decode(body)?;
        if from == self.station {
            return Err(SiteIdError::OwnStation);
        }
        if self.phase == Phase::ShutDown {
            return Ok(());
        }
        if let Some(answer) = self.responder.answer(from, message) {
            self.outbox.push_back(answer.to(To::Station(from)));
        }
        match message {
            Message::SiteIdReply { seq, site, highest } if seq == self.seq => {
                if let Phase::Searching { best, .. } = &mut self.phase {
                    *best = (*best).max(Some(site.max(highest)));
                }
            }
            Message::IsThereObjection { site } | Message::OfficialSiteId { site } => {
                self.rival(now, from, site, message);
            }
            Message::Objection { site, holder } if holder != self.station => {
                self.objected(now, from, holder, site);
            }
            Message::NoObjection { site } if self.is_bidding(site) => self.consented(from),
            Message::Recorded { site } if self.is_announcing(site) => {
                self.consented(from);
                if self.is_majority(&self.consents) {
                    self.confirmed = true;
                    self.events.push_back(Event::Confirmed(site));
                }
            }
            Message::SiteIdReply { .. }
            | Message::SubmitYourId { .. }
            | Message::Objection { .. }
            | Message::NoObjection { .. }
            | Message::Recorded { .. }
            | Message::HostIdInvalid { .. } => {}
        }
        Ok(())
    }

    /// Goes on when it is time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        match self.phase {
            Phase::Searching { range, broadcasts, best } => self.search_on(now, range, broadcasts, best),
            Phase::Bidding { site, broadcasts } if broadcasts < self.config.probes => {
                self.broadcast(now, Message::IsThereObjection { site });
                self.phase = Phase::Bidding { site, broadcasts: broadcasts + 1 };
            }
            Phase::Bidding { site, .. } if !self.is_majority(&self.consents) => {
                self.broadcast(now, Message::IsThereObjection { site });
            }
            Phase::Bidding { site, .. } => {
                self.responder.hold(site, self.station);
                self.tries = 0;
                self.forget_votes();
                self.events.push_back(Event::Acquired(site));
                self.announce(now, site, 1);
            }
            Phase::BackingOff => self.start(now),
            Phase::Official { site, announcements }
                if !self.objectors.is_empty() && self.is_announcing(site) && announcements >= DIVIDED_MAX =>
            {
                self.lose(now, site);
            }
            Phase::Official { site, announcements }
                if announcements < self.config.probes || self.is_announcing(site) =>
            {
                self.announce(now, site, announcements + 1);
            }
            Phase::Official { site, announcements } => {
                self.announce(now, site, announcements);
                self.due = Some(now + self.config.wait * REMINDER_WAITS);
            }
            Phase::GivenUp | Phase::ShutDown => {}
        }
    }

    /// A scheduled shutdown: the mapping from id to station is void (7.0). Nothing more is answered.
    pub fn shut_down(&mut self) {
        if let Some(site) = self.responder.own() {
            self.outbox.push_back(Message::HostIdInvalid { site }.to(To::All));
        }
        self.responder.release();
        self.phase = Phase::ShutDown;
        self.due = None;
    }

    /// When [`Acquisition::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// The next thing that came of it.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn search(&mut self, now: Time, range: u32) {
        self.seq += 1;
        self.phase = Phase::Searching { range, broadcasts: 1, best: None };
        self.broadcast(now, Message::SubmitYourId { seq: self.seq, range });
    }

    /// Appendix B.1: repeat, take the highest answer, or widen the range until the id space is exhausted.
    fn search_on(&mut self, now: Time, range: u32, broadcasts: u32, best: Option<SiteId>) {
        if broadcasts < self.config.searches {
            self.phase = Phase::Searching { range, broadcasts: broadcasts + 1, best };
            return self.broadcast(now, Message::SubmitYourId { seq: self.seq, range });
        }
        let wider = if range == 0 { Some(RANGE_FIRST) } else { range.checked_mul(RANGE_BASE) };
        match (best, wider) {
            (None, Some(wider)) if range < self.config.highest_id => self.search(now, wider),
            (best, _) => {
                let highest = best.unwrap_or_default().max(self.responder.highest());
                self.bid(now, self.free_after(highest));
            }
        }
    }

    fn bid(&mut self, now: Time, site: SiteId) {
        self.forget_votes();
        self.phase = Phase::Bidding { site, broadcasts: 1 };
        self.broadcast(now, Message::IsThereObjection { site });
    }

    /// Another station bids for or announces an id.
    fn rival(&mut self, now: Time, from: Station, site: SiteId, message: Message) {
        let official = matches!(message, Message::OfficialSiteId { .. });
        match self.phase {
            Phase::Bidding { site: mine, .. } if mine == site => {
                // Both back off, as on an Ethernet (6.2); who is official already does not.
                if !official {
                    self.outbox.push_back(Message::IsThereObjection { site }.to(To::Station(from)));
                }
                self.back_off(now, site);
            }
            Phase::Official { site: mine, .. } if mine == site && official => self.defend(now, from, site),
            Phase::Bidding { .. }
            | Phase::Official { .. }
            | Phase::Searching { .. }
            | Phase::BackingOff
            | Phase::GivenUp
            | Phase::ShutDown => {}
        }
    }

    fn objected(&mut self, now: Time, from: Station, holder: Station, site: SiteId) {
        match self.phase {
            // The voters decide, and not who is lower: an id that most of them have down is this site's, whatever
            // another had put down at the rest.
            Phase::Official { site: mine, .. } if mine == site && !self.config.voters.is_empty() => {
                if self.is_announcing(site) && self.config.voters.contains(&from) {
                    self.objectors.insert(from);
                    self.consents.remove(&from);
                    let others = &self.config.voters - &self.objectors;
                    if !self.is_majority(&others) {
                        self.responder.remember(site, holder);
                        self.lose(now, site);
                    }
                }
            }
            Phase::Bidding { site: mine, .. } if mine == site => {
                self.responder.remember(site, holder);
                self.back_off(now, site);
            }
            Phase::Official { site: mine, .. } if mine == site => self.defend(now, holder, site),
            Phase::Bidding { .. }
            | Phase::Official { .. }
            | Phase::Searching { .. }
            | Phase::BackingOff
            | Phase::GivenUp
            | Phase::ShutDown => {}
        }
    }

    /// Two sites acquired one id while they could not hear each other. The lower station keeps it.
    fn defend(&mut self, now: Time, other: Station, site: SiteId) {
        if self.station < other {
            return self.announce(now, site, 1);
        }
        self.responder.release();
        self.responder.remember(site, other);
        self.events.push_back(Event::Lost(site));
        self.back_off(now, site);
    }

    /// The voters have the announced id down for another, or are divided: whoever put it down for this site may
    /// forget it, since it was never used.
    fn lose(&mut self, now: Time, site: SiteId) {
        self.responder.release();
        self.events.push_back(Event::Lost(site));
        self.outbox.push_back(Message::HostIdInvalid { site }.to(To::All));
        self.back_off(now, site);
    }

    fn is_bidding(&self, site: SiteId) -> bool {
        matches!(self.phase, Phase::Bidding { site: mine, .. } if mine == site)
    }

    /// Announced to voters, and not confirmed by most of them yet.
    fn is_announcing(&self, site: SiteId) -> bool {
        let official = matches!(self.phase, Phase::Official { site: mine, .. } if mine == site);
        official && !self.confirmed && !self.config.voters.is_empty()
    }

    fn consented(&mut self, voter: Station) {
        if self.config.voters.contains(&voter) {
            self.consents.insert(voter);
        }
    }

    /// More than half of the voters; without voters any set will do.
    fn is_majority(&self, voters: &BTreeSet<Station>) -> bool {
        self.config.voters.is_empty() || 2 * voters.len() > self.config.voters.len()
    }

    fn forget_votes(&mut self) {
        self.consents.clear();
        self.objectors.clear();
        self.confirmed = false;
    }

    fn back_off(&mut self, now: Time, site: SiteId) {
        self.tries += 1;
        if matches!(self.config.method, Method::Fixed(_)) && self.tries > FIXED_TRIES_MAX {
            self.phase = Phase::GivenUp;
            self.due = None;
            self.events.push_back(Event::FixedIdInUse(site));
            return;
        }
        let slots = 1u32 << self.tries.min(BACK_OFF_POWER_MAX);
        let slot = self.config.wait.as_nanos() as u64;
        let random = self.rng.next_u64() % (slot * u64::from(slots)).max(1);
        self.phase = Phase::BackingOff;
        self.due = Some(now + Duration::from_nanos(random));
    }

    fn announce(&mut self, now: Time, site: SiteId, announcements: u32) {
        self.phase = Phase::Official { site, announcements };
        self.broadcast(now, Message::OfficialSiteId { site });
    }

    fn broadcast(&mut self, now: Time, message: Message) {
        self.outbox.push_back(message.to(To::All));
        self.due = Some(now + self.config.wait);
    }

    fn is_free(&self, site: SiteId) -> bool {
        self.responder.station(site).is_none_or(|station| station == self.station)
    }

    /// The next id after `highest`; past the end of the id space the lowest that was never used.
    fn free_after(&self, highest: SiteId) -> SiteId {
        match highest.0.checked_add(1).filter(|next| *next <= self.config.highest_id) {
            Some(next) => SiteId(next.max(LOWEST)),
            // What is remembered is bounded, so this ends.
            None => {
                let free = (LOWEST..=self.config.highest_id).map(SiteId).find(|site| self.is_free(*site));
                free.unwrap_or(SiteId(LOWEST))
            }
        }
    }
}
