//! R, the time that a question and its answer take (A7), when an answer has to wait for a disk.
//!
//! Who is asked to promise or to accept answers when that is on its disk. What detection measures knows nothing of that:
//! where a write takes longer than a round trip, every attempt would be given up before its answers are there, and each
//! attempt adds a write to the queue. So R has in it what this site's own writes take, and it doubles with every attempt
//! that was given up, for those whose disks are slower than this one.

use std::collections::VecDeque;
use std::time::Duration;

use wire::Time;

use crate::kernel::Ticket;

/// What a write may add to R.
const WRITE_CEILING: Duration = Duration::from_secs(1);
/// R doubles so many times at most.
const DOUBLED_MAX: u32 = 3;

/// How fast agreement can be expected to go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    under_way: VecDeque<(Ticket, Time)>,
    /// The mean time of a write, with what was queued before it, and its mean deviation; none before the first.
    write: Option<(Duration, Duration)>,
    abandoned: u32,
}

impl Pace {
    /// A write was given to the disk.
    pub(crate) fn asked(&mut self, now: Time, ticket: Ticket) {
        self.under_way.push_back((ticket, now));
    }

    /// This write is done, and so is each before it.
    pub(crate) fn stored(&mut self, now: Time, ticket: Ticket) {
        while let Some((_, at)) = self.under_way.pop_front_if(|(asked, _)| *asked <= ticket) {
            self.sample(now.since(at));
        }
    }

    /// As round trips are estimated [RFC 6298].
    fn sample(&mut self, took: Duration) {
        self.write = Some(match self.write {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(took);
                ((mean * 7 + took) / 8, (deviation * 3 + off) / 4)
            }
        });
    }

    /// An attempt was given up.
    pub(crate) fn abandoned(&mut self) {
        self.abandoned = (self.abandoned + 1).min(DOUBLED_MAX);
    }

    /// A view was installed.
    pub(crate) fn installed(&mut self) {
        self.abandoned = 0;
    }

    /// R, from the bound on a round trip.
    pub(crate) fn round(&self, round_trip: Duration) -> Duration {
        let write = self.write.map_or(Duration::ZERO, |(mean, deviation)| mean + deviation * 4);
        (round_trip + write.min(WRITE_CEILING)) * (1 << self.abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(20);

    #[test]
    fn a_round_has_the_disk_in_it() {
        let mut pace = Pace::default();
        assert_eq!(pace.round(TRIP), TRIP);
        let mut now = Time::ZERO;
        for ticket in 0..100 {
            pace.asked(now, Ticket(ticket));
            now = now + Duration::from_millis(90);
            pace.stored(now, Ticket(ticket));
        }
        let round = pace.round(TRIP);
        assert!(round >= Duration::from_millis(110) && round < Duration::from_millis(120), "{round:?}");
        // A disk that stands still for an hour does not stop agreement for as long.
        pace.asked(now, Ticket(100));
        pace.stored(now + Duration::from_secs(3_600), Ticket(100));
        assert_eq!(pace.round(TRIP), TRIP + WRITE_CEILING);
    }

    #[test]
    fn who_gives_up_waits_longer_until_a_view_comes() {
        let mut pace = Pace::default();
        for times in [2, 4, 8, 8] {
            pace.abandoned();
            assert_eq!(pace.round(TRIP), TRIP * times);
        }
        pace.installed();
        assert_eq!(pace.round(TRIP), TRIP);
    }
}
