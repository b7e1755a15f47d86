//! What the channel promises, over every kind of path.

mod world;

use std::time::Duration;

use link::{Class, Config, Event, SendError};
use world::{Path, World, life};

/// Small bounds, so that every one of them is met.
fn tight() -> Config {
    Config {
        send_bytes_max: 400 << 10,
        control_reserve_bytes: 50 << 10,
        frame_bytes_max: 250 << 10,
        late_bytes_max: 100 << 10,
        late_packets_max: 64,
        ..Config::default()
    }
}

fn random_path(world: &mut World) -> Path {
    match world.random(6) {
        0 => Path::CUT,
        1 => Path::HEALTHY,
        _ => Path {
            loss_percent: world.random(40),
            duplicate_percent: world.random(40),
            delay_us: world.random(20_000),
            jitter_us: world.random(20_000),
        },
    }
}

fn send_some(world: &mut World) {
    for _ in 0..world.random(30) {
        let end = world.random(2) as usize;
        let bytes = match world.random(20) {
            0 => world.random(250 << 10),
            1..4 => 60_000 + world.random(10_000),
            _ => world.random(300),
        };
        let class = if world.random(4) == 0 { Class::Control } else { Class::Data };
        match world.send(end, bytes as usize, class) {
            Ok(()) | Err(SendError::Full { .. }) => {}
            Err(error @ SendError::TooLong { .. }) => panic!("{error}"),
        }
    }
}

#[test]
fn frames_arrive_once_and_in_order_whatever_paths_and_lives_do() {
    for seed in 0..300 {
        let mut world = World::new(seed, tight(), Path::HEALTHY);
        for _ in 0..40 {
            send_some(&mut world);
            match world.random(12) {
                0..4 => world.path = random_path(&mut world),
                4 | 5 => {
                    let keep = world.random(2) == 0;
                    world.change_path(keep);
                }
                6 => {
                    let (end, another_life) = (world.random(2) as usize, world.random(3) > 0);
                    world.restart(end, another_life);
                }
                7 => world.lose_flying(),
                _ => {}
            }
            let pause = world.random(80_000);
            world.run_for(Duration::from_micros(pause));
        }
        // Heal, tell nobody, and require that everything arrives.
        world.path = Path::HEALTHY;
        for end in 0..2 {
            let _full_is_fine = world.send(end, 1, Class::Control);
        }
        assert!(world.run_until_idle(Duration::from_secs(60)), "seed {seed}: not idle");
        world.assert_all_arrived();
    }
}

#[test]
fn a_heavily_lossy_path_still_carries_everything() {
    for seed in 0..20 {
        let path = Path { loss_percent: 50, duplicate_percent: 20, delay_us: 1_000, jitter_us: 5_000 };
        let mut world = World::new(seed, Config::default(), path);
        for _ in 0..200 {
            world.send(0, 1_000, Class::Data).expect("room");
            world.send(1, 10, Class::Data).expect("room");
        }
        assert!(world.run_until_idle(Duration::from_secs(600)), "seed {seed}");
        world.assert_all_arrived();
    }
}

#[test]
fn a_healthy_path_never_needs_a_second_sending() {
    let mut world = World::new(1, Config::default(), Path::HEALTHY);
    for _ in 0..1_000 {
        for _ in 0..64 {
            world.send(0, 100, Class::Data).expect("room");
        }
        world.run_for(Duration::from_micros(150));
    }
    assert!(world.run_until_idle(Duration::from_secs(1)));
    let (sent, acked) = (world.ends[0].link.counters(), world.ends[1].link.counters());
    assert_eq!((sent.resent, sent.timeouts, acked.duplicates), (0, 0, 0));
    assert_eq!(acked.frames_delivered, 64_000);
    assert!(acked.acks_sent <= 64_000 / 32 + 100, "{} acknowledgements", acked.acks_sent);
}

#[test]
fn a_peer_that_is_slow_but_goes_on_is_not_sent_anything_twice() {
    // 150 ms each way, far beyond the initial estimate of most paths, and a stream that never pauses.
    let path = Path { delay_us: 150_000, ..Path::HEALTHY };
    let mut world = World::new(1, Config::default(), path);
    for _ in 0..2_000 {
        world.send(0, 500, Class::Data).expect("room");
        world.run_for(Duration::from_millis(1));
    }
    assert!(world.run_until_idle(Duration::from_secs(2)));
    assert_eq!(world.ends[0].link.counters().resent, 0);
}

#[test]
fn a_quiet_link_transmits_nothing() {
    let mut world = World::new(1, Config::default(), Path::HEALTHY);
    world.send(0, 10, Class::Data).expect("room");
    assert!(world.run_until_idle(Duration::from_secs(1)));
    let before = world.transmitted;
    world.run_for(Duration::from_secs(3600));
    assert_eq!(world.transmitted, before);
    assert!(world.ends.iter().all(|end| end.link.poll_timeout().is_none()));
}

#[test]
fn another_path_takes_up_exactly_where_the_last_one_broke() {
    let mut world = World::new(1, Config::default(), Path::HEALTHY);
    for _ in 0..100 {
        world.send(0, 1_000, Class::Data).expect("room");
    }
    assert!(world.run_until_idle(Duration::from_secs(1)));
    for _ in 0..100 {
        world.send(0, 1_000, Class::Data).expect("room");
    }
    world.drain();
    world.lose_flying();
    world.change_path(false);
    // Far sooner than any retransmission time.
    world.run_for(Duration::from_millis(10));
    assert!(world.ends[0].link.is_idle());
    world.assert_all_arrived();
    let counters = world.ends[0].link.counters();
    assert_eq!((counters.resent, counters.timeouts), (100, 0));
}

#[test]
fn one_lost_packet_costs_about_a_round_trip() {
    let mut world = World::new(1, Config::default(), Path::HEALTHY);
    for _ in 0..10 {
        world.send(0, 100, Class::Data).expect("room");
    }
    assert!(world.run_until_idle(Duration::from_secs(1)));
    world.path = Path::CUT;
    world.send(0, 100, Class::Data).expect("room");
    world.drain();
    world.path = Path::HEALTHY;
    for _ in 0..100 {
        world.send(0, 100, Class::Data).expect("room");
        world.run_for(Duration::from_micros(100));
    }
    world.run_for(Duration::from_millis(10));
    assert!(world.ends[0].link.is_idle());
    world.assert_all_arrived();
    assert_eq!(world.ends[0].link.counters().timeouts, 0);
}

#[test]
fn while_nothing_gets_through_little_is_tried() {
    let mut world = World::new(1, Config::default(), Path::HEALTHY);
    world.send(0, 10, Class::Data).expect("room");
    assert!(world.run_until_idle(Duration::from_secs(1)));
    world.path = Path::CUT;
    for _ in 0..1_000 {
        world.send(0, 100, Class::Data).expect("room");
    }
    world.drain();
    let before = world.transmitted;
    world.run_for(Duration::from_secs(60));
    let tried = world.transmitted - before;
    assert!((30..1_000).contains(&tried), "{tried} packets in a minute");
    world.path = Path::HEALTHY;
    assert!(world.run_until_idle(Duration::from_secs(5)));
    world.assert_all_arrived();
}

#[test]
fn data_at_its_bound_leaves_control_its_room_and_is_woken_at_half() {
    let config = tight();
    let mut world = World::new(1, config.clone(), Path::HEALTHY);
    world.send(0, 10, Class::Control).expect("room");
    assert!(world.run_until_idle(Duration::from_secs(1)));
    world.ends[0].events.clear();
    world.path = Path::CUT;
    while world.send(0, 10_000, Class::Data).is_ok() {}
    world.drain();
    assert!(!world.ends[0].events.contains(&Event::Writable));
    for _ in 0..4 {
        world.send(0, 10_000, Class::Control).expect("the reserve");
    }
    while world.send(0, 10_000, Class::Control).is_ok() {}
    world.path = Path::HEALTHY;
    world.change_path(false);
    let full = world.ends[0].link.pending_bytes();
    assert!(full > config.send_bytes_max && full <= config.send_bytes_max + config.control_reserve_bytes);
    assert!(world.run_until_idle(Duration::from_secs(5)));
    world.assert_all_arrived();
    assert_eq!(world.ends[0].events, [Event::Writable], "told once");
}

#[test]
fn a_frame_longer_than_a_packet_arrives_whole() {
    const LONGEST: usize = (4 << 20) + 8;
    let mut world = World::new(1, Config::default(), Path::HEALTHY);
    for bytes in [0, 1, 65_543, 65_544, 65_545, 131_088, 131_089, 4 << 20, LONGEST] {
        world.send(0, bytes, Class::Control).expect("room");
        assert!(world.run_until_idle(Duration::from_secs(1)));
    }
    world.assert_all_arrived();
    let too_long = world.send(0, LONGEST + 1, Class::Control);
    assert_eq!(too_long, Err(SendError::TooLong { bytes: LONGEST + 1, max: LONGEST }));
}

#[test]
fn frames_for_a_peer_not_yet_heard_of_wait_for_its_first_life() {
    let mut world = World::new(1, Config::default(), Path::CUT);
    world.send(0, 10, Class::Control).expect("room");
    world.run_for(Duration::from_secs(30));
    world.path = Path::HEALTHY;
    assert!(world.run_until_idle(Duration::from_secs(5)));
    world.assert_all_arrived();
    assert_eq!(world.ends[0].events, [Event::Reset { old: None, new: life(2, 1) }]);
}

#[test]
fn another_life_of_the_peer_gets_nothing_that_was_meant_for_the_last() {
    for another_life in [true, false] {
        let mut world = World::new(1, Config::default(), Path::HEALTHY);
        world.send(0, 10, Class::Control).expect("room");
        assert!(world.run_until_idle(Duration::from_secs(1)));
        world.path = Path::CUT;
        for _ in 0..10 {
            world.send(0, 10, Class::Control).expect("room");
        }
        world.run_for(Duration::from_millis(1));
        world.restart(1, another_life);
        world.path = Path::HEALTHY;
        world.run_for(Duration::from_secs(3));
        assert!(world.ends[0].link.is_idle(), "what was meant for the last life is dropped");
        let new = life(2, 1 + u64::from(another_life));
        assert_eq!(world.ends[0].events.last(), Some(&Event::Reset { old: Some(life(2, 1)), new }));
        assert_eq!(world.ends[1].delivered, 1, "only what arrived before the restart");
        world.send(0, 10, Class::Control).expect("room");
        assert!(world.run_until_idle(Duration::from_secs(1)));
        world.assert_all_arrived();
    }
}
