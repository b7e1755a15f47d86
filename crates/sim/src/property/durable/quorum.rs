//! Applied At W: when a member applies an entry, W stores that count have had it on their disks, or a state that
//! contains it.

use std::collections::{BTreeMap, BTreeSet};

use wire::StoreId;

use crate::durable::{Observation, What};

pub(super) fn check(seen: &[Observation]) -> Result<(), (usize, String)> {
    let mut held: BTreeMap<durable::Number, BTreeSet<StoreId>> = BTreeMap::new();
    let mut up_to: BTreeMap<StoreId, u64> = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::Held(store, number) => {
                held.entry(*number).or_default().insert(*store);
            }
            What::HeldUpTo(store, position) => {
                let most = up_to.entry(*store).or_default();
                *most = (*most).max(*position);
            }
            What::Applied { life, number, writes, .. } => {
                let mut stores = held.get(number).cloned().unwrap_or_default();
                let whole = up_to.iter().filter(|(_, most)| **most >= number.position);
                stores.extend(whole.map(|(store, _)| *store));
                if stores.len() < *writes {
                    let how = format!("{life} applies {number:?}, which {} stores hold", stores.len());
                    return Err((at, how));
                }
            }
            What::Restored { .. }
            | What::Asked(_)
            | What::Answered(..)
            | What::Refused(..)
            | What::ReadAsked(_)
            | What::ReadDone(..) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{applied, held, history};
    use super::check;
    use crate::durable::What;
    use wire::StoreId;

    #[test]
    fn two_disks_are_two() {
        assert!(check(&history([held(1, 1), held(2, 1), applied(1, 1, 1)])).is_ok());
        assert!(check(&history([held(1, 1), What::HeldUpTo(StoreId(2), 5), applied(1, 1, 1)])).is_ok());
        assert!(check(&history([held(1, 1), held(1, 1), applied(1, 1, 1)])).is_err());
        assert!(check(&history([held(1, 1), held(2, 2), applied(1, 1, 1), held(2, 1)])).is_err());
    }
}
