//! Delivery Integrity [CKV 4.1.1]: what is delivered was cast before, by the member that the delivery names, to
//! this group and for this receiver.

use super::Breach;
use crate::history::{CastRecord, Delivery, History, Member};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for member in history.members.values() {
        for delivery in member.deliveries() {
            let Some((message, cast)) = history.cast_of(delivery) else {
                let how = format!("{} was delivered what nobody cast", member.id);
                return Err(Breach::at(delivery.at, how));
            };
            if let Some(wrong) = wrong(member, delivery, cast) {
                let how = format!("message {message} was delivered to {} but {wrong}", member.id);
                return Err(Breach::at(delivery.at, how));
            }
        }
        if let Some(stay) = member.stays.iter().find(|stay| strange_group(history, stay)) {
            return Err(Breach::at(stay.at, format!("{} was delivered another group's message", member.id)));
        }
    }
    Ok(())
}

fn wrong(member: &Member, delivery: &Delivery, cast: &CastRecord) -> Option<String> {
    if cast.at > delivery.at {
        return Some("it was cast later".into());
    }
    // An outsider's cast is named by its process alone.
    if cast.member != delivery.from {
        return Some(format!("{} cast it, not {}", cast.member, delivery.from));
    }
    (!cast.is_for(member.id)).then(|| "it was not for it".into())
}

fn strange_group(history: &History, stay: &crate::history::Stay) -> bool {
    stay.deliveries.iter().filter_map(|d| history.cast_of(d)).any(|(_, cast)| cast.group != stay.view.name)
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, member, view_id};
    use super::check;
    use crate::history::What;
    use crate::host::Order;

    #[test]
    fn what_was_cast_may_be_delivered() {
        Script::new().view(1, &[1, 2]).cast(1, 0, Order::Fbcast).delivers(2, &[0]).kept(check);
    }

    #[test]
    fn inventions_and_wrong_names_are_noticed() {
        Script::new().view(1, &[1, 2]).delivers(2, &[0]).broken(check);
        let forged = What::Deliver {
            member: member(2),
            message: Some(0),
            group: Default::default(),
            view: view_id(1),
            from: member(3),
        };
        Script::new().view(1, &[1, 2]).cast(1, 0, Order::Fbcast).see(forged).broken(check);
    }

    #[test]
    fn a_delivery_to_somebody_it_was_not_for_is_noticed() {
        let secret = What::Cast {
            message: 0,
            member: member(1),
            group: wire::GroupName::parse("g").expect("a good name"),
            order: Order::Fbcast,
            safe: false,
            large: false,
            exclude_self: true,
            only: [member(3)].into(),
        };
        Script::new().view(1, &[1, 2, 3]).see(secret.clone()).delivers(3, &[0]).kept(check);
        Script::new().view(1, &[1, 2, 3]).see(secret).delivers(2, &[0]).broken(check);
    }
}
