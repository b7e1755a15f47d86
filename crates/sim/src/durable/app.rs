//! The application under test: a small map of keys and values, and a digest of all that was ever done to it, in order.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable::{ClientId, Entry, Locator, Request};

use crate::trace::Digest;

/// The domains of its checkpoints.
const MAP: u16 = 1;
const DIGEST: u16 = 2;
/// Pairs in one part of a checkpoint.
const PAIRS: usize = 3;
/// Keys.
pub const KEYS: u8 = 16;

/// The state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    map: BTreeMap<u8, u64>,
    digest: Digest,
    /// How far it has come.
    pub applied: u64,
}

impl Default for App {
    fn default() -> App {
        App { map: BTreeMap::new(), digest: Digest::EMPTY, applied: 0 }
    }
}

impl App {
    /// The digest of its history.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// Applies a request: a key (one byte) and, unless the key is deleted, a value. Answers with the value before and
    /// the digest, which no other history has.
    pub fn apply(&mut self, entry: &Entry, request: &Request) -> Bytes {
        let key = request.payload.first().map_or(0, |byte| byte % KEYS);
        let before = match request.payload.get(1..9).and_then(|bytes| bytes.first_chunk()) {
            Some(value) => self.map.insert(key, u64::from_le_bytes(*value)),
            None => self.map.remove(&key),
        };
        let ClientId(client) = request.client;
        self.digest.bytes(&client);
        self.digest.number(request.sequence);
        self.digest.bytes(&request.payload);
        self.digest.number(before.unwrap_or(0));
        self.applied = entry.number.position;
        [before.unwrap_or(0).to_le_bytes(), self.digest().to_le_bytes()].concat().into()
    }

    /// Its state in the parts of a checkpoint: by key, so that a place in it means the same at every store.
    pub fn parts(&self) -> Vec<(Locator, Bytes)> {
        let pairs: Vec<(u8, u64)> = self.map.iter().map(|(key, value)| (*key, *value)).collect();
        let mut parts = Vec::new();
        for (n, some) in pairs.chunks(PAIRS).enumerate() {
            let key = if n == 0 { Vec::new() } else { vec![some[0].0] };
            let bytes: Vec<u8> =
                some.iter().flat_map(|(key, value)| [&[*key][..], &value.to_le_bytes()].concat()).collect();
            parts.push((Locator { domain: MAP, key }, bytes.into()));
        }
        let digest = Bytes::copy_from_slice(&self.digest().to_le_bytes());
        parts.push((Locator { domain: DIGEST, key: Vec::new() }, digest));
        parts
    }

    /// Takes one part.
    pub fn restore(&mut self, at: &Locator, part: &[u8]) {
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        match at.domain {
            MAP => self.map.extend(part.chunks_exact(9).map(|pair| (pair[0], number(&pair[1..])))),
            _ => self.digest = Digest::of(number(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::{Body, Number};

    #[test]
    fn a_state_is_the_same_from_its_parts() {
        let mut app = App::default();
        for n in 1..40u8 {
            let value = if n % 5 == 0 { vec![n] } else { [&[n][..], &[n; 8]].concat() };
            let client = ClientId([1; 16]);
            let request = Request { client, sequence: n.into(), answered: 0, payload: value.into() };
            let number = Number { position: n.into(), ..Number::default() };
            app.apply(&Entry { number, time: 0, body: Body::Request(request.clone()) }, &request);
        }
        let mut again = App { applied: app.applied, ..App::default() };
        let parts = app.parts();
        assert!(parts.windows(2).all(|two| two[0].0 < two[1].0) && parts.len() > 3);
        parts.iter().for_each(|(at, part)| again.restore(at, part));
        assert_eq!(again, app);
    }
}
