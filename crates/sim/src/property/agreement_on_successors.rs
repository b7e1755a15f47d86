//! Agreement on Successors [CKV 4.2.4], as it holds where there are transitional sets: if a member installs V in
//! V', and a member of its transitional set installs V, that one installs V in V' too, and was delivered nothing
//! in between.
//!
//! CKV asks it of all members of V'. That form and cascading view changes exclude each other: a member that
//! finished a view on the way, which another skipped, goes on from there. The transitional set says so, which is
//! what it is for.

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for (p, n, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        let Some(previous) = p.previous(n).map(|stay| stay.view.id) else { continue };
        for q in stay.transitional.iter().filter_map(|q| history.members.get(q)) {
            let Some(there) = q.stays.iter().position(|s| s.view.id == stay.view.id) else { continue };
            let from = q.previous(there).map(|stay| stay.view.id);
            if from != Some(previous) {
                let how = format!(
                    "{} and {} were to go from {previous} to {} together, but {} came from {from:?}",
                    p.id, q.id, stay.view.id, q.id
                );
                return Err(Breach::at(stay.at, how));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;

    #[test]
    fn companions_share_the_way() {
        let mut cascade = Script::new();
        cascade.view(1, &[1, 2]).installs(2, 2, &[1, 2], &[2]);
        cascade.installs(1, 3, &[1, 2], &[1]).installs(2, 3, &[1, 2], &[2]).kept(check);
    }

    #[test]
    fn a_companion_that_took_another_way_is_noticed() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).installs(2, 2, &[1, 2], &[2]);
        script.installs(1, 3, &[1, 2], &[1, 2]).installs(2, 3, &[1, 2], &[2]).broken(check);
    }
}
