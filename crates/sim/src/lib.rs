//! Floor 8: the seeded driver. Whole clusters of the production state machines, run under faults.
//!
//! A seed chooses everything. It runs in two phases: under faults, in which nothing wrong may happen
//! ([`property`], safety), and after everything has healed, in which what is right must happen in a bounded
//! time (liveness). The same seed gives the same run, bit for bit.

#![forbid(unsafe_code)]

pub mod coverage;
pub mod dice;
pub mod history;
pub mod host;
pub mod property;
pub mod trace;
pub mod world;

pub use host::Host;
