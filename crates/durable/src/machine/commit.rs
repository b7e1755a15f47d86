//! Acknowledgements, and what they make committed (D2, D10).

use wire::SiteId;

use super::Durable;
use crate::bugs::Bug;
use crate::configuration::Configuration;
use crate::event::Fatal;
use crate::exchange;
use crate::message::{Ack, Message, MessageError};

impl Durable {
    /// How far this store may acknowledge in this view: in order, on its disk, and the view's log (D2).
    fn may_ack(&self) -> u64 {
        let Some(active) = self.active() else { return 0 };
        if self.settings.bugs.has(Bug::AckBeforeDisk) {
            return self.agreed;
        }
        match self.disk.is_durable(active.adopting) {
            true => self.agreed.min(self.durable()), // [D8]
            false => 0,
        }
    }

    /// Tells the others if it holds more than before.
    pub(super) fn acknowledge(&mut self) {
        let position = self.may_ack();
        let Some(active) = self.active_mut() else { return };
        if position > active.acked {
            active.acked = position;
            self.send_ack(None, false);
        }
    }

    /// To one site, or to all. `again`: who knows more than that is to say so.
    pub(super) fn send_ack(&mut self, to: Option<SiteId>, again: bool) {
        let Some(view) = self.present.as_ref().map(|present| present.view.id) else { return };
        let Some(active) = self.active() else { return };
        let position = active.acked;
        let ack = Ack {
            view,
            position,
            entry: self.log.number(position).map(|number| number.view),
            committed: self.committed,
            holds: self.agreed,
            again,
            full: self.disk.is_full(),
        };
        match to {
            Some(site) => self.send(vec![site], &Message::Ack(ack)),
            None => self.send_others(&Message::Ack(ack)),
        }
    }

    pub(super) fn handle_ack(&mut self, from: SiteId, ack: Ack) -> Result<(), MessageError> {
        if ack.position >= u64::MAX / 2 || ack.holds >= u64::MAX / 2 {
            return Err(MessageError::Impossible);
        }
        let own = self.log.number(ack.position);
        if self.active().is_some()
            && ack.position <= self.agreed
            && own.zip(ack.entry).is_some_and(|(own, theirs)| own.view != theirs)
        {
            // Both say that they have this view's log there.
            self.fail(Fatal::Diverged);
            return Ok(());
        }
        let Some(present) = &mut self.present else { return Ok(()) };
        let known = present.acks.entry(from).or_insert(ack);
        *known = Ack {
            position: known.position.max(ack.position),
            committed: known.committed.max(ack.committed),
            ..ack
        };
        if ack.again && ack.committed < self.committed {
            self.send_ack(Some(from), false);
        }
        Ok(())
    }

    /// Finds what W stores hold.
    pub(super) fn commit(&mut self) {
        let bugs = self.settings.bugs;
        let Some(present) = &self.present else { return };
        let Some(active) = &present.active else { return };
        if bugs.has(Bug::AppliedBeforeW) {
            self.committed = self.committed.max(active.acked);
            return;
        }
        // Committed is committed, whoever says so.
        let told = present.acks.values().map(|ack| ack.committed).max().unwrap_or(0);
        let acked = |site: SiteId| match site == self.me {
            true => active.acked,
            false => present.acks.get(&site).map_or(0, |ack| ack.position),
        };
        let mut found = told.max(self.committed);
        // A configuration is in force from its entry to the next one [D11].
        for (place, (from, configuration)) in active.configurations.iter().enumerate() {
            let to = active.configurations.get(place + 1).map_or(active.next, |(next, _)| *next) - 1;
            let lowest = match bugs.has(Bug::OldEntriesCommitted) {
                true => 0,
                false => active.start().max(*from), // [D7]
            };
            let (_, writes) = exchange::quorums(configuration, &present.view.sites, bugs);
            let mut positions: Vec<u64> = exchange::voters(configuration, &present.stated, bugs)
                .map(|stated| acked(stated.site).min(to))
                .collect();
            positions.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(held) = writes.checked_sub(1).and_then(|place| positions.get(place))
                && *held >= lowest
            {
                found = found.max(*held);
            }
        }
        self.committed = found;
        self.note_acks();
    }

    /// Remembers what those who count have acknowledged (D16).
    fn note_acks(&mut self) {
        let Some(present) = &self.present else { return };
        let Some(active) = &present.active else { return };
        let (view, clock) = (present.view.id, self.clock);
        let seen: Vec<_> = exchange::voters(&active.newest().1, &present.stated, self.settings.bugs)
            .filter_map(|stated| Some((stated.statement.store, present.acks.get(&stated.site)?.position)))
            // Before it has adopted the view it says 0.
            .filter(|(_, position)| *position > 0)
            .collect();
        for (store, position) in seen {
            let seen = self.meta.seen_mut(store);
            seen.acked = seen.acked.max(crate::Number { view, position });
            seen.at = clock;
        }
    }

    /// The newest configuration that this member knows to be ordered, or finds in its log.
    pub(super) fn configuration_in_force(&self) -> Configuration {
        match self.active() {
            Some(active) => active.newest().1.clone(),
            None => self.newest_configuration().1,
        }
    }
}
