//! Applied Once: a request is applied at one position, however often and wherever it was repeated, every answer to it is
//! the first, and nobody who asked by the rules is refused.

use std::collections::BTreeMap;

use super::RequestId;
use crate::durable::{Observation, What};

pub(super) fn check<S>(seen: &[Observation<S>]) -> Result<(), (usize, String)> {
    let mut positions: BTreeMap<RequestId, u64> = BTreeMap::new();
    let mut answers = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::Applied { life, number, request, .. } => {
                let first = *positions.entry(*request).or_insert(number.position);
                if first != number.position {
                    let position = number.position;
                    return Err((
                        at,
                        format!("{life} applies {request:?} at {position}, and it was at {first}"),
                    ));
                }
            }
            What::Answered(request, answer) => {
                let first = answers.entry(*request).or_insert_with(|| answer.clone());
                if first != answer {
                    return Err((at, format!("{request:?} is answered anew")));
                }
            }
            What::Refused(request, why) => return Err((at, format!("{request:?} is refused: {why}"))),
            What::Begun(..)
            | What::Configured(..)
            | What::Held(..)
            | What::HeldUpTo(..)
            | What::Restored { .. }
            | What::Asked(..)
            | What::ReadAsked(_)
            | What::ReadDone { .. }
            | What::Queued(..)
            | What::Looked(..)
            | What::Left(..) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{What, answer, applied, history, request};
    use super::check;

    #[test]
    fn a_repeat_is_not_applied_and_gets_the_first_answer() {
        let answered = |n| What::Answered(request(1), answer(n));
        assert!(check(&history([applied(1, 1, 1), answered(1), applied(2, 1, 1), answered(1)])).is_ok());
        assert!(check(&history([applied(1, 1, 1), applied(1, 2, 1)])).is_err());
        assert!(check(&history([answered(1), answered(2)])).is_err());
        assert!(check(&history([What::Refused(request(1), "no".to_owned())])).is_err());
    }
}
