//! What a link does with packets that are not what they should be: a typed error, a counter, nothing else.

mod world;

use bytes::Bytes;
use link::relay::{Envelope, RelayError, Relayed};
use link::{Class, Config, Link, Packet, PacketError};
use proptest::prelude::*;
use wire::frame::FrameError;
use wire::{Bugs, SiteId, Time};
use world::life;

const NOW: Time = Time::from_millis(5);

fn frame(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

/// Two links that know each other; nothing is under way.
fn pair(config: Config) -> (Link, Link) {
    let mut a = Link::new(config.clone(), life(1, 3), SiteId(2), NOW);
    let mut b = Link::new(config, life(2, 3), SiteId(1), NOW);
    a.handle_path_changed(NOW);
    exchange(&mut a, &mut b);
    while a.poll_event().is_some() || b.poll_event().is_some() {}
    (a, b)
}

fn exchange(a: &mut Link, b: &mut Link) {
    loop {
        let (from_a, from_b) = (a.poll_transmit(NOW), b.poll_transmit(NOW));
        if from_a.is_none() && from_b.is_none() {
            return;
        }
        let _refused_is_fine = from_a.map(|packet| b.handle(NOW, packet));
        let _refused_is_fine = from_b.map(|packet| a.handle(NOW, packet));
    }
}

fn data_packet(from: &mut Link) -> Packet {
    from.send(frame(10), Class::Data).expect("room");
    from.poll_transmit(NOW).expect("something to send")
}

#[test]
fn packets_of_past_lives_and_other_links_are_refused() {
    let (mut a, mut b) = pair(Config::default());
    let packet = data_packet(&mut a);

    let mut past = Link::new(Config::default(), life(1, 2), SiteId(2), NOW);
    past.handle_path_changed(NOW);
    let introduction = past.poll_transmit(NOW).expect("an introduction");
    assert_eq!(b.handle(NOW, introduction), Err(PacketError::StaleSender(SiteId(1))));

    let mut stranger = Link::new(Config::default(), life(3, 1), SiteId(1), NOW);
    let wrong = Err(PacketError::WrongSites { from: SiteId(1), to: SiteId(2) });
    assert_eq!(stranger.handle(NOW, packet.clone()), wrong);

    let mut next_life = Link::new(Config::default(), life(2, 4), SiteId(1), NOW);
    assert_eq!(next_life.handle(NOW, packet.clone()), Err(PacketError::StaleReceiver(SiteId(1))));
    let told = next_life.poll_transmit(NOW).expect("the peer is told of this life");
    assert_eq!(a.handle(NOW, told), Ok(()));
    assert_eq!(a.peer_life(), Some(life(2, 4)));

    let mut earlier_copy = Link::new(Config::default(), life(2, 2), SiteId(1), NOW);
    let copied = PacketError::FutureReceiver { from: SiteId(1), incarnation: life(2, 3).incarnation };
    assert_eq!(earlier_copy.handle(NOW, packet), Err(copied));
    assert_eq!(earlier_copy.poll_transmit(NOW), None, "a copy stays silent");
    assert_eq!(b.counters().stale, 1);
}

#[test]
fn a_life_announced_by_a_hello_ends_the_last_one() {
    let (mut a, _) = pair(Config::default());
    a.send(frame(10), Class::Data).expect("room");
    assert!(a.handle_peer(life(2, 2)).is_err());
    assert!(a.handle_peer(life(2, 3)).is_ok());
    assert!(!a.is_idle());
    assert!(a.handle_peer(life(2, 4)).is_ok());
    assert!(a.is_idle());
    let mut b = Link::new(Config::default(), life(2, 4), SiteId(1), NOW);
    a.send(frame(10), Class::Data).expect("room");
    exchange(&mut a, &mut b);
    assert!(b.poll_event().is_some());
    assert_eq!(b.poll_deliver(), Some(frame(10)));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
    let (mut a, mut b) = pair(Config::default());
    let sent = data_packet(&mut a);
    let mut forged = data_packet(&mut b);
    forged.header[56] = 2;
    assert_eq!(a.handle(NOW, forged), Err(PacketError::AckBeyondSent { ack: 2 }));
    assert_eq!(a.poll_deliver(), None);
    assert_eq!(b.handle(NOW, sent), Ok(()));
}

#[test]
fn packets_that_contradict_themselves_are_refused() {
    let (mut a, mut b) = pair(Config::default());
    let good = data_packet(&mut a);
    let changed = |at: usize, to: u8| {
        let mut packet = good.clone();
        packet.header[at] = to;
        packet
    };
    assert!(matches!(b.handle(NOW, changed(0, 1)), Err(PacketError::NotALinkPacket)));
    assert!(matches!(b.handle(NOW, changed(0, 17)), Err(PacketError::NotALinkPacket)));
    assert!(matches!(b.handle(NOW, changed(48, 0)), Err(PacketError::NotALinkPacket)));
    assert!(matches!(b.handle(NOW, changed(55, 255)), Err(PacketError::NotALinkPacket)));
    assert!(matches!(b.handle(NOW, changed(4, 255)), Err(PacketError::Frame(FrameError::Short { .. }))));
    assert!(matches!(b.handle(NOW, changed(4, 0)), Err(PacketError::Frame(FrameError::Trailing(_)))));
    assert!(matches!(b.handle_packet(NOW, frame(63)), Err(PacketError::NotALinkPacket)));
    assert_eq!(b.counters().refused, 7);
    assert_eq!(b.handle(NOW, good), Ok(()));
}

#[test]
fn frames_that_nobody_takes_are_bounded_and_not_lost() {
    let config = Config { ready_bytes_max: 10_000, late_bytes_max: 2_000, ..Config::default() };
    let (mut a, mut b) = pair(config);
    for _ in 0..100 {
        a.send(frame(1_000), Class::Data).expect("room");
    }
    let mut refused = 0;
    while let Some(packet) = a.poll_transmit(NOW) {
        refused += u32::from(b.handle(NOW, packet) == Err(PacketError::ReadyFull));
    }
    assert!(refused > 0 && b.kept_bytes() < 10_000 + 1_064 + 2_000);
    let mut taken = 0;
    while taken < 100 {
        while b.poll_deliver().is_some() {
            taken += 1;
        }
        a.handle_path_changed(NOW);
        exchange(&mut a, &mut b);
    }
}

#[test]
fn a_peer_that_makes_endless_frames_is_refused() {
    let config = Config { frame_bytes_max: 100_000, ..Config::default() };
    let (mut a, _) = pair(Config::default());
    let (_, mut b) = pair(config);
    a.send(frame(1 << 20), Class::Data).expect("room");
    let mut last = Ok(());
    while let Some(packet) = a.poll_transmit(NOW) {
        last = last.and(b.handle(NOW, packet));
    }
    assert_eq!(last, Err(PacketError::FrameTooLong { max: 100_000 }));
    assert!(b.kept_bytes() <= 200_000 + Config::default().late_bytes_max);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut a, _) = pair(Config::default());
        prop_assert!(a.handle_packet(NOW, Bytes::from(bytes.clone())).is_err());
        prop_assert!(Relayed::parse(bytes.into()).is_err());
    }

    /// Whatever is done to the packets, the link neither panics nor exceeds its bounds, and goes on working.
    #[test]
    fn changed_packets_never_panic(changes in proptest::collection::vec((0usize..64, any::<u8>()), 1..200)) {
        let config = Config { late_bytes_max: 500, late_packets_max: 8, ..Config::default() };
        let (mut a, mut b) = pair(config);
        for (at, to) in changes {
            let mut packet = data_packet(&mut a);
            packet.header[at] = to;
            let _any_error_is_fine = b.handle(NOW, packet);
            prop_assert!(b.kept_bytes() <= 500 + 200 * 74);
            while let Some(packet) = b.poll_transmit(NOW) {
                let mut packet = packet;
                packet.header[at] ^= to;
                let _any_error_is_fine = a.handle(NOW, packet);
            }
            while a.poll_event().is_some() || b.poll_event().is_some() {}
            while b.poll_deliver().is_some() {}
            let _nothing_is_due = (a.handle_timeout(NOW), b.handle_timeout(NOW));
        }
    }

    /// Neighbours pass a packet on as they like: it comes to an end, and nobody has it to pass on twice.
    #[test]
    fn no_packet_circles(choices in proptest::collection::vec(1u32..6, 1..20), to in 2u32..6) {
        let origin = life(1, 1);
        let mut relayed = Relayed { envelope: Envelope::new(origin, SiteId(to)), packet: frame(64) };
        let (mut at, mut passed) = (origin.site, vec![]);
        for choice in choices {
            let (from, next) = (at, SiteId(choice));
            if next == from {
                continue;
            }
            let read = Relayed::parse(relayed.to_bytes()).expect("as it was written");
            prop_assert_eq!(&read, &relayed);
            match read.arrive(next, from, Bugs::NONE) {
                Ok(link::relay::Arrival::Here(packet)) => {
                    prop_assert_eq!((next, packet), (SiteId(to), frame(64)));
                    break;
                }
                Ok(link::relay::Arrival::PassOn(on)) => {
                    prop_assert!(relayed.envelope.may_go_by(next));
                    prop_assert!(!passed.contains(&next) && next != origin.site);
                    passed.push(next);
                    prop_assert!(passed.len() <= usize::from(link::relay::HOPS_MAX));
                    (relayed, at) = (on, next);
                }
                Err(RelayError::CameBack { .. } | RelayError::HopsExhausted { .. }) => {
                    prop_assert!(!relayed.envelope.may_go_by(next));
                    break;
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}

#[test]
fn a_neighbour_cannot_send_on_behalf_of_another() {
    let relayed = Relayed { envelope: Envelope::new(life(1, 1), SiteId(4)), packet: frame(64) };
    let wrong = RelayError::WrongHop { from: SiteId(2), says: SiteId(1) };
    assert_eq!(relayed.arrive(SiteId(3), SiteId(2), Bugs::NONE), Err(wrong));
}

#[cfg(feature = "bugs")]
#[test]
fn with_the_loop_re_introduced_a_packet_circles() {
    let bugs = Bugs::only(wire::Bug::DetourLoops);
    let mut relayed = Relayed { envelope: Envelope::new(life(1, 1), SiteId(9)), packet: frame(64) };
    let mut from = SiteId(1);
    for hop in 0..100 {
        let next = SiteId(2 + hop % 2);
        match Relayed::parse(relayed.to_bytes()).expect("as it was written").arrive(next, from, bugs) {
            Ok(link::relay::Arrival::PassOn(on)) => (relayed, from) = (on, next),
            other => panic!("{other:?}"),
        }
    }
}
