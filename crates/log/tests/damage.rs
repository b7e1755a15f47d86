//! Damage: every byte of every file, whole files, unreadable sectors. Whatever is hit, all other entries are there,
//! what is damaged is listed, and what somebody else has of it can be put back.

use std::collections::BTreeSet;

use wal::sim::{Faults, SECTOR_BYTES, SimDisk};
use wal::{Compacted, Config, Disk, Item, Log, LogError, OpenError};

const ID: u64 = 77;
const METADATA: &[u8] = b"voted for 3 in view 9";

fn config() -> Config {
    Config { segment_bytes: 900, allocate_bytes: 1, index_bytes: 150, ..Config::new(ID) }
}

fn payload(position: u64) -> Vec<u8> {
    (0..20 + position % 50).map(|i| (position * 7 + i) as u8).collect()
}

fn tag(position: u64) -> Vec<u8> {
    vec![position as u8; (position % 3) as usize]
}

/// A log with a compacted segment, closed ones and an open one, a checkpoint and a metadata record, all durable.
/// Also what of it was released.
fn sample() -> (SimDisk, u64, BTreeSet<u64>) {
    let disk = SimDisk::new(1, Faults::default());
    let (mut log, _) = Log::open(disk.clone(), config()).expect("opens");
    for position in 1..=60 {
        assert_eq!(log.append(&tag(position), &payload(position)), Ok(position));
    }
    log.sync().expect("synced");
    let released = (1..=30).filter(|position| position % 5 != 0).collect::<BTreeSet<u64>>();
    released.iter().for_each(|position| log.release(*position..position + 1).expect("released"));
    log.checkpoint_begin(35, b"view 9").expect("begun");
    for chunk in [&b"some state"[..], b"", b"more of it"] {
        log.checkpoint_chunk(chunk).expect("written");
    }
    log.checkpoint_finish().expect("finished");
    while log.compact(1 << 20).expect("compacts") != Compacted::Idle {}
    log.set_metadata(METADATA).expect("stored");
    (disk, log.next(), released)
}

fn copy(of: &SimDisk) -> SimDisk {
    let disk = SimDisk::new(2, Faults::default());
    for (name, _) in of.list().expect("lists") {
        disk.put(&name, &of.contents(&name).expect("is there"));
    }
    disk
}

/// Reads everything: entries must be right. Returns those that are neither there nor released.
fn lost(log: &mut Log<SimDisk>, next: u64, released: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut lost = BTreeSet::new();
    let mut shown = BTreeSet::new();
    let mut check = |item: Item<'_>| match item {
        Item::Entry(entry) => {
            assert_eq!((entry.tag, entry.payload), (&tag(entry.position)[..], &payload(entry.position)[..]));
            shown.insert(entry.position);
        }
        Item::Damaged(..) => {}
    };
    assert_eq!(log.reader().range(1, next, u64::MAX, &mut check), Ok(next));
    for position in 1..next {
        match log.read(position) {
            Ok(Some(owned)) => {
                assert_eq!((owned.tag, owned.payload), (tag(position), payload(position)));
                assert!(shown.contains(&position));
            }
            Ok(None) if released.contains(&position) => assert!(!shown.contains(&position)),
            Ok(None) => assert!(position >= log.next(), "{position} is missing"),
            Err(LogError::Damaged(_)) if released.contains(&position) => {}
            Err(LogError::Damaged(_)) => assert!(lost.insert(position) && !shown.contains(&position)),
            Err(other) => panic!("{other}"),
        }
    }
    lost
}

fn repair_all(log: &mut Log<SimDisk>) {
    let damaged: Vec<u64> = log.damaged().flat_map(|(first, last)| first..=last).collect();
    let contents: Vec<(u64, Vec<u8>, Vec<u8>)> =
        damaged.into_iter().map(|position| (position, tag(position), payload(position))).collect();
    let entries: Vec<(u64, &[u8], &[u8])> =
        contents.iter().map(|(position, tag, payload)| (*position, &tag[..], &payload[..])).collect();
    log.repair(&entries).expect("repairs");
}

fn scrub(log: &mut Log<SimDisk>) {
    let mut at = 1;
    while at < log.next() {
        at = log.scrub(at, 1000).expect("reads");
    }
}

#[test]
fn one_damaged_byte_costs_one_entry_at_most_and_that_one_is_listed_and_mended() {
    let (sample, next, released) = sample();
    let (mut costly, mut tails) = (0, 0);
    for (name, bytes) in sample.list().expect("lists") {
        for offset in 0..bytes {
            let disk = copy(&sample);
            assert!(disk.rot(&name, offset, 1 << (offset % 8)));
            let (mut log, opened) = Log::open(disk.clone(), config()).expect("opens");
            let place = format!("{name} at {offset}: {opened:?}");
            assert_eq!(log.metadata(), METADATA, "{place}");
            assert_eq!(opened.metadata_mended, name.starts_with("meta"), "{place}");
            assert!(opened.unreadable.is_empty(), "{place}");
            if name.ends_with(".ckp") {
                let mut chunk = Vec::new();
                let (mut state, mut at, mut whole) = (Vec::new(), 0, !opened.checkpoint_damaged);
                while let (Some(checkpoint), true) = (log.checkpoint(), whole) {
                    match checkpoint.chunk(at, &mut chunk) {
                        Ok(Some(next)) => at = next,
                        Ok(None) => break,
                        Err(_) => whole = false,
                    }
                    state.extend_from_slice(&chunk);
                }
                assert!(!whole || state == b"some statemore of it", "{place}");
                // Read all at once they are the same, as far as they can be read.
                let mut at_once = Vec::new();
                let mut take = |_, chunk: &[u8]| {
                    at_once.extend_from_slice(chunk);
                    true
                };
                let read = log.checkpoint().map(|checkpoint| checkpoint.each(&mut take));
                assert_eq!(read.is_some_and(|read| read.is_ok()), whole, "{place}");
                assert!(!whole || at_once == state, "{place}");
                continue;
            }
            // The last entry's damage looks like a torn tail: nothing good is behind it.
            if log.next() != next {
                assert_eq!((log.next(), opened.torn_bytes > 0), (next - 1, true), "{place}");
                tails += 1;
                continue;
            }
            scrub(&mut log);
            let lost = lost(&mut log, next, &released);
            assert!(lost.len() <= 1, "{place}: {lost:?}");
            let listed: BTreeSet<u64> = log.damaged().flat_map(|(first, last)| first..=last).collect();
            assert_eq!(listed, lost, "{place}");
            costly += lost.len();
            if lost.is_empty() || offset % 8 > 0 {
                continue;
            }
            repair_all(&mut log);
            assert_eq!(log.damaged().count(), 0, "{place}");
            for _ in 0..2 {
                assert!(self::lost(&mut log, next, &released).is_empty(), "{place}");
                log = Log::open(disk.clone(), config()).expect("opens again").0;
                scrub(&mut log);
            }
            assert_eq!(log.next(), next);
        }
    }
    println!("{costly} bytes cost an entry, {tails} the tail");
    assert!(costly > 1000 && (30..200).contains(&tails));
}

#[test]
fn a_segment_that_is_gone_is_listed_whole_and_can_be_filled_again() {
    let (sample, next, released) = sample();
    let names: Vec<String> = sample.list().expect("lists").into_iter().map(|(name, _)| name).collect();
    for name in names.iter().filter(|name| name.ends_with(".seg")) {
        let disk = copy(&sample);
        disk.take_away(name);
        let (mut log, _) = Log::open(disk.clone(), config()).expect("opens");
        if log.next() < next {
            continue; // The open one: nothing tells that it was there.
        }
        let gone = lost(&mut log, next, &released);
        let listed: BTreeSet<u64> = log.damaged().flat_map(|(first, last)| first..=last).collect();
        assert!(!gone.is_empty() && gone == listed, "{name}: {gone:?} {listed:?}");
        repair_all(&mut log);
        for _ in 0..2 {
            assert_eq!((lost(&mut log, next, &released), log.damaged().count()), (BTreeSet::new(), 0));
            log = Log::open(disk.clone(), config()).expect("opens again").0;
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_what_is_in_it() {
    let (sample, next, released) = sample();
    for (name, bytes) in sample.list().expect("lists").into_iter().filter(|(name, _)| name.ends_with(".seg"))
    {
        for sector in 0..bytes.div_ceil(SECTOR_BYTES as u64) {
            let disk = copy(&sample);
            disk.make_unreadable(&name, sector);
            let (mut log, opened) = Log::open(disk.clone(), config()).expect("opens");
            scrub(&mut log);
            let lost = lost(&mut log, next, &released);
            assert!(lost.len() < 14, "{name} {sector}: {lost:?} {opened:?}");
            let listed: BTreeSet<u64> = log.damaged().flat_map(|(first, last)| first..=last).collect();
            assert_eq!(lost, listed);
        }
    }
}

#[test]
fn one_copy_of_the_metadata_is_enough_and_none_is_an_error() {
    let (sample, ..) = sample();
    for name in ["meta-0", "meta-1"] {
        let disk = copy(&sample);
        disk.take_away(name);
        let (log, opened) = Log::open(disk.clone(), config()).expect("opens");
        assert!(log.metadata() == METADATA && opened.metadata_mended);
        assert!(!Log::open(disk, config()).expect("opens").1.metadata_mended);
    }
    let disk = copy(&sample);
    disk.put("meta-0", b"rot");
    disk.put("meta-1", b"rot");
    assert_eq!(Log::open(disk, config()).err(), Some(OpenError::MetadataDamaged));
    let other = Config { id: ID + 1, ..config() };
    let refused = Log::open(copy(&sample), other).err();
    assert_eq!(refused, Some(OpenError::OtherLog { found: ID, expected: ID + 1 }));
}

#[test]
fn a_newer_format_is_refused_and_named() {
    let (sample, ..) = sample();
    for (name, _) in sample.list().expect("lists") {
        let disk = copy(&sample);
        let mut bytes = disk.contents(&name).expect("is there");
        bytes[8] = 2;
        let end = match &name[..] {
            name if name.ends_with(".seg") => 60,
            name if name.ends_with(".ckp") => 124,
            _ => 4092,
        };
        let sum = crc32c::crc32c(&bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        disk.put(&name, &bytes);
        assert_eq!(Log::open(disk, config()).err(), Some(OpenError::Newer { name, format: 2, known: 1 }));
    }
}

#[test]
fn a_part_of_an_entry_is_found_by_its_handle_wherever_compaction_moves_it() {
    let (disk, ..) = sample();
    let (log, _) = Log::open(disk, config()).expect("opens");
    let handle = wal::Handle { position: 25, offset: 3, bytes: 10 };
    assert_eq!(log.reader().read_part(handle), Ok(Some(payload(25)[3..13].to_vec())));
    let beyond = wal::Handle { offset: 3, bytes: 1000, ..handle };
    assert_eq!(log.reader().read_part(beyond), Ok(None));
    let huge = wal::Handle { offset: u32::MAX, bytes: u32::MAX, ..handle };
    assert_eq!(log.reader().read_part(huge), Ok(None));
    assert_eq!(log.reader().read_part(wal::Handle { position: 24, ..handle }), Ok(None));
}
