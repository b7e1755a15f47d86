//! One application group as the tables hold it, and how a draft of it becomes a view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use wire::{GroupId, GroupName, MemberId, SiteIncarnation, ViewId};

use crate::group::{GroupMember, GroupOptions, GroupStatistics, GroupView, Lives};
use crate::step::Why;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Group {
    #[n(0)]
    pub(super) id: GroupId,
    #[n(1)]
    pub(super) name: GroupName,
    #[n(2)]
    pub(super) options: GroupOptions,
    /// The step of its newest view.
    #[n(3)]
    pub(super) view: ViewId,
    /// That step's flag.
    #[n(4)]
    pub(super) primary: bool,
    #[n(5)]
    pub(super) lives: bool,
    /// By rank.
    #[n(6)]
    pub(super) members: Vec<(MemberId, Option<String>)>,
    /// Members lost without certainty: they may live on another side.
    #[n(7)]
    pub(super) absent: BTreeSet<MemberId>,
    #[n(8)]
    pub(super) counts: Counts,
}

/// What is counted for the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Counts {
    #[n(0)]
    views: u64,
    #[n(1)]
    joins: u64,
    #[n(2)]
    leaves: u64,
    #[n(3)]
    failures: u64,
}

impl Group {
    pub(super) fn new(id: GroupId, name: GroupName, options: GroupOptions) -> Group {
        Group {
            id,
            name,
            options,
            view: ViewId::default(),
            primary: false,
            lives: true,
            members: Vec::new(),
            absent: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn holds(&self, member: MemberId) -> bool {
        self.members.iter().any(|(m, _)| *m == member)
    }

    /// Whether this side lives (A6). On the line a group is whole while nobody is unaccounted for: only a cut
    /// can kill a side, not a group's being small.
    pub(super) fn lives_now(&self, primary: bool) -> bool {
        let whole = primary && self.absent.is_empty();
        match &self.options.lives {
            Lives::Primary => primary,
            Lives::All => true,
            Lives::AtLeast(n) => whole || self.members.len() >= *n as usize,
            Lives::ContainingMember(member) => whole || self.holds(*member),
            Lives::ContainingRole(role) => whole || self.has_role(role),
        }
    }

    pub(super) fn has_role(&self, role: &str) -> bool {
        self.members.iter().any(|(_, r)| r.as_deref() == Some(role))
    }

    /// Whether somebody lost without certainty matters to the group's rule.
    pub(super) fn minds_absence(&self) -> bool {
        match self.options.lives {
            Lives::Primary | Lives::All => false,
            Lives::AtLeast(_) | Lives::ContainingMember(_) | Lives::ContainingRole(_) => true,
        }
    }

    pub(super) fn statistics(&self) -> GroupStatistics {
        let sites: BTreeSet<SiteIncarnation> = self.members.iter().map(|(m, _)| m.process.birth).collect();
        GroupStatistics {
            members: self.members.len() as u32,
            views: self.counts.views,
            joins: self.counts.joins,
            leaves: self.counts.leaves,
            failures: self.counts.failures,
            created: self.id.created,
            changed: self.view,
            sites: sites.len() as u32,
        }
    }

    /// The newest view as it stands.
    pub(super) fn standing_view(&self) -> GroupView {
        let from_here = |(id, role): &(MemberId, Option<String>)| GroupMember {
            id: *id,
            role: role.clone(),
            previous: Some(self.view),
        };
        self.view_of(self.members.iter().map(from_here).collect(), Vec::new(), Vec::new())
    }

    fn view_of(
        &self,
        members: Vec<GroupMember>,
        joined: Vec<MemberId>,
        left: Vec<(MemberId, Why)>,
    ) -> GroupView {
        GroupView {
            group: self.id,
            name: self.name.clone(),
            id: self.view,
            primary: self.primary,
            lives: self.lives,
            members,
            joined,
            left,
            options: self.options.clone(),
        }
    }
}

/// A group while a step works on it.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The group before the step; none if the step makes it, or brings it from another side.
    pub(super) before: Option<Arc<Group>>,
    /// The group as the step makes it.
    pub(super) now: Group,
    /// The previous views of members that do not come from `before`'s view.
    pub(super) previous: BTreeMap<MemberId, ViewId>,
    /// Who has gone, and why.
    pub(super) left: BTreeMap<MemberId, Why>,
    /// The step names the group, so that it gets a view whatever happens.
    pub(super) named: bool,
    /// It comes from a side that had died, and had its last view there.
    pub(super) was_dead: bool,
}

impl Draft {
    pub(super) fn of(group: Arc<Group>) -> Draft {
        let now = Group::clone(&group);
        let was_dead = !group.lives && !group.primary;
        Draft { before: Some(group), was_dead, ..Draft::fresh(now) }
    }

    pub(super) fn fresh(now: Group) -> Draft {
        Draft {
            before: None,
            now,
            previous: BTreeMap::new(),
            left: BTreeMap::new(),
            named: false,
            was_dead: false,
        }
    }

    /// Ends the draft: the group as it is after the step, and its view if it gets one.
    pub(super) fn finish(mut self, step: ViewId, primary: bool) -> (Group, Option<Arc<GroupView>>) {
        self.now.primary = primary;
        self.now.lives = !self.now.members.is_empty() && self.now.lives_now(primary);
        // A side that died has had its last view; it is frozen until it meets the line.
        if self.was_dead && !self.now.lives && !primary {
            return (self.now, None);
        }
        let old = members_of(self.before.as_deref());
        let new = members_of(Some(&self.now));
        let joined: Vec<MemberId> =
            self.now.members.iter().map(|(m, _)| *m).filter(|m| !old.contains(m)).collect();
        let was_member = |m: &MemberId| old.contains(m) || self.previous.contains_key(m);
        let left: Vec<(MemberId, Why)> = (self.left.iter())
            .filter(|(m, _)| !new.contains(*m) && was_member(m))
            .map(|(m, why)| (*m, *why))
            .collect();
        let never_was = self.before.is_none() && new.is_empty() && left.is_empty();
        if never_was || !self.is_changed(&joined, &left) {
            return (self.now, None);
        }
        self.now.view = step;
        self.now.counts.note(&joined, &left);
        let before = self.before.as_ref().map(|b| b.view);
        let member = |(id, role): &(MemberId, Option<String>)| GroupMember {
            id: *id,
            role: role.clone(),
            previous: self.previous.get(id).copied().or(before.filter(|_| old.contains(id))),
        };
        let members = self.now.members.iter().map(member).collect();
        let view = Arc::new(self.now.view_of(members, joined, left));
        (self.now, Some(view))
    }

    fn is_changed(&self, joined: &[MemberId], left: &[(MemberId, Why)]) -> bool {
        let Some(before) = &self.before else { return true };
        self.named
            || !joined.is_empty()
            || !left.is_empty()
            || !self.previous.is_empty()
            || (before.primary, before.lives) != (self.now.primary, self.now.lives)
            || before.name != self.now.name
            || before.members != self.now.members
    }
}

fn members_of(group: Option<&Group>) -> BTreeSet<MemberId> {
    group.into_iter().flat_map(|g| &g.members).map(|(m, _)| *m).collect()
}

impl Counts {
    fn note(&mut self, joined: &[MemberId], left: &[(MemberId, Why)]) {
        self.views += 1;
        self.joins += joined.len() as u64;
        let went = left.iter().filter(|(_, why)| *why == Why::Left).count() as u64;
        self.leaves += went;
        self.failures += left.len() as u64 - went;
    }
}
