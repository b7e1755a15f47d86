//! The map in parts, as a function of what is in it: cut by content and not by how the tree has it.
//!
//! ```text
//! domain 1   head: format, revision, clock, quota
//! domain 2   pairs, by key, one after the other; the first part's locator is empty, another's is its first key
//! domain 3   end: how many pairs there were, and the digest
//! ```

use std::ops::Bound;

use bytes::Bytes;
use durable::{Application as _, Locator};
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

#[derive(Encode, Decode)]
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

#[derive(Encode, Decode)]
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

/// Takes in one part, in its order and once.
pub(super) fn restore(map: &mut Map, at: &Locator, part: &[u8]) -> Result<(), Bad> {
    match (at.domain, &map.stage) {
        (HEAD, Stage::New) if at.key.is_empty() => {
            let head: Head = wire::codec::decode(part).map_err(|_| Bad)?;
            if head.format != FORMAT {
                return Err(Bad);
            }
            (map.revision, map.clock, map.quota) = (head.revision, head.clock, head.quota);
            map.history.begin_at(head.revision);
            map.stage = Stage::Pairs(None);
            Ok(())
        }
        (PAIRS, Stage::Pairs(last)) => {
            let last = last.clone();
            let last = take_pairs(map, at, part, last)?;
            map.stage = Stage::Pairs(Some(last));
            Ok(())
        }
        (END, Stage::Pairs(_)) if at.key.is_empty() => {
            let end: End = wire::codec::decode(part).map_err(|_| Bad)?;
            if end.pairs != map.tree.len() as u64 || end.digest != map.digest() {
                return Err(Bad);
            }
            map.stage = Stage::Whole;
            Ok(())
        }
        _ => Err(Bad),
    }
}

/// Takes in pairs behind a key, and says which is the last now.
fn take_pairs(map: &mut Map, at: &Locator, part: &[u8], last: Option<Bytes>) -> Result<Bytes, Bad> {
    if part.is_empty() || part.len() > PART_BYTES_MAX {
        return Err(Bad);
    }
    let mut decoder = minicbor::Decoder::new(part);
    let (mut before, mut count) = (last, 0);
    while decoder.position() < part.len() {
        let item: Item = decoder.decode().map_err(|_| Bad)?;
        if count == 0 {
            let expected: &[u8] = if before.is_none() { &[] } else { item.key };
            check(at.key == expected)?;
        }
        check((1..=KEY_BYTES_MAX).contains(&item.key.len()) && item.value.len() <= VALUE_BYTES_MAX)?;
        check(before.is_none_or(|before| &before[..] < item.key))?;
        check(item.versions > 0 && item.created <= item.modified && item.modified <= map.revision)?;
        check(item.expires != Some(u64::MAX))?;
        let lineage = Lineage { created: item.created, modified: item.modified, versions: item.versions };
        map.insert(Pair::new(item.key, item.value, lineage, item.expires));
        before = Some(Bytes::copy_from_slice(item.key));
        count += 1;
    }
    before.ok_or(Bad)
}

fn check(holds: bool) -> Result<(), Bad> {
    if holds { Ok(()) } else { Err(Bad) }
}
