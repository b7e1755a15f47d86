//! What the users of mail are promised: each a function of what clients asked, were told and saw. None knows positions of
//! a log, or what a site has that nobody can read.

mod answers;
mod ascend;
mod deleted;
mod delivered;
mod faults;
mod kept;
mod names;
mod owned;
mod receive;
mod told;

#[cfg(test)]
mod script;

use crate::durable::{Observation, Seen, What};
use crate::property::durable::Promise;

/// What one observation shows of users' mail.
fn shown(what: &What<Seen>) -> &[Seen] {
    match what {
        What::ReadDone { seen, .. } | What::Looked(_, seen) => std::slice::from_ref(seen),
        What::Left(_, all) => all,
        _ => &[],
    }
}

/// Every one.
pub(crate) fn promises() -> Vec<Promise<Seen>> {
    vec![
        Promise { name: "Answered As Asked", check: answers::check },
        Promise { name: "Delivered Once", check: delivered::check },
        Promise { name: "Deleted Is Gone", check: deleted::check },
        Promise { name: "Left As It Was", check: kept::check },
        Promise { name: "One Letter For A UID", check: names::check },
        Promise { name: "UIDs And MODSEQs Ascend", check: ascend::check },
        Promise { name: "Receive After Acknowledge", check: receive::check },
    ]
}

/// What was seen at each site in the end: the place of the observation, and the mail of each user.
fn left(seen: &[Observation<Seen>]) -> impl Iterator<Item = (usize, &Seen)> {
    let places = seen.iter().enumerate().filter(|(_, one)| matches!(one.what, What::Left(..)));
    places.flat_map(|(at, one)| shown(&one.what).iter().map(move |seen| (at, seen)))
}
