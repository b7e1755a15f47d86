//! From deliveries to the log: numbering, and writing what follows (D1, D2).

use bytes::Bytes;
use wire::{SiteId, Time};

use super::{Active, Durable};
use crate::bugs::Bug;
use crate::entry::{Body, Entry, Number};
use crate::event::Fatal;
use crate::message::{Cast, MessageError};
use crate::storage::Record;

impl Durable {
    /// The endpoint has delivered an abcast of a site in the installed view.
    pub fn handle_delivery(&mut self, now: Time, from: SiteId, payload: Bytes) -> Result<(), MessageError> {
        let cast = Cast::decode(payload)?;
        if self.stopped || self.present.as_ref().is_none_or(|present| present.blocked) {
            return Ok(());
        }
        let view = self.present.as_ref().map(|present| present.view.id);
        match cast {
            Cast::Statement(statement) => self.handle_statement(from, *statement),
            Cast::Request(time, request) => {
                let key = (request.client, request.sequence);
                let entry = self.number(time, Body::Request(request));
                if let Some(open) = self.open.get_mut(&key) {
                    open.entry = entry;
                }
            }
            Cast::Change(change) => self.handle_change(from, change),
            Cast::Mark(of) if Some(of) == view => {
                self.number(0, Body::Mark);
            }
            Cast::Mark(_) => {}
        }
        self.settle(now);
        Ok(())
    }

    /// Gives the next number to what was delivered; none if the view is not active.
    pub(super) fn number(&mut self, time: u64, body: Body) -> Option<Number> {
        let (most, committed) = (self.settings.waiting_bytes_max, self.committed);
        let view = self.present.as_ref()?.view.id;
        let active = self.active_mut()?;
        let number = Number { view, position: active.next };
        active.next += 1;
        if let Body::Configuration(configuration) = &body {
            active.configurations.push((number.position, configuration.clone()));
        }
        let entry = Entry { number, time, body };
        active.waiting_bytes += entry.bytes();
        active.waiting.push_back(entry);
        // Too far behind: what W others hold is fetched from them [D18]. The rest may be nowhere else; it is bounded
        // by what all sites may have open.
        while active.waiting_bytes > most
            && active.waiting.front().is_some_and(|entry| entry.number.position <= committed)
        {
            active.pop_waiting();
        }
        Some(number)
    }

    /// Writes to the log whatever comes next in it.
    pub(super) fn fill_log(&mut self) {
        let mut batch = Vec::new();
        while !self.stopped && self.disk.takes(self.settings.unwritten_bytes_max) {
            self.pass_matched();
            let want = self.agreed + 1;
            let bytes: usize = batch.iter().map(|record: &Record| record.bytes.len()).sum();
            if bytes >= self.settings.unwritten_bytes_max {
                break;
            }
            let Some(entry) = self.active_mut().and_then(|active| active.take(want)) else { break };
            if !self.take(entry, &mut batch) {
                break;
            }
        }
        self.disk.append(batch);
    }

    /// What is known to be the base by its numbers need not be compared again, once its holes are filled.
    fn pass_matched(&mut self) {
        let matched = self.active().map_or(0, |active| active.matched).min(self.log.end());
        self.agreed = self.log.whole_from(self.agreed).min(matched).max(self.agreed);
    }

    /// Takes the next entry of the view's log: it is there already, or it is written. False if it has to wait.
    fn take(&mut self, entry: Entry, batch: &mut Vec<Record>) -> bool {
        let number = entry.number;
        let position = number.position;
        let bugs = self.settings.bugs;
        if position <= self.log.end() {
            let is_hole = self.log.holes().contains(&position);
            if is_hole && self.log.may_be(number) {
                self.disk.repair(Record { position, bytes: entry.to_record() }); // [D14]
                self.log.repaired(number);
                self.agreed = position;
                return true;
            }
            if self.log.number(position) == Some(number) && !bugs.has(Bug::CutUnproven) {
                self.agreed = position;
                return true;
            }
            if position <= self.committed.min(self.applied) {
                self.fail(Fatal::Diverged);
                return false;
            }
            if position <= self.log.base().position {
                self.fail(Fatal::Diverged);
                return false;
            }
            // Known to differ [D2].
            self.disk.append(std::mem::take(batch));
            self.log.cut(position);
            self.meta.configurations.retain(|(number, _)| number.position < position);
            self.disk.cut(position);
        }
        if let Body::Configuration(configuration) = &entry.body
            && !self.meta.configurations.iter().any(|(known, _)| *known == number)
        {
            // A log with this entry must find its configuration after a crash: that is written first.
            self.meta.configurations.retain(|(known, _)| known.position < position);
            self.meta.configurations.push((number, configuration.clone()));
            let token = self.save_meta();
            self.disk.gate(token);
            if let Some(active) = self.active_mut() {
                active.fetched.push_front(entry);
            }
            return false;
        }
        if number <= self.log.last() {
            // The numbers of a view's log rise; these do not.
            self.fail(Fatal::Diverged);
            return false;
        }
        // A configuration whose entry did not get here is none: its place is taken.
        self.meta.configurations.retain(|(known, _)| known.position < position || *known == number);
        batch.push(Record { position, bytes: entry.to_record() });
        self.appended_bytes += entry.bytes() as u64;
        self.log.append(entry);
        self.agreed = position;
        true
    }
}

impl Active {
    /// The entry at this position, if it was fetched or delivered and waits; what is before it is dropped.
    fn take(&mut self, want: u64) -> Option<Entry> {
        while self.fetched.front().is_some_and(|entry| entry.number.position < want) {
            self.fetched.pop_front();
        }
        while self.waiting.front().is_some_and(|entry| entry.number.position < want) {
            self.pop_waiting();
        }
        if self.waiting.front().is_some_and(|entry| entry.number.position == want) {
            return self.pop_waiting();
        }
        match self.fetched.front() {
            Some(entry) if entry.number.position == want => self.fetched.pop_front(),
            Some(_) | None => {
                self.fetched.clear();
                None
            }
        }
    }

    /// What could not be written waits before the rest.
    pub(super) fn wait_again(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            let follows =
                self.waiting.front().is_none_or(|next| next.number.position == entry.number.position + 1);
            if follows && entry.number.position < self.next {
                self.waiting_bytes += entry.bytes();
                self.waiting.push_front(entry);
            }
        }
    }

    fn pop_waiting(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front()?;
        self.waiting_bytes -= entry.bytes();
        Some(entry)
    }
}
