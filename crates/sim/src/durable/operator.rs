//! Who looks after the group: stores that are no more are taken out of the configuration, those that took their places
//! are added, and W is set, one change at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use durable::{Change, Configuration, Mode, Status};
use wire::{SiteId, StoreId};

/// The next change to ask for where the group is as this status says; none if all is as it should be, or nothing can be
/// changed now. `alive`: the stores that are still there, of which one may be lost yet, if so.
pub fn next_change(
    status: &Status,
    wanted: &Configuration,
    alive: &Stores,
    may_lose: bool,
) -> Option<Change> {
    // One at a time: while a store is replaced the others are well.
    let spare = usize::from(may_lose && status.configuration.stores == wanted.stores);
    match status.mode {
        Mode::Active => first_step(&status.configuration, wanted, alive, spare),
        Mode::ReadOnly(_) => None,
    }
}

/// Stores, by site.
pub type Stores = BTreeMap<StoreId, SiteId>;

/// The first change on the shortest way from one configuration to another. Quorums of neighbours meet, which may need
/// another W for a while, and the stores that are still there, less so many of them, must be enough all the way.
fn first_step(from: &Configuration, wanted: &Configuration, alive: &Stores, spare: usize) -> Option<Change> {
    let mut known = BTreeSet::from([from.clone()]);
    let mut queue: VecDeque<(Configuration, Option<Change>)> = VecDeque::from([(from.clone(), None)]);
    while let Some((at, first)) = queue.pop_front() {
        if at == *wanted {
            return first;
        }
        for change in changes(&at, wanted) {
            let Ok(next) = at.after(change) else { continue };
            let here = next.stores.keys().filter(|store| alive.contains_key(store)).count();
            let is_enough = here >= next.elects() + spare && next.writes() > spare;
            if is_enough && known.insert(next.clone()) {
                queue.push_back((next, first.or(Some(change))));
            }
        }
    }
    None
}

/// What may be of use. Stores that are missing come first, so that there are not fewer than are wanted without need.
fn changes(at: &Configuration, wanted: &Configuration) -> Vec<Change> {
    let missing = wanted.stores.iter().filter(|(store, _)| !at.stores.contains_key(store));
    let add = missing.map(|(store, site)| Change::Add { store: *store, site: *site });
    let old = at.stores.keys().filter(|store| !wanted.stores.contains_key(store));
    let remove = old.map(|store| Change::Remove { store: *store });
    let most = at.stores.len() as u16;
    let writes = [None].into_iter().chain((1..=most).map(Some)).map(|writes| Change::Writes { writes });
    add.chain(remove).chain(writes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores 1 to n, each at the site of its number; those above 100 at the site of their number less 100.
    fn of(stores: &[u32], writes: Option<u16>) -> Configuration {
        let place = |n: &u32| (StoreId(u64::from(*n)), SiteId(n % 100));
        Configuration { stores: stores.iter().map(place).collect(), writes }
    }

    /// The whole way, with these stores; none if there is none.
    fn way(mut at: Configuration, wanted: &Configuration, alive: &[u32]) -> Option<Vec<Change>> {
        let (mut way, alive) = (Vec::new(), of(alive, None).stores);
        while at != *wanted {
            let step = first_step(&at, wanted, &alive, 0)?;
            at = at.after(step).expect("it may be done");
            way.push(step);
        }
        Some(way)
    }

    #[test]
    fn a_store_is_replaced_in_place_under_every_w_that_can_do_without_it() {
        for n in 3..=6u32 {
            for writes in (2..=n as u16).map(Some).chain([None]) {
                let stores: Vec<u32> = (1..=n).collect();
                let old = of(&stores, writes);
                let alive = [&stores[1..], &[101]].concat();
                // Without E the group is not active, and nothing can be changed.
                let is_active = old.elects() < stores.len();
                let way = way(old.clone(), &of(&alive, writes), &alive);
                assert!(!is_active || way.is_some(), "{old:?}");
            }
        }
    }

    #[test]
    fn a_group_moves_and_grows_and_shrinks() {
        let steps = |from, wanted| way(from, &wanted, &[1, 2, 3, 4, 5]).map(|way| way.len());
        let two = || of(&[1, 2], None);
        assert_eq!(steps(two(), of(&[3, 4], None)), Some(4));
        assert_eq!(steps(of(&[1], None), of(&[3, 4], None)), Some(3));
        assert!(steps(of(&[1, 2, 3, 4, 5], Some(2)), two()).is_some());
        assert!(steps(of(&[1, 2], Some(1)), of(&[1], Some(1))).is_some());
        assert_eq!(steps(two(), of(&[1, 2], Some(1))), Some(1));
        assert_eq!(steps(two(), two()), Some(0));
    }
}
