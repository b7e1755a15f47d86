//! What can go wrong, and what that leaves behind.

use crate::disk::DiskError;

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No room. Nothing of this call has happened, entries that wait still wait, and what is there can be read;
    /// the call may be repeated when there is room.
    #[error("the disk is full: {0}; free some room, and writing goes on")]
    Full(String),
    /// A write or sync failed, so nobody knows what is on the disk. Every later call is refused. The site must
    /// stop; what was reported as synced before is found when the log is opened again.
    #[error("the disk failed and the log is closed: {0}; restart the site once the disk is mended")]
    Fatal(DiskError),
    /// Reading failed otherwise than by a damaged sector. Nothing has changed.
    #[error("reading failed: {0}")]
    Read(DiskError),
    /// The entry is damaged or lost here. Somebody else may have it: see [`Log::repair`](crate::Log::repair).
    #[error("entry {0} is damaged here")]
    Damaged(u64),
    /// Since this reader was made the log was truncated, or compaction has removed the file. Take a new one.
    #[error("the log has moved on since this reader was made")]
    Gone,
    /// Longer than the log takes. Nothing has changed.
    #[error("{what} of {bytes} bytes; {max} are allowed")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The call does not fit the log's positions. Nothing has changed.
    #[error("position {position} is out of place: {why}")]
    Misplaced {
        /// The position asked for.
        position: u64,
        /// What it should have been.
        why: &'static str,
    },
}

/// Why a log could not be opened. Nothing has been cut or replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// Both copies of the metadata are damaged: what this store promised is lost.
    #[error("both copies of the log's metadata are damaged: what was promised is lost")]
    MetadataDamaged,
    /// The files belong to another log.
    #[error("the files are those of log {found:016x}, not of {expected:016x}")]
    OtherLog {
        /// Who they say they belong to.
        found: u64,
        /// The [`Config::id`](crate::Config::id) asked for.
        expected: u64,
    },
    /// Written by a newer program, in a format that this one does not know.
    #[error("{name}: format {format}; this program reads up to {known}")]
    Newer {
        /// Which file.
        name: String,
        /// Its format.
        format: u16,
        /// The newest that this program knows.
        known: u16,
    },
}
