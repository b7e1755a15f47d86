//! The total order as a list of runs: "next come the abcasts of this site up to that entry" (M9).

use std::collections::VecDeque;

/// The abcasts of one site up to (and without) entry `upto` come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub site: usize,
    pub upto: u64,
}

/// The order list of one view, from the first run that somebody may still need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OrderList {
    runs: VecDeque<Run>,
    base: u64,
    /// The first run that is not yet delivered.
    next: u64,
    /// At the sequencer: the first run that is not yet sent.
    sent: u64,
    /// The runs before this one are stable, and so are their messages.
    safe: u64,
}

impl OrderList {
    /// How many runs are known.
    pub(crate) fn len(&self) -> u64 {
        self.base + self.runs.len() as u64
    }

    fn get(&self, index: u64) -> Option<Run> {
        self.runs.get(usize::try_from(index.checked_sub(self.base)?).ok()?).copied()
    }

    /// Adds a run; one for the site of the last run extends it, if that is not yet sent.
    pub(crate) fn push(&mut self, run: Run) {
        if self.sent < self.len()
            && self.next < self.len()
            && let Some(last) = self.runs.back_mut()
            && last.site == run.site
        {
            last.upto = run.upto;
            return;
        }
        self.runs.push_back(run);
    }

    /// Adds a run that was received.
    pub(crate) fn receive(&mut self, run: Run) {
        self.runs.push_back(run);
    }

    /// The run to be delivered next, and its index.
    pub(crate) fn next(&self) -> Option<(u64, Run)> {
        Some((self.next, self.get(self.next)?))
    }

    /// The next run is delivered.
    pub(crate) fn pass(&mut self) {
        self.next += 1;
    }

    /// The runs not yet sent, at most `max` of them: index of the first, and they.
    pub(crate) fn take_unsent(&mut self, max: usize) -> (u64, Vec<(u16, u64)>) {
        let from = self.sent;
        let end = self.len().min(from + max as u64);
        self.sent = end;
        (from, self.range(from, end))
    }

    /// Whether runs wait to be sent.
    pub(crate) fn unsent(&self) -> bool {
        self.sent < self.len()
    }

    /// The runs from `from` to `end` as they go on the wire, as far as they are still kept.
    pub(crate) fn range(&self, from: u64, end: u64) -> Vec<(u16, u64)> {
        let wire = |run: Run| (u16::try_from(run.site).expect("at most 512 sites"), run.upto);
        (from.max(self.base)..end.min(self.len())).filter_map(|i| self.get(i).map(wire)).collect()
    }

    /// Advances over the runs that are stable together with their messages, and drops those that nobody needs.
    pub(crate) fn settle(&mut self, order_stable: u64, stable: &[u64]) {
        while self.safe < order_stable {
            match self.get(self.safe) {
                Some(run) if stable[run.site] >= run.upto => self.safe += 1,
                Some(_) | None => break,
            }
        }
        while self.base < self.safe && self.base < self.next && !self.runs.is_empty() {
            self.runs.pop_front();
            self.base += 1;
        }
    }

    /// The runs before this index are stable, and so are their messages.
    pub(crate) fn safe(&self) -> u64 {
        self.safe
    }
}
