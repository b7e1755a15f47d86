//! An exhaustive search through everything that a few kernels may do within a budget: packets in any order, or
//! never, or twice; timers at any time; writes late; crashes and restarts from disk. States are told apart by
//! 64-bit fingerprints. It drives the production kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use membership::kernel::Timer;
use membership::step::RequestKind;
use wire::SiteId;

use super::world::{World, hash_of};

/// Something that happens once, at any time, if it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A request of this site, without effect on the members.
    Ask(u32),
    /// Somebody asks for this member to be rank 0.
    Reorder(u32, u32),
    /// Detection at the first establishes that the second is gone.
    Fail(u32, u32),
    /// This site leaves.
    Leave(u32),
    /// This site crashes; so many of its writes under way are done.
    Crash(u32, usize),
    /// It starts again from its disk.
    Restart(u32),
    /// It starts again from the disk as it was at the beginning (an old copy).
    RestartFromCopy(u32),
    /// A new site starts.
    Join(u32),
    /// It looks for others.
    Search(u32),
}

/// A bounded case.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub founders: u32,
    /// Begin before the first view.
    pub founding: bool,
    /// Begin with a request settled at the first site that is named here, to have a line behind.
    pub events: Vec<Event>,
    pub timers: u32,
    pub doubled: u32,
    pub slow_disk: bool,
    pub states_max: usize,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// Everything within the budget was seen.
    pub complete: bool,
    pub violation: Option<(String, Vec<String>)>,
}

#[derive(Clone)]
struct State {
    world: World,
    /// The hash of each site, computed again only for sites that moved.
    hashes: BTreeMap<u32, u64>,
    left: Vec<Event>,
    timers: u32,
    doubled: u32,
}

/// How a state was reached, newest move first.
struct Link {
    before: Option<Rc<Link>>,
    next: Move,
    length: usize,
}

#[derive(Clone, Debug)]
enum Move {
    Deliver(usize),
    Double(usize),
    Fire(u32, Timer),
    Stored(u32),
    Happen(usize),
}

/// Searches a case, depth first.
pub fn search(case: &Case, bugs: wire::Bugs) -> Found {
    let mut seen = BTreeSet::new();
    let mut stack: Vec<(State, Option<Rc<Link>>)> = vec![(first(case, bugs), None)];
    let (mut depth, mut complete) = (0, true);
    while let Some((state, link)) = stack.pop() {
        depth = depth.max(link.as_ref().map_or(0, |l| l.length));
        for next in moves(&state) {
            let mut after = state.clone();
            let panicked = catch_unwind(AssertUnwindSafe(|| apply(&mut after, case, &next))).is_err();
            let length = link.as_ref().map_or(0, |l| l.length) + 1;
            let way = Rc::new(Link { before: link.clone(), next, length });
            let violation = if panicked {
                Some("an own invariant stopped a site".to_string())
            } else {
                after.world.oracle.violation.clone()
            };
            if let Some(what) = violation {
                let violation = Some((what, replay(case, bugs, &way)));
                return Found { states: seen.len(), depth, complete: false, violation };
            }
            let print = fingerprint(&state, &mut after);
            let new = !seen.contains(&print);
            if new && seen.len() >= case.states_max {
                complete = false;
            } else if new {
                seen.insert(print);
                stack.push((after, Some(way)));
            }
        }
    }
    Found { states: seen.len(), depth, complete, violation: None }
}

fn first(case: &Case, bugs: wire::Bugs) -> State {
    let world = begin(case, bugs);
    let hashes = world.nodes.iter().map(|(n, node)| (*n, hash_of(&**node))).collect();
    State { world, hashes, left: case.events.clone(), timers: case.timers, doubled: case.doubled }
}

/// The moves of a way in words.
fn replay(case: &Case, bugs: wire::Bugs, way: &Rc<Link>) -> Vec<String> {
    let mut moves = Vec::new();
    let mut link = Some(way.clone());
    while let Some(here) = link {
        moves.push(here.next.clone());
        link = here.before.clone();
    }
    let mut state = first(case, bugs);
    let mut words = Vec::new();
    for next in moves.iter().rev() {
        words.push(describe(&state, next));
        let _ = catch_unwind(AssertUnwindSafe(|| apply(&mut state, case, next)));
    }
    words
}

fn begin(case: &Case, bugs: wire::Bugs) -> World {
    let mut world = if case.founding {
        let mut world = World::new(case.founders, bugs);
        for n in 1..=case.founders {
            world.start(n);
        }
        world.hear_all();
        world
    } else {
        World::founded(case.founders, bugs)
    };
    world.instant_disk = !case.slow_disk;
    world.told.clear();
    world
}

fn moves(state: &State) -> Vec<Move> {
    let world = &state.world;
    let mut moves = Vec::new();
    for (at, packet) in world.net.iter().enumerate() {
        let first = world.net.iter().position(|p| p.hash == packet.hash) == Some(at);
        if first && world.is_up(packet.to) {
            moves.push(Move::Deliver(at));
            if state.doubled > 0 {
                moves.push(Move::Double(at));
            }
        }
    }
    for (n, node) in &world.nodes {
        let Some(kernel) = &node.kernel else { continue };
        if !node.writing.is_empty() {
            moves.push(Move::Stored(*n));
        }
        if state.timers > 0 {
            // A proposal that is sent again is the packet doubled.
            let timers = kernel.timers().into_iter().filter(|t| !matches!(t, Timer::Resend(_)));
            moves.extend(timers.map(|t| Move::Fire(*n, t)));
        }
    }
    for (at, event) in state.left.iter().enumerate() {
        let up = |n: &u32| world.is_up(*n);
        let may = match event {
            Event::Ask(n) | Event::Reorder(n, _) | Event::Fail(n, _) | Event::Leave(n) => up(n),
            Event::Crash(n, done) => up(n) && world.nodes[n].writing.len() >= *done,
            Event::Restart(n) | Event::RestartFromCopy(n) => world.nodes.contains_key(n) && !up(n),
            Event::Join(n) => !world.nodes.contains_key(n),
            Event::Search(n) => up(n),
        };
        if may {
            moves.push(Move::Happen(at));
        }
    }
    moves
}

fn apply(state: &mut State, case: &Case, next: &Move) {
    let world = &mut state.world;
    match next {
        Move::Deliver(at) => world.deliver_at(*at),
        Move::Double(at) => {
            state.doubled -= 1;
            let packet = world.net[*at].clone();
            world.hand_over(&packet);
        }
        Move::Fire(n, timer) => {
            state.timers -= 1;
            world.with(*n, |k| k.handle_timer(*timer));
        }
        Move::Stored(n) => world.stored(*n),
        Move::Happen(at) => {
            let event = state.left.remove(*at);
            happen(world, case, event);
        }
    }
    world.told.clear();
    world.transitions.clear();
}

fn happen(world: &mut World, case: &Case, event: Event) {
    match event {
        Event::Ask(n) => {
            let _ = world.with(n, |k| k.submit(RequestKind::Reorder(SiteId(99))));
        }
        Event::Reorder(n, to) => {
            let _ = world.with(n, |k| k.submit(RequestKind::Reorder(SiteId(to))));
        }
        Event::Fail(n, gone) => world.fail(n, gone),
        Event::Leave(n) => world.with(n, |k| k.leave()),
        Event::Crash(n, done) => world.crash(n, done),
        Event::Restart(n) => {
            world.start(n);
            world.with(n, |k| k.search(&[], 0));
        }
        Event::RestartFromCopy(n) => {
            let copy = begin(case, wire::Bugs::NONE).nodes[&n].disk.clone();
            let node = world.node_mut(n);
            node.disk = copy;
            node.incarnation = 3; // below the life that the others have seen
            world.start(n);
            world.with(n, |k| k.search(&[], 0));
        }
        Event::Join(n) => world.start(n),
        Event::Search(n) => world.with(n, |k| k.search(&[], 0)),
    }
}

/// All that matters for what may still happen, in 64 bits; packets under way have no order.
fn fingerprint(before: &State, after: &mut State) -> u64 {
    for (n, node) in &after.world.nodes {
        let same = before.world.nodes.get(n).is_some_and(|old| Arc::ptr_eq(old, node));
        if !same {
            after.hashes.insert(*n, hash_of(&**node));
        }
    }
    let packets = after.world.net.iter().map(|p| p.hash).fold(0u64, u64::wrapping_add);
    hash_of(&(&after.hashes, packets, &after.world.oracle, &after.left, after.timers, after.doubled))
}

fn describe(state: &State, next: &Move) -> String {
    let packet = |at: usize| {
        let p = &state.world.net[at];
        format!("{} from {} to {}", p.message.body.name(), p.from, p.to)
    };
    match next {
        Move::Deliver(at) => packet(*at),
        Move::Double(at) => format!("{}, doubled", packet(*at)),
        Move::Fire(n, timer) => format!("{timer:?} at {n}"),
        Move::Stored(n) => format!("write done at {n}"),
        Move::Happen(at) => format!("{:?}", state.left[*at]),
    }
}
