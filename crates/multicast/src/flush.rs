//! The flush: from a view's arrival to its installation (M2 to M7, M10, M11).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use membership::group::{Consistency, GroupMember, GroupView};
use wire::{Bug, MemberId, SiteId, Time, ViewId};

use crate::endpoint::Endpoint;
use crate::event::{Delivery, Event, FrameError, MessageNumber, Order, Transition, Transmit, ViewError};
use crate::frame::{Fetch, Flush, Installed, Kind, OrderTail, control};
use crate::traffic::{Cut, Frozen, SEQUENCER, Traffic, sites_of};

/// How many Flushes of one site for views that are not known here yet are kept; the oldest go.
const EARLY_FLUSHES_MAX: usize = 16;
/// Of so many sites it is kept which view they last said to have installed.
const TOLD_INSTALLED_MAX: usize = 1_024;
/// How many order runs go in one answer.
const TAIL_RUNS_MAX: usize = 2_048;

/// A view that is to be installed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub view: Arc<GroupView>,
    /// The other sites in both views: each owes a Flush.
    awaited: Vec<SiteId>,
    /// The Flushes for this view, our own included.
    flushes: BTreeMap<SiteId, Flush>,
    pub deadline: Time,
    /// Whom we asked for what is missing, and how often the time-out made us ask another.
    asked: BTreeSet<SiteId>,
    tries: usize,
    fetching: bool,
    /// Only for [`Bug::FlushNotAwaited`].
    impatient: bool,
}

/// An earlier view of which somebody may still fetch messages (M6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Previous {
    traffic: Traffic,
    /// Who moves with us and has not installed yet.
    waiting: BTreeSet<SiteId>,
}

impl Endpoint {
    pub(crate) fn start_change(&mut self, now: Time, view: Arc<GroupView>) -> Result<(), ViewError> {
        let sites = sites_of(&view);
        if sites.len() > crate::SITES_MAX || view.members.len() > usize::from(u16::MAX) {
            return Err(ViewError::TooLarge);
        }
        let installed = self.traffic.as_ref().map(Traffic::id);
        let below = if self.config.bugs.has(Bug::ViewBelowFlushed) {
            installed.is_some_and(|v| view.id <= v)
                || self.change.as_ref().is_some_and(|c| c.view.id == view.id)
        } else {
            self.flushed.is_some_and(|flushed| view.id <= flushed)
        };
        if below || self.ended {
            return Ok(()); // M2
        }
        if !view.members.iter().any(|member| member.id.process.birth == self.me) {
            self.end(now, view);
            return Ok(());
        }
        if self.change.is_some() {
            self.trace(Transition::Cascade);
        }
        if self.traffic.as_ref().is_some_and(|t| !t.reliable())
            || self.config.bugs.has(Bug::DeliverWithoutFlush)
        {
            self.close_all(now);
            self.flushed = Some(view.id);
            self.install(now, view, Vec::new());
            return Ok(());
        }
        self.block(now);
        self.close_all(now);
        self.flush(now, view, &sites);
        self.try_install(now);
        Ok(())
    }

    fn end(&mut self, now: Time, view: Arc<GroupView>) {
        self.close_all(now); // what was cast still leaves; whether it is in the cut is for the others to say
        self.outbox.forced = self.outbox.frames.len();
        self.ended = true;
        self.change = None;
        if let Some(old) = self.traffic.take() {
            self.tell_ended(&view, &old);
        }
        self.previous = None;
        self.events.push_back(Event::Ended { view });
    }

    fn block(&mut self, now: Time) {
        if self.traffic.is_some() && self.blocked_since.is_none() {
            self.blocked_since = Some(now);
            self.events.push_back(Event::Blocked);
            self.trace(Transition::FlushStart);
        }
    }

    /// Sends the one Flush for a view (M2) and freezes the installed one (M4).
    fn flush(&mut self, now: Time, view: Arc<GroupView>, sites: &[SiteId]) {
        let known_bug = self.config.bugs.has(Bug::ViewBelowFlushed) || self.config.bugs.has(Bug::TwoFlushes);
        assert!(
            known_bug || self.flushed.is_none_or(|flushed| view.id > flushed),
            "the views flushed for rise"
        );
        self.flushed = Some(view.id);
        let own = self.own_flush();
        let others: Arc<[SiteId]> = sites.iter().copied().filter(|site| *site != self.me.site).collect();
        let in_both = |site: &SiteId| self.traffic.as_ref().is_some_and(|t| t.place(*site).is_some());
        let awaited: Vec<SiteId> = others.iter().copied().filter(in_both).collect();
        if let Some(traffic) = &mut self.traffic
            && traffic.frozen.is_none()
        {
            traffic.ack_due = None;
            traffic.frozen = Some(Frozen { have: own.have.clone(), order: own.order });
        }
        let frame = control(Kind::Flush, self.group, view.id, &own);
        if !others.is_empty() {
            self.outbox.frames.push_back(Transmit { to: others, frame });
        }
        self.outbox.forced = self.outbox.frames.len();
        let mut flushes = BTreeMap::from([(self.me.site, own)]);
        self.early.flushes.retain(|(x, _), _| *x >= view.id);
        for site in &awaited {
            if let Some(flush) = self.early.flushes.remove(&(view.id, *site))
                && self.fits(&flush)
            {
                flushes.insert(*site, flush);
            }
        }
        self.change = Some(Change {
            view,
            awaited,
            flushes,
            deadline: now + self.config.flush_timeout,
            asked: BTreeSet::new(),
            tries: 0,
            fetching: false,
            impatient: false,
        });
    }

    fn own_flush(&self) -> Flush {
        let gbcasts = self.gbcasts.clone();
        let Some(traffic) = &self.traffic else {
            let (have, stable) = (Vec::new(), Vec::new());
            return Flush { from: None, have, order: 0, stable, order_stable: 0, gbcasts };
        };
        let have = traffic.have();
        assert!(traffic.is_closed(&have), "what is deliverable is not causally closed");
        Flush {
            from: Some(traffic.id()),
            have,
            order: traffic.order.len(),
            stable: traffic.stability.stable().to_vec(),
            order_stable: traffic.stability.order_stable(),
            gbcasts,
        }
    }

    /// Whether a Flush that names our view has the shape of our view.
    fn fits(&self, flush: &Flush) -> bool {
        match &self.traffic {
            Some(traffic) if flush.from == Some(traffic.id()) => {
                let n = traffic.sites.len();
                let ranks = traffic.view.members.len();
                flush.have.len() == n
                    && flush.stable.len() == n
                    && flush.gbcasts.iter().all(|gbcast| usize::from(gbcast.rank) < ranks)
            }
            Some(_) | None => true,
        }
    }

    pub(crate) fn handle_flush(
        &mut self,
        now: Time,
        from: SiteId,
        x: ViewId,
        flush: Flush,
    ) -> Result<(), FrameError> {
        if let Some(change) = &self.change
            && change.view.id == x
        {
            if !change.awaited.contains(&from) {
                return Ok(()); // it joins with this view: nobody waits for it
            }
            if !self.fits(&flush) {
                return Err(FrameError::Malformed);
            }
            if let Some(change) = &mut self.change {
                let first = self.config.bugs.has(Bug::TwoFlushes) || !change.flushes.contains_key(&from);
                if first {
                    change.flushes.insert(from, flush);
                }
            }
            self.try_install(now);
            return Ok(());
        }
        if self.flushed.is_some_and(|flushed| x <= flushed) {
            return Ok(()); // M2: ignored for ever
        }
        let of_site = self.early.flushes.keys().filter(|(_, site)| *site == from);
        if of_site.clone().count() >= EARLY_FLUSHES_MAX
            && let Some(oldest) = of_site.min().copied()
        {
            self.early.flushes.remove(&oldest);
        }
        self.early.flushes.insert((x, from), flush);
        Ok(())
    }

    /// Installs the view of the change if all that it needs is here; asks for what is missing of the cut.
    pub(crate) fn try_install(&mut self, now: Time) {
        let Some(change) = &self.change else { return };
        if !change.impatient && change.awaited.iter().any(|site| !change.flushes.contains_key(site)) {
            return; // M5
        }
        let (view, together) = (change.view.clone(), self.moving_together(change));
        if let Some(cut) = self.cut(&together) {
            if self.fetch_missing(&cut, &together) {
                return;
            }
            if !self.complete(&cut) {
                self.trace(Transition::CutNotClosed);
                return; // M6: the time-out names suspects
            }
            self.deliver_old_view(cut, &together);
        }
        self.install(now, view, together);
    }

    /// `T` of M5: those in both views whose Flush says that they come from ours, by rank; we included.
    fn moving_together(&self, change: &Change) -> Vec<SiteId> {
        let Some(traffic) = &self.traffic else { return Vec::new() };
        let comes_along =
            |site: &SiteId| change.flushes.get(site).is_some_and(|flush| flush.from == Some(traffic.id()));
        traffic.sites.iter().copied().filter(comes_along).collect()
    }

    /// The maximum of what those who move together have (M5); none at our first view.
    fn cut(&self, together: &[SiteId]) -> Option<Cut> {
        let (traffic, change) = (self.traffic.as_ref()?, self.change.as_ref()?);
        let mut cut = Cut { have: vec![0; traffic.sites.len()], order: 0, after_signal: false };
        for flush in together.iter().filter_map(|site| change.flushes.get(site)) {
            for (mine, theirs) in cut.have.iter_mut().zip(&flush.have) {
                *mine = (*mine).max(*theirs);
            }
            cut.order = cut.order.max(flush.order);
        }
        let sequencer_is_gone = !together.contains(&traffic.sites[SEQUENCER]);
        if sequencer_is_gone && self.config.bugs.has(Bug::OrderLostAtSequencerCrash) {
            cut.order = 0;
        }
        Some(cut)
    }

    /// Asks a site that has it for what we lack of the cut (M6). Says whether anything is missing.
    fn fetch_missing(&mut self, cut: &Cut, together: &[SiteId]) -> bool {
        let (Some(traffic), Some(change)) = (&self.traffic, &mut self.change) else { return false };
        let tries = change.tries;
        let holder = |has: &dyn Fn(&Flush) -> bool, first: Option<SiteId>| {
            let holds = |site: &SiteId| *site != self.me.site && change.flushes.get(site).is_some_and(has);
            let mut holders: Vec<SiteId> = together.iter().copied().filter(holds).collect();
            holders.sort_by_key(|site| Some(*site) != first);
            (!holders.is_empty()).then(|| holders[tries % holders.len()])
        };
        let mut asks: BTreeMap<SiteId, Fetch> = BTreeMap::new();
        let mut missing = false;
        for (place, end) in cut.have.iter().copied().enumerate() {
            let from = traffic.inboxes[place].received();
            if from < end {
                missing = true;
                if let Some(site) = holder(&|f: &Flush| f.have[place] >= end, Some(traffic.sites[place])) {
                    let place = u16::try_from(place).expect("at most 512 sites");
                    asks.entry(site).or_insert_with(Fetch::nothing).ranges.push((place, from, end));
                }
            }
        }
        if traffic.order.len() < cut.order {
            missing = true;
            if let Some(site) = holder(&|f: &Flush| f.order >= cut.order, Some(traffic.sites[SEQUENCER])) {
                asks.entry(site).or_insert_with(Fetch::nothing).order =
                    Some((traffic.order.len(), cut.order));
            }
        }
        if missing && !change.fetching {
            change.fetching = true;
            change.asked = asks.keys().copied().collect();
            for (site, fetch) in asks {
                let frame = control(Kind::Fetch, self.group, traffic.id(), &fetch);
                self.outbox.control.push_back(Transmit { to: Arc::from([site]), frame });
            }
            self.trace(Transition::Fetch);
        }
        missing
    }

    /// Whether all of the cut is causally deliverable here.
    fn complete(&self, cut: &Cut) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| {
            traffic.have().iter().zip(&cut.have).all(|(have, end)| have >= end)
                && traffic.is_closed(&cut.have)
        })
    }

    /// Delivers the rest of the cut and the gbcasts (M7 to M11).
    fn deliver_old_view(&mut self, cut: Cut, together: &[SiteId]) {
        let transitional = self.transitional(together);
        let (Some(traffic), Some(change)) = (&mut self.traffic, &mut self.change) else { return };
        let deep_bug =
            self.config.bugs.has(Bug::DeliverAfterFlush) || self.config.bugs.has(Bug::ViewBelowFlushed);
        if let Some(frozen) = &traffic.frozen {
            let covers = |have: &[u64]| cut.have.iter().zip(have).all(|(end, had)| end >= had);
            let order_lost = self.config.bugs.has(Bug::OrderLostAtSequencerCrash);
            assert!(covers(&frozen.have), "the cut is below our first Flush");
            assert!(order_lost || cut.order >= frozen.order, "the cut's order is below our first Flush");
            assert!(deep_bug || covers(&traffic.heads()), "the cut is below what is delivered");
        }
        for flush in together.iter().filter_map(|site| change.flushes.get(site)) {
            traffic.stability.learn(&flush.stable, flush.order_stable);
        }
        let ends = cut.have.clone();
        traffic.deliver_cut(cut, Event::TransitionalSignal { transitional }, &mut self.events);
        let heads = traffic.heads();
        assert!(deep_bug || heads == ends, "the cut is not delivered to its end");
        for site in together {
            let Some(flush) = change.flushes.get_mut(site) else { continue };
            for gbcast in std::mem::take(&mut flush.gbcasts) {
                self.events.push_back(Event::Deliver(Delivery {
                    view: traffic.id(),
                    sender: traffic.member(gbcast.rank),
                    site: *site,
                    number: MessageNumber(gbcast.number),
                    order: Order::Gbcast,
                    safe: false,
                    payload: gbcast.payload.into(),
                }));
                if self.config.trace {
                    self.events.push_back(Event::Trace(Transition::Gbcast));
                }
            }
        }
    }

    /// The members of both views at the sites that move together.
    fn transitional(&self, together: &[SiteId]) -> Vec<MemberId> {
        let (Some(traffic), Some(change)) = (&self.traffic, &self.change) else { return Vec::new() };
        let old: BTreeSet<MemberId> = traffic.view.members.iter().map(|member| member.id).collect();
        let moves = |id: &MemberId| together.contains(&id.site()) && old.contains(id);
        change.view.members.iter().map(|member| member.id).filter(moves).collect()
    }

    /// Makes the view the installed one (M7).
    fn install(&mut self, now: Time, view: Arc<GroupView>, together: Vec<SiteId>) {
        let transitional = self.transitional(&together);
        let old = self.traffic.take();
        self.change = None;
        assert!(
            self.config.bugs.has(Bug::ViewBelowFlushed) || old.as_ref().is_none_or(|old| view.id > old.id()),
            "a view's id does not rise"
        );
        self.tell_installed(&view, old.as_ref());
        if let Some(old) = old {
            let alone = together.len() < 2;
            self.trace(if alone { Transition::InstallAlone } else { Transition::Install });
            self.retire(old, view.id, together);
        }
        let traffic = Traffic::new(view.clone(), self.me, &self.config);
        if self.sequencer.is_some_and(|before| before != traffic.sites[SEQUENCER]) {
            self.trace(Transition::SequencerChange);
        }
        self.sequencer = Some(traffic.sites[SEQUENCER]);
        self.outbox.full.retain(|site| traffic.sites.contains(site));
        self.progress = vec![(0, now); traffic.sites.len()];
        self.told_slow.clear();
        self.traffic = Some(traffic);
        self.events.push_back(Event::View { view: view.clone(), transitional });
        self.tell_stable(self.number);
        if let Some(since) = self.blocked_since.take() {
            self.events.push_back(Event::Unblocked { after: now.since(since) });
        }
        self.tell_writable();
        self.early.flushes.retain(|(x, _), _| *x > view.id);
        self.replay_early(now);
    }

    /// Keeps the old view for those who move with us and have not installed yet (M6).
    fn retire(&mut self, traffic: Traffic, x: ViewId, together: Vec<SiteId>) {
        self.gbcasts.clear();
        self.told_installed.retain(|_, at| *at >= x);
        let installed = |site: &SiteId| *site == self.me.site || self.told_installed.get(site) == Some(&x);
        let waiting: BTreeSet<SiteId> = together.into_iter().filter(|site| !installed(site)).collect();
        self.previous = (!waiting.is_empty()).then_some(Previous { traffic, waiting });
    }

    /// Tells all in a view, and who was in the one before, that this site has left every older one behind.
    fn tell_installed(&mut self, view: &GroupView, old: Option<&Traffic>) {
        let synchronous = view.options.consistency == Consistency::VirtuallySynchronous;
        let here = |member: &&GroupMember| member.id.process.birth == self.me;
        let came = view.members.iter().filter(here).any(|member| member.previous.is_some());
        let mut others: BTreeSet<SiteId> = sites_of(view).into_iter().collect();
        others.extend(old.iter().flat_map(|old| old.sites.iter()));
        others.remove(&self.me.site);
        if synchronous && came && !others.is_empty() {
            let frame = control(Kind::Installed, self.group, view.id, &Installed {});
            self.outbox.control.push_back(Transmit { to: others.into_iter().collect(), frame });
        }
    }

    /// Tells those who were in the last view and are not in the one that ended it here either: they wait for each other as
    /// for those who stay (`Parting`), and this site has left the view behind too.
    fn tell_ended(&mut self, view: &GroupView, old: &Traffic) {
        let listed = sites_of(view);
        let apart = |site: &SiteId| *site != self.me.site && !listed.contains(site);
        let others: Vec<SiteId> = old.sites.iter().copied().filter(apart).collect();
        if old.reliable() && !others.is_empty() {
            let frame = control(Kind::Installed, self.group, view.id, &Installed {});
            self.outbox.control.push_back(Transmit { to: others.into(), frame });
        }
    }

    /// A site has installed this view, or ended with it; it may be one that has not come here yet.
    pub(crate) fn handle_installed(&mut self, from: SiteId, x: ViewId) {
        let installed = self.traffic.as_ref().map(Traffic::id);
        if installed.is_some_and(|v| x < v) {
            return;
        }
        if self.told_installed.len() < TOLD_INSTALLED_MAX || self.told_installed.contains_key(&from) {
            let told = self.told_installed.entry(from).or_insert(x);
            *told = x.max(*told);
        }
        if installed == Some(x)
            && let Some(previous) = &mut self.previous
        {
            previous.waiting.remove(&from);
            if previous.waiting.is_empty() {
                self.previous = None;
            }
        }
    }

    /// Whether everybody who came to the installed view from an earlier one has said that it did: what was delivered
    /// in earlier views is then behind all of them.
    pub(crate) fn all_have_installed(&self) -> bool {
        let Some(traffic) = &self.traffic else { return false };
        let came = traffic.view.members.iter().filter(|member| member.previous.is_some());
        came.map(|member| member.id.site())
            .all(|site| site == self.me.site || self.told_installed.get(&site) >= Some(&traffic.id()))
    }

    /// Answers a fetch from the installed view or the one before.
    pub(crate) fn handle_fetch(
        &mut self,
        from: SiteId,
        view: ViewId,
        fetch: &Fetch,
    ) -> Result<(), FrameError> {
        let kept = [self.traffic.as_ref(), self.previous.as_ref().map(|previous| &previous.traffic)];
        let Some(traffic) = kept.into_iter().flatten().find(|traffic| traffic.id() == view) else {
            return Ok(()); // dropped: whoever asks is out of this view's future (M6)
        };
        let n = traffic.sites.len();
        if fetch.ranges.len() > n || fetch.ranges.iter().any(|(place, _, _)| usize::from(*place) >= n) {
            return Err(FrameError::Malformed);
        }
        let to: Arc<[SiteId]> = Arc::from([from]);
        for (place, first, end) in &fetch.ranges {
            for frame in traffic.inboxes[usize::from(*place)].frames(*first, *end) {
                self.outbox.control.push_back(Transmit { to: to.clone(), frame: frame.clone() });
            }
        }
        if let Some((first, end)) = fetch.order {
            let runs = traffic.order.range(first, end);
            for (i, runs) in runs.chunks(TAIL_RUNS_MAX).enumerate() {
                let tail = OrderTail { index: first + (i * TAIL_RUNS_MAX) as u64, runs: runs.to_vec() };
                let frame = control(Kind::OrderTail, self.group, view, &tail);
                self.outbox.control.push_back(Transmit { to: to.clone(), frame });
            }
        }
        Ok(())
    }

    pub(crate) fn handle_order_tail(&mut self, now: Time, view: ViewId, tail: &OrderTail) {
        if let Some(traffic) = &mut self.traffic
            && traffic.id() == view
            && traffic.frozen.is_some()
        {
            traffic.take_runs(tail.index, tail.runs.iter().copied());
            self.try_install(now);
        }
    }

    /// M6: names who keeps the change waiting, and asks another holder.
    pub(crate) fn flush_timed_out(&mut self, now: Time) {
        let Some(change) = &mut self.change else { return };
        if now < change.deadline {
            return;
        }
        change.deadline = now + self.config.flush_timeout;
        let missing = change.awaited.iter().filter(|site| !change.flushes.contains_key(site));
        let mut suspects: Vec<SiteId> = missing.copied().collect();
        if suspects.is_empty() {
            suspects = change.asked.iter().copied().collect();
            change.fetching = false;
            change.tries += 1;
        }
        if self.config.bugs.has(Bug::FlushNotAwaited) {
            change.impatient = true;
        }
        self.events.extend(suspects.into_iter().map(Event::Suspect));
        self.trace(Transition::FlushTimeout);
        self.try_install(now);
    }

    /// Only for [`Bug::TwoFlushes`]: a second Flush for one view, of what has come since the first.
    pub(crate) fn flush_again(&mut self) {
        let own = self.own_flush();
        let Some(change) = &mut self.change else { return };
        if change.flushes.get(&self.me.site) == Some(&own) {
            return;
        }
        let others: Arc<[SiteId]> =
            sites_of(&change.view).into_iter().filter(|site| *site != self.me.site).collect();
        let frame = control(Kind::Flush, self.group, change.view.id, &own);
        change.flushes.insert(self.me.site, own);
        self.outbox.control.push_back(Transmit { to: others, frame });
    }
}

impl Fetch {
    fn nothing() -> Fetch {
        Fetch { ranges: Vec::new(), order: None }
    }
}
