//! Which entries nobody needs any more.
//!
//! A floor below which everything is released, and a bit for each position above it, in blocks of 65,536. A block
//! that is released whole takes no bits; one of which nothing is released does not exist. So it takes at most one
//! bit for a position between the floor and the newest released one. A clone shares the blocks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const BLOCK: u64 = 1 << 16;
const WORDS: usize = (BLOCK / 64) as usize;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    Whole,
    Part(Arc<[u64; WORDS]>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    floor: u64,
    blocks: BTreeMap<u64, Block>,
}

impl Released {
    pub fn insert(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        if range.start <= self.floor {
            self.floor = self.floor.max(range.end);
        } else {
            let (first, last) = (range.start / BLOCK, (range.end - 1) / BLOCK);
            for number in first..=last {
                let low = range.start.saturating_sub(number * BLOCK);
                let high = (range.end - number * BLOCK).min(BLOCK);
                self.insert_into(number, low, high);
            }
        }
        self.raise();
    }

    fn insert_into(&mut self, number: u64, low: u64, high: u64) {
        let block = self.blocks.entry(number).or_insert_with(|| Block::Part(Arc::new([0; WORDS])));
        let Block::Part(words) = block else { return };
        let bits = Arc::make_mut(words);
        for word in low / 64..=(high - 1) / 64 {
            let from = low.max(word * 64) - word * 64;
            let to = high.min(word * 64 + 64) - word * 64;
            let mask = (!0u64 >> (64 - (to - from))) << from;
            bits[word as usize] |= mask;
        }
        if bits.iter().all(|word| *word == !0) {
            *block = Block::Whole;
        }
    }

    /// Moves the floor over what is released above it.
    fn raise(&mut self) {
        loop {
            while let Some((number, _)) =
                self.blocks.first_key_value().filter(|(n, _)| (**n + 1).saturating_mul(BLOCK) <= self.floor)
            {
                let number = *number;
                self.blocks.remove(&number);
            }
            let next = self.next_held(self.floor);
            if next == self.floor {
                return;
            }
            self.floor = next;
        }
    }

    /// Forgets everything from a position on: it is to be used anew.
    pub fn cut(&mut self, from: u64) {
        self.floor = self.floor.min(from);
        let number = from / BLOCK;
        self.blocks.split_off(&(number + 1));
        if let Some(block) = self.blocks.get_mut(&number) {
            let mut bits = match block {
                Block::Whole => [!0; WORDS],
                Block::Part(words) => **words,
            };
            let low = (from % BLOCK) as usize;
            bits[low / 64] &= !(!0u64 << (low % 64));
            bits[low / 64 + 1..].fill(0);
            *block = Block::Part(Arc::new(bits));
        }
    }

    pub fn contains(&self, position: u64) -> bool {
        position < self.floor
            || match self.blocks.get(&(position / BLOCK)) {
                None => false,
                Some(Block::Whole) => true,
                Some(Block::Part(words)) => word_of(words, position) >> (position % 64) & 1 == 1,
            }
    }

    /// The first position from `from` on that is not released.
    pub fn next_held(&self, from: u64) -> u64 {
        let mut at = from.max(self.floor);
        loop {
            match self.blocks.get(&(at / BLOCK)) {
                None => return at,
                Some(Block::Whole) => at = (at / BLOCK + 1).saturating_mul(BLOCK),
                Some(Block::Part(words)) => {
                    let rest = !word_of(words, at) >> (at % 64);
                    match rest {
                        0 => at = (at / 64 + 1) * 64,
                        _ => return at + u64::from(rest.trailing_zeros()),
                    }
                }
            }
        }
    }

    /// The first position of `from..to` that is released, or `to`.
    pub fn next_released(&self, from: u64, to: u64) -> u64 {
        let mut at = from;
        while at < to && at >= self.floor {
            match self.blocks.get(&(at / BLOCK)) {
                None => {
                    let next = self.blocks.range(at / BLOCK..).next().map_or(to, |(n, _)| n * BLOCK);
                    at = next;
                }
                Some(Block::Whole) => return at,
                Some(Block::Part(words)) => {
                    let rest = word_of(words, at) >> (at % 64);
                    match rest {
                        0 => at = (at / 64 + 1) * 64,
                        _ => return (at + u64::from(rest.trailing_zeros())).min(to),
                    }
                }
            }
        }
        at.min(to)
    }

    /// How many of a range are released.
    pub fn count(&self, range: Range<u64>) -> u64 {
        let (mut at, mut count) = (range.start, 0);
        while at < range.end {
            let from = self.next_released(at, range.end);
            let to = self.next_held(from).min(range.end);
            count += to - from;
            at = to.max(at + 1);
        }
        count
    }

    /// `floor, number of blocks, then of each block its number, its kind and its words`.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        bytes.extend_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        for (number, block) in &self.blocks {
            bytes.extend_from_slice(&number.to_le_bytes());
            match block {
                Block::Whole => bytes.push(1),
                Block::Part(words) => {
                    bytes.push(0);
                    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
                }
            }
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Released> {
        let (floor, rest) = bytes.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first_chunk::<8>()?;
        let mut released = Released { floor: u64::from_le_bytes(*floor), blocks: BTreeMap::new() };
        for _ in 0..u64::from_le_bytes(*count) {
            let (number, after) = rest.split_first_chunk::<8>()?;
            let (kind, after) = after.split_first()?;
            let number = u64::from_le_bytes(*number);
            if number >= u64::MAX / BLOCK {
                return None;
            }
            let block = match kind {
                1 => {
                    rest = after;
                    Block::Whole
                }
                0 => {
                    let (words, after) = after.split_at_checked(WORDS * 8)?;
                    rest = after;
                    let mut bits = [0; WORDS];
                    for (bit, word) in bits.iter_mut().zip(words.as_chunks::<8>().0) {
                        *bit = u64::from_le_bytes(*word);
                    }
                    Block::Part(Arc::new(bits))
                }
                _ => return None,
            };
            released.blocks.insert(number, block);
        }
        released.raise();
        rest.is_empty().then_some(released)
    }
}

fn word_of(words: &[u64; WORDS], position: u64) -> u64 {
    words[(position % BLOCK / 64) as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn it_is_the_set_it_says(
            steps in prop::collection::vec((any::<bool>(), 0u64..200_000, 1u64..70_000), 1..12),
        ) {
            let (mut released, mut model) = (Released::default(), BTreeSet::new());
            for (insert, from, length) in steps {
                if insert {
                    released.insert(from..from + length);
                    model.extend(from..from + length);
                } else {
                    released.cut(from);
                    model.split_off(&from);
                }
            }
            prop_assert_eq!(Released::decode(&released.encode()), Some(released.clone()));
            for position in (0..280_000).step_by(61) {
                prop_assert_eq!(released.contains(position), model.contains(&position));
            }
            for from in (0..280_000).step_by(9_973) {
                let held = (from..).find(|p| !model.contains(p));
                prop_assert_eq!(Some(released.next_held(from)), held);
                let to = from + 50_000;
                let next = model.range(from..to).next().copied().unwrap_or(to);
                prop_assert_eq!(released.next_released(from, to), next);
                prop_assert_eq!(released.count(from..to), model.range(from..to).count() as u64);
            }
        }

        #[test]
        fn any_bytes_are_a_set_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Released::decode(&bytes);
        }
    }

    #[test]
    fn what_is_released_whole_takes_no_bits() {
        let mut released = Released::default();
        released.insert(1..BLOCK * 40);
        assert_eq!(released.blocks.len(), 40);
        released.insert(0..1);
        assert_eq!((released.floor, released.blocks.len()), (BLOCK * 40, 0));
    }
}
