//! Floor 3: a segmented, checksummed write-ahead log over a disk that may fail.
//!
//! [`Log`] appends entries, makes them durable in groups, cuts tails, keeps checkpoints and a small metadata
//! record, and compacts what is released; [`Reader`] reads while it does. [`Disk`] is what it asks of a directory:
//! `net` has the real one, `sim` (a feature) one that tears, reorders, loses, rots and fills up. What the
//! files look like, and what is promised, is in `docs/log.md`.
//!
//! ```text
//!  append ─▶ pending ─write─▶ open segment ─sync─▶ durable        meta-0, meta-1: epoch, last cut, owner's record
//!                                  │ full                                  …ckp: owner's state, released entries
//!                                  ▼
//!                            closed segments ──compact──▶ fewer closed segments
//! ```

#![forbid(unsafe_code)]

mod active;
mod bugs;
mod checkpoint;
mod compact;
mod config;
mod disk;
mod error;
mod log;
mod meta;
mod open;
mod owner;
mod ranges;
mod reader;
mod record;
mod released;
mod repair;
mod segment;
#[cfg(feature = "sim")]
pub mod sim;
mod truncate;
mod walk;

pub use bugs::{Bug, Bugs};
pub use checkpoint::Checkpoint;
pub use compact::Compacted;
pub use config::{
    CHUNK_BYTES_MAX, Config, ENTRY_BYTES_MAX, METADATA_BYTES_MAX, POSITION_MAX, SEGMENT_BYTES_MAX,
    TAG_BYTES_MAX,
};
pub use disk::{Disk, DiskError};
pub use error::{LogError, OpenError};
pub use log::Log;
pub use open::Opened;
pub use reader::{Entry, Handle, Item, Owned, Reader};
