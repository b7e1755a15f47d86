//! The traffic of one view: a sequence per site, the total order, stability, and the rules that say what may
//! be delivered (M1, M8 to M10).

use std::collections::VecDeque;
use std::sync::Arc;

use membership::group::{Consistency, GroupView};
use wire::{Bug, Bugs, MemberId, SiteId, SiteIncarnation, Time, ViewId};

use crate::event::{Delivery, Event, FrameError, MessageNumber, Order, Transition};
use crate::frame::{ACK_DELIVERED, ACK_ORDER, ACKS_MAX, Data};
use crate::inbox::{Batch, Inbox};
use crate::order::{OrderList, Run};
use crate::stability::Stability;

/// The place of the sequencer among the sites: the site of the most senior member (M9).
pub(crate) const SEQUENCER: usize = 0;

/// What the first Flush in this view said: nothing beyond it is delivered, ordered or acknowledged (M4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frozen {
    pub have: Vec<u64>,
    pub order: u64,
}

/// What all who move together deliver of this view (M5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cut {
    pub have: Vec<u64>,
    pub order: u64,
    /// Whether safe messages are no longer held back: after the transitional signal (M10).
    pub after_signal: bool,
}

/// The traffic of one view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Traffic {
    pub view: Arc<GroupView>,
    /// The sites that host members, each at its most senior member's place.
    pub sites: Arc<[SiteId]>,
    pub others: Arc<[SiteId]>,
    pub me: usize,
    site_of_rank: Vec<u16>,
    pub inboxes: Vec<Inbox>,
    pub stability: Stability,
    pub order: OrderList,
    pub frozen: Option<Frozen>,
    pub cut: Option<Cut>,
    /// What was last acknowledged, of each site and of the order list.
    ack_sent: Vec<u64>,
    order_ack_sent: u64,
    /// Whether a safe message was among what came: then what is received may be long in being delivered, and
    /// everybody tells what it has delivered too.
    pub has_safe: bool,
    /// What was last told to be delivered here.
    delivered_sent: Vec<u64>,
    pub unacked_bytes: usize,
    pub ack_due: Option<Time>,
    bytes_max: usize,
    bugs: Bugs,
    pub trace: bool,
}

/// The sites of a view, each at its most senior member's place.
pub(crate) fn sites_of(view: &GroupView) -> Vec<SiteId> {
    let mut sites = Vec::new();
    for member in &view.members {
        let site = member.id.site();
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

impl Traffic {
    pub(crate) fn new(view: Arc<GroupView>, me: SiteIncarnation, config: &crate::Config) -> Traffic {
        let sites = sites_of(&view);
        let place = |site| sites.iter().position(|s| *s == site).expect("sites_of lists every member's site");
        let ranks =
            view.members.iter().map(|m| u16::try_from(place(m.id.site())).expect("at most 512 sites"));
        let n = sites.len();
        Traffic {
            site_of_rank: ranks.collect(),
            others: sites.iter().copied().filter(|s| *s != me.site).collect(),
            me: place(me.site),
            sites: sites.into(),
            view,
            inboxes: vec![Inbox::new(); n],
            stability: Stability::new(n),
            order: OrderList::default(),
            frozen: None,
            cut: None,
            ack_sent: vec![0; n],
            order_ack_sent: 0,
            has_safe: false,
            delivered_sent: vec![0; n],
            unacked_bytes: 0,
            ack_due: None,
            bytes_max: config.message_bytes_max,
            bugs: config.bugs,
            trace: config.trace,
        }
    }

    pub(crate) fn id(&self) -> ViewId {
        self.view.id
    }

    /// Whether messages have guarantees in this group.
    pub(crate) fn reliable(&self) -> bool {
        match self.view.options.consistency {
            Consistency::VirtuallySynchronous => true,
            Consistency::Weak | Consistency::Strong => false,
        }
    }

    pub(crate) fn place(&self, site: SiteId) -> Option<usize> {
        self.sites.iter().position(|s| *s == site)
    }

    pub(crate) fn is_sequencer(&self) -> bool {
        self.me == SEQUENCER
    }

    pub(crate) fn member(&self, rank: u16) -> MemberId {
        self.view.members[usize::from(rank)].id
    }

    /// The rank of a member at this site.
    pub(crate) fn local_rank(&self, member: MemberId, me: SiteIncarnation) -> Option<u16> {
        let rank = self.view.members.iter().position(|m| m.id == member && m.id.process.birth == me)?;
        u16::try_from(rank).ok()
    }

    /// Whether nothing new is delivered, ordered or acknowledged (M4).
    fn stands_still(&self, bug: Bug) -> bool {
        self.frozen.is_some() && self.cut.is_none() && !self.bugs.has(bug)
    }

    /// A batch from the site that cast it, or passed on by another during a flush.
    pub(crate) fn handle_data(
        &mut self,
        data: &Data<'_>,
        frame: bytes::Bytes,
        direct: bool,
    ) -> Result<Option<Batch>, FrameError> {
        if data.origin >= self.sites.len() || data.origin == self.me {
            return Err(FrameError::Malformed);
        }
        if direct {
            self.check_trailer(data)?;
        }
        let inbox = &self.inboxes[data.origin];
        if data.count > 0 && data.first > inbox.received() {
            return Err(FrameError::Gap);
        }
        let fresh = data.count > 0 && data.first == inbox.received();
        let batch = if fresh { Some(Batch::check(frame, data, &self.site_of_rank)?) } else { None };
        if let Some(vector) = batch.as_ref().and_then(|b| b.vector.as_ref())
            && vector.len() != self.sites.len()
        {
            return Err(FrameError::Malformed);
        }
        if direct {
            self.take_trailer(data);
        }
        Ok(batch)
    }

    fn check_trailer(&self, data: &Data<'_>) -> Result<(), FrameError> {
        let n = self.sites.len();
        let sent = self.inboxes[self.me].received();
        let ack_is_good = |(place, upto): (u16, u64)| {
            let site = usize::from(place & !ACK_DELIVERED);
            place == ACK_ORDER || (site < n && (site != self.me || upto <= sent))
        };
        if !data.acks().all(ack_is_good) || data.runs().any(|(place, _)| usize::from(place) >= n) {
            return Err(FrameError::Malformed);
        }
        if data.run_count() > 0 {
            if data.origin != SEQUENCER {
                return Err(FrameError::Malformed);
            }
            if data.order_index > self.order.len() {
                return Err(FrameError::Gap);
            }
        }
        Ok(())
    }

    fn take_trailer(&mut self, data: &Data<'_>) {
        for (place, upto) in data.acks() {
            if place == ACK_ORDER {
                self.stability.ack_order(data.origin, upto);
            } else if place & ACK_DELIVERED != 0 {
                self.stability.note_delivered(data.origin, usize::from(place & !ACK_DELIVERED), upto);
            } else {
                self.stability.ack(data.origin, usize::from(place), upto);
            }
        }
        self.stability.ack(data.origin, data.origin, data.first + data.count);
        if data.run_count() > 0 {
            self.take_runs(data.order_index, data.runs());
            self.stability.ack_order(SEQUENCER, data.order_index + data.run_count() as u64);
        }
    }

    /// Adds the part of a list of runs that is new.
    pub(crate) fn take_runs(&mut self, index: u64, runs: impl Iterator<Item = (u16, u64)>) {
        for (at, (site, upto)) in (index..).zip(runs) {
            if at == self.order.len() && usize::from(site) < self.sites.len() {
                self.order.receive(Run { site: usize::from(site), upto });
            }
        }
        self.note_order();
    }

    fn note_order(&mut self) {
        if !self.stands_still(Bug::AckAfterFlush) {
            self.stability.ack_order(self.me, self.order.len());
        }
    }

    /// Takes a batch and everything that follows from it, deliveries apart.
    pub(crate) fn accept(&mut self, site: usize, batch: Batch, events: &mut VecDeque<Event>) {
        self.has_safe |= batch.has.safe;
        self.inboxes[site].accept(batch);
        self.advance_have(site, events);
        while let Some(other) = (0..self.sites.len()).find(|s| *s != site && self.next_is_causal(*s)) {
            self.advance_have(other, events);
        }
    }

    /// Takes a batch of our own: its order, if it needs any, is already there.
    pub(crate) fn accept_own(&mut self, batch: Batch, events: &mut VecDeque<Event>) {
        let ordered = batch.has.abcast && self.is_sequencer();
        self.accept(self.me, batch, events);
        if ordered {
            self.note_order();
        }
    }

    /// Whether a safe message waits for acknowledgements.
    pub(crate) fn awaits_safe(&self) -> bool {
        self.inboxes.iter().any(|inbox| inbox.head_batch().is_some_and(|batch| batch.has.safe))
    }

    /// Whether the next batch of a site has all its causal predecessors here (M3).
    fn next_is_causal(&self, site: usize) -> bool {
        let met = |vector: &[u64]| {
            vector.iter().enumerate().all(|(j, upto)| j == site || self.inboxes[j].have() >= *upto)
        };
        let received = self.bugs.has(Bug::HaveReceived);
        self.inboxes[site]
            .next_batch()
            .is_some_and(|batch| received || batch.vector.as_deref().is_none_or(met))
    }

    fn advance_have(&mut self, site: usize, events: &mut VecDeque<Event>) {
        while self.next_is_causal(site) {
            let has = self.inboxes[site].next_batch().map(|batch| batch.has).unwrap_or_default();
            self.inboxes[site].have_next();
            let upto = self.inboxes[site].have();
            if !self.stands_still(Bug::AckAfterFlush) {
                self.stability.ack(self.me, site, upto);
            }
            if self.frozen.is_some() {
                continue; // M4
            }
            if has.abcast && self.is_sequencer() && site != self.me {
                self.order.push(Run { site, upto }); // M9
                self.note_order();
            }
            let (id, view, name) = (self.view.id, &self.view, self.sites[site]);
            self.inboxes[site].mbcasts(self.bytes_max, |rank, number, payload| {
                events.push_back(Event::Deliver(Delivery {
                    view: id,
                    sender: view.members[usize::from(rank)].id,
                    site: name,
                    number: MessageNumber(number),
                    order: Order::Mbcast,
                    safe: false,
                    payload,
                }));
            });
        }
    }

    /// Delivers all that may be delivered now.
    pub(crate) fn deliver(&mut self, events: &mut VecDeque<Event>) {
        if self.stands_still(Bug::DeliverAfterFlush) {
            return; // M4
        }
        self.order.settle(self.stability.order_stable(), self.stability.stable());
        loop {
            let mut moved = self.deliver_ordered(events);
            for site in 0..self.sites.len() {
                moved |= self.advance(site, 0, false, events);
            }
            if !moved {
                break;
            }
        }
    }

    fn deliver_ordered(&mut self, events: &mut VecDeque<Event>) -> bool {
        let mut moved = false;
        while let Some((index, run)) = self.order.next() {
            let end = match &self.cut {
                Some(cut) if index >= cut.order => break,
                Some(cut) => run.upto.min(cut.have[run.site]), // M9: skip what is outside the cut
                None => run.upto,
            };
            let safe = self.order.safe() >= index && self.stability.order_stable() > index;
            moved |= self.advance(run.site, end, safe, events);
            if self.inboxes[run.site].head() < end {
                break;
            }
            self.order.pass();
            moved = true;
        }
        moved
    }

    /// Delivers of one site's sequence what may be: abcasts only before `ordered`, and safe ones of these
    /// only if `order_is_safe`.
    fn advance(
        &mut self,
        site: usize,
        ordered: u64,
        order_is_safe: bool,
        events: &mut VecDeque<Event>,
    ) -> bool {
        let limit = self.cut.as_ref().map_or(u64::MAX, |cut| cut.have[site]).min(self.inboxes[site].have());
        let waived = self.cut.as_ref().is_some_and(|cut| cut.after_signal);
        let stable = self.stability.stable()[site];
        let before = self.inboxes[site].head();
        let mut causal = None;
        while self.inboxes[site].head() < limit {
            let Some(entry) = self.inboxes[site].peek() else { break };
            let header = entry.header;
            if header.completes() {
                let in_order = match header.order {
                    Order::Mbcast | Order::Fbcast => true,
                    Order::Cbcast => *causal.get_or_insert_with(|| self.head_is_causal(site)),
                    Order::Abcast => entry.seq < ordered,
                    Order::Gbcast => unreachable!("a gbcast rides in a Flush"),
                };
                let is_safe = stable > entry.seq && (order_is_safe || header.order != Order::Abcast);
                if !in_order || (header.safe && !is_safe && !waived) {
                    break;
                }
                if header.safe && !is_safe && self.trace {
                    events.push_back(Event::Trace(Transition::SafeAfterSignal));
                }
            }
            if let Some((number, payload)) = self.inboxes[site].pass(&entry, self.bytes_max) {
                events.push_back(Event::Deliver(Delivery {
                    view: self.view.id,
                    sender: self.member(header.rank),
                    site: self.sites[site],
                    number: MessageNumber(number),
                    order: header.order,
                    safe: header.safe,
                    payload,
                }));
            }
            if self.inboxes[site].head_batch().is_none_or(|batch| batch.first == entry.seq + 1) {
                causal = None; // the next batch has a vector of its own
            }
        }
        self.inboxes[site].head() > before
    }

    /// Whether all that the batch at the head of a site's sequence follows is delivered (M8)
    /// [Birman, Schiper & Stephenson 91, 5.1].
    fn head_is_causal(&self, site: usize) -> bool {
        let vector = self.inboxes[site].head_batch().and_then(|batch| batch.vector.as_deref());
        vector.is_none_or(|vector| {
            vector.iter().enumerate().all(|(j, upto)| j == site || self.inboxes[j].head() >= *upto)
        })
    }

    /// Drops what every site has. Yields up to which number this site's own messages are stable, if more are.
    pub(crate) fn release(&mut self) -> Option<u64> {
        if self.frozen.is_some() {
            return None; // M6: kept until everybody who moves along has installed
        }
        let mut own = None;
        let reliable = self.reliable();
        for (site, inbox) in self.inboxes.iter_mut().enumerate() {
            let stable = if reliable { self.stability.stable()[site] } else { u64::MAX };
            let through = inbox.release(stable);
            if site == self.me {
                own = through;
            }
        }
        own
    }

    /// What is to be acknowledged and was not yet; it counts as sent.
    pub(crate) fn take_acks(&mut self, credit: usize) -> Vec<(u16, u64)> {
        self.ack_due = None;
        self.unacked_bytes = 0;
        let mut acks = Vec::new();
        for (site, inbox) in self.inboxes.iter().enumerate().filter(|(site, _)| *site != self.me) {
            let upto = inbox.ackable(credit);
            if upto > self.ack_sent[site] {
                self.ack_sent[site] = upto;
                acks.push((u16::try_from(site).expect("at most 512 sites"), upto));
            }
        }
        if !self.is_sequencer() && self.order.len() > self.order_ack_sent {
            self.order_ack_sent = self.order.len();
            acks.push((ACK_ORDER, self.order.len()));
        }
        if self.has_safe {
            for (site, inbox) in self.inboxes.iter().enumerate() {
                if inbox.head() > self.delivered_sent[site] && acks.len() < ACKS_MAX {
                    self.delivered_sent[site] = inbox.head();
                    let place = u16::try_from(site).expect("at most 512 sites");
                    acks.push((place | ACK_DELIVERED, inbox.head()));
                }
            }
        }
        acks
    }

    /// Whether anything received is not yet acknowledged, or anything delivered not yet told where that matters.
    pub(crate) fn owes_acks(&self, credit: usize) -> bool {
        (!self.is_sequencer() && self.order.len() > self.order_ack_sent)
            || (0..self.sites.len())
                .any(|s| s != self.me && self.inboxes[s].ackable(credit) > self.ack_sent[s])
            || (self.has_safe
                && self.inboxes.iter().zip(&self.delivered_sent).any(|(inbox, told)| inbox.head() > *told))
    }

    /// May acknowledgements leave (M4)?
    pub(crate) fn may_ack(&self) -> bool {
        !self.stands_still(Bug::AckAfterFlush) && self.cut.is_none()
    }

    /// The vector of what is causally deliverable (M3).
    pub(crate) fn have(&self) -> Vec<u64> {
        self.inboxes.iter().map(Inbox::have).collect()
    }

    /// The vector of what is delivered: the vector time of a batch.
    pub(crate) fn heads(&self) -> Vec<u64> {
        self.inboxes.iter().map(Inbox::head).collect()
    }

    /// Whether a cut has with every message its causal predecessors.
    pub(crate) fn is_closed(&self, cut: &[u64]) -> bool {
        let closed = |site: usize, vector: &[u64]| {
            vector.iter().zip(cut).enumerate().all(|(j, (upto, end))| j == site || upto <= end)
        };
        (0..self.sites.len()).all(|site| {
            let mut batches = self.inboxes[site].batches_before(cut[site]);
            batches.all(|batch| batch.vector.as_deref().is_none_or(|vector| closed(site, vector)))
        })
    }

    /// Delivers the rest of the cut (M7 to M10). `signal` is emitted between what is proved safe and the rest.
    pub(crate) fn deliver_cut(&mut self, cut: Cut, signal: Event, events: &mut VecDeque<Event>) {
        self.cut = Some(cut);
        self.deliver(events);
        events.push_back(signal);
        if let Some(cut) = &mut self.cut {
            cut.after_signal = true;
        }
        self.deliver(events);
        let mut unordered = false;
        while let Some(site) = self.next_unordered() {
            unordered = true;
            let next = self.inboxes[site].head() + 1;
            if !self.advance(site, next, false, events) {
                self.force(site, events);
            }
            self.deliver(events);
        }
        if unordered && self.trace {
            events.push_back(Event::Trace(Transition::UnorderedAtCut));
        }
    }

    /// The first site, by rank, whose next entry is an abcast without a place in the order; if there is none,
    /// the first with anything left.
    fn next_unordered(&self) -> Option<usize> {
        let cut = self.cut.as_ref().map(|cut| cut.have.as_slice()).unwrap_or_default();
        let left = |site: &usize| self.inboxes[*site].head() < cut[*site];
        let is_abcast =
            |site: &usize| self.inboxes[*site].peek().is_some_and(|e| e.header.order == Order::Abcast);
        let mut sites = (0..self.sites.len()).filter(left);
        let first = sites.clone().next();
        sites.find(is_abcast).or(first)
    }

    /// Passes an entry whose predecessors can never come: only a site that lies about causes makes one. All
    /// who move together do the same.
    fn force(&mut self, site: usize, events: &mut VecDeque<Event>) {
        if let Some(entry) = self.inboxes[site].peek() {
            self.inboxes[site].pass(&entry, self.bytes_max);
            if self.trace {
                events.push_back(Event::Trace(Transition::CutNotClosed));
            }
        }
    }
}
