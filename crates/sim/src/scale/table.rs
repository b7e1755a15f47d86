//! What was measured, and how it is printed.

use std::fmt;
use std::time::Duration;

use crate::property::Violation;
use crate::trace::Digest;
use crate::world::{Sent, Traffic};

/// What one phase cost.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub phase: &'static str,
    /// From the request, or the fault, to the last site that has seen what came of it.
    pub took: Duration,
    /// Views of the core-set on the way.
    pub core_views: usize,
    /// Views of the group on the way.
    pub group_views: usize,
    /// What was sent in it and in the two seconds after it, beyond what is sent in as much time when nothing
    /// changes; by what it is about.
    pub traffic: Traffic,
}

/// What all of them cost.
#[derive(Clone, Debug)]
pub struct Table {
    /// How many sites there were.
    pub sites: usize,
    /// How many of them had an mserver.
    pub mservers: usize,
    /// How many members the group had at first.
    pub group: usize,
    /// What chose latencies, clocks and ties.
    pub seed: u64,
    /// One row a phase.
    pub rows: Vec<Row>,
    /// What a second costs, at the end, in which nothing changes.
    pub idle: Traffic,
    /// How long it took in the world's time.
    pub lasted: Duration,
    /// Over all that happened: two runs with one digest are one run.
    pub digest: Digest,
    /// The properties that did not hold.
    pub violations: Vec<Violation>,
}

impl Row {
    /// All packets and bytes.
    pub fn sent(&self) -> Sent {
        total(&self.traffic)
    }

    /// How many views there were, of the core-set and of the group: one step may make one of each.
    pub fn views(&self) -> usize {
        self.core_views.max(self.group_views)
    }
}

/// The sum over all subjects.
pub fn total(traffic: &Traffic) -> Sent {
    traffic.values().fold(Sent::default(), |sum, sent| Sent {
        packets: sum.packets + sent.packets,
        bytes: sum.bytes + sent.bytes,
    })
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sent { packets, bytes } = self.sent();
        let views = self.views() as u64;
        let a_view = |n: u64| n.checked_div(views).map_or("-".to_owned(), |n| n.to_string());
        write!(
            f,
            "{:<18} {:>9.1} {:>6} {:>6} {:>9} {:>10} {:>9} {:>10}",
            self.phase,
            self.took.as_secs_f64() * 1e3,
            self.core_views,
            self.group_views,
            packets,
            bytes.div_ceil(1024),
            a_view(packets),
            a_view(bytes.div_ceil(1024)),
        )
    }
}

impl Table {
    /// The line above the rows.
    pub const HEADER: &'static str =
        "PHASE                     MS   CORE  GROUP    FRAMES        KIB  FRAMES/V      KIB/V";

    /// Whether every property held.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "broke {violation}")?;
        }
        let idle = total(&self.idle);
        writeln!(
            f,
            "when nothing changes: {} frames and {} KiB a second over all {} sites",
            idle.packets,
            idle.bytes.div_ceil(1024),
            self.sites
        )?;
        write!(
            f,
            "seed {}: {:.1} s of its own time, digest {}",
            self.seed,
            self.lasted.as_secs_f64(),
            self.digest
        )
    }
}

/// What was sent since `before`.
pub(super) fn less(now: &Traffic, before: &Traffic) -> Traffic {
    let since = |(about, sent): (&&'static str, &Sent)| {
        let before = before.get(about).copied().unwrap_or_default();
        (*about, Sent { packets: sent.packets - before.packets, bytes: sent.bytes - before.bytes })
    };
    now.iter().map(since).collect()
}

/// What of this traffic is beyond so much time's worth of a second's.
pub(super) fn beyond(traffic: Traffic, second: &Traffic, lasted: Duration) -> Traffic {
    let share = |n: u64| (u128::from(n) * lasted.as_nanos() / 1_000_000_000) as u64;
    let mut traffic = traffic;
    for (about, sent) in &mut traffic {
        let idle = second.get(about).copied().unwrap_or_default();
        sent.packets = sent.packets.saturating_sub(share(idle.packets));
        sent.bytes = sent.bytes.saturating_sub(share(idle.bytes));
    }
    traffic
}
