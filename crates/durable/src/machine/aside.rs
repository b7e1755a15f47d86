//! A store whose log is the base and cannot be read stands aside, so that the others may go on without it (D21).

use std::time::Duration;

use wire::Time;

use super::Durable;

/// Rounds of asking in vain before another view is asked for the first time. It doubles with each try.
const ROUNDS: u32 = 4;
/// A store stands aside for so many times the retry period at the first try. It doubles with each.
const PERIODS: u32 = 8;
/// How often both double.
const DOUBLINGS_MAX: u32 = 4;

/// What this store knows of a damaged record in a base of its own that nobody had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Aside {
    /// Where it is.
    doubt: Option<u64>,
    /// Views that were asked for because of it.
    tries: u32,
    /// How often everybody was asked for it in this view.
    rounds: u32,
    /// In this view it does not state before then.
    until: Option<Time>,
    /// Another view is to be asked for.
    refresh: bool,
}

impl Aside {
    pub(super) fn timeout(&self) -> Option<Time> {
        self.until
    }

    pub(super) fn take_refresh(&mut self) -> bool {
        std::mem::take(&mut self.refresh)
    }
}

impl Durable {
    /// A view begins.
    pub(super) fn stand_aside_in_view(&mut self, now: Time) {
        let holes = self.log.holes();
        if self.aside.doubt.is_some_and(|position| !holes.contains(&position)) {
            self.aside = Aside::default();
        }
        let doublings = self.aside.tries.saturating_sub(1).min(DOUBLINGS_MAX);
        let wait: Duration = self.settings.retry * (PERIODS << doublings);
        self.aside.until = self.aside.doubt.map(|_| now + wait);
        (self.aside.rounds, self.aside.refresh) = (0, false);
    }

    /// Whether the statement has to wait: until the view is active without it, or a log is stated that this one would
    /// not keep from being the base, or the time is over.
    pub(super) fn stands_aside(&mut self, now: Time) -> bool {
        let Some(until) = self.aside.until else { return false };
        let last = self.log.last();
        let others = self.present.as_ref().is_some_and(|present| {
            present.active.is_some() || present.stated.iter().any(|stated| stated.statement.last >= last)
        });
        if others || now >= until {
            self.aside.until = None;
        }
        self.aside.until.is_some()
    }

    /// Nobody is known to have what comes next. If it is because this store's log is the base and damaged there, and if
    /// nobody has it in the end, another view is asked for.
    pub(super) fn count_vain_round(&mut self) {
        let position = self.agreed + 1;
        let is_mine =
            self.active().is_some_and(|active| active.winner == self.me && position <= active.base.position);
        if !is_mine || !self.log.holes().contains(&position) {
            return;
        }
        let aside = &mut self.aside;
        aside.rounds += 1;
        if aside.rounds >= ROUNDS << aside.tries.min(DOUBLINGS_MAX) {
            *aside = Aside {
                doubt: Some(position),
                tries: aside.tries.saturating_add(1),
                refresh: true,
                ..Aside::default()
            };
        }
    }
}
