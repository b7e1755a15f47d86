//! Torture: scenarios on real processes of the release (or test) program, one after another, each with an oracle.
//!
//! `cargo test` runs the short versions; `docs/torture.md` has the long ones. The program is the one that cargo built
//! beside this harness, so that neither waits for the other's lock; `UNANIMOUS_PROGRAM` names another.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this harness is the world")]

mod options;
mod scenarios;
mod support;

use std::process::ExitCode;
use std::time::Instant;

use options::Options;
use scenarios::SCENARIOS;
use support::hog;
use support::run::Run;
use support::verdict::Stop;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = hog::as_child(&args) {
        return done;
    }
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("torture: {why}; see --help. The scenarios are: {}", names());
            return ExitCode::from(2);
        }
    };
    if options.help {
        println!("{}\n\nThe scenarios are: {}", options::USAGE, names());
        return ExitCode::SUCCESS;
    }
    if options.list {
        SCENARIOS.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    if !SCENARIOS.iter().any(|scenario| options.wants(scenario.name)) {
        // A filter of `cargo test` may mean other tests than these.
        println!("\ntorture: no scenario is asked for by {}; there are: {}", options.filter(), names());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(torture(&options)),
        Err(error) => {
            eprintln!("no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

fn names() -> String {
    SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ")
}

async fn torture(options: &Options) -> ExitCode {
    println!("\ntorture: seed {}, {} versions", options.seed, if options.long { "long" } else { "short" });
    let (mut failed, mut skipped, mut passed) = (Vec::new(), Vec::new(), 0);
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants(scenario.name)) {
        let run = Run::new(options, scenario.name);
        println!("torture {} ... {}", scenario.name, scenario.about);
        let started = Instant::now();
        let stopped = tokio::time::timeout(options.limit(), (scenario.run)(&run)).await;
        let stopped = stopped.unwrap_or_else(|_| Err(Stop::Failed("it did not come to its end".to_owned())));
        let took = started.elapsed().as_secs_f64();
        match stopped {
            Ok(()) => {
                println!("torture {} ... ok ({took:.1} s)", scenario.name);
                passed += 1;
            }
            Err(Stop::Skipped(why)) => {
                println!("torture {} ... skipped: {why}", scenario.name);
                skipped.push((scenario.name, why));
            }
            Err(Stop::Failed(why)) => {
                println!("torture {} ... FAILED ({took:.1} s): {why}", scenario.name);
                println!("  the sites' logs are in {}", run.keep().display());
                failed.push(scenario.name);
            }
        }
    }
    println!("\ntorture: {passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    failed.iter().for_each(|name| println!("  failed: {name}"));
    // The last thing printed: what a reader must not take for tested.
    skipped.iter().for_each(|(name, why)| println!("  skipped: {name}: {why}"));
    let may_skip = std::env::var("UNANIMOUS_TESTS_MAY_SKIP").map_or(true, |value| value != "0");
    if failed.is_empty() && (may_skip || skipped.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
