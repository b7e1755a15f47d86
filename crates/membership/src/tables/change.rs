//! One step at work on the tables: sites go and come, sides meet, requests are granted, views come out.

mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{GroupId, GroupName, MemberId, ProcessId, SiteIncarnation, ViewId};

use super::group::{Draft, Group};
use super::{Applied, GROUPS_MAX, GroupTables, MEMBERS_MAX, sides};
use crate::group::{Branch, GroupView, Outcome, Reason};
use crate::step::{Request, RequestKind, Step, Why};

/// Applies a step to the tables of its base and to what the sides that meet in it bring.
pub(super) fn apply(tables: &mut GroupTables, step: &Step) -> Applied {
    let mut change = Change::begin(tables, step.id, step.primary);
    change.renew_sites(step);
    let outcomes = change.grant(&step.requests);
    let views = change.finish();
    tables.view = step.id;
    tables.primary = step.primary;
    if step.primary && step.position == 1 {
        tables.founders = step.members.iter().map(|member| member.peer).collect();
    }
    Applied { views, outcomes }
}

/// Whether a non-primary step would do anything with the request.
pub(super) fn would_act(tables: &GroupTables, request: &Request) -> bool {
    let mut copy = tables.clone();
    let mut change = Change::begin(&mut copy, tables.view, false);
    let decided = match &request.kind {
        RequestKind::Group(asked) => change.ask(request.id, asked) != Outcome::Pending,
        RequestKind::Join(_) | RequestKind::Leave(_) | RequestKind::Fail(..) | RequestKind::Reorder(_) => {
            true
        }
    };
    decided || !change.finish().is_empty()
}

/// A step at work. What it changes is in drafts until it ends.
pub(super) struct Change<'a> {
    pub(super) tables: &'a mut GroupTables,
    id: ViewId,
    primary: bool,
    drafts: BTreeMap<GroupId, Draft>,
    /// Groups made by this step so far.
    created: u32,
    /// Names given and freed by this step.
    names: BTreeMap<GroupName, Option<GroupId>>,
    /// Members placed and removed by this step.
    places: BTreeMap<MemberId, Option<GroupId>>,
    /// Why core members are gone.
    removed: BTreeMap<SiteIncarnation, Why>,
}

impl<'a> Change<'a> {
    fn begin(tables: &'a mut GroupTables, id: ViewId, primary: bool) -> Change<'a> {
        Change {
            tables,
            id,
            primary,
            drafts: BTreeMap::new(),
            created: 0,
            names: BTreeMap::new(),
            places: BTreeMap::new(),
            removed: BTreeMap::new(),
        }
    }

    // Looking.

    /// The group as it stands in this step; none if it has ended.
    fn group(&self, id: GroupId) -> Option<&Group> {
        let group = match self.drafts.get(&id) {
            Some(draft) => &draft.now,
            None => &*self.tables.groups.get(&id)?.group,
        };
        (!group.members.is_empty()).then_some(group)
    }

    fn named(&self, name: &GroupName) -> Option<GroupId> {
        match self.names.get(name) {
            Some(given) => *given,
            None => self.tables.names.get(name).copied(),
        }
    }

    fn place(&self, member: MemberId) -> Option<GroupId> {
        match self.places.get(&member) {
            Some(place) => *place,
            None => self.tables.group_of(member),
        }
    }

    /// All memberships of the processes in this range.
    fn memberships(&self, from: ProcessId, to: ProcessId) -> Vec<(MemberId, GroupId)> {
        let settled = self.tables.processes.range(from..=to).flat_map(|(_, groups)| groups.keys().copied());
        let low = MemberId { process: from, join: 0 };
        let high = MemberId { process: to, join: u64::MAX };
        let members: BTreeSet<MemberId> =
            settled.chain(self.places.range(low..=high).map(|(m, _)| *m)).collect();
        members.into_iter().filter_map(|m| Some((m, self.place(m)?))).collect()
    }

    fn memberships_at(&self, life: SiteIncarnation) -> Vec<(MemberId, GroupId)> {
        self.memberships(ProcessId { birth: life, local: 0 }, ProcessId { birth: life, local: u64::MAX })
    }

    /// Whether this side may decide about the group now.
    fn decides(&self, id: GroupId) -> bool {
        self.group(id).is_some_and(|g| !self.is_frozen(g) && g.lives_now(self.primary))
    }

    /// Whether the group's side died on a branch: nothing changes it until it meets the line.
    fn is_frozen(&self, group: &Group) -> bool {
        !self.primary && !group.primary && !group.lives && group.view != ViewId::default()
    }

    /// The answer to what a side that does not live may not decide.
    fn undecidable(&self) -> Outcome {
        if self.primary { Outcome::Refused(Reason::NotPrimary) } else { Outcome::Pending }
    }

    fn is_group_full(&self) -> bool {
        let made = self.drafts.values().filter(|d| d.before.is_none() && !d.now.members.is_empty()).count();
        self.tables.groups.len() + made >= GROUPS_MAX
    }

    // Changing.

    fn draft(&mut self, id: GroupId) -> &mut Draft {
        let tables = &self.tables;
        let from_tables = || {
            Draft::of(tables.groups.get(&id).expect("a draft is of a group that was looked up").group.clone())
        };
        self.drafts.entry(id).or_insert_with(from_tables)
    }

    fn add(&mut self, id: GroupId, member: MemberId, role: Option<String>) {
        self.places.insert(member, Some(id));
        let draft = self.draft(id);
        draft.now.absent.remove(&member);
        draft.now.members.push((member, role));
    }

    /// Takes a member out of its group; `certain` is whether it cannot live on another side.
    fn remove(&mut self, id: GroupId, member: MemberId, why: Why, certain: bool) {
        self.places.insert(member, None);
        let primary = self.primary;
        let draft = self.draft(id);
        draft.now.members.retain(|(m, _)| *m != member);
        draft.left.insert(member, why);
        if primary && !certain && draft.now.minds_absence() && draft.now.absent.len() < MEMBERS_MAX {
            draft.now.absent.insert(member);
        }
        if draft.now.members.is_empty() {
            let name = draft.now.name.clone();
            self.names.insert(name, None);
        }
    }

    /// Puts a whole draft in place, made by the meeting of sides.
    pub(super) fn settle(&mut self, draft: Draft) {
        // Whom the tables list and the side that goes on does not has no place in it any more.
        let listed = self.tables.groups.get(&draft.now.id).map(|entry| entry.group.clone());
        for (member, _) in listed.iter().flat_map(|group| &group.members) {
            self.displace(*member);
        }
        for (member, _) in &draft.now.members {
            self.places.insert(*member, Some(draft.now.id));
        }
        let holder = (!draft.now.members.is_empty()).then_some(draft.now.id);
        if holder.is_some() || self.named(&draft.now.name) == Some(draft.now.id) {
            self.names.insert(draft.now.name.clone(), holder);
        }
        self.drafts.insert(draft.now.id, draft);
    }

    /// Whether this step is on the line.
    pub(super) fn is_primary(&self) -> bool {
        self.primary
    }

    /// Notes that a member has no place unless somebody gives it one.
    pub(super) fn displace(&mut self, member: MemberId) {
        self.places.entry(member).or_insert(None);
    }

    pub(super) fn new_group_id(&mut self) -> GroupId {
        let id = GroupId { created: self.id, index: self.created };
        self.created += 1;
        id
    }

    /// What this step has made of a group so far, if it has touched it.
    pub(super) fn drafted(&mut self, id: GroupId) -> Option<&mut Draft> {
        self.drafts.get_mut(&id)
    }

    /// A name that nobody has, made of `name` and the view of the side that must change its group's name.
    pub(super) fn side_name(&self, name: &GroupName, side: ViewId, taken: &BTreeSet<GroupName>) -> GroupName {
        let mut tail = format!("~{side}");
        loop {
            let mut keep = name.as_str().len().min(GroupName::BYTES_MAX - tail.len());
            while !name.as_str().is_char_boundary(keep) {
                keep -= 1;
            }
            let made = format!("{}{tail}", &name.as_str()[..keep]);
            let made = GroupName::parse(&made).expect("a good name stays good with a plain tail");
            if self.named(&made).is_none() && !taken.contains(&made) {
                return made;
            }
            tail.push('~');
        }
    }

    // Sites.

    fn renew_sites(&mut self, step: &Step) {
        let core: BTreeSet<SiteIncarnation> = step.members.iter().map(|m| m.peer.life()).collect();
        self.removed = step.removed.iter().map(|(peer, why)| (peer.life(), *why)).collect();
        let by_view: BTreeMap<ViewId, &Branch> = step.branches.iter().map(|b| (b.view, b)).collect();
        let branches: Vec<&Branch> = by_view.into_values().collect();
        let before: BTreeSet<SiteIncarnation> =
            self.tables.core.iter().copied().chain(self.tables.attached().map(|(life, _)| life)).collect();
        let line = (self.tables.view, std::mem::replace(&mut self.tables.core, core));
        self.tables.sites.merge(&branches);
        self.tables.sites.promote(&self.tables.core);
        if branches.is_empty() && self.primary != self.tables.primary {
            let all: Vec<GroupId> = self.tables.groups.keys().copied().collect();
            for id in all {
                self.draft(id);
            }
        }
        if branches.is_empty() {
            for life in before {
                if !self.tables.is_present(life) {
                    self.drop_members_at(life, self.why_gone(life), self.is_superseded(life));
                }
            }
        } else {
            sides::meet(self, &line.1, line.0, &branches);
        }
    }

    pub(super) fn why_gone(&self, life: SiteIncarnation) -> Why {
        let superseded = if self.is_superseded(life) { Why::Failed } else { Why::Partitioned };
        self.removed.get(&life).copied().unwrap_or(superseded)
    }

    /// Whether a newer life of the site is here: then this one has certainly ended.
    pub(super) fn is_superseded(&self, life: SiteIncarnation) -> bool {
        let newer = |other: SiteIncarnation| other.site == life.site && other.incarnation > life.incarnation;
        self.tables.core.iter().any(|l| newer(*l)) || self.tables.attached().any(|(l, _)| newer(l))
    }

    fn drop_members_at(&mut self, life: SiteIncarnation, why: Why, certain: bool) {
        for (member, group) in self.memberships_at(life) {
            if self.group(group).is_some_and(|g| !self.is_frozen(g)) {
                self.remove(group, member, why, certain);
            }
        }
    }

    /// Forgets the absence of those who are accounted for: their site is here again, or lives anew.
    fn account_for_absent(&mut self) {
        let mut found: Vec<(GroupId, Vec<MemberId>)> = Vec::new();
        let drafted = self.drafts.values().map(|d| &d.now);
        let rest = self.tables.groups.values().map(|e| &*e.group);
        let rest = rest.filter(|g| !self.drafts.contains_key(&g.id));
        for group in drafted.chain(rest).filter(|g| !g.absent.is_empty()) {
            let is_known = |m: &&MemberId| {
                self.tables.is_present(m.process.birth) || self.is_superseded(m.process.birth)
            };
            let known: Vec<MemberId> = group.absent.iter().filter(is_known).copied().collect();
            if !known.is_empty() {
                found.push((group.id, known));
            }
        }
        for (id, members) in found {
            self.draft(id).now.absent.retain(|m| !members.contains(m));
        }
    }

    /// Forgets the absence of members that have certainly gone.
    fn forget_absent(&mut self, gone: impl Fn(&MemberId) -> bool) {
        let holders: Vec<GroupId> = (self.tables.groups.values())
            .filter(|e| e.group.absent.iter().any(&gone))
            .map(|e| e.group.id)
            .collect();
        for id in holders {
            self.draft(id);
        }
        for draft in self.drafts.values_mut() {
            draft.now.absent.retain(|m| !gone(m));
        }
    }

    // The end.

    fn finish(mut self) -> Vec<Arc<GroupView>> {
        if self.primary {
            self.account_for_absent();
        }
        let drafts = std::mem::take(&mut self.drafts);
        let mut views = Vec::new();
        let mut groups = Vec::with_capacity(drafts.len());
        for (id, draft) in drafts {
            self.tables.take_out(id);
            let (group, view) = draft.finish(self.id, self.primary);
            views.extend(view);
            groups.push(group);
        }
        for group in groups {
            self.tables.put(group);
        }
        views
    }
}
