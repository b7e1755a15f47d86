//! Weak Total Order [CKV 4.3.3], of abcasts: those who go together from one view to the next, or stay together
//! in it, were delivered what they were delivered in one order. A sequencer that was cut off alone may have
//! delivered another.

use std::collections::BTreeMap;

use super::{Breach, order};
use crate::history::{History, Onward};
use crate::host::Order;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut together: BTreeMap<_, Vec<Vec<_>>> = BTreeMap::new();
    for (member, n, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        let onward = member.onward(n);
        if onward != Onward::Lost {
            let abcast = |m: &usize| history.cast(*m).is_some_and(|cast| cast.order == Order::Abcast);
            let sequence = stay.messages().filter(abcast).collect();
            together.entry((stay.view.group, stay.view.id, onward)).or_default().push(sequence);
        }
    }
    for ((_, view, onward), sequences) in together {
        if let Some(message) = order::contradiction(sequences.iter().map(Vec::as_slice)) {
            let how =
                format!("members of {view} that went {onward:?} disagree on the order of message {message}");
            return Err(Breach { at: history.cast(message).map(|cast| cast.at), how });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    fn two() -> Script {
        let mut script = Script::new();
        script.view(1, &[1, 2, 3]).cast(1, 0, Order::Abcast).cast(2, 1, Order::Abcast);
        script
    }

    #[test]
    fn who_moves_together_agrees_on_the_order() {
        let mut script = two();
        script.delivers(1, &[0, 1]).delivers(2, &[0, 1]).delivers(3, &[1]).dies(3);
        script.view(2, &[1, 2]).kept(check);
    }

    #[test]
    fn two_orders_are_noticed_unless_one_had_them_alone() {
        two().delivers(1, &[0, 1]).delivers(2, &[1, 0]).broken(check);
        two().delivers(1, &[0, 1]).delivers(2, &[1, 0]).dies(2).kept(check);
    }
}
