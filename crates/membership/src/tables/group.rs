//! One application group as the tables hold it, and how a draft of it becomes a view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use wire::{GroupId, GroupName, MemberId, SiteIncarnation, ViewId};

use crate::group::{BranchGroup, GroupMember, GroupOptions, GroupStatistics, GroupView, Lives};
use crate::step::{RequestId, Why};

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
    /// The newest view as it was given; none in a draft of a new group.
    #[n(9)]
    pub(super) last: Option<GroupView>,
    /// Refresh requests granted on this branch.
    #[n(10)]
    pub(super) refreshed: BTreeSet<RequestId>,
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
            last: None,
            refreshed: BTreeSet::new(),
        }
    }

    /// The group as a side of a partition has it.
    pub(super) fn of_branch(brought: &BranchGroup) -> Group {
        let view = &brought.view;
        let mut group = Group::new(view.group, view.name.clone(), view.options.clone());
        group.adopt(view);
        group.members = view.members.iter().map(|m| (m.id, m.role.clone())).collect();
        group.refreshed = brought.refreshed.iter().copied().collect();
        group
    }

    /// Takes over the flags of a view that was given elsewhere.
    pub(super) fn adopt(&mut self, view: &GroupView) {
        self.view = view.id;
        self.primary = view.primary;
        self.lives = view.lives;
        self.last = Some(view.clone());
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

    /// The newest view.
    pub(super) fn given_view(&self) -> &GroupView {
        self.last.as_ref().expect("a group in the tables has had a view")
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
    /// The group before the step, on the side that goes on; none if the step makes it.
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
    /// Nobody is to be told.
    pub(super) is_silent: bool,
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
            is_silent: false,
        }
    }

    /// Ends the draft: the group as it is after the step, and its view if it gets one.
    pub(super) fn finish(mut self, step: ViewId, primary: bool) -> (Group, Option<Arc<GroupView>>) {
        if primary {
            self.now.refreshed.clear();
        }
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
        if never_was || self.is_silent || !self.is_changed(&joined, &left) {
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
        let view = self.now.view_of(members, joined, left);
        self.now.last = Some(view.clone());
        (self.now, Some(Arc::new(view)))
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
