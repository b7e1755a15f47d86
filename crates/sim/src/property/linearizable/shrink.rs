//! From a history that nothing explains to a few of its operations that nothing explains.
//!
//! Leaving out a `put` may make a history worse, so operations are *eased*: one that changes nothing is left out, another
//! is taken as never answered. What explains a history explains the eased one; if nothing explains that, it is a
//! counterexample still. What was never answered and is needed by nobody is left out too: it makes no difference.
//!
//! Most of a long history is left out at one stroke: everything that was answered before some moment, if the rest cannot be
//! explained whatever the value was at that moment.

use std::collections::BTreeSet;

use super::search::{self, Needs, Start, Step, Stuck, Verdict};

/// How many of the last steps are tried first.
const LAST_STEPS: usize = 16;
/// Searches while shrinking, the configurations that one may look at, and all of them.
const SEARCHES_MAX: usize = 3_000;
const SEARCH_LOOKS_MAX: u64 = 100_000;
const LOOKS_MAX: u64 = 2_000_000;

/// Which steps to show, rising.
pub fn run(steps: &[Step], stuck: &Stuck) -> Vec<usize> {
    let Some(end) = steps[stuck.at].answered else { return vec![stuck.at] };
    // What was asked for later explains nothing, and what was answered later need not have happened.
    let mut kept = Vec::new();
    for (n, step) in steps.iter().enumerate().filter(|(_, step)| step.asked <= end) {
        let later = step.answered.is_none_or(|at| at > end);
        kept.extend(if later { eased(step).map(|step| (n, step)) } else { Some((n, *step)) });
    }
    let mut left = Left { start: Start::Unknown, searches: SEARCHES_MAX, looks: LOOKS_MAX };
    let mut kept = latest(needed(kept), &mut left);
    // First what changes nothing: a put that is eased may need a get that it is seen by.
    for only_quiet in [true, false] {
        let mut size = kept.len();
        while size > 1 {
            size = size.div_ceil(2);
            pass(&mut kept, stuck.at, size, only_quiet, &mut left);
        }
    }
    shown(&kept, steps, end)
}

/// What is left of the answers, and what put a value that they name, if it is but one. The rest was free to happen or
/// not, and did not help.
fn shown(kept: &[(usize, Step)], steps: &[Step], end: u64) -> Vec<usize> {
    let answered = kept.iter().filter(|(_, step)| step.answered.is_some());
    let mut shown: BTreeSet<usize> = answered.clone().map(|(n, _)| *n).collect();
    for (_, step) in answered {
        let Needs::Is(value @ 1..) = step.act.needs else { continue };
        let makes = |(_, step): &(usize, &Step)| step.act.then == Some(value) && step.asked <= end;
        let mut makers = steps.iter().enumerate().filter(makes);
        if let (Some((only, _)), None) = (makers.next(), makers.next()) {
            shown.insert(only);
        }
    }
    shown.into_iter().collect()
}

/// The last steps, so many that nothing explains them, and once more as many: with more to choose from there is often a
/// simpler reason. All if the last are not enough.
fn latest(kept: Vec<(usize, Step)>, left: &mut Left) -> Vec<(usize, Step)> {
    let last = |count: usize| from(&kept, kept[kept.len() - count].1.asked);
    let mut count = LAST_STEPS;
    while count < kept.len() {
        let some = last(count);
        if left.is_stuck(&some) {
            let wider = last(kept.len().min(2 * count));
            return if left.is_stuck(&wider) { wider } else { some };
        }
        count *= 2;
    }
    // What the value was at the beginning matters.
    left.start = Start::Absent;
    kept
}

/// What matters from a moment on: what was under way may have happened before it.
fn from(kept: &[(usize, Step)], moment: u64) -> Vec<(usize, Step)> {
    let of = |(n, step): &(usize, Step)| match step.answered {
        Some(answered) if answered < moment => None,
        Some(_) if step.asked < moment => eased(step).map(|step| (*n, step)),
        _ => Some((*n, *step)),
    };
    needed(kept.iter().filter_map(of).collect())
}

/// Eases what can be eased, so many neighbours at a time.
fn pass(kept: &mut Vec<(usize, Step)>, stuck: usize, size: usize, only_quiet: bool, left: &mut Left) {
    let mut next = 0;
    loop {
        let from = kept.partition_point(|(n, _)| *n < next);
        let Some(part) = kept.get(from..kept.len().min(from + size)).filter(|part| !part.is_empty()) else {
            return;
        };
        next = part[part.len() - 1].0 + 1;
        let may = |(n, step): &(usize, Step)| {
            *n != stuck && step.answered.is_some() && !(only_quiet && step.act.then.is_some())
        };
        if !part.iter().any(may) {
            continue;
        }
        let ease = |one: &(usize, Step)| match may(one) {
            true => eased(&one.1).map(|step| (one.0, step)),
            false => Some(*one),
        };
        let eased = part.iter().filter_map(ease);
        let rest = &kept[from + part.len()..];
        let fewer = needed(kept[..from].iter().copied().chain(eased).chain(rest.iter().copied()).collect());
        if left.is_stuck(&fewer) {
            *kept = fewer;
        }
    }
}

/// What may still be spent.
struct Left {
    start: Start,
    searches: usize,
    looks: u64,
}

impl Left {
    /// Whether it is known that nothing explains these.
    fn is_stuck(&mut self, kept: &[(usize, Step)]) -> bool {
        if self.searches == 0 || self.looks == 0 {
            return false;
        }
        self.searches -= 1;
        let steps: Vec<Step> = kept.iter().map(|(_, step)| *step).collect();
        let mut looks = self.looks.min(SEARCH_LOOKS_MAX);
        let before = looks;
        let verdict = search::run(&steps, self.start, &mut looks);
        self.looks -= before - looks;
        matches!(verdict, Verdict::Stuck(_))
    }
}

/// The operation as if its answer had not come.
fn eased(step: &Step) -> Option<Step> {
    step.act.then.is_some().then_some(Step { answered: None, ..*step })
}

/// Without what was never answered and is of no use to anybody.
fn needed(mut kept: Vec<(usize, Step)>) -> Vec<(usize, Step)> {
    loop {
        let count = kept.len();
        let needs: Vec<(usize, Step)> =
            kept.iter().filter(|(_, step)| !matches!(step.act.needs, Needs::Nothing)).copied().collect();
        kept.retain(|(n, step)| {
            let makes = |by: &Step| step.act.then.is_some_and(|value| by.act.can(value));
            step.answered.is_some() || needs.iter().any(|(other, by)| other != n && makes(by))
        });
        if kept.len() == count {
            return kept;
        }
    }
}
