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
    // Those that are missing first, so that there are never fewer than are wanted; but a site has one store at most.
    if let Some((store, site)) = wanted.iter().find(|(store, _)| !stores.contains_key(store)) {
        return Some(match stores.iter().find(|(_, there)| *there == site) {
            Some((old, _)) => Change::Remove { store: *old },
            None => Change::Add { store: *store, site: *site },
        });
    }
    let is_wanted = |store: &StoreId| wanted.iter().any(|(other, _)| other == store);
    stores.keys().find(|store| !is_wanted(store)).map(|store| Change::Remove { store: *store })
}
