//! What a site holds and shows, without a disk and without the others.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mail::command::{AddUser, Deliver, Expunge, Quota, SetDomain, Store};
use mail::{
    Address, Ask, Command, Domain, Entry, EntryTime, FlagNames, FlagOp, Flags, HELD, MailboxName, Outcome,
    Position, Principal, Queuing, Spool, SpoolLimits, SpoolNext, State, UidSet, UserId, UserName,
};
use wire::StoreId;

use super::desk::{Desk, Waits};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);

/// A state, and a site that holds nothing yet.
fn site() -> (State, Desk) {
    let mut state = State::new(mail::Limits::default());
    let domain = Domain::parse("x.org").expect("a domain");
    let user = |name: &str| {
        let name = UserName::parse(name).expect("a name");
        Command::AddUser(AddUser { name, password: None, privileged: false, quota: Quota::default() })
    };
    let commands = [
        Command::SetDomain(SetDomain { domain, catch_all: None }),
        user("ann"),
        user("bob"),
        Command::EnrolStore(StoreId(5)),
    ];
    for command in commands {
        apply(&mut state, &Entry::new(Principal::Operator, None, command).expect("an entry"));
    }
    let desk = Desk::default();
    desk.opened(Spool::new(StoreId(5), SpoolNext::FIRST, SpoolLimits::default()));
    (state, desk)
}

fn apply(state: &mut State, entry: &Entry) {
    let position = Position(state.position().0 + 1);
    assert!(!state.apply(position, EntryTime(1), entry).is_refusal());
}

fn to_bob() -> Deliver {
    let bob = Address::parse("bob@x.org").expect("an address");
    Deliver { sender: "ann@x.org".into(), recipients: vec![bob] }
}

fn hold(desk: &Desk, view: &Arc<State>, place: u64, by: UserId, ask: Ask) -> (Entry, Outcome) {
    match desk.queue(view, EntryTime(1), Principal::User(by), None, ask) {
        Ok(Ok(Queuing::Write { entry, .. })) => {
            let outcome = desk.accept(view, place, &entry).expect("there is room");
            (entry, outcome)
        }
        other => panic!("{other:?}"),
    }
}

/// UIDs and flags of a user's mailbox as the user sees it; none if there is none of this name.
fn seen(desk: &Desk, view: &Arc<State>, user: UserId, name: &MailboxName) -> Option<Vec<(u32, Flags)>> {
    let sight = desk.sight(Arc::clone(view), Some(user));
    let mailbox = sight.state.mailbox_named(user, name)?;
    Some(mailbox.records().map(|record| (record.uid, record.flags)).collect())
}

#[test]
fn a_held_letter_shows_to_who_will_get_it_until_it_is_merged() {
    let (mut state, desk) = site();
    let view = Arc::new(state.clone());
    let held = MailboxName::held();
    assert_eq!(seen(&desk, &view, BOB, &held), None, "nothing is held, and nobody is apart");
    let letter = Ask::Deliver(to_bob(), Bytes::from_static(b"four"));
    let (entry, _) = hold(&desk, &view, 1, ANN, letter);
    assert_eq!(seen(&desk, &view, BOB, &held), Some(vec![(1, Flags::NONE)]));
    assert_eq!(seen(&desk, &view, ANN, &held), Some(vec![]));
    assert!(
        Arc::ptr_eq(&desk.sight(Arc::clone(&view), None).state, &view),
        "who brings letters sees the state"
    );
    assert_eq!(desk.waits(Some(&view)), Waits { letters: 1, changes: 0, bytes: 4, enrolled: true });
    let (id, place) = desk.next(&view).expect("it waits");
    assert_eq!((id.store, place), (StoreId(5), 1));

    apply(&mut state, &entry);
    let view = Arc::new(state);
    assert_eq!(seen(&desk, &view, BOB, &held), Some(vec![]), "it is where it belongs");
    assert_eq!(seen(&desk, &view, BOB, &MailboxName::inbox()), Some(vec![(1, Flags::NONE)]));
    assert_eq!(desk.settle(&view), Some((vec![], 2)));
    assert_eq!((desk.settle(&view), desk.next(&view)), (None, None));
    let sight = desk.sight(Arc::clone(&view), Some(BOB));
    assert!(Arc::ptr_eq(&sight.state, &view) && !sight.apart);
}

#[test]
fn flags_in_held_say_what_an_expunge_there_means() {
    let (state, desk) = site();
    let view = Arc::new(state);
    for place in 1..=3 {
        hold(&desk, &view, place, ANN, Ask::Deliver(to_bob(), Bytes::from_static(b"a letter")));
    }
    let store = |uids: &[u32], op| Store {
        mailbox: HELD,
        uids: UidSet::of(uids.iter().copied()),
        op,
        flags: FlagNames::from(Flags::DELETED),
        unchanged_since: None,
    };
    let marked = desk.mark(&view, BOB, &store(&[1, 3, 9], FlagOp::Add));
    let Ok(Outcome::Stored { changed, modseq, .. }) = marked else { panic!("{marked:?}") };
    assert_eq!(changed, UidSet::of([1, 3]), "there is no letter 9");
    let sight = desk.sight(Arc::clone(&view), Some(BOB));
    assert_eq!(sight.state.mailbox(HELD).map(|held| held.status().modseq), Some(modseq));
    desk.mark(&view, BOB, &store(&[3], FlagOp::Remove)).expect("it is there");
    let expunge = |only_deleted| Expunge { mailbox: HELD, uids: UidSet::all(), only_deleted };
    assert_eq!(desk.chosen(&view, BOB, &expunge(true)), [1]);
    assert_eq!(desk.chosen(&view, BOB, &expunge(false)), [1, 2, 3]);
    assert_eq!(desk.chosen(&view, ANN, &expunge(false)), [0; 0], "they are not hers");
    hold(&desk, &view, 4, BOB, Ask::Discard { user: BOB, uid: 1 });
    let left = vec![(2, Flags::NONE), (3, Flags::NONE)];
    assert_eq!(seen(&desk, &view, BOB, &MailboxName::held()), Some(left));
}

#[test]
fn what_is_queued_shows_at_once_and_an_expunge_means_what_is_marked_there() {
    let (mut state, desk) = site();
    for _ in 0..2 {
        let letter = Bytes::from_static(b"a letter");
        let entry = Entry::with_letter(Principal::Outside, None, Command::Deliver(to_bob()), letter);
        apply(&mut state, &entry.expect("an entry"));
    }
    let view = Arc::new(state);
    let mailbox = view.user(BOB).expect("a user").inbox();
    let expunge = Expunge { mailbox, uids: UidSet::all(), only_deleted: true };
    assert!(desk.shown_of(&view, &expunge).is_empty());
    let flags = FlagNames::from(Flags::DELETED);
    let store = Store { mailbox, uids: UidSet::of([2]), op: FlagOp::Add, flags, unchanged_since: None };
    let (_, outcome) = hold(&desk, &view, 1, BOB, Ask::Store(store));
    assert!(matches!(&outcome, Outcome::Stored { changed, .. } if changed.contains(2)), "{outcome:?}");
    assert_eq!(desk.shown_of(&view, &expunge), UidSet::of([2]));
    let uids = UidSet::of([2]);
    let (_, outcome) = hold(&desk, &view, 2, BOB, Ask::Expunge(Expunge { uids, ..expunge }));
    assert!(matches!(&outcome, Outcome::Expunged { uids, .. } if uids.contains(2)), "{outcome:?}");
    let inbox = MailboxName::inbox();
    assert_eq!(seen(&desk, &view, BOB, &inbox), Some(vec![(1, Flags::NONE)]));
    assert_eq!(view.mailbox(mailbox).map(|inbox| inbox.status().exists), Some(2), "the state has both");
    assert_eq!(desk.waits(None), Waits { letters: 0, changes: 2, bytes: 0, enrolled: false });
}

#[test]
fn what_another_site_did_first_shows_beneath_what_was_done_later() {
    let (mut state, desk) = site();
    let letter = Bytes::from_static(b"a letter");
    let entry = Entry::with_letter(Principal::Outside, None, Command::Deliver(to_bob()), letter);
    apply(&mut state, &entry.expect("an entry"));
    let enrol = Entry::new(Principal::Operator, None, Command::EnrolStore(StoreId(6)));
    apply(&mut state, &enrol.expect("an entry"));
    let view = Arc::new(state);
    let other = Desk::default();
    other.opened(Spool::new(StoreId(6), SpoolNext::FIRST, SpoolLimits::default()));
    let mailbox = view.user(BOB).expect("a user").inbox();
    let store = |op| {
        let (uids, flags) = (UidSet::of([1]), FlagNames::from(Flags::FLAGGED));
        Ask::Store(Store { mailbox, uids, op, flags, unchanged_since: None })
    };
    let (first, _) = hold(&other, &view, 1, BOB, store(FlagOp::Add));
    let (second, _) = hold(&other, &view, 2, BOB, store(FlagOp::Remove));
    for (place, entry) in [(1, &second), (2, &first)] {
        assert_eq!(desk.wants(&view, entry), Ok(true));
        desk.accept(&view, place, entry).expect("there is room");
        assert_eq!(desk.wants(&view, entry), Ok(false));
        assert_eq!(seen(&desk, &view, BOB, &MailboxName::inbox()), Some(vec![(1, Flags::NONE)]));
    }
    let (id, place) = desk.next(&view).expect("it waits");
    assert_eq!((id.number, place, desk.is_anothers(id)), (1, 2, true));
}

#[test]
fn numbers_are_reserved_in_the_log_before_they_are_given_out() {
    let (state, desk) = site();
    let view = Arc::new(state);
    let (kept, reserved) = desk.to_reserve().expect("nothing is reserved yet");
    assert!(kept.is_empty());
    desk.reserved(reserved);
    assert_eq!(desk.to_reserve(), None);
    let (entry, _) = hold(&desk, &view, 1, ANN, Ask::Deliver(to_bob(), Bytes::from_static(b"a letter")));
    let Command::Merge(merge) = &entry.head().command else { panic!("{entry:?}") };
    assert!(merge.spool.number < reserved);
    let mut state = State::clone(&view);
    apply(&mut state, &entry);
    assert_eq!(desk.settle(&state), Some((vec![], reserved)), "what is kept is not below");
}

#[test]
fn nobody_is_told_that_nothing_is_held_before_that_was_read() {
    let is_empty = |desk: &Desk| {
        let polled = pin!(desk.emptied()).poll(&mut Context::from_waker(Waker::noop()));
        polled == Poll::Ready(())
    };
    assert!(!is_empty(&Desk::default()));
    let (state, desk) = site();
    assert!(is_empty(&desk));
    hold(&desk, &Arc::new(state), 1, ANN, Ask::Deliver(to_bob(), Bytes::from_static(b"a letter")));
    assert!(!is_empty(&desk));
}
