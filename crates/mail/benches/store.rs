//! What a large store costs: a million letters, fifty thousand of them in one mailbox. One thread, no disk.
//!
//! `cargo bench -p unanimous-mail`

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use mail::command::{AddUser, Deliver, Expunge, Quota, SetDomain, Store};
use mail::{
    Address, Checkpoint, Command, Domain, Entry, EntryTime, FlagNames, FlagOp, Flags, Limits, MailboxId,
    Position, Principal, RequestId, Restore, State, UidSet, UserId, UserName,
};

const USERS: u32 = 5_000;
const LETTERS: u64 = 1_000_000;
/// Of them in the first user's INBOX.
const LARGE: u64 = 50_000;

struct Bench {
    state: State,
    position: u64,
}

impl Bench {
    fn apply(&mut self, entry: &Entry) {
        self.position += 1;
        let time = EntryTime(1_700_000_000_000 + self.position);
        let outcome = self.state.apply(Position(self.position), time, entry);
        assert!(!outcome.is_refusal(), "{outcome:?}");
    }

    fn operator(&mut self, command: Command) {
        self.apply(&Entry::new(Principal::Operator, None, command).expect("a good entry"));
    }
}

fn deliver(users: impl Iterator<Item = u32>, request: Option<u64>) -> Entry {
    let to = |user| Address::parse(&format!("user{user}@x.org")).expect("a good address");
    let command =
        Command::Deliver(Deliver { sender: "s@elsewhere.net".into(), recipients: users.map(to).collect() });
    let request = request.map(|number| RequestId::of_session(Principal::Outside, [0; 16], number));
    Entry::with_letter(Principal::Outside, request, command, Bytes::from_static(b"a letter"))
        .expect("a good entry")
}

/// Runs something a few times and prints the fastest.
fn timed<T>(what: &str, times: u32, mut run: impl FnMut() -> T) -> T {
    let mut best = f64::INFINITY;
    let mut last = None;
    for _ in 0..times {
        let begin = Instant::now();
        last = Some(black_box(run()));
        best = best.min(begin.elapsed().as_secs_f64());
    }
    println!("{what:58} {:12.1} us", best * 1e6);
    last.expect("at least once")
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() {
    let mut bench = Bench { state: State::new(Limits::default()), position: 0 };
    let domain = Domain::parse("x.org").expect("a good domain");
    bench.operator(Command::SetDomain(SetDomain { domain, catch_all: None }));
    for user in 1..=USERS {
        let name = UserName::parse(&format!("user{user}")).expect("a good name");
        let add = AddUser { name, password: None, privileged: false, quota: Quota::default() };
        bench.operator(Command::AddUser(add));
    }
    let before = resident_bytes();
    let begin = Instant::now();
    for letter in 0..LETTERS {
        let user =
            if letter % (LETTERS / LARGE) == 0 { 1 } else { 2 + (letter % u64::from(USERS - 1)) as u32 };
        bench.apply(&deliver(std::iter::once(user), None));
    }
    let took = begin.elapsed().as_secs_f64();
    println!(
        "{LETTERS} letters delivered to one user each: {:.2} us a letter, made and applied",
        took * 1e6 / LETTERS as f64
    );
    let index = bench.state.index_bytes();
    println!(
        "index: {} MB, {:.1} bytes a letter; resident +{} MB",
        index >> 20,
        index as f64 / LETTERS as f64,
        (resident_bytes() - before) >> 20
    );

    let state = &mut bench.state;
    let inbox = state.user(UserId(1)).expect("a user").inbox();
    timed("STATUS", 1_000, || state.mailbox(inbox).expect("INBOX").status());
    timed("SELECT of 50,000: counts and first unseen", 100, || {
        let mailbox = state.mailbox(inbox).expect("INBOX");
        (mailbox.status(), mailbox.first_unseen().copied())
    });
    timed("every UID and flag of 50,000", 100, || {
        let mailbox = state.mailbox(inbox).expect("INBOX");
        mailbox.records().map(|r| u64::from(r.uid) + u64::from(r.flags.0)).sum::<u64>()
    });
    timed("10,000 look-ups by sequence number and back", 20, || {
        let mailbox = state.mailbox(inbox).expect("INBOX");
        let uid = |n: u32| mailbox.by_sequence(1 + n * 7919 % 50_000).expect("a letter").uid;
        (0..10_000).filter_map(|n| mailbox.sequence_of(uid(n))).map(u64::from).sum::<u64>()
    });
    timed("letters changed since a recent MODSEQ, of 50,000", 100, || {
        let mailbox = state.mailbox(inbox).expect("INBOX");
        mailbox.changed_since(mailbox.status().modseq - 10).count()
    });
    timed("digest", 10, || state.digest());
    timed("a clone", 10, || state.clone());

    let store = |uids, flags| store(inbox, uids, flags);
    let begin = Instant::now();
    bench.operator(store(UidSet::all(), Flags::SEEN));
    println!("{:58} {:12.1} us", "STORE of 50,000", begin.elapsed().as_secs_f64() * 1e6);
    let last = UidSet::of([LARGE as u32]);
    bench.operator(store(last, Flags::FLAGGED));
    timed("SELECT of 50,000 that are all seen", 100, || {
        let mailbox = bench.state.mailbox(inbox).expect("INBOX");
        (mailbox.status(), mailbox.first_unseen().copied())
    });
    let chunks =
        timed("a checkpoint, all chunks", 3, || Checkpoint::of(&bench.state).collect::<Vec<Bytes>>());
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    let longest = chunks.iter().map(Bytes::len).max().unwrap_or(0);
    println!("checkpoint: {} MB in {} chunks, the longest {longest} bytes", bytes >> 20, chunks.len());
    let restored = timed("a checkpoint restored and audited", 3, || {
        let mut restore = Restore::new();
        chunks.iter().for_each(|chunk| restore.read(chunk).expect("a sound chunk"));
        restore.finish().expect("a sound checkpoint")
    });
    assert_eq!(restored.digest(), bench.state.digest());
    drop(restored);
    timed("one letter to 5,000 users", 5, || {
        let entry = deliver(1..=USERS, None);
        bench.apply(&entry);
    });
    let mut number = 0;
    let before = resident_bytes();
    let begin = Instant::now();
    for _ in 0..200_000 {
        number += 1;
        bench.apply(&deliver(std::iter::once(2), Some(number)));
    }
    let grown = resident_bytes() - before;
    println!(
        "200,000 with a request to remember: {:.2} us each; resident +{} bytes each, letter included",
        begin.elapsed().as_secs_f64() * 5.0,
        grown / 200_000
    );
    let begin = Instant::now();
    let uids = UidSet::all();
    bench.operator(Command::Expunge(Expunge { mailbox: inbox, uids, only_deleted: false }));
    println!("{:58} {:12.1} us", "EXPUNGE of 50,000", begin.elapsed().as_secs_f64() * 1e6);
    bench.state.audit().expect("a sound state");
}

fn store(mailbox: MailboxId, uids: UidSet, flags: Flags) -> Command {
    let flags = FlagNames::from(flags);
    Command::Store(Store { mailbox, uids, op: FlagOp::Add, flags, unchanged_since: None })
}
