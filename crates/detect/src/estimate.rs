//! What was measured: round trips, and how late this site's own timers fire.

use std::time::Duration;

/// Smoothed round trip and its variance (RFC 6298), with a slowly forgotten worst case: a probe's answer
/// waits for the scheduler of a busy machine, and those waits come in bursts that a mean smooths away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    smoothed: Option<Duration>,
    variance: Duration,
    worst: Duration,
}

impl RoundTrip {
    /// Takes one measured round trip.
    pub fn sample(&mut self, measured: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(measured);
                self.variance = measured / 2;
            }
            Some(smoothed) => {
                self.variance = (self.variance * 3 + smoothed.abs_diff(measured)) / 4;
                self.smoothed = Some((smoothed * 7 + measured) / 8);
            }
        }
        self.worst = measured.max(self.worst * 15 / 16);
    }

    /// The smoothed round trip, once there was one.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How long an answer may take before it is missed, before floor and ceiling; none without a sample.
    pub fn timeout(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| (smoothed + self.variance * 4).max(self.worst * 5 / 4))
    }
}

/// How late this site's timers fire: the worst of late, forgotten by an eighth with every timer on time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    worst: Duration,
}

impl Lateness {
    /// A timer fired this much after it was due.
    pub fn sample(&mut self, late: Duration) {
        self.worst = late.max(self.worst * 7 / 8);
    }

    /// What to add to a time-out.
    pub fn margin(&self) -> Duration {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_grows_with_the_spread_and_forgets_it() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(), None);
        for _ in 0..50 {
            trip.sample(Duration::from_millis(2));
        }
        let calm = trip.timeout().expect("there were samples");
        assert!(calm < Duration::from_millis(4), "{calm:?}");
        trip.sample(Duration::from_millis(80));
        assert!(trip.timeout().expect("there were samples") >= Duration::from_millis(80));
        for _ in 0..100 {
            trip.sample(Duration::from_millis(2));
        }
        assert!(trip.timeout().expect("there were samples") < Duration::from_millis(6));
    }
}
