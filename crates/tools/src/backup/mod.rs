//! A backup: the states of all durable groups of a cluster in one file, each as it was at one moment. `docs/backup.md` is
//! its page.
//!
//! ```text
//! unanimous-backup 1\n
//! record*                     head, then for each group, by name: group, part*, group's end; and then the end
//!
//! record  = length u32 · checksum u32 · kind u8 · body        numbers are little-endian, the length is the body's
//! checksum: CRC-32C of the record's number u64 (from 0), its length, kind and body
//! ```
//!
//! A record is good at its own place only, and the last one has the SHA-256 of whatever comes before it. So a file that was
//! cut, flipped, repeated or put together from others is told from one that was written to its end. The digest may be noted
//! elsewhere: then a file that somebody has made to be taken for this one is told, too.
//!
//! The parts are those of a checkpoint of the group's application ([`durable::Parts`]).

mod check;
mod decode;
mod encode;

use durable::Locator;
use minicbor::{Decode, Encode};
use wire::GroupName;

pub use check::{Checker, Contents, Item, Totals};
pub use decode::{Decoder, Record};
pub use encode::{Group, Stream};

use crate::catalog::Kind;

/// The first line, without its version.
const MAGIC: &[u8] = b"unanimous-backup ";
/// The version that this program writes and reads.
pub const FORMAT: u32 = 1;
/// The longest first line.
const MAGIC_LINE_MAX: usize = 32;
/// Length, checksum and kind of a record.
const RECORD_HEAD_BYTES: usize = 9;
/// The longest body: a part of a checkpoint, which is at most 4 MiB, and its locator.
pub const RECORD_BYTES_MAX: usize = (4 << 20) + (64 << 10);

const HEAD: u8 = 1;
const GROUP: u8 = 2;
const PART: u8 = 3;
const GROUP_END: u8 = 4;
const END: u8 = 5;

/// Where a backup comes from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// Drawn at random: no two backups have the same.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// The cluster's id, as 16 hexadecimal digits.
    #[n(1)]
    pub cluster: String,
    /// The name of the site whose state it is.
    #[n(2)]
    pub site: String,
    /// When, by that site's clock, in milliseconds since 1970.
    #[n(3)]
    pub taken_ms: u64,
    /// The program's version, for people.
    #[n(4)]
    pub program: String,
    /// How many groups there are.
    #[n(5)]
    pub groups: u64,
    /// The cluster has mail, which is not in it.
    #[cbor(n(6), default)]
    pub without_mail: bool,
}

/// What comes before a group's parts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GroupHead {
    /// Its name; names rise from group to group.
    #[n(0)]
    pub name: GroupName,
    /// What its application is.
    #[n(1)]
    pub kind: Kind,
}

/// What comes behind a group's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GroupEnd {
    /// How many parts there were.
    #[n(0)]
    pub parts: u64,
    /// Their bytes.
    #[n(1)]
    pub bytes: u64,
}

/// The last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct End {
    /// Records before this one.
    #[n(0)]
    pub records: u64,
    /// SHA-256 of all bytes of the file before this record.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: [u8; 32],
}

/// Why a file is no backup that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It begins otherwise.
    #[error("this is no backup of durable groups")]
    NoBackup,
    /// A later program wrote it.
    #[error(
        "the backup has format {0}, and this program reads {FORMAT}: use the program that wrote it, or a newer one"
    )]
    Format(u32),
    /// Its bytes are not those that were written, or not at their place.
    #[error("the backup is damaged: record {record} does not pass its checksum")]
    Checksum {
        /// Which record, from 0.
        record: u64,
    },
    /// A record that passes, and means nothing here.
    #[error("the backup is damaged, or of a later version: record {record}: {why}")]
    Senseless {
        /// Which record, from 0.
        record: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It ends too early.
    #[error("the backup is not whole: it ends within record {record}, or before the last one")]
    Truncated {
        /// Which record, from 0.
        record: u64,
    },
    /// There is something behind the last record.
    #[error("the backup is damaged: there is something behind its end")]
    Trailing,
    /// Each record passes, and the whole does not.
    #[error("the backup is damaged: its digest is not that of its contents")]
    Digest,
}

/// The checksum of a record.
fn checksum(number: u64, head: [u8; 5], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &head), body)
}

/// Length and kind, as the checksum takes them.
fn checked_head(length: u32, kind: u8) -> [u8; 5] {
    let [a, b, c, d] = length.to_le_bytes();
    [a, b, c, d, kind]
}

/// A part's locator, in front of its bytes.
fn put_locator(at: &Locator, out: &mut Vec<u8>) {
    // A locator's key is a key of the application, and shorter than a record.
    let length = u32::try_from(at.key.len()).expect("a locator is shorter than a part");
    out.extend_from_slice(&at.domain.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&at.key);
}
