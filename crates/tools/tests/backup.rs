//! Backups: what is written is read again, whole and the same; a file that is not exactly what was written is refused,
//! whatever was done to it, before its end is told; and restoring by differences makes one map of another.

mod common;

use bytes::Bytes;
use common::Site;
use common::draw::Draw;
use durable::Application;
use tools::backup::{Checker, Contents, Damaged, Decoder, Group, GroupHead, Head, Item, Stream, Totals};
use tools::catalog::Kind;
use tools::map::{Delete, Difference, Map, Pair, Put, Reader, Request};
use wire::GroupName;

fn put(site: &mut Site, key: &[u8], value: &[u8]) {
    site.apply(&Request::Put(Put { key, value, ttl_ms: None, only_if: None }));
}

fn delete(site: &mut Site, key: &[u8]) {
    site.apply(&Request::Delete(Delete { key, only_if: None }));
}

fn site(seed: u64, steps: u64) -> Site {
    let mut draw = Draw::of(seed);
    let mut site = Site::default();
    for _ in 0..steps {
        site.clock += u64::from(draw.below(25));
        let words = draw.words();
        let payload = draw.request(&site.map, &words).encode();
        site.apply_bytes(payload);
    }
    site
}

fn head() -> Head {
    let (cluster, site, program) = ("00000000000000c1".to_owned(), "a".to_owned(), "0".to_owned());
    Head { id: [7; 16], cluster, site, taken_ms: 1, program, groups: 0, without_mail: false }
}

fn stream(maps: &[(&str, &Map)]) -> Stream {
    let group = |(name, map): &(&str, &Map)| Group {
        head: GroupHead { name: GroupName::parse(name).expect("a name"), kind: Kind::Map },
        parts: map.snapshot(),
    };
    Stream::new(head(), maps.iter().map(group).collect())
}

fn file(maps: &[(&str, &Map)]) -> Vec<u8> {
    let mut stream = stream(maps);
    let mut file = Vec::new();
    while let Some(piece) = stream.next_piece(4_096) {
        file.extend_from_slice(&piece);
    }
    file
}

/// Everything that a file says, read in pieces of so many bytes.
fn read(file: &[u8], step: usize) -> Result<Vec<Item>, Damaged> {
    let mut checker = Checker::default();
    let mut items = Vec::new();
    for piece in file.chunks(step) {
        checker.extend(piece);
        while let Some(item) = checker.next()? {
            items.push(item);
        }
    }
    checker.finish()?;
    Ok(items)
}

fn contents(items: &[Item]) -> Vec<&Contents> {
    let mut found = Vec::new();
    for item in items {
        if let Item::GroupEnd(contents) = item {
            found.push(contents);
        }
    }
    found
}

fn totals(items: &[Item]) -> &Totals {
    let Some(Item::End(totals)) = items.last() else { panic!("no end: {:?}", items.last()) };
    totals
}

/// A file with an empty map, one with few pairs, and one of several parts.
fn sample() -> Vec<u8> {
    let (few, many) = (site(3, 12), site(4, 400));
    file(&[("empty", &Map::default()), ("few", &few.map), ("many", &many.map)])
}

#[test]
fn what_was_written_is_read_however_the_file_is_cut_into_pieces() {
    let many = site(4, 400);
    let file = sample();
    let items = read(&file, 1 << 20).expect("whole");
    for step in [1, 7, 4_096] {
        assert_eq!(read(&file, step).as_ref(), Ok(&items));
    }
    let pairs =
        items.iter().filter_map(|item| if let Item::Pairs { pairs, .. } = item { Some(pairs) } else { None });
    let pairs: Vec<&Pair> = pairs.flatten().collect();
    let names: Vec<String> = contents(&items).iter().map(|contents| contents.group.to_string()).collect();
    assert_eq!(names, ["empty", "few", "many"]);
    let last = contents(&items)[2];
    assert_eq!((last.pairs, last.bytes), (many.map.len() as u64, many.map.bytes()));
    assert_eq!(totals(&items).pairs, pairs.len() as u64);
    for pair in many.map.list(b"", None, 1_000, 0).pairs {
        assert!(pairs.contains(&&pair));
    }
    for item in &items {
        if let Item::Pairs { pairs, part } = item {
            assert_eq!(Reader::pairs_of(part).as_ref(), Ok(pairs));
        }
    }
}

#[test]
fn a_backup_without_groups_is_one() {
    let items = read(&file(&[]), 100).expect("whole");
    assert_eq!((items.len(), totals(&items).groups), (2, 0));
}

#[test]
fn pieces_are_as_long_as_was_asked_for_and_the_states_go_on() {
    let mut site = site(4, 400);
    let before = file(&[("m", &site.map)]);
    let mut stream = stream(&[("m", &site.map)]);
    let mut written = Vec::new();
    while let Some(piece) = stream.next_piece(10_000) {
        assert!(piece.len() < 10_000 + (300 << 10), "{}", piece.len());
        written.extend_from_slice(&piece);
        put(&mut site, b"a/0", b"another");
    }
    assert_eq!(written, before);
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let file = sample();
    let ends = (0..file.len()).filter(|end| *end < 600 || *end > file.len() - 200 || end % 97 == 0);
    for end in ends {
        assert!(read(&file[..end], 1 << 20).is_err(), "cut at {end} of {}", file.len());
    }
    for more in [&b"\0"[..], b"x", &file] {
        assert_eq!(read(&[&file, more].concat(), 1 << 20), Err(Damaged::Trailing));
    }
}

#[test]
fn every_bit_of_every_class_of_bytes_counts() {
    let file = sample();
    // All of the first line, the first records and the last ones; of the middle, some.
    let places = (0..file.len()).filter(|at| *at < 700 || *at > file.len() - 200 || at % 61 == 0);
    for at in places {
        for bit in 0..8 {
            let mut file = file.clone();
            file[at] ^= 1 << bit;
            assert!(read(&file, 1 << 20).is_err(), "bit {bit} of byte {at}");
        }
    }
}

/// The file's records with their heads, behind its first line.
fn records(file: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let first = file.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let (mut at, mut records) = (first, Vec::new());
    while at < file.len() {
        let length = u32::from_le_bytes(file[at..at + 4].try_into().expect("four")) as usize + 9;
        records.push(file[at..at + length].to_vec());
        at += length;
    }
    (file[..first].to_vec(), records)
}

#[test]
fn records_are_good_at_their_own_place_only() {
    let whole = sample();
    let (line, records) = records(&whole);
    let again = |records: &[Vec<u8>]| [line.clone(), records.concat()].concat();
    assert_eq!(again(&records), whole);
    for n in 0..records.len() {
        let mut without = records.clone();
        let taken = without.remove(n);
        assert!(read(&again(&without), 1 << 20).is_err(), "without {n}");
        let mut twice = records.clone();
        twice.insert(n, taken.clone());
        assert!(read(&again(&twice), 1 << 20).is_err(), "{n} twice");
        if n + 1 < records.len() {
            let mut swapped = records.clone();
            swapped.swap(n, n + 1);
            assert!(read(&again(&swapped), 1 << 20).is_err(), "{n} behind its successor");
        }
    }
    // A record of another backup, at its own place, passes by itself.
    let other = Head { id: [8; 16], ..head() };
    let mut other = Stream::new(other, Vec::new());
    let (_, others) = self::records(&other.next_piece(1 << 20).expect("a piece"));
    let mut mixed = self::records(&file(&[])).1;
    mixed[0] = others[0].clone();
    assert_eq!(read(&again(&mixed), 1 << 20), Err(Damaged::Digest));
}

#[test]
fn nothing_that_anybody_makes_up_is_taken_or_breaks_anything() {
    let file = sample();
    for seed in 0..3_000 {
        let mut draw = Draw::of(seed);
        let mut bytes = match draw.below(4) {
            0 => (0..draw.below(300)).map(|_| draw.below(256) as u8).collect(),
            1 => [
                b"unanimous-backup 1\n".to_vec(),
                (0..draw.below(300)).map(|_| draw.below(256) as u8).collect(),
            ]
            .concat(),
            _ => file[..draw.below(file.len() as u32) as usize].to_vec(),
        };
        for _ in 0..draw.below(4) {
            if !bytes.is_empty() {
                let at = draw.below(bytes.len() as u32) as usize;
                bytes[at] = draw.below(256) as u8;
            }
        }
        assert!(read(&bytes, 1 + draw.below(5_000) as usize).is_err(), "seed {seed}");
    }
    assert_eq!(read(b"unanimous-backup 2\n", 100), Err(Damaged::Format(2)));
    assert_eq!(read(b"unanimous-backup 01\n", 100), Err(Damaged::NoBackup));
    assert_eq!(read(b"", 100), Err(Damaged::NoBackup));
    // A record says that it is as long as can be: it is refused before anything is kept for it.
    let mut decoder = Decoder::default();
    decoder.extend(b"unanimous-backup 1\n");
    decoder.extend(&[0xff; 9]);
    assert_eq!(decoder.next(), Err(Damaged::Checksum { record: 0 }));
}

#[test]
fn the_digest_of_what_a_map_has_does_not_depend_on_its_way_there() {
    let (mut one, mut other) = (Site::default(), Site::default());
    for key in [b"a", b"b", b"c"] {
        put(&mut one, key, b"value");
    }
    for key in [b"c", b"x", b"b", b"a"] {
        put(&mut other, key, b"value");
    }
    let digest = |site: &Site| contents(&read(&file(&[("m", &site.map)]), 1 << 20).expect("whole"))[0].digest;
    assert_ne!(digest(&one), digest(&other));
    delete(&mut other, b"x");
    assert_eq!(digest(&one), digest(&other));
    assert_ne!(one.map.digest(), other.map.digest(), "revisions differ");
}

/// Makes a map what a backup says, range by range, as a site does it.
fn restore(site: &mut Site, items: &[Item]) {
    let mut after: Option<Bytes> = None;
    let mut ranges: Vec<(Option<Bytes>, &[Pair])> = Vec::new();
    for item in items {
        if let Item::Pairs { pairs, .. } = item {
            let last = pairs.last().map(|pair| Bytes::copy_from_slice(pair.key()));
            ranges.push((last, pairs));
        }
    }
    ranges.push((None, &[]));
    for (upto, wanted) in ranges {
        loop {
            let found = site.map.difference(after.as_deref(), upto.as_deref(), wanted);
            for place in found.absent.iter().chain(&found.different) {
                let (key, value) = (wanted[*place].key(), wanted[*place].value());
                let ttl_ms = wanted[*place].expires().map(|_| 1_000_000);
                site.apply(&Request::Put(Put { key, value, ttl_ms, only_if: None }));
            }
            for key in &found.unwanted {
                delete(site, key);
            }
            if !found.more {
                break;
            }
        }
        let wanted = wanted.len();
        let after_all =
            site.map.difference(after.as_deref(), upto.as_deref(), ranges_of(items, upto.as_deref()));
        assert_eq!(after_all, Difference { same: wanted, ..Difference::default() });
        after = upto;
    }
}

fn ranges_of<'a>(items: &'a [Item], upto: Option<&[u8]>) -> &'a [Pair] {
    let found = items.iter().find_map(|item| match item {
        Item::Pairs { pairs, .. } if pairs.last().map(Pair::key) == upto => Some(&pairs[..]),
        _ => None,
    });
    found.unwrap_or_default()
}

#[test]
fn a_map_becomes_another_by_its_differences() {
    for seed in 0..12 {
        let (from, mut to) = (site(seed, 300), site(seed + 100, 200));
        // Pairs whose time is over by then are none: let there be time.
        to.clock = to.clock.max(from.clock);
        let items = read(&file(&[("m", &from.map)]), 1 << 20).expect("whole");
        restore(&mut to, &items);
        let again = read(&file(&[("m", &to.map)]), 1 << 20).expect("whole");
        let (one, other) = (contents(&items)[0], contents(&again)[0]);
        assert_eq!(
            (one.pairs, one.digest, one.with_end),
            (other.pairs, other.digest, other.with_end),
            "seed {seed}"
        );
    }
}

#[test]
fn so_many_unwanted_keys_are_named_at_a_time() {
    let mut site = Site::default();
    for n in 0..2_500u32 {
        put(&mut site, &n.to_be_bytes(), b"");
    }
    let found = site.map.difference(None, None, &[]);
    assert_eq!((found.unwanted.len(), found.more), (1_024, true));
    let found = site.map.difference(Some(&1_475u32.to_be_bytes()), None, &[]);
    assert_eq!((found.unwanted.len(), found.more), (1_024, false));
    let found = site.map.difference(Some(&9u32.to_be_bytes()), Some(&10u32.to_be_bytes()), &[]);
    assert_eq!((found.unwanted.len(), found.more), (1, false));
}
