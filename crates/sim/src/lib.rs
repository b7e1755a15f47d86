//! Floor 8: the seeded driver. Whole clusters of the production state machines, run under faults.
//!
//! A seed chooses everything. It runs in two phases: under faults, in which nothing wrong may happen
//! ([`property`], safety), and after everything has healed, in which what is right must happen in a bounded
//! time (liveness). The same seed gives the same run, bit for bit.

#![forbid(unsafe_code)]

pub mod coverage;
pub mod dice;
pub mod durable;
pub mod faults;
pub mod history;
pub mod host;
pub mod node;
pub mod payload;
pub mod property;
mod quiet;
pub mod run;
pub mod scale;
pub mod swarm;
pub mod trace;
pub mod workload;
pub mod world;

pub use host::Host;
pub use run::{Options, Report, Summary, run_seed, run_seeds};
