//! What the simulated disk does to files.

use super::*;

#[test]
fn what_is_synced_survives_and_the_rest_may_in_part() {
    let (mut whole, mut none, mut torn, mut nameless) = (0, 0, 0, 0);
    for seed in 0..200 {
        let disk = SimDisk::new(seed, Faults::default());
        disk.create("kept").and_then(|()| disk.write_at("kept", 0, &[1; 4096])).expect("works");
        disk.sync("kept").and_then(|()| disk.sync_dir()).expect("works");
        disk.write_at("kept", 4096, &[2; 4096]).expect("works");
        disk.create("new").and_then(|()| disk.write_at("new", 0, &[3; 512])).expect("works");
        disk.crash();
        let kept = disk.contents("kept").expect("its name was synced");
        assert_eq!(kept[..4096], [1; 4096]);
        match kept[4096..].iter().filter(|byte| **byte == 2).count() {
            4096 => whole += 1,
            0 => none += 1,
            _ => torn += 1,
        }
        nameless += usize::from(disk.contents("new").is_none());
    }
    assert!(whole > 20 && none > 20 && torn > 20 && (20..180).contains(&nameless));
}

#[test]
fn after_a_failed_sync_a_later_one_says_yes_and_the_bytes_are_gone() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed, Faults::default());
        disk.create("file").and_then(|()| disk.sync_dir()).expect("works");
        disk.write_at("file", 0, &[1; 4096]).expect("works");
        disk.fail_sync_in(1);
        assert!(disk.sync("file").is_err());
        assert_eq!(disk.contents("file").as_deref(), Some(&[1; 4096][..]));
        disk.sync("file").expect("as if nothing had happened");
        disk.crash();
        lost += usize::from(disk.contents("file").is_none_or(|bytes| bytes != [1; 4096]));
    }
    assert!(lost > 40);
}

#[test]
fn a_full_disk_takes_the_beginning() {
    let disk = SimDisk::new(1, Faults { capacity: 2048, ..Faults::default() });
    disk.create("file").expect("works");
    assert_eq!(disk.write_at("file", 0, &[1; 4096]), Err(DiskError::Full("file".to_owned())));
    assert_eq!(disk.contents("file").expect("is there").len(), 2048);
    disk.write_at("file", 0, &[2; 2048]).expect("no more room is needed");
    assert!(disk.allocate("file", 2049).is_err() && disk.create("other").is_err());
}

#[test]
fn calls_take_time_and_some_take_long_and_one_seed_is_one_history() {
    let history = |seed| {
        let disk =
            SimDisk::new(seed, Faults { slow_calls: 10_000, sync_errors: 20_000, ..Faults::default() });
        disk.create("file").expect("works");
        let mut history = Vec::new();
        for _ in 0..500 {
            disk.write_at("file", 0, &[1; 100]).expect("works");
            history.push((disk.sync("file").is_ok(), disk.take_elapsed()));
        }
        history
    };
    let once = history(4);
    assert_eq!(once, history(4));
    assert_ne!(once, history(5));
    let failed = once.iter().filter(|(synced, _)| !synced).count();
    let slow = once.iter().filter(|(_, took)| *took >= Duration::from_millis(500)).count();
    assert!((1..50).contains(&failed) && (1..50).contains(&slow));
    assert!(once.iter().all(|(_, took)| *took > Duration::from_micros(500)));
}

#[test]
fn a_process_that_ends_takes_nothing_with_it() {
    let disk = SimDisk::new(1, Faults::default());
    disk.create("file").and_then(|()| disk.write_at("file", 0, &[1; 1000])).expect("works");
    disk.crash_in(1);
    assert!(disk.sync("file").is_err() && disk.list().is_err());
    disk.restart();
    assert_eq!(disk.contents("file").as_deref(), Some(&[1; 1000][..]));
}

#[test]
fn a_name_that_was_given_and_taken_again_may_come_back_with_its_file() {
    let mut back = 0;
    for seed in 0..100 {
        let disk = SimDisk::new(seed, Faults::default());
        disk.create("file").and_then(|()| disk.write_at("file", 0, &[1; 10])).expect("works");
        disk.remove("file").expect("works");
        disk.fail_sync_in(1);
        assert!(disk.sync_dir().is_err());
        disk.crash();
        back += disk.list().expect("whatever it has").len();
    }
    assert!((1..100).contains(&back));
}

#[test]
fn a_copy_has_what_was_synced_and_is_another_disk() {
    let disk = SimDisk::new(1, Faults::default());
    disk.create("file").and_then(|()| disk.write_at("file", 0, &[1; 10])).expect("works");
    disk.sync("file").and_then(|()| disk.sync_dir()).expect("works");
    disk.write_at("file", 0, &[2; 20]).and_then(|()| disk.create("other")).expect("works");
    let copy = disk.copy(2, Faults::default());
    assert_eq!(copy.list(), Ok(vec![("file".to_owned(), 10)]));
    copy.write_at("file", 0, &[3; 10]).expect("works");
    assert_eq!((disk.contents("file"), copy.contents("file")), (Some(vec![2; 20]), Some(vec![3; 10])));
}
