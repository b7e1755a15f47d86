//! How a message goes out, and what came back.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::session::{ErrorCode, NamedReplies, Replies as ReplyWords};
use wire::{GroupName, MemberId};

use crate::error::Error;
use crate::forked::{self, Forked};
use crate::process::Process;
use crate::queue::Seen;

/// The order in which members deliver a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// None: as it comes.
    Mbcast,
    /// Each sender's messages in the order in which it sent them.
    Fbcast,
    /// What may have caused a message is delivered before it.
    Cbcast,
    /// All members deliver in one order.
    #[default]
    Abcast,
    /// Against everything, view changes included.
    Gbcast,
}

impl Order {
    /// Its name in the session protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Order::Mbcast => "mbcast",
            Order::Fbcast => "fbcast",
            Order::Cbcast => "cbcast",
            Order::Abcast => "abcast",
            Order::Gbcast => "gbcast",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no order; there are mbcast, fbcast, cbcast, abcast and gbcast")]
pub struct NoOrder(String);

impl FromStr for Order {
    type Err = NoOrder;

    fn from_str(text: &str) -> Result<Order, NoOrder> {
        [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast, Order::Gbcast]
            .into_iter()
            .find(|order| order.as_str() == text)
            .ok_or_else(|| NoOrder(text.to_owned()))
    }
}

/// How many replies end a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replies {
    /// One from every member to whom the message was delivered.
    All,
    /// From more than half of them.
    Majority,
    /// From so many.
    Count(u32),
}

impl Replies {
    pub(crate) fn words(self) -> ReplyWords {
        match self {
            Replies::All => ReplyWords::Named(NamedReplies::All),
            Replies::Majority => ReplyWords::Named(NamedReplies::Majority),
            Replies::Count(count) => ReplyWords::Count(count),
        }
    }
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// From whom.
    pub from: MemberId,
    /// What it said.
    pub payload: Bytes,
}

/// How a call ended. A shortfall is told here; it is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many members were asked.
    pub members: usize,
    /// The replies, in the order in which they came.
    pub replies: Vec<Reply>,
    /// How many members had nothing to say.
    pub nulls: usize,
    /// How many left, failed or were cut off before they replied.
    pub failed: usize,
    /// Who ended the call with an abort reply, and its reason.
    pub aborted: Option<Reply>,
    /// Whether the time was up.
    pub timed_out: bool,
}

impl Outcome {
    /// Whether every member that was asked has replied, if only to say that it has nothing to say.
    pub fn is_complete(&self) -> bool {
        self.members > 0 && self.replies.len() + self.nulls >= self.members
    }
}

/// What a cast asks of the backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) order: Order,
    pub(crate) safe: bool,
    pub(crate) exclude_self: bool,
    pub(crate) only: Vec<MemberId>,
    pub(crate) replies: Option<Replies>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) lazy: Option<Duration>,
}

/// A message on its way: nothing happens until [`Cast::send`].
#[derive(Debug)]
#[must_use = "nothing is cast until `send`"]
pub struct Cast<'p> {
    process: &'p Process,
    group: &'p GroupName,
    /// What the program knows of its membership; none for an outsider.
    seen: Option<&'p Arc<Seen>>,
    payload: Bytes,
    request: Request,
}

impl<'p> Cast<'p> {
    pub(crate) fn new(
        process: &'p Process,
        group: &'p GroupName,
        seen: Option<&'p Arc<Seen>>,
        payload: Bytes,
    ) -> Cast<'p> {
        Cast { process, group, seen, payload, request: Request::default() }
    }

    /// The order; [`Order::Abcast`] if nothing is said.
    pub fn order(mut self, order: Order) -> Cast<'p> {
        self.request.order = order;
        self
    }

    /// It is delivered only when every member of the view has it.
    pub fn safe(mut self) -> Cast<'p> {
        self.request.safe = true;
        self
    }

    /// The caster itself is not delivered it.
    pub fn exclude_self(mut self) -> Cast<'p> {
        self.request.exclude_self = true;
        self
    }

    /// Only these members are delivered it (a process list). It keeps its place in the order.
    pub fn only(mut self, members: impl IntoIterator<Item = MemberId>) -> Cast<'p> {
        self.request.only = members.into_iter().collect();
        self
    }

    /// An outsider's cast may be made twice: if the site is lost before it answered, it is made again through the
    /// next. Without this, such a cast ends with [`Error::Interrupted`]. (Within one site's life an outsider's cast
    /// is delivered at most once in any case.) Means nothing for a member's cast.
    pub fn idempotent(mut self) -> Cast<'p> {
        self.request.idempotent = true;
        self
    }

    /// A member's cast may be held back, for at most so long and never for more than two seconds, to travel with the
    /// next cast of the group at this site: it costs no packet of its own then. It keeps its place in the order. It
    /// is taken at once, and is given up if the membership ends before it could go: [`Group::flush`] sees it off.
    /// Means nothing for an outsider's cast, nor for one that waits for replies.
    ///
    /// [`Group::flush`]: crate::Group::flush
    pub fn lazy(mut self, patience: Duration) -> Cast<'p> {
        self.request.lazy = Some(patience);
        self
    }

    /// The cast waits for replies.
    pub fn replies(mut self, replies: Replies) -> Call<'p> {
        self.request.replies = Some(replies);
        self.request.lazy = None;
        Call { cast: self }
    }

    /// Casts it. Waits while a view change goes on or members have not caught up. A member's cast is with its
    /// site then, and will be delivered unless the site fails; an outsider's has reached the group.
    pub async fn send(self) -> Result<(), Error> {
        self.process.cast(self.group, self.seen.map(|seen| &**seen), &self.request, vec![self.payload]).await
    }

    /// Casts it without waiting: it goes on by itself, in its place before what is cast after it, and its end may be
    /// asked for at any time. Only within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `busy`: 1,024 casts of this process go on by themselves already. Nothing was cast.
    pub fn fork(self) -> Result<Forked<()>, Error> {
        let Cast { process, group, seen, payload, request } = self;
        let (process, group, seen) = (process.clone(), group.clone(), seen.cloned());
        forked::fork(&process.clone(), async move {
            process.cast(&group, seen.as_deref(), &request, vec![payload]).await
        })
    }

    /// Casts this one and more behind it, one after another: fewer turns than as many casts.
    pub async fn send_with(mut self, more: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        let mut payloads = vec![std::mem::take(&mut self.payload)];
        payloads.extend(more);
        self.process.cast(self.group, self.seen.map(|seen| &**seen), &self.request, payloads).await
    }
}

/// A message that asks for replies: nothing happens until [`Call::send`].
#[derive(Debug)]
#[must_use = "nothing is cast until `send`"]
pub struct Call<'p> {
    cast: Cast<'p>,
}

impl Call<'_> {
    /// How long to wait; without it, until all have replied or are gone.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.cast.request.timeout = Some(timeout);
        self
    }

    /// Casts it without waiting: the replies are collected while the program goes on, and may be asked for at any
    /// time. As [`Cast::fork`].
    pub fn fork(self) -> Result<Forked<Outcome>, Error> {
        let Cast { process, group, seen, payload, request } = self.cast;
        let (process, group, seen) = (process.clone(), group.clone(), seen.cloned());
        forked::fork(&process.clone(), async move {
            process.call(&group, seen.as_deref(), &request, payload).await
        })
    }

    /// Casts it and waits for the replies.
    pub async fn send(self) -> Result<Outcome, Error> {
        let Cast { process, group, seen, payload, request } = self.cast;
        process.call(group, seen.map(|seen| &**seen), &request, payload).await
    }
}

pub(crate) fn too_large() -> Error {
    Error::Refused {
        code: ErrorCode::TooLarge,
        message: "a message is larger than 64 MiB; split it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_read_back_as_they_are_written() {
        for order in [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast, Order::Gbcast] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        assert!("xbcast".parse::<Order>().is_err());
    }

    #[test]
    fn an_outcome_is_complete_when_everybody_said_something() {
        let reply = Reply { from: MemberId::default(), payload: Bytes::new() };
        let outcome = Outcome { members: 2, replies: vec![reply], nulls: 1, ..Outcome::default() };
        assert!(outcome.is_complete());
        assert!(!Outcome { nulls: 0, failed: 1, ..outcome }.is_complete());
        assert!(!Outcome::default().is_complete(), "nobody was asked");
    }
}
