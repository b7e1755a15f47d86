//! What a cluster lives through, as short scripts: founding, casting, dying, coming back, partitions.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, group, lists};
use membership::group::{GroupOptions, GroupView, Lives};
use multicast::Order;
use multicast::call::Replies;
use stack::{CastError, CastOptions, Casted, Change, ChangeError, Event, JoinOptions, ReplyKind};

/// A cluster of three with a member of "g" at each site.
fn three() -> (Cluster, [wire::MemberId; 3]) {
    let mut cluster = Cluster::start(3, 0);
    let members = [1, 2, 3].map(|n| cluster.join(n, "g", GroupOptions::default()));
    cluster.until("all see three members", |c| {
        [1, 2, 3].iter().all(|n| c.view(*n, "g").is_some_and(|view| view.members.len() == 3))
    });
    (cluster, members)
}

fn all_have(cluster: &mut Cluster, sites: &[u32], text: &str) {
    cluster.until(text, |c| sites.iter().all(|n| c.has(*n, text)));
}

#[test]
fn three_found_a_cluster_and_every_order_is_delivered_everywhere() {
    let (mut cluster, [a, b, c]) = three();
    let orders = [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast, Order::Gbcast];
    for (order, name) in orders.into_iter().zip(["mbcast", "fbcast", "cbcast", "abcast", "gbcast"]) {
        for member in [a, b, c] {
            cluster.cast(member, "g", order, &format!("{name} of {member}"));
        }
        for member in [a, b, c] {
            all_have(&mut cluster, &[1, 2, 3], &format!("{name} of {member}"));
        }
    }
    let only = |n: u32, name: &str| {
        let texts = cluster.texts(n).into_iter();
        texts.filter(|text| text.starts_with(name)).collect::<Vec<_>>()
    };
    for total in ["abcast", "gbcast"] {
        assert_eq!(only(1, total), only(2, total), "one order");
        assert_eq!(only(2, total), only(3, total), "one order");
    }
}

#[test]
fn a_dead_site_is_removed_and_comes_back_with_new_members() {
    let (mut cluster, [a, b, c]) = three();
    cluster.kill(3);
    cluster.until("the dead are removed", |c| {
        c.together(&[1, 2]) && c.view(1, "g").is_some_and(|view| view.members.len() == 2)
    });
    cluster.cast(a, "g", Order::Abcast, "without you");
    all_have(&mut cluster, &[1, 2], "without you");
    cluster.restart(3);
    cluster.until("it is back", |c| c.together(&[1, 2, 3]));
    let again = cluster.join(3, "g", GroupOptions::default());
    assert_ne!(again, c);
    cluster.cast(b, "g", Order::Abcast, "with you");
    all_have(&mut cluster, &[1, 2, 3], "with you");
}

/// Site 2 hears of two views at once, and of the second from a third site before: what came early is ended by the first view,
/// which does not list it, and is the beginning of the second, which does.
#[test]
fn a_joiner_that_hears_of_two_views_at_once_is_shown_the_one_that_lists_it() {
    let mut cluster = Cluster::start(3, 0);
    let [a, c] = [1, 3].map(|n| cluster.join(n, "g", GroupOptions::default()));
    cluster.until("both are in", |c| c.view(1, "g").is_some_and(|view| view.members.len() == 2));
    cluster.stall(1, 2);
    cluster.stall(3, 2);
    let second = cluster.ask_to_join(3, "g", GroupOptions::default());
    cluster.pass(Duration::from_millis(2));
    let late = cluster.ask_to_join(2, "g", GroupOptions::default());
    cluster.until("site 3 goes over to the second view", |c| {
        let first = |event: &Event| matches!(event, Event::GroupView(view) if lists(view, second) && !lists(view, late));
        let next = |event: &Event| matches!(event, Event::GroupView(view) if lists(view, late));
        c.sites[&3].told.iter().any(next) && c.sites[&3].told.iter().any(first)
    });
    // Its flush is on its way to site 2.
    cluster.pass(Duration::from_millis(3));
    cluster.resume(2, &[3, 1]);
    cluster.until("the view with it is everywhere", |cluster| {
        let all = |view: &GroupView| [a, c, second, late].iter().all(|member| lists(view, *member));
        [1, 2, 3].iter().all(|n| cluster.view(*n, "g").is_some_and(|view| all(&view)))
    });
    cluster.cast(late, "g", Order::Abcast, "here at last");
    all_have(&mut cluster, &[1, 2, 3], "here at last");
}

/// Alone in both groups a site has nobody to wait for between two causal casts. Still the first is delivered first.
#[test]
fn causal_casts_of_one_turn_in_two_groups_are_delivered_in_their_order() {
    let mut cluster = Cluster::start(1, 0);
    let process = cluster.process(1);
    for name in ["earlier", "later"] {
        let now = cluster.now;
        cluster.node(1).join(now, process, group(name), JoinOptions::default()).expect("it is asked");
        cluster.work();
        cluster.until("it is in", |c| c.view(1, name).is_some());
    }
    let now = cluster.now;
    for (name, text) in [("later", "the cause"), ("earlier", "the effect")] {
        let (options, payload) = (CastOptions::plain(Order::Cbcast), Bytes::from_static(text.as_bytes()));
        let casted = cluster.node(1).cast(now, process, &group(name), &options, &payload);
        assert_eq!(casted, Ok(Casted::Done));
    }
    cluster.work();
    assert_eq!(cluster.texts(1), ["the cause", "the effect"]);
}

#[test]
fn all_die_at_once_and_found_the_same_line_again() {
    let (mut cluster, _) = three();
    let before = cluster.node(1).status().position;
    (1..=3).for_each(|n| cluster.kill(n));
    (1..=3).for_each(|n| cluster.restart(n));
    cluster.until("they are back", |c| c.together(&[1, 2, 3]));
    assert!(cluster.node(1).status().position > before, "the line goes on from the disks");
}

#[test]
fn a_side_without_the_line_may_only_read_and_its_member_joins_again() {
    let (mut cluster, [a, _, c]) = three();
    cluster.partition(&[&[1, 2], &[3]]);
    cluster.until("the line goes on", |c| {
        c.together(&[1, 2]) && c.view(1, "g").is_some_and(|view| view.members.len() == 2)
    });
    cluster.until("the other side has died", |cluster| {
        cluster.view(3, "g").is_some_and(|view| !view.lives && lists(&view, c))
    });
    let now = cluster.now;
    let refused = cluster.node(3).cast(
        now,
        c.process,
        &group("g"),
        &CastOptions::plain(Order::Fbcast),
        &Bytes::from_static(b"x"),
    );
    assert_eq!(refused, Err(CastError::ReadOnly));
    cluster.heal();
    cluster.until("one line, three members", |cluster| {
        cluster.together(&[1, 2, 3])
            && [1, 2, 3].iter().all(|n| {
                cluster.view(*n, "g").is_some_and(|view| view.members.len() == 3 && !lists(&view, c))
            })
    });
    let rejoined = |event: &Event| matches!(event, Event::Rejoining { was, .. } if *was == c);
    assert!(cluster.sites[&3].told.iter().any(rejoined));
    cluster.cast(a, "g", Order::Abcast, "one again");
    all_have(&mut cluster, &[1, 2, 3], "one again");
}

#[test]
fn where_every_side_lives_both_go_on_and_merge() {
    let mut cluster = Cluster::start(3, 0);
    let rules = GroupOptions { lives: Lives::All, ..GroupOptions::default() };
    let members = [1, 2, 3].map(|n| cluster.join(n, "g", rules.clone()));
    cluster.partition(&[&[1, 2], &[3]]);
    cluster.until("each side has its view", |c| {
        let sees = |n, len| c.view(n, "g").is_some_and(|view| view.lives && view.members.len() == len);
        sees(1, 2) && sees(2, 2) && sees(3, 1)
    });
    cluster.cast(members[2], "g", Order::Abcast, "alone");
    all_have(&mut cluster, &[3], "alone");
    cluster.cast(members[0], "g", Order::Abcast, "in two");
    all_have(&mut cluster, &[1, 2], "in two");
    cluster.heal();
    cluster.until("they merge", |c| {
        [1, 2, 3].iter().all(|n| {
            let view = c.view(*n, "g");
            view.is_some_and(|view| view.members.len() == 3 && members.iter().all(|m| lists(&view, *m)))
        })
    });
    assert!(!cluster.has(1, "alone") && !cluster.has(3, "in two"));
    cluster.cast(members[1], "g", Order::Cbcast, "merged");
    all_have(&mut cluster, &[1, 2, 3], "merged");
}

/// Two sides of a partition, neither with the line, have founded a group of one name each, and hear each other again: the
/// first becomes part of the second, which is larger. It was founded earlier, so that it has the lower id.
fn a_group_that_becomes_another(first: u32, second: u32) -> (Cluster, [wire::MemberId; 2]) {
    let mut cluster = Cluster::start(5, 0);
    cluster.partition(&[&[1], &[2], &[3], &[4], &[5]]);
    cluster.until("each is alone", |c| {
        [first, second].iter().all(|n| {
            let status = c.sites[n].node.as_ref().expect("it is up").status();
            !status.primary && status.sites.iter().filter(|site| site.rank.is_some()).count() == 1
        })
    });
    let rules = GroupOptions { lives: Lives::All, ..GroupOptions::default() };
    let early = cluster.join(first, "g", rules.clone());
    cluster.join(first, "g", rules.clone());
    // Views that make its ids higher, and a larger side, which is the one that goes on.
    for name in ["a", "b", "c", "d", "e", "f", "h", "i"] {
        cluster.join(second, name, rules.clone());
    }
    let late = cluster.join(second, "g", rules.clone());
    for _ in 0..2 {
        cluster.join(second, "g", rules.clone());
    }
    let ids = [first, second].map(|n| cluster.view(n, "g").expect("it is in").group);
    assert!(ids[0] < ids[1]);
    cluster.mend(first, second);
    (cluster, [early, late])
}

#[test]
fn a_member_whose_group_becomes_another_is_not_told_that_it_has_left() {
    for (first, second) in [(1, 3), (3, 1)] {
        let (mut cluster, members) = a_group_that_becomes_another(first, second);
        let all_in = |view: &GroupView| members.iter().all(|member| lists(view, *member));
        cluster.until("they merge", |c| [1, 3].iter().all(|n| c.view(*n, "g").is_some_and(|v| all_in(&v))));
        cluster.pass(Duration::from_secs(1));
        for n in [1, 3] {
            let told = &cluster.sites[&n].told;
            let is_end = |event: &Event| matches!(event, Event::Left { .. } | Event::Rejoining { .. });
            assert!(!told.iter().any(is_end), "site {n}, where {first} was first");
        }
        cluster.cast(members[0], "g", Order::Abcast, "in it");
        all_have(&mut cluster, &[1, 3], "in it");
    }
}

#[test]
fn who_leaves_while_its_group_becomes_another_is_out_of_that_too() {
    let moments = (0..40).flat_map(|millis| [(1, 3, millis), (3, 1, millis)]);
    for (first, second, millis) in moments {
        let (mut cluster, [early, late]) = a_group_that_becomes_another(first, second);
        cluster.pass(Duration::from_millis(millis));
        for (n, member) in [(first, early), (second, late)] {
            let now = cluster.now;
            cluster.node(n).leave(now, member.process, &group("g")).expect("it is a member");
            cluster.work();
        }
        cluster.pass(Duration::from_secs(2));
        for (n, member) in [(first, early), (second, late)] {
            let told = &cluster.sites[&n].told;
            let left =
                told.iter().position(|event| matches!(event, Event::Left { .. })).expect("it has left");
            let shown =
                |event: &Event| matches!(event, Event::View { members, .. } if members.contains(&member));
            assert!(!told[left..].iter().any(shown), "{n} after {millis} ms, where {first} was first");
        }
    }
}

#[test]
fn a_deaf_site_is_removed_and_takes_nobody_with_it() {
    let (mut cluster, _) = three();
    cluster.deaf.insert(3);
    cluster.until("the deaf site is removed", |c| c.together(&[1, 2]));
    cluster.pass(Duration::from_secs(10));
    assert!(cluster.together(&[1, 2]), "what it says of the others is refuted");
    cluster.deaf.clear();
    cluster.until("it is back", |c| c.together(&[1, 2, 3]));
}

#[test]
fn replies_are_collected_and_a_dead_member_is_not_waited_for() {
    let (mut cluster, [a, b, c]) = three();
    let options = CastOptions { replies: Replies::All, ..CastOptions::plain(Order::Abcast) };
    let question = Bytes::from_static(b"how are you?");
    let Casted::Call(call) = cluster.cast_with(a.process, "g", &options, &question) else {
        panic!("it asks for replies")
    };
    all_have(&mut cluster, &[1, 2, 3], "how are you?");
    for n in [1, 2] {
        let asked = cluster.sites[&n].told.iter().find_map(|event| match event {
            Event::Deliver { reply_to: Some(ticket), .. } => Some(*ticket),
            _ => None,
        });
        let (now, answer) = (cluster.now, Bytes::from(format!("fine, {n}")));
        cluster.node(n).reply(now, asked.expect("it is asked"), ReplyKind::Reply, answer).expect("awaited");
    }
    cluster.work();
    cluster.kill(3);
    let outcome = |c: &Cluster| {
        c.sites[&1].told.iter().find_map(|event| match event {
            Event::CallDone { call: done, outcome, .. } if *done == call => Some(outcome.clone()),
            _ => None,
        })
    };
    cluster.until("the call is over", |c| outcome(c).is_some());
    let outcome = outcome(&cluster).expect("just seen").expect("it was sent");
    let replied: Vec<_> = outcome.replies.iter().map(|(member, _)| *member).collect();
    assert!(replied.contains(&a) && replied.contains(&b));
    assert!(!outcome.timed_out && outcome.failed.contains(&c));
}

#[test]
fn an_outsiders_cast_survives_its_contact() {
    let mut cluster = Cluster::start(4, 0);
    for n in [1, 2, 3] {
        cluster.join(n, "g", GroupOptions::default());
    }
    let outsider = cluster.process(4);
    cluster.until("the outsider's site knows the group", |c| {
        c.sites[&4]
            .node
            .as_ref()
            .and_then(|node| node.group_view(&group("g")))
            .is_some_and(|v| v.members.len() == 3)
    });
    let options = CastOptions::plain(Order::Abcast);
    for text in ["first", "second"] {
        let casted = cluster.cast_with(outsider, "g", &options, &Bytes::from_static(text.as_bytes()));
        assert!(matches!(casted, Casted::Call(_)));
    }
    cluster.kill(1);
    let done = |c: &Cluster| {
        c.sites[&4].told.iter().filter(|e| matches!(e, Event::CallDone { outcome: Ok(_), .. })).count()
    };
    cluster.until("both are settled", |c| done(c) == 2);
    // All have them, and deliver them as they learn that the others do.
    all_have(&mut cluster, &[2, 3], "second");
    cluster.pass(Duration::from_secs(20));
    for n in [2, 3] {
        assert_eq!(cluster.texts(n), ["first", "second"], "each once, in order");
    }
}

#[test]
fn a_long_message_arrives_whole_between_short_ones() {
    let (mut cluster, [a, b, _]) = three();
    let long: Bytes = (0..64usize << 20).map(|n| ((n * 31) >> 8) as u8).collect::<Vec<u8>>().into();
    cluster.cast_with(a.process, "g", &CastOptions::plain(Order::Abcast), &long);
    cluster.cast(b, "g", Order::Fbcast, "short");
    all_have(&mut cluster, &[1, 2, 3], "short");
    let has = |c: &Cluster, n: u32| {
        let whole = |e: &Event| matches!(e, Event::Deliver { payload, .. } if *payload == long);
        c.sites[&n].told.iter().any(whole)
    };
    cluster.until("the long one", |c| [1, 2, 3].iter().all(|n| has(c, *n)));
}

#[test]
fn who_holds_what_it_is_sent_holds_the_sender_back() {
    let mut cluster = Cluster::with_window(2, 0, 256 << 10);
    let [a, _] = [1, 2].map(|n| cluster.join(n, "g", GroupOptions::default()));
    cluster.until("both are in", |c| c.view(1, "g").is_some_and(|view| view.members.len() == 2));
    cluster.pass(Duration::from_secs(1));
    let now = cluster.now;
    cluster.node(2).hold(now, &group("g"), true);
    let payload = Bytes::from(vec![7; 1 << 10]);
    let mut taken = 0;
    let refused = loop {
        let now = cluster.now;
        let options = CastOptions::plain(Order::Fbcast);
        match cluster.node(1).cast(now, a.process, &group("g"), &options, &payload) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        cluster.pass(Duration::from_millis(5));
        assert!(taken < 2_000, "the window is bounded");
    };
    assert_eq!(refused, CastError::Full);
    let writable = |c: &Cluster| c.sites[&1].told.iter().any(|e| matches!(e, Event::Writable { .. }));
    cluster.pass(Duration::from_secs(5));
    assert!(!writable(&cluster), "still held");
    let now = cluster.now;
    cluster.node(2).hold(now, &group("g"), false);
    cluster.until("there is room again", writable);
}

#[test]
fn a_member_that_has_left_is_told_nothing_more() {
    let (mut cluster, [a, b, c]) = three();
    // A cast that is under way, and a view change at the same time.
    cluster.cast(a, "g", Order::Gbcast, "meanwhile");
    let now = cluster.now;
    cluster.node(3).leave(now, c.process, &group("g")).expect("it is a member");
    cluster.work();
    cluster.until("the others see it", |c| c.view(1, "g").is_some_and(|view| view.members.len() == 2));
    cluster.cast(b, "g", Order::Abcast, "after");
    all_have(&mut cluster, &[1, 2], "after");
    cluster.pass(Duration::from_secs(5));
    let told = &cluster.sites[&3].told;
    let left: Vec<usize> = (0..told.len()).filter(|at| matches!(told[*at], Event::Left { .. })).collect();
    assert_eq!(left.len(), 1, "told once");
    let shown = |event: &Event| matches!(event, Event::View { .. });
    assert!(!told[left[0]..].iter().any(shown), "no view after it has left");
    assert!(!cluster.has(3, "after"));
}

#[test]
fn an_effect_in_one_group_waits_for_its_cause_in_another() {
    let mut cluster = Cluster::start(3, 0);
    let a = [1, 2, 3].map(|n| cluster.join(n, "a", GroupOptions::default()));
    let joined_b = [1, 2, 3].map(|n| {
        let process = a[n as usize - 1].process;
        let now = cluster.now;
        let member = cluster.node(n).join(now, process, group("b"), stack::JoinOptions::default());
        cluster.work();
        cluster
            .until("in b", |c| c.view(n, "b").is_some_and(|v| lists(&v, *member.as_ref().expect("asked"))));
        member.expect("asked")
    });
    cluster.pass(Duration::from_secs(1));
    // Site 3 does not get the cause from site 1 for a while; the network stays whole between 2 and the others.
    cluster.cast(a[0], "a", Order::Cbcast, "cause");
    all_have(&mut cluster, &[2], "cause");
    let now = cluster.now;
    let early = cluster.node(2).cast(
        now,
        joined_b[1].process,
        &group("b"),
        &CastOptions::plain(Order::Cbcast),
        &Bytes::from_static(b"effect"),
    );
    assert_eq!(early, Err(CastError::Full), "the cause is not known to be everywhere");
    let writable = |c: &Cluster| c.sites[&2].told.iter().any(|e| matches!(e, Event::Writable { .. }));
    cluster.until("it may go", writable);
    assert!(cluster.has(3, "cause"), "not before the cause is everywhere");
    cluster.cast(joined_b[1], "b", Order::Cbcast, "effect");
    all_have(&mut cluster, &[1, 2, 3], "effect");
}

/// Asks for a change and waits for what becomes of it.
fn change(cluster: &mut Cluster, n: u32, change: Change) -> Result<(), ChangeError> {
    let now = cluster.now;
    let asked = cluster.node(n).change(now, change)?;
    cluster.work();
    let outcome = |c: &Cluster| {
        c.sites[&n].told.iter().find_map(|event| match event {
            Event::Changed { change, outcome } if *change == asked => Some(outcome.clone()),
            _ => None,
        })
    };
    cluster.until("the change is decided", |c| outcome(c).is_some());
    outcome(cluster).expect("just seen")
}

#[test]
fn members_split_off_go_on_by_themselves_and_come_back_by_a_merge() {
    let (mut cluster, [a, b, c]) = three();
    for member in [a, b, c] {
        cluster.cast(member, "g", Order::Abcast, &format!("before, of {member}"));
    }
    let split = Change::Split { group: group("g"), members: vec![b, c], into: group("h") };
    assert_eq!(change(&mut cluster, 2, split), Ok(()));
    cluster.until("two groups", |cluster| {
        let of = |n, name, members| cluster.view(n, name).is_some_and(|view| view.members.len() == members);
        of(1, "g", 1) && of(2, "h", 2) && of(3, "h", 2)
    });
    // What was cast before the split is delivered where it was cast.
    for member in [a, b, c] {
        all_have(&mut cluster, &[1, 2, 3], &format!("before, of {member}"));
    }
    cluster.cast(a, "g", Order::Abcast, "alone");
    cluster.cast(b, "h", Order::Abcast, "among us");
    all_have(&mut cluster, &[1], "alone");
    all_have(&mut cluster, &[2, 3], "among us");
    assert!(!cluster.has(1, "among us") && !cluster.has(2, "alone"));

    let nothing = Change::Split { group: group("g"), members: vec![b], into: group("i") };
    assert!(matches!(change(&mut cluster, 1, nothing), Err(ChangeError::Refused(_))), "no member of it");
    let now = cluster.now;
    let nowhere = Change::Merge { from: group("g"), into: group("nowhere") };
    assert_eq!(cluster.node(1).change(now, nowhere), Err(ChangeError::NoSuchGroup));

    assert_eq!(change(&mut cluster, 3, Change::Merge { from: group("h"), into: group("g") }), Ok(()));
    cluster.until("one group", |cluster| {
        [1, 2, 3].iter().all(|n| {
            cluster.view(*n, "g").is_some_and(|view| view.members.iter().map(|m| m.id).eq([a, b, c]))
        })
    });
    for (member, order) in [(a, Order::Abcast), (b, Order::Fbcast), (c, Order::Cbcast)] {
        cluster.cast(member, "g", order, &format!("together, of {member}"));
        all_have(&mut cluster, &[1, 2, 3], &format!("together, of {member}"));
    }
    assert_eq!(change(&mut cluster, 1, Change::Reorder { group: group("g"), member: c }), Ok(()));
    cluster.until("the junior is first", |cluster| {
        [1, 2, 3].iter().all(|n| cluster.view(*n, "g").is_some_and(|view| view.members[0].id == c))
    });
}

#[test]
fn a_leavers_effect_waits_until_those_who_stay_have_its_cause() {
    let (mut cluster, [a, b, _]) = three();
    let now = cluster.now;
    let elsewhere = cluster.node(2).join(now, b.process, group("b"), stack::JoinOptions::default());
    let elsewhere = elsewhere.expect("asked");
    cluster.work();
    cluster.until("in b", |c| c.view(2, "b").is_some_and(|view| lists(&view, elsewhere)));
    cluster.pass(Duration::from_secs(1));
    cluster.cast(a, "g", Order::Cbcast, "cause");
    all_have(&mut cluster, &[2], "cause");
    let now = cluster.now;
    cluster.node(2).leave(now, b.process, &group("g")).expect("a member");
    cluster.work();
    let left = |c: &Cluster| c.sites[&2].told.iter().any(|e| matches!(e, Event::Left { .. }));
    cluster.until("it has left", left);
    let options = CastOptions::plain(Order::Cbcast);
    let effect = Bytes::from_static(b"effect");
    cluster.cast_with(b.process, "b", &options, &effect);
    assert!(cluster.has(1, "cause") && cluster.has(3, "cause"), "not before the cause is everywhere");
    all_have(&mut cluster, &[2], "effect");
}

#[test]
fn an_outsiders_cast_by_way_of_a_side_that_dies_is_delivered_where_the_group_lives() {
    let mut cluster = Cluster::start(4, 0);
    for n in [1, 2, 3] {
        cluster.join(n, "g", GroupOptions::default());
    }
    // An outsider's own site is its contact if it has a member.
    let outsider = cluster.process(3);
    // It may carry once it has the table of those who were there before.
    cluster.pass(Duration::from_secs(1));
    let options = CastOptions::plain(Order::Abcast);
    cluster.partition(&[&[1, 2, 4], &[3]]);
    let casted = cluster.cast_with(outsider, "g", &options, &Bytes::from_static(b"cut off"));
    assert!(matches!(casted, Casted::Call(_)));
    cluster.until("the other side has died", |c| c.view(3, "g").is_some_and(|view| !view.lives));
    let done =
        |c: &Cluster| c.sites[&3].told.iter().any(|e| matches!(e, Event::CallDone { outcome: Ok(_), .. }));
    assert!(!done(&cluster), "it is not carried where the group lives");
    cluster.heal();
    cluster.until("it is carried", done);
    all_have(&mut cluster, &[1, 2], "cut off");
    cluster.pass(Duration::from_secs(20));
    for n in [1, 2] {
        assert_eq!(cluster.texts(n), ["cut off"], "once");
    }
}

#[test]
fn a_joiner_carries_what_it_did_not_see_delivered_once() {
    let mut cluster = Cluster::start(4, 0);
    cluster.join(1, "g", GroupOptions::default());
    let outsider = cluster.process(4);
    cluster.until("the outsider's site knows the group", |c| {
        c.sites[&4].node.as_ref().is_some_and(|node| node.group_view(&group("g")).is_some())
    });
    let options = CastOptions::plain(Order::Abcast);
    cluster.cast_with(outsider, "g", &options, &Bytes::from_static(b"first"));
    all_have(&mut cluster, &[1], "first");
    // The outsider is not told: its site is cut off while two more join, and then turns to another contact.
    cluster.partition(&[&[1, 2, 3], &[4]]);
    cluster.join(2, "g", GroupOptions::default());
    cluster.join(3, "g", GroupOptions::default());
    cluster.kill(1);
    cluster.until("two are left", |c| {
        [2, 3].iter().all(|n| c.view(*n, "g").is_some_and(|view| view.members.len() == 2))
    });
    cluster.heal();
    let done = |c: &Cluster| c.sites[&4].told.iter().any(|e| matches!(e, Event::CallDone { .. }));
    cluster.until("its fate is known", done);
    cluster.pass(Duration::from_secs(20));
    for n in [2, 3] {
        assert!(!cluster.has(n, "first"), "it was delivered before site {n} joined");
    }
}
