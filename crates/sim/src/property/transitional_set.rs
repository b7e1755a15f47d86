//! Transitional Set [CKV 4.2.4]: the transitional set of a view at a member holds members of both that view and
//! its previous one, itself among them; and of two members that install a view, one is in the other's set if and
//! only if both come from the same view.

use std::collections::BTreeMap;

use wire::ViewId;

use super::Breach;
use crate::history::{History, Member, Stay};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut installed: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (member, n, stay) in history.stays().filter(|(_, _, stay)| stay.synchronous()) {
        let previous = member.previous(n);
        within_both(member, previous, stay)?;
        let from = previous.map(|p| p.view.id);
        installed.entry((stay.view.group, stay.view.id)).or_default().push((member, from, stay));
    }
    installed.values().try_for_each(|members| pairs(members))
}

fn within_both(member: &Member, previous: Option<&Stay>, stay: &Stay) -> Result<(), Breach> {
    let Some(previous) = previous else { return Ok(()) };
    let stranger = stay.transitional.iter().find(|t| !stay.lists(**t) || !previous.lists(**t));
    if let Some(stranger) = stranger {
        let how = format!(
            "{stranger} in the transitional set of {} at {} is not in both views",
            stay.view.id, member.id
        );
        return Err(Breach::at(stay.at, how));
    }
    Ok(())
}

fn pairs(members: &[(&Member, Option<ViewId>, &Stay)]) -> Result<(), Breach> {
    for (p, from, stay) in members.iter().filter(|(_, from, _)| from.is_some()) {
        for (q, q_from, _) in members {
            let together = from == q_from;
            if together != stay.transitional.contains(&q.id) {
                let is = if together { "is not" } else { "is" };
                let how = format!(
                    "{} {is} in the transitional set of {} at {}, which come from {q_from:?} and {from:?}",
                    q.id, stay.view.id, p.id
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
    fn the_set_tells_who_came_along() {
        let mut script = Script::new();
        script.view(1, &[1, 2]).view(2, &[3]);
        script.installs(1, 3, &[1, 2, 3], &[1, 2]).installs(2, 3, &[1, 2, 3], &[1, 2]);
        script.installs(3, 3, &[1, 2, 3], &[3]).kept(check);
    }

    #[test]
    fn a_stranger_and_a_missing_companion_are_noticed() {
        let mut merged = Script::new();
        merged.view(1, &[1]).view(2, &[3]).installs(3, 3, &[1, 3], &[3]);
        merged.installs(1, 3, &[1, 3], &[1, 3]).broken(check);
        let mut lost = Script::new();
        lost.view(1, &[1, 2]).installs(1, 2, &[1, 2], &[1]).installs(2, 2, &[1, 2], &[1, 2]).broken(check);
    }
}
