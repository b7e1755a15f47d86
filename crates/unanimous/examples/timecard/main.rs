//! The time-card service [ISIS Manual 2.0, chapter 1].
//!
//! Departments keep the hours that temporary workers work for them in files of their own. The service's members
//! divide the departments among themselves by the view that all of them see; whoever asks gets one whole card,
//! whichever members come and go meanwhile. Members beyond the departments stand by. A member that joins is
//! handed the hours as they were at the view in which it joins, so that they may be kept in memory and changed.
//!
//! ```text
//! unanimous up                                               # in one terminal
//! cargo run --example timecard -- serve                      # in two or more others; kill some
//! cargo run --example timecard -- query cooper
//! cargo run --example timecard -- update cooper 2 7
//! crates/unanimous/examples/timecard/torture.sh              # 100,000 queries while members and sites die
//! ```
//!
//! * `records`: the files. `divide`: who searches what. `words`: what is said.
//! * `service`: what a member does, without I/O; `serve` runs it. `card`: what a user puts together.

mod card;
mod divide;
mod query;
mod records;
mod serve;
mod service;
mod torture;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use unanimous::session::Address;
use unanimous::{Process, Site, locate};

/// The example's own files.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/timecard/data");

/// The time-card service: who has worked how long for which department.
#[derive(Debug, Parser)]
#[command(name = "timecard")]
struct Cli {
    /// Speak to this site, or to the next one given: unix:PATH or tls:HOST:PORT
    #[arg(long, global = true, value_name = "ADDR")]
    site: Vec<Address>,
    /// The cluster's directory on this machine
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "site")]
    dir: Option<PathBuf>,
    /// The service's group
    #[arg(long, global = true, default_value = "timeservice")]
    group: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be a member of the service
    Serve(Serve),
    /// Print time cards
    Query(Query),
    /// Set somebody's hours at every member
    Update(Update),
    /// Ask again and again and compare every answer with the files
    Torture(Torture),
}

/// Be a member of the service.
#[derive(Debug, Args)]
struct Serve {
    /// Where department1, department2 … are
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    /// How departments are divided; who joins takes over the group's rule
    #[arg(long, value_enum, default_value_t = Divide::Rank)]
    divide: Divide,
    /// Write updates into the files, too; each member needs its own
    #[arg(long)]
    save: bool,
}

/// How departments are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Divide {
    /// By rank, anew at every view
    Rank,
    /// As few moves as possible at every view
    Steady,
}

/// Print time cards.
#[derive(Debug, Args)]
struct Query {
    /// Whose; without names, each line of standard input is one
    names: Vec<String>,
    /// Departments without hours, too, and where the card comes from
    #[arg(long)]
    all: bool,
    /// Ask for so many seconds until the card is whole
    #[arg(long, default_value_t = 20)]
    patience: u64,
}

/// Set somebody's hours at every member.
#[derive(Debug, Args)]
struct Update {
    /// Whose
    name: String,
    /// In which department
    department: u32,
    /// How many
    hours: u32,
    /// Wait for so many seconds
    #[arg(long, default_value_t = 20)]
    patience: u64,
}

/// Ask again and again and compare every answer with the files.
#[derive(Debug, Args)]
struct Torture {
    /// How many queries
    #[arg(long, default_value_t = 100_000)]
    queries: u64,
    /// So many at a time, each over a session of its own
    #[arg(long, default_value_t = 8)]
    tasks: u32,
    /// The files that the members were started with
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    /// An answer that is not whole after so many seconds is lost
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Which names are asked for
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say why a query was asked again
    #[arg(long)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("timecard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let addresses = match (&cli.dir, cli.site.is_empty()) {
        (Some(dir), _) => locate::addresses_in(dir)?,
        (None, false) => cli.site.clone(),
        (None, true) => locate::addresses()?,
    };
    if let Command::Torture(args) = &cli.command {
        return torture::run(&addresses, &cli.group, args).await;
    }
    let process = Site::connect_any(addresses, "timecard").await?;
    let done = command(&process, &cli).await;
    process.close().await;
    done
}

async fn command(process: &Process, cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Serve(args) => serve::run(process, &cli.group, args).await,
        Command::Query(args) => query::query(&process.group(&cli.group)?, args).await,
        Command::Update(args) => query::update(&process.group(&cli.group)?, args).await,
        Command::Torture(_) => Ok(()),
    }
}
