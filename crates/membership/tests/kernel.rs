//! The kernel's rules one by one, on a few sites under a script.

mod common;

use common::world::{Told, World};
use membership::kernel::{ASKED_AT_ONCE_MAX, Timer};
use membership::step::{RequestKind, Why};
use wire::{Bugs, SiteId};

fn anything() -> RequestKind {
    RequestKind::Reorder(SiteId(99))
}

#[test]
fn founders_make_one_view_and_all_of_them_are_needed() {
    let mut world = World::new(3, Bugs::NONE);
    world.start(1);
    world.start(2);
    world.hear_all();
    world.settle();
    assert_eq!(world.position(1), 0, "two of three founders found nothing");
    assert_eq!(world.kernel(1).waiting_for(), vec![SiteId(3)]);
    world.start(3);
    world.hear_all();
    world.settle();
    for n in 1..=3 {
        assert_eq!(world.members(n), vec![1, 2, 3]);
        assert!(world.kernel(n).is_primary());
    }
    world.assert_sound();
}

#[test]
fn rank_0_changes_in_two_phases_and_settles_the_request_everywhere() {
    let mut world = World::founded(3, Bugs::NONE);
    let id = world.submit(2, anything());
    world.deliver(2, 1, "Submit");
    assert!(world.find(1, 2, "CoordFail").is_none(), "no election");
    world.quiesce();
    assert!(world.told.contains(&(2, Told::Settled(id, true))));
    for n in 1..=3 {
        assert_eq!(world.position(n), 2);
        assert_eq!(world.kernel(n).pending().count(), 0);
    }
    world.assert_sound();
}

#[test]
fn the_next_in_rank_elects_when_rank_0_is_gone() {
    let mut world = World::founded(3, Bugs::NONE);
    world.crash(1, 0);
    world.fail(2, 1);
    world.hear(3, &[2]);
    world.settle();
    for n in 2..=3 {
        assert_eq!(world.members(n), vec![2, 3]);
        assert!(world.kernel(n).is_primary());
        assert_eq!(world.view(n).removed[0].1, Why::Failed);
    }
    world.assert_sound();
}

#[test]
fn a_restarted_site_comes_back_as_another_member_and_total_failure_needs_nothing_more() {
    let mut world = World::founded(3, Bugs::NONE);
    for n in 1..=3 {
        world.crash(n, 0);
    }
    world.start(2);
    world.start(3);
    world.hear_all();
    world.settle();
    assert_eq!(world.members(2), world.members(3));
    assert!(world.kernel(2).is_primary(), "two of three are a quorum: {world}");
    world.start(1);
    world.hear_all();
    world.settle();
    assert_eq!(world.members(1).len(), 3, "{world}");
    assert_eq!(world.members(1), world.members(2));
    world.assert_sound();
}

#[test]
fn a_minority_goes_on_off_the_line_and_merges_when_it_is_heard() {
    let mut world = World::founded(3, Bugs::NONE);
    world.hear(1, &[]);
    world.fail(1, 2);
    world.fail(1, 3);
    world.lose(|_| true);
    world.settle();
    assert_eq!(world.members(1), vec![1]);
    assert!(!world.kernel(1).is_primary());
    let request = world.submit(1, anything());
    world.settle();
    assert!(world.told.contains(&(1, Told::Settled(request, false))), "done here, {world}");
    world.fail(2, 1);
    world.hear(3, &[2]);
    world.lose(|p| p.to == 1 || p.from == 1);
    while !world.kernel(3).is_primary() || world.members(3) != vec![2, 3] {
        world.lose(|p| p.to == 1 || p.from == 1);
        if world.net.is_empty() {
            assert!(world.fire(2, |_| true) || world.fire(3, |_| true), "{world}");
        } else {
            world.deliver_at(0);
        }
    }
    world.lose(|_| true);
    world.hear_all();
    world.with(2, |k| k.search(&[SiteId(1)], 0));
    world.settle();
    for n in 1..=3 {
        assert_eq!(world.members(n), vec![2, 3, 1], "{world}");
        assert!(world.kernel(n).is_primary());
        assert_eq!(world.kernel(n).pending().count(), 0, "settled on the line");
    }
    assert!(world.told.contains(&(1, Told::Settled(request, true))));
    assert_eq!(world.kernel(2).line().expect("a line").tables.merged(), 1, "the branch was merged once");
    world.assert_sound();
}

#[test]
fn a_coordinator_that_is_established_as_failed_is_not_waited_for() {
    let mut world = World::founded(3, Bugs::NONE);
    world.submit(1, anything());
    world.deliver(1, 2, "Initiate");
    world.deliver(1, 3, "Initiate");
    world.crash(1, 0);
    world.lose(|p| p.from == 1 || p.to == 1);
    world.fail(2, 1);
    world.fail(3, 1);
    world.quiesce();
    for n in 2..=3 {
        assert_eq!(world.members(n), vec![2, 3], "no timer had to run out, {world}");
    }
    world.assert_sound();
}

#[test]
fn what_a_side_that_is_gone_had_established_removes_nobody() {
    let mut world = World::founded(5, Bugs::NONE);
    world.fail(1, 4);
    let late = world.hold(1, 3, "Submit");
    world.lose(|_| true);
    for n in 3..=5 {
        let others: Vec<u32> = (3..=5).filter(|other| *other != n).collect();
        world.hear(n, &others);
        world.fail(n, 1);
        world.fail(n, 2);
    }
    world.crash(1, 0);
    world.crash(2, 0);
    world.settle();
    assert_eq!(world.members(3), vec![3, 4, 5], "{world}");
    world.hand_over(&late);
    world.hear(3, &[4, 5]);
    world.settle();
    for n in 3..=5 {
        assert_eq!(world.members(n), vec![3, 4, 5], "{world}");
    }
    world.assert_sound();
}

#[test]
fn a_joiner_is_let_in_and_a_higher_life_replaces_a_lower_one() {
    let mut world = World::founded(3, Bugs::NONE);
    world.start(4);
    world.settle();
    assert_eq!(world.members(4), vec![1, 2, 3, 4], "{world}");
    world.crash(4, 0);
    world.empty_disk(4);
    world.start(4);
    world.settle();
    assert_eq!(world.members(4), vec![1, 2, 3, 4], "{world}");
    assert_eq!(world.view(1).members[3].peer.store.0, 1004);
    world.assert_sound();
}

#[test]
fn a_leaver_goes_when_it_has_learned_of_it() {
    let mut world = World::founded(3, Bugs::NONE);
    world.with(1, |k| k.leave());
    world.settle();
    assert!(world.told.contains(&(1, Told::Left)));
    for n in 2..=3 {
        assert_eq!(world.members(n), vec![2, 3]);
        assert_eq!(world.view(n).removed[0].1, Why::Left);
    }
    world.assert_sound();
}

#[test]
fn a_reordered_member_is_rank_0_and_coordinates_in_two_phases() {
    let mut world = World::founded(3, Bugs::NONE);
    world.submit(1, RequestKind::Reorder(SiteId(3)));
    world.quiesce();
    assert_eq!(world.members(2), vec![3, 1, 2]);
    world.submit(2, anything());
    world.quiesce();
    assert_eq!(world.view(2).id.coordinator.site, SiteId(3));
    assert_eq!(world.view(2).id.attempt, 0);
    world.assert_sound();
}

#[test]
fn a_coordinator_that_did_not_hear_in_time_does_not_split_the_view() {
    // C9.3: silence alone establishes nothing.
    let mut world = World::founded(3, Bugs::NONE);
    world.submit(3, anything());
    world.lose(|_| true);
    assert!(world.fire(3, |t| *t == Timer::Backoff));
    world.lose(|p| p.to != 3);
    assert!(world.fire(3, |t| matches!(t, Timer::Collect(_))));
    assert_eq!(world.position(3), 1);
    assert!(world.view(3).primary);
    world.hear_all();
    world.settle();
    assert_eq!(world.position(3), 2);
    world.assert_sound();
}

#[test]
fn an_old_copy_of_a_disk_is_silenced() {
    // C13
    let mut world = World::founded(3, Bugs::NONE);
    let copy = world.nodes[&3].disk.clone();
    world.crash(3, 0);
    world.node_mut(3).incarnation += 5;
    world.start(3);
    world.hear_all();
    world.settle();
    world.crash(3, 0);
    let node = world.node_mut(3);
    node.disk = copy;
    node.incarnation = 10;
    world.start(3);
    world.hear_all();
    world.with(3, |k| k.search(&[], 0));
    world.settle();
    assert!(world.told.contains(&(3, Told::Surpassed)), "{world}");
    world.assert_sound();
}

#[test]
fn what_one_site_asks_is_bounded() {
    let mut world = World::founded(3, Bugs::NONE);
    world.hear(3, &[]);
    for _ in 0..membership::kernel::PENDING_PER_ORIGIN_MAX {
        world.submit(3, anything());
    }
    assert!(world.with(3, |k| k.submit(anything())).is_err());
    world.hear_all();
    world.settle();
    assert_eq!(world.kernel(3).pending().count(), 0);
    world.assert_sound();
}

#[test]
fn who_may_act_at_once_does_so_when_detection_says_what_another_site_has_said_before() {
    let mut world = World::founded(3, Bugs::NONE);
    world.crash(1, 0);
    world.fail(3, 1);
    world.deliver(3, 2, "Submit");
    assert!(
        world.find(2, 3, "CoordFail").is_none(),
        "site 1 is still heard here, and before it in the order"
    );
    world.fail(2, 1);
    assert!(world.find(2, 3, "CoordFail").is_some(), "{world}");
    world.quiesce();
    assert_eq!(world.members(3), vec![2, 3], "no timer had to run out: {world}");
    world.assert_sound();
}

/// Five sites: 3, 4 and 5 hold the line, 1 and 2 are cut off; and then all hear each other again, but for site 2.
fn a_side_heard_in_part() -> World {
    let mut world = World::founded(5, Bugs::NONE);
    let sides: [&[u32]; 2] = [&[1, 2], &[3, 4, 5]];
    for (side, others) in [(sides[0], sides[1]), (sides[1], sides[0])] {
        for n in side {
            world.hear(*n, side);
            others.iter().for_each(|gone| world.fail(*n, *gone));
        }
    }
    loop {
        world.lose(|p| (p.from <= 2) != (p.to <= 2));
        if !world.net.is_empty() {
            world.deliver_at(0);
        } else if !(1..=5).any(|n| world.fire(n, |_| true)) {
            break;
        }
    }
    assert_eq!((world.members(1), world.members(3)), (vec![1, 2], vec![3, 4, 5]), "{world}");
    for (n, heard) in [(1, [2, 3, 4, 5]), (3, [1, 4, 5, 5]), (4, [1, 3, 5, 5]), (5, [1, 3, 4, 4])] {
        world.hear(n, &heard);
    }
    world.with(3, |k| k.search(&[SiteId(1)], 0));
    quiesce_without_2(&mut world);
    world.told.clear();
    world
}

fn quiesce_without_2(world: &mut World) {
    loop {
        world.lose(|p| p.from == 2 || p.to == 2);
        if world.net.is_empty() {
            return;
        }
        world.deliver_at(0);
    }
}

#[test]
fn changes_that_follow_each_other_do_not_merge_a_part_of_a_side() {
    let mut world = a_side_heard_in_part();
    let before = world.position(3);
    for _ in 0..10 {
        world.submit(3, anything());
        quiesce_without_2(&mut world);
    }
    assert_eq!((world.position(3), world.members(3)), (before + 10, vec![3, 4, 5]), "{world}");
    world.hear_all();
    world.with(3, |k| k.search(&[SiteId(2)], 0));
    world.settle();
    assert_eq!(world.members(3).len(), 5, "{world}");
    for (_, told) in &world.told {
        if let Told::Installed(step) = told {
            let lists = |n| step.members.iter().any(|m| m.peer.site == SiteId(n));
            assert!(lists(1) == lists(2) || !step.primary, "together: {step:?}");
        }
    }
    world.assert_sound();
}

#[test]
fn a_side_that_is_never_heard_in_whole_is_merged_in_part_in_the_end() {
    let mut world = a_side_heard_in_part();
    for _ in 0..6 {
        assert!(world.fire(3, |t| *t == Timer::Backoff), "{world}");
        quiesce_without_2(&mut world);
        assert_eq!(world.members(3), vec![3, 4, 5], "{world}");
    }
    assert!(world.fire(3, |t| *t == Timer::Backoff), "{world}");
    quiesce_without_2(&mut world);
    // Site 2 acknowledges nothing and is no member: nobody waits for it.
    assert_eq!(world.members(3), vec![3, 4, 5, 1], "{world}");
    world.assert_sound();
}

#[test]
fn a_round_of_the_search_asks_a_few_members_and_all_rounds_ask_all() {
    let mut world = World::founded(20, Bugs::NONE);
    world.lose(|_| true);
    let mut asked_of = std::collections::BTreeMap::new();
    for round in 0..3 {
        for n in 1..=20 {
            world.with(n, |k| k.search(&[SiteId(99)], round));
            let asked: Vec<u32> = (1..=20).filter(|to| world.find(n, *to, "Query").is_some()).collect();
            assert_eq!(asked.len(), ASKED_AT_ONCE_MAX, "{n} in round {round}: {asked:?}");
            assert!(world.find(n, 99, "Query").is_some(), "a site outside the view is asked in each");
            asked.into_iter().for_each(|to| *asked_of.entry((n, to)).or_insert(0) += 1);
            world.lose(|_| true);
        }
    }
    assert_eq!(asked_of.len(), 20 * 19, "three rounds of eight reach all nineteen others");
}

#[test]
fn a_member_that_missed_a_step_is_found_by_the_few_that_ask_it() {
    let mut world = World::founded(20, Bugs::NONE);
    world.submit(1, anything());
    while world.position(2) == 1 {
        world.lose(|p| p.to == 20 && p.message.body.name() == "Commit");
        world.deliver_at(0);
    }
    world.lose(|p| p.to == 20);
    world.quiesce();
    assert_eq!((world.position(2), world.position(20)), (2, 1));
    for n in 1..20 {
        world.with(n, |k| k.search(&[], 0));
    }
    world.quiesce();
    assert_eq!(world.position(20), 2, "{world}");
    world.assert_sound();
}
