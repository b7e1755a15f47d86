//! Clusters of detectors under faults: who is called failed, how soon, and who never.

mod harness;

use std::time::Duration;

use detect::{Config, Connection, Event, Path, Settings};
use harness::{Cluster, life};
use wire::{Incarnation, SiteId, SiteIncarnation};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_quiet_healthy_cluster_is_cheap_and_calls_nobody_failed() {
    let mut cluster = Cluster::new(5, Config::default(), 1);
    cluster.run(ms(60_000));
    assert_eq!(cluster.failed(), []);
    assert_eq!(cluster.events, []);
    // Two successors each, a probe and an answer in 150 ms, and a path check a second for the rest.
    assert!(cluster.packets < 60 * 5 * (2 * 2 * 7 + 2 * 2 + 2), "{}", cluster.packets);
}

#[test]
fn a_killed_process_is_failed_at_all_survivors_within_milliseconds() {
    for seed in 0..300 {
        let n = 3 + (seed % 5) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        cluster.run(ms(1_000 + seed));
        let dead = 1 + (seed % u64::from(n)) as u32;
        let start = cluster.now;
        cluster.kill(dead);
        cluster.run(ms(3_000));
        let failed = cluster.failed();
        assert_eq!(failed.len() as u32, n - 1, "seed {seed}: {failed:?}");
        for (at, _, who) in failed {
            assert_eq!(who, dead, "seed {seed}");
            assert!(at.since(start) < ms(10), "seed {seed}: {:?}", at.since(start));
        }
    }
}

#[test]
fn the_last_but_one_site_killed_is_failed_after_it_did_not_refute() {
    let mut cluster = Cluster::new(2, Config::default(), 7);
    cluster.run(ms(1_000));
    let start = cluster.now;
    cluster.kill(2);
    cluster.run(ms(3_000));
    let failed = cluster.failed();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].0.since(start) < ms(300), "{:?}", failed[0].0.since(start));
}

#[test]
fn a_silently_cut_host_is_failed_within_a_second() {
    for seed in 0..300 {
        let n = 2 + (seed % 8) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        cluster.run(ms(2_000 + seed));
        let dead = 1 + (seed % u64::from(n)) as u32;
        let start = cluster.now;
        let bound = cluster.detector(dead % n + 1).detection_bound();
        cluster.darken(dead);
        cluster.run(ms(3_000));
        let failed = cluster.failed();
        assert!(!failed.is_empty(), "seed {seed}");
        assert!(failed.iter().all(|(_, _, who)| *who == dead), "seed {seed}: {failed:?}");
        let first = failed[0].0.since(start);
        assert!(first < ms(1_000) && first <= bound + ms(50), "seed {seed}: {first:?} {bound:?}");
    }
}

#[test]
fn several_hosts_that_go_dark_together_are_all_found() {
    for seed in 0..200 {
        let n = 4 + (seed % 6) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        cluster.run(ms(1_500));
        let dead: Vec<u32> = (2..=n / 2 + 1).collect();
        dead.iter().for_each(|&site| cluster.darken(site));
        cluster.run(ms(1_000 * dead.len() as u64));
        for site in dead.iter() {
            assert!(cluster.failed().iter().any(|(_, _, who)| who == site), "seed {seed}: {site}");
        }
        assert!(cluster.failed().iter().all(|(_, _, who)| dead.contains(who)), "seed {seed}");
    }
}

#[test]
fn traffic_up_to_the_end_neither_hides_a_crash_nor_delays_its_detection() {
    for seed in 0..200 {
        let n = 3 + (seed % 4) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        for _ in 0..100 + seed {
            cluster.chatter(n);
            cluster.run(ms(7));
        }
        let start = cluster.now;
        let killed = seed % 2 == 0;
        if killed {
            cluster.kill(2)
        } else {
            cluster.darken(2)
        }
        // What was under way still arrives.
        for _ in 0..5 {
            cluster.run(Duration::from_micros(300));
            cluster.chatter(n);
        }
        cluster.run(ms(3_000));
        let failed = cluster.failed();
        assert!(!failed.is_empty() && failed.iter().all(|(_, _, who)| *who == 2), "seed {seed}: {failed:?}");
        let took = failed[0].0.since(start);
        assert!(took < ms(if killed { 10 } else { 1_000 }), "seed {seed}: {took:?}");
    }
}

#[test]
fn starved_sites_accuse_nobody() {
    for seed in 0..25 {
        let n = 3 + (seed % 3) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        for round in 0..600 {
            let (slept, then) = (1 + cluster.random((1 << n) - 1), cluster.random(20));
            let sleepers: Vec<u32> = (1..=n).filter(|site| slept >> (site - 1) & 1 == 1).collect();
            // Now and then the whole machine stands still.
            let span = if round % 100 == 99 { 2_000 } else { 1 + cluster.random(90) };
            let sleepers = if round % 100 == 99 { (1..=n).collect() } else { sleepers };
            sleepers.iter().for_each(|&site| cluster.pause(site));
            cluster.run(ms(span));
            sleepers.iter().for_each(|&site| cluster.resume(site));
            cluster.run(ms(then));
        }
        assert_eq!(cluster.failed(), [], "seed {seed}");
    }
}

#[test]
fn a_deaf_site_expels_nobody_at_the_others_and_goes_itself() {
    for seed in 0..100 {
        let n = 3 + (seed % 4) as u32;
        let deaf = 1 + (seed % u64::from(n)) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        cluster.run(ms(1_000));
        for site in (1..=n).filter(|site| *site != deaf) {
            cluster.cut.insert((site, deaf));
        }
        cluster.run(ms(5_000));
        let by_others = cluster.failed().into_iter().filter(|(_, by, _)| *by != deaf);
        assert!(by_others.clone().count() > 0, "seed {seed}");
        assert!(by_others.clone().all(|(_, _, who)| who == deaf), "seed {seed}: {:?}", cluster.failed());
    }
}

#[test]
fn a_site_that_is_deaf_and_keeps_talking_is_the_bad_end_however_senior() {
    let mut cluster = Cluster::new(4, Config::default(), 1);
    cluster.run(ms(1_000));
    cluster.cut.extend([(2, 1), (3, 1), (4, 1)]);
    for _ in 0..2_000 {
        for at in 2..=4 {
            cluster.call(at, |detector, now| detector.handle_heard(now, life(1)));
        }
        cluster.run(ms(10));
    }
    let ends = cluster.events.iter().filter_map(|(_, at, event)| match event {
        Event::BadLink { junior, .. } if *at != 1 => Some(*junior),
        _ => None,
    });
    assert!(ends.clone().count() >= 1 && ends.clone().all(|junior| junior == life(1)));
}

#[test]
fn a_large_view_finds_a_failure_as_soon_and_asks_few() {
    for (n, dark) in [(40, true), (40, false), (120, true)] {
        let mut cluster = Cluster::new(n, Config::default(), 4);
        cluster.run(ms(2_000));
        let (start, packets) = (cluster.now, cluster.packets);
        if dark {
            cluster.darken(17)
        } else {
            cluster.kill(17)
        }
        cluster.run(ms(1_000));
        let failed = cluster.failed();
        assert!(failed.len() >= 2 && failed.iter().all(|(_, _, who)| *who == 17), "{failed:?}");
        assert!(failed[0].0.since(start) < ms(if dark { 1_000 } else { 10 }));
        assert!(cluster.packets - packets < u64::from(n) * 150, "{}", cluster.packets - packets);
    }
}

// Schedule 9: only the path from m to its monitor is cut.
#[test]
fn one_way_loss_never_removes_anybody_and_both_ends_take_a_detour() {
    for seed in 0..1_000 {
        let n = 3 + (seed % 5) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        let from = 1 + cluster.random(u64::from(n)) as u32;
        let to = (from + cluster.random(u64::from(n - 1)) as u32) % n + 1;
        cluster.run(ms(500));
        let (from, to) = if from == to { (from, from % n + 1) } else { (from, to) };
        match seed % 3 {
            0 => cluster.cut.extend([(from, to)]),
            1 => cluster.loss.extend([((from, to), 30 + seed % 60)]),
            _ => cluster.cut.extend([(from, to), (to, from)]),
        }
        cluster.run(ms(8_000));
        assert_eq!(cluster.failed(), [], "seed {seed}: {from} to {to}");
        if seed % 3 != 1 {
            for (at, other) in [(from, to), (to, from)] {
                let path = cluster.detector(at).path(SiteId(other));
                assert!(matches!(path, Some(Path::Via(_))), "seed {seed}: {at} to {other}: {path:?}");
            }
        }
        assert!(!cluster.events.iter().any(|(_, _, event)| matches!(event, Event::BadLink { .. })));
        cluster.cut.clear();
        cluster.loss.clear();
        // A path that flapped is trusted more slowly.
        cluster.run(ms(if seed % 3 == 1 { 70_000 } else { 6_000 }));
        for (at, other) in [(from, to), (to, from)] {
            assert_eq!(cluster.detector(at).path(SiteId(other)), Some(Path::Direct), "seed {seed}");
        }
        assert_eq!(cluster.failed(), [], "seed {seed}: {from} to {to}");
    }
}

// Schedule 9: only the monitor is paused.
#[test]
fn a_monitor_that_slept_accuses_nobody() {
    for seed in 0..1_000 {
        let n = 2 + (seed % 6) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        let slept = 1 + cluster.random(u64::from(n)) as u32;
        cluster.run(ms(400 + seed % 300));
        // Short enough that the others do not miss it, or alone so that nobody does.
        let span = 1 + cluster.random(140);
        cluster.pause(slept);
        cluster.run(ms(span));
        cluster.resume(slept);
        cluster.run(ms(2_000));
        assert_eq!(cluster.failed(), [], "seed {seed}: {slept} slept {span} ms");
    }
}

#[test]
fn a_site_that_slept_too_long_is_removed_itself_and_accuses_nobody() {
    for seed in 0..300 {
        let mut cluster = Cluster::new(3 + (seed % 4) as u32, Config::default(), seed);
        cluster.run(ms(700));
        cluster.pause(2);
        cluster.run(ms(30_000));
        cluster.resume(2);
        cluster.run(ms(2_000));
        let failed = cluster.failed();
        assert!(!failed.is_empty() && failed.iter().all(|(_, _, who)| *who == 2), "seed {seed}: {failed:?}");
        let woke = |event: &Event| matches!(event, Event::WokeLate { by } if *by > ms(29_000));
        assert!(cluster.events.iter().any(|(_, at, event)| *at == 2 && woke(event)), "seed {seed}");
    }
}

#[test]
fn moderate_loss_everywhere_and_short_pauses_remove_nobody_and_a_real_crash_is_still_found() {
    for seed in 0..400 {
        let n = 3 + (seed % 5) as u32;
        let mut cluster = Cluster::new(n, Config::default(), seed);
        cluster.loss_everywhere = seed % 12;
        cluster.latency_us_max = 1 + (seed % 9) * 5_000;
        for _ in 0..20 {
            let slept = 1 + cluster.random(u64::from(n)) as u32;
            let (span, then) = (cluster.random(120), cluster.random(700));
            cluster.pause(slept);
            cluster.run(ms(span));
            cluster.resume(slept);
            cluster.run(ms(then));
        }
        assert_eq!(cluster.failed(), [], "seed {seed}");
        let dead = 1 + cluster.random(u64::from(n)) as u32;
        let bound = cluster.detector(dead % n + 1).detection_bound();
        cluster.darken(dead);
        cluster.run(bound * 3 + ms(1_000));
        let failed = cluster.failed();
        assert!(failed.iter().any(|(_, _, who)| *who == dead), "seed {seed}: {bound:?}");
        assert!(failed.iter().all(|(_, _, who)| *who == dead), "seed {seed}: {failed:?}");
    }
}

#[test]
fn two_sites_without_a_common_neighbour_report_a_bad_link_naming_the_junior_end() {
    // A line 1 - 2 - 3 - 4: 1 and 4 both live and have no neighbour in common.
    let mut cluster = Cluster::new(4, Config::default(), 3);
    cluster.run(ms(1_000));
    for (a, b) in [(1, 3), (1, 4), (2, 4)] {
        cluster.cut.insert((a, b));
        cluster.cut.insert((b, a));
    }
    let start = cluster.now;
    cluster.run(ms(20_000));
    assert_eq!(cluster.failed(), []);
    let bad: Vec<_> =
        cluster.events.iter().filter(|(_, _, event)| matches!(event, Event::BadLink { .. })).collect();
    assert!(!bad.is_empty());
    for (at, by, event) in bad {
        assert!(at.since(start) >= ms(10_000) && [1, 4].contains(by), "{at:?} {by} {event:?}");
        assert_eq!(*event, Event::BadLink { junior: life(4), senior: life(1) });
    }
}

#[test]
fn a_detour_whose_neighbour_dies_moves_to_another() {
    for seed in 0..100 {
        let mut cluster = Cluster::new(4, Config::default(), seed);
        cluster.run(ms(1_000));
        cluster.cut.insert((1, 2));
        cluster.run(ms(5_000));
        let Some(Path::Via(via)) = cluster.detector(1).path(SiteId(2)) else { panic!("seed {seed}") };
        cluster.kill(via.0);
        cluster.run(ms(3_000));
        let failed = cluster.failed();
        assert!(
            failed.iter().all(|(_, _, who)| *who == via.0) && failed.len() == 3,
            "seed {seed}: {failed:?}"
        );
        let other = 3 + 4 - via.0;
        for (at, to) in [(1, 2), (2, 1)] {
            let path = cluster.detector(at).path(SiteId(to));
            assert_eq!(path, Some(Path::Via(SiteId(other))), "seed {seed} {at}");
        }
    }
}

#[test]
fn a_link_in_doubt_is_looked_at_at_once() {
    let mut cluster = Cluster::new(20, Config::default(), 5);
    cluster.run(ms(1_000));
    cluster.cut.insert((1, 10));
    cluster.run(ms(5_000));
    assert_eq!(cluster.events, [], "nobody has a reason to look");
    cluster.call(1, |detector, now| detector.handle_doubt(now, SiteId(10)));
    cluster.run(ms(1_000));
    assert!(matches!(cluster.detector(1).path(SiteId(10)), Some(Path::Via(_))));
    assert!(matches!(cluster.detector(10).path(SiteId(1)), Some(Path::Via(_))));
    assert_eq!(cluster.failed(), []);
}

#[test]
fn a_flapping_path_is_restored_more_slowly_each_time() {
    let mut cluster = Cluster::new(3, Config::default(), 5);
    for _ in 0..60 {
        cluster.cut.insert((2, 1));
        cluster.run(ms(1_500));
        cluster.cut.clear();
        cluster.run(ms(1_500));
    }
    let broken = |event: &Event| matches!(event, Event::DirectPathBroken { peer: SiteId(2), .. });
    let breaks = cluster.events.iter().filter(|(_, at, event)| *at == 1 && broken(event)).count();
    assert!((2..=10).contains(&breaks), "{breaks}");
    assert_eq!(cluster.failed(), []);
}

#[test]
fn a_scheduled_shutdown_is_told_at_once_and_is_no_failure() {
    let mut cluster = Cluster::new(3, Config::default(), 5);
    cluster.run(ms(1_000));
    let start = cluster.now;
    cluster.call(2, |detector, _| detector.announce_shutdown());
    cluster.run(ms(2));
    cluster.kill(2);
    cluster.run(ms(3_000));
    let left: Vec<_> =
        cluster.events.iter().filter(|(_, _, event)| *event == Event::Left { who: life(2) }).collect();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|(at, _, _)| at.since(start) < ms(2)));
    assert_eq!(cluster.failed(), []);
}

// Schedule 10.
#[test]
fn a_failure_is_told_once_and_a_view_without_the_life_clears_it() {
    let mut cluster = Cluster::new(3, Config::default(), 5);
    cluster.run(ms(1_000));
    cluster.kill(3);
    cluster.run(ms(20_000));
    assert_eq!(cluster.failed().len(), 2, "once each");
    assert!(cluster.detector(1).suspected().eq([life(3)]));
    cluster.members_are(1, &[1, 2, 3]);
    cluster.run(ms(5_000));
    assert_eq!(cluster.failed().len(), 2, "a view that keeps it changes nothing");
    cluster.members_are(1, &[1, 2]);
    assert_eq!(cluster.detector(1).suspected().count(), 0);
}

#[test]
fn a_restarted_site_is_watched_in_its_new_life() {
    let mut cluster = Cluster::new(3, Config::default(), 5);
    cluster.run(ms(1_000));
    let again = SiteIncarnation { site: SiteId(3), incarnation: Incarnation(2) };
    for at in [1, 2] {
        let up = Connection::Up(again.incarnation);
        cluster.call(at, |detector, now| detector.handle_connection(now, SiteId(3), up));
    }
    assert_eq!(cluster.failed().len(), 2, "the old life is over");
    for at in [1, 2] {
        cluster.call(at, |detector, now| detector.handle_members(now, &[life(1), life(2), again]));
        let now = cluster.now;
        assert!(cluster.detector(at).heard(now).any(|life| life == again));
    }
    cluster.darken(3);
    cluster.run(ms(1_500));
    let new = |event: &Event| matches!(event, Event::Failed { who, .. } if *who == again);
    assert_eq!(cluster.events.iter().filter(|(_, _, event)| new(event)).count(), 2);
}

/// One disaster after the other under some loss, each time with the view that follows from what was established.
fn disasters(seed: u64) -> Cluster {
    let n = 4 + (seed % 5) as u32;
    let mut cluster = Cluster::new(n, Config::default(), seed);
    let mut alive: Vec<u32> = (1..=n).collect();
    if seed.is_multiple_of(3) {
        cluster.loss_everywhere = seed % 6;
        cluster.latency_us_max = 500 + seed % 7 * 2_000;
    }
    cluster.run(ms(600));
    for round in 0..6 {
        let pick = cluster.random(alive.len() as u64) as usize;
        let (one, other) = (alive[pick], alive[(pick + 1) % alive.len()]);
        let before = cluster.failed().len();
        let bound = cluster.detector(other).detection_bound();
        let dies = alive.len() > 3 && cluster.random(2) == 0;
        match (dies, cluster.random(3)) {
            (true, 0) => cluster.kill(one),
            (true, _) => cluster.darken(one),
            (false, 0) => cluster.cut = [(one, other)].into(),
            (false, 1) => cluster.cut = [(one, other), (other, one)].into(),
            (false, _) => {
                let span = cluster.random(140);
                cluster.pause(one);
                cluster.run(ms(span));
                cluster.resume(one);
            }
        }
        // Lost packets may cost another round of probes.
        cluster.run(if seed.is_multiple_of(3) { bound * 4 + ms(500) } else { bound * 2 + ms(200) });
        let failed: Vec<_> = cluster.failed().split_off(before);
        if dies {
            assert!(!failed.is_empty(), "seed {seed} round {round}: {one} in {bound:?}");
            alive.retain(|site| *site != one);
            let members = alive.clone();
            alive.iter().for_each(|&at| cluster.members_are(at, &members));
        }
        let right = failed.iter().all(|(_, _, who)| dies && *who == one);
        assert!(right, "seed {seed} round {round}: {failed:?}");
        if cluster.random(2) == 0 {
            cluster.cut.clear();
        }
    }
    cluster
}

#[test]
fn disaster_after_disaster_the_dead_are_found_in_time_and_the_living_never() {
    for seed in 0..1_000 {
        disasters(seed);
    }
}

#[test]
fn a_seed_reproduces_a_run() {
    for seed in 0..20 {
        let (one, two) = (disasters(seed), disasters(seed));
        assert_eq!((one.events, one.packets), (two.events, two.packets));
    }
}

#[test]
fn real_time_mode_says_when_the_bound_cannot_be_held_and_when_it_can() {
    let settings = Settings { bound: Some(ms(900)), ..Settings::default() };
    let config = Config { settings, ..Config::default() };
    let mut cluster = Cluster::new(3, config, 9);
    cluster.run(ms(3_000));
    assert_eq!(cluster.events, []);
    cluster.latency_us_max = 200_000;
    cluster.run(ms(5_000));
    let says = |want: fn(&Event) -> bool| move |(_, _, event): &(_, _, Event)| want(event);
    assert!(cluster.events.iter().any(says(|event| matches!(event, Event::CannotHold { .. }))));
    assert_eq!(cluster.failed(), []);
    cluster.latency_us_max = 800;
    cluster.run(ms(60_000));
    let last = cluster.events.iter().rev().find(|(_, at, _)| *at == 1).expect("it said something");
    assert_eq!(last.2, Event::Holds { bound: ms(900) });
}

#[cfg(feature = "bugs")]
#[test]
fn with_the_single_witness_bug_one_way_loss_removes_a_healthy_site() {
    let bugs = wire::Bugs::only(wire::Bug::SingleWitness);
    let mut cluster = Cluster::new(3, Config { bugs, ..Config::default() }, 1);
    cluster.run(ms(1_000));
    cluster.cut.insert((2, 1));
    cluster.run(ms(3_000));
    assert!(!cluster.failed().is_empty());
}
