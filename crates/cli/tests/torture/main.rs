//! The short versions of torture's scenarios (`docs/torture.md`), with the arguments of `cargo test` that make sense here.
//!
//! The program is the one that cargo built beside this harness, so that neither waits for the other's lock;
//! `UNANIMOUS_PROGRAM` names another.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a harness, not a protocol")]

mod args;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, USAGE};
use torture::{Hogging, Options, Outcome};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(work) = Hogging::asked(&args) {
        torture::hog(&work);
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let program = std::env::var_os("UNANIMOUS_PROGRAM");
    let program = program.map_or_else(|| env!("CARGO_BIN_EXE_unanimous").into(), PathBuf::from);
    let asked = match Args::parse(program, &args) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("torture: {why}; see --help. The scenarios are: {}", names());
            return ExitCode::from(2);
        }
    };
    if asked.help {
        println!("{USAGE}\n\nThe scenarios are: {}", names());
        return ExitCode::SUCCESS;
    }
    if asked.list {
        torture::scenarios().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !torture::scenarios().any(|(name, _)| asked.options.wants(name)) {
        // A filter of `cargo test` may mean other tests than these.
        println!("\ntorture: no scenario is asked for by {}; there are: {}", asked.filter(), names());
        return ExitCode::SUCCESS;
    }
    run(&asked.options)
}

fn names() -> String {
    torture::scenarios().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
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
