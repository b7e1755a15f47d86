//! What is decided: learning, installing, answering about the past: C1 to C3, C14.

use std::sync::Arc;

use wire::{Bug, SiteId, ViewId};

use super::message::{Body, Header};
use super::output::{Delay, Output, Timer, Transition};
use super::quorum::is_acceptor;
use super::record::Learned;
use super::tables::Tables;
use super::{Kernel, RECORD_MAX, Role};
use crate::step::{Peer, Step, Why};

/// What came of learning a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learning {
    /// It was known, or is over.
    Old,
    /// It is known now.
    New,
    /// The tables of its base are not here.
    Lacking,
}

impl<T: Tables> Kernel<T> {
    /// C1
    pub(super) fn learn(&mut self, attempt: ViewId, step: &Step) -> Learning {
        let Some(line) = self.line.clone() else { return Learning::Lacking };
        if !step.primary {
            return self.learn_branch(&line, attempt, step);
        }
        if step.position <= line.step.position {
            assert!(
                step.position < line.step.position || step.id == line.step.id,
                "one step per position: {} and {} at {}",
                step.id,
                line.step.id,
                step.position
            );
            self.remember(attempt, step);
            self.settle_owed(attempt);
            return Learning::Old;
        }
        if step.base != line.step.id {
            return Learning::Lacking;
        }
        assert!(step.position == line.step.position + 1, "a primary step follows its base");
        let mut tables = line.tables.clone();
        let applied = tables.apply(step);
        if tables.digest() != step.digest {
            self.outputs.0.push_back(Output::Diverged(step.id));
            return Learning::Lacking;
        }
        self.remember(attempt, step);
        let followed = self.view_id() == Some(line.step.id);
        let views = if followed { applied.views } else { tables.views() };
        self.move_line(Learned { step: step.clone(), tables });
        if let Some(line) = self.line.clone() {
            self.install(line, views);
        }
        Learning::New
    }

    /// A step off the line: it moves nobody but its members.
    fn learn_branch(&mut self, line: &Arc<Learned<T>>, attempt: ViewId, step: &Step) -> Learning {
        if step.base != line.step.id && !self.config.bugs.has(Bug::NonPrimaryOverLine) {
            return if step.position < line.step.position { Learning::Old } else { Learning::Lacking };
        }
        self.remember(attempt, step);
        self.settle_owed(attempt);
        self.promise(step.id);
        if !step.lists(self.me) || self.view_id().is_some_and(|id| id >= step.id) {
            return Learning::Old;
        }
        let mut tables = line.tables.clone();
        let applied = tables.apply(step);
        if tables.digest() != step.digest && !self.config.bugs.has(Bug::NonPrimaryOverLine) {
            self.outputs.0.push_back(Output::Diverged(step.id));
            return Learning::Lacking;
        }
        self.install(Arc::new(Learned { step: step.clone(), tables }), applied.views);
        Learning::New
    }

    /// The line moves: what was accepted belonged to the old instance, and an own attempt is over (C1).
    fn move_line(&mut self, line: Learned<T>) {
        if self.line.as_ref().is_none_or(|l| l.step.position == 0) {
            self.trace(Transition::Founded);
        }
        self.promise(line.step.id);
        self.dirty = true;
        self.accepted = None;
        if !matches!(self.role, Role::Idle) && !self.config.bugs.has(Bug::AttemptNotAbandoned) {
            self.trace(Transition::LineMoved);
            self.role = Role::Idle;
        }
        self.owed = None;
        self.ran_out = false;
        (self.tries, self.backoff) = (0, false);
        let line = Arc::new(line);
        self.forget_removed(&line.step);
        self.settle(&line, true);
        self.pending.retain(|id, _| line.tables.settled(*id).is_none());
        self.line = Some(line);
        assert!(
            self.line.as_ref().is_some_and(|l| self.promised >= l.step.id),
            "the promise is not below the line"
        );
    }

    /// Tells of requests seen here that this step settled.
    fn settle(&mut self, learned: &Learned<T>, on_line: bool) {
        let before = self.view.clone();
        let told = |id| !on_line && before.as_ref().is_some_and(|v| v.tables.settled(id).is_some());
        let settled: Vec<_> = self
            .pending
            .keys()
            .filter(|id| !told(**id))
            .filter_map(|id| learned.tables.settled(*id).map(|outcome| (*id, outcome)))
            .collect();
        for (request, outcome) in settled {
            self.outputs.0.push_back(Output::Settled { request, outcome, on_line });
        }
    }

    /// C2
    fn install(&mut self, learned: Arc<Learned<T>>, group_views: Vec<T::View>) {
        let step = &learned.step;
        let over_line = self.config.bugs.has(Bug::NonPrimaryOverLine)
            || self.line.as_ref().is_none_or(|l| step.position >= l.step.position);
        if !step.lists(self.me) {
            self.excluded(step);
            return;
        }
        if self.view_id().is_some_and(|id| step.id <= id) || !over_line {
            return;
        }
        if let Some(view) = &self.view {
            assert!(step.id > view.step.id, "a member's view ids rise");
            assert!(
                step.position >= view.step.position || self.config.bugs.has(Bug::NonPrimaryOverLine),
                "the position does not fall"
            );
        }
        if !step.primary {
            self.forget_removed(step);
            self.settle(&learned, false);
        }
        // Off the line a step may leave wanted what it was made for; the next one takes its time.
        (self.tries, self.backoff, self.ran_out) = (u32::from(!step.primary), false, false);
        self.outputs.0.push_back(Output::Installed { step: Arc::new(step.clone()), group_views });
        self.presume_view(step);
        self.view = Some(learned);
    }

    /// A life that is in a view has it, or will be sent it, and does not lose it: also one that has said nothing since.
    /// When it is heard again after a partition it must not pass for a site without a view, which may simply come in.
    fn presume_view(&mut self, step: &Step) {
        for member in &step.members {
            if let Some(glimpse) = self.seen.get_mut(&member.peer.site)
                && glimpse.peer == member.peer
            {
                glimpse.view = glimpse.view.max(Some(step.id));
            }
        }
    }

    fn excluded(&mut self, step: &Step) {
        if self.leaving {
            self.left(); // C18
        } else if self.view.as_ref().is_some_and(|v| v.step.position < step.position) {
            self.outputs.0.push_back(Output::Excluded { step: step.id });
        }
    }

    pub(super) fn left(&mut self) {
        self.retired = true;
        self.role = Role::Idle;
        self.owed = None;
        self.backoff = false;
        self.outputs.0.push_back(Output::Left);
    }

    /// Who was removed is not heard until it speaks again; who left is not merged even then.
    fn forget_removed(&mut self, step: &Step) {
        for (peer, why) in &step.removed {
            if let Some(glimpse) = self.seen.get_mut(&peer.site)
                && glimpse.peer == *peer
            {
                glimpse.left = *why == Why::Left;
                self.heard.remove(&peer.site);
            }
        }
    }

    fn settle_owed(&mut self, attempt: ViewId) {
        if self.owed.is_some_and(|owed| owed.attempt <= attempt) {
            self.owed = None;
        }
    }

    fn remember(&mut self, attempt: ViewId, step: &Step) {
        let known = self.record.entry(attempt).or_insert_with(|| Arc::new(step.clone()));
        assert!(
            known.id != step.id || **known == *step || self.config.bugs != wire::Bugs::NONE,
            "one id, one content: {}",
            step.id
        );
        while self.record.len() > RECORD_MAX {
            self.record.pop_first();
        }
    }

    pub(super) fn on_commit(&mut self, from: Peer, attempt: ViewId, step: &Step) {
        // A joiner's Init names this life of it; a bare Commit is no state (C16).
        if self.learn(attempt, step) == Learning::Lacking {
            self.send(from.site, Body::MsgQuery { attempt: step.id, full: true });
        }
    }

    pub(super) fn on_init(&mut self, from: Peer, line: &Learned<T>, step: Option<&Step>) {
        if line.tables.digest() != line.step.digest || !line.step.primary {
            return;
        }
        let newer = match &self.line {
            Some(own) => line.step.position > own.step.position,
            // A joiner takes no state before it is let in with this very life (C16), or, if it died before it learned
            // that, with its store: the line counts on its vote, and it has given none yet.
            None => is_acceptor(&line.step, self.me) || step.is_some_and(|s| s.lists(self.me)),
        };
        if newer {
            self.trace(Transition::Init);
            self.remember(line.step.id, &line.step);
            self.move_line(line.clone());
            let views = line.tables.views();
            if let Some(line) = self.line.clone() {
                self.install(line, views);
            }
        }
        match step {
            Some(step) => self.on_commit(from, step.id, step),
            None if self.line.is_some() => {
                self.learn(line.step.id, &line.step);
            }
            None => {}
        }
    }

    /// C3: who is behind is told, whatever it wanted.
    pub(super) fn tell_line(&mut self, to: SiteId) {
        self.trace(Transition::LaggardTold);
        self.send_line(to);
    }

    pub(super) fn send_line(&mut self, to: SiteId) {
        let Some(line) = self.line.clone() else { return };
        let has_base = self.seen.get(&to).and_then(|g| g.line).is_some_and(|l| l.0 == line.step.base);
        let body = if has_base && line.step.position > 0 {
            Body::Commit { attempt: line.step.id, step: line.step.clone() }
        } else {
            Body::Init { line: Box::new((*line).clone()), step: None }
        };
        self.send(to, body);
    }

    /// A step that is the line or starts from it, with the tables.
    pub(super) fn send_learned(&mut self, to: SiteId, step: &Step) {
        let Some(line) = self.line.clone() else { return };
        let branch = (!step.primary && step.base == line.step.id).then(|| step.clone());
        self.send(to, Body::Init { line: Box::new((*line).clone()), step: branch });
    }

    pub(super) fn on_query(&mut self, header: &Header) {
        self.send(header.from.site, Body::Reply);
        self.help_laggard(header);
    }

    /// C14: who is seen with an older line or view is sent what it lacks, unasked.
    pub(super) fn help_laggard(&mut self, header: &Header) {
        let Some(line) = &self.line else { return };
        let to = header.from.site;
        let Some(position) = header.line.map(|l| l.1) else {
            // It died before it learned that it was let in, and the line counts on its vote.
            if line.step.position > 0 && is_acceptor(&line.step, header.from) {
                self.tell_line(to);
            }
            return;
        };
        if position < line.step.position {
            self.tell_line(to);
            return;
        }
        let Some(view) = self.view.clone() else { return };
        if position == line.step.position && view.step.lists(header.from) && header.view < Some(view.step.id)
        {
            self.trace(Transition::CommitResent);
            self.send(to, Body::Commit { attempt: view.step.id, step: view.step.clone() });
        } else if position == line.step.position
            && view.step.lists(header.from)
            && header.view > Some(view.step.id)
            && let Some(attempt) = header.view
        {
            // It went on: perhaps with this site, perhaps without (then its view is a foreign one).
            self.send(to, Body::MsgQuery { attempt, full: false });
        }
    }

    /// C3: a newer line is asked for.
    pub(super) fn ask_for_newer_line(&mut self, header: &Header) {
        let (Some(line), Some((id, position))) = (&self.line, header.line) else { return };
        if position > line.step.position && !self.retired {
            self.send(header.from.site, Body::MsgQuery { attempt: id, full: true });
        }
    }

    pub(super) fn on_msg_query(&mut self, header: &Header, attempt: ViewId, full: bool) {
        let to = header.from.site;
        if self.config.bugs.has(Bug::WrongCommitResent)
            && let Role::Initiating(initiating) = &self.role
        {
            let step = (*initiating.step).clone();
            self.send(to, Body::Commit { attempt, step });
            return;
        }
        let missing = match &self.role {
            Role::Idle => None,
            Role::Electing(electing) if electing.attempt == attempt => {
                Some(electing.asked.len().saturating_sub(electing.statuses.len()))
            }
            Role::Initiating(initiating) if initiating.attempt == attempt => {
                Some(initiating.step.members.len().saturating_sub(initiating.acks.len()))
            }
            Role::Electing(_) | Role::Initiating(_) => None,
        };
        if let Some(missing) = missing {
            let left = u32::try_from(missing).unwrap_or(u32::MAX);
            self.trace(Transition::Wait);
            self.send(to, Body::Wait { attempt, left });
            return;
        }
        // Schedule 5: the answer is built from the record of that attempt, never from what is going on now.
        let known = self.record.get(&attempt).cloned();
        let known = known.or_else(|| self.record.values().find(|step| step.id == attempt).cloned());
        let line = self.line.as_ref().map(|l| (l.step.id, l.step.position));
        match (known, line) {
            (Some(step), Some((line, position))) => {
                self.trace(Transition::CommitResent);
                if full && (step.id == line || step.base == line) {
                    self.send_learned(to, &step);
                } else if step.position < position {
                    self.send_line(to);
                } else {
                    self.send(to, Body::Commit { attempt, step: (*step).clone() });
                }
            }
            (None, Some((line, _))) if line == attempt => self.send_line(to),
            (None, Some(_)) if attempt.coordinator == self.me.life() => {
                self.send(to, Body::Refuse { attempt, promised: self.promised });
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }

    // C14
    pub(super) fn commit_ran_out(&mut self, attempt: ViewId) {
        let Some(owed) = &mut self.owed else { return };
        if owed.attempt != attempt {
            return;
        }
        if owed.asked {
            self.give_up_owed(attempt);
            return;
        }
        owed.asked = true;
        self.trace(Transition::MsgQuery);
        self.send(attempt.coordinator.site, Body::MsgQuery { attempt, full: false });
        self.arm(Timer::Commit(attempt), Delay::Rounds(2));
    }

    /// The commit of this attempt will not come: whose turn it is may begin.
    pub(super) fn give_up_owed(&mut self, attempt: ViewId) {
        self.owed = None;
        self.in_vain = self.in_vain.max(attempt);
        self.ran_out = true;
        self.trace(Transition::OwedRanOut);
    }

    pub(super) fn on_wait(&mut self, attempt: ViewId) {
        let Some(owed) = &mut self.owed else { return };
        if owed.attempt == attempt && owed.asked && owed.waits_left > 0 {
            owed.waits_left -= 1;
            owed.asked = false;
            self.arm(Timer::Commit(attempt), Delay::Rounds(2));
        }
    }
}
