//! The map in parts, as a function of what is in it: cut by content and not by how the tree has it.
//!
//! ```text
//! domain 1   head: format, revision, clock, quota
//! domain 2   pairs, by key, one after the other; the first part's locator is empty, another's is its first key
//! domain 3   end: how many pairs there were, and the digest
//! ```

use std::ops::Bound;

use bytes::Bytes;
use durable::{Application as _, Locator, NotRestored};
use minicbor::{Decode, Encode};

use super::Map;
use super::limits::{KEY_BYTES_MAX, PART_BYTES, VALUE_BYTES_MAX};
use super::pair::{Lineage, Pair};
use super::tree::Tree;

const HEAD: u16 = 1;
const PAIRS: u16 = 2;
const END: u16 = 3;
const FORMAT: u32 = 1;
/// The longest part that is read: no pair makes a longer one.
const PART_BYTES_MAX: usize = PART_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;

/// How far a map has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was applied or restored.
    New,
    /// The head of a snapshot was taken in, and pairs up to this key.
    Pairs(Option<Bytes>),
    /// It is what its log says.
    Whole,
}

impl Stage {
    /// Requests are applied from here on.
    ///
    /// # Panics
    ///
    /// In the middle of a snapshot.
    pub fn begin(&mut self) {
        assert!(!matches!(self, Stage::Pairs(_)), "a map is used before it was restored to its end");
        *self = Stage::Whole;
    }
}

/// The part is none of a map's, or does not come here.
#[derive(Debug)]
pub(super) struct Bad;

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    format: u32,
    #[n(1)]
    revision: u64,
    #[n(2)]
    clock: u64,
    #[n(3)]
    quota: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Item<'a> {
    #[cbor(b(0), with = "minicbor::bytes")]
    key: &'a [u8],
    #[cbor(b(1), with = "minicbor::bytes")]
    value: &'a [u8],
    #[n(2)]
    created: u64,
    #[n(3)]
    modified: u64,
    #[n(4)]
    versions: u64,
    #[n(5)]
    expires: Option<u64>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct End {
    #[n(0)]
    pairs: u64,
    #[n(1)]
    digest: u64,
}

/// The parts of what the map is now.
pub(super) fn parts(map: &Map) -> impl Iterator<Item = (Locator, Bytes)> + Send + use<> {
    let head = Head { format: FORMAT, revision: map.revision, clock: map.clock, quota: map.quota };
    let end = End { pairs: map.tree.len() as u64, digest: map.digest() };
    let whole = |domain| Locator { domain, key: Vec::new() };
    std::iter::once((whole(HEAD), wire::codec::encode(&head)))
        .chain(PairParts { tree: map.tree.clone(), last: None })
        .chain(std::iter::once((whole(END), wire::codec::encode(&end))))
}

/// The pairs in parts. It keeps no place in the tree but the last key: a look-up for each part.
struct PairParts {
    tree: Tree,
    last: Option<Vec<u8>>,
}

impl Iterator for PairParts {
    type Item = (Locator, Bytes);

    fn next(&mut self) -> Option<(Locator, Bytes)> {
        let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut part = Vec::new();
        let mut first: Option<&Pair> = None;
        let mut last: Option<&Pair> = None;
        for pair in self.tree.range(from) {
            let before = part.len();
            let item = Item {
                key: pair.key(),
                value: pair.value(),
                created: pair.created(),
                modified: pair.modified(),
                versions: pair.versions(),
                expires: pair.expires(),
            };
            minicbor::encode(item, &mut part).expect("a Vec takes every byte");
            if before > 0 && part.len() > PART_BYTES {
                part.truncate(before);
                break;
            }
            first = first.or(Some(pair));
            last = Some(pair);
        }
        let (first, last) = (first?, last?);
        let key = if self.last.is_none() { Vec::new() } else { first.key().to_vec() };
        self.last = Some(last.key().to_vec());
        Some((Locator { domain: PAIRS, key }, Bytes::from(part)))
    }
}

/// A part of a snapshot that was read, with all that can be checked of it without the parts before it. Parts may be read on
/// any thread and in any order; a map takes them in in theirs ([`Map::take_in`]).
#[derive(Debug)]
pub struct Part {
    at: Locator,
    says: Says,
}

#[derive(Debug)]
enum Says {
    Head(Head),
    Pairs(Vec<Pair>),
    End(End),
}

impl Part {
    /// Reads a part.
    ///
    /// # Errors
    ///
    /// It is none of a map's.
    pub fn read(at: &Locator, part: &[u8]) -> Result<Part, NotRestored> {
        let says = match at.domain {
            HEAD => read_head(at, part).map(Says::Head),
            PAIRS => pairs_of(part).map(Says::Pairs),
            END => read_end(at, part).map(Says::End),
            _ => Err(Bad),
        };
        let says = says.map_err(|Bad| NotRestored { domain: at.domain })?;
        Ok(Part { at: at.clone(), says })
    }

    /// Its domain.
    pub(super) fn domain(&self) -> u16 {
        self.at.domain
    }
}

/// Takes in one part, in its order and once.
pub(super) fn take_in(map: &mut Map, part: Part) -> Result<(), Bad> {
    let Part { at, says } = part;
    match (says, &map.stage) {
        (Says::Head(head), Stage::New) => {
            (map.revision, map.clock, map.quota) = (head.revision, head.clock, head.quota);
            map.history.begin_at(head.revision);
            map.stage = Stage::Pairs(None);
            Ok(())
        }
        (Says::Pairs(pairs), Stage::Pairs(last)) => {
            follow(&at, &pairs, last.as_deref(), map.revision)?;
            let last = pairs.last().map(|pair| Bytes::copy_from_slice(pair.key()));
            pairs.into_iter().for_each(|pair| map.insert(pair));
            map.stage = Stage::Pairs(last);
            Ok(())
        }
        (Says::End(end), Stage::Pairs(_)) => {
            check(end.pairs == map.tree.len() as u64 && end.digest == map.digest())?;
            map.stage = Stage::Whole;
            Ok(())
        }
        _ => Err(Bad),
    }
}

fn read_head(at: &Locator, part: &[u8]) -> Result<Head, Bad> {
    let head: Head = wire::codec::decode(part).map_err(|_| Bad)?;
    check(at.key.is_empty() && head.format == FORMAT)?;
    Ok(head)
}

fn read_end(at: &Locator, part: &[u8]) -> Result<End, Bad> {
    check(at.key.is_empty())?;
    wire::codec::decode(part).map_err(|_| Bad)
}

/// These pairs of a part come behind the last key of the part before it, and none is of a revision above this one.
fn follow(at: &Locator, pairs: &[Pair], last: Option<&[u8]>, revision: u64) -> Result<(), Bad> {
    let first = pairs.first().ok_or(Bad)?.key();
    check(at.key == last.map_or(&[][..], |_| first))?;
    check(last.is_none_or(|last| last < first))?;
    check(pairs.iter().all(|pair| pair.modified() <= revision))
}

/// The pairs of a part, at least one, with rising keys.
fn pairs_of(part: &[u8]) -> Result<Vec<Pair>, Bad> {
    check(!part.is_empty() && part.len() <= PART_BYTES_MAX)?;
    let mut decoder = minicbor::Decoder::new(part);
    let mut pairs: Vec<Pair> = Vec::new();
    while decoder.position() < part.len() {
        let item: Item = decoder.decode().map_err(|_| Bad)?;
        check((1..=KEY_BYTES_MAX).contains(&item.key.len()) && item.value.len() <= VALUE_BYTES_MAX)?;
        check(pairs.last().is_none_or(|before| before.key() < item.key))?;
        check(item.versions > 0 && item.created <= item.modified)?;
        check(item.expires != Some(u64::MAX))?;
        let lineage = Lineage { created: item.created, modified: item.modified, versions: item.versions };
        pairs.push(Pair::new(item.key, item.value, lineage, item.expires));
    }
    Ok(pairs)
}

fn check(holds: bool) -> Result<(), Bad> {
    if holds { Ok(()) } else { Err(Bad) }
}

/// What a part of a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The first part.
    Head {
        /// The position of the last request that was applied.
        revision: u64,
        /// The time of the state, in milliseconds since 1970.
        clock: u64,
        /// What the pairs may count together, in bytes.
        quota: u64,
    },
    /// Pairs, with rising keys also from part to part.
    Pairs(Vec<Pair>),
    /// The last part: all that came before is what the map wrote.
    End,
}

/// Reads the parts of a snapshot one after another and keeps none of them. It checks what a map checks that is restored
/// from them, the digest too.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    stage: Reading,
    revision: u64,
    clock: u64,
    quota: u64,
    pairs: u64,
    bytes: u64,
    sum: u64,
}

#[derive(Clone, Debug, Default)]
enum Reading {
    #[default]
    New,
    Pairs(Option<Bytes>),
    Whole,
}

impl Reader {
    /// Reads the next part.
    ///
    /// # Errors
    ///
    /// It is none of a map's, or not the one that comes next. The reader is of no use any more.
    pub fn take(&mut self, at: &Locator, part: &[u8]) -> Result<Piece, NotRestored> {
        self.read(at, part).map_err(|Bad| NotRestored { domain: at.domain })
    }

    /// Whether the last part was read.
    pub fn is_whole(&self) -> bool {
        matches!(self.stage, Reading::Whole)
    }

    fn read(&mut self, at: &Locator, part: &[u8]) -> Result<Piece, Bad> {
        match (at.domain, &self.stage) {
            (HEAD, Reading::New) => {
                let Head { revision, clock, quota, .. } = read_head(at, part)?;
                (self.revision, self.clock, self.quota) = (revision, clock, quota);
                self.stage = Reading::Pairs(None);
                Ok(Piece::Head { revision, clock, quota })
            }
            (PAIRS, Reading::Pairs(last)) => {
                let pairs = pairs_of(part)?;
                follow(at, &pairs, last.as_deref(), self.revision)?;
                self.stage = Reading::Pairs(pairs.last().map(|pair| Bytes::copy_from_slice(pair.key())));
                for pair in &pairs {
                    self.pairs += 1;
                    self.bytes += pair.bytes();
                    self.sum = self.sum.wrapping_add(pair.hash());
                }
                Ok(Piece::Pairs(pairs))
            }
            (END, Reading::Pairs(_)) => {
                let end = read_end(at, part)?;
                let numbers = [self.revision, self.clock, self.quota, self.pairs, self.bytes, self.sum];
                check(end.pairs == self.pairs && end.digest == super::digest_of(numbers))?;
                self.stage = Reading::Whole;
                Ok(Piece::End)
            }
            _ => Err(Bad),
        }
    }

    /// The pairs of one part, for who was sent it alone.
    ///
    /// # Errors
    ///
    /// These bytes are no such part.
    pub fn pairs_of(part: &[u8]) -> Result<Vec<Pair>, NotRestored> {
        pairs_of(part).map_err(|Bad| NotRestored { domain: PAIRS })
    }
}
