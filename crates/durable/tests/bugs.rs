//! Each known bug, re-introduced, is caught: by a property, or by an assertion of the machine or of the disk.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use durable::{Bug, Bugs};
use world::{Dice, Loss, Plan, World};

const STEPS: usize = 2_500;
const SEEDS: u64 = 20_000;

/// A plan under which the bug can show: most need nothing special.
fn plan(bug: Bug, dice: &mut Dice) -> Plan {
    let plan = Plan::draw(dice);
    let three = Plan { sites: 3, stores: 3, writes: None, changes: false, ..plan };
    match bug {
        Bug::EmptiedStoreVotes => Plan { loss: Loss::Emptied, ..three },
        Bug::SurpassedVotes => Plan { loss: Loss::Copied, ..three },
        Bug::TailCutVotes => Plan { loss: Loss::Rot, ..three },
        Bug::SyncErrorIgnored => Plan { errors: true, ..three },
        Bug::OldEntriesCommitted | Bug::CutUnproven | Bug::LongestLogWins => {
            Plan { crashes: true, partitions: true, eager: true, loss: Loss::None, ..three }
        }
        Bug::AppliedBeforeW
        | Bug::TornTailAccepted
        | Bug::DeposedReader
        | Bug::QuorumOfLiving
        | Bug::NumberedInFlush
        | Bug::AppliedTwice
        | Bug::AckBeforeDisk => plan,
    }
}

/// Where to look: some need so rare a schedule that the test would take long to find it again from the start.
fn first_seed(bug: Bug) -> u64 {
    match bug {
        Bug::OldEntriesCommitted => 4_700,
        _ => 0,
    }
}

fn run(bug: Bug, seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let plan = plan(bug, &mut dice);
    let mut world = World::planned(dice, plan, Bugs::only(bug));
    world.go(STEPS);
    world.history.violations
}

#[test]
fn every_bug_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let only = std::env::var("DURABLE_BUG").ok();
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let wanted = |bug: &Bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"));
    for bug in Bug::ALL.into_iter().filter(wanted) {
        let from = number("DURABLE_SEED").unwrap_or_else(|| first_seed(bug));
        let caught =
            (from..from + SEEDS).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| run(bug, seed))) {
                // A bug has to be caught by what it breaks, not by a world that stands still.
                Ok(violations) => {
                    let safety = violations.into_iter().find(|what| !what.starts_with("not at rest"));
                    safety.map(|first| (seed, first))
                }
                Err(_) => Some((seed, "an assertion".to_owned())),
            });
        match caught {
            Some((seed, how)) => println!("{bug:?}: caught at seed {seed}: {how}"),
            None => missed.push(bug),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
