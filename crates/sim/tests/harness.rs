//! The simulator proves itself on a machine so simple that what it does right and wrong is plain.

mod hermit;

use std::time::Duration;

use hermit::{Hermit, Vice};
use sim::coverage::Kind;
use sim::run::{run_seeds, run_swarm};
use sim::swarm::Swarm;
use sim::trace::Keep;
use sim::{Options, Report};

fn run(seed: u64, vice: Vice, keep: Keep) -> Report {
    let swarm = Swarm { heal_within: Duration::from_secs(2), ..Swarm::draw(seed) };
    run_swarm::<Hermit>(seed, swarm, &Options { hosts: vice, keep })
}

#[test]
fn a_seed_runs_the_same_twice_whether_or_not_it_is_put_in_words() {
    for seed in 0..16 {
        let (first, second) = (run(seed, Vice::None, Keep::Nothing), run(seed, Vice::None, Keep::All));
        assert_eq!((first.digest, first.events), (second.digest, second.events));
        assert!(first.lines.is_empty() && second.lines.len() as u64 == second.events);
        assert_ne!(first.digest, run(seed + 1, Vice::None, Keep::Nothing).digest);
    }
}

#[test]
fn a_hermit_is_safe_and_does_not_converge() {
    let options = Options { hosts: Vice::None, keep: Keep::Nothing };
    for seed in 0..40 {
        let mut swarm = Swarm { heal_within: Duration::from_secs(2), ..Swarm::draw(seed) };
        // A hermit does all at once: in a longer turn a process of its is a member before it hears of it.
        swarm.world.turn_mean = Duration::ZERO;
        let report = run_swarm::<Hermit>(seed, swarm, &options);
        assert!(report.messages > 100, "{report}");
        let broken: Vec<_> = report.violations.iter().map(|v| v.property).collect();
        assert_eq!(broken, ["Membership Precision"], "{report}");
    }
}

#[test]
fn what_a_machine_does_wrong_is_found() {
    let stutter = run(1, Vice::Stutters, Keep::Last(50));
    assert!(stutter.violations.iter().any(|v| v.property == "No Duplication"), "{stutter}");
    assert!(stutter.to_string().contains("replay: unanimous sim --seed 1"));
    assert_eq!(stutter.lines.len(), 50);
    let panic = run(1, Vice::Panics, Keep::Nothing);
    assert_eq!(panic.violations[0].property, "Own Invariant");
    assert!(panic.violations[0].how.contains("loses patience"), "{panic}");
}

#[test]
fn many_seeds_are_summed_up_the_same_on_any_number_of_threads() {
    let options = Options { hosts: Vice::Panics, keep: Keep::Nothing };
    let expected = [(Kind::Transition, "alone"), (Kind::Transition, "together")];
    let sum = |threads| run_seeds::<Hermit>(0..12, threads, &options, &expected, &|_| {});
    let (one, two) = (sum(1), sum(2));
    assert_eq!(one.coverage, two.coverage);
    assert_eq!((one.passed, one.failed), (two.passed, two.failed));
    assert_eq!(one.failures[0].digest, two.failures[0].digest);
    assert_eq!(one.coverage.missing().collect::<Vec<_>>(), [(Kind::Transition, "together")]);
}

#[test]
fn every_kind_of_fault_strikes_within_few_seeds() {
    let mut reached = std::collections::BTreeSet::new();
    for seed in 0..64 {
        reached.extend(run(seed, Vice::None, Keep::Nothing).reached);
    }
    // A disk is emptied only when no quorum depends on it, and hermits have none.
    for fault in sim::coverage::FAULTS.iter().filter(|fault| **fault != "disk emptied") {
        assert!(reached.contains(&(Kind::Fault, *fault)), "no seed reached {fault}");
    }
}
