//! Records: an entry as it stands in a segment.
//!
//! ```text
//!  0  u32  checksum of bytes 4..32 and the tag, salted with log, segment and offset
//!  4  u32  checksum of the payload
//!  8  u32  length of the payload; of lost entries: how many more than one
//! 12  u8   kind        13  u8  length of the tag        14  u16  zero
//! 16  u64  position
//! 24  u32  write epoch
//! 28  u32  zero
//! 32       tag, payload, zeros up to a multiple of 8
//! ```
//!
//! The salt makes a record worth nothing in any other place: in another segment, at another offset, in another
//! log. The write epoch rises with every opening and every truncation, so that a record which one of them left
//! behind never continues a newer one.

use crate::config::{ENTRY_BYTES_MAX, POSITION_MAX, TAG_BYTES_MAX};

/// Bytes of a record before its tag.
pub const HEAD_BYTES: usize = 32;
/// Records begin at multiples of this.
pub const ALIGN: u64 = 8;

const ENTRY: u8 = 0xE1;
const LOST: u8 = 0xE2;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An entry.
    Entry,
    /// Entries were here and are damaged: that of its position, and so many more, up to the next record's.
    Lost { more: u32 },
}

/// A record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub position: u64,
    pub epoch: u32,
    pub tag_bytes: u8,
    pub payload_bytes: u32,
    pub body_sum: u32,
}

/// Distinguishes this segment's records from all others.
#[derive(Clone, Copy, Debug)]
pub struct Salt(u32);

impl Salt {
    pub fn new(log: u64, segment: u64) -> Salt {
        Salt(crc32c::crc32c_append(crc32c::crc32c(&log.to_le_bytes()), &segment.to_le_bytes()))
    }

    fn at(self, offset: u64) -> u32 {
        crc32c::crc32c_append(self.0, &offset.to_le_bytes())
    }
}

/// Bytes of a record with a tag and a payload of these lengths.
pub fn record_bytes(tag: usize, payload: usize) -> u64 {
    ((HEAD_BYTES + tag + payload) as u64).next_multiple_of(ALIGN)
}

impl Head {
    pub fn record_bytes(&self) -> u64 {
        record_bytes(usize::from(self.tag_bytes), self.payload_bytes as usize)
    }

    /// Reads the head of a record that would begin at `offset`. None if there is none: wrong checksum, unknown
    /// kind, impossible length, or too few bytes.
    pub fn parse(bytes: &[u8], salt: Salt, offset: u64) -> Option<Head> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let kind = match head[12] {
            ENTRY => Kind::Entry,
            LOST => Kind::Lost { more: u32_at(head, 8) },
            _ => return None,
        };
        let tag_bytes = head[13];
        let payload_bytes = if kind == Kind::Entry { u32_at(head, 8) } else { 0 };
        if usize::from(tag_bytes) > TAG_BYTES_MAX || payload_bytes as usize > ENTRY_BYTES_MAX {
            return None;
        }
        let summed = bytes.get(4..HEAD_BYTES + usize::from(tag_bytes))?;
        if crc32c::crc32c_append(salt.at(offset), summed) != u32_at(head, 0) {
            return None;
        }
        let position = u64::from_le_bytes(*head[16..].first_chunk()?);
        let epoch = u32_at(head, 24);
        Some(Head { kind, position, epoch, tag_bytes, payload_bytes, body_sum: u32_at(head, 4) })
    }

    /// The last position it stands for.
    pub fn last(&self) -> u64 {
        match self.kind {
            Kind::Entry => self.position,
            Kind::Lost { more } => self.position.saturating_add(u64::from(more)).min(POSITION_MAX - 1),
        }
    }

    pub fn body_is_good(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize && crc32c::crc32c(payload) == self.body_sum
    }
}

fn u32_at(head: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// What is to become a record.
#[derive(Clone, Copy)]
pub struct Draft<'a> {
    pub kind: Kind,
    pub position: u64,
    pub epoch: u32,
    pub tag: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Draft<'a> {
    /// Lost entries, first and last. At most 2^32 of them.
    pub fn lost(first: u64, last: u64, epoch: u32) -> Draft<'a> {
        let more = u32::try_from(last - first).unwrap_or(u32::MAX);
        Draft { kind: Kind::Lost { more }, position: first, epoch, tag: &[], payload: &[] }
    }

    pub fn record_bytes(&self) -> u64 {
        record_bytes(self.tag.len(), self.payload.len())
    }

    /// Appends the record to a buffer. Tag and payload must be within their bounds.
    pub fn encode(&self, salt: Salt, offset: u64, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&crc32c::crc32c(self.payload).to_le_bytes());
        let (kind, length) = match self.kind {
            Kind::Entry => (ENTRY, self.payload.len() as u32),
            Kind::Lost { more } => (LOST, more),
        };
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(&[kind, self.tag.len() as u8, 0, 0]);
        into.extend_from_slice(&self.position.to_le_bytes());
        into.extend_from_slice(&self.epoch.to_le_bytes());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(self.tag);
        let sum = crc32c::crc32c_append(salt.at(offset), &into[start + 4..]);
        into[start..start + 4].copy_from_slice(&sum.to_le_bytes());
        into.extend_from_slice(self.payload);
        into.resize(start + self.record_bytes() as usize, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Vec<u8> {
        let mut bytes = Vec::new();
        Draft { kind: Kind::Entry, position: 7, epoch: 3, tag: b"view", payload: b"payload" }.encode(
            Salt::new(1, 2),
            64,
            &mut bytes,
        );
        bytes
    }

    #[test]
    fn a_record_is_read_only_in_its_own_place() {
        let bytes = draft();
        assert_eq!(bytes.len() % 8, 0);
        let head = Head::parse(&bytes, Salt::new(1, 2), 64).expect("good");
        assert_eq!((head.position, head.epoch, head.tag_bytes, head.payload_bytes), (7, 3, 4, 7));
        assert!(head.body_is_good(b"payload") && !head.body_is_good(b"payloae"));
        for (log, segment, offset) in [(9, 2, 64), (1, 3, 64), (1, 2, 72)] {
            assert_eq!(Head::parse(&bytes, Salt::new(log, segment), offset), None);
        }
    }

    #[test]
    fn every_flipped_bit_of_head_tag_and_payload_is_found() {
        let bytes = draft();
        for bit in 0..(HEAD_BYTES + 4 + 7) * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let good = Head::parse(&bytes, Salt::new(1, 2), 64)
                .is_some_and(|head| head.body_is_good(&bytes[36..43]));
            assert!(!good, "bit {bit}");
        }
    }
}
