//! Sides come together (C17): who was merged in parts could not be merged by its group's rule, which asks what the
//! whole side holds.

use std::collections::{BTreeMap, BTreeSet};

use wire::{SiteId, SiteIncarnation};

use super::Kernel;
use super::message::Status;
use super::tables::Tables;
use crate::step::{Peer, Step};

/// So often a coordinator waits in vain for the rest of a side; then it takes whom it hears.
const WAITED_MAX: u32 = 6;

impl<T: Tables> Kernel<T> {
    /// The time to wait for a side that is met is over, once more. Only this counts, not how often a view changed
    /// meanwhile: changes that are wanted for other reasons may follow each other at once.
    pub(super) fn waited_for_sides(&mut self) {
        self.waited = (self.waited + 1).min(WAITED_MAX + 1);
    }

    /// The sites of sides that have not answered in whole. They stay outside until the others are heard too, which
    /// is a matter of connections that are made again; but not for ever.
    pub(super) fn left_outside(
        &mut self,
        line: &Step,
        statuses: &BTreeMap<SiteId, (Peer, Status)>,
        quorum: bool,
    ) -> BTreeSet<SiteId> {
        let own = self.view_id();
        if !quorum {
            // Who is on the line is not drawn off it: the line takes this side in.
            let on_line = |s: &Status| s.view != own && s.view == Some(s.line.id);
            return statuses.iter().filter(|(_, (_, s))| on_line(s)).map(|(site, _)| *site).collect();
        }
        let answered = |life| statuses.values().any(|(peer, _)| peer.life() == life);
        let in_parts = |(_, (peer, status)): &(&SiteId, &(Peer, Status))| {
            let side = status.branch.as_ref().filter(|_| status.view != own && !line.lists(*peer));
            let surpassed = |life: &SiteIncarnation| {
                self.newest_life(life.site).is_some_and(|newest| newest.incarnation > life.incarnation)
            };
            side.is_some_and(|side| !side.sites.iter().all(|life| answered(*life) || surpassed(life)))
        };
        let parts: BTreeSet<SiteId> = statuses.iter().filter(in_parts).map(|(site, _)| *site).collect();
        if parts.is_empty() || self.waited > WAITED_MAX {
            self.waited = 0;
            return BTreeSet::new();
        }
        parts
    }
}
