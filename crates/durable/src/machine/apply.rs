//! Applying what is committed, in order, and answering (D10, D13, D19).

use std::collections::VecDeque;

use bytes::Bytes;
use wire::Time;

use super::Durable;
use super::disk::ReadFor;
use crate::bugs::Bug;
use crate::entry::{Body, ClientId, Entry, Request};
use crate::event::{Answer, Event};
use crate::storage::{CheckpointHead, Record, StoreOp};

/// What is being applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Apply {
    /// The entry that the application has: its position and request.
    running: Option<(u64, ClientId, u64)>,
    /// Entries read from the log, from the next one to be applied on: while they are applied, a chunk behind them is read.
    replay: VecDeque<Entry>,
    replay_bytes: usize,
    /// What is being read for it: from this position on.
    reading: Option<u64>,
    /// Bytes applied since the last mark.
    since_mark: u64,
    /// The checkpoint that the application is taking.
    taking: Option<CheckpointHead>,
    /// Bytes of the last one that it took since the start.
    taken_bytes: u64,
}

impl Apply {
    /// The request that the application is applying.
    pub(super) fn running(&self) -> Option<(ClientId, u64)> {
        self.running.map(|(_, client, sequence)| (client, sequence))
    }

    fn keep_read(&mut self, entry: Entry) {
        self.replay_bytes += entry.bytes();
        self.replay.push_back(entry);
    }

    /// The entry at this position, if it was read. What was read before it is needed no more.
    fn take_read(&mut self, position: u64) -> Option<Entry> {
        while let Some(entry) = self.replay.pop_front() {
            self.replay_bytes -= entry.bytes();
            if entry.number.position == position {
                return Some(entry);
            }
        }
        None
    }

    /// The state was replaced: nothing under way matters.
    pub(super) fn start_anew(&mut self) {
        *self = Apply { reading: self.reading, taken_bytes: self.taken_bytes, ..Apply::default() };
    }
}

impl Durable {
    /// The application has applied the entry of [`Event::Apply`]; one that is not the last told is ignored.
    pub fn handle_applied(&mut self, now: Time, position: u64, answer: Bytes) {
        let Some((running, client, sequence)) = self.apply.running else { return };
        if self.stopped || position != running {
            return;
        }
        self.apply.running = None;
        self.window.answered(client, sequence, &answer, &self.settings);
        self.applied = position;
        self.answer(client, sequence, Answer::Applied(answer));
        self.settle(now);
    }

    /// The checkpoint of [`Event::Checkpoint`] is durable and the current one, of so many bytes: the log before it may go
    /// (D19), but for what those need who are a little behind: `retain_entries`, and none from before the last checkpoint.
    pub fn handle_checkpoint_taken(&mut self, now: Time, number: crate::Number, bytes: u64) {
        if self.stopped {
            return;
        }
        let Some(head) = self.apply.taking.take_if(|head| head.number == number) else { return };
        let last = self.checkpoint.as_ref().map_or(0, |head| head.number.position);
        self.meta.covered(&head);
        self.checkpoint = Some(head);
        self.apply.taken_bytes = bytes;
        let before = (number.position + 1).saturating_sub(self.settings.retain_entries).max(last + 1);
        if before > self.log.base().position + 1 && self.log.number(before - 1).is_some() {
            self.log.compact(before);
            self.disk.compact(before);
        }
        self.settle(now);
    }

    /// There was no room for the checkpoint of [`Event::Checkpoint`]: the next one is due as if it had been taken.
    pub fn handle_checkpoint_not_taken(&mut self, number: crate::Number) {
        self.apply.taking.take_if(|head| head.number == number);
    }

    /// Applies as far as it can: up to what is committed, and what is here.
    pub(super) fn apply_committed(&mut self, now: Time) {
        while !self.stopped && self.apply.running.is_none() && self.applied < self.committed.min(self.agreed)
        {
            let position = self.applied + 1;
            let Some(entry) = self.next_to_apply(position) else { break };
            // A checkpoint is never ahead of the log that it stands for [D20].
            if entry.body == Body::Mark && self.durable() < position {
                break;
            }
            self.apply_one(entry);
        }
        self.answer_reads();
        self.ask_for_mark(now);
    }

    /// The next entry, from memory or as it was read; else it is asked for.
    fn next_to_apply(&mut self, position: u64) -> Option<Entry> {
        if let Some(entry) = self.log.recent(position) {
            return Some(entry.clone());
        }
        let found = self.apply.take_read(position);
        let next =
            self.apply.replay.back().or(found.as_ref()).map_or(position, |last| last.number.position + 1);
        self.read_on(next);
        found
    }

    /// Asks for entries to be applied from this position on, if none are being read, and no more than a chunk waits.
    fn read_on(&mut self, from: u64) {
        let to = self.committed.min(self.agreed).min(self.durable());
        let bytes_max = self.settings.chunk_bytes;
        let wanted = self.apply.reading.is_none() && self.apply.replay_bytes <= bytes_max && from <= to;
        if wanted && self.is_readable(from) {
            self.apply.reading = Some(from);
            self.disk.read(ReadFor::Apply, |token| StoreOp::Read { token, from, to, bytes_max, once: true });
        }
    }

    /// Records that were read to be applied.
    pub(super) fn replay(&mut self, records: &[Record]) {
        let Some(from) = self.apply.reading.take() else { return };
        let mut next = from;
        for record in records {
            match self.checked(record) {
                Some(entry) if record.position == next => self.apply.keep_read(entry),
                Some(_) | None => break,
            }
            next += 1;
        }
        let begun = self.apply.running.map_or(self.applied, |(position, ..)| position);
        if next == from && from > begun && self.is_readable(from) {
            self.damage_found(from);
        }
    }

    /// A record that should be there cannot be read: it is fetched from others (D14). One that the checkpoint covers is
    /// missed by nobody here: the log begins behind it, as if it had been found at recovery.
    pub(super) fn damage_found(&mut self, position: u64) {
        if let Some(head) = self.checkpoint.as_ref().filter(|head| position <= head.number.position) {
            return self.log.forget_to(position, head.number);
        }
        self.log.damaged(position);
        self.agreed = self.agreed.min(position - 1);
    }

    fn apply_one(&mut self, entry: Entry) {
        let position = entry.number.position;
        self.clock = self.clock.max(entry.time);
        self.apply.since_mark += entry.bytes() as u64;
        if !matches!(entry.body, Body::Configuration(_)) {
            self.change_passed(entry.number);
        }
        match &entry.body {
            Body::Request(request) => self.apply_request(request.clone(), entry),
            Body::ViewStart { .. } => self.applied = position,
            Body::Configuration(_) => {
                self.applied = position;
                self.change_applied(entry.number);
            }
            Body::Mark => {
                self.applied = position;
                self.take_checkpoint(entry.number);
            }
        }
    }

    fn apply_request(&mut self, request: Request, entry: Entry) {
        let position = entry.number.position;
        let judged = self.window.judge(self.clock, &request, &self.settings);
        match judged {
            Some(answer) if !self.settings.bugs.has(Bug::AppliedTwice) => {
                self.applied = position;
                self.answer(request.client, request.sequence, answer);
            }
            Some(_) | None => {
                self.apply.running = Some((position, request.client, request.sequence));
                self.events.push_back(Event::Apply { entry, clock: self.clock });
            }
        }
    }

    fn take_checkpoint(&mut self, number: crate::Number) {
        self.apply.since_mark = 0;
        if let Some(active) = self.active_mut() {
            active.marked = false;
        }
        // A slow disk lets one pass.
        if self.apply.taking.is_some() {
            return;
        }
        let mut configurations = self.meta.configurations.iter().rev();
        let in_force =
            configurations.find(|(of, _)| of.position <= number.position && self.log.may_have(*of));
        let head = CheckpointHead {
            number,
            clock: self.clock,
            configuration: in_force.cloned().unwrap_or_default(),
        };
        self.apply.taking = Some(head.clone());
        self.events.push_back(Event::Checkpoint { head, window: self.window.encode() });
    }

    /// The senior site says when it is time for a checkpoint: when the log has grown by `checkpoint_bytes`, and by half of
    /// what a checkpoint costs. So a large state is not written again and again, and a restart applies half as much as it reads.
    fn ask_for_mark(&mut self, _now: Time) {
        let interval = self.settings.checkpoint_bytes.max(self.apply.taken_bytes / 2);
        let due = self.apply.since_mark >= interval && self.apply.taking.is_none();
        let Some(present) = &mut self.present else { return };
        let (view, senior) = (present.view.id, present.view.sites.first() == Some(&self.me));
        if let Some(active) = &mut present.active
            && due
            && senior
            && !active.marked
        {
            active.marked = true;
            self.casts.push_back(crate::message::Cast::Mark(view));
        }
    }
}
