//! Sites that join a running cluster under a name, and get their numbers from it.

mod sites;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use net::bids::{BidConnection, BidError};
use net::cert::{Authority, Identity, Role, Validity, load_roots};
use net::{Expect, PeerAddress, Refusal, Trust, tls};
use sites::{Cluster, GAVE_UP, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use unanimous::session::Address;
use unanimous::{Event, Events, Group, JoinOptions, Process, Site};
use wire::version::Hello;
use wire::{Incarnation, SiteId, SiteIncarnation, StoreId};

/// Three founders that run.
fn founded() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        config.site.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    cluster
}

/// The number under which a site sees another one up.
fn number(cluster: &Cluster, at: usize, name: &str) -> u64 {
    let found = |status: &serde_json::Value| {
        let sites = status["sites"].as_array()?.iter();
        sites.filter(|site| site["state"] == "up").find(|site| site["name"] == name)?["id"].as_u64()
    };
    let status = cluster.until(at, &format!("{name} is up"), |status| found(status).is_some());
    found(&status).expect("it was there")
}

async fn join(cluster: &Cluster, site: usize, group: &str) -> (Process, Group, Events) {
    let path = cluster.path(site, "session.sock");
    let address: Address = sites::utf8(&path).parse().expect("an address");
    let process = Site::connect(&address, "test").await.expect("the site runs");
    let joined = tokio::time::timeout(GAVE_UP, process.join(group, JoinOptions::default())).await;
    let (group, events) = joined.expect("in time").expect("joins");
    (process, group, events)
}

async fn members(events: &mut Events, count: usize) {
    let listen = async {
        loop {
            if let Event::View(view) = events.next().await.expect("a member")
                && view.members.len() == count
            {
                return;
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("the view comes");
}

async fn message(events: &mut Events) -> String {
    let listen = async {
        loop {
            if let Event::Message(message) = events.next().await.expect("a member") {
                return String::from_utf8_lossy(&message.payload).into_owned();
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("it comes")
}

/// Waits until a counter of refusals is at least this.
fn refused(cluster: &Cluster, site: usize, why: Refusal, times: u64) {
    let name = format!("unanimous_net_refused_total{{reason=\"{}\"}}", why.label());
    let mut last = None;
    let reached = eventually(|| {
        last = cluster.metric(site, &name);
        last.filter(|count| *count >= times)
    });
    assert!(reached.is_some(), "{name} is {last:?}; log:\n{}", cluster.log(site));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_site_joins_a_running_cluster_and_all_sites_come_to_know_it() {
    let mut cluster = founded();
    // One founder misses the announcement.
    cluster.kill(2);
    cluster.until_up(0, &["a", "b"]);
    let d = cluster.add("d", &[]);
    cluster.start(d);
    cluster.until_up(0, &["a", "b", "d"]);
    assert_eq!(number(&cluster, 0, "d"), 4);
    cluster.until_up(d, &["a", "b", "d"]);

    let (_at_b, b, mut b_events) = join(&cluster, 1, "chat").await;
    let (_at_d, from_d, mut d_events) = join(&cluster, d, "chat").await;
    members(&mut b_events, 2).await;
    from_d.cast("from d").send().await.expect("taken");
    assert_eq!(message(&mut b_events).await, "from d");
    b.cast("from b").send().await.expect("taken");
    assert_eq!(message(&mut d_events).await, "from d");
    assert_eq!(message(&mut d_events).await, "from b");

    // The founder that was away is told by the others, or by the new site itself.
    cluster.start(2);
    assert_eq!(number(&cluster, 2, "d"), 4);
    let (_at_c, c, mut c_events) = join(&cluster, 2, "chat").await;
    members(&mut d_events, 3).await;
    c.cast("from c").send().await.expect("taken");
    assert_eq!(message(&mut d_events).await, "from c");
    assert_eq!(message(&mut c_events).await, "from c");

    // Two new sites are in nobody's configuration, not in each other's either.
    let e = cluster.add("e", &[]);
    cluster.start(e);
    assert_eq!(number(&cluster, 0, "e"), 5);
    let (_at_e, from_e, mut e_events) = join(&cluster, e, "chat").await;
    members(&mut d_events, 4).await;
    from_e.cast("from e").send().await.expect("taken");
    assert_eq!(message(&mut d_events).await, "from e");
    from_d.cast("to e").send().await.expect("taken");
    assert_eq!(message(&mut e_events).await, "from e");
    assert_eq!(message(&mut e_events).await, "to e");
}

#[test]
fn a_restart_keeps_the_number_and_the_dead_keep_theirs() {
    let mut cluster = founded();
    let d = cluster.add("d", &[]);
    cluster.start(d);
    assert_eq!(number(&cluster, 0, "d"), 4);
    cluster.kill(d);
    cluster.until_up(0, &["a", "b", "c"]);
    // Nobody who was there when it announced itself has to be there for that to be remembered.
    for site in 0..3 {
        cluster.kill(site);
    }
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    let e = cluster.add("e", &[]);
    cluster.start(e);
    assert_eq!(number(&cluster, 0, "e"), 5);
    cluster.start(d);
    assert_eq!(number(&cluster, 0, "d"), 4);
    cluster.until_up(1, &["a", "b", "c", "d", "e"]);
}

#[test]
fn a_site_killed_as_it_announces_its_number_announces_the_same_again() {
    let mut cluster = founded();
    let d = cluster.add("d", &[]);
    cluster.start(d);
    let announced = eventually(|| cluster.log(0).contains("announces a number").then_some(()));
    assert!(announced.is_some(), "{}", cluster.log(d));
    cluster.kill(d);
    let e = cluster.add("e", &[]);
    cluster.start(e);
    assert_eq!(number(&cluster, 0, "e"), 5, "4 is spoken for");
    cluster.start(d);
    assert_eq!(number(&cluster, 0, "d"), 4);
}

#[test]
fn sites_that_start_at_once_get_different_numbers() {
    let mut cluster = founded();
    let names = ["d", "e", "f", "g"];
    let new: Vec<usize> = names.iter().map(|name| cluster.add(name, &[])).collect();
    new.iter().for_each(|site| cluster.start(*site));
    let numbers: BTreeSet<u64> = names.iter().map(|name| number(&cluster, 0, name)).collect();
    assert_eq!(numbers.len(), names.len(), "{numbers:?}");
    assert!(numbers.iter().all(|number| *number > 3), "{numbers:?}");
    for site in 0..3 {
        for name in names {
            assert!(numbers.contains(&number(&cluster, site, name)));
        }
    }
}

#[test]
fn a_new_site_may_have_an_mserver() {
    let mut cluster = founded();
    let d = cluster.add("d", &["--mserver"]);
    cluster.start(d);
    let status = cluster.until(0, "d has a rank", |status| {
        let sites = status["sites"].as_array().into_iter().flatten();
        sites.filter(|site| site["rank"].is_u64()).any(|site| site["name"] == "d")
    });
    assert_eq!(status["primary"], true);
    cluster.until_up(d, &["a", "b", "c", "d"]);
    cluster.until_up(1, &["a", "b", "c", "d"]);
    // It is one of those that can go on after the loss of the others, and is known by its name to those that do. Those
    // two die first: to neither of them do they look like enough for a view.
    for site in [1, d, 0, 2] {
        cluster.kill(site);
    }
    for site in [1, d] {
        let config = cluster.path(site, "site.toml");
        let args = ["recover", "--config", sites::utf8(&config), "--survivors", "b,d", "--force"];
        let done = sites::unanimous().args(args).output().expect("runs");
        assert!(done.status.success(), "{}", sites::text(&done.stderr));
    }
    cluster.start(1);
    cluster.start(d);
    cluster.until_up(1, &["b", "d"]);
    cluster.until_up(d, &["b", "d"]);
}

#[test]
fn a_site_that_no_majority_answers_waits_and_gets_its_number_when_one_does() {
    let mut cluster = founded();
    cluster.kill(1);
    cluster.kill(2);
    let d = cluster.add("d", &[]);
    cluster.start(d);
    let waits = eventually(|| cluster.log(d).contains("more than half of the founders").then_some(()));
    assert!(waits.is_some(), "{}", cluster.log(d));
    cluster.start(1);
    assert_eq!(number(&cluster, 1, "d"), 4);
}

#[test]
fn a_second_site_of_one_name_is_refused() {
    let mut cluster = founded();
    let d = cluster.add("d", &[]);
    cluster.start(d);
    assert_eq!(number(&cluster, 0, "d"), 4);
    // The same files on another machine, whose data directory is empty.
    let twin = cluster.add("twin", &[]);
    let text = std::fs::read_to_string(cluster.path(twin, "site.toml")).expect("it is there");
    let text =
        text.replace("name = \"twin\"", "name = \"d\"").replace("\"certificates\"", "\"../d/certificates\"");
    std::fs::write(cluster.path(twin, "site.toml"), text).expect("written");
    cluster.start(twin);
    assert!(!cluster.ended(twin).success());
    assert!(cluster.log(twin).contains("the name d has a number already"), "{}", cluster.log(twin));
    let counted =
        (0..3).filter_map(|site| cluster.metric(site, "unanimous_net_refused_total{reason=\"name_taken\"}"));
    assert!(counted.sum::<u64>() >= 1);
    cluster.until_up(0, &["a", "b", "c", "d"]);
    // And nothing is made under a name that is in use.
    for name in ["a", "d"] {
        let dir = cluster.dir();
        let args = ["site", "add", &format!("{name}=10.0.0.1:7000"), "--dir", sites::utf8(&dir)];
        let made = sites::unanimous().args(args).output().expect("runs");
        assert_eq!(made.status.code(), Some(1));
    }
}

/// A site with a certificate of its own that does as it likes.
struct Rogue {
    identity: Identity,
    trust: Arc<Trust>,
    peer: PeerAddress,
    hello: Hello,
}

impl Rogue {
    fn new(cluster: &Cluster, name: &str, speaks_as: u32) -> Rogue {
        let ca = cluster.dir().join("ca");
        let authority = Authority::load(&ca.join("ca.pem"), &ca.join("ca.key")).expect("init made it");
        let identity = authority.issue(Role::NamedSite, name, Validity::days(1)).expect("issued");
        let roots = load_roots(&ca.join("ca.pem")).expect("init made it");
        let trust = Trust::new(authority.cluster(), &roots).expect("usable");
        let config = unanimous::SiteConfig::read(&cluster.path(0, "site.toml")).expect("init wrote it");
        let peer = PeerAddress { site: SiteId(1), name: "a".to_owned(), addresses: vec![config.site.link] };
        let life = SiteIncarnation { site: SiteId(speaks_as), incarnation: Incarnation(9) };
        let hello = Hello::new(authority.cluster(), 0, life, StoreId(99), name);
        Rogue { identity, trust, peer, hello }
    }

    /// Says hello on a link to the first site, and reads what it says to that.
    async fn hello(&self) -> String {
        let connector = tls::client_config(&self.identity, &self.trust, Expect::AnySite).expect("usable");
        let tcp = TcpStream::connect(self.peer.addresses[0]).await.expect("connected");
        let name = "any".try_into().expect("a name");
        let mut stream = TlsConnector::from(connector).connect(name, tcp).await.expect("certified");
        let hello = self.hello.encode();
        let packet = [&(hello.len() as u32).to_le_bytes()[..], &hello].concat();
        stream.write_all(&packet).await.expect("said");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        sites::text(&answer)
    }

    async fn bid(&self) -> Result<BidConnection, BidError> {
        BidConnection::open(&self.identity, &self.trust, &self.peer).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_names_of_others_are_refused_and_so_is_garbage() {
    let mut cluster = founded();
    let d = cluster.add("d", &[]);
    cluster.start(d);
    assert_eq!(number(&cluster, 0, "d"), 4);

    // In hellos: a founder's number, another site's, the first site's own; and names that are not one's own.
    for (n, number) in [2, 4, 1].into_iter().enumerate() {
        let answer = Rogue::new(&cluster, "rogue", number).hello().await;
        assert!(answer.contains("number"), "{answer}");
        refused(&cluster, 0, Refusal::NumberTaken, n as u64 + 1);
    }
    for (n, name) in ["b", "d"].into_iter().enumerate() {
        let answer = Rogue::new(&cluster, name, 77).hello().await;
        assert!(answer.contains("name"), "{answer}");
        refused(&cluster, 0, Refusal::NameTaken, n as u64 + 1);
        assert!(matches!(
            Rogue::new(&cluster, name, 77).bid().await,
            Err(BidError::Refused(Refusal::NameTaken))
        ));
    }

    // In bids: whoever has a number objects.
    let rogue = Rogue::new(&cluster, "rogue", 0);
    let mut bids = rogue.bid().await.expect("listened to");
    for number in [1, 2, 3, 4] {
        for kind in [2, 4] {
            let answer = bids.ask(&[0x82, kind, 0x81, number]).await.expect("answered");
            assert_eq!(answer[..4], [0x82, 3, 0x82, number], "an objection");
        }
    }
    assert!(matches!(rogue.bid().await, Err(BidError::Refused(Refusal::BidUnderWay))));
    refused(&cluster, 0, Refusal::BidUnderWay, 1);
    assert!(matches!(bids.ask(b"garbage").await, Err(BidError::Refused(Refusal::BadBid))));
    let mut bids = eventually_open(&rogue).await;
    assert!(bids.ask(&[0; 1_000]).await.is_err());
    refused(&cluster, 0, Refusal::BadBid, 2);

    // The others have not noticed.
    cluster.until_up(0, &["a", "b", "c", "d"]);
    let e = cluster.add("e", &[]);
    cluster.start(e);
    assert_eq!(number(&cluster, 1, "e"), 5);
}

/// The name's place is free again a moment after its connection has ended.
async fn eventually_open(rogue: &Rogue) -> BidConnection {
    let open = async {
        loop {
            match rogue.bid().await {
                Ok(bids) => return bids,
                Err(BidError::Refused(Refusal::BidUnderWay)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(GAVE_UP, open).await.expect("in time")
}
