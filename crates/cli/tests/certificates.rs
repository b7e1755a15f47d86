//! Certificates and trust roots replaced under sites that run.

#![allow(clippy::disallowed_methods, reason = "certificates have dates")]

mod sites;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use net::cert::{Authority, Role, Validity};
use serde_json::Value;
use sites::{Cluster, GAVE_UP, eventually, text, unanimous, utf8};
use tokio::task::JoinHandle;
use unanimous::session::Address;
use unanimous::{Event, Events, Group, JoinOptions, Process, Site};
use wire::SiteId;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn founded(change: impl FnOnce(&Cluster)) -> Cluster {
    let mut cluster = Cluster::new(&NAMES, |_, config| {
        config.site.metrics = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    change(&cluster);
    (0..3).for_each(|site| cluster.start(site));
    (0..3).for_each(|site| cluster.until_up(site, &NAMES));
    cluster
}

fn authority(cluster: &Cluster) -> Authority {
    let ca = cluster.dir().join("ca");
    Authority::load(&ca.join("ca.pem"), &ca.join("ca.key")).expect("init made it")
}

/// Puts a certificate of this authority into a site's folder.
fn put(cluster: &Cluster, authority: &Authority, site: usize, validity: Validity) {
    let role = Role::Site(SiteId(site as u32 + 1));
    let identity = authority.issue(role, NAMES[site], validity).expect("issued");
    let file = |name| cluster.path(site, "certificates").join(name);
    identity.save(&file("site.pem"), &file("site.key")).expect("written");
}

fn cert(cluster: &Cluster, args: &[&str]) -> Output {
    let dir = cluster.dir();
    unanimous().arg("cert").args(args).args(["--dir", utf8(&dir)]).output().expect("runs")
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What a site sees of every site's certificate.
fn certificates<'a>(status: &'a Value, what: &str) -> Vec<&'a Value> {
    status["sites"].as_array().into_iter().flatten().map(|site| &site["certificate"][what]).collect()
}

/// Waits until every site sees these serial numbers on its links.
fn until_shown(cluster: &Cluster, serials: &[Value]) {
    let serials: Vec<&Value> = serials.iter().collect();
    for site in 0..3 {
        cluster.until(site, &format!("{serials:?}"), |status| certificates(status, "serial") == serials);
    }
}

/// Renews all, and gives the serial numbers.
fn renew_all(cluster: &Cluster) -> Vec<Value> {
    let renewed: Value =
        serde_json::from_str(&succeeds(&cert(cluster, &["renew", "--all", "--json"]))).expect("JSON");
    let renewed = renewed["renewed"].as_array().expect("a list");
    renewed.iter().map(|site| site["serial"].clone()).collect()
}

fn counter(cluster: &Cluster, site: usize, name: &str) -> u64 {
    cluster.metric(site, &format!("unanimous_net_{name}_total ")).unwrap_or(0)
}

/// Members at every site, one of whom casts numbers without a pause, and all of whom count them.
struct Load {
    stop: Arc<AtomicBool>,
    cast: Option<JoinHandle<u64>>,
    heard: Vec<JoinHandle<u64>>,
    _members: Vec<(Process, Arc<Group>)>,
}

impl Load {
    async fn start(cluster: &Cluster) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut members = Vec::new();
        let mut events = Vec::new();
        for site in 0..3 {
            let address: Address = utf8(&cluster.path(site, "session.sock")).parse().expect("an address");
            let process = Site::connect(&address, "test").await.expect("the site runs");
            let (group, own) = process.join("load", JoinOptions::default()).await.expect("joins");
            members.push((process, Arc::new(group)));
            events.push(own);
        }
        for events in &mut events {
            tokio::time::timeout(GAVE_UP, all_three(events)).await.expect("all are members");
        }
        let heard = events.into_iter().map(|events| tokio::spawn(count(events))).collect();
        let (group, stopped) = (Arc::clone(&members[1].1), Arc::clone(&stop));
        let cast = tokio::spawn(async move {
            let mut next = 0;
            while !stopped.load(Relaxed) {
                group.cast(next.to_string()).send().await.expect("taken");
                next += 1;
            }
            group.cast("end").send().await.expect("taken");
            next
        });
        Load { stop, cast: Some(cast), heard, _members: members }
    }

    /// All that was cast has been delivered everywhere, once and in order, with nobody removed meanwhile. The members
    /// leave when this is dropped.
    async fn finish(&mut self) -> u64 {
        self.stop.store(true, Relaxed);
        let cast = self.cast.take().expect("finished once").await.expect("the caster ends");
        for heard in self.heard.drain(..) {
            let heard = tokio::time::timeout(GAVE_UP, heard).await.expect("the end comes");
            assert_eq!(heard.expect("in order, in one view"), cast);
        }
        cast
    }
}

async fn all_three(events: &mut Events) {
    loop {
        if let Event::View(view) = events.next().await.expect("a member")
            && view.members.len() == 3
        {
            return;
        }
    }
}

async fn count(mut events: Events) -> u64 {
    let mut next = 0;
    loop {
        match events.next().await.expect("a member") {
            Event::Message(message) if message.payload == "end" => return next,
            Event::Message(message) => {
                assert_eq!(message.payload, next.to_string());
                next += 1;
            }
            Event::View(view) => panic!("a view of {} members", view.members.len()),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_have_expired_are_renewed_under_load() {
    let now = SystemTime::now();
    // As long as three sites may take to start on a busy machine; who starts later is refused by the others.
    let soon = Validity { from: now - Duration::from_secs(60), until: now + Duration::from_secs(10) };
    let cluster = founded(|cluster| (0..3).for_each(|site| put(cluster, &authority(cluster), site, soon)));
    let mut load = Load::start(&cluster).await;
    let before = cluster.until(0, "expired", |status| {
        certificates(status, "left_s").iter().all(|left| left.as_i64().is_some_and(|left| left < 0))
    });
    assert_eq!(certificates(&before, "renew"), [true; 3]);
    let shown = text(&cluster.run(0, &["status"]).stdout);
    assert!(shown.contains("expired") && shown.contains("cert renew a b c"), "{shown}");

    let serials = renew_all(&cluster);
    until_shown(&cluster, &serials);
    assert!(load.finish().await > 0);
    let after = cluster.until(0, "all are up", |status| sites::up(status) == NAMES);
    assert_eq!(after["position"], before["position"], "nobody was removed: there was no view");
    assert_eq!(certificates(&after, "renew"), [false; 3]);
    for site in 0..3 {
        assert_eq!(counter(&cluster, site, "certificates_replaced"), 1);
        let left = cluster.metric(site, "unanimous_certificate_expires_seconds{site=\"b\"} ");
        assert!(left.is_some_and(|left| left > 800 * 24 * 3600), "{left:?}");
    }
    // And who is started anew is let in.
    let mut cluster = cluster;
    cluster.kill(2);
    cluster.start(2);
    cluster.until_up(2, &NAMES);
}

fn copy(from: &Path, to: &Path) {
    for name in ["site.pem", "site.key", "ca.pem"] {
        std::fs::copy(from.join(name), to.join(name)).expect("copied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_replaced_under_load_and_old_certificates_are_refused_in_the_end() {
    let mut cluster = founded(|_| ());
    let kept: PathBuf = cluster.dir().join("c-before");
    std::fs::create_dir(&kept).expect("a folder");
    copy(&cluster.path(2, "certificates"), &kept);
    let site = format!("unix:{}", cluster.path(0, "session.sock").display());
    let retire = ["root", "retire", "--site", &site];
    let refused = cert(&cluster, &retire);
    assert!(text(&refused.stderr).contains("only one root"), "{}", text(&refused.stderr));
    let mut load = Load::start(&cluster).await;
    for site in 0..3 {
        cluster.until(site, "it is in the catalog", sites::in_catalog);
    }
    let before = cluster.until(0, "all are up", |status| sites::up(status) == NAMES);

    let added: Value =
        serde_json::from_str(&succeeds(&cert(&cluster, &["root", "add", "--json"]))).expect("JSON");
    assert_eq!(added["sites"], serde_json::json!(NAMES));
    for site in 0..3 {
        cluster.until(site, "it trusts both", |status| {
            status["authorities"] == serde_json::json!([added["authority"], added["retiring"]])
        });
    }
    let again = cert(&cluster, &["root", "add"]);
    assert!(text(&again.stderr).contains("two roots"), "{}", text(&again.stderr));
    // One that was interrupted is finished by saying it again.
    let old = std::fs::read_to_string(kept.join("ca.pem")).expect("kept");
    let roots = cluster.path(1, "certificates").join("ca.pem");
    std::fs::write(&roots, &old).expect("written");
    let again: Value =
        serde_json::from_str(&succeeds(&cert(&cluster, &["root", "add", "--json"]))).expect("JSON");
    assert_eq!((&again["authority"], &again["retiring"]), (&added["authority"], &added["retiring"]));
    assert!(std::fs::read_to_string(&roots).expect("there").contains(&old));
    // One after the other; in between, retiring is refused and says why.
    succeeds(&cert(&cluster, &["renew", "a", "b"]));
    cluster.until(0, "a and b show new ones", |status| {
        certificates(status, "authority")[..2] == [&added["authority"]; 2]
    });
    let refused = cert(&cluster, &retire);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("c still shows"), "{}", text(&refused.stderr));
    let serials = renew_all(&cluster);
    until_shown(&cluster, &serials);
    let status = cluster.until(0, "all are up", |status| sites::up(status) == NAMES);
    assert_eq!(certificates(&status, "authority"), [&added["authority"]; 3]);

    succeeds(&cert(&cluster, &retire));
    for site in 0..3 {
        cluster.until(site, "it trusts the new one", |status| {
            status["authorities"] == serde_json::json!([added["authority"]])
        });
    }
    assert!(load.finish().await > 0);
    let after = cluster.until(0, "all are up", |status| sites::up(status) == NAMES);
    assert_eq!(after["position"], before["position"], "nobody was removed: there was no view");

    // The site with its old files is refused; with the new ones it is let in.
    let new = cluster.dir().join("c-new");
    std::fs::create_dir(&new).expect("a folder");
    copy(&cluster.path(2, "certificates"), &new);
    cluster.kill(2);
    cluster.until_up(0, &["a", "b"]);
    copy(&kept, &cluster.path(2, "certificates"));
    cluster.start(2);
    let name = "unanimous_net_refused_total{reason=\"other_authority\"}";
    let refused = eventually(|| {
        (0..2).any(|site| cluster.metric(site, name).is_some_and(|count| count > 0)).then_some(())
    });
    assert!(refused.is_some(), "{}", cluster.log(2));
    copy(&new, &cluster.path(2, "certificates"));
    cluster.until_up(2, &NAMES);
}

#[test]
fn files_that_do_not_go_together_are_refused_counted_and_leave_the_old_ones_in_force() {
    let cluster = founded(|_| ());
    let ca = authority(&cluster);
    for site in 0..3 {
        cluster.until(site, "it is in the catalog", sites::in_catalog);
    }
    let before = cluster.until(0, "all are up", |status| sites::up(status) == NAMES);
    let own = cluster.path(0, "certificates");
    let kept = cluster.dir().join("a-kept");
    std::fs::create_dir(&kept).expect("a folder");
    copy(&own, &kept);
    let now = SystemTime::now();
    let past = Validity { from: now - Duration::from_secs(7_200), until: now - Duration::from_secs(3_600) };
    let stranger = Authority::generate(ca.cluster(), Validity::days(1)).expect("an authority");
    let spoil: [(&str, &dyn Fn()); 5] = [
        ("is that of", &|| copy(&cluster.path(1, "certificates"), &own)),
        ("do not go together", &|| {
            copy(&kept, &own);
            std::fs::copy(cluster.path(1, "certificates").join("site.key"), own.join("site.key"))
                .expect("copied");
        }),
        ("expired", &|| put(&cluster, &ca, 0, past)),
        ("none of the authorities", &|| put(&cluster, &stranger, 0, Validity::days(9))),
        ("site.pem", &|| std::fs::write(own.join("site.pem"), "-----BEGIN CERT").expect("written")),
    ];
    for (n, (why, spoil)) in spoil.iter().enumerate() {
        spoil();
        let counted = eventually(|| (counter(&cluster, 0, "certificates_refused") > n as u64).then_some(()));
        assert!(counted.is_some(), "{why}: {}", cluster.log(0));
        let log = cluster.log(0);
        let refused: Vec<&str> =
            log.lines().filter(|line| line.contains("the new certificates are refused")).collect();
        assert!(refused.len() == n + 1 && refused[n].contains(why), "{why}: {refused:#?}");
    }
    let after = cluster.until(1, "all are up", |status| sites::up(status) == NAMES);
    assert_eq!(certificates(&after, "serial"), certificates(&before, "serial"));
    assert_eq!(counter(&cluster, 0, "certificates_replaced"), 0);
    let serials = renew_all(&cluster);
    until_shown(&cluster, &serials);
    assert_eq!(counter(&cluster, 0, "certificates_replaced"), 1);
}

#[test]
fn a_revoked_site_is_cut_off_and_its_renewed_certificate_is_good() {
    let cluster = founded(|_| ());
    succeeds(&cert(&cluster, &["revoke", "c"]));
    cluster.until_up(0, &["a", "b"]);
    let list = std::fs::read_to_string(cluster.path(1, "certificates").join("revoked")).expect("written");
    assert!(list.contains("/site/3/c"), "{list}");
    succeeds(&cert(&cluster, &["revoke", "c"]));
    assert_eq!(
        std::fs::read_to_string(cluster.path(1, "certificates").join("revoked")).expect("there"),
        list
    );
    succeeds(&cert(&cluster, &["renew", "c"]));
    cluster.until_up(0, &NAMES);
    cluster.until_up(2, &NAMES);
    let out = cluster.dir().join("carry");
    succeeds(&cert(&cluster, &["renew", "a", "--out", utf8(&out), "--days", "9"]));
    assert!(out.join("a").join("site.key").exists());
    assert_eq!(cert(&cluster, &["renew", "x"]).status.code(), Some(1));
    assert_eq!(cert(&cluster, &["renew", "a", "--out", utf8(&out)]).status.code(), Some(1));
}
