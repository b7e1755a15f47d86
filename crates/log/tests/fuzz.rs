//! Hostile files: mutated at random, also with checksums that are right again. Opening, reading and writing on may
//! refuse, and never panic; and what is read is what was once written at that position, or what the test wrote.

use proptest::prelude::*;
use wal::sim::{Faults, SimDisk};
use wal::{Compacted, Config, Disk, Item, Log};

const ID: u64 = 5;

fn config() -> Config {
    Config { segment_bytes: 700, allocate_bytes: 300, index_bytes: 100, ..Config::new(ID) }
}

fn payload(position: u64) -> Vec<u8> {
    format!("entry {position} {}", "x".repeat((position % 37) as usize)).into_bytes()
}

fn sample() -> SimDisk {
    let disk = SimDisk::new(1, Faults::default());
    let (mut log, _) = Log::open(disk.clone(), config()).expect("opens");
    (1..=40).for_each(|position| assert_eq!(log.append(b"view", &payload(position)), Ok(position)));
    log.sync().expect("synced");
    log.release(1..20).and_then(|()| log.release(22..25)).expect("released");
    log.checkpoint_begin(25, b"v").and_then(|()| log.checkpoint_chunk(b"state")).expect("written");
    log.checkpoint_finish().expect("finished");
    while log.compact(1 << 20).expect("compacts") != Compacted::Idle {}
    log.truncate(38).expect("cut");
    log.set_metadata(b"promise").expect("stored");
    disk
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip {
        file: usize,
        at: usize,
        with: u8,
    },
    Number {
        file: usize,
        at: usize,
        number: u64,
    },
    Shorten {
        file: usize,
        to: usize,
    },
    Lengthen {
        file: usize,
        bytes: Vec<u8>,
    },
    Remove {
        file: usize,
    },
    Swap {
        file: usize,
        with: usize,
    },
    Rename {
        file: usize,
        name: String,
    },
    /// Makes the checksums of headers, trailers and slots right.
    Reseal {
        file: usize,
    },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let file = 0usize..16;
    let at = prop_oneof![0usize..140, any::<usize>()];
    let number = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        0u64..100,
        any::<u64>()
    ];
    let name =
        prop_oneof!["[0-9a-f]{16}\\.(seg|ckp|tmp)", "[a-z.]{0,9}", Just("ffffffffffffffff.seg".into())];
    prop_oneof![
        (file.clone(), at.clone(), any::<u8>()).prop_map(|(file, at, with)| Mutation::Flip {
            file,
            at,
            with
        }),
        (file.clone(), at.clone(), number).prop_map(|(file, at, number)| Mutation::Number {
            file,
            at,
            number
        }),
        (file.clone(), any::<usize>()).prop_map(|(file, to)| Mutation::Shorten { file, to }),
        (file.clone(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(file, bytes)| Mutation::Lengthen { file, bytes }),
        file.clone().prop_map(|file| Mutation::Remove { file }),
        (file.clone(), file.clone()).prop_map(|(file, with)| Mutation::Swap { file, with }),
        (file.clone(), name).prop_map(|(file, name)| Mutation::Rename { file, name }),
        file.prop_map(|file| Mutation::Reseal { file }),
    ]
}

fn reseal(bytes: &mut [u8], start: usize, length: usize) {
    if let Some(part) = bytes.get_mut(start..start + length) {
        let sum = crc32c::crc32c(&part[..length - 4]);
        part[length - 4..].copy_from_slice(&sum.to_le_bytes());
    }
}

fn apply(disk: &SimDisk, mutation: Mutation) {
    let names: Vec<String> = disk.list().expect("lists").into_iter().map(|(name, _)| name).collect();
    let pick = |file: usize| names.get(file % names.len().max(1)).cloned().unwrap_or_default();
    let change = |file: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let name = pick(file);
        let mut bytes = disk.contents(&name).unwrap_or_default();
        change(&mut bytes);
        disk.put(&name, &bytes);
    };
    match mutation {
        Mutation::Flip { file, at, with } => change(file, &|bytes| {
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte ^= with;
            }
        }),
        Mutation::Number { file, at, number } => change(file, &|bytes| {
            let at = at % bytes.len().max(1) / 4 * 4;
            if let Some(place) = bytes.get_mut(at..at + 8) {
                place.copy_from_slice(&number.to_le_bytes());
            }
        }),
        Mutation::Shorten { file, to } => change(file, &|bytes| bytes.truncate(to % (bytes.len() + 1))),
        Mutation::Lengthen { file, bytes: more } => change(file, &|bytes| bytes.extend_from_slice(&more)),
        Mutation::Remove { file } => disk.take_away(&pick(file)),
        Mutation::Swap { file, with } => {
            let (a, b) = (pick(file), pick(with));
            let bytes = (disk.contents(&a).unwrap_or_default(), disk.contents(&b).unwrap_or_default());
            disk.put(&a, &bytes.1);
            disk.put(&b, &bytes.0);
        }
        Mutation::Rename { file, name } => {
            disk.put(&name, &disk.contents(&pick(file)).unwrap_or_default());
            disk.take_away(&pick(file));
        }
        Mutation::Reseal { file } => change(file, &|bytes| {
            reseal(bytes, 0, 64);
            reseal(bytes, 0, 128);
            reseal(bytes, 0, 4096);
            let trailer = bytes.len().saturating_sub(64);
            reseal(bytes, trailer, 64);
        }),
    }
}

/// Does all that a log can do; errors are fine.
fn use_it(disk: &SimDisk) {
    let Ok((mut log, _)) = Log::open(disk.clone(), config()) else { return };
    let start = log.next();
    let mut seen = 0;
    let mut visit = |item: Item<'_>| {
        if let Item::Entry(entry) = item {
            assert!(
                entry.payload == payload(entry.position) || entry.payload == b"new",
                "entry {} was never written so",
                entry.position
            );
            seen += 1;
        }
    };
    let _ = log.reader().range(0, u64::MAX, u64::MAX, &mut visit);
    assert!(seen <= 200);
    let _ = log.scrub(1, 10_000);
    let damaged: Vec<u64> = log.damaged().map(|(first, _)| first).take(3).collect();
    for position in damaged {
        let _ = log.repair(&[(position, b"view", &payload(position))]);
    }
    for _ in 0..30 {
        let _ = log.append(b"view", b"new");
    }
    let _ = log.sync();
    let _ = log.truncate(start.saturating_add(3));
    let _ = log.release(start.saturating_sub(9)..start);
    let mut chunk = Vec::new();
    let mut at = 0;
    while let Some(Ok(Some(next))) = log.checkpoint().map(|checkpoint| checkpoint.chunk(at, &mut chunk)) {
        assert!(next > at);
        at = next;
    }
    let _ = log.checkpoint_begin(log.synced().saturating_sub(1), b"v");
    let _ = log.checkpoint_chunk(b"state");
    let _ = log.checkpoint_finish();
    for _ in 0..40 {
        let _ = log.compact(300);
    }
    let _ = log.read(start);
}

/// The ends of a closed segment name positions far away, under checksums that are right. The gap before it can be repaired in
/// parts, and what it takes to write down that the rest is damaged has a bound.
#[test]
fn a_gap_before_a_segment_from_far_away_is_repaired_in_little_room() {
    const FIRST: usize = 32;
    const FIRST_FROM_END: usize = 48;
    const END_FROM_END: usize = 40;
    for shift in [20, 40, 47, 48, 52, 62] {
        let disk = SimDisk::new(1, Faults::default());
        let (mut log, _) = Log::open(disk.clone(), config()).expect("opens");
        (1..=40).for_each(|position| assert_eq!(log.append(b"view", &payload(position)), Ok(position)));
        log.sync().expect("synced");
        let (first, end) = log.closed().last().expect("a closed segment");
        drop(log);
        let files = disk.list().expect("lists");
        let (file, (name, bytes)) = files
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, (name, _))| name.ends_with(".seg"))
            .nth(1)
            .expect("two");
        let mut content = disk.contents(name).expect("there");
        let far = 1u64 << shift;
        for (place, position) in [
            (FIRST, far),
            (*bytes as usize - FIRST_FROM_END, far),
            (*bytes as usize - END_FROM_END, far + end - first),
        ] {
            content[place..place + 8].copy_from_slice(&position.to_le_bytes());
        }
        disk.put(name, &content);
        apply(&disk, Mutation::Reseal { file });
        use_it(&disk);
        use_it(&disk);
        let used: u64 = disk.list().expect("lists").iter().map(|(_, bytes)| *bytes).sum();
        assert!(used < 8 << 20, "2^{shift}: {used} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_500),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn hostile_files_are_refused_or_read_and_never_panic(
        mutations in prop::collection::vec(mutation(), 1..8),
    ) {
        let disk = sample();
        mutations.into_iter().for_each(|mutation| apply(&disk, mutation));
        use_it(&disk);
        use_it(&disk);
    }
}
