//! How eagerly a site probes: per cluster, and tightened per group.

use std::time::Duration;

use wire::Bugs;

/// How eagerly to probe. A site that runs several groups uses the strictest of their settings
/// ([`Settings::merge_strictest`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A monitored site that was silent for this long is probed.
    pub probe_interval: Duration,
    /// How often an unanswered probe is repeated before the silence counts.
    pub retries: u32,
    /// A probe is given at least this long.
    pub timeout_floor: Duration,
    /// A probe is given at most this long, however slow the site was.
    pub timeout_ceiling: Duration,
    /// How many successors on the ring a site monitors.
    pub successors: usize,
    /// Real-time mode: the detector says whether detection holds this bound.
    pub bound: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            probe_interval: Duration::from_millis(150),
            retries: 3,
            timeout_floor: Duration::from_millis(60),
            timeout_ceiling: Duration::from_secs(2),
            successors: 2,
            bound: None,
        }
    }
}

impl Settings {
    /// What satisfies both: of every setting the one that detects sooner, and more monitors.
    pub fn merge_strictest(self, other: Settings) -> Settings {
        Settings {
            probe_interval: self.probe_interval.min(other.probe_interval),
            retries: self.retries.min(other.retries),
            timeout_floor: self.timeout_floor.min(other.timeout_floor),
            timeout_ceiling: self.timeout_ceiling.min(other.timeout_ceiling),
            successors: self.successors.max(other.successors),
            bound: match (self.bound, other.bound) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
        }
    }

    /// The settings as they can be used: no zero that would make a timer fire for ever.
    pub(crate) fn usable(self) -> Settings {
        let floor = self.timeout_floor.max(Duration::from_millis(1));
        Settings {
            probe_interval: self.probe_interval.max(Duration::from_millis(5)),
            retries: self.retries.min(16),
            timeout_floor: floor,
            timeout_ceiling: self.timeout_ceiling.max(floor),
            successors: self.successors.max(1),
            bound: self.bound,
        }
    }

    /// How often a probe is sent, the first included.
    pub fn tries(&self) -> u32 {
        self.retries + 1
    }

    /// The longest from a site's last sign of life to its failure being established, if a probe is given
    /// `timeout` and no packet is lost: the pause before the probe, its tries, and then the refutation, in
    /// which the others have probed too. A silence that runs along the ring takes one bound per
    /// [`Settings::successors`] sites.
    pub fn detection_bound(&self, timeout: Duration) -> Duration {
        self.probe_interval + timeout * self.tries() + self.refutation(timeout)
    }

    /// How long a suspect and all others have to say that it lives.
    pub(crate) fn refutation(&self, timeout: Duration) -> Duration {
        timeout * (self.tries() + 1)
    }
}

/// What a detector is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// How eagerly to probe.
    pub settings: Settings,
    /// Bugs to re-introduce; empty in the shipped program.
    pub bugs: Bugs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_finds_a_cut_host_within_a_second() {
        let settings = Settings::default();
        assert!(settings.detection_bound(settings.timeout_floor) < Duration::from_secs(1));
    }

    #[test]
    fn the_strictest_of_two_settings_satisfies_both() {
        let calm = Settings { successors: 3, bound: Some(Duration::from_secs(2)), ..Settings::default() };
        let eager = Settings { probe_interval: Duration::from_millis(50), ..Settings::default() };
        let both = calm.merge_strictest(eager);
        assert_eq!(both, eager.merge_strictest(calm));
        assert_eq!((both.probe_interval, both.successors), (Duration::from_millis(50), 3));
        assert_eq!(both.bound, Some(Duration::from_secs(2)));
    }
}
