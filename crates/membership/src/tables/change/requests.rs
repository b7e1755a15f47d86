//! What each request does to the tables.

use std::collections::BTreeSet;

use wire::{GroupId, GroupName, MemberId, ProcessId};

use super::Change;
use crate::group::{Create, GroupOptions, GroupRequest, Lives, Merges, Outcome, Reason};
use crate::step::{Request, RequestId, RequestKind, Why};
use crate::tables::group::{Draft, Group};
use crate::tables::{MEMBERS_MAX, ROLE_BYTES_MAX};

impl Change<'_> {
    /// Grants what the step's requests ask for, one after the other.
    pub(super) fn grant(&mut self, requests: &[Request]) -> Vec<(RequestId, Outcome)> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            if self.tables.settled.get(request.id).is_some() {
                continue;
            }
            let outcome = match &request.kind {
                RequestKind::Group(asked) => self.ask(request.id, asked),
                // The kernel has put these into the step's members already.
                RequestKind::Join(_)
                | RequestKind::Leave(_)
                | RequestKind::Fail(..)
                | RequestKind::Reorder(_) => Outcome::Done,
            };
            self.tables.settled.note(request.id, outcome);
            outcomes.push((request.id, outcome));
        }
        outcomes
    }

    pub(super) fn ask(&mut self, id: RequestId, asked: &GroupRequest) -> Outcome {
        match asked {
            GroupRequest::Join { group, member, role, create, options } => {
                self.join(group, *member, role, *create, options)
            }
            GroupRequest::Leave { member, .. } => self.leave(*member, Why::Left),
            GroupRequest::Expel { member, .. } => self.leave(*member, Why::Failed),
            GroupRequest::Fail { process } => self.fail(*process),
            GroupRequest::Split { group, members, into } => self.split(*group, members, into),
            GroupRequest::Merge { from, into } => self.merge(*from, *into),
            GroupRequest::Refresh { group } => self.refresh(id, *group),
            GroupRequest::Reorder { member, .. } => self.reorder(*member),
            GroupRequest::SetSite { site, info } => match self.primary {
                true => self.tables.sites.set(*site, info),
                false => Outcome::Pending,
            },
            GroupRequest::RemoveSite { site } => {
                if !self.primary {
                    return Outcome::Pending;
                }
                let outcome = self.tables.sites.remove(*site, &self.tables.core);
                if outcome == Outcome::Done {
                    self.forget_absent(|m| m.site() == *site);
                }
                outcome
            }
            GroupRequest::Attach { life, via } => {
                let (outcome, ended) = self.tables.sites.attach(*life, *via, self.id, &self.tables.core);
                if let Some(ended) = ended {
                    self.drop_members_at(ended, Why::Failed, true);
                }
                outcome
            }
            GroupRequest::Detach { life, why } => {
                if self.tables.sites.detach(*life) {
                    self.drop_members_at(*life, *why, *why == Why::Left);
                }
                Outcome::Done
            }
        }
    }

    fn join(
        &mut self,
        name: &GroupName,
        member: MemberId,
        role: &Option<String>,
        create: Create,
        options: &GroupOptions,
    ) -> Outcome {
        if self.place(member).is_some() {
            return Outcome::Done; // said again, or applied on a branch that has met the line since
        }
        if roles_in(role, options).any(|r| r.len() > ROLE_BYTES_MAX) {
            return Outcome::Refused(Reason::RoleTooLong);
        }
        if !self.tables.is_present(member.process.birth) {
            return if self.primary { Outcome::Refused(Reason::SiteAbsent) } else { Outcome::Pending };
        }
        match self.named(name) {
            Some(id) => self.join_existing(id, member, role, create),
            None => self.found(name, member, role, create, options),
        }
    }

    fn join_existing(
        &mut self,
        id: GroupId,
        member: MemberId,
        role: &Option<String>,
        create: Create,
    ) -> Outcome {
        if create == Create::MustCreate {
            return Outcome::Refused(Reason::Exists);
        }
        if !self.decides(id) {
            return self.undecidable();
        }
        let mine = self.memberships(member.process, member.process);
        let earlier = mine.into_iter().find(|(_, group)| *group == id).map(|(m, _)| m);
        if earlier.is_some_and(|e| e.join > member.join) {
            return Outcome::Refused(Reason::Stale);
        }
        if earlier.is_none() && self.group(id).is_some_and(|g| g.members.len() >= MEMBERS_MAX) {
            return Outcome::Refused(Reason::Full);
        }
        // The process joins anew (it was suspended on a side that died): it is another member.
        self.add(id, member, role.clone());
        if let Some(earlier) = earlier {
            self.remove(id, earlier, Why::Left, true);
        }
        Outcome::Done
    }

    fn found(
        &mut self,
        name: &GroupName,
        member: MemberId,
        role: &Option<String>,
        create: Create,
        options: &GroupOptions,
    ) -> Outcome {
        if create == Create::MustExist {
            // A branch does not know what the line has created.
            return if self.primary { Outcome::Refused(Reason::NoSuchGroup) } else { Outcome::Pending };
        }
        if self.is_group_full() {
            return Outcome::Refused(Reason::TooManyGroups);
        }
        let mut group =
            Group::new(GroupId { created: self.id, index: self.created }, name.clone(), options.clone());
        group.members.push((member, role.clone()));
        if !group.lives_now(self.primary) {
            return self.undecidable();
        }
        group.id = self.new_group_id();
        self.settle(Draft::fresh(group));
        Outcome::Done
    }

    fn leave(&mut self, member: MemberId, why: Why) -> Outcome {
        let Some(id) = self.place(member) else {
            if self.primary {
                self.forget_absent(|m| *m == member);
            }
            return Outcome::Done;
        };
        if self.group(id).is_some_and(|g| self.is_frozen(g) || !self.primary && !g.lives_now(false)) {
            return Outcome::Pending;
        }
        self.remove(id, member, why, true);
        Outcome::Done
    }

    fn fail(&mut self, process: ProcessId) -> Outcome {
        let mut outcome = Outcome::Done;
        for (member, _) in self.memberships(process, process) {
            if self.leave(member, Why::Failed) == Outcome::Pending {
                outcome = Outcome::Pending;
            }
        }
        if self.primary {
            self.forget_absent(|m| m.process == process);
        }
        outcome
    }

    fn split(&mut self, from: GroupId, members: &[MemberId], into: &GroupName) -> Outcome {
        let asked: BTreeSet<MemberId> = members.iter().copied().collect();
        let target = self.named(into);
        if target.is_some() && asked.iter().all(|m| self.place(*m) == target) {
            return Outcome::Done;
        }
        if target.is_some() {
            return Outcome::Refused(Reason::Exists);
        }
        let Some(group) = self.group(from) else { return Outcome::Refused(Reason::NoSuchGroup) };
        if asked.is_empty() || asked.iter().any(|m| self.place(*m) != Some(from)) {
            return Outcome::Refused(Reason::NotMember);
        }
        if !self.decides(from) {
            return self.undecidable();
        }
        if self.is_group_full() {
            return Outcome::Refused(Reason::TooManyGroups);
        }
        let moving: Vec<_> = group.members.iter().filter(|(m, _)| asked.contains(m)).cloned().collect();
        let options = group.options.clone();
        for (member, _) in &moving {
            self.remove(from, *member, Why::Left, true);
        }
        let mut new = Group::new(self.new_group_id(), into.clone(), options);
        new.members = moving;
        self.settle(Draft::fresh(new));
        Outcome::Done
    }

    fn merge(&mut self, from: GroupId, into: GroupId) -> Outcome {
        let (Some(source), Some(target)) = (self.group(from), self.group(into)) else {
            return Outcome::Refused(Reason::NoSuchGroup);
        };
        if from == into {
            return Outcome::Done;
        }
        if !self.decides(from) || !self.decides(into) {
            return self.undecidable();
        }
        if source.members.len() + target.members.len() > MEMBERS_MAX {
            return Outcome::Refused(Reason::Full);
        }
        for (member, role) in source.members.clone() {
            self.remove(from, member, Why::Left, true);
            self.add(into, member, role);
        }
        Outcome::Done
    }

    fn refresh(&mut self, request: RequestId, id: GroupId) -> Outcome {
        if self.group(id).is_none() {
            return Outcome::Refused(Reason::NoSuchGroup);
        }
        if !self.decides(id) {
            return self.undecidable();
        }
        let primary = self.primary;
        let draft = self.draft(id);
        // A branch grants what it has granted before in each of its steps; a Refresh counts once.
        if primary || draft.now.refreshed.insert(request) {
            draft.named = true;
        }
        Outcome::Done
    }

    fn reorder(&mut self, member: MemberId) -> Outcome {
        let Some(id) = self.place(member) else { return Outcome::Refused(Reason::NotMember) };
        if !self.decides(id) {
            return self.undecidable();
        }
        let members = &mut self.draft(id).now.members;
        let rank = members.iter().position(|(m, _)| *m == member).expect("a placed member is in its group");
        members[..=rank].rotate_right(1);
        Outcome::Done
    }
}

/// Every role that a join brings: the member's and those of the rules.
fn roles_in<'a>(role: &'a Option<String>, options: &'a GroupOptions) -> impl Iterator<Item = &'a String> {
    let lives = match &options.lives {
        Lives::ContainingRole(role) => Some(role),
        Lives::Primary | Lives::All | Lives::AtLeast(_) | Lives::ContainingMember(_) => None,
    };
    let merges = match &options.merges {
        Merges::ContainingRole(role) => Some(role),
        Merges::Never | Merges::SameName => None,
    };
    role.iter().chain(lives).chain(merges)
}
