//! Sites without a majority that share what they hold: partitions among them, crashes, answers that are lost, sites that hang, one
//! that loses its disk. What a client was told is held is on every disk that it waited for; when they are together all hold the
//! same; and it is merged once, in an order in which nothing comes before what was held when it was queued [Mail 12].

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use common::draw::Draw;
use common::{Site as Founder, address, plain};
use mail::command::{Deliver, Store};
use mail::{
    Ask, Batch, Circle, Command, Entry, EntryTime, FlagNames, FlagOp, Flags, Outcome, Position, Principal,
    Queuing, Spool, SpoolId, SpoolLimits, SpoolNext, State, Told, UidSet, UserId, Verdict,
};
use wire::{StoreId, Time};

const SITES: usize = 4;
const BOB: UserId = UserId(2);
/// The site that loses its disk.
const LOSER: usize = 0;

/// `MAIL_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("MAIL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

#[derive(Clone)]
enum Message {
    Told { call: u64, bytes: Bytes },
    Answer { call: u64, bytes: Bytes },
}

/// A client that waits for other disks.
struct Call {
    thing: SpoolId,
    awaits: BTreeSet<usize>,
    /// Who has said that it is on its disk, beside the site itself.
    holds: BTreeSet<usize>,
}

/// A question for what is missing.
struct Question {
    call: u64,
    of: usize,
    upto: SpoolId,
}

struct Site {
    store: StoreId,
    is_up: bool,
    /// It answers nobody.
    hangs: bool,
    spool: Spool,
    /// What is on its disk.
    log: Vec<(u32, Entry)>,
    circle: Circle<usize>,
    others: BTreeSet<usize>,
    calls: BTreeMap<u64, Call>,
    question: Option<Question>,
}

struct World {
    draw: Draw,
    state: State,
    sites: Vec<Site>,
    side: [u32; SITES],
    flights: BTreeMap<(usize, usize), VecDeque<Message>>,
    time: Time,
    next_call: u64,
    /// What clients were told is held, and on whose disks it was then.
    told: BTreeMap<SpoolId, BTreeSet<usize>>,
    /// What was held where a thing was queued.
    before: BTreeMap<SpoolId, BTreeSet<SpoolId>>,
    seen: BTreeMap<&'static str, u64>,
}

fn spool_id(entry: &Entry) -> SpoolId {
    match &entry.head().command {
        Command::Merge(merge) => merge.spool,
        other => panic!("{other:?} in a spool"),
    }
}

impl Site {
    fn new(store: StoreId) -> Site {
        Site {
            store,
            is_up: true,
            hangs: false,
            spool: Spool::new(store, SpoolNext::FIRST, SpoolLimits::default()),
            log: Vec::new(),
            circle: Circle::default(),
            others: BTreeSet::new(),
            calls: BTreeMap::new(),
            question: None,
        }
    }

    fn write(&mut self, state: &State, entry: &Entry) -> bool {
        let is_new = self.spool.wants(state, entry).expect("one that a spool takes").is_some();
        if is_new {
            let place = self.spool.next().place;
            assert_eq!(self.spool.accept(state, place, entry), Ok(true));
            self.log.push((place, entry.clone()));
        }
        is_new
    }

    /// It starts again, with what its disk has.
    fn start(&mut self, state: &State) {
        self.spool = Spool::new(self.store, self.spool.next(), SpoolLimits::default());
        for (place, entry) in &self.log {
            assert_eq!(self.spool.accept(state, *place, entry), Ok(true));
        }
        (self.is_up, self.hangs) = (true, false);
    }

    fn held(&self) -> BTreeSet<SpoolId> {
        self.log.iter().map(|(_, entry)| spool_id(entry)).collect()
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut founder = Founder::with_users(&["ann", "bob"]);
        for store in 0..=SITES as u64 {
            founder.apply(&plain(Principal::Site, Command::EnrolStore(StoreId(100 + store))));
        }
        founder.send(&["bob@x.org"], 1);
        let mut world = World {
            draw: Draw::of(seed),
            state: founder.state,
            sites: (0..SITES as u64).map(|store| Site::new(StoreId(100 + store))).collect(),
            side: [0; SITES],
            flights: BTreeMap::new(),
            time: Time::ZERO,
            next_call: 0,
            told: BTreeMap::new(),
            before: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        world.new_views();
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Every site is told who is in reach now. What was under way to somebody who is not is lost.
    fn new_views(&mut self) {
        for at in 0..SITES {
            let is_in_reach = |other: &usize| {
                *other != at && self.sites[*other].is_up && self.side[*other] == self.side[at]
            };
            let others: BTreeSet<usize> = (0..SITES).filter(is_in_reach).collect();
            let site = &mut self.sites[at];
            if !site.is_up || site.others == others {
                continue;
            }
            self.flights.retain(|(from, to), _| {
                (*to != at || others.contains(from)) && (*from != at || others.contains(to))
            });
            site.circle.enter(self.time, others.iter().copied());
            site.calls.values_mut().for_each(|call| call.awaits.retain(|other| others.contains(other)));
            if site.question.as_ref().is_some_and(|asked| !others.contains(&asked.of)) {
                site.question = None;
            }
            site.others = others;
            self.tell_clients(at);
        }
    }

    /// Clients whose wait is over are told.
    fn tell_clients(&mut self, at: usize) {
        let site = &mut self.sites[at];
        let over = site.calls.extract_if(.., |_, call| call.awaits.is_empty());
        for (_, call) in over.collect::<Vec<_>>() {
            for holder in call.holds.iter().chain([&at]) {
                let has = self.sites[*holder].held().contains(&call.thing);
                assert!(has, "{:?} is not on the disk of {holder}", call.thing);
            }
            self.told.insert(call.thing, call.holds.into_iter().chain([at]).collect());
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.flights.entry((from, to)).or_default().push_back(message);
    }

    fn queue(&mut self, at: usize) {
        let ask = match self.draw.below(3) {
            0 => {
                let inbox = self.state.user(BOB).expect("a user").inbox();
                let op = if self.draw.chance(50) { FlagOp::Add } else { FlagOp::Remove };
                let flags = FlagNames::from(Flags::FLAGGED);
                let (uids, unchanged_since) = (UidSet::of([1]), None);
                Ask::Store(Store { mailbox: inbox, uids, op, flags, unchanged_since })
            }
            1 => {
                let held = self.sites[at].spool.held(&self.state, BOB);
                let Some(letter) = held.get(self.draw.below(held.len() as u32) as usize) else { return };
                let uid = letter.uid;
                self.count("taken back");
                Ask::Discard { user: BOB, uid }
            }
            _ => {
                let deliver = Deliver { sender: "ann@x.org".into(), recipients: vec![address("bob@x.org")] };
                let bytes = 1 + self.draw.below(3_000) as usize;
                Ask::Deliver(deliver, vec![b'x'; bytes].into())
            }
        };
        let by = if matches!(ask, Ask::Deliver(..)) { UserId(1) } else { BOB };
        let site = &mut self.sites[at];
        let had = site.held();
        let queued = site.spool.queue(&self.state, EntryTime(1), Principal::User(by), None, ask);
        let Ok(Queuing::Write { entry, .. }) = queued else { panic!("{queued:?}") };
        assert!(site.write(&self.state, &entry));
        self.before.insert(spool_id(&entry), had);
        self.next_call += 1;
        let (call, awaits) = (self.next_call, site.circle.awaited());
        let told = Told::Hold(entry.clone()).encode();
        let waits = Call {
            thing: spool_id(&entry),
            awaits: awaits.iter().copied().collect(),
            holds: BTreeSet::new(),
        };
        site.calls.insert(call, waits);
        awaits.into_iter().for_each(|to| self.send(at, to, Message::Told { call, bytes: told.clone() }));
        self.tell_clients(at);
    }

    /// A site asks another for what is missing, if it is to.
    fn ask(&mut self, at: usize) {
        let site = &mut self.sites[at];
        if site.question.is_some() {
            return;
        }
        let Some((of, after)) = site.circle.ask_next(self.time) else { return };
        let having = site.spool.having(after);
        self.next_call += 1;
        let call = self.next_call;
        site.question = Some(Question { call, of, upto: having.upto });
        self.send(at, of, Message::Told { call, bytes: Told::Lack(having).encode() });
    }

    fn deliver(&mut self, from: usize, to: usize) {
        if self.sites[to].hangs {
            return;
        }
        let Some(message) = self.flights.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return };
        match message {
            Message::Told { call, bytes } => {
                let bytes = self.answer(to, &bytes);
                self.send(to, from, Message::Answer { call, bytes });
            }
            Message::Answer { call, bytes } => self.answered(to, from, call, &bytes),
        }
    }

    fn answer(&mut self, at: usize, told: &Bytes) -> Bytes {
        let site = &mut self.sites[at];
        match Told::decode(told).expect("a message of ours") {
            Told::Hold(entry) => {
                site.write(&self.state, &entry);
                Verdict::Held.encode()
            }
            Told::Lack(having) => {
                // Few at a time, so that it takes several batches.
                let lacking = site.spool.lacking(&self.state, &having, 3);
                let mut batch = Batch::new();
                for (id, place) in lacking.things {
                    let (_, entry) = site.log.iter().find(|(at, _)| *at == place).expect("it is on the disk");
                    assert!(batch.add(id, entry.encode()));
                }
                batch.reached = lacking.upto;
                batch.encode()
            }
        }
    }

    fn answered(&mut self, at: usize, from: usize, call: u64, bytes: &Bytes) {
        let site = &mut self.sites[at];
        if let Some(asked) = site.question.take_if(|asked| asked.call == call) {
            let batch = Batch::decode(bytes).expect("a batch of ours");
            let mut fetched = 0;
            for entry in &batch.entries {
                let entry = Entry::decode(entry).expect("an entry of ours");
                fetched += u64::from(site.write(&self.state, &entry));
            }
            assert!(site.circle.got(self.time, from, batch.reached, asked.upto));
            *self.seen.entry("fetched").or_default() += fetched;
        } else if let Some(open) = site.calls.get_mut(&call) {
            assert_eq!(Verdict::decode(bytes).expect("a verdict"), Verdict::Held);
            open.awaits.remove(&from);
            open.holds.insert(from);
            self.tell_clients(at);
        }
    }

    /// Whoever waits for one that hangs waits no longer.
    fn time_out(&mut self, at: usize) {
        let site = &mut self.sites[at];
        let hang = |other: &usize| self.flights.get(&(at, *other)).is_some_and(|flight| !flight.is_empty());
        for call in site.calls.values_mut() {
            for late in call.awaits.extract_if(.., |other| hang(other)).collect::<Vec<_>>() {
                site.circle.silent(late);
                *self.seen.entry("silent").or_default() += 1;
            }
        }
        if let Some(asked) = site.question.take() {
            site.circle.failed(self.time, asked.of);
        }
        self.tell_clients(at);
    }

    fn crash(&mut self, at: usize) {
        self.count("crash");
        let site = &mut self.sites[at];
        site.is_up = false;
        site.calls.clear();
        site.question = None;
        site.others.clear();
        site.circle = Circle::default();
        self.flights.retain(|(from, to), _| *from != at && *to != at);
        self.new_views();
    }

    fn lose_disk(&mut self) {
        self.count("lost a disk");
        if self.sites[LOSER].is_up {
            self.crash(LOSER);
        }
        self.sites[LOSER] = Site { is_up: false, ..Site::new(StoreId(100 + SITES as u64)) };
        for call in self.sites.iter_mut().flat_map(|site| site.calls.values_mut()) {
            call.holds.remove(&LOSER);
        }
    }

    fn start(&mut self, at: usize) {
        self.sites[at].start(&self.state);
        self.new_views();
    }

    fn step(&mut self) {
        self.time = self.time + Duration::from_millis(u64::from(self.draw.below(400)));
        let at = self.draw.below(SITES as u32) as usize;
        let other = self.draw.below(SITES as u32) as usize;
        match self.draw.below(100) {
            0..4 => {
                let sides = 1 + self.draw.below(3);
                self.side = std::array::from_fn(|_| self.draw.below(sides));
                self.new_views();
                self.count("partition");
            }
            4..6 if self.sites[at].is_up => self.crash(at),
            6..14 if !self.sites[at].is_up => self.start(at),
            14..16 => self.sites[at].hangs = true,
            16..20 => self.sites[at].hangs = false,
            20..24 if self.sites[at].is_up => self.time_out(at),
            24..36 if self.sites[at].is_up => self.queue(at),
            36..50 if self.sites[at].is_up => self.ask(at),
            _ => self.deliver(other, at),
        }
    }

    /// All are together and well, and have told each other everything.
    fn settle(&mut self) {
        self.side = [0; SITES];
        for at in 0..SITES {
            if !self.sites[at].is_up {
                self.start(at);
            }
            self.sites[at].hangs = false;
        }
        self.new_views();
        for _ in 0..2_000 {
            self.time = self.time + Duration::from_millis(200);
            (0..SITES).for_each(|at| self.ask(at));
            for (from, to) in self.flights.keys().copied().collect::<Vec<_>>() {
                self.deliver(from, to);
            }
        }
        let order = |site: &Site| site.spool.to_merge(&self.state).collect::<Vec<_>>();
        for (at, site) in self.sites.iter().enumerate() {
            assert!(site.calls.is_empty(), "a client of {at} waits for nobody");
            assert_eq!(order(site), order(&self.sites[0]), "{at} and 0 hold the same");
            assert_eq!(site.circle.count(), (SITES - 1, 0), "nobody hangs as {at} sees it");
        }
    }

    /// All bring what they hold, each at its own pace. Where each thing stands in the log.
    fn merge(&mut self) -> BTreeMap<SpoolId, usize> {
        let mut log: Vec<Entry> = Vec::new();
        let mut states = vec![self.state.clone(); SITES];
        let mut applied = [0; SITES];
        let mut places = BTreeMap::new();
        let mut waits: BTreeSet<usize> = (0..SITES).collect();
        while !waits.is_empty() {
            let at = self.draw.below(SITES as u32) as usize;
            // What it brings was chosen before it has heard what others brought.
            let next = self.sites[at].spool.to_merge(&states[at]).next();
            if let Some(id) = next {
                let (_, entry) = self.sites[at].log.iter().find(|(_, entry)| spool_id(entry) == id).unwrap();
                places.entry(id).or_insert(log.len());
                log.push(entry.clone());
            } else {
                waits.remove(&at);
            }
            for entry in &log[applied[at]..] {
                let position = Position(states[at].position().0 + 1);
                let outcome = states[at].apply(position, EntryTime(2), entry);
                let is_repeat = matches!(outcome, Outcome::Repeated { .. });
                assert!(!outcome.is_refusal(), "{outcome:?}");
                *self.seen.entry("brought twice").or_default() += u64::from(is_repeat);
            }
            applied[at] = log.len();
        }
        for at in 0..SITES {
            for entry in &log[applied[at]..] {
                let position = Position(states[at].position().0 + 1);
                states[at].apply(position, EntryTime(2), entry);
            }
            assert_eq!(states[at].digest(), states[0].digest());
            self.sites[at].spool.settle(&states[at]);
            assert!(self.sites[at].spool.is_empty());
        }
        self.state = states.swap_remove(0);
        places
    }

    fn check(&mut self) {
        let entries: Vec<Entry> = self.sites[1].log.iter().map(|(_, entry)| entry.clone()).collect();
        let places = self.merge();
        let may_be_lost = |disks: &BTreeSet<usize>| disks.iter().all(|site| *site == LOSER);
        for (id, disks) in &self.told {
            assert!(places.contains_key(id) || may_be_lost(disks), "{id:?} was on the disks of {disks:?}");
        }
        for (id, place) in &places {
            let before = self.before[id].iter().filter_map(|earlier| places.get(earlier));
            assert!(before.into_iter().all(|earlier| earlier < place), "{id:?} comes before what it follows");
        }
        let letters: BTreeSet<SpoolId> =
            entries.iter().filter(|entry| entry.letter().is_some()).map(spool_id).collect();
        let cancels = entries.iter().filter_map(|entry| match &entry.head().command {
            Command::Merge(merge) => match &merge.change {
                mail::command::Queued::Cancel(cancel) => Some(cancel.letter),
                _ => None,
            },
            _ => None,
        });
        let taken_back: BTreeSet<SpoolId> = cancels.filter(|letter| letters.contains(letter)).collect();
        let inbox = self.state.mailbox(self.state.user(BOB).unwrap().inbox()).unwrap();
        let count = 1 + letters.len() - taken_back.len();
        assert_eq!(inbox.records().count(), count, "each letter once, and those not that were taken back");
    }
}

#[test]
fn sites_of_a_side_hold_the_same_and_nothing_that_a_client_was_told_goes_with_a_disk() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds() {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            let lost_at = world.draw.below(400);
            for step in 0..400 {
                if step == lost_at {
                    world.lose_disk();
                }
                world.step();
            }
            world.settle();
            world.check();
            world.seen
        });
        match std::panic::catch_unwind(run) {
            Ok(counts) => counts.into_iter().for_each(|(what, n)| *seen.entry(what).or_default() += n),
            Err(_) => panic!("seed {seed}"),
        }
    }
    println!("{seen:?}");
    for what in ["partition", "crash", "lost a disk", "silent", "fetched", "taken back", "brought twice"] {
        assert!(seen.get(what).is_some_and(|count| *count > 0), "no seed reached: {what}");
    }
}
