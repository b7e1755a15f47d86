//! Acknowledged: the client-side oracle. What a caster was told is true: who is said to have replied was
//! delivered the message before; what is said to be at every member is delivered by every member of its view that
//! goes where the caster goes; and what is said not to have been sent is delivered to nobody.

use super::Breach;
use crate::history::{History, Member, Message, Onward, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for (at, observation) in history.observations.iter().enumerate() {
        match &observation.what {
            What::Replied(message, members) => replied(history, at, *message, members)?,
            What::Flushed(messages) => {
                messages.iter().try_for_each(|message| flushed(history, at, *message))?;
            }
            What::NotSent(message) => not_sent(history, at, *message)?,
            What::Died(_)
            | What::Core { .. }
            | What::View { .. }
            | What::Left(_)
            | What::Waiting(..)
            | What::Cast { .. }
            | What::Deliver { .. }
            | What::Signal(_)
            | What::Accurate { .. }
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
    let Some(caster) = history.members.get(&cast.member) else { return Ok(()) };
    let Some(n) = caster.stays.iter().position(|stay| stay.synchronous() && Some(stay.view.id) == cast.view)
    else {
        return Ok(());
    };
    let (view, onward) = (&caster.stays[n].view, caster.onward(n));
    let certain = match onward {
        Onward::To(_) => true,
        Onward::Stayed => history.healed,
        Onward::Lost => false,
    };
    for (member, n, stay) in history.stays().filter(|(m, ..)| certain && cast.is_for(m.id)) {
        let along = stay.view.group == view.group && stay.view.id == view.id && member.onward(n) == onward;
        if along && !stay.messages().any(|m| m == message) {
            let how = format!("message {message} is said to be everywhere, and {} never had it", member.id);
            return Err(Breach::at(at, how));
        }
    }
    Ok(())
}

fn not_sent(history: &History, at: usize, message: Message) -> Result<(), Breach> {
    let has = |m: &&Member| m.deliveries().any(|d| d.message == Some(message));
    match history.members.values().find(has) {
        Some(who) => {
            Err(Breach::at(at, format!("message {message} is said not to be sent, and {} had it", who.id)))
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
    fn what_was_not_sent_does_not_arrive() {
        one().see(What::NotSent(0)).kept(check);
        one().see(What::NotSent(0)).delivers(2, &[0]).broken(check);
    }

    #[test]
    fn what_is_everywhere_is_delivered_everywhere() {
        one().delivers(2, &[0]).delivers(1, &[0]).see(What::Flushed(vec![0])).view(2, &[1, 2]).kept(check);
        one().delivers(1, &[0]).see(What::Flushed(vec![0])).view(2, &[1, 2]).broken(check);
        one().delivers(1, &[0]).see(What::Flushed(vec![0])).view(2, &[1]).view(3, &[2]).kept(check);
    }
}
