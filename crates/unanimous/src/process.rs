//! A process of the group system: what joins groups, watches them and casts to them from outside.

use std::sync::Arc;

use bytes::Bytes;
use client::protocol::Op;
use serde_json::{Map, Value};
use stack::Change;
use tokio::sync::Semaphore;
use wire::{GroupName, MemberId};

use crate::cast::{Cast, Outcome, Request};
use crate::durable_map::DurableMap;
use crate::error::Error;
use crate::forked::FORKS_MAX;
use crate::group::Group;
use crate::join::JoinOptions;
use crate::local::Local;
use crate::mail::Mail;
use crate::queue::{Events, Seen, queue};
use crate::remote::Remote;
use crate::routes::Moved;
use crate::view::View;

/// A process of the group system. Clones share it. When the last clone is gone, and with it every [`Group`] and
/// [`Outsider`], its memberships end in order; [`Process::close`] does it and waits.
#[derive(Clone, Debug)]
pub struct Process {
    backend: Arc<Backend>,
    forks: Arc<Semaphore>,
}

#[derive(Debug)]
pub(crate) enum Backend {
    /// A session with a site beside this program.
    Remote(Remote),
    /// A site inside this program.
    Local(Local),
}

impl Process {
    pub(crate) fn new(backend: Backend) -> Process {
        Process { backend: Arc::new(backend), forks: Arc::new(Semaphore::new(FORKS_MAX)) }
    }

    /// The process's name in the cluster, as `s1.4/3`; another one after its site was lost.
    pub fn id(&self) -> String {
        match &*self.backend {
            Backend::Remote(remote) => remote.process(),
            Backend::Local(local) => local.process(),
        }
    }

    /// The name of its site; the last one known while another is looked for.
    pub fn site(&self) -> String {
        match &*self.backend {
            Backend::Remote(remote) => remote.site(),
            Backend::Local(local) => local.site(),
        }
    }

    /// Joins a group. Answers when the process is a member: its first view is the first event.
    ///
    /// If the future is dropped, the process may or may not become a member: close it, then.
    ///
    /// # Errors
    ///
    /// [`Error::Name`], [`Error::Refused`], [`Error::Already`]: nothing was done. [`Error::Interrupted`]: the site
    /// was lost meanwhile, and the membership, if there was one, with it.
    pub async fn join(&self, group: &str, options: JoinOptions) -> Result<(Group, Events), Error> {
        let name = GroupName::parse(group)?;
        let (sink, events) = queue(self.budget());
        let seen = events.seen();
        let member = match &*self.backend {
            Backend::Remote(remote) => remote.join(&name, options, sink).await?,
            Backend::Local(local) => local.join(&name, options, sink).await?,
        };
        seen.joined(member);
        Ok((Group::new(self.clone(), name, seen), events))
    }

    /// A group as an outsider sees it: somewhere to cast to.
    pub fn group(&self, name: &str) -> Result<Outsider, Error> {
        Ok(Outsider { process: self.clone(), name: GroupName::parse(name)? })
    }

    /// Follows a group's views without being a member. Drop the events to stop.
    pub async fn watch(&self, group: &str) -> Result<Events, Error> {
        let name = GroupName::parse(group)?;
        let (sink, events) = queue(self.budget());
        match &*self.backend {
            Backend::Remote(remote) => remote.watch(&name, sink).await?,
            Backend::Local(local) => local.watch(&name, sink).await?,
        }
        Ok(events)
    }

    /// A durable map, made if it is not there: see [`DurableMap`].
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `NotPrimary`: the cluster's catalog cannot be written now. Nothing was done.
    pub async fn durable_map(&self, name: &str) -> Result<DurableMap, Error> {
        DurableMap::open(self, GroupName::parse(name)?).await
    }

    /// The cluster's mail: see [`Mail`].
    pub fn mail(&self) -> Mail {
        Mail::new(self.clone())
    }

    /// A request of the session protocol that may be made again at another site if this one is lost.
    pub(crate) async fn request(&self, op: Op, body: Bytes) -> Result<(Map<String, Value>, Bytes), Error> {
        match &*self.backend {
            Backend::Remote(remote) => remote.request(op, body).await,
            Backend::Local(local) => local.request(op, body).await,
        }
    }

    /// A group's view as the site knows it now.
    pub async fn view(&self, group: &str) -> Result<View, Error> {
        let name = GroupName::parse(group)?;
        match &*self.backend {
            Backend::Remote(remote) => remote.view(&name).await,
            Backend::Local(local) => local.view(&name).await,
        }
    }

    /// Makes some members of a group a group of their own, by the same rules. Answers when it is decided. Over a
    /// session this, like the next two, needs a principal who may administer.
    ///
    /// The members stay who they are; their programs find their streams with [`Process::moved`].
    pub async fn split(
        &self,
        group: &str,
        members: impl IntoIterator<Item = MemberId>,
        into: &str,
    ) -> Result<(), Error> {
        let (group, into) = (GroupName::parse(group)?, GroupName::parse(into)?);
        self.change(Change::Split { group, members: members.into_iter().collect(), into }).await
    }

    /// Lets all members of one group enter another, which keeps its rules; the first group ends. Answers when it is
    /// decided.
    pub async fn merge(&self, from: &str, into: &str) -> Result<(), Error> {
        let (from, into) = (GroupName::parse(from)?, GroupName::parse(into)?);
        self.change(Change::Merge { from, into }).await
    }

    /// Moves a member to rank 0 of its group. Answers when it is decided.
    pub async fn reorder(&self, group: &str, member: MemberId) -> Result<(), Error> {
        self.change(Change::Reorder { group: GroupName::parse(group)?, member }).await
    }

    /// The next membership of this process that goes on in another group, because its own was split or merged, with
    /// its events; the stream of the old one ends. `None` when the process is over. A program whose groups others may
    /// split or merge should ask for it: what nobody takes holds its groups back. Cancel-safe.
    pub async fn moved(&self) -> Option<(Group, Events)> {
        let Moved { group, events } = match &*self.backend {
            Backend::Remote(remote) => remote.moved().await?,
            Backend::Local(local) => local.moved().await?,
        };
        let seen = events.seen();
        Some((Group::new(self.clone(), group, seen), events))
    }

    async fn change(&self, change: Change) -> Result<(), Error> {
        match &*self.backend {
            Backend::Remote(remote) => remote.change(change).await,
            Backend::Local(local) => local.change(change).await,
        }
    }

    /// Ends the process in order: to its groups it has left, not failed. Every stream ends.
    pub async fn close(self) {
        match &*self.backend {
            Backend::Remote(remote) => remote.close().await,
            Backend::Local(local) => local.close().await,
        }
    }

    pub(crate) fn forks(&self) -> &Arc<Semaphore> {
        &self.forks
    }

    pub(crate) async fn cast(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        payloads: Vec<Bytes>,
    ) -> Result<(), Error> {
        match &*self.backend {
            Backend::Remote(remote) => remote.cast(group, seen, request, payloads).await,
            Backend::Local(local) => local.cast(group, seen, request, payloads).await,
        }
    }

    pub(crate) async fn call(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        payload: Bytes,
    ) -> Result<Outcome, Error> {
        match &*self.backend {
            Backend::Remote(remote) => remote.call(group, seen, request, payload).await,
            Backend::Local(local) => local.call(group, seen, request, payload).await,
        }
    }

    pub(crate) async fn flush(&self, group: &GroupName) -> Result<(), Error> {
        match &*self.backend {
            Backend::Remote(remote) => remote.flush(group).await,
            Backend::Local(local) => local.flush(group).await,
        }
    }

    pub(crate) async fn leave(&self, group: &GroupName) -> Result<(), Error> {
        match &*self.backend {
            Backend::Remote(remote) => remote.leave(group).await,
            Backend::Local(local) => local.leave(group).await,
        }
    }

    fn budget(&self) -> &Arc<crate::queue::Budget> {
        match &*self.backend {
            Backend::Remote(remote) => remote.budget(),
            Backend::Local(local) => local.budget(),
        }
    }
}

/// A group that this process is no member of: its casts are carried by a member under the process's own identity,
/// sent again if that member dies, and delivered at most once.
#[derive(Clone, Debug)]
pub struct Outsider {
    process: Process,
    name: GroupName,
}

impl Outsider {
    /// The group's name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// A message to the group's members.
    pub fn cast(&self, payload: impl Into<Bytes>) -> Cast<'_> {
        Cast::new(&self.process, &self.name, None, payload.into())
    }
}
