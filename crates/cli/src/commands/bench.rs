//! `bench`: measures real processes with TLS on. What is measured is in `docs/benchmarks.md`.

// The program's edge has a clock and threads.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

pub mod cast;
mod clock;
mod cluster;
mod disk;
pub mod failover;
mod filling;
pub mod kv;
pub mod mail;
pub mod member;
mod namespaces;
mod port;
mod sites;
pub mod startup;
pub mod stream;
mod summary;
mod talk;
pub mod transfer;

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

/// The benched group.
const GROUP: &str = "bench";

/// What goes on, for a person who waits.
struct Progress(ProgressBar);

impl Progress {
    fn new(json: bool) -> Progress {
        let bar = ProgressBar::new_spinner();
        if json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
