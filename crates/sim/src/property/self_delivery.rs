//! Self Delivery [CKV 5]: a member that does not die or leave is delivered its own messages, unless it asked to
//! be left out.

use super::Breach;
use crate::history::{End, History, Member, Onward};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let goes_on = |m: &Member, n| m.end == End::Alive && m.onward(n) != Onward::Lost;
    for (member, _, stay) in history.stays().filter(|(m, n, stay)| goes_on(m, *n) && stay.synchronous()) {
        for &message in &stay.casts {
            let own = history.cast(message).is_some_and(|cast| cast.is_for(member.id));
            if own && !stay.messages().any(|m| m == message) {
                let how = format!("{} was never delivered its own message {message}", member.id);
                return Err(Breach { at: history.cast(message).map(|cast| cast.at), how });
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
    fn who_lives_hears_itself() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast(1, 0, Order::Fbcast).view(2, &[1, 2]).healed();
        script.broken(check);
        script.dies(1).kept(check);
    }
}
