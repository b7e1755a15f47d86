//! What requests do.

use bytes::Bytes;

use super::Map;
use super::answer::{Answer, Found};
use super::history::What;
use super::limits::EXPIRED_MAX;
use super::pair::{Lineage, Pair, counts};
use super::request::{Batch, Condition, Delete, Operation, Put, Request};

impl Map {
    /// Takes away what is due, what is due longest first, and no more of it than one entry should.
    pub(super) fn expire(&mut self) {
        for _ in 0..EXPIRED_MAX {
            let Some(pair) = self.due.pop(self.clock) else { return };
            self.tree.remove(pair.key());
            self.forget(&pair);
            self.history.say(self.revision, || What::Expired(Bytes::copy_from_slice(pair.key())));
        }
    }

    /// Does what is asked for, or nothing.
    pub(super) fn write(&mut self, request: Request) -> Answer {
        match request {
            Request::Tick => Answer::Done { revision: self.revision, previous: None },
            Request::Quota(quota) => {
                self.quota = quota.bytes;
                Answer::Done { revision: self.revision, previous: None }
            }
            Request::Put(put) => self.single(Operation::Put(put)),
            Request::Delete(delete) => self.single(Operation::Delete(delete)),
            Request::Batch(batch) => self.batch(&batch),
        }
    }

    fn single(&mut self, operation: Operation) -> Answer {
        let operations = [operation];
        if let Some(refusal) = self.refusal(&operations) {
            return refusal;
        }
        Answer::Done { revision: self.revision, previous: self.operate(&operations[0]) }
    }

    fn batch(&mut self, batch: &Batch) -> Answer {
        if let Some(refusal) = self.refusal(&batch.operations) {
            return refusal;
        }
        let previous = batch.operations.iter().map(|operation| self.operate(operation)).collect();
        Answer::Batch { revision: self.revision, previous }
    }

    /// Why these cannot be done together, if so. Their keys differ.
    fn refusal(&self, operations: &[Operation]) -> Option<Answer> {
        for (n, operation) in operations.iter().enumerate() {
            let found = self.get(operation.key(), self.clock);
            if !operation.only_if().is_none_or(|condition| condition.holds(found)) {
                return Some(Answer::Unmet { operation: n as u32, found: found.map(Found::from) });
            }
        }
        let (mut more, mut less) = (0, 0);
        for operation in operations {
            less += self.tree.get(operation.key()).map_or(0, Pair::counts);
            if let Operation::Put(put) = operation {
                more += counts(put.key.len() + put.value.len());
            }
        }
        let full = more > less && self.counted - less + more > self.quota;
        full.then_some(Answer::Full { counted: self.counted, quota: self.quota })
    }

    /// The revision at which the key was changed before.
    fn operate(&mut self, operation: &Operation) -> Option<u64> {
        match operation {
            Operation::Put(put) => self.put(put),
            Operation::Delete(delete) => self.delete(delete),
        }
    }

    fn put(&mut self, put: &Put) -> Option<u64> {
        self.expire_one(put.key);
        let before = self.tree.get(put.key).map(Found::from);
        let created = before.map_or(self.revision, |before| before.created);
        let versions = before.map_or(0, |before| before.versions).saturating_add(1);
        let lineage = Lineage { created, modified: self.revision, versions };
        let expires = put.ttl_ms.map(|ttl| self.clock.saturating_add(ttl));
        let pair = Pair::new(put.key, put.value, lineage, expires);
        self.history.say(self.revision, || What::Put(pair.clone()));
        self.insert(pair);
        before.map(|before| before.modified)
    }

    fn delete(&mut self, delete: &Delete) -> Option<u64> {
        self.expire_one(delete.key);
        let before = self.remove(delete.key)?;
        self.history.say(self.revision, || What::Deleted(Bytes::copy_from_slice(delete.key)));
        Some(before.modified())
    }

    /// Takes a key away whose time is over, if it has not been its turn.
    fn expire_one(&mut self, key: &[u8]) {
        if self.tree.get(key).is_some_and(|pair| pair.is_due(self.clock)) {
            self.remove(key);
            self.history.say(self.revision, || What::Expired(Bytes::copy_from_slice(key)));
        }
    }
}

impl Condition<'_> {
    fn holds(&self, found: Option<&Pair>) -> bool {
        match (self, found) {
            (Condition::Absent, found) => found.is_none(),
            (_, None) => false,
            (Condition::Present, Some(_)) => true,
            (Condition::Revision(revision), Some(pair)) => pair.modified() == *revision,
            (Condition::Value(value), Some(pair)) => pair.value() == *value,
        }
    }
}
