//! Sending View Delivery [CKV 4.2.1]: a message that is delivered in a view was cast in it.

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for (member, _, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        for delivery in &stay.deliveries {
            let Some((message, cast)) = history.cast_of(delivery) else { continue };
            if let Some(view) = cast.view.filter(|view| *view != stay.view.id) {
                let how =
                    format!("message {message} of {view} was delivered to {} in {}", member.id, stay.view.id);
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
    fn a_message_that_crosses_a_view_change_is_noticed() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).delivers(1, &[0]);
        script.kept(check);
        script.view(2, &[1, 2]).delivers(2, &[0]);
        script.broken(check);
    }
}
