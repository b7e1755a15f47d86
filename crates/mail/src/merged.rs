//! What was merged of the things that minorities queued, and what still waits [Mail 12].

use std::collections::{BTreeMap, BTreeSet};

use wire::StoreId;

use crate::ids::{Position, SpoolId, UserId};
use crate::limits::Limits;

/// A store that may hold mail for a minority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enrolled {
    pub held_validity: u32,
    /// The numbers that were merged, in ascending runs that do not touch.
    pub merged: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Merged {
    pub stores: BTreeMap<StoreId, Enrolled>,
    /// Letters that were held and merged, for as long as some mailbox points at them.
    letters: BTreeMap<SpoolId, Position>,
    by_position: BTreeSet<(Position, SpoolId)>,
    /// Deletions that came before their letter.
    // [Yampell 86, 9.1] the Delete queue
    pub awaited: BTreeSet<(SpoolId, UserId)>,
}

impl Merged {
    pub(crate) fn contains(&self, id: SpoolId) -> bool {
        self.stores.get(&id.store).is_some_and(|store| {
            let at = store.merged.partition_point(|(_, last)| *last < id.number);
            store.merged.get(at).is_some_and(|(first, _)| *first <= id.number)
        })
    }

    /// Whether one more can be remembered as merged.
    pub(crate) fn has_room(&self, id: SpoolId, limits: &Limits) -> bool {
        let Some(store) = self.stores.get(&id.store) else { return false };
        let touches = |(first, last): &(u64, u64)| {
            last.checked_add(1) == Some(id.number) || id.number.checked_add(1) == Some(*first)
        };
        let runs: usize = self.stores.values().map(|store| store.merged.len()).sum();
        runs < limits.merged_runs_max as usize || store.merged.iter().any(touches)
    }

    pub(crate) fn insert(&mut self, id: SpoolId) {
        let store = self.stores.get_mut(&id.store).expect("has_room was asked before");
        let runs = &mut store.merged;
        let at = runs.partition_point(|(_, last)| *last < id.number);
        let joins_left = at > 0 && runs[at - 1].1 + 1 == id.number;
        let joins_right = runs.get(at).is_some_and(|(first, _)| id.number + 1 == *first);
        match (joins_left, joins_right) {
            (true, true) => {
                runs[at - 1].1 = runs[at].1;
                runs.remove(at);
            }
            (true, false) => runs[at - 1].1 = id.number,
            (false, true) => runs[at].0 = id.number,
            (false, false) => runs.insert(at, (id.number, id.number)),
        }
    }

    pub(crate) fn remember_letter(&mut self, id: SpoolId, position: Position) {
        self.letters.insert(id, position);
        self.by_position.insert((position, id));
    }

    /// Nobody points at a letter any more.
    pub(crate) fn forget_letter(&mut self, position: Position) {
        let all = (position, SpoolId::FIRST)..=(position, SpoolId::LAST);
        let ids: Vec<SpoolId> = self.by_position.range(all).map(|(_, id)| *id).collect();
        for id in ids {
            self.by_position.remove(&(position, id));
            self.letters.remove(&id);
        }
    }

    pub(crate) fn letter(&self, id: SpoolId) -> Option<Position> {
        self.letters.get(&id).copied()
    }

    pub(crate) fn letters(&self) -> impl Iterator<Item = (SpoolId, Position)> {
        self.letters.iter().map(|(id, position)| (*id, *position))
    }
}
