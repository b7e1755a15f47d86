//! Durable groups follow their machines: `site replace`, `site remove`, `site add --stores`, with real processes.

mod sites;

use serde_json::Value;
use sites::{Cluster, eventually, text};

const MAP: &str = "notes";
const CATALOG: &str = "unanimous.catalog";

/// Runs a command that must succeed; gives what it printed as JSON.
fn done(cluster: &Cluster, site: usize, args: &[&str]) -> Value {
    let output = cluster.run(site, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}\n{}", text(&output.stderr), cluster.log(site));
    serde_json::from_slice(&output.stdout).expect("one object")
}

/// Runs a command that must be refused; gives why.
fn refused(cluster: &Cluster, site: usize, args: &[&str]) -> String {
    let output = cluster.run(site, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

/// Puts until it is acknowledged: a group may be between two views.
fn put(cluster: &Cluster, site: usize, key: &str) {
    let mut why = String::new();
    let put = eventually(|| {
        let output = cluster.run(site, &["kv", "put", MAP, key, key]);
        why = text(&output.stderr);
        output.status.success().then_some(())
    });
    assert!(put.is_some(), "{key}: {why}\n{}", cluster.log(site));
}

/// Every key is there, as a site sees it that knows whatever was acknowledged.
fn all_there(cluster: &Cluster, site: usize, keys: &[&str]) {
    for key in keys {
        let got = eventually(|| {
            let output = cluster.run(site, &["kv", "get", MAP, key]);
            output.status.success().then(|| text(&output.stdout))
        });
        assert_eq!(got.as_deref().map(str::trim), Some(*key), "{}", cluster.log(site));
    }
}

/// The sites, by number, whose stores count in the map and in the catalog.
fn counted(cluster: &Cluster, site: usize, sites: &[u64]) {
    cluster.until(site, &format!("stores of {sites:?} count"), |status| {
        let groups = status["durable"].as_array().map_or(&[][..], Vec::as_slice);
        [MAP, CATALOG].iter().all(|name| {
            groups.iter().filter(|group| group["group"] == **name).any(|group| {
                let stores = group["stores"].as_array().map_or(&[][..], Vec::as_slice);
                let mut found: Vec<u64> = stores.iter().filter_map(|store| store["site"].as_u64()).collect();
                found.sort_unstable();
                found == sites
            })
        })
    });
}

#[test]
fn a_wiped_machine_takes_its_own_place_and_counts() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    put(&cluster, 0, "one");

    // While one of three is gone, no other can be given up, and nobody counts who is not there.
    cluster.kill(2);
    cluster.until_up(0, &["a", "b"]);
    put(&cluster, 0, "two");
    let why = refused(&cluster, 0, &["site", "remove", "b"]);
    assert!(why.contains("those of c are not here"), "{why}");
    let why = refused(&cluster, 0, &["site", "replace", "c", "--patience", "0"]);
    assert!(why.contains("the store of c is not here"), "{why}");
    let why = refused(&cluster, 0, &["site", "replace", "nobody"]);
    assert!(why.contains("no site is called nobody"), "{why}");

    // The machine comes back with an empty disk, twice: it joins by itself, above its earlier lives, and takes its place.
    for key in ["three", "four"] {
        cluster.kill(2);
        cluster.wipe(2);
        cluster.start(2);
        cluster.until_up(0, &["a", "b", "c"]);
        let report = done(&cluster, 0, &["site", "replace", "c"]);
        assert_eq!((&report["done"], &report["total"]), (&Value::from(true), &Value::from(2)));
        put(&cluster, 0, key);
        counted(&cluster, 0, &[1, 2, 3]);
        // Asked again, at another site, nothing is left to do.
        assert_eq!(done(&cluster, 1, &["site", "replace", "c"])["done"], true);
    }

    // Its store counts: with it, the group does without another.
    cluster.kill(1);
    cluster.until_up(0, &["a", "c"]);
    put(&cluster, 2, "five");
    all_there(&cluster, 2, &["one", "two", "three", "four", "five"]);

    // And after all died at once, it is one of those that know what was acknowledged.
    cluster.kill(0);
    cluster.kill(2);
    cluster.start(1);
    cluster.start(2);
    cluster.start(0);
    cluster.until_up(2, &["a", "b", "c"]);
    cluster.kill(0);
    all_there(&cluster, 1, &["one", "two", "three", "four", "five"]);
}

#[test]
fn five_become_three_and_three_become_five() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    put(&cluster, 0, "one");

    // Two machines come in, one with an mserver and one without; their stores follow, and then count.
    for (name, args) in [("d", &["--mserver"][..]), ("e", &[])] {
        let site = cluster.add(name, args);
        cluster.start(site);
        // Numbers are given in the order in which they are asked for.
        cluster.until(0, "it is in", |status| sites::up(status).contains(&name));
    }
    cluster.until_up(0, &["a", "b", "c", "d", "e"]);
    let why = cluster.run(0, &["site", "add", "d=10.0.0.4:7000", "--stores"]);
    assert_eq!(why.status.code(), Some(2));
    for name in ["d", "e"] {
        done(&cluster, 0, &["site", "add", name, "--stores"]);
    }
    counted(&cluster, 0, &[1, 2, 3, 4, 5]);
    put(&cluster, 4, "two");
    // Two of five may fail, the senior ones too.
    cluster.kill(1);
    put(&cluster, 0, "three");
    cluster.start(1);
    cluster.until_up(0, &["a", "b", "c", "d", "e"]);

    // The oldest two go for good: what they founded is carried by those that came later.
    for name in ["b", "c"] {
        done(&cluster, 3, &["site", "remove", name]);
    }
    counted(&cluster, 3, &[1, 4, 5]);
    cluster.kill(1);
    put(&cluster, 3, "four");
    // One by another, while it runs: the second's store in place of the first's.
    cluster.start(1);
    cluster.until_up(3, &["a", "b", "c", "d", "e"]);
    done(&cluster, 3, &["site", "replace", "a", "--with", "b"]);
    counted(&cluster, 3, &[2, 4, 5]);
    all_there(&cluster, 4, &["one", "two", "three", "four"]);
}

#[test]
fn a_site_goes_to_another_address_and_stays_who_it_is() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    put(&cluster, 0, "one");
    cluster.kill(1);
    let config = unanimous::SiteConfig::read(&cluster.path(1, "site.toml")).expect("reads");
    let address = format!("{}:7099", config.site.link.ip());
    let dir = cluster.dir();
    let moved = sites::unanimous()
        .args(["site", "move", "b", &address, "--dir", sites::utf8(&dir), "--json"])
        .output()
        .expect("runs");
    assert!(moved.status.success(), "{}", text(&moved.stderr));
    let report: Value = serde_json::from_slice(&moved.stdout).expect("one object");
    assert_eq!(report["others"], serde_json::json!(["a", "c"]));
    // It is the one that moved who dials, and its store is the one that it was.
    cluster.start(1);
    cluster.until_up(0, &["a", "b", "c"]);
    cluster.kill(2);
    put(&cluster, 1, "two");
    all_there(&cluster, 1, &["one", "two"]);
    // The others find it by themselves when they have been restarted.
    cluster.kill(0);
    cluster.start(0);
    cluster.start(2);
    cluster.until_up(2, &["a", "b", "c"]);
    counted(&cluster, 2, &[1, 2, 3]);
}
