//! Clients: each asks for something, at whatever site, and repeats it, there or elsewhere, until it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use durable::{ClientId, Request};

use tools::map::{Condition, Delete, Map, Put, Request as Of};
use wire::StoreId;

use super::super::history::RequestId;
use super::super::plan::Plan;
use super::super::service::{self, Heard, Place};
use super::{KEYS, value_of};
use crate::dice::{Concern, Dice};

/// Requests that a client has open at once. Fewer than the window of answers holds.
const OPEN_MAX: usize = 3;

struct Client {
    id: ClientId,
    next: u64,
    /// What is open, and at which site it was asked for last.
    open: BTreeMap<u64, (Bytes, usize)>,
}

/// All clients.
pub struct Clients {
    clients: Vec<Client>,
    /// The last word that somebody asked each key to have: what others compare with.
    words: BTreeMap<u8, u64>,
    dice: Dice,
    read_per_mille: u32,
}

type Act = service::Act<u8>;

impl service::Clients<Map> for Clients {
    fn new(seed: u64, plan: &Plan, _: &[StoreId]) -> Clients {
        let client = |n: usize| Client { id: ClientId([n as u8 + 1; 16]), next: 1, open: BTreeMap::new() };
        Clients {
            clients: (0..plan.clients).map(client).collect(),
            words: BTreeMap::new(),
            dice: Dice::new(seed, Concern::Clients),
            read_per_mille: plan.read_per_mille,
        }
    }

    fn wait(&mut self, mean: Duration) -> Duration {
        self.dice.wait(mean)
    }

    fn act(&mut self, places: &[Place<'_, Map>], winding_up: bool) -> Option<Act> {
        let site = self.dice.index(places.len());
        if self.dice.chance(self.read_per_mille) {
            let key = self.key();
            return Some(match self.dice.chance(200) {
                true => Act::Look { site, query: key },
                false => Act::Read { site, query: key },
            });
        }
        let place = self.dice.index(self.clients.len());
        let client = &mut self.clients[place];
        // The window of answers is counted from the lowest open one.
        let lowest = client.open.keys().next().copied().unwrap_or(client.next);
        let may = !winding_up && client.open.len() < OPEN_MAX && client.next < lowest + OPEN_MAX as u64;
        if may && self.dice.chance(700) {
            return Some(self.fresh(place, site));
        }
        let open: Vec<u64> = self.clients[place].open.keys().copied().collect();
        if open.is_empty() {
            return None;
        }
        let sequence = *self.dice.pick(&open);
        self.repeat(place, sequence, site)
    }

    fn last_words(&mut self, places: &[Place<'_, Map>]) -> Vec<Act> {
        let sites = places.len();
        let clients = 0..self.clients.len();
        let mut last: Vec<Act> = clients
            .map(|place| {
                let site = self.dice.index(sites);
                self.fresh(place, site)
            })
            .collect();
        last.extend((0..sites).map(|site| Act::Read { site, query: self.key() }));
        last
    }

    fn hear(&mut self, (id, sequence): RequestId, _: &Bytes) -> Heard {
        let client = self.clients.iter_mut().find(|client| client.id == id);
        let open = client.and_then(|client| client.open.remove(&sequence));
        open.map_or(Heard::Late, |(_, site)| Heard::Answer(site))
    }

    fn is_open(&self, (id, sequence): RequestId) -> bool {
        self.clients.iter().any(|client| client.id == id && client.open.contains_key(&sequence))
    }

    fn open(&self) -> usize {
        self.clients.iter().map(|client| client.open.len()).sum()
    }
}

impl Clients {
    fn fresh(&mut self, place: usize, site: usize) -> Act {
        let payload = self.payload();
        let client = &mut self.clients[place];
        let sequence = client.next;
        client.next += 1;
        client.open.insert(sequence, (payload, site));
        Act::Ask { site, request: client.request(sequence), fresh: true }
    }

    /// A key that somebody reads or writes.
    fn key(&mut self) -> u8 {
        self.dice.below(u64::from(KEYS)) as u8
    }

    /// A put or a delete, of which some are done only if the key is as somebody thinks.
    fn payload(&mut self) -> Bytes {
        let (word, key) = (self.dice.number(), self.key());
        let known = self.words.get(&key).copied().map(value_of);
        let only_if = match self.dice.below(10) {
            0 => Some(Condition::Absent),
            1 => Some(Condition::Present),
            2..=3 => known.as_deref().map(Condition::Value),
            _ => None,
        };
        if self.dice.chance(150) {
            return Of::Delete(Delete { key: &[key], only_if }).encode();
        }
        let put = Put { key: &[key], value: &value_of(word), ttl_ms: None, only_if };
        let payload = Of::Put(put).encode();
        self.words.insert(key, word);
        payload
    }

    fn repeat(&mut self, place: usize, sequence: u64, site: usize) -> Option<Act> {
        let client = &mut self.clients[place];
        client.open.get_mut(&sequence)?.1 = site;
        Some(Act::Ask { site, request: client.request(sequence), fresh: false })
    }
}

impl Client {
    fn request(&self, sequence: u64) -> Request {
        let lowest = self.open.keys().next().copied().unwrap_or(sequence);
        let payload = self.open.get(&sequence).map(|(payload, _)| payload.clone()).unwrap_or_default();
        Request { client: self.id, sequence, answered: lowest - 1, payload }
    }
}
