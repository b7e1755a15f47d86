//! Runs seeds from the command line: `seeds [--durable | --mail] FROM..TO`, or `seeds [--durable | --mail] N [--trace]` for
//! one with its trace.

use sim::node::{Settings, Site, expected};
use sim::trace::Keep;
use sim::{Options, durable, run_seed, run_seeds};

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    let serving = match args.peek().map(String::as_str) {
        Some("--durable") => Some(durable::Serving::Map),
        Some("--mail") => Some(durable::Serving::Mail),
        _ => None,
    };
    let _ = serving.and_then(|_| args.next());
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
            let summary = match serving {
                Some(serving) => {
                    let options = durable::Options { serving, ..Default::default() };
                    durable::run_seeds(seeds, threads, &options, &done)
                }
                None => run_seeds::<Site>(seeds, threads, &options, &expected(), &done),
            };
            println!("{}{} passed, {} failed", summary.coverage, summary.passed, summary.failed);
        }
        None => {
            let seed = seeds.parse().expect("a seed is a number");
            print!(
                "{}",
                match serving {
                    Some(serving) => {
                        durable::run_seed(seed, &durable::Options { serving, keep, ..Default::default() })
                    }
                    None => run_seed::<Site>(seed, &options),
                }
            );
        }
    }
}
