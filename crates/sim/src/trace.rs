//! What happened, as a digest always and as readable lines when somebody wants to read them.
//!
//! A run is reproducible, so nothing is kept in words the first time: a failing seed is run again with its
//! lines kept. Two runs are the same if their digests are.

use std::collections::VecDeque;
use std::fmt;

use wire::Time;

/// A digest over everything that happened, in order. Not cryptographic: it tells runs apart, it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Of nothing.
    pub const EMPTY: Digest = Digest(0xcbf2_9ce4_8422_2325);

    /// The digest as a number.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A digest that goes on from this one.
    pub fn of(value: u64) -> Digest {
        Digest(value)
    }

    /// Adds a number.
    pub fn number(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(16);
        for chunk in &mut chunks {
            self.pair(u128::from_le_bytes(chunk.try_into().expect("a chunk of sixteen")));
        }
        let mut rest = [0; 16];
        rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.pair(u128::from_le_bytes(rest));
    }

    fn pair(&mut self, pair: u128) {
        let (low, high) = (pair as u64 ^ self.0, (pair >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15);
        let product = u128::from(low) * u128::from(high);
        self.0 = (product as u64 ^ (product >> 64) as u64).rotate_left(23).wrapping_add(low);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How much of a run is kept in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// The last so many lines.
    Last(usize),
    /// Everything.
    All,
}

/// The record of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    keep: Keep,
    digest: Digest,
    events: u64,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty one.
    pub fn new(keep: Keep) -> Trace {
        Trace { keep, digest: Digest::EMPTY, events: 0, lines: VecDeque::new() }
    }

    /// Adds one event: its kind and parties, its bytes, and how to say it.
    pub fn event(&mut self, at: Time, key: [u64; 3], bytes: &[u8], say: impl FnOnce() -> String) {
        self.events += 1;
        self.digest.number(at.as_nanos());
        for n in key {
            self.digest.number(n);
        }
        self.digest.bytes(bytes);
        let bound = match self.keep {
            Keep::Nothing => return,
            Keep::Last(n) => n,
            Keep::All => usize::MAX,
        };
        if self.lines.len() >= bound {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{at:?}  {}", say()));
    }

    /// The digest so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines that were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_order_and_content() {
        let of = |keys: &[u64]| {
            let mut trace = Trace::new(Keep::Last(1));
            for &k in keys {
                trace.event(Time::ZERO, [k, 0, 0], b"0123456789", || k.to_string());
            }
            assert_eq!(trace.events(), keys.len() as u64);
            (trace.digest(), trace.into_lines().len())
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]).0, of(&[2, 1]).0);
    }
}
