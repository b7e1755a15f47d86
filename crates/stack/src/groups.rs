//! The groups with members at this site, and the calls around their casts: for each group the data plane
//! (`multicast::Endpoint`), the table that knows outsiders' casts, and the contact that carries them.

mod casting;
mod causality;
mod deliver;
mod outside;
mod stores;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use membership::group::{GroupRequest, GroupView};
use multicast::call::outsider::{Order as Carried, Table};
use multicast::call::{Answerer, Caller, ClientId, Contact, Dedup, Envelope, PointMessage, Switch, causal};
use multicast::{Endpoint, Extent, MessageNumber, Parting};
use wire::{Bug, GroupId, GroupName, MemberId, ProcessId, SiteId, SiteIncarnation, Time, ViewId};

use crate::api::{CallId, Event};
pub use stores::DurableGroup;

/// Casts that the site itself makes for a group (it carries them for outsiders) and that wait for the end of a view
/// change or for room; beyond it clients are told that the contact is busy.
const OWN_CASTS_MAX: usize = 8_192;
/// Frames of groups whose first view has not come yet are kept by their endpoints; so many such groups at most.
const EARLY_GROUPS_MAX: usize = 1_024;
/// Of so many members that have left it is remembered that they have.
const DEPARTED_MAX: usize = 4_096;
/// Of so many groups that are over for this site it is remembered that they are.
const ENDED_MAX: usize = 4_096;

/// Something for the node to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a group's frame.
    Frame { to: Arc<[SiteId]>, frame: Bytes },
    /// Send a message beside the groups' order.
    Point { to: SiteId, message: PointMessage },
    /// Send what a store says to those of other sites.
    Store { to: Vec<SiteId>, message: Bytes },
    /// Ask the core-set.
    Submit(GroupRequest),
    /// A site keeps a view change waiting.
    Suspect(SiteId),
}

pub(crate) struct Groups {
    me: SiteIncarnation,
    config: multicast::Config,
    /// Boxed: one is taken out while it settles.
    groups: BTreeMap<GroupId, Box<Group>>,
    names: BTreeMap<GroupName, GroupId>,
    caller: Caller,
    answerer: Answerer,
    switch: Switch,
    /// Casts that wait for other groups to be stable before this one may go.
    switching: BTreeMap<causal::Ticket, GroupId>,
    /// Groups that this site has left and whose messages may not be delivered yet by those who stay: no causal cast
    /// leaves before they are.
    partings: BTreeMap<GroupId, Parting>,
    /// The sites of the core-set's view, in their lives.
    core: BTreeSet<SiteIncarnation>,
    /// Groups in which a causal cast waits for that.
    parted: BTreeSet<GroupId>,
    /// The view with which a group ended for this site: what comes for it and earlier ones is late.
    ended: BTreeMap<GroupId, ViewId>,
    clients: BTreeMap<(ProcessId, GroupId), outside::Outsider>,
    stores: stores::Stores,
    next_stream: u32,
    next_call: u64,
    next_flush: u64,
    /// Calls of members, by the caller's number.
    calls: BTreeMap<u64, (ProcessId, CallId)>,
    /// Members whose joins were given up: if they are granted after all, a leave follows, and nobody is told.
    refused: BTreeSet<MemberId>,
    /// Members that were told that they have left, the last ones at the end: a group of which theirs is part since may
    /// still list them.
    departed: VecDeque<MemberId>,
    /// Groups to which something was done since they were last settled.
    dirty: BTreeSet<GroupId>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

struct Group {
    me: SiteIncarnation,
    name: GroupName,
    endpoint: Endpoint,
    dedup: Dedup,
    contact: Contact,
    /// The newest view that the data plane was given.
    latest: Option<Arc<GroupView>>,
    /// The view that the members have been shown.
    shown: Option<Arc<GroupView>>,
    /// The members at this site, as of the shown view, without those that have left since.
    local: Vec<MemberId>,
    /// Members that were told that they have left: a view that still lists them is none of theirs.
    left: BTreeSet<MemberId>,
    own_casts: VecDeque<OwnCast>,
    /// Carried casts by their number, until they are delivered.
    carried: BTreeMap<MessageNumber, (ClientId, u64)>,
    /// The highest number that is stable.
    stable: MessageNumber,
    /// The highest number that was cast.
    newest: MessageNumber,
    flushes: Vec<(ProcessId, u64, MessageNumber)>,
    /// Whether causal casts were sent or delivered here that are not known to be at every member.
    causes: bool,
    /// What the switch waits for, oldest first.
    marks: VecDeque<(Extent, causal::Mark)>,
    /// Whether the transitional signal has come since the last view.
    signalled: bool,
    /// Whether the members were told that they may not cast.
    blocked: bool,
    wants_room: bool,
    /// The view with which it ended for this site.
    over: Option<Arc<GroupView>>,
}

/// What the site casts for others than its members.
struct OwnCast {
    order: Carried,
    envelope: Envelope,
    payload: Bytes,
    /// For a client's cast: the view that the client knew when it first asked.
    as_of: Option<ViewId>,
}

impl Groups {
    pub(crate) fn new(me: SiteIncarnation, config: multicast::Config) -> Groups {
        Groups {
            me,
            config,
            groups: BTreeMap::new(),
            names: BTreeMap::new(),
            caller: Caller::new(me),
            answerer: Answerer::new(),
            switch: Switch::new(),
            switching: BTreeMap::new(),
            partings: BTreeMap::new(),
            core: BTreeSet::new(),
            parted: BTreeSet::new(),
            ended: BTreeMap::new(),
            clients: BTreeMap::new(),
            stores: stores::Stores::default(),
            next_stream: 0,
            next_call: 1,
            next_flush: 1,
            calls: BTreeMap::new(),
            refused: BTreeSet::new(),
            departed: VecDeque::new(),
            dirty: BTreeSet::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The member through which a process is in a group.
    pub(crate) fn member(&self, process: ProcessId, group: &GroupName) -> Option<(GroupId, MemberId)> {
        let in_it = |id: GroupId, there: &Group| {
            let member = there.local.iter().find(|member| member.process == process)?;
            Some((id, *member))
        };
        let newest = self.names.get(group).and_then(|id| in_it(*id, self.groups.get(id)?));
        // Two sides of a partition may have a group of one name each, and processes here be in either.
        let named = || self.groups.iter().filter(|(_, there)| there.name == *group);
        newest.or_else(|| named().find_map(|(id, there)| in_it(*id, there)))
    }

    /// The members through which a process is in groups.
    pub(crate) fn members(&self, process: ProcessId) -> Vec<MemberId> {
        let local = self.groups.values().flat_map(|group| &group.local);
        local.filter(|member| member.process == process).copied().collect()
    }

    /// A view from the member interface.
    pub(crate) fn handle_view(&mut self, now: Time, view: Arc<GroupView>) {
        let id = view.group;
        // What one view has ended, and be it what others sent early, the next may begin again: the end comes first.
        let ended = self.groups.get(&id).is_some_and(|group| group.endpoint.has_ended());
        if ended && !self.config.bugs.has(Bug::EndedTakesNoView) {
            self.events.push_back(Event::Trace("multicast: begun anew in the turn of its end"));
            self.dirty.remove(&id);
            self.settle_group(now, id);
        }
        let here = view.members.iter().any(|member| member.id.process.birth == self.me);
        if here || self.groups.contains_key(&id) {
            self.group(id, Some(&view.name));
            self.with(id, |group| {
                // Another group's view cannot come here, and one that is too large was refused by the tables.
                let _ = group.endpoint.handle_view(now, Arc::clone(&view));
                group.latest = Some(Arc::clone(&view));
                if here {
                    // The last member here joins again elsewhere; another is in.
                    group.over = None;
                }
            });
        }
        self.tell_outsiders(now, &view);
    }

    /// A view of which the interface tells nothing, since none of its members here lives on: the group is over for
    /// this site.
    pub(crate) fn handle_end(&mut self, now: Time, view: &Arc<GroupView>) {
        let here = view.members.iter().any(|member| member.id.process.birth == self.me);
        if !here {
            self.with(view.group, |group| {
                // An older view, and one of another group, cannot come here.
                let _ = group.endpoint.handle_view(now, Arc::clone(view));
                group.latest = Some(Arc::clone(view));
            });
        }
    }

    /// The groups here that have gone on from the view which, as `newest` says, is their newest on the line.
    pub(crate) fn strayed(&self, newest: impl Fn(GroupId) -> Option<ViewId>) -> Vec<GroupId> {
        let is_ahead =
            |id: GroupId, group: &Group| newest(id).is_some_and(|v| group.endpoint.newest_view() > Some(v));
        self.groups.iter().filter(|(id, group)| is_ahead(**id, group)).map(|(id, _)| *id).collect()
    }

    /// A join came to nothing.
    pub(crate) fn handle_join_failed(&mut self, member: MemberId) {
        self.refused.insert(member);
    }

    /// A change has begun (M12).
    pub(crate) fn handle_start_change(&mut self, now: Time, id: ViewId, sites: &[SiteId]) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            self.with(group, |group| group.endpoint.handle_start_change(now, id, sites));
        }
    }

    /// A change of one group has begun (M12).
    pub(crate) fn handle_group_start_change(
        &mut self,
        now: Time,
        group: GroupId,
        id: ViewId,
        sites: &[SiteId],
    ) {
        self.with(group, |group| group.endpoint.handle_start_change(now, id, sites));
    }

    /// A frame from the link with a site.
    pub(crate) fn handle_frame(&mut self, now: Time, from: SiteId, frame: Bytes) -> Result<(), String> {
        let (id, view) = Endpoint::address_of(&frame).ok_or("not a group's frame")?;
        if let Some(parting) = self.partings.get_mut(&id)
            && let Some(installed) = Parting::installed_of(&frame)
        {
            parting.handle_installed(from, installed);
            self.end_partings(now);
        }
        if !self.groups.contains_key(&id) {
            if self.ended.get(&id).is_some_and(|last| view <= *last) {
                return Ok(());
            }
            let early = self.groups.values().filter(|group| group.shown.is_none()).count();
            if early >= EARLY_GROUPS_MAX {
                return Err("too many groups without a view".to_owned());
            }
            self.group(id, None);
        }
        let mut taken = Ok(());
        self.with(id, |group| {
            taken = group.endpoint.handle_frame(now, from, frame).map_err(|error| error.to_string());
        });
        taken
    }

    /// A message beside the groups' order.
    pub(crate) fn handle_point(&mut self, now: Time, from: SiteId, body: Bytes) -> Result<(), String> {
        match PointMessage::decode(body).map_err(|error| error.to_string())? {
            PointMessage::Answer(answer) => {
                self.caller.handle_answer(&answer);
                self.collect(now);
            }
            // Copies serve the coordinator-cohort tool, which comes with the toolkit.
            PointMessage::Copy(_) => {}
            PointMessage::Carry(carry) => {
                let id = carry.group;
                match self.groups.get_mut(&id) {
                    Some(group) => {
                        let newest = group.latest.as_ref().map(|view| view.id);
                        group.contact.handle_carry(now, from, carry, newest, &mut self.caller);
                        self.dirty.insert(id);
                    }
                    None => self.refuse_carry(from, &carry),
                }
            }
            PointMessage::ClientGone { group: id, client } => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.contact.handle_client_gone(client, &mut self.caller);
                    self.dirty.insert(id);
                }
            }
            PointMessage::Verdict { group, client, sequence, verdict } => {
                self.handle_verdict(now, from, group, client, sequence, verdict);
            }
            PointMessage::TableRequest { group: id, view } => {
                self.with(id, |group| group.dedup.handle_request(from, view));
            }
            PointMessage::Table { group: id, view, covers, informed, table } => {
                let mut taken = Ok(());
                self.with(id, |group| taken = group.dedup.handle_table(view, &covers, informed, &table));
                taken.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The life of a site is over.
    pub(crate) fn handle_life_ended(&mut self, now: Time, life: SiteIncarnation) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            if let Some(group) = self.groups.get_mut(&id) {
                group.dedup.handle_life_ended(life);
            }
            self.dirty.insert(id);
        }
        self.partings.values_mut().for_each(|parting| parting.handle_gone(life.site));
        self.handle_contact_died(now, life.site);
    }

    /// The core-set's view has these sites.
    pub(crate) fn handle_core(&mut self, now: Time, sites: BTreeSet<SiteIncarnation>) {
        self.core = sites;
        self.end_partings(now);
    }

    /// Whether the link to a site takes data.
    pub(crate) fn handle_link(&mut self, site: SiteId, writable: bool) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            self.with(id, |group| match writable {
                true => group.endpoint.handle_link_writable(site),
                false => group.endpoint.handle_link_full(site),
            });
        }
    }

    /// The interface says that a member has left: for it the group is over at once, and so is one that it becomes part of.
    pub(crate) fn handle_left(&mut self, member: MemberId, why: &'static str) {
        // What it is shown in may be another group than the one that the interface knows already.
        let mut shown = self.groups.iter_mut().filter(|(_, group)| group.local.contains(&member));
        let Some((&id, group)) = shown.next() else { return };
        group.left.insert(member);
        group.local.retain(|local| *local != member);
        let name = group.name.clone();
        if self.departed.len() >= DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.departed.push_back(member);
        self.events.push_back(Event::Left { group: id, name, member, why });
    }

    /// A member joins again under another number, since the line has no place for it as it is. If no view has come that
    /// ends its group here, none will: the group is over at once.
    pub(crate) fn handle_rejoining(&mut self, was: MemberId) {
        // It may be in a view that is not installed yet: it must not be shown as in any more.
        let has_it = |group: &Group| match &group.latest {
            Some(view) => view.members.iter().any(|member| member.id == was),
            None => group.local.contains(&was),
        };
        let ids: Vec<GroupId> =
            self.groups.iter().filter(|(_, group)| has_it(group)).map(|(id, _)| *id).collect();
        for id in ids {
            self.handle_left(was, "its side of a partition was left behind");
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.left.insert(was);
            if group.has_more_here() {
                continue;
            }
            self.caller.handle_lost(id);
            group.contact.handle_lost(&mut self.caller);
            group.over = group.latest.clone();
            self.dirty.insert(id);
        }
    }

    /// The members here do not take what is delivered (`true`), or do again.
    pub(crate) fn hold(&mut self, now: Time, group: &GroupName, hold: bool) {
        let named = self.groups.iter().filter(|(_, there)| there.name == *group).map(|(id, _)| *id);
        for id in named.collect::<Vec<_>>() {
            self.with(id, |group| group.endpoint.hold_acks(now, hold));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            self.with(id, |group| {
                group.endpoint.handle_timeout(now);
            });
        }
        self.end_partings(now);
        self.caller.handle_timeout(now);
        self.outsiders_time_out(now);
        self.stores_time_out(now);
        self.collect(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let groups = self.groups.values().filter_map(|group| group.endpoint.poll_timeout());
        let clients = self.clients.values().filter_map(|outsider| outsider.client.poll_timeout());
        let partings = self.partings.values().map(Parting::until);
        groups
            .chain(clients)
            .chain(partings)
            .chain(self.caller.poll_timeout())
            .chain(self.stores_timeout())
            .min()
    }

    /// Forgets a process: its calls, and what it cast from outside.
    pub(crate) fn forget(&mut self, now: Time, process: ProcessId) {
        let calls: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, (owner, _))| *owner == process)
            .map(|(number, _)| *number)
            .collect();
        for number in calls {
            self.calls.remove(&number);
            self.caller.cancel(number);
        }
        self.refused.retain(|member| member.process != process);
        for group in self.groups.values_mut() {
            group.flushes.retain(|(owner, _, _)| *owner != process);
            let gone = group.local.extract_if(.., |member| member.process == process);
            group.left.extend(gone);
        }
        self.outsider_gone(now, process);
    }

    fn group(&mut self, id: GroupId, name: Option<&GroupName>) {
        let (me, config) = (self.me, &self.config);
        if let Some(name) = name {
            self.names.insert(name.clone(), id);
        }
        let group = self.groups.entry(id).or_insert_with(|| {
            Box::new(Group {
                me,
                name: unnamed(),
                endpoint: Endpoint::new(config.clone(), id, me),
                dedup: Dedup::new(me, id, Table::CLIENTS_MAX, config.bugs),
                contact: Contact::new(me, id),
                latest: None,
                shown: None,
                local: Vec::new(),
                left: BTreeSet::new(),
                own_casts: VecDeque::new(),
                carried: BTreeMap::new(),
                stable: MessageNumber(0),
                newest: MessageNumber(0),
                flushes: Vec::new(),
                causes: false,
                marks: VecDeque::new(),
                signalled: false,
                blocked: false,
                wants_room: false,
                over: None,
            })
        });
        if let Some(name) = name {
            group.name = name.clone();
        }
    }

    /// A group is over for this site.
    fn end_group(&mut self, now: Time, id: GroupId, group: &Group) {
        self.names.retain(|_, named| *named != id);
        self.answerer.handle_left(id);
        self.switch.handle_left(id);
        let Some(last) = &group.over else { return };
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_first();
        }
        self.ended.insert(id, last.id);
        if (group.causes || !group.marks.is_empty())
            && let Some(left) = &group.shown
        {
            self.partings.insert(id, Parting::new(now, self.me, &group.endpoint, left, last));
            self.end_partings(now);
        }
    }

    /// Others are ahead: they have sent for a later view of a group that is over here, in which this site is again.
    fn come_back(&mut self, id: GroupId, endpoint: Endpoint) {
        let early = self.groups.values().filter(|group| group.shown.is_none()).count();
        if early < EARLY_GROUPS_MAX {
            self.group(id, None);
            self.with(id, |group| group.endpoint = endpoint);
        }
    }

    /// Does something with a group; what follows from it waits for [`Groups::settle`], so that batches grow.
    fn with(&mut self, id: GroupId, act: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.get_mut(&id) {
            act(group);
            self.dirty.insert(id);
        }
    }
}

/// A group whose first view has not come has no name yet.
fn unnamed() -> GroupName {
    GroupName::parse("?").expect("a question mark is a name")
}

impl Group {
    /// Whether the members have been shown the view in which a cast would go now: until its reports are taken the
    /// data plane may be ahead of them.
    fn is_shown(&self) -> bool {
        self.shown.as_ref().map(|view| view.id) == self.endpoint.view().map(|view| view.id)
    }

    /// Whether a member of this site is in, or will be with a view that is on its way.
    fn has_more_here(&self) -> bool {
        let coming = self.latest.iter().flat_map(|view| &view.members).map(|member| member.id);
        !self.local.is_empty()
            || coming.filter(|m| m.process.birth == self.me).any(|m| !self.left.contains(&m))
    }
}
