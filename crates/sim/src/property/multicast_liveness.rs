//! Multicast Liveness [CKV 5]: what is cast in the last view, by somebody who is there to the last, is delivered
//! to everybody there whom it is for.

use super::Breach;
use crate::history::{End, History, Message, Stay};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    match undelivered(history, |_, _| true, |_| true) {
        Some((message, who)) => {
            Err(Breach::whole(format!("message {message} of the last view was never delivered to {who}")))
        }
        None => Ok(()),
    }
}

/// A message of a last view, among those chosen, that somebody there was not delivered in a way that counts.
pub(super) fn undelivered(
    history: &History,
    chosen: impl Fn(&History, Message) -> bool,
    counts: impl Fn(&crate::history::Delivery) -> bool,
) -> Option<(Message, wire::MemberId)> {
    let last: Vec<(wire::MemberId, &Stay)> = history
        .members
        .values()
        .filter(|m| m.end == End::Alive)
        .filter_map(|m| Some((m.id, m.stays.last()?)))
        .filter(|(_, stay)| stay.synchronous())
        .collect();
    for (_, stay) in &last {
        for &message in stay.casts.iter().filter(|m| chosen(history, **m)) {
            let Some(cast) = history.cast(message) else { continue };
            for (who, there) in &last {
                let here = there.view.group == stay.view.group && there.view.id == stay.view.id;
                let has = || there.deliveries.iter().any(|d| d.message == Some(message) && counts(d));
                if here && cast.is_for(*who) && !has() {
                    return Some((message, *who));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    #[test]
    fn a_message_that_never_comes_is_noticed() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).healed().delivers(1, &[0]);
        script.broken(check);
        script.delivers(2, &[0]);
        script.kept(check);
    }
}
