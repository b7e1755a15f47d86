//! Runs seeds from the command line: `seeds [--durable] FROM..TO`, or `seeds [--durable] N [--trace]` for one with its
//! trace.

use sim::node::{Settings, Site, expected};
use sim::trace::Keep;
use sim::{Options, durable, run_seed, run_seeds};

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    let is_durable = args.next_if(|first| first == "--durable").is_some();
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
            let seeds = number(from)..number(to);
            let summary = match is_durable {
                true => {
                    let options = durable::Options { keep: Keep::Nothing, ..Default::default() };
                    durable::run_seeds(seeds, threads, &options, &done)
                }
                false => run_seeds::<Site>(seeds, threads, &options, &expected(), &done),
            };
            println!("{}{} passed, {} failed", summary.coverage, summary.passed, summary.failed);
        }
        None if is_durable => {
            let options = durable::Options { keep, ..Default::default() };
            print!("{}", durable::run_seed(seeds.parse().expect("a seed is a number"), &options));
        }
        None => print!("{}", run_seed::<Site>(seeds.parse().expect("a seed is a number"), &options)),
    }
}
