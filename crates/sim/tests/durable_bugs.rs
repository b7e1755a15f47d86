//! The durable workload proves itself: known bugs of the durable machine and of the log, re-introduced, are caught by
//! whole nodes, by a seed that passes without them. Needs the feature `store-bugs`; run it with `--release`.
//!
//! It prints the first seed that catches each, and which property that seed broke. `SIM_BUG=Name` runs one of them,
//! `SIM_SEEDS=n` looks through so many seeds.

use std::time::Instant;

use sim::durable::{Options, run_seed};
use sim::run::{Report, hunt_each};

const SEEDS: u64 = 2_000;

/// Bugs that are not asked of whole nodes. The seeded runs of the part itself catch them, and are named.
const ELSEWHERE: &[(&str, &str)] = &[
    // On a node the log compares each record before the machine is told of it, and the machine once more.
    ("TornTailAccepted", "durable/tests/bugs.rs"),
    ("log: TornTailAccepted", "log/tests/model.rs"),
    // What is released lies before a checkpoint, and a node asks for nothing of it: 2,000 seeds did not show it.
    ("log: ReleaseNotDurable", "log/tests/model.rs"),
    // Old sectors must show up again just behind the log's end: 600 seeds did not show it.
    ("log: StaleRecordAccepted", "log/tests/model.rs"),
];

fn hunt(name: &str, options: &Options, missed: &mut Vec<String>) {
    if std::env::var("SIM_BUG").is_ok_and(|only| only != name) {
        return;
    }
    if let Some((_, why)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        println!("{name:<28} {:>6} {:>8}  {why}", "-", "-");
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let begin = Instant::now();
    let with = |seed| -> Report { run_seed(seed, options) };
    let without = |seed| -> Report { run_seed(seed, &Options::default()) };
    match hunt_each(0..seeds, threads, &with, &without) {
        Some(report) => {
            let (seed, took) = (report.seed, begin.elapsed().as_secs_f64());
            println!("{name:<28} {seed:>6} {took:>6.1} s  {}", report.violations[0].property);
        }
        None => missed.push(name.to_owned()),
    }
}

#[test]
fn each_known_bug_is_caught() {
    let mut missed = Vec::new();
    println!("{:<28} {:>6} {:>8}  CAUGHT BY", "BUG", "SEED", "TIME");
    for bug in durable::Bug::ALL {
        let options = Options { durable: durable::Bugs::only(bug), ..Options::default() };
        hunt(&format!("{bug:?}"), &options, &mut missed);
    }
    for bug in wal::Bug::ALL {
        let options = Options { log: wal::Bugs::only(bug), ..Options::default() };
        hunt(&format!("log: {bug:?}"), &options, &mut missed);
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
