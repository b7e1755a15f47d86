//! The short versions of torture's scenarios (`docs/torture.md`), with the arguments of `cargo test` that make sense here.
//!
//! The program is the one that cargo built beside this harness, so that neither waits for the other's lock;
//! `UNANIMOUS_PROGRAM` names another.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a harness, not a protocol")]

use std::ffi::OsString;
use std::process::ExitCode;

use torture::{Hogging, Options, Outcome};

const USAGE: &str =
    "torture [NAME ...] [--exact] [--skip NAME] [--list] [--long] [--seed N] [--seconds N] [--times N]

    NAME          run the scenarios whose names contain it
    --list        name them
    --long        the long versions: an hour in all
    --seconds N   how long the scenarios that last a while go on
    --times N     how often the scenarios that repeat do so
    --seed N      what is drawn at random is drawn from this";

/// What the arguments ask for.
enum Asked {
    Help,
    List,
    Run(Options),
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(work) = Hogging::asked(&args) {
        torture::hog(&work);
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match parse(&args) {
        Ok(Asked::Help) => println!("{USAGE}"),
        Ok(Asked::List) => torture::scenarios().for_each(|(name, _)| println!("{name}: test")),
        Ok(Asked::Run(options)) => return run(&options),
        Err(why) => {
            eprintln!("torture: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) -> ExitCode {
    let ended = match torture::run(options, |line| println!("{line}")) {
        Ok(ended) => ended,
        Err(error) => {
            eprintln!("torture: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let may_skip = std::env::var("UNANIMOUS_TESTS_MAY_SKIP").map_or(true, |value| value != "0");
    let good = ended.iter().all(|one| match one.outcome {
        Outcome::Passed => true,
        Outcome::Skipped(_) => may_skip,
        Outcome::Failed(_) => false,
    });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the arguments. Those of libtest that mean nothing here are passed over; any other is refused.
fn parse(args: &[String]) -> Result<Asked, String> {
    let program = std::env::var_os("UNANIMOUS_PROGRAM");
    let mut options = Options::new(
        program.map_or_else(|| env!("CARGO_BIN_EXE_unanimous").into(), std::path::PathBuf::from),
    );
    options.long = std::env::var("UNANIMOUS_TORTURE").is_ok_and(|value| value == "long");
    let mut list = false;
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let (name, given) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (arg, None),
        };
        let mut value = || given.or_else(|| args.next()).ok_or_else(|| format!("{name} wants a value"));
        match name {
            "-h" | "--help" => return Ok(Asked::Help),
            "--list" => list = true,
            "--exact" => options.exact = true,
            "--long" | "--ignored" | "--include-ignored" => options.long = true,
            "--skip" => options.skip.push(value()?.to_owned()),
            "--seed" => options.seed = number(name, value()?)?,
            "--seconds" => options.seconds = Some(number(name, value()?)?),
            "--times" => options.times = Some(number(name, value()?)?),
            "--test-threads" | "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => {
                value()?;
            }
            "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" | "--test" | "--shuffle"
            | "--report-time" | "--ensure-time" => {}
            flag if flag.starts_with('-') => return Err(format!("{flag} is not known here")),
            name => options.names.push(name.to_owned()),
        }
    }
    Ok(if list { Asked::List } else { Asked::Run(options) })
}

fn number<N: std::str::FromStr>(name: &str, text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{name}: {text:?} is no number that fits"))
}
