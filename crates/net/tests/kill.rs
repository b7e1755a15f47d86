//! A process that is killed with SIGKILL while it stores loses nothing that it was told is stored.

#![allow(clippy::disallowed_methods, reason = "tests have a clock")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use net::{Disk, Input, Metrics};

const CHILD: &str = "UNANIMOUS_TEST_KILLED_DIR";
const TEST: &str = "what_was_stored_before_a_kill_is_there_after_it";
const KILLS: u64 = 8;

#[test]
fn what_was_stored_before_a_kill_is_there_after_it() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return store_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut reported = 0;
    for life in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([TEST, "--exact"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut tickets = output.lines().map_while(Result::ok).filter_map(ticket);
        // Each life is killed after another number of records, at whatever step the next one is.
        reported = tickets.nth(life as usize * 3).expect("it stores");
        child.kill().expect("killed");
        reported = tickets.last().unwrap_or(reported);
        child.wait().expect("dead");
    }
    let (sender, _inputs) = net::inputs();
    let (_disk, opened) = Disk::open(dir.path(), sender, Arc::new(Metrics::default())).expect("opens");
    assert_eq!(opened.incarnation.0, KILLS + 1);
    assert!(opened.mended.is_empty(), "a kill damages nothing");
    let record = opened.record.expect("a record");
    let found = u64::from_le_bytes(record[..8].try_into().expect("a number"));
    assert!(found >= reported, "{found} is on the disk, {reported} was reported");
    assert!(record[8..].iter().all(|byte| *byte == found as u8), "the record is whole");
}

fn ticket(line: String) -> Option<u64> {
    line.strip_prefix("stored ")?.parse().ok()
}

fn store_for_ever(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (sender, mut inputs) = net::inputs();
    let (disk, opened) = Disk::open(dir, sender, Arc::new(Metrics::default())).expect("opens");
    let first =
        opened.record.map_or(1, |record| u64::from_le_bytes(record[..8].try_into().expect("a number")) + 1);
    for number in first.. {
        let mut record = number.to_le_bytes().to_vec();
        record.resize(20_000, number as u8);
        disk.store(number, record);
        let stored = runtime.block_on(inputs.recv());
        assert!(matches!(stored, Some(Input::Stored(ticket)) if ticket == number));
        // Straight to the pipe: the test harness would keep what is printed. The parent's end may be gone.
        let line = format!("stored {number}\n");
        if std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()).is_err() {
            return;
        }
    }
}
