//! Five sites, partitions that come and go, users who send, flag and delete on every side, lost answers and
//! repeats elsewhere, restarts, and the merging of what minorities held. At the end everything that was
//! acknowledged is in every recipient's mailbox once, what was deleted is gone, and all sites are the same.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::draw::Draw;
use common::{Site as Founder, address, plain};
use mail::command::{Deliver, Expunge, Store};
use mail::{
    Ask, Checkpoint, Command, Entry, EntryTime, FlagNames, FlagOp, Flags, MailboxName, Outcome, Position,
    Principal, Queuing, Record, RequestId, Restore, Spool, SpoolId, SpoolLimits, SpoolNext, State, UidSet,
    UserId,
};
use wire::StoreId;

const SITES: usize = 5;
const USERS: [&str; 3] = ["ann", "bob", "cid"];

/// `MAIL_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("MAIL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

struct Site {
    state: State,
    /// Entries of the log that it has applied.
    applied: usize,
    spool: Spool,
    spool_log: Vec<(u32, Entry)>,
}

/// What the clients know of a letter.
#[derive(Default)]
struct Sent {
    to: BTreeSet<UserId>,
    acknowledged: bool,
    /// Deletions that were asked for; whether any was acknowledged.
    deleted: BTreeMap<UserId, bool>,
}

/// A request without an answer, to be repeated somewhere.
struct Unanswered {
    letter: u32,
    request: RequestId,
    deliver: Deliver,
}

struct World {
    draw: Draw,
    founded: State,
    log: Vec<(Position, EntryTime, Entry)>,
    sites: Vec<Site>,
    /// Each site's side.
    side: [u32; SITES],
    time: u64,
    sent: Vec<Sent>,
    unanswered: Vec<Unanswered>,
    /// (UIDVALIDITY, UID) to letter, for ever.
    names: BTreeMap<(u32, u32), u32>,
    flagged: BTreeSet<(u32, UserId)>,
    seen: BTreeMap<&'static str, u64>,
}

fn store(site: usize) -> StoreId {
    StoreId(100 + site as u64)
}

/// The number in a letter's bytes.
fn number(letter: &[u8]) -> u32 {
    u32::from_be_bytes(letter[..4].try_into().expect("a letter of ours"))
}

impl World {
    fn new(seed: u64) -> World {
        let mut founder = Founder::with_users(&USERS);
        for site in 0..SITES {
            founder.apply(&plain(Principal::Site, Command::EnrolStore(store(site))));
        }
        let state = founder.state;
        let site = |at: usize| Site {
            state: state.clone(),
            applied: 0,
            spool: Spool::new(store(at), SpoolNext::FIRST, SpoolLimits::default()),
            spool_log: Vec::new(),
        };
        World {
            draw: Draw::of(seed),
            sites: (0..SITES).map(site).collect(),
            founded: state,
            log: Vec::new(),
            side: [0; SITES],
            time: founder.time,
            sent: Vec::new(),
            unanswered: Vec::new(),
            names: BTreeMap::new(),
            flagged: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn is_primary(&self, site: usize) -> bool {
        self.in_reach(site).len() > SITES / 2
    }

    fn in_reach(&self, site: usize) -> Vec<usize> {
        (0..SITES).filter(|other| self.side[*other] == self.side[site]).collect()
    }

    /// Applies the log up to an end.
    fn catch_up(&mut self, site: usize, end: usize) {
        let here = &mut self.sites[site];
        for (position, time, entry) in &self.log[here.applied.min(end)..end] {
            here.state.apply(*position, *time, entry);
        }
        here.applied = here.applied.max(end);
    }

    /// Puts an entry into the primary order and applies it at the proposing site.
    fn propose(&mut self, site: usize, entry: Entry) -> Outcome {
        assert!(self.is_primary(site));
        self.catch_up(site, self.log.len());
        let position = Position(self.founded.position().0 + 1 + self.log.len() as u64);
        // Clocks differ between sites.
        let time = EntryTime(self.time + 3_000 * site as u64);
        self.log.push((position, time, entry.clone()));
        let here = &mut self.sites[site];
        here.applied = self.log.len();
        here.state.apply(position, time, &entry)
    }

    /// Asks a minority; true if every disk in reach has it.
    fn ask(&mut self, site: usize, by: Principal, request: Option<RequestId>, ask: Ask) -> bool {
        let here = &mut self.sites[site];
        let entry = match here.spool.queue(&here.state, EntryTime(self.time), by, request, ask) {
            Ok(Queuing::Write { entry, .. }) => entry,
            Ok(Queuing::Held(_) | Queuing::Done) => return true,
            Err(refusal) => panic!("{refusal:?}"),
        };
        self.write(site, &entry);
        let mut all = true;
        for other in self.in_reach(site) {
            if other != site && self.draw.chance(92) {
                self.write(other, &entry);
            } else if other != site {
                all = false;
            }
        }
        all
    }

    fn write(&mut self, site: usize, entry: &Entry) {
        let here = &mut self.sites[site];
        let entry = Entry::decode(&entry.encode()).expect("an entry of ours");
        let place = here.spool.next().place;
        if here.spool.accept(&here.state, place, &entry) == Ok(true) {
            here.spool_log.push((place, entry));
        }
    }

    fn step(&mut self) {
        self.time += 1 + u64::from(self.draw.below(1_000));
        let site = self.draw.below(SITES as u32) as usize;
        match self.draw.below(100) {
            0..6 => {
                let sides = 1 + self.draw.below(3);
                self.side = std::array::from_fn(|_| self.draw.below(sides));
                self.count("partition");
            }
            6..12 => self.restart(site),
            12..30 => self.merge_one(site),
            30..38 => {
                if self.is_primary(site) {
                    let end = self.sites[site].applied;
                    let more = self.draw.below((self.log.len() - end) as u32 + 1) as usize;
                    self.catch_up(site, end + more);
                }
                self.settle(site);
            }
            38..62 => self.send(site),
            62..72 => self.repeat(site),
            72..84 => self.delete(site),
            84..92 => self.flag(site),
            _ => {
                let user = self.user();
                self.discard(site, user);
            }
        }
        self.look(site);
    }

    fn user(&mut self) -> UserId {
        UserId(1 + self.draw.below(USERS.len() as u32))
    }

    fn send(&mut self, site: usize) {
        let letter = self.sent.len() as u32;
        let all: Vec<usize> = (0..USERS.len()).filter(|_| self.draw.chance(60)).collect();
        let to: BTreeSet<UserId> = all.iter().map(|at| UserId(*at as u32 + 1)).collect();
        if to.is_empty() {
            return;
        }
        let recipients = all.iter().map(|at| address(&format!("{}@x.org", USERS[*at]))).collect();
        let deliver = Deliver { sender: "ann@x.org".into(), recipients };
        let request = RequestId::of_session(Principal::User(UserId(1)), [1; 16], u64::from(letter));
        self.sent.push(Sent { to, ..Sent::default() });
        self.submit(site, Unanswered { letter, request, deliver });
    }

    /// A client that got no answer asks another site.
    fn repeat(&mut self, site: usize) {
        if let Some(again) = self.unanswered.pop() {
            self.count("repeat");
            self.submit(site, again);
        }
    }

    fn submit(&mut self, site: usize, asked: Unanswered) {
        let by = Principal::User(UserId(1));
        let bytes = Bytes::from(asked.letter.to_be_bytes().to_vec());
        let kept = if self.is_primary(site) {
            let command = Command::Deliver(asked.deliver.clone());
            let entry = Entry::with_letter(by, Some(asked.request), command, bytes).unwrap();
            let outcome = self.propose(site, entry);
            assert!(matches!(outcome, Outcome::Delivered(_) | Outcome::Repeated { .. }), "{outcome:?}");
            true
        } else {
            self.count("held");
            self.ask(site, by, Some(asked.request), Ask::Deliver(asked.deliver.clone(), bytes))
        };
        if kept && self.draw.chance(80) {
            self.sent[asked.letter as usize].acknowledged = true;
        } else {
            self.unanswered.push(asked);
        }
    }

    /// A letter of a user's INBOX as a site shows it.
    fn some_letter(&mut self, site: usize, user: UserId) -> Option<(u32, u32)> {
        let here = &self.sites[site];
        let inbox = here.state.mailbox_named(user, &MailboxName::inbox()).unwrap();
        let shown = inbox.records().filter(|record| here.spool.show(inbox, record).is_some());
        let all: Vec<_> = shown.map(|record| (record.uid, self.number_at(record.letter))).collect();
        let at = self.draw.below(all.len() as u32) as usize;
        all.get(at).copied()
    }

    fn number_at(&self, position: Position) -> u32 {
        let at = (position.0 - self.founded.position().0 - 1) as usize;
        number(self.log[at].2.letter().expect("a letter that is pointed at has a body"))
    }

    fn delete(&mut self, site: usize) {
        let user = self.user();
        let Some((uid, letter)) = self.some_letter(site, user) else { return };
        let mailbox = self.sites[site].state.user(user).unwrap().inbox();
        let expunge = Expunge { mailbox, uids: UidSet::of([uid]), only_deleted: false };
        let done = if self.is_primary(site) {
            self.propose(site, plain(Principal::User(user), Command::Expunge(expunge)));
            true
        } else {
            self.count("queued deletion");
            self.ask(site, Principal::User(user), None, Ask::Expunge(expunge))
        };
        *self.sent[letter as usize].deleted.entry(user).or_default() |= done;
    }

    fn flag(&mut self, site: usize) {
        let user = self.user();
        let Some((uid, letter)) = self.some_letter(site, user) else { return };
        let mailbox = self.sites[site].state.user(user).unwrap().inbox();
        let op = if self.draw.chance(50) { FlagOp::Add } else { FlagOp::Replace };
        // Nobody clears \Flagged; a replacement in a minority must not either, unless it saw it.
        let flags = if op == FlagOp::Add { Flags::FLAGGED } else { Flags::FLAGGED | Flags::SEEN };
        let uids = UidSet::of([uid]);
        let store = Store { mailbox, uids, op, flags: FlagNames::from(flags), unchanged_since: None };
        let done = if self.is_primary(site) {
            self.propose(site, plain(Principal::User(user), Command::Store(store)));
            true
        } else {
            self.count("queued flags");
            self.ask(site, Principal::User(user), None, Ask::Store(store))
        };
        if done {
            self.flagged.insert((letter, user));
        }
    }

    fn discard(&mut self, site: usize, user: UserId) {
        if self.is_primary(site) {
            return;
        }
        let held = self.sites[site].spool.held(&self.sites[site].state, user);
        let Some(letter) = held.get(self.draw.below(held.len() as u32) as usize) else { return };
        let which = self.held_number(site, letter.id);
        self.count("discarded");
        let done = self.ask(site, Principal::User(user), None, Ask::Discard { user, uid: letter.uid });
        *self.sent[which as usize].deleted.entry(user).or_default() |= done;
    }

    fn held_number(&self, site: usize, id: SpoolId) -> u32 {
        let spooled = self.sites[site].spool_log.iter().find(|(_, entry)| spool_id(entry) == id);
        number(spooled.expect("what is held is in the log").1.letter().unwrap())
    }

    /// A site of the primary brings one thing that it holds.
    fn merge_one(&mut self, site: usize) {
        if !self.is_primary(site) {
            return;
        }
        self.catch_up(site, self.log.len());
        let here = &self.sites[site];
        let Some(id) = here.spool.to_merge(&here.state).next() else { return };
        let entry = here.spool_log.iter().map(|(_, entry)| entry).find(|entry| spool_id(entry) == id);
        let entry = entry.expect("what is held is in the log").clone();
        let outcome = self.propose(site, entry.clone());
        self.count(if matches!(outcome, Outcome::Repeated { .. }) { "merge of a repeat" } else { "merge" });
        assert!(self.sites[site].state.is_merged(id), "{outcome:?}");
        if self.draw.chance(10) {
            // Its answer is lost, and another site brings it too.
            let again = self.propose(site, entry);
            assert!(matches!(again, Outcome::Repeated { .. }), "{again:?}");
        }
    }

    fn settle(&mut self, site: usize) {
        let here = &mut self.sites[site];
        let done = here.spool.settle(&here.state);
        here.spool_log.retain(|(_, entry)| !done.contains(&spool_id(entry)));
    }

    /// A restart: the spool from its log, the state from a checkpoint.
    fn restart(&mut self, site: usize) {
        let here = &mut self.sites[site];
        let mut restore = Restore::new();
        for chunk in Checkpoint::of(&here.state) {
            restore.read(&chunk).expect("a sound chunk");
        }
        here.state = restore.finish().expect("a sound checkpoint");
        here.spool = Spool::new(store(site), here.spool.next(), SpoolLimits::default());
        let (spool, state) = (&mut here.spool, &here.state);
        // What is merged already is dropped from the log.
        here.spool_log.retain(|(place, entry)| spool.accept(state, *place, entry).expect("the log fits"));
    }

    /// What every user sees at a site is sound.
    fn look(&mut self, site: usize) {
        for user in (1..=USERS.len() as u32).map(UserId) {
            let here = &self.sites[site];
            let inbox = here.state.mailbox_named(user, &MailboxName::inbox()).unwrap();
            let validity = inbox.status().uid_validity;
            let real: Vec<_> = inbox.records().map(|r| (r.uid, self.number_at(r.letter))).collect();
            let held_validity = here.state.held_validity(store(site)).unwrap();
            let held = here.spool.held(&here.state, user);
            let held: Vec<_> = held.iter().map(|h| (h.uid, self.held_number(site, h.id))).collect();
            let letters: Vec<u32> = real.iter().chain(&held).map(|(_, letter)| *letter).collect();
            let once: BTreeSet<u32> = letters.iter().copied().collect();
            assert_eq!(letters.len(), once.len(), "{user}: in Held {held:?}, in INBOX {real:?}");
            for (validity, list) in [(validity, &real), (held_validity, &held)] {
                assert!(list.is_sorted_by_key(|(uid, _)| *uid));
                for (uid, letter) in list {
                    let named = *self.names.entry((validity, *uid)).or_insert(*letter);
                    assert_eq!(named, *letter, "({validity}, {uid}) names two letters");
                }
            }
            self.look_at_copy(site, user);
        }
    }

    /// The copy that is shown has what the spool says of each letter, and what it holds, and no more.
    fn look_at_copy(&self, site: usize, user: UserId) {
        let here = &self.sites[site];
        let shown = here.spool.shown(&here.state, 1);
        shown.state().audit().expect("a sound copy");
        let copy = shown.for_user(&here.spool, &here.state, user, |_| Flags::NONE);
        let inbox = here.state.mailbox_named(user, &MailboxName::inbox()).unwrap();
        let shown = |record: &Record| Some((*record, here.spool.show(inbox, record)?));
        let wanted = inbox.records().filter_map(shown).map(|(record, flags)| (record.uid, flags));
        let copied = copy.mailbox(inbox.id()).unwrap();
        let seen = copied.records().map(|record| (record.uid, copied.flag_names(record.flags)));
        assert_eq!(seen.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{user}'s INBOX");
        let held = copy.mailbox_named(user, &MailboxName::held()).unwrap();
        let places = here.spool.held(&here.state, user).into_iter().map(|letter| letter.uid);
        assert!(held.records().map(|record| record.uid).eq(places), "{user}'s Held");
        assert_eq!(held.status().uid_next, here.spool.held_uid_next());
    }

    fn heal(&mut self) {
        self.side = [0; SITES];
        while let Some(again) = self.unanswered.pop() {
            let site = self.draw.below(SITES as u32) as usize;
            self.submit(site, again);
        }
        for site in 0..SITES {
            while self.sites[site].spool.to_merge(&self.sites[site].state).next().is_some() {
                self.merge_one(site);
            }
        }
        for site in 0..SITES {
            self.catch_up(site, self.log.len());
            self.settle(site);
            assert!(self.sites[site].spool.is_empty() && self.sites[site].spool_log.is_empty());
            assert_eq!(self.sites[site].spool.bytes(), 0);
            self.look(site);
        }
    }

    fn check(&self) {
        let state = &self.sites[0].state;
        state.audit().expect("a sound state");
        for site in &self.sites {
            assert_eq!(site.state.digest(), state.digest());
        }
        for (letter, sent) in self.sent.iter().enumerate() {
            let letter = letter as u32;
            for user in &sent.to {
                let records = state.receive(*user).filter(|(r, _)| self.number_at(r.letter) == letter);
                let records: Vec<_> = records.map(|(record, _)| record).collect();
                let wanted = match sent.deleted.get(user) {
                    Some(true) => 0..=0,
                    Some(false) => 0..=1,
                    None if sent.acknowledged => 1..=1,
                    None => 0..=1,
                };
                assert!(wanted.contains(&records.len()), "letter {letter} of {user}: {}", records.len());
                if self.flagged.contains(&(letter, *user)) {
                    assert!(records.iter().all(|r| r.flags.has(Flags::FLAGGED)), "letter {letter} of {user}");
                }
            }
        }
        // Replayed from the beginning, it is the same.
        let mut again = self.founded.clone();
        for (position, time, entry) in &self.log {
            again.apply(*position, *time, &entry.without_letter());
        }
        assert_eq!(again.digest(), state.digest());
    }
}

fn spool_id(entry: &Entry) -> SpoolId {
    match &entry.head().command {
        Command::Merge(merge) => merge.spool,
        other => panic!("{other:?} in a spool"),
    }
}

#[test]
fn what_minorities_held_is_merged_once_and_nothing_acknowledged_is_lost() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds() {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            for _ in 0..160 {
                world.step();
            }
            world.heal();
            world.check();
            world.seen
        });
        match std::panic::catch_unwind(run) {
            Ok(counts) => counts.into_iter().for_each(|(what, n)| *seen.entry(what).or_default() += n),
            Err(_) => panic!("seed {seed}"),
        }
    }
    println!("{seen:?}");
    for what in [
        "partition",
        "held",
        "repeat",
        "queued deletion",
        "queued flags",
        "discarded",
        "merge",
        "merge of a repeat",
    ] {
        assert!(seen.contains_key(what), "no seed reached: {what}");
    }
}
