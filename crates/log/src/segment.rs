//! Segments: files of records, their headers, and the index and trailer that a closed one ends with.
//!
//! ```text
//!  header, 64 bytes │ records … │ index, 16 bytes an item │ trailer, 64 bytes
//!
//!  header    0 "UNANLOGS"  8 u16 format  10 u8 kind  11 zeros  16 u64 log  24 u64 number  32 u64 first
//!           40 u64 end (compacted ones)  48 u32 epoch  52 zeros  60 u32 checksum of 0..60
//!  item      0 u64 position  8 u64 offset: a record that begins there
//!  trailer   0 "UNANLOGE"  8 u64 number  16 u64 first  24 u64 end  32 u64 data_end  40 u32 items  44 u32 lost
//!           48 u32 checksum of the index  52 u32 epoch  56 u32 log, low half  60 u32 checksum of 0..60
//! ```
//!
//! A segment covers the positions from `first` up to `end`, which it does not include; no two cover the same. Of
//! a segment that compaction wrote, `end` stands in the header, so that the ones it replaces are known.

use std::sync::Arc;

use crate::config::{POSITION_MAX, SEGMENT_BYTES_MAX};
use crate::record::{HEAD_BYTES, Salt};

pub const HEADER_BYTES: u64 = 64;
pub const TRAILER_BYTES: u64 = 64;
pub const ITEM_BYTES: u64 = 16;
/// The newest format that this program reads, and the one it writes.
pub const FORMAT: u16 = 1;

/// The largest number of a file; no log comes near it.
pub const NUMBER_MAX: u64 = 1 << 62;

const HEADER_MAGIC: &[u8; 8] = b"UNANLOGS";
const TRAILER_MAGIC: &[u8; 8] = b"UNANLOGE";
const SUFFIX: &str = ".seg";

/// The name of a segment's file.
pub fn name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

/// The number in a segment's name.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 16).then_some(())?;
    u64::from_str_radix(digits, 16).ok().filter(|number| *number <= NUMBER_MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub log: u64,
    pub number: u64,
    pub first: u64,
    /// Of a segment that compaction wrote.
    pub end: Option<u64>,
    pub epoch: u32,
}

/// Why 64 bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    Damaged,
    Newer(u16),
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(HEADER_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10] = u8::from(self.end.is_some());
        bytes[16..24].copy_from_slice(&self.log.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.end.unwrap_or(0).to_le_bytes());
        bytes[48..52].copy_from_slice(&self.epoch.to_le_bytes());
        close(&mut bytes);
        bytes
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Result<Header, NoHeader> {
        if &bytes[..8] != HEADER_MAGIC || !is_closed(bytes) {
            return Err(NoHeader::Damaged);
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format > FORMAT {
            return Err(NoHeader::Newer(format));
        }
        let end = (bytes[10] == 1).then(|| u64_at(bytes, 40));
        let header = Header {
            log: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            first: u64_at(bytes, 32),
            end,
            epoch: u32_at(bytes, 48),
        };
        let sane = header.first < POSITION_MAX
            && header.end.is_none_or(|end| (header.first..=POSITION_MAX).contains(&end));
        if sane { Ok(header) } else { Err(NoHeader::Damaged) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub log: u64,
    pub number: u64,
    pub first: u64,
    pub end: u64,
    pub data_end: u64,
    pub items: u32,
    /// Records that say that an entry was lost.
    pub lost: u32,
    pub index_sum: u32,
    /// The epoch in which it was closed.
    pub epoch: u32,
}

impl Trailer {
    pub fn encode(&self) -> [u8; TRAILER_BYTES as usize] {
        let mut bytes = [0; TRAILER_BYTES as usize];
        bytes[..8].copy_from_slice(TRAILER_MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.data_end.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.items.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.lost.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.index_sum.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[56..60].copy_from_slice(&(self.log as u32).to_le_bytes());
        close(&mut bytes);
        bytes
    }

    /// None unless it is the trailer of this segment and fits a file of this length.
    pub fn decode(
        bytes: &[u8; TRAILER_BYTES as usize],
        log: u64,
        number: u64,
        file_bytes: u64,
    ) -> Option<Trailer> {
        if &bytes[..8] != TRAILER_MAGIC || !is_closed(bytes) || u32_at(bytes, 56) != log as u32 {
            return None;
        }
        let trailer = Trailer {
            log,
            number: u64_at(bytes, 8),
            first: u64_at(bytes, 16),
            end: u64_at(bytes, 24),
            data_end: u64_at(bytes, 32),
            items: u32_at(bytes, 40),
            lost: u32_at(bytes, 44),
            index_sum: u32_at(bytes, 48),
            epoch: u32_at(bytes, 52),
        };
        let behind = u64::from(trailer.items) * ITEM_BYTES + TRAILER_BYTES;
        let fits = trailer.number == number
            && trailer.first <= trailer.end
            && trailer.end <= POSITION_MAX
            && trailer.data_end >= HEADER_BYTES
            && trailer.data_end.checked_add(behind) == Some(file_bytes);
        fits.then_some(trailer)
    }
}

fn close(bytes: &mut [u8; 64]) {
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&sum.to_le_bytes());
}

fn is_closed(bytes: &[u8; 64]) -> bool {
    crc32c::crc32c(&bytes[..60]) == u32_at(bytes, 60)
}

fn u32_at(bytes: &[u8; 64], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; 64], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A place in a segment where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub position: u64,
    pub offset: u64,
}

/// The sparse index of a segment: some records' places, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub items: Vec<Item>,
}

impl Index {
    /// Notes a record, if the last noted one is at least `every` bytes behind.
    pub fn note(&mut self, position: u64, offset: u64, every: u64) {
        if self.items.last().is_none_or(|last| offset - last.offset >= every) {
            self.items.push(Item { position, offset });
        }
    }

    /// Where to begin looking for a position.
    pub fn start(&self, position: u64) -> u64 {
        let after = self.items.partition_point(|item| item.position <= position);
        after.checked_sub(1).map_or(HEADER_BYTES, |i| self.items[i].offset)
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        for item in &self.items {
            into.extend_from_slice(&item.position.to_le_bytes());
            into.extend_from_slice(&item.offset.to_le_bytes());
        }
    }

    /// None if the items are not in order and within the records.
    pub fn decode(bytes: &[u8], data_end: u64) -> Option<Index> {
        let (items, rest) = bytes.as_chunks::<{ ITEM_BYTES as usize }>();
        let mut index = Index { items: Vec::with_capacity(items.len()) };
        let mut least = (0, HEADER_BYTES);
        for item in items {
            let position = u64::from_le_bytes(*item.first_chunk()?);
            let offset = u64::from_le_bytes(*item.last_chunk()?);
            let end = offset.checked_add(HEAD_BYTES as u64)?;
            if position < least.0 || offset < least.1 || end > data_end {
                return None;
            }
            least = (position.checked_add(1)?, end);
            index.items.push(Item { position, offset });
        }
        rest.is_empty().then_some(index)
    }
}

/// A closed segment, in memory: some hundred bytes. Its index is read when it is needed.
#[derive(Debug)]
pub struct Sealed {
    pub number: u64,
    pub first: u64,
    pub end: u64,
    pub data_end: u64,
    pub file_bytes: u64,
    /// Where the file keeps the index, if it can be believed.
    pub stored: Option<(u32, u32)>,
    /// The index of a segment whose trailer is damaged: found by reading it whole.
    pub found: Option<Arc<Index>>,
}

impl Sealed {
    pub fn from_trailer(trailer: &Trailer, file_bytes: u64) -> Sealed {
        Sealed {
            number: trailer.number,
            first: trailer.first,
            end: trailer.end,
            data_end: trailer.data_end,
            file_bytes,
            stored: Some((trailer.items, trailer.index_sum)),
            found: None,
        }
    }

    pub fn name(&self) -> String {
        name(self.number)
    }

    pub fn salt(&self, log: u64) -> Salt {
        Salt::new(log, self.number)
    }
}

/// What stands behind the records of a closed segment: index and trailer.
pub fn tail(index: &Index, trailer: &mut Trailer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(index.items.len() * ITEM_BYTES as usize + TRAILER_BYTES as usize);
    index.encode(&mut bytes);
    trailer.items = index.items.len() as u32;
    trailer.index_sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&trailer.encode());
    bytes
}

/// The bytes that index and trailer of a segment with so many items take.
pub fn tail_bytes(items: usize) -> u64 {
    items as u64 * ITEM_BYTES + TRAILER_BYTES
}

/// A segment's size within what the format allows.
pub fn segment_bytes(asked: u64) -> u64 {
    asked.clamp(512, SEGMENT_BYTES_MAX)
}
