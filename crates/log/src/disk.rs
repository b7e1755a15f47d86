//! What the log asks of a disk: one flat directory of files.

/// A directory of files, as much of one as the log needs.
///
/// The calls block; the driver gives the log a thread of its own, and the simulator answers at once and says
/// how long it would have taken. A clone is the same directory. Nothing is durable until it is synced: bytes and
/// lengths by [`sync`](Disk::sync), names by [`sync_dir`](Disk::sync_dir). In between a crash may keep any part
/// of what was done, in any order, down to single sectors.
pub trait Disk: Clone {
    /// All files, with their lengths in bytes, in any order.
    fn list(&self) -> Result<Vec<(String, u64)>, DiskError>;

    /// Makes an empty file. It is an error if there is one of that name.
    fn create(&self, name: &str) -> Result<(), DiskError>;

    /// Reads from `offset` on, and returns how much: less than asked for only at the file's end.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError>;

    /// The same, for what is read on from one end of a file to the other and not wanted again soon: the system need not keep
    /// it in memory.
    fn read_once(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.read_at(name, offset, into)
    }

    /// Writes all of `bytes`, and makes the file longer if need be. After an error any part may be written.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Reserves room up to `length` bytes, so that writing below it does not find the disk full. The file may
    /// become that long; what was not written reads as zeros. A disk that cannot reserve does nothing.
    fn allocate(&self, name: &str, length: u64) -> Result<(), DiskError>;

    /// Cuts the file to `length` bytes.
    fn truncate(&self, name: &str, length: u64) -> Result<(), DiskError>;

    /// Makes the file's bytes and length durable (`fdatasync`). After an error nobody knows what is: the bytes may
    /// be lost although a later call reports success.
    fn sync(&self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name, in place of the file that had it, as one step.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file. Whoever reads it on another thread may find it gone.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Makes creations, renamings and removals durable.
    fn sync_dir(&self) -> Result<(), DiskError>;
}

/// Why a disk did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No room.
    #[error("{0}: the disk is full")]
    Full(String),
    /// No such file.
    #[error("{0}: no such file")]
    NotFound(String),
    /// A sector that cannot be read. Others can.
    #[error("{0}: unreadable")]
    Unreadable(String),
    /// Anything else.
    #[error("{name}: {why}")]
    Failed {
        /// Which file.
        name: String,
        /// What the system said.
        why: String,
    },
}

/// Reads exactly `into`, or says that the file ends before.
pub(crate) fn read_exact<D: Disk>(
    disk: &D,
    name: &str,
    offset: u64,
    into: &mut [u8],
) -> Result<bool, DiskError> {
    Ok(disk.read_at(name, offset, into)? == into.len())
}

/// Like [`read_exact`], where a sector that cannot be read is the same as one with wrong content.
pub(crate) fn read_or_damaged<D: Disk>(
    disk: &D,
    name: &str,
    offset: u64,
    into: &mut [u8],
) -> Result<bool, DiskError> {
    match read_exact(disk, name, offset, into) {
        Err(DiskError::Unreadable(_)) => Ok(false),
        other => other,
    }
}
