//! What changed lately, for watchers: local, bounded, and no part of what is replicated.

use std::collections::VecDeque;

use bytes::Bytes;

use super::limits::CHANGES_LOOKS_MAX;
use super::pair::Pair;

/// How much a member remembers of what changed. Each member may have its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Changes; 0: none is remembered, and nobody can watch here.
    pub changes_max: usize,
    /// Bytes of their keys and values, values that were overwritten since included.
    pub bytes_max: usize,
}

impl HistoryLimits {
    /// Nothing is remembered.
    pub const NONE: HistoryLimits = HistoryLimits { changes_max: 0, bytes_max: 0 };
}

impl Default for HistoryLimits {
    fn default() -> HistoryLimits {
        HistoryLimits { changes_max: 65_536, bytes_max: 16 << 20 }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision at which it changed. At one revision a key can expire and be put again, in this order.
    pub revision: u64,
    /// What became of it.
    pub what: What,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was put.
    Put(Pair),
    /// Somebody took it away.
    Deleted(Bytes),
    /// Its time was over.
    Expired(Bytes),
}

impl Change {
    /// Of which key.
    pub fn key(&self) -> &[u8] {
        match &self.what {
            What::Put(pair) => pair.key(),
            What::Deleted(key) | What::Expired(key) => key,
        }
    }

    fn bytes(&self) -> usize {
        match &self.what {
            What::Put(pair) => pair.bytes() as usize,
            What::Deleted(key) | What::Expired(key) => key.len(),
        }
    }
}

/// Changes behind a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which they happened; those of one revision are all here or none.
    pub changes: Vec<Change>,
    /// The revision to go on from. If it is below the map's, there may be more.
    pub upto: u64,
}

/// What changed behind a revision is not remembered here, or not all of it: list again, and go on from the revision
/// of the map that was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes up to revision {upto} are not remembered here: list again")]
pub struct Compacted {
    /// The lowest revision from which one can go on here.
    pub upto: u64,
}

/// The newest changes.
#[derive(Clone, Debug)]
pub(super) struct History {
    limits: HistoryLimits,
    changes: VecDeque<Change>,
    bytes: usize,
    /// Changes up to this revision are not here, or not all.
    forgotten: u64,
}

impl History {
    pub fn new(limits: HistoryLimits) -> History {
        History { limits, changes: VecDeque::new(), bytes: 0, forgotten: 0 }
    }

    /// Remembers a change, and forgets the oldest beyond the bounds.
    pub fn say(&mut self, revision: u64, what: impl FnOnce() -> What) {
        if self.limits.changes_max == 0 {
            self.forgotten = revision;
            return;
        }
        let change = Change { revision, what: what() };
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.changes.len() > self.limits.changes_max || self.bytes > self.limits.bytes_max {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.forgotten = oldest.revision;
        }
    }

    /// What was before this revision is not known here.
    pub fn begin_at(&mut self, revision: u64) {
        self.changes.clear();
        self.bytes = 0;
        self.forgotten = revision;
    }

    /// Changes behind `since`, of keys with this prefix, in a map at `revision`.
    pub fn since(&self, since: u64, prefix: &[u8], revision: u64) -> Result<Changes, Compacted> {
        if since < self.forgotten {
            return Err(Compacted { upto: self.forgotten });
        }
        let from = self.changes.partition_point(|change| change.revision <= since);
        let mut changes = Vec::new();
        let mut upto = since;
        for (looks, change) in self.changes.range(from..).enumerate() {
            if looks >= CHANGES_LOOKS_MAX && change.revision != upto {
                return Ok(Changes { changes, upto });
            }
            upto = change.revision;
            if change.key().starts_with(prefix) {
                changes.push(change.clone());
            }
        }
        Ok(Changes { changes, upto: since.max(revision) })
    }
}
