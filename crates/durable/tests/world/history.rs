//! What must hold, told as it happens: one content for every number and every position, one application of every
//! request, the first answer for every repeat, nothing acknowledged that is not there at the end, reads that see all
//! that was acknowledged before them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use durable::{Answer, ClientId, Configuration, Entry, Number, Record, Refused, Request};
use wire::{SiteId, StoreId};

type Key = (ClientId, u64);

pub struct Client {
    pub id: ClientId,
    pub next: u64,
    /// Open requests, and the acknowledged position that each was made after.
    pub open: BTreeMap<u64, (Bytes, u64)>,
}

pub struct History {
    pub founding: Configuration,
    pub violations: Vec<String>,
    numbers: BTreeMap<Number, Bytes>,
    /// By position: the request, the entry's number, the digest after it.
    pub positions: BTreeMap<u64, (Key, Number, Bytes)>,
    by_request: BTreeMap<Key, u64>,
    pub answers: BTreeMap<Key, Bytes>,
    /// The highest position that somebody outside has been told of.
    pub known: u64,
    pub clients: Vec<Client>,
    pub reads: u64,
    pub changes: u64,
    pub restored: u64,
    pub errors: u64,
    pub surpassed: Vec<(SiteId, StoreId)>,
    pub retired: BTreeSet<StoreId>,
}

impl History {
    pub fn new(founding: Configuration) -> History {
        let client = |n| Client { id: ClientId([n; 16]), next: 1, open: BTreeMap::new() };
        History {
            founding,
            violations: Vec::new(),
            numbers: BTreeMap::new(),
            positions: BTreeMap::new(),
            by_request: BTreeMap::new(),
            answers: BTreeMap::new(),
            known: 0,
            clients: (1..=3).map(client).collect(),
            reads: 0,
            changes: 0,
            restored: 0,
            errors: 0,
            surpassed: Vec::new(),
            retired: BTreeSet::new(),
        }
    }

    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// A record goes to a log: (view, position) names one content.
    pub fn written(&mut self, site: SiteId, record: &Record) {
        let Ok(entry) = Entry::from_record(record.bytes.clone()) else {
            return self.violation(format!("{site} writes what is no record"));
        };
        let known = self.numbers.entry(entry.number).or_insert_with(|| record.bytes.clone());
        if *known != record.bytes {
            self.violation(format!("{site}: two contents of {:?}", entry.number));
        }
    }

    /// One order everywhere, and no request twice.
    pub fn applied(&mut self, site: SiteId, entry: &Entry, request: &Request, digest: &Bytes) {
        let position = entry.number.position;
        let key = (request.client, request.sequence);
        let here = (key, entry.number, digest.clone());
        let there = self.positions.entry(position).or_insert_with(|| here.clone());
        if *there != here {
            let there = there.clone();
            self.violation(format!("{site} applies {here:?} at {position}, others {there:?}"));
        }
        let first = *self.by_request.entry(key).or_insert(position);
        if first != position {
            self.violation(format!("{site} applies {key:?} at {first} and at {position}"));
        }
    }

    /// A state that was received is the one that others had there.
    pub fn digest(&mut self, site: SiteId, position: u64, digest: Option<u64>) {
        let last = self.positions.range(..=position).next_back().map(|(_, (_, _, digest))| digest.clone());
        let here = digest.map(|digest| Bytes::copy_from_slice(&digest.to_be_bytes()));
        if last != here {
            self.violation(format!("{site} was given another state at {position}"));
        }
    }

    pub fn answered(&mut self, site: SiteId, client: ClientId, sequence: u64, answer: &Answer) {
        let key = (client, sequence);
        let place = self.clients.iter().position(|c| c.id == client).expect("a client of ours");
        match answer {
            Answer::Applied(answer) => {
                let first = self.answers.entry(key).or_insert_with(|| answer.clone()).clone();
                if first != *answer {
                    self.violation(format!("{site} answers {key:?} anew"));
                }
                let Some(position) = self.by_request.get(&key).copied() else {
                    return self.violation(format!("{site} answers {key:?}, which nobody applied"));
                };
                self.known = self.known.max(position);
                // Real time: what was acknowledged before it was asked comes before it.
                if let Some((_, after)) = self.clients[place].open.remove(&sequence)
                    && position <= after
                {
                    self.violation(format!("{key:?} at {position} was asked after {after} was known"));
                }
            }
            Answer::AppliedLong => self.violation("a long answer".into()),
            // A copy of a request that was answered elsewhere meanwhile.
            Answer::Refused(Refused::Answered) if !self.clients[place].open.contains_key(&sequence) => {}
            Answer::Refused(why) => self.violation(format!("{site} refuses {key:?}: {why:?}")),
        }
    }

    /// Linearizable: a read sees the highest position that anybody was told of before it.
    pub fn read(&mut self, site: SiteId, floor: u64, at: u64) {
        self.reads += 1;
        if at < floor {
            self.violation(format!("{site} reads at {at} what was at {floor} before"));
        }
        self.known = self.known.max(at.min(self.positions.keys().next_back().copied().unwrap_or(0)));
    }
}
