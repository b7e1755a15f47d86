//! What the processes of a site ask of its node.

use std::sync::Arc;

use bytes::Bytes;
use membership::group::{GroupRequest, GroupView};
use membership::interface::{Join, Looked, WishError};
use wire::{GroupName, MemberId, ProcessId, SiteId, Time};

use super::Node;
use crate::api::{
    CastError, CastOptions, Casted, Change, ChangeError, ChangeId, Event, JoinError, JoinOptions, ReplyKind,
    ReplyTo,
};

impl Node {
    /// A site that the configuration does not know, before anything else is heard of it.
    pub fn learn_site(&mut self, site: SiteId, name: &str, mserver: bool) {
        let known = self.config.known.iter_mut().find(|(known, _)| *known == site);
        match known {
            Some((_, known)) => name.clone_into(known),
            None => self.config.known.push((site, name.to_owned())),
        }
        if mserver && !self.config.mservers.contains(&site) {
            self.config.mservers.push(site);
        }
    }

    /// A process is born: its id.
    pub fn open_process(&mut self) -> ProcessId {
        self.interface.handle_born()
    }

    /// A process ends. Its groups see its members as `left` if `in_order`, else as `failed`.
    pub fn close_process(&mut self, now: Time, process: ProcessId, in_order: bool) {
        if in_order {
            for member in self.groups.members(process) {
                // A member that the interface no longer knows has left already.
                let _ = self.interface.leave(now, member);
            }
        }
        self.interface.handle_died(now, process);
        self.groups.forget(now, process);
    }

    /// Asks to join a group. The process is a member when a view lists it ([`Event::View`]);
    /// [`Event::JoinFailed`] says if that will not be.
    pub fn join(
        &mut self,
        now: Time,
        process: ProcessId,
        group: GroupName,
        options: JoinOptions,
    ) -> Result<MemberId, JoinError> {
        let join = Join { role: options.role, create: options.create, options: options.rules };
        self.interface.join(now, process, group, join).map_err(|error| match error {
            WishError::Busy => JoinError::Busy,
            WishError::Unknown => JoinError::Unknown,
        })
    }

    /// Whether the process of a member that has left is in the group by another membership, or will be without asking: then for the
    /// process it is not over.
    pub fn is_succeeded(&self, was: MemberId, group: &GroupName) -> bool {
        self.interface.is_succeeded(was, group)
    }

    /// Whether a process was in the group and joins it again by itself: it is no member until its next view.
    pub fn joins_again(&self, process: ProcessId, group: &GroupName) -> bool {
        self.groups.member(process, group).is_none() && self.interface.joins_again(process, group).is_some()
    }

    /// Leaves a group, or does not join it again. For the process it is over at once.
    pub fn leave(&mut self, now: Time, process: ProcessId, group: &GroupName) -> Result<(), CastError> {
        let member = self.groups.member(process, group).map(|(_, member)| member);
        let member = member.or_else(|| self.interface.joins_again(process, group));
        let member = member.ok_or(CastError::NotMember)?;
        self.interface.leave(now, member).map_err(|_| CastError::NotMember)
    }

    fn known(&mut self, group: &GroupName) -> Result<Arc<GroupView>, CastError> {
        match self.look(group) {
            Looked::View(view) => Ok(view),
            Looked::Missing => Err(CastError::NoSuchGroup),
            Looked::Unknown => Err(CastError::Busy),
        }
    }

    /// Casts to a group, as a member or from outside. At an attached site that does not know the group yet,
    /// `Blocked` lasts until [`Event::Looked`].
    pub fn cast(
        &mut self,
        now: Time,
        process: ProcessId,
        group: &GroupName,
        options: &CastOptions,
        payload: &Bytes,
    ) -> Result<Casted, CastError> {
        if let Some(member) = self.groups.member(process, group) {
            return self.groups.cast(now, member, options, payload);
        }
        let view = match self.look(group) {
            Looked::View(view) => view,
            Looked::Missing => return Err(CastError::NoSuchGroup),
            Looked::Unknown => return Err(CastError::Blocked),
        };
        self.groups.cast_from_outside(now, process, &view, options, payload)
    }

    /// Answers a message that wants a reply.
    pub fn reply(
        &mut self,
        now: Time,
        to: ReplyTo,
        kind: ReplyKind,
        payload: Bytes,
    ) -> Result<(), CastError> {
        self.groups.reply(now, to, kind, payload)
    }

    /// [`Event::Flushed`] with the number returned follows when all that was cast here to the group is at every
    /// member that comes along. What was cast from outside is there when its call is done.
    pub fn flush(&mut self, process: ProcessId, group: &GroupName) -> Result<u64, CastError> {
        let (group, _) = self.groups.member(process, group).ok_or(CastError::NotMember)?;
        Ok(self.groups.flush(process, group))
    }

    /// The members of a group at this site do not take what is delivered (`true`), or do again: meanwhile nothing
    /// more is acknowledged, so that senders wait.
    pub fn hold(&mut self, now: Time, group: &GroupName, hold: bool) {
        self.groups.hold(now, group, hold);
    }

    /// Asks for a change. [`Event::Changed`] says what became of it.
    pub fn change(&mut self, now: Time, change: Change) -> Result<ChangeId, ChangeError> {
        let request = match change {
            Change::Reorder { group, member } => {
                GroupRequest::Reorder { group: self.known(&group).map_err(unknown)?.group, member }
            }
            Change::Split { group, members, into } => {
                let group = self.known(&group).map_err(unknown)?.group;
                GroupRequest::Split { group, members, into }
            }
            Change::Merge { from, into } => GroupRequest::Merge {
                from: self.known(&from).map_err(unknown)?.group,
                into: self.known(&into).map_err(unknown)?.group,
            },
        };
        let id = self.interface.request(now, request).map_err(|_| ChangeError::Busy)?;
        self.changes.insert(id.n);
        Ok(ChangeId(id.n))
    }

    /// Takes a member that is hung out of its group: to the others it has failed.
    pub fn expel(&mut self, now: Time, group: &GroupName, member: MemberId) -> Result<(), CastError> {
        let view = self.known(group)?;
        let request = GroupRequest::Expel { group: view.group, member };
        self.interface.request(now, request).map(drop).map_err(|_| CastError::Busy)
    }

    /// Begins to leave the cluster in order: [`Event::MayStop`] says when the site may stop.
    pub fn leave_cluster(&mut self, now: Time) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.detector.announce_shutdown();
        match &mut self.service {
            Some(service) => service.leave(now),
            None => self.events.push_back(Event::MayStop),
        }
    }
}

fn unknown(error: CastError) -> ChangeError {
    match error {
        CastError::NoSuchGroup => ChangeError::NoSuchGroup,
        _ => ChangeError::Busy,
    }
}
