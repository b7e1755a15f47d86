//! One Letter For A UID: a UIDVALIDITY is of one mailbox for ever, and with a UID it names one letter for ever, at whatever
//! site, in whatever life, and in what clients are told.

use std::collections::BTreeMap;

use ::mail::{MailboxId, Outcome};

use super::shown;
use super::told::Told;
use crate::durable::{Observation, Seen};
use crate::property::durable::Broken;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let mut mailboxes: BTreeMap<u32, MailboxId> = BTreeMap::new();
    let mut names: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let told = Told::of(seen);
    for request in told.requests.values() {
        if let Some(Outcome::Appended { validity, uid }) = request.outcome
            && let Some(other) = names.insert((validity, uid), request.letter)
        {
            let letter = request.letter;
            let how = format!("UID {uid} of {validity} is told of letter {letter:x} and of {other:x}");
            return Err((request.answered.unwrap_or(request.asked), how));
        }
    }
    for (at, observation) in seen.iter().enumerate() {
        for folder in shown(&observation.what).iter().flat_map(|seen| &seen.folders) {
            let validity = folder.validity;
            let id = *mailboxes.entry(validity).or_insert(folder.id);
            if id != folder.id {
                return Err((at, format!("UIDVALIDITY {validity} is of mailbox {id} and of {}", folder.id)));
            }
            for letter in &folder.letters {
                let known = *names.entry((validity, letter.uid)).or_insert(letter.letter);
                if known != letter.letter {
                    let (uid, letter) = (letter.uid, letter.letter);
                    let how = format!("UID {uid} of {validity} named letter {known:x} and names {letter:x}");
                    return Err((at, how));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ::mail::MailboxId;

    use super::super::script::{history, inbox, looked};
    use super::check;

    #[test]
    fn a_uid_names_one_letter_at_any_site() {
        let first = || looked(1, inbox(2, &[(1, 1), (2, 2)]));
        assert!(check(&history([first(), looked(2, inbox(3, &[(2, 2)]))])).is_ok());
        assert!(check(&history([first(), looked(2, inbox(3, &[(2, 3)]))])).is_err());
        let mut other = inbox(2, &[]);
        other.folders[0].id = MailboxId(8);
        assert!(check(&history([first(), looked(1, other)])).is_err());
    }
}
