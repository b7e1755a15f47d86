//! Deleted Is Gone: what an owner has removed, and was told so, is at no site in the end; a letter that waited at a site
//! without a majority, and was deleted there, has not come.

use super::faults::{Fault, faults};
use super::left;
use super::told::Told;
use crate::durable::{Observation, Seen};
use crate::property::durable::Broken;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let told = Told::of(seen);
    for (at, shown) in left(seen) {
        let faults = faults(&told, shown, (at, at), true);
        if let Some(fault) = faults.iter().find(|fault| matches!(fault, Fault::Undeleted(_))) {
            return Err((at, format!("user {}: {fault}", shown.user)));
        }
        for letter in shown.folders.iter().flat_map(|folder| &folder.letters) {
            if told.discarded.get(&(shown.user, letter.letter)) == Some(&true) {
                let how = format!("user {} deleted letter {:x} while it waited", shown.user, letter.letter);
                return Err((at, how));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{delivered, expunged, expunges, history, inbox, left, looked, sends};
    use super::check;

    #[test]
    fn an_acknowledged_deletion_is_kept() {
        let before = || [sends(1), delivered(1), looked(1, inbox(2, &[(1, 1)])), expunges(2, 1)];
        let end = |letters| [expunged(2, 1), left(inbox(9, letters))];
        assert!(check(&history(before().into_iter().chain(end(&[])))).is_ok());
        assert!(check(&history(before().into_iter().chain(end(&[(1, 1)])))).is_err());
        // Under another UID it is the same letter.
        assert!(check(&history(before().into_iter().chain(end(&[(2, 1)])))).is_err());
    }
}
