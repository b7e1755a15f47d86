//! Checkpoints as the log keeps them: the head in the first chunk, then one part a chunk, each with its locator.
//!
//! ```text
//!  chunk 0      the head (CBOR)
//!  chunk 1 …    0 u16 domain  2 u32 length of the key  6 key  … the part            (little-endian)
//! ```
//!
//! A part is found by its locator, and the parts of a checkpoint are the same at every store that took it or received
//! it: the window is cut every [`PART_BYTES`], the application's domains by the application, as a function of the state.
//! So a transfer goes on at another donor wherever it stopped (D19).

use bytes::Bytes;
use durable::{CheckpointHead, Chunk, Done, Locator, Token};
use wal::{Checkpoint, Disk, Log, LogError};

use super::{DiskStore, StoreError};

/// The longest part of the window, and a good length for the application's.
pub const PART_BYTES: usize = 64 << 10;
/// The machine's own domain.
pub(super) const WINDOW: u16 = 0;
const HEAD: usize = 6;

/// The parts of the checkpoint in force.
pub(super) struct Parts {
    pub(super) head: CheckpointHead,
    /// By place: the part's locator, and where the log has it.
    places: Vec<(Locator, u64)>,
}

impl Parts {
    /// Reads the checkpoint in force once: where its parts are, the window of answers, and the application's parts, which
    /// are shown in order. None if there is no checkpoint.
    pub(super) fn find<D: Disk>(
        log: &Log<D>,
        take: &mut dyn FnMut(&Locator, &[u8]),
    ) -> Result<Option<(Parts, Bytes)>, StoreError> {
        let Some(checkpoint) = log.checkpoint() else { return Ok(None) };
        let (mut head, mut places, mut window, mut sound) = (None, Vec::new(), Vec::new(), true);
        checkpoint
            .each(&mut |place, chunk| {
                if head.is_none() {
                    head = wire::codec::decode(chunk).ok();
                    return head.is_some();
                }
                let part = split(chunk);
                sound = part.is_some();
                if let Some((at, part)) = part {
                    match at.domain {
                        WINDOW => window.extend_from_slice(part),
                        _ => take(&at, part),
                    }
                    places.push((at, place));
                }
                sound
            })
            .map_err(|_| StoreError::CheckpointDamaged)?;
        let head = head.filter(|_| sound).ok_or(StoreError::CheckpointDamaged)?;
        Ok(Some((Parts { head, places }, window.into())))
    }

    /// The part at a locator, and where the next one is.
    pub(super) fn chunk<D: Disk>(&self, log: &Log<D>, at: &Locator) -> Option<Chunk> {
        let found = self.places.binary_search_by(|(locator, _)| locator.cmp(at)).ok()?;
        let bytes = read(log.checkpoint()?, self.places[found].1)?;
        let (_, part) = split(&bytes)?;
        let next = self.places.get(found + 1).map(|(locator, _)| locator.clone());
        Some(Chunk { bytes: Bytes::copy_from_slice(part), next })
    }

    /// The application's parts, in order.
    pub(super) fn each<D: Disk>(
        &self,
        log: &Log<D>,
        take: &mut dyn FnMut(&Locator, &[u8]),
    ) -> Result<(), StoreError> {
        Parts::find(log, take).and_then(|found| found.map(drop).ok_or(StoreError::CheckpointDamaged))
    }

    /// The window of answers: it comes first.
    pub(super) fn window<D: Disk>(&self, log: &Log<D>) -> Result<Bytes, StoreError> {
        let mut window = Vec::new();
        for (_, place) in self.places.iter().take_while(|(at, _)| at.domain == WINDOW) {
            let chunk = log.checkpoint().and_then(|checkpoint| read(checkpoint, *place));
            let chunk = chunk.ok_or(StoreError::CheckpointDamaged)?;
            window.extend_from_slice(split(&chunk).ok_or(StoreError::CheckpointDamaged)?.1);
        }
        Ok(window.into())
    }
}

/// From which position on the log is of use: the tag of the checkpoint in force.
pub(super) fn of_use<D: Disk>(log: &Log<D>) -> u64 {
    let tag = log.checkpoint().and_then(|checkpoint| checkpoint.tag().first_chunk());
    tag.map_or(1, |tag| u64::from_le_bytes(*tag))
}

fn read<D: Disk>(checkpoint: &Checkpoint<D>, place: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    checkpoint.chunk(place, &mut bytes).ok()??;
    Some(bytes)
}

/// A chunk of the log: the part with its locator.
pub(super) fn join(at: &Locator, part: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(HEAD + at.key.len() + part.len());
    chunk.extend_from_slice(&at.domain.to_le_bytes());
    chunk.extend_from_slice(&u32::try_from(at.key.len()).unwrap_or(u32::MAX).to_le_bytes());
    chunk.extend_from_slice(&at.key);
    chunk.extend_from_slice(part);
    chunk
}

fn split(chunk: &[u8]) -> Option<(Locator, &[u8])> {
    let domain = u16::from_le_bytes(*chunk.first_chunk()?);
    let length = u32::from_le_bytes(*chunk.get(2..HEAD)?.first_chunk()?) as usize;
    let rest = &chunk[HEAD..];
    let key = rest.get(..length)?.to_vec();
    Some((Locator { domain, key }, &rest[length..]))
}

/// The window, cut into parts.
fn window_parts(window: &Bytes) -> impl Iterator<Item = (Locator, Bytes)> + '_ {
    let count = window.len().div_ceil(PART_BYTES).max(1);
    (0..count).map(|n| {
        let from = n * PART_BYTES;
        let key = if from == 0 { Vec::new() } else { (from as u64).to_be_bytes().to_vec() };
        (Locator { domain: WINDOW, key }, window.slice(from..window.len().min(from + PART_BYTES)))
    })
}

/// A checkpoint that is being taken, some parts at a time.
pub(super) struct Taking {
    head: CheckpointHead,
    /// What is still to be written.
    rest: durable::Parts,
    written: Written,
}

impl Taking {
    pub(super) fn position(&self) -> u64 {
        self.head.number.position
    }
}

/// What has been written of a checkpoint.
#[derive(Default)]
pub(super) struct Written {
    places: Vec<(Locator, u64)>,
    bytes: u64,
}

impl<D: Disk> DiskStore<D> {
    /// Begins to take a checkpoint (D19): the machine's window and the application's state, in parts with rising locators
    /// from domain 1 on, none longer than 4 MiB. [`take_some`](DiskStore::take_some) goes on with it, and says when it is
    /// done; other work may come in between. One that was being taken is given up.
    ///
    /// The parts must be a function of the state as it is now: another store that takes a checkpoint here has the same.
    pub fn take(&mut self, head: CheckpointHead, window: &Bytes, state: durable::Parts) {
        let window: Vec<_> = window_parts(window).collect();
        let rest = Box::new(window.into_iter().chain(state));
        self.taking = Some(Taking { head, rest, written: Written::default() });
    }

    /// Whether a checkpoint is being taken.
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Writes about so many bytes of the checkpoint that is being taken. When it has ended, returns what to tell the
    /// machine: with the last part it is in force.
    pub fn take_some(&mut self, bytes_max: u64) -> Option<Done> {
        let mut taking = self.taking.take()?;
        let number = taking.head.number;
        // One that was received meanwhile is of more.
        if self.checkpoint().is_some_and(|newer| newer.number.position > number.position) {
            return Some(Done::NotTaken(number));
        }
        match self.take_on(&mut taking, bytes_max) {
            Ok(false) => {
                self.taking = Some(taking);
                None
            }
            Ok(true) => Some(Done::Taken(number, taking.written.bytes)),
            Err(LogError::Full(_)) => Some(Done::NotTaken(number)),
            // No operation of the machine's: the failure is the store's.
            Err(error) => Some(self.fail(Token::default(), &error)),
        }
    }

    /// True when it is in force.
    fn take_on(&mut self, taking: &mut Taking, bytes_max: u64) -> Result<bool, LogError> {
        let Taking { head, rest, written } = taking;
        if written.places.is_empty() {
            self.begin_parts(head, self.from)?;
        }
        let enough = written.bytes.saturating_add(bytes_max);
        for (at, part) in rest {
            self.write_part(written, at, &part)?;
            if written.bytes >= enough {
                return Ok(false);
            }
        }
        self.finish(head.clone(), std::mem::take(&mut written.places))?;
        Ok(true)
    }

    /// Another checkpoint, or a cut, comes first: what to tell the machine, if one was being taken.
    pub(super) fn take_no_more(&mut self) -> Option<Done> {
        self.taking.take().map(|taking| Done::NotTaken(taking.head.number))
    }

    /// Begins to write a checkpoint. When it is in force, the log is of use from this position on.
    pub(super) fn begin_parts(&mut self, head: &CheckpointHead, from: u64) -> Result<(), LogError> {
        self.log.checkpoint_begin(head.number.position, &from.to_le_bytes())?;
        self.log.checkpoint_chunk(&wire::codec::encode(head)).map(drop)
    }

    pub(super) fn write_part(&mut self, to: &mut Written, at: Locator, part: &[u8]) -> Result<(), LogError> {
        let chunk = join(&at, part);
        let place = self.log.checkpoint_chunk(&chunk)?;
        to.places.push((at, place));
        to.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Puts what was written in force.
    pub(super) fn finish(
        &mut self,
        head: CheckpointHead,
        places: Vec<(Locator, u64)>,
    ) -> Result<(), LogError> {
        self.log.checkpoint_finish()?;
        self.parts = Some(Parts { head, places });
        self.from = of_use(&self.log);
        Ok(())
    }
}

impl Written {
    pub(super) fn into_places(self) -> Vec<(Locator, u64)> {
        self.places
    }
}
