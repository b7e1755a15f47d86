//! Global order of gbcast [Birman & Joseph 1987, GBCAST]: it is ordered with respect to every other message. Of
//! those who go together, each was delivered the same messages before it.

use std::collections::{BTreeMap, BTreeSet};

use super::Breach;
use crate::history::{CastRecord, History, Message, Onward, Stay};
use crate::host::Order;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut first: BTreeMap<_, (BTreeSet<Message>, wire::MemberId)> = BTreeMap::new();
    for (member, n, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        let onward @ Onward::To(_) = member.onward(n) else { continue };
        for (place, delivery) in stay.deliveries.iter().enumerate() {
            let Some((message, cast)) = history.cast_of(delivery) else { continue };
            if cast.order != Order::Gbcast {
                continue;
            }
            let before = before(history, stay, place);
            let (expected, other) = first
                .entry((stay.view.group, stay.view.id, onward, message))
                .or_insert_with(|| (before.clone(), member.id));
            if *expected != before {
                let how = format!(
                    "gbcast {message} came after {before:?} at {}, after {expected:?} at {other}",
                    member.id
                );
                return Err(Breach::at(delivery.at, how));
            }
        }
    }
    Ok(())
}

/// What came before in the same view, of what was for everybody.
fn before(history: &History, stay: &Stay, place: usize) -> BTreeSet<Message> {
    let for_all = |cast: &CastRecord| cast.only.is_empty() && !cast.exclude_self;
    let earlier = stay.deliveries[..place].iter().filter_map(|d| history.cast_of(d));
    earlier.filter(|(_, cast)| for_all(cast)).map(|(message, _)| message).collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    #[test]
    fn a_gbcast_parts_the_messages_alike_everywhere() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).cast(2, 1, Order::Gbcast).delivers(1, &[0, 1]);
        script.clone_with(|s| s.delivers(2, &[0, 1]).view(2, &[1, 2])).kept(check);
        script.clone_with(|s| s.delivers(2, &[1, 0]).view(2, &[1, 2])).broken(check);
    }
}
