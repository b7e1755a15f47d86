//! Sixteen schedules that break the protocol as [Neely 94] prints it, each as a script, and what must come of it.
//! A schedule's p0, p1 … are sites 1, 2 … here.

mod common;

use common::world::{Told, World};
use membership::kernel::{Timer, Transition};
use membership::step::RequestKind;
use wire::{Bug, Bugs, SiteId};

fn change() -> RequestKind {
    RequestKind::Reorder(SiteId(99))
}

fn collect(t: &Timer) -> bool {
    matches!(t, Timer::Collect(_))
}

fn ack(t: &Timer) -> bool {
    matches!(t, Timer::Ack(_))
}

fn commit(t: &Timer) -> bool {
    matches!(t, Timer::Commit(_))
}

fn backoff(t: &Timer) -> bool {
    *t == Timer::Backoff
}

/// Everybody who is up is in one primary view of exactly these.
fn assert_one_view(world: &World, members: &[u32]) {
    for n in members {
        let mut listed = world.members(*n);
        listed.sort();
        assert_eq!(listed, members, "site {n}: {world}");
        assert!(world.kernel(*n).is_primary(), "site {n}: {world}");
        assert_eq!(world.view(*n), world.view(members[0]));
    }
    world.assert_sound();
}

#[test]
fn schedule_01_equal_priority_everybody_wants_the_same_change_at_once() {
    let mut world = World::founded(4, Bugs::NONE);
    world.crash(4, 0);
    for n in 1..=3 {
        world.fail(n, 4);
    }
    world.quiesce();
    assert_one_view(&world, &[1, 2, 3]);
    assert!(!world.told.iter().any(|(_, told)| *told == Told::Excluded), "nobody was isolated");
    assert_eq!(world.oracle.line.len(), 2, "one change, one view");
}

#[test]
fn schedule_02_overlapping_batches_make_one_view_with_the_union() {
    let mut world = World::founded(7, Bugs::NONE);
    for gone in [5, 6, 7] {
        world.crash(gone, 0);
    }
    world.fail(4, 5);
    world.fail(4, 6);
    world.lose_all(4, 1, "Submit");
    world.lose_all(4, 2, "Submit");
    assert!(world.fire(4, backoff));
    world.deliver(4, 3, "CoordFail");
    world.fail(1, 5);
    world.fail(1, 7);
    world.deliver(1, 2, "Initiate");
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
}

#[test]
fn schedule_03_one_lost_copy_does_not_make_two_views() {
    let mut world = World::founded(4, Bugs::NONE);
    world.submit(4, change());
    world.lose(|p| p.message.body.name() == "Submit");
    assert!(world.fire(4, backoff));
    for n in [1, 3] {
        world.deliver(4, n, "CoordFail");
        world.deliver(n, 4, "Status");
    }
    world.lose(|_| true);
    assert!(world.fire(4, collect));
    for n in [1, 3] {
        world.deliver(4, n, "Initiate");
    }
    world.lose_all(4, 2, "Initiate");
    let proposed = world.kernel(4).accepted().expect("its own vote").1.clone();
    // p1 starts a change of its own; its copies to p3 are lost.
    world.submit(2, change());
    world.lose(|p| p.from == 2);
    assert!(world.fire(2, backoff));
    world.lose(|p| p.from == 2 && p.to == 4);
    for n in [1, 3] {
        world.deliver(2, n, "CoordFail");
        world.deliver(n, 2, "Refuse");
    }
    assert!(world.fire(2, collect));
    world.hear(2, &[1, 3]);
    assert!(world.fire(2, backoff));
    world.lose(|p| p.from == 2 && p.to == 4);
    for n in [1, 3] {
        world.deliver(2, n, "CoordFail");
        world.deliver(n, 2, "Status");
    }
    world.fire(2, collect);
    assert!(world.transitions.contains(&Transition::ForcedValue));
    for n in [1, 3] {
        world.deliver(2, n, "Initiate");
        world.deliver(n, 2, "Ack");
    }
    assert!(world.fire(2, ack));
    assert_eq!(world.view(2), &proposed, "p1 finished what p3 had begun");
    // The acknowledgements for p3 arrive: they count as of when they were given.
    for n in [1, 3] {
        world.deliver(n, 4, "Ack");
    }
    world.fire(4, ack);
    world.hear_all();
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
}

/// p1 is dead; p3 has proposed, p0 has acknowledged, and p0 elects before it hears of the commit.
fn partial_initiate(sites: u32) -> (World, membership::step::Step) {
    let mut world = World::founded(sites, Bugs::NONE);
    world.crash(2, 0);
    world.submit(4, change());
    world.lose(|p| p.message.body.name() == "Submit");
    assert!(world.fire(4, backoff));
    let others: Vec<u32> = (1..=sites).filter(|n| ![2, 4].contains(n)).collect();
    for n in &others {
        world.deliver(4, *n, "CoordFail");
        world.deliver(*n, 4, "Status");
    }
    assert!(world.fire(4, collect));
    for n in &others {
        world.deliver(4, *n, "Initiate");
    }
    let proposed = world.kernel(4).accepted().expect("its own vote").1.clone();
    (world, proposed)
}

#[test]
fn schedule_04_a_coordinator_crash_with_partial_initiate_expels_nobody() {
    let (mut world, proposed) = partial_initiate(4);
    // p3 commits C2; its Commits to p0 and p2 are late.
    for n in [1, 3] {
        world.deliver(n, 4, "Ack");
    }
    assert!(world.fire(4, ack));
    assert_eq!(world.view(4), &proposed);
    let late: Vec<_> = [1, 3].iter().map(|n| world.hold(4, *n, "Commit")).collect();
    world.lose(|_| true);
    world.hear(1, &[3]);
    world.fail(1, 2);
    while world.fire(1, commit) {
        world.lose(|p| p.message.body.name() == "MsgQuery");
    }
    world.fire(1, backoff);
    world.deliver(1, 3, "CoordFail");
    world.deliver(3, 1, "Status");
    for packet in &late {
        world.hand_over(packet);
    }
    world.hear_all();
    world.settle();
    assert_one_view(&world, &[1, 3, 4]);
    assert_eq!(world.oracle.line.get(&2), Some(&proposed.id));
}

#[test]
fn schedule_05_the_commit_of_a_past_change_is_resent_and_not_the_present_one() {
    for bugs in [Bugs::NONE, Bugs::only(Bug::WrongCommitResent)] {
        let mut world = World::founded(4, bugs);
        world.submit(1, change());
        for n in 2..=4 {
            world.deliver(1, n, "Initiate");
            world.deliver(n, 1, "Ack");
        }
        world.lose_all(1, 4, "Commit");
        let agreed = world.view(1).clone();
        world.submit(1, change());
        world.lose(|p| p.to == 4);
        assert!(world.fire(4, commit));
        world.deliver(4, 1, "MsgQuery");
        world.deliver(1, 4, "Commit");
        if bugs == Bugs::NONE {
            assert_eq!(world.view(4), &agreed);
            world.settle();
            assert_one_view(&world, &[1, 2, 3, 4]);
        } else {
            assert!(world.oracle.violation.is_some(), "the fault is seen");
        }
    }
}

#[test]
fn schedule_06_a_laggard_is_told_the_line_and_not_expelled() {
    let mut world = World::founded(4, Bugs::NONE);
    world.start(5);
    world.deliver(5, 1, "Submit");
    world.submit(4, change());
    world.lose(|p| p.from == 4 || p.to == 4);
    for n in [2, 3, 5] {
        world.deliver(1, n, "Initiate");
        world.deliver(n, 1, "Ack");
    }
    assert!(world.fire(1, ack));
    for n in [2, 3] {
        world.deliver(1, n, "Commit");
    }
    world.lose(|_| true);
    assert_eq!((world.position(4), world.position(2)), (1, 2));
    world.crash(1, 0);
    world.hear(4, &[2, 3]);
    assert!(world.fire(4, backoff));
    for n in [2, 3] {
        world.deliver(4, n, "CoordFail");
        world.deliver(n, 4, "Commit");
    }
    assert_eq!(world.position(4), 2, "it was answered with the line, whatever it wanted");
    world.fail(2, 1);
    world.hear_all();
    world.settle();
    assert_eq!(world.view(4), world.view(2));
    assert!(world.members(2).contains(&4));
    world.assert_sound();
}

#[test]
fn schedule_07_no_winner_does_not_block_the_change() {
    let (mut world, proposed) = partial_initiate(5);
    for n in [1, 3, 5] {
        world.lose_all(n, 4, "Ack");
    }
    world.fail(1, 2);
    while world.fire(1, commit) {
        world.lose(|p| p.message.body.name() == "MsgQuery");
    }
    world.fire(1, backoff);
    world.deliver(1, 3, "CoordFail");
    world.crash(1, 0);
    world.lose(|_| true);
    world.fail(3, 1);
    world.fail(3, 2);
    world.hear_all();
    world.settle();
    assert_one_view(&world, &[3, 4, 5]);
    assert_eq!(world.oracle.line.get(&2), Some(&proposed.id), "what was accepted was finished");
}

#[test]
fn schedule_08_an_election_race_isolates_nobody() {
    let mut world = World::founded(5, Bugs::NONE);
    world.crash(1, 0);
    world.crash(5, 0);
    for n in 2..=4 {
        world.hear(n, &[2, 3, 4]);
        world.fail(n, 1);
        world.fail(n, 5);
    }
    world.lose(|p| p.message.body.name() == "Submit");
    // All three elect before they hear of each other.
    world.fire(3, backoff);
    world.fire(4, backoff);
    // The winner is complete first and proposes; the others are still collecting.
    for n in [2, 3] {
        world.deliver(4, n, "CoordFail");
        world.deliver(n, 4, "Status");
    }
    for n in [2, 3] {
        world.deliver(4, n, "Initiate");
    }
    world.settle();
    assert_one_view(&world, &[2, 3, 4]);
    assert!(!world.told.iter().any(|(_, told)| *told == Told::Excluded));
}

#[test]
fn schedule_09_one_way_loss_an_answer_refutes_and_a_mistake_costs_one_change_each_way() {
    // An answer to the election refutes what one path alone has shown.
    let mut world = World::founded(4, Bugs::NONE);
    world.fail(3, 4);
    world.lose(|p| p.message.body.name() == "Submit");
    assert!(world.fire(3, backoff));
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    // Removed by mistake, it learns of it and comes back once.
    world.fail(1, 4);
    world.quiesce();
    assert!(world.told.contains(&(4, Told::Excluded)));
    world.hear_all();
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    assert!(world.oracle.line.len() <= 5, "no endless removing and merging");
}

#[test]
fn a_deaf_site_removes_nobody_who_answers() {
    let mut world = World::founded(4, Bugs::NONE);
    for accused in [1, 2, 3] {
        world.fail_alone(4, accused);
    }
    world.lose(|packet| packet.to == 4);
    world.deliver(4, 1, "Submit");
    assert!(world.find(1, 2, "CoordFail").is_some(), "who is accused is asked: {world}");
    world.quiesce();
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    assert!(!world.told.iter().any(|(_, told)| *told == Told::Excluded), "nobody was removed for a moment");
}

#[test]
fn who_is_not_heard_for_a_moment_is_asked_before_one_word_removes_it() {
    // The coordinator has missed the third site's acknowledgement, and counts it as not heard, when the fourth, which is
    // deaf, accuses it.
    let mut world = World::founded(4, Bugs::NONE);
    world.hear(1, &[2, 4]);
    world.fail_alone(4, 3);
    world.deliver(4, 1, "Submit");
    assert!(world.find(1, 3, "CoordFail").is_some(), "who is accused is asked: {world}");
    world.quiesce();
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    assert!(!world.told.iter().any(|(_, told)| *told == Told::Excluded), "nobody was removed for a moment");
}

#[test]
fn who_is_accused_during_an_election_is_asked_in_it() {
    let mut world = World::founded(4, Bugs::NONE);
    world.hear(1, &[2, 4]);
    world.fail_alone(4, 2);
    world.deliver(4, 1, "Submit");
    assert!(world.find(1, 2, "CoordFail").is_some() && world.find(1, 3, "CoordFail").is_none());
    world.fail_alone(4, 3);
    world.deliver(4, 1, "Submit");
    assert!(world.find(1, 3, "CoordFail").is_none(), "when the others have answered");
    world.quiesce();
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    assert!(!world.told.iter().any(|(_, told)| *told == Told::Excluded), "nobody was removed for a moment");
}

#[test]
fn who_does_not_answer_goes_on_one_word_too() {
    let mut world = World::founded(4, Bugs::NONE);
    world.crash(4, 0);
    world.fail_alone(3, 4);
    world.quiesce();
    world.settle();
    assert_one_view(&world, &[1, 2, 3]);
}

#[test]
fn schedule_10_an_exclusion_outlives_the_attempt_in_which_it_was_learned() {
    let mut world = World::founded(5, Bugs::NONE);
    world.submit(3, change());
    assert!(world.fire(3, backoff), "p2 elects");
    world.crash(5, 0);
    world.fail(3, 5);
    world.lose(|p| p.from == 3);
    // A higher election ends p2's attempt.
    world.submit(4, change());
    world.fire(4, backoff);
    world.hear_all();
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
}

#[test]
fn schedule_11_a_stale_acknowledgement_commits_nothing() {
    for bugs in [Bugs::NONE, Bugs::only(Bug::StaleAckCounted)] {
        let mut world = World::founded(3, bugs);
        world.submit(1, change());
        world.deliver(1, 2, "Initiate");
        world.deliver(1, 3, "Initiate");
        world.deliver(2, 1, "Ack");
        let stale = world.hold(3, 1, "Ack");
        assert!(world.fire(1, ack), "p0 and p1 are a quorum");
        world.quiesce();
        assert_eq!(world.position(1), 2);
        world.submit(1, change());
        world.lose(|p| p.from == 1);
        world.hand_over(&stale);
        assert!(world.fire(1, ack));
        let agreed = if bugs == Bugs::NONE { 2 } else { 3 };
        assert_eq!(world.position(1), agreed, "only the fault commits");
        // The others never saw that proposal and decide otherwise.
        world.lose(|_| true);
        world.hear(2, &[3]);
        world.hear(3, &[2]);
        world.submit(2, RequestKind::Reorder(SiteId(3)));
        world.fire(2, backoff);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.lose(|p| p.to == 1);
            for _ in 0..60 {
                world.lose(|p| p.to == 1);
                if world.net.is_empty() {
                    let fired = world.fire(2, |t| !backoff(t)) || world.fire(3, |t| !backoff(t));
                    if !fired {
                        break;
                    }
                } else {
                    world.deliver_at(0);
                }
            }
        }));
        assert_eq!(bugs != Bugs::NONE, run.is_err() || world.oracle.violation.is_some());
    }
}

#[test]
fn schedule_12a_two_joiners_with_one_address_do_not_tie() {
    let mut world = World::founded(3, Bugs::NONE);
    world.start(4);
    let asked: Vec<_> = (1..=3).map(|n| world.hold(4, n, "Submit")).collect();
    // Another host with the same site id and another store asks as well.
    world.crash(4, 0);
    world.empty_disk(4);
    world.node_mut(4).incarnation = 9;
    world.start(4);
    world.hand_over(&asked[0]);
    world.settle();
    assert!(world.told.contains(&(4, Told::Surpassed)), "the other is told that its name is taken");
    assert_eq!(world.members(1), vec![1, 2, 3, 4]);
    assert_eq!(world.view(1).members[3].peer.store.0, 4, "first come, first served");
    assert!(world.kernel(4).view().is_none(), "the other is not let in as if it were the first");
    world.assert_sound();
}

#[test]
fn schedule_12b_a_restarted_joiner_takes_no_old_init() {
    let mut world = World::founded(3, Bugs::NONE);
    world.start(4);
    world.lose(|p| p.from == 4 && p.to != 1);
    world.deliver(4, 1, "Submit");
    for _ in 0..50 {
        if world.find(1, 4, "Init").is_some() {
            break;
        }
        world.deliver_at(0);
    }
    let old = world.hold(1, 4, "Init");
    world.crash(4, 0);
    world.start(4);
    world.hand_over(&old);
    assert!(world.kernel(4).view().is_none(), "it lists another life");
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    assert_eq!(world.view(4).members[3].peer.incarnation.0, 11);
}

#[test]
fn schedule_12cd_a_joiner_whose_sponsor_dies_between_commit_and_init_is_adopted() {
    let mut world = World::founded(3, Bugs::NONE);
    world.start(4);
    world.lose(|p| p.from == 4 && p.to != 1);
    world.deliver(4, 1, "Submit");
    for _ in 0..50 {
        if world.find(1, 4, "Init").is_some() {
            break;
        }
        world.deliver_at(0);
    }
    world.lose_all(1, 4, "Init");
    world.quiesce();
    assert_eq!(world.members(2), vec![1, 2, 3, 4]);
    world.crash(1, 0);
    // It acknowledges the next change before it has heard that it is a member.
    world.fail(2, 1);
    world.hear_all();
    world.settle();
    assert_one_view(&world, &[2, 3, 4]);
}

#[test]
fn schedule_12e_joins_are_served_first_come_first_served() {
    let mut world = World::founded(3, Bugs::NONE);
    world.start(9);
    world.quiesce();
    for n in [5, 6, 7] {
        world.start(n);
        world.quiesce();
    }
    assert_eq!(world.members(1), vec![1, 2, 3, 9, 5, 6, 7]);
    world.assert_sound();
}

#[test]
fn schedule_13_wait_is_bounded_per_attempt() {
    let mut world = World::founded(3, Bugs::NONE);
    world.submit(1, change());
    world.deliver(1, 3, "Initiate");
    world.lose(|_| true);
    let mut rounds = 0;
    while world.fire(3, commit) {
        rounds += 1;
        assert!(rounds < 20, "Wait without end");
        if world.find(3, 1, "MsgQuery").is_some() {
            world.deliver(3, 1, "MsgQuery");
            world.deliver(1, 3, "Wait");
        }
        // The proposal again does not renew the patience.
        world.fire(1, |t| matches!(t, Timer::Resend(_)));
        if world.find(1, 3, "Initiate").is_some() {
            world.deliver(1, 3, "Initiate");
        }
    }
    assert_eq!(rounds, 5, "three Waits, the last question, its silence");
    world.settle();
    assert_one_view(&world, &[1, 2, 3]);
}

#[test]
fn schedule_14_a_doubled_decision_is_one_view() {
    let mut world = World::founded(3, Bugs::NONE);
    world.submit(1, change());
    for n in [2, 3] {
        world.deliver(1, n, "Initiate");
        world.deliver(n, 1, "Ack");
    }
    world.duplicate(1, 2, "Commit");
    world.deliver(1, 2, "Commit");
    let views = world.told.iter().filter(|(n, t)| *n == 2 && matches!(t, Told::Installed(_))).count();
    assert_eq!(views, 1);
    world.settle();
    assert_one_view(&world, &[1, 2, 3]);
}

#[test]
fn schedule_15_merged_views_are_above_both_sides_and_have_one_name() {
    let mut world = World::founded(4, Bugs::NONE);
    let cut = |p: &common::world::Packet| (p.from <= 2) != (p.to <= 2);
    world.hear(1, &[2]);
    world.hear(2, &[1]);
    world.hear(3, &[4]);
    world.hear(4, &[3]);
    for (n, gone) in [(1, 3), (1, 4), (3, 1), (3, 2)] {
        world.fail(n, gone);
    }
    for _ in 0..400 {
        world.lose(cut);
        if !world.net.is_empty() {
            world.deliver_at(0);
        } else if !(1..=4).any(|n| world.fire(n, |_| true)) {
            break;
        }
    }
    assert_eq!((world.members(2), world.members(4)), (vec![1, 2], vec![3, 4]), "{world}");
    assert!(
        world.kernel(1).is_primary() && !world.kernel(3).is_primary(),
        "the half with rank 0 has the line"
    );
    // A lost Commit leaves part of A behind.
    world.submit(1, change());
    world.lose_all(1, 2, "Submit");
    world.deliver(1, 2, "Initiate");
    world.deliver(2, 1, "Ack");
    world.lose(|_| true);
    let highest = (1..=4).map(|n| world.kernel(n).promised()).max();
    world.hear_all();
    world.with(1, |k| k.search(&[SiteId(3), SiteId(4)], 0));
    world.settle();
    assert_one_view(&world, &[1, 2, 3, 4]);
    assert!(Some(world.view(1).id) > highest);
    for n in [3, 4] {
        assert!(world.view(1).members.iter().any(|m| m.peer.site.0 == n && m.joined_at == world.view(1).id));
    }
}

#[test]
fn schedule_16_a_change_that_live_members_saw_is_processed() {
    let mut world = World::founded(4, Bugs::NONE);
    let request = world.submit(4, change());
    world.deliver(4, 3, "Submit");
    world.lose(|p| p.message.body.name() == "Submit");
    world.crash(4, 0);
    world.fail(1, 4);
    world.lose(|p| p.message.body.name() == "Submit");
    world.settle();
    assert_one_view(&world, &[1, 2, 3]);
    use membership::kernel::Tables;
    let settled = world.kernel(1).line().expect("a line").tables.settled(request);
    assert!(settled.is_some(), "p2 alone had seen it");
}
