//! A member that is behind: it asks one other at a time for the next chunk of the view's log (D18).

use std::time::Duration;

use wire::{SiteId, Time};

use super::Durable;
use crate::entry::Number;
use crate::message::{Message, MessageError, NoTail, entries_of};

/// What is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Fetch {
    /// Whom it asked, behind which number, and until when it waits.
    asked: Option<(SiteId, Number, Time)>,
    /// How many have not answered, or refused, in a row: the next is asked.
    turns: usize,
    /// Not before, so that catching up takes its share of the links and no more; or since nobody could help.
    not_before: Option<Time>,
    /// A damaged position that everybody was asked for.
    wanted: Option<u64>,
}

impl Fetch {
    pub(super) fn start_anew(&mut self) {
        *self = Fetch { not_before: self.not_before, ..Fetch::default() };
    }

    pub(super) fn pause(&mut self, until: Time) {
        self.not_before = Some(until);
    }

    pub(super) fn timeout(&self) -> Option<Time> {
        self.asked.map(|(_, _, until)| until).or(self.not_before)
    }
}

impl Durable {
    /// Asks for the next chunk, if there is something that nobody will deliver.
    pub(super) fn catch_up(&mut self, now: Time) {
        if self.transfer.is_some() || self.fetch.asked.is_some() || !self.wants_entries() {
            return;
        }
        if !self.disk.takes(self.settings.unwritten_bytes_max)
            || self.fetch.not_before.is_some_and(|at| now < at)
        {
            return;
        }
        let Some(after) = self.log.number(self.agreed) else { return };
        let donors = self.donors(self.agreed + 1);
        let (Some(donor), Some(present)) =
            (donors.get(self.fetch.turns % donors.len().max(1)).copied(), &self.present)
        else {
            self.fetch.not_before = Some(now + self.settings.retry);
            self.want();
            return self.count_vain_round();
        };
        self.fetch.not_before = None;
        self.fetch.asked = Some((donor, after, now + self.settings.retry));
        let bytes_max = u32::try_from(self.settings.chunk_bytes).unwrap_or(u32::MAX);
        let fetch = Message::Fetch { view: present.view.id, after, bytes_max };
        self.send(vec![donor], &fetch);
    }

    /// Nobody is known to have the view's log here. If it is because the store that it comes from has a damaged record
    /// there, somebody may have that entry without knowing that it is of this log (D14).
    fn want(&mut self) {
        let Some(view) = self.present.as_ref().map(|present| present.view.id) else { return };
        let matched = self.active().map_or(0, |active| active.matched);
        let position = self.agreed + 1;
        let proof = self.log.proof(position).filter(|proof| proof.position <= matched);
        if let Some(proof) = proof.filter(|_| self.log.holes().contains(&position)) {
            self.fetch.wanted = Some(position);
            self.send_others(&Message::Want { view, position, proof });
        }
    }

    /// A record for the damaged position that everybody was asked for.
    pub(super) fn handle_found(&mut self, record: bytes::Bytes) -> Result<(), MessageError> {
        let entry = crate::Entry::from_record(record.clone()).map_err(|_| MessageError::Malformed)?;
        let position = entry.number.position;
        let is_hole = self.log.holes().contains(&position) && self.log.may_be(entry.number);
        if is_hole && self.fetch.wanted.take_if(|wanted| *wanted == position).is_some() {
            self.disk.repair(crate::Record { position, bytes: record });
            self.log.repaired(entry.number);
        }
        Ok(())
    }

    /// Whether the next position is neither here nor on its way.
    fn wants_entries(&self) -> bool {
        let Some(active) = self.active() else { return false };
        let want = self.agreed + 1;
        let next = |entries: &std::collections::VecDeque<crate::Entry>| {
            entries.front().is_some_and(|entry| entry.number.position <= want)
        };
        want < active.next && !next(&active.waiting) && !next(&active.fetched)
    }

    /// Who has this position, as far as is known: the winner has the base, others have said what they hold.
    pub(super) fn donors(&self, position: u64) -> Vec<SiteId> {
        let (Some(present), Some(active)) = (&self.present, self.active()) else { return Vec::new() };
        let has = |site: &SiteId| {
            let told = present.acks.get(site).is_some_and(|ack| ack.holds >= position);
            *site != self.me && (told || (*site == active.winner && position <= active.base.position))
        };
        present.view.sites.iter().copied().filter(has).collect()
    }

    pub(super) fn handle_tail(
        &mut self,
        now: Time,
        from: SiteId,
        after: Number,
        records: Vec<u8>,
    ) -> Result<(), MessageError> {
        if !self.fetch.asked.is_some_and(|(donor, asked, _)| donor == from && asked == after) {
            return Ok(());
        }
        let bytes = records.len() as u64;
        let entries = entries_of(records, after)?;
        self.fetch.asked = None;
        if entries.is_empty() {
            self.fetch.turns += 1;
            return Ok(());
        }
        self.fetch.turns = 0;
        self.fetch.not_before = Some(now + self.share(bytes));
        if let Some(active) = self.active_mut() {
            active.fetched = entries.into();
        }
        Ok(())
    }

    /// How long so many bytes take at this store's share of the links.
    pub(super) fn share(&self, bytes: u64) -> Duration {
        let nanos =
            u128::from(bytes) * 1_000_000_000 / u128::from(self.settings.catch_up_bytes_per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn handle_refuse(&mut self, now: Time, from: SiteId, why: NoTail) {
        if self.transfer_refused(now, from) {
            return;
        }
        if self.fetch.asked.is_some_and(|(donor, ..)| donor == from) {
            self.fetch.asked = None;
            self.fetch.turns += 1;
            match why {
                NoTail::Checkpoint => self.start_transfer(now, from),
                // Once around, then a pause.
                NoTail::Lacking | NoTail::Busy => {
                    if self.fetch.turns.is_multiple_of(self.donors(self.agreed + 1).len().max(1)) {
                        self.fetch.not_before = Some(now + self.settings.retry);
                    }
                }
            }
        }
    }

    pub(super) fn fetch_timed_out(&mut self, now: Time) {
        if self.fetch.asked.is_some_and(|(_, _, until)| now >= until) {
            self.fetch.asked = None;
            self.fetch.turns += 1;
        }
        if self.fetch.not_before.is_some_and(|at| now >= at) {
            self.fetch.not_before = None;
        }
    }
}
