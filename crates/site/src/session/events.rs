//! Passes a process's events on to its client: messages within the client's credit, runs of messages in one line.

use std::sync::Arc;

use bytes::Bytes;
use wire::session::{Event, MESSAGE_COST_BYTES};

use super::connection::{Shared, line};
use super::translate;
use crate::handle::{Events, Probes, ProcessEvent};

/// A run of messages in one line is at most so long …
const RUN_BYTES_MAX: usize = 64 * 1024;
/// … in bytes, and has at most so many messages.
const RUN_MESSAGES_MAX: usize = 1_024;

/// Passes probes on past the messages that wait for credit.
pub(super) async fn ask(shared: Arc<Shared>, mut probes: Probes) {
    while let Some(probe) = probes.next().await {
        let groups = probe.groups.iter().map(ToString::to_string).collect();
        if shared.out.send(vec![line(&Event::Probe { id: probe.id, groups })]).await.is_err() {
            return;
        }
    }
}

pub(super) async fn pass_on(shared: Arc<Shared>, mut events: Events) {
    let mut next = None;
    loop {
        let event = match next.take() {
            Some(event) => event,
            None => match events.next().await {
                Some(event) => event,
                None => {
                    let why = "the site is going down; connect to another".to_owned();
                    let _ = shared.out.send(vec![line(&Event::Going { why, error: None })]).await;
                    return;
                }
            },
        };
        let pieces = match event {
            ProcessEvent::Message { .. } => {
                let (pieces, after) = run(&shared, event, &mut events).await;
                next = after;
                pieces
            }
            ProcessEvent::View { view, me, transitional } => {
                vec![line(&Event::View(translate::view(&view, me, &transitional)))]
            }
            ProcessEvent::Signal { group, members } => {
                let members = members.iter().map(ToString::to_string).collect();
                vec![line(&Event::Signal { group: group.to_string(), members })]
            }
            ProcessEvent::Blocked { group, blocked } => {
                vec![line(&Event::Blocked { group: group.to_string(), blocked })]
            }
            ProcessEvent::Left { group, why } => {
                vec![line(&Event::Left { group: group.to_string(), why })]
            }
        };
        if shared.out.send(pieces).await.is_err() {
            return;
        }
    }
}

/// A message and those behind it that differ from it only in what they say; and the event after them.
async fn run(
    shared: &Shared,
    first: ProcessEvent,
    events: &mut Events,
) -> (Vec<Bytes>, Option<ProcessEvent>) {
    let ProcessEvent::Message { group, view, from, order, reply_to, payload } = first else {
        return (Vec::new(), Some(first));
    };
    let mut run_bytes = payload.len();
    let mut run = vec![payload];
    let mut after = None;
    while reply_to.is_none() && run_bytes < RUN_BYTES_MAX && run.len() < RUN_MESSAGES_MAX {
        match events.try_next() {
            Some(ProcessEvent::Message { group: g, view: v, from: f, order: o, reply_to: None, payload })
                if g == group && v == view && f == from && o == order =>
            {
                run_bytes += payload.len();
                run.push(payload);
            }
            other => {
                after = other;
                break;
            }
        }
    }
    shared.credit.spend(run_bytes + run.len() * MESSAGE_COST_BYTES).await;
    let lens = match run.len() {
        1 => Vec::new(),
        _ => run.iter().map(|payload| payload.len() as u32).collect(),
    };
    let message = Event::Message {
        group: group.to_string(),
        view: view.to_string(),
        from: from.to_string(),
        order: translate::order_name(order).to_owned(),
        reply_to: reply_to.map(|ticket| shared.keep_ticket(ticket)),
        lens,
        body_len: run_bytes,
    };
    (std::iter::once(line(&message)).chain(run).collect(), after)
}
