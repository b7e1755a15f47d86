//! Where the stores that count are to be, and how a group gets there: from what its machine says of itself, the next
//! change (D11), one at a time.
//!
//! Nothing is remembered between two steps. What is left to do follows from the group's configuration, so whoever asks
//! again, here or at another site, goes on where it stood, and nothing is done twice.
//!
//! **The order of two changes.** With a majority of N stores, N − W of them may fail. A store that is here and goes is taken
//! out after the new one has come in: N + 1 stores for a moment, and never fewer to spare than before. One that is gone
//! already is taken out first: it only makes W larger. So is one whose site has another store by now, since a site has one
//! at most in a configuration (D17). In all cases the new store has caught up before anything is changed.

use durable::{Change, Here, Mode, Status};
use stack::{SiteState, SiteSummary};
use wire::{SiteId, StoreId};

use super::ask::why_not;

/// What an operator wants of every durable group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The store of this site is not to count; if the site is `to`, too, none of its earlier stores is.
    pub from: Option<SiteId>,
    /// The store that this site has now is to count.
    pub to: Option<SiteId>,
}

/// What a group needs to become as it is wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is so, and committed.
    Done,
    /// The change that comes next.
    Change(Change),
    /// The new store catches up first.
    CatchUp {
        /// It holds the log up to here.
        at: u64,
        /// And has to come here.
        of: u64,
    },
    /// It goes on by itself when this is over.
    Wait(String),
    /// The new store is not in the group yet: its site does not run, or has just been started.
    Absent(SiteId),
    /// It would leave too few of the stores that count.
    TooFew {
        /// So many would count.
        count: usize,
        /// So many of them would have to be here.
        needed: usize,
        /// The sites of those that are not.
        missing: Vec<SiteId>,
    },
    /// It cannot be done as things are; the line says what to do.
    Refused(String),
}

/// The next step. `earlier`: a position that was committed a moment ago; a store that has come so far keeps up.
///
/// `sites`: what this site knows of the others. It may know more than the group, whose view follows the cluster's: a store
/// whose site is down is not here, and while one does not answer, no change is begun that might need it.
pub(super) fn next(status: &Status, sites: &[SiteSummary], wish: Wish, earlier: Option<u64>) -> Step {
    let is = |site: SiteId, state| sites.iter().any(|known| known.site == site && known.state == state);
    let mut status = status.clone();
    status.present.retain(|here| !is(here.site, SiteState::Down));
    let silent = status.present.iter().any(|here| is(here.site, SiteState::Suspected));
    match by_the_group(&status, wish, earlier) {
        Step::Change(_) if silent => Step::Wait("a site of its stores does not answer".to_owned()),
        step => step,
    }
}

/// The next step, if all that the group takes for here is.
fn by_the_group(status: &Status, wish: Wish, earlier: Option<u64>) -> Step {
    if status.mode != Mode::Active {
        return Step::Wait(why_not(&status.mode));
    }
    if status.committed < status.configured {
        return Step::Wait("a change of its stores is being committed".to_owned());
    }
    let new = match wish.to {
        None => None,
        Some(site) => match here(status, site) {
            Some(new) => Some(new),
            None => return Step::Absent(site),
        },
    };
    let stores = &status.configuration.stores;
    let joins = new.filter(|new| stores.get(&new.store) != Some(&new.site));
    let leaving = stores.iter().filter(|(store, site)| {
        let site = Some(**site);
        (site == wish.from || site == wish.to) && new.is_none_or(|new| new.store != **store)
    });
    // First what is in the way of the new one, then what is gone.
    let first =
        leaving.min_by_key(|(store, site)| (Some(**site) != wish.to, counts_here(status, **store, **site)));
    let (change, waits) = match (joins, first) {
        (None, None) => return Step::Done,
        (None, Some((store, _))) => (Change::Remove { store: *store }, None),
        (Some(new), None) => (Change::Add { store: new.store, site: new.site }, Some(new)),
        (Some(new), Some((store, site))) => match *site != new.site && counts_here(status, *store, *site) {
            true => (Change::Add { store: new.store, site: new.site }, Some(new)),
            false => (Change::Remove { store: *store }, Some(new)),
        },
    };
    if let Some(new) = waits
        && new.acked < earlier.unwrap_or(status.committed)
    {
        return Step::CatchUp { at: new.acked, of: status.committed };
    }
    checked(status, change)
}

/// The change, if enough of the stores that count after it are here to go on.
fn checked(status: &Status, change: Change) -> Step {
    let after = match status.configuration.after(change) {
        Ok(after) => after,
        Err(error) => return Step::Refused(error.to_string()),
    };
    let needed = after.writes().max(after.elects());
    let missing = after.stores.iter().filter(|(store, site)| !counts_here(status, **store, **site));
    let missing: Vec<SiteId> = missing.map(|(_, site)| *site).collect();
    let count = after.stores.len();
    if count - missing.len() < needed {
        return Step::TooFew { count, needed, missing };
    }
    Step::Change(change)
}

fn here(status: &Status, site: SiteId) -> Option<Here> {
    status.present.iter().find(|here| here.site == site && here.may_count).copied()
}

fn counts_here(status: &Status, store: StoreId, site: SiteId) -> bool {
    here(status, site).is_some_and(|here| here.store == store)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use durable::{Configuration, Number, Why};

    use super::*;

    /// A group whose configuration has these stores, by site, and in whose view are those, with how far each has come.
    fn group(configured: &[(u64, u32)], present: &[(u64, u32, u64)]) -> Status {
        let stores = configured.iter().map(|(store, site)| (StoreId(*store), SiteId(*site)));
        let present = present.iter().map(|(store, site, acked)| Here {
            store: StoreId(*store),
            site: SiteId(*site),
            may_count: true,
            acked: *acked,
        });
        Status {
            mode: Mode::Active,
            view: None,
            last: Number::default(),
            durable: 100,
            agreed: 100,
            committed: 100,
            applied: 100,
            clock: 0,
            configuration: Configuration::majority(stores),
            configured: 7,
            full: Vec::new(),
            has_room: true,
            present: present.collect(),
            damaged: Vec::new(),
            floor: None,
            appended_bytes: 0,
            progress: None,
            absent: Vec::new(),
        }
    }

    const fn wish(from: u32, to: u32) -> Wish {
        Wish { from: site_of(from), to: site_of(to) }
    }

    /// Takes every step until there is none; gives the changes.
    fn all_of(mut status: Status, wish: Wish) -> (Status, Vec<Change>) {
        let mut changes = Vec::new();
        loop {
            match next(&status, &[], wish, None) {
                Step::Change(change) => {
                    status.configuration = status.configuration.after(change).expect("allowed");
                    changes.push(change);
                    assert!(changes.len() < 5);
                }
                Step::Done => return (status, changes),
                other => panic!("{other:?} after {changes:?}"),
            }
        }
    }

    #[test]
    fn a_wiped_machine_takes_its_own_place() {
        let status = group(&[(1, 1), (2, 2), (3, 3)], &[(1, 1, 100), (2, 2, 100), (33, 3, 100)]);
        let (after, changes) = all_of(status, wish(3, 3));
        assert_eq!(
            changes,
            [Change::Remove { store: StoreId(3) }, Change::Add { store: StoreId(33), site: SiteId(3) }]
        );
        assert_eq!(all_of(after, wish(3, 3)).1, [], "asked again, nothing is done");
    }

    #[test]
    fn a_store_that_is_here_is_taken_out_after_the_new_one_has_come() {
        let live = [(1, 1, 100), (2, 2, 100), (3, 3, 100), (4, 4, 100)];
        let (add, remove) =
            (Change::Add { store: StoreId(4), site: SiteId(4) }, Change::Remove { store: StoreId(3) });
        let three = [(1, 1), (2, 2), (3, 3)];
        assert_eq!(all_of(group(&three, &live), wish(3, 4)).1, [add, remove]);
        // One that is gone only makes W larger.
        let without = [(1, 1, 100), (2, 2, 100), (4, 4, 100)];
        assert_eq!(all_of(group(&three, &without), wish(3, 4)).1, [remove, add]);
        // Half-way, whoever asks finishes it.
        let four = [(1, 1), (2, 2), (3, 3), (4, 4)];
        assert_eq!(all_of(group(&four, &live), wish(3, 4)).1, [remove]);
        assert_eq!(all_of(group(&three[..2], &without), wish(3, 4)).1, [add]);
        // Never fewer to spare than there were.
        let spare = |status: &Status| {
            let live: BTreeSet<u64> = live.iter().map(|(store, ..)| *store).collect();
            let here = status.configuration.stores.keys().filter(|store| live.contains(&store.0)).count();
            here - status.configuration.writes()
        };
        let mut status = group(&three, &live);
        for change in [add, remove] {
            status.configuration = status.configuration.after(change).expect("allowed");
            assert!(spare(&status) >= 1);
        }
    }

    #[test]
    fn a_wiped_machine_takes_the_place_of_another_and_its_own() {
        let live = [(1, 1, 100), (2, 2, 100), (3, 3, 100), (55, 5, 100)];
        let status = group(&[(1, 1), (2, 2), (3, 3), (5, 5)], &live);
        let (after, changes) = all_of(status, wish(1, 5));
        let (old, new) = (StoreId(5), Change::Add { store: StoreId(55), site: SiteId(5) });
        assert_eq!(changes, [Change::Remove { store: old }, new, Change::Remove { store: StoreId(1) }]);
        assert_eq!(after.configuration.stores.len(), 3);
    }

    #[test]
    fn nothing_changes_before_the_new_store_has_caught_up() {
        let behind = group(&[(1, 1), (2, 2), (3, 3)], &[(1, 1, 100), (2, 2, 100), (33, 3, 40)]);
        assert_eq!(next(&behind, &[], wish(3, 3), None), Step::CatchUp { at: 40, of: 100 });
        assert_eq!(next(&behind, &[], wish(3, 3), Some(41)), Step::CatchUp { at: 40, of: 100 });
        // It keeps up with a group that goes on.
        assert!(matches!(next(&behind, &[], wish(3, 3), Some(40)), Step::Change(_)));
        let absent = group(&[(1, 1), (2, 2), (3, 3)], &[(1, 1, 100), (2, 2, 100)]);
        assert_eq!(next(&absent, &[], wish(3, 3), None), Step::Absent(SiteId(3)));
    }

    #[test]
    fn a_majority_is_not_given_away() {
        // Of five, two are dead. Without a third that lives, the other two could not go on.
        let five = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)];
        let status = group(&five, &[(1, 1, 100), (2, 2, 100), (3, 3, 100)]);
        let missing = vec![SiteId(4), SiteId(5)];
        assert_eq!(next(&status, &[], wish(3, 0), None), Step::TooFew { count: 4, needed: 3, missing });
        assert_eq!(all_of(status, wish(4, 0)).1, [Change::Remove { store: StoreId(4) }]);
        // The last one stays.
        let one = group(&[(1, 1)], &[(1, 1, 100)]);
        assert!(matches!(next(&one, &[], wish(1, 0), None), Step::Refused(_)));
    }

    #[test]
    fn what_this_site_knows_before_the_group_does_counts() {
        let stores = [(1, 1), (2, 2), (3, 3)];
        let status = group(&stores, &[(1, 1, 100), (2, 2, 100), (3, 3, 100)]);
        let third = |state| {
            let (site, name) = (SiteId(3), "c".to_owned());
            [SiteSummary { site, name, state, incarnation: None, rank: None }]
        };
        let next = |state, wish| next(&status, &third(state), wish, None);
        assert_eq!(next(SiteState::Up, wish(2, 0)), Step::Change(Change::Remove { store: StoreId(2) }));
        // It is dead: without the second, the first would be alone.
        let too_few = Step::TooFew { count: 2, needed: 2, missing: vec![SiteId(3)] };
        assert_eq!(next(SiteState::Down, wish(2, 0)), too_few);
        assert_eq!(next(SiteState::Down, wish(3, 3)), Step::Absent(SiteId(3)));
        // It may be.
        assert!(matches!(next(SiteState::Suspected, wish(2, 0)), Step::Wait(_)));
        assert_eq!(next(SiteState::Suspected, wish(3, 3)), Step::Done);
    }

    #[test]
    fn five_become_three_and_three_five() {
        let live = [(1, 1, 100), (2, 2, 100), (3, 3, 100), (4, 4, 100), (5, 5, 100)];
        let status = group(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], &live);
        let (status, _) = all_of(status, wish(5, 0));
        let (status, _) = all_of(status, wish(4, 0));
        assert_eq!(status.configuration.stores.len(), 3);
        let (status, _) = all_of(status, wish(0, 4));
        let (status, _) = all_of(status, wish(0, 5));
        assert_eq!(status.configuration.stores.len(), 5);
    }

    #[test]
    fn what_is_not_committed_is_waited_for() {
        let mut status = group(&[(1, 1), (2, 2), (3, 3)], &[(1, 1, 100), (2, 2, 100), (3, 3, 100)]);
        status.configured = 101;
        assert!(matches!(next(&status, &[], wish(3, 0), None), Step::Wait(_)));
        status.mode = Mode::ReadOnly(Why::NoView);
        assert!(matches!(next(&status, &[], wish(3, 0), None), Step::Wait(_)));
    }

    const fn site_of(n: u32) -> Option<SiteId> {
        if n == 0 { None } else { Some(SiteId(n)) }
    }
}
