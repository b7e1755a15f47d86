//! A cluster goes from one release to the next, site by site, while it is written to. The older release is this program
//! with its highest feature level lowered (`site.feature_level_max`): all else of it is the program that is shipped.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod sites;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use sites::{Cluster, in_catalog, text, utf8};
use unanimous::session::protocol::{ErrorCode, Op};
use unanimous::session::{Address, Error, Session, WriteOptions, connect};
use unanimous::{Bytes, SiteConfig};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn address(cluster: &Cluster, site: usize) -> Address {
    utf8(&cluster.path(site, "session.sock")).parse().expect("an address")
}

async fn session(address: &Address) -> Option<Session> {
    Some(connect(address, "test").await.ok()?.0)
}

/// Makes a site one of the older release, or of this one.
fn release(cluster: &Cluster, site: usize, highest: Option<u32>) {
    let path = cluster.path(site, "site.toml");
    let mut config = SiteConfig::read(&path).expect("it was written");
    config.site.feature_level_max = highest;
    std::fs::write(&path, config.to_toml()).expect("written");
}

/// Waits until all are up, and have caught up with the catalog.
fn settled(cluster: &Cluster) {
    for site in 0..NAMES.len() {
        cluster.until_up(site, &NAMES);
        cluster.until(site, "the catalog is active", in_catalog);
    }
}

fn upgrade(cluster: &Cluster, args: &[&str]) -> Result<Value, String> {
    let output = cluster.run(0, &[&["--json", "upgrade"], args].concat());
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).expect("one object")),
        Some(1) => Err(text(&output.stderr)),
        other => panic!("{other:?}: {}", text(&output.stderr)),
    }
}

/// The highest level of each site.
fn highest(told: &Value) -> Vec<u64> {
    let sites = told["sites"].as_array().expect("sites").iter();
    sites.map(|site| site["highest"].as_u64().expect("it has said so")).collect()
}

/// Puts key after key, at whichever site answers, until it is over. Gives how many were acknowledged.
async fn write(addresses: Vec<Address>, over: Arc<AtomicBool>) -> u64 {
    let (mut at, mut open) = (0, None);
    for n in 0.. {
        loop {
            if over.load(Ordering::SeqCst) {
                return n;
            }
            if open.is_none() {
                at += 1;
                open = session(&addresses[at % addresses.len()]).await;
            }
            let Some(session) = &open else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            // The same under the same key again does no harm.
            let value = Bytes::from(n.to_string());
            match session.put("m", &format!("{n:08}"), value, WriteOptions::default()).await {
                Ok(_) => break,
                Err(Error::Refused(failure)) if failure.error == ErrorCode::BadRequest => {
                    panic!("{failure:?}")
                }
                Err(_) => open = None,
            }
        }
    }
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_are_upgraded_one_after_another_under_load() {
    let mut cluster = Cluster::new(&NAMES, |_, config| config.site.feature_level_max = Some(1));
    (0..3).for_each(|site| cluster.start(site));
    settled(&cluster);
    session(&address(&cluster, 0)).await.expect("it runs").create_map("m").await.expect("created");
    let over = Arc::new(AtomicBool::new(false));
    let addresses: Vec<Address> = (0..3).map(|site| address(&cluster, site)).collect();
    let writer = tokio::spawn(write(addresses.clone(), Arc::clone(&over)));
    let why = upgrade(&cluster, &["--finish"]).expect_err("nobody has more");
    assert!(why.contains("no site has a higher one"), "{why}");

    for site in 0..3 {
        let old = session(&addresses[site]).await.expect("it runs");
        // It stops before it answers, or after.
        let _ = old.request(Op::Stop, Bytes::new()).await;
        assert!(cluster.ended(site).success());
        release(&cluster, site, None);
        cluster.start(site);
        settled(&cluster);
        let told = upgrade(&cluster, &[]).expect("told");
        assert_eq!(told["in_force"], 1);
        assert_eq!(highest(&told), [[2, 1, 1], [2, 2, 1], [2, 2, 2]][site]);
        if site < 2 {
            let why = upgrade(&cluster, &["--finish"]).expect_err("not all have it");
            assert!(why.contains("c runs a program that has 1 to 1") && why.lines().count() == 1, "{why}");
        }
    }
    assert_eq!(upgrade(&cluster, &["--finish"]).expect("all have it")["in_force"], 2);
    for address in &addresses {
        let session = session(address).await.expect("it runs");
        assert_eq!(session.levels().await.expect("told").in_force, 2);
    }
    assert!(upgrade(&cluster, &["--finish"]).expect_err("it is done").contains("level 2 is in force"));
    over.store(true, Ordering::SeqCst);
    let acknowledged = writer.await.expect("it wrote");
    assert!(acknowledged > 50, "{acknowledged}");
    for site in addresses {
        let session = session(&site).await.expect("it runs");
        for n in 0..acknowledged {
            let found =
                session.get("m", &format!("{n:08}"), n > 0).await.expect("read").expect("acknowledged");
            assert_eq!(found.value, n.to_string());
        }
    }

    // Back to the older release: no longer.
    cluster.kill(2);
    release(&cluster, 2, Some(1));
    cluster.start(2);
    assert_eq!(cluster.ended(2).code(), Some(1));
    assert!(cluster.log(2).contains("the cluster's feature level is 2, and this program has 1 to 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_meets_a_level_that_it_does_not_have_stops_and_says_so() {
    let mut cluster = Cluster::new(&NAMES, |site, config| {
        config.site.feature_level_max = (site == 2).then_some(1);
    });
    (0..3).for_each(|site| cluster.start(site));
    settled(&cluster);
    cluster.kill(2);
    cluster.until_up(0, &["a", "b"]);
    cluster.until(0, "the link to c is down", |_| {
        upgrade(&cluster, &["--finish"]).expect_err("c is not there").contains("c is not linked")
    });
    assert_eq!(upgrade(&cluster, &["--finish", "--force"]).expect("passed over")["in_force"], 2);
    // It takes part until it learns of it; started again, it does not even begin to.
    for times in [1, 2] {
        cluster.start(2);
        assert_eq!(cluster.ended(2).code(), Some(1));
        let log = cluster.log(2);
        let said = log.matches("the cluster's feature level is 2, and this program has 1 to 1").count();
        assert!(said >= times, "{log}");
    }
    cluster.until_up(0, &["a", "b"]);
    release(&cluster, 2, None);
    cluster.start(2);
    settled(&cluster);
    assert_eq!(highest(&upgrade(&cluster, &[]).expect("told")), [2, 2, 2]);
}
