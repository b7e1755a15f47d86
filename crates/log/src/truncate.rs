//! Truncation: cutting off a tail so that no crash brings it back.
//!
//! First the cut is made durable in the metadata, as a position and a write epoch: records from there on that are
//! older do not exist, wherever they are. From then on the truncation is decided, and opening the log carries it
//! out if a crash prevents it here. Then the files are cut, durably too, before it is reported. The metadata
//! remembers a cut until what stands behind it is durable, so that old sectors that show up again are known.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::active::{Unclosed, reopen};
use crate::bugs::Bug;
use crate::disk::{Disk, DiskError};
use crate::error::LogError;
use crate::log::Log;
use crate::segment;
use crate::walk::{Cut, Trust};

impl<D: Disk> Log<D> {
    /// Removes every entry from this position on, waiting, written or synced. Durable when it returns. Refused for
    /// entries that the checkpoint contains.
    pub fn truncate(&mut self, from: u64) -> Result<(), LogError> {
        self.alive()?;
        let position = from;
        if from > self.next {
            return Err(LogError::Misplaced { position, why: "the log is shorter" });
        }
        if from == 0 || self.checkpoint.as_ref().is_some_and(|checkpoint| from <= checkpoint.position()) {
            return Err(LogError::Misplaced { position, why: "the checkpoint contains it" });
        }
        if self.writing.as_ref().is_some_and(|writing| writing.position >= from) {
            self.checkpoint_abort()?;
        }
        if from == self.next {
            return Ok(());
        }
        if self.meta.cuts.is_full() {
            self.sync()?;
        }
        // The files that are cut are filled anew: no reader of before, and no index, is good for them.
        std::mem::take(&mut self.cut).store(true, Relaxed);
        self.cache = Arc::default();
        self.meta.epoch = self.meta.epoch.saturating_add(1);
        let cut = Cut { from, epoch: self.meta.epoch };
        self.meta.cuts.push(cut, self.synced);
        if !self.config.bugs.has(Bug::TruncationNotDurable) {
            self.store_meta()?;
        }
        let waiting = self.active.as_mut().is_some_and(|active| active.cut_pending(from));
        if waiting {
            self.cut_behind_pending(from)?;
        } else {
            self.cut_files(from)?;
        }
        self.next = from;
        self.synced = self.synced.min(from);
        self.released.cut(from);
        Arc::make_mut(&mut self.damaged).remove(from, u64::MAX);
        Ok(())
    }

    /// Some waiting entries stay, so all written ones do. What a failed write left behind them goes.
    fn cut_behind_pending(&mut self, from: u64) -> Result<(), LogError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let (name, written) = (active.name(), active.written);
        active.allocated = written;
        active.written_next = active.written_next.min(from);
        self.disk.truncate(&name, written).map_err(|error| self.fatal(error))?;
        self.sync_file(&name)?;
        if let Some(active) = &mut self.active {
            active.dirty = false;
        }
        Ok(())
    }

    fn cut_files(&mut self, from: u64) -> Result<(), LogError> {
        let mut container = None;
        let mut gone = Vec::new();
        if let Some(active) = self.active.take() {
            match active.first < from {
                true => container = Some((active.number, active.first, None)),
                false => gone.push(active.name()),
            }
        }
        let sealed = Arc::make_mut(&mut self.sealed);
        while let Some(last) = sealed.pop_if(|last| last.first >= from) {
            gone.push(last.name());
        }
        if container.is_none()
            && let Some(last) = sealed.pop_if(|last| last.end > from)
        {
            container = Some((last.number, last.first, Some(last.file_bytes)));
        }
        self.covered = self.sealed.last().map_or(from, |last| last.end);
        for name in &gone {
            self.remove_if_there(name)?;
        }
        if !gone.is_empty() && !self.config.bugs.has(Bug::TruncationNotDurable) {
            self.sync_names()?;
        }
        let Some((number, first, file_bytes)) = container else { return Ok(()) };
        // A closed one may have been compacted: then its header says where it ended.
        let headless = file_bytes.is_some();
        let file_bytes = match file_bytes {
            Some(bytes) => bytes,
            None => self.file_bytes(number)?,
        };
        let unclosed = Unclosed { number, file_bytes, first, epoch: 0, headless };
        let (active, next, damaged) =
            reopen(&self.disk, &self.config, unclosed, &self.meta.cuts, Trust::default())
                .map_err(|error| self.fatal(error))?;
        if next > from {
            // Only a file that was tampered with has records that are newer than the log.
            let why = "records of a later epoch than the log's".to_owned();
            return Err(self.fatal(DiskError::Failed { name: active.name(), why }));
        }
        self.active = Some(active);
        damaged.into_iter().for_each(|(first, last)| self.note_damage(first, last));
        Ok(())
    }

    fn file_bytes(&mut self, number: u64) -> Result<u64, LogError> {
        let name = segment::name(number);
        let files = self.disk.list().map_err(|error| self.fatal(error))?;
        Ok(files.iter().find(|(n, _)| *n == name).map_or(0, |(_, bytes)| *bytes))
    }
}
