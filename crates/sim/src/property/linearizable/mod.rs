//! Linearizable: each operation takes effect at one moment between its being asked for and its being answered, as if
//! there were one copy. [Herlihy & Wing 90]
//!
//! The histories are those of clients of a map with `get`, `put`, `delete` and compare-and-set, who know nothing of each
//! other but the time. A history of a map is linearizable if each key's is, so keys are judged one by one. The search
//! is Wing and Gong's, with Lowe's memory of configurations and his choice to give an operation its moment only when an
//! answer needs it ("just in time"). [Wing & Gong 93] [Lowe 17]
//!
//! Nothing here knows the simulator: tests of real processes use it as well.

mod search;
mod shrink;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<K, V> {
    /// Who asked; only for people who read a counterexample.
    pub client: u64,
    /// Of which key.
    pub key: K,
    /// What for, and what was answered.
    pub what: What<V>,
    /// When it was asked for, by a clock that is the same for all clients.
    pub asked: u64,
    /// When the answer came, by the same clock; none: it may have happened at any later time, or never. What was answered
    /// at the moment at which something else was asked for may be before it or behind it.
    pub answered: Option<u64>,
}

/// What was asked for, and what was answered. What is said of an answer means nothing if none came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<V> {
    /// What is the value? This one; none: the key is absent.
    Get(Option<V>),
    /// The key has this value from now on.
    Put(V),
    /// The key is absent from now on.
    Delete,
    /// If the test holds, the key has this value from now on (none: it is absent), else nothing happens. `held` says
    /// which it was.
    If {
        /// The test.
        test: Test<V>,
        /// What the key becomes if it holds.
        then: Option<V>,
        /// Whether it held.
        held: bool,
    },
}

/// A condition on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test<V> {
    /// There is no such key.
    Absent,
    /// There is one.
    Present,
    /// It has this value.
    Is(V),
}

/// Why a history does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure<K, V> {
    /// No order of the operations explains the answers.
    Broken(Box<Counterexample<K, V>>),
    /// So much was concurrent on this key that the search was given up: neither one nor the other is known.
    Undecided(K),
}

/// A few operations of a history, on one key, that no order explains. The rest of the history was free to happen or not,
/// and did not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample<K, V> {
    /// The key.
    pub key: K,
    /// The operations, by when they were asked for.
    pub operations: Vec<Operation<K, V>>,
    /// The one whose answer came last: with it nothing explains them any more.
    pub unexplained: usize,
}

/// Checks a history: operations of any number of keys, in any order. All keys are absent at its beginning.
///
/// # Errors
///
/// The first key, in the keys' order, whose history is not linearizable, or not known to be.
pub fn check<K, V>(history: &[Operation<K, V>]) -> Result<(), Failure<K, V>>
where
    K: Ord + Clone,
    V: Ord + Clone,
{
    let mut keys: BTreeMap<&K, Vec<&Operation<K, V>>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.asked);
        check_key(key, &operations)?;
    }
    Ok(())
}

fn check_key<K: Clone, V: Ord + Clone>(
    key: &K,
    operations: &[&Operation<K, V>],
) -> Result<(), Failure<K, V>> {
    let mut names = Names::default();
    let steps: Vec<search::Step> = operations.iter().filter_map(|operation| names.step(operation)).collect();
    let stuck = match search::run(&steps, search::Start::Absent, &mut { search::LOOKS_MAX }) {
        search::Verdict::Explained => return Ok(()),
        search::Verdict::Undecided => return Err(Failure::Undecided(key.clone())),
        search::Verdict::Stuck(stuck) => stuck,
    };
    let kept = shrink::run(&steps, &stuck);
    // Steps are the operations but the gets that were not answered; they name their own place.
    let of = |step: usize| operations[steps[step].place].clone();
    let unexplained = kept.iter().position(|step| *step == stuck.at).unwrap_or_default();
    Err(Failure::Broken(Box::new(Counterexample {
        key: key.clone(),
        operations: kept.into_iter().map(of).collect(),
        unexplained,
    })))
}

/// Values as small numbers; 0 is none.
struct Names<V> {
    numbers: BTreeMap<V, u32>,
    places: usize,
}

impl<V> Default for Names<V> {
    fn default() -> Names<V> {
        Names { numbers: BTreeMap::new(), places: 0 }
    }
}

impl<V: Ord + Clone> Names<V> {
    fn number(&mut self, value: Option<&V>) -> u32 {
        let Some(value) = value else { return 0 };
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = self.numbers.len() as u32 + 1;
        self.numbers.insert(value.clone(), number);
        number
    }

    /// The operation as a step; none if nothing can follow from it.
    fn step<K>(&mut self, operation: &Operation<K, V>) -> Option<search::Step> {
        use search::{Act, Needs};
        let answered = operation.answered.is_some();
        let act = match &operation.what {
            What::Get(_) if !answered => None,
            What::Get(saw) => Some(Act { needs: Needs::Is(self.number(saw.as_ref())), then: None }),
            What::Put(value) => Some(Act { needs: Needs::Nothing, then: Some(self.number(Some(value))) }),
            What::Delete => Some(Act { needs: Needs::Nothing, then: Some(0) }),
            What::If { test, then, held } => {
                let (yes, no) = match test {
                    Test::Absent => (Needs::Is(0), Needs::IsNot(0)),
                    Test::Present => (Needs::IsNot(0), Needs::Is(0)),
                    Test::Is(value) => {
                        let number = self.number(Some(value));
                        (Needs::Is(number), Needs::IsNot(number))
                    }
                };
                match *held || !answered {
                    true => Some(Act { needs: yes, then: Some(self.number(then.as_ref())) }),
                    false => Some(Act { needs: no, then: None }),
                }
            }
        };
        let place = self.places;
        self.places += 1;
        // An answer is not before its question, whatever the clock said.
        let answered = operation.answered.map(|at| at.max(operation.asked));
        act.map(|act| search::Step { act, asked: operation.asked, answered, place })
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Display for Failure<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broken(counterexample) => counterexample.fmt(f),
            Failure::Undecided(key) => write!(f, "key {key:?}: too much was concurrent to find out"),
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Display for Counterexample<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {:?}: no order of these explains the answers", self.key)?;
        for (n, operation) in self.operations.iter().enumerate() {
            let mark = if n == self.unexplained { "  <- how?" } else { "" };
            writeln!(f, "  {operation}{mark}")?;
        }
        Ok(())
    }
}

impl<K, V: fmt::Debug> fmt::Display for Operation<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = self.answered.map_or("no answer".to_owned(), |at| at.to_string());
        write!(f, "client {} [{} .. {answered}] ", self.client, self.asked)?;
        match &self.what {
            What::Get(saw) => write!(f, "get: {}", Shown(saw.as_ref())),
            What::Put(value) => write!(f, "put {value:?}"),
            What::Delete => write!(f, "delete"),
            What::If { test, then, held } => {
                match then {
                    Some(value) => write!(f, "put {value:?}")?,
                    None => write!(f, "delete")?,
                }
                match test {
                    Test::Absent => write!(f, " if absent")?,
                    Test::Present => write!(f, " if present")?,
                    Test::Is(value) => write!(f, " if {value:?}")?,
                }
                match (self.answered, held) {
                    (None, _) => Ok(()),
                    (Some(_), true) => write!(f, ": it was"),
                    (Some(_), false) => write!(f, ": it was not"),
                }
            }
        }
    }
}

/// A value, or that there is none.
struct Shown<'a, V>(Option<&'a V>);

impl<V: fmt::Debug> fmt::Display for Shown<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value:?}"),
            None => write!(f, "absent"),
        }
    }
}
