//! Bytes from other sites never panic, and what is refused changes nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable::{Configuration, Durable, Life, Recovery, Settings, StoreOp, View};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Incarnation, SiteId, SiteIncarnation, StoreId, Time, ViewId};

fn machine(site: u32) -> Durable {
    let stores = (1..=3).map(|n| (StoreId(n), SiteId(n as u32)));
    let life = Life { incarnation: Incarnation(1), nonce: site.into() };
    let recovery = Recovery::new(Settings::default(), None, None);
    let founders = Some(Configuration::majority(stores));
    recovery.start(SiteId(site), StoreId(site.into()), life, founders).expect("a new disk")
}

fn view() -> View {
    let coordinator = SiteIncarnation { site: SiteId(1), incarnation: Incarnation(1) };
    let id = ViewId { epoch: 1, attempt: 0, coordinator };
    View { id, primary: true, sites: vec![SiteId(1), SiteId(2), SiteId(3)] }
}

fn stored(machine: &mut Durable) {
    while let Some(op) = machine.poll_store() {
        if !matches!(op, StoreOp::Read { .. }) {
            machine.handle_stored(Time::ZERO, op.token());
        }
    }
}

type Sent = Vec<(SiteId, Bytes)>;

/// A machine of three in one active view, and the casts and messages of all.
fn honest() -> (Durable, Sent, Sent) {
    let mut machines: BTreeMap<SiteId, Durable> = (1..=3).map(|n| (SiteId(n), machine(n))).collect();
    let (mut casts, mut messages) = (Vec::new(), Vec::new());
    for machine in machines.values_mut() {
        machine.handle_view(Time::ZERO, view());
        stored(machine);
    }
    for round in 0..4 {
        let mut new = Vec::new();
        for (site, machine) in &mut machines {
            while let Some(cast) = machine.poll_cast() {
                new.push((*site, cast));
            }
        }
        for (from, cast) in &new {
            for machine in machines.values_mut() {
                machine.handle_delivery(Time::ZERO, *from, cast.clone()).expect("honest");
                stored(machine);
            }
        }
        casts.extend(new);
        if round == 1 {
            let _read = machines.get_mut(&SiteId(1)).expect("the first").read(Time::ZERO).expect("active");
        }
        for (site, machine) in &mut machines {
            while let Some(transmit) = machine.poll_transmit() {
                messages.push((*site, transmit.message));
            }
        }
    }
    let first = machines.remove(&SiteId(1)).expect("the first");
    (first, casts, messages)
}

#[test]
fn damaged_casts_and_messages_are_refused_or_harmless() {
    let (machine, casts, messages) = honest();
    assert!(casts.len() >= 3 && messages.len() >= 4, "{} {}", casts.len(), messages.len());
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    for round in 0..20_000 {
        let from = if round % 2 == 0 { &casts } else { &messages };
        let (site, bytes) = &from[dice.next_u64() as usize % from.len()];
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + dice.next_u64() % 3 {
            let at = dice.next_u64() as usize % bytes.len();
            bytes[at] = dice.next_u64() as u8;
        }
        bytes.truncate(1 + dice.next_u64() as usize % (2 * bytes.len()));
        let mut fresh = machine.clone();
        let before = fresh.clone();
        let refused = match round % 2 {
            0 => fresh.handle_delivery(Time::ZERO, *site, bytes.into()).is_err(),
            _ => fresh.handle_message(Time::ZERO, *site, &bytes).is_err(),
        };
        if refused {
            assert_eq!(fresh, before);
        }
        while fresh.poll_store().is_some() || fresh.poll_transmit().is_some() || fresh.poll_event().is_some()
        {
        }
        while fresh.poll_cast().is_some() {}
    }
}

#[test]
fn what_comes_from_outside_the_view_is_not_heard() {
    let (mut machine, _, messages) = honest();
    let before = machine.clone();
    for (_, message) in messages {
        machine.handle_message(Time::ZERO, SiteId(9), &message).expect("well-formed");
    }
    assert_eq!(machine, before);
}
