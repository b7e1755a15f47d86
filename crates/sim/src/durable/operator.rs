//! Who looks after the group: stores that are no more are taken out of the configuration, and those that took their
//! places are added.

use durable::{Change, Mode, Status};
use wire::{SiteId, StoreId};

/// The next change to ask for where the group is as this status says; none if all is as it should be, or nothing can be
/// changed now.
pub fn next_change(status: &Status, wanted: &[(StoreId, SiteId)]) -> Option<Change> {
    if status.mode != Mode::Active {
        return None;
    }
    let stores = &status.configuration.stores;
    let is_wanted = |store: &StoreId| wanted.iter().any(|(other, _)| other == store);
    if let Some(store) = stores.keys().find(|store| !is_wanted(store)) {
        return Some(Change::Remove { store: *store });
    }
    let missing = wanted.iter().find(|(store, _)| !stores.contains_key(store));
    missing.map(|(store, site)| Change::Add { store: *store, site: *site })
}
