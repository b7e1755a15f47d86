//! What waits for an answer, and where the answer goes.

use super::*;
use crate::call::outsider::Origin;
use crate::call::testing::{client, group, member, view_with};
use wire::SiteId;

fn envelope(call: u64) -> Envelope {
    Envelope { call: Some(call), ..Envelope::default() }
}

fn outsiders(call: u64, again: bool) -> Envelope {
    let origin = Origin { client: client(9), sequence: 4, again };
    Envelope { call: Some(call), outsider: Some(origin), ..Envelope::default() }
}

fn sent(answerer: &mut Answerer) -> Vec<(SiteId, PointMessage)> {
    std::iter::from_fn(|| answerer.poll_transmit()).map(|transmit| (transmit.to, transmit.message)).collect()
}

fn answer(caller: u32, number: u64, from: u32, what: Answered) -> (SiteId, PointMessage) {
    let call = CallKey { home: member(caller).process.birth, number };
    (SiteId(caller), PointMessage::Answer(Answer { call, from: member(from), what }))
}

#[test]
fn a_cast_is_answered_once_and_to_its_callers_site() {
    let mut answerer = Answerer::new();
    let ticket =
        answerer.handle_delivery(group(), member(2), member(1), &envelope(7)).expect("a reply is wanted");
    assert_eq!(answerer.outstanding(member(2)).collect::<Vec<_>>(), [ticket]);
    let body = Bytes::from_static(b"yes");
    assert_eq!(answerer.reply(ticket, body.clone()), Ok(()));
    assert_eq!(answerer.null_reply(ticket), Err(NotAwaited));
    assert_eq!(sent(&mut answerer), [answer(1, 7, 2, Answered::Reply(body))]);
}

#[test]
fn a_cast_that_wants_no_reply_gets_no_ticket() {
    let mut answerer = Answerer::new();
    assert_eq!(answerer.handle_delivery(group(), member(2), member(1), &Envelope::default()), None);
}

#[test]
fn a_call_delivered_twice_is_one_call() {
    let mut answerer = Answerer::new();
    assert!(answerer.handle_delivery(group(), member(2), member(1), &envelope(7)).is_some());
    assert_eq!(answerer.handle_delivery(group(), member(2), member(1), &envelope(7)), None);
    assert!(answerer.handle_delivery(group(), member(3), member(1), &envelope(7)).is_some());
}

#[test]
fn a_reply_with_copies_reaches_the_cohorts() {
    let mut answerer = Answerer::new();
    let ticket = answerer.handle_delivery(group(), member(2), member(1), &envelope(7)).expect("wanted");
    let body = Bytes::from_static(b"yes");
    answerer.reply_with_copies(ticket, body.clone(), &[member(2), member(3)]).expect("awaited");
    let call = CallKey { home: member(1).process.birth, number: 7 };
    let copy = ReplyCopy { call, from: member(2), to: member(3), body: body.clone() };
    let expected = [answer(1, 7, 2, Answered::Reply(body)), (SiteId(3), PointMessage::Copy(copy))];
    assert_eq!(sent(&mut answerer), expected);
}

#[test]
fn a_dead_caller_is_not_answered() {
    let mut answerer = Answerer::new();
    let of_dead = answerer.handle_delivery(group(), member(2), member(1), &envelope(7)).expect("wanted");
    let of_living = answerer.handle_delivery(group(), member(2), member(3), &envelope(7)).expect("wanted");
    answerer.handle_view(&view_with(6, &[2, 3], &[], &[1]));
    assert_eq!(answerer.reply(of_dead, Bytes::new()), Err(NotAwaited));
    assert_eq!(answerer.abort_reply(of_living, Bytes::new()), Ok(()));
    assert_eq!(sent(&mut answerer), [answer(3, 7, 2, Answered::Abort(Bytes::new()))]);
}

#[test]
fn a_repeated_outsiders_cast_gets_its_first_answer() {
    let mut answerer = Answerer::new();
    let body = Bytes::from_static(b"first");
    let ticket = answerer.handle_delivery(group(), member(2), member(1), &outsiders(7, false)).expect("ask");
    answerer.reply(ticket, body.clone()).expect("awaited");
    answerer.handle_repeated(group(), member(2), member(3), &outsiders(5, true));
    let first = Answered::Reply(body);
    assert_eq!(sent(&mut answerer), [answer(1, 7, 2, first.clone()), answer(3, 5, 2, first)]);
}

#[test]
fn an_answer_not_yet_given_goes_to_the_new_contact() {
    let mut answerer = Answerer::new();
    let ticket = answerer.handle_delivery(group(), member(2), member(1), &outsiders(7, false)).expect("ask");
    answerer.handle_view(&view_with(6, &[2, 3], &[], &[1]));
    answerer.handle_repeated(group(), member(2), member(3), &outsiders(5, true));
    answerer.null_reply(ticket).expect("an outsider outlives its contact");
    assert_eq!(sent(&mut answerer), [answer(3, 5, 2, Answered::Null)]);
}

#[test]
fn an_answer_given_while_there_is_no_contact_is_remembered() {
    let mut answerer = Answerer::new();
    let ticket = answerer.handle_delivery(group(), member(2), member(1), &outsiders(7, false)).expect("ask");
    answerer.handle_view(&view_with(6, &[2, 3], &[], &[1]));
    answerer.reply(ticket, Bytes::from_static(b"x")).expect("awaited");
    assert_eq!(sent(&mut answerer), []);
    answerer.handle_repeated(group(), member(2), member(3), &outsiders(5, true));
    assert_eq!(sent(&mut answerer), [answer(3, 5, 2, Answered::Reply(Bytes::from_static(b"x")))]);
}

#[test]
fn a_repeated_cast_that_is_not_remembered_is_null_replied() {
    let mut answerer = Answerer::new();
    answerer.handle_repeated(group(), member(2), member(3), &outsiders(5, true));
    assert_eq!(sent(&mut answerer), [answer(3, 5, 2, Answered::Null)]);
}

#[test]
fn remembered_answers_are_bounded_in_bytes() {
    let mut answerer = Answerer::new();
    let half = Bytes::from(vec![0; Answerer::REMEMBERED_BYTES_MAX / 2 + 1]);
    for sequence in 1..=2 {
        let mut envelope = outsiders(sequence, false);
        envelope.outsider = Some(Origin { client: client(9), sequence, again: false });
        let ticket = answerer.handle_delivery(group(), member(2), member(1), &envelope).expect("ask");
        answerer.reply(ticket, half.clone()).expect("awaited");
    }
    assert_eq!(answerer.remembered.len(), 1);
    assert_eq!(answerer.remembered_bytes, half.len());
}
