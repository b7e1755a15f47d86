//! The application under test: the toolkit's map, and a digest of all that was ever done to it, in order.

use bytes::Bytes;
use durable::{Application, Applying, ClientId, Entry, Locator, Request};
use tools::map::{HistoryLimits, Map};

use crate::trace::Digest;

/// The domain of its checkpoints behind the map's.
const DIGEST: u16 = u16::MAX;
/// The map's parts are cut to pieces of so many bytes, so that a checkpoint of a small map is many parts.
const PIECE_BYTES: usize = 200;
/// Keys: one byte each, from 0.
pub const KEYS: u8 = 16;

/// The state.
#[derive(Clone, Debug)]
pub struct App {
    map: Map,
    digest: Digest,
    /// How far it has come.
    pub applied: u64,
    /// A part of the map that has not come to its end: its domain, and what there is of it.
    part: Option<(u16, Vec<u8>)>,
}

impl Default for App {
    fn default() -> App {
        App { map: Map::new(HistoryLimits::NONE), digest: Digest::EMPTY, applied: 0, part: None }
    }
}

impl App {
    /// The digest of its history, and of the map at each step of it.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// The word that a key has.
    pub fn get(&self, key: u8) -> Option<u64> {
        self.map.get(&[key], self.map.clock()).and_then(|pair| word_of(pair.value()))
    }

    /// Applies a request to the map. Answers with the digest, which no other history has, and the map's answer.
    pub fn apply(&mut self, entry: &Entry, request: &Request, clock: u64) -> Bytes {
        let position = entry.number.position;
        let Request { client, sequence, payload, .. } = request.clone();
        let answer = self.map.apply(Applying { position, clock, client, payload });
        let ClientId(client) = client;
        self.digest.bytes(&client);
        self.digest.number(sequence);
        self.digest.bytes(&request.payload);
        self.digest.bytes(&answer);
        self.digest.number(self.map.digest());
        self.applied = position;
        [&self.digest().to_le_bytes()[..], &answer].concat().into()
    }

    /// Its state in the parts of a checkpoint: each piece of a map's part is at its offset there.
    pub fn parts(&self) -> Vec<(Locator, Bytes)> {
        let mut parts = Vec::new();
        for (n, (at, part)) in self.map.snapshot().enumerate() {
            // One of the map's parts a domain, whose first piece begins with the map's own locator.
            let mut whole = wire::codec::encode(&at).to_vec();
            let head = u16::try_from(whole.len()).unwrap_or(u16::MAX).to_le_bytes();
            whole.splice(..0, head);
            whole.extend_from_slice(&part);
            let domain = u16::try_from(n + 1).unwrap_or(DIGEST - 1);
            for (m, piece) in whole.chunks(PIECE_BYTES).enumerate() {
                let key = if m == 0 { Vec::new() } else { (m as u32).to_be_bytes().to_vec() };
                parts.push((Locator { domain, key }, Bytes::copy_from_slice(piece)));
            }
        }
        let digest = Bytes::copy_from_slice(&self.digest().to_le_bytes());
        parts.push((Locator { domain: DIGEST, key: Vec::new() }, digest));
        parts
    }

    /// Takes one part.
    ///
    /// # Panics
    ///
    /// The map does not take what it has written, which is a violation.
    pub fn restore(&mut self, at: &Locator, part: &[u8]) {
        if let Some((_, whole)) = self.part.take_if(|(domain, _)| *domain != at.domain) {
            self.take_whole(&whole);
        }
        if at.domain == DIGEST {
            self.digest = Digest::of(part.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
            return;
        }
        self.part.get_or_insert_with(|| (at.domain, Vec::new())).1.extend_from_slice(part);
    }

    fn take_whole(&mut self, whole: &[u8]) {
        let (head, rest) = whole.split_first_chunk().expect("a part begins with its locator's length");
        let (at, part) = rest.split_at(usize::from(u16::from_le_bytes(*head)));
        let at: Locator = wire::codec::decode(at).expect("a locator of the map's");
        self.map.restore(&at, Bytes::copy_from_slice(part)).expect("a part that the map has written");
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

#[cfg(test)]
mod tests {
    use super::*;
    use durable::{Body, Number};
    use tools::map::{Delete, Put, Request as Of};

    #[test]
    fn a_state_is_the_same_from_its_parts() {
        let mut app = App::default();
        for n in 1..40u8 {
            let (key, value) = ([n % KEYS], value_of(u64::from(n) << 40 | u64::from(n)));
            let payload = match n % 5 {
                0 => Of::Delete(Delete { key: &key, only_if: None }).encode(),
                _ => Of::Put(Put { key: &key, value: &value, ttl_ms: None, only_if: None }).encode(),
            };
            let request = Request { client: ClientId([1; 16]), sequence: n.into(), answered: 0, payload };
            let number = Number { position: n.into(), ..Number::default() };
            app.apply(&Entry { number, time: 0, body: Body::Request(request.clone()) }, &request, 7);
        }
        let mut again = App { applied: app.applied, ..App::default() };
        let parts = app.parts();
        assert!(parts.windows(2).all(|two| two[0].0 < two[1].0) && parts.len() > 5);
        parts.iter().for_each(|(at, part)| again.restore(at, part));
        assert_eq!((again.digest(), again.map.digest()), (app.digest(), app.map.digest()));
        assert!((0..KEYS).all(|key| again.get(key) == app.get(key)) && app.get(1).is_some());
        assert_eq!(again.parts(), parts);
    }
}
