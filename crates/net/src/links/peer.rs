//! One peer: its addresses, the connection in use, and the rule by which two sites that dial each other at once
//! end up with exactly one connection.
//!
//! A connection is made in three steps after TLS: the dialer's Hello, the accepter's Welcome, the dialer's
//! Confirm. The accepter answers Busy instead of Welcome if it has itself sent a Hello to this peer and has the
//! lower id; in every other case the dial that has got as far as a Hello wins, and the other side gives its own
//! up. The accepter uses the connection from the Confirm on, the dialer from the Welcome on. A dialer that has given
//! up never confirms, so a crossed dial cannot replace the connection that beat it. A site dials only while it
//! has no connection, or to have one that shows its new certificate; so a confirmed new connection means that the peer
//! has lost the old one, or gives it up: it replaces it.
//! The Confirm is the first packet of the dialer's queue, so that nothing can come between the decision and it.
//!
//! A dialer that gives up the old connection for the new one closes it before its Confirm has come. That end is no news
//! to the accepter, who waits for the Confirm: it becomes news if the Confirm does not come.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use wire::{Incarnation, SiteId};

use super::outbox::{Outbox, Outgoing, PROBE_BIT, Pushed};
use crate::Refusal;
use crate::cert::Certificate;
use crate::input::{Down, Input, InputSender};
use crate::metrics::Metrics;
use crate::probe::Session;

/// Names one connection, or one attempt at one, within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// A site is not dialed anew more often than this because others have been reached: a series of dials must have time to
/// come to an attempt that waits long enough for a far site.
const NUDGE_EVERY: Duration = Duration::from_secs(1);

/// How far this site's own dial has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Idle,
    Connecting(ConnectionId),
    HelloSent(ConnectionId),
}

/// The dialer's last word in the handshake.
pub(crate) const CONFIRM: &[u8] = b"ok";

/// What an accepter says to a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Welcome,
    Busy,
    /// This site keeps away from all others.
    Away,
    /// A later life than this one has been here.
    Stale(Incarnation),
}

/// Why a packet was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full; `Input::Writable` will say when it has room. Nothing was queued.
    #[error("the queue to this site is full")]
    Full,
    /// It was queued, and the queue is full now; `Input::Writable` will say when it has room.
    #[error("the queue to this site is full now")]
    Filled,
    /// There is no connection. Nothing was queued.
    #[error("no connection to this site")]
    Down,
    /// Longer than any packet may be. Nothing was queued.
    #[error("a packet of {0} bytes is too long")]
    TooLong(usize),
}

/// A peer and its one connection.
pub(crate) struct Peer {
    pub(crate) site: SiteId,
    me: SiteId,
    state: Mutex<State>,
    /// Rung when the dialer has something to look at.
    pub(crate) changed: Notify,
    inputs: InputSender,
    metrics: Arc<Metrics>,
}

struct State {
    addresses: Vec<SocketAddr>,
    /// Bumped whenever the dialer is to begin anew: other addresses, or a dial that is wanted now.
    series: u64,
    nudged: Option<Instant>,
    dial: Dial,
    accepting: Option<(ConnectionId, Incarnation)>,
    /// How the connection ended whose successor is being accepted.
    superseded: Option<Down>,
    up: Option<Up>,
    newest: Incarnation,
    /// Why the last dial that failed did, and when.
    problem: Option<(SystemTime, String)>,
    /// A connection is to show this site's identity of this generation, or a later one.
    fresh: u64,
    /// This site keeps away from all others: there is to be no connection.
    away: bool,
}

struct Up {
    id: ConnectionId,
    incarnation: Incarnation,
    certificate: Certificate,
    generation: u64,
    outbox: Outbox,
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    probes: Option<Arc<Session>>,
}

/// What a new connection brings along.
pub(crate) struct Established {
    pub(crate) id: ConnectionId,
    pub(crate) incarnation: Incarnation,
    pub(crate) hello: Bytes,
    /// The peer's.
    pub(crate) certificate: Certificate,
    /// Of which of this site's identities it is.
    pub(crate) generation: u64,
    pub(crate) probes: Option<Arc<Session>>,
    pub(crate) queue_bytes_max: usize,
}

/// What the tasks of a connection need of it.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) id: ConnectionId,
    pub(crate) wake: Arc<Notify>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl State {
    /// There is none and may be one, or one that is to be replaced, and the peer is not just making one.
    fn lacks_connection(&self) -> bool {
        !self.away && self.accepting.is_none() && self.up.as_ref().is_none_or(|up| up.generation < self.fresh)
    }
}

impl Peer {
    pub(crate) fn new(
        me: SiteId,
        site: SiteId,
        away: bool,
        inputs: InputSender,
        metrics: Arc<Metrics>,
    ) -> Peer {
        let state = State {
            addresses: Vec::new(),
            series: 0,
            nudged: None,
            dial: Dial::Idle,
            accepting: None,
            superseded: None,
            up: None,
            newest: Incarnation(0),
            problem: None,
            fresh: 0,
            away,
        };
        Peer { site, me, state: Mutex::new(state), changed: Notify::new(), inputs, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the addresses; none means that the peer is not in the table.
    pub(crate) fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        let mut state = self.state();
        if state.addresses != addresses {
            state.addresses = addresses;
            state.series += 1;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Ends the pause before the next dial, and a dial that hangs.
    pub(crate) fn dial_now(&self) {
        self.state().series += 1;
        self.changed.notify_one();
    }

    /// Another site has been reached: perhaps this one can be, too. As [`Peer::dial_now`], if nothing is under way, and
    /// not too often.
    pub(crate) fn nudge(&self, now: Instant) {
        let mut state = self.state();
        let busy =
            state.up.is_some() || state.accepting.is_some() || matches!(state.dial, Dial::HelloSent(_));
        let lately = state.nudged.is_some_and(|at| now.saturating_duration_since(at) < NUDGE_EVERY);
        if busy || lately || state.addresses.is_empty() {
            return;
        }
        state.nudged = Some(now);
        state.series += 1;
        drop(state);
        self.changed.notify_one();
    }

    /// The addresses, and the number of the series of dials that they belong to.
    pub(crate) fn addresses(&self) -> (Vec<SocketAddr>, u64) {
        let state = self.state();
        (state.addresses.clone(), state.series)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state().up.is_some()
    }

    /// A dial has failed, for this reason. Whether the one before failed for another, or there was none.
    pub(crate) fn note_problem(&self, problem: &str) -> bool {
        let before = self.state().problem.replace((SystemTime::now(), problem.to_owned()));
        before.is_none_or(|(_, before)| before != problem)
    }

    /// Why there is no connection, as far as this site's dials tell.
    pub(crate) fn problem(&self) -> Option<(SystemTime, String)> {
        let state = self.state();
        if state.up.is_none() { state.problem.clone() } else { None }
    }

    /// The certificate that the peer has shown on the connection in use.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.state().up.as_ref().map(|up| up.certificate.clone())
    }

    /// A connection that does not show this site's identity of this generation is to be replaced by one that does.
    pub(crate) fn refresh(&self, generation: u64) {
        let mut state = self.state();
        state.fresh = state.fresh.max(generation);
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the connection, and lets none come to be; or lets them come again, and dials at once.
    pub(crate) fn set_away(&self, away: bool) {
        let mut state = self.state();
        if state.away == away {
            return;
        }
        state.away = away;
        state.series += 1;
        if away {
            state.dial = Dial::Idle;
            state.problem = Some((SystemTime::now(), Refusal::NoRoom.to_string()));
        }
        drop(state);
        if !away || !self.break_up(Down::Closed) {
            self.changed.notify_one();
        }
    }

    /// Whether this site has a reason to dial.
    pub(crate) fn wants_dial(&self) -> bool {
        let state = self.state();
        state.lacks_connection() && !state.addresses.is_empty()
    }

    /// Begins a dial; false if there is no reason to.
    pub(crate) fn begin_dial(&self, id: ConnectionId) -> bool {
        let mut state = self.state();
        let may = state.lacks_connection();
        if may {
            state.dial = Dial::Connecting(id);
        }
        may
    }

    /// Called right before the Hello is sent; false if this dial has been given up.
    pub(crate) fn may_send_hello(&self, id: ConnectionId) -> bool {
        let mut state = self.state();
        let may = state.dial == Dial::Connecting(id);
        if may {
            state.dial = Dial::HelloSent(id);
        }
        may
    }

    /// Whether the dial is still wanted.
    pub(crate) fn is_dialing(&self, id: ConnectionId) -> bool {
        matches!(self.state().dial, Dial::Connecting(dial) | Dial::HelloSent(dial) if dial == id)
    }

    pub(crate) fn end_dial(&self, id: ConnectionId) {
        let mut state = self.state();
        if matches!(state.dial, Dial::Connecting(dial) | Dial::HelloSent(dial) if dial == id) {
            state.dial = Dial::Idle;
        }
    }

    /// The peer that was dialed has seen a later life of this site, and refuses this one.
    pub(crate) fn told_stale(&self, newest: Incarnation) {
        self.inputs.send(Input::Stale { newest });
    }

    /// A peer that dialed has said hello.
    pub(crate) fn answer(&self, id: ConnectionId, incarnation: Incarnation) -> Answer {
        let mut state = self.state();
        if incarnation < state.newest {
            return Answer::Stale(state.newest);
        }
        if state.away {
            return Answer::Away;
        }
        if let Dial::HelloSent(_) = state.dial
            && self.me < self.site
        {
            return Answer::Busy;
        }
        if let Dial::Connecting(_) = state.dial {
            state.dial = Dial::Idle;
            self.changed.notify_one();
        }
        state.accepting = Some((id, incarnation));
        Answer::Welcome
    }

    /// The accepter's side did not come to a Confirm.
    pub(crate) fn end_accept(&self, id: ConnectionId) {
        let mut state = self.state();
        if state.accepting.is_some_and(|(accepting, _)| accepting == id) {
            state.accepting = None;
            if let Some(reason) = state.superseded.take() {
                self.inputs.send(Input::Down { site: self.site, reason });
            }
            drop(state);
            self.changed.notify_one();
        }
    }

    /// A connection is complete: takes it into use, unless it has been given up meanwhile.
    pub(crate) fn establish(&self, new: Established) -> Option<Running> {
        let mut state = self.state();
        let dialed = state.dial == Dial::HelloSent(new.id);
        let accepted = state.accepting.is_some_and(|(id, _)| id == new.id);
        if !(dialed || accepted) || new.incarnation < state.newest || state.away {
            return None;
        }
        if dialed && state.accepting.is_some() && self.me > self.site {
            // Both dials were welcomed: the lower site had its answer before our Hello came. Its Confirm is on
            // its way; if it is not, the dialer tries again.
            return None;
        }
        let mut outbox = Outbox::new(new.queue_bytes_max);
        if dialed {
            let pushed = outbox.push(0, CONFIRM, Bytes::new());
            assert_ne!(pushed, Pushed::Refused, "an empty queue takes any packet");
        }
        state.dial = Dial::Idle;
        state.accepting = None;
        state.newest = new.incarnation;
        state.problem = None;
        if let Some(old) = state.up.take() {
            self.finish(old, Down::Replaced);
        } else if state.superseded.take().is_some() {
            self.inputs.send(Input::Down { site: self.site, reason: Down::Replaced });
        }
        let (stop, stopped) = watch::channel(false);
        let wake = Arc::new(Notify::new());
        state.up = Some(Up {
            id: new.id,
            incarnation: new.incarnation,
            certificate: new.certificate,
            generation: new.generation,
            outbox,
            wake: wake.clone(),
            stop,
            probes: new.probes,
        });
        self.metrics.connections_up.count();
        // Under the lock, so that inputs of one connection never stand between those of another.
        self.inputs.send(Input::Up { site: self.site, incarnation: new.incarnation, hello: new.hello });
        drop(state);
        self.changed.notify_one();
        Some(Running { id: new.id, wake, stop: stopped })
    }

    /// Ends a connection, if it is still the one in use.
    pub(crate) fn down(&self, id: ConnectionId, reason: Down) -> bool {
        self.down_if(|up| up.id == id, reason)
    }

    /// Ends the connection in use, whichever it is.
    pub(crate) fn break_up(&self, reason: Down) -> bool {
        self.down_if(|_| true, reason)
    }

    /// Ends the connection in use if it is with this life of the site.
    pub(crate) fn drop_silent(&self, incarnation: Incarnation) -> bool {
        self.down_if(|up| up.incarnation == incarnation, Down::Silent)
    }

    /// Ends the connection in use if its certificate is one of these.
    pub(crate) fn drop_certified(&self, which: impl FnOnce(&Certificate) -> bool) -> bool {
        self.down_if(|up| which(&up.certificate), Down::Expelled)
    }

    fn down_if(&self, which: impl FnOnce(&Up) -> bool, reason: Down) -> bool {
        let mut state = self.state();
        if !state.up.as_ref().is_some_and(which) {
            return false;
        }
        let up = state.up.take().expect("it was there under the same lock");
        let life = up.incarnation;
        if reason == Down::Closed && state.accepting.is_some_and(|(_, incarnation)| incarnation == life) {
            self.stop(up);
            state.superseded = Some(reason);
        } else {
            self.finish(up, reason);
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    fn finish(&self, up: Up, reason: Down) {
        self.stop(up);
        self.inputs.send(Input::Down { site: self.site, reason });
    }

    /// Ends a connection's tasks, and says nothing.
    fn stop(&self, up: Up) {
        self.metrics.connections_down.count();
        let _ = up.stop.send(true);
        if let Some(probes) = up.probes {
            probes.close();
        }
    }

    /// Every address refused a dial.
    pub(crate) fn refused(&self) {
        let state = self.state();
        if state.up.is_none() {
            self.inputs.send(Input::Down { site: self.site, reason: Down::Refused });
        }
    }

    /// Queues a packet; `wake` says whether to ring for the writer now.
    #[inline]
    pub(crate) fn send(&self, header: &[u8], body: Bytes, wake: bool) -> Result<(), SendError> {
        let mut state = self.state();
        let up = state.up.as_mut().ok_or(SendError::Down)?;
        let pushed = up.outbox.push(0, header, body);
        if wake || pushed != Pushed::Roomy {
            up.wake.notify_one();
        }
        match pushed {
            Pushed::Roomy => return Ok(()),
            Pushed::Filled | Pushed::Refused => self.metrics.queue_full.count(),
        }
        Err(if pushed == Pushed::Filled { SendError::Filled } else { SendError::Full })
    }

    /// Queues a probe behind what already waits.
    pub(crate) fn send_probe(&self, probe: Bytes) -> Result<(), SendError> {
        let mut state = self.state();
        let up = state.up.as_mut().ok_or(SendError::Down)?;
        let pushed = up.outbox.push(PROBE_BIT, &[], probe);
        up.wake.notify_one();
        if pushed == Pushed::Refused { Err(SendError::Full) } else { Ok(()) }
    }

    /// Rings for the writer.
    pub(crate) fn wake(&self) {
        if let Some(up) = &self.state().up {
            up.wake.notify_one();
        }
    }

    pub(crate) fn probes(&self) -> Option<Arc<Session>> {
        self.state().up.as_ref()?.probes.clone()
    }

    /// What waits for the writer; `None` if the connection is no longer in use.
    pub(crate) fn take(&self, id: ConnectionId) -> Option<Outgoing> {
        let mut state = self.state();
        state.up.as_mut().filter(|up| up.id == id).map(|up| up.outbox.take())
    }

    /// The writer has written so many bytes.
    pub(crate) fn written(&self, id: ConnectionId, bytes: usize) {
        let mut state = self.state();
        if let Some(up) = state.up.as_mut().filter(|up| up.id == id)
            && up.outbox.written(bytes)
        {
            self.inputs.send(Input::Writable(self.site));
        }
    }

    /// Hands inputs over on behalf of a connection, unless it is no longer in use.
    pub(crate) fn hand_over(&self, id: ConnectionId, give: impl FnOnce(&InputSender)) -> bool {
        let state = self.state();
        let current = state.up.as_ref().is_some_and(|up| up.id == id);
        if current {
            give(&self.inputs);
        }
        current
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
