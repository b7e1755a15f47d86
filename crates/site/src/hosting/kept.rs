//! Payloads that a service keeps after the group's log has let their entries go.
//!
//! They are in a log of their own beside the group's, each tagged with its position in the group. Before the group's log is
//! shortened, what is kept of the part that goes is copied here, some at a time between other work; what a site lacks after a
//! checkpoint was sent to it is fetched from others and written here, too. Which are here is in memory, and in this log's
//! checkpoint, so that opening does not read them all.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use durable::{Body, Done, Entry, StoreOp, Token};
use net::FileDisk;
use stack::store::DiskStore;
use wal::{Compacted, Item, Log, LogError};

use super::trouble::{Trouble, TroubleKind};

/// What is copied between two pieces of other work, about.
const SLICE_BYTES: usize = 1 << 20;
/// Bytes of a chunk of the checkpoint: pairs of 16 bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// One step of compaction.
const COMPACT_BYTES: u64 = 1 << 20;
/// Of operations that are no machine's.
const OWN: Token = Token(u64::MAX);

/// The payloads that are kept beside a group's log; and the same of a service's spool, where positions are places in this log.
pub(super) struct Payloads {
    log: Log<FileDisk>,
    /// Where each is, by its position in the group.
    at: BTreeMap<u64, u64>,
}

/// The part of a group's log that is about to go, while what is kept of it is copied.
pub(super) struct Moving {
    before: u64,
    kept: Vec<u64>,
    /// How many of these are done.
    done: usize,
}

impl Payloads {
    /// Opens them, or makes an empty folder of them. `id` is the store's.
    pub(super) fn open(folder: &Path, id: u64) -> Result<Payloads, Trouble> {
        let disk = FileDisk::open(folder)
            .map_err(|error| Trouble { kind: TroubleKind::System, why: error.to_string() })?;
        let of_log = |why: String| Trouble {
            kind: TroubleKind::Damaged,
            why: format!("kept payloads in {}: {why}", folder.display()),
        };
        let (log, found) =
            Log::open(disk, wal::Config::new(id)).map_err(|error| of_log(error.to_string()))?;
        let mut at = match found.checkpoint_damaged {
            // All of the log is read instead.
            true => BTreeMap::new(),
            false => listed(&log),
        };
        let from = match at.is_empty() {
            true => 1,
            false => log.checkpoint().map_or(0, wal::Checkpoint::position) + 1,
        };
        let read = log.reader().range(from, log.next(), u64::MAX, &mut |item| {
            if let Item::Entry(entry) = item
                && let Some(tag) = entry.tag.first_chunk()
            {
                at.insert(u64::from_le_bytes(*tag), entry.position);
            }
        });
        read.map_err(|error| of_log(error.to_string()))?;
        at.retain(|_, place| !log.is_released(*place));
        Ok(Payloads { log, at })
    }

    /// Whether a payload is here.
    pub(super) fn has(&self, position: u64) -> bool {
        self.at.contains_key(&position)
    }

    /// A payload. One that is damaged is forgotten: it is to be had from others.
    pub(super) fn get(&mut self, position: u64) -> Result<Option<Bytes>, LogError> {
        let Some(place) = self.at.get(&position).copied() else { return Ok(None) };
        // What was put last may wait in memory, where nothing can be read.
        match self.log.write() {
            Ok(()) => {}
            Err(LogError::Full(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        match self.log.read(place) {
            Ok(Some(owned)) => Ok(Some(owned.payload.into())),
            Ok(None) | Err(LogError::Damaged(_)) => {
                tracing::warn!(
                    position,
                    "a kept payload is damaged; it is had from another site, if one has it"
                );
                self.forget(position)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the next payload of a spool is put.
    pub(super) fn next(&self) -> u64 {
        self.log.next()
    }

    /// The first position from this one on of which there is something.
    pub(super) fn first_from(&self, position: u64) -> Option<u64> {
        self.at.range(position..).next().map(|(at, _)| *at)
    }

    /// What the owner noted last.
    pub(super) fn note(&self) -> &[u8] {
        self.log.metadata()
    }

    /// Notes something, durably.
    pub(super) fn set_note(&mut self, note: &[u8]) -> Result<(), LogError> {
        self.log.set_metadata(note)
    }

    /// Writes a payload; durable with the next [`sync`](Payloads::sync).
    pub(super) fn put(&mut self, position: u64, payload: &[u8]) -> Result<(), LogError> {
        let place = self.log.append(&position.to_le_bytes(), payload)?;
        if let Some(before) = self.at.insert(position, place) {
            self.log.release(before..before + 1)?;
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.log.sync().map(drop)
    }

    fn forget(&mut self, position: u64) -> Result<(), LogError> {
        match self.at.remove(&position) {
            Some(place) => self.log.release(place..place + 1),
            None => Ok(()),
        }
    }

    /// Only these, in ascending order, are needed of those before a position. Durable when this is done.
    pub(super) fn keep_only(&mut self, kept: &[u64], upto: u64) -> Result<(), LogError> {
        let gone: Vec<u64> =
            self.at.range(..upto).map(|(at, _)| *at).filter(|at| kept.binary_search(at).is_err()).collect();
        for position in gone {
            self.forget(position)?;
        }
        self.sync()?;
        if self.log.next() == 1 {
            return Ok(());
        }
        self.log.checkpoint_begin(self.log.next() - 1, &[])?;
        let pairs: Vec<u8> = self
            .at
            .iter()
            .flat_map(|(at, place)| [at.to_le_bytes(), place.to_le_bytes()])
            .flatten()
            .collect();
        for chunk in pairs.chunks(CHUNK_BYTES) {
            self.log.checkpoint_chunk(chunk)?;
        }
        self.log.checkpoint_finish()
    }

    /// Gives back some of the room of what is not kept any more. True when nothing is left to do for now.
    pub(super) fn compact_some(&mut self) -> Result<bool, LogError> {
        Ok(self.log.compact(COMPACT_BYTES)? == Compacted::Idle)
    }

    /// Which of these are neither here nor in the group's log, which has everything from `first` on.
    pub(super) fn missing(&self, kept: &[u64], first: u64) -> Vec<u64> {
        kept.iter().copied().filter(|at| *at < first && !self.has(*at)).collect()
    }
}

/// What the checkpoint lists; nothing, if it can't be read.
fn listed(log: &Log<FileDisk>) -> BTreeMap<u64, u64> {
    let (mut at, mut bytes) = (BTreeMap::new(), Vec::new());
    let Some(checkpoint) = log.checkpoint() else { return at };
    let mut next = 0;
    loop {
        match checkpoint.chunk(next, &mut bytes) {
            Ok(Some(behind)) => next = behind,
            Ok(None) => return at,
            Err(_) => return BTreeMap::new(),
        }
        let number = |half: &[u8]| half.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        at.extend(bytes.chunks_exact(16).map(|pair| (number(pair), number(&pair[8..]))));
    }
}

impl Moving {
    /// The log is to go before this position; these are kept.
    pub(super) fn new(before: u64, kept: Vec<u64>) -> Moving {
        Moving { before, kept, done: 0 }
    }

    /// Copies on. True when all is copied, durable, and the group's log shortened.
    pub(super) fn step(
        &mut self,
        store: &mut DiskStore<FileDisk>,
        payloads: &mut Payloads,
    ) -> Result<bool, LogError> {
        let (first, mut copied) = (store.first(), 0);
        while let Some(at) = self.kept.get(self.done).copied().filter(|at| *at < self.before) {
            self.done += 1;
            if at < first || payloads.has(at) {
                continue;
            }
            // What the log has lost is fetched from others.
            if let Some(payload) = in_log(store, at) {
                payloads.put(at, &payload)?;
                copied += payload.len();
            }
            if copied >= SLICE_BYTES {
                return Ok(false);
            }
        }
        payloads.keep_only(&self.kept, self.before)?;
        store.work([StoreOp::Compact { token: OWN, before: self.before }]);
        Ok(true)
    }

    /// What should have been copied.
    pub(super) fn kept(&self) -> &[u64] {
        &self.kept
    }
}

/// The payload of a request that the group's log has.
pub(super) fn in_log(store: &mut DiskStore<FileDisk>, position: u64) -> Option<Bytes> {
    let read = StoreOp::Read { token: OWN, from: position, to: position, bytes_max: 1, once: false };
    let done = store.work([read]).pop()?;
    let Done::Read(_, records) = done else { return None };
    let record = records.into_iter().find(|record| record.position == position)?;
    match Entry::from_record(record.bytes).ok()?.body {
        Body::Request(request) => Some(request.payload),
        Body::ViewStart { .. } | Body::Configuration(_) | Body::Mark => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(position: u64) -> Vec<u8> {
        position.to_le_bytes().repeat(1_000)
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_what_is_not_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut payloads = Payloads::open(dir.path(), 7).expect("opens");
        for position in [3, 9, 27, 5] {
            payloads.put(position, &payload(position)).expect("written");
        }
        payloads.keep_only(&[3, 27], 20).expect("kept");
        payloads.put(40, &payload(40)).expect("written");
        payloads.sync().expect("synced");
        drop(payloads);
        let mut payloads = Payloads::open(dir.path(), 7).expect("opens");
        for position in [3, 27, 40] {
            assert_eq!(payloads.get(position), Ok(Some(payload(position).into())), "{position}");
        }
        assert!(!payloads.has(9) && !payloads.has(5));
        assert_eq!(payloads.missing(&[3, 9, 27, 60], 50), [9]);
    }

    #[test]
    fn what_is_not_durable_yet_can_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut payloads = Payloads::open(dir.path(), 7).expect("opens");
        payloads.put(3, b"one").expect("written");
        assert_eq!(payloads.get(3), Ok(Some(Bytes::from_static(b"one"))));
        payloads.put(3, b"two").expect("written");
        assert_eq!(payloads.get(3), Ok(Some(Bytes::from_static(b"two"))));
    }

    #[test]
    fn a_payload_that_comes_again_takes_the_place_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut payloads = Payloads::open(dir.path(), 7).expect("opens");
        payloads.put(3, b"one").expect("written");
        payloads.put(3, b"two").expect("written");
        payloads.keep_only(&[3], 10).expect("kept");
        drop(payloads);
        let mut payloads = Payloads::open(dir.path(), 7).expect("opens");
        assert_eq!(payloads.get(3), Ok(Some(Bytes::from_static(b"two"))));
        // Damage makes it one that is missing.
        drop(payloads);
        for file in std::fs::read_dir(dir.path()).expect("a folder").flatten() {
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                let mut bytes = std::fs::read(&path).expect("readable");
                let at = bytes.windows(3).position(|three| three == b"two").expect("it is there");
                bytes[at] ^= 1;
                // Something good behind it, so that it is no torn tail, is not needed: it was kept by a checkpoint.
                std::fs::write(&path, bytes).expect("writable");
            }
        }
        let mut payloads = Payloads::open(dir.path(), 7).expect("opens");
        assert_eq!(payloads.get(3), Ok(None));
        assert_eq!(payloads.missing(&[3], 50), [3]);
    }
}
