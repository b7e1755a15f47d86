//! The log: appending and syncing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::active::Active;
use crate::bugs::Bug;
use crate::checkpoint::{Checkpoint, Writing};
use crate::compact::{Compaction, Survey};
use crate::config::{Config, ENTRY_BYTES_MAX, METADATA_BYTES_MAX, POSITION_MAX, TAG_BYTES_MAX};
use crate::disk::{Disk, DiskError};
use crate::error::LogError;
use crate::meta::Meta;
use crate::ranges::Ranges;
use crate::reader::{Cache, Item, Owned, Reader, Written};
use crate::record::{Draft, Kind};
use crate::released::Released;
use crate::segment::{self, HEADER_BYTES, Header, Sealed};
use crate::walk::Trust;

/// A write-ahead log on a disk.
///
/// Entries have positions, from 1 on, without gaps unless its owner [skips](Log::skip_to) some. The calls block
/// while the disk works, so the log has a thread of its own, which takes what waits, appends all of it, and calls
/// [`sync`](Log::sync) once. An entry that was appended and not synced may or may not be there after a crash, and
/// those behind it too; one that was refused never is.
///
/// After [`LogError::Fatal`] every call is refused: the site stops, and opens the log again.
pub struct Log<D: Disk> {
    pub(crate) disk: D,
    pub(crate) config: Config,
    pub(crate) meta: Meta,
    pub(crate) sealed: Arc<Vec<Arc<Sealed>>>,
    pub(crate) active: Option<Active>,
    /// The position of the next entry.
    pub(crate) next: u64,
    /// Everything below is durable.
    pub(crate) synced: u64,
    pub(crate) next_number: u64,
    /// Where the coverage of the next segment begins.
    pub(crate) covered: u64,
    pub(crate) released: Released,
    /// What was released when the checkpoint in force was begun.
    pub(crate) released_durably: Released,
    pub(crate) checkpoint: Option<Checkpoint<D>>,
    pub(crate) writing: Option<Writing>,
    pub(crate) damaged: Arc<Ranges>,
    pub(crate) compaction: Option<Compaction>,
    pub(crate) survey: Survey,
    pub(crate) cache: Arc<Cache>,
    pub(crate) failed: Option<DiskError>,
    pub(crate) closed: Arc<AtomicBool>,
    /// Tells the readers of before the next truncation of it.
    pub(crate) cut: Arc<AtomicBool>,
}

impl<D: Disk> Log<D> {
    /// The position that the next entry gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Every entry below this position is durable.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Entries that are damaged or lost here and not released, as far as is known: first and last. Opening finds
    /// those of the open segment, reading and [`scrub`](Log::scrub) those of others.
    pub fn damaged(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.damaged.iter()
    }

    /// The stretches of positions that closed segments hold, rising: from the first, up to and without the second. All that a
    /// closed segment ever held was synced. What of a stretch was released may be gone.
    pub fn closed(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.sealed.iter().map(|segment| (segment.first, segment.end))
    }

    /// Appends an entry and returns its position. It waits in memory until [`write`](Log::write) or
    /// [`sync`](Log::sync), or until `buffer_bytes` of them wait. The tag is what its owner needs to know of the
    /// entry even if its content is damaged: the view it was ordered in.
    ///
    /// [`LogError::Full`] means that there is no room for it, and that it will never be there.
    pub fn append(&mut self, tag: &[u8], payload: &[u8]) -> Result<u64, LogError> {
        self.alive()?;
        within("a tag", tag.len(), TAG_BYTES_MAX)?;
        within("an entry", payload.len(), ENTRY_BYTES_MAX)?;
        if self.writing.as_ref().is_some_and(|writing| writing.position >= self.next) {
            let why = "a checkpoint beyond the log's end is being written";
            return Err(LogError::Misplaced { position: self.next, why });
        }
        let position = self.next;
        if position >= POSITION_MAX {
            return Err(LogError::Misplaced { position, why: "the positions are used up" });
        }
        let draft = Draft { kind: Kind::Entry, position, epoch: self.meta.epoch, tag, payload };
        self.make_room(draft.record_bytes())?;
        let Some(active) = &mut self.active else { return Err(self.unreachable("no open segment")) };
        active.push(draft, self.config.index_bytes);
        self.next = position + 1;
        if active.pending.len() >= self.config.buffer_bytes {
            // The entry is taken whatever comes of this: if the disk is full it goes on waiting.
            match self.write() {
                Ok(()) | Err(LogError::Full(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(position)
    }

    /// The next entry gets this position; those in between are released. For a log that is filled from somebody
    /// else's, which keeps only some of its entries. It is durable with the next entry or checkpoint; and until a
    /// checkpoint covers them, nothing but its owner knows that these positions are not missing.
    pub fn skip_to(&mut self, position: u64) -> Result<(), LogError> {
        self.alive()?;
        if position < self.next {
            return Err(LogError::Misplaced { position, why: "the log is longer already" });
        }
        if position >= POSITION_MAX {
            return Err(LogError::Misplaced { position, why: "no log is so long" });
        }
        self.released.insert(self.next..position);
        self.next = position;
        Ok(())
    }

    /// Hands what waits to the disk in one write, so that it can be read. Nothing more is durable.
    pub fn write(&mut self) -> Result<(), LogError> {
        self.alive()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.pending.is_empty() {
            return Ok(());
        }
        active.dirty = true;
        match self.disk.write_at(&active.name(), active.written, &active.pending) {
            Ok(()) => {
                active.written = active.end;
                active.written_next = self.next;
                active.pending.clear();
                active.pending.shrink_to(2 * self.config.buffer_bytes);
                Ok(())
            }
            Err(error) => Err(self.full_or_fatal(error)),
        }
    }

    /// Makes everything that was appended durable, with one `fdatasync`, and returns the position below which
    /// everything is. After [`LogError::Full`] what waits still waits, and the call may be repeated.
    pub fn sync(&mut self) -> Result<u64, LogError> {
        self.write()?;
        if let Some(active) = &self.active
            && active.dirty
        {
            let name = active.name();
            self.sync_file(&name)?;
            if let Some(active) = &mut self.active {
                active.dirty = false;
            }
        }
        self.synced = self.next;
        Ok(self.synced)
    }

    /// The owner's small record: a promise, a vote.
    pub fn metadata(&self) -> &[u8] {
        &self.meta.record
    }

    /// Replaces the owner's small record. It is durable, in two copies, when this returns; after a crash in the
    /// middle it is the old one or the new one.
    pub fn set_metadata(&mut self, record: &[u8]) -> Result<(), LogError> {
        self.alive()?;
        within("a metadata record", record.len(), METADATA_BYTES_MAX)?;
        self.meta.record = record.to_vec();
        self.store_meta()
    }

    /// A snapshot to read from, on any thread: what is written by now.
    pub fn reader(&self) -> Reader<D> {
        let written = self.active.as_ref().map(|active| Written {
            number: active.number,
            first: active.first,
            end: active.written_next,
            data_end: active.written,
            index: Arc::clone(&active.index),
        });
        Reader {
            disk: self.disk.clone(),
            log: self.config.id,
            index_bytes: self.config.index_bytes,
            sealed: Arc::clone(&self.sealed),
            written,
            damaged: Arc::clone(&self.damaged),
            cache: Arc::clone(&self.cache),
            closed: Arc::clone(&self.closed),
            epoch: self.meta.epoch,
            cut: Arc::clone(&self.cut),
            once: false,
        }
    }

    /// One written entry, as [`Reader::read`]. Damage is noted.
    pub fn read(&mut self, position: u64) -> Result<Option<Owned>, LogError> {
        let found = self.reader().read(position);
        if found == Err(LogError::Damaged(position)) {
            self.note_damage(position, position);
        }
        found
    }

    /// Reads about `bytes_max` bytes of entries from a position on, and notes those that are damaged. Returns
    /// where to go on; [`next`](Log::next) if everything was read. For going through the log at leisure.
    pub fn scrub(&mut self, from: u64, bytes_max: u64) -> Result<u64, LogError> {
        let mut found = Vec::new();
        let next = self.reader().range(from, self.next, bytes_max, &mut |item| {
            if let Item::Damaged(first, last) = item {
                found.push((first, last));
            }
        })?;
        found.into_iter().for_each(|(first, last)| self.note_damage(first, last));
        Ok(next)
    }

    /// Notes entries that a [`Reader`] on another thread found damaged.
    pub fn note_damage(&mut self, first: u64, last: u64) {
        let mut at = self.released.next_held(first);
        while at <= last {
            let to = self.released.next_released(at, last + 1);
            let known = self.damaged.within(at, to - 1).next() == Some((at, to - 1));
            if !known {
                Arc::make_mut(&mut self.damaged).insert(at, to - 1);
            }
            at = self.released.next_held(to);
        }
    }

    /// Sees to it that a record of so many bytes can be pushed and written.
    fn make_room(&mut self, record_bytes: u64) -> Result<(), LogError> {
        let limit = segment::segment_bytes(self.config.segment_bytes);
        if let Some(active) = &self.active
            && active.end > HEADER_BYTES
            && active.needed(record_bytes) > limit
        {
            self.seal()?;
        }
        if self.active.is_none() {
            self.open_segment()?;
        }
        let Some(active) = &self.active else { return Err(self.unreachable("no open segment")) };
        let (needed, allocated) = (active.needed(record_bytes), active.allocated);
        if needed <= allocated {
            return Ok(());
        }
        let name = active.name();
        let ahead = needed.max((allocated + self.config.allocate_bytes).min(limit));
        let reserved = match self.disk.allocate(&name, ahead) {
            Err(DiskError::Full(_)) if ahead > needed => self.disk.allocate(&name, needed).map(|()| needed),
            other => other.map(|()| ahead),
        };
        let reserved = reserved.map_err(|error| self.full_or_fatal(error))?;
        if let Some(active) = &mut self.active {
            active.allocated = reserved;
        }
        Ok(())
    }

    /// Closes the open segment. Its records are durable before its trailer is written, so a trailer proves them.
    pub(crate) fn seal(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let Some(active) = &self.active else { return Ok(()) };
        let (name, written, allocated) = (active.name(), active.written, active.allocated);
        let mut trailer = active.trailer(self.config.id, self.next, self.meta.epoch);
        let tail = segment::tail(&active.index, &mut trailer);
        let file_bytes = written + tail.len() as u64;
        self.disk.write_at(&name, written, &tail).map_err(|error| self.full_or_fatal(error))?;
        if allocated > file_bytes {
            self.disk.truncate(&name, file_bytes).map_err(|error| self.fatal(error))?;
        }
        self.sync_file(&name)?;
        Arc::make_mut(&mut self.sealed).push(Arc::new(Sealed::from_trailer(&trailer, file_bytes)));
        self.active = None;
        self.covered = self.next;
        Ok(())
    }

    fn open_segment(&mut self) -> Result<(), LogError> {
        let number = self.take_number();
        let name = segment::name(number);
        let (log, first, epoch) = (self.config.id, self.covered, self.meta.epoch);
        let header = Header { log, number, first, end: None, epoch };
        let made = self.disk.create(&name).and_then(|()| self.disk.write_at(&name, 0, &header.encode()));
        if let Err(error) = made {
            if matches!(error, DiskError::Full(_)) {
                self.remove_if_there(&name)?;
            }
            return Err(self.full_or_fatal(error));
        }
        self.sync_file(&name)?;
        self.sync_names()?;
        self.active = Some(Active::empty(log, number, first, epoch));
        Ok(())
    }

    pub(crate) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(crate) fn remove_if_there(&mut self, name: &str) -> Result<(), LogError> {
        match self.disk.remove(name) {
            Ok(()) | Err(DiskError::NotFound(_)) => Ok(()),
            Err(error) => Err(self.fatal(error)),
        }
    }

    /// Refuses if an earlier call failed for good.
    pub(crate) fn alive(&self) -> Result<(), LogError> {
        match &self.failed {
            Some(error) => Err(LogError::Fatal(error.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn fatal(&mut self, error: DiskError) -> LogError {
        self.closed.store(true, Relaxed);
        self.failed = Some(error.clone());
        LogError::Fatal(error)
    }

    pub(crate) fn full_or_fatal(&mut self, error: DiskError) -> LogError {
        match error {
            DiskError::Full(name) => LogError::Full(name),
            other => self.fatal(other),
        }
    }

    fn unreachable(&mut self, why: &str) -> LogError {
        self.fatal(DiskError::Failed { name: String::new(), why: why.to_owned() })
    }

    pub(crate) fn store_meta(&mut self) -> Result<(), LogError> {
        self.meta.store(&self.disk, self.config.bugs).map_err(|error| self.fatal(error))
    }

    pub(crate) fn sync_file(&mut self, name: &str) -> Result<(), LogError> {
        let mut synced = self.disk.sync(name);
        if synced.is_err() && self.config.bugs.has(Bug::FsyncErrorIgnored) {
            synced = self.disk.sync(name);
        }
        synced.map_err(|error| self.fatal(error))
    }

    pub(crate) fn sync_names(&mut self) -> Result<(), LogError> {
        if self.config.bugs.has(Bug::DirectoryNotSynced) {
            return Ok(());
        }
        self.disk.sync_dir().map_err(|error| self.fatal(error))
    }
}

pub(crate) fn trust(config: &Config) -> Trust {
    Trust { bodies: config.bugs.has(Bug::TornTailAccepted), stale: config.bugs.has(Bug::StaleRecordAccepted) }
}

pub(crate) fn within(what: &'static str, bytes: usize, max: usize) -> Result<(), LogError> {
    if bytes > max { Err(LogError::TooLong { what, bytes, max }) } else { Ok(()) }
}
