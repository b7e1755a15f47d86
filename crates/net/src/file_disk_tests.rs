//! A log on real files.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use wal::{Compacted, Config, Item, Log, LogError};

use super::*;

fn config() -> Config {
    Config { segment_bytes: 64 << 10, allocate_bytes: 16 << 10, index_bytes: 1 << 10, ..Config::new(9) }
}

fn open(dir: &Path) -> Log<FileDisk> {
    Log::open(FileDisk::open(dir).expect("a directory"), config()).expect("opens").0
}

fn payload(position: u64) -> Vec<u8> {
    position.to_le_bytes().repeat(1 + position as usize % 100)
}

fn append(log: &mut Log<FileDisk>, count: u64) {
    for _ in 0..count {
        let position = log.next();
        assert_eq!(log.append(b"view", &payload(position)), Ok(position));
    }
}

fn assert_reads(log: &mut Log<FileDisk>, positions: std::ops::Range<u64>) {
    for position in positions {
        let found = log.read(position).expect("reads").expect("is there");
        assert_eq!((found.tag, found.payload), (b"view".to_vec(), payload(position)));
    }
}

#[test]
fn a_log_lives_on_real_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("group");
    let mut log = open(&path);
    append(&mut log, 2_000);
    assert_eq!(log.sync(), Ok(2_001));
    log.set_metadata(b"vote").expect("stored");
    log.truncate(1_900).expect("cut");
    append(&mut log, 10);
    log.release(1..1_500).expect("released");
    log.checkpoint_begin(1_600, b"view").and_then(|()| log.checkpoint_chunk(&[7; 100_000])).expect("written");
    log.checkpoint_finish().expect("finished");
    while log.compact(1 << 20).expect("compacts") != Compacted::Idle {}
    log.sync().expect("synced");
    append(&mut log, 5);
    drop(log);
    let mut log = open(&path);
    assert_eq!((log.next(), log.metadata(), log.damaged().count()), (1_910, &b"vote"[..], 0));
    assert_reads(&mut log, 1_500..1_910);
    assert_eq!(log.read(1_000), Ok(None));
    let mut chunk = Vec::new();
    let next = log.checkpoint().expect("one").chunk(0, &mut chunk).expect("reads").expect("one chunk");
    assert_eq!((log.checkpoint().expect("one").chunk(next, &mut chunk), chunk.len()), (Ok(None), 0));
    append(&mut log, 100);
    log.sync().expect("synced");
    assert_reads(&mut log, 1_500..2_010);
}

#[test]
fn a_directory_is_locked() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = FileDisk::open(dir.path()).expect("opens");
    assert!(matches!(FileDisk::open(dir.path()), Err(crate::DiskError::Locked(_))));
    drop(disk);
    FileDisk::open(dir.path()).expect("opens again");
}

#[test]
fn other_threads_read_while_entries_are_appended_and_segments_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path());
    append(&mut log, 100);
    log.write().expect("written");
    let readers = Mutex::new(log.reader());
    let (appended, seen) = (AtomicU64::new(101), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while appended.load(SeqCst) < u64::MAX {
                    let to = appended.load(SeqCst);
                    let reader = readers.lock().expect("no panic").clone();
                    let mut at = 1;
                    while at < to.min(6_000) {
                        let check = &mut |item: Item<'_>| match item {
                            Item::Entry(entry) => {
                                assert_eq!(entry.payload, payload(entry.position));
                                seen.fetch_add(1, SeqCst);
                            }
                            Item::Damaged(first, last) => panic!("{first}..={last}"),
                        };
                        match reader.range(at, to, 100_000, check) {
                            Ok(next) => at = next,
                            Err(LogError::Gone) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            });
        }
        // Dropped on a panic, too, so that the readers end.
        let finished = Finished(&appended);
        while log.next() < 6_000 {
            append(&mut log, 200);
            let synced = log.sync().expect("synced");
            *readers.lock().expect("no panic") = log.reader();
            appended.store(synced, SeqCst);
            if synced % 2_000 < 200 {
                log.release(1..synced - 1_000).expect("released");
                log.checkpoint_begin(synced - 1, b"")
                    .and_then(|()| log.checkpoint_finish())
                    .expect("finished");
            }
            log.compact(100_000).expect("compacts");
        }
        drop(finished);
    });
    assert!(seen.load(SeqCst) > 1_000);
}

struct Finished<'a>(&'a AtomicU64);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, SeqCst);
    }
}
