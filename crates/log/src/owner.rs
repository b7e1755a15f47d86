//! What the log's owner says of its state: checkpoints of it, and which entries it needs no more.

use std::ops::Range;

use crate::bugs::Bug;
use crate::checkpoint::{self, Checkpoint, Writing};
use crate::config::{CHUNK_BYTES_MAX, POSITION_MAX, TAG_BYTES_MAX};
use crate::disk::{Disk, DiskError};
use crate::error::LogError;
use crate::log::{Log, within};

impl<D: Disk> Log<D> {
    /// The checkpoint in force, if there is one.
    pub fn checkpoint(&self) -> Option<&Checkpoint<D>> {
        self.checkpoint.as_ref()
    }

    /// These entries are not needed any more: compaction may drop them. For those up to its position this becomes
    /// durable with the next checkpoint that is *begun*; after a crash, whoever applies the entries behind the last
    /// checkpoint again also releases again. To release twice does nothing.
    pub fn release(&mut self, positions: Range<u64>) -> Result<(), LogError> {
        self.alive()?;
        if positions.end > self.next {
            let why = "only an entry that is there can be released";
            return Err(LogError::Misplaced { position: positions.end, why });
        }
        if !positions.is_empty() {
            std::sync::Arc::make_mut(&mut self.damaged).remove(positions.start, positions.end - 1);
        }
        self.released.insert(positions);
        Ok(())
    }

    /// Whether an entry was released.
    pub fn is_released(&self, position: u64) -> bool {
        self.released.contains(position)
    }

    /// Begins a checkpoint: the owner's state after the entry at this position, with a tag of the owner's (the
    /// view). Appending goes on meanwhile, unless the position lies beyond the log's end; then this is a state that
    /// came from somebody else, and the log goes on behind it once it is finished. One that was begun before and
    /// not finished is given up.
    pub fn checkpoint_begin(&mut self, position: u64, tag: &[u8]) -> Result<(), LogError> {
        self.checkpoint_abort()?;
        within("a tag", tag.len(), TAG_BYTES_MAX)?;
        let newest = self.checkpoint.as_ref().map_or(0, Checkpoint::position);
        if position < newest {
            return Err(LogError::Misplaced { position, why: "there is a later checkpoint" });
        }
        if position >= POSITION_MAX {
            return Err(LogError::Misplaced { position, why: "no log is so long" });
        }
        let mut released = self.released.clone();
        released.insert(self.next..position.saturating_add(1));
        // Later entries may yet be cut, and their positions given to others.
        released.cut(position + 1);
        let number = self.take_number();
        let begun = Writing::begin(&self.disk, self.config.id, number, position, tag, released);
        match begun {
            Ok(writing) => {
                self.writing = Some(writing);
                Ok(())
            }
            Err(error) => {
                if matches!(error, DiskError::Full(_)) {
                    self.remove_if_there(&format!("{number:016x}.tmp"))?;
                }
                Err(self.full_or_fatal(error))
            }
        }
    }

    /// Writes the next chunk of the checkpoint, at most [`CHUNK_BYTES_MAX`] bytes, and returns its locator. Syncs every
    /// 2 MiB, so that no single sync is long. [`LogError::Full`] gives the checkpoint up; the one in force stays.
    pub fn checkpoint_chunk(&mut self, bytes: &[u8]) -> Result<u64, LogError> {
        self.alive()?;
        within("a chunk", bytes.len(), CHUNK_BYTES_MAX)?;
        let Some(writing) = &mut self.writing else { return Err(none_begun()) };
        match writing.chunk(&self.disk, bytes) {
            Ok(locator) => Ok(locator),
            Err(error) => Err(self.give_up(error)),
        }
    }

    /// Puts the checkpoint in force: durable when this returns. Its predecessor is removed.
    pub fn checkpoint_finish(&mut self) -> Result<(), LogError> {
        self.alive()?;
        let position = self.writing.as_ref().ok_or_else(none_begun)?.position;
        if position >= self.synced {
            // So that no entry of before the checkpoint is missing while later ones are there.
            self.sync()?;
        }
        let Some(writing) = &mut self.writing else { return Err(none_begun()) };
        let finished = match writing.finish(&self.disk) {
            Ok(finished) => finished,
            Err(error) => return Err(self.give_up(error)),
        };
        let temporary = writing.temporary();
        if !self.config.bugs.has(Bug::SwitchBeforeSync) {
            self.sync_file(&temporary)?;
        }
        let name = checkpoint::name(finished.number);
        self.disk.rename(&temporary, &name).map_err(|error| self.fatal(error))?;
        self.sync_names()?;
        if let Some(writing) = self.writing.take() {
            self.released_durably = writing.released;
        }
        if position >= self.next {
            self.skip_to(position + 1)?;
        }
        self.survey.begin();
        let files = self.disk.list().map_err(|error| self.fatal(error))?;
        for (name, _) in files {
            if checkpoint::number(&name).is_some_and(|number| number != finished.number) {
                self.remove_if_there(&name)?;
            }
        }
        self.checkpoint = Some(finished);
        Ok(())
    }

    /// Gives up the checkpoint that is being written, if there is one.
    pub fn checkpoint_abort(&mut self) -> Result<(), LogError> {
        self.alive()?;
        match self.writing.take() {
            Some(writing) => self.remove_if_there(&writing.temporary()),
            None => Ok(()),
        }
    }

    fn give_up(&mut self, error: DiskError) -> LogError {
        if matches!(error, DiskError::Full(_))
            && let Err(fatal) = self.checkpoint_abort()
        {
            return fatal;
        }
        self.full_or_fatal(error)
    }
}

fn none_begun() -> LogError {
    LogError::Misplaced { position: 0, why: "no checkpoint was begun" }
}
