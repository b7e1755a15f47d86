//! How much may come of one user, or of one stranger's address, in an hour. What one has left fills again evenly, so that who was
//! stopped may go on slowly. Each site counts for itself.

use std::net::IpAddr;
use std::time::Duration;

use mail::UserId;
use wire::Time;

use super::limits::COUNTED_MAX;
use super::recent::Recent;
use super::throttle::Origin;

const HOUR: Duration = Duration::from_secs(3_600);

/// What letters cost, and who pays.
#[derive(Debug)]
pub struct Rates {
    users: Option<Buckets<UserId>>,
    strangers: Option<Buckets<Origin>>,
}

/// Of each that was counted lately, when all that it has used would be there again.
#[derive(Debug)]
struct Buckets<K> {
    per_hour: u32,
    full_again: Recent<K, Time>,
}

impl Rates {
    /// Recipients in an hour of each user, letters of each stranger's address; 0 is no bound.
    pub fn new(recipients_of_a_user: u32, letters_of_a_stranger: u32) -> Rates {
        Rates { users: Buckets::new(recipients_of_a_user), strangers: Buckets::new(letters_of_a_stranger) }
    }

    /// Whether a user may send a letter to so many now. If so, it is counted.
    pub fn user_may_send(&mut self, now: Time, user: UserId, recipients: usize) -> bool {
        self.users.as_mut().is_none_or(|users| users.take(now, user, recipients))
    }

    /// Whether one more letter may come from an address now. If so, it is counted.
    pub fn stranger_may_send(&mut self, now: Time, from: IpAddr) -> bool {
        self.strangers.as_mut().is_none_or(|strangers| strangers.take(now, Origin::of(Some(from)), 1))
    }
}

impl<K: Ord + Clone> Buckets<K> {
    fn new(per_hour: u32) -> Option<Buckets<K>> {
        (per_hour > 0).then(|| Buckets { per_hour, full_again: Recent::new(HOUR, COUNTED_MAX) })
    }

    /// One that costs more than an hour gives comes when nothing was used.
    fn take(&mut self, now: Time, who: K, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.per_hour);
        let cost = HOUR * count / self.per_hour;
        let full_again = self.full_again.get(now, &who).map_or(now, |(_, at)| now.max(*at)) + cost;
        let may = full_again <= now + HOUR;
        if may {
            self.full_again.put(now, who, full_again);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn who_has_used_an_hours_worth_goes_on_slowly() {
        let mut rates = Rates::new(60, 0);
        let (ann, bob) = (UserId(1), UserId(2));
        assert!(rates.user_may_send(at(0), ann, 50) && rates.user_may_send(at(0), ann, 10));
        assert!(!rates.user_may_send(at(0), ann, 1) && !rates.user_may_send(at(59), ann, 1));
        assert!(rates.user_may_send(at(59), bob, 60), "each has its own");
        // What was refused was not counted.
        assert!(rates.user_may_send(at(60), ann, 1) && !rates.user_may_send(at(60), ann, 1));
        assert!(rates.user_may_send(at(2 * 3_600), ann, 60) && !rates.user_may_send(at(2 * 3_600), ann, 1));
    }

    #[test]
    fn a_letter_to_more_than_an_hour_gives_is_sent_once_in_an_hour() {
        let mut rates = Rates::new(60, 0);
        assert!(rates.user_may_send(at(0), UserId(1), 1_000));
        assert!(!rates.user_may_send(at(3_599), UserId(1), 1_000));
        assert!(rates.user_may_send(at(3_600), UserId(1), 1_000));
    }

    #[test]
    fn a_strangers_network_is_one_address() {
        let mut rates = Rates::new(0, 2);
        let from = |text: &str| text.parse().expect("an address");
        assert!(rates.stranger_may_send(at(0), from("2001:db8::1")));
        assert!(rates.stranger_may_send(at(0), from("2001:db8::2")));
        assert!(!rates.stranger_may_send(at(0), from("2001:db8::3")));
        assert!(rates.stranger_may_send(at(0), from("2001:db8:0:1::1")));
        assert!((0..1_000).all(|_| rates.user_may_send(at(0), UserId(1), 1_000)), "0 is no bound");
    }

    #[test]
    fn those_that_are_remembered_are_bounded() {
        let mut rates = Rates::new(1, 0);
        (0..COUNTED_MAX as u32 + 10).for_each(|user| assert!(rates.user_may_send(at(0), UserId(user), 1)));
        assert!(rates.users.as_ref().is_some_and(|users| users.full_again.len() <= COUNTED_MAX));
    }
}
