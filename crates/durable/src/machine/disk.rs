//! The machine's side of the disk: what was asked for, what is durable, what waits for that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wire::Time;

use super::Durable;
use crate::bugs::Bug;
use crate::entry::{Entry, Number};
use crate::event::Fatal;
use crate::storage::{Chunk, Done, Record, StoreOp, Token};

/// Operations under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    last: u64,
    /// Writes that are not durable.
    writes: BTreeMap<Token, Write>,
    /// Of these, where those to the log begin.
    unwritten: BTreeSet<(u64, Token)>,
    reads: BTreeMap<Token, ReadFor>,
    ops: VecDeque<StoreOp>,
    /// Nothing is written to the log before this write is durable.
    gate: Option<Token>,
    /// A cut that waits for the gate.
    cut: Option<u64>,
    unwritten_bytes: usize,
    full_until: Option<Time>,
    /// What was asked for last and needed room did not get any.
    full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    Meta,
    /// Of the log, from this position; so many bytes.
    Log {
        first: u64,
        bytes: usize,
    },
    /// Of the log's end.
    Cut {
        from: u64,
    },
    /// Of the log, in its middle.
    Repair {
        position: u64,
        bytes: usize,
    },
    Compact,
    Checkpoint,
    Install,
}

impl Write {
    /// The first position of the log that it changes.
    fn position(&self) -> Option<u64> {
        match self {
            Write::Log { first, .. } => Some(*first),
            Write::Cut { from } => Some(*from),
            Write::Repair { position, .. } => Some(*position),
            Write::Meta | Write::Compact | Write::Checkpoint | Write::Install => None,
        }
    }
}

/// What is read, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ReadFor {
    /// To apply.
    Apply,
    /// For another site (D18, D19).
    Other(super::serve::Wanted),
}

impl Disk {
    fn token(&mut self) -> Token {
        self.last += 1;
        Token(self.last)
    }

    fn write(&mut self, write: Write, op: impl FnOnce(Token) -> StoreOp) -> Token {
        let token = self.token();
        self.unwritten.extend(write.position().map(|first| (first, token)));
        self.writes.insert(token, write);
        self.ops.push_back(op(token));
        token
    }

    pub(super) fn poll(&mut self) -> Option<StoreOp> {
        self.ops.pop_front()
    }

    /// The oldest write that is not durable.
    pub(super) fn oldest(&self) -> Option<Token> {
        self.writes.keys().next().copied()
    }

    /// The last write that was asked for.
    pub(super) fn newest(&self) -> Token {
        Token(self.last)
    }

    pub(super) fn is_durable(&self, token: Token) -> bool {
        !self.writes.contains_key(&token)
    }

    /// The first position of the log that is not durable.
    fn first_unwritten(&self) -> Option<u64> {
        self.unwritten.first().map(|(first, _)| *first)
    }

    /// Keeps the log from being written until a write is durable.
    pub(super) fn gate(&mut self, token: Token) {
        self.gate = self.gate.max(Some(token));
    }

    pub(super) fn cut_when_open(&mut self, from: u64) {
        self.cut = Some(from);
    }

    /// Whether the log may be written: no gate, room, and not too much under way.
    pub(super) fn takes(&mut self, unwritten_bytes_max: usize) -> bool {
        if self.gate.is_some_and(|gate| !self.is_durable(gate)) {
            return false;
        }
        self.gate = None;
        if let Some(from) = self.cut.take() {
            self.cut(from);
        }
        self.full_until.is_none() && self.unwritten_bytes < unwritten_bytes_max
    }

    pub(super) fn cut(&mut self, from: u64) {
        self.write(Write::Cut { from }, |token| StoreOp::Cut { token, from });
    }

    pub(super) fn append(&mut self, records: Vec<Record>) {
        let (Some(first), bytes) = (records.first(), records.iter().map(|r| r.bytes.len()).sum()) else {
            return;
        };
        let first = first.position;
        self.unwritten_bytes += bytes;
        self.write(Write::Log { first, bytes }, |token| StoreOp::Append { token, records });
    }

    pub(super) fn repair(&mut self, record: Record) {
        let (position, bytes) = (record.position, record.bytes.len());
        self.unwritten_bytes += bytes;
        self.write(Write::Repair { position, bytes }, |token| StoreOp::Repair { token, record });
    }

    pub(super) fn compact(&mut self, before: u64) {
        self.write(Write::Compact, |token| StoreOp::Compact { token, before });
    }

    pub(super) fn write_checkpoint(&mut self, op: impl FnOnce(Token) -> StoreOp) -> Token {
        self.write(Write::Checkpoint, op)
    }

    pub(super) fn install_checkpoint(&mut self, op: impl FnOnce(Token) -> StoreOp) -> Token {
        let token = self.write(Write::Install, op);
        self.gate(token);
        token
    }

    pub(super) fn read(&mut self, what: ReadFor, op: impl FnOnce(Token) -> StoreOp) -> Token {
        let token = self.token();
        self.reads.insert(token, what);
        self.ops.push_back(op(token));
        token
    }

    pub(super) fn take_read(&mut self, token: Token) -> Option<ReadFor> {
        self.reads.remove(&token)
    }

    pub(super) fn end_of_full(&mut self, now: Time) {
        if self.full_until.is_some_and(|until| now >= until) {
            self.full_until = None;
        }
    }

    pub(super) fn full_until(&self) -> Option<Time> {
        self.full_until
    }

    /// Whether there is no room, as far as is known.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    fn done(&mut self, token: Token) -> Option<Write> {
        let write = self.writes.remove(&token);
        if let Some(first) = write.and_then(|write| write.position()) {
            self.unwritten.remove(&(first, token));
        }
        if let Some(Write::Log { bytes, .. } | Write::Repair { bytes, .. }) = write {
            self.unwritten_bytes -= bytes;
        }
        write
    }

    /// A write was done, or refused for want of room.
    fn note_room(&mut self, write: Option<Write>, full: bool) {
        self.full = match write {
            Some(Write::Log { .. } | Write::Repair { .. } | Write::Checkpoint | Write::Install) => full,
            // Of a small record that is replaced, and of what makes room, nothing follows for the log.
            Some(Write::Meta | Write::Cut { .. } | Write::Compact) | None => self.full,
        };
    }
}

/// From the disk.
impl Durable {
    /// What has become of an operation.
    pub fn handle_done(&mut self, now: Time, done: Done) {
        match done {
            Done::Stored(token) => self.handle_stored(now, token),
            Done::StoredTogether(tokens) => self.handle_all_stored(now, &tokens),
            Done::Failed(token) => self.handle_store_failed(now, token),
            Done::Full(token) => self.handle_disk_full(now, token),
            Done::Read(token, records) => self.handle_read(now, token, records),
            Done::Part(token, chunk) => self.handle_checkpoint_read(now, token, chunk),
            Done::Installed(token, window) => self.handle_checkpoint_installed(now, token, &window),
            Done::Taken(number, bytes) => self.handle_checkpoint_taken(now, number, bytes),
            Done::NotTaken(number) => self.handle_checkpoint_not_taken(number),
        }
    }

    /// A write is durable.
    pub fn handle_stored(&mut self, now: Time, token: Token) {
        self.handle_all_stored(now, &[token]);
    }

    fn handle_all_stored(&mut self, now: Time, tokens: &[Token]) {
        if self.stopped {
            return;
        }
        let mut any = false;
        for token in tokens {
            if let Some(write) = self.disk.done(*token) {
                any = true;
                self.disk.note_room(Some(write), false);
                self.part_stored(*token);
            }
        }
        if any {
            self.settle(now);
        }
    }

    /// A write or its sync failed: what the disk has is not known any more (D4).
    pub fn handle_store_failed(&mut self, now: Time, token: Token) {
        if self.settings.bugs.has(Bug::SyncErrorIgnored) {
            return self.handle_stored(now, token);
        }
        self.fail(Fatal::WriteFailed);
    }

    /// There was no room for a write, and nothing of it was written (D4).
    pub fn handle_disk_full(&mut self, now: Time, token: Token) {
        if self.stopped {
            return;
        }
        self.disk.full_until = Some(now + self.settings.full_retry);
        let write = self.disk.done(token);
        self.disk.note_room(write, true);
        match write {
            Some(Write::Log { first, .. }) if first <= self.log.end() => {
                // It may be nowhere else: it waits for room.
                let entries = self.log.take_back(first);
                self.agreed = self.agreed.min(self.log.end());
                if let Some(active) = self.active_mut() {
                    active.wait_again(entries);
                }
            }
            Some(Write::Repair { position, .. }) => self.damage_found(position),
            // It needs no room, and was refused only because it stood behind what did.
            Some(Write::Cut { from }) => self.disk.cut(from),
            Some(Write::Meta) => {
                // Asked for again under the same name: what waits for it goes on waiting.
                let record = self.meta.encode();
                self.disk.writes.insert(token, Write::Meta);
                self.disk.ops.push_back(StoreOp::Meta { token, record });
            }
            Some(Write::Checkpoint | Write::Install) => self.transfer = None,
            Some(Write::Log { .. } | Write::Compact) | None => {}
        }
        self.settle(now);
    }

    /// Records that were asked for with [`StoreOp::Read`], from the first on; those that cannot be read are left out.
    pub fn handle_read(&mut self, now: Time, token: Token, records: Vec<Record>) {
        if self.stopped {
            return;
        }
        match self.disk.take_read(token) {
            Some(ReadFor::Apply) => self.replay(&records),
            Some(ReadFor::Other(wanted)) => self.serve_read(wanted, &records),
            None => {}
        }
        self.settle(now);
    }

    /// A part that was asked for with [`StoreOp::ReadCheckpoint`]; none if that checkpoint is not there any more.
    pub fn handle_checkpoint_read(&mut self, now: Time, token: Token, chunk: Option<Chunk>) {
        if self.stopped {
            return;
        }
        if let Some(ReadFor::Other(wanted)) = self.disk.take_read(token) {
            self.serve_part(wanted, chunk);
        }
        self.settle(now);
    }

    /// A received checkpoint is the current one; `window` is its domain 0.
    pub fn handle_checkpoint_installed(&mut self, now: Time, token: Token, window: &[u8]) {
        let write = self.disk.done(token);
        if self.stopped || write.is_none() {
            return;
        }
        self.disk.note_room(write, false);
        self.checkpoint_installed(now, window);
        self.settle(now);
    }

    /// Up to here the log is durable.
    pub(super) fn durable(&self) -> u64 {
        let durable = self.disk.first_unwritten().map_or(u64::MAX, |first| first.saturating_sub(1));
        durable.min(self.log.end())
    }

    pub(super) fn save_meta(&mut self) -> Token {
        self.prune_meta();
        let record: Bytes = self.meta.encode();
        self.disk.write(Write::Meta, |token| StoreOp::Meta { token, record })
    }

    /// Whether the record of an entry is being awaited from the disk or can be had from memory: whether it can be
    /// read, in short.
    pub(super) fn is_readable(&self, position: u64) -> bool {
        position <= self.durable()
            && self.log.number(position).is_some()
            && position > self.log.base().position
    }

    /// The entry of a record that was read, if it is the one that belongs there.
    pub(super) fn checked(&self, record: &Record) -> Option<Entry> {
        let entry = Entry::from_record(record.bytes.clone()).ok()?;
        (Some(entry.number) == self.log.number(record.position)).then_some(entry)
    }

    fn prune_meta(&mut self) {
        // What is left from before a cut, then what was superseded at what is applied.
        let (end, log) = (self.log.end(), &self.log);
        self.meta.configurations.retain(|(number, _)| number.position > end || log.may_have(*number));
        let applied = self.applied;
        let old = self.meta.configurations.iter().filter(|(number, _)| number.position <= applied).count();
        self.meta.configurations.drain(..old.saturating_sub(1));
        // Only stores that count in one of them are remembered.
        let counts =
            |store| self.meta.configurations.iter().any(|(_, c): &(Number, _)| c.stores.contains_key(store));
        let kept = self.meta.seen.iter().filter(|(store, _)| counts(store)).copied().collect();
        self.meta.seen = kept;
    }
}
