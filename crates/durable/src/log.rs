//! What a machine knows of its log without reading it: which view numbered which stretch, what is damaged, and the
//! newest entries.

use std::collections::{BTreeSet, VecDeque};

use wire::ViewId;

use crate::entry::{Entry, Number};
use crate::message::{HOLES_MAX, RUNS_MAX, Run, Statement};

/// The log in memory. One run a view: it is as long as there are views between `base` and the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    /// What is before the first record: nothing, or freed, or in a checkpoint.
    base: Number,
    runs: VecDeque<Run>,
    end: u64,
    /// Damaged positions (D14).
    holes: BTreeSet<u64>,
    /// Of those, the ones whose view is not known but guessed.
    guessed: BTreeSet<u64>,
    /// The newest entries, up to the end.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
}

impl Log {
    pub(crate) fn new(base: Number) -> Log {
        Log { base, end: base.position, ..Log::default() }
    }

    pub(crate) fn base(&self) -> Number {
        self.base
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The last number: what logs are compared by.
    pub(crate) fn last(&self) -> Number {
        let view = self.runs.back().map_or(self.base.view, |run| run.view);
        Number { view, position: self.end }
    }

    /// The number at a position; none if it is not in the log, or damaged.
    pub(crate) fn number(&self, position: u64) -> Option<Number> {
        if position == self.base.position {
            return Some(self.base);
        }
        if position < self.base.position || position > self.end || self.holes.contains(&position) {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first <= position);
        let view = self.runs.get(after.checked_sub(1)?)?.view;
        Some(Number { view, position })
    }

    /// Whether an entry that was in the log once is in it, or before it, or where it is damaged.
    pub(crate) fn may_have(&self, number: Number) -> bool {
        number.position <= self.base.position
            || (self.holes.contains(&number.position) && self.may_be(number))
            || self.number(number.position) == Some(number)
    }

    pub(crate) fn holes(&self) -> &BTreeSet<u64> {
        &self.holes
    }

    /// The last position before the first damaged one above `from`.
    pub(crate) fn whole_from(&self, from: u64) -> u64 {
        self.holes.range(from + 1..).next().map_or(self.end, |hole| hole - 1)
    }

    fn run(&mut self, position: u64, view: ViewId) {
        if self.runs.back().is_none_or(|run| run.view != view) && (view != self.base.view || position > 0) {
            self.runs.push_back(Run { first: position, view });
        }
    }

    /// A position that the log is known to have, without its content.
    pub(crate) fn extend(&mut self, number: Number) {
        assert_eq!(number.position, self.end + 1, "a log has no gaps");
        self.extend_to(number);
    }

    /// The same for all positions up to this one: they are of its view.
    pub(crate) fn extend_to(&mut self, number: Number) {
        assert!(number.position > self.end, "a log grows");
        self.run(self.end + 1, number.view);
        self.end = number.position;
        self.recent.clear();
        self.recent_bytes = 0;
    }

    /// A damaged position, with its view if that follows from what is around it, else with a guess, which is never
    /// compared.
    pub(crate) fn extend_hole(&mut self, view: ViewId, guessed: bool) {
        self.extend(Number { view, position: self.end + 1 });
        self.holes.insert(self.end);
        if guessed {
            self.guessed.insert(self.end);
        }
    }

    /// An entry that goes to the disk. It stays in memory until it is durable, at least.
    pub(crate) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.number.position, self.end + 1, "a log has no gaps");
        assert!(entry.number > self.last(), "the numbers of a log rise");
        self.run(entry.number.position, entry.number.view);
        self.end = entry.number.position;
        self.recent_bytes += entry.bytes();
        self.recent.push_back(entry);
    }

    /// Forgets the oldest of what is durable, beyond so many bytes.
    pub(crate) fn shrink(&mut self, durable: u64, recent_bytes_max: usize) {
        while self.recent_bytes > recent_bytes_max
            && self.recent.front().is_some_and(|oldest| oldest.number.position <= durable)
        {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |oldest| oldest.bytes());
        }
    }

    /// What was not written after all: it goes from the log, and is given back.
    pub(crate) fn take_back(&mut self, from: u64) -> Vec<Entry> {
        let entries = (from..=self.end).map_while(|position| self.recent(position).cloned()).collect();
        self.cut(from);
        entries
    }

    /// A record turned out to be damaged when it was read.
    pub(crate) fn damaged(&mut self, position: u64) {
        if position > self.base.position && position <= self.end {
            self.holes.insert(position);
        }
    }

    /// Whether a damaged position may have held this number. A guess is the highest view that it can be of: views do not go
    /// down.
    pub(crate) fn may_be(&self, number: Number) -> bool {
        let Number { view, position } = number;
        let highest = self.view(position);
        if !self.guessed.contains(&position) {
            return highest == Some(view);
        }
        let known = (self.base.position + 1..position).rev().find(|before| !self.guessed.contains(before));
        let lowest = known.and_then(|before| self.view(before)).unwrap_or(self.base.view);
        lowest <= view && highest.is_some_and(|highest| view <= highest)
    }

    /// The number of a position, if it is known, damaged or not.
    pub(crate) fn known(&self, position: u64) -> Option<Number> {
        if position <= self.base.position || position > self.end || self.guessed.contains(&position) {
            return self.number(position);
        }
        self.view(position).map(|view| Number { view, position })
    }

    /// A number whose log has the same at this position: the first that is known from there on (D1).
    pub(crate) fn proof(&self, position: u64) -> Option<Number> {
        (position..=self.end).find_map(|position| self.known(position))
    }

    fn view(&self, position: u64) -> Option<ViewId> {
        let after = self.runs.partition_point(|run| run.first <= position);
        after.checked_sub(1).map(|place| self.runs[place].view)
    }

    /// A damaged position has its record again. Positions are repaired in order, so a wrong guess is the first of its
    /// run.
    pub(crate) fn repaired(&mut self, number: Number) {
        let Number { view, position } = number;
        self.holes.remove(&position);
        let guessed = self.guessed.remove(&position);
        let place = self.runs.partition_point(|run| run.first <= position).saturating_sub(1);
        if guessed && self.runs.get(place).is_some_and(|run| run.first == position && run.view > view) {
            let before = place.checked_sub(1).map_or(self.base.view, |before| self.runs[before].view);
            self.runs[place].first += 1;
            if before != view || place == 0 {
                self.runs.insert(place, Run { first: position, view });
            }
        }
    }

    /// This position and all behind it go.
    pub(crate) fn cut(&mut self, from: u64) {
        assert!(from > self.base.position, "what is before the log cannot be cut");
        self.runs.retain(|run| run.first < from);
        self.holes.retain(|hole| *hole < from);
        self.guessed.retain(|hole| *hole < from);
        while self.recent.back().is_some_and(|entry| entry.number.position >= from) {
            self.recent_bytes -= self.recent.pop_back().map_or(0, |entry| entry.bytes());
        }
        self.end = self.end.min(from - 1);
    }

    /// What is before this position goes.
    pub(crate) fn compact(&mut self, before: u64) {
        if let Some(base) = before.checked_sub(1).and_then(|position| self.number(position)) {
            self.begin_behind(base);
        }
    }

    /// A damaged position that a checkpoint at `covered` stands for: it goes, and what is before it.
    pub(crate) fn forget_to(&mut self, damaged: u64, covered: Number) {
        let base = (damaged + 1..covered.position).find_map(|position| self.number(position));
        self.begin_behind(base.unwrap_or(covered));
    }

    /// The log begins behind a number that it has.
    pub(crate) fn begin_behind(&mut self, base: Number) {
        let before = base.position + 1;
        self.base = base;
        while self.runs.get(1).is_some_and(|next| next.first <= before) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(before);
        }
        if self.end < before {
            self.runs.clear();
        }
        self.holes = self.holes.split_off(&before);
        self.guessed = self.guessed.split_off(&before);
    }

    /// An entry that is in memory.
    pub(crate) fn recent(&self, position: u64) -> Option<&Entry> {
        let first = self.recent.front()?.number.position;
        self.recent.get(usize::try_from(position.checked_sub(first)?).ok()?)
    }

    /// The newest runs, for a statement.
    pub(crate) fn newest_runs(&self, most: usize) -> Vec<Run> {
        self.runs.iter().skip(self.runs.len().saturating_sub(most.min(RUNS_MAX))).copied().collect()
    }

    /// The lowest positions whose view is a guess, for a statement.
    pub(crate) fn lowest_guessed(&self) -> Vec<u64> {
        self.guessed.iter().take(HOLES_MAX).copied().collect()
    }

    /// The highest position at which this log and the one stated have the same number, as far as the statement
    /// tells: up to there they are the same (D1).
    pub(crate) fn common(&self, other: &Statement) -> Option<u64> {
        // Above the last guess that it had room to tell of nothing can be compared.
        let told = match other.guessed.len() < HOLES_MAX {
            true => u64::MAX,
            false => other.guessed.last().copied().unwrap_or(0),
        };
        let mut end = other.last.position;
        for run in other.runs.iter().rev() {
            let own = self.runs.iter().position(|own| own.view == run.view);
            if let Some(place) = own {
                let own_end = self.runs.get(place + 1).map_or(self.end, |next| next.first - 1);
                let lowest = run.first.max(self.runs[place].first);
                let highest = end.min(own_end).min(told);
                let comparable = |p: &u64| !self.guessed.contains(p) && !other.guessed.contains(p);
                if let Some(position) = (lowest..=highest).rev().find(comparable) {
                    return Some(position);
                }
            }
            end = run.first.saturating_sub(1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Body;

    fn view(epoch: u64) -> ViewId {
        ViewId { epoch, ..ViewId::default() }
    }

    fn log(views: &[u64]) -> Log {
        let mut log = Log::new(Number::default());
        for (place, epoch) in views.iter().enumerate() {
            let number = Number { view: view(*epoch), position: place as u64 + 1 };
            log.append(Entry { number, time: 0, body: Body::Mark });
        }
        log
    }

    fn statement(log: &Log) -> Statement {
        Statement {
            view: view(99),
            store: wire::StoreId(1),
            life: crate::Life::default(),
            adopted: view(0),
            last: log.last(),
            runs: log.newest_runs(RUNS_MAX),
            guessed: log.lowest_guessed(),
            floor: None,
            configuration: (Number::default(), crate::Configuration::default()),
            seen: Vec::new(),
            lives: Vec::new(),
            forced: false,
            doubted: Vec::new(),
        }
    }

    #[test]
    fn logs_agree_up_to_the_last_number_in_common() {
        let own = log(&[1, 1, 2, 2, 5]);
        assert_eq!(own.common(&statement(&log(&[1, 1, 2, 2, 2, 2]))), Some(4));
        assert_eq!(own.common(&statement(&log(&[1, 1, 1, 4]))), Some(2));
        assert_eq!(own.common(&statement(&log(&[3]))), None);
        assert_eq!(own.common(&statement(&own)), Some(5));
    }

    #[test]
    fn a_damaged_position_is_compared_only_if_its_number_is_known() {
        let mut own = log(&[1, 1, 1, 2]);
        own.damaged(3);
        // Its number is known: it was in memory.
        assert_eq!(own.common(&statement(&log(&[1, 1, 1]))), Some(3));
        assert_eq!((own.whole_from(0), own.whole_from(3)), (2, 4));
        let mut own = log(&[1]);
        own.extend_hole(view(1), true);
        own.extend(Number { view: view(2), position: 3 });
        assert_eq!(own.common(&statement(&log(&[1, 1]))), Some(1));
    }

    #[test]
    fn cutting_and_compacting_keep_the_numbers_of_the_rest() {
        let mut own = log(&[1, 1, 2, 2, 5]);
        own.cut(5);
        assert_eq!(own.last(), Number { view: view(2), position: 4 });
        own.compact(4);
        assert_eq!(own.base(), Number { view: view(2), position: 3 });
        assert_eq!(own.number(4), Some(Number { view: view(2), position: 4 }));
        assert_eq!(own.number(2), None);
        own.compact(5);
        assert_eq!(own.last(), Number { view: view(2), position: 4 });
    }
}
