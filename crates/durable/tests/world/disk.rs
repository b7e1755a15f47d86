//! A simulated disk: writes take effect when they are durable, a crash keeps a part of what was under way and may tear
//! the last of it, durable records may rot.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use durable::{
    CheckpointHead, Chunk, Configuration, Durable, Life, Locator, Number, Record, Recovery, RecoveryError,
    Settings, StoreOp, Token,
};
use wire::{Incarnation, SiteId, StoreId};

use super::Dice;

#[derive(Clone, Debug)]
pub struct Kept {
    pub bytes: Bytes,
    /// A later write proves that it was synced.
    pub proven: bool,
}

/// A checkpoint with its parts: the window, and the application's keys.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    pub head: CheckpointHead,
    pub window: Vec<u8>,
    pub state: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub store: StoreId,
    pub incarnation: u64,
    pub founders: Option<Configuration>,
    pub meta: Option<Bytes>,
    pub log: BTreeMap<u64, Kept>,
    pub checkpoint: Option<Checkpoint>,
    receiving: Option<(Number, Checkpoint)>,
    /// Asked for and not durable, or not read, by kind: each kind in its order.
    pub metas: VecDeque<StoreOp>,
    pub logs: VecDeque<StoreOp>,
    pub parts: VecDeque<StoreOp>,
    pub reads: Vec<StoreOp>,
    /// The application's own checkpoint, being written.
    pub taking: Option<Checkpoint>,
    pub full: bool,
    /// A write of the log has failed: what was written after it is out of reach.
    broken: bool,
    /// Where the log begins.
    first: u64,
}

/// What the disk says.
pub enum Done {
    Stored(Token),
    Failed(Token),
    Full(Vec<Token>),
    Read(Token, Vec<Record>),
    Part(Token, Option<Chunk>),
    Installed(Token, Vec<u8>),
    Taken(Number),
}

impl Disk {
    pub fn new(store: StoreId, incarnation: u64, founders: Option<Configuration>) -> Disk {
        Disk {
            store,
            incarnation,
            founders,
            meta: None,
            log: BTreeMap::new(),
            checkpoint: None,
            receiving: None,
            metas: VecDeque::new(),
            logs: VecDeque::new(),
            parts: VecDeque::new(),
            reads: Vec::new(),
            taking: None,
            full: false,
            broken: false,
            first: 1,
        }
    }

    pub fn ask(&mut self, op: StoreOp) {
        match op {
            StoreOp::Meta { .. } => self.metas.push_back(op),
            StoreOp::WriteCheckpoint { .. } => self.parts.push_back(op),
            StoreOp::Read { .. } | StoreOp::ReadCheckpoint { .. } => self.reads.push(op),
            StoreOp::Append { .. }
            | StoreOp::Cut { .. }
            | StoreOp::Repair { .. }
            | StoreOp::Compact { .. }
            | StoreOp::InstallCheckpoint { .. } => self.logs.push_back(op),
        }
    }

    pub fn is_idle(&self) -> bool {
        let queues = self.metas.is_empty() && self.logs.is_empty() && self.parts.is_empty();
        queues && self.reads.is_empty() && self.taking.is_none()
    }

    /// Completes one operation, of a kind drawn by lot. `fail`: it fails instead, and what was written is lost.
    pub fn step(&mut self, dice: &mut Dice, fail: bool) -> Option<Done> {
        let kinds = [
            !self.metas.is_empty(),
            !self.logs.is_empty(),
            !self.parts.is_empty(),
            !self.reads.is_empty(),
            self.taking.is_some(),
        ];
        let open: Vec<usize> = (0..5).filter(|kind| kinds[*kind]).collect();
        if open.is_empty() {
            return None;
        }
        let kind = open[dice.below(open.len() as u64) as usize];
        if fail && kind < 3 {
            let op = [&mut self.metas, &mut self.logs, &mut self.parts][kind].pop_front()?;
            self.broken |= kind == 1;
            return Some(Done::Failed(op.token()));
        }
        if self.full
            && kind == 1
            && !matches!(self.logs.front(), Some(StoreOp::Cut { .. } | StoreOp::Compact { .. }))
        {
            return Some(Done::Full(self.logs.drain(..).map(|op| op.token()).collect()));
        }
        if self.full && kind == 2 {
            return Some(Done::Full(self.parts.drain(..).map(|op| op.token()).collect()));
        }
        match kind {
            0 => self.metas.pop_front().map(|op| self.apply(op)),
            1 => self.logs.pop_front().map(|op| self.apply(op)),
            2 => self.parts.pop_front().map(|op| self.apply(op)),
            3 => {
                let place = dice.below(self.reads.len() as u64) as usize;
                let op = self.reads.swap_remove(place);
                Some(self.apply(op))
            }
            _ => {
                let taken = self.taking.take()?;
                let number = taken.head.number;
                self.checkpoint = Some(taken);
                Some(Done::Taken(number))
            }
        }
    }

    fn apply(&mut self, op: StoreOp) -> Done {
        let token = op.token();
        match op {
            StoreOp::Meta { record, .. } => self.meta = Some(record),
            StoreOp::Append { records, .. } => {
                // What is behind another write was synced before it: that can be proved. The last cannot.
                self.log.values_mut().for_each(|kept| kept.proven = true);
                for Record { position, bytes } in records {
                    let end = self.log.keys().next_back().copied();
                    let follows = end.map_or(self.first, |end| end + 1) == position;
                    assert!(follows || self.broken, "a gap in the log: {end:?} {position}");
                    self.log.insert(position, Kept { bytes, proven: false });
                }
            }
            StoreOp::Cut { from, .. } => drop(self.log.split_off(&from)),
            StoreOp::Repair { record, .. } => {
                let kept = self.log.get_mut(&record.position).expect("what is repaired is there");
                kept.bytes = record.bytes;
            }
            StoreOp::Compact { before, .. } => {
                self.log = self.log.split_off(&before);
                self.first = self.first.max(before);
            }
            StoreOp::WriteCheckpoint { number, at, bytes, .. } => {
                if at == Locator::default() {
                    self.receiving = Some((number, Checkpoint::default()));
                }
                let (of, receiving) = self.receiving.as_mut().expect("a first part came first");
                assert_eq!(*of, number, "parts of one checkpoint");
                receiving.put(&at, &bytes);
            }
            StoreOp::InstallCheckpoint { head, keep, .. } => {
                let (of, mut received) = self.receiving.take().expect("parts came before");
                assert_eq!(of, head.number);
                received.head = head;
                let received_at = of.position;
                let window = received.window.clone();
                self.checkpoint = Some(received);
                self.taking = None;
                self.first = received_at + 1;
                self.log = if keep { self.log.split_off(&self.first) } else { BTreeMap::new() };
                return Done::Installed(token, window);
            }
            StoreOp::Read { from, to, bytes_max, .. } => {
                let mut left = bytes_max as i64;
                let mut records = Vec::new();
                for (position, kept) in self.log.range(from..=to) {
                    if left <= 0 {
                        break;
                    }
                    left -= kept.bytes.len() as i64;
                    records.push(Record { position: *position, bytes: kept.bytes.clone() });
                }
                return Done::Read(token, records);
            }
            StoreOp::ReadCheckpoint { number, at, bytes_max, .. } => {
                let checkpoint = self.checkpoint.as_ref().filter(|c| c.head.number == number);
                return Done::Part(token, checkpoint.map(|checkpoint| checkpoint.get(&at, bytes_max)));
            }
        }
        Done::Stored(token)
    }

    /// What a crash leaves: a part of what was under way, the last of it perhaps torn.
    pub fn crash(&mut self, dice: &mut Dice) {
        for op in std::mem::take(&mut self.metas) {
            if dice.below(2) == 0 {
                break;
            }
            self.apply(op);
        }
        let logs = std::mem::take(&mut self.logs);
        for op in logs.into_iter().take(if self.broken { 0 } else { usize::MAX }) {
            match (dice.below(3), op) {
                (0, op) => drop(self.apply(op)),
                (1, StoreOp::Append { records, .. }) => {
                    let whole = dice.below(records.len() as u64 + 1) as usize;
                    for (place, Record { position, bytes }) in records.into_iter().enumerate() {
                        if place < whole {
                            self.log.insert(position, Kept { bytes, proven: false });
                        } else {
                            let mut torn = bytes.to_vec();
                            let from = dice.below(torn.len() as u64) as usize;
                            torn[from..].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                            self.log.insert(position, Kept { bytes: torn.into(), proven: false });
                            break;
                        }
                    }
                    break;
                }
                (_, _) => break,
            }
        }
        self.parts.clear();
        self.reads.clear();
        self.taking = None;
        self.receiving = None;
    }

    /// A durable record rots.
    pub fn rot(&mut self, position: u64) {
        if let Some(kept) = self.log.get_mut(&position) {
            let mut bytes = kept.bytes.to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x55;
            kept.bytes = bytes.into();
        }
    }

    pub fn start(&mut self, site: SiteId, nonce: u64, settings: &Settings) -> Result<Durable, RecoveryError> {
        self.incarnation += 1;
        let life = Life { incarnation: Incarnation(self.incarnation), nonce };
        let checkpoint = self.checkpoint.as_ref().map(|c| (c.head.clone(), Bytes::from(c.window.clone())));
        let mut recovery = Recovery::new(settings.clone(), self.meta.clone(), checkpoint);
        // The log ends where a position is not there at all: what lies behind is out of reach.
        let end = (self.first..).find(|position| !self.log.contains_key(position)).unwrap_or(self.first);
        self.log.split_off(&end);
        self.broken = false;
        for (position, kept) in &self.log {
            recovery.record(*position, kept.bytes.clone(), kept.proven)?;
        }
        recovery.start(site, self.store, life, self.founders.clone())
    }
}

impl Checkpoint {
    fn put(&mut self, at: &Locator, bytes: &[u8]) {
        match at.domain {
            0 => {
                let offset = offset(&at.key);
                assert_eq!(offset, self.window.len(), "the window comes in order");
                self.window.extend_from_slice(bytes);
            }
            _ => {
                for pair in bytes.chunks_exact(16) {
                    let number = |half: &[u8]| u64::from_be_bytes(half.try_into().expect("eight bytes"));
                    self.state.push((number(&pair[..8]), number(&pair[8..])));
                }
            }
        }
    }

    fn get(&self, at: &Locator, bytes_max: usize) -> Chunk {
        match at.domain {
            0 => {
                let from = offset(&at.key).min(self.window.len());
                let to = (from + bytes_max).min(self.window.len());
                let next = match to < self.window.len() {
                    true => Locator { domain: 0, key: (to as u64).to_be_bytes().to_vec() },
                    false => Locator { domain: 1, key: Vec::new() },
                };
                Chunk { bytes: Bytes::copy_from_slice(&self.window[from..to]), next: Some(next) }
            }
            _ => {
                // By key: what it means does not depend on who sends it.
                let from = offset(&at.key) as u64;
                let rest: Vec<&(u64, u64)> = self.state.iter().filter(|(key, _)| *key >= from).collect();
                let count = (bytes_max / 16).max(1);
                let bytes: Vec<u8> = rest
                    .iter()
                    .take(count)
                    .flat_map(|(key, value)| [key.to_be_bytes(), value.to_be_bytes()].concat())
                    .collect();
                let next =
                    rest.get(count).map(|(key, _)| Locator { domain: 1, key: key.to_be_bytes().to_vec() });
                Chunk { bytes: bytes.into(), next }
            }
        }
    }
}

fn offset(key: &[u8]) -> usize {
    key.try_into().map_or(0, |key| u64::from_be_bytes(key) as usize)
}
