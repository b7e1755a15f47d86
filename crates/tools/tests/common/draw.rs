//! Requests drawn from a seed: few keys, so that they meet.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tools::map::{Batch, Condition, Delete, Map, Operation, Put, Quota, Request};

pub struct Draw {
    random: ChaCha8Rng,
    keys: u32,
    long: bool,
}

/// What a request may borrow.
pub struct Words {
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Draw {
    pub fn of(seed: u64) -> Draw {
        let keys = [5, 40, 400][seed as usize % 3];
        Draw { random: ChaCha8Rng::seed_from_u64(seed), keys, long: seed.is_multiple_of(2) }
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.random.next_u32() % bound.max(1)
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub fn key(&mut self) -> Vec<u8> {
        let n = self.below(self.keys);
        let dirs: [&[u8]; 4] = [b"a/", b"b/", b"b", b"\xff"];
        let dir = dirs[n as usize % dirs.len()];
        [dir, n.to_string().as_bytes(), &vec![b'x'; (n % 7 * n % 90) as usize]].concat()
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.below(100) {
            0 if self.long => 150_000,
            0..30 if self.long => self.below(9_000),
            _ => self.below(12),
        };
        let byte = self.below(3) as u8;
        vec![byte; bytes as usize]
    }

    /// Words for one request.
    pub fn words(&mut self) -> Words {
        let keys = (0..8).map(|_| self.key()).collect();
        let values = (0..8).map(|_| self.value()).collect();
        Words { keys, values }
    }

    /// A request of these words, for a map in this state.
    pub fn request<'a>(&mut self, map: &'a Map, words: &'a Words) -> Request<'a> {
        match self.below(100) {
            0..3 => Request::Tick,
            3 => Request::Quota(Quota { bytes: u64::from(self.below(40)) * 20_000 }),
            4..8 => Request::Quota(Quota { bytes: 1 << 40 }),
            8..60 => Request::Put(self.put(map, words, 0)),
            60..80 => Request::Delete(self.delete(map, words, 0)),
            _ => {
                let count = 1 + self.below(words.keys.len() as u32) as usize;
                let operations = (0..count).map(|n| match self.below(3) {
                    0 => Operation::Delete(self.delete(map, words, n)),
                    _ => Operation::Put(self.put(map, words, n)),
                });
                Request::Batch(Batch { operations: operations.collect() })
            }
        }
    }

    fn put<'a>(&mut self, map: &'a Map, words: &'a Words, n: usize) -> Put<'a> {
        let ttl_ms = self.chance(30).then(|| 1 + u64::from(self.below(300)));
        let only_if = self.condition(map, words, n);
        Put { key: &words.keys[n], value: &words.values[n], ttl_ms, only_if }
    }

    fn delete<'a>(&mut self, map: &'a Map, words: &'a Words, n: usize) -> Delete<'a> {
        Delete { key: &words.keys[n], only_if: self.condition(map, words, n) }
    }

    /// Often one that holds.
    fn condition<'a>(&mut self, map: &'a Map, words: &'a Words, n: usize) -> Option<Condition<'a>> {
        if self.chance(75) {
            return None;
        }
        let found = map.get(&words.keys[n], map.clock());
        Some(match (self.below(4), found) {
            (0, _) => Condition::Absent,
            (1, _) => Condition::Present,
            (2, Some(pair)) if self.chance(80) => Condition::Revision(pair.modified()),
            (2, _) => Condition::Revision(self.below(200).into()),
            (_, Some(pair)) if self.chance(80) => Condition::Value(pair.value()),
            (_, _) => Condition::Value(&words.values[n]),
        })
    }
}
