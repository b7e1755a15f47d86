//! The machine: one durable group at one store. This file has its state and its inputs and outputs; what it does with
//! them is in the modules below.

mod apply;
mod aside;
mod catchup;
mod change;
mod commit;
mod disk;
mod force;
mod order;
mod read;
mod room;
mod serve;
mod status;
mod transfer;
mod view;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wire::{SiteId, StoreId, Time, ViewId};

use crate::configuration::Change;
use crate::entry::{ClientId, Entry, Number, Request};
use crate::event::{Answer, Event, Fatal, Mode, ProposeError, ReadId, Transmit, View, Why};
use crate::exchange::Stated;
use crate::log::Log;
use crate::message::{Ack, Cast, Life, Message, MessageError, Statement};
use crate::meta::Meta;
use crate::settings::Settings;
use crate::storage::{AfterWrite, CheckpointHead, StoreOp, Token};
use crate::window::Window;
use transfer::Part;

pub use force::Forcing;
pub use status::{Absent, Here, Progress, Status};

/// One durable group at one store: its log, what it knows of the other stores, what waits.
///
/// Made by [`Recovery`](crate::Recovery) from what is on the disk. Call any `handle_*`, [`propose`](Durable::propose),
/// [`read`](Durable::read) or [`change`](Durable::change); then
///
/// 1. [`poll_store`](Durable::poll_store) until it has nothing more, and give those to the disk in this order;
/// 2. [`poll_transmit`](Durable::poll_transmit) until it has nothing more;
/// 3. while the group's endpoint takes casts, [`poll_cast`](Durable::poll_cast), each to be cast as a plain abcast;
/// 4. ask for another view of the same members if [`poll_refresh`](Durable::poll_refresh) says so;
/// 5. [`poll_event`](Durable::poll_event) until it has nothing more; `Apply` is answered with
///    [`handle_applied`](Durable::handle_applied) before the next is there;
/// 6. set a timer for [`poll_timeout`](Durable::poll_timeout).
///
/// From the endpoint it takes, in the endpoint's order: every view ([`handle_view`](Durable::handle_view)), that a view
/// change has begun ([`handle_blocked`](Durable::handle_blocked)), and what was delivered
/// ([`handle_delivery`](Durable::handle_delivery)). Nothing else of the group is cast as an abcast.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Durable {
    settings: Settings,
    me: SiteId,
    store: StoreId,
    life: Life,
    stopped: bool,

    meta: Meta,
    log: Log,
    /// Up to here the log is that of the last active view (D2).
    agreed: u64,
    committed: u64,
    applied: u64,
    /// The time of the state: the greatest of the applied entries.
    clock: u64,
    window: Window,
    /// The current checkpoint.
    checkpoint: Option<CheckpointHead>,

    present: Option<Present>,
    mode: Mode,
    told_surpassed: bool,
    /// What its site was told last: whether the disk is full.
    told_full: bool,
    /// The newest acknowledgement of each site for a view that is not installed here yet.
    early: BTreeMap<SiteId, Ack>,

    disk: disk::Disk,
    apply: apply::Apply,
    reads: read::Reads,
    serving: serve::Serving,
    fetch: catchup::Fetch,
    aside: aside::Aside,
    transfer: Option<transfer::Transfer>,
    change: Option<change::Pending>,
    next_ticket: u64,

    /// Requests proposed here that are not answered.
    open: BTreeMap<(ClientId, u64), Open>,
    open_bytes: usize,
    /// Of those, the ones to be cast.
    to_cast: VecDeque<(ClientId, u64)>,
    /// The statement, while the promise is being written (D5).
    statement: Option<AfterWrite<ViewId>>,
    casts: VecDeque<Cast>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// When acknowledgements are repeated, while something is not committed.
    refresh_at: Option<Time>,
    /// For operators: bytes appended in this life.
    appended_bytes: u64,
}

/// The installed view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Present {
    view: View,
    /// The statements delivered so far, in order.
    stated: Vec<Stated>,
    /// A view change has begun: nothing more is numbered (D1).
    blocked: bool,
    acks: BTreeMap<SiteId, Ack>,
    active: Option<Active>,
}

/// What an active view has beside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Active {
    /// Whose log is the base.
    winner: SiteId,
    base: Number,
    /// Up to here this store's log is the base, by its numbers.
    matched: u64,
    /// The position that the next delivery gets.
    next: u64,
    /// The configuration of the base and those ordered since, by position.
    configurations: Vec<(u64, crate::Configuration)>,
    /// Delivered entries that are not in the log yet.
    waiting: VecDeque<Entry>,
    waiting_bytes: usize,
    /// Fetched entries that are not in the log yet.
    fetched: VecDeque<Entry>,
    /// What this store was before, if it has not stated yet.
    held: Option<Box<Statement>>,
    /// `adopted` is being written (D8).
    adopting: Token,
    /// How far this store has acknowledged in this view.
    acked: u64,
    /// A mark has been cast here in this view and is not applied.
    marked: bool,
    /// What the others were told last in this view: whether the disk is full.
    told_full: bool,
}

impl Active {
    /// The view's first entry (D7).
    fn start(&self) -> u64 {
        self.base.position + 1
    }

    /// The newest configuration that is ordered.
    fn newest(&self) -> &(u64, crate::Configuration) {
        self.configurations.last().expect("an active view has a configuration")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    time: u64,
    request: Request,
    /// The last entry that it is known to have become.
    entry: Option<Number>,
}

/// Timers: each is checked against the present state when it fires, so that one that is over does nothing.
impl Durable {
    /// A time-out that `poll_timeout` had named. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.stopped {
            return;
        }
        if self.refresh_at.is_some_and(|at| now >= at) {
            self.refresh_at = None;
            self.send_ack(None, true);
        }
        self.disk.end_of_full(now);
        self.retry_round(now);
        self.fetch_timed_out(now);
        self.transfer_timed_out(now);
        self.settle(now);
    }

    /// When `handle_timeout` is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.stopped {
            return None;
        }
        let transfer = self.transfer.as_ref().and_then(|transfer| transfer.timeout());
        let stands_aside = self.aside.timeout().filter(|_| self.statement.is_some());
        let disk = self.disk.full_until();
        [self.refresh_at, disk, self.reads.timeout(), self.fetch.timeout(), transfer, stands_aside]
            .into_iter()
            .flatten()
            .min()
    }
}

/// What is asked of it here.
impl Durable {
    /// A client's request, to be answered by [`Event::Answer`]: at once if it was applied before. `time` is the wall
    /// clock here, in milliseconds since 1970. It is cast again in every view until it is answered or
    /// [forgotten](Durable::forget).
    pub fn propose(&mut self, now: Time, time: u64, request: Request) -> Result<(), ProposeError> {
        if self.stopped {
            return Err(ProposeError::Stopped);
        }
        let window = request.sequence.saturating_sub(request.answered);
        if request.payload.len() > self.settings.payload_bytes_max
            || window == 0
            || window > self.settings.window_answers as u64
        {
            return Err(ProposeError::TooLarge);
        }
        let key = (request.client, request.sequence);
        if self.open.contains_key(&key) {
            return Ok(());
        }
        if let Some(answer) = self.window.lookup(request.client, request.sequence)
            && self.apply.running() != Some(key)
        {
            self.events.push_back(Event::Answer { client: key.0, sequence: key.1, answer });
            return Ok(());
        }
        if self.mode != Mode::Active {
            return Err(ProposeError::NotActive);
        }
        if !self.has_room() {
            return Err(ProposeError::Full);
        }
        if self.open.len() >= self.settings.open_max || self.open_bytes >= self.settings.open_bytes_max {
            return Err(ProposeError::Busy);
        }
        self.open_bytes += request.payload.len();
        self.open.insert(key, Open { time, request, entry: None });
        self.to_cast.push_back(key);
        self.settle(now);
        Ok(())
    }

    /// Nobody waits for this request any more. It may have been applied, or be applied yet.
    pub fn forget(&mut self, client: ClientId, sequence: u64) {
        if let Some(open) = self.open.remove(&(client, sequence)) {
            self.open_bytes -= open.request.payload.len();
        }
    }

    /// Asks when everything that was acknowledged anywhere before now is applied here (D12): [`Event::Read`]. A read
    /// waits over view changes.
    pub fn read(&mut self, now: Time) -> Result<ReadId, ProposeError> {
        if self.stopped {
            return Err(ProposeError::Stopped);
        }
        if self.mode != Mode::Active {
            return Err(ProposeError::NotActive);
        }
        let id = self.reads.add(self.settings.reads_max).ok_or(ProposeError::Busy)?;
        self.settle(now);
        Ok(id)
    }

    /// Nobody waits for this read any more.
    pub fn forget_read(&mut self, id: ReadId) {
        self.reads.forget(id);
    }

    fn answer(&mut self, client: ClientId, sequence: u64, answer: Answer) {
        if self.open.contains_key(&(client, sequence)) {
            self.forget(client, sequence);
            self.events.push_back(Event::Answer { client, sequence, answer });
        }
    }
}

/// From the network.
impl Durable {
    /// A message from another site's machine. One about another view than the installed one is dropped: what matters is
    /// sent again.
    pub fn handle_message(&mut self, now: Time, from: SiteId, message: &[u8]) -> Result<(), MessageError> {
        let message = Message::decode(message)?;
        if self.stopped {
            return Ok(());
        }
        let installed = self.present.as_ref().map(|present| present.view.id);
        if let Message::Ack(ack) = &message
            && installed.is_none_or(|view| ack.view > view)
            && (self.early.len() < EARLY_MAX || self.early.contains_key(&from))
        {
            self.early.insert(from, *ack);
        }
        let Some(present) = &self.present else { return Ok(()) };
        if message.view() != present.view.id || !present.view.sites.contains(&from) {
            return Ok(());
        }
        match message {
            Message::Ack(ack) => self.handle_ack(from, ack)?,
            Message::Ask { round, .. } => self.handle_ask(from, round),
            Message::Here { round, acked, configuration, .. } => {
                self.handle_here(from, round, acked, configuration);
            }
            Message::Fetch { after, bytes_max, .. } => self.handle_fetch(from, after, bytes_max as usize),
            Message::Tail { after, records, .. } => self.handle_tail(now, from, after, records)?,
            Message::Refuse { why, .. } => self.handle_refuse(now, from, why),
            Message::FetchCheckpoint { number, at, bytes_max, several, .. } => {
                let bytes_max = if several { bytes_max as usize } else { 0 };
                self.handle_fetch_checkpoint(from, number, at, bytes_max);
            }
            Message::Want { position, proof, .. } => self.handle_want(from, position, proof),
            Message::Found { record, .. } => self.handle_found(record.into())?,
            Message::Part { head, at, next, bytes, more, .. } => {
                self.handle_part(now, from, head, Part { at, next, bytes, more });
            }
        }
        self.settle(now);
        Ok(())
    }

    fn send(&mut self, to: Vec<SiteId>, message: &Message) {
        if !to.is_empty() {
            self.transmits.push_back(Transmit { to, message: message.encode() });
        }
    }

    fn send_others(&mut self, message: &Message) {
        let Some(present) = &self.present else { return };
        self.send(crate::message::others(&present.view.sites, self.me), message);
    }
}

/// The most sites of which an early acknowledgement is kept.
const EARLY_MAX: usize = 512;

/// Outputs.
impl Durable {
    /// The next operation for the disk, in order.
    pub fn poll_store(&mut self) -> Option<StoreOp> {
        if self.stopped {
            return None;
        }
        self.disk.poll()
    }

    /// The next message to another site.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.stopped {
            return None;
        }
        self.transmits.pop_front()
    }

    /// The next payload to be cast as a plain abcast in the group. Call it only while the endpoint takes casts; what it
    /// refuses all the same may be dropped if a view change has begun, and must be cast again if not.
    pub fn poll_cast(&mut self) -> Option<Bytes> {
        if self.stopped {
            return None;
        }
        if let Some(cast) = self.casts.pop_front() {
            return Some(cast.encode());
        }
        while let Some(key) = self.to_cast.pop_front() {
            if let Some(open) = self.open.get(&key) {
                return Some(Cast::Request(open.time, open.request.clone()).encode());
            }
        }
        None
    }

    /// Whether it wants another view of the same members (D21). One that does not come is asked for again.
    pub fn poll_refresh(&mut self) -> bool {
        !self.stopped && self.aside.take_refresh()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends it: nothing leaves any more but the event that says so (D4).
    fn fail(&mut self, why: Fatal) {
        if !self.stopped {
            self.stopped = true;
            self.events.push_back(Event::Fatal(why));
        }
    }

    /// Does what an input has made possible.
    fn settle(&mut self, now: Time) {
        if self.stopped {
            return;
        }
        self.open_statement(now);
        self.fill_log();
        self.acknowledge();
        self.tell_room();
        self.log.shrink(self.durable(), self.settings.recent_bytes_max);
        self.commit();
        self.apply_committed(now);
        self.start_round(now);
        self.catch_up(now);
        self.go_on_with_transfer(now);
        let unsettled =
            self.active().is_some_and(|a| self.committed + 1 < a.next || self.agreed + 1 < a.next);
        match (unsettled, self.refresh_at) {
            (true, None) => self.refresh_at = Some(now + self.settings.retry),
            (false, Some(_)) => self.refresh_at = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn active(&self) -> Option<&Active> {
        self.present.as_ref()?.active.as_ref()
    }

    fn active_mut(&mut self) -> Option<&mut Active> {
        self.present.as_mut()?.active.as_mut()
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode;
            self.events.push_back(Event::Mode(mode));
        }
    }
}

/// What recovery found: the parts of a machine that come from the disk.
pub(crate) struct Found {
    pub meta: Meta,
    pub log: Log,
    pub checkpoint: Option<CheckpointHead>,
    pub window: Window,
    /// The disk has records behind the log's end, to be cut.
    pub excess: bool,
}

impl Durable {
    pub(crate) fn new(settings: Settings, me: SiteId, store: StoreId, life: Life, found: Found) -> Durable {
        let Found { meta, log, checkpoint, window, excess } = found;
        let head = checkpoint.clone().unwrap_or_default();
        let at = head.number.position;
        let mut machine = Durable {
            settings,
            me,
            store,
            life,
            stopped: false,
            meta,
            log,
            agreed: at,
            committed: at,
            applied: at,
            clock: head.clock,
            window,
            checkpoint,
            present: None,
            mode: Mode::ReadOnly(Why::NoView),
            told_surpassed: false,
            told_full: false,
            early: BTreeMap::new(),
            disk: disk::Disk::default(),
            apply: apply::Apply::default(),
            reads: read::Reads::default(),
            serving: serve::Serving::default(),
            fetch: catchup::Fetch::default(),
            aside: aside::Aside::default(),
            transfer: None,
            change: None,
            next_ticket: 1,
            open: BTreeMap::new(),
            open_bytes: 0,
            to_cast: VecDeque::new(),
            statement: None,
            casts: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            refresh_at: None,
            appended_bytes: 0,
        };
        if excess {
            // The floor, if there is one, comes first [D15]: the gate keeps the cut until it is there.
            let token = machine.save_meta();
            machine.disk.gate(token);
            machine.disk.cut_when_open(machine.log.end() + 1);
        }
        machine
    }

    /// Asks for a change of the configuration (D11): [`Event::Changed`].
    pub fn change(&mut self, now: Time, change: Change) -> Result<(), crate::ChangeError> {
        self.propose_change(change)?;
        self.settle(now);
        Ok(())
    }
}
