//! What a store has stated, and what it has been asked for, when a view begins in the middle of something.

mod bench;

use bench::Bench;
use durable::{Change, ChangeError, CheckpointHead, Event, Mode, Number, Settings, StoreOp};
use wire::{SiteId, StoreId};

const ALL: [u32; 3] = [1, 2, 3];

/// Three stores in an active view, which have applied the client's first request.
fn active() -> Bench {
    let mut bench = Bench::new(3);
    bench.view(&ALL);
    bench.until("it is active", |bench| bench.status(1).committed > 0 && bench.at_rest(&ALL));
    bench.ask(1, 1);
    bench.until("all have it", |bench| ALL.iter().all(|site| bench.hosts[site].applied == [1]));
    bench
}

/// The last part of a checkpoint is written when the next view has begun. What this store is about to state is on no other
/// disk there: it stays.
#[test]
fn a_log_that_is_stated_is_not_shortened_by_a_checkpoint_that_comes_late() {
    // Of which view the checkpoint's entry was cannot be told: this may be another log.
    let bench = late(&[0, 1]);
    assert!(bench.hosts[&2].disk.checkpoint.is_none());
    assert_eq!(bench.hosts[&2].applied, [1, 2, 3]);
}

/// The same checkpoint, of a log that has its entry: it is installed, and what stands behind it stays.
#[test]
fn a_checkpoint_that_comes_late_leaves_what_stands_behind_it_in_the_same_log() {
    let bench = late(&[]);
    let head = bench.hosts[&2].disk.checkpoint.clone().expect("it is installed");
    assert!(
        bench.hosts[&2].disk.log.keys().copied().eq(head.number.position + 1..=bench.status(2).last.position)
    );
    assert_eq!(bench.status(2).floor, None);
}

/// 1 has a checkpoint in the middle of what 2 has acknowledged, at the end of the first view; 2 has a record that cannot be read
/// any more, below that, and these, counted from the checkpoint's position on. Before 2 has installed it 1 is gone.
fn late(damaged: &[i64]) -> Bench {
    let mut bench = active();
    let at = bench.status(1).last;
    bench.view(&ALL);
    bench.until("it is active again", |bench| bench.status(1).committed > at.position && bench.at_rest(&ALL));
    bench.deaf.insert(3);
    (2..=3).for_each(|sequence| bench.ask(1, sequence));
    bench.until("two have them", |bench| {
        [1, 2].iter().all(|site| bench.hosts[site].applied == [1, 2, 3] && bench.at_rest(&[*site]))
    });
    bench.deaf.insert(2);
    bench.ask(1, 4);
    let last = bench.status(2).last;
    bench.until("one has it", |bench| bench.status(1).durable == last.position + 1);
    bench.deaf.clear();
    let configuration = (Number { position: 2, ..at }, bench.status(1).configuration);
    let one = &mut bench.host(1).disk;
    one.log = one.log.split_off(&(at.position + 1));
    one.checkpoint = Some(CheckpointHead { number: at, clock: 0, configuration });
    let two = &mut bench.host(2).disk;
    two.rotten.insert(2);
    two.rotten.extend(damaged.iter().filter_map(|from| at.position.checked_add_signed(*from)));
    ALL.into_iter().for_each(|site| bench.restart(site));
    bench.stalls = Some((2, |op| matches!(op, StoreOp::WriteCheckpoint { .. })));
    bench.view(&[1, 2]);
    bench.until("the checkpoint comes", |bench| bench.slow.contains(&2));
    bench.view(&[2, 3]);
    bench.slow.clear();
    bench.until("they go on", |bench| bench.status(3).committed > last.position && bench.at_rest(&[2, 3]));
    assert_eq!(bench.hosts[&3].applied, [1, 2, 3]);
    bench
}

/// The store whose log is the base lacks what the others have freed. As soon as the view's first entry is committed, others have
/// the base too, and a checkpoint may take the place of this log.
#[test]
fn the_winner_takes_a_checkpoint_when_the_base_is_on_enough_disks() {
    let mut bench = active();
    (2..=4).for_each(|sequence| bench.ask(1, sequence));
    bench.until("all have them", |bench| {
        bench.at_rest(&ALL) && ALL.iter().all(|site| bench.hosts[site].applied == [1, 2, 3, 4])
    });
    let last = bench.status(1).last;
    let at = |position| Number { position, ..last };
    let configuration = (at(2), bench.status(1).configuration);
    for site in [2, 3] {
        let disk = &mut bench.host(site).disk;
        disk.log = disk.log.split_off(&last.position);
        let (number, configuration) = (at(last.position - 1), configuration.clone());
        disk.checkpoint = Some(CheckpointHead { number, clock: 0, configuration });
    }
    bench.host(1).disk.rotten.insert(2);
    ALL.into_iter().for_each(|site| bench.restart(site));
    bench.view(&ALL);
    bench.until("it has caught up", |bench| bench.status(1).applied > last.position && bench.at_rest(&ALL));
    assert_eq!(bench.hosts[&1].disk.checkpoint.as_ref().map(|head| head.number), Some(at(last.position - 1)));
}

/// The place that a change had in the log may be empty for long, so nobody waits for it.
#[test]
fn a_change_that_is_not_in_the_base_is_answered_when_the_view_is_active() {
    let mut bench = active();
    bench.slow.insert(1);
    bench.deaf.extend([2, 3]);
    let now = bench.now;
    let change = Change::Writes { writes: Some(3) };
    bench.host(1).machine.change(now, change).expect("it may be changed");
    let position = bench.status(2).last.position + 1;
    // It is cast, delivered there alone, and so an entry; its configuration waits to be written.
    bench.rounds(10);
    bench.deaf.clear();
    bench.view(&ALL);
    // The others are enough. 1 has not written its promise yet, far less anything of the view's log.
    bench.until("it is answered", |bench| {
        bench.hosts[&1].events.contains(&Event::Changed(Err(ChangeError::NotActive)))
    });
    assert!(bench.slow.contains(&1) && bench.status(1).durable < position);
    bench.slow.clear();
    bench.until("all have the view's log", |bench| bench.at_rest(&ALL));
    let now = bench.now;
    bench.host(1).machine.change(now, change).expect("nothing is under way");
    bench.until("it is in force", |bench| bench.status(3).configuration.writes == Some(3));
}

/// What it has forgotten it has forgotten, also if the others did not wait for its statement and it follows them already.
#[test]
fn a_copy_that_states_late_is_recognised() {
    let mut bench = active();
    let copy = bench.hosts[&3].disk.clone();
    (2..=4).for_each(|sequence| bench.ask(1, sequence));
    bench.until("all have them", |bench| bench.at_rest(&ALL));
    bench.rounds(2);
    bench.start(3, copy);
    bench.slow.insert(3);
    bench.view(&ALL);
    bench.until("it follows", |bench| bench.status(3).mode == Mode::Active);
    bench.slow.clear();
    let told = |bench: &Bench| bench.hosts[&3].events.iter().any(|e| matches!(e, Event::Surpassed { .. }));
    bench.until("it is told", told);
    let here = bench.status(1).present;
    assert!(here.iter().all(|here| here.may_count == (here.site != SiteId(3))));
}

/// It alone has numbered and acknowledged what came when the others had begun to flush, and they have heard of it. It does not
/// get into the next view's log: that is nothing forgotten, whenever it states.
#[test]
fn a_store_that_states_late_has_forgotten_nothing_that_it_has_cut_since() {
    let mut bench = active();
    bench.until("it is quiet", |bench| bench.at_rest(&ALL));
    let now = bench.now;
    [1, 2].into_iter().for_each(|site| bench.host(site).machine.handle_blocked(now));
    bench.ask(3, 2);
    let last = bench.status(1).last;
    let acked = |bench: &Bench, of| {
        let present = bench.status(of).present;
        present.iter().find(|here| here.site == SiteId(3)).map(|here| here.acked)
    };
    bench.until("1 and 2 have heard of it", |bench| {
        [1, 2].iter().all(|of| acked(bench, *of) == Some(last.position + 1))
    });
    bench.slow.insert(3);
    bench.view(&ALL);
    bench.until("it is active without 3", |bench| bench.status(3).mode == Mode::Active);
    bench.rounds(5);
    bench.slow.clear();
    bench.until("all have it, once", |bench| {
        bench.at_rest(&ALL) && bench.hosts.values().all(|host| host.applied == [1, 2])
    });
    assert!(bench.hosts[&3].events.iter().all(|event| !matches!(event, Event::Surpassed { .. })));
}

/// Its configuration was on the disk, as it must be before the entry is, and the entry was not: another has its place. It is no
/// configuration later either, when the log begins behind that place.
#[test]
fn a_change_that_is_in_no_log_is_not_in_force_when_the_log_is_shortened() {
    let mut bench = Bench::new(3);
    bench.settings = Settings { checkpoint_bytes: 1, retain_entries: 0, ..bench.settings.clone() };
    ALL.into_iter().for_each(|site| bench.restart(site));
    bench.takes_checkpoints = true;
    bench.view(&ALL);
    bench.until("it is active", |bench| bench.status(1).committed > 0 && bench.at_rest(&ALL));
    bench.deaf.extend([2, 3]);
    bench.slow.insert(1);
    let now = bench.now;
    let change = Change::Remove { store: StoreId(3) };
    bench.host(1).machine.change(now, change).expect("it may be changed");
    let place = bench.status(1).last.position + 1;
    bench.rounds(10);
    // Its disk does what it was asked for when the next view has begun, and the others are enough for that.
    bench.deaf.clear();
    bench.view(&ALL);
    bench.slow.clear();
    bench.until("it is active again", |bench| bench.status(1).committed >= place && bench.at_rest(&ALL));
    (1..=4).for_each(|sequence| bench.ask(2, sequence));
    bench.until("all is applied", |bench| bench.hosts[&1].applied == [1, 2, 3, 4] && bench.at_rest(&ALL));
    bench.until("there is a checkpoint behind it", |bench| {
        bench.hosts[&1].taken.iter().filter(|taken| **taken > place).count() > 1
    });
    // 1 alone would think that two stores count, and be one of them.
    bench.view(&[1, 2]);
    bench.until("they go on", |bench| bench.status(1).mode == Mode::Active && bench.at_rest(&[1, 2]));
    assert_eq!(bench.status(1).configuration.stores.len(), 3);
    assert_eq!(bench.status(2).configuration.stores.len(), 3);
}
