//! A majority of the sites is lost for good: what `unanimous recover` does, with real processes.

mod sites;

use serde_json::Value;
use sites::{Cluster, text, unanimous, utf8};

/// Runs `recover` for a site; gives its status, what it printed and what it said on standard error.
fn recover(cluster: &Cluster, site: usize, args: &[&str]) -> (Option<i32>, String, String) {
    let config = cluster.path(site, "site.toml");
    let output = unanimous().args(["recover", "--config", utf8(&config)]).args(args).output().expect("runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What the disk of a stopped site says.
fn knows_a_view_of_five(cluster: &Cluster, site: usize) -> bool {
    let (_, report, _) = recover(cluster, site, &["--survivors", "a,b", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap_or_default();
    report["last_view"]["members"].as_array().is_some_and(|members| members.len() == 5)
}

#[test]
fn survivors_go_on_in_a_new_epoch_that_the_old_ones_can_only_join_anew() {
    let mut cluster = Cluster::new(&["a", "b", "c", "d", "e"], |_, _| {});
    (0..5).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c", "d", "e"]);
    assert_eq!(cluster.run(0, &["cast", "nobody", "hello"]).status.code(), Some(1));

    // A site that runs is not touched, and one that answers is not lost.
    let (status, _, why) = recover(&cluster, 0, &["--survivors", "a,b", "--force"]);
    assert_eq!(status, Some(1));
    assert!(why.contains("in use by another process"), "{why}");
    (0..4).for_each(|site| cluster.kill(site));
    let (status, _, why) = recover(&cluster, 0, &["--survivors", "a,b", "--force"]);
    assert_eq!(status, Some(1));
    assert!(why.contains("e answers: it is not lost"), "{why}");
    cluster.kill(4);
    // A site is in a view a moment before its disk knows it.
    while !knows_a_view_of_five(&cluster, 0) {
        (0..5).for_each(|site| cluster.start(site));
        cluster.until_up(0, &["a", "b", "c", "d", "e"]);
        (0..5).for_each(|site| cluster.kill(site));
    }

    // Refused without --force, and where it is not needed; each says why.
    let (status, report, why) = recover(&cluster, 0, &["--survivors", "a,b"]);
    assert_eq!(status, Some(1));
    assert!(why.contains("--force"), "{why}");
    assert!(report.contains("given up for good: c, d, e") && report.contains("may be lost"), "{report}");
    let (status, _, why) = recover(&cluster, 0, &["--survivors", "a,b,c,d", "--force"]);
    assert_eq!(status, Some(1));
    assert!(why.contains("start them all"), "{why}");
    let (status, _, why) = recover(&cluster, 0, &["--survivors", "b", "--force"]);
    assert_eq!(status, Some(1));
    assert!(why.contains("one of the survivors"), "{why}");
    assert_eq!(recover(&cluster, 0, &["--survivors", "a,x", "--force"]).0, Some(2));
    assert_eq!(recover(&cluster, 0, &["--force"]).0, Some(2));

    // One half alone does not go on: the new line takes all survivors.
    let (status, report, why) = recover(&cluster, 0, &["--survivors", "a,b", "--force", "--json"]);
    assert_eq!(status, Some(0), "{why}");
    let report: Value = serde_json::from_str(&report).expect("one object");
    assert_eq!((&report["done"], &report["lost"]), (&Value::from(true), &serde_json::json!(["c", "d", "e"])));
    assert_eq!(report["last_view"]["members"].as_array().map(Vec::len), Some(5));
    let epoch = report["next_epoch"].as_str().expect("an epoch").to_owned();
    cluster.start(0);
    cluster.until(0, "waits for b", |status| {
        status["waiting_for"].as_str().is_some_and(|waits| waits.contains("not heard: b"))
    });
    // The same list in another order is the same epoch, and twice is once.
    for _ in 0..2 {
        let (status, report, why) = recover(&cluster, 1, &["--survivors", "2,1", "--force", "--json"]);
        assert_eq!(status, Some(0), "{why}");
        let report: Value = serde_json::from_str(&report).expect("one object");
        assert_eq!(report["next_epoch"], epoch.as_str());
    }
    cluster.start(1);
    cluster.until_up(0, &["a", "b"]);
    cluster.until_up(1, &["a", "b"]);

    // A majority of the old epoch is a cluster of its own, which neither disturbs nor joins this one.
    cluster.start(2);
    let refused = format!("recovered by force without c (cluster epoch 0; that of a is {epoch})");
    let told = sites::eventually(|| cluster.log(2).contains(&refused).then_some(()));
    assert!(told.is_some(), "c was not told:\n{}\na:\n{}", cluster.log(2), cluster.log(0));
    cluster.until_up(0, &["a", "b"]);

    // It may come back as a site without a past.
    cluster.kill(2);
    let (status, report, _) = recover(&cluster, 2, &["--join", &epoch]);
    assert_eq!(status, Some(1));
    assert!(report.contains("given up"), "{report}");
    let (status, _, why) = recover(&cluster, 2, &["--join", &epoch, "--force"]);
    assert_eq!(status, Some(0), "{why}");
    cluster.start(2);
    cluster.until_up(0, &["a", "b", "c"]);
    cluster.until_up(2, &["a", "b", "c"]);

    // The recovered cluster is a cluster like any other: it survives a start from nothing.
    (0..3).for_each(|site| cluster.kill(site));
    cluster.start(1);
    cluster.start(2);
    cluster.until_up(1, &["b", "c"]);
}

/// Puts until it is acknowledged.
fn put(cluster: &Cluster, site: usize, key: &str) {
    let mut why = String::new();
    let put = sites::eventually(|| {
        let output = cluster.run(site, &["kv", "put", "notes", key, key]);
        why = text(&output.stderr);
        output.status.success().then_some(())
    });
    assert!(put.is_some(), "{key}: {why}\n{}", cluster.log(site));
}

/// What a linearizable read finds.
fn get(cluster: &Cluster, site: usize, key: &str) -> Option<String> {
    let got = sites::eventually(|| {
        let output = cluster.run(site, &["kv", "get", "notes", key]);
        // Refused for want of stores is asked again; that there is no such key is an answer.
        match output.status.code() {
            Some(0) => Some(Some(text(&output.stdout).trim().to_owned())),
            Some(1) if text(&output.stderr).contains("has no key") => Some(None),
            _ => None,
        }
    });
    got.unwrap_or_else(|| panic!("{key}: no answer\n{}", cluster.log(site)))
}

#[test]
fn durable_groups_go_on_from_the_most_advanced_store_that_is_left() {
    let mut cluster = Cluster::new(&["a", "b", "c", "d", "e"], |_, _| {});
    (0..5).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c", "d", "e"]);
    put(&cluster, 0, "one");
    // One of those that will be left misses what comes next.
    cluster.kill(0);
    cluster.until_up(1, &["b", "c", "d", "e"]);
    put(&cluster, 1, "two");
    (1..5).for_each(|site| cluster.kill(site));

    // It says what may be lost, of each group.
    let (status, report, why) = recover(&cluster, 0, &["--survivors", "a,b"]);
    assert_eq!(status, Some(1), "{why}");
    assert!(report.contains("durable group notes: its stores are those of"), "{report}");
    assert!(report.contains("goes on from whichever is the most advanced of a, b"), "{report}");
    for site in [0, 1] {
        for _ in 0..2 {
            let (status, report, why) = recover(&cluster, site, &["--survivors", "a,b", "--force", "--json"]);
            assert_eq!(status, Some(0), "{why}");
            let report: Value = serde_json::from_str(&report).expect("one object");
            let groups = report["groups"].as_array().map_or(0, Vec::len);
            assert_eq!(
                (&report["done"], groups),
                (&Value::from(true), 2),
                "the catalog and the map: {report}"
            );
        }
    }
    cluster.start(0);
    cluster.start(1);
    cluster.until_up(0, &["a", "b"]);
    // What the one that is left alone knew is there, and the group is one of two stores from now on.
    assert_eq!(get(&cluster, 0, "one").as_deref(), Some("one"));
    assert_eq!(get(&cluster, 0, "two").as_deref(), Some("two"));
    put(&cluster, 0, "three");
    let status = cluster.until(1, "two stores count", |status| {
        status["durable"].as_array().is_some_and(|groups| {
            groups.iter().all(|group| group["stores"].as_array().is_some_and(|stores| stores.len() == 2))
        })
    });
    assert_eq!(status["durable"][0]["writes"], 2);

    // It is a group like any other: it survives its sites, and takes in a store again.
    cluster.kill(0);
    cluster.kill(1);
    cluster.start(0);
    cluster.start(1);
    cluster.until_up(0, &["a", "b"]);
    assert_eq!(get(&cluster, 1, "three").as_deref(), Some("three"));
}
