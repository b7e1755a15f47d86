//! Links between real sites on the loopback: up, both ways, down, up again, and exactly one connection a pair.

mod support;

use std::time::Duration;

use bytes::Bytes;
use net::links::PACKET_BYTES_MAX;
use net::{Down, Input, Refusal, SendError, Via};
use support::{Cluster, Site, eventually, pair};
use tokio::net::TcpListener;
use wire::{Incarnation, SiteId};

/// Takes packets until there are `count`, and gives them in order.
async fn packets(site: &mut Site, count: usize) -> Vec<Bytes> {
    let mut all = Vec::new();
    while all.len() < count {
        if let Input::Packets(_, packets) = site.next().await {
            all.extend(packets);
        }
    }
    all
}

async fn down(site: &mut Site) -> Down {
    site.until(|input| match input {
        Input::Down { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_every_size_arrive_in_order_both_ways() {
    let (mut a, mut b) = pair(&Cluster::new()).await;
    let sizes = [0, 1, 4095, 4096, 16_384, PACKET_BYTES_MAX - 2];
    for (from, to) in [(&a, SiteId(2)), (&b, SiteId(1))] {
        let mut batch = from.links.batch();
        for size in sizes {
            batch.send(to, b"hd", Bytes::from(vec![size as u8; size])).expect("queued");
        }
    }
    for site in [&mut a, &mut b] {
        for (packet, size) in packets(site, sizes.len()).await.iter().zip(sizes) {
            assert_eq!(&packet[..2], b"hd");
            assert_eq!(packet.len(), size + 2);
            assert!(packet[2..].iter().all(|byte| *byte == size as u8));
        }
    }
    let too_long = Bytes::from(vec![0; PACKET_BYTES_MAX + 1]);
    assert_eq!(a.links.send(SiteId(2), &[], too_long), Err(SendError::TooLong(PACKET_BYTES_MAX + 1)));
    assert_eq!(a.links.send(SiteId(9), &[], Bytes::new()), Err(SendError::Down));
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_that_dial_each_other_at_once_end_up_with_one_connection() {
    for _ in 0..20 {
        let (mut a, mut b) = pair(&Cluster::new()).await;
        // Packets pass both ways, so both have the same connection in use.
        a.links.send(SiteId(2), b"ping", Bytes::new()).expect("queued");
        assert_eq!(packets(&mut b, 1).await, [&b"ping"[..]]);
        b.links.send(SiteId(1), b"pong", Bytes::new()).expect("queued");
        assert_eq!(packets(&mut a, 1).await, [&b"pong"[..]]);
        for site in [&a, &b] {
            assert_eq!((site.metrics.connections_up.get(), site.metrics.connections_down.get()), (1, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_dies_is_refused_at_once_and_its_next_life_connects() {
    let cluster = Cluster::new();
    let (mut a, b) = pair(&cluster).await;
    let mut config = Cluster::config();
    config.listen = b.links.address();
    drop(b);
    assert_eq!(down(&mut a).await, Down::Closed);
    assert_eq!(down(&mut a).await, Down::Refused);
    assert_eq!(a.links.send(SiteId(2), b"x", Bytes::new()), Err(SendError::Down));
    eventually("the port is free", || std::net::TcpListener::bind(config.listen).is_ok()).await;
    let mut b = cluster.start_with(2, 2, config).await;
    assert_eq!(a.until_up(SiteId(2)).await, Incarnation(2));
    assert_eq!(b.until_up(SiteId(1)).await, Incarnation(1));
    a.links.send(SiteId(2), b"again", Bytes::new()).expect("queued");
    assert_eq!(packets(&mut b, 1).await, [&b"again"[..]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_found_silent_is_broken_and_made_again() {
    let (mut a, mut b) = pair(&Cluster::new()).await;
    a.links.disconnect(SiteId(2), Incarnation(0));
    assert!(a.links.is_up(SiteId(2)), "an earlier life is not meant");
    a.links.disconnect(SiteId(2), Incarnation(1));
    assert_eq!(down(&mut a).await, Down::Silent);
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_leaves_the_table_is_let_go_and_one_that_returns_is_dialed() {
    let cluster = Cluster::new();
    let (mut a, mut b) = pair(&cluster).await;
    b.links.set_peers(vec![]);
    assert_eq!(down(&mut b).await, Down::Unlisted);
    // Site 1 still has site 2 in its table, so it dials; site 2 accepts who is certified.
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_keeps_away_is_not_taken_for_dead_and_comes_back_at_once() {
    let cluster = Cluster::new();
    let (mut a, mut b) = pair(&cluster).await;
    b.links.keep_away(true);
    assert_eq!((down(&mut a).await, down(&mut b).await), (Down::Closed, Down::Closed));
    eventually("the other is told why", || a.metrics.refused(Refusal::ByPeer) > 2).await;
    let problem = |site: &Site, of| site.links.problem(SiteId(of)).map(|(_, text)| text).unwrap_or_default();
    for (site, of) in [(&a, 2), (&b, 1)] {
        assert!(problem(site, of).contains(&Refusal::NoRoom.to_string()), "{}", problem(site, of));
        assert!(!site.links.is_up(SiteId(of)));
    }
    // It does not dial either, whatever is new.
    let dials = b.metrics.dials.get();
    b.links.reconnect(SiteId(1));
    let c = cluster.start(3).await;
    b.links.set_peers(vec![a.at(), c.at()]);
    let refused = b.metrics.refused(Refusal::NoRoom);
    eventually("it is dialed again", || b.metrics.refused(Refusal::NoRoom) > refused).await;
    assert_eq!(b.metrics.dials.get(), dials);
    b.links.keep_away(false);
    let up = |input| match input {
        Input::Up { site, .. } => Some(Ok(site)),
        Input::Down { reason: Down::Refused, .. } => Some(Err("taken for dead")),
        _ => None,
    };
    assert_eq!(a.until(up).await, Ok(SiteId(2)));
    b.until_up(SiteId(1)).await;
    b.links.send(SiteId(1), b"back", Bytes::new()).expect("queued");
    assert_eq!(packets(&mut a, 1).await, [&b"back"[..]]);
    eventually("with the new one, too", || b.links.is_up(SiteId(3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_of_a_peer_is_used_when_the_first_is_dead() {
    let cluster = Cluster::new();
    let (mut a, mut b) = (cluster.start(1).await, cluster.start(2).await);
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    let mut at = b.at();
    at.addresses.insert(0, dead);
    a.links.set_peers(vec![at]);
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
    assert_eq!(a.metrics.dials_refused.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_does_not_keep_up_slows_its_peer_down_and_nothing_is_lost() {
    let cluster = Cluster::new();
    let (mut a, mut b) = pair(&cluster).await;
    let body = Bytes::from(vec![5; 60_000]);
    let mut sent = 0u64;
    // Site 2 takes nothing: what lies between fills up, and then the queue here.
    let fill = |a: &Site, sent: &mut u64| -> bool {
        match a.links.send(SiteId(2), &sent.to_le_bytes(), body.clone()) {
            Ok(()) => {
                *sent += 1;
                true
            }
            Err(SendError::Filled) => {
                *sent += 1;
                false
            }
            Err(SendError::Full) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let mut quiet = tokio::time::Instant::now();
    while quiet.elapsed() < Duration::from_millis(300) {
        if fill(&a, &mut sent) {
            quiet = tokio::time::Instant::now();
        }
        tokio::task::yield_now().await;
    }
    assert!(sent * 60_000 < 64 * 1024 * 1024, "what lies between is bounded");
    for (number, packet) in packets(&mut b, sent as usize).await.iter().enumerate() {
        assert_eq!(packet[..8], (number as u64).to_le_bytes());
    }
    a.until(|input| matches!(input, Input::Writable(SiteId(2))).then_some(())).await;
    assert!(fill(&a, &mut sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_go_through_the_connection_until_datagrams_are_known_to_arrive() {
    let (a, mut b) = pair(&Cluster::new()).await;
    let mut by_datagram = 0;
    let mut by_link = 0;
    while by_datagram < 10 {
        match a.links.send_probe(SiteId(2), Bytes::from_static(b"are you there")).expect("sent") {
            Via::Datagram => by_datagram += 1,
            Via::Link => by_link += 1,
        }
        let probe = b.until(|input| match input {
            Input::Probe(SiteId(1), probe) => Some(probe),
            _ => None,
        });
        assert_eq!(probe.await, b"are you there"[..]);
    }
    assert!(by_link > 0);
    assert_eq!(b.metrics.probes_received.get(), by_datagram + by_link);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_arrive_where_datagrams_do_not() {
    let cluster = Cluster::new();
    let mut config = Cluster::config();
    config.datagrams = false;
    let mut a = cluster.start_with(1, 1, config).await;
    let mut b = cluster.start(2).await;
    a.links.set_peers(vec![b.at()]);
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
    for _ in 0..5 {
        assert_eq!(a.links.send_probe(SiteId(2), Bytes::from_static(b"1")), Ok(Via::Link));
        assert_eq!(b.links.send_probe(SiteId(1), Bytes::from_static(b"2")), Ok(Via::Link));
        for site in [&mut a, &mut b] {
            site.until(|input| matches!(input, Input::Probe(..)).then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_makes_no_progress_breaks_the_connection() {
    let cluster = Cluster::new();
    let mut config = Cluster::config();
    config.write_stuck = Duration::from_millis(200);
    let mut a = cluster.start_with(1, 1, config).await;
    let mut b = cluster.start(2).await;
    a.links.set_peers(vec![b.at()]);
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
    // Site 2 takes nothing from now on.
    let body = Bytes::from(vec![5; 60_000]);
    while !matches!(a.links.send(SiteId(2), &[], body.clone()), Err(SendError::Down)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        a.until(|input| if let Input::Down { reason, .. } = input { Some(reason) } else { None }).await,
        Down::Silent
    );
    // The connection made after it may be stuck by now, too.
    assert!(a.metrics.writes_stuck.get() >= 1);
}
