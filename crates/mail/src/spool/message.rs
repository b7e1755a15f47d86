//! What sites of one side say to each other about what they hold. Whatever comes may be from a broken site: it is read within
//! bounds, and changes nothing if it cannot be read.
//!
//! ```text
//! told:   u8 = 1 · entry                                  hold this too
//!         u8 = 2 · having (CBOR)                          send me what you have beyond this
//! batch:  head length u32, big endian · head (CBOR) · the entries, one behind the other
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use wire::codec;

use super::Having;
use crate::entry::{BadEntry, Entry};
use crate::ids::SpoolId;

const HOLD: u8 = 1;
const LACK: u8 = 2;
const LENGTH_BYTES: usize = 4;

/// What a site asks of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Let this be on your disk, too: answered with a [`Verdict`].
    Hold(Entry),
    /// What do you have beyond this? Answered with a [`Batch`].
    Lack(Having),
}

/// What became of a thing that another site was to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is on that site's disk, or merged.
    Held,
    /// That site has a majority: it takes nothing that waits for one.
    Majority,
    /// That site has no room.
    Full,
    /// That site cannot say yet what it holds, or its disk fails.
    NotReady,
    /// It is nothing that can be held.
    Unreadable,
}

/// What another site has beyond what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// There is no more up to here.
    pub reached: SpoolId,
    /// Entries as they were written down, in ascending order of their names.
    pub entries: Vec<Bytes>,
    bytes: usize,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    reached: SpoolId,
    #[n(1)]
    lengths: Vec<u32>,
}

/// Bytes that no site of this version says. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// Of a later version, or no message at all.
    #[error("a message of a kind that this version does not know")]
    Kind,
    /// Shorter or longer than it says, or with more in it than may be.
    #[error("a message whose length is wrong")]
    Length,
    /// A stretch of names that is none.
    #[error("a message about a stretch of names that is none")]
    Stretch,
    /// It cannot be read.
    #[error(transparent)]
    Fields(#[from] codec::DecodeError),
    /// The entry in it cannot be read.
    #[error(transparent)]
    Entry(#[from] BadEntry),
}

impl Told {
    /// The message as bytes.
    pub fn encode(&self) -> Bytes {
        let (kind, rest) = match self {
            Told::Hold(entry) => (HOLD, entry.encode()),
            Told::Lack(having) => (LACK, codec::encode(having)),
        };
        let mut bytes = BytesMut::with_capacity(1 + rest.len());
        bytes.put_u8(kind);
        bytes.put_slice(&rest);
        bytes.freeze()
    }

    /// The message in these bytes; a letter in it is a part of them and is not copied.
    pub fn decode(bytes: &Bytes) -> Result<Told, BadMessage> {
        match bytes.first() {
            Some(&HOLD) => Ok(Told::Hold(Entry::decode(&bytes.slice(1..))?)),
            Some(&LACK) => {
                let having: Having = codec::decode(&bytes[1..])?;
                if having.is_sound() { Ok(Told::Lack(having)) } else { Err(BadMessage::Stretch) }
            }
            Some(_) | None => Err(BadMessage::Kind),
        }
    }
}

impl Verdict {
    /// The answer as bytes.
    pub fn encode(self) -> Bytes {
        let said: &'static [u8] = match self {
            Verdict::Held => &[1],
            Verdict::Majority => &[2],
            Verdict::Full => &[3],
            Verdict::NotReady => &[4],
            Verdict::Unreadable => &[5],
        };
        Bytes::from_static(said)
    }

    /// The answer in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Verdict, BadMessage> {
        match bytes {
            [1] => Ok(Verdict::Held),
            [2] => Ok(Verdict::Majority),
            [3] => Ok(Verdict::Full),
            [4] => Ok(Verdict::NotReady),
            [5] => Ok(Verdict::Unreadable),
            _ => Err(BadMessage::Kind),
        }
    }
}

impl Batch {
    /// Entries in one.
    pub const ENTRIES_MAX: usize = 256;
    /// Bytes of entries in one, if it has more than one.
    pub const BYTES_MAX: usize = 1 << 20;

    /// One with nothing in it yet.
    pub fn new() -> Batch {
        Batch { reached: SpoolId::FIRST, entries: Vec::new(), bytes: 0 }
    }

    /// Puts a thing in, if there is room: at least one has.
    pub fn add(&mut self, id: SpoolId, entry: Bytes) -> bool {
        let bytes = self.bytes.saturating_add(entry.len());
        let has_room = self.entries.len() < Batch::ENTRIES_MAX && bytes <= Batch::BYTES_MAX;
        if !has_room && !self.entries.is_empty() {
            return false;
        }
        self.reached = id;
        self.bytes = bytes;
        self.entries.push(entry);
        true
    }

    /// The batch as bytes.
    pub fn encode(&self) -> Bytes {
        let lengths = self.entries.iter().map(|entry| entry.len() as u32).collect();
        let head = codec::encode(&Head { reached: self.reached, lengths });
        let mut bytes = BytesMut::with_capacity(LENGTH_BYTES + head.len() + self.bytes);
        bytes.put_u32(head.len() as u32);
        bytes.put_slice(&head);
        self.entries.iter().for_each(|entry| bytes.put_slice(entry));
        bytes.freeze()
    }

    /// The batch in these bytes; entries are parts of them and are not copied.
    pub fn decode(bytes: &Bytes) -> Result<Batch, BadMessage> {
        let mut rest = bytes.clone();
        let head_bytes = rest.try_get_u32().map_err(|_| BadMessage::Length)? as usize;
        if head_bytes > rest.len() {
            return Err(BadMessage::Length);
        }
        let Head { reached, lengths } = codec::decode(&rest.split_to(head_bytes))?;
        let whole: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        if lengths.len() > Batch::ENTRIES_MAX || whole != rest.len() as u64 {
            return Err(BadMessage::Length);
        }
        let bytes = rest.len();
        let entries = lengths.into_iter().map(|length| rest.split_to(length as usize)).collect();
        Ok(Batch { reached, entries, bytes })
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}
