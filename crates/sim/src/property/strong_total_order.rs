//! Strong Total Order [CKV 4.3.3], of safe abcasts that somebody was delivered before the transitional signal:
//! there is one order for all, also for those who were cut off or died.

use std::collections::{BTreeMap, BTreeSet};

use super::{Breach, order};
use crate::history::{Delivery, History, Message};
use crate::host::Order;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut bound: BTreeSet<Message> = BTreeSet::new();
    for (_, _, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        let sure = stay.deliveries.iter().filter(|d| !d.after_signal && safe_abcast(history, d));
        bound.extend(sure.filter_map(|d| d.message));
    }
    let mut sequences: BTreeMap<_, Vec<Vec<Message>>> = BTreeMap::new();
    for (_, _, stay) in history.stays() {
        let sequence = stay.messages().filter(|m| bound.contains(m)).collect();
        sequences.entry((stay.view.group, stay.view.id)).or_default().push(sequence);
    }
    for ((_, view), sequences) in sequences {
        if let Some(message) = order::contradiction(sequences.iter().map(Vec::as_slice)) {
            let how = format!("safe message {message} of {view} was delivered in two orders");
            return Err(Breach { at: history.cast(message).map(|cast| cast.at), how });
        }
    }
    Ok(())
}

fn safe_abcast(history: &History, delivery: &Delivery) -> bool {
    history.cast_of(delivery).is_some_and(|(_, cast)| cast.safe && cast.order == Order::Abcast)
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    fn two() -> Script {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast_safe(1, 0, Order::Abcast).cast_safe(2, 1, Order::Abcast);
        script
    }

    #[test]
    fn death_is_no_excuse() {
        two().delivers(1, &[0, 1]).delivers(2, &[0]).dies(2).kept(check);
        two().delivers(1, &[0, 1]).delivers(2, &[1, 0]).dies(2).broken(check);
    }

    #[test]
    fn what_everybody_had_after_the_signal_only_is_not_bound() {
        two().signal(1).signal(2).delivers(1, &[0, 1]).delivers(2, &[1, 0]).dies(2).kept(check);
        two().signal(2).delivers(1, &[0, 1]).delivers(2, &[1, 0]).dies(2).broken(check);
    }
}
