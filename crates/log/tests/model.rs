//! The log against its model, over seeds. `UNANIMOUS_LOG_SEEDS=FROM..TO` runs others.

mod common;

use common::{Met, hunt, run};
use wal::{Bug, Bugs};

fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("UNANIMOUS_LOG_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(1..3001)
}

#[test]
fn what_was_synced_is_there_after_any_crash_and_nothing_else() {
    let mut met = Met::default();
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        match run(seed, Bugs::NONE) {
            Ok(more) => met.add(more),
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    println!("{count} seeds: {met:?}");
    // Each of these is met often, or the seeds prove little.
    for met in [met.crashes_in_calls, met.crashes_in_opening, met.full, met.truncations, met.checkpoints] {
        assert!(met > count / 20, "{met} of {count}");
    }
    for met in [met.failed_syncs, met.compactions, met.torn, met.damaged, met.repaired] {
        assert!(met > count / 100, "{met} of {count}");
    }
}

#[test]
fn every_bug_that_is_put_back_is_caught() {
    for bug in Bug::ALL {
        match hunt(bug, 20_000) {
            Some((seed, why)) => {
                println!("{bug:?}: caught by seed {seed}: {why}");
                assert!(run(seed, Bugs::NONE).is_ok(), "seed {seed} fails without {bug:?}, too");
            }
            None => panic!("{bug:?} was not caught"),
        }
    }
}
