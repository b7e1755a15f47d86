//! What comes from others cannot break a detector, nor make it call a healthy site failed alone.

mod harness;

use detect::{Config, Connection, Detector, Event, Evidence, Path, ProbeError};
use harness::life;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::time::Duration;
use wire::{Incarnation, SiteId, SiteIncarnation, Time};

fn detector() -> Detector {
    let mut detector = Detector::new(Config::default(), life(1), 1);
    detector.handle_members(Time::ZERO, &[life(1), life(2), life(3)]);
    detector
}

#[test]
fn hostile_probes_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut detector = detector();
    let mut now = Time::ZERO;
    for round in 0..200_000u64 {
        let mut body = [0u8; 40];
        rng.fill_bytes(&mut body);
        if round % 4 != 0 {
            // A variant, its fields, and in them small numbers.
            body.iter_mut().for_each(|byte| *byte %= 5);
            body[..3].copy_from_slice(&[0x82, (round % 9) as u8, 0x80 | (rng.next_u64() % 4) as u8]);
            body[3] = [0x82, 1, 0xf5, 2][(rng.next_u64() % 4) as usize];
        }
        let len = (rng.next_u64() % 41) as usize;
        let site = SiteId((rng.next_u64() % 6) as u32);
        let from = SiteIncarnation { site, incarnation: Incarnation(rng.next_u64() % 2) };
        let path = if round % 3 == 0 { Path::Via(SiteId((round % 7) as u32)) } else { Path::Direct };
        now = now + Duration::from_micros(rng.next_u64() % 2_000);
        let _ = detector.handle_probe(now, from, path, &body[..len]);
        if round % 50 == 0 {
            detector.handle_timeout(now);
        }
        while detector.poll_transmit().is_some() || detector.poll_event().is_some() {}
    }
}

#[test]
fn floods_are_bounded() {
    let mut detector = detector();
    for n in 0..20_000u64 {
        let stranger = SiteIncarnation { site: SiteId(100 + n as u32), incarnation: Incarnation(1) };
        detector.handle_heard(Time::ZERO, stranger);
        // An Are-You-There that is answered each time.
        let probe = [0x82, 0, 0x83, 1, 1, 0xf4];
        assert_eq!(detector.handle_probe(Time::ZERO, life(2), Path::Direct, &probe), Ok(()));
    }
    assert!(detector.heard(Time::ZERO).count() <= 2 + 256);
    let mut waiting = 0;
    while detector.poll_transmit().is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, 4_096);
    assert!(detector.counters().dropped > 0);
}

#[test]
fn stale_lives_strangers_and_echoes_are_turned_away() {
    let mut detector = detector();
    let leaving = [0x82, 7, 0x81, 1];
    let old = SiteIncarnation { site: SiteId(2), incarnation: Incarnation(0) };
    let mut give = |from| detector.handle_probe(Time::ZERO, from, Path::Direct, &leaving);
    assert_eq!(give(old), Err(ProbeError::StaleLife));
    assert_eq!(give(life(9)), Err(ProbeError::NotMember));
    assert_eq!(give(life(1)), Err(ProbeError::OwnLife));
    assert_eq!(give(life(2)), Ok(()));
    assert_eq!(detector.poll_event(), Some(Event::Left { who: life(2) }));
    assert_eq!(detector.poll_event(), None);
}

#[test]
fn a_goodbye_that_comes_late_is_not_the_next_life_s() {
    let mut detector = detector();
    let next = SiteIncarnation { site: SiteId(2), incarnation: Incarnation(2) };
    detector.handle_members(Time::ZERO, &[life(1), next, life(3)]);
    // It was sent by itself, so that who hands it in knows only which life speaks now.
    let leaving = [0x82, 7, 0x81, 1];
    let taken = detector.handle_probe(Time::ZERO, next, Path::Direct, &leaving);
    assert_eq!(taken, Err(ProbeError::StaleLife));
    assert_eq!(detector.poll_event(), None, "the next life stays");
}

#[test]
fn a_newer_life_proves_that_the_older_one_is_over() {
    let mut detector = detector();
    detector.handle_connection(Time::ZERO, SiteId(2), Connection::Up(Incarnation(2)));
    let evidence = Evidence::NewLife { incarnation: Incarnation(2) };
    assert_eq!(detector.poll_event(), Some(Event::Failed { who: life(2), evidence }));
    detector.handle_heard(Time::ZERO, SiteIncarnation { site: SiteId(2), incarnation: Incarnation(2) });
    assert_eq!(detector.poll_event(), None, "once");
}
