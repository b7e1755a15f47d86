//! The table as a function of what was cast.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::call::testing::{client, life, view_id};

fn cast(n: u32, sequence: u64) -> Origin {
    Origin { client: client(n), sequence, again: false }
}

fn again(n: u32, sequence: u64) -> Origin {
    Origin { again: true, ..cast(n, sequence) }
}

#[test]
fn each_cast_is_first_once_whatever_the_order() {
    let mut table = Table::new(8);
    for sequence in [1, 2, 4, 3] {
        assert_eq!(table.judge(&cast(1, sequence)), Judgement::First);
    }
    for sequence in [4, 1, 3, 2] {
        assert_eq!(table.judge(&again(1, sequence)), Judgement::Repeated);
    }
    assert_eq!(table.judge(&cast(2, 1)), Judgement::First, "another client has other numbers");
}

#[test]
fn what_is_older_than_the_window_counts_as_delivered() {
    let mut table = Table::new(8);
    assert_eq!(table.judge(&cast(1, 1 + TABLE_WINDOW)), Judgement::First);
    assert_eq!(table.judge(&cast(1, 1)), Judgement::Repeated);
    assert_eq!(table.judge(&cast(1, 2)), Judgement::First);
    assert_eq!(table.judge(&cast(1, u64::MAX)), Judgement::First);
    assert_eq!(table.judge(&cast(1, 0)), Judgement::Repeated);
}

#[test]
fn a_full_table_forgets_the_least_recently_used_and_then_says_so() {
    let mut table = Table::new(2);
    table.judge(&cast(1, 1));
    table.judge(&cast(2, 1));
    table.judge(&again(1, 1));
    assert_eq!(table.judge(&again(3, 1)), Judgement::First, "nobody was forgotten so far");
    assert_eq!(table.len(), 2);
    assert_eq!(table.judge(&again(2, 1)), Judgement::Forgotten);
    assert_eq!(table.judge(&again(1, 1)), Judgement::Repeated, "it was used more recently");
}

#[test]
fn a_forgotten_client_goes_on_but_its_past_stays_unknown() {
    let mut table = Table::new(1);
    table.judge(&cast(1, 5));
    table.judge(&cast(2, 1));
    assert_eq!(table.judge(&cast(1, 7)), Judgement::First);
    assert_eq!(table.judge(&again(1, 5)), Judgement::Forgotten);
    assert_eq!(table.judge(&again(1, 6)), Judgement::Forgotten);
    assert_eq!(table.judge(&again(1, 7)), Judgement::Repeated);
    assert_eq!(table.judge(&cast(1, 8)), Judgement::First);
}

#[test]
fn a_table_without_memory_delivers_only_what_was_never_asked_before() {
    let mut table = Table::new(8);
    table.forget(view_id(4));
    assert_eq!(table.judge(&again(1, 1)), Judgement::Forgotten);
    assert_eq!(table.judge(&cast(1, 2)), Judgement::First);
}

#[test]
fn a_first_request_from_before_a_table_knows_anything_may_be_late() {
    let mut table = Table::new(8);
    table.judge(&cast(1, 7));
    table.forget(view_id(4));
    let said = |table: &Table, n, sequence| [3, 4].map(|at| table.look_up(&cast(n, sequence), view_id(at)));
    let mut other = Table::new(8);
    other.merge(&Table::decode(&table.encode()).expect("our own"));
    for table in [table, other] {
        assert_eq!(
            said(&table, 2, 1),
            [Judgement::Forgotten, Judgement::First],
            "another copy may have come"
        );
        assert_eq!(said(&table, 1, 8), [Judgement::Forgotten, Judgement::First]);
        assert_eq!(said(&table, 1, 7), [Judgement::Repeated; 2], "what it has it knows");
    }
}

#[test]
fn a_table_that_forgets_keeps_what_it_has_and_knows_nothing_older() {
    let mut table = Table::new(8);
    table.judge(&cast(1, 7));
    table.forget(view_id(4));
    let said = [6, 7, 8].map(|sequence| table.peek(&again(1, sequence)));
    assert_eq!(said, [Judgement::Forgotten, Judgement::Repeated, Judgement::First]);
}

#[test]
fn the_dead_cast_nothing_and_are_forgotten_first() {
    let mut table = Table::new(2);
    table.judge(&cast(1, 1));
    table.judge(&cast(2, 1));
    table.bury(&Gone::Life(life(2)));
    assert!(table.knows_of(life(1)) && !table.knows_of(life(2)));
    assert_eq!(table.judge(&cast(2, 2)), Judgement::Gone);
    table.judge(&cast(3, 1));
    assert_eq!(table.judge(&again(1, 1)), Judgement::Repeated, "the dead one had to go first");
    assert_eq!(table.judge(&again(4, 1)), Judgement::First, "forgetting the dead is not forgetting");
}

#[test]
fn gone_by_process_covers_all_its_streams() {
    let mut table = Table::new(4);
    let other = ClientId { stream: 9, ..client(1) };
    table.judge(&cast(1, 1));
    table.judge(&Origin { client: other, sequence: 1, again: false });
    table.bury(&Gone::Process(client(1).process));
    assert_eq!(table.judge(&Origin { client: other, sequence: 2, again: false }), Judgement::Gone);
}

#[test]
fn peeking_remembers_nothing() {
    let mut table = Table::new(1);
    table.judge(&cast(1, 1));
    let before = table.clone();
    assert_eq!(table.peek(&again(1, 1)), Judgement::Repeated);
    assert_eq!(table.peek(&cast(1, 2)), Judgement::First);
    assert_eq!(table.peek(&cast(2, 1)), Judgement::First);
    assert_eq!(table, before);
}

#[test]
fn a_successor_is_empty_and_what_it_is_told_counts_as_used_later() {
    let mut old = Table::new(2);
    for (n, sequence) in [(1, 1), (2, 1), (3, 1)] {
        old.judge(&cast(n, sequence));
    }
    let mut new = old.successor();
    assert!(new.is_empty());
    assert_eq!(new.peek(&again(1, 1)), Judgement::First, "it has forgotten nobody");
    new.judge(&cast(4, 1));
    old.merge(&new);
    let known: Vec<bool> = (1..=4).map(|n| old.peek(&again(n, 1)) == Judgement::Repeated).collect();
    assert_eq!(known, [false, false, true, true], "the least recently used goes");
}

#[test]
fn merging_keeps_the_bound_and_says_that_it_forgot() {
    let (mut one, mut two) = (Table::new(2), Table::new(8));
    one.judge(&cast(1, 1));
    for n in 2..=5 {
        two.judge(&cast(n, 1));
    }
    one.merge(&two);
    assert_eq!(one.len(), 2);
    assert_eq!(one.peek(&again(1, 1)), Judgement::Forgotten);
    assert_eq!(one.peek(&again(5, 1)), Judgement::Repeated);
}

#[test]
fn of_a_client_that_the_other_may_have_forgotten_nothing_older_is_known() {
    // Table `one` was told of client 1; `two` may have been, and has forgotten.
    let (mut one, mut two) = (Table::new(8), Table::new(8));
    for sequence in [5, 7] {
        one.judge(&cast(1, sequence));
    }
    two.forget(view_id(4));
    two.judge(&cast(2, 3));
    let ours = one.clone();
    one.merge(&two);
    two.merge(&ours);
    assert_eq!(one, two);
    assert_eq!(one.peek(&again(1, 4)), Judgement::Forgotten);
    let known = [5, 7].map(|sequence| one.peek(&again(1, sequence)));
    assert_eq!(known, [Judgement::Repeated; 2]);
    assert_eq!(one.peek(&again(1, 8)), Judgement::First);
    assert_eq!(one.peek(&again(2, 2)), Judgement::Forgotten);
    assert_eq!(one.peek(&again(3, 1)), Judgement::Forgotten, "of whom neither knows anything");
}

#[test]
fn the_dead_stay_dead_in_a_merge() {
    let (mut one, mut two) = (Table::new(8), Table::new(8));
    one.judge(&cast(1, 1));
    two.judge(&cast(1, 2));
    two.bury(&Gone::Life(life(1)));
    one.merge(&two);
    assert_eq!(one.peek(&cast(1, 3)), Judgement::Gone);
}

fn casts() -> impl Strategy<Value = Vec<Origin>> {
    let one = (1u32..6, 1u64..600, any::<bool>());
    let origin = |(n, sequence, again)| Origin { client: client(n), sequence, again };
    proptest::collection::vec(one.prop_map(origin), 0..200)
}

proptest! {
    #[test]
    fn the_bit_map_is_a_set_with_a_window(casts in casts()) {
        let mut table = Table::new(8);
        let mut seen = BTreeSet::new();
        let mut newest = std::collections::BTreeMap::new();
        for origin in casts {
            let newest = newest.entry(origin.client).or_insert(0u64);
            *newest = origin.sequence.max(*newest);
            let old = *newest - origin.sequence >= TABLE_WINDOW;
            let first = seen.insert((origin.client, origin.sequence)) && !old;
            prop_assert_eq!(table.judge(&origin) == Judgement::First, first);
        }
    }

    #[test]
    fn a_table_survives_its_bytes(casts in casts(), clients_max in 1usize..6) {
        let mut table = Table::new(clients_max);
        for origin in &casts {
            table.judge(origin);
        }
        prop_assert_eq!(Table::decode(&table.encode()), Ok(table));
    }

    #[test]
    fn merging_does_not_depend_on_the_order(one in casts(), two in casts()) {
        let table = |casts: &[Origin]| {
            let mut table = Table::new(8);
            for origin in casts {
                table.judge(origin);
            }
            table
        };
        let (mut left, mut right) = (table(&one), table(&two));
        left.merge(&table(&two));
        right.merge(&table(&one));
        prop_assert_eq!(&left, &right);
        for origin in one.iter().chain(&two) {
            prop_assert_eq!(left.judge(origin), Judgement::Repeated);
        }
    }

    #[test]
    fn hostile_tables_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100), at: usize, value: u8, casts in casts(),
    ) {
        let _ = Table::decode(&bytes);
        let mut table = Table::new(3);
        for origin in &casts {
            table.judge(origin);
        }
        let mut changed = table.encode();
        let len = changed.len();
        changed[at % len] = value;
        if let Ok(mut theirs) = Table::decode(&changed) {
            for mut one in [table.clone(), Table::new(1)] {
                one.forget(view_id(4));
                one.merge(&theirs);
                one.judge(&cast(1, 1));
            }
            theirs.merge(&table);
            for origin in &casts {
                theirs.judge(origin);
            }
        }
    }
}

/// A table of one client as another site may send it.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Sent {
    #[n(0)]
    entries: Vec<SentEntry>,
    #[n(1)]
    clock: u64,
    #[n(2)]
    forgot: bool,
    #[n(3)]
    clients_max: u64,
}

#[derive(Clone, minicbor::Encode)]
#[cbor(map)]
struct SentEntry {
    #[n(0)]
    client: ClientId,
    #[n(1)]
    used: u64,
    #[n(2)]
    newest: u64,
    #[n(3)]
    delivered: Vec<u64>,
    #[n(4)]
    since: u64,
    #[n(5)]
    gone: bool,
}

#[test]
fn tables_that_no_site_makes_are_refused_or_harmless() {
    let entry = SentEntry {
        client: client(1),
        used: 1,
        newest: 9,
        delivered: vec![1, 0, 0, 0],
        since: 0,
        gone: false,
    };
    let sent = |entry: &SentEntry, clock, clients_max| {
        let entries = vec![entry.clone()];
        Table::decode(&minicbor::to_vec(Sent { entries, clock, forgot: true, clients_max }).expect("memory"))
    };
    assert!(sent(&entry, 1, 4).is_ok());
    assert_eq!(sent(&entry, 1, 0), Err(DecodeError::BadBody), "no room for a client");
    assert_eq!(sent(&entry, 0, 4), Err(DecodeError::BadBody), "used after its own clock");
    let short = SentEntry { delivered: vec![1], ..entry.clone() };
    assert_eq!(sent(&short, 1, 4), Err(DecodeError::BadBody), "a bit map of another size");
    let before_the_first = SentEntry { newest: 3, delivered: vec![1 << 63, 0, 0, 1], ..entry.clone() };
    let late = SentEntry { used: u64::MAX, newest: u64::MAX, ..entry };
    for theirs in [sent(&before_the_first, 1, 4), sent(&late, u64::MAX, 4), sent(&late, u64::MAX, u64::MAX)] {
        let Ok(theirs) = theirs else { continue };
        for forgets in [false, true] {
            let mut ours = Table::new(2);
            ours.judge(&cast(2, 1));
            if forgets {
                ours.forget(view_id(4));
            }
            ours.merge(&theirs);
            for n in 1..5 {
                ours.judge(&cast(n, 2));
            }
        }
    }
}
