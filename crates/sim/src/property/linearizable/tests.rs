//! Histories that are linearizable and histories that are not: by hand, against every order of a few operations, and
//! long ones made from a real register.

use super::*;
use crate::dice::{Concern, Dice};

type Op = Operation<&'static str, u32>;

fn op(client: u64, asked: u64, answered: u64, what: What<u32>) -> Op {
    Operation { client, key: "k", what, asked, answered: Some(answered) }
}

fn lost(client: u64, asked: u64, what: What<u32>) -> Op {
    Operation { client, key: "k", what, asked, answered: None }
}

fn cas(from: u32, to: u32, held: bool) -> What<u32> {
    What::If { test: Test::Is(from), then: Some(to), held }
}

use What::{Delete, Get, Put};

#[test]
fn what_some_order_explains_passes() {
    let absent_then = |value, held| What::If { test: Test::Absent, then: Some(value), held };
    let histories: &[&[Op]] = &[
        &[],
        &[op(1, 0, 1, Get(None))],
        &[op(1, 0, 1, Put(1)), op(1, 2, 3, Get(Some(1)))],
        // Concurrent with the put: before or behind it.
        &[op(1, 0, 9, Put(1)), op(2, 1, 2, Get(None)), op(2, 3, 4, Get(Some(1)))],
        // At one moment: before or behind.
        &[op(1, 0, 1, Put(1)), op(2, 1, 2, Get(None))],
        // Two puts, whichever came last.
        &[op(1, 0, 9, Put(1)), op(2, 0, 9, Put(2)), op(3, 10, 11, Get(Some(1)))],
        &[op(1, 0, 9, Put(1)), op(2, 0, 9, Put(2)), op(3, 10, 11, Get(Some(2)))],
        // Never answered: it happens late, in the middle, or never.
        &[lost(1, 0, Put(1)), op(2, 5, 6, Get(None)), op(2, 7, 8, Get(Some(1)))],
        &[lost(1, 0, Put(1)), op(2, 5, 6, Get(None)), op(2, 70, 80, Get(None))],
        &[op(2, 1, 2, Put(2)), lost(1, 3, Delete), op(2, 5, 6, Get(Some(2))), op(2, 7, 8, Get(None))],
        // A get that was not answered says nothing.
        &[op(1, 0, 1, Put(1)), lost(1, 2, Get(Some(7)))],
        // Compare-and-set.
        &[
            op(1, 0, 1, absent_then(1, true)),
            op(2, 2, 3, absent_then(2, false)),
            op(2, 4, 5, cas(1, 3, true)),
        ],
        &[
            op(1, 0, 1, Put(1)),
            op(1, 2, 9, cas(1, 2, true)),
            op(2, 2, 9, cas(2, 3, true)),
            op(3, 10, 11, Get(Some(3))),
        ],
        // Two that were never answered, one in need of the other.
        &[
            lost(1, 0, Put(1)),
            lost(2, 0, cas(1, 2, false)),
            op(3, 5, 6, Get(None)),
            op(3, 7, 8, Get(Some(2))),
        ],
        // A test that failed needs what was never answered.
        &[op(1, 0, 1, Put(1)), lost(2, 2, Put(5)), op(1, 3, 4, cas(1, 2, false)), op(1, 5, 6, Get(Some(5)))],
        &[op(1, 0, 1, Delete), op(1, 2, 3, What::If { test: Test::Present, then: None, held: false })],
    ];
    for (n, history) in histories.iter().enumerate() {
        assert_eq!(check(history), Ok(()), "history {n}");
    }
}

#[test]
fn what_no_order_explains_does_not() {
    let histories: &[&[Op]] = &[
        &[op(1, 0, 1, Get(Some(1)))],
        // Stale.
        &[op(1, 0, 1, Put(1)), op(2, 2, 3, Get(None))],
        &[op(1, 0, 1, Put(1)), op(1, 2, 3, Put(2)), op(2, 4, 5, Get(Some(1)))],
        // Seen, then not.
        &[op(1, 0, 9, Put(1)), op(2, 1, 2, Get(Some(1))), op(3, 3, 4, Get(None))],
        // Two who see two puts in two orders.
        &[
            op(1, 0, 20, Put(1)),
            op(2, 0, 20, Put(2)),
            op(3, 1, 2, Get(Some(1))),
            op(3, 3, 4, Get(Some(2))),
            op(4, 5, 6, Get(Some(1))),
        ],
        // Twice.
        &[
            lost(1, 0, Put(1)),
            op(2, 1, 2, Get(Some(1))),
            op(2, 3, 4, Delete),
            op(2, 5, 6, Get(None)),
            op(2, 7, 8, Get(Some(1))),
        ],
        // Before it was asked for.
        &[op(2, 0, 1, Get(Some(1))), lost(1, 2, Put(1))],
        // Both held.
        &[op(1, 0, 1, Put(1)), op(1, 2, 9, cas(1, 2, true)), op(2, 2, 9, cas(1, 3, true))],
        // It failed though it held.
        &[op(1, 0, 1, Put(1)), op(1, 2, 3, cas(1, 2, false))],
        // An acknowledged write is lost.
        &[op(1, 0, 1, Put(1)), op(2, 2, 3, cas(1, 2, true)), op(1, 4, 5, Get(Some(1)))],
    ];
    for (n, history) in histories.iter().enumerate() {
        assert!(matches!(check(history), Err(Failure::Broken(_))), "history {n}");
    }
}

#[test]
fn keys_are_judged_one_by_one() {
    let mut history = vec![op(1, 0, 1, Put(1)), op(2, 2, 3, Get(None))];
    history[1].key = "other";
    assert_eq!(check(&history), Ok(()));
    history.push(op(3, 4, 5, Get(None)));
    assert!(check(&history).is_err());
}

#[test]
fn a_counterexample_is_short_and_readable() {
    let mut history: Vec<Op> = Vec::new();
    for n in 0..300u32 {
        let at = u64::from(n) * 10;
        history.push(op(1, at, at + 5, Put(n)));
        history.push(op(2, at + 1, at + 8, Get(Some(n))));
    }
    history.push(lost(7, 2_000, Put(1_000)));
    history.push(op(3, 1_500, 1_501, Get(Some(140))));
    let Err(Failure::Broken(broken)) = check(&history) else { panic!("it is broken") };
    let shown = "key \"k\": no order of these explains the answers\n  \
                 client 1 [1400 .. 1405] put 140\n  \
                 client 1 [1420 .. 1425] put 142\n  \
                 client 3 [1500 .. 1501] get: 140  <- how?\n";
    assert_eq!(broken.to_string(), shown);
    assert!(check(&broken.operations).is_err(), "it is one by itself");
}

/// Every order of a few operations, as Wing and Gong have it.
fn some_order_explains(history: &[Op], done: u32, state: Option<u32>) -> bool {
    let is_done = |n: usize| done & (1 << n) != 0;
    if (0..history.len()).all(|n| is_done(n) || history[n].answered.is_none()) {
        return true;
    }
    (0..history.len()).filter(|n| !is_done(*n)).any(|n| {
        let first = (0..history.len())
            .filter(|other| !is_done(*other))
            .all(|other| history[other].answered.is_none_or(|at| at >= history[n].asked));
        let lost = history[n].answered.is_none();
        let next = match &history[n].what {
            Get(saw) => (lost || *saw == state).then_some(state),
            Put(value) => Some(Some(*value)),
            Delete => Some(None),
            What::If { test, then, held } => {
                let holds = match test {
                    Test::Absent => state.is_none(),
                    Test::Present => state.is_some(),
                    Test::Is(value) => state == Some(*value),
                };
                (lost || holds == *held).then_some(if holds { *then } else { state })
            }
        };
        first && next.is_some_and(|next| some_order_explains(history, done | 1 << n, next))
    })
}

fn any_what(dice: &mut Dice) -> What<u32> {
    let value = |dice: &mut Dice| dice.below(3) as u32;
    let maybe = |dice: &mut Dice| (dice.below(4) > 0).then(|| dice.below(3) as u32);
    match dice.below(10) {
        0..4 => Get(maybe(dice)),
        4..7 => Put(value(dice)),
        7 => Delete,
        _ => {
            let test = match dice.below(4) {
                0 => Test::Absent,
                1 => Test::Present,
                _ => Test::Is(value(dice)),
            };
            What::If { test, then: maybe(dice), held: dice.below(2) == 0 }
        }
    }
}

#[test]
fn the_verdict_is_that_of_trying_every_order() {
    let mut dice = Dice::new(7, Concern::Clients);
    let (mut passed, mut failed) = (0, 0);
    for round in 0..60_000 {
        let history: Vec<Op> = (0..2 + dice.below(6))
            .map(|client| {
                let asked = dice.below(12);
                let answered = (dice.below(5) > 0).then(|| asked + dice.below(6));
                Operation { client, key: "k", what: any_what(&mut dice), asked, answered }
            })
            .collect();
        let wanted = some_order_explains(&history, 0, None);
        match check(&history) {
            Ok(()) => assert!(wanted, "round {round}: {history:#?}"),
            Err(Failure::Undecided(_)) => panic!("round {round}: so few operations"),
            Err(Failure::Broken(broken)) => {
                assert!(!wanted, "round {round}: {broken}");
                assert!(!some_order_explains(&broken.operations, 0, None), "round {round}: {broken}");
                assert!(broken.operations.iter().all(|operation| history.contains(operation)));
            }
        }
        *(if wanted { &mut passed } else { &mut failed }) += 1;
    }
    assert!(passed > 5_000 && failed > 5_000, "{passed} passed, {failed} failed");
}

/// What clients of one register see, who wait up to `slow` for each answer; of 1,000 answers `lose` are lost, and then
/// the operation happens whenever it likes, or never.
fn real(seed: u64, count: usize, clients: u64, keys: u64, slow: u64, lose: u32) -> Vec<Operation<u64, u64>> {
    let mut dice = Dice::new(seed, Concern::Clients);
    let mut plans: Vec<(u64, Operation<u64, u64>)> = Vec::new();
    let mut free = vec![0; clients as usize];
    for n in 0..count as u64 {
        let client = dice.below(clients);
        let asked = free[client as usize] + dice.below(5);
        let moment = asked + dice.below(slow);
        let answered = moment + dice.below(slow);
        free[client as usize] = answered + 1;
        let key = dice.below(keys);
        let what = match dice.below(10) {
            0..4 => Get(None),
            4..7 => Put(n),
            7 => Delete,
            _ => {
                let test = match dice.below(3) {
                    0 => Test::Absent,
                    1 => Test::Present,
                    _ => Test::Is(n.saturating_sub(dice.below(3 * keys))),
                };
                What::If { test, then: Some(n), held: false }
            }
        };
        let is_lost = dice.chance(lose);
        let moment = if is_lost { moment + dice.below(100 * slow) } else { moment };
        let never = is_lost && dice.chance(500);
        let answered = (!is_lost).then_some(answered);
        let operation = Operation { client, key, what, asked, answered };
        plans.push((if never { u64::MAX } else { moment }, operation));
    }
    plans.sort_by_key(|(moment, _)| *moment);
    let mut values: BTreeMap<u64, u64> = BTreeMap::new();
    for (moment, operation) in plans.iter_mut().filter(|(moment, _)| *moment < u64::MAX) {
        let _ = moment;
        let before = values.get(&operation.key).copied();
        let after = match &mut operation.what {
            Get(saw) => {
                *saw = before;
                before
            }
            Put(value) => Some(*value),
            Delete => None,
            What::If { test, then, held } => {
                *held = match test {
                    Test::Absent => before.is_none(),
                    Test::Present => before.is_some(),
                    Test::Is(value) => before == Some(*value),
                };
                if *held { *then } else { before }
            }
        };
        match after {
            Some(value) => values.insert(operation.key, value),
            None => values.remove(&operation.key),
        };
    }
    plans.into_iter().map(|(_, operation)| operation).collect()
}

fn passes(history: &[Operation<u64, u64>]) {
    if let Err(failure) = check(history) {
        panic!("{failure}");
    }
}

#[test]
fn what_clients_of_a_real_register_see_passes() {
    for seed in 0..300 {
        let slow = 1 + seed % 40;
        passes(&real(seed, 200, 1 + seed % 12, 1 + seed % 3, slow, [0, 20, 200][seed as usize % 3]));
    }
}

#[test]
fn ten_thousand_operations_of_eight_clients_are_soon_checked() {
    for (seed, keys, lose) in [(1, 1, 0), (2, 1, 10), (3, 1, 20), (4, 8, 50), (5, 100, 10)] {
        passes(&real(seed, 10_000, 8, keys, 50, lose));
    }
}

#[test]
fn a_lie_in_a_long_history_is_found_and_shown() {
    for seed in 0..12 {
        let mut history = real(seed, 10_000, 8, 1 + seed % 2, 20, 10);
        let mut dice = Dice::new(seed, Concern::Workload);
        // An answered get that saw a value which two answered puts, one behind the other, had replaced before.
        let lie = loop {
            let n = dice.index(history.len());
            let Operation { key, asked, answered: Some(_), what: Get(_), .. } = history[n] else { continue };
            let before = |at: u64| {
                history.iter().filter_map(move |op| match (op.answered, &op.what) {
                    (Some(answered), Put(value)) if op.key == key && answered < at => {
                        Some((op.asked, *value))
                    }
                    _ => None,
                })
            };
            let Some((second, _)) = before(asked).max() else { continue };
            let Some((_, stale)) = before(second).max() else { continue };
            let again =
                |op: &Operation<u64, u64>| matches!(op.what, What::If { then, .. } if then == Some(stale));
            if !history.iter().any(again) {
                history[n].what = Get(Some(stale));
                break n;
            }
        };
        let Err(Failure::Broken(broken)) = check(&history) else { panic!("seed {seed}: a lie passed") };
        assert!(broken.operations.contains(&history[lie]), "seed {seed}: {broken}");
        assert!(broken.operations.len() <= 4, "seed {seed}: {broken}");
        assert!(check(&broken.operations).is_err(), "seed {seed}: {broken}");
    }
}

#[test]
fn what_is_too_much_is_given_up() {
    let history: Vec<Op> = (0..200).map(|n| op(n, 0, 100 + n, Put(n as u32))).collect();
    assert_eq!(check(&history), Err(Failure::Undecided("k")));
}
