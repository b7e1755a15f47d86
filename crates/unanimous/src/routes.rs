//! Which of a process's streams an event belongs to, and what the process is in, so that it can be again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use wire::session::ErrorCode;
use wire::{GroupName, MemberId};

use crate::error::Error;
use crate::event::Event;
use crate::join::JoinOptions;
use crate::queue::{Budget, Entry, Events, Pong, Seen, Sink, queue};
use crate::view::View;

/// The process is in the group already. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Already;

/// The streams of a process, by group.
#[derive(Debug)]
pub(crate) struct Routes {
    groups: Mutex<BTreeMap<String, Route>>,
    /// Memberships that ended last, since the view that shows one in another group may come after its end.
    departed: Mutex<VecDeque<(MemberId, JoinOptions)>>,
    moved: mpsc::UnboundedSender<Moved>,
}

/// A membership that goes on in another group, because its own was split or merged.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) group: GroupName,
    pub(crate) events: Events,
}

/// Ended memberships that are remembered.
const DEPARTED_MAX: usize = 64;

#[derive(Debug)]
struct Route {
    name: GroupName,
    membership: Option<Membership>,
    watchers: Vec<Sink>,
}

#[derive(Debug)]
struct Membership {
    options: JoinOptions,
    sink: Sink,
    /// Who the process is in the group; none while it joins.
    member: Option<MemberId>,
    /// It was a member before, at a site that is gone.
    again: bool,
    /// The join that waits for the first view.
    first: Option<First>,
}

/// Where a join hears whether it came to a first view, or why not.
pub(crate) type First = oneshot::Sender<Result<(), Error>>;

impl Routes {
    /// No streams; and where memberships that move come out.
    pub(crate) fn new() -> (Routes, mpsc::UnboundedReceiver<Moved>) {
        let (moved, receiver) = mpsc::unbounded_channel();
        (Routes { groups: Mutex::default(), departed: Mutex::default(), moved }, receiver)
    }

    /// Makes room for a membership before it is asked for: its first view may overtake the join's answer.
    pub(crate) fn enter(
        &self,
        group: &GroupName,
        options: JoinOptions,
        sink: Sink,
    ) -> Result<oneshot::Receiver<Result<(), Error>>, Already> {
        let mut groups = self.lock();
        let route = route(&mut groups, group);
        if route.membership.is_some() {
            return Err(Already);
        }
        let (first, seen) = oneshot::channel();
        route.membership = Some(Membership { options, sink, member: None, again: false, first: Some(first) });
        Ok(seen)
    }

    /// The join's answer.
    pub(crate) fn joined(&self, group: &GroupName, member: MemberId) {
        if let Some(membership) =
            self.lock().get_mut(group.as_str()).and_then(|route| route.membership.as_mut())
        {
            membership.member.get_or_insert(member);
        }
    }

    /// The join came to nothing.
    pub(crate) fn forget(&self, group: &GroupName) {
        if let Some(route) = self.lock().get_mut(group.as_str()) {
            route.membership = None;
        }
    }

    pub(crate) fn watch(&self, group: &GroupName, sink: Sink) {
        route(&mut self.lock(), group).watchers.push(sink);
    }

    /// Whether the program may cast as the member that it knows of. An outsider (without `seen`) always may.
    pub(crate) fn check(&self, group: &GroupName, seen: Option<&Seen>) -> Result<(), Error> {
        let Some(seen) = seen else { return Ok(()) };
        let groups = self.lock();
        match groups.get(group.as_str()).and_then(|route| route.membership.as_ref()) {
            Some(Membership { member: Some(member), .. }) if seen.member() == Some(*member) => Ok(()),
            Some(_) => Err(Error::SiteLost),
            None => Err(Error::Refused {
                code: ErrorCode::NotMember,
                message: format!("no longer a member of {group}; join it again"),
            }),
        }
    }

    /// A view, for the member and for all who watch.
    pub(crate) fn view(&self, site: &str, view: View, budget: &Arc<Budget>) {
        let view = Arc::new(view);
        let mut groups = self.lock();
        if let Some(me) = view.me {
            self.follow(&mut groups, &view.group, me, budget);
        }
        let Some(route) = groups.get_mut(view.group.as_str()) else { return };
        route.watchers.retain(|sink| sink.send(Entry::Event(Event::View(Arc::clone(&view)))));
        let Some(membership) = &mut route.membership else { return };
        let Some(me) = view.me else { return };
        // Its site may have joined again for it, too.
        let is_another = membership.member.is_some_and(|was| was != me);
        if std::mem::take(&mut membership.again) || is_another {
            tell(&membership.sink, Event::Rejoined { member: me, site: site.to_owned() });
        }
        membership.member = Some(me);
        tell(&membership.sink, Event::View(view));
        membership.first(Ok(()));
    }

    /// A member that is known from another group, and has no stream in this one, has moved: it is given one.
    fn follow(
        &self,
        groups: &mut BTreeMap<String, Route>,
        group: &GroupName,
        me: MemberId,
        budget: &Arc<Budget>,
    ) {
        if groups.get(group.as_str()).is_some_and(|route| route.membership.is_some()) {
            return;
        }
        let living = groups.values().filter_map(|route| route.membership.as_ref());
        let mut living = living.filter(|membership| membership.member == Some(me));
        let options = living.next().map(|membership| membership.options.clone()).or_else(|| {
            let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
            departed.iter().find(|(member, _)| *member == me).map(|(_, options)| options.clone())
        });
        let Some(options) = options else { return };
        let (sink, events) = queue(budget);
        events.seen().joined(me);
        let membership = Membership { options, sink, member: Some(me), again: false, first: None };
        route(groups, group).membership = Some(membership);
        // A process that is over takes nothing more.
        let _ = self.moved.send(Moved { group: group.clone(), events });
    }

    /// An event for the member.
    pub(crate) fn tell(&self, group: &str, event: impl FnOnce(&GroupName) -> Event) {
        let groups = self.lock();
        if let Some(Route { name, membership: Some(membership), watchers: _ }) = groups.get(group) {
            tell(&membership.sink, event(name));
        }
    }

    /// Asks the members' streams of these groups whether the program takes their events. Without such a stream the
    /// answer is given at once.
    pub(crate) fn ask<'g>(&self, asked: impl Iterator<Item = &'g str>, pong: Pong) {
        let (groups, pong) = (self.lock(), Arc::new(pong));
        for group in asked {
            if let Some(membership) = groups.get(group).and_then(|route| route.membership.as_ref()) {
                membership.sink.ask(Arc::clone(&pong));
            }
        }
    }

    /// The membership is over.
    pub(crate) fn left(&self, group: &str, why: &str) {
        if let Some(mut membership) = self.lock().get_mut(group).and_then(|route| route.membership.take()) {
            if let Some(member) = membership.member {
                let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
                departed.push_back((member, membership.options.clone()));
                if departed.len() > DEPARTED_MAX {
                    departed.pop_front();
                }
            }
            membership.first(Err(Error::Refused { code: ErrorCode::NotMember, message: why.to_owned() }));
            tell(&membership.sink, Event::Left { why: why.to_owned() });
        }
    }

    /// The site is gone and another is looked for.
    pub(crate) fn lost(&self, why: &str) {
        let lost = || Event::SiteLost { why: why.to_owned() };
        for route in self.lock().values_mut() {
            if let Some(membership) = &mut route.membership {
                membership.member = None;
                membership.again = true;
                tell(&membership.sink, lost());
            }
            if route.membership.as_mut().is_some_and(|membership| membership.first(Err(Error::Interrupted))) {
                // It never was a member: there is nothing to resume.
                route.membership = None;
            }
            route.watchers.retain(|sink| sink.send(Entry::Event(lost())));
        }
    }

    /// The process is over: every stream ends.
    pub(crate) fn over(&self, why: &str) {
        for route in std::mem::take(&mut *self.lock()).into_values() {
            for sink in route.membership.into_iter().map(|membership| membership.sink).chain(route.watchers) {
                tell(&sink, Event::Left { why: why.to_owned() });
            }
        }
    }

    /// What to join at another site.
    pub(crate) fn memberships(&self) -> Vec<(GroupName, JoinOptions)> {
        let groups = self.lock();
        let joined = groups.values().filter_map(|route| Some((&route.name, route.membership.as_ref()?)));
        joined.map(|(name, membership)| (name.clone(), membership.options.clone())).collect()
    }

    /// What to watch at another site.
    pub(crate) fn watched(&self) -> Vec<GroupName> {
        let groups = self.lock();
        let watched = groups.values().filter(|route| !route.watchers.is_empty());
        watched.map(|route| route.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Route>> {
        // Nothing in here panics while it is held; were it poisoned, its content would still be whole.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    /// Answers the join that waits; says whether one did.
    fn first(&mut self, result: Result<(), Error>) -> bool {
        // A join whose future was dropped hears nothing.
        self.first.take().map(|waits| waits.send(result)).is_some()
    }
}

fn route<'m>(groups: &'m mut BTreeMap<String, Route>, name: &GroupName) -> &'m mut Route {
    groups.entry(name.as_str().to_owned()).or_insert_with(|| Route {
        name: name.clone(),
        membership: None,
        watchers: Vec::new(),
    })
}

/// A member that dropped its stream wants to hear nothing more; it stays a member.
fn tell(sink: &Sink, event: Event) {
    sink.send(Entry::Event(event));
}
