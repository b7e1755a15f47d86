//! Which start of each site this one has spoken with. An incarnation is raised on disk at every start, so two starts of one
//! life are two copies of one data directory, of which one has forgotten what the other promised: who comes second is
//! refused. Known while this site runs; what is known for longer is the lives alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wire::version::Hello;
use wire::{Incarnation, SiteId, StoreId};

/// The newest start of each site.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    newest: Mutex<BTreeMap<SiteId, Start>>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    incarnation: Incarnation,
    store: StoreId,
    start: u64,
}

impl Starts {
    /// Whether a site whose number is its own says hello in the start that this life of it is known to have had; or in a
    /// life of which nothing is known, which is remembered if it is the newest.
    pub(crate) fn heard(&self, theirs: &Hello) -> bool {
        // Programs of before do not say.
        let Some(start) = theirs.start else { return true };
        let new = Start { incarnation: theirs.site.incarnation, store: theirs.store, start };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(theirs.site.site).or_insert(new);
        if known.incarnation < new.incarnation
            || (known.incarnation == new.incarnation && known.store != new.store)
        {
            // Whether another store may speak in this life is for agreement to say (C13).
            *known = new;
        }
        known.incarnation != new.incarnation || known.start == new.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{ClusterId, SiteIncarnation};

    fn hello(incarnation: u64, store: u64, start: Option<u64>) -> Hello {
        let site = SiteIncarnation { site: SiteId(3), incarnation: Incarnation(incarnation) };
        Hello { start, ..Hello::new(ClusterId(1), 0, site, StoreId(store), "c") }
    }

    #[test]
    fn of_two_starts_of_one_life_the_second_is_refused() {
        let starts = Starts::default();
        assert!(starts.heard(&hello(4, 9, Some(44))));
        // Another connection of the same start, and another start of its life.
        assert!(starts.heard(&hello(4, 9, Some(44))));
        assert!(!starts.heard(&hello(4, 9, Some(45))));
        // Started again, as it should be; then the copy, too.
        assert!(starts.heard(&hello(5, 9, Some(55))));
        assert!(!starts.heard(&hello(5, 9, Some(56))));
        // An earlier life is refused elsewhere, and changes nothing.
        assert!(starts.heard(&hello(4, 9, Some(45))));
        assert!(starts.heard(&hello(5, 9, Some(55))));
    }

    #[test]
    fn who_does_not_say_and_who_has_an_emptied_disk_are_no_copies() {
        let starts = Starts::default();
        assert!(starts.heard(&hello(1, 9, Some(11))) && starts.heard(&hello(1, 9, None)));
        assert!(starts.heard(&hello(1, 10, Some(12))));
    }
}
