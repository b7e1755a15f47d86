//! The events of one membership on their way from the process's one stream to the program. What is not taken is
//! counted over all streams of the process; beyond a bound no more is read, which the site feels.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{Notify, mpsc};
use wire::MemberId;

use crate::event::Event;
use crate::view::View;

/// Bytes of events that a process may leave untaken before its groups are held back.
const UNTAKEN_BYTES_MAX: usize = 4 << 20;
/// What an event costs beside its payload.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// What goes through a queue.
#[derive(Debug)]
pub(crate) enum Entry {
    /// For the program.
    Event(Event),
    /// Nothing: it wakes a program that waits for events, so that a probe is answered.
    Wake,
}

/// An answer to the site's question whether the program takes its events. It is given when the last stream that
/// was asked has been asked for an event.
#[derive(Debug)]
pub(crate) enum Pong {
    /// Over a session.
    Session {
        /// Where to answer.
        session: client::Session,
        /// Which probe.
        probe: u64,
    },
    /// To the site inside this program.
    Local {
        /// Where to answer.
        handle: site::Handle,
        /// Whose streams were asked.
        process: wire::ProcessId,
        /// Which probe.
        probe: u64,
    },
}

impl Drop for Pong {
    fn drop(&mut self) {
        // Without waiting for room on the wire.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        match self {
            Pong::Session { session, probe } => {
                let (session, probe) = (session.clone(), *probe);
                runtime.spawn(async move { session.alive(probe).await });
            }
            Pong::Local { handle, process, probe } => {
                let (handle, process, probe) = (handle.clone(), *process, *probe);
                runtime.spawn(async move { handle.alive(process, probe).await });
            }
        }
    }
}

/// The newest probe of a stream that was not answered.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<Mutex<Option<Arc<Pong>>>>);

impl Asked {
    fn ask(&self, pong: Arc<Pong>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pong);
    }

    fn answer(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Entry {
    fn cost(&self) -> usize {
        match self {
            Entry::Event(Event::Message(message)) => message.payload.len() + EVENT_OVERHEAD_BYTES,
            Entry::Event(_) | Entry::Wake => EVENT_OVERHEAD_BYTES,
        }
    }
}

/// What a process has not taken, over all its streams.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    untaken_bytes: AtomicUsize,
    room: Notify,
}

impl Budget {
    /// Waits until there is room. One waiter at a time: the process's pump.
    pub(crate) async fn room(&self) {
        while self.untaken_bytes.load(Ordering::Acquire) > UNTAKEN_BYTES_MAX {
            // A release between the load and the wait leaves a permit behind, so that it is not missed.
            self.room.notified().await;
        }
    }

    fn charge(&self, bytes: usize) {
        self.untaken_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn release(&self, bytes: usize) {
        let before = self.untaken_bytes.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "what is released was charged");
        if before > UNTAKEN_BYTES_MAX && before - bytes <= UNTAKEN_BYTES_MAX {
            self.room.notify_one();
        }
    }
}

/// How far the program has come in a group's events: what it may believe of its membership.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    state: Mutex<SeenState>,
}

#[derive(Debug, Default)]
struct SeenState {
    member: Option<MemberId>,
    view: Option<Arc<View>>,
}

impl Seen {
    pub(crate) fn member(&self) -> Option<MemberId> {
        self.lock().member
    }

    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.lock().view.clone()
    }

    pub(crate) fn joined(&self, member: MemberId) {
        self.lock().member = Some(member);
    }

    fn take(&self, event: &Event) {
        match event {
            Event::View(view) => {
                let mut state = self.lock();
                state.view = Some(Arc::clone(view));
                state.member = state.member.or(view.me);
            }
            Event::SiteLost { why: _ } | Event::Left { why: _ } => *self.lock() = SeenState::default(),
            Event::Rejoined { member, site: _ } => self.joined(*member),
            Event::Message(_) | Event::Signal { .. } | Event::Blocked | Event::Unblocked => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, SeenState> {
        // Nothing in here panics while it is held; were it poisoned, its content would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pump's end of a queue.
#[derive(Debug)]
pub(crate) struct Sink {
    entries: mpsc::UnboundedSender<Entry>,
    budget: Arc<Budget>,
    seen: Arc<Seen>,
    asked: Asked,
}

impl Sink {
    /// Asks whether the program takes this stream's events: it answers with the next one it takes, or by waiting.
    pub(crate) fn ask(&self, pong: Arc<Pong>) {
        self.asked.ask(pong);
        if !self.send(Entry::Wake) {
            // A stream that was dropped holds nobody up.
            self.asked.answer();
        }
    }

    /// Hands an entry over; says whether the program still has the stream.
    pub(crate) fn send(&self, entry: Entry) -> bool {
        let cost = entry.cost();
        self.budget.charge(cost);
        let Err(mpsc::error::SendError(entry)) = self.entries.send(entry) else { return true };
        self.budget.release(cost);
        // Nobody will take it: the program has seen all that it is ever going to.
        if let Entry::Event(event) = &entry {
            self.seen.take(event);
        }
        false
    }
}

/// The events of one group, in order. A stream that ends after [`Event::Left`].
///
/// The streams of a process share one bound on what is not taken: a program that leaves one of them alone holds
/// back all of its groups. Dropping a stream discards what comes for it; it does not leave the group.
#[derive(Debug)]
pub struct Events {
    entries: mpsc::UnboundedReceiver<Entry>,
    budget: Arc<Budget>,
    seen: Arc<Seen>,
    asked: Asked,
}

pub(crate) fn queue(budget: &Arc<Budget>) -> (Sink, Events) {
    let (sender, entries) = mpsc::unbounded_channel();
    let seen = Arc::new(Seen::default());
    let asked = Asked::default();
    let sink =
        Sink { entries: sender, budget: Arc::clone(budget), seen: Arc::clone(&seen), asked: asked.clone() };
    (sink, Events { entries, budget: Arc::clone(budget), seen, asked })
}

impl Events {
    /// The next event; `None` when there will be no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_taken(context)).await
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            let entry = self.entries.try_recv().ok()?;
            if let Some(event) = self.take(entry) {
                return Some(event);
            }
        }
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let Some(entry) = ready!(self.entries.poll_recv(context)) else {
                return Poll::Ready(None);
            };
            if let Some(event) = self.take(entry) {
                return Poll::Ready(Some(event));
            }
        }
    }

    fn take(&self, entry: Entry) -> Option<Event> {
        self.budget.release(entry.cost());
        self.asked.answer();
        match entry {
            Entry::Event(event) => {
                self.seen.take(&event);
                Some(event)
            }
            Entry::Wake => None,
        }
    }
}

impl futures_core::Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_taken(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.entries.close();
        self.asked.answer();
        while let Ok(entry) = self.entries.try_recv() {
            self.budget.release(entry.cost());
            if let Entry::Event(event) = &entry {
                self.seen.take(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left() -> Entry {
        Entry::Event(Event::Left { why: "over".into() })
    }

    #[tokio::test]
    async fn what_is_dropped_untaken_makes_room_again() {
        let budget = Arc::new(Budget::default());
        let (sink, events) = queue(&budget);
        for _ in 0..=UNTAKEN_BYTES_MAX / EVENT_OVERHEAD_BYTES {
            assert!(sink.send(left()), "the stream is there");
        }
        let full = tokio::time::timeout(std::time::Duration::ZERO, budget.room()).await;
        assert!(full.is_err(), "there is no room while nothing is taken");
        drop(events);
        budget.room().await;
        assert!(!sink.send(left()));
        assert_eq!(budget.untaken_bytes.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_waiting_pump_goes_on_when_enough_is_taken() {
        let budget = Arc::new(Budget::default());
        let (sink, mut events) = queue(&budget);
        for _ in 0..=UNTAKEN_BYTES_MAX / EVENT_OVERHEAD_BYTES {
            assert!(sink.send(left()), "the stream is there");
        }
        let pump = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.room().await }
        });
        assert!(events.next().await.is_some());
        pump.await.expect("the pump goes on");
    }
}
