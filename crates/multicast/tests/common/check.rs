//! The properties of [Chockler, Keidar & Vitenberg 01], checked on the logs of a run that has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use multicast::{Delivery, Order};
use wire::{SiteIncarnation, ViewId};

use super::{Cluster, Name, Told};

/// What one life was told in one view.
#[derive(Default)]
struct Stay<'a> {
    deliveries: Vec<&'a Delivery>,
    /// How many of them came before the transitional signal.
    before_signal: usize,
    /// The view that followed, and the sites of its transitional set.
    next: Option<(ViewId, BTreeSet<SiteIncarnation>)>,
    members: BTreeSet<SiteIncarnation>,
}

type Stays<'a> = BTreeMap<(SiteIncarnation, ViewId), Stay<'a>>;

/// All violations of a run that has come to rest, in words.
pub fn violations(cluster: &Cluster) -> Vec<String> {
    let mut found = safety(cluster);
    found.extend(convergence(cluster));
    found
}

/// The violations that need no rest.
pub fn safety(cluster: &Cluster) -> Vec<String> {
    let mut found = cluster.trouble.clone();
    let mut stays: Stays<'_> = BTreeMap::new();
    for (life, at) in &cluster.lives {
        found.extend(local(cluster, *life, &at.told));
        collect(*life, &at.told, &mut stays);
    }
    found.extend(virtual_synchrony(&stays));
    found.extend(safe_prefix(cluster, &stays));
    found
}

fn collect<'a>(life: SiteIncarnation, told: &'a [Told], stays: &mut Stays<'a>) {
    let mut current: Option<(ViewId, Stay<'a>)> = None;
    for item in told {
        match item {
            Told::View { view, transitional } => {
                if let Some((id, mut stay)) = current.take() {
                    let moving = transitional.iter().map(|member| member.process.birth).collect();
                    stay.next = Some((view.id, moving));
                    stays.insert((life, id), stay);
                }
                let members = view.members.iter().map(|member| member.id.process.birth).collect();
                current = Some((view.id, Stay { members, before_signal: usize::MAX, ..Stay::default() }));
            }
            Told::Deliver(delivery) => {
                if let Some((_, stay)) = &mut current {
                    stay.deliveries.push(delivery);
                }
            }
            Told::Signal => {
                if let Some((_, stay)) = &mut current {
                    stay.before_signal = stay.deliveries.len();
                }
            }
            Told::Stable(_) => {}
        }
    }
    if let Some((id, stay)) = current {
        stays.insert((life, id), stay);
    }
}

pub fn name(delivery: &Delivery) -> Name {
    (delivery.sender.process.birth, delivery.number.0)
}

/// Self Inclusion, Local Monotonicity, Delivery Integrity, No Duplication, Sending View Delivery, FIFO and
/// Causal Delivery, and gbcasts last.
fn local(cluster: &Cluster, life: SiteIncarnation, told: &[Told]) -> Vec<String> {
    let mut found = Vec::new();
    let mut view: Option<ViewId> = None;
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    let mut in_view: BTreeSet<Name> = BTreeSet::new();
    let mut last: BTreeMap<SiteIncarnation, u64> = BTreeMap::new();
    let mut gbcast_seen = false;
    for item in told {
        match item {
            Told::View { view: next, .. } => {
                if view.is_some_and(|before| before >= next.id) {
                    found.push(format!("{life}: view {} after {view:?}", next.id));
                }
                if !next.members.iter().any(|member| member.id.process.birth == life) {
                    found.push(format!("{life}: view {} does not list it", next.id));
                }
                view = Some(next.id);
                in_view.clear();
                last.clear();
                gbcast_seen = false;
            }
            Told::Deliver(delivery) => {
                let id = name(delivery);
                let Some(sent) = cluster.sent.get(&id) else {
                    found.push(format!("{life}: {id:?} was never cast"));
                    continue;
                };
                if sent.payload != delivery.payload
                    || sent.order != delivery.order
                    || sent.safe != delivery.safe
                {
                    found.push(format!("{life}: {id:?} was changed on its way"));
                }
                if !seen.insert(id) {
                    found.push(format!("{life}: {id:?} is delivered twice"));
                }
                if Some(sent.view) != view || delivery.view != sent.view {
                    found.push(format!("{life}: {id:?} of {} is delivered in {view:?}", sent.view));
                }
                if gbcast_seen && delivery.order != Order::Gbcast {
                    found.push(format!("{life}: {id:?} follows a gbcast in its view"));
                }
                gbcast_seen |= delivery.order == Order::Gbcast;
                if delivery.order != Order::Mbcast && delivery.order != Order::Gbcast {
                    let small = delivery.payload.len() < 32_768;
                    if small && last.get(&id.0).is_some_and(|number| *number > id.1) {
                        found.push(format!("{life}: {id:?} comes after a later one of its site"));
                    }
                    let entry = last.entry(id.0).or_default();
                    *entry = (*entry).max(id.1);
                }
                if delivery.order == Order::Cbcast {
                    for before in causes(cluster, id) {
                        if !in_view.contains(&before) {
                            found.push(format!("{life}: {id:?} before its cause {before:?}"));
                        }
                    }
                }
                in_view.insert(id);
            }
            Told::Signal | Told::Stable(_) => {}
        }
    }
    found
}

/// What its caster had been told in its view when it cast the message; mbcasts have no causal order.
fn causes(cluster: &Cluster, id: Name) -> Vec<Name> {
    let log = &cluster.lives[&id.0].told[..cluster.sent[&id].after];
    let in_view = log.iter().rev().take_while(|item| !matches!(item, Told::View { .. }));
    let ordered = in_view.filter_map(|item| match item {
        Told::Deliver(delivery) if delivery.order != Order::Mbcast => Some(name(delivery)),
        Told::Deliver(_) | Told::View { .. } | Told::Signal | Told::Stable(_) => None,
    });
    ordered.collect()
}

fn total(stay: &Stay<'_>) -> Vec<Name> {
    let is_total = |d: &&&Delivery| d.order == Order::Abcast || d.order == Order::Gbcast;
    stay.deliveries.iter().filter(is_total).map(|d| name(d)).collect()
}

/// Virtual Synchrony, Transitional Set, and Weak Total Order, for every two that move together.
fn virtual_synchrony(stays: &Stays<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for ((p, v), mine) in stays {
        let Some((x, together)) = &mine.next else { continue };
        if !together.contains(p) {
            found.push(format!("{p}: its transitional set for {x} is without itself"));
        }
        for ((q, _), theirs) in stays.iter().filter(|((q, w), _)| w == v && q > p) {
            let Some((y, _)) = &theirs.next else { continue };
            if x != y {
                continue;
            }
            if !together.contains(q) {
                found.push(format!("{p}: {q} moves from {v} to {x} too, but is not in the transitional set"));
                continue;
            }
            let set = |stay: &Stay<'_>| stay.deliveries.iter().map(|d| name(d)).collect::<BTreeSet<Name>>();
            if set(mine) != set(theirs) {
                let odd: Vec<Name> = set(mine).symmetric_difference(&set(theirs)).copied().collect();
                found.push(format!("{p} and {q} move from {v} to {x} but differ in {odd:?}"));
            } else if total(mine) != total(theirs) {
                found.push(format!("{p} and {q} move from {v} to {x} with two total orders"));
            }
        }
        for q in together {
            let elsewhere = |((r, _), stay): &(&(SiteIncarnation, ViewId), &Stay<'_>)| {
                r == q && stay.next.as_ref().is_some_and(|(y, _)| y == x)
            };
            if stays.iter().find(elsewhere).is_some_and(|((_, w), _)| w != v) {
                found.push(format!("{p}: {q} is in the transitional set for {x} but came from another view"));
            }
        }
    }
    found
}

/// Safe Indication Prefix, and Strong Total Order up to what was delivered safe before the signal.
fn safe_prefix(cluster: &Cluster, stays: &Stays<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for ((p, v), mine) in stays {
        let before = mine.deliveries.len().min(mine.before_signal);
        let early = &mine.deliveries[..before];
        for (q, theirs) in mine.members.iter().filter_map(|q| Some((q, stays.get(&(*q, *v))?))) {
            let went_on = theirs.next.is_some() || cluster.lives[q].alive;
            if !went_on || q == p {
                continue;
            }
            let theirs_set: BTreeSet<Name> = theirs.deliveries.iter().map(|d| name(d)).collect();
            for delivery in early.iter().filter(|d| d.safe) {
                if !theirs_set.contains(&name(delivery)) {
                    found.push(format!("{q} went on from {v} without {:?}, safe at {p}", name(delivery)));
                }
            }
            let Some(last) = early.iter().rposition(|d| d.safe && d.order == Order::Abcast) else { continue };
            let abcasts = |d: &&&Delivery| d.order == Order::Abcast;
            let order: Vec<Name> = early[..=last].iter().filter(abcasts).map(|d| name(d)).collect();
            if total(theirs).get(..order.len()) != Some(&order[..]) {
                found.push(format!("{q} has another order in {v} than what {p} was told is safe"));
            }
        }
        let not_there = mine.members.iter().filter(|q| !stays.contains_key(&(**q, *v)));
        for q in not_there.filter(|q| cluster.lives[q].alive) {
            if early.iter().any(|d| d.safe) {
                found.push(format!("{q} never installed {v}, in which {p} delivered a safe message"));
            }
        }
    }
    found
}

/// Membership Precision, Self Delivery, Multicast Liveness and Stable, once all has come to rest.
fn convergence(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let mut last = BTreeSet::new();
    for life in cluster.alive() {
        let at = &cluster.lives[&life];
        if at.endpoint.is_blocked() {
            found.push(format!("{life} is still blocked"));
        }
        last.insert(at.endpoint.view().map(|view| view.id));
        let own: BTreeSet<Name> = at
            .told
            .iter()
            .filter_map(|item| match item {
                Told::Deliver(delivery) => Some(name(delivery)),
                Told::View { .. } | Told::Signal | Told::Stable(_) => None,
            })
            .collect();
        for id in cluster.sent.keys().filter(|(caster, _)| *caster == life) {
            if !own.contains(id) {
                found.push(format!("{life} never delivers its own {id:?}"));
            }
        }
        let newest = cluster.sent.keys().filter(|(caster, _)| *caster == life).map(|(_, n)| *n).max();
        let stable = at.told.iter().filter_map(|item| match item {
            Told::Stable(number) => Some(*number),
            Told::Deliver(_) | Told::View { .. } | Told::Signal => None,
        });
        if newest != stable.max() {
            found.push(format!("{life}: {newest:?} were cast and not all are stable"));
        }
    }
    if last.len() > 1 {
        found.push(format!("no agreement on the last view: {last:?}"));
    }
    found
}
