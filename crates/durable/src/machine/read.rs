//! The read barrier (D12).

use std::collections::{BTreeMap, BTreeSet};

use wire::{SiteId, Time};

use super::Durable;
use crate::bugs::Bug;
use crate::event::{Event, ReadId};
use crate::exchange;
use crate::message::Message;

/// Reads that are not answered. One round asks for all that came before it; those that come meanwhile wait for the
/// next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reads {
    last_id: u64,
    last_round: u64,
    /// Not asked for yet.
    new: BTreeSet<ReadId>,
    round: Option<Round>,
    /// By the position that has to be applied.
    ready: BTreeMap<u64, BTreeSet<ReadId>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    number: u64,
    reads: BTreeSet<ReadId>,
    /// Who is still in the view, and how far it has acknowledged.
    here: BTreeMap<SiteId, u64>,
    again_at: Time,
}

impl Reads {
    pub(super) fn add(&mut self, most: usize) -> Option<ReadId> {
        let in_round = self.round.as_ref().map_or(0, |round| round.reads.len());
        let waiting: usize = self.ready.values().map(BTreeSet::len).sum();
        if self.new.len() + in_round + waiting >= most {
            return None;
        }
        self.last_id += 1;
        self.new.insert(ReadId(self.last_id));
        Some(ReadId(self.last_id))
    }

    pub(super) fn forget(&mut self, id: ReadId) {
        self.new.remove(&id);
        if let Some(round) = &mut self.round {
            round.reads.remove(&id);
        }
        self.ready.retain(|_, reads| {
            reads.remove(&id);
            !reads.is_empty()
        });
    }

    /// What was confirmed for the last view says nothing about the next.
    pub(super) fn start_anew(&mut self) {
        self.new.extend(self.round.take().into_iter().flat_map(|round| round.reads));
        self.new.extend(std::mem::take(&mut self.ready).into_values().flatten());
    }

    pub(super) fn timeout(&self) -> Option<Time> {
        self.round.as_ref().map(|round| round.again_at)
    }
}

impl Durable {
    pub(super) fn start_round(&mut self, now: Time) {
        let Some(active) = self.active() else { return };
        if self.reads.new.is_empty() || self.reads.round.is_some() {
            return;
        }
        let senior = self.present.as_ref().and_then(|p| p.view.sites.first()) == Some(&self.me);
        if self.settings.bugs.has(Bug::DeposedReader) && senior {
            let start = active.start();
            let reads = std::mem::take(&mut self.reads.new);
            self.reads.ready.entry(self.committed.max(start)).or_default().extend(reads);
            return self.answer_reads();
        }
        let acked = active.acked;
        self.reads.last_round += 1;
        self.reads.round = Some(Round {
            number: self.reads.last_round,
            reads: std::mem::take(&mut self.reads.new),
            here: BTreeMap::from([(self.me, acked)]),
            again_at: now + self.settings.retry,
        });
        self.ask();
        self.end_round();
    }

    fn ask(&mut self) {
        let (Some(present), Some(round)) = (&self.present, &self.reads.round) else { return };
        let silent = present.view.sites.iter().filter(|site| !round.here.contains_key(site));
        let message = Message::Ask { view: present.view.id, round: round.number };
        let silent = silent.copied().collect();
        self.send(silent, &message);
    }

    pub(super) fn retry_round(&mut self, now: Time) {
        if let Some(round) = &mut self.reads.round
            && now >= round.again_at
        {
            round.again_at = now + self.settings.retry;
            self.ask();
        }
    }

    /// "Are you still in this view?" A store that has promised another one is in that.
    pub(super) fn handle_ask(&mut self, from: SiteId, round: u64) {
        let Some(present) = &self.present else { return };
        let view = present.view.id;
        if let Some(active) = &present.active {
            let (acked, configuration) = (active.acked, active.newest().0);
            self.send(vec![from], &Message::Here { view, round, acked, configuration });
        }
    }

    pub(super) fn handle_here(&mut self, from: SiteId, round: u64, acked: u64, configuration: u64) {
        let Some(known) = self.active().map(|active| active.newest().0) else { return };
        let Some(running) = &mut self.reads.round else { return };
        if running.number != round {
            return;
        }
        if configuration > known {
            // Asked by an old configuration: once more, when the newer one is known here too.
            running.here.retain(|site, _| *site == self.me);
            return;
        }
        running.here.insert(from, acked);
        self.end_round();
    }

    /// Ends the round if enough have answered.
    fn end_round(&mut self) {
        let bugs = self.settings.bugs;
        let (Some(present), Some(round)) = (&self.present, &self.reads.round) else { return };
        let Some(active) = &present.active else { return };
        let configuration = &active.newest().1;
        let (elects, writes) = exchange::quorums(configuration, &present.view.sites, bugs);
        let voters = exchange::voters(configuration, &present.stated, bugs);
        let acked: Vec<Option<u64>> = voters.map(|stated| round.here.get(&stated.site).copied()).collect();
        let mut held: Vec<u64> = acked.iter().copied().flatten().collect();
        // While too many disks are full, all say what they have: what only one has is committed by nobody.
        if held.len() < elects || (held.len() < acked.len() && !self.has_room()) {
            return;
        }
        // Whatever was acknowledged to anybody before is on W stores, and one of these is among them. If no other configuration
        // was in force in this view, so many of these that those who are silent do not make W.
        held.sort_unstable_by(|a, b| b.cmp(a));
        let steady = active.configurations.iter().all(|(_, other)| other == configuration);
        let silent = configuration.stores.len().saturating_sub(held.len());
        let point = match steady {
            true => held.get(writes.saturating_sub(silent + 1)).copied(),
            false => round.here.values().copied().max(),
        };
        let point = point.unwrap_or(0).max(active.start());
        if let Some(round) = self.reads.round.take() {
            self.reads.ready.entry(point).or_default().extend(round.reads);
        }
        self.answer_reads();
    }

    /// Answers the reads whose position is applied.
    pub(super) fn answer_reads(&mut self) {
        while let Some(first) = self.reads.ready.first_entry()
            && *first.key() <= self.applied
        {
            for id in first.remove() {
                self.events.push_back(Event::Read(id));
            }
        }
    }
}
