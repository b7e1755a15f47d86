//! What a step contains (C9.4).

use std::collections::{BTreeMap, BTreeSet};

use wire::{Bug, SiteId, SiteIncarnation, StoreId, ViewId};

use super::record::Learned;
use super::tables::Tables;
use super::{Kernel, REQUESTS_PER_STEP_MAX};
use crate::group::Branch;
use crate::step::{CoreMember, Peer, Request, RequestKind, Step, Why, Witnesses};

/// A site that is there, and the view it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    pub peer: Peer,
    pub view: Option<ViewId>,
}

impl<T: Tables> Kernel<T> {
    /// Why a life is to be removed, if that is established (C15, C18), or if a newer one has been seen.
    pub(super) fn established(&self, peer: Peer) -> Option<Why> {
        let newer = || self.newest_life(peer.site).is_some_and(|life| life.incarnation > peer.incarnation);
        let said = self.words_against(peer.life()).next().map(|(why, _)| why);
        said.or_else(|| newer().then_some(Why::Failed))
    }

    /// What is pending against a life, and on how many sites' word; who leaves says so itself.
    pub(super) fn words_against(&self, of: SiteIncarnation) -> impl Iterator<Item = (Why, Witnesses)> + '_ {
        self.pending.iter().filter_map(move |(id, kind)| match kind {
            RequestKind::Fail(life, why, witnesses) if *life == of && self.may_witness(id.origin, *life) => {
                Some((*why, *witnesses))
            }
            RequestKind::Leave(life) if *life == of => Some((Why::Left, Witnesses::Two)),
            RequestKind::Fail(..)
            | RequestKind::Leave(_)
            | RequestKind::Join(_)
            | RequestKind::Reorder(_)
            | RequestKind::Group(_) => None,
        })
    }

    /// C15: what was established in another view is over with it, whoever of the two is no longer there. It may still
    /// arrive, or be pending here, when the network has healed.
    pub(super) fn may_witness(&self, origin: SiteIncarnation, of: SiteIncarnation) -> bool {
        let here = self.view.as_ref().or(self.line.as_ref());
        let lists = |life| here.is_some_and(|l| l.step.members.iter().any(|m| m.peer.life() == life));
        (origin == self.me.life() || lists(origin)) && lists(of)
    }

    /// C9.4: the step that `attempt` proposes, if anybody would be left in it. `order` gives the ranks of those
    /// who were there before.
    pub(super) fn compose(
        &self,
        attempt: ViewId,
        base: &Learned<T>,
        primary: bool,
        order: &[CoreMember],
        present: &BTreeMap<SiteId, Present>,
        branches: Vec<Branch>,
    ) -> Option<Step> {
        let requests = self.requests(base);
        let id = self.id_of(attempt);
        let (members, removed) = self.members(id, base, primary, order, present, &requests);
        if members.is_empty() {
            return None;
        }
        let position = base.step.position + u64::from(primary);
        let mut step = Step {
            id,
            base: base.step.id,
            position,
            primary,
            members,
            removed,
            requests,
            digest: 0,
            branches,
        };
        let mut tables = base.tables.clone();
        tables.apply(&step);
        step.digest = tables.digest();
        Some(step)
    }

    fn id_of(&self, attempt: ViewId) -> ViewId {
        if self.config.bugs.has(Bug::BareViewNumber) {
            return ViewId { attempt: 0, coordinator: SiteIncarnation::default(), ..attempt };
        }
        attempt
    }

    /// The requests that are not settled at the base: one of each origin in turn, an origin's own in their
    /// order, so that nobody who asks much makes others wait for ever.
    fn requests(&self, base: &Learned<T>) -> Vec<Request> {
        let mut places: BTreeMap<SiteIncarnation, usize> = BTreeMap::new();
        let mut ordered: Vec<(usize, Request)> = Vec::new();
        for request in self.pending().filter(|r| base.tables.settled(r.id).is_none()) {
            let place = places.entry(request.id.origin).or_default();
            ordered.push((*place, request));
            *place += 1;
        }
        ordered.sort_by_key(|(place, request)| (*place, request.id));
        ordered.into_iter().map(|(_, request)| request).take(REQUESTS_PER_STEP_MAX).collect()
    }

    fn members(
        &self,
        id: ViewId,
        base: &Learned<T>,
        primary: bool,
        order: &[CoreMember],
        present: &BTreeMap<SiteId, Present>,
        requests: &[Request],
    ) -> (Vec<CoreMember>, Vec<(Peer, Why)>) {
        let mut present = present.clone();
        self.add_joiners(&mut present, requests);
        // Step 0 lists sites and no lives: all its members come in with step 1 (C0).
        let order = if base.step.position == 0 { &[] } else { order };
        let mut removed: BTreeMap<Peer, Why> = BTreeMap::new();
        let mut members: Vec<CoreMember> = Vec::new();
        for member in order {
            match self.fate(member.peer, primary, present.get(&member.peer.site)) {
                None => members.push(*member),
                Some(why) => {
                    removed.insert(member.peer, why);
                }
            }
        }
        let mut newcomers: Vec<Peer> = present.values().map(|p| p.peer).collect();
        newcomers.sort_by_key(|peer| (base.step.position == 0).then(|| base.step.rank(peer.site)));
        let mut stores: BTreeSet<StoreId> = members.iter().map(|m| m.peer.store).collect();
        for peer in newcomers {
            let known = members.iter().any(|m| m.peer.site == peer.site) || removed.contains_key(&peer);
            let leaves = self.established(peer) == Some(Why::Left);
            if !known && !leaves && stores.insert(peer.store) {
                members.push(CoreMember { peer, joined_at: id });
            }
        }
        for member in self.view.iter().flat_map(|v| &v.step.members) {
            if !members.iter().any(|m| m.peer == member.peer) {
                removed
                    .entry(member.peer)
                    .or_insert(self.established(member.peer).unwrap_or(Why::Partitioned));
            }
        }
        reorder(&mut members, requests);
        (members, removed.into_iter().collect())
    }

    /// C16: first come first served; a lower life than one that is known is ignored, a higher one replaces it.
    fn add_joiners(&self, present: &mut BTreeMap<SiteId, Present>, requests: &[Request]) {
        for request in requests {
            let RequestKind::Join(peer) = request.kind else { continue };
            let newest = self.newest_life(peer.site).is_none_or(|life| life.incarnation <= peer.incarnation);
            let newer = present.get(&peer.site).is_none_or(|p| p.peer.incarnation < peer.incarnation);
            if newest && newer && self.established(peer).is_none() {
                present.insert(peer.site, Present { peer, view: None });
            }
        }
    }

    /// Why a member of the base does not stay, if it does not.
    fn fate(&self, peer: Peer, primary: bool, present: Option<&Present>) -> Option<Why> {
        let established = self.established(peer);
        match present {
            Some(p) if p.peer == peer => match established {
                Some(Why::Left) => Some(Why::Left),
                // Who answers from this very view is heard by the coordinator and not by all (C15). Who comes
                // from another view is merged: what was said of it there is over (C17).
                Some(Why::Partitioned) if p.view == self.view_id() && p.view.is_some() => {
                    Some(Why::Partitioned)
                }
                // An answer refutes the failure.
                Some(Why::Partitioned | Why::Failed) | None => None,
            },
            Some(_) => Some(Why::Failed),
            None if primary => established,
            None => Some(established.unwrap_or(Why::Partitioned)),
        }
    }
}

/// Members move to rank 0, the last asked for in front.
fn reorder(members: &mut [CoreMember], requests: &[Request]) {
    for request in requests {
        let RequestKind::Reorder(site) = request.kind else { continue };
        if let Some(at) = members.iter().position(|m| m.peer.site == site) {
            members[..=at].rotate_right(1);
        }
    }
}
