//! Acknowledged Is Kept: an answer is what the application said when the request was applied, which was before; and
//! wherever the request's position is applied, or a later one without it, the request is there. (That every member gets
//! to that position is asked of the healed run.)

use std::collections::BTreeMap;

use super::Places;
use crate::durable::{Observation, What};

pub(super) fn check<S>(seen: &[Observation<S>]) -> Result<(), (usize, String)> {
    let mut places = Places::default();
    let mut acknowledged = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        places.note(&observation.what);
        match &observation.what {
            What::Answered(request, answer) => match places.of(*request) {
                Some((position, said)) if said == answer => {
                    acknowledged.insert(*position, *request);
                }
                Some(_) => return Err((at, format!("{request:?} is answered with what nobody said"))),
                None => return Err((at, format!("{request:?} is answered, and nobody applied it"))),
            },
            What::Applied { life, number, request, .. } => {
                if let Some(kept) = acknowledged.get(&number.position)
                    && kept != request
                {
                    return Err((
                        at,
                        format!("{life} has lost {kept:?}, acknowledged at {}", number.position),
                    ));
                }
            }
            What::Begun(..)
            | What::Configured(..)
            | What::Held(..)
            | What::HeldUpTo(..)
            | What::Restored { .. }
            | What::Asked(..)
            | What::Refused(..)
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
    fn what_is_answered_was_applied_and_stays() {
        let answered = What::Answered(request(1), answer(1));
        assert!(check(&history([applied(1, 1, 1), answered.clone(), applied(2, 1, 1)])).is_ok());
        assert!(check(&history([answered.clone(), applied(1, 1, 1)])).is_err());
        assert!(check(&history([applied(1, 1, 1), answered, applied(2, 1, 2)])).is_err());
        assert!(check(&history([applied(1, 1, 1), What::Answered(request(1), answer(9))])).is_err());
    }
}
