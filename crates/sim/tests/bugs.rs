//! The simulator proves itself on the production machine: each known bug, re-introduced, is caught within 2,000
//! seeds, by a seed that passes without it. Needs the feature `bugs`; run it with `--release`.
//!
//! It prints the first seed that catches each, and which property that seed broke. `BUG=StaleAckCounted BUG_SEEDS=0..20000`
//! hunts one bug, further.

#![allow(clippy::disallowed_methods, reason = "a hunt says how long it took")]

use std::ops::Range;
use std::time::Instant;

use sim::Options;
use sim::node::{Settings, Site};
use sim::run::hunt;
use sim::trace::Keep;
use wire::{Bug, Bugs};

const SEEDS: u64 = 2_000;

/// Bugs that a whole node hides, with the reason. The seeded runs of the part itself catch them, within as many seeds.
const ELSEWHERE: [(Bug, &str); 3] = [
    // An attempt that goes on gets no more votes, and those that it had are a quorum again only if the line has shrunk
    // meanwhile: members see that once in some thousand seeds. The oracle of `membership/tests/simulation.rs` sees the
    // proposal itself.
    (Bug::AttemptNotAbandoned, "the kernel's own seeded runs"),
    // It misleads a caster that everybody else has left behind, that hears all of their acknowledgements while they
    // flush, and nothing of the change: a node hears of the change by the same connections, and mostly before.
    (Bug::AckAfterFlush, "the flush's own seeded runs"),
    // The kernel's ids rise, and the member interface drops a view that is not above the last: the data plane of a
    // node is never given one below what it flushed for. `multicast/tests/bugs.rs` gives it some.
    (Bug::ViewBelowFlushed, "the flush's own seeded runs"),
];

fn options(bugs: Bugs) -> Options<Settings> {
    Options { hosts: Settings { bugs, ..Settings::default() }, keep: Keep::Nothing }
}

/// One bug, and other seeds, if the environment asks for them.
fn asked_for() -> (Option<String>, Range<u64>) {
    let range = std::env::var("BUG_SEEDS").ok().map_or(0..SEEDS, |text| {
        let (from, to) = text.split_once("..").expect("BUG_SEEDS is FROM..TO");
        let number = |text: &str| text.parse().expect("a seed is a number");
        number(from)..number(to)
    });
    (std::env::var("BUG").ok(), range)
}

#[test]
fn each_known_bug_is_caught() {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let (only, seeds) = asked_for();
    let mut missed = Vec::new();
    println!("{:<26} {:>6} {:>8}  CAUGHT BY", "BUG", "SEED", "TIME");
    for bug in Bug::ALL {
        let name = format!("{bug:?}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        if let Some((_, by)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == bug) {
            println!("{name:<26} {:>6} {:>8}  {by}", "-", "-");
            continue;
        }
        let begin = Instant::now();
        match hunt::<Site>(seeds.clone(), threads, &options(Bugs::only(bug)), &options(Bugs::NONE)) {
            Some(report) => {
                let (seed, took) = (report.seed, begin.elapsed().as_secs_f64());
                println!("{name:<26} {seed:>6} {took:>6.1} s  {}", report.violations[0].property);
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught in seeds {seeds:?}: {missed:?}");
}
