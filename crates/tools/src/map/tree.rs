use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::pair::Pair;

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pairs: Arc<BTreeMap<Box<[u8]>, Pair>>,
}

impl Tree {
    pub fn len(&self) -> usize {
        self.pairs.len()
    }
    pub fn get(&self, key: &[u8]) -> Option<&Pair> {
        self.pairs.get(key)
    }
    pub fn insert(&mut self, pair: Pair) -> Option<Pair> {
        Arc::make_mut(&mut self.pairs).insert(pair.key().into(), pair)
    }
    pub fn remove(&mut self, key: &[u8]) -> Option<Pair> {
        Arc::make_mut(&mut self.pairs).remove(key)
    }
    pub fn audit(&self) -> Result<(), String> {
        Ok(())
    }
    pub fn range(&self, from: Bound<&[u8]>) -> impl Iterator<Item = &Pair> {
        self.pairs.range::<[u8], _>((from, Bound::Unbounded)).map(|(_, pair)| pair)
    }
}
