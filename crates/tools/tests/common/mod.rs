//! What the tests share: a map that is given requests as a group would.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod draw;

use bytes::Bytes;
use durable::{Application, Applying, ClientId, Locator, NotRestored};
use tools::map::{Answer, Delete, Map, Put, Request};

/// One member.
#[derive(Clone, Default)]
pub struct Site {
    pub map: Map,
    /// The time that entries carry.
    pub clock: u64,
}

impl Site {
    /// Applies a request at the next position.
    pub fn apply(&mut self, request: &Request) -> Answer {
        self.apply_bytes(request.encode())
    }

    pub fn apply_bytes(&mut self, payload: Bytes) -> Answer {
        let position = self.map.revision() + 1;
        let applying = Applying { position, clock: self.clock, client: ClientId([1; 16]), payload };
        let answer = self.map.apply(applying);
        assert!(answer.len() <= 1_024, "the group would not keep it");
        Answer::decode(&answer).expect("an answer")
    }

    /// The value of a key as a linearizable read sees it.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.map.get(key.as_bytes(), self.map.clock()).map(|pair| pair.value())
    }
}

pub fn put<'a>(key: &'a str, value: &'a str) -> Put<'a> {
    Put { key: key.as_bytes(), value: value.as_bytes(), ttl_ms: None, only_if: None }
}

pub fn delete(key: &str) -> Delete<'_> {
    Delete { key: key.as_bytes(), only_if: None }
}

pub fn done(revision: u64, previous: Option<u64>) -> Answer {
    Answer::Done { revision, previous }
}

pub fn parts(map: &Map) -> Vec<(Locator, Bytes)> {
    map.snapshot().collect()
}

pub fn restored(parts: &[(Locator, Bytes)]) -> Result<Map, NotRestored> {
    let mut map = Map::default();
    for (at, part) in parts {
        map.restore(at, part.clone())?;
    }
    Ok(map)
}
