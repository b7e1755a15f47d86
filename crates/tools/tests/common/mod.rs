//! What the tests share: a map that is given requests as a group would.

#![allow(dead_code, reason = "each test uses a part of it")]

use durable::{Application, Applying, ClientId};
use tools::map::{Answer, Map, Request};

/// One member.
#[derive(Default)]
pub struct Site {
    pub map: Map,
    pub clock: u64,
}

impl Site {
    /// Applies a request at the next position.
    pub fn apply(&mut self, request: &Request) -> Answer {
        self.apply_bytes(request.encode())
    }

    pub fn apply_bytes(&mut self, payload: bytes::Bytes) -> Answer {
        let position = self.map.revision() + 1;
        let applying = Applying { position, clock: self.clock, client: ClientId([1; 16]), payload };
        Answer::decode(&self.map.apply(applying)).expect("an answer")
    }
}

pub fn done(revision: u64, previous: Option<u64>) -> Answer {
    Answer::Done { revision, previous }
}
