//! A map that forgets: what was not touched for its life, and the oldest when it is full.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::Time;

#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    items: BTreeMap<K, (Time, V)>,
    order: BTreeSet<(Time, K)>,
    life: Duration,
    max: usize,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub fn new(life: Duration, max: usize) -> Recent<K, V> {
        Recent { items: BTreeMap::new(), order: BTreeSet::new(), life, max }
    }

    /// When it was put there, and what it is, unless its life is over.
    pub fn get(&self, now: Time, key: &K) -> Option<(Time, &V)> {
        let (at, value) = self.items.get(key)?;
        (now < *at + self.life).then_some((*at, value))
    }

    pub fn put(&mut self, now: Time, key: K, value: V) {
        self.remove(&key);
        while self.items.len() >= self.max || self.order.first().is_some_and(|(at, _)| now >= *at + self.life)
        {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.items.remove(&oldest);
        }
        self.order.insert((now, key.clone()));
        self.items.insert(key, (now, value));
    }

    pub fn remove(&mut self, key: &K) {
        if let Some((at, _)) = self.items.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// Changes a value without touching its time.
    pub fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        if let Some((_, value)) = self.items.get_mut(key) {
            change(value);
        }
    }

    /// The keys in a range.
    pub fn keys(&self, range: impl std::ops::RangeBounds<K>) -> Vec<K> {
        self.items.range(range).map(|(key, _)| key.clone()).collect()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_too_much_goes() {
        let mut recent = Recent::new(Duration::from_secs(10), 3);
        let at = |seconds: u64| Time::ZERO + Duration::from_secs(seconds);
        for key in 0..5u32 {
            recent.put(at(u64::from(key)), key, ());
        }
        assert_eq!((recent.len(), recent.keys(..)), (3, vec![2, 3, 4]));
        recent.put(at(5), 2, ());
        recent.put(at(6), 7, ());
        assert_eq!(recent.keys(..), [2, 4, 7], "what was touched stays");
        assert!(recent.get(at(14), &2).is_some() && recent.get(at(15), &2).is_none());
        recent.put(at(100), 9, ());
        assert_eq!(recent.keys(..), [9], "what is over goes when something comes");
        recent.remove(&9);
        assert_eq!(recent.order.len(), 0);
    }
}
