//! Same View Delivery [CKV 4.2.2]: whoever is delivered a message is delivered it in the same view. Unlike
//! Sending View Delivery this binds outsiders' casts too, with two exceptions. One that some site was delivered
//! only after the transitional signal, and that is known to none who goes on, is carried again by another contact
//! and delivered to those in a later view. And where two sides of a partition may live, each may be asked.

use std::collections::BTreeMap;

use membership::group::Lives;

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut views = BTreeMap::new();
    for (member, _, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        for delivery in &stay.deliveries {
            let Some((message, cast)) = history.cast_of(delivery) else { continue };
            let lives_once = stay.view.options.lives == Lives::Primary;
            if cast.from_outside() && (delivery.after_signal || !lives_once) {
                continue;
            }
            let first = *views.entry(message).or_insert(stay.view.id);
            if first != stay.view.id {
                let how = format!(
                    "message {message} was delivered in {first} and, to {}, in {}",
                    member.id, stay.view.id
                );
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
    fn one_message_in_two_views_is_noticed() {
        let mut script = Script::new();
        // Member 9 has no view: it is outside.
        script.view(1, &[1, 2]).cast(9, 0, Order::Abcast).delivers(1, &[0]);
        script.kept(check);
        script.view(2, &[1, 2]).delivers(2, &[0]);
        script.broken(check);
    }
}
