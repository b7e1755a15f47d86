//! Views: promise, statements, activation (D5 to D9).

use wire::{SiteId, Time};

use super::{Active, Durable, Present};
use crate::bugs::Bug;
use crate::configuration::Configuration;
use crate::entry::{Body, Number};
use crate::event::{Event, Mode, View, Why};
use crate::exchange::{self, Stated};
use crate::message::{Cast, DOUBTED_MAX, Statement};
use crate::storage::AfterWrite;

impl Durable {
    /// The endpoint has installed a view. One that is not above the installed one is ignored.
    pub fn handle_view(&mut self, now: Time, view: View) {
        if self.stopped || self.present.as_ref().is_some_and(|present| view.id <= present.view.id) {
            return;
        }
        self.note_absent(&view.sites);
        let mut acks = self.early.clone();
        acks.retain(|site, ack| ack.view == view.id && view.sites.contains(site));
        self.early.retain(|_, ack| ack.view > view.id);
        self.reads.start_anew();
        self.fetch.start_anew();
        self.serving.start_anew();
        self.transfer_in_new_view();
        self.casts.clear();
        self.to_cast.clear();
        self.statement = None;
        self.stand_aside_in_view(now);
        self.change_interrupted();
        // What it has promised before, it has promised to a view that it cannot be in any more.
        let votes = view.primary && view.id > self.meta.promised;
        if votes {
            self.meta.promised = view.id; // [D5]
            self.meta.live(self.life);
        }
        let view = View { primary: votes, ..view };
        let id = view.id;
        self.present = Some(Present { view, stated: Vec::new(), blocked: false, acks, active: None });
        if votes {
            self.save_meta();
            self.statement = Some(AfterWrite::new(self.disk.newest(), id));
        }
        self.tell_mode();
        self.settle(now);
    }

    /// The installed view.
    pub fn view(&self) -> Option<wire::ViewId> {
        self.present.as_ref().map(|present| present.view.id)
    }

    /// The endpoint has begun to flush: what it delivers before the next view gets no number (D1).
    pub fn handle_blocked(&mut self, now: Time) {
        if let Some(present) = &mut self.present
            && !self.settings.bugs.has(Bug::NumberedInFlush)
        {
            present.blocked = true;
        }
        self.settle(now);
    }

    /// States, if the promise and all of the log are durable.
    pub(super) fn open_statement(&mut self, now: Time) {
        if self.stands_aside(now) {
            return; // [D21]
        }
        if let Some(statement) = self.statement.take() {
            match statement.open(self.disk.oldest()) {
                Ok(_) => self.state(),
                Err(statement) => self.statement = Some(statement),
            }
        }
    }

    /// States. If the view has become active without it, it states what it was before that: what it has followed and cut since
    /// says nothing about whether it had forgotten something (D16).
    fn state(&mut self) {
        let held = self.active_mut().and_then(|active| active.held.take());
        let statement = held.or_else(|| self.describe().map(Box::new));
        self.casts.extend(statement.map(Cast::Statement));
    }

    /// What this store is, as it is stated in the installed view.
    fn describe(&self) -> Option<Statement> {
        let view = self.present.as_ref()?.view.id;
        let floor = self.meta.floor.filter(|floor| *floor > self.log.last());
        let configuration = self.newest_configuration();
        let others = self.meta.configurations.iter().filter(|other| **other != configuration);
        let doubted = match floor.is_some() && !self.is_forced() {
            true => others.rev().take(DOUBTED_MAX).cloned().collect(),
            false => Vec::new(),
        };
        Some(Statement {
            view,
            store: self.store,
            life: self.life,
            adopted: self.meta.adopted,
            last: self.log.last(),
            runs: self.log.newest_runs(self.settings.statement_runs),
            guessed: self.log.lowest_guessed(),
            floor,
            configuration,
            seen: self.meta.seen.clone(),
            lives: self.meta.lives.clone(),
            forced: self.is_forced(),
            doubted,
        })
    }

    /// The newest configuration in the log, or what an operator has put in its place (D22).
    pub(super) fn newest_configuration(&self) -> (Number, Configuration) {
        let logged = self.logged_configuration();
        match &self.meta.forced {
            Some(forced) if forced.0 == logged.0 => forced.clone(),
            Some(_) | None => logged,
        }
    }

    fn is_forced(&self) -> bool {
        let logged = self.logged_configuration().0;
        self.meta.forced.as_ref().is_some_and(|forced| forced.0 == logged)
    }

    /// The newest configuration in the log.
    pub(super) fn logged_configuration(&self) -> (Number, Configuration) {
        let mut known = self.meta.configurations.iter().rev();
        known.find(|(number, _)| self.log.may_have(*number)).cloned().unwrap_or_default()
    }

    /// A statement is delivered: the same one activates the view at every member (D6).
    pub(super) fn handle_statement(&mut self, from: SiteId, statement: Statement) {
        let bugs = self.settings.bugs;
        let Some(present) = &mut self.present else { return };
        let known = present.stated.iter().any(|stated| stated.site == from);
        if statement.view != present.view.id || known || !present.view.primary {
            return;
        }
        present.stated.push(Stated { site: from, statement });
        if present.active.is_none()
            && let Some(winner) = exchange::decide(&present.stated, &present.view.sites, bugs)
        {
            self.activate(winner);
        }
        if let Some(active) = self.active() {
            let newest = active.newest().1.clone();
            self.note_lives(&newest);
        }
        self.find_surpassed();
        self.tell_mode();
    }

    fn activate(&mut self, winner: usize) {
        let Some(present) = &self.present else { return };
        let Stated { site: winner, statement } = present.stated[winner].clone();
        let (view, base) = (present.view.id, statement.last);
        // What is common is known by the numbers; what was known to be committed is common to all [D6].
        let common = match winner == self.me {
            true => base.position,
            false => self.log.common(&statement).unwrap_or(0),
        };
        let held = self.statement.as_ref().and_then(|_| self.describe()).map(Box::new);
        let sound = self.agreed.min(self.committed).max(self.log.base().position);
        self.agreed = sound;
        self.meta.adopted = view; // [D8]
        let (in_force, configuration) = statement.configuration;
        self.note_lives(&configuration);
        let adopting = self.save_meta();
        self.disk.gate(adopting);
        if let Some(present) = &mut self.present {
            present.active = Some(Active {
                winner,
                base,
                matched: common.max(sound),
                next: base.position + 1,
                configurations: vec![(in_force.position, configuration.clone())],
                waiting: Default::default(),
                waiting_bytes: 0,
                fetched: Default::default(),
                held,
                adopting,
                acked: 0,
                marked: false,
                told_full: false,
            });
        }
        self.change_cut(base);
        self.number(0, Body::ViewStart { base }); // [D7]
        if statement.forced {
            // All that are left have stated, and this is the log to go on from: a majority of them will do again [D22].
            self.number(0, Body::Configuration(Configuration { writes: None, ..configuration }));
        } else if in_force.position == 0 {
            // Only founders know it: the others learn from the log which stores count [D11].
            self.number(0, Body::Configuration(configuration));
        }
        let log = &self.log;
        let lost = |entry: Option<Number>| {
            entry.is_none_or(|n| n.position > self.agreed || log.number(n.position) != Some(n))
        };
        let again = self.open.iter().filter(|(_, open)| lost(open.entry)).map(|(key, _)| *key);
        self.to_cast = again.collect();
    }

    /// Remembers the lives of those who count (D16).
    fn note_lives(&mut self, configuration: &Configuration) {
        let Some(present) = &self.present else { return };
        let lives: Vec<_> = exchange::voters(configuration, &present.stated, self.settings.bugs)
            .map(|stated| (stated.statement.store, stated.statement.life))
            .collect();
        for (store, life) in lives {
            let seen = self.meta.seen_mut(store);
            if seen.life.incarnation <= life.incarnation {
                seen.life = life;
            }
        }
    }

    fn find_surpassed(&mut self) {
        let Some(present) = &self.present else { return };
        let own = present.stated.iter().find(|stated| stated.site == self.me);
        let seen =
            own.and_then(|own| exchange::surpassed(&own.statement, &present.stated, self.settings.bugs));
        if let Some(seen) = seen
            && !self.told_surpassed
        {
            self.told_surpassed = true;
            self.events.push_back(Event::Surpassed { store: self.store, seen });
        }
    }

    fn tell_mode(&mut self) {
        let Some(present) = &self.present else { return };
        let mode = if present.active.is_some() {
            Mode::Active
        } else if !present.view.primary {
            Mode::ReadOnly(Why::NotPrimary)
        } else {
            let newest = present.stated.iter().map(|stated| &stated.statement.configuration);
            let own = self.newest_configuration();
            let (_, configuration) = newest.chain([&own]).max_by_key(|(number, _)| *number).unwrap_or(&own);
            let here = exchange::voters(configuration, &present.stated, self.settings.bugs).count();
            let needed = match configuration.stores.is_empty() {
                true => 0,
                false => configuration.elects(),
            };
            let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
            Mode::ReadOnly(Why::Stores { here: count(here), needed: count(needed) })
        };
        self.set_mode(mode);
    }
}
