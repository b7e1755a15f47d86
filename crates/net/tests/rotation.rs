//! An identity and the trust roots replaced under links that are up.

#![allow(clippy::disallowed_methods, reason = "certificates have dates")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use net::cert::{Authority, Identity, Role, Validity};
use net::{Down, Input, Refusal, SendError, Shown, Trust};
use support::{Cluster, PATIENCE, Says, Site, eventually};
use wire::{ClusterId, Incarnation, SiteId};

/// A site whose identity and trust are its own, so that they can be replaced.
struct Rotating {
    site: Site,
    shown: Arc<Shown>,
    trust: Arc<Trust>,
}

fn issue(ca: &Authority, site: u32, validity: Validity) -> Identity {
    ca.issue(Role::Site(SiteId(site)), &format!("site-{site}"), validity).expect("issued")
}

impl Rotating {
    async fn start(ca: &Authority, site: u32, validity: Validity) -> Rotating {
        let shown = Shown::new(&issue(ca, site, validity)).expect("usable");
        let trust = Trust::new(ClusterId(7), &[ca.certificate()]).expect("usable");
        let hello = Says { site, incarnation: 1 };
        let started = Site::start_as(&shown, trust.clone(), hello, Cluster::config()).await;
        Rotating { site: started.expect("started"), shown, trust }
    }

    fn renew(&self, ca: &Authority, site: u32) {
        self.shown.replace(&issue(ca, site, Validity::days(1))).expect("of the same site");
        self.site.links.refresh();
    }

    /// Takes what has arrived; fails if the link has been down for a moment.
    fn take(&mut self, packets: &mut usize) {
        while let Some(input) = self.site.inputs.try_recv() {
            match input {
                Input::Packets(_, some) => *packets += some.len(),
                Input::Down { reason, .. } => assert_eq!(reason, Down::Replaced),
                _ => {}
            }
        }
    }
}

async fn linked(ca: &Authority, validity: Validity) -> (Rotating, Rotating) {
    let (mut a, mut b) = (Rotating::start(ca, 1, validity).await, Rotating::start(ca, 2, validity).await);
    a.site.links.set_peers(vec![b.site.at()]);
    b.site.links.set_peers(vec![a.site.at()]);
    a.site.until_up(SiteId(2)).await;
    b.site.until_up(SiteId(1)).await;
    (a, b)
}

fn authority() -> Authority {
    Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority")
}

/// Whether each sees the other's present certificate.
fn fresh(a: &Rotating, b: &Rotating) -> bool {
    let sees = |here: &Rotating, there: &Rotating, site| {
        let seen = here.site.links.certificate(SiteId(site));
        seen.is_some_and(|seen| seen.serial() == there.shown.certificate().serial())
    };
    sees(a, b, 2) && sees(b, a, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_on_every_link_and_none_is_down_meanwhile() {
    let ca = authority();
    for round in 0..6 {
        let (mut a, mut b) = linked(&ca, Validity::days(1)).await;
        // The lower site, the higher one, and both at once, under load.
        if round % 3 != 1 {
            a.renew(&ca, 1);
        }
        if round % 3 != 0 {
            b.renew(&ca, 2);
        }
        let (mut at_a, mut at_b) = (0, 0);
        eventually("each sees the other's new certificate", || {
            // What is under way when a connection is replaced is for `link` to repeat.
            let _ = a.site.links.send(SiteId(2), b"x", Bytes::from_static(&[0; 999]));
            let _ = b.site.links.send(SiteId(1), b"x", Bytes::from_static(&[0; 999]));
            a.take(&mut at_a);
            b.take(&mut at_b);
            fresh(&a, &b)
        })
        .await;
        let links = [a.site.links.clone(), b.site.links.clone()];
        for (from, to, site) in [(&links[0], &mut b, 2), (&links[1], &mut a, 1)] {
            // What was sent above may still fill the queue.
            eventually("there is room", || match from.send(SiteId(site), b"last", Bytes::new()) {
                Ok(()) | Err(SendError::Filled) => true,
                Err(SendError::Full) => false,
                Err(error) => panic!("{error}"),
            })
            .await;
            let arrived = to.site.until(|input| match input {
                Input::Packets(_, packets) => packets.contains(&Bytes::from_static(b"last")).then_some(()),
                Input::Down { reason, .. } => {
                    assert_eq!(reason, Down::Replaced);
                    None
                }
                _ => None,
            });
            arrived.await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_outlives_its_certificates_and_cannot_be_made_again_until_they_are_renewed() {
    let ca = authority();
    let now = SystemTime::now();
    let soon = Validity { from: now - Duration::from_secs(60), until: now + Duration::from_secs(2) };
    let (mut a, mut b) = linked(&ca, soon).await;
    eventually("they expire", || SystemTime::now() > soon.until + Duration::from_secs(1)).await;
    a.site.links.send(SiteId(2), b"still", Bytes::new()).expect("the link stands");
    let still = |input| if let Input::Packets(_, packets) = input { Some(packets) } else { None };
    assert_eq!(b.site.until(still).await, [&b"still"[..]]);

    a.site.links.disconnect(SiteId(2), Incarnation(1));
    eventually("refused", || {
        let refused = |site: &Rotating| site.site.metrics.refused(Refusal::Expired);
        refused(&a) + refused(&b) > 0
    })
    .await;
    assert!(!a.site.links.is_up(SiteId(2)));
    a.renew(&ca, 1);
    b.renew(&ca, 2);
    a.site.until_up(SiteId(2)).await;
    b.site.until_up(SiteId(1)).await;
    assert!(fresh(&a, &b));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_rotated_and_what_the_old_one_has_issued_is_refused_in_the_end() {
    let (old, new) = (authority(), authority());
    let (mut a, mut b) = linked(&old, Validity::days(1)).await;
    let both = [new.certificate(), old.certificate()];
    // A new certificate whose authority the peer does not trust yet costs nothing.
    a.trust.set_roots(&both).expect("usable");
    a.renew(&new, 1);
    eventually("refused by the other", || {
        let refused = |site: &Rotating| site.site.metrics.refused(Refusal::OtherAuthority);
        refused(&a) + refused(&b) > 0
    })
    .await;
    assert!(a.site.links.is_up(SiteId(2)) && b.site.links.is_up(SiteId(1)));
    assert_eq!(a.site.metrics.connections_down.get(), 0);

    b.trust.set_roots(&both).expect("usable");
    b.renew(&new, 2);
    eventually("each sees the other's new certificate", || {
        a.take(&mut 0);
        b.take(&mut 0);
        fresh(&a, &b)
    })
    .await;

    // A third site has slept through it.
    let mut c = Rotating::start(&old, 3, Validity::days(1)).await;
    c.trust.set_roots(&both).expect("usable");
    c.site.links.set_peers(vec![a.site.at()]);
    c.site.until_up(SiteId(1)).await;
    // Until its first packet is here, 1 may be about to look once more whether it trusts 3.
    c.site.links.send(SiteId(1), b"here", Bytes::new()).expect("queued");
    let from_3 = |input| matches!(input, Input::Packets(SiteId(3), _)).then_some(());
    a.site.until(from_3).await;
    let (trust, certificate) = (a.trust.clone(), c.shown.certificate());
    let distrusted = tokio::spawn(async move { trust.until_distrusted(&certificate).await });
    for site in [&a, &b] {
        site.trust.set_roots(&both[..1]).expect("usable");
    }
    let why = tokio::time::timeout(PATIENCE, distrusted).await.expect("in time");
    assert_eq!(why.expect("it ends"), Refusal::OtherAuthority);
    assert_eq!(a.site.links.drop_distrusted(), 1, "the link with 3");
    assert_eq!(b.site.links.drop_distrusted(), 0);
    assert!(a.site.links.is_up(SiteId(2)));
    let cut = a.site.metrics.refused(Refusal::OtherAuthority);
    eventually("3 is refused", || a.site.metrics.refused(Refusal::OtherAuthority) > cut).await;
    assert!(!a.site.links.is_up(SiteId(3)));
    c.renew(&new, 3);
    c.site.until_up(SiteId(1)).await;
}
