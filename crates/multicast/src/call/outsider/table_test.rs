//! The table as a function of what was cast.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::call::testing::{client, life};

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
    let mut table = Table::amnesiac(8);
    assert_eq!(table.judge(&again(1, 1)), Judgement::Forgotten);
    assert_eq!(table.judge(&cast(1, 2)), Judgement::First);
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
        if let Ok(mut table) = Table::decode(&changed) {
            for origin in &casts {
                table.judge(origin);
            }
        }
    }
}
