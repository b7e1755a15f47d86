//! Randomness: one seeded generator per concern, so that a change to one concern does not shift the others.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What the dice are for. Each concern of a seed draws from its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The options of the seed.
    Swarm = 1,
    /// Ties, latencies and losses.
    Network = 2,
    /// Times of writes, what a crash leaves.
    Disk = 3,
    /// Rates and origins of clocks, seeds of hosts.
    Clock = 4,
    /// Which fault strikes when.
    Faults = 5,
    /// What the application does.
    Workload = 6,
    /// Which transition is a site's last.
    Doom = 7,
    /// Which profile a seed has.
    Profile = 8,
    /// The plan of a seed of the durable workload.
    Durable = 9,
    /// Times of stores' work, what a crash leaves of it, how their disks fail.
    Stores = 10,
    /// What the clients of a durable group do.
    Clients = 11,
    /// Which fault strikes which store.
    Mischief = 12,
    /// How long a site's turns last.
    Turns = 13,
}

/// Seeded dice.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of one concern of one seed.
    pub fn new(seed: u64, concern: Concern) -> Dice {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = concern as u8;
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// An index into something of this length, which must not be empty.
    pub fn index(&mut self, len: usize) -> usize {
        assert!(len > 0, "nothing to choose from");
        self.below(len as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many cases of a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// One of these; `choices` must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// A duration from `low` to `high`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(low.as_nanos() as u64, high.as_nanos() as u64))
    }

    /// A waiting time with this mean: mostly short, sometimes up to seven times the mean.
    pub fn wait(&mut self, mean: Duration) -> Duration {
        // The sum of -ln(u) is wanted without floating point, whose rounding may differ between machines:
        // count halvings, which have the same law as an exponential in steps of ln 2.
        let halvings = u64::from(self.0.next_u64().leading_zeros().min(9));
        let within = self.below(1000);
        Duration::from_nanos((mean.as_nanos() as u64).saturating_mul(halvings * 1000 + within) / 1500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_concerns_differ() {
        let draw = |concern| {
            let mut dice = Dice::new(7, concern);
            (0..8).map(|_| dice.number()).collect::<Vec<_>>()
        };
        assert_eq!(draw(Concern::Network), draw(Concern::Network));
        assert_ne!(draw(Concern::Network), draw(Concern::Disk));
    }

    #[test]
    fn bounds_are_kept_and_the_mean_wait_is_near_the_mean() {
        let mut dice = Dice::new(1, Concern::Swarm);
        let mean = Duration::from_millis(10);
        let mut total = Duration::ZERO;
        for _ in 0..4000 {
            assert!((3..=5).contains(&dice.between(3, 5)));
            assert!(dice.below(2) < 2);
            total += dice.wait(mean);
        }
        let average = total / 4000;
        assert!(average > mean / 2 && average < mean * 2, "{average:?}");
    }
}
