//! Runs seeds from the command line: `seeds FROM..TO`, or `seeds N [--trace]` for one with its trace.

use sim::node::{Settings, Site, expected};
use sim::trace::Keep;
use sim::{Options, run_seed, run_seeds};

fn main() {
    let mut args = std::env::args().skip(1);
    let seeds = args.next().unwrap_or_else(|| "0..100".to_owned());
    let keep = if args.next().is_some() { Keep::All } else { Keep::Last(400) };
    let options = Options { hosts: Settings::default(), keep };
    match seeds.split_once("..") {
        Some((from, to)) => {
            let number = |s: &str| s.parse().expect("seeds are numbers");
            let done = |report: &sim::Report| {
                if !report.passed() {
                    for violation in &report.violations {
                        eprintln!("seed {} ({:?}): {violation}", report.seed, report.profile);
                    }
                }
            };
            let options = Options { keep: Keep::Nothing, ..options };
            let threads = std::thread::available_parallelism().map_or(1, Into::into);
            let summary = run_seeds::<Site>(number(from)..number(to), threads, &options, &expected(), &done);
            println!("{}{} passed, {} failed", summary.coverage, summary.passed, summary.failed);
        }
        None => print!("{}", run_seed::<Site>(seeds.parse().expect("a seed is a number"), &options)),
    }
}
