//! A client and its contacts.

use super::*;
use crate::call::testing::{client, group, view_id};

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn site(n: u32) -> SiteId {
    SiteId(n)
}

/// Client 9, whose own site is no contact; its id picks the second of three contacts.
fn with_contacts() -> Client {
    let mut client = Client::new(client(9), group());
    client.handle_contacts(at(0), view_id(3), &[site(1), site(2), site(3)]);
    assert_eq!(client.contact(), Some(site(2)));
    client
}

fn cast(client: &mut Client) -> u64 {
    client.cast(at(0), Order::Total, CallOptions::default(), Bytes::from_static(b"x")).expect("room")
}

fn call(client: &mut Client) -> u64 {
    let options = CallOptions { replies: Replies::All, time_out: Duration::from_secs(1) };
    client.cast(at(0), Order::Total, options, Bytes::new()).expect("room")
}

/// What was sent since the last look: to whom, which cast, and whether again.
fn sent(client: &mut Client) -> Vec<(u32, u64, bool)> {
    let carry = |transmit: Transmit| match transmit.message {
        PointMessage::Carry(carry) => (transmit.to.0, carry.origin.sequence, carry.origin.again),
        other => panic!("a client only asks to carry: {other:?}"),
    };
    std::iter::from_fn(|| client.poll_transmit()).map(carry).collect()
}

fn ended(client: &mut Client) -> Vec<(u64, Fate)> {
    let event = |event| match event {
        ClientEvent::Ended { sequence, fate } => (sequence, fate),
        ClientEvent::Carried { sequence } => panic!("{sequence} is only carried"),
    };
    std::iter::from_fn(|| client.poll_event()).map(event).collect()
}

#[test]
fn a_carried_cast_has_ended() {
    let mut client = with_contacts();
    assert_eq!((cast(&mut client), cast(&mut client)), (1, 2));
    assert_eq!(sent(&mut client), [(2, 1, false), (2, 2, false)]);
    client.handle_verdict(at(1), site(2), 1, Verdict::Carried);
    client.handle_verdict(at(1), site(2), 1, Verdict::Carried);
    assert_eq!(ended(&mut client), [(1, Fate::Carried)]);
    assert_eq!(client.open(), 1);
}

#[test]
fn a_call_ends_with_its_outcome() {
    let mut client = with_contacts();
    let sequence = call(&mut client);
    client.handle_verdict(at(1), site(2), sequence, Verdict::Carried);
    assert_eq!(client.poll_event(), Some(ClientEvent::Carried { sequence }));
    client.handle_verdict(at(1), site(2), sequence, Verdict::Outcome(Box::default()));
    assert_eq!(ended(&mut client), [(1, Fate::Answered(Box::default()))]);
}

#[test]
fn a_client_prefers_the_contact_at_its_own_site() {
    let mut client = Client::new(client(3), group());
    client.handle_contacts(at(0), view_id(3), &[site(1), site(2), site(3)]);
    assert_eq!(client.contact(), Some(site(3)));
}

#[test]
fn what_is_open_goes_again_and_in_order_through_the_next_contact_when_one_dies() {
    let mut client = with_contacts();
    for _ in 0..3 {
        cast(&mut client);
    }
    sent(&mut client);
    client.handle_verdict(at(1), site(2), 2, Verdict::Carried);
    client.handle_contact_died(at(2), site(1));
    assert_eq!(sent(&mut client), [], "another's death is no matter");
    client.handle_contact_died(at(2), site(2));
    assert_eq!(sent(&mut client), [(3, 1, true), (3, 3, true)]);
    client.handle_contact_died(at(3), site(3));
    assert_eq!((sent(&mut client), client.contact()), (vec![], None));
    client.handle_contacts(at(4), view_id(4), &[site(5)]);
    assert_eq!(sent(&mut client), [(5, 1, true), (5, 3, true)]);
}

#[test]
fn a_request_says_which_view_was_known_when_it_was_first_made() {
    let mut client = with_contacts();
    let as_of = |client: &mut Client| {
        let carry = |transmit: Transmit| match transmit.message {
            PointMessage::Carry(carry) => carry.as_of,
            other => panic!("a client only asks to carry: {other:?}"),
        };
        std::iter::from_fn(|| client.poll_transmit()).map(carry).collect::<Vec<_>>()
    };
    cast(&mut client);
    client.handle_contacts(at(1), view_id(7), &[site(2), site(3)]);
    client.handle_contacts(at(1), view_id(5), &[site(2), site(3)]);
    cast(&mut client);
    assert_eq!(as_of(&mut client), [view_id(3), view_id(7)]);
    client.handle_contact_died(at(2), site(2));
    assert_eq!(as_of(&mut client), [view_id(3), view_id(7)], "and so it stays");
}

#[test]
fn a_silent_contact_is_left_after_a_while() {
    let mut client = with_contacts();
    cast(&mut client);
    sent(&mut client);
    assert_eq!(client.poll_timeout(), Some(at(5000)));
    client.handle_timeout(at(5000));
    assert_eq!(sent(&mut client), [(3, 1, true)]);
}

#[test]
fn a_contact_that_is_no_member_is_not_asked_again() {
    let mut client = with_contacts();
    cast(&mut client);
    sent(&mut client);
    client.handle_verdict(at(1), site(2), 1, Verdict::Refused(Refusal::NotMember));
    client.handle_verdict(at(1), site(3), 1, Verdict::Refused(Refusal::NotMember));
    assert_eq!(sent(&mut client), [(3, 1, true), (1, 1, true)]);
}

#[test]
fn a_busy_contact_gets_a_pause_and_new_casts_queue_behind() {
    let mut client = with_contacts();
    cast(&mut client);
    sent(&mut client);
    client.handle_verdict(at(1), site(2), 1, Verdict::Refused(Refusal::Busy));
    cast(&mut client);
    assert_eq!(sent(&mut client), []);
    assert_eq!(client.poll_timeout(), Some(at(201)));
    client.handle_timeout(at(201));
    assert_eq!(sent(&mut client), [(3, 1, true), (3, 2, false)]);
}

#[test]
fn a_forgotten_cast_has_an_unknown_fate() {
    let mut client = with_contacts();
    cast(&mut client);
    client.handle_verdict(at(1), site(2), 1, Verdict::Refused(Refusal::Forgotten));
    assert_eq!(ended(&mut client), [(1, Fate::Unknown)]);
}

#[test]
fn a_client_held_for_dead_casts_no_more() {
    let mut client = with_contacts();
    cast(&mut client);
    cast(&mut client);
    client.handle_verdict(at(1), site(2), 1, Verdict::Refused(Refusal::Gone));
    assert_eq!(ended(&mut client), [(1, Fate::Unknown), (2, Fate::Unknown)]);
    let refused = client.cast(at(2), Order::Total, CallOptions::default(), Bytes::new());
    assert_eq!(refused, Err(ClientError::Dead));
}

#[test]
fn the_window_spans_from_the_oldest_open_cast() {
    let mut client = with_contacts();
    for _ in 0..CLIENT_WINDOW {
        cast(&mut client);
    }
    client.handle_verdict(at(1), site(2), 2, Verdict::Carried);
    let full = client.cast(at(1), Order::Total, CallOptions::default(), Bytes::new());
    assert_eq!(full, Err(ClientError::WindowFull), "the oldest is still open");
    client.handle_verdict(at(1), site(2), 1, Verdict::Carried);
    assert_eq!(cast(&mut client), CLIENT_WINDOW + 1);
}

#[test]
fn a_client_gives_up_in_the_end() {
    let mut client = with_contacts();
    cast(&mut client);
    let mut rounds = 0;
    while let Some(due) = client.poll_timeout() {
        client.handle_timeout(due);
        rounds += 1;
        assert!(rounds <= 2 * Client::ASKED_MAX);
    }
    assert_eq!(ended(&mut client), [(1, Fate::Unknown)]);
    let mut alone = Client::new(crate::call::testing::client(9), group());
    cast(&mut alone);
    assert_eq!(alone.poll_timeout(), Some(at(60_000)));
    alone.handle_timeout(at(60_000));
    assert_eq!(ended(&mut alone), [(1, Fate::NotSent)]);
}
