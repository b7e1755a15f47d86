//! One thing at a time: windows, links, fragments, slow sites, groups without message guarantees, views that
//! end, and frames from the hostile.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, Told, check, member};
use membership::group::{Consistency, GroupOptions, GroupView};
use multicast::{Cast, CastError, Config, Endpoint, Event, FRAME_BYTES_MAX, Order};
use proptest::prelude::*;
use wire::{Bugs, GroupId, Incarnation, SiteId, SiteIncarnation};

fn life(site: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
}

/// Sites in one view, nothing under way.
fn cluster(sites: u32, config: Config) -> Cluster {
    let mut cluster = Cluster::new(0, Bugs::NONE);
    cluster.members_per_site = 1;
    cluster.config = config;
    (1..=sites).for_each(|site| cluster.start(site));
    cluster.decide(0, 0);
    let lives = cluster.alive();
    lives.iter().for_each(|life| cluster.view(*life));
    exchange(&mut cluster);
    cluster
}

fn exchange(cluster: &mut Cluster) {
    for _ in 0..10_000 {
        cluster.alive().into_iter().for_each(|life| cluster.poll(life));
        let Some(link) = cluster.ready_links().first().copied() else { return };
        cluster.arrive(link);
    }
    panic!("it does not come to rest");
}

fn settle(cluster: &mut Cluster) {
    for _ in 0..10 {
        exchange(cluster);
        cluster.tick(Duration::from_millis(5));
    }
}

fn payloads(cluster: &Cluster, site: u32) -> Vec<Bytes> {
    let told = cluster.lives[&life(site)].told.iter();
    told.filter_map(|told| match told {
        Told::Deliver(delivery) => Some(delivery.payload.clone()),
        Told::View { .. } | Told::Signal | Told::Stable(_) => None,
    })
    .collect()
}

fn endpoint(cluster: &mut Cluster, site: u32) -> &mut Endpoint {
    &mut cluster.lives.get_mut(&life(site)).expect("a known life").endpoint
}

fn cast(order: Order, payload: Bytes) -> Cast {
    Cast { order, safe: false, payload }
}

#[test]
fn a_message_of_64_mib_arrives_whole_and_lets_small_ones_pass() {
    let mut cluster = cluster(3, Config::default());
    let now = cluster.now;
    let large: Bytes = (0..64_usize << 20).map(|i| (i % 251) as u8).collect();
    let from = member(life(2), 1);
    let at = endpoint(&mut cluster, 2);
    at.cast(now, from, cast(Order::Abcast, large.clone())).expect("one message beyond the window is taken");
    assert_eq!(at.cast(now, from, cast(Order::Abcast, Bytes::new())), Err(CastError::Full));
    let (mut frames, mut small_after) = (0, None);
    let mut seen = [false; 3];
    while seen != [true; 3] {
        for site in 1..=3 {
            while let Some(transmit) = endpoint(&mut cluster, site).poll_transmit(now) {
                assert!(transmit.frame.len() <= FRAME_BYTES_MAX);
                frames += 1;
                for to in transmit.to.iter() {
                    let taken =
                        endpoint(&mut cluster, to.0).handle_frame(now, SiteId(site), transmit.frame.clone());
                    assert_eq!(taken, Ok(()));
                }
                if frames == 3 {
                    let small = cast(Order::Fbcast, Bytes::from_static(b"small"));
                    endpoint(&mut cluster, 1).cast(now, member(life(1), 1), small).expect("room");
                }
            }
            while let Some(event) = endpoint(&mut cluster, site).poll_event() {
                if let Event::Deliver(delivery) = event {
                    if delivery.payload == "small" {
                        small_after.get_or_insert(frames);
                    } else {
                        assert!(delivery.payload == large);
                        seen[site as usize - 1] = true;
                    }
                }
            }
        }
        cluster.now = cluster.now + Duration::from_millis(5);
    }
    assert!(small_after.is_some_and(|after| after < 1_000) && frames > 1_300, "{small_after:?} of {frames}");
}

#[test]
fn a_small_message_of_the_same_site_waits_for_one_fragment_only() {
    let mut cluster = cluster(2, Config::default());
    let now = cluster.now;
    let from = member(life(1), 1);
    let at = endpoint(&mut cluster, 1);
    at.cast(now, from, cast(Order::Fbcast, Bytes::from(vec![1; 1 << 20]))).expect("room");
    at.poll_transmit(now).expect("the first fragment");
    at.cast(now, from, cast(Order::Fbcast, Bytes::from_static(b"small"))).expect("room");
    let next = at.poll_transmit(now).expect("a batch or a fragment");
    let after = at.poll_transmit(now).expect("a batch or a fragment");
    assert!(next.frame.len() < 200 || after.frame.len() < 200, "the small message comes in between");
    settle(&mut cluster);
    let sizes: Vec<usize> = payloads(&cluster, 2).iter().map(Bytes::len).collect();
    assert!(sizes.is_empty(), "the first frames were taken away by hand");
}

#[test]
fn a_full_window_refuses_and_says_when_there_is_room_again() {
    let config = Config { window_bytes: 1_000, ..Config::default() };
    let mut cluster = cluster(3, config);
    let now = cluster.now;
    let from = member(life(1), 1);
    let at = endpoint(&mut cluster, 1);
    let mut taken = 0;
    while at.cast(now, from, cast(Order::Fbcast, Bytes::from(vec![0; 100]))).is_ok() {
        taken += 1;
    }
    assert!((5..=10).contains(&taken));
    let mut writable = false;
    for _ in 0..20 {
        for site in 1..=3 {
            while let Some(transmit) = endpoint(&mut cluster, site).poll_transmit(now) {
                for to in transmit.to.iter() {
                    let _taken =
                        endpoint(&mut cluster, to.0).handle_frame(now, SiteId(site), transmit.frame.clone());
                }
            }
        }
        let at = endpoint(&mut cluster, 1);
        while let Some(event) = at.poll_event() {
            writable |= event == Event::Writable;
        }
        let later = now + Duration::from_millis(50);
        for site in 1..=3 {
            while let Some(transmit) = endpoint(&mut cluster, site).poll_transmit(later) {
                for to in transmit.to.iter() {
                    let _taken = endpoint(&mut cluster, to.0).handle_frame(
                        later,
                        SiteId(site),
                        transmit.frame.clone(),
                    );
                }
            }
        }
    }
    assert!(writable);
    assert!(endpoint(&mut cluster, 1).cast(now, from, cast(Order::Fbcast, Bytes::new())).is_ok());
}

#[test]
fn a_site_that_acknowledges_nothing_is_named_slow_once() {
    let config = Config { window_bytes: 1_000, ..Config::default() };
    let mut cluster = cluster(3, config);
    endpoint(&mut cluster, 3).hold_acks(wire::Time::ZERO, true);
    let from = member(life(1), 1);
    let mut slow = Vec::new();
    for _ in 0..10 {
        let now = cluster.now;
        while endpoint(&mut cluster, 1)
            .cast(now, from, cast(Order::Fbcast, Bytes::from(vec![0; 100])))
            .is_ok()
        {}
        for site in 1..=3 {
            while let Some(transmit) = endpoint(&mut cluster, site).poll_transmit(now) {
                for to in transmit.to.iter() {
                    let _taken =
                        endpoint(&mut cluster, to.0).handle_frame(now, SiteId(site), transmit.frame.clone());
                }
            }
        }
        let at = endpoint(&mut cluster, 1);
        at.handle_timeout(now);
        while let Some(event) = at.poll_event() {
            if let Event::Slow(site) = event {
                slow.push((site, now));
            }
        }
        cluster.now = now + Duration::from_secs(5);
    }
    assert_eq!(slow.len(), 1);
    assert_eq!(slow[0].0, SiteId(3));
    assert!(slow[0].1 >= wire::Time::ZERO + Duration::from_secs(30));
}

#[test]
fn a_full_link_holds_batches_back_but_not_a_flush() {
    let mut cluster = cluster(3, Config::default());
    let now = cluster.now;
    endpoint(&mut cluster, 1).handle_link_full(SiteId(3));
    let message = cast(Order::Fbcast, Bytes::from_static(b"m"));
    endpoint(&mut cluster, 1).cast(now, member(life(1), 1), message).expect("room");
    assert_eq!(endpoint(&mut cluster, 1).poll_transmit(now), None);
    let view = cluster.next_view(&[life(1), life(2), life(3)]);
    endpoint(&mut cluster, 1).handle_view(now, view).expect("a good view");
    assert!(endpoint(&mut cluster, 1).poll_transmit(now).is_some(), "the batch");
    assert!(endpoint(&mut cluster, 1).poll_transmit(now).is_some(), "the Flush");
}

#[test]
fn a_site_that_no_member_is_left_at_is_told_that_it_ended() {
    let mut cluster = cluster(2, Config::default());
    let view = cluster.next_view(&[life(2)]);
    let at = endpoint(&mut cluster, 1);
    at.handle_view(wire::Time::ZERO, view.clone()).expect("a good view");
    let mut ended = false;
    while let Some(event) = at.poll_event() {
        ended |= event == Event::Ended { view: view.clone() };
    }
    assert!(ended);
}

#[test]
fn a_strong_group_offers_mbcast_only_and_its_views_do_not_block() {
    let mut cluster = cluster(2, Config::default());
    let strong = |view: Arc<GroupView>| {
        let options = GroupOptions { consistency: Consistency::Strong, ..GroupOptions::default() };
        Arc::new(GroupView { options, ..(*view).clone() })
    };
    for site in [1, 2] {
        let endpoint = Endpoint::new(Config::default(), GroupId::default(), life(site));
        cluster.lives.get_mut(&life(site)).expect("a known life").endpoint = endpoint;
    }
    for _ in 0..3 {
        let view = strong(cluster.next_view(&[life(1), life(2)]));
        for site in [1, 2] {
            cluster.lives.get_mut(&life(site)).expect("a known life").views.push_back(view.clone());
            cluster.view(life(site));
        }
        let now = cluster.now;
        let from = member(life(1), 1);
        let at = endpoint(&mut cluster, 1);
        assert_eq!(at.cast(now, from, cast(Order::Abcast, Bytes::new())), Err(CastError::NotOffered));
        at.cast(now, from, cast(Order::Mbcast, Bytes::from_static(b"m"))).expect("offered");
        settle(&mut cluster);
    }
    assert_eq!(payloads(&cluster, 2).len(), 3);
}

#[test]
fn an_endpoint_made_by_a_frame_delivers_it_once_its_first_view_comes() {
    let mut cluster = cluster(1, Config::default());
    cluster.start(2);
    let view = cluster.next_view(&[life(1), life(2)]);
    cluster.lives.get_mut(&life(1)).expect("a known life").views.push_back(view.clone());
    cluster.view(life(1));
    cluster.cast_this(life(1), 1, Order::Abcast, false, 3, false).expect("room");
    exchange(&mut cluster);
    assert!(payloads(&cluster, 2).is_empty());
    cluster.lives.get_mut(&life(2)).expect("a known life").views.push_back(view);
    cluster.view(life(2));
    settle(&mut cluster);
    assert_eq!(payloads(&cluster, 2).len(), 1);
    assert_eq!(check::violations(&cluster), Vec::<String>::new());
}

#[test]
fn a_group_that_died_may_only_be_read() {
    let mut cluster = cluster(1, Config::default());
    let view = cluster.next_view(&[life(1)]);
    let dead = Arc::new(GroupView { lives: false, ..(*view).clone() });
    let now = cluster.now;
    let at = endpoint(&mut cluster, 1);
    at.handle_view(now, dead).expect("a good view");
    let refused = at.cast(now, member(life(1), 1), cast(Order::Fbcast, Bytes::new()));
    assert_eq!(refused, Err(CastError::ReadOnly));
    let stranger = at.cast(now, member(life(2), 1), cast(Order::Fbcast, Bytes::new()));
    assert_eq!(stranger, Err(CastError::NotMember));
}

/// Frames of every kind that honest sites sent in a run with a view change under way.
fn honest() -> (Cluster, Vec<(SiteIncarnation, SiteIncarnation, Bytes)>) {
    let mut cluster = cluster(3, Config::default());
    for site in 1..=3 {
        for order in [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast] {
            cluster.cast_this(life(site), 1, order, site == 2, 40, false).expect("room");
        }
        cluster.cast_this(life(site), 1, Order::Abcast, false, 100_000, false).expect("room");
    }
    cluster.cast_this(life(1), 1, Order::Gbcast, false, 10, true).expect("room");
    cluster.poll(life(1));
    let view = cluster.next_view(&[life(1), life(2), life(3)]);
    for site in 1..=3 {
        cluster.lives.get_mut(&life(site)).expect("a known life").views.push_back(view.clone());
    }
    cluster.view(life(1));
    (1..=3).for_each(|site| cluster.poll(life(site)));
    let frames: Vec<_> = cluster
        .links
        .iter()
        .flat_map(|((from, to), frames)| frames.iter().map(|frame| (*from, *to, frame.clone())))
        .collect();
    (cluster, frames)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn changed_frames_are_refused_or_harmless(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4u8),
            1..24,
        ),
        flushing in any::<bool>(),
    ) {
        let (mut cluster, frames) = honest();
        if flushing {
            cluster.view(life(3));
        }
        for (which, place, byte, how) in changes {
            let (from, _, frame) = &frames[which.index(frames.len())];
            let mut bytes = frame.to_vec();
            let at = place.index(bytes.len().min(200));
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.extend_from_slice(&[byte; 9]),
                _ => bytes[at] ^= 1 << (byte % 8),
            }
            let now = cluster.now;
            let at = endpoint(&mut cluster, 3);
            let _refused_or_harmless = at.handle_frame(now, from.site, bytes.into());
            while at.poll_transmit(now).is_some() {}
            while at.poll_event().is_some() {}
            at.handle_timeout(now + Duration::from_secs(60));
        }
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut cluster = cluster(2, Config::default());
        let now = cluster.now;
        let at = endpoint(&mut cluster, 1);
        let before = at.clone();
        prop_assert!(at.handle_frame(now, SiteId(2), bytes.into()).is_err());
        prop_assert!(*at == before);
    }
}
