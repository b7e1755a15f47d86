//! What the disk must keep: through a crash at every step, a damaged copy, a full disk, and a second process.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::input::{Inputs, inputs};

fn open(dir: &Path) -> Result<(Disk, Opened, Inputs), DiskError> {
    let (sender, receiver) = inputs();
    let (disk, opened) = Disk::open(dir, sender, Arc::default())?;
    Ok((disk, opened, receiver))
}

fn stored(inputs: &mut Inputs) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let next = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), inputs.recv()).await });
    match next.expect("in time").expect("the thread runs") {
        Input::Stored(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn store(dir: &Path, records: &[&[u8]]) -> Opened {
    let (disk, opened, mut inputs) = open(dir).expect("opens");
    for (ticket, record) in records.iter().enumerate() {
        disk.store(ticket as u64, record.to_vec());
        assert_eq!(stored(&mut inputs), ticket as u64);
    }
    opened
}

#[test]
fn a_record_and_the_store_survive_and_the_incarnation_rises() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = store(dir.path(), &[b"one", b"two"]);
    assert_eq!((first.incarnation, first.record), (Incarnation(1), None));
    let second = store(dir.path(), &[]);
    assert_eq!((second.incarnation, second.record.as_deref()), (Incarnation(2), Some(&b"two"[..])));
    assert_eq!(first.store, second.store);
    assert!(second.mended.is_empty());
}

#[test]
fn a_second_process_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (disk, _, _inputs) = open(dir.path()).expect("opens");
    assert!(matches!(open(dir.path()), Err(DiskError::Locked(_))));
    drop(disk);
    assert_eq!(open(dir.path()).expect("opens again").1.incarnation, Incarnation(2));
}

#[test]
fn either_copy_may_be_torn_and_the_last_record_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    store(dir.path(), &[b"older", b"the last record"]);
    let whole = fs::read(dir.path().join("record-0")).expect("the copy");
    for copy in 0..COPIES {
        for length in [0, 7, 8, 20, 24, 30, whole.len() - 32, whole.len() - 1] {
            let path = dir.path().join(format!("record-{copy}"));
            let file = OpenOptions::new().write(true).open(&path).expect("the copy");
            file.set_len(length as u64).expect("torn");
            let (_, content, mended) = Replaced::open(dir.path(), "record").expect("the other copy is whole");
            assert_eq!(content.as_deref(), Some(&b"the last record"[..]));
            assert_eq!(mended, [path]);
        }
    }
    assert!(store(dir.path(), &[]).mended.is_empty());
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = encode_copy(9, b"content");
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_copy(&bytes), None);
    }
    assert_eq!(decode_copy(&bytes), Some((9, &b"content"[..])));
}

#[test]
fn two_damaged_copies_are_never_taken_for_an_empty_store() {
    for name in ["record", "identity"] {
        let dir = tempfile::tempdir().expect("a directory");
        store(dir.path(), &[b"promise"]);
        for copy in 0..COPIES {
            fs::write(dir.path().join(format!("{name}-{copy}")), b"rot").expect("damaged");
        }
        assert!(matches!(open(dir.path()), Err(DiskError::Damaged(_))));
    }
}

#[test]
fn a_record_without_its_identity_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    store(dir.path(), &[b"promise"]);
    for copy in 0..COPIES {
        fs::remove_file(dir.path().join(format!("identity-{copy}"))).expect("removed");
    }
    assert!(matches!(open(dir.path()), Err(DiskError::Damaged(_))));
}

#[test]
fn a_crash_at_any_step_leaves_the_old_record_or_the_new_one() {
    for crash_at in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut record, _, _) = Replaced::open(dir.path(), "record").expect("opens");
        record.replace(b"old").expect("stored");
        let steps = AtomicUsize::new(0);
        record.fail = Some(Box::new(move |_| {
            let crashed = steps.fetch_add(1, SeqCst) >= crash_at;
            if crashed { Err(io::Error::other("power cut")) } else { Ok(()) }
        }));
        let done = record.replace(b"new").is_ok();
        // What was being written beside may be torn in any way.
        for copy in 0..COPIES {
            let temporary = record.temporary(copy);
            if temporary.exists() {
                fs::write(temporary, b"torn").expect("torn");
            }
        }
        let (_, content, mended) = Replaced::open(dir.path(), "record").expect("one copy is whole");
        let content = content.expect("a record");
        assert!(content == b"new" || (!done && content == b"old"), "crash at step {crash_at}");
        assert!(mended.is_empty());
        if done {
            assert_eq!(crash_at, 7, "two writes with their syncs, two renames, the directory");
            break;
        }
    }
}

#[test]
fn a_full_disk_is_said_once_and_left_behind_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut record, _, _) = Replaced::open(dir.path(), "record").expect("opens");
    let writes = AtomicUsize::new(0);
    record.fail = Some(Box::new(move |step| match step {
        Step::Write if writes.fetch_add(1, SeqCst) < 2 => Err(io::ErrorKind::StorageFull.into()),
        Step::Write | Step::Sync | Step::Rename | Step::SyncDir => Ok(()),
    }));
    let said = run(record, dir.path(), &[(1, b"a"), (2, b"b")]);
    assert!(
        matches!(&said[..], [Input::Disk(DiskError::Full(_)), Input::Stored(1), Input::Stored(2)]),
        "{said:?}"
    );
    let (_, content, _) = Replaced::open(dir.path(), "record").expect("opens");
    assert_eq!(content.as_deref(), Some(&b"b"[..]));
}

#[test]
fn a_failed_sync_is_fatal_and_nothing_is_reported_stored() {
    for failing in [Step::Sync, Step::SyncDir] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut record, _, _) = Replaced::open(dir.path(), "record").expect("opens");
        record.fail = Some(Box::new(move |step| match step == failing {
            true => Err(io::Error::other("the disk is gone")),
            false => Ok(()),
        }));
        let said = run(record, dir.path(), &[(1, b"a")]);
        let [Input::Disk(error)] = &said[..] else { panic!("{said:?}") };
        assert!(error.is_fatal());
    }
}

/// Runs the thread's work here, over requests that are all queued and a site that keeps its end open for one
/// retry of a full disk.
fn run(record: Replaced, dir: &Path, requests: &[(u64, &[u8])]) -> Vec<Input> {
    let (sender, queue) = channel();
    let (inputs_sender, mut inputs) = inputs();
    for (ticket, record) in requests {
        sender.send(Request { ticket: *ticket, record: record.to_vec() }).expect("queued");
    }
    let writer = Writer {
        record,
        queue,
        inputs: inputs_sender,
        metrics: Arc::default(),
        _lock: lock(dir).expect("the lock"),
    };
    let thread = thread::spawn(move || writer.run());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut said = Vec::new();
    loop {
        let next = async { tokio::time::timeout(Duration::from_secs(10), inputs.recv()).await };
        let Some(input) = runtime.block_on(next).expect("in time") else { break };
        let last = matches!(&input, Input::Stored(ticket) if *ticket == requests[requests.len() - 1].0);
        said.push(input);
        if last {
            break;
        }
    }
    drop(sender);
    thread.join().expect("the thread ends");
    said
}
