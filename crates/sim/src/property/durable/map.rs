//! Linearizable Map: what clients were answered by the map is explained by one copy of it, at which each request took effect
//! at one moment between its being asked for and its being answered. See [`linearizable`]; what was repeated is one request,
//! asked for when it was asked for first.
//!
//! It is the one property that knows nothing of positions: what a program sees.

use std::collections::BTreeMap;

use bytes::Bytes;
use tools::map::{Answer, Condition, Delete, Put, Request};

use super::RequestId;
use crate::durable::{Observation, Reading, What, word_of};
use crate::property::linearizable::{self, Failure, Operation, Test, What as Act};

/// Readers are clients too; this is added to a read's number.
const READER: u64 = 1_000_000;

pub(crate) fn check(seen: &[Observation<Reading>]) -> Result<(), (usize, String)> {
    let operations = operations(seen);
    match linearizable::check(&operations) {
        Ok(()) => Ok(()),
        Err(failure @ Failure::Broken(_)) => Err((seen.len(), format!("{failure}"))),
        // Nothing is known of it, and nobody should take it for a pass.
        Err(failure @ Failure::Undecided(_)) => Err((seen.len(), format!("{failure}"))),
    }
}

/// What was seen, as operations on the map.
fn operations(seen: &[Observation<Reading>]) -> Vec<Operation<u8, u64>> {
    let mut operations: Vec<Operation<u8, u64>> = Vec::new();
    let mut writes: BTreeMap<RequestId, usize> = BTreeMap::new();
    let mut reads: BTreeMap<u64, u64> = BTreeMap::new();
    for observation in seen {
        let at = observation.at.as_nanos();
        match &observation.what {
            What::Asked(request, payload) => {
                if let Some((key, what)) = asked(payload) {
                    writes.insert(*request, operations.len());
                    let client = u64::from(request.0.0[0]);
                    operations.push(Operation { client, key, what, asked: at, answered: None });
                }
            }
            What::Answered(request, answer) => {
                let place = writes.get(request).copied();
                if let Some(operation) = place.and_then(|place| operations.get_mut(place))
                    && operation.answered.is_none()
                {
                    answered(operation, answer, at);
                }
            }
            What::ReadAsked(number) => {
                reads.insert(*number, at);
            }
            What::ReadDone { number, seen: Reading { key, word }, .. } => {
                let asked = reads.get(number).copied().unwrap_or(at);
                operations.push(Operation {
                    client: READER + number,
                    key: *key,
                    what: Act::Get(*word),
                    asked,
                    answered: Some(at),
                });
            }
            What::Begun(..)
            | What::Configured(..)
            | What::Held(..)
            | What::HeldUpTo(..)
            | What::Applied { .. }
            | What::Restored { .. }
            | What::Refused(..)
            | What::Queued(..)
            | What::Looked(..)
            | What::Left(..) => {}
        }
    }
    operations
}

/// What a payload asks the map for, of one key.
fn asked(payload: &[u8]) -> Option<(u8, Act<u64>)> {
    let (key, then, only_if) = match Request::decode(payload).ok()? {
        Request::Put(Put { key, value, only_if, ttl_ms: None }) => (key, Some(word_of(value)?), only_if),
        Request::Delete(Delete { key, only_if }) => (key, None, only_if),
        Request::Put(_) | Request::Tick | Request::Batch(_) | Request::Quota(_) => return None,
    };
    let test = match only_if {
        None => None,
        Some(Condition::Absent) => Some(Test::Absent),
        Some(Condition::Present) => Some(Test::Present),
        Some(Condition::Value(value)) => Some(Test::Is(word_of(value)?)),
        Some(Condition::Revision(_)) => return None,
    };
    let what = match (test, then) {
        (None, Some(word)) => Act::Put(word),
        (None, None) => Act::Delete,
        (Some(test), then) => Act::If { test, then, held: false },
    };
    Some((key.first().copied()?, what))
}

/// An answer: the digest, and the map's.
fn answered(operation: &mut Operation<u8, u64>, answer: &Bytes, at: u64) {
    let Some(Ok(answer)) = answer.get(8..).map(Answer::decode) else { return };
    if let Act::If { held, .. } = &mut operation.what {
        *held = matches!(answer, Answer::Done { .. });
    }
    operation.answered = Some(at);
}

#[cfg(test)]
mod tests {
    use wire::Time;

    use super::super::script::{What, request};
    use super::*;
    use crate::durable::value_of;

    fn seen(what: impl IntoIterator<Item = What>) -> Vec<Observation<Reading>> {
        let at = |n: usize| Time::from_nanos(1_000 * (n as u64 + 1));
        what.into_iter().enumerate().map(|(n, what)| Observation { at: at(n), what }).collect()
    }

    fn put(sequence: u64, word: u64, only_if: Option<Condition>) -> What {
        let put = Put { key: &[3], value: &value_of(word), ttl_ms: None, only_if };
        What::Asked(request(sequence), Request::Put(put).encode())
    }

    fn answer(sequence: u64, answer: &Answer) -> What {
        What::Answered(request(sequence), [&[0; 8][..], &answer.encode()].concat().into())
    }

    fn done(sequence: u64) -> What {
        answer(sequence, &Answer::Done { revision: 1, previous: None })
    }

    fn read(number: u64, word: Option<u64>) -> [What; 2] {
        [What::ReadAsked(number), What::ReadDone { number, position: 0, seen: Reading { key: 3, word } }]
    }

    #[test]
    fn a_read_behind_an_answer_sees_what_was_put() {
        let told = || [put(1, 10, None), done(1)].into_iter();
        assert!(check(&seen(told().chain(read(1, Some(10))))).is_ok());
        assert!(check(&seen(told().chain(read(1, None)))).is_err());
        // Not answered yet, it may be or not; but what was seen once is seen.
        let open = || [put(1, 10, None)].into_iter();
        assert!(check(&seen(open().chain(read(1, None)).chain(read(2, Some(10))))).is_ok());
        assert!(check(&seen(open().chain(read(1, Some(10))).chain(read(2, None)))).is_err());
    }

    #[test]
    fn of_two_who_compare_and_set_one_is_told_that_it_was_not() {
        let first = || [put(1, 10, None), done(1)].into_iter();
        let old = value_of(10);
        let both = || [2, 3].map(|n| put(n, n, Some(Condition::Value(&old)))).into_iter();
        let unmet = answer(3, &Answer::Unmet { operation: 0, found: None });
        assert!(check(&seen(first().chain(both()).chain([done(2), unmet]))).is_ok());
        assert!(check(&seen(first().chain(both()).chain([done(2), done(3)]))).is_err());
    }
}
