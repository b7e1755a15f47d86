//! A site without an mserver: it attaches to one elsewhere, and to another when that dies.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, group, lists};
use membership::group::GroupOptions;
use multicast::Order;
use stack::{CastOptions, Event};

fn attached_to(cluster: &Cluster, n: u32) -> usize {
    let attached = |e: &Event| matches!(e, Event::Note(note) if note.starts_with("attached"));
    cluster.sites[&n].told.iter().filter(|e| attached(e)).count()
}

#[test]
fn an_attached_site_joins_casts_and_goes_on_when_its_mserver_dies() {
    let mut cluster = Cluster::start(3, 1);
    cluster.until("it is attached", |c| attached_to(c, 4) == 1);
    let members = [2, 3, 4].map(|n| cluster.join(n, "g", GroupOptions::default()));
    cluster.until("all see three", |c| {
        [2, 3, 4].iter().all(|n| c.view(*n, "g").is_some_and(|view| view.members.len() == 3))
    });
    cluster.cast(members[2], "g", Order::Abcast, "from outside the core");
    cluster.cast(members[0], "g", Order::Cbcast, "from within");
    for text in ["from outside the core", "from within"] {
        cluster.until(text, |c| [2, 3, 4].iter().all(|n| c.has(*n, text)));
    }
    cluster.kill(1);
    cluster.until("it is attached to another", |c| c.together(&[2, 3]) && attached_to(c, 4) == 2);
    let another = cluster.join(4, "g", GroupOptions::default());
    cluster.until("all see four", |c| {
        [2, 3, 4].iter().all(|n| c.view(*n, "g").is_some_and(|view| view.members.len() == 4))
    });
    assert!(cluster.view(2, "g").is_some_and(|view| lists(&view, members[2])), "the first has stayed");
    cluster.cast(another, "g", Order::Abcast, "still here");
    cluster.until("still here", |c| [2, 3, 4].iter().all(|n| c.has(*n, "still here")));
}

#[test]
fn a_dead_attached_site_is_noticed() {
    let mut cluster = Cluster::start(3, 1);
    let members = [1, 4].map(|n| cluster.join(n, "g", GroupOptions::default()));
    cluster.kill(4);
    cluster.until("its member is gone", |c| {
        c.view(1, "g").is_some_and(|view| view.members.len() == 1 && lists(&view, members[0]))
    });
}

#[test]
fn a_process_at_an_attached_site_casts_to_a_group_with_members_there_only_as_one_of_them() {
    let mut cluster = Cluster::start(3, 1);
    let member = cluster.join(4, "g", GroupOptions::default());
    let casted = {
        let now = cluster.now;
        let options = CastOptions::plain(Order::Fbcast);
        cluster.node(4).cast(now, member.process, &group("g"), &options, &Bytes::from_static(b"alone"))
    };
    assert!(casted.is_ok());
    cluster.work();
    cluster.until("alone", |c| c.has(4, "alone"));
}

#[test]
fn attached_sites_spread_over_the_mservers_and_leave_one_whose_process_died_at_once() {
    let mut cluster = Cluster::start(3, 4);
    cluster.until("all are attached", |c| (4..=7).all(|n| attached_to(c, n) == 1));
    let at: Vec<u32> = (4..=7).map(|n| cluster.node(n).attached_to().expect("it is").0).collect();
    assert_eq!(at, [1, 2, 3, 1]);
    let members = [3, 5, 6].map(|n| cluster.join(n, "g", GroupOptions::default()));
    let now = cluster.now;
    cluster.kill_process(2);
    cluster.until("its guest is attached to the next", |c| attached_to(c, 5) == 2);
    assert!(cluster.now.since(now) < Duration::from_secs(1), "it did not wait for a long silence");
    let now = cluster.now;
    cluster.kill_process(6);
    cluster.until("its member is gone", |c| c.view(5, "g").is_some_and(|view| view.members.len() == 2));
    assert!(cluster.now.since(now) < Duration::from_secs(2), "nor did its mserver");
    cluster.cast(members[1], "g", Order::Abcast, "those who are left");
    cluster.until("it is there", |c| [3, 5].iter().all(|n| c.has(*n, "those who are left")));
}
