//! Causal Delivery and Reliable Causal [CKV 4.3.2]: a cbcast's causes are what its caster had cast or been
//! delivered before, mbcasts and gbcasts apart, and a large message of its own only when it is delivered. Nobody is delivered a cbcast before a cause of it; across groups
//! that share processes this is promised of causes that are cbcasts too. And within a view nobody is delivered a
//! cbcast whose cause, cast in the same view and for it, it lacks.

use std::collections::BTreeMap;

use wire::{GroupName, MemberId, ProcessId, ViewId};

use super::Breach;
use crate::history::{History, Message, Stay, What, is_synchronous};
use crate::host::Order;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut causality = Causality::new(history);
    for (at, observation) in history.observations.iter().enumerate() {
        match &observation.what {
            What::View { member, view, .. } if is_synchronous(view) => {
                causality.current.insert(*member, view.id);
            }
            What::Cast { message, member, order, large, .. } if member.join != 0 && in_order(*order) => {
                causality.cast(*message, *member, *large);
            }
            What::Deliver { member, message: Some(message), .. } => {
                causality.deliver(*message, *member).map_err(|how| Breach::at(at, how))?;
            }
            What::View { .. }
            | What::Cast { .. }
            | What::Deliver { .. }
            | What::Died(_)
            | What::Core { .. }
            | What::Left(_)
            | What::Waiting(..)
            | What::Signal(_)
            | What::Replied(..)
            | What::Flushed(_)
            | What::NotSent(_)
            | What::Accurate { .. }
            | What::Healed => {}
        }
    }
    Ok(())
}

fn in_order(order: Order) -> bool {
    matches!(order, Order::Fbcast | Order::Cbcast | Order::Abcast)
}

/// A set of messages.
#[derive(Clone)]
struct Set(Vec<u64>);

impl Set {
    fn insert(&mut self, m: Message) {
        self.0[m / 64] |= 1 << (m % 64);
    }
    fn has(&self, m: Message) -> bool {
        self.0[m / 64] & (1 << (m % 64)) != 0
    }
    /// Adds what is in both of the others.
    fn add_common(&mut self, one: &Set, other: &Set) {
        let common = one.0.iter().zip(&other.0).map(|(a, b)| a & b);
        self.0.iter_mut().zip(common).for_each(|(a, b)| *a |= b);
    }
    fn minus(&self, other: &Set) -> impl Iterator<Item = Message> {
        let words = self.0.iter().zip(&other.0).enumerate();
        words.flat_map(|(n, (a, b))| {
            (0..64).filter(move |bit| a & !b & (1 << bit) != 0).map(move |bit| n * 64 + bit)
        })
    }
}

struct Causality<'a> {
    history: &'a History,
    empty: Set,
    current: BTreeMap<MemberId, ViewId>,
    /// The causes of each cbcast, causes of causes included.
    causes: BTreeMap<Message, Set>,
    /// What each process cast or was delivered, with the causes of it.
    past: BTreeMap<ProcessId, Set>,
    /// By group: what may be passed on as a cause by a cbcast of that group.
    passed_on: BTreeMap<&'a GroupName, Set>,
    /// What each member was delivered.
    delivered: BTreeMap<MemberId, Set>,
    /// The cbcasts that each process was delivered, in any group.
    effects: BTreeMap<ProcessId, Vec<Message>>,
}

impl<'a> Causality<'a> {
    fn new(history: &'a History) -> Causality<'a> {
        let empty = Set(vec![0; history.casts.len().div_ceil(64)]);
        let mut passed_on: BTreeMap<&GroupName, Set> = BTreeMap::new();
        let casts = || history.casts.iter().enumerate().filter_map(|(m, cast)| Some((m, cast.as_ref()?)));
        for (_, cast) in casts() {
            passed_on.entry(&cast.group).or_insert_with(|| empty.clone());
        }
        for (group, set) in &mut passed_on {
            for (message, _) in casts().filter(|(_, c)| c.order == Order::Cbcast || c.group == **group) {
                set.insert(message);
            }
        }
        Causality {
            history,
            passed_on,
            empty,
            current: BTreeMap::new(),
            causes: BTreeMap::new(),
            past: BTreeMap::new(),
            delivered: BTreeMap::new(),
            effects: BTreeMap::new(),
        }
    }

    fn cast(&mut self, message: Message, member: MemberId, large: bool) {
        let past = self.past.entry(member.process).or_insert_with(|| self.empty.clone());
        if self.history.cast(message).is_some_and(|cast| cast.order == Order::Cbcast) {
            self.causes.insert(message, past.clone());
        }
        if !large {
            past.insert(message);
        }
    }

    fn deliver(&mut self, message: Message, member: MemberId) -> Result<(), String> {
        let history = self.history;
        let Some(cast) = history.cast(message).filter(|cast| in_order(cast.order)) else { return Ok(()) };
        let process = member.process;
        let delivered = self.delivered.entry(member).or_insert_with(|| self.empty.clone());
        let effects = self.effects.entry(process).or_default();
        if let Some(causes) = self.causes.get(&message) {
            let view = self.current.get(&member);
            let lacks = |cause: &Message| {
                history.cast(*cause).is_some_and(|earlier| {
                    let here = earlier.view.is_some() && earlier.view.as_ref() == view;
                    here && earlier.group == cast.group && earlier.is_for(member)
                })
            };
            if let Some(cause) = causes.minus(delivered).find(lacks) {
                return Err(format!(
                    "{member} was delivered message {message} without {cause}, which caused it"
                ));
            }
            effects.push(message);
        }
        if cast.order == Order::Cbcast && cast.member.process != process {
            let late = |effect: &&Message| self.causes.get(effect).is_some_and(|causes| causes.has(message));
            if let Some(effect) = effects.iter().find(late).filter(|_| !parted(history, message, member)) {
                return Err(format!(
                    "{member} was delivered message {message} after {effect}, which it caused"
                ));
            }
        }
        delivered.insert(message);
        let past = self.past.entry(process).or_insert_with(|| self.empty.clone());
        if let (Some(causes), Some(passed_on)) = (self.causes.get(&message), self.passed_on.get(&cast.group))
        {
            past.add_common(causes, passed_on);
        }
        past.insert(message);
        Ok(())
    }
}

/// Whether a partition has come between this member and another that was delivered the message with it: neither can
/// know what the other was delivered of the view that they left apart.
fn parted(history: &History, message: Message, member: MemberId) -> bool {
    let Some(view) = history.cast(message).and_then(|cast| cast.view) else { return false };
    history.members.values().any(|other| {
        let knows = |stay: &Stay| stay.casts.contains(&message) || stay.messages().any(|m| m == message);
        let at = other.stays.iter().position(|stay| stay.view.id == view && knows(stay));
        let next = at.and_then(|n| other.stays.get(n + 1).filter(|next| other.next(n) == Some(next.view.id)));
        next.is_some_and(|next| !next.lists(member))
    })
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    fn cause_and_effect() -> Script {
        let mut script = Script::new();
        script.view(1, &[1, 2, 3]).cast(1, 0, Order::Cbcast).delivers(2, &[0]).cast(2, 1, Order::Cbcast);
        script
    }

    #[test]
    fn causes_come_first() {
        cause_and_effect().delivers(3, &[0, 1]).kept(check);
        cause_and_effect().delivers(3, &[1, 0]).broken(check);
        cause_and_effect().delivers(3, &[1]).broken(check);
    }

    #[test]
    fn a_cause_of_a_cause_counts() {
        let mut script = cause_and_effect();
        script.view(2, &[1, 2, 3]);
        let mut chain = Script::new();
        chain.view(1, &[1, 2, 3, 4]).cast(1, 0, Order::Cbcast).delivers(2, &[0]).cast(2, 1, Order::Cbcast);
        chain.delivers(3, &[0, 1]).cast(3, 2, Order::Cbcast).delivers(4, &[0]);
        chain.kept(check);
        chain.delivers(4, &[2]).broken(check);
    }
}
