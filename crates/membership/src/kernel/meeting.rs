//! Sides come together (C17): who was merged in parts could not be merged by its group's rule, which asks what the
//! whole side holds.

use std::collections::{BTreeMap, BTreeSet};

use wire::{SiteId, SiteIncarnation};

use super::Kernel;
use super::message::Status;
use super::tables::Tables;
use crate::step::{Peer, Step};

/// So often a coordinator leaves a side outside of which it does not hear all; then it takes whom it hears.
pub(super) const LEFT_OUT_MAX: u32 = 4;

impl<T: Tables> Kernel<T> {
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
        if parts.is_empty() || self.left_out == LEFT_OUT_MAX {
            self.left_out = 0;
            return BTreeSet::new();
        }
        self.left_out += 1;
        parts
    }
}
