//! What a durable group lives through on whole nodes, as short scripts.

mod common;

use bytes::Bytes;
use common::{Cluster, Store, group};
use durable::{Answer, ClientId, Event as Said, Mode, Request, Settings};
use membership::group::GroupOptions;
use multicast::Order;
use stack::Event;

const ALL: [u32; 3] = [1, 2, 3];

fn small() -> Settings {
    Settings {
        chunk_bytes: 200,
        checkpoint_bytes: 600,
        retain_entries: 2,
        recent_bytes_max: 100,
        ..Settings::default()
    }
}

/// Three sites with a store each and a member each.
fn three(settings: &Settings) -> Cluster {
    let mut cluster = Cluster::start(3, 0);
    for n in ALL {
        cluster.kill(n);
        cluster.sites.get_mut(&n).expect("a site").store = Some(Store::new("ledger", n, 3, settings.clone()));
    }
    ALL.iter().for_each(|n| cluster.restart(*n));
    cluster.until("all are back", |c| c.together(&ALL));
    join(&mut cluster, &ALL);
    cluster
}

fn join(cluster: &mut Cluster, sites: &[u32]) {
    for n in sites {
        cluster.join(*n, "ledger", GroupOptions::default());
    }
    cluster.until("the group can be written", |c| sites.iter().all(|n| mode(c, *n) == Some(Mode::Active)));
}

fn mode(cluster: &Cluster, n: u32) -> Option<Mode> {
    cluster.sites[&n].node.as_ref()?.durable_status(&group("ledger")).map(|status| status.mode)
}

fn propose(cluster: &mut Cluster, n: u32, sequence: u64, text: &str) {
    let now = cluster.now;
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let request = Request { client: ClientId([7; 16]), sequence, answered: sequence - 1, payload };
    let mut ledger = cluster.node(n).durable(now, &group("ledger")).expect("it has a store");
    ledger.propose(1, request).expect("the group can be written");
    cluster.work();
}

fn answered(cluster: &Cluster, n: u32, sequence: u64) -> bool {
    cluster.sites[&n].told.iter().any(|event| {
        matches!(event, Event::Durable { said: Said::Answer { sequence: of, answer: Answer::Applied(_), .. }, .. }
            if *of == sequence)
    })
}

fn state(cluster: &Cluster, n: u32) -> Vec<String> {
    cluster.sites[&n].store.as_ref().map(|store| store.state.clone()).unwrap_or_default()
}

/// Proposes at a site and waits for the answer.
fn write(cluster: &mut Cluster, n: u32, sequence: u64) -> String {
    let text = format!("write {sequence}");
    propose(cluster, n, sequence, &text);
    cluster.until(&text, |c| answered(c, n, sequence));
    text
}

#[test]
fn what_is_proposed_anywhere_is_applied_everywhere_in_one_order_and_never_shown_to_members() {
    let mut cluster = three(&Settings::default());
    let texts: Vec<String> = (1..=9).map(|n| write(&mut cluster, 1 + n as u32 % 3, n)).collect();
    cluster.until("all have applied it", |c| ALL.iter().all(|n| state(c, *n) == texts));
    assert!(ALL.iter().all(|n| cluster.texts(*n).is_empty()), "members see their own messages only");
}

#[test]
fn members_cast_beside_the_entries() {
    let mut cluster = three(&Settings::default());
    let member = cluster.join(1, "ledger", GroupOptions::default());
    cluster.until("all are in the view with it", |c| {
        ALL.iter().all(|n| c.view(*n, "ledger").is_some_and(|view| view.members.len() == 4))
    });
    cluster.until("the group can be written", |c| ALL.iter().all(|n| mode(c, *n) == Some(Mode::Active)));
    propose(&mut cluster, 2, 1, "an entry");
    cluster.cast(member, "ledger", Order::Abcast, "a message");
    propose(&mut cluster, 3, 2, "another");
    cluster.until("all have all", |c| ALL.iter().all(|n| state(c, *n).len() == 2 && c.has(*n, "a message")));
    assert_eq!(state(&cluster, 1), state(&cluster, 3));
}

#[test]
fn what_was_acknowledged_survives_the_death_of_all() {
    let mut cluster = three(&Settings::default());
    let texts: Vec<String> = (1..=5).map(|n| write(&mut cluster, 1, n)).collect();
    ALL.iter().for_each(|n| cluster.kill(*n));
    ALL.iter().for_each(|n| cluster.restart(*n));
    cluster.until("they are back", |c| c.together(&ALL));
    assert!(
        ALL.iter().all(|n| state(&cluster, *n).is_empty()),
        "nothing is applied before it is known to be committed"
    );
    join(&mut cluster, &ALL);
    cluster.until("all have applied it again", |c| ALL.iter().all(|n| state(c, *n) == texts));
    // A repeat of what was answered before is not applied again.
    propose(&mut cluster, 2, 5, "something else");
    cluster.until("a repeat is answered", |c| answered(c, 2, 5));
    assert_eq!(state(&cluster, 2), texts);
}

#[test]
fn a_store_that_was_away_catches_up_by_log_and_by_checkpoint() {
    for (settings, writes) in [(Settings::default(), 8), (small(), 60)] {
        let mut cluster = three(&settings);
        let mut texts = vec![write(&mut cluster, 1, 1)];
        cluster.kill(3);
        cluster.until("the others go on", |c| {
            [1, 2].iter().all(|n| c.view(*n, "ledger").is_some_and(|view| view.members.len() == 2))
        });
        cluster.until("they are active", |c| [1, 2].iter().all(|n| mode(c, *n) == Some(Mode::Active)));
        texts.extend((2..=writes).map(|n| write(&mut cluster, 1 + n as u32 % 2, n)));
        cluster.restart(3);
        cluster.until("it is back", |c| c.together(&ALL));
        join(&mut cluster, &[3]);
        cluster.until("it has what it missed", |c| state(c, 3) == texts);
        let restored = cluster.sites[&3]
            .told
            .iter()
            .any(|event| matches!(event, Event::Durable { said: Said::Restore(_), .. }));
        assert_eq!(restored, writes > 10, "near: the log; far: a checkpoint");
    }
}

#[test]
fn a_side_below_the_quorum_is_read_only_and_joins_the_others_again() {
    let mut cluster = three(&Settings::default());
    write(&mut cluster, 3, 1);
    cluster.partition(&[&[1, 2], &[3]]);
    cluster.until("one side goes on", |c| {
        [1, 2].iter().all(|n| c.view(*n, "ledger").is_some_and(|view| view.members.len() == 2))
    });
    cluster.until("the other is read-only", |c| mode(c, 3) != Some(Mode::Active));
    write(&mut cluster, 2, 2);
    cluster.heal();
    cluster.until("all are one again", |c| {
        c.together(&ALL)
            && ALL.iter().all(|n| c.view(*n, "ledger").is_some_and(|view| view.members.len() == 3))
    });
    cluster.until("all have all", |c| ALL.iter().all(|n| state(c, *n) == ["write 1", "write 2"]));
}

#[test]
fn a_read_waits_until_everything_acknowledged_before_is_applied_here() {
    let mut cluster = three(&Settings::default());
    write(&mut cluster, 1, 1);
    let now = cluster.now;
    let id = cluster.node(3).durable(now, &group("ledger")).expect("a store").read().expect("it is active");
    cluster.work();
    let passed = |event: &Event| matches!(event, Event::Durable { said: Said::Read(of), .. } if *of == id);
    cluster.until("the read passes", |c| c.sites[&3].told.iter().any(passed));
    assert_eq!(state(&cluster, 3), ["write 1"]);
}

#[test]
fn a_site_without_a_store_is_a_member_and_no_more() {
    let mut cluster = three(&Settings::default());
    write(&mut cluster, 3, 1);
    cluster.node(3).close_durable(&group("ledger"));
    cluster.sites.get_mut(&3).expect("a site").store = None;
    write(&mut cluster, 1, 2);
    let now = cluster.now;
    assert!(cluster.node(3).durable(now, &group("ledger")).is_none());
    // It sees what members cast, and carries views and orders.
    let member = cluster.view(1, "ledger").expect("a view").members[0].id;
    cluster.cast(member, "ledger", Order::Abcast, "hello");
    cluster.until("the member hears it", |c| c.has(3, "hello"));
    assert_eq!(state(&cluster, 2), ["write 1", "write 2"]);
}
