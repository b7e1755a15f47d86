//! Which pairs go when.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::pair::Pair;

/// The pairs with a time to live: those that go first before the others, then by key.
#[derive(Clone, Debug, Default)]
pub(super) struct DueSet {
    pairs: BTreeSet<Due>,
}

impl DueSet {
    /// A pair came, or came to stay: then it is none of these.
    pub fn insert(&mut self, pair: &Pair) {
        if pair.expires().is_some() {
            self.pairs.insert(Due(pair.clone()));
        }
    }

    /// A pair went.
    pub fn remove(&mut self, pair: &Pair) {
        if pair.expires().is_some() {
            self.pairs.remove(&Due(pair.clone()));
        }
    }

    /// When the first goes.
    pub fn next(&self) -> Option<u64> {
        self.pairs.first().and_then(|due| due.0.expires())
    }

    /// Takes the first out, if its time is over.
    pub fn pop(&mut self, clock: u64) -> Option<Pair> {
        match self.pairs.first() {
            Some(first) if first.0.is_due(clock) => self.pairs.pop_first().map(|due| due.0),
            _ => None,
        }
    }

    /// Whether it is known when a pair goes.
    pub fn contains(&self, pair: &Pair) -> bool {
        pair.expires().is_none() || self.pairs.contains(&Due(pair.clone()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }
}

/// A pair by its end, then its key. It shares the pair's bytes.
#[derive(Clone, Debug)]
struct Due(Pair);

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        (self.0.expires(), self.0.key()).cmp(&(other.0.expires(), other.0.key()))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
