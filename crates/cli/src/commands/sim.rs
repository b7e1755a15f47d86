//! `sim`: clusters of production nodes under seeded disasters.

use std::io::IsTerminal;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sim::coverage::Coverage;
use sim::durable::Serving;
use sim::node::{Settings, Site};
use sim::run::Summary;
use sim::scale::{self, Plan, Row, Table};
use sim::trace::Keep;
use sim::world::{Sent, Traffic};
use sim::{Options, durable, run_seed, run_seeds};

use crate::args;
use crate::commands::certificates::MSERVERS;
use crate::failure::Failure;
use crate::output::say;

/// What `unanimous sim` runs when no seeds are named.
const SEEDS_DEFAULT: Range<u64> = 1..201;

/// `unanimous sim`.
pub fn run(args: &args::Sim, json: bool) -> Result<(), Failure> {
    if args.scale {
        return large(args, json);
    }
    match (args.seed, &args.seeds) {
        (Some(seed), _) => one(seed, args),
        (None, Some(seeds)) => many(range(seeds)?, args, json),
        (None, None) => many(SEEDS_DEFAULT, args, json),
    }
}

fn one(seed: u64, args: &args::Sim) -> Result<(), Failure> {
    let keep = if args.trace { Keep::All } else { Keep::Last(400) };
    let report = match serving(args) {
        Some(serving) => {
            durable::run_seed(seed, &durable::Options { serving, keep, ..durable::Options::default() })
        }
        None => run_seed::<Site>(seed, &Options { hosts: Settings::default(), keep }),
    };
    say(report.to_string().trim_end())?;
    let (passed, failed) = if report.passed() { (1, 0) } else { (0, 1) };
    say(&format!("{passed} passed, {failed} failed"))?;
    if report.passed() { Ok(()) } else { Err(Failure::refused(format!("seed {seed} broke a guarantee"))) }
}

/// What durable groups serve, if they are what is run.
fn serving(args: &args::Sim) -> Option<Serving> {
    match (args.durable, args.mail) {
        (_, true) => Some(Serving::Mail),
        (true, false) => Some(Serving::Map),
        (false, false) => None,
    }
}

fn large(args: &args::Sim, json: bool) -> Result<(), Failure> {
    let mservers = args.mservers.map_or(MSERVERS.min(args.sites as usize), |n| n as usize);
    let plan = Plan {
        sites: args.sites as usize,
        founders: mservers,
        mservers,
        group: args.group.unwrap_or(args.sites.div_ceil(2)) as usize,
        seed: args.seed.unwrap_or(1),
        hosts: Settings::default(),
    };
    plan.check().map_err(|why| Failure::usage(format!("--scale measures {why}")))?;
    let mut told = Ok(());
    let mut tell = |text: &str| {
        if !json && told.is_ok() {
            told = say(text);
        }
    };
    let Plan { sites, mservers, group, .. } = plan;
    tell(&format!("{sites} sites, {mservers} of them with an mserver, and a group of {group}"));
    tell(Table::HEADER);
    let table = scale::measure(&plan, &mut |row| tell(&row.to_string()))
        .map_err(|why| Failure::refused(why.to_string()))?;
    told?;
    say(&if json { in_json(&table) } else { table.to_string() })?;
    match table.passed() {
        true => Ok(()),
        false => Err(Failure::refused(format!("{} properties did not hold", table.violations.len()))),
    }
}

fn in_json(table: &Table) -> String {
    let sent = |sent: Sent| json!({ "frames": sent.packets, "bytes": sent.bytes });
    let by_subject = |traffic: &Traffic| -> serde_json::Map<String, serde_json::Value> {
        traffic.iter().map(|(about, one)| ((*about).to_owned(), sent(*one))).collect()
    };
    let row = |row: &Row| {
        json!({
            "phase": row.phase,
            "ms": row.took.as_secs_f64() * 1e3,
            "core_views": row.core_views,
            "group_views": row.group_views,
            "sent": sent(row.sent()),
            "by_subject": by_subject(&row.traffic),
        })
    };
    json!({
        "sites": table.sites,
        "mservers": table.mservers,
        "group": table.group,
        "seed": table.seed,
        "phases": table.rows.iter().map(row).collect::<Vec<_>>(),
        "idle_second": by_subject(&table.idle),
        "simulated_s": table.lasted.as_secs_f64(),
        "digest": table.digest.to_string(),
        "violations": table.violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
    .to_string()
}

fn many(seeds: Range<u64>, args: &args::Sim, json: bool) -> Result<(), Failure> {
    let except = &args.except;
    let bar = ProgressBar::new(seeds.end - seeds.start);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left, {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let options = Options { hosts: Settings::default(), keep: Keep::Nothing };
    let broken = Mutex::new(Vec::new());
    let done = |report: &sim::Report| {
        if !report.passed() {
            let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
            broken.push(report.seed);
            bar.set_message(format!("{} failed", broken.len()));
        }
        bar.inc(1);
    };
    let name = format!("{}..{}", seeds.start, seeds.end);
    let serving = serving(args);
    let expected = serving.map_or_else(sim::node::expected, durable::expected);
    let mut summary = Summary { coverage: Coverage::expecting(&expected), ..Summary::default() };
    for part in without(seeds, except) {
        let more = match serving {
            Some(serving) => {
                let options = durable::Options { serving, ..durable::Options::default() };
                durable::run_seeds(part, threads, &options, &done)
            }
            None => run_seeds::<Site>(part, threads, &options, &expected, &done),
        };
        summary.passed += more.passed;
        summary.failed += more.failed;
        summary.failures.extend(more.failures);
        summary.coverage.merge(&more.coverage);
    }
    bar.finish_and_clear();
    if json {
        say(&summary.coverage.json())?;
    } else {
        say(&format!("seeds {name}"))?;
        if !except.is_empty() {
            let left_out: Vec<String> = except.iter().map(ToString::to_string).collect();
            say(&format!("left out: {}", left_out.join(", ")))?;
        }
        say(summary.coverage.to_string().trim_end())?;
    }
    let mut broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort_unstable();
    for failure in &summary.failures {
        say("")?;
        say(failure.to_string().trim_end())?;
        say(&format!("replay it: unanimous sim{} --seed {} --trace", failure.workload(), failure.seed))?;
    }
    if !broken.is_empty() {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        say(&format!("failed: {}", broken.join(", ")))?;
    }
    say(&format!("{} passed, {} failed", summary.passed, summary.failed))?;
    match summary.failed {
        0 => Ok(()),
        n => Err(Failure::refused(format!("{n} seeds broke a guarantee; the commands above replay them"))),
    }
}

/// The parts of a range between the seeds that are left out.
fn without(seeds: Range<u64>, except: &[u64]) -> Vec<Range<u64>> {
    let mut cuts: Vec<u64> = except.iter().copied().filter(|seed| seeds.contains(seed)).collect();
    cuts.sort_unstable();
    let mut parts = Vec::new();
    let mut from = seeds.start;
    for cut in cuts {
        parts.push(from..cut);
        from = cut + 1;
    }
    parts.push(from..seeds.end);
    parts.retain(|part| !part.is_empty());
    parts
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_left_out_wherever_they_stand() {
        assert_eq!(without(1..6, &[3]), [1..3, 4..6]);
        assert_eq!(without(1..6, &[1, 3, 5, 9]), [2..3, 4..5]);
        assert_eq!(without(1..3, &[2, 1]), Vec::<Range<u64>>::new());
    }

    #[test]
    fn a_range_is_read_or_refused() {
        assert!(matches!(range("1..5"), Ok(r) if r == (1..5)));
        for wrong in ["", "5", "5..5", "6..5", "a..b"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
