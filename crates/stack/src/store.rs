//! A durable group's disk: what its machine asks for ([`StoreOp`]), done on a write-ahead log (`wal`).
//!
//! ```text
//!  durable::StoreOp ─▶ DiskStore::work ─▶ wal::Log over a wal::Disk ─▶ durable::Done
//! ```
//!
//! Pure: the log asks a [`Disk`] for everything. Its calls block, so a driver gives a `DiskStore` a thread, which
//! takes all operations that wait and hands them to one call of [`DiskStore::work`]: one sync covers all of their
//! entries.
//!
//! The record at position p of the machine is entry p of the log, with the position up to which the log was synced
//! when it was written as its tag; the machine's meta record is the log's metadata; its checkpoint is the log's
//! (`checkpoint`), and its tag is the position from which on the log is of use beside it.

mod checkpoint;
mod incoming;
mod open;

use std::fmt::Display;

use bytes::Bytes;
use durable::{CheckpointHead, Done, Locator, Number, Record, StoreOp, Token};
use wal::{Compacted, Disk, Item, Log, LogError};

pub use checkpoint::PART_BYTES;
pub use open::{Opened, StoreError, Who};

use checkpoint::{Parts, Taking};
use incoming::Incoming;

/// Compaction that one freeing of entries may do at once, in steps of [`COMPACT_BYTES`].
const COMPACT_STEPS: usize = 8;
/// One step of compaction.
const COMPACT_BYTES: u64 = 1 << 20;

/// One durable group's log on a disk.
///
/// Made by [`DiskStore::open`], together with the machine that it belongs to. Then
///
/// 1. everything that [`Node::poll_durable_store`](crate::Node::poll_durable_store) gives goes to
///    [`work`](DiskStore::work), in order, and what that returns to [`DurableGroup::done`](crate::DurableGroup::done);
/// 2. on `durable::Event::Checkpoint` the application's state goes to [`take`](DiskStore::take), and while one
///    [is being taken](DiskStore::is_taking), [`take_some`](DiskStore::take_some) is called between pieces of other work;
///    what that returns goes to `done` too;
/// 3. on `durable::Event::Restore` the application takes its state from [`state`](DiskStore::state); when a store is
///    opened, it is shown by [`open_with`](DiskStore::open_with), so that the checkpoint is read once.
///
/// After a failure every operation is answered with [`Done::Failed`]: the machine says so, and the site is started
/// again (D4).
pub struct DiskStore<D: Disk> {
    disk: D,
    log: Log<D>,
    /// Where the parts of the checkpoint in force are.
    parts: Option<Parts>,
    /// What the log has before this position is of no use: a checkpoint that was received stands in its place.
    from: u64,
    /// From this position on the log has everything.
    first: u64,
    incoming: Option<Incoming>,
    taking: Option<Taking>,
    /// Why it has failed.
    failed: Option<String>,
}

/// What an append came to.
enum Appended {
    /// It waits for the sync.
    Waits,
    Full,
    Failed(String),
}

impl<D: Disk> DiskStore<D> {
    /// Does all of this, in order, and makes it durable. Everything is answered.
    pub fn work(&mut self, ops: impl IntoIterator<Item = StoreOp>) -> Vec<Done> {
        let mut done = Vec::new();
        // Appended and not synced: which operation, and its first position.
        let mut waiting: Vec<(Token, u64)> = Vec::new();
        for op in ops {
            let token = op.token();
            match op {
                StoreOp::Append { records, .. } => match self.append(&records) {
                    Appended::Waits => {
                        waiting.push((token, records.first().map_or(u64::MAX, |first| first.position)));
                    }
                    Appended::Full => done.push(Done::Full(token)),
                    Appended::Failed(why) => done.push(self.fail(token, &why)),
                },
                StoreOp::Meta { record, .. } => {
                    let set = self.log.set_metadata(&record);
                    done.push(self.said(token, set));
                }
                StoreOp::Cut { from, .. } => {
                    // The log is durable in the order in which it was asked for.
                    self.sync(&mut waiting, &mut done);
                    if self.taking.as_ref().is_some_and(|taking| taking.position() >= from) {
                        done.extend(self.take_no_more());
                    }
                    let cut = if from < self.log.next() { self.log.truncate(from) } else { Ok(()) };
                    done.push(self.said(token, cut));
                }
                StoreOp::Repair { record, .. } => {
                    self.sync(&mut waiting, &mut done);
                    self.log.note_damage(record.position, record.position);
                    let repaired = self.log.repair(&[(record.position, &[], &record.bytes)]);
                    done.push(self.said(token, repaired));
                }
                StoreOp::Compact { before, .. } => {
                    let freed = self.free(before);
                    done.push(self.said(token, freed));
                }
                StoreOp::Read { from, to, bytes_max, once, .. } => {
                    done.push(match self.read(from, to, bytes_max, once) {
                        Ok(records) => Done::Read(token, records),
                        Err(error) => self.fail(token, &error),
                    });
                }
                StoreOp::ReadCheckpoint { number, at, .. } => {
                    done.push(Done::Part(token, self.part(number, &at)))
                }
                StoreOp::WriteCheckpoint { number, at, bytes, .. } => {
                    done.push(match self.receive(number, at, &bytes) {
                        Ok(()) => Done::Stored(token),
                        Err(wal::DiskError::Full(_)) => Done::Full(token),
                        Err(error) => self.fail(token, &error),
                    });
                }
                StoreOp::InstallCheckpoint { head, keep, .. } => {
                    self.sync(&mut waiting, &mut done);
                    done.extend(self.take_no_more());
                    done.push(match self.install(head, keep) {
                        Ok(window) => Done::Installed(token, window),
                        Err(LogError::Full(_)) => Done::Full(token),
                        Err(error) => self.fail(token, &error),
                    });
                }
            }
        }
        self.sync(&mut waiting, &mut done);
        done
    }

    /// The state of the application as of the checkpoint in force, part by part: none if there is no checkpoint.
    /// An error is a part that cannot be read: the store cannot go on.
    pub fn state(&self, take: &mut dyn FnMut(&Locator, &[u8])) -> Result<Option<CheckpointHead>, StoreError> {
        let Some(parts) = &self.parts else { return Ok(None) };
        parts.each(&self.log, take)?;
        Ok(Some(parts.head.clone()))
    }

    /// From this position on the log has every entry that was written: what is before it was freed, or a checkpoint stands
    /// in its place.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Why the store has failed, in words for an operator; none if it has not.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Notes why, if it is the first failure.
    fn fail(&mut self, token: Token, why: &dyn Display) -> Done {
        self.failed.get_or_insert_with(|| why.to_string());
        Done::Failed(token)
    }

    /// What the checkpoint in force is of.
    pub fn checkpoint(&self) -> Option<&CheckpointHead> {
        self.parts.as_ref().map(|parts| &parts.head)
    }

    /// Appends the records of one operation: all of them, or none.
    fn append(&mut self, records: &[Record]) -> Appended {
        let Some(first) = records.first() else { return Appended::Waits };
        if first.position != self.log.next() {
            // What it stands behind was refused for want of room.
            return match first.position > self.log.next() {
                true => Appended::Full,
                false => Appended::Failed(format!("entry {} was written already", first.position)),
            };
        }
        for record in records {
            match self.log.append(&self.log.synced().to_le_bytes(), &record.bytes) {
                Ok(_) => {}
                Err(LogError::Full(_)) => {
                    return match self.log.truncate(first.position) {
                        Ok(()) => Appended::Full,
                        Err(error) => Appended::Failed(error.to_string()),
                    };
                }
                Err(error) => return Appended::Failed(error.to_string()),
            }
        }
        Appended::Waits
    }

    /// Makes durable what was appended, and says so. On a full disk all of it is taken back.
    fn sync(&mut self, waiting: &mut Vec<(Token, u64)>, done: &mut Vec<Done>) {
        let Some((_, first)) = waiting.first().copied() else { return };
        let synced = match self.log.sync() {
            Err(LogError::Full(name)) => match self.log.truncate(first) {
                Ok(()) => Err(LogError::Full(name)),
                Err(fatal) => Err(fatal),
            },
            other => other.map(drop),
        };
        done.extend(waiting.drain(..).map(|(token, _)| self.said(token, synced.clone())));
    }

    /// Entries before this position are not needed any more.
    fn free(&mut self, before: u64) -> Result<(), LogError> {
        self.log.release(1..before.min(self.log.next()))?;
        self.first = self.first.max(before);
        for _ in 0..COMPACT_STEPS {
            match self.log.compact(COMPACT_BYTES) {
                Ok(Compacted::Working | Compacted::Freed { .. }) => {}
                // Without room nothing can be moved; what stays is no error.
                Ok(Compacted::Idle) | Err(LogError::Full(_)) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records from a position on, without those that cannot be read. An error is a log that has failed.
    fn read(&mut self, from: u64, to: u64, bytes_max: usize, once: bool) -> Result<Vec<Record>, LogError> {
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        let end = to.saturating_add(1).min(self.log.next());
        let reader = if once { self.log.reader().once() } else { self.log.reader() };
        let found = reader.range(from, end, bytes_max as u64, &mut |item| match item {
            Item::Entry(entry) => records
                .push(Record { position: entry.position, bytes: Bytes::copy_from_slice(entry.payload) }),
            Item::Damaged(first, last) => damaged.push((first, last)),
        });
        damaged.into_iter().for_each(|(first, last)| self.log.note_damage(first, last));
        match found {
            Err(LogError::Fatal(error)) => Err(LogError::Fatal(error)),
            // What cannot be read now is read again, or had from others.
            Ok(_) | Err(_) => Ok(records),
        }
    }

    /// What an operation without a result came to.
    fn said(&mut self, token: Token, outcome: Result<(), LogError>) -> Done {
        match outcome {
            Ok(()) => Done::Stored(token),
            Err(LogError::Full(_)) => Done::Full(token),
            Err(error) => self.fail(token, &error),
        }
    }

    fn part(&self, number: Number, at: &Locator) -> Option<durable::Chunk> {
        let parts = self.parts.as_ref().filter(|parts| parts.head.number == number)?;
        parts.chunk(&self.log, at)
    }
}

/// What an entry's tag proves: when it was written, everything before this position was synced.
fn proof_of(tag: &[u8]) -> u64 {
    tag.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
