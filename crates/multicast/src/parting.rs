//! What a site that has left a group waits for before it casts causally elsewhere: that those who stay have delivered
//! what it knew of the group.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{SiteId, SiteIncarnation, Time, ViewId};

use crate::endpoint::Endpoint;
use crate::frame::{Head, Kind};

/// A group that this site has left, until all who came from its last view have installed one without it.
#[derive(Clone, Debug)]
pub struct Parting {
    view: ViewId,
    awaited: BTreeSet<SiteId>,
    until: Time,
}

impl Endpoint {
    /// Whether a view without this site has ended it: it takes no other.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// After the end, with this view: the endpoint with which the site comes back, if others have sent for later views
    /// already, which have not come here yet. They send it once.
    pub fn after_end(self, last: ViewId) -> Option<Endpoint> {
        let mut next = Endpoint::new(self.config, self.group, self.me);
        next.early = self.early.after(last);
        next.told_installed = self.told_installed;
        next.told_installed.retain(|_, view| *view > last);
        let none = next == Endpoint::new(next.config.clone(), next.group, next.me);
        (!none).then_some(next)
    }
}

impl Parting {
    /// So long it is waited at most. Whoever does not install a view for so long is taken out of it.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// The endpoint has ended with this view, which does not list the site `me`.
    pub fn new(now: Time, me: SiteIncarnation, endpoint: &Endpoint, view: &GroupView) -> Parting {
        let stayed = view.members.iter().filter(|member| member.previous.is_some());
        let told = |site: &SiteId| endpoint.told_installed.get(site) >= Some(&view.id);
        let awaited = stayed.map(|member| member.id.site()).filter(|site| *site != me.site && !told(site));
        Parting { view: view.id, awaited: awaited.collect(), until: now + Self::PATIENCE }
    }

    /// The view that a frame says to be installed at its sender; none if it says something else.
    pub fn installed_of(frame: &Bytes) -> Option<ViewId> {
        let head = Head::parse(frame).ok()?;
        (head.kind == Kind::Installed).then_some(head.view)
    }

    /// A site has installed a view of the group.
    pub fn handle_installed(&mut self, from: SiteId, view: ViewId) {
        if view >= self.view {
            self.awaited.remove(&from);
        }
    }

    /// The life of a site has ended.
    pub fn handle_gone(&mut self, site: SiteId) {
        self.awaited.remove(&site);
    }

    /// When it is over in any case.
    pub fn until(&self) -> Time {
        self.until
    }

    /// Whether nothing is waited for any more.
    pub fn is_over(&self, now: Time) -> bool {
        self.awaited.is_empty() || now >= self.until
    }
}
