//! A durable group's disk alone: what comes back after crashes, damage and a full disk.

use bytes::Bytes;
use durable::{
    Body, ClientId, Configuration, Done, Durable, Entry, Life, Locator, Number, Record, Request, Settings,
    StoreOp, Token,
};
use stack::store::{DiskStore, Opened, Who};
use wal::Disk;
use wal::sim::{Faults, SimDisk};
use wire::{Incarnation, SiteId, StoreId, ViewId};

const META: Token = Token(1);

fn open(disk: &SimDisk) -> (DiskStore<SimDisk>, Durable) {
    open_with(disk, 1_500, &mut |_, _| {})
}

fn open_with(
    disk: &SimDisk,
    segment_bytes: u64,
    take: &mut dyn FnMut(&Locator, &[u8]),
) -> (DiskStore<SimDisk>, Durable) {
    let config = wal::Config { segment_bytes, allocate_bytes: 512, index_bytes: 256, ..wal::Config::new(7) };
    let founders = Some(Configuration::majority([(StoreId(7), SiteId(1))]));
    let life = Life { incarnation: Incarnation(1), nonce: 1 };
    let who = Who { site: SiteId(1), store: StoreId(7), life, founders };
    let Opened { store, machine } =
        DiskStore::open_with(disk.clone(), config, Settings::default(), who, take).expect("it can be opened");
    (store, machine)
}

fn number(position: u64) -> Number {
    Number { view: ViewId { epoch: 1, ..ViewId::default() }, position }
}

fn record(position: u64) -> Record {
    let payload = Bytes::from(vec![position as u8; 700]);
    let request = Request { client: ClientId([1; 16]), sequence: position, answered: 0, payload };
    let entry = Entry { number: number(position), time: 0, body: Body::Request(request) };
    Record { position, bytes: entry.to_record() }
}

fn append(token: u64, positions: std::ops::RangeInclusive<u64>) -> StoreOp {
    StoreOp::Append { token: Token(token), records: positions.map(record).collect() }
}

/// A meta record as a machine writes it: without one a log cannot be opened.
fn meta(disk: &SimDisk) {
    let (mut store, mut machine) = open(disk);
    let view = durable::View { id: number(0).view, primary: true, sites: vec![SiteId(1)] };
    machine.handle_view(wire::Time::ZERO, view);
    let op = machine.poll_store().expect("it promises");
    assert_eq!(store.work([op]), [Done::Stored(META)]);
}

#[test]
fn what_was_stored_is_there_after_a_crash_and_nothing_of_what_was_refused() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed, Faults::default());
        meta(&disk);
        let (mut store, _) = open(&disk);
        let done =
            store.work([append(2, 1..=2), append(3, 3..=3), StoreOp::Cut { token: Token(4), from: 3 }]);
        assert_eq!(done, [Token(2), Token(3), Token(4)].map(Done::Stored));
        let used: u64 = disk.list().expect("a directory").iter().map(|(_, bytes)| bytes).sum();
        disk.set_faults(Faults { capacity: used + 600, ..Faults::default() });
        // The first finds no room; the second would leave a gap.
        assert_eq!(store.work([append(5, 3..=6), append(6, 7..=7)]), [Token(5), Token(6)].map(Done::Full));
        disk.crash();
        disk.set_faults(Faults::default());
        let (mut store, machine) = open(&disk);
        assert_eq!(machine.status().last, number(2));
        let read =
            store.work([StoreOp::Read { token: Token(7), from: 1, to: 2, bytes_max: 9_999, once: false }]);
        assert_eq!(read, [Done::Read(Token(7), vec![record(1), record(2)])]);
    }
}

#[test]
fn damage_is_torn_or_unknown_by_what_was_synced() {
    // Of five entries that were written and not synced a crash keeps any part: none of them is called damaged.
    for seed in 0..200 {
        let disk = SimDisk::new(seed, Faults::default());
        meta(&disk);
        let (mut store, _) = open(&disk);
        assert_eq!(store.work([append(2, 1..=1)]), [Done::Stored(Token(2))]);
        disk.crash_in(1 + seed % 5);
        store.work([append(3, 2..=6)]);
        disk.crash();
        let (_, machine) = open(&disk);
        let status = machine.status();
        assert!(status.damaged.is_empty() && status.floor.is_none(), "seed {seed}: {status:?}");
        assert!((1..=6).contains(&status.last.position));
    }
    // One that was synced, with others behind it, is.
    let disk = SimDisk::new(1, Faults::default());
    meta(&disk);
    let (mut store, _) = open(&disk);
    for position in 1..=6 {
        store.work([append(position, position..=position)]);
    }
    let mut files: Vec<_> = disk.list().expect("a directory");
    files.sort();
    let (first, _) = files.iter().find(|(name, _)| name.ends_with(".seg")).expect("a segment");
    assert!(disk.rot(first, 400, 1));
    disk.crash();
    let (_, machine) = open(&disk);
    assert_eq!((machine.status().damaged, machine.status().last), (vec![1], number(6)));
}

#[test]
fn a_received_checkpoint_takes_the_place_of_the_log_and_what_follows_is_kept() {
    let parts = |n: u8| -> Vec<(Locator, Bytes)> {
        let window = (Locator::default(), Bytes::from_static(&[0x82, 0, 0x80]));
        vec![window, (Locator { domain: 1, key: Vec::new() }, vec![n; 5_000].into())]
    };
    let head = durable::CheckpointHead {
        number: Number { view: ViewId { epoch: 2, ..ViewId::default() }, position: 3 },
        clock: 9,
        configuration: Default::default(),
    };
    for seed in 0..40 {
        let disk = SimDisk::new(seed, Faults::default());
        meta(&disk);
        let (mut store, _) = open(&disk);
        store.work([append(2, 1..=5)]);
        let mut ops: Vec<StoreOp> = parts(4)
            .into_iter()
            .zip(10..)
            .map(|((at, bytes), token)| StoreOp::WriteCheckpoint {
                token: Token(token),
                number: head.number,
                at,
                bytes,
            })
            .collect();
        ops.push(StoreOp::InstallCheckpoint { token: Token(20), head: head.clone(), keep: false });
        assert!(matches!(&store.work(ops)[2], Done::Installed(Token(20), _)));
        let mut next = record(4);
        next.bytes =
            Entry { number: Number { position: 4, ..head.number }, time: 0, body: Body::Mark }.to_record();
        store.work([StoreOp::Append { token: Token(21), records: vec![next] }]);
        disk.crash();
        let (store, machine) = open(&disk);
        let status = machine.status();
        // The entry at 3 was another one: what is left of the old log is not told.
        assert_eq!((status.last.position, status.applied), (4, 3));
        let mut state = Vec::new();
        store.state(&mut |_, part| state.extend_from_slice(part)).expect("it can be read");
        assert_eq!(state, vec![4; 5_000]);
    }
}

#[test]
fn what_a_log_has_behind_a_received_checkpoint_of_the_same_log_stays() {
    let disk = SimDisk::new(1, Faults::default());
    meta(&disk);
    let (mut store, _) = open(&disk);
    store.work([append(2, 1..=5)]);
    let entry = Entry::from_record(record(3).bytes).expect("an entry");
    let head = durable::CheckpointHead { number: entry.number, ..Default::default() };
    let part = StoreOp::WriteCheckpoint {
        token: Token(3),
        number: head.number,
        at: Locator::default(),
        bytes: Bytes::from_static(&[0x82, 0, 0x80]),
    };
    let done = store.work([part, StoreOp::InstallCheckpoint { token: Token(4), head, keep: true }]);
    assert!(matches!(&done[1], Done::Installed(Token(4), _)), "{done:?}");
    store.work([append(5, 6..=7)]);
    disk.crash();
    let (store, machine) = open(&disk);
    let status = machine.status();
    assert_eq!((status.last.position, status.applied, store.first()), (7, 3, 4));
}

/// A store that had so many entries, received a checkpoint at position 3 of another view, wrote two entries behind it and
/// took a checkpoint at the first. What it states when it is opened again.
fn statement_after(had: u64) -> Bytes {
    let view = ViewId { epoch: 2, ..ViewId::default() };
    let at = |position| durable::CheckpointHead { number: Number { view, position }, ..Default::default() };
    let window = Bytes::from_static(&[0x82, 0, 0x80]);
    let disk = SimDisk::new(1, Faults::default());
    meta(&disk);
    let (mut store, _) = open(&disk);
    store.work([StoreOp::Append { token: Token(2), records: (1..=had).map(record).collect() }]);
    let part = StoreOp::WriteCheckpoint {
        token: Token(3),
        number: at(3).number,
        at: Locator::default(),
        bytes: window.clone(),
    };
    let done = store.work([part, StoreOp::InstallCheckpoint { token: Token(4), head: at(3), keep: false }]);
    assert!(matches!(&done[1], Done::Installed(Token(4), _)), "{done:?}");
    store.take(at(2), &window, Box::new(std::iter::empty()));
    assert_eq!(
        store.take_some(u64::MAX),
        Some(Done::NotTaken(at(2).number)),
        "one of more was received meanwhile"
    );
    let mark = |position| Entry { number: at(position).number, time: 0, body: Body::Mark }.to_record();
    let records = (4..=5).map(|position| Record { position, bytes: mark(position) }).collect();
    store.work([StoreOp::Append { token: Token(5), records }]);
    store.take(at(4), &window, Box::new(std::iter::empty()));
    let done = store.take_some(u64::MAX);
    assert!(
        matches!(done, Some(Done::Taken(number, bytes)) if number == at(4).number && bytes > 0),
        "{done:?}"
    );
    assert!(!store.is_taking());
    disk.crash();
    let (mut store, mut machine) = open(&disk);
    let next = ViewId { epoch: 3, ..ViewId::default() };
    machine.handle_view(wire::Time::ZERO, durable::View { id: next, primary: true, sites: vec![SiteId(1)] });
    while let Some(op) = machine.poll_store() {
        store.work([op]).into_iter().for_each(|done| machine.handle_done(wire::Time::ZERO, done));
    }
    machine.poll_cast().expect("it states")
}

#[test]
fn what_a_received_checkpoint_has_replaced_stays_so_when_the_next_is_taken() {
    assert_eq!(statement_after(5), statement_after(0));
}

#[test]
fn a_start_reads_the_checkpoint_and_the_open_segment_and_of_the_others_the_ends() {
    const SEGMENT: u64 = 8_000;
    let head = durable::CheckpointHead { number: number(22), ..Default::default() };
    let window = Bytes::from_static(&[0x82, 0, 0x80]);
    let disk = SimDisk::new(1, Faults::default());
    meta(&disk);
    let (mut store, _) = open_with(&disk, SEGMENT, &mut |_, _| {});
    // Each proves that the one before was synced.
    (1..=30).for_each(|position| drop(store.work([append(2, position..=position)])));
    let parts = [1, 2].map(|n| (Locator { domain: n, key: Vec::new() }, Bytes::from(vec![n as u8; 300])));
    store.take(head, &window, Box::new(parts.into_iter()));
    assert!(matches!(store.take_some(u64::MAX), Some(Done::Taken(at, _)) if at == number(22)));
    drop(store);
    // Each entry in turn is damaged.
    let mut said = Vec::new();
    for damaged in 1..=30 {
        let disk = disk.copy(damaged, Faults::default());
        let payload = vec![damaged as u8; 700];
        let place = disk.list().expect("a directory").into_iter().find_map(|(name, _)| {
            let contents = disk.contents(&name)?;
            Some((name, contents.windows(700).position(|bytes| bytes == payload)?))
        });
        let (name, offset) = place.expect("it is somewhere");
        assert!(disk.rot(&name, offset as u64 + 9, 1));
        let mut state = Vec::new();
        let (mut store, machine) =
            open_with(&disk, SEGMENT, &mut |at, part| state.push((at.domain, part.len())));
        assert_eq!(state, [(1, 300), (2, 300)]);
        let status = machine.status();
        let expected = if damaged == 30 { 29 } else { 30 };
        assert_eq!((status.last, status.applied), (number(expected), 22), "{damaged}");
        // Damage in the open segment, and at the ends of others, is known at once; that between them is found when it is read.
        said.push((damaged, status.damaged));
        let op = StoreOp::Read { token: Token(3), from: damaged, to: damaged, bytes_max: 1, once: false };
        assert_eq!(store.work([op]), [Done::Read(Token(3), Vec::new())]);
    }
    let listed = |(position, damaged): &(u64, Vec<u64>)| *damaged == vec![*position];
    assert_eq!(
        said.iter().filter(|said| listed(said)).map(|(position, _)| *position).collect::<Vec<_>>(),
        [27, 28, 29],
        "the last of a closed segment, and the open one; 30 is torn"
    );
    assert!(said.iter().all(|said| listed(said) || said.1.is_empty()));
}
