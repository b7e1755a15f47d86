//! When what a site knew of a group is everywhere: in a view, over a view change, and after the site has left. And frames
//! about it from the hostile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{Incarnation, SiteId, SiteIncarnation, Time, ViewId};

use super::Extent;
use crate::call::testing::{group, life, member, view, view_id, view_with};
use crate::endpoint::Endpoint;
use crate::event::{Cast, Event, FrameError, Order};
use crate::frame::{ACK_DELIVERED, ACK_ORDER, Fetch, Installed, Kind, Trailer, Writer, control};
use crate::{Config, Parting};

/// Endpoints and the links between them. Nothing arrives before the test says so.
struct Sites {
    now: Time,
    endpoints: BTreeMap<u32, Endpoint>,
    links: BTreeMap<(u32, u32), VecDeque<Bytes>>,
    delivered: BTreeMap<u32, Vec<Bytes>>,
}

impl Sites {
    fn found(members: &[u32]) -> Sites {
        let mut sites = Sites {
            now: Time::ZERO,
            endpoints: BTreeMap::new(),
            links: BTreeMap::new(),
            delivered: BTreeMap::new(),
        };
        sites.view(members, &view_with(1, members, members, &[]));
        sites.exchange();
        sites
    }

    /// These are told of a view.
    fn view(&mut self, at: &[u32], view: &GroupView) {
        for &n in at {
            let new = || Endpoint::new(Config::default(), group(), life(n));
            let endpoint = self.endpoints.entry(n).or_insert_with(new);
            endpoint.handle_view(self.now, Arc::new(view.clone())).expect("a good view");
            self.poll(n);
        }
    }

    fn cast(&mut self, n: u32, order: Order, safe: bool, payload: &'static [u8]) {
        let cast = Cast { order, safe, payload: Bytes::from_static(payload) };
        self.at(n).cast(Time::ZERO, member(n), cast).expect("room");
        self.poll(n);
    }

    fn at(&mut self, n: u32) -> &mut Endpoint {
        self.endpoints.get_mut(&n).expect("a site")
    }

    fn poll(&mut self, n: u32) {
        let now = self.now;
        while let Some(transmit) = self.at(n).poll_transmit(now) {
            for to in transmit.to.iter() {
                self.links.entry((n, to.0)).or_default().push_back(transmit.frame.clone());
            }
        }
        while let Some(event) = self.at(n).poll_event() {
            if let Event::Deliver(delivery) = event {
                self.delivered.entry(n).or_default().push(delivery.payload);
            }
        }
    }

    /// All that is on its way between two sites arrives.
    fn arrive(&mut self, from: u32, to: u32) {
        while let Some(frame) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) {
            let now = self.now;
            if let Some(endpoint) = self.endpoints.get_mut(&to) {
                endpoint.handle_frame(now, SiteId(from), frame).expect("our own");
                self.poll(to);
            }
        }
    }

    /// Everything arrives, and what follows from it.
    fn exchange(&mut self) {
        for _ in 0..100 {
            let busy: Vec<_> =
                self.links.iter().filter(|(_, q)| !q.is_empty()).map(|(pair, _)| *pair).collect();
            busy.iter().for_each(|(from, to)| self.arrive(*from, *to));
            if busy.is_empty() {
                self.now = self.now + Config::default().ack_delay;
                let all: Vec<u32> = self.endpoints.keys().copied().collect();
                all.iter().for_each(|n| self.poll(*n));
                if self.links.values().all(VecDeque::is_empty) {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn extent(&mut self, n: u32) -> Extent {
        self.at(n).extent().expect("it has a view")
    }

    fn delivered(&self, n: u32) -> usize {
        self.delivered.get(&n).map_or(0, Vec::len)
    }

    /// Takes what one site has said to another about views that it installed off the link.
    fn hold_installed(&mut self, from: u32, to: u32) -> Vec<Bytes> {
        let link = self.links.entry((from, to)).or_default();
        let says = |frame: &Bytes| Parting::installed_of(frame).is_some();
        let (held, rest): (Vec<Bytes>, Vec<Bytes>) = link.drain(..).partition(says);
        *link = rest.into();
        held
    }
}

#[test]
fn in_a_view_it_is_everywhere_when_all_have_acknowledged_it() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(1, Order::Cbcast, false, b"x");
    let mut extent = sites.extent(1);
    assert!(!sites.at(1).is_everywhere(&mut extent), "nobody else has it");
    sites.arrive(1, 2);
    sites.now = sites.now + Config::default().ack_delay;
    sites.poll(2);
    sites.arrive(2, 1);
    assert!(!sites.at(1).is_everywhere(&mut extent), "one does not");
    sites.exchange();
    assert!(sites.at(1).is_everywhere(&mut extent));
}

#[test]
fn what_an_abcast_may_be_behind_is_everywhere_with_its_order() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(3, Order::Abcast, false, b"x");
    sites.arrive(3, 1);
    let mut extent = sites.extent(1);
    assert_eq!(sites.delivered(1), 1);
    sites.arrive(3, 2);
    sites.now = sites.now + Config::default().ack_delay;
    (1..=3).for_each(|n| sites.poll(n));
    sites.arrive(2, 1);
    assert_eq!(sites.delivered(2), 0, "it has the message, and not its place");
    assert!(!sites.at(1).is_everywhere(&mut extent));
    sites.exchange();
    assert!(sites.at(1).is_everywhere(&mut extent));
}

#[test]
fn behind_a_safe_message_it_is_everywhere_when_all_have_delivered_it() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(1, Order::Fbcast, true, b"safe");
    sites.cast(1, Order::Cbcast, false, b"behind");
    sites.arrive(1, 2);
    sites.arrive(1, 3);
    sites.poll(2);
    sites.poll(3);
    sites.arrive(2, 1);
    sites.arrive(3, 1);
    let mut extent = sites.extent(1);
    assert_eq!((sites.delivered(1), sites.delivered(3)), (2, 0), "site 3 does not know that site 2 has it");
    assert!(!sites.at(1).is_everywhere(&mut extent), "all have it, and not all have delivered it");
    sites.arrive(2, 3);
    assert_eq!(sites.delivered(3), 2);
    sites.arrive(1, 2);
    sites.exchange();
    assert!(sites.at(1).is_everywhere(&mut extent));
}

#[test]
fn what_was_cast_behind_an_own_abcast_waits_for_its_place_at_all_sites() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(3, Order::Abcast, false, b"first");
    sites.cast(3, Order::Cbcast, false, b"behind");
    let mut extent = sites.extent(3);
    assert_eq!(sites.delivered(3), 0, "its own abcast has no place yet");
    sites.arrive(3, 1);
    sites.arrive(3, 2);
    sites.now = sites.now + Config::default().ack_delay;
    (1..=3).for_each(|n| sites.poll(n));
    sites.arrive(1, 3);
    sites.arrive(2, 3);
    assert_eq!((sites.delivered(3), sites.delivered(2)), (2, 0), "site 2 does not know the place");
    assert!(!sites.at(3).is_everywhere(&mut extent), "all have both, and not all have delivered them");
    sites.exchange();
    assert!(sites.at(3).is_everywhere(&mut extent));
}

#[test]
fn over_a_view_change_it_is_everywhere_when_all_who_came_have_installed() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(1, Order::Cbcast, false, b"x");
    let mut extent = sites.extent(1);
    // Site 4 joins: it has no past of the group, and is not waited for.
    let next = view_with(2, &[1, 2, 3, 4], &[4], &[]);
    sites.view(&[1, 2, 3], &next);
    assert!(!sites.at(1).is_everywhere(&mut extent), "the view changes");
    // Flushes first; who has installed says so.
    for (from, to) in [(2, 1), (3, 1), (1, 2), (3, 2), (1, 3), (2, 3)] {
        sites.arrive(from, to);
    }
    let installed = |endpoint: &Endpoint| endpoint.view().map(|view| view.id);
    assert_eq!(installed(sites.at(1)), Some(next.id));
    let held = sites.hold_installed(3, 1);
    assert!(!held.is_empty());
    sites.exchange();
    assert!(!sites.at(1).is_everywhere(&mut extent), "site 3 may still be fetching");
    for frame in held {
        let now = sites.now;
        assert_eq!(sites.at(1).handle_frame(now, SiteId(3), frame), Ok(()));
    }
    assert!(sites.at(1).is_everywhere(&mut extent));
    assert!(!sites.endpoints.contains_key(&4));
}

#[test]
fn who_comes_from_an_older_view_is_waited_for_too() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(1, Order::Cbcast, false, b"x");
    // Site 3 does not hear of the second view, and goes on to the third from the first.
    sites.view(&[1, 2], &view(2, &[1, 2]));
    sites.arrive(1, 2);
    sites.arrive(2, 1);
    sites.exchange();
    let mut extent = sites.extent(1);
    assert!(sites.at(1).is_everywhere(&mut extent));
    let merged = view(3, &[1, 2, 3]);
    sites.view(&[1, 2], &merged);
    for (from, to) in [(1, 2), (2, 1), (1, 2), (2, 1)] {
        sites.arrive(from, to);
    }
    assert_eq!(sites.at(1).view().map(|view| view.id), Some(merged.id), "who was not in the view before");
    assert!(!sites.at(1).is_everywhere(&mut extent), "may still be delivered what its own view has left");
    sites.view(&[3], &merged);
    sites.exchange();
    assert_eq!(sites.at(1).view().map(|view| view.id), Some(merged.id));
    assert!(sites.at(1).is_everywhere(&mut extent));
}

#[test]
fn after_the_end_it_is_for_a_parting_to_say() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(3, Order::Cbcast, false, b"x");
    let mut extent = sites.extent(3);
    sites.exchange();
    assert!(sites.at(3).is_everywhere(&mut extent));
    sites.view(&[3], &view_with(2, &[1, 2], &[], &[3]));
    assert_eq!(sites.at(3).extent(), None);
    assert!(!sites.at(3).is_everywhere(&mut extent));
}

/// A site has left and the others have not installed the view without it yet.
fn parted(last: &GroupView) -> (Sites, Parting) {
    let mut sites = Sites::found(&[1, 2, 3]);
    let left = Arc::clone(sites.at(3).view().expect("founded"));
    sites.cast(3, Order::Cbcast, false, b"x");
    sites.view(&[3], last);
    let now = sites.now;
    let parting = Parting::new(now, life(3), sites.at(3), &left, last);
    (sites, parting)
}

#[test]
fn who_went_another_way_is_waited_for_while_it_is_met() {
    // The view that ended the group at site 3 is of its own side of a partition: nobody is in it.
    let last = view_with(2, &[], &[], &[]);
    let (sites, mut parting) = parted(&last);
    let met = |life: SiteIncarnation| life.site == SiteId(1);
    assert!(!parting.is_over(sites.now));
    assert!(parting.holds(met) && !parting.holds(|_| false), "nothing is sent to who is not met");
    assert!(
        !parting.holds(|met| met == SiteIncarnation { incarnation: Incarnation(9), ..life(1) }),
        "another life"
    );
    parting.handle_gone(SiteId(1));
    assert!(parting.holds(met), "it may come back");
    parting.handle_installed(SiteId(1), view_id(1));
    assert!(parting.holds(met), "what it says to have installed came before");
    parting.handle_installed(SiteId(1), view_id(3));
    assert!(!parting.holds(met) && !parting.is_over(sites.now), "site 2 is still to say so");
    assert!(parting.is_over(parting.until()));
    parting.handle_installed(SiteId(2), view_id(3));
    assert!(parting.is_over(sites.now));
}

#[test]
fn who_leaves_with_the_same_view_says_so() {
    let last = view_with(2, &[1], &[], &[2, 3]);
    let (mut sites, mut parting) = parted(&last);
    parting.handle_installed(SiteId(1), last.id);
    assert!(parting.holds(|life| life.site == SiteId(2)));
    sites.view(&[2], &last);
    let told = sites.hold_installed(2, 3);
    assert_eq!(told.len(), 1);
    parting.handle_installed(SiteId(2), Parting::installed_of(&told[0]).expect("just seen"));
    assert!(!parting.holds(|life| life.site == SiteId(2)));
    assert!(sites.hold_installed(2, 1).is_empty(), "who stays needs no word of it");
}

#[test]
fn a_leaver_waits_until_all_who_stay_have_installed_a_view_without_it() {
    let last = view_with(2, &[1, 2, 4], &[4], &[3]);
    let (mut sites, mut parting) = parted(&last);
    assert!(!parting.is_over(sites.now));
    sites.arrive(3, 1);
    sites.arrive(3, 2);
    sites.view(&[1, 2, 4], &last);
    for (from, to) in [(1, 2), (2, 1)] {
        sites.arrive(from, to);
    }
    // They tell who was in the view before, too. Site 4, which has joined, is not waited for.
    for (n, over) in [(1, false), (2, true)] {
        let told = sites.hold_installed(n, 3);
        assert_eq!(told.len(), 1);
        parting.handle_installed(SiteId(n), Parting::installed_of(&told[0]).expect("just seen"));
        assert_eq!(parting.is_over(sites.now), over);
    }
    assert_eq!((sites.delivered(1), sites.delivered(2)), (1, 1), "and they have its cast");
}

#[test]
fn who_had_installed_before_the_leaver_heard_of_it_is_not_waited_for() {
    let last = view_with(2, &[1, 2], &[], &[3]);
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.view(&[1, 2], &last);
    for (from, to) in [(1, 2), (2, 1), (1, 3)] {
        sites.arrive(from, to);
    }
    let left = Arc::clone(sites.at(3).view().expect("founded"));
    sites.view(&[3], &last);
    let now = sites.now;
    let mut parting = Parting::new(now, life(3), sites.at(3), &left, &last);
    assert!(!parting.is_over(now), "site 2 has not said it");
    parting.handle_installed(SiteId(2), last.id);
    assert!(parting.is_over(now));
}

#[test]
fn a_parting_ends_with_later_views_deaths_and_in_any_case_after_a_while() {
    let last = view_with(2, &[1, 2], &[], &[3]);
    let (sites, parting) = parted(&last);
    let mut told = parting.clone();
    told.handle_installed(SiteId(1), view_id(1));
    told.handle_installed(SiteId(2), view_id(9));
    assert!(!told.is_over(sites.now), "what site 1 says to have installed came before");
    told.handle_installed(SiteId(1), view_id(3));
    assert!(told.is_over(sites.now));
    let mut dead = parting.clone();
    dead.handle_gone(SiteId(1));
    dead.handle_gone(SiteId(7));
    assert!(!dead.is_over(sites.now));
    dead.handle_gone(SiteId(2));
    assert!(dead.is_over(sites.now));
    assert_eq!(parting.until(), sites.now + Parting::PATIENCE);
    assert!(!parting.is_over(sites.now) && parting.is_over(parting.until()));
}

#[test]
fn what_comes_for_a_view_after_the_end_serves_who_comes_back() {
    let last = view_with(2, &[1, 2], &[], &[3]);
    let back = view_with(3, &[1, 2, 3], &[3], &[]);
    let mut sites = Sites::found(&[1, 2, 3]);
    // The others are two views ahead of site 3: it has left, and another process joins there.
    for next in [&last, &back] {
        sites.view(&[1, 2], next);
        (0..2).for_each(|_| [(1, 2), (2, 1)].into_iter().for_each(|(from, to)| sites.arrive(from, to)));
    }
    sites.cast(1, Order::Cbcast, false, b"early");
    sites.arrive(1, 3);
    sites.arrive(2, 3);
    sites.view(&[3], &last);
    assert_eq!(sites.at(3).extent(), None, "ended");
    let ended = sites.endpoints.remove(&3).expect("site 3");
    sites.endpoints.insert(3, ended.after_end(last.id).expect("something came for a later view"));
    sites.view(&[3], &back);
    sites.exchange();
    assert_eq!(sites.delivered(3), 1);
    let mut extent = sites.extent(3);
    assert!(sites.at(3).is_everywhere(&mut extent), "and who said to have installed it, has");
    sites.cast(1, Order::Cbcast, false, b"next");
    sites.exchange();
    assert_eq!(sites.delivered(3), 2, "there is no gap");
}

#[test]
fn who_is_sent_nothing_after_the_end_keeps_nothing() {
    let last = view_with(2, &[1, 2], &[], &[3]);
    let (mut sites, _) = parted(&last);
    sites.endpoints.get_mut(&3).expect("site 3").handle_installed(SiteId(1), last.id);
    let ended = sites.endpoints.remove(&3).expect("site 3");
    assert_eq!(ended.after_end(last.id), None);
}

#[test]
fn only_what_says_so_says_that_a_view_is_installed() {
    let says = control(Kind::Installed, group(), view_id(3), &Installed {});
    assert_eq!(Parting::installed_of(&says), Some(view_id(3)));
    let asks = control(Kind::Fetch, group(), view_id(3), &Fetch { ranges: Vec::new(), order: None });
    assert_eq!(Parting::installed_of(&asks), None);
    for cut in 0..says.len() - 1 {
        assert_eq!(Parting::installed_of(&says.slice(..cut)), None, "cut to {cut}");
    }
}

#[test]
fn what_sites_say_to_have_installed_is_bounded() {
    let mut sites = Sites::found(&[1, 2]);
    let (now, one) = (sites.now, sites.at(1));
    let of = |view: ViewId| control(Kind::Installed, group(), view, &Installed {});
    let before = one.clone();
    assert_eq!(one.handle_frame(now, SiteId(2), of(ViewId::default())), Ok(()), "an older view");
    assert_eq!(*one, before);
    for n in 0..4_000 {
        assert_eq!(one.handle_frame(now, SiteId(2 + n), of(view_id(u64::MAX))), Ok(()));
    }
    assert_eq!(one.told_installed.len(), 1_024);
    // The next view forgets who is not behind it.
    sites.view(&[1, 2], &view(2, &[1, 2]));
    sites.exchange();
    assert_eq!(sites.at(1).view().map(|view| view.id), Some(view_id(2)));
    let mut broken = of(view_id(3)).to_vec();
    broken.pop();
    let now = sites.now;
    assert_eq!(sites.at(1).handle_frame(now, SiteId(2), broken.into()), Err(FrameError::Malformed));
}

#[test]
fn acknowledgements_that_nobody_can_owe_are_refused_whole() {
    let mut sites = Sites::found(&[1, 2, 3]);
    sites.cast(1, Order::Fbcast, true, b"safe");
    sites.arrive(1, 2);
    sites.arrive(1, 3);
    let acks = |acks: &[(u16, u64)]| {
        Writer::new(group(), view_id(1), 64).finish(&Trailer {
            origin: 1,
            count: 0,
            first: 0,
            number: 0,
            acks,
            order_index: 0,
            runs: &[],
            vector: None,
        })
    };
    let mut extent = sites.extent(1);
    let (now, one) = (sites.now, sites.at(1));
    let before = one.clone();
    let no_such_site = [(3, 1), (3 | ACK_DELIVERED, 1), (ACK_ORDER - 1, 1), (!ACK_DELIVERED, 1)];
    let never_cast = [(0, 2), (ACK_DELIVERED, 2), (ACK_DELIVERED, u64::MAX)];
    for lie in no_such_site.into_iter().chain(never_cast) {
        for frame in [acks(&[lie]), acks(&[(0, 1), lie])] {
            assert_eq!(one.handle_frame(now, SiteId(2), frame), Err(FrameError::Malformed), "{lie:?}");
            assert_eq!(*one, before, "{lie:?}");
        }
    }
    // What another site has cast is for that site to know: a lie about it makes nothing safe or everywhere here.
    let ahead = acks(&[(0, 1), (ACK_DELIVERED, 1), (2 | ACK_DELIVERED, u64::MAX), (ACK_ORDER, u64::MAX)]);
    assert_eq!(one.handle_frame(now, SiteId(2), ahead), Ok(()));
    assert!(!one.is_everywhere(&mut extent));
    sites.exchange();
    assert!(sites.at(1).is_everywhere(&mut extent));
}
