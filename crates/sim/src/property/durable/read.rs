//! Read Sees What Was Acknowledged: a read that passed the barrier is at or behind everything that anybody was told of
//! before it was asked for, by an answer or by another read; and a request that is asked for after an answer has a place
//! behind it. Both together are linearizability, since the order is one.

use std::collections::BTreeMap;

use super::{Places, RequestId};
use crate::durable::{Observation, What};

pub(super) fn check<S>(seen: &[Observation<S>]) -> Result<(), (usize, String)> {
    let mut places = Places::default();
    let mut known = 0;
    let mut reads: BTreeMap<u64, u64> = BTreeMap::new();
    let mut asked: BTreeMap<RequestId, u64> = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        places.note(&observation.what);
        match &observation.what {
            What::ReadAsked(read) => {
                reads.insert(*read, known);
            }
            What::ReadDone { number: read, position, .. } => {
                let floor = reads.get(read).copied().unwrap_or(0);
                if *position < floor {
                    return Err((at, format!("a read is at {position}, and {floor} was known before it")));
                }
                known = known.max(*position);
            }
            What::Asked(request, _) => {
                asked.insert(*request, known);
            }
            What::Answered(request, _) => {
                let position = places.of(*request).map_or(0, |(position, _)| *position);
                known = known.max(position);
            }
            What::Applied { number, request, .. } => {
                let floor = asked.get(request).copied().unwrap_or(0);
                if number.position <= floor {
                    let position = number.position;
                    let how =
                        format!("{request:?} is at {position}, and was asked for when {floor} was known");
                    return Err((at, how));
                }
            }
            What::Begun(..)
            | What::Configured(..)
            | What::Held(..)
            | What::HeldUpTo(..)
            | What::Restored { .. }
            | What::Refused(..)
            | What::Queued(..)
            | What::Looked(..)
            | What::Left(..) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::script::{What, answer, applied, history, read_done, request};
    use super::check;

    #[test]
    fn a_read_is_not_behind_what_was_known() {
        let told =
            |position: u64| [applied(1, position, position), What::Answered(request(position), answer(0))];
        let read = |position| [What::ReadAsked(1), read_done(1, position)];
        assert!(check(&history(told(3).into_iter().chain(read(3)))).is_ok());
        assert!(check(&history(told(3).into_iter().chain(read(2)))).is_err());
        let early = [What::ReadAsked(1)].into_iter().chain(told(3)).chain([read_done(1, 1)]);
        assert!(check(&history(early)).is_ok());
    }

    #[test]
    fn what_is_asked_later_comes_later() {
        let first =
            [applied(1, 3, 1), What::Answered(request(1), answer(3)), What::Asked(request(2), Bytes::new())];
        assert!(check(&history(first.clone().into_iter().chain([applied(1, 4, 2)]))).is_ok());
        assert!(check(&history(first.into_iter().chain([applied(1, 2, 2)]))).is_err());
    }
}
