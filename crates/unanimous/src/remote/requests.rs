//! What a process asks over its session, and what becomes of it when the site is lost meanwhile.

use std::time::Duration;

use bytes::Bytes;
use client::Session;
use serde_json::{Map, Value};
use stack::Change;
use wire::session::{BODY_BYTES_MAX, ErrorCode, Op, Replies as ReplyWords, Reply as ReplyLine};
use wire::{GroupName, MemberId};

use super::{Line, Remote, ask};
use crate::cast::{Outcome, Reply, Request, too_large};
use crate::error::Error;
use crate::ids;
use crate::join::JoinOptions;
use crate::queue::{Seen, Sink};
use crate::routes::Moved;
use crate::view::View;

/// Messages in one request: their lengths must fit into its header line.
const BATCH_MAX: usize = 4_096;
/// How often a request is made again whose fate a site cannot say.
const ASKED_AGAIN_MAX: u32 = 3;
/// How much later than the call's own time-out a site's answer may come before it is taken for silent.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

impl Remote {
    pub(crate) async fn join(
        &self,
        group: &GroupName,
        options: JoinOptions,
        sink: Sink,
    ) -> Result<MemberId, Error> {
        let op = options.to_op(group.as_str())?;
        let (_, session) = self.up(0).await?;
        let routes = &self.shared.routes;
        let first = routes.enter(group, options, sink).map_err(|_| Error::Already)?;
        let joined = match session.request(op, Bytes::new()).await {
            Ok((result, _)) => member_of(&result),
            Err(error) => Err(Error::of_request(error)),
        };
        match joined {
            Ok(member) => {
                routes.joined(group, member);
                first.await.unwrap_or_else(|_| Err(Error::Over("closed".to_owned())))?;
                Ok(member)
            }
            Err(error) => {
                routes.forget(group);
                Err(error)
            }
        }
    }

    pub(crate) async fn watch(&self, group: &GroupName, sink: Sink) -> Result<(), Error> {
        let (_, session) = self.up(0).await?;
        self.shared.routes.watch(group, sink);
        session.watch(group.as_str()).await.map_err(Error::of_request)
    }

    pub(crate) async fn view(&self, group: &GroupName) -> Result<View, Error> {
        let (_, session) = self.up(0).await?;
        let line = session.view(group.as_str()).await.map_err(Error::of_request)?;
        View::from_line(group.clone(), &line).map_err(garbled)
    }

    /// Asks until a site answers: the request is one that may be made twice.
    pub(crate) async fn request(&self, op: Op, body: Bytes) -> Result<(Map<String, Value>, Bytes), Error> {
        let mut after = 0;
        let mut unknown = 0;
        loop {
            let (number, session) = self.up(after).await?;
            match session.request(op.clone(), body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(client::Error::Ended(_)) => after = number,
                // The site is going down: the session will end.
                Err(client::Error::Refused(failure)) if failure.error == ErrorCode::Stopping => {
                    after = number
                }
                // It can't say what became of it: asked again under the same name, it can.
                Err(client::Error::Refused(failure))
                    if failure.error == ErrorCode::Interrupted && unknown < ASKED_AGAIN_MAX =>
                {
                    unknown += 1;
                }
                Err(error) => return Err(Error::of_request(error)),
            }
        }
    }

    pub(crate) async fn moved(&self) -> Option<Moved> {
        self.shared.moved.lock().await.recv().await
    }

    pub(crate) async fn change(&self, change: Change) -> Result<(), Error> {
        let (_, session) = self.up(0).await?;
        let op = match change {
            Change::Reorder { group, member } => {
                Op::Reorder { group: group.to_string(), member: member.to_string() }
            }
            Change::Split { group, members, into } => Op::Split {
                group: group.to_string(),
                members: members.iter().map(MemberId::to_string).collect(),
                into: into.to_string(),
            },
            Change::Merge { from, into } => Op::Merge { group: from.to_string(), into: into.to_string() },
        };
        ask(&session, op).await
    }

    pub(crate) async fn leave(&self, group: &GroupName) -> Result<(), Error> {
        let line = self.shared.line.borrow().clone();
        match line {
            Line::Up { number: _, session } => ask(&session, Op::Leave { group: group.to_string() }).await,
            Line::Down { .. } => {
                self.shared.routes.left(group.as_str(), "left while no site was reached");
                Ok(())
            }
            Line::Over(why) => Err(Error::Over(why)),
        }
    }

    pub(crate) async fn flush(&self, group: &GroupName) -> Result<(), Error> {
        let session = self.up_now()?;
        session.flush(group.as_str()).await.map_err(Error::of_request)
    }

    pub(crate) async fn cast(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        mut payloads: Vec<Bytes>,
    ) -> Result<(), Error> {
        let total: usize = payloads.iter().map(Bytes::len).sum();
        if payloads.len() == 1 || (payloads.len() <= BATCH_MAX && total <= BODY_BYTES_MAX) {
            return self.cast_batch(group, seen, request, &payloads).await;
        }
        while !payloads.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            for payload in payloads.iter().take(BATCH_MAX) {
                bytes += payload.len();
                if count > 0 && bytes > BODY_BYTES_MAX {
                    break;
                }
                count += 1;
            }
            let rest = payloads.split_off(count);
            self.cast_batch(group, seen, request, &payloads).await?;
            payloads = rest;
        }
        Ok(())
    }

    async fn cast_batch(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        payloads: &[Bytes],
    ) -> Result<(), Error> {
        let (lens, body) = match payloads {
            [only] => (Vec::new(), only.clone()),
            several => {
                let lens = several.iter().map(|payload| u32::try_from(payload.len()));
                (lens.collect::<Result<_, _>>().map_err(|_| too_large())?, several.concat().into())
            }
        };
        self.ask_group(group, seen, request, lens, body).await.map(drop)
    }

    pub(crate) async fn call(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        payload: Bytes,
    ) -> Result<Outcome, Error> {
        let asked = self.ask_group(group, seen, request, Vec::new(), payload);
        let (result, bodies) = match request.timeout {
            None => asked.await?,
            Some(limit) => match tokio::time::timeout(limit.saturating_add(ANSWER_GRACE), asked).await {
                Ok(answer) => answer?,
                Err(_) => return Err(Error::Interrupted),
            },
        };
        outcome_of(result, bodies)
    }

    /// A member casts through the session of its membership or not at all; an outsider waits for a session, and
    /// tries the next one if it may.
    async fn ask_group(
        &self,
        group: &GroupName,
        seen: Option<&Seen>,
        request: &Request,
        lens: Vec<u32>,
        body: Bytes,
    ) -> Result<(Map<String, Value>, Bytes), Error> {
        if body.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let op = op_of(group, request, lens);
        let mut after = 0;
        loop {
            let (number, session) = match seen {
                Some(_) => (0, self.up_now()?),
                None => self.up(after).await?,
            };
            self.shared.routes.check(group, seen)?;
            match session.request(op.clone(), body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(client::Error::Ended(_)) if seen.is_none() && request.idempotent => after = number,
                Err(error) => return Err(Error::of_request(error)),
            }
        }
    }

    fn up_now(&self) -> Result<Session, Error> {
        match &*self.shared.line.borrow() {
            Line::Up { number: _, session } => Ok(session.clone()),
            Line::Down { .. } => Err(Error::SiteLost),
            Line::Over(why) => Err(Error::Over(why.clone())),
        }
    }

    /// Waits for a session later than number `after`.
    async fn up(&self, after: u64) -> Result<(u64, Session), Error> {
        let mut line = self.shared.line.subscribe();
        let line = line.wait_for(|line| match line {
            Line::Up { number, session: _ } => *number > after,
            Line::Down { .. } => false,
            Line::Over(_) => true,
        });
        match line.await.map(|line| line.clone()) {
            Ok(Line::Up { number, session }) => Ok((number, session)),
            Ok(Line::Over(why)) => Err(Error::Over(why)),
            Ok(Line::Down { .. }) | Err(_) => Err(Error::Over("closed".to_owned())),
        }
    }
}

fn op_of(group: &GroupName, request: &Request, lens: Vec<u32>) -> Op {
    let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Op::Cast {
        group: group.to_string(),
        order: Some(request.order.as_str().to_owned()),
        safe: request.safe,
        exclude_self: request.exclude_self,
        only: request.only.iter().map(MemberId::to_string).collect(),
        replies: request.replies.map_or(ReplyWords::Default, |replies| replies.words()),
        timeout_ms: request.timeout.map(millis),
        lazy_ms: request.lazy.map(millis),
        lens,
    }
}

fn member_of(result: &Map<String, Value>) -> Result<MemberId, Error> {
    ids::member(result.get("member").and_then(Value::as_str).unwrap_or_default()).map_err(garbled)
}

fn outcome_of(mut result: Map<String, Value>, mut bodies: Bytes) -> Result<Outcome, Error> {
    let line = result.remove("replies").unwrap_or(Value::Null);
    let line: ReplyLine = serde_json::from_value(line).map_err(garbled)?;
    let mut replies = Vec::with_capacity(line.got.len());
    for got in &line.got {
        let payload = bodies.split_to(got.body_len.min(bodies.len()));
        replies.push(Reply { from: ids::member(&got.from).map_err(garbled)?, payload });
    }
    let aborted = match &line.aborted_by {
        Some(member) => Some(Reply { from: ids::member(member).map_err(garbled)?, payload: bodies }),
        None => None,
    };
    Ok(Outcome {
        members: line.members,
        replies,
        nulls: line.null,
        failed: line.failed,
        aborted,
        timed_out: line.timed_out,
    })
}

fn garbled(error: impl std::fmt::Display) -> Error {
    Error::Unreachable(client::Error::Protocol(error.to_string()))
}
