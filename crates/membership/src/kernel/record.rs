//! What an mserver keeps on disk, and what waits for the disk (A5).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use minicbor::encode::{Error, Write};
use minicbor::{Decode, Encode, Encoder};
use wire::{SiteId, ViewId};

use crate::step::Step;

/// A step with the tables after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Learned<T> {
    /// The step.
    #[n(0)]
    pub step: Step,
    /// The tables after it.
    #[n(1)]
    pub tables: T,
}

/// The one record of a core-set on disk, replaced atomically.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Record<T> {
    /// The newest primary step known, with its tables.
    #[n(0)]
    pub line: Learned<T>,
    /// Nothing below it is acknowledged.
    #[n(1)]
    pub promised: ViewId,
    /// What was accepted in the instance of this line, and at which attempt.
    #[n(2)]
    pub accepted: Option<(ViewId, Step)>,
}

/// Encodes records for the disk. The tables change with the line alone, promises much more often: their encoding is
/// kept, so that a promise does not cost the encoding of thousands of groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordWriter {
    /// After which step, and the tables' encoding.
    tables: Option<(ViewId, Vec<u8>)>,
}

/// What is encoded already.
struct Encoded<'a>(&'a [u8]);

impl<C> Encode<C> for Encoded<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.writer_mut().write_all(self.0).map_err(Error::write)
    }
}

impl RecordWriter {
    /// The record's bytes.
    pub(crate) fn write<T: Encode<()>>(&mut self, record: &Record<T>) -> Vec<u8> {
        let step = &record.line.step;
        if self.tables.as_ref().is_none_or(|(after, _)| *after != step.id) {
            self.tables = Some((step.id, to_vec(&record.line.tables)));
        }
        let tables = self.tables.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let line = Learned { step: step.clone(), tables: Encoded(tables) };
        let mut bytes = Vec::with_capacity(tables.len() + 1_024);
        let whole = Record { line, promised: record.promised, accepted: record.accepted.clone() };
        minicbor::encode(&whole, &mut bytes).expect("writing to memory does not fail");
        bytes
    }
}

fn to_vec<T: Encode<()>>(what: &T) -> Vec<u8> {
    minicbor::to_vec(what).expect("writing to memory does not fail")
}

/// Names one write of the record, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something that may be seen only when a write is done: it cannot be taken out without the proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Durable<M>(M);

/// That a write is done, told by the driver.
pub(crate) struct OnDisk(());

impl<M> Durable<M> {
    /// Holds `what` until there is a proof.
    pub(crate) fn new(what: M) -> Durable<M> {
        Durable(what)
    }

    /// Gives it out.
    pub(crate) fn release(self, _: &OnDisk) -> M {
        self.0
    }
}

/// The writes under way, oldest first, each with what may leave when it is done. Two outboxes with the same
/// writes under way are equal whatever the tickets' numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Outbox<M> {
    done: u64,
    held: VecDeque<Vec<Durable<(SiteId, M)>>>,
}

impl<M> Outbox<M> {
    pub(crate) fn new() -> Outbox<M> {
        Outbox { done: 0, held: VecDeque::new() }
    }

    /// A new write, and what waits for it.
    pub(crate) fn write(&mut self, then: Vec<Durable<(SiteId, M)>>) -> Ticket {
        self.held.push_back(then);
        Ticket(self.done + self.held.len() as u64)
    }

    /// Adds to what waits for the last write; if none is under way, the record is on disk as it is.
    pub(crate) fn wait(&mut self, then: Vec<Durable<(SiteId, M)>>) -> Vec<(SiteId, M)> {
        match self.held.back_mut() {
            Some(last) => {
                last.extend(then);
                Vec::new()
            }
            None => then.into_iter().map(|m| m.release(&OnDisk(()))).collect(),
        }
    }

    /// The driver says that this write, and so each before it, is done.
    pub(crate) fn stored(&mut self, ticket: Ticket) -> Vec<(SiteId, M)> {
        let mut free = Vec::new();
        while self.done < ticket.0 {
            let Some(batch) = self.held.pop_front() else { break };
            self.done += 1;
            free.extend(batch.into_iter().map(|m| m.release(&OnDisk(()))));
        }
        free
    }

    /// The ticket of the oldest write under way.
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        (!self.held.is_empty()).then_some(Ticket(self.done + 1))
    }
}

impl<M: PartialEq> PartialEq for Outbox<M> {
    fn eq(&self, other: &Self) -> bool {
        self.held == other.held
    }
}

impl<M: Eq> Eq for Outbox<M> {}

impl<M: Hash> Hash for Outbox<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.held.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(epoch: u64) -> Step {
        let id = ViewId { epoch, ..ViewId::default() };
        Step {
            id,
            base: ViewId::default(),
            position: epoch,
            primary: true,
            requests: Vec::new(),
            members: Vec::new(),
            removed: Vec::new(),
            digest: 0,
            branches: Vec::new(),
        }
    }

    #[test]
    fn a_record_is_written_as_it_is_whatever_was_kept() {
        let mut writer = RecordWriter::default();
        for (line, promised, accepts) in
            [(1, 1, false), (1, 3, false), (1, 3, true), (2, 3, false), (1, 4, true)]
        {
            let record = Record {
                line: Learned { step: step(line), tables: format!("after step {line}") },
                promised: step(promised).id,
                accepted: accepts.then(|| (step(promised).id, step(promised))),
            };
            assert_eq!(writer.write(&record), to_vec(&record));
        }
    }
}
