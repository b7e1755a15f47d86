//! A checkpoint that is being received, in a file of its own beside the log.
//!
//! It is not written as the log's checkpoint at once, since the log goes on meanwhile, and may take a checkpoint of the
//! application's own. Nothing of it need survive: the machine begins a transfer anew after a restart.

use bytes::Bytes;
use durable::{CheckpointHead, Locator, Number};
use wal::{Disk, DiskError, LogError};

use super::DiskStore;
use super::checkpoint::Written;

/// The file: parts, one behind the other. Where each begins is in memory: some bytes a part.
pub(super) const NAME: &str = "incoming";
/// Room for what stands behind the parts of a checkpoint, if the log's set of released entries is not huge.
const LAST_BYTES: u64 = 16 << 10;

pub(super) struct Incoming {
    number: Number,
    /// Locator, offset, bytes.
    parts: Vec<(Locator, u64, usize)>,
    end: u64,
}

impl<D: Disk> DiskStore<D> {
    /// Keeps a part. One at the beginning replaces whatever was being received.
    pub(super) fn receive(&mut self, number: Number, at: Locator, bytes: &[u8]) -> Result<(), DiskError> {
        if at == Locator::default() {
            self.forget_incoming()?;
            self.disk.create(NAME)?;
            self.incoming = Some(Incoming { number, parts: Vec::new(), end: 0 });
        }
        let name = || NAME.to_owned();
        let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.number == number) else {
            return Err(DiskError::Failed { name: name(), why: "its first part is missing".to_owned() });
        };
        self.disk.write_at(NAME, incoming.end, bytes)?;
        incoming.parts.push((at, incoming.end, bytes.len()));
        incoming.end += bytes.len() as u64;
        Ok(())
    }

    /// What was received takes the place of the log, or of what is before it if the machine keeps what is behind it (D20).
    /// Returns the window of answers.
    ///
    /// What may find no room is written first, and changes nothing. Then a log that is not kept is cut behind the checkpoint,
    /// and only then is it in force; the machine has seen to it that this store is not sure of its end meanwhile (D15). What is
    /// left of the log before the checkpoint may have gone another way: this checkpoint, and those that follow it, say that
    /// it is of no use.
    pub(super) fn install(&mut self, head: CheckpointHead, keep: bool) -> Result<Bytes, LogError> {
        let position = head.number.position;
        let Some(incoming) = self.incoming.take().filter(|incoming| incoming.number == head.number) else {
            return Err(LogError::Misplaced { position, why: "no such checkpoint was received" });
        };
        self.begin_parts(&head, position + 1)?;
        let mut written = Written::default();
        for (at, offset, length) in incoming.parts {
            let mut bytes = vec![0; length];
            match self.disk.read_at(NAME, offset, &mut bytes) {
                Ok(read) if read == length => self.write_part(&mut written, at, &bytes)?,
                Ok(_) => return Err(LogError::Read(DiskError::Unreadable(NAME.to_owned()))),
                Err(error) => return Err(LogError::Read(error)),
            }
        }
        // The last bytes of the checkpoint get the room that the file leaves.
        match self.disk.allocate(NAME, incoming.end + LAST_BYTES) {
            Ok(()) => self.forget_incoming().map_err(LogError::Fatal)?,
            Err(DiskError::Full(name)) => {
                self.log.checkpoint_abort()?;
                return Err(LogError::Full(name));
            }
            Err(error) => return Err(LogError::Fatal(error)),
        }
        let is_cut = !keep && self.log.next() > position + 1;
        if is_cut {
            self.log.truncate(position + 1)?;
        }
        self.first = position + 1;
        self.finish(head, written.into_places()).map_err(|error| match error {
            // Its end is gone: the machine is made anew, and knows it from the disk.
            LogError::Full(name) if is_cut => LogError::Fatal(DiskError::Full(name)),
            other => other,
        })?;
        let parts = self.parts.as_ref().ok_or(LogError::Damaged(position))?;
        parts.window(&self.log).map_err(|_| LogError::Damaged(position))
    }

    pub(super) fn forget_incoming(&mut self) -> Result<(), DiskError> {
        self.incoming = None;
        match self.disk.remove(NAME) {
            Ok(()) | Err(DiskError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
