//! Proposals, acknowledgements, commits: C10 to C13.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{Bug, SiteId, ViewId};

use super::learn::Learning;
use super::message::{Body, Header};
use super::output::{Delay, Output, Timer, Transition};
use super::quorum::{is_acceptor, is_quorum};
use super::tables::Tables;
use super::{Kernel, Role};
use crate::step::{Peer, Request, RequestKind, Step, Why};

/// A proposal under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Initiating {
    pub attempt: ViewId,
    pub step: Arc<Step>,
    /// Who acknowledged, and whether it was a vote.
    pub acks: BTreeMap<SiteId, (Peer, bool)>,
    pub refused: BTreeSet<SiteId>,
    pub resent: bool,
}

impl<T: Tables> Kernel<T> {
    // C10
    pub(super) fn propose(&mut self, attempt: ViewId, step: Step) {
        self.promise(attempt);
        let step = Arc::new(step);
        self.role = Role::Initiating(Initiating {
            attempt,
            step: step.clone(),
            acks: BTreeMap::new(),
            refused: BTreeSet::new(),
            resent: false,
        });
        self.send_initiate(attempt, &step, &BTreeMap::new());
        self.arm(Timer::Resend(attempt), Delay::Rounds(1));
        self.arm(Timer::Ack(attempt), Delay::Rounds(2));
    }

    pub(super) fn resend(&mut self, attempt: ViewId) {
        let Role::Initiating(initiating) = &mut self.role else { return };
        if initiating.attempt == attempt && !initiating.resent {
            initiating.resent = true;
            let (step, acks) = (initiating.step.clone(), initiating.acks.clone());
            self.send_initiate(attempt, &step, &acks);
        }
    }

    fn send_initiate(&mut self, attempt: ViewId, step: &Step, acks: &BTreeMap<SiteId, (Peer, bool)>) {
        let Some(line) = self.line.clone() else { return };
        let pending: Vec<Request> = self.pending().collect();
        for site in self.concerned(&line.step, step) {
            if acks.contains_key(&site) {
                continue;
            }
            // The step before the line is enough: the proposal carries the line itself.
            let near = |id: ViewId| id == line.step.id || id == line.step.base;
            let behind = self.seen.get(&site).and_then(|g| g.line).is_some_and(|l| !near(l.0));
            if behind {
                self.send_line(site);
            }
            let (step, base, pending) = (step.clone(), line.step.clone(), pending.clone());
            self.send(site, Body::Initiate { attempt, step, base, pending });
        }
    }

    /// The members of the base and of the step.
    fn concerned(&self, base: &Step, step: &Step) -> BTreeSet<SiteId> {
        let members = base.members.iter().chain(&step.members).map(|m| m.peer.site);
        members.chain([self.me.site]).collect()
    }

    // C11
    pub(super) fn on_initiate(
        &mut self,
        header: &Header,
        attempt: ViewId,
        step: &Step,
        base: &Step,
        pending: &[Request],
    ) {
        let from = header.from;
        if self.line.as_ref().is_some_and(|l| base.position < l.step.position) {
            self.tell_line(from.site); // C3
            return;
        }
        if attempt < self.promised {
            self.trace(Transition::Refuse);
            self.send(from.site, Body::Refuse { attempt, promised: self.promised });
            return;
        }
        let votes = step.primary && is_acceptor(base, self.me);
        if self.line.is_some() && self.learn(base.id, base) == Learning::Lacking && votes {
            // Its vote would name a line that it cannot put on disk: the proposal is sent again.
            self.send(from.site, Body::MsgQuery { attempt: base.id, full: true });
            return;
        }
        if from != self.me {
            self.outbid(attempt);
            (self.tries, self.backoff) = (0, false);
        }
        self.promise(attempt);
        self.take_pending(pending);
        let over = self.view_id().is_some_and(|id| id >= step.id) || self.record.contains_key(&attempt);
        if from != self.me && !over {
            self.owe(attempt);
        }
        if step.lists(self.me) && !over {
            let members = step.members.iter().map(|m| m.peer.life()).collect();
            self.outputs.0.push_back(Output::StartChange { id: step.id, members });
        }
        let accepted = votes && self.line.as_ref().is_some_and(|l| l.step.id == step.base);
        if accepted {
            self.trace(Transition::Accept);
            self.accepted = Some((attempt, Arc::new(step.clone())));
            self.dirty = true;
        }
        self.send(from.site, Body::Ack { attempt, accepted });
    }

    // C12, C13
    pub(super) fn on_ack(&mut self, from: Peer, attempt: ViewId, accepted: bool) {
        let stale_counts = self.config.bugs.has(Bug::StaleAckCounted);
        let Role::Initiating(initiating) = &mut self.role else { return };
        if initiating.attempt == attempt || stale_counts {
            initiating.acks.insert(from.site, (from, accepted));
            self.commit_if_agreed(false);
        }
    }

    pub(super) fn on_refuse(&mut self, from: Peer, attempt: ViewId, promised: ViewId) {
        self.raised = self.raised.max(promised);
        if from.life() == attempt.coordinator && self.owed.is_some_and(|owed| owed.attempt == attempt) {
            // Its coordinator has given it up.
            self.give_up_owed(attempt);
        }
        let line = self.line.clone();
        match &mut self.role {
            Role::Idle => {}
            Role::Electing(electing) if electing.attempt == attempt => {
                electing.refused.insert(from.site);
                self.compose_if_answered();
            }
            Role::Initiating(initiating) if initiating.attempt == attempt => {
                initiating.refused.insert(from.site);
                let refused = &initiating.refused;
                let possible = line
                    .is_some_and(|l| is_quorum(&l.step, self.config.bugs, |p| !refused.contains(&p.site)));
                if !initiating.step.primary || !possible {
                    self.trace(Transition::Abandon);
                    self.role = Role::Idle;
                }
            }
            Role::Electing(_) | Role::Initiating(_) => {}
        }
    }

    pub(super) fn ack_ran_out(&mut self, attempt: ViewId) {
        let Role::Initiating(initiating) = &self.role else { return };
        if initiating.attempt != attempt {
            return;
        }
        let silent: Vec<Peer> = initiating
            .step
            .members
            .iter()
            .map(|m| m.peer)
            .filter(|peer| *peer != self.me && !initiating.acks.contains_key(&peer.site))
            .collect();
        for peer in silent {
            self.heard.remove(&peer.site);
            self.outputs.0.push_back(Output::Suspect(peer.life()));
        }
        self.trace(Transition::AckRanOut);
        self.commit_if_agreed(true);
        if matches!(&self.role, Role::Initiating(initiating) if initiating.attempt == attempt) {
            self.role = Role::Idle;
            self.trace(Transition::Abandon);
        }
    }

    /// C12: a primary step needs a quorum of its base, and all its members or the time-out; a non-primary one
    /// needs all its members.
    pub(super) fn commit_if_agreed(&mut self, timed_out: bool) {
        let Role::Initiating(initiating) = &self.role else { return };
        let Some(line) = &self.line else { return };
        let base = &line.step;
        let all = initiating
            .step
            .members
            .iter()
            .all(|m| initiating.acks.get(&m.peer.site).is_some_and(|(peer, _)| *peer == m.peer));
        let agreed = if initiating.step.primary {
            assert!(
                base.id == initiating.step.base || self.config.bugs.has(Bug::AttemptNotAbandoned),
                "an attempt goes on although the line moved"
            );
            let voted = |peer: Peer| {
                initiating
                    .acks
                    .get(&peer.site)
                    .is_some_and(|(p, accepted)| *accepted && is_acceptor(base, *p))
            };
            let acknowledged = |peer: Peer| initiating.acks.get(&peer.site).is_some_and(|(p, _)| *p == peer);
            let mut members = initiating.step.members.iter().map(|m| m.peer);
            let awaited = members.any(|peer| !acknowledged(peer) && !self.is_over(peer.life()));
            is_quorum(base, self.config.bugs, voted) && (!awaited || timed_out)
        } else {
            all
        };
        if agreed {
            let transition = match (initiating.step.primary, all) {
                (true, true) => Transition::CommitByAll,
                (true, false) => Transition::CommitByQuorum,
                (false, _) => Transition::CommitNonPrimary,
            };
            let (attempt, step) = (initiating.attempt, initiating.step.clone());
            self.trace(transition);
            self.commit(attempt, &step);
        }
    }

    fn commit(&mut self, attempt: ViewId, step: &Step) {
        let Some(base) = self.line.clone() else { return };
        self.role = Role::Idle;
        let joined: BTreeSet<SiteId> =
            step.members.iter().filter(|m| m.joined_at == step.id).map(|m| m.peer.site).collect();
        self.learn(attempt, step);
        for site in self.concerned(&base.step, step) {
            if site == self.me.site {
                continue;
            }
            let lacks_base = self.seen.get(&site).is_none_or(|g| g.line.is_none_or(|l| l.0 != base.step.id));
            if joined.contains(&site) && lacks_base {
                self.send_learned(site, step);
            } else {
                self.send(site, Body::Commit { attempt, step: step.clone() });
            }
        }
        self.count_changes(&base.step, step);
    }

    fn count_changes(&mut self, base: &Step, step: &Step) {
        for (_, why) in &step.removed {
            self.trace(match why {
                Why::Left => Transition::Leave,
                Why::Failed | Why::Partitioned => Transition::Fail,
            });
        }
        if base.position > 0 && step.members.iter().any(|m| base.rank(m.peer.site).is_none()) {
            self.trace(Transition::Join);
        }
        if step.requests.iter().any(|r| matches!(r.kind, RequestKind::Reorder(_))) {
            self.trace(Transition::Reorder);
        }
    }
}
