//! What the bench and its members say to each other: one JSON object a line, on the member's standard input and
//! output. Times are those of the machine's monotonic clock, in nanoseconds, which all of them share.

use serde::{Deserialize, Serialize};

use super::summary::Summary;

/// To a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Count deliveries in a stretch of time, and cast if told to.
    Throughput(Load),
    /// Cast one at a time and wait for each to come back, or look on.
    Latency(Load),
}

/// What is cast, by whom, and what is counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Whether this member casts.
    pub casts: bool,
    /// How many members cast.
    pub senders: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Own messages that may be undelivered.
    pub window: usize,
    /// The order's name.
    pub order: String,
    /// Only what all have.
    pub safe: bool,
    /// Counting begins.
    pub from_ns: u64,
    /// Counting ends; senders stop.
    pub to_ns: u64,
    /// For latency: how many casts are measured.
    pub casts_max: usize,
}

/// From a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// A view came.
    View {
        /// When.
        at_ns: u64,
        /// How many members it has.
        members: usize,
        /// This member's rank.
        rank: Option<usize>,
    },
    /// A task is done.
    Done(Counted),
    /// It can't go on.
    Failed(String),
}

/// What a member counted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Messages delivered while it counted.
    pub delivered: u64,
    /// Messages delivered in all, before and after too.
    pub delivered_in_all: u64,
    /// Such messages cast in all.
    pub cast_in_all: u64,
    /// From cast to own delivery.
    pub latency_us: Option<Summary>,
}
