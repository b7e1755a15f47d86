//! A damaged entry that only one store had: the store stands aside, and the others show whether it was committed (D21).

mod bench;

use bench::Bench;
use durable::{ClientId, Number, Request};

const ALL: [u32; 3] = [1, 2, 3];

/// Three stores with the same log. Then `holders` alone have three entries more, of which the first rots on the disk of
/// 1, and all die. Gives the number of that entry too.
fn with_a_rotten_entry(holders: &[u32]) -> (Bench, Number) {
    let mut bench = Bench::new(3);
    bench.view(&ALL);
    bench.until("it is active", |bench| bench.status(1).committed > 0 && bench.at_rest(&ALL));
    bench.ask(1, 1);
    bench.until("all have it", |bench| ALL.iter().all(|site| bench.hosts[site].applied == [1]));
    let before = bench.status(1).last;
    bench.deaf.extend(ALL.iter().filter(|site| !holders.contains(site)));
    (2..=4).for_each(|sequence| bench.ask(1, sequence));
    bench.until("they are on the disk", |bench| {
        holders.iter().all(|site| bench.status(*site).durable == before.position + 3)
    });
    bench.rounds(10);
    bench.deaf.clear();
    let rotten = Number { position: before.position + 1, ..before };
    bench.host(1).disk.rotten.insert(rotten.position);
    ALL.into_iter().for_each(|site| bench.restart(site));
    (bench, rotten)
}

#[test]
fn what_was_not_committed_is_cut_when_the_others_go_on_without_it() {
    let (mut bench, rotten) = with_a_rotten_entry(&[1]);
    assert_eq!(bench.status(1).damaged, [rotten.position]);
    bench.view(&ALL);
    bench.until("they go on", |bench| bench.status(2).committed >= rotten.position && bench.at_rest(&ALL));
    assert_eq!(bench.refreshed, 1);
    assert!(bench.status(1).last.view > rotten.view);
    bench.ask(1, 2);
    bench.until("it is applied", |bench| ALL.iter().all(|site| bench.hosts[site].applied == [1, 2]));
}

#[test]
fn what_may_be_committed_waits_for_the_store_that_has_it() {
    // 1 and 3 had acknowledged it.
    let (mut bench, rotten) = with_a_rotten_entry(&[1, 3]);
    bench.view(&[1, 2]);
    bench.until("it has tried more than once", |bench| bench.refreshed == 3);
    let status = bench.status(1);
    assert_eq!((status.damaged, status.committed), (vec![rotten.position], 0));
    assert!(status.last.position >= rotten.position + 2 && bench.status(2).last < rotten);
    bench.view(&ALL);
    bench.until("they go on", |bench| bench.at_rest(&ALL));
    assert!(ALL.iter().all(|site| bench.hosts[site].applied == [1, 2, 3, 4]));
}

#[test]
fn damage_that_is_found_while_the_view_is_active_is_no_different() {
    let (mut bench, rotten) = with_a_rotten_entry(&[1]);
    // The disk can still be read when the site starts.
    bench.host(1).disk.rotten.clear();
    bench.restart(1);
    bench.host(1).disk.rotten.insert(rotten.position);
    bench.view(&ALL);
    bench.until("it is found", |bench| !bench.status(1).damaged.is_empty());
    bench.until("they go on", |bench| bench.status(2).committed >= rotten.position && bench.at_rest(&ALL));
    let request = Request { client: ClientId([2; 16]), sequence: 1, answered: 0, payload: "y".into() };
    let now = bench.now;
    bench.host(3).machine.propose(now, 0, request).expect("it is active");
    bench.until("it is applied", |bench| ALL.iter().all(|site| bench.hosts[site].applied == [1, 1]));
}
