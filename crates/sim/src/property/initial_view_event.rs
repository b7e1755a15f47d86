//! Initial View Event [CKV 3.3]: every event happens in a view: nothing is delivered before the first, and a
//! delivery names the view and the group that the member is in.

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for member in history.members.values() {
        if let Some(stray) = member.strays.first() {
            let how = format!("{} was delivered {:?} before any view", member.id, stray.message);
            return Err(Breach::at(stray.at, how));
        }
        for stay in &member.stays {
            let here = (stay.view.group, stay.view.id);
            if let Some(d) = stay.deliveries.iter().find(|d| (d.group, d.view) != here) {
                let how = format!(
                    "{} was in {} when it was delivered {:?} of {}",
                    member.id, here.1, d.message, d.view
                );
                return Err(Breach::at(d.at, how));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, member, view_id};
    use super::check;
    use crate::history::What;
    use crate::host::Order;

    #[test]
    fn deliveries_are_in_the_view_they_name() {
        Script::new().view(1, &[1, 2]).cast(1, 0, Order::Fbcast).delivers(2, &[0]).kept(check);
    }

    #[test]
    fn a_delivery_before_the_first_view_or_of_another_is_noticed() {
        Script::new().view(1, &[1]).cast(1, 0, Order::Fbcast).delivers(2, &[0]).broken(check);
        let other = What::Deliver {
            member: member(1),
            message: Some(0),
            group: Default::default(),
            view: view_id(7),
            from: member(1),
        };
        Script::new().view(1, &[1]).cast(1, 0, Order::Fbcast).see(other).broken(check);
    }
}
