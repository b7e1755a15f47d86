//! Who starts a change, and the broadcast election: C4 to C9.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use wire::{Bug, SiteId, ViewId};

use super::compose::Present;
use super::learn::Learning;
use super::message::{Body, Header, Status};
use super::output::{Delay, Timer, Transition};
use super::quorum::{is_acceptor, is_quorum};
use super::record::Learned;
use super::tables::Tables;
use super::{Glimpse, Kernel, Owed, Role, TRIES_MAX, WAITS_MAX};
use crate::step::{Peer, Request, RequestId, RequestKind, Step, Why, Witnesses};

/// Beyond, a place in the order makes nobody wait longer for a merge.
const PLACES_MAX: u32 = 8;

/// An election under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Electing {
    pub attempt: ViewId,
    pub asked: BTreeSet<SiteId>,
    pub refused: BTreeSet<SiteId>,
    pub statuses: BTreeMap<SiteId, (Peer, Status)>,
    /// It waits longer for somebody whom a single site accuses.
    pub patient: bool,
}

impl<T: Tables> Kernel<T> {
    /// C4, C5: starts a change if one is wanted and this site's turn has come; else waits for its turn.
    pub(super) fn consider(&mut self) {
        let free = matches!(self.role, Role::Idle) && self.owed.is_none() && !self.retired;
        let urgent = free && self.is_wanted();
        if self.view.is_some() && !self.hears_another_view() {
            self.waited = 0;
        }
        if !free || !(urgent || self.may_merge()) || !self.is_hopeful() {
            self.backoff = false;
            return;
        }
        let place = self.place();
        if place == 0 && self.tries == 0 && urgent {
            self.begin();
        } else if !self.backoff {
            self.backoff = true;
            let delay = match urgent {
                true => Delay::Backoff { place, tries: self.tries },
                // One member of another side is heard a little before the next: they are to come together.
                false => Delay::Rounds(1 + 2 * (self.waited + place.min(PLACES_MAX))),
            };
            self.arm(Timer::Backoff, delay);
        }
    }

    pub(super) fn backoff_ran_out(&mut self) {
        if std::mem::take(&mut self.backoff) {
            if !self.is_wanted() {
                self.waited_for_sides();
            }
            self.begin();
        }
    }

    // C4, but for C17
    fn is_wanted(&self) -> bool {
        let Some(line) = &self.line else { return false };
        let Some(view) = &self.view else { return true };
        // A view off the line wants to be on it as soon as a quorum of the line is heard.
        if self.ran_out
            || view.step.position < line.step.position
            || (!view.step.primary && self.quorum_heard())
        {
            return true;
        }
        let another_life =
            |peer: Peer| self.newest_life(peer.site).is_some_and(|life| life.incarnation > peer.incarnation);
        self.pending.iter().any(|(id, kind)| {
            !self.is_moot(kind)
                && view.tables.settled(*id).is_none()
                && view.tables.wants(&Request { id: *id, kind: kind.clone() }, view.step.primary)
                && !self.waits_on_branch(*id)
        }) || view.step.members.iter().any(|m| another_life(m.peer))
            || self.heard.iter().any(|site| !self.has_view(*site) && self.is_foreign(*site))
    }

    // C4, C17
    fn hears_another_view(&self) -> bool {
        self.heard.iter().any(|site| self.has_view(*site) && self.is_foreign(*site))
    }

    /// Whether a merge is this side's to begin: with the line it is the line's.
    fn may_merge(&self) -> bool {
        let on_line = |glimpse: &Glimpse| glimpse.view.is_some() && glimpse.view == glimpse.line.map(|l| l.0);
        let off_line = |site: &SiteId| {
            self.is_foreign(*site) && self.seen.get(site).is_some_and(|g| g.view.is_some() && !on_line(g))
        };
        self.hears_another_view() && (self.quorum_heard() || self.heard.iter().any(off_line))
    }

    fn has_view(&self, site: SiteId) -> bool {
        self.seen.get(&site).is_some_and(|glimpse| glimpse.view.is_some())
    }

    /// Whether the step off the line that made this view carried the request and left it open: another step like
    /// it would do the same, so the request waits for the line, or for a change that comes for another reason.
    fn waits_on_branch(&self, id: RequestId) -> bool {
        self.view.as_ref().is_some_and(|v| !v.step.primary && v.step.requests.iter().any(|r| r.id == id))
    }

    /// Whether a request asks for what is so: that somebody go who is not there. It is settled by the next step,
    /// and worth none of its own.
    fn is_moot(&self, kind: &RequestKind) -> bool {
        match kind {
            RequestKind::Fail(life, ..) | RequestKind::Leave(life) => {
                let there = |l: &Learned<T>| l.step.members.iter().any(|m| m.peer.life() == *life);
                !self.view.iter().chain(&self.line).any(|l| there(l))
            }
            RequestKind::Join(_) | RequestKind::Reorder(_) | RequestKind::Group(_) => false,
        }
    }

    /// A site that is heard, knows a line, and is not in this view with us (C17).
    fn is_foreign(&self, site: SiteId) -> bool {
        let Some(glimpse) = self.seen.get(&site) else { return false };
        let Some(view) = &self.view else { return false };
        if glimpse.line.is_none() || glimpse.left {
            return false;
        }
        let went_on = |id: ViewId| self.record.values().any(|step| step.id == id && !step.lists(self.me));
        !view.step.lists(glimpse.peer) || glimpse.view.is_some_and(|id| id > view.step.id && went_on(id))
    }

    /// Whether an attempt might succeed: a quorum of the line is heard, or who is silent is established as
    /// failed. Without hope a site waits instead of writing promises for ever.
    fn is_hopeful(&self) -> bool {
        self.quorum_heard() || self.silent_established(&|site| self.heard.contains(&site))
    }

    pub(super) fn quorum_heard(&self) -> bool {
        let Some(line) = &self.line else { return false };
        let may_vote = |g: &Glimpse| is_acceptor(&line.step, g.peer);
        let heard = |peer: Peer| {
            (peer.site == self.me.site && is_acceptor(&line.step, self.me))
                || (self.heard.contains(&peer.site) && self.seen.get(&peer.site).is_none_or(may_vote))
        };
        is_quorum(&line.step, self.config.bugs, heard)
    }

    /// C9.3's guard: those of my view (of the line, if viewless) that are not there are established as failed.
    /// Without it a coordinator that merely did not hear in time would split the view.
    fn silent_established(&self, there: &dyn Fn(SiteId) -> bool) -> bool {
        let Some(line) = &self.line else { return false };
        let members = &self.view.as_ref().unwrap_or(line).step.members;
        line.step.position > 0
            && members
                .iter()
                .filter(|m| m.peer.site != self.me.site && !there(m.peer.site))
                .all(|m| self.established(m.peer).is_some())
    }

    // C5
    fn place(&self) -> u32 {
        let Some(line) = &self.line else { return u32::MAX };
        let key = |site: SiteId, position: u64| {
            (Reverse(position), line.step.rank(site).unwrap_or(usize::MAX), site)
        };
        let mine = key(self.me.site, line.step.position);
        let before = self.heard.iter().filter(|site| {
            let said = self.seen.get(site).and_then(|g| g.line).map(|l| l.1);
            let in_view = self.view.as_ref().is_some_and(|v| v.step.rank(**site).is_some());
            // A member of my view has my line until it says otherwise.
            let position = if in_view { Some(said.unwrap_or(0).max(line.step.position)) } else { said };
            position.is_some_and(|position| key(**site, position) < mine)
        });
        u32::try_from(before.count()).unwrap_or(u32::MAX)
    }

    fn begin(&mut self) {
        self.backoff = false;
        self.ran_out = false;
        self.tries = (self.tries + 1).min(TRIES_MAX);
        match self.direct_attempt() {
            Some((attempt, step)) => {
                self.trace(Transition::DirectAttempt);
                self.propose(attempt, step);
            }
            None => self.elect(),
        }
    }

    /// C6: rank 0 may skip the election, with the lowest number of the instance and only once: strictly above
    /// what it promised.
    fn direct_attempt(&self) -> Option<(ViewId, Step)> {
        let (line, view) = (self.line.as_ref()?, self.view.as_ref()?);
        let first = view.step.members.first()?.peer == self.me;
        let current = view.step.position == line.step.position;
        let attempt = ViewId { epoch: view.step.id.epoch + 1, attempt: 0, coordinator: self.me.life() };
        let twice = self.config.bugs.has(Bug::AttemptZeroTwice) && attempt == self.promised;
        if !first || !current || !(attempt > self.promised || twice) {
            return None;
        }
        // C15: the one who does not hear them may be deaf. They are asked; an answer refutes.
        if view.step.members.iter().any(|m| self.rests_on_one_word(m.peer)) {
            return None;
        }
        // A foreign view must be asked what it promised; a restarted site without a view may simply come in.
        if self.hears_another_view() || view.step.primary != self.quorum_heard() {
            return None;
        }
        let present = self.presumed_present(&view.step);
        let branches = view.tables.branch().into_iter().collect();
        let order = &view.step.members;
        let step = self.compose(attempt, line, view.step.primary, order, &present, branches)?;
        Some((attempt, step))
    }

    /// Whether a member is to go and a single site says so.
    fn rests_on_one_word(&self, peer: Peer) -> bool {
        let mut words = self.words_against(peer.life()).peekable();
        let surpassed = self.newest_life(peer.site).is_some_and(|life| life.incarnation > peer.incarnation);
        words.peek().is_some()
            && words.all(|(why, witnesses)| (why, witnesses) == (Why::Failed, Witnesses::One))
            && !surpassed
    }

    /// The sites of the line that are to go on a single site's word, be they heard or not.
    fn accused_by_one(&self) -> BTreeSet<SiteId> {
        let members = self.line.iter().flat_map(|line| &line.step.members);
        members.filter(|m| self.rests_on_one_word(m.peer)).map(|m| m.peer.site).collect()
    }

    /// Who is taken to be there without being asked: the view, less the established failed, in their newest
    /// lives, and restarted sites that have no view.
    fn presumed_present(&self, view: &Step) -> BTreeMap<SiteId, Present> {
        let mut present = BTreeMap::new();
        for member in &view.members {
            // Who makes the step is there, whatever was said of it.
            if member.peer == self.me || self.established(member.peer).is_none() {
                present.insert(member.peer.site, Present { peer: member.peer, view: Some(view.id) });
            }
        }
        for site in &self.heard {
            let Some(glimpse) = self.seen.get(site) else { continue };
            if glimpse.line.is_some() && glimpse.view.is_none() && !glimpse.left && !view.lists(glimpse.peer)
            {
                present.insert(*site, Present { peer: glimpse.peer, view: None });
            }
        }
        present
    }

    // C7
    fn elect(&mut self) {
        let Some(line) = &self.line else { return };
        let known = line.step.id.epoch.max(self.view.as_ref().map_or(0, |v| v.step.id.epoch));
        let lowest = ViewId { epoch: known + 1, attempt: 1, coordinator: self.me.life() };
        let floor = self.promised.max(self.raised);
        let attempt = if lowest > floor {
            lowest
        } else {
            match floor.attempt.checked_add(1) {
                Some(attempt) => ViewId { epoch: floor.epoch, attempt, ..lowest },
                None => ViewId { epoch: floor.epoch.saturating_add(1), ..lowest },
            }
        };
        // A joiner has nothing to promise; a member that has not told its line yet has.
        let member = |site: &SiteId| self.view.as_ref().is_some_and(|v| v.step.rank(*site).is_some());
        let joiner = |site: &SiteId| self.seen.get(site).is_some_and(|g| g.line.is_none()) && !member(site);
        let mut asked: BTreeSet<SiteId> = self.heard.iter().filter(|s| !joiner(s)).copied().collect();
        // Who is accused on one word may be silent only because its disk is slow: an answer refutes (C15).
        asked.extend(self.accused_by_one());
        asked.insert(self.me.site);
        self.trace(Transition::Election);
        for site in &asked {
            self.send(*site, Body::CoordFail { attempt });
        }
        let (refused, statuses) = (BTreeSet::new(), BTreeMap::new());
        self.role = Role::Electing(Electing { attempt, asked, refused, statuses, patient: false });
        self.arm(Timer::Collect(attempt), Delay::Rounds(2));
    }

    // C8
    pub(super) fn on_coord_fail(&mut self, header: &Header, attempt: ViewId) {
        let Some(line) = self.line.clone() else { return };
        let from = header.from;
        if header.line.is_none_or(|(_, position)| position < line.step.position) {
            self.tell_line(from.site); // C3
            return;
        }
        if attempt > self.promised && attempt.epoch > line.step.id.epoch {
            self.trace(Transition::Promise);
            if from != self.me {
                self.trace(match (&self.role, &self.owed) {
                    (Role::Electing(_), _) => Transition::CoordFailWhileElecting,
                    (Role::Initiating(_), _) => Transition::CoordFailWhileInitiating,
                    (Role::Idle, Some(_)) => Transition::CoordFailWhileOwed,
                    (Role::Idle, None) => Transition::CoordFailWhileIdle,
                });
                self.outbid(attempt);
                self.owe(attempt);
            }
            self.promise(attempt);
            self.send_status(from.site, attempt);
        } else if attempt == self.promised {
            self.send_status(from.site, attempt);
        } else {
            self.trace(Transition::Refuse);
            self.send(from.site, Body::Refuse { attempt, promised: self.promised });
        }
    }

    fn send_status(&mut self, to: SiteId, attempt: ViewId) {
        let Some(line) = &self.line else { return };
        let status = Status {
            attempt,
            line: line.step.clone(),
            accepted: self.accepted.as_ref().map(|(a, step)| (*a, (**step).clone())),
            view: self.view.as_ref().map(|v| v.step.id),
            pending: self.pending().collect(),
            branch: self.view.as_ref().and_then(|v| v.tables.branch()),
            hears: self.seen.values().map(|g| g.peer).collect(),
        };
        self.send(to, Body::Status(status));
    }

    /// An own attempt below a promised one is over.
    pub(super) fn outbid(&mut self, attempt: ViewId) {
        let own = match &self.role {
            Role::Idle => return,
            Role::Electing(electing) => electing.attempt,
            Role::Initiating(initiating) => initiating.attempt,
        };
        if own < attempt {
            self.trace(Transition::Outbid);
            self.role = Role::Idle;
        }
    }

    /// From now on somebody's commit is awaited, though never twice for one attempt (C14).
    pub(super) fn owe(&mut self, attempt: ViewId) {
        if attempt > self.in_vain && self.owed.is_none_or(|owed| owed.attempt < attempt) {
            self.owed = Some(Owed { attempt, waits_left: WAITS_MAX, asked: false });
            self.arm(Timer::Commit(attempt), Delay::Rounds(5));
        }
    }

    pub(super) fn on_status(&mut self, from: Peer, status: &Status) {
        self.take_pending(&status.pending);
        let Role::Electing(electing) = &mut self.role else { return };
        if electing.attempt == status.attempt {
            electing.statuses.insert(from.site, (from, status.clone()));
            self.compose_if_answered();
        }
    }

    pub(super) fn compose_if_answered(&mut self) {
        let Role::Electing(electing) = &self.role else { return };
        let accused = self.accused_by_one();
        let over = |site: &SiteId| {
            !accused.contains(site) && self.newest_life(*site).is_some_and(|life| self.is_over(life))
        };
        let answered = |site: &SiteId| {
            electing.statuses.contains_key(site) || electing.refused.contains(site) || over(site)
        };
        if electing.asked.iter().all(answered) && !self.asks_the_accused() {
            self.finish_election();
        }
    }

    /// C15: who came to be accused on one word while others were asked is asked too, before anything rests on it.
    fn asks_the_accused(&mut self) -> bool {
        let accused = self.accused_by_one();
        let Role::Electing(electing) = &mut self.role else { return false };
        let late: Vec<SiteId> = accused.difference(&electing.asked).copied().collect();
        if late.is_empty() {
            return false;
        }
        electing.asked.extend(&late);
        electing.patient = true;
        let attempt = electing.attempt;
        for site in late {
            self.send(site, Body::CoordFail { attempt });
        }
        self.arm(Timer::Collect(attempt), Delay::Rounds(6));
        true
    }

    pub(super) fn collect_ran_out(&mut self, attempt: ViewId) {
        let Role::Electing(electing) = &self.role else { return };
        if electing.attempt != attempt {
            return;
        }
        let answered = |s: &SiteId| electing.statuses.contains_key(s) || electing.refused.contains(s);
        let silent: Vec<SiteId> = electing.asked.iter().copied().filter(|site| !answered(site)).collect();
        let accused = self.accused_by_one();
        if !electing.patient && silent.iter().any(|site| accused.contains(site)) {
            // Its disk may be slow, and a single site's word is no reason to call that a failure.
            if let Role::Electing(electing) = &mut self.role {
                electing.patient = true;
            }
            self.arm(Timer::Collect(attempt), Delay::Rounds(4));
            return;
        }
        for site in &silent {
            self.heard.remove(site);
        }
        if !self.asks_the_accused() {
            self.finish_election();
        }
    }

    // C9
    fn finish_election(&mut self) {
        let Role::Electing(electing) = std::mem::replace(&mut self.role, Role::Idle) else { return };
        let Electing { attempt, mut statuses, .. } = electing;
        drop_surpassed(&mut statuses); // C13
        if self.promised != attempt || !statuses.contains_key(&self.me.site) {
            self.trace(Transition::Abandon);
            return;
        }
        // C9.1: the promises span all instances, so that the attempt may go on at a line learned from them.
        let newest =
            statuses.values().max_by_key(|(_, s)| s.line.position).map(|(p, s)| (p.site, s.line.clone()));
        if let Some((site, newest)) = newest
            && self.learn(newest.id, &newest) == Learning::Lacking
        {
            self.send(site, Body::MsgQuery { attempt: newest.id, full: true });
            self.trace(Transition::Abandon);
            return;
        }
        let Some(line) = self.line.clone() else { return };
        if attempt.epoch <= line.step.id.epoch {
            self.trace(Transition::Abandon);
            return;
        }
        match self.choose(attempt, &line.step, &statuses) {
            Some(step) => self.propose(attempt, step),
            None => self.trace(Transition::Abandon),
        }
    }

    // C9.2, C9.3
    fn choose(
        &mut self,
        attempt: ViewId,
        line: &Step,
        statuses: &BTreeMap<SiteId, (Peer, Status)>,
    ) -> Option<Step> {
        let voted = |peer: Peer| statuses.get(&peer.site).is_some_and(|(p, _)| is_acceptor(line, *p));
        let quorum = is_quorum(line, self.config.bugs, voted);
        if quorum && !self.config.bugs.has(Bug::ForcedValueIgnored) {
            let reports = statuses.values().filter(|(_, s)| s.line.id == line.id);
            let forced = reports.filter_map(|(_, s)| s.accepted.as_ref()).max_by_key(|(at, _)| *at);
            if let Some((_, step)) = forced {
                self.trace(Transition::ForcedValue);
                let mut step = step.clone();
                if self.config.bugs.has(Bug::ForcedValueRenamed) {
                    step.id = attempt;
                }
                return Some(step);
            }
        }
        if !quorum && !self.silent_established(&|site| statuses.contains_key(&site)) {
            return None;
        }
        self.trace(if quorum { Transition::ComposePrimary } else { Transition::ComposeNonPrimary });
        let outside = self.left_outside(line, statuses, quorum);
        let inside = |peer: Peer| voted(peer) && !outside.contains(&peer.site);
        if quorum && !is_quorum(line, self.config.bugs, inside) {
            // Without them the line would be left to members who are not there, for good if their disks are lost.
            self.waited_for_sides();
            return None;
        }
        let mut statuses = statuses.clone();
        statuses.retain(|site, _| !outside.contains(site));
        let present: BTreeMap<SiteId, Present> = statuses
            .iter()
            .map(|(site, (peer, status))| (*site, Present { peer: *peer, view: status.view }))
            .collect();
        let mut branches: Vec<_> = statuses.values().filter_map(|(_, s)| s.branch.clone()).collect();
        branches.sort_by_key(|branch| branch.view);
        branches.dedup_by_key(|branch| branch.view);
        if branches.len() > 1 || present.values().any(|p| p.view.is_some() && p.view != self.view_id()) {
            self.trace(Transition::Merge);
        }
        let base = self.line.clone()?;
        self.compose(attempt, &base, quorum, &base.step.members, &present, branches)
    }

    pub(super) fn view_id(&self) -> Option<ViewId> {
        self.view.as_ref().map(|v| v.step.id)
    }
}

/// C13: an answer from a life that another answerer has seen surpassed is not counted.
fn drop_surpassed(statuses: &mut BTreeMap<SiteId, (Peer, Status)>) {
    let mut newest: BTreeMap<SiteId, Peer> = BTreeMap::new();
    for peer in statuses.values().flat_map(|(_, s)| &s.hears) {
        let known = newest.entry(peer.site).or_insert(*peer);
        if known.incarnation < peer.incarnation {
            *known = *peer;
        }
    }
    statuses.retain(|site, (peer, _)| newest.get(site).is_none_or(|p| p.incarnation <= peer.incarnation));
}
