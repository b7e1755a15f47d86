//! Which requests have been decided: applied at most once on the line (A2).

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use wire::SiteIncarnation;

use crate::group::{Outcome, Reason};
use crate::interface::INTERFACE_REQUESTS;
use crate::step::RequestId;

/// Lives of one site that are remembered; requests of older ones count as settled.
const LIVES_MAX: usize = 4;
/// Decided numbers above a gap; at the bound the lowest gap counts as settled.
const ABOVE_MAX: usize = 4_096;
/// Refusals remembered for one life; the oldest are forgotten and told as `Done`.
const REFUSED_MAX: usize = 256;

/// The decided requests of every origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(super) struct Settled(#[n(0)] BTreeMap<SiteIncarnation, Lanes>);

/// One life's requests are numbered twice: by its mserver, and from [`INTERFACE_REQUESTS`] on by its member
/// interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Lanes {
    #[n(0)]
    mserver: Origin,
    #[n(1)]
    interface: Origin,
}

/// The decided requests of one life of a site, by one of its two numberings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Origin {
    /// All numbers up to this one are decided.
    #[n(0)]
    through: u64,
    /// And these.
    #[n(1)]
    above: BTreeSet<u64>,
    /// These were refused.
    #[n(2)]
    refused: BTreeMap<u64, Reason>,
}

impl Settled {
    pub(super) fn get(&self, id: RequestId) -> Option<Outcome> {
        match self.0.get(&id.origin) {
            Some(lanes) if id.n >= INTERFACE_REQUESTS => lanes.interface.get(id.n - INTERFACE_REQUESTS),
            Some(lanes) => lanes.mserver.get(id.n),
            None if self.is_forgotten(id.origin) => Some(Outcome::Refused(Reason::Stale)),
            None => None,
        }
    }

    /// Remembers what became of a request. `Pending` is not remembered: it is not settled.
    pub(super) fn note(&mut self, id: RequestId, outcome: Outcome) {
        let refused = match outcome {
            Outcome::Pending => return,
            Outcome::Done => None,
            Outcome::Refused(reason) => Some(reason),
        };
        if self.is_forgotten(id.origin) {
            return;
        }
        let lanes = self.0.entry(id.origin).or_default();
        match id.n.checked_sub(INTERFACE_REQUESTS) {
            Some(n) => lanes.interface.note(n, refused),
            None => lanes.mserver.note(id.n, refused),
        }
        self.forget_old_lives(id.origin);
    }

    fn lives_of(&self, origin: SiteIncarnation) -> impl Iterator<Item = SiteIncarnation> + '_ {
        let from = SiteIncarnation { incarnation: wire::Incarnation(0), ..origin };
        let to = SiteIncarnation { incarnation: wire::Incarnation(u64::MAX), ..origin };
        self.0.range(from..=to).map(|(life, _)| *life)
    }

    /// Whether this life is older than all that are remembered of a site whose memory is full.
    fn is_forgotten(&self, origin: SiteIncarnation) -> bool {
        let mut lives = self.lives_of(origin);
        lives.next().is_some_and(|oldest| origin < oldest) && lives.count() + 1 >= LIVES_MAX
    }

    fn forget_old_lives(&mut self, origin: SiteIncarnation) {
        let lives: Vec<_> = self.lives_of(origin).collect();
        for old in lives.iter().take(lives.len().saturating_sub(LIVES_MAX)) {
            self.0.remove(old);
        }
    }
}

impl Origin {
    fn get(&self, n: u64) -> Option<Outcome> {
        if n > self.through && !self.above.contains(&n) {
            return None;
        }
        Some(self.refused.get(&n).map_or(Outcome::Done, |reason| Outcome::Refused(*reason)))
    }

    fn note(&mut self, n: u64, refused: Option<Reason>) {
        if n <= self.through {
            return;
        }
        self.above.insert(n);
        if let Some(reason) = refused {
            self.refused.insert(n, reason);
        }
        if self.above.len() > ABOVE_MAX {
            self.through = self.above.first().map_or(self.through, |first| first - 1);
        }
        while self.through.checked_add(1).is_some_and(|next| self.above.remove(&next)) {
            self.through += 1;
        }
        while self.refused.len() > REFUSED_MAX {
            self.refused.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Incarnation, SiteId};

    fn id(life: u64, n: u64) -> RequestId {
        RequestId { origin: SiteIncarnation { site: SiteId(1), incarnation: Incarnation(life) }, n }
    }

    #[test]
    fn what_is_noted_once_is_settled_for_ever_and_nothing_else_is() {
        let mut settled = Settled::default();
        settled.note(id(1, 1), Outcome::Done);
        settled.note(id(1, 3), Outcome::Refused(Reason::Full));
        settled.note(id(1, 4), Outcome::Pending);
        assert_eq!(settled.get(id(1, 1)), Some(Outcome::Done));
        assert_eq!(settled.get(id(1, 2)), None);
        assert_eq!(settled.get(id(1, 3)), Some(Outcome::Refused(Reason::Full)));
        assert_eq!(settled.get(id(1, 4)), None);
        assert_eq!(settled.get(id(2, 1)), None);
        assert_eq!(settled.get(id(1, INTERFACE_REQUESTS + 1)), None, "the two numberings are apart");
        settled.note(id(1, INTERFACE_REQUESTS + 1), Outcome::Done);
        assert_eq!(settled.get(id(1, INTERFACE_REQUESTS + 1)), Some(Outcome::Done));
        assert_eq!(settled.get(id(1, 2)), None);
    }

    #[test]
    fn memory_is_bounded_in_lives_gaps_and_refusals() {
        let mut settled = Settled::default();
        for n in 0..10_000 {
            settled.note(id(9, 2 * n + 2), Outcome::Refused(Reason::Full));
        }
        let origin = &settled.0[&id(9, 0).origin].mserver;
        assert!(origin.above.len() <= ABOVE_MAX && origin.refused.len() <= REFUSED_MAX);
        assert_eq!(settled.get(id(9, 1)), Some(Outcome::Done), "a gap at the bound counts as settled");
        for life in 10..20 {
            settled.note(id(life, 1), Outcome::Done);
        }
        assert_eq!(settled.0.len(), LIVES_MAX);
        assert_eq!(settled.get(id(9, 7)), Some(Outcome::Refused(Reason::Stale)));
    }
}
