//! Seeded runs of whole core-sets, and the proof that they would find the bugs.

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::run::Run;
use membership::kernel::{NoTables, Transition};
use membership::tables::GroupTables;
use wire::{Bug, Bugs};

const SEEDS: u64 = 1500;

#[test]
fn one_line_and_one_view_after_healing_whatever_happens_before() {
    let mut transitions: BTreeMap<Transition, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut run = Run::<NoTables>::new(seed, Bugs::NONE);
        if let Err(what) = run.finish() {
            panic!("seed {seed}: {what}");
        }
        for (transition, count) in run.transitions {
            *transitions.entry(transition).or_default() += count;
        }
    }
    println!("{transitions:#?}");
    for transition in Transition::ALL {
        assert!(transitions.contains_key(transition), "no run reached {}", transition.name());
    }
}

#[test]
fn the_tables_of_groups_are_the_same_everywhere_whatever_happens_before() {
    for seed in 0..SEEDS / 5 {
        let mut run = Run::<GroupTables>::new(seed, Bugs::NONE);
        if let Err(what) = run.finish() {
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let outcome = |seed| {
        let mut run = Run::<NoTables>::new(seed, Bugs::NONE);
        run.finish().expect("a sound run");
        (run.steps, run.oracle, run.transitions)
    };
    assert_eq!(outcome(3), outcome(3));
}

/// The first seed at which a bug is seen.
fn caught(bug: Bug, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let run = || Run::<NoTables>::new(seed, Bugs::only(bug)).finish();
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => None,
            Ok(Err(what)) => Some((seed, what)),
            Err(_) => Some((seed, "an own invariant stopped a site".into())),
        }
    })
}

#[test]
fn bugs_of_the_line_are_caught() {
    let bugs = [
        Bug::PromisesLost,
        Bug::HalfWithoutSenior,
        Bug::ForcedValueIgnored,
        Bug::ForcedValueRenamed,
        Bug::AttemptZeroTwice,
        Bug::AttemptNotAbandoned,
        Bug::NonPrimaryOverLine,
        Bug::WrongCommitResent,
        Bug::StaleAckCounted,
        Bug::BareViewNumber,
        Bug::PromiseBeforeDisk,
    ];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = bugs.iter().map(|bug| (*bug, caught(*bug, 2000))).collect();
    std::panic::set_hook(hook);
    for (bug, found) in &found {
        println!("{bug:?}: {found:?}");
    }
    for (bug, found) in found {
        assert!(found.is_some(), "{bug:?} is not caught");
    }
}
