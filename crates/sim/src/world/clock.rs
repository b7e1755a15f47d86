//! A site's clock: its own origin and its own rate, and it may find that time has jumped.

use std::time::Duration;

use wire::Time;

use crate::dice::Dice;

/// The clock of one life of a site.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Time,
    origin: Time,
    rate_ppm: u64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// A clock that starts now, anywhere, and drifts by at most `drift_ppm_max` parts in a million.
    pub fn start(now: Time, drift_ppm_max: u64, dice: &mut Dice) -> Clock {
        assert!(drift_ppm_max < MILLION, "a clock must go forward");
        let origin = Time::from_millis(dice.below(1_000_000));
        let rate_ppm = MILLION + dice.between(0, 2 * drift_ppm_max) - drift_ppm_max;
        Clock { started: now, origin, rate_ppm }
    }

    /// What the clock shows.
    pub fn local(&self, now: Time) -> Time {
        self.origin + scale(now.since(self.started), self.rate_ppm, MILLION)
    }

    /// When the clock will show this, never before `now`.
    pub fn when(&self, local: Time, now: Time) -> Time {
        let world = self.started + scale(local.since(self.origin), MILLION, self.rate_ppm);
        // One more nanosecond for what the division cut off: a timer never fires early by its own clock.
        (world + Duration::from_nanos(2)).max(now)
    }
}

fn scale(d: Duration, numerator: u64, denominator: u64) -> Duration {
    Duration::from_nanos((d.as_nanos() * u128::from(numerator) / u128::from(denominator)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Concern;

    #[test]
    fn a_timer_does_not_fire_early_by_the_clock_that_set_it() {
        let mut dice = Dice::new(3, Concern::Clock);
        for _ in 0..200 {
            let start = Time::from_nanos(dice.below(1 << 40));
            let clock = Clock::start(start, 50_000, &mut dice);
            let wanted = clock.local(start) + Duration::from_nanos(dice.below(1 << 40));
            let fires = clock.when(wanted, start);
            assert!(clock.local(fires) >= wanted);
            assert!(clock.local(fires).since(wanted) < Duration::from_nanos(10));
        }
    }
}
