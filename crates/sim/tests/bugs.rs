//! The simulator proves itself on the production machine: each known bug, re-introduced, is caught within 2,000
//! seeds, by a seed that passes without it. Needs the feature `bugs`; run it with `--release`.

use sim::Options;
use sim::node::{Settings, Site};
use sim::run::hunt;
use sim::trace::Keep;
use wire::{Bug, Bugs};

const SEEDS: u64 = 2_000;

fn options(bugs: Bugs) -> Options<Settings> {
    Options { hosts: Settings { bugs, ..Settings::default() }, keep: Keep::Nothing }
}

#[test]
fn each_known_bug_is_caught() {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match hunt::<Site>(0..SEEDS, threads, &options(Bugs::only(bug)), &options(Bugs::NONE)) {
            Some(report) => println!("{bug:?}: seed {} broke {}", report.seed, report.violations[0]),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS} seeds: {missed:?}");
}
