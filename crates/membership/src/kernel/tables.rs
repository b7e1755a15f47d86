//! What the kernel asks of the replicated tables that ride on its steps. The kernel never looks inside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use minicbor::{Decode, Encode};
use siphasher::sip::SipHasher13;
use wire::SiteIncarnation;

use crate::group::{Branch, Outcome};
use crate::step::{Request, RequestId, Step};

/// What applying a step brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied<V> {
    /// The group views that the step made.
    pub views: Vec<V>,
    /// What became of each of the step's requests.
    pub outcomes: Vec<(RequestId, Outcome)>,
}

/// The tables of a core-set: a function of the steps, the same at every member. The tables after a step are
/// those of its base, with the step applied: `tables(step) = tables(step.base).apply(step)`, for steps on the
/// line and off it alike; what a branch did is in [`Step::branches`].
pub trait Tables:
    Clone + Eq + Hash + Debug + Default + Encode<()> + for<'b> Decode<'b, ()> + 'static
{
    /// A view of a group, as it is handed to the member interface.
    type View: Clone + Debug + PartialEq + Eq;

    /// Applies a step to the tables of its base. Must not look at [`Step::digest`], and must settle every
    /// request of the step, of whatever kind, or report it as [`Outcome::Pending`].
    fn apply(&mut self, step: &Step) -> Applied<Self::View>;

    /// Digest of the tables, for [`Step::digest`].
    fn digest(&self) -> u64;

    /// What became of a request, if these tables settled it; requests of forgotten lives count as settled.
    fn settled(&self, id: RequestId) -> Option<Outcome>;

    /// Whether a step of this kind would do anything with the request: one that only the line may decide
    /// stays pending on a branch without making steps for ever (C4).
    fn wants(&self, request: &Request, primary: bool) -> bool;

    /// What this side brings to a merge; none for tables of the line.
    fn branch(&self) -> Option<Branch>;

    /// Every group's present view, for who did not follow the steps one by one.
    fn views(&self) -> Vec<Self::View>;
}

/// Tables that only remember what was settled: for tests and for the model checker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct NoTables {
    #[n(0)]
    settled: BTreeMap<SiteIncarnation, BTreeSet<u64>>,
    #[n(1)]
    branch: Option<Branch>,
    #[n(2)]
    merged: u32,
}

impl NoTables {
    /// How many branches have been merged into these tables.
    pub fn merged(&self) -> u32 {
        self.merged
    }

    /// How many requests have been settled.
    pub fn settled_len(&self) -> usize {
        self.settled.values().map(BTreeSet::len).sum()
    }
}

impl Tables for NoTables {
    type View = ();

    fn apply(&mut self, step: &Step) -> Applied<()> {
        let mut outcomes = Vec::new();
        for request in &step.requests {
            self.settled.entry(request.id.origin).or_default().insert(request.id.n);
            outcomes.push((request.id, Outcome::Done));
        }
        self.merged = self.merged.saturating_add(u32::try_from(step.branches.len()).unwrap_or(u32::MAX));
        self.branch = (!step.primary).then(|| Branch {
            view: step.id,
            sites: step.members.iter().map(|m| m.peer.life()).collect(),
            attached: Vec::new(),
            groups: Vec::new(),
        });
        Applied { views: Vec::new(), outcomes }
    }

    fn digest(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn settled(&self, id: RequestId) -> Option<Outcome> {
        self.settled.get(&id.origin)?.contains(&id.n).then_some(Outcome::Done)
    }

    fn wants(&self, _: &Request, _: bool) -> bool {
        true
    }

    fn branch(&self) -> Option<Branch> {
        self.branch.clone()
    }

    fn views(&self) -> Vec<()> {
        Vec::new()
    }
}
