//! Safe Indication Liveness [CKV 5]: a safe message of the last view is delivered there, and before any
//! transitional signal.

use super::Breach;
use super::multicast_liveness::undelivered;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let safe = |history: &History, m| history.cast(m).is_some_and(|cast| cast.safe);
    match undelivered(history, safe, |delivery| !delivery.after_signal) {
        Some((message, who)) => {
            Err(Breach::whole(format!("safe message {message} of the last view never became safe at {who}")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;
    use crate::host::Order;

    #[test]
    fn a_message_that_never_becomes_safe_is_noticed() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).cast_safe(1, 0, Order::Abcast).healed().delivers(1, &[0]);
        script.clone_with(|s| s.delivers(2, &[0])).kept(check);
        script.clone_with(|s| s.signal(2).delivers(2, &[0])).broken(check);
    }
}
