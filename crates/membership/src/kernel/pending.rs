//! Requests: what was seen is pending until the line settles it. C15, C16, C18.

use std::collections::BTreeMap;

use wire::{SiteId, SiteIncarnation};

use super::message::{Body, Header};
use super::output::{Delay, Output, Timer};
use super::tables::Tables;
use super::{ASKED_AT_ONCE_MAX, Busy, Kernel, PENDING_PER_ORIGIN_MAX};
use crate::step::{Request, RequestId, RequestKind, Why, Witnesses};

impl<T: Tables> Kernel<T> {
    /// Asks for something. It goes to every mserver of the view and is pending there until the line settles it.
    /// `Busy` changes nothing.
    pub fn submit(&mut self, kind: RequestKind) -> Result<RequestId, Busy> {
        let request = self.new_request(kind)?;
        let id = request.id;
        self.spread(&request, None);
        self.turn();
        Ok(id)
    }

    /// Takes a request that the member interface, or an attached site, has numbered. Said again, it is spread
    /// again, or answered if the line has settled it. `Busy` changes nothing.
    pub fn submit_request(&mut self, request: &Request) -> Result<(), Busy> {
        let settled = self.line.as_ref().and_then(|line| line.tables.settled(request.id));
        if let Some(outcome) = settled {
            self.outputs.0.push_back(Output::Settled { request: request.id, outcome, on_line: true });
            return Ok(());
        }
        if !self.pending.contains_key(&request.id) {
            if self.pending_of(request.id.origin) >= PENDING_PER_ORIGIN_MAX {
                return Err(Busy);
            }
            self.pending.insert(request.id, request.kind.clone());
        }
        self.spread(request, None);
        self.turn();
        Ok(())
    }

    /// C15: detection established, by two witnesses or by one and an unanswered request to refute, that a life
    /// is over (`Failed`) or cannot be heard by all (`Partitioned`). Kept until a step settles it.
    /// On one site's word it is asked before it is removed (C6).
    pub fn establish(&mut self, life: SiteIncarnation, why: Why, witnesses: Witnesses) {
        let newest = self.newest_life(life.site);
        if life.site == self.me.site || newest.is_some_and(|n| n.incarnation > life.incarnation) {
            return;
        }
        // Even if another site's word came first: an election that it began has asked who is now known not to answer.
        if why == Why::Failed {
            self.heard.remove(&life.site);
        }
        let says_so =
            |kind: &RequestKind| matches!(kind, RequestKind::Fail(l, _, w) if *l == life && *w >= witnesses);
        if !self.pending.values().any(says_so)
            && let Ok(request) = self.new_request(RequestKind::Fail(life, why, witnesses))
        {
            self.spread(&request, None);
        }
        self.turn();
    }

    /// Whether nothing more is awaited of a life: it is established as failed and has not been heard since, or a
    /// later life of its site has been seen.
    pub(super) fn is_over(&self, life: SiteIncarnation) -> bool {
        let failed = |(id, kind): (&RequestId, &RequestKind)| {
            matches!(kind, RequestKind::Fail(l, Why::Failed, _) if *l == life)
                && self.may_witness(id.origin, life)
        };
        let surpassed =
            || self.newest_life(life.site).is_some_and(|newest| newest.incarnation > life.incarnation);
        let silent = || !self.heard.contains(&life.site) && self.pending.iter().any(failed);
        life.site != self.me.site && (surpassed() || silent())
    }

    /// C9, C12, C14: who is established as failed is waited for no longer than that. The timers stay for those who
    /// are merely silent.
    pub(super) fn stop_waiting_for_the_failed(&mut self) {
        if let Some(owed) = self.owed
            && self.is_over(owed.attempt.coordinator)
        {
            self.give_up_owed(owed.attempt);
        }
        self.compose_if_answered();
        self.commit_if_agreed(false);
    }

    /// C18: begins to leave. The site goes when it has learned of it, or after a while without.
    pub fn leave(&mut self) {
        if self.leaving || self.retired {
            return;
        }
        self.leaving = true;
        let alone = self.view.as_ref().is_none_or(|v| v.step.members.len() == 1);
        match self.new_request(RequestKind::Leave(self.me.life())) {
            Ok(request) if !alone => {
                self.spread(&request, None);
                self.arm(Timer::Leave, Delay::Rounds(5));
            }
            // Nobody is there to go on without it: it keeps the line on its disk.
            Ok(_) | Err(Busy) => self.left(),
        }
        self.turn();
    }

    pub(super) fn leave_ran_out(&mut self) {
        if self.leaving {
            self.left();
        }
    }

    /// Asks sites where they are: those given and the founders as far as they are not in the view, and some members
    /// of it, others in each round.
    pub fn search(&mut self, sites: &[SiteId], round: u32) {
        let members = self.members_to_ask(round);
        let outside = |site: &SiteId| self.view.as_ref().is_none_or(|v| v.step.rank(*site).is_none());
        let strangers = sites.iter().chain(&self.config.founders).copied().filter(outside);
        let mut all: Vec<SiteId> = strangers.chain(members).collect();
        all.sort();
        all.dedup();
        all.retain(|site| *site != self.me.site);
        if !self.retired {
            for site in all {
                self.send(site, Body::Query);
            }
        }
        self.turn();
    }

    /// The members of the view that are asked in this round: the next on the ring of ranks, beginning where the last
    /// round ended, so that everybody is asked by as many as it asks.
    fn members_to_ask(&self, round: u32) -> Vec<SiteId> {
        let Some(members) = self.view.as_ref().map(|v| &v.step.members) else { return Vec::new() };
        let me = members.iter().position(|m| m.peer.site == self.me.site).unwrap_or(0);
        let others = members.len().saturating_sub(1);
        let begin = (round as usize).saturating_mul(ASKED_AT_ONCE_MAX);
        let next = |n: usize| members[(me + 1 + (begin + n) % others) % members.len()].peer.site;
        (0..others.min(ASKED_AT_ONCE_MAX)).map(next).collect()
    }

    // C16: the joiner can receive before it asks.
    pub(super) fn ask_to_join(&mut self) {
        if self.new_request(RequestKind::Join(self.me)).is_ok() {
            self.ask_again_to_join();
        }
    }

    pub(super) fn ask_again_to_join(&mut self) {
        if self.line.is_some() {
            return;
        }
        let known = self.config.known.iter().chain(&self.config.founders);
        let sponsors: Vec<SiteId> = known.copied().filter(|site| *site != self.me.site).collect();
        let own: Vec<Request> = self.pending().filter(|r| r.id.origin == self.me.life()).collect();
        for site in self.some_sponsors(sponsors) {
            for request in &own {
                self.send(site, Body::Submit(request.clone()));
            }
        }
        self.arm(Timer::Join, Delay::Rounds(5));
    }

    /// All of a few sponsors; of many as many as are asked at once, others at each try.
    fn some_sponsors(&mut self, sponsors: Vec<SiteId>) -> Vec<SiteId> {
        let mut many = sponsors.clone();
        many.sort_unstable();
        many.dedup();
        if many.len() <= ASKED_AT_ONCE_MAX {
            return sponsors;
        }
        // Joiners begin at different sponsors, so that one sponsor does not have to pass on all their joins.
        let begin = (self.me.site.0 as usize + self.joins_asked as usize * ASKED_AT_ONCE_MAX) % many.len();
        self.joins_asked = self.joins_asked.wrapping_add(1);
        many.rotate_left(begin);
        many.truncate(ASKED_AT_ONCE_MAX);
        many
    }

    pub(super) fn on_submit(&mut self, header: &Header, request: &Request) {
        let from = header.from;
        if self.line.is_none() {
            return;
        }
        if let RequestKind::Join(peer) = &request.kind
            && let Some(view) = self.view.clone()
            && view.step.lists(*peer)
        {
            // It was let in and has not heard of it: its sponsor may have died between Commit and Init.
            self.send_learned(from.site, &view.step);
            return;
        }
        let settled = self.line.as_ref().is_some_and(|l| l.tables.settled(request.id).is_some());
        if settled {
            match &request.kind {
                // It was let in and removed before it heard of it, or was taken for dead: it still asks, so its
                // sponsor asks for it anew.
                RequestKind::Join(peer) if *peer == from => self.ask_anew(RequestKind::Join(*peer)),
                RequestKind::Join(_)
                | RequestKind::Leave(_)
                | RequestKind::Fail(..)
                | RequestKind::Reorder(_)
                | RequestKind::Group(_) => self.help_laggard(header),
            }
            return;
        }
        let new = self.take_pending(std::slice::from_ref(request));
        let outsider = self.view.as_ref().is_some_and(|v| !v.step.lists(from));
        if new && outsider {
            self.spread(request, Some(from.site));
        }
    }

    fn ask_anew(&mut self, kind: RequestKind) {
        if self.pending.values().any(|k| *k == kind) {
            return;
        }
        if let Ok(request) = self.new_request(kind) {
            self.spread(&request, None);
        }
    }

    /// Keeps requests that are not settled on the line; whether any is new. Beyond the bound an origin's
    /// requests stay where they are, and come again.
    pub(super) fn take_pending(&mut self, requests: &[Request]) -> bool {
        let mut counts: BTreeMap<SiteIncarnation, usize> = BTreeMap::new();
        let mut any = false;
        for request in requests {
            let id = request.id;
            let settled = self.line.as_ref().is_some_and(|l| l.tables.settled(id).is_some());
            if settled || self.pending.contains_key(&id) {
                continue;
            }
            let count = counts.entry(id.origin).or_insert_with(|| self.pending_of(id.origin));
            if *count < PENDING_PER_ORIGIN_MAX {
                *count += 1;
                self.pending.insert(id, request.kind.clone());
                any = true;
            }
        }
        any
    }

    fn pending_of(&self, origin: SiteIncarnation) -> usize {
        let (first, last) = (RequestId { origin, n: 0 }, RequestId { origin, n: u64::MAX });
        self.pending.range(first..=last).count()
    }

    fn new_request(&mut self, kind: RequestKind) -> Result<Request, Busy> {
        let origin = self.me.life();
        if self.pending_of(origin) >= PENDING_PER_ORIGIN_MAX {
            return Err(Busy);
        }
        self.requests += 1;
        let request = Request { id: RequestId { origin, n: self.requests }, kind };
        self.pending.insert(request.id, request.kind.clone());
        Ok(request)
    }

    fn spread(&mut self, request: &Request, except: Option<SiteId>) {
        let members: Vec<SiteId> =
            self.view.iter().flat_map(|v| &v.step.members).map(|m| m.peer.site).collect();
        for site in members {
            if site != self.me.site && Some(site) != except {
                self.send(site, Body::Submit(request.clone()));
            }
        }
    }
}
