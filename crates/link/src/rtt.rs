//! The round trip, smoothed, and the retransmission time that follows from it [RFC 6298].

use std::time::Duration;

use crate::config::Config;

/// An estimate of the round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    /// Smoothed round trip and its mean deviation; nothing before the first measurement.
    measured: Option<(Duration, Duration)>,
    backoff: u32,
}

impl Estimate {
    /// Takes one measurement of a packet that was sent once [Karn's rule].
    pub fn measure(&mut self, sample: Duration) {
        self.measured = Some(match self.measured {
            None => (sample, sample / 2),
            Some((mean, deviation)) => {
                let error = mean.abs_diff(sample);
                ((mean * 7 + sample) / 8, (deviation * 3 + error) / 4)
            }
        });
    }

    /// Progress: the next retransmission time is not lengthened.
    pub fn forgive(&mut self) {
        self.backoff = 0;
    }

    /// No progress: the next retransmission time is twice as long.
    pub fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    /// The smoothed round trip; zero before the first measurement.
    pub fn smoothed(&self) -> Duration {
        self.measured.map_or(Duration::ZERO, |(mean, _)| mean)
    }

    /// How long to wait for progress.
    pub fn retransmit_after(&self, config: &Config) -> Duration {
        let base = match self.measured {
            None => config.retransmit_initial,
            Some((mean, deviation)) => mean + deviation * 4 + config.ack_delay,
        };
        (base.max(config.retransmit_min) * (1 << self.backoff)).min(config.retransmit_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retransmission_time_stays_within_its_bounds() {
        let config = Config::default();
        let mut estimate = Estimate::default();
        assert_eq!(estimate.retransmit_after(&config), config.retransmit_initial);
        estimate.measure(Duration::from_micros(50));
        assert_eq!(estimate.retransmit_after(&config), config.retransmit_min);
        estimate.measure(Duration::from_secs(9));
        assert_eq!(estimate.retransmit_after(&config), config.retransmit_max);
        for _ in 0..100 {
            estimate.back_off();
        }
        assert_eq!(estimate.retransmit_after(&config), config.retransmit_max);
    }
}
