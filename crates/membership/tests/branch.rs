//! A side off the line whose tables cannot settle a request there: it does not make step after step for it, and the
//! request waits for the line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use membership::group::{Branch, Outcome};
use membership::kernel::{Applied, Config, Kernel, Message, NoTables, Output, Tables, Timer};
use membership::step::{Peer, Request, RequestId, RequestKind, Step, Why, Witnesses};
use minicbor::{Decode, Encode};
use wire::{Bugs, ClusterId, Incarnation, SiteId, SiteIncarnation, StoreId};

/// Tables that settle nothing off the line, and want every request all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
struct LineOnly(#[n(0)] NoTables);

impl Tables for LineOnly {
    type View = ();

    fn apply(&mut self, step: &Step) -> Applied<()> {
        let mut taken = step.clone();
        if !step.primary {
            taken.requests.clear();
        }
        let mut applied = self.0.apply(&taken);
        let open = step.requests.iter().filter(|_| !step.primary);
        applied.outcomes.extend(open.map(|request| (request.id, Outcome::Pending)));
        applied
    }

    fn digest(&self) -> u64 {
        self.0.digest()
    }

    fn settled(&self, id: RequestId) -> Option<Outcome> {
        self.0.settled(id)
    }

    fn wants(&self, request: &Request, primary: bool) -> bool {
        self.0.wants(request, primary)
    }

    fn branch(&self) -> Option<Branch> {
        self.0.branch()
    }

    fn views(&self) -> Vec<()> {
        self.0.views()
    }
}

/// More steps, packets and timers than a side needs that comes to rest.
const ENOUGH: usize = 2_000;

fn life(n: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(n), incarnation: Incarnation(1) }
}

/// Three founders with disks that are done at once.
struct Sites {
    kernels: BTreeMap<u32, Kernel<LineOnly>>,
    net: VecDeque<(u32, u32, Arc<Message<LineOnly>>)>,
    /// Who hears whom.
    sides: Vec<BTreeSet<u32>>,
    /// How many views site 1 has installed.
    installed: usize,
    settled: Vec<(RequestId, Outcome, bool)>,
}

impl Sites {
    fn found() -> Sites {
        let all = BTreeSet::from([1, 2, 3]);
        let kernel = |n: u32| {
            let config = Config {
                cluster: ClusterId(1),
                cluster_epoch: 1,
                founders: (1..=3).map(SiteId).collect(),
                known: Vec::new(),
                bugs: Bugs::NONE,
            };
            let me = Peer { site: SiteId(n), incarnation: Incarnation(1), store: StoreId(n.into()) };
            (n, Kernel::start(config, me, None))
        };
        let mut sites = Sites {
            kernels: all.iter().map(|n| kernel(*n)).collect(),
            net: VecDeque::new(),
            sides: vec![all],
            installed: 0,
            settled: Vec::new(),
        };
        sites.hear();
        sites.settle();
        assert!(sites.kernels.values().all(Kernel::is_primary));
        sites
    }

    /// Detection hears who is on the same side.
    fn hear(&mut self) {
        for side in self.sides.clone() {
            let heard: BTreeSet<SiteId> = side.iter().map(|n| SiteId(*n)).collect();
            side.iter().for_each(|n| self.with(*n, |kernel| kernel.handle_heard(&heard)));
        }
    }

    fn with(&mut self, n: u32, act: impl FnOnce(&mut Kernel<LineOnly>)) {
        act(self.kernels.get_mut(&n).expect("a site"));
        while let Some(output) = self.kernels.get_mut(&n).and_then(Kernel::poll_output) {
            match output {
                Output::Store { ticket, .. } => {
                    self.kernels.get_mut(&n).expect("a site").handle_stored(ticket);
                }
                Output::Send { to, message } => {
                    let hears = self.sides.iter().any(|side| side.contains(&n) && side.contains(&to.0));
                    if hears {
                        self.net.push_back((n, to.0, message));
                    }
                }
                Output::Installed { .. } => self.installed += usize::from(n == 1),
                Output::Settled { request, outcome, on_line } => {
                    self.settled.push((request, outcome, on_line));
                }
                _ => {}
            }
        }
    }

    /// Everything arrives, and timers run out, until nothing moves any more.
    fn settle(&mut self) {
        for _ in 0..ENOUGH {
            if let Some((_, to, message)) = self.net.pop_front() {
                self.with(to, |kernel| {
                    let _ = kernel.handle_message((*message).clone());
                });
                continue;
            }
            let last = |timer: &Timer| matches!(timer, Timer::Backoff | Timer::Join | Timer::Leave);
            let timers = self.kernels.iter().flat_map(|(n, k)| k.timers().into_iter().map(|t| (*n, t)));
            let Some((n, timer)) = timers.min_by_key(|(_, timer)| last(timer)) else { return };
            self.with(n, |kernel| kernel.handle_timer(timer));
        }
        panic!("the sites do not come to rest");
    }
}

#[test]
fn a_branch_makes_one_step_for_a_request_that_only_the_line_can_settle() {
    let mut sites = Sites::found();
    sites.sides = vec![BTreeSet::from([1]), BTreeSet::from([2, 3])];
    sites.hear();
    for (n, gone) in [(1, 2), (1, 3), (2, 1)] {
        sites.with(n, |kernel| kernel.establish(life(gone), Why::Failed, Witnesses::Two));
    }
    sites.settle();
    assert!(!sites.kernels[&1].is_primary() && sites.kernels[&2].is_primary());
    let before = sites.installed;
    let mut request = None;
    sites.with(1, |kernel| request = kernel.submit(RequestKind::Reorder(SiteId(99))).ok());
    let request = request.expect("room for a request");
    sites.settle();
    assert_eq!(sites.installed - before, 1, "one step tries it; another like it would do the same");
    assert!(!sites.settled.iter().any(|(id, ..)| *id == request));
    assert!(sites.kernels[&1].pending().any(|open| open.id == request), "it waits");

    sites.sides = vec![BTreeSet::from([1, 2, 3])];
    sites.hear();
    for n in 1..=3 {
        let others: Vec<SiteId> = (1..=3).filter(|other| *other != n).map(SiteId).collect();
        sites.with(n, |kernel| kernel.search(&others, 0));
    }
    sites.settle();
    assert!(sites.kernels.values().all(Kernel::is_primary), "the sides have met");
    assert!(sites.settled.contains(&(request, Outcome::Done, true)), "{:?}", sites.settled);
}
