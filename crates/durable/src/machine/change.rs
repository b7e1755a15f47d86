//! Changes of the configuration (D11).

use wire::SiteId;

use super::Durable;
use crate::configuration::{Change, ChangeError};
use crate::entry::{Body, Number};
use crate::event::Event;
use crate::message::{Cast, ChangeCast};

/// A change that was asked for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    ticket: u64,
    /// The entry that it has become.
    entry: Option<Number>,
}

impl Durable {
    pub(super) fn propose_change(&mut self, change: Change) -> Result<(), ChangeError> {
        let Some(present) = self.present.as_ref().filter(|_| !self.stopped) else {
            return Err(ChangeError::NotActive);
        };
        let Some(active) = &present.active else { return Err(ChangeError::NotActive) };
        if self.change.is_some() || !self.confirmed(self.committed) {
            return Err(ChangeError::Busy);
        }
        let next = active.newest().1.after(change)?;
        if let Change::Add { store, site } = change {
            let votes = crate::exchange::voters(&next, &present.stated, self.settings.bugs)
                .any(|stated| stated.statement.store == store && stated.site == site);
            if !votes {
                return Err(ChangeError::NotHere);
            }
        }
        let cast =
            ChangeCast { view: present.view.id, committed: self.committed, change, ticket: self.next_ticket };
        self.change = Some(Pending { ticket: self.next_ticket, entry: None });
        self.next_ticket += 1;
        self.casts.push_back(Cast::Change(cast));
        Ok(())
    }

    /// Whether who knew so much to be committed may change the configuration now (D11).
    fn confirmed(&self, committed: u64) -> bool {
        let Some(active) = self.active() else { return false };
        committed >= active.start().max(active.newest().0)
    }

    /// A change is delivered: it becomes an entry, or not, at every member alike.
    pub(super) fn handle_change(&mut self, from: SiteId, cast: ChangeCast) {
        let mine = from == self.me && self.change.is_some_and(|pending| pending.ticket == cast.ticket);
        if self.present.as_ref().is_none_or(|present| present.view.id != cast.view) {
            return;
        }
        let Some(active) = self.active() else { return };
        let next = match self.confirmed(cast.committed) {
            true => active.newest().1.after(cast.change),
            false => Err(ChangeError::Busy),
        };
        match next {
            Ok(next) => {
                let entry = self.number(0, Body::Configuration(next));
                if let Some(pending) = self.change.as_mut().filter(|_| mine) {
                    pending.entry = entry;
                }
            }
            Err(why) if mine => self.change_done(Err(why)),
            Err(_) => {}
        }
    }

    fn change_done(&mut self, outcome: Result<Number, ChangeError>) {
        if self.change.take().is_some() {
            self.events.push_back(Event::Changed(outcome));
        }
    }

    /// A configuration is applied: it is in force for good.
    pub(super) fn change_applied(&mut self, number: Number) {
        match self.change.and_then(|pending| pending.entry) {
            Some(entry) if entry == number => self.change_done(Ok(number)),
            Some(_) | None => self.change_passed(number),
        }
    }

    /// Another entry has taken the place of the change.
    pub(super) fn change_passed(&mut self, number: Number) {
        if self.change.and_then(|pending| pending.entry).is_some_and(|e| e.position <= number.position) {
            self.change_done(Err(ChangeError::NotActive));
        }
    }

    /// An active view goes on from a log that ends here: an entry behind it is none any more, and its place may be empty
    /// for long.
    pub(super) fn change_cut(&mut self, base: Number) {
        if self.change.and_then(|pending| pending.entry).is_some_and(|e| e.position > base.position) {
            self.change_done(Err(ChangeError::NotActive));
        }
    }

    /// A checkpoint stands for what was applied up to here.
    pub(super) fn change_skipped(&mut self, number: Number) {
        let Some(entry) = self.change.and_then(|pending| pending.entry) else { return };
        let in_force = self.meta.configurations.iter().any(|(of, _)| *of == entry);
        match in_force {
            true => self.change_done(Ok(entry)),
            false => self.change_passed(number),
        }
    }

    /// A view ends: a change that is no entry yet will not be one. One that is may be cut, which its place will tell.
    pub(super) fn change_interrupted(&mut self) {
        if self.change.is_some_and(|pending| pending.entry.is_none()) {
            self.change_done(Err(ChangeError::NotActive));
        }
    }
}
