//! The log's sizes.

use crate::bugs::Bugs;

/// The longest payload of an entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = 256 << 20;
/// The longest tag of an entry, in bytes.
pub const TAG_BYTES_MAX: usize = 64;
/// The longest metadata record, in bytes.
pub const METADATA_BYTES_MAX: usize = 3 << 10;
/// The longest chunk of a checkpoint, in bytes.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Positions are below this, and no log comes near it: it is a million entries a second for nine years. A file that says
/// otherwise is damaged. So a gap between two segments is one that repair can write down, in records of 2^32 lost entries.
pub const POSITION_MAX: u64 = 1 << 48;
/// The largest `segment_bytes`.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// How a log is cut into files. It may differ from one opening to the next.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log's own random name. A log opened under another is refused, and a record of another never taken
    /// for this one's.
    pub id: u64,
    /// A segment is closed when the next entry would make it longer than this. An entry that is longer has a
    /// segment to itself.
    pub segment_bytes: u64,
    /// Room is reserved on the disk in steps of this.
    pub allocate_bytes: u64,
    /// One entry of a segment's index for each so many bytes of records.
    pub index_bytes: u64,
    /// Appended entries are written when so many bytes of them wait, synced or not.
    pub buffer_bytes: usize,
    /// A segment is compacted when at most so many per cent of it are still held.
    pub live_percent: u64,
    /// Known bugs to re-introduce; empty in the shipped program.
    pub bugs: Bugs,
}

impl Config {
    /// The sizes for a site's disk.
    pub fn new(id: u64) -> Config {
        Config {
            id,
            segment_bytes: 64 << 20,
            allocate_bytes: 4 << 20,
            index_bytes: 16 << 10,
            buffer_bytes: 4 << 20,
            live_percent: 50,
            bugs: Bugs::NONE,
        }
    }
}
