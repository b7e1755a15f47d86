//! FIFO Delivery and Reliable FIFO [CKV 4.3.1]: of what one member casts in one view, by fbcast or anything above
//! it, each receiver is delivered the earlier before the later, and never the later without the earlier. A
//! gbcast is delivered when the view ends, so gbcasts are in order among themselves. A large message has the place of
//! its last fragment: it passes nothing, and what is cast after it may pass it.

use std::collections::BTreeMap;

use super::Breach;
use crate::history::{History, Message};
use crate::host::Order;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let sent = sequences(history);
    for (member, _, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        let mut next: BTreeMap<_, usize> = BTreeMap::new();
        for delivery in &stay.deliveries {
            let Some((message, cast)) = history.cast_of(delivery) else { continue };
            let key = (cast.member, cast.view, cast.order == Order::Gbcast);
            if cast.order == Order::Mbcast {
                continue;
            }
            let Some(sequence) = sent.get(&key) else { continue };
            let place = next.entry(key).or_default();
            let waited_for =
                |m: &Message| history.cast(*m).is_some_and(|cast| cast.is_for(member.id) && !cast.large);
            let due = (*place..sequence.len()).find(|at| waited_for(&sequence[*at]));
            // Messages are numbered as they are cast.
            let passes_nothing = due.is_none_or(|due| sequence[due] > message);
            if cast.large && passes_nothing && sequence.contains(&message) {
                continue;
            }
            if due.is_none_or(|due| sequence[due] != message) {
                let how = format!(
                    "{} was delivered message {message} of {} out of turn, due was {:?}",
                    member.id,
                    cast.member,
                    due.map(|due| sequence[due])
                );
                return Err(Breach::at(delivery.at, how));
            }
            *place = due.map_or(*place, |due| due + 1);
        }
    }
    Ok(())
}

/// Member, view, and whether by gbcast.
type Key = (wire::MemberId, Option<wire::ViewId>, bool);

/// What each member cast in each view, of what keeps an order.
fn sequences(history: &History) -> BTreeMap<Key, Vec<Message>> {
    let mut sent: BTreeMap<Key, Vec<Message>> = BTreeMap::new();
    for (member, _, stay) in history.stays() {
        for &message in &stay.casts {
            let Some(cast) = history.cast(message).filter(|cast| cast.order != Order::Mbcast) else {
                continue;
            };
            sent.entry((member.id, cast.view, cast.order == Order::Gbcast)).or_default().push(message);
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    fn two(order: Order) -> Script {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, order).cast(1, 1, order);
        script
    }

    #[test]
    fn the_earlier_comes_first() {
        two(Order::Fbcast).delivers(2, &[0, 1]).kept(check);
        two(Order::Fbcast).delivers(2, &[1, 0]).broken(check);
        two(Order::Mbcast).delivers(2, &[1, 0]).kept(check);
    }

    #[test]
    fn a_large_message_may_be_passed_and_passes_nothing() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).cast_large(1, 1, Order::Fbcast).cast(
            1,
            2,
            Order::Fbcast,
        );
        script.clone_with(|s| s.delivers(2, &[0, 1, 2])).kept(check);
        script.clone_with(|s| s.delivers(2, &[0, 2, 1])).kept(check);
        script.clone_with(|s| s.delivers(2, &[0, 2])).kept(check);
        script.clone_with(|s| s.delivers(2, &[1, 0, 2])).broken(check);
        script.clone_with(|s| s.delivers(2, &[2, 0, 1])).broken(check);
    }

    #[test]
    fn a_gap_is_noticed() {
        two(Order::Abcast).delivers(2, &[0]).kept(check);
        two(Order::Abcast).delivers(2, &[1]).broken(check);
    }
}
