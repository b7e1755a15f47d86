//! Seeds of the durable workload: they pass, and are the same run each time.

use sim::durable::{Options, run_seed, run_seeds};
use sim::trace::Keep;

#[test]
fn a_durable_seed_is_the_same_run_whether_or_not_it_is_put_in_words() {
    let quiet = Options::default();
    let loud = Options { keep: Keep::Last(10), ..Options::default() };
    for seed in 1..5 {
        let (first, second) = (run_seed(seed, &quiet), run_seed(seed, &loud));
        assert!(first.passed(), "{second}");
        assert_eq!((first.digest, first.events), (second.digest, second.events));
        assert!(first.messages > 20 && second.lines.len() == 10, "{second}");
    }
}

/// `SIM_SEEDS=A..B` runs others, and prints what they reached.
#[test]
fn durable_groups_keep_their_promises() {
    let named = std::env::var("SIM_SEEDS").ok();
    let range = named.as_deref().and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let summary = run_seeds(range.unwrap_or(10..40), threads, &Options::default(), &|report| {
        if !report.passed() {
            println!("seed {}: {}", report.seed, report.violations[0]);
        }
    });
    if named.is_some() {
        println!("{}{} passed, {} failed", summary.coverage, summary.passed, summary.failed);
    }
    assert!(summary.failures.is_empty(), "{}", summary.failures[0]);
}

/// The check of the map has to see the difference between a read behind the barrier and one that is not.
#[test]
fn local_reads_are_not_linearizable() {
    let options = Options { local_reads_passed_off: true, ..Options::default() };
    let caught = (0..60).find(|seed| {
        let report = run_seed(*seed, &options);
        report.violations.iter().any(|violation| violation.property == "Linearizable Map")
    });
    let seed = caught.expect("a local read that is behind");
    assert!(run_seed(seed, &Options::default()).passed());
}
