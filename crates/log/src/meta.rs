//! The metadata: what the log must know before it looks at anything else, and a small record of its owner's.
//!
//! Two files of one slot each, `meta-0` and `meta-1`, with the same content. A change is written to one and made durable,
//! then to the other. So one of them is whole on the disk at every moment, and once a change is reported, either may be
//! damaged and nothing is forgotten.
//!
//! What is read need not be on the disk: after a failed sync the machine may hold a whole copy in its memory alone, and a
//! process that is started again cannot tell. But it can tell *which* copy that may be, since it is the last one that was
//! written, and that one is written first the next time. Changes take turns, odd sequences beginning with `meta-0`, so
//! that two equal copies say which of them was the last.
//!
//! ```text
//!  0 "UNANLOGM"  8 u16 format  10 u16 length of the record  12 u32 epoch  16 u64 sequence  24 u64 log
//! 32 u32 cuts  36 zeros  48 record  …  3120 cuts, 16 bytes each: u64 position, u32 epoch, zeros  …
//! 4092 u32 checksum of 0..4092
//! ```

use std::cmp::Ordering;

use crate::bugs::{Bug, Bugs};
use crate::config::METADATA_BYTES_MAX;
use crate::disk::{Disk, DiskError, read_or_damaged};
use crate::error::OpenError;
use crate::walk::{Cut, Cuts};

const MAGIC: &[u8; 8] = b"UNANLOGM";
const FORMAT: u16 = 1;
const SLOT_BYTES: usize = 4096;
const RECORD_AT: usize = 48;
const CUTS_AT: usize = RECORD_AT + METADATA_BYTES_MAX;
const CUT_BYTES: usize = 16;
const SUM_AT: usize = SLOT_BYTES - 4;

pub const NAMES: [&str; 2] = ["meta-0", "meta-1"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub log: u64,
    pub sequence: u64,
    /// The write epoch of this opening.
    pub epoch: u32,
    /// The last opening, and truncations since.
    pub cuts: Cuts,
    pub record: Vec<u8>,
    /// The copy that may not be on the disk as it was read: the next change is written to it first, and the other is
    /// whole until that is durable.
    pub doubted: usize,
}

impl Meta {
    pub fn new(log: u64) -> Meta {
        Meta { log, sequence: 0, epoch: 0, cuts: Cuts::default(), record: Vec::new(), doubted: 0 }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SLOT_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.record.len() as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.log.to_le_bytes());
        for (i, cut) in self.cuts.iter().take(Cuts::MAX).enumerate() {
            let at = CUTS_AT + i * CUT_BYTES;
            bytes[32..36].copy_from_slice(&(i as u32 + 1).to_le_bytes());
            bytes[at..at + 8].copy_from_slice(&cut.from.to_le_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&cut.epoch.to_le_bytes());
        }
        bytes[RECORD_AT..RECORD_AT + self.record.len()].copy_from_slice(&self.record);
        let sum = crc32c::crc32c(&bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// None if damaged.
    fn decode(name: &str, bytes: &[u8; SLOT_BYTES]) -> Result<Option<Meta>, OpenError> {
        let u64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        if &bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..SUM_AT]) != u32_at(SUM_AT) {
            return Ok(None);
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format > FORMAT {
            return Err(OpenError::Newer { name: name.to_owned(), format, known: FORMAT });
        }
        let length = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        let cut = |i: usize| {
            let at = CUTS_AT + i * CUT_BYTES;
            Cut { from: u64_at(at).max(1), epoch: u32_at(at + 8) }
        };
        let cuts = (0..(u32_at(32) as usize).min(Cuts::MAX)).map(cut);
        Ok((length <= METADATA_BYTES_MAX).then(|| Meta {
            log: u64_at(24),
            sequence: u64_at(16),
            epoch: u32_at(12),
            cuts: cuts.collect(),
            record: bytes[RECORD_AT..RECORD_AT + length].to_vec(),
            doubted: 0,
        }))
    }

    /// Makes this the metadata: durable, in both copies, when it returns. Whatever the error, nobody knows which
    /// of the two is in force until the log is opened again.
    pub fn store<D: Disk>(&mut self, disk: &D, bugs: Bugs) -> Result<(), DiskError> {
        self.store_with(disk, &[], bugs)
    }

    /// The same where these of the two files are not there: each is made when its turn comes, so that where both are
    /// there, one was whole once.
    pub fn store_with<D: Disk>(&mut self, disk: &D, absent: &[&str], bugs: Bugs) -> Result<(), DiskError> {
        let first = self.doubted;
        self.sequence += if begins_with(self.sequence + 1) == first { 1 } else { 2 };
        let bytes = self.encode();
        let copies = if bugs.has(Bug::MetadataInOneCopy) && absent.is_empty() { 1 } else { NAMES.len() };
        for copy in [first, 1 - first].into_iter().take(copies) {
            let name = NAMES[copy];
            let is_new = absent.contains(&name);
            if is_new {
                disk.create(name)?;
            }
            disk.write_at(name, 0, &bytes)?;
            disk.sync(name)?;
            if is_new && !bugs.has(Bug::DirectoryNotSynced) {
                disk.sync_dir()?;
            }
            self.doubted = copy;
        }
        Ok(())
    }
}

/// The copy that a change of this sequence is written to first.
fn begins_with(sequence: u64) -> usize {
    usize::from(sequence.is_multiple_of(2))
}

/// What the two copies held.
#[derive(Debug)]
pub struct Loaded {
    pub meta: Option<Meta>,
    /// A copy is damaged, older or absent: it is to be stored anew before anything relies on what was read.
    pub unequal: bool,
}

/// What one copy held.
enum Copy {
    Absent,
    Damaged,
    Whole(Meta),
}

/// Reads the newest whole copy.
pub fn load<D: Disk>(disk: &D) -> Result<Loaded, OpenError> {
    let read = |name: &str| -> Result<Copy, OpenError> {
        let mut bytes = [0; SLOT_BYTES];
        let whole = match read_or_damaged(disk, name, 0, &mut bytes) {
            Err(DiskError::NotFound(_)) => return Ok(Copy::Absent),
            other => other?,
        };
        let meta = if whole { Meta::decode(name, &bytes)? } else { None };
        Ok(meta.map_or(Copy::Damaged, Copy::Whole))
    };
    let (meta, unequal) = match (read(NAMES[0])?, read(NAMES[1])?) {
        (Copy::Whole(one), Copy::Whole(other)) => match one.sequence.cmp(&other.sequence) {
            // The first was durable before the second was touched.
            Ordering::Equal => {
                let doubted = 1 - begins_with(one.sequence);
                let unequal = one != other;
                (Some(Meta { doubted, ..if doubted == 1 { one } else { other } }), unequal)
            }
            // The change before was durable in both.
            Ordering::Greater => (Some(Meta { doubted: 0, ..one }), true),
            Ordering::Less => (Some(Meta { doubted: 1, ..other }), true),
        },
        (Copy::Whole(one), other) => (Some(Meta { doubted: doubted(&one, 0, &other), ..one }), true),
        (other, Copy::Whole(one)) => (Some(Meta { doubted: doubted(&one, 1, &other), ..one }), true),
        (Copy::Absent | Copy::Damaged, Copy::Absent | Copy::Damaged) => (None, true),
    };
    Ok(Loaded { meta, unequal })
}

/// Which of the two is in doubt if only this one, at this place, is whole.
fn doubted(whole: &Meta, place: usize, other: &Copy) -> usize {
    match other {
        // The log was being made, and the first of its two files may not be durable.
        Copy::Absent if whole.sequence == 1 => place,
        Copy::Absent | Copy::Damaged | Copy::Whole(_) => 1 - place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let meta = Meta {
            record: b"vote".to_vec(),
            cuts: [Cut { from: 9, epoch: 2 }].into_iter().collect(),
            ..Meta::new(5)
        };
        let bytes = meta.encode();
        let decode = |bytes: &[u8]| Meta::decode("meta-0", bytes.first_chunk().expect("a slot"));
        assert_eq!(decode(&bytes), Ok(Some(meta)));
        for bit in (0..SLOT_BYTES * 8).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), Ok(None), "bit {bit}");
        }
    }
}
