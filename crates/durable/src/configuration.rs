//! Which stores count, and how many of them are enough.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use wire::{SiteId, StoreId};

/// The stores that count, and how many must hold an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Configuration {
    /// The stores, and the site where each is (D17). Without any, nothing can become active.
    #[n(0)]
    pub stores: BTreeMap<StoreId, SiteId>,
    /// W, if it was set; else a majority of the stores, whatever their number.
    #[n(1)]
    pub writes: Option<u16>,
}

/// One step from a configuration to the next (D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Change {
    /// A store counts from now on.
    #[n(0)]
    Add {
        /// The store.
        #[n(0)]
        store: StoreId,
        /// Where it is.
        #[n(1)]
        site: SiteId,
    },
    /// A store counts no more.
    #[n(1)]
    Remove {
        /// The store.
        #[n(0)]
        store: StoreId,
    },
    /// W is set, or is a majority again.
    #[n(2)]
    Writes {
        /// W; none: a majority.
        #[n(0)]
        writes: Option<u16>,
    },
}

/// Why a change of the configuration was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChangeError {
    /// The group cannot be written now.
    #[error("the group is not active: too few of its stores are here")]
    NotActive,
    /// The change before, or the view's first entry, is not committed yet.
    #[error("another change is under way; try again when it is done")]
    Busy,
    /// The configuration is like that already, or has no such store.
    #[error("that would change nothing")]
    Nothing,
    /// The new store is not in the view, or may not vote.
    #[error("the store is not here, or may not vote")]
    NotHere,
    /// A site has one store at most.
    #[error("the site has another store in the configuration; remove that first")]
    SiteTaken,
    /// More than [`Configuration::STORES_MAX`] stores, or none.
    #[error("a group has 1 to {} stores", Configuration::STORES_MAX)]
    Stores,
    /// W would be none or more than there are stores.
    #[error("W must be between 1 and the number of stores")]
    Writes,
    /// A quorum of the old configuration and one of the new might not meet.
    #[error("quorums of before and after might not meet; go by way of a greater W")]
    Disjoint,
}

impl Configuration {
    /// The most stores of a group.
    pub const STORES_MAX: usize = 64;

    /// A configuration of these stores, with W a majority.
    pub fn majority(stores: impl IntoIterator<Item = (StoreId, SiteId)>) -> Configuration {
        Configuration { stores: stores.into_iter().collect(), writes: None }
    }

    /// W: how many stores must hold an entry.
    pub fn writes(&self) -> usize {
        self.writes.map_or(self.stores.len() / 2 + 1, usize::from)
    }

    /// E: how many stores must promise a view. Any E and any W have a store in common, and any two E.
    pub fn elects(&self) -> usize {
        self.elects_of(self.stores.len())
    }

    fn elects_of(&self, stores: usize) -> usize {
        self.writes().max((stores + 1).saturating_sub(self.writes()))
    }

    /// These stores, each of which must promise a view before it is active, and hold an entry before it is committed (D22).
    pub(crate) fn all_of(stores: BTreeMap<StoreId, SiteId>) -> Configuration {
        let writes = u16::try_from(stores.len()).ok();
        Configuration { stores, writes }
    }

    /// Whether this store, there, counts (D17).
    pub fn counts(&self, store: StoreId, site: SiteId) -> bool {
        self.stores.get(&store) == Some(&site)
    }

    /// The configuration after a change.
    pub fn after(&self, change: Change) -> Result<Configuration, ChangeError> {
        let mut next = self.clone();
        match change {
            Change::Add { store, site } => {
                if next.stores.values().any(|other| *other == site) && !self.counts(store, site) {
                    return Err(ChangeError::SiteTaken);
                }
                next.stores.insert(store, site);
            }
            Change::Remove { store } => drop(next.stores.remove(&store)),
            Change::Writes { writes } => next.writes = writes,
        }
        if next == *self {
            return Err(ChangeError::Nothing);
        }
        next.check()?;
        // All stores of both: a change adds at most one.
        let both = self.stores.len().max(next.stores.len());
        let meet = |one: usize, other: usize| one + other > both;
        match meet(self.writes(), next.elects()) && meet(next.writes(), self.elects()) {
            true => Ok(next),
            false => Err(ChangeError::Disjoint),
        }
    }

    /// Whether it is one that a group can have.
    pub fn check(&self) -> Result<(), ChangeError> {
        if self.stores.is_empty() || self.stores.len() > Configuration::STORES_MAX {
            return Err(ChangeError::Stores);
        }
        match (1..=self.stores.len()).contains(&self.writes()) {
            true => Ok(()),
            false => Err(ChangeError::Writes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stores: u32, writes: Option<u16>) -> Configuration {
        let stores = (1..=stores).map(|n| (StoreId(n.into()), SiteId(n))).collect();
        Configuration { stores, writes }
    }

    /// Every W of one and every E of the other, as sets: small enough to try all.
    fn intersect(w: &Configuration, e: &Configuration) -> bool {
        let members = |c: &Configuration| c.stores.keys().fold(0u32, |set, store| set | 1 << store.0);
        let quorums = |c: &Configuration, size: usize| {
            let all = members(c);
            (0..256u32).filter(move |set| set & !all == 0 && set.count_ones() as usize == size)
        };
        quorums(w, w.writes()).all(|a| quorums(e, e.elects()).all(|b| a & b != 0))
    }

    #[test]
    fn quorums_meet_within_a_configuration_and_over_every_allowed_change() {
        let mut allowed = 0;
        for n in 1..=6 {
            for writes in (1..=n as u16).map(Some).chain([None]) {
                let old = of(n, writes);
                assert!(intersect(&old, &old));
                assert!(2 * old.elects() > old.stores.len());
                let settings = (1..=n as u16).map(Some).chain([None]).map(|writes| Change::Writes { writes });
                let add = Change::Add { store: StoreId(7), site: SiteId(7) };
                let changes = settings.chain([add, Change::Remove { store: StoreId(1) }]);
                for new in changes.filter_map(|change| old.after(change).ok()) {
                    allowed += 1;
                    assert!(intersect(&old, &new) && intersect(&new, &old), "{old:?} {new:?}");
                }
            }
        }
        assert!(allowed > 30);
    }

    #[test]
    fn with_a_majority_stores_can_be_added_and_removed_one_at_a_time() {
        for n in 1..=8 {
            let add = Change::Add { store: StoreId(99), site: SiteId(99) };
            let more = of(n, None).after(add).expect("one more");
            assert_eq!(more.after(Change::Remove { store: StoreId(99) }), Ok(of(n, None)));
        }
        assert_eq!(of(3, Some(2)).after(Change::Remove { store: StoreId(9) }), Err(ChangeError::Nothing));
        assert_eq!(of(5, Some(2)).after(Change::Writes { writes: Some(3) }), Err(ChangeError::Disjoint));
        assert_eq!(of(1, None).after(Change::Remove { store: StoreId(1) }), Err(ChangeError::Stores));
        let taken = Change::Add { store: StoreId(9), site: SiteId(1) };
        assert_eq!(of(3, None).after(taken), Err(ChangeError::SiteTaken));
    }
}
