//! One copy of the metadata is whole on the disk at every moment, whatever syncs fail and however often the process is
//! started again with the machine's memory intact.

use wal::sim::{Faults, SimDisk};
use wal::{Config, Log};

const ID: u64 = 77;
const ENTRIES: u64 = 30;

fn config() -> Config {
    Config { segment_bytes: 400, allocate_bytes: 1 << 10, buffer_bytes: 1 << 10, ..Config::new(ID) }
}

fn grown(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed, Faults::default());
    let (mut log, _) = Log::open(disk.clone(), config()).expect("a new log");
    log.set_metadata(b"one").expect("stores");
    for _ in 0..ENTRIES {
        log.append(b"", &[7; 60]).expect("appends");
    }
    log.sync().expect("syncs");
    disk
}

/// Opens it with the sync this many calls away failing; whether it opened all the same.
fn opens(disk: &SimDisk, failing: u64) -> bool {
    disk.fail_sync_in(failing);
    let opened = Log::open(disk.clone(), config()).is_ok();
    disk.restart();
    opened
}

#[test]
fn three_failed_syncs_in_three_lives_leave_a_copy_of_the_metadata() {
    let mut failed = [0; 3];
    for seed in 0..3_000u64 {
        let disk = grown(seed);
        let (mut log, _) = Log::open(disk.clone(), config()).expect("opens");
        disk.fail_sync_in(1 + seed % 5);
        let cut = if seed % 2 == 0 { log.set_metadata(b"two") } else { log.truncate(ENTRIES / 2) };
        failed[0] += usize::from(cut.is_err());
        drop(log);
        disk.restart();
        failed[1] += usize::from(!opens(&disk, 1 + seed / 5 % 60));
        failed[2] += usize::from(!opens(&disk, 1 + seed / 7 % 60));
        disk.crash();
        let (log, _) = Log::open(disk, config()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!([&b"one"[..], b"two"].contains(&log.metadata()), "seed {seed}");
        assert!([ENTRIES + 1, ENTRIES / 2].contains(&log.next()), "seed {seed}: {}", log.next());
        assert_eq!(log.damaged().count(), 0, "seed {seed}");
    }
    assert!(failed.iter().all(|failed| *failed > 300), "{failed:?}");
}

#[test]
fn a_log_that_was_being_made_can_be_made_after_failed_syncs() {
    for seed in 0..400u64 {
        let disk = SimDisk::new(seed, Faults::default());
        opens(&disk, 1 + seed % 8);
        opens(&disk, 1 + seed / 8 % 12);
        disk.crash();
        let (log, _) = Log::open(disk, config()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(log.metadata().is_empty() && log.next() == 1);
    }
}
