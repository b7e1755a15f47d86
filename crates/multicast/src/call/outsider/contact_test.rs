//! What a contact carries, and when it says so.

use super::*;
use crate::call::point::{Answer, Answered};
use crate::call::testing::{client, group, installed, life, member, view, view_id, view_with};

struct World {
    contact: Contact,
    caller: Caller,
}

fn member_site() -> World {
    let mut world = World { contact: Contact::new(life(1), group()), caller: Caller::new(life(1)) };
    world.contact.handle_view(&installed(view(2, &[1, 2]), &[1, 2]), &mut world.caller);
    world
}

fn carry(sequence: u64, replies: Replies) -> Carry {
    Carry {
        group: group(),
        origin: Origin { client: client(9), sequence, again: false },
        oldest: 1,
        as_of: view_id(2),
        order: Order::Total,
        replies,
        time_out_ms: 1000,
        payload: Bytes::from_static(b"x"),
    }
}

impl World {
    fn carry(&mut self, carry: Carry) -> Option<Opened> {
        self.contact.handle_carry(Time::ZERO, SiteId(9), carry, Some(view_id(2)), &mut self.caller);
        match self.contact.poll_output()? {
            ContactOutput::Cast { order, envelope, payload, as_of } => {
                assert_eq!((order, as_of), (Order::Total, Some(view_id(2))));
                Some(Opened {
                    group: group(),
                    view: view_id(2),
                    sender: member(1),
                    order: crate::Order::Abcast,
                    envelope,
                    payload,
                })
            }
            ContactOutput::Send(transmit) => {
                self.contact.out.push_front(ContactOutput::Send(transmit));
                None
            }
        }
    }

    fn judge(&mut self, opened: &Opened, judgement: Judgement) {
        self.contact.handle_judged(opened, judgement, &view(2, &[1, 2]), &mut self.caller);
    }

    fn told(&mut self) -> Vec<(u64, Verdict)> {
        let mut told = Vec::new();
        while let Some(output) = self.contact.poll_output() {
            match output {
                ContactOutput::Send(Transmit {
                    to,
                    message: PointMessage::Verdict { sequence, verdict, .. },
                }) => {
                    assert_eq!(to, SiteId(9));
                    told.push((sequence, verdict));
                }
                other => panic!("not a verdict: {other:?}"),
            }
        }
        told
    }
}

#[test]
fn a_client_is_told_only_when_its_cast_is_delivered_and_settled() {
    let mut world = member_site();
    let opened = world.carry(carry(1, Replies::None)).expect("cast");
    world.contact.handle_settled(client(9), 1);
    assert_eq!(world.told(), [], "not yet delivered here");
    world.judge(&opened, Judgement::First);
    assert_eq!(world.told(), [], "others may not have it");
    world.contact.handle_settled(client(9), 1);
    assert_eq!(world.told(), [(1, Verdict::Carried)]);
    assert_eq!(world.contact.carrying(), 0);
}

#[test]
fn a_view_settles_what_was_delivered_before_it() {
    let mut world = member_site();
    let opened = world.carry(carry(1, Replies::None)).expect("cast");
    world.carry(carry(2, Replies::None)).expect("cast");
    world.judge(&opened, Judgement::Repeated);
    world.contact.handle_view(&installed(view_with(3, &[1], &[], &[2]), &[1]), &mut world.caller);
    assert_eq!(world.told(), [(1, Verdict::Carried)]);
    assert_eq!(world.contact.carrying(), 1);
}

#[test]
fn a_cast_that_is_being_carried_is_not_cast_again() {
    let mut world = member_site();
    world.carry(carry(1, Replies::None)).expect("cast");
    assert_eq!(world.carry(carry(1, Replies::None)), None);
    assert_eq!(world.contact.carrying(), 1);
}

#[test]
fn replies_are_collected_for_the_client() {
    let mut world = member_site();
    let opened = world.carry(carry(1, Replies::All)).expect("cast");
    world.judge(&opened, Judgement::First);
    for from in [1, 2] {
        let call = world.caller.key(opened.envelope.call.expect("replies are wanted"));
        world.caller.handle_answer(&Answer { call, from: member(from), what: Answered::Null });
    }
    let call = world.caller.poll_ended().expect("all have answered");
    assert!(world.contact.handle_ended(call, &mut world.caller));
    assert!(!world.contact.handle_ended(call, &mut world.caller), "another's call is not ours");
    assert_eq!(world.told(), [], "an outcome is not told before its cast is settled");
    world.contact.handle_settled(client(9), 1);
    let told = world.told();
    assert_eq!(told[0], (1, Verdict::Carried));
    assert!(matches!(&told[1], (1, Verdict::Outcome(outcome)) if outcome.nulls.len() == 2), "{told:?}");
    assert_eq!(world.contact.carrying(), 0);
}

#[test]
fn who_is_no_member_carries_nothing() {
    let mut world = World { contact: Contact::new(life(1), group()), caller: Caller::new(life(1)) };
    assert_eq!(world.carry(carry(1, Replies::None)), None);
    assert_eq!(world.told(), [(1, Verdict::Refused(Refusal::NotMember))]);
    let mut world = member_site();
    world.carry(carry(1, Replies::All)).expect("cast");
    world.contact.handle_view(&installed(view(3, &[2]), &[2]), &mut world.caller);
    assert_eq!(world.told(), [(1, Verdict::Refused(Refusal::NotMember))]);
    assert_eq!(world.caller.poll_timeout(), None, "its call is cancelled");
}

#[test]
fn what_follows_a_refused_cast_does_not_overtake_it() {
    let mut world = member_site();
    let busy = |sequence| (sequence, Verdict::Refused(Refusal::Busy));
    world.carry(carry(1, Replies::None)).expect("cast");
    assert_eq!(world.carry(carry(1 + TABLE_WINDOW, Replies::None)), None);
    let mut later = carry(2 + TABLE_WINDOW, Replies::None);
    world.contact.carrying.clear();
    assert_eq!(world.carry(later.clone()), None);
    assert_eq!(world.told(), [busy(1 + TABLE_WINDOW), busy(2 + TABLE_WINDOW)]);
    later.oldest = 2 + TABLE_WINDOW;
    assert!(world.carry(later).is_some(), "the refused one has ended elsewhere");
}

#[test]
fn the_tables_refusals_reach_the_client() {
    for (judgement, refusal) in [(Judgement::Forgotten, Refusal::Forgotten), (Judgement::Gone, Refusal::Gone)]
    {
        let mut world = member_site();
        let opened = world.carry(carry(1, Replies::All)).expect("cast");
        world.judge(&opened, judgement);
        assert_eq!(world.told(), [(1, Verdict::Refused(refusal))]);
        assert_eq!((world.contact.carrying(), world.caller.poll_timeout()), (0, None));
    }
}

#[test]
fn a_client_that_is_gone_is_dropped_and_the_group_told() {
    let mut world = member_site();
    world.carry(carry(1, Replies::None)).expect("cast");
    world.contact.handle_client_gone(client(9), &mut world.caller);
    assert_eq!(world.contact.carrying(), 0);
    let Some(ContactOutput::Cast { envelope, payload, .. }) = world.contact.poll_output() else {
        panic!("the group is told");
    };
    assert_eq!((envelope, payload), (Envelope::of(Kind::Gone), Gone::Process(client(9).process).encode()));
}

#[test]
fn the_order_that_the_client_wants_is_asked_for() {
    for order in [Order::Total, Order::Safe, Order::Group] {
        let mut world = member_site();
        let wanted = Carry { order, ..carry(1, Replies::None) };
        world.contact.handle_carry(Time::ZERO, SiteId(9), wanted, Some(view_id(2)), &mut world.caller);
        let cast = world.contact.poll_output();
        assert!(matches!(cast, Some(ContactOutput::Cast { order: asked, .. }) if asked == order), "{cast:?}");
    }
}

#[test]
fn a_cast_that_is_not_made_is_refused_and_may_be_asked_for_again() {
    for refusal in [Refusal::Busy, Refusal::Forgotten, Refusal::Gone] {
        let mut world = member_site();
        let opened = world.carry(carry(1, Replies::All)).expect("cast");
        let origin = opened.envelope.outsider.expect("an outsider's");
        world.contact.handle_refused(&origin, refusal, &mut world.caller);
        world.contact.handle_refused(&origin, refusal, &mut world.caller);
        assert_eq!(world.told(), [(1, Verdict::Refused(refusal))], "once");
        assert_eq!((world.contact.carrying(), world.caller.poll_timeout()), (0, None));
        assert!(world.carry(carry(1, Replies::None)).is_some());
    }
}

#[test]
fn what_was_cast_again_for_its_replies_is_settled_like_the_first() {
    let mut world = member_site();
    let mut opened = world.carry(carry(1, Replies::None)).expect("cast");
    opened.envelope.kind = Kind::Repeated;
    world.judge(&opened, Judgement::Repeated);
    assert_eq!(world.told(), [], "others may not have it");
    world.contact.handle_settled(client(9), 1);
    assert_eq!(world.told(), [(1, Verdict::Carried)]);
}

#[test]
fn what_is_delivered_on_a_side_that_does_not_live_on_is_not_carried() {
    let not_living = GroupView { lives: false, ..view(3, &[1]) };
    // The group goes on without this site; and this site goes on without the group.
    for (next, together) in [(view(3, &[2]), &[][..]), (not_living, &[1][..])] {
        let mut world = member_site();
        let opened = world.carry(carry(1, Replies::None)).expect("cast");
        world.judge(&opened, Judgement::First);
        world.contact.handle_view(&installed(next, together), &mut world.caller);
        assert_eq!(world.told(), [(1, Verdict::Refused(Refusal::NotMember))]);
    }
}

#[test]
fn a_contact_is_busy_for_who_knows_a_view_that_it_has_not_heard_of() {
    let mut world = member_site();
    let ahead = Carry { as_of: view_id(3), ..carry(1, Replies::None) };
    for (newest, refused) in [(None, true), (Some(view_id(2)), true), (Some(view_id(3)), false)] {
        world.contact.handle_carry(Time::ZERO, SiteId(9), ahead.clone(), newest, &mut world.caller);
        let said = world.contact.poll_output();
        let is_refusal = matches!(
            &said,
            Some(ContactOutput::Send(Transmit {
                message: PointMessage::Verdict { verdict: Verdict::Refused(Refusal::Busy), .. },
                ..
            }))
        );
        assert_eq!(is_refusal, refused, "{said:?}");
    }
}
