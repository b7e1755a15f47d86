//! Delivered Once: in the end every letter that was acknowledged, by the group or by a site that held it for later, is once in
//! the mailbox of everybody to whom it was sent, at every site, and nothing else is; unless somebody removed it.

use super::faults::{Fault, faults};
use super::left;
use super::told::Told;
use crate::durable::{Observation, Seen};
use crate::property::durable::Broken;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let told = Told::of(seen);
    for (at, shown) in left(seen) {
        let faults = faults(&told, shown, (at, at), true);
        let is_of_letters =
            |fault: &&Fault| matches!(fault, Fault::Missing(_) | Fault::Twice(_) | Fault::Strange(_));
        if let Some(fault) = faults.iter().find(is_of_letters) {
            return Err((at, format!("user {}: {fault}", shown.user)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{delivered, history, inbox, left, sends};
    use super::check;

    #[test]
    fn an_acknowledged_letter_is_there_once() {
        let end = |letters: &[(u32, u64)]| check(&history([sends(1), delivered(1), left(inbox(5, letters))]));
        assert!(end(&[(1, 1)]).is_ok());
        assert!(end(&[]).is_err());
        assert!(end(&[(1, 1), (2, 1)]).is_err());
        assert!(end(&[(1, 1), (2, 7)]).is_err());
        // One that was not acknowledged may be there or not.
        assert!(check(&history([sends(1), left(inbox(5, &[]))])).is_ok());
        assert!(check(&history([sends(1), left(inbox(5, &[(1, 1)]))])).is_ok());
    }
}
