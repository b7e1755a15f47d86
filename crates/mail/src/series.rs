//! A sequence ordered by a key that only grows: appended at the end, removed anywhere, found by key or by
//! place in O(log n). Kept in chunks that copies share, so that a copy for a checkpoint costs a pointer per
//! chunk and later changes copy only what they touch.

use std::sync::Arc;

/// Items of one chunk. A chunk of 24-byte records is 3 KiB.
const CHUNK_ITEMS_MAX: usize = 128;

/// What a series is ordered by.
pub(crate) trait Keyed: Clone {
    type Key: Ord + Copy;
    fn key(&self) -> Self::Key;
}

#[derive(Clone, Debug)]
pub(crate) struct Series<T> {
    /// None is empty; two neighbours together are more than half a chunk.
    chunks: Vec<Arc<Vec<T>>>,
    /// A Fenwick tree over the chunks' lengths.
    lengths: Vec<u32>,
    len: usize,
}

impl<T> Default for Series<T> {
    fn default() -> Series<T> {
        Series { chunks: Vec::new(), lengths: Vec::new(), len: 0 }
    }
}

/// Equal if the items are; where the chunks begin depends on history.
impl<T: Keyed + PartialEq> PartialEq for Series<T> {
    fn eq(&self, other: &Series<T>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Keyed + Eq> Eq for Series<T> {}

impl<T: Keyed> Series<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.chunks.last().and_then(|chunk| chunk.last())
    }

    /// Appends an item whose key is above all others.
    pub(crate) fn push(&mut self, item: T) {
        assert!(self.last().is_none_or(|last| last.key() < item.key()), "the keys of a series ascend");
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_ITEMS_MAX => {
                Arc::make_mut(chunk).push(item);
                self.lengthen(self.chunks.len() - 1, 1);
            }
            Some(_) | None => {
                // Only the first chunk grows by doubling: most mailboxes are small, and the rest fills up.
                let room = if self.chunks.is_empty() { 0 } else { CHUNK_ITEMS_MAX };
                let mut chunk = Vec::with_capacity(room);
                chunk.push(item);
                self.chunks.push(Arc::new(chunk));
                self.append_length();
            }
        }
    }

    /// The chunk that holds the first item with this key or a higher one; behind the last if there is none.
    fn chunk_at(&self, key: T::Key) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.key() < key))
    }

    pub(crate) fn get(&self, key: T::Key) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_at(key))?;
        let at = chunk.binary_search_by_key(&key, Keyed::key).ok()?;
        Some(&chunk[at])
    }

    pub(crate) fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let at = self.chunk_at(key);
        let chunk = self.chunks.get_mut(at)?;
        let at = chunk.binary_search_by_key(&key, Keyed::key).ok()?;
        Some(&mut Arc::make_mut(chunk)[at])
    }

    /// How many items have a lower key.
    pub(crate) fn rank(&self, key: T::Key) -> usize {
        let at = self.chunk_at(key);
        let inside = self.chunks.get(at).map_or(0, |chunk| chunk.partition_point(|item| item.key() < key));
        self.before(at) + inside
    }

    /// The item with `place` others before it.
    pub(crate) fn nth(&self, place: usize) -> Option<&T> {
        let (at, inside) = self.locate(place)?;
        self.chunks[at].get(inside)
    }

    /// The items from a place on.
    pub(crate) fn starting_at(&self, place: usize) -> impl Iterator<Item = &T> {
        let (at, inside) = self.locate(place).unwrap_or((self.chunks.len(), 0));
        let rest = self.chunks.get(at + 1..).unwrap_or_default();
        let first = self.chunks.get(at).map_or(&[][..], |chunk| &chunk[inside..]);
        first.iter().chain(rest.iter().flat_map(|chunk| chunk.iter()))
    }

    /// The items whose keys are from `first` to `last`, both included.
    pub(crate) fn range(&self, first: T::Key, last: T::Key) -> impl Iterator<Item = &T> {
        let chunks = &self.chunks[self.chunk_at(first)..];
        let items = chunks.iter().flat_map(|chunk| chunk.iter());
        items.skip_while(move |item| item.key() < first).take_while(move |item| item.key() <= last)
    }

    /// Removes the items in these ascending runs of keys that `wanted` names, and returns them in order.
    pub(crate) fn extract(
        &mut self,
        runs: &[(T::Key, T::Key)],
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        let mut gone = Vec::new();
        let mut uneven = false;
        for (first, last) in runs {
            let mut at = self.chunk_at(*first);
            while let Some(chunk) = self.chunks.get_mut(at).filter(|chunk| chunk[0].key() <= *last) {
                let inside = |item: &T| *first <= item.key() && item.key() <= *last;
                let picked: Vec<bool> = chunk.iter().map(|item| inside(item) && wanted(item)).collect();
                let count = picked.iter().filter(|picked| **picked).count();
                if count > 0 {
                    let mut picked = picked.into_iter();
                    let items = Arc::make_mut(chunk);
                    gone.extend(items.extract_if(.., |_| picked.next() == Some(true)));
                    self.len -= count;
                    let left = self.chunks[at].len();
                    let next = self.chunks.get(at + 1).map_or(CHUNK_ITEMS_MAX, |chunk| chunk.len());
                    let previous = at.checked_sub(1).map_or(CHUNK_ITEMS_MAX, |at| self.chunks[at].len());
                    if left == 0 || left + next.min(previous) <= CHUNK_ITEMS_MAX / 2 {
                        uneven = true;
                        if left == 0 {
                            self.chunks.remove(at);
                            continue;
                        }
                    } else if !uneven {
                        self.shorten(at, count as u32);
                    }
                }
                at += 1;
            }
        }
        if uneven {
            self.even_out();
        }
        gone
    }

    /// Joins small neighbours and counts anew.
    fn even_out(&mut self) {
        let mut even: Vec<Arc<Vec<T>>> = Vec::with_capacity(self.chunks.len());
        for mut chunk in std::mem::take(&mut self.chunks) {
            match even.last_mut() {
                Some(last) if last.len() + chunk.len() <= CHUNK_ITEMS_MAX / 2 => {
                    Arc::make_mut(last).append(Arc::make_mut(&mut chunk));
                }
                Some(_) | None => even.push(chunk),
            }
        }
        self.chunks = even;
        self.lengths.clear();
        for at in 0..self.chunks.len() {
            self.append_length_of(self.chunks[at].len() as u32);
        }
    }

    fn append_length(&mut self) {
        self.append_length_of(1);
    }

    /// The Fenwick tree: node `i` (from 1) sums the lengths of the `i & -i` chunks up to it.
    fn append_length_of(&mut self, length: u32) {
        let node = self.lengths.len() + 1;
        let floor = node - lowest_bit(node);
        let (mut sum, mut below) = (length, node - 1);
        while below > floor {
            sum += self.lengths[below - 1];
            below -= lowest_bit(below);
        }
        self.lengths.push(sum);
    }

    fn lengthen(&mut self, at: usize, by: u32) {
        let mut node = at + 1;
        while node <= self.lengths.len() {
            self.lengths[node - 1] += by;
            node += lowest_bit(node);
        }
    }

    fn shorten(&mut self, at: usize, by: u32) {
        let mut node = at + 1;
        while node <= self.lengths.len() {
            self.lengths[node - 1] -= by;
            node += lowest_bit(node);
        }
    }

    /// Items in the chunks before this one.
    fn before(&self, at: usize) -> usize {
        let (mut sum, mut node) = (0, at);
        while node > 0 {
            sum += self.lengths[node - 1] as usize;
            node -= lowest_bit(node);
        }
        sum
    }

    /// The chunk with the item at this place, and the place in it.
    fn locate(&self, place: usize) -> Option<(usize, usize)> {
        if place >= self.len {
            return None;
        }
        let (mut node, mut rest) = (0, place);
        let mut step = self.lengths.len().checked_ilog2().map_or(0, |log| 1usize << log);
        while step > 0 {
            if let Some(sum) = self.lengths.get(node + step - 1)
                && *sum as usize <= rest
            {
                node += step;
                rest -= *sum as usize;
            }
            step /= 2;
        }
        Some((node, rest))
    }

    /// Bytes of memory, for the figures of `docs/mail.md`.
    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>() + 40).sum();
        chunks + 8 * self.chunks.capacity() + 4 * self.lengths.capacity()
    }
}

fn lowest_bit(n: usize) -> usize {
    n & n.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    impl Keyed for u32 {
        type Key = u32;
        fn key(&self) -> u32 {
            *self
        }
    }

    fn check(series: &Series<u32>, model: &[u32]) {
        assert!(series.iter().eq(model.iter()));
        assert_eq!(series.len(), model.len());
        assert!(series.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_ITEMS_MAX));
        for pair in series.chunks.windows(2) {
            assert!(pair[0].len() + pair[1].len() > CHUNK_ITEMS_MAX / 2);
        }
        for (place, key) in model.iter().enumerate().step_by(7) {
            assert_eq!(series.nth(place), Some(key));
            assert_eq!(series.rank(*key), place);
            assert_eq!(series.rank(*key + 1), place + 1);
            assert_eq!(series.get(*key), Some(key));
            assert!(series.starting_at(place).eq(&model[place..]));
        }
        assert_eq!(series.nth(model.len()), None);
    }

    #[test]
    fn a_series_is_a_sorted_list() {
        for seed in 0..40 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut series, mut model, mut next) = (Series::default(), Vec::new(), 0);
            for _ in 0..40 {
                for _ in 0..random.next_u32() % 300 {
                    next += 1 + random.next_u32() % 3;
                    series.push(next);
                    model.push(next);
                }
                let copy = series.clone();
                let was = model.clone();
                let a = random.next_u32() % (next + 2);
                let b = a + random.next_u32() % 400;
                let runs = [(a, b), (b + 10, b + 10 + random.next_u32() % (next / 2 + 1))];
                let every = 1 + random.next_u32() % 3;
                let wanted = |key: u32| key.is_multiple_of(every);
                let gone = series.extract(&runs, |key| wanted(*key));
                let hit = |key: &u32| runs.iter().any(|(a, b)| a <= key && key <= b) && wanted(*key);
                assert!(gone.iter().eq(model.iter().filter(|key| hit(key))));
                model.retain(|key| !hit(key));
                check(&series, &model);
                check(&copy, &was);
                assert!(series.range(a, b).eq(model.iter().filter(|key| a <= **key && **key <= b)));
            }
        }
    }
}
