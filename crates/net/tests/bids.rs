//! Connections of sites that have no number yet.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use net::bids::{BID_BYTES_MAX, BIDDERS_MAX, BidConnection, BidError};
use net::cert::{Identity, Principal, Role, Validity};
use net::{Bid, Hello, HelloRefused, Links, Metrics, PeerAddress, Refusal, Shown};
use support::{Cluster, Says, eventually};
use wire::{Incarnation, SiteId};

/// Answers a bid with itself, but for what it must not.
struct Echo {
    says: Says,
    opened: AtomicUsize,
    closed: Mutex<Vec<String>>,
}

impl Hello for Echo {
    fn ours(&self) -> Bytes {
        self.says.ours()
    }

    fn check(&self, certified: &Principal, theirs: &Bytes) -> Result<(SiteId, Incarnation), HelloRefused> {
        self.says.check(certified, theirs)
    }

    fn bid(&self, name: &str, bid: Bid) -> Result<Option<Bytes>, Refusal> {
        match bid {
            Bid::Opened if name == "taken" => return Err(Refusal::NameTaken),
            Bid::Opened => drop(self.opened.fetch_add(1, SeqCst)),
            Bid::Said(said) if said == "nothing" => {}
            Bid::Said(said) => return Ok(Some(said)),
            Bid::Closed => self.closed.lock().expect("no panic").push(name.to_owned()),
        }
        Ok(None)
    }
}

struct Peer {
    cluster: Cluster,
    links: Links,
    echo: Arc<Echo>,
    metrics: Arc<Metrics>,
    at: PeerAddress,
}

impl Peer {
    async fn start() -> Peer {
        let cluster = Cluster::new();
        let says = Says { site: 1, incarnation: 1 };
        let echo = Arc::new(Echo { says, opened: AtomicUsize::new(0), closed: Mutex::default() });
        let metrics = Arc::new(Metrics::default());
        let shown = Shown::new(&cluster.site(1)).expect("usable");
        let hello = Arc::clone(&echo) as Arc<dyn Hello>;
        let (inputs, _) = net::inputs();
        let trust = Arc::clone(&cluster.trust);
        let start =
            Links::start(Cluster::config(), (SiteId(1), &shown), trust, hello, inputs, metrics.clone());
        let links = start.await.expect("started");
        let at = PeerAddress { site: SiteId(1), name: "one".into(), addresses: vec![links.address()] };
        Peer { cluster, links, echo, metrics, at }
    }

    fn named(&self, name: &str) -> Identity {
        self.cluster.authority.issue(Role::NamedSite, name, Validity::days(1)).expect("issued")
    }

    async fn open(&self, identity: &Identity) -> Result<BidConnection, BidError> {
        BidConnection::open(identity, &self.cluster.trust, &self.at).await
    }

    async fn refused(&self, identity: &Identity, why: Refusal) {
        let before = self.metrics.refused(why);
        match self.open(identity).await {
            Err(BidError::Refused(said)) => assert_eq!(said, why),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("not refused"),
        }
        assert_eq!(self.metrics.refused(why), before + 1);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.links.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_site_is_answered_on_one_connection_at_a_time() {
    let peer = Peer::start().await;
    let d = peer.named("d");
    let mut bids = peer.open(&d).await.expect("listened to");
    assert_eq!(bids.ask(b"one").await.expect("answered"), "one");
    assert_eq!(bids.ask(b"nothing").await.expect("answered"), "");
    peer.refused(&d, Refusal::BidUnderWay).await;
    assert_eq!(bids.ask(&[7; BID_BYTES_MAX]).await.expect("answered"), [7; BID_BYTES_MAX][..]);
    drop(bids);
    eventually("it is gone", || *peer.echo.closed.lock().expect("no panic") == ["d"]).await;
    assert_eq!(peer.echo.opened.load(SeqCst), 1, "the second was not asked about");
    let again = async {
        while peer.open(&d).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::PATIENCE, again).await.expect("its name may bid again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_bid_and_what_is_too_long_is_refused_and_counted() {
    let peer = Peer::start().await;
    peer.refused(&peer.cluster.site(3), Refusal::WrongRole).await;
    peer.refused(&peer.named("taken"), Refusal::NameTaken).await;
    let d = peer.named("d");
    let mut bids = peer.open(&d).await.expect("listened to");
    peer.cluster.trust.set_revoked([d.serial().clone()]);
    assert!(matches!(bids.ask(b"one").await, Err(BidError::Refused(Refusal::Revoked))));
    let mut bids = peer.open(&peer.named("e")).await.expect("listened to");
    assert!(bids.ask(&[7; BID_BYTES_MAX + 1]).await.is_err());
    eventually("it is counted", || peer.metrics.refused(Refusal::BadBid) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bidders_are_bounded_in_number() {
    let peer = Peer::start().await;
    let mut held = Vec::new();
    for n in 0..BIDDERS_MAX {
        held.push(peer.open(&peer.named(&format!("n{n}"))).await.expect("listened to"));
    }
    let late = peer.named("late");
    peer.refused(&late, Refusal::TooManyBids).await;
    assert_eq!(held[0].ask(b"still").await.expect("answered"), "still");
}
