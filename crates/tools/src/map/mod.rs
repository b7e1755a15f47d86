//! A key-value map that every store of a durable group has the same: put, delete, compare-and-set, batches, time to
//! live, reads at a site's own state, and watches. `docs/map.md` is its page.

mod answer;
mod checkpoint;
mod difference;
mod due;
mod history;
pub mod limits;
mod pair;
mod request;
mod tree;
mod write;

use std::hash::Hasher;
use std::ops::Bound;

use bytes::Bytes;
use durable::{Application, Applying, Locator, NotRestored, Parts};
use siphasher::sip::SipHasher13;

pub use answer::{Answer, Found};
pub use checkpoint::{Part, Piece, Reader};
pub use difference::Difference;
pub use history::{Change, Changes, Compacted, HistoryLimits, What};
pub use pair::Pair;
pub use request::{Batch, Condition, Delete, Fault, Operation, Put, Quota, Request};

use checkpoint::Stage;
use due::DueSet;
use history::History;
use limits::{LIST_BYTES_MAX, LIST_LOOKS_MAX, LIST_MAX, QUOTA_BYTES_DEFAULT};
use tree::Tree;

/// The map at one member: the application of a durable group.
///
/// Its host calls [`apply`](Application::apply) with each committed [`Request`] and gives the [`Answer`] to whoever
/// asked. Then, if somebody watches, it asks for [`changes_since`](Map::changes_since) the revision that it was told
/// last. When the group's clock has passed [`next_expiry`](Map::next_expiry) it proposes a [`Request::Tick`]; any other
/// request does as well, and it does not matter who proposes one, or how many do.
///
/// The *revision* of the map is the position of the last request that was applied. Reads take a clock, in milliseconds
/// since 1970, and hide the pairs whose time is over by it. A linearizable read waits for the group's read barrier and
/// takes [`clock`](Map::clock): two sites at one revision then see the same. Whoever passes the clock of his own machine
/// sees pairs go in time, also while nothing is proposed, and may see gone what another still sees.
///
/// A copy is a snapshot: it takes no time, whatever the map's size, and shares the pairs until they change.
#[derive(Clone, Debug)]
pub struct Map {
    tree: Tree,
    due: DueSet,
    revision: u64,
    clock: u64,
    quota: u64,
    /// Bytes of all keys and values.
    bytes: u64,
    /// What the pairs count.
    counted: u64,
    /// The sum of the pairs' hashes: no order of changes shows in it.
    sum: u64,
    history: History,
    stage: Stage,
}

/// A part of the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Pairs with rising keys.
    pub pairs: Vec<Pair>,
    /// The key behind which to go on; none: that was all.
    pub after: Option<Bytes>,
}

impl Default for Map {
    fn default() -> Map {
        Map::new(HistoryLimits::default())
    }
}

impl Map {
    /// An empty map that remembers so much of what changes, for watchers.
    pub fn new(history: HistoryLimits) -> Map {
        Map {
            tree: Tree::default(),
            due: DueSet::default(),
            revision: 0,
            clock: 0,
            quota: QUOTA_BYTES_DEFAULT,
            bytes: 0,
            counted: 0,
            sum: 0,
            history: History::new(history),
            stage: Stage::New,
        }
    }

    /// The pair of a key, unless its time is over.
    pub fn get(&self, key: &[u8], clock: u64) -> Option<&Pair> {
        self.tree.get(key).filter(|pair| !pair.is_due(clock))
    }

    /// Pairs whose keys have a prefix, behind a key if one is given: at most `limit`, at most [`LIST_MAX`], and of at
    /// most [`LIST_BYTES_MAX`] bytes unless the first is longer.
    pub fn list(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize, clock: u64) -> Listed {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let limit = limit.clamp(1, LIST_MAX);
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        let mut last: Option<&Pair> = None;
        for (looks, pair) in self.tree.range(from).enumerate() {
            if !pair.key().starts_with(prefix) {
                break;
            }
            let hidden = pair.is_due(clock);
            let long = !hidden && !pairs.is_empty() && bytes + pair.bytes() > LIST_BYTES_MAX as u64;
            if pairs.len() == limit || looks == LIST_LOOKS_MAX || long {
                let after = last.map(|pair| Bytes::copy_from_slice(pair.key()));
                return Listed { pairs, after };
            }
            last = Some(pair);
            if !hidden {
                bytes += pair.bytes();
                pairs.push(pair.clone());
            }
        }
        Listed { pairs, after: None }
    }

    /// What changed behind a revision, of keys with a prefix. It looks at
    /// [`CHANGES_LOOKS_MAX`](limits::CHANGES_LOOKS_MAX) changes: if [`Changes::upto`] is below
    /// [`revision`](Map::revision), ask again from there.
    ///
    /// The revision may be one of another member, and above this one's: then nothing is returned until this one has
    /// come farther.
    ///
    /// # Errors
    ///
    /// Too much has changed since, or this member took its state from a checkpoint since.
    pub fn changes_since(&self, revision: u64, prefix: &[u8]) -> Result<Changes, Compacted> {
        self.history.since(revision, prefix, self.revision)
    }

    /// When the first pair goes, in milliseconds since 1970: time for a [`Request::Tick`].
    pub fn next_expiry(&self) -> Option<u64> {
        self.due.next()
    }

    /// The position of the last request that was applied; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The time of the state, in milliseconds since 1970: of the last request that was applied.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// How many pairs there are, those included whose time is over and that have not been taken away.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the pairs count together, in bytes, and what they may.
    pub fn quota(&self) -> (u64, u64) {
        (self.counted, self.quota)
    }

    /// Checks what must be true of the map, pair by pair: for tests, and for a host in doubt.
    ///
    /// # Errors
    ///
    /// What is not true.
    pub fn audit(&self) -> Result<(), String> {
        self.tree.audit()?;
        let (mut bytes, mut counted, mut sum, mut with_end) = (0, 0, 0u64, 0);
        for pair in self.tree.range(Bound::Unbounded) {
            bytes += pair.bytes();
            counted += pair.counts();
            sum = sum.wrapping_add(pair.hash());
            with_end += usize::from(pair.expires().is_some());
            if pair.created() > pair.modified() || pair.modified() > self.revision || pair.versions() == 0 {
                return Err(format!("{pair:?} at revision {}", self.revision));
            }
            if !self.due.contains(pair) {
                return Err(format!("nobody knows when {pair:?} goes"));
            }
        }
        let own = (self.bytes, self.counted, self.sum, self.due.len());
        if own != (bytes, counted, sum, with_end) {
            return Err(format!("{own:?} and not {:?}", (bytes, counted, sum, with_end)));
        }
        Ok(())
    }

    /// Takes one part of a snapshot into a map that was new before the first, as [`restore`](Application::restore) does. The
    /// parts come in their order.
    ///
    /// # Errors
    ///
    /// It does not come here; the map is of no use any more.
    pub fn take_in(&mut self, part: Part) -> Result<(), NotRestored> {
        let domain = part.domain();
        checkpoint::take_in(self, part).map_err(|checkpoint::Bad| NotRestored { domain })
    }

    /// Takes a pair in, and the one of its key out.
    fn insert(&mut self, pair: Pair) {
        self.bytes += pair.bytes();
        self.counted += pair.counts();
        self.sum = self.sum.wrapping_add(pair.hash());
        // It may go at the moment at which the one of its key would have gone: that one first.
        if let Some(before) = self.tree.insert(pair.clone()) {
            self.forget(&before);
            self.due.remove(&before);
        }
        self.due.insert(&pair);
    }

    /// Takes a pair out.
    fn remove(&mut self, key: &[u8]) -> Option<Pair> {
        let pair = self.tree.remove(key)?;
        self.forget(&pair);
        self.due.remove(&pair);
        Some(pair)
    }

    fn forget(&mut self, pair: &Pair) {
        self.bytes -= pair.bytes();
        self.counted -= pair.counts();
        self.sum = self.sum.wrapping_sub(pair.hash());
    }
}

impl Application for Map {
    /// # Panics
    ///
    /// If the positions do not rise, or the map was restored in part: then the host is wrong, and so would be all that
    /// follows.
    fn apply(&mut self, request: Applying) -> Bytes {
        assert!(request.position > self.revision, "{} after {}", request.position, self.revision);
        self.stage.begin();
        self.revision = request.position;
        self.clock = self.clock.max(request.clock);
        self.expire();
        match Request::decode(&request.payload) {
            Ok(request) => self.write(request).encode(),
            Err(fault) => Answer::Malformed(fault).encode(),
        }
    }

    fn snapshot(&self) -> Parts {
        Box::new(checkpoint::parts(self))
    }

    fn restore(&mut self, at: &Locator, part: Bytes) -> Result<(), NotRestored> {
        Part::read(at, &part).and_then(|part| self.take_in(part))
    }

    fn digest(&self) -> u64 {
        let pairs = self.tree.len() as u64;
        digest_of([self.revision, self.clock, self.quota, pairs, self.bytes, self.sum])
    }
}

/// The digest of a map with this revision, clock, quota, number of pairs, bytes, and sum of the pairs' hashes.
fn digest_of(numbers: [u64; 6]) -> u64 {
    let mut hasher = SipHasher13::new();
    numbers.into_iter().for_each(|number| hasher.write_u64(number));
    hasher.finish()
}
