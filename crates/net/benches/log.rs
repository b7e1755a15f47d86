//! The log on the real disk: entries a second into the page cache, made durable in groups, and read back.
//!
//! `cargo bench -p unanimous-net --bench log [DIR]`: everything, in a directory that is made and removed in DIR
//! (default: the target directory).
//! `cargo bench -p unanimous-net --bench log -- start GIB [DIR]`: how long a log of so many GiB takes to open, with
//! an open segment that is full, and what memory that takes.

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use net::FileDisk;
use wal::{Config, Disk, Item, Log};

/// At least so long, or so many bytes, for one line.
const SECONDS: f64 = 2.0;
const BYTES_MAX: u64 = 1 << 30;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    match &arguments[..] {
        [start, gib, rest @ ..] if start == "start" => {
            start_up(&base(rest.first()), gib.parse().expect("a number of GiB"));
        }
        rest => {
            let base = base(rest.first());
            for bytes in [128, 1024, 16 << 10] {
                append(&base, bytes);
            }
            for bytes in [128, 1024, 16 << 10] {
                bare_sync(&base, bytes);
                for group in [1, 16, 64, 512] {
                    groups(&base, bytes, group);
                }
            }
            read(&base, 1024);
        }
    }
}

fn base(asked: Option<&String>) -> PathBuf {
    asked.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
}

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(base: &Path) -> Scratch {
        let dir = base.join(format!("log-bench-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Scratch(dir)
    }

    fn log(&self) -> Log<FileDisk> {
        Log::open(FileDisk::open(&self.0).expect("a directory"), Config::new(1)).expect("opens").0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn line(what: &str, bytes: usize, count: u64, seconds: f64) {
    let (rate, megabytes) = (count as f64 / seconds, (count * bytes as u64) as f64 / seconds / 1e6);
    println!("{what:34} {bytes:6} B {rate:11.0} entries/s {megabytes:8.1} MB/s");
}

/// Encoding, checksums and writes; the only syncs are those of closing a segment.
fn append(base: &Path, bytes: usize) {
    let scratch = Scratch::new(base);
    let mut log = scratch.log();
    let payload = vec![7; bytes];
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed().as_secs_f64() < SECONDS && count * (bytes as u64) < BYTES_MAX {
        for _ in 0..64 {
            log.append(b"view of 24 bytes or more", &payload).expect("appended");
        }
        count += 64;
    }
    log.write().expect("written");
    line("append", bytes, count, begin.elapsed().as_secs_f64());
}

/// What the disk allows: one write and one fdatasync each, in a file of reserved room.
fn bare_sync(base: &Path, bytes: usize) {
    let scratch = Scratch::new(base);
    let disk = FileDisk::open(&scratch.0).expect("a directory");
    disk.create("bare").and_then(|()| disk.allocate("bare", 64 << 20)).expect("made");
    let payload = vec![7; bytes];
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed().as_secs_f64() < SECONDS {
        disk.write_at("bare", count * bytes as u64, &payload).expect("written");
        disk.sync("bare").expect("synced");
        count += 1;
    }
    line("bare write and fdatasync", bytes, count, begin.elapsed().as_secs_f64());
}

fn groups(base: &Path, bytes: usize, group: u64) {
    let scratch = Scratch::new(base);
    let mut log = scratch.log();
    let payload = vec![7; bytes];
    log.append(b"", &payload).expect("appended");
    log.sync().expect("synced");
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed().as_secs_f64() < SECONDS && count * (bytes as u64) < BYTES_MAX {
        for _ in 0..group {
            log.append(b"view of 24 bytes or more", &payload).expect("appended");
        }
        log.sync().expect("synced");
        count += group;
    }
    line(&format!("groups of {group}, one fdatasync each"), bytes, count, begin.elapsed().as_secs_f64());
}

fn read(base: &Path, bytes: usize) {
    let scratch = Scratch::new(base);
    let mut log = scratch.log();
    let payload = vec![7; bytes];
    let entries = (256 << 20) / bytes as u64;
    for _ in 0..entries {
        log.append(b"view of 24 bytes or more", &payload).expect("appended");
    }
    log.sync().expect("synced");
    let reader = log.reader();
    let begin = Instant::now();
    let (mut at, mut count) = (1, 0);
    while at < log.next() {
        at = reader
            .range(at, log.next(), 1 << 20, &mut |item| count += u64::from(matches!(item, Item::Entry(_))))
            .expect("reads");
    }
    line("read in order, from the page cache", bytes, count, begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let (mut position, mut count) = (1, 0);
    while begin.elapsed().as_secs_f64() < SECONDS {
        position = (position * 1_664_525 + 1_013_904_223) % entries;
        assert!(reader.read(position + 1).expect("reads").is_some());
        count += 1;
    }
    line("read at random, from the page cache", bytes, count, begin.elapsed().as_secs_f64());
}

/// The peak of this process's resident memory since the last reset, in MiB.
fn peak_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn start_up(base: &Path, gib: u64) {
    let scratch = Scratch::new(base);
    let mut log = scratch.log();
    let payload = vec![7; 1024];
    let begin = Instant::now();
    while log.next() * 1024 < gib << 30 {
        log.append(b"view of 24 bytes or more", &payload).expect("appended");
    }
    // A crash leaves the open segment as long as can be.
    let files = || log_files(&scratch.0);
    let segments = files();
    while files() == segments {
        log.append(b"view of 24 bytes or more", &payload).expect("appended");
        log.write().expect("written");
    }
    for _ in 0..58_000 {
        log.append(b"view of 24 bytes or more", &payload).expect("appended");
    }
    let next = log.sync().expect("synced");
    println!("{} entries in {} files, written in {:.0} s", next - 1, files(), begin.elapsed().as_secs_f64());
    drop(log);
    for cached in [true, false] {
        if !cached {
            // Needs the right to; without it the second line is like the first.
            let _ = fs::write("/proc/sys/vm/drop_caches", "3");
        }
        let _ = fs::write("/proc/self/clear_refs", "5");
        let before = peak_memory();
        let begin = Instant::now();
        let log = scratch.log();
        let took = begin.elapsed().as_secs_f64();
        assert_eq!(log.next(), next);
        let (what, more) = (if cached { "cached" } else { "cold" }, peak_memory() - before);
        println!("opened ({what}) in {took:.3} s; {more:.1} MiB of memory more at the peak");
    }
}

fn log_files(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, |files| files.count())
}
