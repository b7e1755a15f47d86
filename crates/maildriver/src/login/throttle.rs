//! How often one may guess. Failures are counted by account and by address; beyond the free ones each doubles the
//! wait. A guess is counted when it begins and taken back when it was right, so that guesses at the same time
//! are as many as those one after another.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use wire::Time;

use super::limits::{
    ACCOUNT_FAILURES_FREE, ADDRESS_FAILURES_FREE, COUNTED_MAX, FAILURES_MEMORY, TRUST, WAIT_MAX,
};
use super::recent::Recent;

/// An account, whether it exists or not: a keyed hash of the name.
pub(super) type Account = [u8; 16];

/// Who an address belongs to, as far as can be told: of IPv6 a customer has a /64 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin(Option<IpAddr>);

impl Origin {
    pub fn of(address: Option<IpAddr>) -> Origin {
        Origin(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        }))
    }
}

#[derive(Debug)]
pub(super) struct Throttle {
    accounts: Recent<Account, u32>,
    origins: Recent<Origin, u32>,
    /// Where accounts have logged in from.
    trusted: Recent<(Account, Origin), ()>,
}

impl Throttle {
    pub fn new() -> Throttle {
        Throttle {
            accounts: Recent::new(FAILURES_MEMORY, COUNTED_MAX),
            origins: Recent::new(FAILURES_MEMORY, COUNTED_MAX),
            trusted: Recent::new(TRUST, COUNTED_MAX),
        }
    }

    /// Begins a guess, if one may be made now. An address from which the account has logged in is not held up by
    /// what others do to the account: nobody is locked out by a stranger.
    pub fn begin(&mut self, now: Time, account: Account, origin: Origin) -> bool {
        if !self.may_guess(now, account, origin) {
            return false;
        }
        count(&mut self.origins, now, origin);
        count(&mut self.accounts, now, account);
        true
    }

    pub fn may_guess(&self, now: Time, account: Account, origin: Origin) -> bool {
        let trusted = self.trusted.get(now, &(account, origin)).is_some();
        !waits(&self.origins, now, &origin, ADDRESS_FAILURES_FREE)
            && (trusted || !waits(&self.accounts, now, &account, ACCOUNT_FAILURES_FREE))
    }

    /// The guess was right. Only it is taken back: else whoever has one account could guess at others for ever.
    pub fn right(&mut self, now: Time, account: Account, origin: Origin) {
        self.take_back(account, origin);
        self.trusted.put(now, (account, origin), ());
    }

    /// The guess was not judged.
    pub fn take_back(&mut self, account: Account, origin: Origin) {
        self.origins.change(&origin, |failures| *failures = failures.saturating_sub(1));
        self.accounts.change(&account, |failures| *failures = failures.saturating_sub(1));
    }
}

fn count<K: Ord + Clone>(failures: &mut Recent<K, u32>, now: Time, key: K) {
    let before = failures.get(now, &key).map_or(0, |(_, failures)| *failures);
    failures.put(now, key, before.saturating_add(1));
}

/// Whether there have been so many failures that no guess may be made yet.
fn waits<K: Ord + Clone>(failures: &Recent<K, u32>, now: Time, key: &K, free: u32) -> bool {
    let Some((last, count)) = failures.get(now, key) else { return false };
    let Some(over) = count.checked_sub(free) else { return false };
    let wait = Duration::from_secs(1u64.checked_shl(over).unwrap_or(u64::MAX)).min(WAIT_MAX);
    now < last + wait
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Account = [1; 16];

    fn origin(last: u8) -> Origin {
        Origin::of(Some(IpAddr::from([192, 0, 2, last])))
    }

    /// Guesses that are let through when one is tried every millisecond.
    fn guesses(throttle: &mut Throttle, account: impl Fn(u64) -> Account, from: u8, minutes: u64) -> usize {
        let tries = (0..minutes * 60_000).filter(|n| {
            let now = Time::from_millis(*n);
            throttle.begin(now, account(*n), origin(from))
        });
        tries.count()
    }

    #[test]
    fn guessing_is_throttled() {
        let mut throttle = Throttle::new();
        let many = guesses(&mut throttle, |_| ANN, 1, 60);
        assert!((10..20).contains(&many), "{many} guesses at one account");
        let any = |n: u64| u128::from(n).to_be_bytes();
        let many = guesses(&mut throttle, any, 2, 60);
        assert!((20..35).contains(&many), "{many} guesses from one address");
    }

    #[test]
    fn nobody_is_locked_out_by_a_stranger() {
        let mut throttle = Throttle::new();
        assert!(throttle.begin(Time::ZERO, ANN, origin(1)));
        throttle.right(Time::ZERO, ANN, origin(1));
        guesses(&mut throttle, |_| ANN, 2, 1);
        let now = Time::from_millis(60_000);
        assert!(!throttle.may_guess(now, ANN, origin(3)));
        assert!(throttle.may_guess(now, ANN, origin(1)));
        // A password that is right again and again is never in the way.
        for _ in 0..100 {
            assert!(throttle.begin(now, ANN, origin(1)));
            throttle.right(now, ANN, origin(1));
        }
        assert!(throttle.may_guess(now + FAILURES_MEMORY, ANN, origin(3)), "it is forgotten");
    }

    #[test]
    fn guesses_at_the_same_time_count() {
        let mut throttle = Throttle::new();
        let begun = (0..100).filter(|n| throttle.begin(Time::ZERO, ANN, origin(*n))).count();
        assert_eq!(begun, ACCOUNT_FAILURES_FREE as usize);
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let of = |text: &str| Origin::of(Some(text.parse().expect("an address")));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:3:4:5:6"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
