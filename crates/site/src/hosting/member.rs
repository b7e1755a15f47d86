//! The site's own member in its durable groups: one process is a member of all of them.

use membership::group::GroupView;
use wire::{GroupName, MemberId, ProcessId, Time};

use super::{Hosting, JOIN_AGAIN, Joined};

impl Hosting {
    /// Whether a member is this site's own in its durable groups.
    pub(crate) fn is_own(&self, member: MemberId) -> bool {
        self.process == Some(member.process)
    }

    /// Whether a process is the site's own.
    pub(crate) fn is_process(&self, process: ProcessId) -> bool {
        self.process == Some(process)
    }

    /// A view with the site's own member, if it is of a durable group.
    pub(crate) fn in_view(&mut self, view: &GroupView) {
        if let Some(hosted) = self.groups.get_mut(&view.name) {
            hosted.member = Joined::In;
            hosted.missing.others(view, self.process);
            let sites: Vec<_> = view.members.iter().map(|member| member.id.process.site()).collect();
            hosted.comparison.in_view(&sites);
        }
    }

    /// The site's own member is joining again by itself.
    pub(crate) fn rejoining(&mut self, now: Time, name: &GroupName) {
        if let Some(hosted) = self.groups.get_mut(name) {
            hosted.member = Joined::Asked(now);
        }
    }

    /// The site's own member has left, or its join came to nothing: it is tried again.
    pub(crate) fn left(&mut self, now: Time, name: &GroupName) {
        if let Some(hosted) = self.groups.get_mut(name) {
            hosted.member = Joined::Not;
            self.next_look = self.next_look.min(now + JOIN_AGAIN);
        }
    }
}
