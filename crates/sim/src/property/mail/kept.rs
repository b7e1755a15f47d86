//! Left As It Was: in the end mailboxes have the names, and letters the flags, that their owner has given them last, at every
//! site.

use super::faults::{Fault, faults};
use super::left;
use super::told::Told;
use crate::durable::{Observation, Seen};
use crate::property::durable::Broken;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let told = Told::of(seen);
    for (at, shown) in left(seen) {
        let faults = faults(&told, shown, (at, at), true);
        let is_of_owner = |fault: &&Fault| matches!(fault, Fault::Flags(..) | Fault::Folder(_));
        if let Some(fault) = faults.iter().find(is_of_owner) {
            return Err((at, format!("user {}: {fault}", shown.user)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ::mail::command::Store;
    use ::mail::{Command, FlagNames, FlagOp, Flags, MailboxId, Outcome, UidSet};

    use super::super::script::{asked, delivered, history, inbox, left, looked, sends, told};
    use super::check;

    #[test]
    fn flags_are_as_they_were_set() {
        let seen = || looked(1, inbox(2, &[(1, 1)]));
        let store = Store {
            mailbox: MailboxId(1),
            uids: UidSet::of([1]),
            op: FlagOp::Add,
            flags: FlagNames::from(Flags::SEEN),
            unchanged_since: None,
        };
        let stored = |passed_over: &[u32]| Outcome::Stored {
            modseq: 3,
            changed: UidSet::default(),
            modified: UidSet::of(passed_over.iter().copied()),
        };
        let end = |passed_over: &[u32], flags: Flags| {
            let mut last = inbox(3, &[(1, 1)]);
            last.folders[0].letters[0].flags = flags.0;
            let flagged = asked(2, Command::Store(store.clone()));
            let outcome = told(2, &stored(passed_over));
            check(&history([sends(1), delivered(1), seen(), flagged, outcome, left(last)]))
        };
        assert!(end(&[], Flags::SEEN).is_ok());
        assert!(end(&[], Flags::NONE).is_err());
        assert!(end(&[1], Flags::NONE).is_ok());
    }

    #[test]
    fn there_is_no_mailbox_that_its_owner_did_not_make() {
        let mut last = inbox(3, &[]);
        let mut other = last.folders[0].clone();
        (other.id, other.name) = (MailboxId(7), "a".to_owned());
        last.folders.push(other);
        assert!(check(&history([left(inbox(3, &[]))])).is_ok());
        assert!(check(&history([left(last)])).is_err());
    }
}
