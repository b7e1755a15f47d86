//! A set of positions as ranges: what is damaged.

use std::collections::BTreeMap;

/// Ranges that are kept at most; more are not listed until some are gone.
pub const RANGES_MAX: usize = 65_536;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First to last, both included; apart from each other.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    pub fn insert(&mut self, mut first: u64, mut last: u64) {
        let touching = |(f, l): (&u64, &u64)| (*f, *l);
        while let Some((f, l)) = self
            .ranges
            .range(..=last.saturating_add(1))
            .next_back()
            .map(touching)
            .filter(|(_, l)| l.saturating_add(1) >= first)
        {
            self.ranges.remove(&f);
            (first, last) = (first.min(f), last.max(l));
        }
        if self.ranges.len() < RANGES_MAX {
            self.ranges.insert(first, last);
        }
    }

    pub fn remove(&mut self, first: u64, last: u64) {
        let inside: Vec<(u64, u64)> = self
            .ranges
            .range(..=last)
            .rev()
            .map(|(f, l)| (*f, *l))
            .take_while(|(_, l)| *l >= first)
            .collect();
        for (f, l) in inside {
            self.ranges.remove(&f);
            if f < first {
                self.ranges.insert(f, first - 1);
            }
            if l > last {
                self.ranges.insert(last + 1, l);
            }
        }
    }

    pub fn contains(&self, position: u64) -> bool {
        self.ranges.range(..=position).next_back().is_some_and(|(_, last)| *last >= position)
    }

    /// The ranges that meet this one, cut to it.
    pub fn within(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self.ranges.range(..first).next_back().filter(|(_, l)| **l >= first);
        before
            .into_iter()
            .chain(self.ranges.range(first..).take_while(move |(f, _)| **f <= last))
            .map(move |(f, l)| ((*f).max(first), (*l).min(last)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(f, l)| (*f, *l))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_split_and_are_found() {
        let mut ranges = Ranges::default();
        for (first, last) in [(5, 7), (20, 30), (8, 9), (1, 2), (3, 3)] {
            ranges.insert(first, last);
        }
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 3), (5, 9), (20, 30)]);
        ranges.remove(7, 24);
        ranges.remove(1, 1);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(2, 3), (5, 6), (25, 30)]);
        assert_eq!(ranges.within(3, 26).collect::<Vec<_>>(), [(3, 3), (5, 6), (25, 26)]);
        assert!(ranges.contains(6) && !ranges.contains(7) && ranges.contains(30) && !ranges.contains(0));
        ranges.insert(0, u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
    }
}
