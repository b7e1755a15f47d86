//! Many measured times in three numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The median, the 99th percentile and the longest; in the unit that the field's name says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// None took longer.
    pub max: f64,
    /// How many there were.
    pub count: usize,
}

impl Summary {
    /// In microseconds.
    pub fn in_us(times: &[Duration]) -> Option<Summary> {
        Summary::of(times, |time| time.as_secs_f64() * 1e6)
    }

    /// In milliseconds.
    pub fn in_ms(times: &[Duration]) -> Option<Summary> {
        Summary::of(times, |time| time.as_secs_f64() * 1e3)
    }

    fn of(times: &[Duration], unit: impl Fn(Duration) -> f64) -> Option<Summary> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        // The nearest rank.
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Some(Summary { p50: unit(rank(50)), p99: unit(rank(99)), max: unit(max), count: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_times_of_the_nearest_rank() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let summary = Summary::in_us(&times).expect("there are some");
        assert_eq!((summary.p50, summary.p99, summary.max, summary.count), (100.0, 198.0, 200.0, 200));
        let one = Summary::in_ms(&[Duration::from_millis(7)]).expect("there is one");
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
        assert_eq!(Summary::in_us(&[]), None);
    }
}
