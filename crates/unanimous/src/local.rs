//! A process of a site that runs inside this program: the same streams, without a line between.

use std::sync::Arc;

use bytes::Bytes;
use client::protocol::Op;
use membership::group::{GroupOptions, GroupView};
use serde_json::{Map, Value};
use site::{Handle, ProcessEvent, RequestError};
use stack::{CallFailed, CastOptions, Change, ChangeError};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use wire::{GroupName, MemberId, ProcessId};

use crate::cast::{Order, Outcome, Replies, Reply, Request};
use crate::error::Error;
use crate::event::{AnswerTo, Delivery, Event};
use crate::join::JoinOptions;
use crate::queue::{Budget, Pong, Seen, Sink};
use crate::routes::{Moved, Routes};
use crate::view::View;

/// What a process says when its site is gone.
const STOPPED: &str = "the site has stopped";

/// A process of a site inside this program.
#[derive(Debug)]
pub(crate) struct Local {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    handle: Handle,
    process: ProcessId,
    site: String,
    routes: Routes,
    moved: Mutex<mpsc::UnboundedReceiver<Moved>>,
    budget: Arc<Budget>,
}

impl Local {
    pub(crate) async fn open(handle: Handle, site: &str) -> Result<Local, Error> {
        let (process, events) = handle.open().await.map_err(error)?;
        let site = site.to_owned();
        let (routes, moved) = Routes::new();
        let moved = Mutex::new(moved);
        let shared = Shared { handle, process, site, routes, moved, budget: Arc::default() };
        let shared = Arc::new(shared);
        let pump = tokio::spawn(pump(Arc::clone(&shared), events));
        Ok(Local { shared, pump })
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    pub(crate) fn process(&self) -> String {
        self.shared.process.to_string()
    }

    pub(crate) fn site(&self) -> String {
        self.shared.site.clone()
    }

    pub(crate) async fn close(&self) {
        self.pump.abort();
        // If the site is gone, so is the process.
        let _ = self.shared.handle.close(self.shared.process, true).await;
        self.shared.routes.over("closed");
    }

    pub(crate) async fn join(
        &self,
        group: &GroupName,
        options: JoinOptions,
        sink: Sink,
    ) -> Result<MemberId, Error> {
        let Shared { handle, process, routes, .. } = &*self.shared;
        let first = routes.enter(group, options.clone(), sink).map_err(|_| Error::Already)?;
        match handle.join(*process, group.clone(), join_options(options)).await {
            Ok(member) => {
                routes.joined(group, member);
                first.await.unwrap_or_else(|_| Err(Error::Over(STOPPED.to_owned())))?;
                Ok(member)
            }
            Err(refused) => {
                routes.forget(group);
                Err(error(refused))
            }
        }
    }

    pub(crate) async fn watch(&self, group: &GroupName, sink: Sink) -> Result<(), Error> {
        self.shared.routes.watch(group, sink);
        self.shared.handle.watch(self.shared.process, group.clone(), true).await.map_err(error)
    }

    pub(crate) async fn view(&self, group: &GroupName) -> Result<View, Error> {
        let found = self.shared.handle.view(group.clone()).await.map_err(error)?;
        Ok(view(&found, None, &[]))
    }

    pub(crate) async fn request(&self, op: Op, body: Bytes) -> Result<(Map<String, Value>, Bytes), Error> {
        let answered = self.shared.handle.map_request(op, body).await;
        answered.map_err(|failure| Error::of_request(client::Error::Refused(failure)))
    }

    pub(crate) async fn moved(&self) -> Option<Moved> {
        self.shared.moved.lock().await.recv().await
    }

    pub(crate) async fn change(&self, change: Change) -> Result<(), Error> {
        self.shared.handle.change(change).await.map_err(error)
    }

    pub(crate) async fn leave(&self, group: &GroupName) -> Result<(), Error> {
        self.shared.handle.leave(self.shared.process, group.clone()).await.map_err(error)
    }

    pub(crate) async fn flush(&self, group: &GroupName) -> Result<(), Error> {
        self.shared.handle.flush(self.shared.process, group.clone()).await.map_err(error)
    }

    pub(crate) async fn cast(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        payloads: Vec<Bytes>,
    ) -> Result<(), Error> {
        let Shared { handle, process, routes, .. } = &*self.shared;
        routes.check(group, seen)?;
        let (group, options) = (group.clone(), cast_options(request));
        let taken = match request.lazy {
            Some(patience) => handle.cast_lazily(*process, group, options, payloads, patience).await,
            None => handle.cast(*process, group, options, payloads).await,
        };
        taken.map_err(error)
    }

    pub(crate) async fn call(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        payload: Bytes,
    ) -> Result<Outcome, Error> {
        let Shared { handle, process, routes, .. } = &*self.shared;
        routes.check(group, seen)?;
        let outcome =
            handle.call(*process, group.clone(), cast_options(request), payload).await.map_err(error)?;
        let reply = |(from, payload)| Reply { from, payload };
        Ok(Outcome {
            members: outcome.targets,
            replies: outcome.replies.into_iter().map(reply).collect(),
            nulls: outcome.nulls.len(),
            failed: outcome.failed.len(),
            aborted: outcome.aborted_by.map(reply),
            timed_out: outcome.timed_out,
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.pump.abort();
        self.shared.handle.close_now(self.shared.process, true);
        self.shared.routes.over("closed");
    }
}

async fn pump(shared: Arc<Shared>, mut events: site::Events) {
    let mut probes = events.take_probes();
    loop {
        let next = async {
            shared.budget.room().await;
            events.next().await
        };
        let probe = async {
            match &mut probes {
                Some(probes) => probes.next().await,
                None => None,
            }
        };
        tokio::select! {
            biased;
            // Past what waits for room.
            Some(probe) = probe => {
                let (handle, process) = (shared.handle.clone(), shared.process);
                let pong = Pong::Local { handle, process, probe: probe.id };
                shared.routes.ask(probe.groups.iter().map(|group| group.as_str()), pong);
            }
            event = next => match event {
                Some(event) => route(&shared, event),
                None => return shared.routes.over(STOPPED),
            },
        }
    }
}

fn route(shared: &Shared, event: ProcessEvent) {
    let routes = &shared.routes;
    match event {
        ProcessEvent::View { view: found, me, transitional } => {
            routes.view(&shared.site, view(&found, me, &transitional), &shared.budget);
        }
        ProcessEvent::Message { group, view, from, order, reply_to, payload } => {
            let (handle, process) = (&shared.handle, shared.process);
            let answer = reply_to.map(|to| Box::new(AnswerTo::Local { handle: handle.clone(), process, to }));
            let order = order_of(order);
            routes.tell(group.as_str(), |name| {
                Event::Message(Delivery { group: name.clone(), view, from, order, payload, answer })
            });
        }
        ProcessEvent::Signal { group, members } => routes.tell(group.as_str(), |_| Event::Signal { members }),
        ProcessEvent::Blocked { group, blocked } => {
            routes.tell(group.as_str(), |_| if blocked { Event::Blocked } else { Event::Unblocked });
        }
        ProcessEvent::Left { group, why } => routes.left(group.as_str(), &why),
    }
}

fn view(view: &GroupView, me: Option<MemberId>, transitional: &[MemberId]) -> View {
    View {
        group: view.name.clone(),
        id: view.id,
        primary: view.primary,
        lives: view.lives,
        me,
        members: view.members.iter().map(|member| member.id).collect(),
        joined: view.joined.clone(),
        left: view.left.clone(),
        transitional: transitional.to_vec(),
    }
}

fn join_options(options: JoinOptions) -> stack::JoinOptions {
    let JoinOptions { role, create, consistency, lives, merges, probe_ms, aggregate_ms } = options;
    let rules = GroupOptions { consistency, lives, merges, probe_ms, aggregate_ms };
    stack::JoinOptions { role, create, rules }
}

fn cast_options(request: &Request) -> CastOptions {
    let order = match request.order {
        Order::Mbcast => multicast::Order::Mbcast,
        Order::Fbcast => multicast::Order::Fbcast,
        Order::Cbcast => multicast::Order::Cbcast,
        Order::Abcast => multicast::Order::Abcast,
        Order::Gbcast => multicast::Order::Gbcast,
    };
    let replies = match request.replies {
        None | Some(Replies::Count(0)) => multicast::call::Replies::None,
        Some(Replies::All) => multicast::call::Replies::All,
        Some(Replies::Majority) => multicast::call::Replies::Majority,
        Some(Replies::Count(count)) => multicast::call::Replies::Count(count),
    };
    let plain = CastOptions::plain(order);
    CastOptions {
        safe: request.safe,
        exclude_self: request.exclude_self,
        only: request.only.clone(),
        replies,
        timeout: request.timeout.unwrap_or(plain.timeout),
        ..plain
    }
}

fn order_of(order: multicast::Order) -> Order {
    match order {
        multicast::Order::Mbcast => Order::Mbcast,
        multicast::Order::Fbcast => Order::Fbcast,
        multicast::Order::Cbcast => Order::Cbcast,
        multicast::Order::Abcast => Order::Abcast,
        multicast::Order::Gbcast => Order::Gbcast,
    }
}

pub(crate) fn error(error: RequestError) -> Error {
    match &error {
        RequestError::Stopped => Error::Over(STOPPED.to_owned()),
        RequestError::Call(CallFailed::Unknown) | RequestError::Change(ChangeError::Unanswered) => {
            Error::Interrupted
        }
        RequestError::Call(CallFailed::NotSent)
        | RequestError::Join(_)
        | RequestError::Cast(_)
        | RequestError::Change(_) => Error::Refused { code: error.code(), message: error.to_string() },
    }
}
