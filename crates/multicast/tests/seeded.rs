//! Thousands of seeded runs: views that cascade, partition and merge, sites that crash in mid-flush and come
//! back, mixed orders, safe messages, gbcasts, large messages.

mod common;

use std::collections::BTreeSet;

use common::{Cluster, check};
use multicast::Transition;
use wire::Bugs;

const SEEDS: u64 = 3_000;
const STEPS: usize = 700;

#[test]
fn every_property_holds_under_seeded_faults() {
    let mut seen: BTreeSet<Transition> = BTreeSet::new();
    let (mut views, mut messages) = (0, 0);
    for seed in 0..SEEDS {
        let cluster = Cluster::run(seed, Bugs::NONE, STEPS);
        let found = check::violations(&cluster);
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
        seen.extend(&cluster.seen);
        messages += cluster.sent.len();
        views += cluster.lives.values().flat_map(|life| &life.told).filter(|t| is_view(t)).count();
    }
    println!("{SEEDS} seeds, {messages} messages cast, {views} views installed; reached {seen:?}");
    for transition in [
        Transition::FlushStart,
        Transition::Cascade,
        Transition::Fetch,
        Transition::Install,
        Transition::InstallAlone,
        Transition::SequencerChange,
        Transition::Fragment,
        Transition::WindowFull,
        Transition::SafeAfterSignal,
        Transition::UnorderedAtCut,
        Transition::Gbcast,
        Transition::EarlyFrame,
        Transition::LateFrame,
        Transition::FlushTimeout,
    ] {
        assert!(seen.contains(&transition), "no seed reached {transition:?}");
    }
}

fn is_view(told: &common::Told) -> bool {
    matches!(told, common::Told::View { .. })
}

#[test]
fn one_seed_makes_one_run() {
    for seed in [1, 17, 250] {
        let logs = |cluster: Cluster| cluster.lives.into_values().map(|life| life.told).collect::<Vec<_>>();
        let first = logs(Cluster::run(seed, Bugs::NONE, STEPS));
        assert!(first == logs(Cluster::run(seed, Bugs::NONE, STEPS)), "seed {seed}");
    }
}
