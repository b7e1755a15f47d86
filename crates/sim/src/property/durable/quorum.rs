//! Applied At W: when a member applies an entry, W stores have had it on their disks, or a state that contains it. Which
//! stores count and what W is says the configuration in force at the entry, or one behind it in the same log: an entry is
//! committed with whatever is committed behind it.

use std::collections::{BTreeMap, BTreeSet};

use durable::{Configuration, Number};
use wire::{StoreId, ViewId};

use crate::durable::{Observation, What};

#[derive(Default)]
struct Logs {
    /// The last number before each view's first entry.
    bases: BTreeMap<ViewId, Number>,
    configurations: BTreeMap<Number, Configuration>,
}

impl Logs {
    /// Whether the log that ends with one number has the other.
    fn has(&self, mut end: Number, number: Number) -> bool {
        while end.view != number.view {
            match self.bases.get(&end.view) {
                Some(base) if base.view < end.view && base.position >= number.position => end = *base,
                Some(_) | None => return false,
            }
        }
        number.position <= end.position
    }

    /// The configuration in force at an entry, and those behind it in logs that have the entry.
    fn concerned(&self, number: Number) -> impl Iterator<Item = &Configuration> {
        let before = self.configurations.iter().filter(move |(at, _)| self.has(number, **at));
        let in_force = before.max_by_key(|(at, _)| at.position).map(|(_, configuration)| configuration);
        let behind = self.configurations.iter().filter(move |(at, _)| self.has(**at, number));
        in_force.into_iter().chain(behind.map(|(_, configuration)| configuration))
    }
}

pub(super) fn check<S>(seen: &[Observation<S>]) -> Result<(), (usize, String)> {
    let mut logs = Logs::default();
    let mut held: BTreeMap<Number, BTreeSet<StoreId>> = BTreeMap::new();
    let mut up_to: BTreeMap<StoreId, u64> = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::Begun(number, base) => {
                logs.bases.insert(number.view, *base);
            }
            What::Configured(number, configuration) => {
                logs.configurations.insert(*number, configuration.clone());
            }
            What::Held(store, number) => {
                held.entry(*number).or_default().insert(*store);
            }
            What::HeldUpTo(store, position) => {
                let most = up_to.entry(*store).or_default();
                *most = (*most).max(*position);
            }
            What::Applied { life, number, .. } => {
                let mut stores = held.get(number).cloned().unwrap_or_default();
                let whole = up_to.iter().filter(|(_, most)| **most >= number.position);
                stores.extend(whole.map(|(store, _)| *store));
                let is_enough = |configuration: &Configuration| {
                    let counting = stores.iter().filter(|store| configuration.stores.contains_key(store));
                    counting.count() >= configuration.writes()
                };
                if !logs.concerned(*number).any(is_enough) {
                    let how = format!("{life} applies {number:?}, which only {stores:?} hold");
                    return Err((at, how));
                }
            }
            What::Restored { .. }
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
    use durable::Configuration;
    use wire::{SiteId, StoreId};

    use super::super::script::{What, applied, held, history, number};
    use super::check;

    /// The founders' configuration, stores 1 to 3, in the first view's log.
    fn three() -> Vec<What> {
        let stores = (1..=3).map(|n| (StoreId(n), SiteId(n as u32)));
        let start = What::Begun(number(1, 0), number(0, 0));
        vec![start, What::Configured(number(1, 0), Configuration::majority(stores))]
    }

    fn is_kept(what: impl IntoIterator<Item = What>) -> bool {
        check(&history(three().into_iter().chain(what))).is_ok()
    }

    #[test]
    fn two_disks_are_two() {
        assert!(is_kept([held(1, 1), held(2, 1), applied(1, 1, 1)]));
        assert!(is_kept([held(1, 1), What::HeldUpTo(StoreId(2), 5), applied(1, 1, 1)]));
        assert!(!is_kept([held(1, 1), held(1, 1), applied(1, 1, 1)]));
        assert!(!is_kept([held(1, 1), held(2, 2), applied(1, 1, 1), held(2, 1)]));
        assert!(!is_kept([held(1, 1), held(4, 1), applied(1, 1, 1)]));
    }

    #[test]
    fn a_configuration_behind_the_entry_in_its_log_counts_too_and_no_other() {
        let one = || Configuration::majority([(StoreId(1), SiteId(1))]);
        let start = What::Begun(number(2, 2), number(1, 1));
        let behind = |at| [held(1, 1), start.clone(), What::Configured(at, one()), applied(1, 1, 1)];
        assert!(is_kept(behind(number(2, 3))));
        assert!(is_kept(behind(number(1, 2))));
        // In a log that went on from before the entry.
        let other = What::Begun(number(2, 1), number(1, 0));
        assert!(!is_kept([held(1, 1), other, What::Configured(number(2, 2), one()), applied(1, 1, 1)]));
    }
}
