//! Safe Indication Prefix [CKV 4.4]: if a member was delivered a safe message before the transitional signal,
//! every member of that view was delivered it too, or died or left in it.

use super::Breach;
use crate::history::{CastRecord, End, History, Message, Stay};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for (member, _, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        for delivery in stay.deliveries.iter().filter(|d| !d.after_signal) {
            let Some((message, cast)) = history.cast_of(delivery) else { continue };
            if !cast.safe {
                continue;
            }
            if let Some(who) = lacks_it(history, stay, message, cast) {
                let how = format!("safe message {message} was delivered to {} and never to {who}", member.id);
                return Err(Breach::at(delivery.at, how));
            }
        }
    }
    Ok(())
}

/// A member of the view that had to be delivered the message and was not.
fn lacks_it(history: &History, stay: &Stay, message: Message, cast: &CastRecord) -> Option<wire::MemberId> {
    let excused = |who: wire::MemberId| {
        let Some(member) = history.members.get(&who) else {
            // It never had a view: it was let in and died, or left, before it learned of it.
            return true;
        };
        let gone_on = member.stays.iter().any(|s| s.view.id > stay.view.id);
        // One that is still there may yet be delivered it, unless all is over.
        !gone_on && (member.end != End::Alive || !history.healed)
    };
    let has = |who: wire::MemberId| {
        let stays = history.members.get(&who).into_iter().flat_map(|m| &m.stays);
        stays.filter(|s| s.view.id == stay.view.id).any(|s| s.messages().any(|m| m == message))
    };
    let members = stay.view.members.iter().map(|m| m.id);
    members.filter(|who| cast.is_for(*who)).find(|who| !excused(*who) && !has(*who))
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    fn one() -> Script {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast_safe(1, 0, Order::Abcast);
        script
    }

    #[test]
    fn who_lives_on_has_it() {
        one().delivers(1, &[0]).delivers(2, &[0]).view(2, &[1, 2]).kept(check);
        one().delivers(1, &[0]).dies(2).view(2, &[1]).kept(check);
        one().signal(1).delivers(1, &[0]).view(2, &[1]).view(3, &[2]).kept(check);
    }

    #[test]
    fn who_lives_on_without_it_is_noticed() {
        one().delivers(1, &[0]).view(2, &[1]).view(3, &[2]).broken(check);
        one().delivers(1, &[0]).healed().broken(check);
    }
}
