//! What a site tells a program, on its way from the session's reader to the program.
//!
//! The reader never waits for the program, so that answers are not held up by events that nobody takes. What may
//! pile up is bounded all the same: messages by the credit that [`Events::next`] grants as they are taken, and
//! everything else by [`CONTROL_EVENTS_MAX`], beyond which the session ends. Probes go by themselves: the newest one
//! is answered when the program next asks for an event, so a program that has stopped asking answers none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use wire::session::{ErrorCode, Event as Line, MESSAGE_COST_BYTES, Op, Request, View};

use crate::session::line_of;

/// Events that are no messages, read and not taken: a program that leaves so many is taken to be gone.
pub const CONTROL_EVENTS_MAX: usize = 4_096;
/// Grant credit again when so many bytes have been taken.
const CREDIT_STEP_BYTES: u64 = 256 * 1024;

/// What a site tells a program.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new view of a group that this process is in, or watches.
    View(View),
    /// A message.
    Message {
        /// The group's name.
        group: String,
        /// The view in which it is delivered.
        view: String,
        /// Who cast it.
        from: String,
        /// In which order.
        order: String,
        /// Set if a reply is wanted: hand it to [`Session::reply`](crate::Session::reply).
        reply_to: Option<String>,
        /// The message.
        payload: Bytes,
    },
    /// The transitional signal of safe delivery.
    Signal {
        /// The group's name.
        group: String,
        /// Who is sure to have what was delivered before.
        members: Vec<String>,
    },
    /// Casting is refused (a view change), or possible again.
    Blocked {
        /// The group's name.
        group: String,
        /// Which.
        blocked: bool,
    },
    /// There is room for casts again.
    Writable {
        /// The group's name.
        group: String,
    },
    /// This process is no longer in the group.
    Left {
        /// The group's name.
        group: String,
        /// Why.
        why: String,
    },
    /// The session is over.
    Ended {
        /// Why.
        why: String,
        /// Set if the site has ended it for a reason for which any other site would, too.
        error: Option<ErrorCode>,
    },
}

/// The site asks whether the program takes its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// To be handed back: [`Session::alive`](crate::Session::alive).
    pub id: u64,
    /// The groups whose members are asked.
    pub groups: Vec<String>,
}

/// The events of a session, in order.
#[derive(Debug)]
pub struct Events {
    events: mpsc::UnboundedReceiver<Event>,
    control: Arc<AtomicUsize>,
    /// None: somebody else answers them.
    probes: Option<Probes>,
    out: mpsc::Sender<Vec<Bytes>>,
    taken_bytes: u64,
}

/// The probes of a session, for a program that answers them by itself. Only the newest waits.
#[derive(Debug)]
pub struct Probes {
    newest: watch::Receiver<Option<Probe>>,
}

/// The reader's end.
pub(crate) struct Incoming {
    events: mpsc::UnboundedSender<Event>,
    control: Arc<AtomicUsize>,
    probes: watch::Sender<Option<Probe>>,
}

/// More events wait than a program leaves that is there.
pub(crate) struct Untaken;

pub(crate) fn queue(out: mpsc::Sender<Vec<Bytes>>) -> (Incoming, Events) {
    let (sender, events) = mpsc::unbounded_channel();
    let (probes, newest) = watch::channel(None);
    let control = Arc::new(AtomicUsize::new(0));
    let incoming = Incoming { events: sender, control: Arc::clone(&control), probes };
    (incoming, Events { events, control, probes: Some(Probes { newest }), out, taken_bytes: 0 })
}

impl Incoming {
    /// Queues what a line says. What nobody listens to is dropped.
    pub(crate) fn push(&self, line: Line, body: Bytes) -> Result<(), Untaken> {
        let event = match line {
            Line::Hello(_) => return Ok(()),
            Line::View(view) => Event::View(view),
            Line::Message { group, view, from, order, reply_to, lens, body_len: _ } => {
                let message = |payload| Event::Message {
                    group: group.clone(),
                    view: view.clone(),
                    from: from.clone(),
                    order: order.clone(),
                    reply_to: reply_to.clone(),
                    payload,
                };
                let lens = if lens.is_empty() { vec![body.len() as u32] } else { lens };
                let mut rest = body;
                for len in lens {
                    let payload = rest.split_to((len as usize).min(rest.len()));
                    let _ = self.events.send(message(payload));
                }
                return Ok(());
            }
            Line::Signal { group, members } => Event::Signal { group, members },
            Line::Blocked { group, blocked } => Event::Blocked { group, blocked },
            Line::Writable { group } => Event::Writable { group },
            Line::Left { group, why } => Event::Left { group, why },
            Line::Probe { id, groups } => {
                self.probes.send_replace(Some(Probe { id, groups }));
                return Ok(());
            }
            Line::Going { why, error } => Event::Ended { why, error },
        };
        let untaken = self.control.fetch_add(1, Ordering::AcqRel);
        let listened_to = self.events.send(event).is_ok();
        if listened_to && untaken >= CONTROL_EVENTS_MAX { Err(Untaken) } else { Ok(()) }
    }

    /// The last event.
    pub(crate) fn end(self, why: String) {
        self.control.fetch_add(1, Ordering::AcqRel);
        let _ = self.events.send(Event::Ended { why, error: None });
    }
}

impl Events {
    /// The next event; `None` after [`Event::Ended`]. Asking for one also answers the site's probes. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        let event = loop {
            let Some(probes) = &mut self.probes else { break self.events.recv().await? };
            tokio::select! {
                biased;
                Some(probe) = probes.next() => self.answer(probe),
                event = self.events.recv() => break event?,
            }
        };
        self.taken(&event);
        Some(event)
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        if let Some(probe) = self.probes.as_mut().and_then(Probes::try_next) {
            self.answer(probe);
        }
        let event = self.events.try_recv().ok()?;
        self.taken(&event);
        Some(event)
    }

    /// Leaves the answering of probes to the program, once: asking for events no longer does it.
    pub fn take_probes(&mut self) -> Option<Probes> {
        self.probes.take()
    }

    fn answer(&self, probe: Probe) {
        // If so many requests wait that there is no room, the site is not reading; it asks again.
        let _ = self.out.try_send(vec![line_of(&Request {
            id: 0,
            op: Op::Alive { probe: probe.id },
            body_len: 0,
        })]);
    }

    fn taken(&mut self, event: &Event) {
        let Event::Message { payload, .. } = event else {
            self.control.fetch_sub(1, Ordering::AcqRel);
            return;
        };
        self.taken_bytes += (payload.len() + MESSAGE_COST_BYTES) as u64;
        if self.taken_bytes >= CREDIT_STEP_BYTES {
            let bytes = std::mem::take(&mut self.taken_bytes);
            let grant = Request { id: 0, op: Op::Credit { bytes }, body_len: 0 };
            // If the queue is full, the credit goes with the next event.
            if self.out.try_send(vec![line_of(&grant)]).is_err() {
                self.taken_bytes = bytes;
            }
        }
    }
}

impl Probes {
    /// The next probe; `None` when the session is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Probe> {
        loop {
            self.newest.changed().await.ok()?;
            if let Some(probe) = self.newest.borrow_and_update().clone() {
                return Some(probe);
            }
        }
    }

    fn try_next(&mut self) -> Option<Probe> {
        match self.newest.has_changed() {
            Ok(true) => self.newest.borrow_and_update().clone(),
            Ok(false) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> Line {
        Line::Blocked { group: "g".into(), blocked: true }
    }

    #[test]
    fn a_program_that_leaves_its_events_is_taken_to_be_gone() {
        let (incoming, mut events) = queue(mpsc::channel(1).0);
        for _ in 0..CONTROL_EVENTS_MAX {
            assert!(incoming.push(blocked(), Bytes::new()).is_ok());
        }
        assert!(events.try_next().is_some());
        assert!(incoming.push(blocked(), Bytes::new()).is_ok(), "one was taken");
        assert!(incoming.push(blocked(), Bytes::new()).is_err());
        drop(events);
        assert!(incoming.push(blocked(), Bytes::new()).is_ok(), "nobody listens: nothing piles up");
    }

    #[tokio::test]
    async fn the_newest_probe_is_answered_by_asking_for_events() {
        let (out, mut written) = mpsc::channel(4);
        let (incoming, mut events) = queue(out);
        for id in [7, 8] {
            let _ = incoming.push(Line::Probe { id, groups: Vec::new() }, Bytes::new());
        }
        let _ = incoming.push(blocked(), Bytes::new());
        assert!(written.try_recv().is_err(), "the program has asked for nothing");
        assert!(matches!(events.next().await, Some(Event::Blocked { .. })));
        let line = String::from_utf8(written.try_recv().expect("an answer")[0].to_vec()).expect("text");
        assert!(line.contains("\"alive\"") && line.contains('8'), "{line}");
        assert!(written.try_recv().is_err(), "only the newest");
    }
}
