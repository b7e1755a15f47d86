//! Reading a backup with what is in it: every pair of every map, checked, none of them kept.

use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use wire::GroupName;

use super::{Damaged, Decoder, End, GroupHead, Head, Record};
use crate::catalog::Kind;
use crate::map::{Pair, Piece, Reader};

/// It finds faults and not forgers: the key is known.
const HASH_KEY: (u64, u64) = (0x756e_616e_696d_6f75, 0x0062_6163_6b75_7020);

/// What is read from a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Where it comes from.
    Head(Head),
    /// A group, with what its map's pairs may count together, and its time.
    Group {
        /// Its name and kind.
        head: GroupHead,
        /// In bytes.
        quota: u64,
        /// The time of the state, in milliseconds since 1970.
        clock: u64,
    },
    /// Pairs of the group, at least one, with rising keys.
    Pairs {
        /// The pairs.
        pairs: Vec<Pair>,
        /// The same, as a part of a checkpoint ([`Reader::pairs_of`]).
        part: Bytes,
    },
    /// The group is whole.
    GroupEnd(Contents),
    /// The backup is whole.
    End(Totals),
}

/// What a group has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its name.
    pub group: GroupName,
    /// How many pairs.
    pub pairs: u64,
    /// Those of them that have an end.
    pub with_end: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The sum of hashes of keys and values, and of nothing else: maps with the same pairs have the same, whenever and
    /// wherever these were written.
    pub digest: u128,
}

/// What a whole backup has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The groups.
    pub groups: u64,
    /// All their pairs.
    pub pairs: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// SHA-256 of the file up to its last record.
    pub digest: [u8; 32],
}

/// Reads a backup and checks all that can be checked without a cluster. Used as a [`Decoder`] is.
#[derive(Debug, Default)]
pub struct Checker {
    decoder: Decoder,
    group: Option<Within>,
    groups: u64,
    pairs: u64,
    bytes: u64,
    records: u64,
}

#[derive(Debug)]
struct Within {
    head: GroupHead,
    reader: Reader,
    contents: Contents,
}

impl Checker {
    /// Takes what was read.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.decoder.extend(bytes);
    }

    /// What comes next, if it has come whole.
    ///
    /// # Errors
    ///
    /// The file is of no use. It must not be asked again.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Item>, Damaged> {
        while let Some(record) = self.decoder.next()? {
            let item = self.take(record);
            self.records += 1;
            if let Some(item) = item? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// The file has ended.
    ///
    /// # Errors
    ///
    /// It should not have.
    pub fn finish(&self) -> Result<(), Damaged> {
        self.decoder.finish()
    }

    fn take(&mut self, record: Record) -> Result<Option<Item>, Damaged> {
        match record {
            Record::Head(head) => Ok(Some(Item::Head(head))),
            Record::Group(head) => {
                // Other kinds will come with other readers.
                if head.kind != Kind::Map {
                    return Err(self.senseless("a group that is no map"));
                }
                let group = head.name.clone();
                let contents = Contents { group, pairs: 0, with_end: 0, bytes: 0, digest: 0 };
                self.group = Some(Within { head, reader: Reader::default(), contents });
                Ok(None)
            }
            Record::Part { at, part } => {
                let senseless = self.senseless("a part of a map that is none");
                let Some(Within { head, reader, contents }) = &mut self.group else { return Err(senseless) };
                match reader.take(&at, &part).map_err(|_| senseless)? {
                    Piece::Head { clock, quota, .. } => {
                        Ok(Some(Item::Group { head: head.clone(), quota, clock }))
                    }
                    Piece::Pairs(pairs) => {
                        contents.add(&pairs);
                        Ok(Some(Item::Pairs { pairs, part }))
                    }
                    Piece::End => Ok(None),
                }
            }
            Record::GroupEnd(_) => match self.group.take() {
                Some(group) if group.reader.is_whole() => {
                    self.groups += 1;
                    self.pairs += group.contents.pairs;
                    self.bytes += group.contents.bytes;
                    Ok(Some(Item::GroupEnd(group.contents)))
                }
                _ => Err(self.senseless("a map that is not whole")),
            },
            Record::End(End { digest, .. }) => {
                let Checker { groups, pairs, bytes, .. } = *self;
                Ok(Some(Item::End(Totals { groups, pairs, bytes, digest })))
            }
        }
    }

    fn senseless(&self, why: &'static str) -> Damaged {
        Damaged::Senseless { record: self.records, why }
    }
}

impl Contents {
    fn add(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            let (key, value) = (pair.key(), pair.value());
            let mut hasher = SipHasher13::new_with_keys(HASH_KEY.0, HASH_KEY.1);
            hasher.write_u64(key.len() as u64);
            hasher.write(key);
            hasher.write(value);
            self.digest = self.digest.wrapping_add(hasher.finish128().as_u128());
            self.pairs += 1;
            self.with_end += u64::from(pair.expires().is_some());
            self.bytes += (key.len() + value.len()) as u64;
        }
    }
}
