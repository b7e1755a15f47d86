//! The endpoint: one group at one site.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use membership::group::GroupView;
use wire::{Bug, GroupId, MemberId, SiteId, SiteIncarnation, Time, ViewId};

use crate::config::{Config, GBCAST_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::event::{
    Cast, CastError, Event, FrameError, MessageNumber, Order, Transition, Transmit, ViewError,
};
use crate::flush::{Change, Previous};
use crate::frame::{
    self, BODY_BYTES_MAX, Data, Flush, Gbcast, Head, Kind, MESSAGE, MessageHeader, RUNS_MAX, Trailer, Writer,
};
use crate::inbox::{Batch, Has};
use crate::order::Run;
use crate::outbox::{Large, Open, Outbox, WHOLE_BYTES_MAX};
use crate::traffic::Traffic;

/// One group at one site, for all its members there.
///
/// Call any `handle_*`, [`cast`](Endpoint::cast) or [`gbcast`](Endpoint::gbcast); then
/// [`poll_transmit`](Endpoint::poll_transmit) until it has nothing more, then
/// [`poll_event`](Endpoint::poll_event) until it has nothing more, then set a timer for
/// [`poll_timeout`](Endpoint::poll_timeout). A batch closes, and its messages are delivered at this site,
/// when `poll_transmit` is called, so under load batches grow by themselves.
///
/// The link below must deliver frames between two lives of two sites in order and without loss. An endpoint
/// may be created when the first frame of an unknown group arrives ([`Endpoint::address_of`]): it keeps frames,
/// within the senders' credit, until its first view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) group: GroupId,
    pub(crate) me: SiteIncarnation,
    /// The installed view and its messages.
    pub(crate) traffic: Option<Traffic>,
    /// The view to be installed.
    pub(crate) change: Option<Change>,
    pub(crate) previous: Option<Previous>,
    /// The newest view, the installed one or a later, that each site has said to have installed.
    pub(crate) told_installed: BTreeMap<SiteId, ViewId>,
    /// The highest view for which a Flush was sent (M2).
    pub(crate) flushed: Option<ViewId>,
    pub(crate) early: Early,
    pub(crate) outbox: Outbox,
    pub(crate) events: VecDeque<Event>,
    /// gbcasts that wait for a view change (M11).
    pub(crate) gbcasts: Vec<Gbcast>,
    /// The number of the last message cast.
    pub(crate) number: u64,
    pub(crate) told_stable: u64,
    pub(crate) blocked_since: Option<Time>,
    /// Since when a cast has been refused for want of window.
    full_since: Option<Time>,
    /// How far each site has acknowledged our messages, and since when.
    pub(crate) progress: Vec<(u64, Time)>,
    pub(crate) told_slow: BTreeSet<SiteId>,
    held: bool,
    pub(crate) sequencer: Option<SiteId>,
    pub(crate) ended: bool,
}

/// What came for views that are not installed yet (M1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Early {
    frames: VecDeque<(SiteId, ViewId, Bytes)>,
    bytes: BTreeMap<SiteId, usize>,
    pub flushes: BTreeMap<(ViewId, SiteId), Flush>,
}

impl Early {
    /// What is for views after this one.
    pub(crate) fn after(self, last: ViewId) -> Early {
        let mut later = Early { flushes: self.flushes, ..Early::default() };
        later.flushes.retain(|(view, _), _| *view > last);
        for (from, view, frame) in self.frames.into_iter().filter(|(_, view, _)| *view > last) {
            *later.bytes.entry(from).or_default() += frame.len();
            later.frames.push_back((from, view, frame));
        }
        later
    }
}

impl Endpoint {
    /// An endpoint without a view.
    pub fn new(config: Config, group: GroupId, me: SiteIncarnation) -> Endpoint {
        Endpoint {
            config: Config { message_bytes_max: config.message_bytes_max.min(MESSAGE_BYTES_MAX), ..config },
            group,
            me,
            traffic: None,
            change: None,
            previous: None,
            told_installed: BTreeMap::new(),
            flushed: None,
            early: Early::default(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            gbcasts: Vec::new(),
            number: 0,
            told_stable: 0,
            blocked_since: None,
            full_since: None,
            progress: Vec::new(),
            told_slow: BTreeSet::new(),
            held: false,
            sequencer: None,
            ended: false,
        }
    }

    /// The group and the view to which a frame belongs; none if it is no frame.
    pub fn address_of(frame: &[u8]) -> Option<(GroupId, ViewId)> {
        Head::parse(frame).ok().map(|head| (head.group, head.view))
    }

    /// The installed view. Deliveries that are still to be polled may belong to an earlier one.
    pub fn view(&self) -> Option<&Arc<GroupView>> {
        self.traffic.as_ref().map(|traffic| &traffic.view)
    }

    /// The newest view that came, whether it is installed yet or not: no older one will be.
    pub fn newest_view(&self) -> Option<ViewId> {
        self.flushed.max(self.traffic.as_ref().map(Traffic::id))
    }

    /// Whether a view change is under way, so that casts are refused.
    pub fn is_blocked(&self) -> bool {
        self.traffic.is_none() || self.change.is_some()
    }

    /// A view from the member interface (M2). A view that is not newer than what was flushed for is ignored.
    pub fn handle_view(&mut self, now: Time, view: Arc<GroupView>) -> Result<(), ViewError> {
        if view.group != self.group {
            return Err(ViewError::OtherGroup);
        }
        self.start_change(now, view)
    }

    /// A hint that a view is being agreed on (M12): what is owed is acknowledged at once, so that the Flushes
    /// find more stable and less to fetch.
    pub fn handle_start_change(&mut self, now: Time, view: ViewId, _sites: &[SiteId]) {
        let credit = self.credit();
        if let Some(traffic) = &mut self.traffic
            && traffic.id() < view
            && traffic.may_ack()
            && traffic.owes_acks(credit)
        {
            traffic.ack_due = Some(now);
        }
    }

    /// A frame from the link.
    pub fn handle_frame(&mut self, now: Time, from: SiteId, frame: Bytes) -> Result<(), FrameError> {
        let head = Head::parse(&frame)?;
        if head.group != self.group {
            return Err(FrameError::OtherGroup);
        }
        if self.ended || from == self.me.site {
            return Ok(());
        }
        match head.kind {
            Kind::Data => self.handle_data(now, from, head.view, frame),
            Kind::Flush => self.handle_flush(now, from, head.view, frame::body(&frame)?),
            Kind::Fetch => self.handle_fetch(from, head.view, &frame::body(&frame)?),
            Kind::OrderTail => {
                self.handle_order_tail(now, head.view, &frame::body(&frame)?);
                Ok(())
            }
            Kind::Installed => {
                frame::body::<frame::Installed>(&frame)?;
                self.handle_installed(from, head.view);
                Ok(())
            }
        }
    }

    /// The link to a site takes no more: no new batch leaves until it is writable.
    pub fn handle_link_full(&mut self, site: SiteId) {
        if self.traffic.as_ref().is_some_and(|traffic| traffic.others.contains(&site)) {
            self.outbox.full.insert(site);
            self.trace(Transition::LinkFull);
        }
    }

    /// The link to a site takes frames again.
    pub fn handle_link_writable(&mut self, site: SiteId) {
        self.outbox.full.remove(&site);
    }

    /// Our own consumers are behind (`true`) or not: while they are, nothing more is acknowledged, so that the
    /// senders' windows fill.
    pub fn hold_acks(&mut self, now: Time, hold: bool) {
        self.held = hold;
        if let Some(traffic) = &mut self.traffic
            && hold
        {
            traffic.ack_due = None;
        }
        self.schedule_acks(now);
    }

    /// A time-out that `poll_timeout` had named. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Time) {
        self.flush_timed_out(now);
        self.find_slow(now);
    }

    /// When `handle_timeout` is to be called, then `poll_transmit`.
    pub fn poll_timeout(&self) -> Option<Time> {
        let flush = self.change.as_ref().map(|change| change.deadline);
        let ack = self.traffic.as_ref().and_then(|traffic| traffic.ack_due);
        let batch = self.outbox.open.as_ref().map(|open| open.since + self.config.batch_delay);
        let batch = batch.filter(|_| self.outbox.full.is_empty());
        [flush, ack, batch, self.slow_at()].into_iter().flatten().min()
    }

    /// Casts a message for a member at this site.
    pub fn cast(&mut self, now: Time, from: MemberId, cast: Cast) -> Result<MessageNumber, CastError> {
        let Cast { order, safe, payload } = cast;
        let rank = self.may_cast(now, from, order)?;
        if payload.len() > self.config.message_bytes_max {
            return Err(CastError::TooLarge);
        }
        if payload.len() > WHOLE_BYTES_MAX {
            let Some(stream) = self.outbox.free_stream() else { return Err(self.refuse_full(now)) };
            self.close_batch(now);
            self.number += 1;
            let number = self.number;
            self.outbox.large.push_back(Large { stream, number, rank, order, safe, payload, sent: 0 });
        } else {
            self.number += 1;
            self.append(
                now,
                MessageHeader { bytes: payload.len(), order, safe, rank, fragment: None },
                &payload,
            );
        }
        if self.traffic.as_ref().is_some_and(|traffic| traffic.others.is_empty()) {
            self.close_all(now);
        }
        Ok(MessageNumber(self.number))
    }

    /// Casts a message that is ordered against everything, views included (M11): it is delivered at the end of
    /// the installed view, after everything else in it.
    pub fn gbcast(&mut self, now: Time, from: MemberId, payload: Bytes) -> Result<MessageNumber, CastError> {
        let rank = self.may_cast(now, from, Order::Abcast)?;
        let waiting: usize = self.gbcasts.iter().map(|gbcast| gbcast.payload.len() + 32).sum();
        if payload.len() + 32 > GBCAST_BYTES_MAX {
            return Err(CastError::TooLarge);
        }
        if waiting + payload.len() + 32 > GBCAST_BYTES_MAX {
            return Err(self.refuse_full(now));
        }
        self.close_batch(now); // the numbers within a batch have no gaps
        self.number += 1;
        self.gbcasts.push(Gbcast { rank, number: self.number, payload: payload.to_vec() });
        self.events.push_back(Event::RequestRefresh);
        Ok(MessageNumber(self.number))
    }

    /// The next frame to be sent.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if let Some(transmit) = self.outbox.control.pop_front() {
            return Some(transmit);
        }
        if self.outbox.frames.is_empty() && self.outbox.full.is_empty() && self.change.is_none() {
            self.fill(now);
        }
        if let Some(transmit) = self.outbox.next_frame() {
            if self.full_since.is_some() {
                self.tell_writable();
            }
            return Some(transmit);
        }
        self.acknowledge(now);
        self.outbox.control.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn trace(&mut self, transition: Transition) {
        if self.config.trace {
            self.events.push_back(Event::Trace(transition));
        }
    }

    /// How many bytes of one site this site keeps before it stops acknowledging them.
    fn credit(&self) -> usize {
        2 * self.config.window_bytes
    }
}

/// Casting.
impl Endpoint {
    fn may_cast(&mut self, now: Time, from: MemberId, order: Order) -> Result<u16, CastError> {
        let Some(traffic) = &self.traffic else { return Err(CastError::Blocked) };
        let rank = traffic.local_rank(from, self.me).ok_or(CastError::NotMember)?;
        if self.change.is_some() {
            return Err(CastError::Blocked);
        }
        if !traffic.view.lives {
            return Err(CastError::ReadOnly);
        }
        let offered = match order {
            Order::Mbcast => true,
            Order::Fbcast | Order::Cbcast | Order::Abcast => traffic.reliable(),
            Order::Gbcast => false,
        };
        if !offered {
            return Err(CastError::NotOffered);
        }
        if self.is_full() {
            return Err(self.refuse_full(now));
        }
        Ok(rank)
    }

    fn is_full(&self) -> bool {
        let Some(traffic) = &self.traffic else { return false };
        let own = &traffic.inboxes[traffic.me];
        // What is queued is kept in the inbox too, except in a group where nothing is kept.
        let queued = || self.outbox.frames.iter().map(|transmit| transmit.frame.len()).sum();
        let kept = if traffic.reliable() { own.bytes() } else { queued() };
        kept + self.outbox.bytes() >= self.config.window_bytes
            || own.kept() as usize + self.outbox.messages() >= self.config.window_messages
    }

    fn refuse_full(&mut self, now: Time) -> CastError {
        if self.full_since.is_none() {
            self.full_since = Some(now);
            self.trace(Transition::WindowFull);
        }
        CastError::Full
    }

    pub(crate) fn tell_writable(&mut self) {
        if self.full_since.is_some() && !self.is_full() {
            self.full_since = None;
            self.events.push_back(Event::Writable);
        }
    }

    pub(crate) fn tell_stable(&mut self, number: u64) {
        if number <= self.told_stable {
            return;
        }
        self.told_stable = number;
        let stable = Event::Stable { number: MessageNumber(number) };
        match self.events.back_mut() {
            Some(last @ Event::Stable { .. }) => *last = stable,
            Some(_) | None => self.events.push_back(stable),
        }
    }

    /// Puts a whole message into the open batch.
    fn append(&mut self, now: Time, header: MessageHeader, payload: &[u8]) {
        let needed = MESSAGE + payload.len();
        let fits = |open: &Open| open.writer.body_bytes() + needed <= BODY_BYTES_MAX && open.count < u16::MAX;
        if self.outbox.open.as_ref().is_some_and(|open| !fits(open)) {
            self.close_batch(now);
        }
        let (group, guess) = (self.group, self.outbox.batch_bytes.max(needed));
        let view = self.traffic.as_ref().map(Traffic::id).unwrap_or_default();
        let number = self.number;
        let open = self.outbox.open.get_or_insert_with(|| Open {
            writer: Writer::new(group, view, guess + 64),
            count: 0,
            number,
            has: Has::default(),
            since: now,
        });
        header.put(&mut open.writer.buf);
        open.writer.buf.put_slice(payload);
        open.count += 1;
        open.has.add(&header);
    }

    /// Closes the open batch, if there is one.
    fn close_batch(&mut self, now: Time) {
        if let Some(open) = self.outbox.open.take() {
            self.outbox.batch_bytes = open.writer.body_bytes();
            self.close(now, open);
        }
    }

    /// Sends the next fragment of the large message whose turn it is.
    fn send_fragment(&mut self, now: Time) {
        let Some(mut large) = self.outbox.large.pop_front() else { return };
        let view = self.traffic.as_ref().map(Traffic::id).unwrap_or_default();
        let (header, part) = large.next_fragment();
        let mut writer = Writer::new(self.group, view, header.len() + part.len() + 64);
        header.put(&mut writer.buf);
        writer.buf.put_slice(&part);
        let mut has = Has::default();
        has.add(&header);
        if !header.completes() {
            self.outbox.large.push_back(large);
        }
        self.trace(Transition::Fragment);
        self.close(now, Open { writer, count: 1, number: 0, has, since: now });
    }

    /// Closes all that was cast: what a view change does before its Flush, whatever the window and the links
    /// say, so that every message is delivered in the view in which it was cast.
    pub(crate) fn close_all(&mut self, now: Time) {
        if self.traffic.as_ref().is_none_or(|traffic| traffic.frozen.is_some()) {
            return;
        }
        self.close_batch(now);
        while !self.outbox.large.is_empty() {
            self.send_fragment(now);
        }
        while self.traffic.as_ref().is_some_and(|t| t.is_sequencer() && t.order.unsent()) {
            self.close_empty(now);
        }
    }

    fn close_empty(&mut self, now: Time) {
        let view = self.traffic.as_ref().map(Traffic::id).unwrap_or_default();
        let writer = Writer::new(self.group, view, 64);
        self.close(now, Open { writer, count: 0, number: 0, has: Has::default(), since: now });
    }

    /// Makes a frame of a batch, with what rides along, and takes it into our own sequence.
    fn close(&mut self, now: Time, open: Open) {
        let credit = self.credit();
        let through = self.outbox.through(self.number);
        let Some(traffic) = &mut self.traffic else { return };
        let me = traffic.me;
        let first = traffic.inboxes[me].received();
        let end = first + u64::from(open.count);
        if traffic.is_sequencer() && open.has.abcast {
            traffic.order.push(Run { site: me, upto: end }); // M9: our own need no message of their own
        }
        let (order_index, runs) =
            if traffic.is_sequencer() { traffic.order.take_unsent(RUNS_MAX) } else { (0, Vec::new()) };
        let acks = if self.held || !traffic.may_ack() { Vec::new() } else { traffic.take_acks(credit) };
        let vector = open.has.cbcast.then(|| traffic.heads());
        let body_end = frame::BODY + open.writer.body_bytes();
        let frame = open.writer.finish(&Trailer {
            origin: me,
            count: open.count,
            first,
            number: open.number,
            acks: &acks,
            order_index,
            runs: &runs,
            vector: vector.as_deref(),
        });
        if !traffic.others.is_empty() {
            self.outbox.frames.push_back(Transmit { to: traffic.others.clone(), frame: frame.clone() });
        }
        if open.count > 0 {
            let vector = vector.map(Vec::into_boxed_slice);
            let (number, has) = (open.number, open.has);
            let batch = Batch { first, end, number, frame, body_end, vector, has, through };
            traffic.accept_own(batch, &mut self.events);
        }
        self.settle(now);
    }

    /// Closes what may leave now: batches and fragments in turn, else order runs alone.
    fn fill(&mut self, now: Time) {
        let Some(traffic) = &self.traffic else { return };
        let window = !traffic.reliable() || traffic.inboxes[traffic.me].bytes() < self.config.window_bytes;
        let large = !self.outbox.large.is_empty() && window;
        let batch = self.outbox.open.as_ref().is_some_and(|open| now >= open.since + self.config.batch_delay);
        if large && (self.outbox.large_turn || !batch) {
            self.outbox.large_turn = false;
            self.send_fragment(now);
        } else if batch {
            self.outbox.large_turn = true;
            self.close_batch(now);
        } else if traffic.is_sequencer() && traffic.order.unsent() {
            self.close_empty(now);
        }
    }
}

/// Receiving.
impl Endpoint {
    fn handle_data(&mut self, now: Time, from: SiteId, view: ViewId, frame: Bytes) -> Result<(), FrameError> {
        let installed = self.traffic.as_ref().map(Traffic::id);
        if installed.is_some_and(|v| view < v) {
            self.trace(Transition::LateFrame);
            return Ok(()); // M1
        }
        let Some(traffic) = self.traffic.as_mut().filter(|traffic| traffic.id() == view) else {
            return self.keep_early(from, view, frame);
        };
        let data = Data::parse(&frame)?;
        let place = traffic.place(from).ok_or(FrameError::NotParticipant)?;
        let direct = place == data.origin;
        if !direct && traffic.frozen.is_none() {
            return Ok(()); // passed on for a flush that is over, or by somebody who should not
        }
        let kept = traffic.inboxes.get(data.origin).map_or(0, |inbox| inbox.bytes());
        if traffic.reliable() && kept > self.config.window_bytes * 3 + self.config.message_bytes_max * 2 {
            return Err(FrameError::Overrun);
        }
        let origin = data.origin;
        let bytes = frame.len();
        if let Some(batch) = traffic.handle_data(&data, frame.clone(), direct)? {
            traffic.unacked_bytes += bytes;
            traffic.accept(origin, batch, &mut self.events);
        }
        self.settle(now);
        if self.change.is_some() {
            if self.config.bugs.has(Bug::TwoFlushes) {
                self.flush_again();
            }
            self.try_install(now);
        }
        Ok(())
    }

    /// M1: what is for a later view is kept, as far as its sender's credit goes.
    fn keep_early(&mut self, from: SiteId, view: ViewId, frame: Bytes) -> Result<(), FrameError> {
        let bytes = self.early.bytes.entry(from).or_default();
        if *bytes > self.config.window_bytes * 3 + self.config.message_bytes_max * 2 {
            return Err(FrameError::Overrun);
        }
        *bytes += frame.len();
        self.early.frames.push_back((from, view, frame));
        self.trace(Transition::EarlyFrame);
        Ok(())
    }

    /// Takes what came early for the view just installed.
    pub(crate) fn replay_early(&mut self, now: Time) {
        let Some(installed) = self.traffic.as_ref().map(Traffic::id) else { return };
        self.early.bytes.clear();
        for (from, view, frame) in std::mem::take(&mut self.early.frames) {
            if view == installed {
                // A frame that its sender should not have sent is refused here as it would have been later.
                let _refused = self.handle_data(now, from, view, frame);
            } else if view > installed {
                *self.early.bytes.entry(from).or_default() += frame.len();
                self.early.frames.push_back((from, view, frame));
            }
        }
    }

    /// Delivers, drops and acknowledges what an input has made possible.
    fn settle(&mut self, now: Time) {
        let Some(traffic) = &mut self.traffic else { return };
        traffic.deliver(&mut self.events);
        if let Some(through) = traffic.release() {
            let gbcast = self.gbcasts.first().map_or(u64::MAX, |gbcast| gbcast.number - 1);
            self.tell_stable(through.min(gbcast));
        }
        if self.full_since.is_some() {
            self.note_progress(now);
            self.tell_writable();
        }
        self.schedule_acks(now);
    }

    fn schedule_acks(&mut self, now: Time) {
        let credit = self.credit();
        let Some(traffic) = &mut self.traffic else { return };
        let silent = self.held || traffic.others.is_empty() || !traffic.reliable();
        if silent || !traffic.may_ack() || !traffic.owes_acks(credit) {
            return;
        }
        let at_once = traffic.unacked_bytes >= self.config.ack_bytes || traffic.awaits_safe();
        let due = if at_once { now } else { now + self.config.ack_delay };
        traffic.ack_due = Some(traffic.ack_due.map_or(due, |before| before.min(due)));
    }

    /// Makes a frame of acknowledgements alone, if they are due.
    fn acknowledge(&mut self, now: Time) {
        let credit = self.credit();
        let Some(traffic) = &mut self.traffic else { return };
        if traffic.ack_due.is_none_or(|due| now < due) || !traffic.may_ack() {
            return;
        }
        let acks = traffic.take_acks(credit);
        if acks.is_empty() {
            return;
        }
        let first = traffic.inboxes[traffic.me].received();
        let frame = Writer::new(self.group, traffic.id(), 64).finish(&Trailer {
            origin: traffic.me,
            count: 0,
            first,
            number: 0,
            acks: &acks,
            order_index: 0,
            runs: &[],
            vector: None,
        });
        self.outbox.control.push_back(Transmit { to: traffic.others.clone(), frame });
    }
}

/// Slow members.
impl Endpoint {
    /// Notes which sites have acknowledged more of ours than before.
    fn note_progress(&mut self, now: Time) {
        let Some(traffic) = &self.traffic else { return };
        for (place, progress) in self.progress.iter_mut().enumerate() {
            let acked = traffic.stability.acked(place, traffic.me);
            if acked > progress.0 {
                *progress = (acked, now);
            }
        }
    }

    /// The sites that hold us back, and since when they stand still.
    fn holding_back(&self) -> impl Iterator<Item = (SiteId, Time)> + '_ {
        let held_back = self.full_since.zip(self.traffic.as_ref()).filter(|_| self.change.is_none());
        held_back.into_iter().flat_map(move |(since, traffic)| {
            let stable = traffic.stability.stable()[traffic.me];
            let places = (0..traffic.sites.len()).filter(move |place| {
                *place != traffic.me && traffic.stability.acked(*place, traffic.me) == stable
            });
            places
                .map(move |place| (traffic.sites[place], self.progress[place].1.max(since)))
                .filter(|(site, _)| !self.told_slow.contains(site))
        })
    }

    fn slow_at(&self) -> Option<Time> {
        self.holding_back().map(|(_, since)| since + self.config.slow_after).min()
    }

    fn find_slow(&mut self, now: Time) {
        self.note_progress_if_full(now);
        let late = |since: Time| now >= since + self.config.slow_after;
        let slow: Vec<SiteId> = self.holding_back().filter(|(_, s)| late(*s)).map(|(site, _)| site).collect();
        for site in slow {
            self.told_slow.insert(site);
            self.events.push_back(Event::Slow(site));
        }
    }

    fn note_progress_if_full(&mut self, now: Time) {
        if self.full_since.is_some() {
            self.note_progress(now);
        }
    }
}
