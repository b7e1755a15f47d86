//! Calls and how they end.

use super::*;
use crate::call::list::ProcessList;
use crate::call::testing::{group, life, member, view, view_with};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn caller() -> Caller {
    Caller::new(life(1))
}

fn open(caller: &mut Caller, replies: Replies) -> (u64, Envelope) {
    let options = CallOptions { replies, time_out: SECOND };
    let number = caller.open(Time::ZERO, group(), &options).expect("room");
    let mut envelope = Envelope::default();
    caller.seal(number, &mut envelope);
    (number, envelope)
}

fn answer(number: u64, from: u32, what: Answered) -> Answer {
    Answer { call: CallKey { home: life(1), number }, from: member(from), what }
}

fn reply(number: u64, from: u32) -> Answer {
    answer(number, from, Answered::Reply(Bytes::from_static(b"yes")))
}

fn who(replies: &[(MemberId, Bytes)]) -> Vec<MemberId> {
    replies.iter().map(|(member, _)| *member).collect()
}

#[test]
fn all_ends_when_every_member_has_replied() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::All);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3]));
    for from in [2, 1] {
        assert!(caller.handle_answer(&reply(number, from)));
        assert_eq!(caller.poll_ended(), None);
    }
    assert!(!caller.handle_answer(&reply(number, 2)), "a second answer is dropped");
    assert!(caller.handle_answer(&reply(number, 3)));
    assert_eq!(caller.poll_ended(), Some(number));
    let outcome = caller.collect(number).expect("ended");
    assert_eq!(who(&outcome.replies), [member(2), member(1), member(3)]);
    assert_eq!(caller.poll(number), None);
    assert_eq!(caller.poll_timeout(), None);
}

#[test]
fn a_majority_is_of_the_members_at_delivery() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::Majority);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3, 4]));
    caller.handle_view(&view_with(6, &[1, 2], &[], &[3, 4]));
    caller.handle_answer(&reply(number, 1));
    assert_eq!(caller.poll_ended(), None, "two of two now are not three of four");
    caller.handle_answer(&reply(number, 2));
    let outcome = caller.collect(number).expect("nobody is left to wait for");
    assert_eq!((outcome.replies.len(), outcome.failed.len()), (2, 2));
}

#[test]
fn enough_replies_end_a_call_and_the_rest_is_missing() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::Count(1));
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3]));
    caller.handle_answer(&reply(number, 3));
    let outcome = caller.collect(number).expect("one is enough");
    assert_eq!((who(&outcome.replies), outcome.missing), (vec![member(3)], vec![member(1), member(2)]));
    assert!(!caller.handle_answer(&reply(number, 2)), "too late");
}

#[test]
fn null_replies_and_deaths_are_a_shortfall_not_an_error() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::Count(3));
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3]));
    caller.handle_answer(&answer(number, 1, Answered::Null));
    caller.handle_answer(&reply(number, 2));
    caller.handle_view(&view_with(6, &[1, 2], &[], &[3]));
    let outcome = caller.collect(number).expect("nobody is awaited");
    assert_eq!(outcome.nulls, [member(1)]);
    assert_eq!(outcome.failed, [member(3)]);
    assert_eq!((outcome.accounted(), outcome.timed_out), (3, false));
}

#[test]
fn one_abort_reply_ends_a_call() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::All);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3]));
    let reason = Bytes::from_static(b"no");
    caller.handle_answer(&answer(number, 2, Answered::Abort(reason.clone())));
    let outcome = caller.collect(number).expect("aborted");
    assert_eq!(outcome.aborted_by, Some((member(2), reason)));
    assert_eq!(outcome.missing, [member(1), member(3)]);
}

#[test]
fn answers_may_come_before_the_own_delivery() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::All);
    caller.handle_answer(&reply(number, 2));
    caller.handle_answer(&reply(number, 9));
    assert_eq!(caller.poll_ended(), None);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2]));
    caller.handle_answer(&reply(number, 1));
    let outcome = caller.collect(number).expect("both");
    assert_eq!(who(&outcome.replies), [member(2), member(1)], "and who is no target does not count");
}

#[test]
fn a_time_out_ends_a_call_with_what_there_is() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::All);
    let (never, _) = open(&mut caller, Replies::All);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2]));
    caller.handle_answer(&reply(number, 2));
    caller.handle_answer(&reply(never, 2));
    assert_eq!(caller.poll_timeout(), Some(Time::from_millis(1000)));
    caller.handle_timeout(Time::from_millis(999));
    assert_eq!(caller.poll_ended(), None);
    caller.handle_timeout(Time::from_millis(1000));
    let outcome = caller.collect(number).expect("over");
    assert!(outcome.timed_out);
    assert_eq!((who(&outcome.replies), outcome.missing), (vec![member(2)], vec![member(1)]));
    let outcome = caller.collect(never).expect("over");
    assert_eq!((outcome.delivered_in, outcome.accounted()), (None, 1));
}

#[test]
fn a_list_and_exclude_self_choose_the_targets() {
    let mut caller = caller();
    let (number, mut envelope) = open(&mut caller, Replies::All);
    envelope.exclude_self = true;
    envelope.list = Some(ProcessList::create([member(1), member(2), member(8)]).expect("short"));
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3]));
    caller.handle_answer(&reply(number, 2));
    assert_eq!(caller.collect(number).expect("the only target").targets, 1);
}

#[test]
fn a_call_without_targets_ends_at_its_delivery() {
    let mut caller = caller();
    let (number, mut envelope) = open(&mut caller, Replies::All);
    envelope.exclude_self = true;
    caller.handle_delivery(member(1), &envelope, &view(5, &[1]));
    assert_eq!(caller.collect(number).map(|outcome| outcome.targets), Some(0));
}

#[test]
fn a_forked_call_is_looked_at_and_collected_later() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::Count(1));
    assert!(matches!(caller.poll(number), Some(Progress::Open(_))));
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2]));
    assert_eq!(caller.collect(number), None);
    caller.handle_answer(&reply(number, 1));
    assert!(matches!(caller.poll(number), Some(Progress::Ended(outcome)) if outcome.replies.len() == 1));
    assert!(caller.collect(number).is_some() && caller.collect(number).is_none());
}

#[test]
fn no_replies_is_no_call() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::None);
    assert_eq!(envelope.call, None);
    assert_eq!(caller.collect(number), Some(Outcome::default()));
}

#[test]
fn a_cancelled_call_is_silent() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::All);
    caller.cancel(number);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2]));
    assert!(!caller.handle_answer(&reply(number, 2)));
    assert_eq!((caller.poll_timeout(), caller.poll_ended()), (None, None));
}

#[test]
fn an_answer_on_the_way_while_its_member_left_still_counts() {
    let mut caller = caller();
    let (number, envelope) = open(&mut caller, Replies::All);
    caller.handle_delivery(member(1), &envelope, &view(5, &[1, 2, 3]));
    caller.handle_view(&view_with(6, &[1, 3], &[], &[2]));
    assert!(caller.handle_answer(&reply(number, 2)));
    caller.handle_answer(&reply(number, 1));
    caller.handle_answer(&reply(number, 3));
    let outcome = caller.collect(number).expect("all");
    assert_eq!((outcome.replies.len(), outcome.failed.len()), (3, 0));
}

#[test]
fn answers_to_an_earlier_life_are_dropped() {
    let mut caller = caller();
    let (number, _) = open(&mut caller, Replies::All);
    let mut stale = reply(number, 2);
    stale.call.home = life(7);
    assert!(!caller.handle_answer(&stale));
}

#[derive(Clone, Debug)]
enum Happening {
    Deliver,
    Answer(u32, u8),
    Lose(u32),
    TimeOut,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => Just(Happening::Deliver),
        8 => (1u32..9, 0u8..8).prop_map(|(from, what)| Happening::Answer(from, what)),
        3 => (2u32..7).prop_map(Happening::Lose),
        1 => Just(Happening::TimeOut),
    ]
}

proptest! {
    #[test]
    fn every_target_is_accounted_for_once_whatever_happens(
        happenings in proptest::collection::vec(happening(), 0..40), wanted in 0u32..8,
    ) {
        let mut caller = caller();
        let replies = match wanted {
            0 => Replies::All,
            1 => Replies::Majority,
            n => Replies::Count(n - 1),
        };
        let (number, envelope) = open(&mut caller, replies);
        let mut members: Vec<u32> = (1..7).collect();
        let mut epoch = 5;
        for happening in happenings {
            match happening {
                Happening::Deliver => caller.handle_delivery(member(1), &envelope, &view(epoch, &members)),
                Happening::Answer(from, what) => {
                    let what = match what {
                        0 => Answered::Abort(Bytes::new()),
                        1 | 2 => Answered::Null,
                        _ => Answered::Reply(Bytes::new()),
                    };
                    caller.handle_answer(&answer(number, from, what));
                }
                Happening::Lose(who) => {
                    epoch += 1;
                    members.retain(|n| *n != who);
                    caller.handle_view(&view_with(epoch, &members, &[], &[who]));
                }
                Happening::TimeOut => caller.handle_timeout(Time::from_millis(1000)),
            }
            let (Some(Progress::Open(outcome)) | Some(Progress::Ended(outcome))) = caller.poll(number) else {
                panic!("it was not collected");
            };
            prop_assert_eq!(outcome.accounted(), outcome.targets);
        }
        caller.handle_timeout(Time::from_millis(1000));
        prop_assert_eq!(caller.poll_ended(), Some(number));
        prop_assert_eq!(caller.poll_ended(), None);
        prop_assert!(caller.collect(number).is_some());
    }
}
