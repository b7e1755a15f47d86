//! Thousands of seeds: faults, then healing, then everything has to be there.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use durable::Bugs;
use world::World;

const STEPS: usize = 2_500;

fn seeds(from: u64, to: u64) {
    let mut failed = Vec::new();
    let (mut positions, mut answers, mut reads, mut changes, mut restored, mut losses) = (0, 0, 0, 0, 0, 0);
    for seed in from..to {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed, Bugs::NONE);
            world.go(STEPS);
            world
        }));
        let Ok(world) = run else {
            println!("seed {seed}: a panic");
            failed.push(seed);
            continue;
        };
        positions += world.history.positions.len();
        answers += world.history.answers.len();
        reads += world.history.reads;
        changes += world.history.changes;
        restored += world.history.restored;
        losses += world.losses;
        if let Some(first) = world.history.violations.first() {
            println!("seed {seed}: {first}");
            failed.push(seed);
        }
    }
    println!(
        "{positions} requests applied, {answers} answered, {reads} reads, {changes} changes, {restored} checkpoints received, {losses} losses"
    );
    println!("{} passed, {} failed", to - from - failed.len() as u64, failed.len());
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn no_seed_violates_anything() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let from = number("DURABLE_SEED").unwrap_or(0);
    seeds(from, from + number("DURABLE_SEEDS").unwrap_or(1_000));
}
