//! What judges a delivery, what judges a cast, and who gets the table from whom.

use std::collections::{BTreeMap, VecDeque};

use membership::group::GroupView;

use super::super::{ClientId, Origin};
use super::*;
use crate::call::testing::{client, group, installed, life, member, view, view_id, view_with};

/// The view that creates the group: all are new.
fn founding(members: &[u32]) -> GroupView {
    view_with(1, members, members, &[])
}

fn origin(n: u32, sequence: u64) -> Origin {
    Origin { client: client(n), sequence, again: false }
}

fn again(n: u32, sequence: u64) -> Origin {
    Origin { again: true, ..origin(n, sequence) }
}

fn new(n: u32) -> Dedup {
    Dedup::new(life(n), group(), Table::CLIENTS_MAX, Bugs::NONE)
}

/// Some sites on one perfect total order. What they say to each other is kept until the test lets it go.
struct Sites {
    sites: BTreeMap<u32, Dedup>,
    epoch: u64,
    /// What sites want to be cast.
    casts: Vec<(u32, Bytes)>,
    network: VecDeque<(u32, u32, PointMessage)>,
    /// What each was delivered: whose, which, and how it was judged.
    delivered: BTreeMap<u32, Vec<(ClientId, u64, Judgement)>>,
}

impl Sites {
    fn found(members: &[u32]) -> Sites {
        let mut sites = Sites {
            sites: BTreeMap::new(),
            epoch: 0,
            casts: Vec::new(),
            network: VecDeque::new(),
            delivered: BTreeMap::new(),
        };
        sites.install(&founding(members), &[members]);
        sites
    }

    /// Installs a view everywhere; `together` are the sets of sites that come together.
    fn install(&mut self, view: &GroupView, together: &[&[u32]]) {
        let present: Vec<u32> = view.members.iter().map(|member| member.id.site().0).collect();
        self.sites.retain(|n, _| present.contains(n));
        present.iter().for_each(|n| self.install_at(*n, view, together));
    }

    fn install_at(&mut self, n: u32, view: &GroupView, together: &[&[u32]]) {
        self.epoch = view.id.epoch;
        let own = [n];
        let side = together.iter().find(|side| side.contains(&n)).copied().unwrap_or(&own);
        let dedup = self.sites.entry(n).or_insert_with(|| new(n));
        dedup.handle_view(&installed(view.clone(), side));
        self.collect();
    }

    /// Delivers a cast in total order to all.
    fn deliver(&mut self, sender: u32, body: &Bytes) {
        let (view, sender, order) = (view_id(self.epoch), member(sender), crate::Order::Abcast);
        for (n, dedup) in &mut self.sites {
            let delivery = Delivery { group: group(), view, sender, order, body: body.clone() };
            let judged = dedup.handle_delivery(delivery).expect("well formed");
            if let Some((opened, judgement)) = judged {
                let origin = opened.envelope.outsider.expect("only outsiders cast here");
                self.delivered.entry(*n).or_default().push((origin.client, origin.sequence, judgement));
            }
        }
        self.collect();
    }

    /// A contact is asked to carry; if it may, all are delivered its cast.
    fn carry(&mut self, n: u32, origin: Origin) -> Carriage {
        let said = self.sites[&n].may_carry(&origin, view_id(self.epoch));
        let kind = match said {
            Carriage::Fresh => Kind::Cast,
            Carriage::Repeated => Kind::Repeated,
            Carriage::Later | Carriage::Refused(_) => return said,
        };
        let envelope = Envelope { outsider: Some(origin), ..Envelope::of(kind) };
        self.deliver(n, &envelope.wrap(&[origin.sequence as u8]));
        said
    }

    /// What was sent arrives, and what follows from it. Gives who asked whom for a table.
    fn exchange(&mut self) -> Vec<(u32, u32)> {
        let mut asked = Vec::new();
        while let Some((from, to, message)) = self.network.pop_front() {
            let Some(dedup) = self.sites.get_mut(&to) else { continue };
            match PointMessage::decode(message.encode()).expect("our own") {
                PointMessage::TableRequest { view, .. } => {
                    asked.push((from, to));
                    dedup.handle_request(SiteId(from), view);
                }
                PointMessage::Table { view, covers, informed, table, .. } => {
                    dedup.handle_table(view, &covers, informed, &table).expect("our own");
                }
                other => panic!("not of a dedup: {other:?}"),
            }
            self.collect();
        }
        asked
    }

    /// Delivers what the sites wanted to be cast.
    fn let_go(&mut self) -> usize {
        let casts = std::mem::take(&mut self.casts);
        casts.iter().for_each(|(sender, body)| self.deliver(*sender, body));
        casts.len()
    }

    fn collect(&mut self) {
        for (&n, dedup) in &mut self.sites {
            while let Some(output) = dedup.poll_output() {
                match output {
                    DedupOutput::Cast(envelope, payload) => self.casts.push((n, envelope.wrap(&payload))),
                    DedupOutput::Send(transmit) => {
                        self.network.push_back((n, transmit.to.0, transmit.message));
                    }
                }
            }
        }
    }

    /// What this site was delivered since it was last asked, of client 9.
    fn delivered(&mut self, n: u32) -> Vec<(u64, Judgement)> {
        let all = self.delivered.remove(&n).unwrap_or_default();
        all.into_iter().map(|(_, sequence, judgement)| (sequence, judgement)).collect()
    }

    fn all_say(&self, origin: Origin, what: Carriage) {
        for (n, dedup) in &self.sites {
            assert_eq!(dedup.may_carry(&origin, view_id(self.epoch)), what, "site {n}");
        }
    }
}

#[test]
fn of_two_copies_in_one_view_all_deliver_the_first() {
    let mut sites = Sites::found(&[1, 2]);
    // Neither contact had been delivered the other's when it cast its own.
    for (contact, origin) in [(1, origin(9, 1)), (2, again(9, 1))] {
        let envelope = Envelope { outsider: Some(origin), ..Envelope::default() };
        sites.deliver(contact, &envelope.wrap(b"x"));
    }
    for n in [1, 2] {
        assert_eq!(sites.delivered(n), [(1, Judgement::First), (1, Judgement::Repeated)]);
    }
}

#[test]
fn a_contact_does_not_cast_anew_what_was_delivered() {
    let mut sites = Sites::found(&[1, 2]);
    assert_eq!(sites.carry(1, origin(9, 1)), Carriage::Fresh);
    assert_eq!(sites.carry(2, again(9, 1)), Carriage::Repeated, "in this view");
    sites.install(&view(2, &[1, 2]), &[&[1, 2]]);
    assert_eq!(sites.carry(2, again(9, 1)), Carriage::Repeated, "and in a later one");
    assert_eq!(sites.carry(2, origin(9, 2)), Carriage::Fresh);
    let judged = [Judgement::First, Judgement::Repeated, Judgement::Repeated, Judgement::First];
    for n in [1, 2] {
        assert_eq!(sites.delivered(n), [1, 1, 1, 2].into_iter().zip(judged).collect::<Vec<_>>());
    }
    assert_eq!(sites.exchange(), [], "who moves together needs no table");
}

#[test]
fn a_joiner_is_delivered_all_from_the_first_on_and_casts_when_it_has_the_table() {
    let mut sites = Sites::found(&[1, 2]);
    sites.carry(1, origin(9, 1));
    sites.install(&view_with(2, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.carry(2, again(9, 1));
    sites.carry(2, origin(9, 2));
    assert_eq!(sites.delivered(3), [(1, Judgement::Repeated), (2, Judgement::First)]);
    assert_eq!(sites.carry(3, again(9, 1)), Carriage::Later);
    assert_eq!(sites.exchange(), [(3, 1)], "it asks the most senior");
    sites.all_say(again(9, 1), Carriage::Repeated);
    sites.all_say(again(9, 2), Carriage::Repeated);
    sites.all_say(again(9, 3), Carriage::Fresh);
}

#[test]
fn the_next_in_seniority_hands_over_the_table_when_the_first_dies() {
    let mut sites = Sites::found(&[1, 2]);
    sites.carry(1, origin(9, 1));
    sites.install(&view_with(2, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.network.clear();
    sites.carry(2, origin(9, 2));
    sites.install(&view_with(3, &[2, 3], &[], &[1]), &[&[2, 3]]);
    assert_eq!(sites.carry(3, again(9, 1)), Carriage::Later);
    assert_eq!(sites.exchange(), [(3, 2)]);
    sites.all_say(again(9, 1), Carriage::Repeated);
    sites.all_say(again(9, 2), Carriage::Repeated);
}

#[test]
fn joiners_of_two_views_are_both_served() {
    let mut sites = Sites::found(&[1]);
    sites.carry(1, origin(9, 1));
    sites.install(&view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.network.clear();
    sites.carry(1, origin(9, 2));
    sites.install(&view_with(3, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.exchange();
    for sequence in [1, 2] {
        sites.all_say(again(9, sequence), Carriage::Repeated);
    }
}

#[test]
fn a_table_lacks_what_its_sender_lacks_and_the_next_is_asked() {
    let mut sites = Sites::found(&[1, 2]);
    let mut other = Sites::found(&[1, 2]);
    sites.install(&view(2, &[1]), &[&[1]]);
    other.install(&view(3, &[2]), &[&[2]]);
    sites.carry(1, origin(9, 1));
    other.carry(2, origin(9, 2));
    sites.sites.append(&mut other.sites);
    // The joiner's request comes first: site 1 answers with what it has.
    let merged = view_with(4, &[1, 2, 3], &[3], &[]);
    for n in [1, 3, 2] {
        sites.install_at(n, &merged, &[]);
    }
    sites.network.make_contiguous().sort_by_key(|(from, ..)| *from != 3);
    let asked = sites.exchange();
    let of_joiner: Vec<u32> = asked.iter().filter(|(from, _)| *from == 3).map(|(_, to)| *to).collect();
    assert_eq!(of_joiner, [1, 2]);
    for sequence in [1, 2] {
        sites.all_say(again(9, sequence), Carriage::Repeated);
    }
}

#[test]
fn when_the_last_who_knew_dies_only_what_was_never_asked_before_is_cast() {
    let mut sites = Sites::found(&[1]);
    sites.carry(1, origin(9, 1));
    sites.install(&view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.install(&view_with(3, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.network.clear();
    assert_eq!(sites.carry(2, again(9, 1)), Carriage::Later);
    sites.install(&view_with(4, &[2, 3], &[], &[1]), &[&[2, 3]]);
    sites.exchange();
    sites.all_say(again(9, 1), Carriage::Refused(Refusal::Forgotten));
    sites.all_say(origin(9, 2), Carriage::Fresh);
}

#[test]
fn the_table_of_a_joiner_without_one_informs_nobody() {
    let mut sites = Sites::found(&[1, 2]);
    sites.carry(1, origin(9, 1));
    // Site 3 joins, and is delivered a cast; then site 4 does, and asks it first, as the most senior.
    sites.install(&view_with(2, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.network.clear();
    sites.carry(1, origin(9, 2));
    sites.install(&view_with(3, &[3, 1, 4], &[4], &[2]), &[&[1, 3]]);
    sites.network.retain(|(from, to, _)| (*from, *to) == (4, 3));
    assert_eq!(sites.network.len(), 1);
    let asked = sites.network.pop_front().expect("site 4 asks site 3");
    sites.sites.get_mut(&3).expect("a member").handle_request(SiteId(asked.0), view_id(3));
    sites.collect();
    let (_, _, answer) = sites.network.pop_front().expect("an answer");
    let PointMessage::Table { view, covers, informed, table, .. } = answer else {
        panic!("a table: {answer:?}")
    };
    assert_eq!((informed, &covers[..]), (false, &[life(3), life(4)][..]));
    sites
        .sites
        .get_mut(&4)
        .expect("a member")
        .handle_table(view, &covers, informed, &table)
        .expect("our own");
    // The last who knew dies, and neither pretends to know.
    sites.install(&view_with(4, &[3, 4], &[], &[1]), &[&[3, 4]]);
    sites.exchange();
    sites.all_say(again(9, 1), Carriage::Refused(Refusal::Forgotten));
    sites.all_say(again(9, 2), Carriage::Repeated);
    sites.all_say(again(9, 3), Carriage::Fresh);
}

#[test]
fn joiners_who_find_nobody_do_not_wait() {
    let mut sites = Sites::found(&[1]);
    sites.install(&view_with(2, &[2, 3], &[2, 3], &[1]), &[]);
    assert_eq!(sites.exchange(), []);
    sites.all_say(again(9, 1), Carriage::Refused(Refusal::Forgotten));
    sites.all_say(origin(9, 1), Carriage::Fresh);
}

#[test]
fn a_site_whose_only_member_is_replaced_in_one_step_is_given_the_table_again() {
    let mut sites = Sites::found(&[1, 2]);
    sites.carry(1, origin(9, 1));
    // At site 2 one process leaves and another joins: the sites move together, and site 2 is new to the group.
    sites.install(&view_with(2, &[1, 2], &[2], &[]), &[&[1, 2]]);
    assert_eq!(sites.carry(2, again(9, 1)), Carriage::Later);
    assert_eq!(sites.exchange(), [(2, 1)], "site 1 lacks nothing");
    sites.all_say(again(9, 1), Carriage::Repeated);
}

#[test]
fn two_sides_that_merge_know_what_either_has_delivered() {
    let mut sites = Sites::found(&[1, 2, 3, 4]);
    let (left, right): (&[u32], &[u32]) = (&[1, 2], &[3, 4]);
    let mut other = Sites::found(&[1, 2, 3, 4]);
    sites.install(&view(2, left), &[left]);
    other.install(&view(3, right), &[right]);
    sites.carry(1, origin(8, 1));
    other.carry(3, origin(9, 1));
    sites.sites.append(&mut other.sites);
    sites.install(&view(4, &[1, 2, 3, 4]), &[left, right]);
    sites.all_say(again(8, 1), Carriage::Later);
    assert_eq!(sites.exchange(), [(1, 3), (2, 3), (3, 1), (4, 1)], "the most senior of the other side");
    for n in [8, 9] {
        sites.all_say(again(n, 1), Carriage::Repeated);
        sites.all_say(again(n, 2), Carriage::Fresh);
    }
}

#[test]
fn who_comes_alone_from_the_same_view_may_know_more_than_the_others() {
    let mut sites = Sites::found(&[1, 2]);
    // Site 2 was delivered what was lost to site 1, and did not install the view between.
    let envelope = Envelope { outsider: Some(origin(9, 1)), ..Envelope::default() };
    let (view, order) = (view_id(1), crate::Order::Abcast);
    let delivery = Delivery { group: group(), view, sender: member(2), order, body: envelope.wrap(b"x") };
    sites.sites.get_mut(&2).expect("a member").handle_delivery(delivery).expect("well formed");
    let between = crate::call::testing::view(2, &[1, 2]);
    sites.install_at(1, &between, &[&[1]]);
    assert_eq!(sites.carry(1, again(9, 1)), Carriage::Later);
    sites.exchange();
    assert_eq!(sites.carry(1, again(9, 1)), Carriage::Later, "site 2 is not in that view");
    sites.install(&crate::call::testing::view(3, &[1, 2]), &[&[1], &[2]]);
    sites.exchange();
    sites.all_say(again(9, 1), Carriage::Repeated);
}

#[test]
fn a_side_that_dies_before_it_told_is_not_waited_for() {
    let mut sites = Sites::found(&[1, 2]);
    let mut other = Sites::found(&[1, 2]);
    sites.install(&view(2, &[1]), &[&[1]]);
    other.install(&view(3, &[2]), &[&[2]]);
    sites.sites.append(&mut other.sites);
    sites.install(&view(4, &[1, 2]), &[&[1], &[2]]);
    assert_eq!(sites.carry(1, origin(9, 1)), Carriage::Later);
    sites.install(&view_with(5, &[1], &[], &[2]), &[&[1]]);
    assert_eq!(sites.carry(1, origin(9, 1)), Carriage::Fresh);
}

#[test]
fn who_is_asked_before_it_has_the_view_answers_when_it_has() {
    let mut sites = Sites::found(&[1]);
    sites.carry(1, origin(9, 1));
    let next = view_with(2, &[1, 2], &[2], &[]);
    sites.install_at(2, &next, &[]);
    sites.exchange();
    assert_eq!(sites.sites[&2].may_carry(&again(9, 1), view_id(1)), Carriage::Later);
    sites.install_at(1, &next, &[&[1]]);
    sites.exchange();
    sites.all_say(again(9, 1), Carriage::Repeated);
}

#[test]
fn a_request_that_was_under_way_when_all_who_knew_went_is_not_taken_for_new() {
    let mut sites = Sites::found(&[1]);
    // Client 9 has asked site 2, in vain, and then site 1; its first request is still under way.
    sites.carry(1, origin(9, 1));
    sites.install(&view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.network.clear();
    sites.sites.remove(&1);
    sites.install(&view_with(3, &[2], &[], &[1]), &[&[2]]);
    let carry = |sites: &Sites, as_of| sites.sites[&2].may_carry(&origin(9, 1), view_id(as_of));
    assert_eq!(carry(&sites, 1), Carriage::Refused(Refusal::Forgotten));
    assert_eq!(carry(&sites, 2), Carriage::Fresh, "no copy was cast before that view");
    assert_eq!(carry(&sites, 4), Carriage::Later, "nor is one now");
}

#[test]
fn who_skips_the_view_in_which_it_joined_knows_nothing_of_that_one_either() {
    let mut sites = Sites::found(&[1]);
    sites.install_at(1, &view_with(2, &[1, 2], &[2], &[]), &[&[1]]);
    sites.carry(1, origin(9, 1));
    sites.sites.remove(&1);
    sites.install(&view_with(3, &[2], &[], &[1]), &[&[2]]);
    let carry = |as_of| sites.sites[&2].may_carry(&origin(9, 1), view_id(as_of));
    assert_eq!(carry(2), Carriage::Refused(Refusal::Forgotten));
    assert_eq!(carry(3), Carriage::Fresh);
}

#[test]
fn what_is_asked_as_of_an_earlier_view_is_not_answered() {
    let mut sites = Sites::found(&[1]);
    sites.install(&view(3, &[1]), &[&[1]]);
    let dedup = sites.sites.get_mut(&1).expect("a member");
    dedup.handle_request(SiteId(2), view_id(2));
    assert_eq!(dedup.poll_output(), None);
    // And what was asked as of one that never came here is dropped with the next.
    dedup.handle_request(SiteId(2), view_id(4));
    dedup.handle_view(&installed(view(5, &[1]), &[1]));
    assert_eq!((dedup.poll_output(), dedup.asked.len()), (None, 0));
}

#[test]
fn requests_as_of_views_to_come_are_bounded() {
    let mut dedup = new(1);
    dedup.handle_view(&installed(founding(&[1]), &[1]));
    let asked_max = Dedup::ASKED_MAX as u32;
    for n in 0..asked_max + 10 {
        dedup.handle_request(SiteId(n), view_id(u64::MAX));
    }
    assert_eq!(dedup.asked.len(), Dedup::ASKED_MAX);
    dedup.handle_request(SiteId(1), view_id(7));
    assert_eq!(dedup.asked[&SiteId(1)], view_id(7), "who has asked may ask again");
}

#[test]
fn tables_that_were_not_asked_for_change_nothing() {
    let mut sites = Sites::found(&[1, 2]);
    sites.install(&view_with(2, &[1, 2, 3], &[3], &[]), &[&[1, 2]]);
    sites.network.clear();
    let mut lie = Table::new(8);
    lie.judge(&origin(9, 1));
    let lie = lie.encode();
    let dedup = sites.sites.get_mut(&3).expect("a member");
    let before = format!("{dedup:?}");
    assert_eq!(dedup.handle_table(view_id(1), &[life(1)], true, &lie), Ok(()), "of another view");
    assert_eq!(dedup.handle_table(view_id(9), &[life(1)], true, &lie), Ok(()), "of one to come");
    assert_eq!(dedup.handle_table(view_id(2), &[life(3), life(7)], true, &lie), Ok(()), "of nobody lacking");
    assert_eq!(dedup.handle_table(view_id(2), &[], true, &lie), Ok(()), "of nobody");
    for hostile in [&b""[..], &b"\xff\xff"[..], &lie[..lie.len() - 1]] {
        assert_eq!(dedup.handle_table(view_id(2), &[life(1)], true, hostile), Err(DecodeError::BadBody));
    }
    assert_eq!(format!("{dedup:?}"), before);
    let full = &mut sites.sites.get_mut(&1).expect("a member");
    assert_eq!(full.handle_table(view_id(2), &[life(2)], true, &lie), Ok(()), "it lacks nothing");
    assert_eq!(full.may_carry(&origin(9, 1), view_id(1)), Carriage::Fresh);
}

#[test]
fn clients_of_a_dead_site_are_forgotten_at_one_point_of_the_order() {
    let mut sites = Sites::found(&[1, 2]);
    sites.carry(1, origin(9, 1));
    for dedup in sites.sites.values_mut() {
        dedup.handle_life_ended(life(9));
        dedup.handle_life_ended(life(10));
    }
    sites.collect();
    assert_eq!(sites.let_go(), 1, "the most senior tells, and only of those the group knows");
    sites.all_say(again(9, 2), Carriage::Refused(Refusal::Gone));
    let late = Envelope { outsider: Some(origin(9, 2)), ..Envelope::default() };
    sites.deliver(2, &late.wrap(b"x"));
    for n in [1, 2] {
        assert_eq!(sites.delivered(n).last(), Some(&(2, Judgement::Gone)));
    }
    sites.install(&view(2, &[1, 2]), &[&[1, 2]]);
    sites.all_say(again(9, 2), Carriage::Refused(Refusal::Gone));
}

#[test]
fn the_dead_of_whom_a_site_knows_are_bounded() {
    let mut dedup = new(2);
    dedup.handle_view(&installed(founding(&[1, 2]), &[1, 2]));
    (0..2 * Dedup::DEAD_MAX as u32).for_each(|n| dedup.handle_life_ended(life(100 + n)));
    assert_eq!(dedup.dead.len(), Dedup::DEAD_MAX);
}

#[test]
fn malformed_deliveries_change_nothing() {
    let mut dedup = new(1);
    dedup.handle_view(&installed(founding(&[1]), &[1]));
    let before = format!("{dedup:?}");
    for body in [Bytes::new(), Envelope::of(Kind::Gone).wrap(b"\xff\xff")] {
        let (view, sender, order) = (view_id(1), member(1), crate::Order::Abcast);
        let delivery = Delivery { group: group(), view, sender, order, body };
        assert!(matches!(dedup.handle_delivery(delivery), Err(DedupError::Malformed(_))));
    }
    assert_eq!(format!("{dedup:?}"), before);
}

#[cfg(feature = "bugs")]
#[test]
fn the_bug_casts_and_delivers_it_twice() {
    let mut sites = Sites::found(&[1]);
    let buggy = Dedup::new(life(1), group(), Table::CLIENTS_MAX, Bugs::only(Bug::OutsiderCastTwice));
    sites.sites.insert(1, buggy);
    sites.install(&founding(&[1]), &[&[1]]);
    sites.carry(1, origin(9, 1));
    assert_eq!(sites.carry(1, again(9, 1)), Carriage::Fresh);
    assert_eq!(sites.delivered(1), [(1, Judgement::First), (1, Judgement::First)]);
}
