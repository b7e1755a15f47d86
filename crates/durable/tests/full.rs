//! Full disks (D4): who has no room says so, takes no requests, and nobody takes any when too few have room; what was
//! acknowledged is read meanwhile, and everything goes on by itself.

#![allow(clippy::disallowed_types, reason = "tests are outside the machine")]

mod bench;

use bench::Bench;
use bytes::Bytes;
use durable::{ClientId, Event, ProposeError, Request};
use wire::SiteId;

/// What becomes of a request that is proposed at a site now.
fn propose(bench: &mut Bench, site: u32, sequence: u64) -> Result<(), ProposeError> {
    let client = ClientId([site as u8 + 1; 16]);
    let request = Request { client, sequence, answered: sequence - 1, payload: Bytes::from_static(b"y") };
    let now = bench.now;
    bench.host(site).machine.propose(now, 0, request)
}

fn full(bench: &Bench, site: u32) -> Vec<u32> {
    bench.status(site).full.iter().map(|SiteId(site)| *site).collect()
}

/// Everybody knows that just these are full.
fn all_know(bench: &mut Bench, sites: &[u32]) {
    bench.until("everybody knows who is full", |bench| (1..=3).all(|site| full(bench, site) == sites));
}

fn three() -> Bench {
    let mut bench = Bench::new(3);
    bench.view(&[1, 2, 3]);
    bench.until("active", |bench| bench.status(1).committed > 0 && bench.at_rest(&[1, 2, 3]));
    bench.ask(1, 1);
    bench.until("applied", |bench| (1..=3).all(|site| bench.hosts[&site].applied == [1]));
    bench
}

#[test]
fn with_one_full_disk_the_others_go_on_and_its_site_takes_nothing() {
    let mut bench = three();
    bench.full.insert(3);
    bench.ask(1, 2);
    all_know(&mut bench, &[3]);
    bench.until("applied by two", |bench| [1, 2].iter().all(|site| bench.hosts[site].applied == [1, 2]));
    assert_eq!(propose(&mut bench, 3, 1), Err(ProposeError::Full));
    assert_eq!(propose(&mut bench, 2, 1), Ok(()));
    assert!(bench.status(1).has_room && !bench.status(3).has_room);
    assert!(bench.host(3).events.contains(&Event::Full(true)));
    // A view of the same members: it is said again.
    bench.view(&[1, 2, 3]);
    bench.rounds(5);
    all_know(&mut bench, &[3]);
    bench.full.clear();
    all_know(&mut bench, &[]);
    bench.until("caught up", |bench| bench.at_rest(&[1, 2, 3]));
    assert_eq!(propose(&mut bench, 3, 1), Ok(()));
    assert_eq!(bench.host(3).events.iter().filter(|said| matches!(said, Event::Full(_))).count(), 2);
}

#[test]
fn with_two_full_disks_nobody_takes_anything_and_all_is_read_that_was_acknowledged() {
    let mut bench = three();
    bench.full.extend([2, 3]);
    // Taken before anybody knew: on one disk alone, until there is room.
    bench.ask(1, 2);
    all_know(&mut bench, &[2, 3]);
    for site in 1..=3 {
        assert_eq!(propose(&mut bench, site, 1), Err(ProposeError::Full), "at {site}");
        let now = bench.now;
        bench.host(site).machine.read(now).expect("it is active");
    }
    bench.rounds(20);
    for site in 1..=3 {
        let read = bench.hosts[&site].events.iter().any(|said| matches!(said, Event::Read(_)));
        assert!(read, "what was acknowledged is read at {site}");
        assert_eq!(bench.hosts[&site].applied, [1], "at {site}");
    }
    // One of them is enough.
    bench.full.remove(&2);
    bench.until("two have it", |bench| [1, 2].iter().all(|site| bench.hosts[site].applied == [1, 2]));
    assert_eq!(propose(&mut bench, 1, 1), Ok(()));
    bench.full.clear();
    bench.until("all have it", |bench| bench.at_rest(&[1, 2, 3]));
    assert!((1..=3).all(|site| bench.status(site).has_room && full(&bench, site).is_empty()));
}
