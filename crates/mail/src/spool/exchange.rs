//! What one store's spool has that another's lacks, found a stretch of names at a time: who lacks something says what it has, and is
//! answered with what is missing [Mail 12].

use std::ops::Bound::{Excluded, Included};

use minicbor::{Decode, Encode};
use wire::StoreId;

use super::Spool;
use crate::ids::SpoolId;
use crate::state::State;

/// Numbers of one store without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Run {
    /// The store.
    #[n(0)]
    pub store: StoreId,
    /// The first number.
    #[n(1)]
    pub first: u64,
    /// The last number.
    #[n(2)]
    pub last: u64,
}

/// What a spool has of a stretch of names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Having {
    /// The stretch begins behind this name,
    #[n(0)]
    pub after: SpoolId,
    /// and ends with this one.
    #[n(1)]
    pub upto: SpoolId,
    /// What is there, in ascending runs.
    #[n(2)]
    pub runs: Vec<Run>,
}

/// What another spool has of a stretch beyond that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Names and places here, in ascending order of names.
    pub things: Vec<(SpoolId, u32)>,
    /// There is no more up to here.
    pub upto: SpoolId,
}

impl Run {
    fn of(id: SpoolId) -> Run {
        Run { store: id.store, first: id.number, last: id.number }
    }

    fn first_id(&self) -> SpoolId {
        SpoolId { store: self.store, number: self.first }
    }

    fn last_id(&self) -> SpoolId {
        SpoolId { store: self.store, number: self.last }
    }

    /// Takes in the next name, if no gap is before it.
    fn extend(&mut self, id: SpoolId) -> bool {
        let follows = self.store == id.store && self.last.checked_add(1) == Some(id.number);
        if follows {
            self.last = id.number;
        }
        follows
    }
}

impl Having {
    /// Runs in one stretch.
    pub const RUNS_MAX: usize = 1_024;

    /// Whether it is one that a spool can have said: a stretch, with ascending runs in it.
    pub fn is_sound(&self) -> bool {
        let mut before = self.after;
        let ascends = |run: &Run| {
            let fits = run.first <= run.last && run.first_id() > before && run.last_id() <= self.upto;
            before = run.last_id();
            fits
        };
        self.after < self.upto && self.runs.len() <= Having::RUNS_MAX && self.runs.iter().all(ascends)
    }

    fn has(&self, id: SpoolId) -> bool {
        let at = self.runs.partition_point(|run| run.last_id() < id);
        self.runs.get(at).is_some_and(|run| run.first_id() <= id)
    }
}

impl Spool {
    /// What is held behind a name, of a stretch that has no more runs than may be said at once.
    pub fn having(&self, after: SpoolId) -> Having {
        let mut having = Having { after, upto: SpoolId::LAST, runs: Vec::new() };
        for (id, _) in self.items.range((Excluded(after), Included(SpoolId::LAST))) {
            if having.runs.last_mut().is_some_and(|run| run.extend(*id)) {
                continue;
            }
            if having.runs.len() == Having::RUNS_MAX {
                // It ends with the last run.
                having.upto = having.runs.last().map_or(after, Run::last_id);
                break;
            }
            having.runs.push(Run::of(*id));
        }
        having
    }

    /// What is held here of a sound stretch, and is not merged, and that the other one does not have: `most` at most.
    pub fn lacking(&self, state: &State, having: &Having, most: usize) -> Lacking {
        let stretch = self.items.range((Excluded(having.after), Included(having.upto)));
        let beyond = stretch.filter(|(id, _)| !having.has(**id) && !state.is_merged(**id));
        let mut things: Vec<_> = beyond.take(most + 1).map(|(id, held)| (*id, held.place)).collect();
        let upto = match things.len() > most {
            true => {
                things.pop();
                things.last().map_or(having.after, |(id, _)| *id)
            }
            false => having.upto,
        };
        Lacking { things, upto }
    }
}
