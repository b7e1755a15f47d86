//! A session's casts: one lane a group, so that they keep their order; calls are begun in order and awaited apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use multicast::Order;
use multicast::call::{Outcome, Replies};
use serde_json::{Map, Value};
use stack::CastOptions;
use tokio::sync::mpsc;
use wire::GroupName;
use wire::session::{Failure, Op};

use super::connection::{Shared, done, failed};
use super::translate;

/// Casts of one group that may wait in a session; more wait to be read.
const LANE_MAX: usize = 256;
/// How long a call without a time-out of its own may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);

/// A cast, understood.
pub(super) struct Cast {
    group: GroupName,
    options: CastOptions,
    payloads: Vec<Bytes>,
    lazy: Option<Duration>,
}

/// The lanes of one session.
#[derive(Default)]
pub(super) struct Lanes(BTreeMap<GroupName, mpsc::Sender<(u64, Cast)>>);

impl Lanes {
    /// Queues a cast behind the session's earlier ones to the group.
    pub(super) async fn put(&mut self, shared: &Arc<Shared>, id: u64, cast: Cast) {
        let lane = self.0.entry(cast.group.clone()).or_insert_with(|| lane(shared));
        // A lane ends only with its session.
        let _ = lane.send((id, cast)).await;
    }
}

impl Cast {
    pub(super) fn parse(op: Op, body: Bytes) -> Result<Cast, Failure> {
        let Op::Cast { group, order, safe, exclude_self, only, replies, timeout_ms, lazy_ms, lens } = op
        else {
            return Err(translate::bad("not a cast"));
        };
        let options = CastOptions {
            order: translate::order(order.as_deref())?,
            safe,
            exclude_self,
            only: only.iter().map(|text| translate::member(text)).collect::<Result<_, _>>()?,
            replies: translate::replies(replies),
            timeout: timeout_ms.map_or(CALL_WITHIN, Duration::from_millis),
        };
        let payloads = split(body, &lens)?;
        if options.replies != Replies::None && payloads.len() != 1 {
            return Err(translate::bad("a cast that waits for replies is one message: leave lens out"));
        }
        if options.replies != Replies::None && lazy_ms.is_some() {
            return Err(translate::bad("a cast that waits for replies is not held back: leave lazy_ms out"));
        }
        if options.replies != Replies::None && options.order == Order::Gbcast {
            return Err(translate::bad("replies to a gbcast are not collected; use abcast"));
        }
        let lazy = lazy_ms.map(Duration::from_millis);
        Ok(Cast { group: translate::group_name(&group)?, options, payloads, lazy })
    }
}

fn split(mut body: Bytes, lens: &[u32]) -> Result<Vec<Bytes>, Failure> {
    if lens.is_empty() {
        return Ok(vec![body]);
    }
    let sum: u64 = lens.iter().map(|&len| u64::from(len)).sum();
    if sum != body.len() as u64 {
        return Err(translate::bad(format!("lens add up to {sum}, the body has {} bytes", body.len())));
    }
    Ok(lens.iter().map(|&len| body.split_to(len as usize)).collect())
}

fn lane(shared: &Arc<Shared>) -> mpsc::Sender<(u64, Cast)> {
    let (lane, mut casts) = mpsc::channel::<(u64, Cast)>(LANE_MAX);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        while let Some((id, cast)) = casts.recv().await {
            if cast.options.replies == Replies::None {
                let (handle, process) = (&shared.site.handle, shared.process);
                let Cast { group, options, payloads, lazy } = cast;
                let taken = match lazy {
                    Some(patience) => handle.cast_lazily(process, group, options, payloads, patience).await,
                    None => handle.cast(process, group, options, payloads).await,
                };
                let answer = match taken {
                    Ok(()) => done(id, Map::new(), 0),
                    Err(error) => failed(id, translate::refused(&error)),
                };
                shared.answer(answer, Bytes::new()).await;
            } else {
                call(&shared, id, cast).await;
            }
        }
    });
    lane
}

/// Begins a call, and lets it go on apart: its replies must not hold up what the session casts next.
async fn call(shared: &Arc<Shared>, id: u64, mut cast: Cast) {
    let payload = cast.payloads.pop().unwrap_or_default();
    let begun = shared.site.handle.begin_call(shared.process, cast.group, cast.options, payload).await;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let ended = match begun {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(outcome) => tell_outcome(&shared, id, &outcome).await,
            Err(error) => shared.answer(failed(id, translate::refused(&error)), Bytes::new()).await,
        }
    });
}

async fn tell_outcome(shared: &Shared, id: u64, outcome: &Outcome) {
    let summary = serde_json::to_value(translate::reply_summary(outcome)).unwrap_or(Value::Null);
    let mut body = Vec::new();
    for (_, reply) in &outcome.replies {
        body.extend_from_slice(reply);
    }
    if let Some((_, reason)) = &outcome.aborted_by {
        body.extend_from_slice(reason);
    }
    let mut result = Map::new();
    result.insert("replies".to_owned(), summary);
    shared.answer(done(id, result, body.len()), body.into()).await;
}
