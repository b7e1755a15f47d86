//! `cargo house check` and `cargo house fix`: one command that checks everything, one that mends what a tool
//! can mend. CI runs the first.

use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "usage: cargo house check | fix\n\n\
    check   formatting, lints, documentation, tests, a batch of simulator seeds\n\
    fix     formatting and the lints that clippy can mend";

/// One command of a run: what it is for, the arguments of cargo, and extra environment.
struct Task {
    what: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

const CHECK: &[Task] = &[
    Task { what: "formatting", args: &["fmt", "--all", "--check"], env: &[] },
    Task {
        what: "lints",
        args: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        env: &[],
    },
    Task {
        what: "documentation",
        args: &["doc", "--workspace", "--no-deps"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Task { what: "tests", args: &["test", "--workspace"], env: &[] },
    Task { what: "simulator seeds", args: &["run", "--release", "--", "sim", "--seeds", "1..401"], env: &[] },
    Task {
        what: "durable seeds",
        args: &["run", "--release", "--", "sim", "--durable", "--seeds", "1..401"],
        env: &[],
    },
    Task {
        what: "mail seeds",
        args: &["run", "--release", "--", "sim", "--mail", "--seeds", "1..201"],
        env: &[],
    },
];

const FIX: &[Task] = &[
    Task {
        what: "lints",
        args: &["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"],
        env: &[],
    },
    Task { what: "formatting", args: &["fmt", "--all"], env: &[] },
];

fn main() -> ExitCode {
    let tasks = match std::env::args().nth(1).as_deref() {
        Some("check") => CHECK,
        Some("fix") => FIX,
        Some("--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    for task in tasks {
        if !run(task) {
            eprintln!("house: {} failed; run `cargo {}` to see it alone", task.what, task.args.join(" "));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What `cargo run` tells this program of itself. A build script that looks at it would run again, and all that is built upon it be
/// built again, each time that such a command and one from a shell follow each other.
fn is_of_this_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

#[allow(clippy::disallowed_methods, reason = "a tool of the house, not a protocol")]
fn run(task: &Task) -> bool {
    println!("house: {} (cargo {})", task.what, task.args.join(" "));
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_this_package)) {
        command.env_remove(name);
    }
    let status =
        command.args(task.args).envs(task.env.iter().copied()).stdin(std::process::Stdio::null()).status();
    println!("house: {} took {:.0} s", task.what, started.elapsed().as_secs_f64());
    matches!(status, Ok(status) if status.success())
}
