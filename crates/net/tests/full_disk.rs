//! A log on a disk that is full: a small file system of its own, which wants root. Not among the unit tests, since a process
//! that is begun holds for a moment what the others have locked; and with a `main` of its own, which says what was skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use net::FileDisk;
use wal::{Compacted, Config, Log, LogError};

fn main() {
    let Some(small) = Small::mount(2) else {
        let may_skip = std::env::var("UNANIMOUS_TESTS_MAY_SKIP").map_or(true, |value| value != "0");
        assert!(may_skip, "a small file system could not be mounted, and nothing may be skipped");
        println!("full disk: 0 passed, 1 skipped: mounting a small file system wants root");
        return;
    };
    a_full_disk_refuses_serves_reads_and_goes_on_with_room(&small.0.path().join("group"));
    println!("full disk: 1 passed, 0 skipped");
}

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

fn a_full_disk_refuses_serves_reads_and_goes_on_with_room(group: &Path) {
    let mut log = open(group);
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
    let mut log = open(group);
    assert_eq!(log.next(), end, "what was refused is not there");
    assert_reads(&mut log, 1..end);
    // A checkpoint needs some room of its own.
    fs::write(group.with_file_name("other"), b"").expect("an empty file");
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
