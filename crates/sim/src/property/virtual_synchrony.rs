//! Virtual Synchrony [CKV 4.2.3]: two members that go together from one view to the next were delivered the same
//! messages in the first.

use std::collections::{BTreeMap, BTreeSet};

use super::Breach;
use crate::history::{History, Onward};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut together: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (member, n, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        if let Onward::To(next) = member.onward(n) {
            together.entry((stay.view.group, stay.view.id, next)).or_default().push((member.id, stay));
        }
    }
    for ((_, view, next), members) in together {
        let delivered = members.iter().map(|(_, stay)| stay.messages().collect::<BTreeSet<_>>());
        let delivered: Vec<_> = delivered.collect();
        let all: BTreeSet<_> = delivered.iter().flatten().copied().collect();
        for ((member, stay), have) in members.iter().zip(&delivered) {
            let lacks = |m: &&usize| history.cast(**m).is_some_and(|cast| cast.is_for(*member));
            if let Some(message) = all.difference(have).find(lacks) {
                let how =
                    format!("{member} went from {view} to {next} without message {message}, others with it");
                return Err(Breach::at(stay.at, how));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    #[test]
    fn who_moves_together_has_the_same_messages() {
        let mut script = Script::new();
        script.view(1, &[1, 2, 3]).cast(1, 0, Order::Fbcast).delivers(1, &[0]).delivers(2, &[0]);
        // Member 3 goes another way, and may lack it.
        script.view(2, &[1, 2]).view(3, &[3]).kept(check);
    }

    #[test]
    fn a_message_that_only_one_of_two_has_is_noticed() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).delivers(1, &[0]);
        script.kept(check);
        script.view(2, &[1, 2]).broken(check);
    }
}
