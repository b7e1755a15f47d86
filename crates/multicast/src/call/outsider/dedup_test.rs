//! Who gets the table from whom, and what waits for it.

use std::collections::BTreeMap;

use super::super::{ClientId, Origin};
use super::*;
use crate::call::testing::{client, group, installed, life, member, view, view_id, view_with};
use membership::group::GroupView;

fn dedup(n: u32) -> Dedup {
    Dedup::new(life(n), DedupLimits::default(), Bugs::NONE)
}

/// The view that creates the group: all are new.
fn founding(members: &[u32]) -> GroupView {
    view_with(1, members, members, &[])
}

fn outsiders(n: u32, sequence: u64, again: bool) -> Bytes {
    let origin = Origin { client: client(n), sequence, again };
    Envelope { outsider: Some(origin), ..Envelope::default() }.wrap(&[sequence as u8])
}

/// What one site showed its members: views by epoch, casts by client and sequence, plain casts as 0.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    View(u64),
    Cast(ClientId, u64),
    Plain,
    Judged(u64, Judgement),
    MustRejoin,
}

/// Some sites on one perfect total order. What a site wants to be cast is kept until the test lets it go.
struct Sites {
    sites: BTreeMap<u32, Dedup>,
    epoch: u64,
    casts: Vec<(u32, Bytes)>,
    shown: BTreeMap<u32, Vec<Shown>>,
}

impl Sites {
    fn found(members: &[u32]) -> Sites {
        let mut sites = Sites { sites: BTreeMap::new(), epoch: 0, casts: Vec::new(), shown: BTreeMap::new() };
        sites.install(founding(members), &[members]);
        sites
    }

    /// Installs a view everywhere; `together` are the sets of sites that come together.
    fn install(&mut self, view: GroupView, together: &[&[u32]]) {
        self.epoch = view.id.epoch;
        let present: Vec<u32> = view.members.iter().map(|member| member.id.site().0).collect();
        self.sites.retain(|n, _| present.contains(n));
        for &n in &present {
            let own = [n];
            let side = together.iter().find(|side| side.contains(&n)).copied().unwrap_or(&own);
            let dedup = self.sites.entry(n).or_insert_with(|| dedup(n));
            dedup.handle_view(installed(view.clone(), side));
        }
        self.collect();
    }

    fn cast(&mut self, sender: u32, body: Bytes) {
        let (view, sender, order) = (view_id(self.epoch), member(sender), crate::Order::Abcast);
        let delivery = Delivery { group: group(), view, sender, order, body };
        for dedup in self.sites.values_mut() {
            dedup.handle_delivery(Time::ZERO, delivery.clone()).expect("well formed");
        }
        self.collect();
    }

    /// Delivers what the sites wanted to be cast, except what the dead wanted.
    fn let_go(&mut self) -> usize {
        let casts = std::mem::take(&mut self.casts);
        let living: Vec<_> = casts.into_iter().filter(|(n, _)| self.sites.contains_key(n)).collect();
        for (sender, body) in &living {
            self.cast(*sender, body.clone());
        }
        living.len()
    }

    fn collect(&mut self) {
        for (&n, dedup) in &mut self.sites {
            while let Some(output) = dedup.poll_output() {
                let shown = match output {
                    DedupOutput::Cast(body) => {
                        self.casts.push((n, body));
                        continue;
                    }
                    DedupOutput::Deliver(opened) => match opened.envelope.outsider {
                        Some(origin) => Shown::Cast(origin.client, origin.sequence),
                        None => Shown::Plain,
                    },
                    DedupOutput::Judged(opened, judgement) => {
                        Shown::Judged(opened.envelope.outsider.expect("an outsider's").sequence, judgement)
                    }
                    DedupOutput::View(installed) => Shown::View(installed.view.id.epoch),
                    DedupOutput::Firm => continue,
                    DedupOutput::MustRejoin => Shown::MustRejoin,
                };
                self.shown.entry(n).or_default().push(shown);
            }
        }
    }

    fn shown(&mut self, n: u32) -> Vec<Shown> {
        self.shown.remove(&n).unwrap_or_default()
    }

    fn agree(&self) {
        let mut tables = self.sites.values().map(|dedup| dedup.table().expect("nobody waits"));
        let first = tables.next().expect("somebody");
        assert!(tables.all(|table| table == first), "all members hold one table");
    }
}

#[test]
fn a_repeated_cast_is_delivered_once() {
    let mut sites = Sites::found(&[1, 2]);
    sites.cast(1, outsiders(9, 1, false));
    sites.cast(2, outsiders(9, 1, true));
    for n in [1, 2] {
        let once = [Shown::View(1), Shown::Cast(client(9), 1), Shown::Judged(1, Judgement::Repeated)];
        assert_eq!(sites.shown(n), once);
    }
    sites.agree();
}

#[test]
fn a_site_whose_only_member_is_replaced_in_one_step_is_given_the_table_again() {
    let mut sites = Sites::found(&[1, 2]);
    sites.cast(1, outsiders(9, 1, false));
    // At site 2 one process leaves and another joins: the sites move together, and site 2 is new to the group.
    sites.install(view_with(2, &[1, 2], &[2], &[]), &[&[1, 2]]);
    sites.shown(2);
    sites.cast(1, outsiders(9, 1, true));
    assert_eq!(sites.let_go(), 1, "site 1 casts its table, and site 2 none");
    assert_eq!(sites.shown(2), [Shown::Judged(1, Judgement::Repeated)]);
    sites.agree();
}

#[cfg(feature = "bugs")]
#[test]
fn the_bug_delivers_it_twice() {
    let mut sites = Sites::found(&[1]);
    sites.sites.insert(1, Dedup::new(life(1), DedupLimits::default(), Bugs::only(Bug::OutsiderCastTwice)));
    sites.install(founding(&[1]), &[&[1]]);
    sites.shown(1);
    sites.cast(1, outsiders(9, 1, false));
    sites.cast(1, outsiders(9, 1, true));
    assert_eq!(sites.shown(1), [Shown::Cast(client(9), 1), Shown::Cast(client(9), 1)]);
}

#[test]
fn a_joiner_knows_what_was_delivered_before_it_came() {
    let mut sites = Sites::found(&[1, 2]);
    sites.cast(1, outsiders(9, 1, false));
    sites.install(view_with(2, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.cast(2, Envelope::default().wrap(b"plain"));
    sites.cast(2, outsiders(9, 1, true));
    sites.cast(2, outsiders(9, 2, false));
    sites.cast(2, Envelope::default().wrap(b"plain"));
    assert_eq!(sites.shown(3), [Shown::View(2), Shown::Plain], "and holds everything from the first on");
    assert_eq!(sites.let_go(), 1, "only the most senior casts the table");
    let rest = [Shown::Judged(1, Judgement::Repeated), Shown::Cast(client(9), 2), Shown::Plain];
    assert_eq!(sites.shown(3), rest);
    sites.agree();
}

#[test]
fn the_next_in_seniority_hands_over_the_table_when_the_first_dies() {
    let mut sites = Sites::found(&[1, 2]);
    sites.cast(1, outsiders(9, 1, false));
    sites.install(view_with(2, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.cast(2, outsiders(9, 1, true));
    sites.cast(2, outsiders(9, 2, false));
    sites.install(view_with(3, &[2, 3], &[], &[1]), &[&[2, 3]]);
    sites.cast(2, outsiders(9, 2, true));
    assert_eq!(sites.shown(3), [Shown::View(2)], "a view behind a held cast is held too");
    assert_eq!(sites.let_go(), 1);
    let rest = [
        Shown::Judged(1, Judgement::Repeated),
        Shown::Cast(client(9), 2),
        Shown::View(3),
        Shown::Judged(2, Judgement::Repeated),
    ];
    assert_eq!(sites.shown(3), rest);
    sites.agree();
}

#[test]
fn joiners_of_two_views_are_both_served() {
    let mut sites = Sites::found(&[1]);
    sites.cast(1, outsiders(9, 1, false));
    sites.install(view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.cast(1, outsiders(9, 2, false));
    sites.install(view_with(3, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.cast(1, outsiders(9, 2, true));
    assert!(sites.sites[&2].is_waiting() && sites.sites[&3].is_waiting());
    sites.let_go();
    assert_eq!(
        sites.shown(2),
        [Shown::View(2), Shown::Cast(client(9), 2), Shown::View(3), Shown::Judged(2, Judgement::Repeated),]
    );
    assert_eq!(sites.shown(3), [Shown::View(3), Shown::Judged(2, Judgement::Repeated)]);
    sites.agree();
}

#[test]
fn when_the_last_who_knew_dies_nothing_is_delivered_twice() {
    let mut sites = Sites::found(&[1]);
    sites.cast(1, outsiders(9, 1, false));
    sites.install(view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.install(view_with(3, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.cast(2, outsiders(9, 1, true));
    sites.install(view_with(4, &[2, 3], &[], &[1]), &[&[2, 3]]);
    sites.let_go();
    sites.cast(2, outsiders(9, 2, false));
    for n in [2, 3] {
        let shown = sites.shown(n);
        assert!(shown.contains(&Shown::Judged(1, Judgement::Forgotten)), "{n}: {shown:?}");
        assert_eq!(shown.last(), Some(&Shown::Cast(client(9), 2)), "what was never asked before is new");
    }
    sites.agree();
}

#[test]
fn joiners_who_find_nobody_do_not_wait() {
    let mut sites = Sites::found(&[1]);
    sites.install(view_with(2, &[2, 3], &[2, 3], &[1]), &[]);
    sites.cast(2, outsiders(9, 1, true));
    assert_eq!(sites.shown(3), [Shown::View(2), Shown::Judged(1, Judgement::Forgotten)]);
    sites.agree();
}

#[test]
fn two_sides_that_merge_know_what_either_has_delivered() {
    let mut sites = Sites::found(&[1, 2, 3, 4]);
    let (left, right): (&[u32], &[u32]) = (&[1, 2], &[3, 4]);
    let mut other = Sites::found(&[1, 2, 3, 4]);
    sites.install(view(2, left), &[left]);
    other.install(view(3, right), &[right]);
    sites.cast(1, outsiders(8, 1, false));
    other.cast(3, outsiders(9, 1, false));
    sites.sites.append(&mut other.sites);
    sites.install(view(4, &[1, 2, 3, 4]), &[left, right]);
    for n in 1..=4 {
        sites.shown(n);
    }
    sites.cast(2, outsiders(9, 1, true));
    sites.cast(2, outsiders(8, 1, true));
    sites.cast(2, outsiders(8, 2, false));
    assert_eq!(sites.shown(1), [], "all wait for the other side");
    assert_eq!(sites.let_go(), 2, "the most senior of each side casts");
    let same = [
        Shown::Judged(1, Judgement::Repeated),
        Shown::Judged(1, Judgement::Repeated),
        Shown::Cast(client(8), 2),
    ];
    for n in 1..=4 {
        assert_eq!(sites.shown(n), same);
    }
    sites.agree();
}

#[test]
fn a_side_that_dies_before_it_told_is_not_waited_for() {
    let mut sites = Sites::found(&[1, 2]);
    let mut other = Sites::found(&[1, 2]);
    sites.install(view(2, &[1]), &[&[1]]);
    other.install(view(3, &[2]), &[&[2]]);
    sites.sites.append(&mut other.sites);
    sites.install(view(4, &[1, 2]), &[&[1], &[2]]);
    sites.cast(1, outsiders(9, 1, false));
    sites.shown(1);
    sites.install(view_with(5, &[1], &[], &[2]), &[&[1]]);
    assert_eq!(sites.shown(1), [Shown::Cast(client(9), 1), Shown::View(5)]);
}

#[test]
fn a_table_that_does_not_come_in_time_makes_the_joiner_join_again() {
    let mut sites = Sites::found(&[1]);
    sites.install(view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.cast(1, outsiders(9, 1, false));
    let joiner = sites.sites.get_mut(&2).expect("joined");
    assert_eq!(joiner.poll_timeout(), Some(Time::from_millis(10_000)));
    joiner.handle_timeout(Time::from_millis(10_000));
    sites.collect();
    sites.cast(1, Envelope::default().wrap(b"plain"));
    sites.let_go();
    assert_eq!(sites.shown(2), [Shown::View(2), Shown::MustRejoin], "and it is shown nothing more");
    sites.install(view_with(3, &[1, 2], &[2], &[]), &[&[1]]);
    sites.let_go();
    sites.cast(1, outsiders(9, 1, true));
    assert_eq!(sites.shown(2), [Shown::View(3), Shown::Judged(1, Judgement::Repeated)]);
}

#[test]
fn a_joiner_holds_no_more_than_its_bound() {
    let limits = DedupLimits { held_max: 3, ..DedupLimits::default() };
    let mut sites = Sites::found(&[1]);
    sites.sites.insert(2, Dedup::new(life(2), limits, Bugs::NONE));
    sites.install(view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    for sequence in 1..=4 {
        sites.cast(1, outsiders(9, sequence, false));
    }
    assert_eq!(sites.shown(2), [Shown::View(2), Shown::MustRejoin]);
}

#[test]
fn clients_of_a_dead_site_are_forgotten_at_one_point_of_the_order() {
    let mut sites = Sites::found(&[1, 2]);
    sites.cast(1, outsiders(9, 1, false));
    for dedup in sites.sites.values_mut() {
        dedup.handle_life_ended(life(9));
        dedup.handle_life_ended(life(10));
    }
    sites.collect();
    assert_eq!(sites.let_go(), 1, "the most senior tells, and only of those the group knows");
    sites.cast(2, outsiders(9, 2, false));
    for n in [1, 2] {
        assert_eq!(sites.shown(n).last(), Some(&Shown::Judged(2, Judgement::Gone)));
    }
    sites.agree();
}

#[test]
fn malformed_deliveries_change_nothing() {
    let mut dedup = dedup(1);
    dedup.handle_view(installed(founding(&[1]), &[1]));
    for kind in [Kind::DedupState, Kind::Gone] {
        let body = Envelope::of(kind).wrap(b"\xff\xff");
        let (view, sender, order) = (view_id(1), member(1), crate::Order::Abcast);
        let delivery = Delivery { group: group(), view, sender, order, body };
        let error = dedup.handle_delivery(Time::ZERO, delivery);
        assert_eq!(error, Err(DedupError::Malformed(DecodeError::BadBody)));
    }
    assert!(dedup.table().expect("the group is new").is_empty());
}
