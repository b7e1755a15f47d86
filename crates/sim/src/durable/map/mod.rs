//! The toolkit's map as the application of the group.

mod clients;

use tools::map::{HistoryLimits, Map};

use super::Options;
use super::service::Service;
use crate::property::durable::{Promise, map};
use crate::swarm::Profile;

pub use clients::Clients;

/// Keys: one byte each, from 0.
const KEYS: u8 = 16;

/// What a key was seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The key.
    pub key: u8,
    /// The word that it has.
    pub word: Option<u64>,
}

impl Service for Map {
    type Query = u8;
    type Seen = Reading;
    type Clients = Clients;

    const PROFILE: Profile = Profile::Durable;
    const PIECE_BYTES: usize = 200;

    fn new(_: &Options) -> Map {
        Map::new(HistoryLimits::NONE)
    }

    fn look(&self, key: u8) -> Reading {
        Reading { key, word: self.get(&[key], self.clock()).and_then(|pair| word_of(pair.value())) }
    }

    fn all(&self) -> Vec<Reading> {
        (0..KEYS).map(|key| self.look(key)).collect()
    }

    fn promises() -> Vec<Promise<Reading>> {
        vec![Promise { name: "Linearizable Map", check: map::check }]
    }
}

/// The value of a word: it, and some bytes behind it, so that values differ in length.
pub fn value_of(word: u64) -> Vec<u8> {
    let mut value = word.to_le_bytes().to_vec();
    value.resize(8 + word as usize % 60, 7);
    value
}

/// The word of a value.
pub fn word_of(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
