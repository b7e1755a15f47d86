//! Torture: scenarios on real processes of the program `unanimous`, one after another, each with an oracle that judges
//! what members and clients were told, and what the sites logged. `docs/torture.md` says what each does and asks.
//!
//! `cargo test` runs the short versions, `unanimous torture` the long ones.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this harness is the world")]

mod options;
mod scenarios;
mod support;

use std::time::{Duration, Instant};

pub use options::Options;
pub use support::hog::{Hogging, hog};

use scenarios::{SCENARIOS, Scenario};
use support::run::Run;
use support::verdict::Stop;

/// Names of all scenarios, in the order in which they are run, and what happens in each.
pub fn scenarios() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCENARIOS.iter().map(|scenario| (scenario.name, scenario.about))
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that its oracle asks for held.
    Passed,
    /// It cannot be run here, for this reason.
    Skipped(String),
    /// It did not hold, or the scenario did not come to its end.
    Failed(String),
}

/// One scenario, done.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The scenario's name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// What it counted and measured, a line each.
    pub figures: Vec<String>,
}

/// Runs the scenarios that are wanted, one after another, tells `say` a line at a time how it goes, and says how each ended.
/// What was skipped is the last that is told: what a reader must not take for tested.
///
/// # Errors
///
/// If no runtime can be started. No scenario has been run then.
pub fn run(options: &Options, say: fn(&str)) -> std::io::Result<Vec<Ended>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    say("");
    let versions = if options.long { "long" } else { "short" };
    say(&format!("torture: seed {}, {versions} versions", options.seed));
    let wanted = SCENARIOS.iter().filter(|scenario| options.wants(scenario.name));
    let ended: Vec<Ended> = wanted.map(|scenario| runtime.block_on(one(scenario, options, say))).collect();
    sum_up(&ended, say);
    Ok(ended)
}

async fn one(scenario: &Scenario, options: &Options, say: fn(&str)) -> Ended {
    let name = scenario.name;
    let run = Run::new(options, name, say);
    say(&format!("torture {name} ... {}", scenario.about));
    let started = Instant::now();
    let stopped = tokio::time::timeout(options.limit(), (scenario.run)(&run)).await;
    let stopped = stopped.unwrap_or_else(|_| Err(Stop::Failed("it did not come to its end".to_owned())));
    let took = started.elapsed();
    let seconds = took.as_secs_f64();
    let outcome = match stopped {
        Ok(()) => {
            say(&format!("torture {name} ... ok ({seconds:.1} s)"));
            Outcome::Passed
        }
        Err(Stop::Skipped(why)) => {
            say(&format!("torture {name} ... skipped: {why}"));
            Outcome::Skipped(why)
        }
        Err(Stop::Failed(why)) => {
            say(&format!("torture {name} ... FAILED ({seconds:.1} s): {why}"));
            say(&format!("  the sites' logs are in {}", run.keep().display()));
            Outcome::Failed(why)
        }
    };
    Ended { name, outcome, took, figures: run.figures() }
}

fn sum_up(ended: &[Ended], say: fn(&str)) {
    let passed = ended.iter().filter(|one| one.outcome == Outcome::Passed).count();
    let failed = || ended.iter().filter(|one| matches!(one.outcome, Outcome::Failed(_)));
    let skipped = || {
        ended.iter().filter_map(|one| match &one.outcome {
            Outcome::Skipped(why) => Some((one.name, why)),
            _ => None,
        })
    };
    say("");
    say(&format!("torture: {passed} passed, {} failed, {} skipped", failed().count(), skipped().count()));
    failed().for_each(|one| say(&format!("  failed: {}", one.name)));
    skipped().for_each(|(name, why)| say(&format!("  skipped: {name}: {why}")));
}
