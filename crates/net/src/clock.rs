//! The real clock: `wire::Time` from the kernel's boot-time clock, which is monotone and goes on while the
//! machine sleeps, so that a site that slept notices how late it is.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wire::Time;

/// A clock whose origin is the moment it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Duration,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Clock {
        Clock { origin: boot_time() }
    }

    /// The time since the clock was made.
    pub fn now(&self) -> Time {
        Time::ZERO + boot_time().saturating_sub(self.origin)
    }

    /// Waits until `deadline`, which may have passed.
    pub async fn sleep_until(&self, deadline: Time) {
        tokio::time::sleep(deadline.since(self.now())).await;
    }
}

fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).expect("time since boot is not negative");
    Duration::new(seconds, u32::try_from(now.tv_nsec).expect("nanoseconds are below a second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_begins_near_zero_and_never_goes_back() {
        let clock = Clock::start();
        let mut last = clock.now();
        assert!(last < Time::from_millis(60_000));
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
