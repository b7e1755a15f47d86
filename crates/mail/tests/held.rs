//! What a minority may do, shows and brings, one scenario for each promise [Mail 12].

mod common;

use bytes::Bytes;
use common::{Site, address, name, plain};
use mail::command::{
    CreateMailbox, Deliver, Expunge, Merge, Queued, Quota, SetAlias, SetQuota, Store, Transfer,
};
use mail::{
    Ask, BadSpool, Command, Entry, EntryTime, FlagNames, FlagOp, Flags, MailboxId, MailboxName, Outcome,
    Principal, Queuing, Receipt, Refusal, Spool, SpoolId, SpoolLimits, SpoolNext, UidSet, UserId,
};
use wire::StoreId;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const DELIVERED: Receipt = Receipt::Delivered;

fn store(mailbox: MailboxId, uids: UidSet, op: FlagOp, flags: Flags) -> Store {
    Store { mailbox, uids, op, flags: FlagNames::from(flags), unchanged_since: None }
}

fn expunge(mailbox: MailboxId, uids: UidSet) -> Expunge {
    Expunge { mailbox, uids, only_deleted: false }
}

fn spool(site: &mut Site) -> Spool {
    site.apply(&plain(Principal::Site, Command::EnrolStore(StoreId(5))));
    Spool::new(StoreId(5), SpoolNext::FIRST, SpoolLimits { items_max: 3, bytes_max: 100 })
}

fn queued(spool: &mut Spool, site: &Site, by: Principal, ask: Ask) -> Entry {
    match spool.queue(&site.state, EntryTime(site.time), by, None, ask) {
        Ok(Queuing::Write { entry, .. }) => {
            let place = spool.held_uid_next();
            assert_eq!(spool.accept(&site.state, place, &entry), Ok(true));
            entry
        }
        other => panic!("{other:?}"),
    }
}

fn to(named: &str) -> Ask {
    let deliver = Deliver { sender: "ann@x.org".into(), recipients: vec![address(named)] };
    Ask::Deliver(deliver, Bytes::from_static(b"a letter"))
}

#[test]
fn a_deletion_that_overtakes_its_delivery_waits_for_it() {
    let mut site = Site::with_users(&["ann", "bob"]);
    let targets = vec![address("ann@x.org"), address("bob@x.org")];
    site.operator(Command::SetAlias(SetAlias { address: address("both@x.org"), targets }));
    let mut spool = spool(&mut site);
    let letter = queued(&mut spool, &site, Principal::User(ANN), to("both@x.org"));
    let held = spool.held(&site.state, BOB);
    assert_eq!((held.len(), held[0].uid, site.uids(2, "INBOX").len()), (1, 1, 0));
    let deletion = queued(&mut spool, &site, Principal::User(BOB), Ask::Discard { user: BOB, uid: 1 });
    assert!(spool.held(&site.state, BOB).is_empty() && spool.held(&site.state, ANN).len() == 1);
    // The deletion comes first, by another site; it waits; the letter comes for Ann alone.
    assert_eq!(site.apply(&deletion), Outcome::Done);
    assert_eq!(site.apply(&letter), Outcome::Delivered(vec![DELIVERED]));
    assert_eq!((site.uids(1, "INBOX").len(), site.uids(2, "INBOX").len()), (1, 0));
    assert!(spool.held(&site.state, ANN).is_empty(), "shown where it belongs, it is not shown as held");
    assert_eq!(spool.settle(&site.state).len(), 2);
    assert!(spool.is_empty());
    assert!(matches!(site.apply(&letter), Outcome::Repeated { .. }));
}

#[test]
fn a_deletion_that_comes_after_its_delivery_finds_it_wherever_it_is() {
    let mut site = Site::with_users(&["ann", "bob"]);
    let mut spool = spool(&mut site);
    let letter = queued(&mut spool, &site, Principal::User(ANN), to("bob@x.org"));
    let deletion = queued(&mut spool, &site, Principal::User(BOB), Ask::Discard { user: BOB, uid: 1 });
    site.apply(&letter);
    let create = CreateMailbox { user: BOB, name: name("other"), special_use: None };
    site.operator(Command::CreateMailbox(create));
    let other = site.mailbox(2, "other").id();
    let transfer = Transfer { from: site.inbox(2), uids: UidSet::all(), to: other };
    site.operator(Command::Move(transfer));
    assert_eq!(site.apply(&deletion), Outcome::Done);
    assert_eq!(site.state.storage().live_letters, 0);
}

#[test]
fn to_replace_flags_in_a_minority_undoes_nothing_that_it_did_not_see() {
    let mut site = Site::with_users(&["ann"]);
    let mut spool = spool(&mut site);
    let inbox = site.inbox(1);
    site.send(&["ann@x.org"], 1);
    site.operator(Command::Store(store(inbox, UidSet::all(), FlagOp::Add, Flags::DRAFT)));
    let replace = store(inbox, UidSet::all(), FlagOp::Replace, Flags::SEEN);
    let queued = queued(&mut spool, &site, Principal::User(ANN), Ask::Store(replace));
    let mailbox = site.mailbox(1, "INBOX");
    let shown = spool.show(mailbox, mailbox.by_uid(1).unwrap()).unwrap();
    assert_eq!(shown, FlagNames::from(Flags::SEEN));
    // Meanwhile in the primary: another flag, another letter.
    site.operator(Command::Store(store(inbox, UidSet::all(), FlagOp::Add, Flags::FLAGGED)));
    site.send(&["ann@x.org"], 1);
    site.apply(&queued);
    let mailbox = site.mailbox(1, "INBOX");
    assert_eq!(mailbox.by_uid(1).unwrap().flags, Flags::SEEN | Flags::FLAGGED);
    assert_eq!(mailbox.by_uid(2).unwrap().flags, Flags::NONE, "a set does not grow on its way");
}

#[test]
fn a_minority_refuses_what_only_the_primary_can_do_and_is_bounded() {
    let mut site = Site::with_users(&["ann", "bob"]);
    let mut early = Spool::new(StoreId(5), SpoolNext::FIRST, SpoolLimits::default());
    let now = EntryTime(1);
    let ann = Principal::User(ANN);
    let refusal = early.queue(&site.state, now, ann, None, to("bob@x.org"));
    assert_eq!(refusal, Err(Refusal::NotEnrolled));
    let mut spool = spool(&mut site);
    let mut conditional = store(site.inbox(1), UidSet::all(), FlagOp::Add, Flags::SEEN);
    conditional.unchanged_since = Some(1);
    let refusal = spool.queue(&site.state, now, ann, None, Ask::Store(conditional));
    assert_eq!(refusal, Err(Refusal::PrimaryOnly));
    let others = expunge(site.inbox(2), UidSet::all());
    let refusal = spool.queue(&site.state, now, ann, None, Ask::Expunge(others));
    assert_eq!(refusal, Err(Refusal::NotPermitted));
    let refusal = spool.queue(&site.state, now, ann, None, to("nobody@x.org"));
    assert_eq!(refusal, Err(Refusal::NoAddress));
    (0..3).for_each(|_| drop(queued(&mut spool, &site, ann, to("bob@x.org"))));
    assert_eq!(spool.queue(&site.state, now, ann, None, to("bob@x.org")), Err(Refusal::Full));
    assert_eq!((spool.len(), spool.bytes()), (3, 24));
    let mut other = Spool::new(StoreId(6), SpoolNext::FIRST, SpoolLimits::default());
    let plain = plain(ann, Command::Tick);
    assert_eq!(other.accept(&site.state, 1, &plain), Err(BadSpool::NotQueued));
    let entry = Merge {
        spool: SpoolId { store: StoreId(5), number: 9 },
        queued: now,
        by: ann,
        change: letter(),
        turn: 1,
    };
    let entry =
        Entry::with_letter(Principal::Site, None, Command::Merge(entry), Bytes::from_static(b"x")).unwrap();
    assert_eq!(other.accept(&site.state, 1, &entry.without_letter()), Err(BadSpool::NoLetter));
    assert_eq!(other.accept(&site.state, 4, &entry), Ok(true));
    assert_eq!(other.accept(&site.state, 5, &entry), Ok(false), "another site brought it before");
    site.apply(&entry);
    assert_eq!(other.settle(&site.state).len(), 1);
    let late = queue_once(&mut spool, &site, ann);
    assert_eq!(other.accept(&site.state, 4, &late), Err(BadSpool::Place), "a UID is not used again");
}

fn letter() -> Queued {
    Queued::Deliver(Deliver { sender: "ann@x.org".into(), recipients: vec![address("bob@x.org")] })
}

/// What is queued without being accepted, after room was made.
fn queue_once(spool: &mut Spool, site: &Site, by: Principal) -> Entry {
    let mut roomy = Spool::new(StoreId(5), spool.next(), SpoolLimits::default());
    match roomy.queue(&site.state, EntryTime(1), by, None, to("bob@x.org")) {
        Ok(Queuing::Write { entry, .. }) => entry,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_number_is_not_used_again_by_a_store_whose_state_is_older_than_what_was_merged() {
    let mut site = Site::with_users(&["ann", "bob"]);
    let mut before = spool(&mut site);
    let older = site.state.clone();
    let first = queued(&mut before, &site, Principal::User(ANN), to("bob@x.org"));
    site.apply(&first);
    assert_eq!(before.settle(&site.state).len(), 1);
    // It starts again, from a checkpoint, without the others: its log is empty, and knows where it goes on.
    let newest = std::mem::replace(&mut site.state, older);
    let mut spool = Spool::new(StoreId(5), before.next(), SpoolLimits::default());
    let second = queued(&mut spool, &site, Principal::User(ANN), to("bob@x.org"));
    site.state = newest;
    assert_eq!(site.apply(&second), Outcome::Delivered(vec![DELIVERED]));
    assert_eq!(site.uids(2, "INBOX"), [1, 2]);
}

#[test]
fn a_merged_letter_is_not_refused_for_a_quota() {
    let mut site = Site::with_users(&["ann", "bob"]);
    let mut spool = spool(&mut site);
    let entry = queued(&mut spool, &site, Principal::User(ANN), to("bob@x.org"));
    let quota = Quota { bytes_max: Some(1), letters_max: Some(0) };
    site.operator(Command::SetQuota(SetQuota { user: BOB, quota }));
    assert_eq!(site.apply(&entry), Outcome::Delivered(vec![DELIVERED]));
    assert_eq!(site.uids(2, "INBOX"), [1]);
}

#[test]
fn held_has_a_uidvalidity_of_its_own() {
    let mut site = Site::with_users(&["ann"]);
    let enrol = |store| plain(Principal::Site, Command::EnrolStore(StoreId(store)));
    let Outcome::Enrolled { held_validity: first } = site.apply(&enrol(1)) else { panic!("not enrolled") };
    let Outcome::Enrolled { held_validity: second } = site.apply(&enrol(2)) else { panic!("not enrolled") };
    assert_eq!(site.apply(&enrol(1)), Outcome::Enrolled { held_validity: first });
    let real = site.mailbox(1, &MailboxName::inbox().to_string()).status().uid_validity;
    assert!(real < first && first < second);
}
