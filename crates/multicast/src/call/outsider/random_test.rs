//! Clients, contacts and members under seeded deaths, joins and delays, on a model of the group's data plane: one
//! log, of which each site has delivered a prefix and a stable prefix is at all of them. When a site dies, what no
//! survivor delivered and what is not stable may be lost or ordered anew.
//!
//! What must hold: a cast whose client was told is delivered exactly once, in one view, at every member of that view
//! that stays; any other at most once, and all or none; the members' tables are the same; every outcome adds up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Bugs, SiteId, Time, ViewId};

use super::super::answerer::{Answerer, Asked, Ticket};
use super::super::caller::{CallOptions, Caller, Replies};
use super::super::point::{Answered, PointMessage};
use super::super::testing::{client, group, installed, life, member, view_with};
use super::super::{Delivery, Installed, Transmit};
use super::*;

type CastId = (ClientId, u64);

/// A place in the group's log.
#[derive(Clone)]
enum Entry {
    Cast { caster: u32, body: Bytes, cast: Option<CastId> },
    View(Installed),
}

struct Site {
    n: u32,
    dedup: Dedup,
    contact: Contact,
    caller: Caller,
    answerer: Answerer,
    view: Option<GroupView>,
    /// What it wants to be cast, in order.
    wanted: VecDeque<(Bytes, Option<CastId>)>,
    /// How much of the log it has delivered.
    at: usize,
    /// Own casts delivered here, by place in the log, whose settling has not been reported.
    unsettled: BTreeMap<usize, CastId>,
    tickets: Vec<Ticket>,
    /// The members' view of it all.
    delivered: Vec<(ViewId, CastId)>,
    replied: BTreeMap<CastId, Bytes>,
}

struct Outside {
    n: u32,
    client: Client,
    alive: bool,
    casts: u64,
    fates: BTreeMap<u64, Fate>,
    told: BTreeSet<u64>,
}

#[derive(Default, Debug)]
struct Coverage {
    deaths: u32,
    joins: u32,
    lost: u32,
    repeated: u32,
    answered: u32,
    carried: u32,
    unknown: u32,
    forgotten: u32,
    gone: u32,
    waited: u32,
}

struct World {
    rng: ChaCha8Rng,
    bugs: Bugs,
    /// How much of the membership's changing takes place, in percent.
    churn: u64,
    now: Time,
    epoch: u64,
    sites: BTreeMap<u32, Site>,
    next_site: u32,
    clients: Vec<Outside>,
    log: Vec<Entry>,
    /// Where the newest view stands in the log.
    view_at: usize,
    stable: usize,
    network: BTreeMap<(u32, u32), VecDeque<Bytes>>,
    /// Deaths of which a client has not heard.
    news: Vec<(usize, u32)>,
    seen: Coverage,
}

impl World {
    fn new(seed: u64, bugs: Bugs) -> World {
        let outside = |n| Outside {
            n,
            client: Client::new(client(n), group()),
            alive: true,
            casts: 0,
            fates: BTreeMap::new(),
            told: BTreeSet::new(),
        };
        let mut world = World {
            rng: ChaCha8Rng::seed_from_u64(seed),
            bugs,
            churn: [20, 50, 100][(seed % 3) as usize],
            now: Time::ZERO,
            epoch: 0,
            sites: BTreeMap::new(),
            next_site: 1,
            clients: (101..104).map(outside).collect(),
            log: Vec::new(),
            view_at: 0,
            stable: 0,
            network: BTreeMap::new(),
            news: Vec::new(),
            seen: Coverage::default(),
        };
        world.change(0, 3);
        world
    }

    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    fn changes(&mut self) -> bool {
        self.chance(self.churn)
    }

    fn run(&mut self) {
        for _ in 0..600 {
            self.step(true);
        }
        // Healed: no more deaths, and everything must come to its end.
        for round in 0.. {
            assert!(round < 20_000, "everything comes to an end");
            self.step(false);
            let done = |outside: &Outside| !outside.alive || outside.client.open() == 0;
            let quiet = self.network.values().all(VecDeque::is_empty);
            let delivered = |site: &Site| site.at == self.log.len() && site.wanted.is_empty();
            if quiet && self.clients.iter().all(done) && self.sites.values().all(delivered) {
                break;
            }
        }
        self.check();
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
            90..93 if self.changes() => {
                let (deaths, joins) = (self.below(2), self.below(3));
                self.change(deaths, joins);
            }
            93..94 => self.kill_client(),
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

    fn tell_news(&mut self) {
        if self.news.is_empty() {
            return;
        }
        let pick = self.below(self.news.len());
        let (at, dead) = self.news.swap_remove(pick);
        let contacts: Vec<SiteId> = self.sites.keys().map(|n| SiteId(*n)).collect();
        if dead != 0 {
            self.clients[at].client.handle_contact_died(self.now, SiteId(dead));
        }
        self.clients[at].client.handle_contacts(self.now, &contacts);
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

    /// One message arrives.
    fn hop(&mut self) {
        let ready: Vec<(u32, u32)> =
            self.network.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect();
        if ready.is_empty() {
            return;
        }
        let pair = ready[self.below(ready.len())];
        let bytes = self.network.get_mut(&pair).and_then(VecDeque::pop_front).expect("not empty");
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
                site.contact.handle_carry(self.now, SiteId(from), carry, &mut site.caller);
            }
            PointMessage::ClientGone { client, .. } => {
                site.contact.handle_client_gone(client, &mut site.caller);
            }
            PointMessage::Answer(answer) => {
                site.caller.handle_answer(&answer);
            }
            PointMessage::Copy(_) | PointMessage::Verdict { .. } => panic!("not to a member's site"),
        }
        self.flush_sites();
    }

    /// A site that is in the newest view has a cast put into the order.
    fn order(&mut self) {
        let Some(n) = self.pick_site() else { return };
        let site = self.sites.get_mut(&n).expect("picked");
        let wanted = if site.at > self.view_at { site.wanted.pop_front() } else { None };
        if let Some((body, cast)) = wanted {
            self.log.push(Entry::Cast { caster: n, body, cast });
        }
        if self.chance(60) {
            let ahead = self.log.len() - self.stable;
            self.stable += self.below(ahead + 1);
        }
    }

    /// A site delivers the next entries of the log.
    fn deliver(&mut self) {
        let Some(n) = self.pick_site() else { return };
        let count = 1 + self.below(4);
        for _ in 0..count {
            self.deliver_one(n);
        }
    }

    fn deliver_one(&mut self, n: u32) {
        let site = self.sites.get_mut(&n).expect("alive");
        let Some(entry) = self.log.get(site.at).cloned() else { return };
        match entry {
            Entry::View(installed) => site.dedup.handle_view(installed),
            Entry::Cast { caster, body, cast } => {
                if let (true, Some(cast)) = (caster == n, cast) {
                    site.unsettled.insert(site.at, cast);
                }
                let view = newest_view(&self.log[..site.at]);
                let (sender, order) = (member(caster), crate::Order::Abcast);
                let delivery = Delivery { group: group(), view, sender, order, body };
                site.dedup.handle_delivery(self.now, delivery).expect("well formed");
            }
        }
        site.at += 1;
        self.seen.waited += u32::from(site.dedup.is_waiting());
        self.flush_sites();
    }

    fn settle(&mut self) {
        for site in self.sites.values_mut() {
            let later = site.unsettled.split_off(&self.stable);
            for (client, sequence) in std::mem::replace(&mut site.unsettled, later).into_values() {
                site.contact.handle_settled(client, sequence);
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
            site.replied.insert((client, sequence), body.clone());
            site.answerer.reply(ticket, body).expect("awaited");
        }
        self.flush_sites();
    }

    /// A view change: some die, some join; the survivors deliver the cut first.
    fn change(&mut self, deaths: usize, joins: usize) {
        let mut dead = Vec::new();
        for _ in 0..deaths {
            let Some(n) = self.pick_site() else { break };
            if self.sites.len() > 1 {
                self.sites.remove(&n);
                dead.push(n);
            }
        }
        if dead.is_empty() && joins == 0 {
            return;
        }
        self.cut(&dead);
        let mut members: Vec<u32> = self.sites.keys().copied().collect();
        let together = members.clone();
        let joined: Vec<u32> = (0..joins.min(6_usize.saturating_sub(members.len())))
            .map(|k| self.next_site + k as u32)
            .collect();
        if dead.is_empty() && joined.is_empty() {
            return;
        }
        members.extend(&joined);
        self.epoch += 1;
        self.view_at = self.log.len();
        let view = view_with(self.epoch, &members, &joined, &dead);
        self.log.push(Entry::View(installed(view.clone(), &together)));
        for &n in &joined {
            self.join(n, &view);
        }
        self.seen.deaths += dead.len() as u32;
        self.seen.joins += joined.len() as u32;
        for at in 0..self.clients.len() {
            self.news.push((at, dead.first().copied().unwrap_or(0)));
        }
        for n in &dead {
            for ((from, _), queue) in &mut self.network {
                if from == n {
                    queue.truncate(1);
                }
            }
        }
    }

    fn join(&mut self, n: u32, view: &GroupView) {
        self.next_site = self.next_site.max(n + 1);
        let mut site = Site {
            n,
            dedup: Dedup::new(life(n), DedupLimits::default(), self.bugs),
            contact: Contact::new(life(n), group()),
            caller: Caller::new(life(n)),
            answerer: Answerer::new(),
            view: None,
            wanted: VecDeque::new(),
            at: self.view_at + 1,
            unsettled: BTreeMap::new(),
            tickets: Vec::new(),
            delivered: Vec::new(),
            replied: BTreeMap::new(),
        };
        site.dedup.handle_view(installed(view.clone(), &[n]));
        self.sites.insert(n, site);
        self.flush_sites();
    }

    /// What the dead alone know may be lost; what is neither stable nor delivered by a survivor is ordered anew.
    fn cut(&mut self, dead: &[u32]) {
        let reached = self.sites.values().map(|site| site.at).max().unwrap_or(0);
        let keep = reached.max(self.stable).max(self.view_at + usize::from(!self.log.is_empty()));
        let mut rest = self.log.split_off(keep.min(self.log.len()));
        if !dead.is_empty() {
            let caster = |entry: &Entry| match entry {
                Entry::Cast { caster, .. } => *caster,
                Entry::View(_) => panic!("no view is behind the newest"),
            };
            let before = rest.len();
            let lose = self.chance(70);
            rest.retain(|entry| !lose || !dead.contains(&caster(entry)));
            self.seen.lost += (before - rest.len()) as u32;
            rest.sort_by_key(caster);
        }
        self.log.append(&mut rest);
        self.stable = self.log.len();
    }

    fn pick_site(&mut self) -> Option<u32> {
        let all: Vec<u32> = self.sites.keys().copied().collect();
        (!all.is_empty()).then(|| all[self.below(all.len())])
    }

    /// Carries every site's outputs to where they belong.
    fn flush_sites(&mut self) {
        for site in self.sites.values_mut() {
            site.flush(&mut self.network, &mut self.seen);
        }
    }

    fn check(&self) {
        let mut views: BTreeMap<CastId, BTreeSet<ViewId>> = BTreeMap::new();
        for site in self.sites.values() {
            assert!(!site.dedup.is_waiting(), "site {} still waits", site.n);
            let once: BTreeSet<CastId> = site.delivered.iter().map(|(_, cast)| *cast).collect();
            assert_eq!(once.len(), site.delivered.len(), "site {} delivered a cast twice", site.n);
            for (view, cast) in &site.delivered {
                views.entry(*cast).or_default().insert(*view);
            }
        }
        let tables: BTreeSet<Vec<u8>> =
            self.sites.values().map(|site| site.dedup.table().expect("nobody waits").encode()).collect();
        assert_eq!(tables.len(), 1, "all hold one table");
        for (cast, views) in &views {
            assert_eq!(views.len(), 1, "{cast:?} is delivered in one view");
            self.check_all_or_none(*cast, *views.first().expect("one"));
        }
        self.check_order();
        for outside in &self.clients {
            self.check_fates(outside, &views);
        }
    }

    /// Every survivor that was in the view delivered the cast.
    fn check_all_or_none(&self, cast: CastId, view: ViewId) {
        let members = self.log.iter().find_map(|entry| match entry {
            Entry::View(installed) if installed.view.id == view => Some(&installed.view.members),
            Entry::View(_) | Entry::Cast { .. } => None,
        });
        for member in members.expect("a view of the log") {
            if let Some(site) = self.sites.get(&member.id.site().0) {
                let has = site.delivered.contains(&(view, cast));
                assert!(has, "site {} lacks {cast:?} of {view}", site.n);
            }
        }
    }

    /// The survivors delivered what they have in common in one order, each client's casts in its order.
    fn check_order(&self) {
        let longest = self.sites.values().max_by_key(|site| site.delivered.len()).expect("somebody");
        for site in self.sites.values() {
            let tail = longest.delivered.len() - site.delivered.len();
            assert_eq!(site.delivered, longest.delivered[tail..], "sites {} and {}", site.n, longest.n);
        }
        let mut last: BTreeMap<ClientId, u64> = BTreeMap::new();
        for (_, (client, sequence)) in &longest.delivered {
            let before = last.insert(*client, *sequence).unwrap_or(0);
            assert!(before < *sequence, "{client:?}: {sequence} after {before}");
        }
    }

    fn check_fates(&self, outside: &Outside, views: &BTreeMap<CastId, BTreeSet<ViewId>>) {
        let id = client(outside.n);
        for (&sequence, fate) in &outside.fates {
            match fate {
                Fate::Carried => self.check_delivered((id, sequence), views),
                Fate::Answered(outcome) => {
                    assert_eq!(outcome.accounted(), outcome.targets);
                    self.check_delivered((id, sequence), views);
                    for (from, body) in &outcome.replies {
                        if let Some(site) = self.sites.get(&from.site().0) {
                            let first = site.replied.get(&(id, sequence));
                            assert_eq!(first, Some(body), "the first answer, whoever asks again");
                        }
                    }
                }
                Fate::Unknown | Fate::NotSent => {}
            }
        }
        for &sequence in &outside.told {
            self.check_delivered((id, sequence), views);
        }
        if outside.alive {
            assert_eq!(outside.fates.len() as u64, outside.casts, "every cast has its fate");
        }
    }

    /// Delivered at a survivor, unless all who could have it are gone: then no survivor is as old as the cast.
    fn check_delivered(&self, cast: CastId, views: &BTreeMap<CastId, BTreeSet<ViewId>>) {
        let in_log = self
            .log
            .iter()
            .position(|entry| matches!(entry, Entry::Cast { cast: Some(logged), .. } if *logged == cast));
        let at = in_log.expect("what a client was told is never lost");
        let view = newest_view(&self.log[..at]);
        let stays = |site: &Site| site.view_joined(&self.log) <= view;
        assert!(views.contains_key(&cast) || !self.sites.values().any(stays), "{cast:?} is lost");
    }
}

impl Site {
    fn flush(&mut self, network: &mut BTreeMap<(u32, u32), VecDeque<Bytes>>, seen: &mut Coverage) {
        loop {
            while let Some(output) = self.dedup.poll_output() {
                self.take(output, seen);
            }
            while let Some(call) = self.caller.poll_ended() {
                assert!(self.contact.handle_ended(call, &mut self.caller));
            }
            while let Some(transmit) = self.answerer.poll_transmit() {
                send(network, self.n, transmit);
            }
            let Some(output) = self.contact.poll_output() else { return };
            match output {
                ContactOutput::Cast { body, cast, .. } => self.wanted.push_back((body, cast)),
                ContactOutput::Send(transmit) => send(network, self.n, transmit),
            }
        }
    }

    fn take(&mut self, output: DedupOutput, seen: &mut Coverage) {
        let me = member(self.n);
        match output {
            DedupOutput::Deliver(opened) => {
                let origin = opened.envelope.outsider.expect("only outsiders cast here");
                self.delivered.push((opened.view, (origin.client, origin.sequence)));
                let ticket = self.answerer.handle_delivery(group(), me, opened.sender, &opened.envelope);
                self.tickets.extend(ticket);
                self.judged(&opened, Judgement::First);
            }
            DedupOutput::Judged(opened, judgement) => {
                if judgement == Judgement::Repeated {
                    seen.repeated += 1;
                    self.answerer.handle_repeated(group(), me, opened.sender, &opened.envelope);
                }
                self.judged(&opened, judgement);
            }
            DedupOutput::View(installed) => {
                self.contact.handle_view(&installed, &mut self.caller);
                self.caller.handle_view(&installed.view);
                self.answerer.handle_view(&installed.view);
                self.view = Some(GroupView::clone(&installed.view));
            }
            DedupOutput::Cast(body) => self.wanted.push_back((body, None)),
            DedupOutput::Firm => self.contact.handle_firm(),
            DedupOutput::MustRejoin => panic!("no bound is reached here"),
        }
    }

    fn judged(&mut self, opened: &Opened, judgement: Judgement) {
        let view = self.view.as_ref().expect("views come first");
        self.contact.handle_judged(opened, judgement, view, &mut self.caller);
    }

    /// The view with which this site came.
    fn view_joined(&self, log: &[Entry]) -> ViewId {
        let mut all = log.iter().filter_map(|entry| match entry {
            Entry::View(installed) => Some(&installed.view),
            Entry::Cast { .. } => None,
        });
        all.find(|view| view.joined.contains(&member(self.n))).expect("it joined").id
    }
}

fn newest_view(log: &[Entry]) -> ViewId {
    let mut views = log.iter().rev().filter_map(|entry| match entry {
        Entry::View(installed) => Some(installed.view.id),
        Entry::Cast { .. } => None,
    });
    views.next().expect("the log begins with a view")
}

fn send(network: &mut BTreeMap<(u32, u32), VecDeque<Bytes>>, from: u32, transmit: Transmit) {
    if let PointMessage::Answer(answer) = &transmit.message {
        assert!(!matches!(answer.what, Answered::Abort(_)), "nobody aborts here");
    }
    network.entry((from, transmit.to.0)).or_default().push_back(transmit.message.encode());
}

/// How many seeds a run tries.
const SEEDS: u64 = 500;

#[test]
fn an_acknowledged_cast_is_delivered_once_at_all_who_stay() {
    let mut seen = Coverage::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Bugs::NONE);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = result {
            eprintln!("seed {seed} fails");
            std::panic::resume_unwind(panic);
        }
        seen.add(&world.seen);
    }
    println!("{seen:?}");
    for count in seen.all() {
        assert!(count >= 10, "every kind of trouble is reached: {seen:?}");
    }
}

#[cfg(feature = "bugs")]
#[test]
fn the_check_catches_an_outsiders_cast_delivered_twice() {
    let caught = (0..50).any(|seed| {
        let mut world = World::new(seed, Bugs::only(wire::Bug::OutsiderCastTwice));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run())).is_err()
    });
    assert!(caught);
}

impl Coverage {
    fn add(&mut self, other: &Coverage) {
        self.deaths += other.deaths;
        self.joins += other.joins;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.answered += other.answered;
        self.carried += other.carried;
        self.unknown += other.unknown;
        self.forgotten += other.forgotten;
        self.gone += other.gone;
        self.waited += other.waited;
    }

    /// The counts that may not be zero. Unknown fates are rare here, and not among them.
    fn all(&self) -> [u32; 9] {
        let Coverage {
            deaths,
            joins,
            lost,
            repeated,
            answered,
            carried,
            unknown: _,
            forgotten,
            gone,
            waited,
        } = *self;
        [deaths, joins, lost, repeated, answered, carried, forgotten, gone, waited]
    }
}
