//! The deduplication table: which casts of which clients were delivered. A pure function of a sequence of casts; tables
//! of different sequences can be merged.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use wire::{SiteIncarnation, ViewId};

use super::super::codec::DecodeError;
use super::{ClientId, Gone, Origin, TABLE_WINDOW};

/// What the table says about a cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judgement {
    /// It has not been delivered: deliver it now.
    First,
    /// It has been delivered, or is too old to tell.
    Repeated,
    /// It is a repeated request from before the table knows the client, and the table has forgotten clients: it may
    /// have been delivered.
    Forgotten,
    /// Its client is held for dead.
    Gone,
}

/// No table has judged so many casts: one whose clock is beyond is made up, and would make ours run over.
const CLOCK_MAX: u64 = 1 << 62;
/// Words of the bit map behind the newest sequence number.
const WORDS: usize = (TABLE_WINDOW / 64) as usize;

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    /// When it was last heard, counted in judged casts.
    used: u64,
    /// The newest sequence number delivered; 0 if none.
    newest: u64,
    /// Bit `i`: whether `newest - i` was delivered.
    delivered: [u64; WORDS],
    /// Nothing is known of sequence numbers below this one: when it was cast, the table had forgotten clients.
    since: u64,
    /// Held for dead: nothing of it is delivered any more.
    gone: bool,
}

/// The table of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    clients: BTreeMap<ClientId, Record>,
    /// The clients by last use; the dead first.
    by_use: BTreeSet<(bool, u64, ClientId)>,
    /// Counts judged casts.
    clock: u64,
    /// Whether a living client was ever forgotten.
    forgot: bool,
    /// Others were delivered casts in views before this one, of which nothing is known.
    since: Option<ViewId>,
    clients_max: usize,
}

impl Table {
    /// How many clients a table holds if nothing else is asked. Beyond it the least recently used is forgotten,
    /// the dead first. All sites of a group need the same bound.
    pub const CLIENTS_MAX: usize = 4096;

    /// The table of a group that has just been created.
    pub fn new(clients_max: usize) -> Table {
        assert!(clients_max > 0, "a table holds at least one client");
        Table {
            clients: BTreeMap::new(),
            by_use: BTreeSet::new(),
            clock: 0,
            forgot: false,
            since: None,
            clients_max,
        }
    }

    /// From now on the table knows that others were delivered casts of which it knows nothing, in views before this one: of
    /// clients that it does not know, and of those that it does before what it has of them.
    pub fn forget(&mut self, before: ViewId) {
        self.forgot = true;
        self.clients.values_mut().for_each(Record::forget_older);
        self.since = self.since.max(Some(before));
    }

    /// What the table says about a cast that its client wished for the first time when it knew this view of the group:
    /// no copy of it was cast in an earlier one.
    pub fn look_up(&self, origin: &Origin, as_of: ViewId) -> Judgement {
        match self.peek(origin) {
            Judgement::First if self.since.is_some_and(|since| as_of < since) => Judgement::Forgotten,
            said => said,
        }
    }

    /// What [`Table::judge`] would say, without remembering anything.
    pub fn peek(&self, origin: &Origin) -> Judgement {
        match self.clients.get(&origin.client) {
            None if origin.again && self.forgot => Judgement::Forgotten,
            None => Judgement::First,
            Some(record) if record.gone => Judgement::Gone,
            Some(record) if origin.sequence < record.since => Judgement::Forgotten,
            Some(record) if record.has(origin.sequence) => Judgement::Repeated,
            Some(_) => Judgement::First,
        }
    }

    /// Judges a cast and remembers it as delivered if it is the first.
    pub fn judge(&mut self, origin: &Origin) -> Judgement {
        self.clock += 1;
        let judgement = self.peek(origin);
        if matches!(judgement, Judgement::Forgotten | Judgement::Gone) {
            return judgement;
        }
        match self.clients.get_mut(&origin.client) {
            None => self.admit(origin),
            Some(record) => {
                self.by_use.remove(&(true, record.used, origin.client));
                record.used = self.clock;
                self.by_use.insert((true, record.used, origin.client));
                record.mark(origin.sequence);
            }
        }
        judgement
    }

    /// Clients are gone for good. They stay as dead until they are forgotten as the least recently used, so that
    /// a late copy of their casts is not delivered again.
    pub fn bury(&mut self, gone: &Gone) {
        for (client, record) in self.clients.iter_mut().filter(|(client, _)| gone.covers(client)) {
            self.by_use.remove(&(!record.gone, record.used, *client));
            record.gone = true;
            self.by_use.insert((false, record.used, *client));
        }
    }

    /// Whether a living client of this life of a site is known.
    pub fn knows_of(&self, life: SiteIncarnation) -> bool {
        self.clients.iter().any(|(client, record)| !record.gone && client.process.birth == life)
    }

    /// How many clients are known, the dead included.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// An empty table that goes on where this one is: what it is told counts as used later than all that is here.
    pub fn successor(&self) -> Table {
        Table { clock: self.clock, ..Table::new(self.clients_max) }
    }

    /// Takes in what was delivered elsewhere or later. Of a client that one of the two may have forgotten, nothing is
    /// known below what the other has.
    pub fn merge(&mut self, other: &Table) {
        if other.forgot {
            let only_ours = self.clients.iter_mut().filter(|(client, _)| !other.clients.contains_key(client));
            only_ours.for_each(|(_, record)| record.forget_older());
        }
        for (client, theirs) in &other.clients {
            match self.clients.get_mut(client) {
                Some(ours) => ours.merge(theirs),
                None => {
                    let mut theirs = theirs.clone();
                    if self.forgot {
                        theirs.forget_older();
                    }
                    self.clients.insert(*client, theirs);
                }
            }
        }
        self.clock = self.clock.max(other.clock);
        self.forgot |= other.forgot;
        self.since = self.since.max(other.since);
        self.by_use =
            self.clients.iter().map(|(client, record)| (!record.gone, record.used, *client)).collect();
        self.cut(self.clients_max);
    }

    /// The table as bytes, for other sites.
    pub fn encode(&self) -> Vec<u8> {
        let entry = |(client, record): (&ClientId, &Record)| Entry {
            client: *client,
            used: record.used,
            newest: record.newest,
            delivered: record.delivered.to_vec(),
            since: record.since,
            gone: record.gone,
        };
        let snapshot = Snapshot {
            entries: self.clients.iter().map(entry).collect(),
            clock: self.clock,
            forgot: self.forgot,
            clients_max: self.clients_max as u64,
            since: self.since,
        };
        minicbor::to_vec(snapshot).expect("writing to memory does not fail")
    }

    /// Reads a table.
    pub fn decode(bytes: &[u8]) -> Result<Table, DecodeError> {
        let snapshot: Snapshot = minicbor::decode(bytes).map_err(|_| DecodeError::BadBody)?;
        let clients_max = usize::try_from(snapshot.clients_max).map_err(|_| DecodeError::TooLarge)?;
        if clients_max == 0 || snapshot.clock > CLOCK_MAX {
            return Err(DecodeError::BadBody);
        }
        let mut table = Table::new(clients_max);
        table.clock = snapshot.clock;
        table.forgot = snapshot.forgot;
        table.since = snapshot.since;
        for Entry { client, used, newest, delivered, since, gone } in snapshot.entries {
            let delivered = delivered.try_into().map_err(|_| DecodeError::BadBody)?;
            let record = Record { used, newest, delivered, since, gone };
            if used > table.clock || record.oldest().is_none() {
                return Err(DecodeError::BadBody);
            }
            table.by_use.insert((!gone, used, client));
            if table.clients.insert(client, record).is_some() {
                return Err(DecodeError::BadBody);
            }
        }
        Ok(table)
    }

    fn admit(&mut self, origin: &Origin) {
        self.cut(self.clients_max - 1);
        let since = if self.forgot { origin.sequence } else { 0 };
        let mut record = Record { used: self.clock, newest: 0, delivered: [0; WORDS], since, gone: false };
        record.mark(origin.sequence);
        self.clients.insert(origin.client, record);
        self.by_use.insert((true, self.clock, origin.client));
    }

    /// Forgets the least recently used beyond so many.
    fn cut(&mut self, most: usize) {
        while self.clients.len() > most {
            let (lives, _, client) = self.by_use.pop_first().expect("as many uses as clients");
            self.clients.remove(&client).expect("as many clients as uses");
            self.forgot |= lives;
        }
    }
}

impl Record {
    /// Whether this was delivered, or is too old to tell.
    fn has(&self, sequence: u64) -> bool {
        let Some(back) = self.newest.checked_sub(sequence) else { return false };
        back >= TABLE_WINDOW || self.delivered[(back / 64) as usize] & 1u64 << (back % 64) != 0
    }

    /// Marks a sequence number as delivered.
    fn mark(&mut self, sequence: u64) {
        if sequence > self.newest {
            shift(&mut self.delivered, sequence - self.newest);
            self.newest = sequence;
        }
        let back = self.newest - sequence;
        if back < TABLE_WINDOW {
            self.delivered[(back / 64) as usize] |= 1u64 << (back % 64);
        }
    }

    /// The oldest number that is marked; none if that would be below 0.
    fn oldest(&self) -> Option<u64> {
        let marked = (0..WORDS).rev().find(|word| self.delivered[*word] != 0);
        let back = marked.map_or(0, |word| word as u64 * 64 + u64::from(self.delivered[word].ilog2()));
        self.newest.checked_sub(back)
    }

    /// Nothing is known below the oldest number that is marked.
    fn forget_older(&mut self) {
        self.since = self.since.max(self.oldest().unwrap_or(0));
    }

    fn merge(&mut self, other: &Record) {
        let mut theirs = other.delivered;
        if other.newest > self.newest {
            shift(&mut self.delivered, other.newest - self.newest);
            self.newest = other.newest;
        } else {
            shift(&mut theirs, self.newest - other.newest);
        }
        for (ours, theirs) in self.delivered.iter_mut().zip(theirs) {
            *ours |= theirs;
        }
        self.used = self.used.max(other.used);
        self.since = self.since.max(other.since);
        self.gone |= other.gone;
    }
}

/// Moves every bit `by` places towards the older.
fn shift(bits: &mut [u64; WORDS], by: u64) {
    let old = *bits;
    *bits = [0; WORDS];
    if by >= TABLE_WINDOW {
        return;
    }
    let (words, rest) = ((by / 64) as usize, by % 64);
    for to in words..WORDS {
        bits[to] = old[to - words] << rest;
        if rest > 0 && to > words {
            bits[to] |= old[to - words - 1] >> (64 - rest);
        }
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Snapshot {
    #[n(0)]
    entries: Vec<Entry>,
    #[n(1)]
    clock: u64,
    #[n(2)]
    forgot: bool,
    #[n(3)]
    clients_max: u64,
    #[n(4)]
    since: Option<ViewId>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Entry {
    #[n(0)]
    client: ClientId,
    #[n(1)]
    used: u64,
    #[n(2)]
    newest: u64,
    #[n(3)]
    delivered: Vec<u64>,
    #[n(4)]
    since: u64,
    #[n(5)]
    gone: bool,
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
