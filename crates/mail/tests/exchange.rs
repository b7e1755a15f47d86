//! What sites say to each other about what they hold: stretches of names, batches, bytes from a broken site, and for whom a client
//! waits [Mail 12].

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use common::{Site, address, plain};
use mail::command::{Deliver, Merge, Queued};
use mail::{
    BadMessage, BadSpool, Batch, Circle, Command, Entry, EntryTime, Having, Principal, Run, Spool, SpoolId,
    SpoolLimits, SpoolNext, Told, UserId, Verdict,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use wire::{StoreId, Time};

fn id(store: u64, number: u64) -> SpoolId {
    SpoolId { store: StoreId(store), number }
}

fn thing(spool: SpoolId, by: Principal, turn: u64) -> Entry {
    let deliver = Deliver { sender: "ann@x.org".into(), recipients: vec![address("ann@x.org")] };
    let change = Queued::Deliver(deliver);
    let merge = Merge { spool, queued: EntryTime(1), by: Principal::User(UserId(1)), change, turn };
    Entry::with_letter(by, None, Command::Merge(merge), Bytes::from_static(b"a letter")).expect("an entry")
}

fn spool(site: &Site, ids: &BTreeSet<SpoolId>) -> Spool {
    let mut spool = Spool::new(StoreId(9), SpoolNext::FIRST, SpoolLimits::default());
    for (place, id) in (1..).zip(ids) {
        assert_eq!(spool.accept(&site.state, place, &thing(*id, Principal::Site, place.into())), Ok(true));
    }
    spool
}

/// Walks through what another spool has, and gives what is missing here.
fn missing(site: &Site, here: &Spool, there: &Spool, most: usize) -> Vec<SpoolId> {
    let (mut after, mut missing) = (SpoolId::FIRST, Vec::new());
    while after < SpoolId::LAST {
        let having = here.having(after);
        assert!(having.is_sound());
        let lacking = there.lacking(&site.state, &having, most);
        assert!(lacking.upto > after && lacking.upto <= having.upto && lacking.things.len() <= most);
        missing.extend(lacking.things.iter().map(|(id, _)| *id));
        after = lacking.upto;
    }
    missing
}

fn ids() -> impl Strategy<Value = BTreeSet<SpoolId>> {
    btree_set((1u64..4, 1u64..40).prop_map(|(store, number)| id(store, number)), 0..60)
}

proptest! {
    #[test]
    fn a_walk_finds_all_that_is_missing_and_nothing_else(here in ids(), there in ids(), most in 1usize..8) {
        let site = Site::with_users(&["ann"]);
        let found = missing(&site, &spool(&site, &here), &spool(&site, &there), most);
        prop_assert_eq!(found, there.difference(&here).copied().collect::<Vec<_>>());
    }

    #[test]
    fn bytes_of_a_broken_site_are_an_error(bytes in vec(any::<u8>(), 0..200), kind in 0u8..4) {
        let bytes: Bytes = [&[kind][..], &bytes].concat().into();
        if let Ok(Told::Lack(having)) = Told::decode(&bytes) {
            prop_assert!(having.is_sound());
        }
        if let Ok(batch) = Batch::decode(&bytes) {
            prop_assert!(batch.entries.iter().map(Bytes::len).sum::<usize>() < bytes.len());
        }
        let _ = Verdict::decode(&bytes);
    }
}

#[test]
fn a_stretch_ends_where_there_are_too_many_gaps() {
    let site = Site::with_users(&["ann"]);
    let gaps: BTreeSet<SpoolId> = (1..=1_500).map(|number| id(3, 2 * number)).collect();
    let here = spool(&site, &gaps);
    let first = here.having(SpoolId::FIRST);
    assert_eq!((first.runs.len(), first.upto), (Having::RUNS_MAX, id(3, 2_048)));
    let rest = here.having(first.upto);
    assert_eq!((rest.runs.len(), rest.upto), (1_500 - Having::RUNS_MAX, SpoolId::LAST));
    let all = (1..=3_000).map(|number| id(3, number)).collect();
    assert_eq!(missing(&site, &here, &spool(&site, &all), 256).len(), 1_500);
}

#[test]
fn what_is_said_is_read_again_and_stretches_that_are_none_are_not() {
    let hold = Told::Hold(thing(id(1, 1), Principal::Site, 1));
    let run = |first, last| Run { store: StoreId(1), first, last };
    let having = |runs| Having { after: id(1, 3), upto: id(2, 9), runs };
    let lack = Told::Lack(having(vec![run(4, 4), run(6, 9)]));
    for told in [hold, lack] {
        assert_eq!(Told::decode(&told.encode()).expect("one of ours"), told);
    }
    let backwards = Having { after: id(2, 9), upto: id(1, 3), runs: Vec::new() };
    let wrong =
        [having(vec![run(3, 4)]), having(vec![run(9, 6)]), having(vec![run(6, 9), run(8, 9)]), backwards];
    for having in wrong {
        let read = Told::decode(&Told::Lack(having).encode());
        assert!(matches!(read, Err(BadMessage::Stretch)), "{read:?}");
    }
    let verdicts = [Verdict::Held, Verdict::Majority, Verdict::Full, Verdict::NotReady, Verdict::Unreadable];
    for verdict in verdicts {
        assert_eq!(Verdict::decode(&verdict.encode()).expect("one of ours"), verdict);
    }
}

#[test]
fn a_batch_has_one_thing_at_least_and_bounds() {
    let mut batch = Batch::new();
    let large = Bytes::from(vec![1; 2 * Batch::BYTES_MAX]);
    assert!(batch.add(id(1, 1), large) && !batch.add(id(1, 2), Bytes::from_static(b"more")));
    assert_eq!(batch.reached, id(1, 1));
    assert_eq!(Batch::decode(&batch.encode()).expect("one of ours"), batch);
    let mut small = Batch::new();
    let taken = (1..).take_while(|number| small.add(id(1, *number), Bytes::from_static(b"x"))).count();
    assert_eq!(taken, Batch::ENTRIES_MAX);
    let bytes = small.encode();
    assert!(matches!(Batch::decode(&bytes.slice(..bytes.len() - 1)), Err(BadMessage::Length)));
}

#[test]
fn what_cannot_be_merged_is_not_taken_from_anybody() {
    let site = Site::with_users(&["ann"]);
    let mut here = spool(&site, &BTreeSet::new());
    let wrong = [
        thing(id(1, 0), Principal::Site, 1),
        thing(id(1, u64::MAX), Principal::Site, 1),
        thing(id(1, 1), Principal::Site, u64::MAX),
        thing(id(1, 1), Principal::User(UserId(1)), 1),
        plain(Principal::Site, Command::Tick),
    ];
    for entry in wrong {
        assert_eq!(here.wants(&site.state, &entry), Err(BadSpool::NotQueued));
        assert_eq!(here.accept(&site.state, 1, &entry), Err(BadSpool::NotQueued));
    }
    assert!(here.is_empty());
}

#[test]
fn what_was_done_later_is_merged_later_in_whatever_order_it_came() {
    let site = Site::with_users(&["ann"]);
    let mut here = spool(&site, &BTreeSet::new());
    for (place, (name, turn)) in (1..).zip([(id(2, 8), 9), (id(2, 7), 4), (id(1, 5), 4), (id(3, 1), 2)]) {
        assert_eq!(here.accept(&site.state, place, &thing(name, Principal::Site, turn)), Ok(true));
        assert_eq!(here.is_newest(name), place == 1);
    }
    let order: Vec<SpoolId> = here.to_merge(&site.state).collect();
    assert_eq!(order, [id(3, 1), id(1, 5), id(2, 7), id(2, 8)]);
    assert!(here.places().eq(1..=4), "UIDs are in the order in which they came");
}

#[test]
fn nobody_waits_for_one_that_was_silent_until_it_has_answered() {
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let mut circle = Circle::default();
    circle.enter(at(0), [1, 2]);
    circle.silent(1);
    assert_eq!((circle.awaited(), circle.count()), (vec![2], (2, 1)));
    circle.enter(at(1), [1, 2, 3]);
    assert_eq!(circle.awaited(), [2, 3], "another view is no answer");
    assert_eq!(circle.ask_next(at(1)), Some((1, SpoolId::FIRST)));
    circle.failed(at(1), 1);
    assert_eq!(circle.ask_next(at(1)), Some((2, SpoolId::FIRST)), "somebody else meanwhile");
    assert!(circle.got(at(1), 2, id(1, 7), SpoolId::LAST));
    assert_eq!(circle.ask_next(at(1)), Some((2, id(1, 7))), "what lies behind");
    assert!(!circle.got(at(1), 2, id(1, 7), SpoolId::LAST), "that is not behind");
    assert_eq!(circle.ask_next(at(1)), Some((3, SpoolId::FIRST)));
    assert!(!circle.got(at(1), 3, SpoolId::LAST, id(5, 5)), "it was not asked for so much");
    assert_eq!((circle.ask_next(at(1)), circle.poll_timeout()), (None, Some(at(4))));
    assert_eq!(circle.ask_next(at(4)), Some((1, SpoolId::FIRST)));
    assert!(circle.got(at(4), 1, SpoolId::LAST, SpoolId::LAST));
    assert_eq!(circle.awaited(), [1, 2, 3]);
}
