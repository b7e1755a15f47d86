//! What the seeds reached: per kind of fault, per protocol transition, per phase in which a site crashed.
//!
//! A simulator that never gets where the bugs are proves nothing, so what was reached is counted, in seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

/// What kind of thing was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A fault struck and made a difference.
    Fault,
    /// A protocol made a transition.
    Transition,
    /// A coordinator crashed in this phase of a change.
    CrashedIn,
    /// The application did something.
    Workload,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Kind::Fault => "fault",
            Kind::Transition => "transition",
            Kind::CrashedIn => "crashed in",
            Kind::Workload => "workload",
        }
    }
}

/// Every fault that can make a difference, by name.
pub const FAULTS: &[&str] = &[
    "break",
    "clock drift",
    "connection broken",
    "connection dialled in vain",
    "connection refused",
    "crash",
    "crash in the middle of sending",
    "crash kept a write under way",
    "crash lost a write under way",
    "crash of all",
    "crash while sending, armed",
    "datagram doubled",
    "datagram lost",
    "datagram overtaken",
    "deaf site",
    "disk emptied",
    "fsync error",
    "link cut",
    "one way cut",
    "orderly stop",
    "partition",
    "pause",
    "power cut",
    "row",
    "several inputs in a turn",
    "slow link",
    "slow write",
    "stream packet lost with its connection",
    "stream stalled",
];

/// All that the application does, by name.
pub const WORKLOAD: &[&str] = &[
    "abcast",
    "call complete",
    "call short",
    "cast held back",
    "cbcast",
    "fbcast",
    "flush",
    "gbcast",
    "join",
    "leave",
    "mbcast",
    "outsider's cast",
    "process death",
    "transitional signal",
];

/// What one seed reached.
pub type Reached = BTreeSet<(Kind, &'static str)>;

/// What many seeds reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    seeds: u64,
    view_changes: u64,
    messages: u64,
    counts: BTreeMap<(Kind, &'static str), u64>,
}

impl Coverage {
    /// Everything that must be reached, at zero: what never happens must show, not be absent.
    pub fn expecting<'a>(expected: impl IntoIterator<Item = &'a (Kind, &'static str)>) -> Coverage {
        Coverage { counts: expected.into_iter().map(|key| (*key, 0)).collect(), ..Coverage::default() }
    }

    /// Adds one seed.
    pub fn add(&mut self, reached: &Reached, view_changes: u64, messages: u64) {
        self.seeds += 1;
        self.view_changes += view_changes;
        self.messages += messages;
        for key in reached {
            *self.counts.entry(*key).or_default() += 1;
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Coverage) {
        self.seeds += other.seeds;
        self.view_changes += other.view_changes;
        self.messages += other.messages;
        for (key, n) in &other.counts {
            *self.counts.entry(*key).or_default() += n;
        }
    }

    /// What no seed reached.
    pub fn missing(&self) -> impl Iterator<Item = (Kind, &'static str)> + '_ {
        self.counts.iter().filter(|(_, n)| **n == 0).map(|(key, _)| *key)
    }

    /// How many seeds there were.
    pub fn seeds(&self) -> u64 {
        self.seeds
    }

    /// View changes a seed, times ten.
    pub fn view_changes_mean_tenths(&self) -> u64 {
        self.view_changes * 10 / self.seeds.max(1)
    }

    /// Messages a seed.
    pub fn messages_mean(&self) -> u64 {
        self.messages / self.seeds.max(1)
    }

    /// The same as one JSON object. Names are our own and need no escapes.
    pub fn json(&self) -> String {
        let mut out = String::new();
        let tenths = self.view_changes_mean_tenths();
        let _ = write!(
            out,
            "{{\"seeds\":{},\"view_changes_mean\":{}.{},\"messages_mean\":{},\"reached\":[",
            self.seeds,
            tenths / 10,
            tenths % 10,
            self.messages_mean()
        );
        for (n, ((kind, name), seeds)) in self.counts.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let kind = kind.title();
            let _ = write!(out, "{comma}{{\"kind\":\"{kind}\",\"name\":\"{name}\",\"seeds\":{seeds}}}");
        }
        out.push_str("]}");
        out
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.counts.keys().map(|(_, name)| name.len()).max().unwrap_or(0).max(4);
        writeln!(f, "{:<14} {:<width$} {:>8}", "KIND", "NAME", "SEEDS")?;
        for ((kind, name), seeds) in &self.counts {
            let flag = if *seeds == 0 { "  never" } else { "" };
            writeln!(f, "{:<14} {name:<width$} {seeds:>8}{flag}", kind.title())?;
        }
        let tenths = self.view_changes_mean_tenths();
        writeln!(
            f,
            "{} seeds, {}.{} view changes and {} messages a seed on average",
            self.seeds,
            tenths / 10,
            tenths % 10,
            self.messages_mean()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_reached_shows_as_zero() {
        let expected = [(Kind::Fault, "cut"), (Kind::Fault, "crash")];
        let mut coverage = Coverage::expecting(&expected);
        let mut reached = Reached::new();
        reached.insert((Kind::Fault, "crash"));
        coverage.add(&reached, 3, 500);
        let mut twice = coverage.clone();
        twice.merge(&coverage);
        assert_eq!(twice.seeds(), 2);
        assert_eq!(twice.messages_mean(), 500);
        assert_eq!(twice.missing().collect::<Vec<_>>(), vec![(Kind::Fault, "cut")]);
        assert!(twice.to_string().contains("never"));
        assert!(twice.json().contains("{\"kind\":\"fault\",\"name\":\"crash\",\"seeds\":2}"));
    }
}
