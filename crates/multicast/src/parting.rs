//! What a site that has left a group waits for before it casts causally elsewhere: that those who stay have delivered
//! what it knew of the group.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{SiteId, SiteIncarnation, Time, ViewId};

use crate::endpoint::Endpoint;
use crate::frame::{Head, Kind};

/// A group that this site has left, until all who came from its last view have installed one without it, and those of the
/// last view that went elsewhere, as in a partition, have left that view behind or are not met.
#[derive(Clone, Debug)]
pub struct Parting {
    view: ViewId,
    awaited: BTreeSet<SiteId>,
    /// The view that this site was in last.
    left: ViewId,
    /// Who was in it too, is not awaited, and has not said that it has left it behind.
    apart: BTreeSet<SiteIncarnation>,
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

    /// The endpoint has ended with `view`, which does not list the site `me`. `left` is the view that its members were
    /// in last.
    pub fn new(
        now: Time,
        me: SiteIncarnation,
        endpoint: &Endpoint,
        left: &GroupView,
        view: &GroupView,
    ) -> Parting {
        let told = |site: &SiteId| endpoint.told_installed.get(site);
        let stayed = view.members.iter().filter(|member| member.previous.is_some());
        let stayed: BTreeSet<SiteId> = stayed.map(|m| m.id.site()).filter(|site| *site != me.site).collect();
        let others = left.members.iter().map(|member| member.id.process.birth).filter(|life| *life != me);
        let apart = others
            .filter(|life| !stayed.contains(&life.site) && told(&life.site) <= Some(&left.id))
            .collect();
        let awaited = stayed.into_iter().filter(|site| told(site) < Some(&view.id)).collect();
        Parting { view: view.id, awaited, left: left.id, apart, until: now + Self::PATIENCE }
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
        if view > self.left {
            self.apart.retain(|life| life.site != from);
        }
    }

    /// A site is not in the core-set any more. If it was only cut off, it may be met again and still have to deliver what
    /// it was sent before.
    pub fn handle_gone(&mut self, site: SiteId) {
        self.awaited.remove(&site);
    }

    /// When it is over in any case.
    pub fn until(&self) -> Time {
        self.until
    }

    /// Whether something is waited for now. Who is not met is sent nothing, so nothing needs to wait for it.
    pub fn holds(&self, met: impl Fn(SiteIncarnation) -> bool) -> bool {
        !self.awaited.is_empty() || self.apart.iter().any(|life| met(*life))
    }

    /// Whether nothing will be waited for any more.
    pub fn is_over(&self, now: Time) -> bool {
        (self.awaited.is_empty() && self.apart.is_empty()) || now >= self.until
    }
}
