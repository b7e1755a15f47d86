//! Acknowledged: the client-side oracle. What a caster was told is true: who is said to have replied was
//! delivered the message before; and what is said to be at every member is delivered by every member of the view
//! it was cast in that does not die or leave there.

use super::Breach;
use super::safe_indication_prefix::lacks_it;
use crate::history::{History, Message, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for (at, observation) in history.observations.iter().enumerate() {
        match &observation.what {
            What::Replied(message, members) => replied(history, at, *message, members)?,
            What::Flushed(messages) => {
                messages.iter().try_for_each(|message| flushed(history, at, *message))?;
            }
            What::Died(_)
            | What::Core { .. }
            | What::View { .. }
            | What::Left(_)
            | What::Waiting(..)
            | What::Cast { .. }
            | What::Deliver { .. }
            | What::Signal(_)
            | What::Accurate(_)
            | What::Healed => {}
        }
    }
    Ok(())
}

fn replied(history: &History, at: usize, message: Message, members: &[wire::MemberId]) -> Result<(), Breach> {
    let had_it = |who: &wire::MemberId| {
        let member = history.members.get(who);
        member.is_some_and(|m| m.deliveries().any(|d| d.message == Some(message) && d.at < at))
    };
    match members.iter().find(|who| !had_it(who)) {
        Some(who) => Err(Breach::at(
            at,
            format!("{who} is said to have replied to message {message} and never had it"),
        )),
        None => Ok(()),
    }
}

fn flushed(history: &History, at: usize, message: Message) -> Result<(), Breach> {
    let Some(cast) = history.cast(message) else { return Ok(()) };
    let caster = history.members.get(&cast.member);
    let stay = caster.and_then(|m| m.stays.iter().find(|stay| Some(stay.view.id) == cast.view));
    let Some(stay) = stay.filter(|stay| stay.synchronous()) else { return Ok(()) };
    match lacks_it(history, stay, message, cast) {
        Some(who) => {
            Err(Breach::at(at, format!("message {message} is said to be everywhere, and {who} never had it")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, member};
    use super::check;
    use crate::history::What;
    use crate::host::Order;

    fn one() -> Script {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast);
        script
    }

    #[test]
    fn a_reply_needs_a_delivery() {
        one().delivers(2, &[0]).see(What::Replied(0, vec![member(2)])).kept(check);
        one().see(What::Replied(0, vec![member(2)])).delivers(2, &[0]).broken(check);
    }

    #[test]
    fn what_is_everywhere_is_delivered_everywhere() {
        one().delivers(2, &[0]).delivers(1, &[0]).see(What::Flushed(vec![0])).view(2, &[1, 2]).kept(check);
        one().delivers(1, &[0]).see(What::Flushed(vec![0])).view(2, &[1]).view(3, &[2]).broken(check);
    }
}
