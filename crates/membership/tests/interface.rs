//! The member interface: processes, joins, views once and in order, attachment and fail-over.

mod steps;

use std::sync::Arc;
use std::time::Duration;

use membership::group::{Consistency, Create, GroupOptions, GroupRequest, GroupView, Lives, Merges, Reason};
use membership::interface::message::{Direct, Message};
use membership::interface::{Config, Event, Failure, Host, Interface, Join, WISHES_MAX, WishError};
use membership::step::{Request, Why};
use membership::tables::Applied;
use steps::*;
use wire::{MemberId, ProcessId, SiteId, Time};

/// Mservers at sites 1 and 2, an attached site 9, and links that can be cut.
struct World {
    now: Time,
    side: Side,
    own: Interface,
    guest: Interface,
    hosts: [Host; 2],
    waiting: Vec<Request>,
    cut: Vec<u32>,
    sites: Vec<u32>,
    events: Vec<Event>,
    guest_events: Vec<Event>,
    lose_acks: bool,
}

impl World {
    fn new() -> World {
        let now = Time::ZERO;
        let sites = vec![1, 2];
        let guest = Config::attached(life(9), vec![SiteId(1), SiteId(2)]);
        let mut world = World {
            now,
            side: Side::found(&sites),
            own: Interface::new(Config::new(life(1)), now),
            guest: Interface::new(guest, now),
            hosts: [Host::new(Config::new(life(1))), Host::new(Config::new(life(2)))],
            waiting: Vec::new(),
            cut: Vec::new(),
            sites,
            events: Vec::new(),
            guest_events: Vec::new(),
            lose_acks: false,
        };
        world.settle();
        world
    }

    /// Lets everything that is under way arrive, and steps be made of what is asked.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.exchange();
            if self.waiting.is_empty() {
                continue;
            }
            let requests = std::mem::take(&mut self.waiting);
            let mut step = self.side.make(true, &self.sites.clone(), vec![]);
            step.requests = requests;
            let applied = self.side.take(&step);
            self.install(&applied);
        }
    }

    fn install(&mut self, applied: &Applied) {
        let tables = &self.side.tables;
        self.own.handle_step(self.now, &applied.views, tables);
        for host in &mut self.hosts {
            host.handle_step(self.now, &applied.views, tables);
        }
    }

    fn exchange(&mut self) {
        while let Some(request) = self.own.poll_submit() {
            self.waiting.push(request);
        }
        while let Some((to, message)) = self.guest.poll_transmit() {
            let lost = self.lose_acks && matches!(message, Message::DirectAck(_));
            if self.cut.contains(&to.0) || lost {
                continue;
            }
            let bytes = message.encode();
            let host = &mut self.hosts[to.0 as usize - 1];
            host.handle_bytes(self.now, SiteId(9), &bytes, &self.side.tables).expect("a good message");
        }
        for (k, host) in self.hosts.iter_mut().enumerate() {
            let site = k as u32 + 1;
            while let Some(request) = host.poll_submit() {
                self.waiting.push(request);
            }
            while let Some(wish) = host.poll_wish() {
                self.own.request(self.now, wish).expect("there is room");
            }
            while let Some((to, message)) = host.poll_transmit() {
                if to == SiteId(9) && !self.cut.contains(&site) {
                    self.guest
                        .handle_bytes(self.now, SiteId(site), &message.encode())
                        .expect("a good message");
                }
            }
        }
        while let Some(event) = self.own.poll_event() {
            self.events.push(event);
        }
        while let Some(event) = self.guest.poll_event() {
            self.guest_events.push(event);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(50);
            self.own.handle_timeout(self.now);
            self.guest.handle_timeout(self.now);
            for (k, host) in self.hosts.iter_mut().enumerate() {
                if self.sites.contains(&(k as u32 + 1)) {
                    host.handle_timeout(self.now, &self.side.tables);
                }
            }
            self.settle();
        }
    }

    fn attach(&mut self) {
        self.pass(Duration::from_millis(500));
        assert_eq!(self.guest.attached_to(), Some(SiteId(1)));
    }
}

fn views(events: &[Event]) -> Vec<(&GroupView, &[MemberId])> {
    let view = |e: &'_ Event| matches!(e, Event::View { .. });
    (events.iter().filter(|e| view(e)))
        .filter_map(|e| match e {
            Event::View { view, members } => Some((&**view, &members[..])),
            _ => None,
        })
        .collect()
}

fn all() -> Join {
    Join { options: options(Lives::All, Merges::SameName), ..Join::default() }
}

#[test]
fn a_process_joins_leaves_and_dies_and_each_is_asked_for_once() {
    let mut world = World::new();
    let process = world.own.handle_born();
    let m = world.own.join(world.now, process, name("g"), all()).expect("taken");
    world.settle();
    assert_eq!(views(&world.events), [(&*world.side.view("g"), &[m][..])]);
    assert_eq!(world.side.members("g"), Some(vec![m]));
    world.own.leave(world.now, m).expect("it is a member");
    let group = world.side.id("g");
    world.exchange();
    assert!(world.events.contains(&Event::Left { member: m, group, why: Why::Left }), "without waiting");
    world.settle();
    assert_eq!(world.side.members("g"), None);
    let again = world.own.join(world.now, process, name("g"), all()).expect("taken");
    assert_ne!(m, again, "who joins again is another member");
    world.own.join(world.now, process, name("h"), all()).expect("groups overlap");
    world.settle();
    world.own.handle_died(world.now, process);
    world.settle();
    assert!(world.side.tables.is_empty(), "a dead process is gone from all its groups");
    assert_eq!(world.own.join(world.now, process, name("g"), all()), Err(WishError::Unknown));
}

#[test]
fn a_refused_join_says_why_and_a_wish_beyond_the_bound_is_busy() {
    let mut world = World::new();
    let process = world.own.handle_born();
    let join = Join { create: Create::MustExist, ..all() };
    let member = world.own.join(world.now, process, name("g"), join).expect("taken");
    world.settle();
    let why = Failure::Refused(Reason::NoSuchGroup);
    assert!(world.events.contains(&Event::JoinFailed { member, group: name("g"), why }));
    for k in 0..WISHES_MAX {
        let wish = world.own.join(world.now, process, name(&format!("g{k}")), all());
        wish.expect("there is room");
    }
    assert_eq!(world.own.join(world.now, process, name("g"), all()), Err(WishError::Busy));
}

#[test]
fn patience_runs_out_and_what_is_granted_afterwards_is_given_back() {
    let mut own = Interface::new(Config::new(life(1)), Time::ZERO);
    let process = own.handle_born();
    let member = own.join(Time::ZERO, process, name("g"), all()).expect("taken");
    let late = own.poll_submit().expect("asked at once");
    own.handle_timeout(Time::from_millis(11_000));
    assert_eq!(
        own.poll_event(),
        Some(Event::JoinFailed { member, group: name("g"), why: Failure::Unanswered })
    );
    let mut side = Side::found(&[1]);
    let mut step = side.make(true, &[1], vec![]);
    step.requests = vec![late];
    let applied = side.take(&step);
    own.handle_step(Time::from_millis(11_001), &applied.views, &side.tables);
    assert_eq!(own.poll_event(), None, "nobody wants that view");
    let leave = std::iter::from_fn(|| own.poll_submit()).last().expect("the leave that undoes it");
    let mut step = side.make(true, &[1], vec![]);
    step.requests = vec![leave];
    side.take(&step);
    assert_eq!(side.members("g"), None);
}

#[test]
fn changes_of_a_group_are_gathered_as_long_as_it_says() {
    let mut own = Interface::new(Config::new(life(1)), Time::ZERO);
    let process = [own.handle_born(), own.handle_born()];
    let options = GroupOptions { aggregate_ms: 100, ..GroupOptions::default() };
    let join = || Join { options: options.clone(), ..Join::default() };
    own.join(Time::ZERO, process[0], name("g"), join()).expect("taken");
    own.join(Time::from_millis(60), process[1], name("g"), join()).expect("taken");
    assert_eq!(own.poll_submit(), None);
    assert_eq!(own.poll_timeout(), Some(Time::from_millis(100)));
    own.handle_timeout(Time::from_millis(100));
    assert_eq!(std::iter::from_fn(|| own.poll_submit()).count(), 2, "both go together");
}

#[test]
fn a_doubled_direct_is_acknowledged_again_and_told_once() {
    // Schedule 14.
    let mut world = World::new();
    world.attach();
    world.lose_acks = true;
    let process = world.guest.handle_born();
    let m = world.guest.join(world.now, process, name("g"), all()).expect("taken");
    world.pass(Duration::from_millis(1_200));
    assert_eq!(views(&world.guest_events).len(), 1, "the same view came several times");
    world.lose_acks = false;
    let own = world.own.handle_born();
    world.own.join(world.now, own, name("g"), all()).expect("taken");
    world.pass(Duration::from_millis(500));
    let seen = views(&world.guest_events);
    assert_eq!(seen.len(), 2);
    assert!(seen[0].0.id < seen[1].0.id);
    assert_eq!(seen[1].1, [m]);
}

#[test]
fn an_attached_site_fails_over_in_order_and_keeps_its_members() {
    let mut world = World::new();
    world.attach();
    let process = world.guest.handle_born();
    let m = world.guest.join(world.now, process, name("g"), all()).expect("taken");
    world.pass(Duration::from_millis(300));
    // The mserver at 1 is cut off from the guest just as the guest asks for more.
    world.cut.push(1);
    world.guest.join(world.now, process, name("h"), all()).expect("taken");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.guest.attached_to(), Some(SiteId(2)));
    assert_eq!(world.side.tables.attached().collect::<Vec<_>>(), [(life(9), SiteId(2))]);
    assert_eq!(world.side.members("g"), Some(vec![m]), "it was never removed");
    assert_eq!(world.side.members("h").map(|m| m.len()), Some(1), "what was unanswered is said again");
    let told = |e: &Event| matches!(e, Event::Attached { via } if *via == SiteId(2));
    assert!(world.guest_events.iter().any(told));
    // Views that were made meanwhile are all told, in order.
    let own = world.own.handle_born();
    world.own.join(world.now, own, name("g"), all()).expect("taken");
    world.pass(Duration::from_millis(500));
    let ids: Vec<_> =
        views(&world.guest_events).iter().filter(|v| v.0.name == name("g")).map(|v| v.0.id).collect();
    assert!(ids.len() == 2 && ids.is_sorted());
}

#[test]
fn an_attached_site_that_falls_silent_is_removed_with_its_members() {
    let mut world = World::new();
    world.attach();
    let process = world.guest.handle_born();
    world.guest.join(world.now, process, name("g"), all()).expect("taken");
    world.pass(Duration::from_millis(300));
    world.cut.extend([1, 2]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.side.tables.attached().count(), 0);
    assert_eq!(world.side.members("g"), None);
    assert!(world.guest_events.contains(&Event::Detached));
    // It comes back: its process joins again as another member.
    world.cut.clear();
    world.pass(Duration::from_secs(8));
    assert_eq!(world.side.members("g").map(|m| m.len()), Some(1));
    assert!(world.guest_events.iter().any(|e| matches!(e, Event::Rejoining { .. })));
}

#[test]
fn a_site_whose_machine_says_that_it_is_gone_is_removed_sooner_unless_it_shows_that_it_lives() {
    let mut world = World::new();
    world.attach();
    world.guest.handle_born();
    world.hosts[0].handle_refused(world.now, SiteId(9));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.side.tables.attached().count(), 1, "it lives");
    world.cut.extend([1, 2]);
    world.hosts[0].handle_refused(world.now, SiteId(9));
    world.pass(Duration::from_millis(300));
    assert_eq!(world.side.tables.attached().count(), 1, "it has two beats");
    world.pass(Duration::from_millis(400));
    assert_eq!(world.side.tables.attached().count(), 0);
}

#[test]
fn weak_groups_may_skip_views_and_strong_ones_never_do() {
    for (consistency, told) in [(Consistency::Weak, 1), (Consistency::Strong, 4)] {
        let mut side = Side::found(&[1, 2]);
        let mut own = Interface::new(Config::new(life(1)), Time::ZERO);
        let process = own.handle_born();
        let options = GroupOptions { consistency, ..GroupOptions::default() };
        own.join(Time::ZERO, process, name("g"), Join { options, ..Join::default() }).expect("taken");
        let mut step = side.make(true, &[1, 2], vec![]);
        step.requests = std::iter::from_fn(|| own.poll_submit()).collect();
        let applied = side.take(&step);
        own.handle_step(Time::ZERO, &applied.views, &side.tables);
        for _ in 0..3 {
            let group = side.id("g");
            let applied = side.step(true, &[1, 2], vec![GroupRequest::Refresh { group }]);
            own.handle_step(Time::ZERO, &applied.views, &side.tables);
            own.handle_step(Time::ZERO, &applied.views, &side.tables);
        }
        let events: Vec<Event> = std::iter::from_fn(|| own.poll_event()).collect();
        let views = views(&events);
        assert_eq!(views.len(), told);
        assert_eq!(views.last().map(|v| v.0.id), Some(side.tables.view()), "the newest is never skipped");
    }
}

#[test]
fn members_of_a_side_that_died_join_again_when_the_line_is_back() {
    let (mut world, process, m) = with_a_member_whose_side_died();
    assert!(world.own.joins_again(process, &name("g")).is_some() && world.own.is_succeeded(m, &name("g")));
    world.settle();
    let members = world.side.members("g").expect("the group went on");
    assert_eq!(members[0], member(2));
    assert!(members.len() == 2 && members[1].process == process && members[1] != m);
    assert!(world.events.contains(&Event::Rejoining { was: m, member: members[1], group: name("g") }));
    let last = views(&world.events).last().map(|v| v.0.clone()).expect("a view");
    assert_eq!(last.members[1].previous, None, "it is given the state");
    assert_eq!(world.own.joins_again(process, &name("g")), None, "it has");
    assert!(world.own.is_succeeded(m, &name("g")) && !world.own.is_succeeded(members[1], &name("g")));
}

#[test]
fn who_leaves_while_it_joins_again_is_in_no_view() {
    let (mut world, process, _) = with_a_member_whose_side_died();
    let again = world.own.joins_again(process, &name("g")).expect("on the way");
    world.own.leave(world.now, again).expect("taken");
    world.settle();
    assert_eq!(world.side.members("g"), Some(vec![member(2)]));
    assert_eq!(world.own.joins_again(process, &name("g")), None);
}

/// Site 1 was off the line with a member, and is on it again; what it asks for then has not been said.
fn with_a_member_whose_side_died() -> (World, ProcessId, MemberId) {
    let mut world = World::new();
    let process = world.own.handle_born();
    let m = world.own.join(world.now, process, name("g"), Join::default()).expect("taken");
    world.settle();
    let elsewhere = join("g", member(2), None, GroupOptions::default());
    let applied = world.side.step(true, &[1, 2], vec![elsewhere]);
    world.install(&applied);
    // Site 1 is cut off; the line goes on at site 2.
    let mut branch = world.side.clone();
    let applied = branch.step(false, &[1], vec![]);
    world.own.handle_step(world.now, &applied.views, &branch.tables);
    let mut line = world.side.clone();
    line.step(true, &[2], vec![]);
    let applied = line.merge(true, &[2, 1], &[&branch]);
    world.side = line;
    world.own.handle_step(world.now, &applied.views, &world.side.tables);
    (world, process, m)
}

/// The join is granted by the side, which founds the group, and by the line, which founds another of that name.
#[test]
fn a_member_does_not_go_from_a_sides_group_to_the_lines() {
    for side_is_ahead in [true, false] {
        let mut world = World::new();
        let process = world.own.handle_born();
        let m = world.own.join(world.now, process, name("g"), all()).expect("taken");
        let asked = |member| join("g", member, None, all().options);
        let mut branch = world.side.clone();
        branch.epoch += if side_is_ahead { 5 } else { 0 };
        let on_side = branch.step(false, &[1], vec![asked(m)]);
        world.own.handle_step(world.now, &on_side.views, &branch.tables);
        if !side_is_ahead {
            world.side.epoch += 5;
        }
        let on_line = world.side.step(true, &[2, 1], vec![asked(member(2)), asked(m)]);
        world.install(&on_line);
        world.settle();
        let members = world.side.members("g").expect("the line's group");
        assert_eq!(members[0], member(2));
        assert!(members.len() == 2 && members[1].process == process && members[1] != m, "{members:?}");
        assert!(world.events.contains(&Event::Rejoining { was: m, member: members[1], group: name("g") }));
        let seen = views(&world.events);
        let of_m = seen.iter().filter(|(_, here)| here.contains(&m));
        assert_eq!(of_m.count(), 1, "the member was shown the side's group only");
    }
}

/// The group goes on at the line and at the side, which may have the higher view meanwhile; neither rule lets them become one.
#[test]
fn a_member_of_a_side_that_goes_on_apart_stays_itself() {
    for side_is_ahead in [true, false] {
        let mut world = World::new();
        let process = world.own.handle_born();
        let never = GroupOptions { lives: Lives::All, merges: Merges::Never, ..all().options };
        let asked = Join { options: never.clone(), ..Join::default() };
        let m = world.own.join(world.now, process, name("g"), asked).expect("taken");
        world.settle();
        let applied = world.side.step(true, &[1, 2], vec![join("g", member(2), None, never)]);
        world.install(&applied);
        let (mut branch, mut line) = (world.side.clone(), world.side.clone());
        if side_is_ahead {
            branch.epoch += 5;
        } else {
            line.epoch += 5;
        }
        let applied = branch.step(false, &[1], vec![]);
        world.own.handle_step(world.now, &applied.views, &branch.tables);
        line.step(true, &[2], vec![]);
        let applied = line.merge(true, &[2, 1], &[&branch]);
        world.side = line;
        world.install(&applied);
        world.settle();
        let is_rejoining = |event: &Event| matches!(event, Event::Rejoining { .. });
        assert!(!world.events.iter().any(is_rejoining), "{side_is_ahead}: {:?}", world.events);
        let last = views(&world.events).last().map(|v| v.0.clone()).expect("a view");
        assert_eq!(last.members.iter().map(|listed| listed.id).collect::<Vec<_>>(), [m]);
        assert_eq!(world.side.id(&last.name.to_string()), last.group);
        assert_eq!(world.side.members("g"), Some(vec![member(2)]));
        let of_line = world.side.view("g");
        assert_eq!(of_line.left, [(m, Why::Partitioned)], "whoever missed it learns that they are two");
    }
}

#[test]
fn an_attached_site_is_told_how_a_group_ends_that_it_left() {
    let mut world = World::new();
    world.attach();
    let process = world.guest.handle_born();
    let m = world.guest.join(world.now, process, name("g"), all()).expect("taken");
    world.settle();
    let over = |events: &[Event]| {
        events.iter().any(|e| matches!(e, Event::Over { view } if !view.members.iter().any(|l| l.id == m)))
    };
    assert!(!over(&world.guest_events));
    world.guest.leave(world.now, m).expect("it is a member");
    world.settle();
    assert!(over(&world.guest_events));
}

#[test]
fn a_member_that_was_removed_with_its_site_by_mistake_joins_again_and_an_expelled_one_does_not() {
    for site_too in [true, false] {
        let mut world = World::new();
        let process = world.own.handle_born();
        let m = world.own.join(world.now, process, name("g"), Join::default()).expect("taken");
        world.settle();
        let elsewhere = join("g", member(2), None, GroupOptions::default());
        let applied = world.side.step(true, &[1, 2], vec![elsewhere]);
        world.install(&applied);
        let group = world.side.id("g");
        let (sites, asked) = match site_too {
            true => (vec![2], vec![]),
            false => (vec![1, 2], vec![GroupRequest::Expel { group, member: m }]),
        };
        let mut step = world.side.make(true, &sites, asked);
        step.removed.iter_mut().for_each(|(_, why)| *why = Why::Failed);
        world.side.take(&step);
        if site_too {
            let back = world.side.make(true, &[2, 1], vec![]);
            world.side.take(&back);
            world.own.handle_admitted(back.id);
        }
        // It sees neither step, only what they came to.
        let view = world.side.view("g");
        assert_eq!(view.left, [(m, Why::Failed)]);
        world.own.handle_step(world.now, &[view], &world.side.tables);
        world.settle();
        let members = world.side.members("g").expect("the group went on");
        let again = members.iter().any(|member| member.process == process && *member != m);
        assert_eq!((again, members.len()), (site_too, if site_too { 2 } else { 1 }));
        let left = Event::Left { member: m, group, why: Why::Failed };
        assert_eq!(world.events.contains(&left), !site_too);
    }
}

#[test]
fn a_join_that_the_line_granted_and_took_back_unseen_is_asked_for_anew() {
    let mut world = World::new();
    let process = world.own.handle_born();
    let m = world.own.join(world.now, process, name("g"), Join::default()).expect("taken");
    let asked = world.own.poll_submit().expect("the join");
    let mut granted = world.side.make(true, &[1, 2], vec![]);
    granted.requests = vec![asked];
    world.side.take(&granted);
    assert_eq!(world.side.members("g"), Some(vec![m]));
    for sites in [&[2][..], &[2, 1]] {
        let step = world.side.make(true, sites, vec![]);
        world.side.take(&step);
    }
    // It saw none of these steps, only what they came to.
    world.own.handle_step(world.now, &[], &world.side.tables);
    world.settle();
    let members = world.side.members("g").expect("it was founded anew");
    assert!(members.iter().all(|member| member.process == process && *member != m), "{members:?}");
    assert!(world.events.iter().any(|e| matches!(e, Event::Rejoining { was, .. } if *was == m)));
}

#[test]
fn a_view_that_was_missed_is_made_good_from_the_tables() {
    let mut world = World::new();
    let process = world.own.handle_born();
    world.own.join(world.now, process, name("g"), all()).expect("taken");
    world.settle();
    world.side.step(true, &[1, 2], vec![join("g", member(2), None, GroupOptions::default())]);
    world.own.handle_step(world.now, &[], &world.side.tables);
    world.settle();
    assert_eq!(views(&world.events).last().map(|v| v.0), Some(&*world.side.view("g")));
}

#[test]
fn bytes_from_strangers_are_an_error_and_never_a_panic() {
    let mut world = World::new();
    world.attach();
    let process = world.guest.handle_born();
    world.guest.join(world.now, process, name("g"), all()).expect("taken");
    world.pass(Duration::from_millis(300));
    let view = GroupView::clone(&Arc::clone(&world.side.view("g")));
    let direct = Message::Direct(Direct { step: view.id, views: vec![view] }).encode();
    let mut seed = 1u64;
    for k in 0..20_000usize {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = direct.clone();
        let at = (seed >> 33) as usize % bytes.len();
        bytes[at] = (seed >> 24) as u8;
        bytes.truncate(bytes.len() - k % 7);
        let _ = world.guest.handle_bytes(world.now, SiteId(1), &bytes);
        let _ = world.hosts[0].handle_bytes(world.now, SiteId(9), &bytes, &world.side.tables);
    }
}

#[test]
fn a_member_that_is_split_off_or_merged_moves_as_it_is() {
    let mut world = World::new();
    let process = world.own.handle_born();
    let m = world.own.join(world.now, process, name("g"), all()).expect("taken");
    world.settle();
    let applied = world.side.step(true, &[1, 2], vec![join("g", member(2), None, GroupOptions::default())]);
    world.install(&applied);
    let group = |world: &World, of: &str| world.side.tables.group_named(&name(of)).expect("it is there");
    let g = group(&world, "g");
    let split = GroupRequest::Split { group: g, members: vec![m], into: name("h") };
    let applied = world.side.step(true, &[1, 2], vec![split]);
    world.install(&applied);
    world.settle();
    assert_eq!(world.side.members("h"), Some(vec![m]), "{:?}", world.events);
    let merge = GroupRequest::Merge { from: group(&world, "h"), into: g };
    let applied = world.side.step(true, &[1, 2], vec![merge]);
    world.install(&applied);
    world.settle();
    assert_eq!(world.side.members("g"), Some(vec![member(2), m]), "{:?}", world.events);
    assert!(!world.events.iter().any(|e| matches!(e, Event::Rejoining { .. })));
}
