//! Clients: each asks for something, at whatever site, and repeats it, there or elsewhere, until it is answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable::{ClientId, Request};

use tools::map::{Condition, Delete, Put, Request as Of};

use super::app::{KEYS, value_of};
use super::history::RequestId;
use super::plan::Plan;
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

/// What a client does next.
pub enum Act {
    /// It asks a site to apply something; for the first time, if so.
    Ask { site: usize, request: Request, fresh: bool },
    /// Somebody reads a key at a site, with the barrier.
    Read { site: usize, key: u8 },
    /// Somebody reads what the site has.
    Look { site: usize, key: u8 },
}

impl Clients {
    pub fn new(seed: u64, plan: &Plan) -> Clients {
        let client = |n: usize| Client { id: ClientId([n as u8 + 1; 16]), next: 1, open: BTreeMap::new() };
        Clients {
            clients: (0..plan.clients).map(client).collect(),
            words: BTreeMap::new(),
            dice: Dice::new(seed, Concern::Clients),
            read_per_mille: plan.read_per_mille,
        }
    }

    /// When the next act is due, in parts of a thousand of the mean.
    pub fn wait(&mut self, mean: std::time::Duration) -> std::time::Duration {
        self.dice.wait(mean)
    }

    /// Somebody acts. `winding_up`: nothing new is asked for.
    pub fn act(&mut self, sites: usize, winding_up: bool) -> Option<Act> {
        let site = self.dice.index(sites);
        if self.dice.chance(self.read_per_mille) {
            let key = self.key();
            return Some(match self.dice.chance(200) {
                true => Act::Look { site, key },
                false => Act::Read { site, key },
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

    /// Every client asks for one thing more.
    pub fn last_words(&mut self, sites: usize) -> Vec<Act> {
        (0..self.clients.len())
            .map(|place| {
                let site = self.dice.index(sites);
                self.fresh(place, site)
            })
            .collect()
    }

    /// A request was answered. Where it was asked for last, if it was open.
    pub fn answered(&mut self, (id, sequence): RequestId) -> Option<usize> {
        let client = self.clients.iter_mut().find(|client| client.id == id)?;
        client.open.remove(&sequence).map(|(_, site)| site)
    }

    pub fn is_open(&self, (id, sequence): RequestId) -> bool {
        self.clients.iter().any(|client| client.id == id && client.open.contains_key(&sequence))
    }

    /// How many requests are open.
    pub fn open(&self) -> usize {
        self.clients.iter().map(|client| client.open.len()).sum()
    }

    fn fresh(&mut self, place: usize, site: usize) -> Act {
        let payload = self.payload();
        let client = &mut self.clients[place];
        let sequence = client.next;
        client.next += 1;
        client.open.insert(sequence, (payload, site));
        Act::Ask { site, request: client.request(sequence), fresh: true }
    }

    /// A key that somebody reads or writes.
    pub fn key(&mut self) -> u8 {
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
