//! The random world itself: what happens, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Bugs, SiteId, Time};

use super::super::super::Transmit;
use super::super::super::answerer::Asked;
use super::super::super::caller::{CallOptions, Replies};
use super::super::super::point::PointMessage;
use super::super::super::testing::{client, group, life};
use super::super::*;
use super::eras::{Era, Side};
use super::site::{Network, Outside, Record, Site, send};
use super::{CastId, Coverage};

/// What may befall the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// It is never parted.
    One,
    /// Of the sides of a partition one lives; the others end when it is healed.
    OneLives,
    /// All sides live, and become one again.
    AllLive,
}

pub struct World {
    pub rng: ChaCha8Rng,
    pub bugs: Bugs,
    pub sides_may: Sides,
    /// How much of the membership's changing takes place, in percent.
    churn: u64,
    pub clients_max: usize,
    pub now: Time,
    pub epoch: u64,
    pub eras: Vec<Era>,
    pub sides: Vec<Side>,
    pub sites: BTreeMap<u32, Site>,
    pub next_site: u32,
    pub clients: Vec<Outside>,
    pub network: Network,
    /// Deaths of which a client has not heard, or 0: only who is there now.
    pub news: Vec<(usize, u32)>,
    /// What those were shown who are no longer in the group.
    pub over: Vec<Record>,
    /// Clients of which a contact has said that the group has forgotten them.
    pub forgotten: BTreeSet<ClientId>,
    pub seen: Coverage,
}

impl World {
    pub fn new(seed: u64, bugs: Bugs) -> World {
        let outside = |n| Outside {
            n,
            client: Client::new(client(n), group()),
            alive: true,
            casts: 0,
            fates: BTreeMap::new(),
            told: Default::default(),
        };
        let mut world = World {
            rng: ChaCha8Rng::seed_from_u64(seed),
            bugs,
            sides_may: [Sides::One, Sides::OneLives, Sides::AllLive][(seed % 3) as usize],
            churn: [20, 50, 100][(seed / 3 % 3) as usize],
            clients_max: Table::CLIENTS_MAX,
            now: Time::ZERO,
            epoch: 0,
            eras: Vec::new(),
            sides: Vec::new(),
            sites: BTreeMap::new(),
            next_site: 1,
            clients: (101..104).map(outside).collect(),
            network: BTreeMap::new(),
            news: Vec::new(),
            over: Vec::new(),
            forgotten: BTreeSet::new(),
            seen: Coverage::default(),
        };
        world.found(3);
        world
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n as u64) as usize
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    pub fn run(&mut self) {
        for _ in 0..800 {
            self.step(true);
        }
        // Healed: one side, no more deaths, and everything must come to its end.
        self.heal();
        for round in 0.. {
            assert!(round < 100_000, "everything comes to an end");
            self.step(false);
            let done = |outside: &Outside| !outside.alive || outside.client.open() == 0;
            let quiet = self.network.values().all(|queue| queue.is_empty());
            if quiet && self.clients.iter().all(done) && self.sites.values().all(|site| self.is_idle(site)) {
                break;
            }
        }
        self.check();
    }

    fn is_idle(&self, site: &Site) -> bool {
        let all = |era: usize| site.at == self.eras[era].casts.len();
        site.is_up_to_date() && site.era.is_some_and(all) && site.wanted.is_empty()
    }

    fn step(&mut self, faults: bool) {
        match self.below(if faults { 100 } else { 90 }) {
            0..8 => self.cast(faults),
            8..38 => self.hop(),
            38..50 => self.order(),
            50..72 => self.deliver(),
            72..77 => self.settle(),
            77..84 => self.answer(),
            84..87 => self.tell_news(),
            87..90 => self.pass_time(),
            90..95 if self.rng.next_u64() % 100 < self.churn => self.change(),
            95..96 => self.kill_client(),
            _ => self.hop(),
        }
    }

    fn cast(&mut self, faults: bool) {
        let at = self.below(self.clients.len());
        if !faults || !self.clients[at].alive {
            return;
        }
        let replies = match self.below(4) {
            0 => Replies::All,
            1 => Replies::Majority,
            _ => Replies::None,
        };
        let options = CallOptions { replies, time_out: Duration::from_secs(3) };
        let outside = &mut self.clients[at];
        if let Ok(sequence) = outside.client.cast(self.now, Order::Total, options, Bytes::from_static(b"x")) {
            outside.casts = sequence;
        }
        self.flush_client(at);
    }

    fn flush_client(&mut self, at: usize) {
        let outside = &mut self.clients[at];
        while let Some(transmit) = outside.client.poll_transmit() {
            send(&mut self.network, outside.n, transmit);
        }
        while let Some(event) = outside.client.poll_event() {
            match event {
                ClientEvent::Carried { sequence } => {
                    outside.told.insert(sequence);
                }
                ClientEvent::Ended { sequence, fate } => {
                    match &fate {
                        Fate::Carried => self.seen.carried += 1,
                        Fate::Answered(_) => self.seen.answered += 1,
                        Fate::Unknown | Fate::NotSent => self.seen.unknown += 1,
                    }
                    assert!(outside.fates.insert(sequence, fate).is_none(), "a cast has one fate");
                }
            }
        }
    }

    fn kill_client(&mut self) {
        let at = self.below(self.clients.len());
        if at == 0 || !self.clients[at].alive {
            return;
        }
        self.clients[at].alive = false;
        let n = self.clients[at].n;
        self.seen.gone += 1;
        if self.chance(50) {
            for site in self.sites.values_mut() {
                site.dedup.handle_life_ended(life(n));
            }
        } else if let Some(to) = self.clients[at].client.contact() {
            let message = PointMessage::ClientGone { group: group(), client: client(n) };
            send(&mut self.network, n, Transmit { to, message });
        }
        self.flush_sites();
    }

    /// A client hears of a death, or of who is in the group on one of its sides.
    fn tell_news(&mut self) {
        if self.news.is_empty() {
            return;
        }
        let pick = self.below(self.news.len());
        let (at, dead) = self.news.swap_remove(pick);
        let side = self.below(self.sides.len());
        let contacts: Vec<SiteId> = self.sides[side].members.iter().map(|n| SiteId(*n)).collect();
        if dead != 0 {
            self.clients[at].client.handle_contact_died(self.now, SiteId(dead));
        }
        let views = self.sides[side].members.iter().filter_map(|n| self.sites[n].record.stays.last());
        let Some(view) = views.map(|stay| stay.view).max() else { return };
        self.clients[at].client.handle_contacts(self.now, view, &contacts);
        self.flush_client(at);
    }

    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.next_u64() % 300);
        self.now = self.now + by;
        for at in 0..self.clients.len() {
            self.clients[at].client.handle_timeout(self.now);
            self.flush_client(at);
        }
        for site in self.sites.values_mut() {
            site.caller.handle_timeout(self.now);
        }
        self.flush_sites();
    }

    /// One message arrives. Between the sides of a partition none does before it is healed.
    fn hop(&mut self) {
        let side_of = |n: u32| self.sides.iter().position(|side| side.members.contains(&n));
        let cut = |one: u32, other: u32| {
            side_of(one).is_some_and(|side| side_of(other).is_some_and(|other| other != side))
        };
        let ready = self.network.iter().filter(|((from, to), queue)| !queue.is_empty() && !cut(*from, *to));
        let ready: Vec<(u32, u32)> = ready.map(|(pair, _)| *pair).collect();
        if ready.is_empty() {
            return;
        }
        let pair = ready[self.below(ready.len())];
        let bytes = self.network.get_mut(&pair).and_then(|queue| queue.pop_front()).expect("not empty");
        let message = PointMessage::decode(bytes).expect("our own");
        self.arrive(pair.0, pair.1, message);
    }

    fn arrive(&mut self, from: u32, to: u32, message: PointMessage) {
        if let Some(at) = self.clients.iter().position(|outside| outside.n == to) {
            let PointMessage::Verdict { sequence, verdict, .. } = message else {
                panic!("not to a client");
            };
            if self.clients[at].alive {
                self.seen.forgotten += u32::from(verdict == Verdict::Refused(Refusal::Forgotten));
                self.clients[at].client.handle_verdict(self.now, SiteId(from), sequence, verdict);
                self.flush_client(at);
            }
            return;
        }
        let Some(site) = self.sites.get_mut(&to) else { return };
        match message {
            PointMessage::Carry(carry) => {
                let newest = site.record.stays.last().map(|stay| stay.view);
                site.contact.handle_carry(self.now, SiteId(from), carry, newest, &mut site.caller);
            }
            PointMessage::ClientGone { client, .. } => {
                site.contact.handle_client_gone(client, &mut site.caller);
            }
            PointMessage::Answer(answer) => {
                site.caller.handle_answer(&answer);
            }
            PointMessage::TableRequest { view, .. } => site.dedup.handle_request(SiteId(from), view),
            PointMessage::Table { view, covers, informed, table, .. } => {
                site.dedup.handle_table(view, &covers, informed, &table).expect("our own");
            }
            PointMessage::Copy(_) | PointMessage::Verdict { .. } => panic!("not to a member's site"),
        }
        self.flush_sites();
    }

    /// A site that has installed the newest view has a cast put into the order; more of it is at all sites.
    fn order(&mut self) {
        let Some(n) = self.pick_site() else { return };
        let side = self.sides.iter().find(|side| side.members.contains(&n)).expect("on a side");
        let (open, asleep) = (side.era, side.asleep.is_some());
        let site = self.sites.get_mut(&n).expect("picked");
        if site.era == Some(open)
            && site.is_up_to_date()
            && let Some(body) = site.next_cast(&mut self.seen)
        {
            self.eras[open].casts.push((n, body));
        }
        self.flush_sites();
        if self.chance(60) && !asleep {
            let ahead = self.eras[open].casts.len() - self.eras[open].stable;
            self.eras[open].stable += self.below(ahead + 1);
        }
    }

    /// A site is delivered what comes next, or installs the next view.
    fn deliver(&mut self) {
        let Some(n) = self.pick_site() else { return };
        let count = 1 + self.below(4);
        for _ in 0..count {
            self.deliver_one(n);
        }
    }

    fn deliver_one(&mut self, n: u32) {
        let site = self.sites.get_mut(&n).expect("alive");
        let next = site.era.and_then(|era| self.eras[era].casts.get(site.at).cloned());
        match next {
            Some((caster, body)) => site.deliver(caster, body, &mut self.seen),
            None => match site.path.pop_front() {
                Some((era, installed)) => site.install(era, &installed),
                None => return,
            },
        }
        self.flush_sites();
    }

    fn settle(&mut self) {
        for site in self.sites.values_mut() {
            if let Some(era) = site.era {
                site.settle(self.eras[era].stable);
            }
        }
        self.flush_sites();
    }

    fn answer(&mut self) {
        let Some(n) = self.pick_site() else { return };
        let null = self.chance(20);
        let tag = self.rng.next_u32().to_be_bytes();
        let site = self.sites.get_mut(&n).expect("picked");
        let Some(ticket) = site.tickets.pop() else { return };
        let Asked::Outsider(_, client, sequence) = ticket.asked else {
            panic!("only outsiders ask here");
        };
        if null {
            site.answerer.null_reply(ticket).expect("awaited");
        } else {
            let body = Bytes::copy_from_slice(&tag);
            site.record.replied.insert((client, sequence), body.clone());
            site.answerer.reply(ticket, body).expect("awaited");
        }
        self.flush_sites();
    }

    fn pick_site(&mut self) -> Option<u32> {
        let all: Vec<u32> = self.sites.keys().copied().collect();
        (!all.is_empty()).then(|| all[self.below(all.len())])
    }

    /// Carries every site's outputs to where they belong.
    pub fn flush_sites(&mut self) {
        let mut told: Vec<CastId> = Vec::new();
        for site in self.sites.values_mut() {
            site.flush(&mut self.network, &mut self.seen);
            told.append(&mut site.told);
            self.forgotten.extend(site.forgotten.drain(..));
        }
        told.into_iter().for_each(|cast| self.check_told(cast));
    }
}
