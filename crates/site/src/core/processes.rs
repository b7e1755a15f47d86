//! The processes of a site: who is in which group, who watches, who does not take what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use membership::group::GroupView;
use stack::{JoinError, LocalMembers, ReplyTo};
use tokio::sync::mpsc;
use wire::{GroupId, GroupName, MemberId, ProcessId, Time, ViewId};

use crate::handle::{Command, EventSink, Events, Probe, ProcessEvent};

#[derive(Default)]
pub(super) struct Processes {
    sinks: BTreeMap<ProcessId, EventSink>,
    groups: BTreeMap<GroupId, Local>,
    watchers: BTreeMap<GroupName, BTreeSet<ProcessId>>,
    /// Processes that do not take their events.
    paused: BTreeMap<ProcessId, Paused>,
}

/// A process that does not take its events.
struct Paused {
    since: Time,
    /// The groups that are held for it.
    held: BTreeSet<GroupId>,
}

/// A group's members at this site.
struct Local {
    name: GroupName,
    members: Vec<MemberId>,
}

impl Processes {
    pub(super) fn open(&mut self, process: ProcessId, handle: &mpsc::WeakSender<Command>) -> Events {
        let (sink, events) = Events::pair(process, handle);
        self.sinks.insert(process, sink);
        events
    }

    pub(super) fn is_open(&self, process: ProcessId) -> bool {
        self.sinks.contains_key(&process)
    }

    /// Forgets a process; the groups that need no longer be held for it.
    pub(super) fn close(&mut self, process: ProcessId) -> Vec<GroupName> {
        let released = self.resume(process);
        self.sinks.remove(&process);
        for watchers in self.watchers.values_mut() {
            watchers.remove(&process);
        }
        self.watchers.retain(|_, watchers| !watchers.is_empty());
        for local in self.groups.values_mut() {
            local.members.retain(|member| member.process != process);
        }
        released
    }

    /// A process takes its events again; the groups that need no longer be held for it.
    pub(super) fn resume(&mut self, process: ProcessId) -> Vec<GroupName> {
        let held = self.paused.remove(&process).map(|paused| paused.held).unwrap_or_default();
        let free = |group: &GroupId| !self.paused.values().any(|paused| paused.held.contains(group));
        held.into_iter().filter(free).filter_map(|group| self.name(group)).collect()
    }

    /// Whether a member here does not take what this group tells it.
    pub(super) fn hold_back(&self, group: &GroupName) -> bool {
        let paused = |local: &Local| local.members.iter().any(|m| self.paused.contains_key(&m.process));
        !self.paused.is_empty() && self.groups.values().any(|local| local.name == *group && paused(local))
    }

    /// The members here that do not take what this group tells them, and since when.
    pub(super) fn behind(&self, group: &GroupName) -> impl Iterator<Item = (MemberId, Time)> {
        let members = self.groups.values().filter(move |local| local.name == *group).flat_map(|l| &l.members);
        members.filter_map(|member| Some((*member, self.paused.get(&member.process)?.since)))
    }

    pub(super) fn name(&self, group: GroupId) -> Option<GroupName> {
        self.groups.get(&group).map(|local| local.name.clone())
    }

    /// The group of that name, if the process is a member of it.
    pub(super) fn membership(&self, process: ProcessId, name: &GroupName) -> Option<GroupId> {
        let member =
            |local: &Local| local.name == *name && local.members.iter().any(|m| m.process == process);
        self.groups.iter().find(|(_, local)| member(local)).map(|(id, _)| *id)
    }

    /// The groups that a process is a member of.
    pub(super) fn memberships(&self, process: ProcessId) -> Vec<GroupId> {
        let member = |local: &Local| local.members.iter().any(|m| m.process == process);
        self.groups.iter().filter(|(_, local)| member(local)).map(|(id, _)| *id).collect()
    }

    pub(super) fn watch(
        &mut self,
        process: ProcessId,
        group: GroupName,
        on: bool,
        view: Option<Arc<GroupView>>,
    ) {
        if !on {
            if let Some(watchers) = self.watchers.get_mut(&group) {
                watchers.remove(&process);
            }
            return;
        }
        if let Some(view) = view {
            self.tell(process, ProcessEvent::View { view, me: None, transitional: Arc::new([]) });
        }
        self.watchers.entry(group).or_default().insert(process);
    }

    pub(super) fn tell_watchers(&mut self, view: &Arc<GroupView>) {
        let Some(watchers) = self.watchers.get(&view.name) else { return };
        for &process in watchers {
            let view = Arc::clone(view);
            self.tell(process, ProcessEvent::View { view, me: None, transitional: Arc::new([]) });
        }
    }

    /// Asks whether a process takes its events.
    pub(super) fn probe(&self, process: ProcessId, probe: Probe) {
        if let Some(sink) = self.sinks.get(&process) {
            sink.probe(probe);
        }
    }

    /// Gives the members here that were told.
    pub(super) fn tell_view(
        &mut self,
        view: &Arc<GroupView>,
        members: &[MemberId],
        transitional: &[MemberId],
    ) -> Vec<MemberId> {
        let transitional: Arc<[MemberId]> = transitional.into();
        let here = |member: &MemberId| self.sinks.contains_key(&member.process);
        let members: Vec<MemberId> = members.iter().copied().filter(here).collect();
        for &member in &members {
            let (view, transitional) = (Arc::clone(view), Arc::clone(&transitional));
            self.tell(member.process, ProcessEvent::View { view, me: Some(member), transitional });
        }
        // A member is in one group: in the one that its group has become.
        for local in self.groups.values_mut() {
            local.members.retain(|local| !members.contains(local));
        }
        self.groups.insert(view.group, Local { name: view.name.clone(), members: members.clone() });
        self.groups.retain(|_, local| !local.members.is_empty());
        members
    }

    pub(super) fn tell_left(&mut self, group: &GroupName, member: MemberId, why: &str) {
        let event = ProcessEvent::Left { group: group.clone(), why: why.to_owned() };
        self.tell(member.process, event);
    }

    /// A member has left. Says whether the group need no longer be held: it was held for this process alone.
    pub(super) fn left(&mut self, group: &GroupName, member: MemberId) -> bool {
        let left = self.groups.iter_mut().filter(|(_, local)| local.name == *group);
        let mut held = false;
        for (id, local) in left {
            local.members.retain(|local| *local != member);
            held |= self.paused.get_mut(&member.process).is_some_and(|paused| paused.held.remove(id));
            held &= !self.paused.values().any(|paused| paused.held.contains(id));
        }
        self.groups.retain(|_, local| !local.members.is_empty());
        held
    }

    pub(super) fn tell_join_failed(&mut self, group: &GroupName, member: MemberId, error: &JoinError) {
        let why = format!("the join came to nothing: {error}");
        self.tell(member.process, ProcessEvent::Left { group: group.clone(), why });
    }

    pub(super) fn tell_signal(&mut self, group: GroupId, members: &[MemberId]) {
        self.tell_all(group, |name| ProcessEvent::Signal { group: name.clone(), members: members.to_vec() });
    }

    /// Gives the group's name.
    pub(super) fn tell_blocked(&mut self, group: GroupId, blocked: bool) -> Option<GroupName> {
        self.tell_all(group, |name| ProcessEvent::Blocked { group: name.clone(), blocked });
        self.name(group)
    }

    /// Delivers a message. If somebody does not keep up, gives the group that must be held.
    #[allow(clippy::too_many_arguments, reason = "they are one event's fields")]
    pub(super) fn deliver(
        &mut self,
        now: Time,
        group: GroupId,
        view: ViewId,
        from: MemberId,
        to: &LocalMembers,
        order: multicast::Order,
        reply_to: Option<ReplyTo>,
        payload: &Bytes,
    ) -> Option<GroupName> {
        let local = self.groups.get(&group)?;
        let members = match to {
            LocalMembers::All => &local.members,
            LocalMembers::Only(members) => members,
        };
        let mut held = None;
        for member in members {
            let Some(sink) = self.sinks.get(&member.process) else { continue };
            let behind = sink.send(ProcessEvent::Message {
                group: local.name.clone(),
                view,
                from,
                order,
                reply_to,
                payload: payload.clone(),
            });
            if behind {
                let paused = self.paused.entry(member.process);
                let paused = paused.or_insert_with(|| Paused { since: now, held: BTreeSet::new() });
                if paused.held.insert(group) {
                    held = Some(local.name.clone());
                }
            }
        }
        held
    }

    fn tell_all(&self, group: GroupId, event: impl Fn(&GroupName) -> ProcessEvent) {
        let Some(local) = self.groups.get(&group) else { return };
        for member in &local.members {
            self.tell(member.process, event(&local.name));
        }
    }

    fn tell(&self, process: ProcessId, event: ProcessEvent) {
        if let Some(sink) = self.sinks.get(&process) {
            // What is not a message costs nothing: nobody is paused for it.
            let _ = sink.send(event);
        }
    }
}

/// Processes with members that take nothing, for tests.
#[cfg(test)]
pub(super) mod testing {
    use membership::group::{GroupMember, GroupOptions};
    use wire::{Incarnation, SiteId, SiteIncarnation};

    use super::*;

    pub fn process(local: u64) -> ProcessId {
        ProcessId { birth: SiteIncarnation { site: SiteId(1), incarnation: Incarnation(1) }, local }
    }

    fn group(index: u32) -> GroupId {
        GroupId { index, ..GroupId::default() }
    }

    /// A group with a member of each of these processes.
    pub fn enter(processes: &mut Processes, index: u32, of: &[u64]) {
        let member = |local: &u64| MemberId { process: process(*local), join: u64::from(index) };
        let listed = |local: &u64| GroupMember { id: member(local), role: None, previous: None };
        let view = GroupView {
            group: group(index),
            name: GroupName::parse(&format!("g{index}")).expect("a name"),
            id: ViewId::default(),
            primary: true,
            lives: true,
            members: of.iter().map(listed).collect(),
            joined: Vec::new(),
            left: Vec::new(),
            options: GroupOptions::default(),
        };
        let members: Vec<MemberId> = of.iter().map(member).collect();
        processes.tell_view(&Arc::new(view), &members, &[]);
    }

    pub fn deliver(processes: &mut Processes, index: u32) -> Option<String> {
        deliver_to(processes, Time::ZERO, index, &LocalMembers::All)
    }

    fn deliver_to(processes: &mut Processes, now: Time, index: u32, to: &LocalMembers) -> Option<String> {
        let payload = Bytes::from(vec![0; 5 << 20]);
        let order = multicast::Order::Abcast;
        let from = MemberId::default();
        let held = processes.deliver(now, group(index), ViewId::default(), from, to, order, None, &payload);
        held.map(|name| name.to_string())
    }

    /// The name of the group of [`with_group`].
    pub fn name() -> GroupName {
        GroupName::parse("g1").expect("a name")
    }

    /// A group with a member of each of these processes, and their events, which nobody takes.
    pub fn with_group(of: &[u64]) -> (Processes, Vec<Events>, Vec<MemberId>) {
        let (sender, _commands) = mpsc::channel(1);
        let mut processes = Processes::default();
        let events = of.iter().map(|local| processes.open(process(*local), &sender.downgrade())).collect();
        enter(&mut processes, 1, of);
        let members = of.iter().map(|local| MemberId { process: process(*local), join: 1 }).collect();
        (processes, events, members)
    }

    /// Delivers more to these members of that group than may wait.
    pub fn deliver_much(processes: &mut Processes, now: Time, to: &[MemberId]) {
        deliver_to(processes, now, 1, &LocalMembers::Only(to.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn every_group_of_a_process_that_takes_nothing_is_held_until_it_takes_or_leaves() {
        let (sender, _commands) = mpsc::channel(1);
        let mut processes = Processes::default();
        let _events: Vec<Events> =
            [1, 2].map(|local| processes.open(process(local), &sender.downgrade())).into();
        enter(&mut processes, 1, &[1, 2]);
        enter(&mut processes, 2, &[1]);
        assert_eq!(deliver(&mut processes, 1).as_deref(), Some("g1"));
        assert_eq!(deliver(&mut processes, 2).as_deref(), Some("g2"), "not the first alone");
        assert_eq!(deliver(&mut processes, 2), None, "it is held already");
        assert!(processes.resume(process(2)).is_empty(), "the other process takes nothing yet");
        let name = GroupName::parse("g1").expect("a name");
        let member = MemberId { process: process(1), join: 1 };
        processes.tell_left(&name, member, "left");
        assert!(processes.left(&name, member), "nobody else holds it");
        let freed: Vec<String> = processes.resume(process(1)).iter().map(|name| name.to_string()).collect();
        assert_eq!(freed, ["g2"]);
    }
}
