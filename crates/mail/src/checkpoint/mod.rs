//! Checkpoints: a state as a stream of bounded chunks, and back [Mail 11].
//!
//! A chunk is a format byte and then items, each a numbered variant with numbered fields. The stream depends
//! on the state alone: two sites that have applied the same entries write the same chunks, so a site that
//! fetches one may go on from another donor with the next chunk.

mod item;
mod restore;
mod write;

pub use restore::{BadCheckpoint, Restore};
pub use write::Checkpoint;

pub(crate) use item::{Item, items_of_few};

/// The format of chunks that this version writes.
const FORMAT: u8 = 1;
