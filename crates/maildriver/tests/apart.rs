//! A session at a site without a majority: what it shows is a copy of the state with what is queued on top, and when the
//! majority is back the client is told of all that is otherwise.

mod common;

use common::{Client, Site};
use mail::command::Store;
use mail::{
    Ask, Command, Entry, EntryTime, FlagNames, FlagOp, Flags, Principal, Queuing, Spool, SpoolLimits,
    SpoolNext, State, UidSet, UserId,
};
use wire::StoreId;

const ANN: UserId = UserId(1);

/// A site whose state is the majority's, and what it holds; `site.state` is what its clients see.
struct Apart {
    site: Site,
    truth: State,
    spool: Spool,
    turn: u32,
}

fn flag(state: &State, uid: u32, flags: Flags) -> Store {
    let mailbox = state.user(ANN).expect("a user").inbox();
    let (uids, flags) = (UidSet::of([uid]), FlagNames::from(flags));
    Store { mailbox, uids, op: FlagOp::Add, flags, unchanged_since: None }
}

impl Apart {
    /// With three letters in ann's INBOX.
    fn new() -> Apart {
        let mut site = Site::new();
        let mut client = Client::logged_in(&mut site);
        for _ in 0..3 {
            let appended = client.say(&mut site, "a APPEND INBOX {5}\r\nhello\r\n");
            assert!(appended.contains("a OK"), "{appended}");
        }
        let enrol = Entry::new(Principal::Site, None, Command::EnrolStore(StoreId(5))).expect("an entry");
        assert!(!site.apply(&enrol).is_refusal());
        let truth = site.state.clone();
        let spool = Spool::new(StoreId(5), SpoolNext::FIRST, SpoolLimits::default());
        Apart { site, truth, spool, turn: 0 }
    }

    fn hold(&mut self, ask: Ask) -> Entry {
        match self.spool.queue(&self.truth, EntryTime(1), Principal::User(ANN), None, ask) {
            Ok(Queuing::Write { entry, .. }) => {
                self.spool.accept(&self.truth, self.spool.held_uid_next(), &entry).expect("there is room");
                entry
            }
            other => panic!("{other:?}"),
        }
    }

    /// Clients see what is held on top.
    fn show(&mut self) {
        self.turn += 1;
        let shown = self.spool.shown(&self.truth, self.turn);
        self.site.state = shown.for_user(&self.spool, &self.truth, ANN, |_| Flags::NONE);
    }

    /// The majority applies an entry.
    fn apply(&mut self, entry: &Entry) {
        let seen = std::mem::replace(&mut self.site.state, self.truth.clone());
        assert!(!self.site.apply(entry).is_refusal());
        self.truth = std::mem::replace(&mut self.site.state, seen);
    }
}

#[test]
fn what_is_queued_is_told_at_once_and_what_the_majority_did_when_it_is_back() {
    let mut apart = Apart::new();
    let mut client = Client::logged_in(&mut apart.site);
    let told = client.say(&mut apart.site, "a SELECT INBOX (CONDSTORE)\r\n");
    assert!(told.contains("[HIGHESTMODSEQ "), "{told}");
    client.session.set_apart(true);
    let queued = apart.hold(Ask::Store(flag(&apart.truth, 1, Flags::FLAGGED)));
    apart.show();
    assert_eq!(
        client.say(&mut apart.site, "b NOOP\r\n"),
        "* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\nb OK Done\r\n"
    );
    // The majority flags another letter, which gets a MODSEQ below what the copy has, and then what was held is merged.
    let other = Command::Store(flag(&apart.truth, 3, Flags::SEEN));
    apart.apply(&Entry::new(Principal::User(ANN), None, other).expect("an entry"));
    apart.show();
    let told = client.say(&mut apart.site, "c NOOP\r\n");
    assert!(told.contains("* 3 FETCH (UID 3 FLAGS (\\Seen))"), "{told}");
    apart.apply(&queued);
    apart.site.state = apart.truth.clone();
    client.session.set_apart(false);
    let told = client.say(&mut apart.site, "d NOOP\r\n");
    assert!(told.contains("* 1 FETCH (UID 1 FLAGS (\\Flagged) MODSEQ ("), "{told}");
    assert_eq!(client.say(&mut apart.site, "e NOOP\r\n"), "e OK Done\r\n", "once");
    let other = Command::Store(flag(&apart.truth, 2, Flags::DRAFT));
    apart.apply(&Entry::new(Principal::User(ANN), None, other).expect("an entry"));
    apart.site.state = apart.truth.clone();
    let told = client.say(&mut apart.site, "f NOOP\r\n");
    assert!(
        told.starts_with("* 2 FETCH (UID 2 FLAGS (\\Draft) MODSEQ (") && told.lines().count() == 2,
        "{told}"
    );
}

#[test]
fn modseqs_are_not_offered_and_held_is_a_mailbox_until_it_goes() {
    let mut apart = Apart::new();
    let mut client = Client::logged_in(&mut apart.site);
    apart.hold(Ask::Store(flag(&apart.truth, 1, Flags::FLAGGED)));
    apart.show();
    client.session.set_apart(true);
    let told = client.say(&mut apart.site, "a SELECT INBOX\r\n");
    assert!(told.contains("* OK [NOMODSEQ]") && !told.contains("HIGHESTMODSEQ"), "{told}");
    let told = client.say(&mut apart.site, "b STATUS INBOX (MESSAGES HIGHESTMODSEQ)\r\n");
    assert!(told.contains("(MESSAGES 3 HIGHESTMODSEQ 0)"), "{told}");
    for asks in [
        "FETCH 1 MODSEQ",
        "FETCH 1 FLAGS (CHANGEDSINCE 1)",
        "SEARCH MODSEQ 1",
        "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
    ] {
        let told = client.say(&mut apart.site, &format!("c {asks}\r\n"));
        assert!(told.starts_with("c BAD There are no MODSEQs"), "{asks}: {told}");
    }
    assert!(client.say(&mut apart.site, "d LIST \"\" *\r\n").contains("\"/\" Held\r\n"));
    let told = client.say(&mut apart.site, "e SELECT Held\r\n");
    assert!(told.contains("* 0 EXISTS") && told.contains("e OK"), "{told}");
    apart.site.state = apart.truth.clone();
    assert!(client.say(&mut apart.site, "f NOOP\r\n").starts_with("* BYE The mailbox is gone"));
}
