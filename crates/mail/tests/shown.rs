//! What a site without a majority shows: a copy of its state with the queued changes done in it [Mail 12].

mod common;

use bytes::Bytes;
use common::{Site, address, plain};
use mail::command::{Deliver, Expunge, Store};
use mail::{
    Ask, Command, Entry, EntryTime, FlagNames, FlagOp, Flags, HELD, MailboxName, Outcome, Principal, Queuing,
    Shown, Spool, SpoolLimits, SpoolNext, State, UidSet, UserId, held_place, shown_turn,
};
use wire::StoreId;

const ANN: UserId = UserId(1);

fn site() -> (Site, Spool) {
    let mut site = Site::with_users(&["ann", "bob"]);
    site.apply(&plain(Principal::Site, Command::EnrolStore(StoreId(5))));
    (1..=3).for_each(|bytes| drop(site.send(&["ann@x.org"], bytes)));
    (site, Spool::new(StoreId(5), SpoolNext::FIRST, SpoolLimits::default()))
}

fn hold(spool: &mut Spool, site: &Site, ask: Ask) -> Entry {
    match spool.queue(&site.state, EntryTime(site.time), Principal::User(ANN), None, ask) {
        Ok(Queuing::Write { entry, .. }) => {
            assert_eq!(spool.accept(&site.state, spool.held_uid_next(), &entry), Ok(true));
            entry
        }
        other => panic!("{other:?}"),
    }
}

fn flag(site: &Site, uid: u32) -> Ask {
    let flags = FlagNames::from(Flags::FLAGGED);
    let uids = UidSet::of([uid]);
    Ask::Store(Store { mailbox: site.inbox(1), uids, op: FlagOp::Add, flags, unchanged_since: None })
}

fn letter() -> Ask {
    let deliver = Deliver { sender: "ann@x.org".into(), recipients: vec![address("ann@x.org")] };
    Ask::Deliver(deliver, Bytes::from_static(b"four"))
}

fn add(shown: &mut Shown, entry: &Entry) -> Outcome {
    let Command::Merge(merge) = &entry.head().command else { panic!("{entry:?}") };
    shown.add(merge).expect("nobody else changes anything")
}

fn modseq(state: &State, site: &Site) -> u64 {
    state.mailbox(site.inbox(1)).expect("an INBOX").status().modseq
}

#[test]
fn the_copy_has_what_is_queued_and_the_state_does_not() {
    let (site, mut spool) = site();
    hold(&mut spool, &site, flag(&site, 2));
    let gone = Expunge { mailbox: site.inbox(1), uids: UidSet::of([1]), only_deleted: false };
    hold(&mut spool, &site, Ask::Expunge(gone));
    hold(&mut spool, &site, letter());
    let before = site.state.clone();
    let copy = spool.shown(&site.state, 1).for_user(&spool, &site.state, ANN, |_| Flags::DELETED);
    let inbox = copy.mailbox(site.inbox(1)).expect("an INBOX");
    let seen: Vec<_> = inbox.records().map(|record| (record.uid, record.flags)).collect();
    assert_eq!(seen, [(2, Flags::FLAGGED), (3, Flags::NONE)]);
    let held = copy.mailbox_named(ANN, &MailboxName::held()).expect("Held");
    assert_eq!(
        (held.id(), held.status().exists, held.status().deleted, held.status().bytes),
        (HELD, 1, 1, 4)
    );
    assert_eq!(Some(held.status().uid_validity), site.state.held_validity(StoreId(5)));
    let record = held.by_sequence(1).expect("one letter");
    assert_eq!((record.uid, held_place(record.letter)), (3, Some(3)));
    assert_eq!(copy.letter(record.letter).map(|letter| letter.bytes), Some(4));
    assert!(copy.names_of(ANN).iter().any(|listed| listed.name.is_held()));
    assert!(site.state == before && site.state.mailbox(HELD).is_none());
    assert_eq!(held_place(inbox.by_uid(2).expect("it stays").letter), None);
}

#[test]
fn modseqs_of_a_copy_ascend_are_told_from_the_states_and_from_those_of_other_copies() {
    let (mut site, mut spool) = site();
    let first = hold(&mut spool, &site, flag(&site, 1));
    let mut shown = spool.shown(&site.state, 1);
    let one = modseq(shown.state(), &site);
    assert!(shown_turn(modseq(&site.state, &site)) == 0 && shown_turn(one) > 0);
    let second = hold(&mut spool, &site, flag(&site, 2));
    let Outcome::Stored { modseq: two, changed, .. } = add(&mut shown, &second) else { panic!("not stored") };
    assert!(two > one && shown_turn(two) == shown_turn(one));
    assert_eq!((changed, modseq(shown.state(), &site)), (UidSet::of([2]), two));
    // The first is merged: the next copy has one change on top, and no MODSEQ that the first had.
    site.apply(&first);
    let next = modseq(spool.shown(&site.state, 2).state(), &site);
    assert!(next > two && shown_turn(next) != shown_turn(two));
    site.apply(&second);
    assert_eq!(modseq(spool.shown(&site.state, 3).state(), &site), modseq(&site.state, &site));
}

#[test]
fn what_the_log_has_lost_is_not_merged_and_the_rest_is() {
    let (site, mut spool) = site();
    hold(&mut spool, &site, letter());
    hold(&mut spool, &site, flag(&site, 1));
    assert_eq!((spool.len(), spool.letters(), spool.places().collect::<Vec<_>>()), (2, 1, vec![1, 2]));
    let lost = spool.to_merge(&site.state).next().expect("two wait");
    assert_eq!(spool.place(lost), Some(1));
    spool.lose(lost);
    assert_eq!((spool.len(), spool.letters(), spool.bytes(), spool.place(lost)), (1, 0, 0, None));
    assert!(spool.held(&site.state, ANN).is_empty());
    assert_eq!(spool.next().place, 3, "its UID is not used again");
}
