//! A log on real files.

use std::process::Command;
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

/// A small file system of its own; none where mounting is not allowed.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(megabytes: u32) -> Option<Small> {
        let dir = tempfile::tempdir().expect("a directory");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_serves_reads_and_goes_on_with_room() {
    let Some(small) = Small::mount(2) else {
        println!("no small file system can be mounted here");
        return;
    };
    let mut log = open(&small.0.path().join("group"));
    let full = loop {
        let position = log.next();
        match log.append(b"view", &payload(position)) {
            Ok(at) => assert_eq!(at, position),
            Err(refused) => {
                assert_eq!(log.next(), position);
                break refused;
            }
        }
    };
    assert!(matches!(full, LogError::Full(_)), "{full}");
    let end = log.next();
    assert!(end > 2_000);
    assert_eq!(log.sync(), Ok(end), "there is room for what was taken");
    assert_reads(&mut log, end - 500..end);
    assert!(log.append(b"view", &[0; 100_000]).is_err());
    drop(log);
    let mut log = open(&small.0.path().join("group"));
    assert_eq!(log.next(), end, "what was refused is not there");
    assert_reads(&mut log, 1..end);
    // A checkpoint needs some room of its own.
    fs::write(small.0.path().join("other"), b"").expect("an empty file");
    log.release(1..end - 100).expect("released");
    let checkpoint =
        |log: &mut Log<FileDisk>| log.checkpoint_begin(end - 1, b"").and_then(|()| log.checkpoint_finish());
    if let Err(refused) = checkpoint(&mut log) {
        assert!(matches!(refused, LogError::Full(_)), "{refused}");
        log.truncate(end - 200).expect("cut");
        log.release(1..end - 300).expect("released");
        log.checkpoint_begin(end - 201, b"").and_then(|()| log.checkpoint_finish()).expect("room was made");
    }
    while log.compact(1 << 20).expect("compacts") != Compacted::Idle {}
    let next = log.next();
    append(&mut log, 500);
    assert_eq!(log.sync(), Ok(next + 500));
    assert_reads(&mut log, next..next + 500);
}
