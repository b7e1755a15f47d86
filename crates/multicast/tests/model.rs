//! The production endpoint, explored exhaustively: three sites, two messages, a cascade of views, and every
//! interleaving of the arrivals of frames and views, with every loss that a crash can cause.

mod common;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use common::{Cluster, Name, Told, check};
use multicast::{Extent, Order, Transition};
use wire::{Bug, Bugs, Incarnation, SiteId, SiteIncarnation, ViewId};

/// More than the largest exploration; a scenario that meets it fails.
const STATES_MAX: usize = 2_000_000;

/// The kind of the frame that says that a view is installed.
const INSTALLED: u8 = 5;

fn life(site: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
}

#[derive(Clone, Copy)]
enum Action {
    Arrive((SiteIncarnation, SiteIncarnation)),
    View(SiteIncarnation),
    /// The site stops; of its last frames so many reach each of the others.
    Crash(SiteIncarnation, usize, usize),
}

/// Three sites in one view, nothing under way.
fn three(bugs: Bugs) -> Cluster {
    let mut cluster = Cluster::new(0, bugs);
    cluster.members_per_site = 1;
    (1..=3).for_each(|site| cluster.start(site));
    cluster.decide(0, 0);
    cluster.config.bugs = bugs;
    for site in 1..=3 {
        cluster.view(life(site));
        cluster.poll(life(site));
    }
    while let Some(link) = cluster.ready_links().first().copied() {
        cluster.arrive(link);
        cluster.poll(link.1);
    }
    cluster
}

fn send(cluster: &mut Cluster, site: u32, order: Order, safe: bool) {
    cluster.cast_this(life(site), 1, order, safe, site as usize, order == Order::Gbcast).expect("room");
    cluster.poll(life(site));
}

/// Queues a view of these sites at each of them.
fn view(cluster: &mut Cluster, sites: &[u32]) {
    let lives: Vec<SiteIncarnation> = sites.iter().map(|site| life(*site)).collect();
    let view = cluster.next_view(&lives);
    for life in lives {
        cluster.lives.get_mut(&life).expect("a known life").views.push_back(view.clone());
    }
}

/// 128 bits of a state (FNV-1a by words): wide enough that two states do not meet by chance.
struct Digest(u128);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ u128::from(word)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        self.0 ^= self.0 >> 61;
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

fn digest(cluster: &Cluster) -> u128 {
    let mut hasher = Digest(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    for (name, life) in &cluster.lives {
        (name, &life.endpoint, life.views.len(), life.alive).hash(&mut hasher);
        for told in &life.told {
            match told {
                Told::View { view, transitional } => (view.id, transitional).hash(&mut hasher),
                Told::Deliver(delivery) => delivery.hash(&mut hasher),
                Told::Signal => 1.hash(&mut hasher),
                Told::Stable(number) => number.hash(&mut hasher),
            }
        }
    }
    cluster.links.iter().filter(|(_, frames)| !frames.is_empty()).for_each(|link| link.hash(&mut hasher));
    hasher.0
}

fn actions(cluster: &Cluster, crash: Option<u32>) -> Vec<Action> {
    let links = cluster.ready_links();
    // "Installed" only frees memory at its receiver: it arrives at once.
    if let Some(link) = links.iter().find(|link| cluster.links[link][0][1] == INSTALLED) {
        return vec![Action::Arrive(*link)];
    }
    let mut actions: Vec<Action> = links.into_iter().map(Action::Arrive).collect();
    let alive = cluster.alive();
    let waiting = alive.iter().filter(|life| !cluster.lives[life].views.is_empty());
    actions.extend(waiting.map(|life| Action::View(*life)));
    if let Some(dead) = crash.map(life).filter(|dead| cluster.lives[dead].alive) {
        let in_flight = |to: u32| cluster.links.get(&(dead, life(to))).map_or(0, |frames| frames.len());
        let others: Vec<u32> = (1..=3).filter(|site| life(*site) != dead).collect();
        for first in 0..=in_flight(others[0]) {
            actions.extend((0..=in_flight(others[1])).map(|second| Action::Crash(dead, first, second)));
        }
    }
    actions
}

fn apply(cluster: &mut Cluster, action: Action) {
    match action {
        Action::Arrive(link) => {
            cluster.arrive(link);
            cluster.poll(link.1);
        }
        Action::View(life) => {
            cluster.view(life);
            cluster.poll(life);
        }
        Action::Crash(dead, first, second) => {
            cluster.lives.get_mut(&dead).expect("a known life").alive = false;
            let links = cluster.links.iter_mut().filter(|((from, _), _)| *from == dead);
            for ((_, frames), kept) in links.zip([first, second]) {
                frames.truncate(kept);
            }
        }
    }
}

/// What a site knew at the start: the messages that it had cast or been delivered.
struct Known {
    at: SiteIncarnation,
    extent: Extent,
    view: ViewId,
    messages: Vec<Name>,
}

fn delivered_at(cluster: &Cluster, life: SiteIncarnation) -> impl Iterator<Item = Name> + '_ {
    cluster.lives[&life].told.iter().filter_map(|told| match told {
        Told::Deliver(delivery) => Some(check::name(delivery)),
        Told::View { .. } | Told::Signal | Told::Stable(_) => None,
    })
}

fn known(cluster: &Cluster) -> Vec<Known> {
    let at = |life: SiteIncarnation| {
        let endpoint = &cluster.lives[&life].endpoint;
        let cast = cluster.sent.keys().filter(move |(caster, _)| *caster == life).copied();
        let messages = delivered_at(cluster, life).chain(cast).collect();
        let view = endpoint.view()?.id;
        Some(Known { at: life, extent: endpoint.extent()?, view, messages })
    };
    cluster.alive().into_iter().filter_map(at).collect()
}

/// Somebody who is said to have all that was known, lacks some of it, and may still be delivered it.
fn told_too_early(cluster: &Cluster, known: &Known) -> Option<String> {
    let endpoint = &cluster.lives[&known.at].endpoint;
    if !cluster.lives[&known.at].alive || !endpoint.is_everywhere(&mut known.extent.clone()) {
        return None;
    }
    let listed = &endpoint.view()?.members;
    let late = listed.iter().map(|member| member.id.process.birth).find(|other| {
        let life = &cluster.lives[other];
        let still_there = life.alive && life.endpoint.view().is_some_and(|view| view.id == known.view);
        still_there
            && known.messages.iter().any(|name| !delivered_at(cluster, *other).any(|had| had == *name))
    })?;
    Some(format!("what {} knew is said to be everywhere, and {late} lacks some of it", known.at))
}

/// Explores all interleavings to ends where all `meet` in one view, or not; yields the states, the ends and what was violated first.
fn explore(start: Cluster, crash: Option<u32>, meets: bool) -> (usize, usize, Option<String>) {
    let mut seen = BTreeSet::from([digest(&start)]);
    let known = known(&start);
    let mut stack = vec![start];
    let mut ends = 0;
    while let Some(cluster) = stack.pop() {
        if let Some(early) = known.iter().find_map(|known| told_too_early(&cluster, known)) {
            return (seen.len(), ends, Some(early));
        }
        let actions = actions(&cluster, crash);
        if actions.is_empty() {
            ends += 1;
            let found = if meets { check::violations(&cluster) } else { check::safety(&cluster) };
            if let Some(first) = found.into_iter().next() {
                return (seen.len(), ends, Some(first));
            }
        }
        for action in actions {
            let mut next = cluster.clone();
            apply(&mut next, action);
            if seen.insert(digest(&next)) {
                stack.push(next);
            }
        }
        assert!(seen.len() < STATES_MAX, "the exploration is larger than its bound");
    }
    (seen.len(), ends, None)
}

/// A chain of causes: site 2 answers what it has from site 3, while site 1 has neither.
fn chain(bugs: Bugs) -> Cluster {
    let mut cluster = three(bugs);
    send(&mut cluster, 3, Order::Cbcast, false);
    cluster.arrive((life(3), life(2)));
    cluster.poll(life(2));
    send(&mut cluster, 2, Order::Cbcast, false);
    cluster
}

fn holds(name: &str, start: Cluster, crash: Option<u32>, meets: bool) {
    let (states, ends, violated) = explore(start, crash, meets);
    println!("{name}: {states} states, {ends} ends");
    assert_eq!(violated, None, "{name}");
}

#[test]
fn a_cascade_without_a_crash_keeps_every_property() {
    let mut cluster = three(Bugs::NONE);
    send(&mut cluster, 3, Order::Abcast, false);
    view(&mut cluster, &[1, 2, 3]);
    view(&mut cluster, &[1, 2, 3]);
    holds("an abcast, two views", cluster, None, true);
}

#[test]
fn a_crash_in_a_cascade_keeps_causes_with_their_effects() {
    let mut cluster = chain(Bugs::NONE);
    view(&mut cluster, &[1, 2, 3]);
    view(&mut cluster, &[1, 2]);
    holds("a causal chain, its beginner crashes", cluster, Some(3), true);
}

#[test]
fn a_sequencer_that_crashes_leaves_one_order() {
    let mut cluster = three(Bugs::NONE);
    send(&mut cluster, 3, Order::Abcast, false);
    send(&mut cluster, 2, Order::Abcast, false);
    view(&mut cluster, &[2, 3]);
    holds("two abcasts, the sequencer crashes", cluster, Some(1), true);
}

#[test]
fn sides_that_part_and_meet_again_agree_on_who_moved_together() {
    let mut cluster = chain(Bugs::NONE);
    view(&mut cluster, &[1, 2]);
    view(&mut cluster, &[3]);
    view(&mut cluster, &[1, 2, 3]);
    holds("a causal chain, a partition and a merge", cluster, None, true);
}

/// A safe message of a site from which the two others are about to part.
fn safe_and_parting(bugs: Bugs) -> Cluster {
    let mut cluster = three(bugs);
    send(&mut cluster, 2, Order::Fbcast, true);
    view(&mut cluster, &[1, 3]);
    view(&mut cluster, &[2]);
    cluster
}

#[test]
fn a_safe_message_is_indicated_only_if_all_will_deliver_it() {
    holds("a safe fbcast and a partition", safe_and_parting(Bugs::NONE), None, false);
    let mut cluster = three(Bugs::NONE);
    send(&mut cluster, 2, Order::Abcast, true);
    view(&mut cluster, &[1, 2]);
    view(&mut cluster, &[3]);
    holds("a safe abcast and a partition", cluster, None, false);
}

#[test]
fn a_gbcast_is_last_in_its_view_for_all_who_move_together() {
    let mut cluster = three(Bugs::NONE);
    send(&mut cluster, 3, Order::Abcast, false);
    send(&mut cluster, 2, Order::Gbcast, false);
    view(&mut cluster, &[1, 2]);
    holds("a gbcast, an abcast and a crash", cluster, Some(3), true);
}

#[test]
fn mixed_orders_keep_one_sequence_through_a_crash() {
    let mut cluster = three(Bugs::NONE);
    send(&mut cluster, 3, Order::Abcast, false);
    cluster.arrive((life(3), life(2)));
    cluster.poll(life(2));
    send(&mut cluster, 2, Order::Fbcast, false);
    send(&mut cluster, 2, Order::Cbcast, true);
    view(&mut cluster, &[1, 2]);
    holds("abcast, fbcast and safe cbcast, a crash", cluster, Some(3), true);
}

#[test]
fn exploration_finds_an_acknowledgement_after_the_flush() {
    let cluster = safe_and_parting(Bugs::only(Bug::AckAfterFlush));
    let (states, _, violated) = explore(cluster, None, false);
    println!("found after {states} states: {violated:?}");
    assert!(violated.is_some());
}

#[test]
fn exploration_reaches_a_fetch_and_a_cascade() {
    let mut cluster = chain(Bugs::NONE);
    view(&mut cluster, &[1, 2, 3]);
    view(&mut cluster, &[1, 2]);
    // One path suffices: the effect arrives before its cause, whose beginner crashes.
    apply(&mut cluster, Action::Crash(life(3), 0, 0));
    for site in [1, 2, 1, 2] {
        apply(&mut cluster, Action::View(life(site)));
    }
    while let Some(link) = cluster.ready_links().first().copied() {
        apply(&mut cluster, Action::Arrive(link));
    }
    assert!(cluster.seen.contains(&Transition::Fetch) && cluster.seen.contains(&Transition::Cascade));
    let delivered = |told: &Told| matches!(told, Told::Deliver(_));
    assert_eq!(cluster.lives[&life(1)].told.iter().filter(|told| delivered(told)).count(), 2);
}
