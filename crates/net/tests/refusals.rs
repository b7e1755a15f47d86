//! Who is turned away: each counted under its reason, and no link disturbed by any of them.

#![allow(clippy::disallowed_methods, reason = "certificates have dates")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use net::cert::{Authority, Identity, Role, Validity};
use net::{Down, Expect, Input, Refusal, Trust, tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use support::{Cluster, Says, Site, any_name, eventually, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use wire::{ClusterId, Incarnation, SiteId};

/// Trusts everybody: what an intruder does.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

/// A connection as `identity`, or as nobody, that sends a hello as `says` and reads until it is cut.
async fn intrude(to: &Site, identity: Option<&Identity>, cluster: &Cluster, says: u32) {
    let mut config = match identity {
        Some(identity) => {
            (*tls::client_config(identity, &cluster.trust, Expect::AnySite).expect("usable")).clone()
        }
        None => ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth(),
    };
    config.dangerous().set_certificate_verifier(Arc::new(Anybody));
    let tcp = TcpStream::connect(to.links.address()).await.expect("connected");
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(any_name(), tcp).await else { return };
    let hello = [&12u32.to_le_bytes()[..], &says.to_le_bytes(), &1u64.to_le_bytes()].concat();
    let _ = stream.write_all(&hello).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn refused(site: &Site, why: Refusal, times: u64) {
    eventually(why.label(), || site.metrics.refused(why) >= times).await;
    assert_eq!(site.metrics.refused(why), times, "{why}");
}

/// The link between 1 and 2 has never been anything but up, and still carries packets.
async fn undisturbed(a: &Site, b: &mut Site) {
    assert_eq!((a.metrics.connections_up.get(), a.metrics.connections_down.get()), (1, 0));
    a.links.send(SiteId(2), b"still", Bytes::new()).expect("queued");
    let packet = b.until(|input| if let Input::Packets(_, packets) = input { Some(packets) } else { None });
    assert_eq!(packet.await, [&b"still"[..]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_wrong_certificate_is_refused_and_counted() {
    let cluster = Cluster::new();
    let (a, mut b) = pair(&cluster).await;
    let ca = &cluster.authority;
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let past = Validity { from: now - 3 * hour, until: now - hour };
    let future = Validity { from: now + hour, until: now + 3 * hour };
    let issue = |role, validity| ca.issue(role, "x", validity).expect("issued");
    let other = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
    let revoked = cluster.site(5);
    cluster.trust.set_revoked([revoked.serial().clone()]);

    let cases = [
        (None, 3, Refusal::NoCertificate),
        (
            Some(other.issue(Role::Site(SiteId(3)), "x", Validity::days(1)).expect("issued")),
            3,
            Refusal::OtherAuthority,
        ),
        (Some(issue(Role::Site(SiteId(3)), past)), 3, Refusal::Expired),
        (Some(issue(Role::Site(SiteId(3)), future)), 3, Refusal::NotYetValid),
        (Some(revoked), 5, Refusal::Revoked),
        (Some(issue(Role::Client, Validity::days(1))), 3, Refusal::WrongRole),
        (Some(issue(Role::Administrator, Validity::days(1))), 3, Refusal::WrongRole),
        // Site 2 speaks as site 3, and somebody with this site's own certificate comes from outside.
        (Some(cluster.site(2)), 3, Refusal::WrongSite),
        (Some(cluster.site(1)), 1, Refusal::WrongSite),
    ];
    for (identity, says, why) in &cases {
        let before = a.metrics.refused(*why);
        intrude(&a, identity.as_ref(), &cluster, *says).await;
        refused(&a, *why, before + 1).await;
    }
    undisturbed(&a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_cluster_is_refused_even_under_the_same_authority() {
    let cluster = Cluster::new();
    let elsewhere = Trust::new(ClusterId(8), &[cluster.authority.certificate()]).expect("trust");
    let says = Says { site: 1, incarnation: 1 };
    let a = Site::start(&cluster.site(1), elsewhere, says, Cluster::config()).await.expect("started");
    intrude(&a, Some(&cluster.site(2)), &cluster, 2).await;
    refused(&a, Refusal::WrongCluster, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_refuses_another_site_at_the_address_of_its_peer() {
    let cluster = Cluster::new();
    let (a, c) = (cluster.start(1).await, cluster.start(3).await);
    let mut at = c.at();
    at.site = SiteId(2);
    a.links.set_peers(vec![at]);
    eventually("refused by the dialer", || a.metrics.refused(Refusal::WrongSite) > 0).await;
    eventually("noticed by the other", || c.metrics.refused(Refusal::ByPeer) > 0).await;
    assert!(!a.links.is_up(SiteId(2)) && !a.links.is_up(SiteId(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_life_of_a_connected_site_is_refused() {
    let cluster = Cluster::new();
    let mut a = cluster.start(1).await;
    let mut b = cluster.start_with(2, 5, Cluster::config()).await;
    b.links.set_peers(vec![a.at()]);
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
    let mut clone = cluster.start_with(2, 4, Cluster::config()).await;
    clone.links.set_peers(vec![a.at()]);
    eventually("refused", || a.metrics.refused(Refusal::StaleIncarnation) > 0).await;
    clone.until(|input| matches!(input, Input::Stale { newest: Incarnation(5) }).then_some(())).await;
    undisturbed(&a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_the_connection_and_keeps_it_cut() {
    let cluster = Cluster::new();
    let identity = cluster.site(2);
    let mut a = cluster.start(1).await;
    let says = Says { site: 2, incarnation: 1 };
    let b = Site::start(&identity, cluster.trust.clone(), says, Cluster::config()).await.expect("started");
    b.links.set_peers(vec![a.at()]);
    a.until_up(SiteId(2)).await;
    cluster.trust.set_revoked([identity.serial().clone()]);
    // The handshake looks once more after the site is up, so it may have cut the connection itself.
    assert!(a.links.drop_distrusted() <= 1);
    let down = a.until(|input| if let Input::Down { reason, .. } = input { Some(reason) } else { None });
    assert_eq!(down.await, Down::Expelled);
    eventually("refused when it comes again", || a.metrics.refused(Refusal::Revoked) >= 2).await;
    assert!(!a.links.is_up(SiteId(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_overlap_while_one_is_rotated() {
    let old = Cluster::new();
    let new = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
    let both = [old.authority.certificate(), new.certificate()];
    old.trust.set_roots(&both).expect("trusted");
    let renewed = new.issue(Role::Site(SiteId(2)), "site-2", Validity::days(1)).expect("issued");
    let mut a = old.start(1).await;
    let says = Says { site: 2, incarnation: 1 };
    let b = Site::start(&renewed, old.trust.clone(), says, Cluster::config()).await.expect("started");
    b.links.set_peers(vec![a.at()]);
    a.until_up(SiteId(2)).await;

    old.trust.set_roots(&[new.certificate()]).expect("trusted");
    intrude(&a, Some(&old.site(3)), &old, 3).await;
    refused(&a, Refusal::OtherAuthority, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_is_refused_and_counted() {
    let cluster = Cluster::new();
    let (a, mut b) = pair(&cluster).await;
    for (garbage, why) in [
        (&b"GET / HTTP/1.1\r\nHost: site\r\n\r\n"[..], Refusal::NotTls),
        (&[0xff; 4096], Refusal::NotTls),
        (&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], Refusal::NotTls),
        (&[], Refusal::Abandoned),
        (&[0x16, 3, 1], Refusal::Abandoned),
    ] {
        let before = a.metrics.refused(why);
        let mut tcp = TcpStream::connect(a.links.address()).await.expect("connected");
        let _ = tcp.write_all(garbage).await;
        let _ = tcp.shutdown().await;
        refused(&a, why, before + 1).await;
    }
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    for length in [0, 1, 31, 33, 200, 2000] {
        udp.send_to(&vec![0xa5; length], a.links.address()).await.expect("sent");
    }
    eventually("garbage datagrams are counted", || {
        (a.metrics.probes_malformed.get(), a.metrics.probes_unknown_key.get()) == (4, 2)
    })
    .await;
    undisturbed(&a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_open_connections_keep_nobody_out() {
    let cluster = Cluster::new();
    // A thousand descriptors at each end.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    )
    .expect("raised to what is allowed");
    let (a, mut b) = pair(&cluster).await;
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(a.links.address()).await.expect("connected"));
    }
    eventually("the oldest are pushed out", || a.metrics.refused(Refusal::HalfOpenLimit) >= 1000 - 256).await;
    let mut c = cluster.start(3).await;
    c.links.set_peers(vec![a.at()]);
    c.until_up(SiteId(1)).await;
    assert_eq!(a.metrics.connections_down.get(), 0);
    a.links.send(SiteId(2), b"still", Bytes::new()).expect("queued");
    b.until(|input| matches!(input, Input::Packets(..)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_in_the_handshake_is_let_go() {
    let cluster = Cluster::new();
    let mut config = Cluster::config();
    config.handshake_timeout = Duration::from_millis(100);
    let a = cluster.start_with(1, 1, config).await;
    let mut tcp = TcpStream::connect(a.links.address()).await.expect("connected");
    refused(&a, Refusal::HandshakeTimeout, 1).await;
    assert_eq!(tcp.read(&mut [0]).await.expect("closed"), 0);
}
