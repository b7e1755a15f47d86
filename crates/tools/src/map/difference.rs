//! What has to be done so that a part of a map becomes what a snapshot has there: for a restore that may be repeated.

use std::ops::Bound;

use bytes::Bytes;

use super::{Map, Pair};

/// Keys that [`Map::difference`] names because nobody wants them; the rest when these are gone.
const UNWANTED_MAX: usize = 1_024;

/// How a range of keys differs from the pairs that are wanted there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Wanted pairs that are there.
    pub same: usize,
    /// Places, among the wanted pairs, of those whose key is absent.
    pub absent: Vec<usize>,
    /// Places of those whose key has another value, or an end where the wanted one has none, or none where it has one.
    pub different: Vec<usize>,
    /// Keys of the range that are not wanted: at most 1,024.
    pub unwanted: Vec<Bytes>,
    /// Whether there are more unwanted ones.
    pub more: bool,
}

impl Map {
    /// Compares the pairs behind one key (none: from the beginning) and up to another (none: to the end) with wanted
    /// ones of that range, whose keys rise. When a pair ends does not matter, but whether it does. Pairs whose time is
    /// over by the map's own clock are absent.
    pub fn difference(&self, after: Option<&[u8]>, upto: Option<&[u8]>, wanted: &[Pair]) -> Difference {
        let mut difference = Difference::default();
        for (place, wanted) in wanted.iter().enumerate() {
            match self.get(wanted.key(), self.clock) {
                None => difference.absent.push(place),
                Some(found) if found.is_like(wanted) => difference.same += 1,
                Some(_) => difference.different.push(place),
            }
        }
        let range = self.tree.range(after.map_or(Bound::Unbounded, Bound::Excluded));
        let within = range.take_while(|pair| upto.is_none_or(|upto| pair.key() <= upto));
        let mut wanted = wanted.iter().map(Pair::key).peekable();
        for pair in within.filter(|pair| !pair.is_due(self.clock)) {
            while wanted.next_if(|key| *key < pair.key()).is_some() {}
            if wanted.peek() == Some(&pair.key()) {
                continue;
            }
            if difference.unwanted.len() == UNWANTED_MAX {
                difference.more = true;
                break;
            }
            difference.unwanted.push(Bytes::copy_from_slice(pair.key()));
        }
        difference
    }
}

impl Pair {
    fn is_like(&self, other: &Pair) -> bool {
        self.value() == other.value() && self.expires().is_some() == other.expires().is_some()
    }
}
