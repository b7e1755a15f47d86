//! The four partition rules and the three merge rules (A6) [Neely 94, IV.E.2], each pair a scenario: sites 1,
//! 2, 3 hold the line, 4 and 5 are cut off and come back.

mod steps;

use membership::group::{Lives, Merges, Outcome, Reason};
use membership::kernel::Tables;
use membership::step::Why;
use steps::*;
use wire::MemberId;

/// The group `g` with a member at each of five sites, the one at 5 a `chief`; then the cut.
fn cut(lives: Lives, merges: Merges) -> (Side, Side) {
    let mut all = Side::found(&[1, 2, 3, 4, 5]);
    let rules = options(lives, merges);
    let role = |site| (site == 5).then_some("chief");
    all.step(true, &[1, 2, 3, 4, 5], (1..=5).map(|s| join("g", member(s), role(s), rules.clone())).collect());
    let (mut line, mut branch) = (all.clone(), all);
    let seen = line.step(true, &[1, 2, 3], vec![]);
    assert_eq!(only(&seen).left, vec![(member(4), Why::Partitioned), (member(5), Why::Partitioned)]);
    let seen = branch.step(false, &[4, 5], vec![]);
    let last = only(&seen);
    assert!(!last.primary, "the flag is the step's, whatever the rule");
    assert_eq!(last.members.iter().map(|m| m.id).collect::<Vec<_>>(), [member(4), member(5)]);
    (line, branch)
}

fn sites(range: std::ops::RangeInclusive<u32>) -> Vec<MemberId> {
    range.map(member).collect()
}

fn lives_on(side: &Side) -> bool {
    side.view("g").lives
}

#[test]
fn primary_lives_where_the_line_is_and_the_others_must_join_again_whatever_the_merge_rule() {
    for merges in [Merges::Never, Merges::SameName, Merges::ContainingRole("chief".into())] {
        let (mut line, mut branch) = cut(Lives::Primary, merges);
        assert!(lives_on(&line) && !lives_on(&branch));
        let more = branch.step(false, &[4, 5], vec![join("g", member_n(4, 2), None, Default::default())]);
        assert_eq!(outcomes(&more), [Outcome::Pending], "a side that does not live decides nothing");
        assert!(more.views.is_empty(), "it has had its one last view");
        let merged = line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
        let view = only(&merged);
        assert_eq!(line.members("g"), Some(sites(1..=3)));
        assert_eq!(view.left, vec![(member(4), Why::Partitioned), (member(5), Why::Partitioned)]);
        let again =
            line.step(true, &[1, 2, 3, 4, 5], vec![join("g", member_n(4, 9), None, Default::default())]);
        let back = only(&again).members.last().expect("it joined").clone();
        assert_eq!((back.id, back.previous), (member_n(4, 9), None), "with state transfer");
    }
}

#[test]
fn all_with_same_name_unites_the_sides_each_with_its_previous_view() {
    let (mut line, branch) = cut(Lives::All, Merges::SameName);
    assert!(lives_on(&line) && lives_on(&branch));
    let before = (line.tables.view(), branch.tables.view());
    let merged = line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    let view = only(&merged);
    assert_eq!(line.members("g"), Some(sites(1..=5)));
    assert_eq!(view.joined, [member(4), member(5)]);
    let previous: Vec<_> = view.members.iter().map(|m| m.previous.expect("all were in a view")).collect();
    assert_eq!(previous, [before.0, before.0, before.0, before.1, before.1]);
}

#[test]
fn all_with_never_leaves_two_groups_and_the_line_keeps_the_name() {
    let (mut line, branch) = cut(Lives::All, Merges::Never);
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!(line.members("g"), Some(sites(1..=3)));
    let other = format!("g~{}", branch.tables.view());
    assert_eq!(line.members(&other), Some(sites(4..=5)));
    assert_ne!(line.id("g"), line.id(&other));
}

#[test]
fn all_with_a_role_unites_only_if_a_side_holds_the_role() {
    let (mut line, branch) = cut(Lives::All, Merges::ContainingRole("chief".into()));
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!(line.members("g"), Some(sites(1..=5)));
    let (mut line, branch) = cut(Lives::All, Merges::ContainingRole("nobody".into()));
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!(line.members("g"), Some(sites(1..=3)));
    assert_eq!(line.tables.len(), 2);
}

#[test]
fn at_least_two_lives_on_both_sides_and_merges_by_its_rule() {
    let (mut line, branch) = cut(Lives::AtLeast(2), Merges::SameName);
    assert!(lives_on(&line) && lives_on(&branch));
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!(line.members("g"), Some(sites(1..=5)));
    let (mut line, branch) = cut(Lives::AtLeast(2), Merges::Never);
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!((line.members("g"), line.tables.len()), (Some(sites(1..=3)), 2));
    let (mut line, branch) = cut(Lives::AtLeast(2), Merges::ContainingRole("chief".into()));
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!((line.members("g"), line.tables.len()), (Some(sites(1..=5)), 1));
}

#[test]
fn at_least_three_lives_on_one_side_and_the_other_joins_again() {
    for merges in [Merges::Never, Merges::SameName, Merges::ContainingRole("chief".into())] {
        let (mut line, branch) = cut(Lives::AtLeast(3), merges);
        assert!(lives_on(&line) && !lives_on(&branch));
        line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
        assert_eq!((line.members("g"), line.tables.len()), (Some(sites(1..=3)), 1));
    }
}

#[test]
fn at_least_four_lives_nowhere_until_the_sides_meet() {
    let (mut line, branch) = cut(Lives::AtLeast(4), Merges::SameName);
    assert!(!lives_on(&line) && !lives_on(&branch));
    let refused = line.step(true, &[1, 2, 3], vec![join("g", member_n(1, 2), None, Default::default())]);
    assert_eq!(outcomes(&refused), [Outcome::Refused(Reason::NotPrimary)]);
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert!(lives_on(&line), "nobody is unaccounted for");
    let again = line.step(true, &[1, 2, 3, 4, 5], vec![join("g", member_n(4, 2), None, Default::default())]);
    assert_eq!(outcomes(&again), [Outcome::Done]);
}

#[test]
fn containing_a_member_lives_only_with_it_and_the_line_joins_again() {
    for merges in [Merges::Never, Merges::SameName, Merges::ContainingRole("chief".into())] {
        let (mut line, mut branch) = cut(Lives::ContainingMember(member(4)), merges);
        assert!(!lives_on(&line) && lives_on(&branch), "the side that holds it is off the line");
        let more = branch.step(false, &[4, 5], vec![join("g", member_n(5, 2), None, Default::default())]);
        assert_eq!(outcomes(&more), [Outcome::Done], "applied on the branch");
        let merged = line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
        assert_eq!(line.members("g"), Some(vec![member(4), member_n(5, 2)]));
        let told: Vec<MemberId> = only(&merged).left.iter().map(|(m, _)| *m).collect();
        assert_eq!(told, sites(1..=3), "the others are told to join again");
        assert!(lives_on(&line));
    }
}

#[test]
fn containing_a_role_may_live_on_several_sides() {
    let mut all = Side::found(&[1, 2, 3, 4, 5]);
    let rules = options(Lives::ContainingRole("chief".into()), Merges::SameName);
    let role = |site| (site == 1 || site == 5).then_some("chief");
    all.step(true, &[1, 2, 3, 4, 5], (1..=5).map(|s| join("g", member(s), role(s), rules.clone())).collect());
    let (mut line, mut branch) = (all.clone(), all);
    line.step(true, &[1, 2, 3], vec![]);
    branch.step(false, &[4, 5], vec![]);
    assert!(lives_on(&line) && lives_on(&branch));
    line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
    assert_eq!(line.members("g"), Some(sites(1..=5)));
    for (merges, groups) in [(Merges::Never, 1), (Merges::ContainingRole("chief".into()), 1)] {
        let (mut line, branch) = cut(Lives::ContainingRole("chief".into()), merges);
        assert!(!lives_on(&line) && lives_on(&branch));
        line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
        assert_eq!((line.members("g"), line.tables.len()), (Some(sites(4..=5)), groups));
    }
}

#[test]
fn groups_made_on_both_sides_under_one_name_become_one_or_get_two_names() {
    for (merges, one) in [(Merges::SameName, true), (Merges::Never, false)] {
        let all = Side::found(&[1, 2, 3, 4, 5]);
        let (mut line, mut branch) = (all.clone(), all);
        let rules = options(Lives::All, merges);
        line.step(true, &[1, 2, 3], vec![join("h", member(1), None, rules.clone())]);
        branch.step(false, &[4, 5], vec![join("h", member(4), None, rules)]);
        let ids = (line.id("h"), branch.id("h"));
        assert_ne!(ids.0, ids.1, "one name on two sides is two groups");
        let merged = line.merge(true, &[1, 2, 3, 4, 5], &[&branch]);
        assert_eq!(line.id("h"), ids.0, "the line keeps the plain name");
        if one {
            assert_eq!(line.members("h"), Some(vec![member(1), member(4)]));
            let ended = merged.views.iter().find(|v| v.group == ids.1).expect("the other ends");
            assert!(ended.members.is_empty() && !ended.lives);
        } else {
            let renamed = merged.views.iter().find(|v| v.group == ids.1).expect("the other has a view");
            assert_eq!(renamed.members[0].previous, Some(branch.tables.view()), "it goes on");
            assert_eq!(line.tables.len(), 2);
        }
    }
}

#[test]
fn when_all_sides_had_died_the_largest_goes_on() {
    let mut all = Side::found(&[1, 2, 3]);
    all.step(true, &[1, 2, 3], (1..=3).map(|s| join("g", member(s), None, Default::default())).collect());
    let sides = [[1].as_slice(), &[2, 3]].map(|sites| {
        let mut side = all.clone();
        side.epoch += u64::from(sites[0]);
        side.step(false, sites, vec![]);
        assert!(!lives_on(&side));
        side
    });
    let merged = all.merge(true, &[1, 2, 3], &[&sides[0], &sides[1]]);
    assert_eq!(all.members("g"), Some(sites_of(&[2, 3])));
    assert!(lives_on(&all) && only(&merged).primary);
    assert_eq!(only(&merged).left, vec![(member(1), Why::Partitioned)]);
}

fn sites_of(sites: &[u32]) -> Vec<MemberId> {
    sites.iter().map(|s| member(*s)).collect()
}

#[test]
fn a_branch_repeats_its_requests_in_each_step_and_changes_nothing_by_it() {
    let (_, mut branch) = cut(Lives::All, Merges::SameName);
    let group = branch.id("g");
    let asked = vec![
        membership::group::GroupRequest::Refresh { group },
        membership::group::GroupRequest::Leave { group, member: member(5) },
    ];
    let mut first = branch.make(false, &[4, 5], asked);
    let done = branch.take(&first);
    assert_eq!(only(&done).left, vec![(member(5), Why::Left)]);
    assert!(branch.tables.settled(first.requests[0].id).is_some());
    first.branches = branch.tables.branch().into_iter().collect();
    first.id = view_id(first.id.epoch + 1, 4);
    let again = branch.take(&first);
    assert!(again.views.is_empty(), "{:?}", again.views);
    assert_eq!(branch.members("g"), Some(vec![member(4)]));
}

/// A side of `all` off the line, made by one step more for each set of sites, each smaller than the one before.
fn branch_of(all: &Side, steps: &[&[u32]]) -> Side {
    let mut side = all.clone();
    side.epoch += u64::from(steps[0][0]);
    for sites in steps {
        side.step(false, sites, vec![]);
    }
    side
}

#[test]
fn of_sides_that_have_all_died_the_one_that_lived_last_goes_on_however_small() {
    let mut all = Side::found(&[1, 2, 3, 4, 5]);
    let rules = options(Lives::AtLeast(3), Merges::SameName);
    all.step(true, &[1, 2, 3, 4, 5], (1..=5).map(|s| join("g", member(s), None, rules.clone())).collect());
    // Sites 1 and 2 died at once; 3, 4 and 5 went on, until 4 and 5 were lost too.
    let early = branch_of(&all, &[&[1, 2]]);
    let mut late = branch_of(&all, &[&[3, 4, 5]]);
    assert!(!lives_on(&early) && lives_on(&late));
    late.step(false, &[3], vec![]);
    assert!(!lives_on(&late));
    for sides in [[&early, &late], [&late, &early]] {
        let mut line = all.clone();
        let merged = line.merge(true, &[1, 2, 3], &sides);
        assert_eq!(line.members("g"), Some(vec![member(3)]), "what it knows is the newest");
        let told: Vec<MemberId> = only(&merged).left.iter().map(|(m, _)| *m).collect();
        assert_eq!(told, [member(1), member(2)], "4 and 5 were out before");
    }
}

#[test]
fn a_side_that_died_does_not_go_on_where_the_line_went_on_without_it() {
    let mut all = Side::found(&[1, 2, 3, 4]);
    all.step(true, &[1, 2, 3, 4], (2..=4).map(|s| join("g", member(s), None, Default::default())).collect());
    let dead = branch_of(&all, &[&[4]]);
    assert!(!lives_on(&dead));
    // The line lived on with 2 and 3, who are now lost with all that they had done since.
    let mut line = all;
    line.step(true, &[1, 2, 3], vec![]);
    assert!(lives_on(&line));
    line.step(true, &[1], vec![]);
    let merged = line.merge(true, &[1, 4], &[&dead]);
    assert_eq!(line.members("g"), None, "nobody is left who knows how it went on");
    let told: Vec<_> = merged.views.iter().flat_map(|view| &view.left).collect();
    assert!(told.contains(&&(member(4), Why::Partitioned)), "and is told to join again: {told:?}");
    let again = line.step(true, &[1, 4], vec![join("g", member_n(4, 2), None, Default::default())]);
    assert_eq!(only(&again).members.len(), 1, "in a group of that name that begins anew");
}

#[test]
fn a_side_that_died_does_not_go_on_where_a_side_lived_on_that_has_died_since() {
    let mut all = Side::found(&[1, 2, 3, 4, 5]);
    let rules = options(Lives::AtLeast(2), Merges::SameName);
    all.step(true, &[1, 2, 3, 4, 5], (2..=4).map(|s| join("g", member(s), None, rules.clone())).collect());
    let stale = branch_of(&all, &[&[4, 5]]);
    // The line lives on with 2 and 3, then dies with 3 alone in it.
    let mut line = all;
    line.step(true, &[1, 2, 3], vec![]);
    line.step(true, &[1, 3], vec![]);
    assert!(!lives_on(&stale) && !lives_on(&line));
    line.merge(true, &[1, 3, 4, 5], &[&stale]);
    assert_eq!(line.members("g"), Some(vec![member(3)]));
}

#[test]
fn whom_the_line_lists_and_the_side_that_goes_on_does_not_has_no_place() {
    let (mut line, branch) = cut(Lives::ContainingMember(member(4)), Merges::SameName);
    // Site 3 is lost as the sides meet: its member is on neither, and the line's tables still list it.
    let group = line.id("g");
    let asked = membership::group::GroupRequest::Reorder { group, member: member(3) };
    line.epoch = line.epoch.max(branch.epoch);
    let mut meeting = line.make(true, &[1, 2, 4, 5], vec![asked]);
    meeting.branches.extend(branch.tables.branch());
    let met = line.take(&meeting);
    assert_eq!(outcomes(&met), [Outcome::Refused(Reason::NotMember)]);
    assert_eq!(line.members("g"), Some(sites(4..=5)));
}
