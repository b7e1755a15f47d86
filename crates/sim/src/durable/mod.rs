//! Durable groups under disasters: whole nodes, each with a store of one group on a disk that tears, loses, fails and
//! fills up; clients that repeat what is not answered wherever somebody listens; an operator who replaces stores.
//! What the group serves is the toolkit's map or mail ([`Serving`]).
//!
//! A runner of its own, with dice of its own: a seed of the ordinary workload stays the run that it was. What is shared
//! is the world (network, clocks, the core-set's disks), its faults, the trace and the coverage.

mod acting;
mod app;
mod disks;
mod hearing;
mod history;
mod mail;
mod map;
mod member;
mod operator;
mod plan;
mod run;
mod service;

use std::ops::Range;

use tools::map::Map;

pub use history::{Observation, Spooled, What};
#[cfg(test)]
pub(crate) use mail::Changes;
pub(crate) use mail::{
    DOMAIN, Folder, KEYWORD, LIST, Seen, Shown, USERS, Waiting, keyword, number_of, waiting,
};
#[cfg(test)]
pub(crate) use map::value_of;
pub(crate) use map::{Reading, word_of};
pub use plan::{Loss, Plan};

use crate::coverage::Kind;
use crate::node::Settings;
use crate::run::{Report, Summary, run_each};
use crate::trace::Keep;

/// What the group serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serving {
    /// The toolkit's map.
    #[default]
    Map,
    /// Mail.
    Mail,
}

/// What the caller chooses for a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the group serves.
    pub serving: Serving,
    /// For the nodes.
    pub hosts: Settings,
    /// Bugs of the durable machine to re-introduce.
    pub durable: ::durable::Bugs,
    /// Bugs of the log to re-introduce.
    pub log: wal::Bugs,
    /// Bugs of mail to re-introduce.
    pub mail: ::mail::Bugs,
    /// Local reads are passed off as linearizable ones, which the check of the map has to see.
    pub local_reads_passed_off: bool,
    /// How much of the run is kept in words.
    pub keep: Keep,
}

/// Runs one seed.
pub fn run_seed(seed: u64, options: &Options) -> Report {
    run_plan(seed, Plan::draw(seed), options)
}

/// Runs one seed with a plan of the caller's.
pub fn run_plan(seed: u64, plan: Plan, options: &Options) -> Report {
    match options.serving {
        Serving::Map => run::run::<Map>(seed, plan, options),
        Serving::Mail => run::run::<mail::Post>(seed, plan, options),
    }
}

/// Runs seeds on so many threads; `progress` hears of every seed that is done.
pub fn run_seeds(
    seeds: Range<u64>,
    threads: usize,
    options: &Options,
    progress: &(dyn Fn(&Report) + Sync),
) -> Summary {
    let one = |seed, keep| run_seed(seed, &Options { keep, ..options.clone() });
    run_each(seeds, threads, &one, &expected(options.serving), progress)
}

/// What many seeds must reach.
pub fn expected(serving: Serving) -> Vec<(Kind, &'static str)> {
    let faults = FAULTS.iter().map(|name| (Kind::Fault, *name));
    let reached = REACHED.iter().map(|name| (Kind::Transition, *name));
    let workload = WORKLOAD.iter().map(|name| (Kind::Workload, *name));
    let of_service = match serving {
        Serving::Map => &[],
        Serving::Mail => mail::WORKLOAD,
    };
    let of_service = of_service.iter().map(|name| (Kind::Workload, *name));
    faults.chain(reached).chain(workload).chain(of_service).collect()
}

/// The faults of the world that durable seeds draw, and those of the stores' disks.
const FAULTS: &[&str] = &[
    "break",
    "crash",
    "crash in the middle of sending",
    "crash of all",
    "deaf site",
    "link cut",
    "one way cut",
    "orderly stop",
    "partition",
    "pause",
    "power cut",
    "slow link",
    "store: an old copy put back",
    "store: copied",
    "store: crash in the middle of work",
    "store: emptied",
    "store: failed sync",
    "store: full",
    "store: rot",
];

/// What the machines got to.
const REACHED: &[&str] = &[
    "durable: a checkpoint could not be taken",
    "durable: a full disk is told",
    "durable: active",
    "durable: active after all had died",
    "durable: below E",
    "durable: caught up by a checkpoint",
    "durable: checkpoint taken",
    "durable: not primary",
    "durable: opened with a checkpoint",
    "durable: opened with a log",
    "durable: restored while running",
    "durable: store could not be opened",
    "durable: surpassed",
    "durable: there is room again",
];

/// What clients and the operator did.
const WORKLOAD: &[&str] = &[
    "durable: answered",
    "durable: answered elsewhere",
    "durable: another W wanted",
    "durable: change done",
    "durable: change refused",
    "durable: local read",
    "durable: not taken",
    "durable: other stores wanted",
    "durable: read",
    "durable: store replaced",
];
