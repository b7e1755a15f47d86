//! No Duplication [CKV 4.1.2]: no member is delivered a message twice. An outsider's cast that goes through two
//! contacts is one message.

use std::collections::BTreeSet;

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for member in history.members.values() {
        let mut seen = BTreeSet::new();
        for delivery in member.deliveries() {
            let Some(message) = delivery.message else { continue };
            if !seen.insert(message) {
                let how = format!("{} was delivered message {message} twice", member.id);
                return Err(Breach::at(delivery.at, how));
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
    fn a_second_delivery_is_noticed_also_in_another_view() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).delivers(2, &[0]);
        script.kept(check);
        script.view(2, &[2]).delivers(2, &[0]);
        script.broken(check);
    }
}
