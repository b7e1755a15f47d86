//! `sim`: clusters of production nodes under seeded disasters.

use std::io::IsTerminal;
use std::ops::Range;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sim::node::{Settings, Site};
use sim::trace::Keep;
use sim::{Options, run_seed, run_seeds};

use crate::args;
use crate::failure::Failure;
use crate::output::say;

/// What `unanimous sim` runs when no seeds are named.
const SEEDS_DEFAULT: Range<u64> = 1..201;

/// `unanimous sim`.
pub fn run(args: &args::Sim, json: bool) -> Result<(), Failure> {
    match (args.seed, &args.seeds) {
        (Some(seed), _) => one(seed, args.trace),
        (None, Some(seeds)) => many(range(seeds)?, json),
        (None, None) => many(SEEDS_DEFAULT, json),
    }
}

fn one(seed: u64, trace: bool) -> Result<(), Failure> {
    let keep = if trace { Keep::All } else { Keep::Last(400) };
    let report = run_seed::<Site>(seed, &Options { hosts: Settings::default(), keep });
    say(report.to_string().trim_end())?;
    let (passed, failed) = if report.passed() { (1, 0) } else { (0, 1) };
    say(&format!("{passed} passed, {failed} failed"))?;
    if report.passed() { Ok(()) } else { Err(Failure::refused(format!("seed {seed} broke a guarantee"))) }
}

fn many(seeds: Range<u64>, json: bool) -> Result<(), Failure> {
    let bar = ProgressBar::new(seeds.end - seeds.start);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left, {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let options = Options { hosts: Settings::default(), keep: Keep::Last(400) };
    let failures = std::sync::atomic::AtomicU64::new(0);
    let done = |report: &sim::Report| {
        if !report.passed() {
            let n = failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            bar.set_message(format!("{n} failed"));
        }
        bar.inc(1);
    };
    let name = format!("{}..{}", seeds.start, seeds.end);
    let summary = run_seeds::<Site>(seeds, threads, &options, &[], &done);
    bar.finish_and_clear();
    if json {
        say(&summary.coverage.json())?;
    } else {
        say(&format!("seeds {name}"))?;
        say(summary.coverage.to_string().trim_end())?;
    }
    for failure in &summary.failures {
        say("")?;
        say(failure.to_string().trim_end())?;
        say(&format!("replay it: unanimous sim --seed {} --trace", failure.seed))?;
    }
    say(&format!("{} passed, {} failed", summary.passed, summary.failed))?;
    match summary.failed {
        0 => Ok(()),
        n => Err(Failure::refused(format!("{n} seeds broke a guarantee; the commands above replay them"))),
    }
}

/// `A..B`: from A up to, but without, B.
fn range(text: &str) -> Result<Range<u64>, Failure> {
    let wrong = || Failure::usage(format!("--seeds {text:?}: write A..B, for example 1..2001"));
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to): (u64, u64) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from >= to {
        return Err(wrong());
    }
    Ok(from..to)
}
