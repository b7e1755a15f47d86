//! Floor 9: a running site. [`start`] brings one up from its configuration: the node in its one loop, the driver
//! below it, and above it the session server and the metrics.

#![forbid(unsafe_code)]
// This crate runs in the world: clocks are allowed here.
#![allow(clippy::disallowed_methods, reason = "a running site has a clock")]

mod absences;
mod acquire;
mod certificates;
mod clocks;
pub mod config;
mod core;
mod directory;
mod handle;
mod hosting;
mod levels;
mod metrics;
mod notify;
mod outlook;
pub mod recover;
mod revoked;
mod roster;
mod run;
mod running;
pub mod service;
pub mod session;
mod starts;

pub use config::{ConfigError, MailConfig, NameServers, SiteConfig, Verification};
pub use handle::{Events, Handle, Probe, Probes, ProcessEvent, RequestError};
pub use hosting::{GroupStatus, HostError, Placed, Spooled, Step, Trouble, TroubleKind, Wish, Write};
pub use levels::Unsupported;
pub use run::{RunningSite, StartError, Stopped, start, start_with};
pub use running::Running;
pub use service::{Answered, Answering, Kept, Requests, Service, Services, Standing};
pub use tools::catalog::Kind;
