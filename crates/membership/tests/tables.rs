//! The tables: what each request does, bounds, bytes, and replicas that must agree.

mod steps;

use std::collections::BTreeMap;

use membership::group::{
    Create, GroupOptions, GroupRequest, Lives, Merges, Outcome, Reason, SiteInfo, SiteRole,
};
use membership::kernel::Tables;
use membership::step::Why;
use membership::tables::{GroupTables, MEMBERS_MAX, ROLE_BYTES_MAX};
use steps::*;
use wire::{Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation};

fn simple(group: &str, site: u32) -> GroupRequest {
    join(group, member(site), None, GroupOptions::default())
}

fn create(group: &str, member: MemberId, create: Create) -> GroupRequest {
    GroupRequest::Join { group: name(group), member, role: None, create, options: GroupOptions::default() }
}

#[test]
fn names_are_unique_in_their_scope_and_the_create_modes_are_kept() {
    let mut side = Side::found(&[1, 2]);
    let asked = vec![
        create("g", member(1), Create::MustExist),
        create("g", member(1), Create::MustCreate),
        create("g", member(2), Create::MustCreate),
        create("@lab:g", member_n(2, 2), Create::MustCreate),
        create("g", member(1), Create::MustCreate),
    ];
    let applied = side.step(true, &[1, 2], asked);
    assert_eq!(
        outcomes(&applied),
        [
            Outcome::Refused(Reason::NoSuchGroup),
            Outcome::Done,
            Outcome::Refused(Reason::Exists),
            Outcome::Done,
            Outcome::Done,
        ]
    );
    assert_eq!(side.tables.groups_in_scope(Some("lab")).count(), 1);
    assert_eq!(side.tables.groups_in_scope(None).count(), 1);
}

#[test]
fn the_founders_and_their_stores_are_those_of_the_first_step_for_ever() {
    assert!(GroupTables::new().founders().is_empty());
    let mut side = Side::found(&[1, 2, 3]);
    let founders = side.tables.founders().to_vec();
    assert_eq!(founders.iter().map(|peer| peer.site.0).collect::<Vec<_>>(), [1, 2, 3]);
    side.step(true, &[2, 3, 4], vec![]);
    side.step(false, &[2], vec![]);
    assert_eq!(side.tables.founders(), founders);
    let again = GroupTables::from_bytes(&side.tables.to_bytes()).expect("its own bytes");
    assert_eq!((again.founders(), again.digest()), (&founders[..], side.tables.digest()));
}

#[test]
fn a_failed_site_changes_all_its_groups_in_one_step_each_with_the_step_as_view() {
    let mut side = Side::found(&[1, 2]);
    let groups = (0..100u64).map(|k| format!("g{k}")).collect::<Vec<_>>();
    let joins =
        |site| groups.iter().zip(1..).map(move |(g, n)| join(g, member_n(site, n), None, Default::default()));
    side.step(true, &[1, 2], joins(1).chain(joins(2)).collect());
    let applied = side.step(true, &[1], vec![]);
    assert_eq!(applied.views.len(), 100);
    assert!(applied.views.iter().all(|v| v.id == side.tables.view() && v.members.len() == 1 && v.lives));
    assert_eq!(side.tables.memberships_at(life(2)).count(), 0);
}

#[test]
fn ranks_are_by_age_unless_reorder_moves_one_to_the_front() {
    let mut side = Side::found(&[1, 2, 3]);
    side.step(true, &[1, 2, 3], vec![simple("g", 2), simple("g", 1)]);
    side.step(true, &[1, 2, 3], vec![simple("g", 3)]);
    assert_eq!(side.members("g"), Some(vec![member(2), member(1), member(3)]));
    let group = side.id("g");
    let applied = side.step(true, &[1, 2, 3], vec![GroupRequest::Reorder { group, member: member(3) }]);
    assert!(only(&applied).joined.is_empty() && only(&applied).left.is_empty());
    assert_eq!(side.members("g"), Some(vec![member(3), member(2), member(1)]));
}

#[test]
fn refresh_makes_a_view_without_a_change_and_nothing_else_does() {
    let mut side = Side::found(&[1, 2]);
    side.step(true, &[1, 2], vec![simple("g", 1), simple("h", 2)]);
    let group = side.id("g");
    assert!(side.step(true, &[1, 2], vec![simple("g", 1)]).views.is_empty(), "a repeat changes nothing");
    let applied = side.step(true, &[1, 2], vec![GroupRequest::Refresh { group }]);
    assert_eq!(only(&applied).group, group);
    let stats = side.tables.statistics(group).expect("the group is there");
    assert_eq!((stats.members, stats.views, stats.joins, stats.sites), (1, 2, 1, 1));
    assert_eq!(stats.changed, side.tables.view());
}

#[test]
fn a_split_off_group_and_a_merged_one_keep_their_members() {
    let mut side = Side::found(&[1, 2, 3]);
    side.step(true, &[1, 2, 3], vec![simple("g", 1), simple("g", 2), simple("g", 3)]);
    let split = GroupRequest::Split { group: side.id("g"), members: vec![member(2)], into: name("h") };
    let applied = side.step(true, &[1, 2, 3], vec![split.clone(), split]);
    assert_eq!(outcomes(&applied), [Outcome::Done, Outcome::Done]);
    assert_eq!(side.members("h"), Some(vec![member(2)]));
    let merge = GroupRequest::Merge { from: side.id("g"), into: side.id("h") };
    let applied = side.step(true, &[1, 2, 3], vec![merge]);
    assert_eq!(side.members("h"), Some(vec![member(2), member(1), member(3)]));
    assert!(side.members("g").is_none());
    assert!(applied.views.iter().any(|v| v.members.is_empty() && v.left.len() == 2), "g has ended");
}

#[test]
fn over_a_bound_a_request_is_refused_with_its_reason() {
    let mut side = Side::found(&[1]);
    let at = |n: u64| MemberId { process: ProcessId { birth: life(1), local: n }, join: n };
    let joins = (0..=MEMBERS_MAX as u64).map(|n| join("g", at(n), None, Default::default()));
    let applied = side.step(true, &[1], joins.collect());
    assert_eq!(outcomes(&applied).last(), Some(&Outcome::Refused(Reason::Full)));
    assert_eq!(side.members("g").map(|m| m.len()), Some(MEMBERS_MAX));
    let long = "r".repeat(ROLE_BYTES_MAX + 1);
    let applied = side.step(true, &[1], vec![join("h", member_n(1, 9_999), Some(&long), Default::default())]);
    assert_eq!(outcomes(&applied), [Outcome::Refused(Reason::RoleTooLong)]);
    let applied = side.step(true, &[1], vec![simple("g", 7)]);
    assert_eq!(outcomes(&applied), [Outcome::Refused(Reason::SiteAbsent)]);
}

#[test]
fn a_request_is_applied_at_most_once_on_the_line() {
    let mut side = Side::found(&[1, 2]);
    side.step(true, &[1, 2], vec![simple("g", 1), simple("g", 2)]);
    let group = side.id("g");
    let step = side.make(true, &[1, 2], vec![GroupRequest::Refresh { group }]);
    assert_eq!(side.take(&step).views.len(), 1);
    let mut again = side.make(true, &[1, 2], vec![]);
    again.requests = step.requests.clone();
    let applied = side.take(&again);
    assert!(applied.views.is_empty() && applied.outcomes.is_empty());
    assert_eq!(side.tables.settled(step.requests[0].id), Some(Outcome::Done));
    assert!(!side.tables.wants(&step.requests[0], true));
}

#[test]
fn a_process_that_joins_anew_is_another_member_and_replaces_the_old() {
    let mut side = Side::found(&[1, 2]);
    side.step(true, &[1, 2], vec![simple("g", 1), simple("g", 2)]);
    let applied =
        side.step(true, &[1, 2], vec![join("g", member_n(1, 5), None, Default::default()), simple("g", 1)]);
    assert_eq!(outcomes(&applied), [Outcome::Done, Outcome::Refused(Reason::Stale)]);
    assert_eq!(only(&applied).left, vec![(member(1), Why::Left)]);
    assert_eq!(side.members("g"), Some(vec![member(2), member_n(1, 5)]));
}

#[test]
fn the_site_table_changes_only_on_the_line_and_names_are_unique() {
    let info = |name: &str| SiteInfo {
        name: name.into(),
        addresses: vec!["[::1]:9".into()],
        role: SiteRole::Mserver,
    };
    let set = |site, name: &str| GroupRequest::SetSite { site: SiteId(site), info: info(name) };
    let mut side = Side::found(&[1, 2, 3]);
    let applied = side.step(
        true,
        &[1, 2, 3],
        vec![set(1, "a"), set(9, "b"), set(2, "a"), GroupRequest::RemoveSite { site: SiteId(1) }],
    );
    assert_eq!(
        outcomes(&applied),
        [Outcome::Done, Outcome::Done, Outcome::Refused(Reason::Exists), Outcome::Refused(Reason::SiteInUse)]
    );
    let applied = side.step(false, &[1], vec![GroupRequest::RemoveSite { site: SiteId(9) }]);
    assert_eq!(outcomes(&applied), [Outcome::Pending]);
    assert_eq!(side.tables.site(SiteId(9)).map(|i| i.name.as_str()), Some("b"));
}

#[test]
fn an_attached_site_has_members_moves_restarts_and_fails_like_any_other() {
    let mut side = Side::found(&[1, 2]);
    let attach = |via| GroupRequest::Attach { life: life(9), via: SiteId(via) };
    let applied = side.step(true, &[1, 2], vec![attach(1), simple("g", 9), simple("g", 2)]);
    assert_eq!(only(&applied).members.len(), 2);
    assert!(side.step(true, &[2], vec![]).views.is_empty(), "its mserver is gone, it is not");
    assert!(side.step(true, &[2], vec![attach(2)]).views.is_empty());
    assert_eq!(side.tables.attached().collect::<Vec<_>>(), [(life(9), SiteId(2))]);
    let newer = SiteIncarnation { site: SiteId(9), incarnation: Incarnation(2) };
    let applied = side.step(true, &[2], vec![GroupRequest::Attach { life: newer, via: SiteId(2) }]);
    assert_eq!(only(&applied).left, vec![(member(9), Why::Failed)]);
    let applied =
        side.step(true, &[2], vec![GroupRequest::Detach { life: newer, why: Why::Failed }, attach(2)]);
    assert_eq!(outcomes(&applied), [Outcome::Done, Outcome::Done]);
    assert!(side.tables.is_present(life(9)));
}

#[test]
fn bytes_from_strangers_are_an_error_and_never_a_panic() {
    let mut side = Side::found(&[1, 2]);
    side.step(true, &[1, 2], vec![simple("g", 1), simple("h", 2), simple("g", 2)]);
    let good = side.tables.to_bytes();
    for cut in 0..good.len() {
        assert!(GroupTables::from_bytes(&good[..cut]).is_err());
    }
    let mut random = Random(7);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let _ = GroupTables::from_bytes(&bytes);
    }
}

/// SplitMix64: the tests' own generator, so that a seed says all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

const GROUPS: [&str; 4] = ["a", "b", "@lab:c", "d"];

fn random_request(random: &mut Random, side: &Side) -> GroupRequest {
    let process = ProcessId { birth: life(1 + random.below(5) as u32), local: random.below(3) as u64 };
    let fresh = MemberId { process, join: 10_000 + random.next() % 1_000_000 };
    let known: Vec<(MemberId, wire::GroupId)> =
        (1..=5).flat_map(|s| side.tables.memberships_at(life(s)).collect::<Vec<_>>()).collect();
    let text = GROUPS[random.below(GROUPS.len())];
    let lives = [
        Lives::Primary,
        Lives::All,
        Lives::AtLeast(2),
        Lives::ContainingRole("r".into()),
        Lives::ContainingMember(fresh),
    ];
    let merges = [Merges::Never, Merges::SameName, Merges::ContainingRole("r".into())];
    let rules = options(lives[random.below(5)].clone(), merges[random.below(3)].clone());
    let join = join(text, fresh, (random.below(3) == 0).then_some("r"), rules);
    if known.is_empty() {
        return join;
    }
    let (member, group) = known[random.below(known.len())];
    let (_, into) = known[random.below(known.len())];
    match random.below(16) {
        0 | 1 => GroupRequest::Leave { group, member },
        2 => GroupRequest::Expel { group, member },
        3 => GroupRequest::Fail { process: member.process },
        4 => {
            GroupRequest::Split { group, members: vec![member], into: name(&format!("s{}", random.below(3))) }
        }
        5 => GroupRequest::Merge { from: group, into },
        6 => GroupRequest::Refresh { group },
        7 => GroupRequest::Reorder { group, member },
        _ => join,
    }
}

/// What must hold of any tables: names and members are in one place, every group's view is its state.
fn check(side: &Side) {
    let mut names = BTreeMap::new();
    let mut places = BTreeMap::new();
    for view in side.tables.group_views() {
        assert!(names.insert(view.name.clone(), view.group).is_none(), "one group a name");
        assert!(!view.members.is_empty());
        for member in &view.members {
            assert!(places.insert(member.id, view.group).is_none() || !view.lives, "one place a member");
            assert!(!view.lives || side.tables.is_present(member.id.process.birth), "members are present");
            if view.lives {
                assert_eq!(side.tables.group_of(member.id), Some(view.group));
            }
        }
        assert!(view.joined.iter().all(|m| view.members.iter().any(|l| l.id == *m)));
        assert!(view.left.iter().all(|(m, _)| view.members.iter().all(|l| l.id != *m)));
    }
}

#[test]
fn replicas_that_take_the_same_steps_agree_through_cuts_and_merges() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut line = Side::found(&[1, 2, 3, 4, 5]);
        let mut replica = line.clone();
        for _ in 0..12 {
            for _ in 0..random.below(4) {
                let asked = (0..random.below(6)).map(|_| random_request(&mut random, &line)).collect();
                let step = line.make(true, &[1, 2, 3, 4, 5], asked);
                assert_eq!(line.take(&step), replica.take(&step), "seed {seed}");
                check(&line);
            }
            // A cut: the line goes on with three sites or not at all, the others on one or two branches.
            let cuts: [&[u32]; 2] = if random.below(2) == 0 { [&[4], &[5]] } else { [&[4, 5], &[]] };
            let mut branches: Vec<Side> = Vec::new();
            for (k, sites) in cuts.into_iter().filter(|c| !c.is_empty()).enumerate() {
                let mut branch = line.clone();
                branch.epoch += k as u64;
                for _ in 0..=random.below(3) {
                    let asked = (0..random.below(5)).map(|_| random_request(&mut random, &branch)).collect();
                    branch.step(false, sites, asked);
                    check(&branch);
                }
                branches.push(branch);
            }
            if random.below(3) > 0 {
                let asked = (0..random.below(4)).map(|_| random_request(&mut random, &line)).collect();
                let step = line.make(true, &[1, 2, 3], asked);
                assert_eq!(line.take(&step), replica.take(&step), "seed {seed}");
                check(&line);
            }
            line.epoch = branches.iter().map(|b| b.epoch).fold(line.epoch, u64::max);
            let mut step = line.make(true, &[1, 2, 3, 4, 5], vec![]);
            step.branches = branches.iter().filter_map(|b| b.tables.branch()).collect();
            let applied = line.take(&step);
            step.branches.reverse();
            assert_eq!(applied, replica.take(&step), "the branches' order does not matter: seed {seed}");
            check(&line);
            assert_eq!(line.tables.digest(), replica.tables.digest(), "seed {seed}");
            assert!(line.tables == replica.tables);
        }
    }
}

#[test]
fn a_thousand_groups_lose_a_site_in_one_step_and_keep_one_digest() {
    let mut side = Side::found(&[1, 2]);
    let joins = |site, groups: std::ops::Range<u64>| {
        groups.map(move |n| join(&format!("g{n}"), member_n(site, n + 1), None, Default::default()))
    };
    side.step(true, &[1, 2], joins(1, 0..1_000).collect());
    side.step(true, &[1, 2], joins(2, 0..1_000).collect());
    let mut replica = side.clone();
    let step = side.make(true, &[1], vec![]);
    assert_eq!(side.take(&step).views.len(), 1_000);
    replica.take(&step);
    assert_eq!(side.tables.digest(), replica.tables.digest());
}
