//! Passing views on: once, in order, and what they say about local members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{GroupId, MemberId, Time};

use super::{Asked, Interface, Membership};
use crate::group::{Consistency, Create, GroupMember, GroupRequest, GroupView};
use crate::interface::Event;
use crate::step::Why;
use crate::tables::GroupTables;

impl Interface {
    /// Takes the views of one step: first who is listed where, then who is listed no longer, so that a member
    /// which moves from one group to another is never without one.
    pub(super) fn take_views(&mut self, now: Time, views: &[Arc<GroupView>]) {
        let is_new = |v: &&Arc<GroupView>| self.seen.get(&v.group).is_none_or(|s| s.id < v.id);
        let news: Vec<Arc<GroupView>> = views.iter().filter(is_new).cloned().collect();
        for view in &news {
            self.leave_what_went_on(now, view, &news);
        }
        for view in &news {
            self.adopt(now, view);
        }
        for view in &news {
            self.let_go(now, view);
        }
        self.forget_empty_groups();
    }

    fn adopt(&mut self, now: Time, view: &Arc<GroupView>) {
        let life = self.config.life;
        let mut listed = Vec::new();
        for member in view.members.iter().map(|m| m.id).filter(|m| m.process.birth == life) {
            match self.members.get_mut(&member) {
                Some(membership) => {
                    membership.group = Some(view.group);
                    membership.name = view.name.clone();
                    listed.push(member);
                }
                None => self.disown(now, view.group, member),
            }
        }
        // A site with an mserver of its own sees all views.
        if listed.is_empty() && self.attachment.is_some() {
            self.events.push_back(Event::Over { view: Arc::clone(view) });
        }
        let knows = self.seen.contains_key(&view.group);
        if listed.is_empty() && !knows {
            return;
        }
        self.asked.retain(
            |_, a| !matches!(&a.request, GroupRequest::Join { member, .. } if listed.contains(member)),
        );
        self.seen.insert(view.group, view.clone());
        if listed.is_empty() {
            return;
        }
        if view.options.consistency == Consistency::Weak {
            let overtaken = |e: &Event| matches!(e, Event::View { view: v, .. } if v.group == view.group);
            self.events.retain(|e| !overtaken(e));
        }
        self.events.push_back(Event::View { view: view.clone(), members: listed });
    }

    /// Two sides of a partition may both have granted a join and founded a group each. A member that comes from the
    /// one cannot go to the other's, which knows nothing of what it was delivered and may even take it to a lower view
    /// id: it joins again, as another member. A member that a step moves is let go by its old group in the same step.
    fn leave_what_went_on(&mut self, now: Time, view: &GroupView, step: &[Arc<GroupView>]) {
        let went_on = |listed: &GroupMember| {
            let group = self.members.get(&listed.id)?.group.filter(|group| *group != view.group)?;
            let seen = self.seen.get(&group)?.id;
            let is_moved = step.iter().any(|old| old.group == group && old.id > seen);
            (!is_moved || seen >= view.id).then_some(listed.id)
        };
        let stranded: Vec<MemberId> = view.members.iter().filter_map(went_on).collect();
        for member in stranded {
            self.rejoin(now, member);
        }
    }

    /// A view lists somebody who is not here (any more): the membership service is told, once.
    fn disown(&mut self, now: Time, group: GroupId, member: MemberId) {
        let is_told = self.asked.values().any(|a| {
            matches!(&a.request, GroupRequest::Leave { member: m, .. } if *m == member)
                || matches!(&a.request, GroupRequest::Fail { process } if *process == member.process)
        });
        if !is_told {
            self.ask(now, GroupRequest::Leave { group, member }, None);
        }
    }

    fn let_go(&mut self, now: Time, view: &Arc<GroupView>) {
        let is_listed = |m: &MemberId| view.members.iter().any(|l| l.id == *m);
        let gone: Vec<MemberId> = self.members_of(view.group).filter(|m| !is_listed(m)).collect();
        for member in gone {
            match view.left.iter().find(|(m, _)| *m == member).map(|(_, why)| *why) {
                // Its site was taken for dead, and it with it; both are alive.
                Some(Why::Failed) if view.id < self.admitted => self.rejoin(now, member),
                Some(why @ (Why::Left | Why::Failed)) => {
                    self.members.remove(&member);
                    self.events.push_back(Event::Left { member, group: view.group, why });
                }
                Some(Why::Partitioned) | None => self.rejoin(now, member),
            }
        }
    }

    /// The member's side had died, or it was removed by mistake: its process joins again (A6, C17).
    pub(super) fn rejoin(&mut self, now: Time, was: MemberId) {
        let Some(Membership { name, mut join, group, .. }) = self.members.remove(&was) else { return };
        if let Some(view) = group.and_then(|g| self.seen.get(&g)) {
            join.options = view.options.clone();
        }
        join.create = Create::IfMissing;
        let group = name.clone();
        let member = self.ask_to_join(now, was.process, name, join, None);
        self.events.push_back(Event::Rejoining { was, member, group });
    }

    /// The line granted a join while this site was off it, and took the member out when it removed the site: no view
    /// will list it.
    fn join_anew(&mut self, now: Time, tables: &GroupTables) {
        let is_asked = |member: MemberId| {
            let asks = |a: &Asked| matches!(&a.request, GroupRequest::Join { member: m, .. } if *m == member);
            self.asked.values().any(asks)
        };
        let waits = |(member, m): &(&MemberId, &Membership)| {
            m.group.is_none() && !is_asked(**member) && tables.group_of(**member).is_none()
        };
        let lost: Vec<MemberId> = self.members.iter().filter(waits).map(|(member, _)| *member).collect();
        for member in lost {
            self.rejoin(now, member);
        }
    }

    pub(super) fn forget_empty_groups(&mut self) {
        let alive: BTreeSet<GroupId> = self.members.values().filter_map(|m| m.group).collect();
        self.seen.retain(|group, _| alive.contains(group));
    }

    /// Compares with the tables: views that were missed, members that the line does not know (any more).
    pub(super) fn compare(&mut self, now: Time, tables: &GroupTables) {
        for asked in self.asked.values_mut() {
            asked.pending = !tables.primary();
        }
        let mine: Vec<(MemberId, Option<GroupId>)> =
            self.members.iter().map(|(m, s)| (*m, s.group)).collect();
        let mut missed: BTreeMap<GroupId, Arc<GroupView>> = BTreeMap::new();
        for (member, group) in &mine {
            let Some(id) = tables.group_of(*member) else { continue };
            // The group that it is in, and the one that it was moved from.
            for id in [Some(id), *group].into_iter().flatten() {
                let newest = tables.group_view_id(id);
                let seen = self.seen.get(&id).map(|v| v.id);
                if seen < newest
                    && let Some(view) = tables.group_view(id)
                {
                    missed.insert(id, view);
                }
            }
        }
        self.take_views(now, &missed.into_values().collect::<Vec<_>>());
        if tables.primary() {
            self.join_anew(now, tables);
        }
        for (member, group) in mine {
            let Some(group) = group.filter(|_| tables.group_of(member).is_none()) else { continue };
            // Off the line a group that is missing may be another side's; one that is newer has gone on without it, and
            // what was said there since may reach the process through its other groups.
            let seen = self.seen.get(&group).map(|view| view.id);
            if tables.primary() || tables.group_view_id(group) > seen {
                self.rejoin(now, member);
            }
        }
        let unknown: Vec<(MemberId, GroupId)> =
            tables.memberships_at(self.config.life).filter(|(m, _)| !self.members.contains_key(m)).collect();
        for (member, group) in unknown {
            self.disown(now, group, member);
        }
        self.forget_empty_groups();
    }
}
