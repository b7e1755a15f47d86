//! One Durable Order: whoever applies something at a position applies the same there, with the same result, and every
//! life of a site applies in the order of positions. A state that was taken from a checkpoint is the one that others had
//! at its position.

use std::collections::BTreeMap;

use crate::durable::{Observation, What};

pub(super) fn check<S>(seen: &[Observation<S>]) -> Result<(), (usize, String)> {
    let mut places = BTreeMap::new();
    let mut last = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::Applied { life, number, request, answer, .. } => {
                let before = last.insert(*life, number.position).unwrap_or(0);
                if before >= number.position {
                    return Err((at, format!("{life} applies {} after {before}", number.position)));
                }
                let here = (*number, *request, answer.clone());
                let first = places.entry(number.position).or_insert_with(|| here.clone());
                if *first != here {
                    let how = format!("{life} applies {here:?} where {first:?} was applied before");
                    return Err((at, how));
                }
            }
            What::Restored { life, position, digest } => {
                last.insert(*life, *position);
                let before = places.range(..=*position).next_back();
                let known = before.and_then(|(_, (_, _, answer))| answer.first_chunk().copied());
                if known.is_some_and(|known| u64::from_le_bytes(known) != *digest) {
                    return Err((at, format!("{life} is given another state at {position}")));
                }
            }
            What::Begun(..)
            | What::Configured(..)
            | What::Held(..)
            | What::HeldUpTo(..)
            | What::Asked(..)
            | What::Answered(..)
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
    use super::super::script::{What, applied, history, life};
    use super::check;

    #[test]
    fn one_content_for_each_position() {
        assert!(check(&history([applied(1, 1, 1), applied(2, 1, 1), applied(1, 2, 2)])).is_ok());
        assert!(check(&history([applied(1, 1, 1), applied(2, 1, 2)])).is_err());
        assert!(check(&history([applied(1, 2, 1), applied(1, 1, 2)])).is_err());
    }

    #[test]
    fn a_checkpoint_is_of_the_same_history() {
        let restored =
            |n: u8| What::Restored { life: life(2), position: 2, digest: u64::from_le_bytes([n; 8]) };
        let before = [applied(1, 1, 1), applied(1, 2, 2)];
        assert!(check(&history(before.clone().into_iter().chain([restored(2)]))).is_ok());
        assert!(check(&history(before.into_iter().chain([restored(1)]))).is_err());
    }
}
