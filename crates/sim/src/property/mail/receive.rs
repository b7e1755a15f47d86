//! Receive After Acknowledge: who reads behind the barrier sees, at whatever site, all letters that were acknowledged before it
//! asked and none that nobody had sent, and the mailboxes as their owner has left them at one moment between its question and
//! its answer. Since the owner does one thing at a time, that is linearizability.

use std::collections::BTreeMap;

use super::faults::faults;
use super::told::Told;
use crate::durable::{Observation, Seen, What};
use crate::property::durable::Broken;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let told = Told::of(seen);
    let mut asked = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::ReadAsked(read) => {
                asked.insert(*read, at);
            }
            What::ReadDone { number, seen: shown, .. } => {
                let begun = asked.get(number).copied().unwrap_or(at);
                if let Some(fault) = faults(&told, shown, (begun, at), false).first() {
                    return Err((at, format!("user {} reads: {fault}", shown.user)));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{delivered, expunged, expunges, history, inbox, looked, read, sends};
    use super::check;

    #[test]
    fn a_reader_sees_what_was_acknowledged_before() {
        let before = || [sends(1), delivered(1)].into_iter();
        assert!(check(&history(before().chain(read(1, inbox(2, &[(1, 1)]))))).is_ok());
        assert!(check(&history(before().chain(read(1, inbox(1, &[]))))).is_err());
        // Asked for before the acknowledgement, it may be older.
        let [begun, done] = read(1, inbox(1, &[]));
        assert!(check(&history([begun].into_iter().chain(before()).chain([done]))).is_ok());
    }

    #[test]
    fn a_reader_sees_a_deletion_that_was_acknowledged() {
        let before = || [sends(1), delivered(1), looked(1, inbox(2, &[(1, 1)])), expunges(2, 1)].into_iter();
        let there = || read(1, inbox(2, &[(1, 1)]));
        assert!(check(&history(before().chain(there()).chain([expunged(2, 1)]))).is_ok());
        assert!(check(&history(before().chain([expunged(2, 1)]).chain(there()))).is_err());
        assert!(check(&history(before().chain(read(1, inbox(3, &[]))).chain([expunged(2, 1)]))).is_ok());
    }
}
