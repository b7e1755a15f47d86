//! One key's history, event by event. A *configuration* is what may be true at a moment: the key's value, which of the
//! operations under way have had their moment, and which of those that were never answered were used. An answer keeps
//! the configurations in which its operation has had its moment, or can have it now, behind others that are under way.
//! If none is left the history is not linearizable.
//!
//! What keeps the configurations few:
//! * an operation that changes nothing has its moment as soon as it can: that hinders nobody;
//! * one that was never answered has its moment only right before another that needs it: else it might as well not have;
//! * of two configurations of one value, the one that can do all that the other can is enough;
//! * values that no operation asks about from some moment on are one value from then on, and operations without an answer
//!   that need and make the same are used in one order.

use std::collections::{BTreeMap, BTreeSet};

/// Configurations of a key that are looked at before the search is given up.
pub const LOOKS_MAX: u64 = 2_000_000;
/// A value that nobody asks about any more.
const ANY: u32 = u32::MAX;
/// Answered operations of one key that are under way at one time; beyond, the search gives up.
const UNDER_WAY_MAX: usize = 128;

/// An operation on the key.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it needs and does.
    pub act: Act,
    /// When it was asked for.
    pub asked: u64,
    /// When it was answered, if it was.
    pub answered: Option<u64>,
    /// Which operation of the history it is.
    pub place: usize,
}

/// What an operation needs of the key's value, and what it makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub needs: Needs,
    /// None: the value stays.
    pub then: Option<u32>,
}

/// What an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    Nothing,
    Is(u32),
    IsNot(u32),
}

/// What the value is before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Absent,
    Unknown,
}

/// What came of a search.
pub enum Verdict {
    Explained,
    Stuck(Stuck),
    Undecided,
}

/// The first answer that nothing explains.
pub struct Stuck {
    /// Which step's.
    pub at: usize,
}

impl Act {
    /// Whether it can have its moment.
    pub fn can(&self, state: u32) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::Is(value) => state == value,
            Needs::IsNot(value) => state != value,
        }
    }
}

/// Searches an order that explains the steps, which are sorted by when they were asked for. It looks at no more
/// configurations than are left of `looks`.
pub fn run(steps: &[Step], start: Start, looks: &mut u64) -> Verdict {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * steps.len());
    for (n, step) in steps.iter().enumerate() {
        // At one moment questions come before answers: the two are concurrent.
        events.push((step.asked, false, n));
        events.extend(step.answered.map(|at| (at, true, n)));
    }
    events.sort_unstable();
    let mut search = Search::new(steps, looks);
    search.asked_about = last_asked_about(steps, &events);
    search.start(start);
    for (event, (_, is_answer, n)) in events.into_iter().enumerate() {
        search.event = event;
        let going = if is_answer { search.answer(n) } else { search.ask(n) };
        match going {
            Ok(()) => {}
            Err(Stop::GivenUp) => return Verdict::Undecided,
            Err(Stop::Stuck) => return Verdict::Stuck(Stuck { at: n }),
        }
    }
    Verdict::Explained
}

/// For each value the last event at which an operation asks about it.
fn last_asked_about(steps: &[Step], events: &[(u64, bool, usize)]) -> BTreeMap<u32, usize> {
    let mut last = BTreeMap::new();
    for (event, (_, _, n)) in events.iter().enumerate() {
        if let Needs::Is(value) | Needs::IsNot(value) = steps[*n].act.needs {
            let until = if steps[*n].answered.is_none() { usize::MAX } else { event };
            let last = last.entry(value).or_insert(until);
            *last = until.max(*last);
        }
    }
    last
}

enum Stop {
    GivenUp,
    Stuck,
}

/// What may be true.
#[derive(Clone, Debug)]
struct Configuration {
    state: u32,
    /// Of the operations under way that will be answered, those that have had their moment: a bit for each slot.
    done: u128,
    /// Of those that are never answered, those that have had it; rising.
    used: Vec<usize>,
}

struct Search<'a> {
    steps: &'a [Step],
    /// Operations under way that will be answered.
    slots: Vec<Option<usize>>,
    /// The slots of those that change nothing.
    quiet: u128,
    /// Those that are never answered, and not used in all configurations.
    open: Vec<usize>,
    front: Front,
    looks: &'a mut u64,
    /// Until which event somebody asks about a value.
    asked_about: BTreeMap<u32, usize>,
    /// Which event it is.
    event: usize,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], looks: &'a mut u64) -> Search<'a> {
        let (front, asked_about) = (Front::default(), BTreeMap::new());
        Search { steps, slots: Vec::new(), quiet: 0, open: Vec::new(), front, looks, asked_about, event: 0 }
    }

    fn start(&mut self, start: Start) {
        let mut states = vec![0];
        if start == Start::Unknown {
            states.push(ANY);
            states.extend(self.asked_about.keys());
        }
        for state in states {
            self.front.add(Configuration { state, done: 0, used: Vec::new() }, 0);
        }
    }

    fn ask(&mut self, n: usize) -> Result<(), Stop> {
        let step = &self.steps[n];
        if step.answered.is_none() {
            self.open.push(n);
            return Ok(());
        }
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if slot >= UNDER_WAY_MAX {
            return Err(Stop::GivenUp);
        }
        self.slots[slot] = Some(n);
        if step.act.then.is_none() {
            self.quiet |= 1 << slot;
            let mut front = Front::default();
            for configuration in std::mem::take(&mut self.front).all() {
                front.add(self.settled(configuration), self.quiet);
            }
            self.front = front;
        }
        Ok(())
    }

    fn answer(&mut self, n: usize) -> Result<(), Stop> {
        let Some(slot) = self.slots.iter().position(|other| *other == Some(n)) else { return Ok(()) };
        let before = std::mem::take(&mut self.front);
        let mut after = Front::default();
        let mut seen = Front::default();
        let mut look_at = Vec::new();
        for configuration in before.all() {
            self.sort(configuration, slot, &mut seen, &mut look_at, &mut after);
        }
        while let Some(configuration) = look_at.pop() {
            *self.looks = self.looks.checked_sub(1).ok_or(Stop::GivenUp)?;
            for next in self.next(&configuration) {
                self.sort(next, slot, &mut seen, &mut look_at, &mut after);
            }
        }
        self.slots[slot] = None;
        self.quiet &= !(1 << slot);
        if after.is_empty() {
            return Err(Stop::Stuck);
        }
        self.front = self.renamed(after);
        self.forget_used();
        Ok(())
    }

    /// A configuration in which the slot's operation has had its moment is one of those after the answer; another is
    /// to be looked at, once.
    fn sort(
        &self,
        mut configuration: Configuration,
        slot: usize,
        seen: &mut Front,
        look_at: &mut Vec<Configuration>,
        after: &mut Front,
    ) {
        if configuration.done & (1 << slot) != 0 {
            configuration.done &= !(1 << slot);
            after.add(configuration, self.quiet & !(1 << slot));
        } else if seen.add(configuration.clone(), self.quiet) {
            look_at.push(configuration);
        }
    }

    /// The configurations after one more operation, of those that it makes sense to try.
    fn next(&self, from: &Configuration) -> Vec<Configuration> {
        let mut next = Vec::new();
        for (slot, n) in self.waiting(from) {
            let act = &self.steps[n].act;
            if act.can(from.state) {
                let done = from.done | 1 << slot;
                let used = from.used.clone();
                next.push(self.settled(Configuration { state: self.after(act, from.state), done, used }));
            }
        }
        let free = |n: &usize| from.used.binary_search(n).is_err();
        let open = self.open.iter().copied().filter(free);
        let tests = open.clone().filter(|n| !matches!(self.steps[*n].act.needs, Needs::Nothing));
        let needs = self.waiting(from).map(|(_, n)| n).chain(tests);
        let needs: Vec<usize> = needs.filter(|n| !self.steps[*n].act.can(from.state)).collect();
        let mut tried = BTreeSet::new();
        for n in open {
            let act = &self.steps[n].act;
            let state = self.after(act, from.state);
            let is_needed = || needs.iter().any(|by| *by != n && self.steps[*by].act.can(state));
            if act.can(from.state) && is_needed() && tried.insert((act.needs, state)) {
                let mut used = from.used.clone();
                used.insert(used.partition_point(|other| *other < n), n);
                next.push(self.settled(Configuration { state, done: from.done, used }));
            }
        }
        next
    }

    /// The value after an operation.
    fn after(&self, act: &Act, state: u32) -> u32 {
        act.then.map_or(state, |value| self.name(value))
    }

    fn name(&self, value: u32) -> u32 {
        if self.asked_about.get(&value).is_some_and(|last| *last >= self.event) { value } else { ANY }
    }

    /// The configurations by the names that values have now.
    fn renamed(&self, front: Front) -> Front {
        let mut alike: BTreeMap<(Needs, Option<u32>), Vec<usize>> = BTreeMap::new();
        let kind = |n: usize| (self.steps[n].act.needs, self.steps[n].act.then.map(|value| self.name(value)));
        for n in &self.open {
            alike.entry(kind(*n)).or_default().push(*n);
        }
        let mut renamed = Front::default();
        for mut configuration in front.all() {
            configuration.state = self.name(configuration.state);
            let mut counts: BTreeMap<(Needs, Option<u32>), usize> = BTreeMap::new();
            for n in &configuration.used {
                *counts.entry(kind(*n)).or_default() += 1;
            }
            configuration.used.clear();
            for (kind, count) in counts {
                let first = alike.get(&kind).map_or(&[][..], |alike| &alike[..count.min(alike.len())]);
                configuration.used.extend_from_slice(first);
            }
            configuration.used.sort_unstable();
            renamed.add(configuration, self.quiet);
        }
        renamed
    }

    /// The operations that will be answered and have not had their moment.
    fn waiting(&self, from: &Configuration) -> impl Iterator<Item = (usize, usize)> {
        let done = from.done;
        let slots = self.slots.iter().enumerate().filter_map(|(slot, n)| n.map(|n| (slot, n)));
        slots.filter(move |(slot, _)| done & (1 << slot) == 0)
    }

    /// What changes nothing has its moment as soon as it can.
    fn settled(&self, mut configuration: Configuration) -> Configuration {
        for (slot, n) in self.slots.iter().enumerate().filter(|(slot, _)| self.quiet & (1 << slot) != 0) {
            if n.is_some_and(|n| self.steps[n].act.can(configuration.state)) {
                configuration.done |= 1 << slot;
            }
        }
        configuration
    }

    /// What was used in all configurations will not be used again.
    fn forget_used(&mut self) {
        let Some(everywhere) = self.front.used_everywhere() else { return };
        self.open.retain(|n| !everywhere.contains(n));
        self.front.forget(&everywhere);
    }
}

/// Configurations of which none can do all that another can: by value and by which operations that change something have
/// had their moment; then those that change nothing and have had theirs (the more the better), and what was used of what
/// was never answered (the less the better).
#[derive(Default)]
struct Front(BTreeMap<(u32, u128), Vec<Spent>>);

/// The operations of a configuration that change nothing and have had their moment, and those that are never answered and
/// were used.
type Spent = (u128, Vec<usize>);

impl Front {
    /// Adds a configuration. False if one that is there can do as much.
    fn add(&mut self, configuration: Configuration, quiet: u128) -> bool {
        let Configuration { state, done, used } = configuration;
        let beside = self.0.entry((state, done & !quiet)).or_default();
        let done = done & quiet;
        if beside.iter().any(|(theirs, less)| done & !theirs == 0 && is_part(less, &used)) {
            return false;
        }
        beside.retain(|(theirs, more)| !(theirs & !done == 0 && is_part(&used, more)));
        beside.push((done, used));
        true
    }

    fn all(self) -> impl Iterator<Item = Configuration> {
        self.0.into_iter().flat_map(|((state, loud), beside)| {
            beside.into_iter().map(move |(quiet, used)| Configuration { state, done: loud | quiet, used })
        })
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn used_everywhere(&self) -> Option<BTreeSet<usize>> {
        let mut all = self.0.values().flatten().map(|(_, used)| used);
        let mut everywhere: BTreeSet<usize> = all.next()?.iter().copied().collect();
        for used in all {
            everywhere.retain(|n| used.binary_search(n).is_ok());
            if everywhere.is_empty() {
                return None;
            }
        }
        (!everywhere.is_empty()).then_some(everywhere)
    }

    fn forget(&mut self, everywhere: &BTreeSet<usize>) {
        for (_, used) in self.0.values_mut().flatten() {
            used.retain(|n| !everywhere.contains(n));
        }
    }
}

/// Whether all of one rising list is in another.
fn is_part(less: &[usize], more: &[usize]) -> bool {
    less.len() <= more.len() && less.iter().all(|n| more.binary_search(n).is_ok())
}
