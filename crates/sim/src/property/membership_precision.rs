//! Membership Precision [CKV 3.5 and 5]: when the network has healed, the views say who is there. A last view
//! lists nobody but those whose last view it is too; a group that merges has one last view; and nobody waits for
//! a join for ever.

use std::collections::BTreeMap;

use membership::group::Merges;

use super::Breach;
use crate::history::{End, History, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let waiting = history.observations.iter().enumerate().find_map(|(at, o)| match &o.what {
        What::Waiting(process, group) => {
            Some(Breach::at(at, format!("{process} still waits to join {group}")))
        }
        _ => None,
    });
    if let Some(breach) = waiting {
        return Err(breach);
    }
    core_set(history)?;
    groups(history)
}

/// Every life that is there to the last is in one primary view of the core-set, which lists just their sites.
fn core_set(history: &History) -> Result<(), Breach> {
    let mut last = BTreeMap::new();
    for (at, observation) in history.observations.iter().enumerate() {
        match &observation.what {
            What::Core { life, view, primary, sites, .. } => {
                last.insert(*life, (at, *view, *primary, sites));
            }
            What::Died(life) => {
                last.remove(life);
            }
            _ => {}
        }
    }
    let Some((at, first, ..)) = last.values().max() else { return Ok(()) };
    for (life, (_, view, primary, sites)) in &last {
        if view != first || !primary {
            let how = format!("{life} ends in {view} (primary: {primary}), others in {first}");
            return Err(Breach::at(*at, how));
        }
        if let Some(site) = sites.iter().find(|site| !last.keys().any(|life| life.site == **site)) {
            return Err(Breach::at(
                *at,
                format!("the last view {view} of the core-set lists {site}, which is not in it"),
            ));
        }
    }
    Ok(())
}

fn groups(history: &History) -> Result<(), Breach> {
    let mut last_views = BTreeMap::new();
    for member in history.members.values().filter(|m| m.end == End::Alive) {
        let Some(stay) = member.stays.last() else { continue };
        if !stay.view.lives {
            return Err(Breach::at(stay.at, format!("{} is left on a side that may only read", member.id)));
        }
        let shares = |who| {
            let other = history.members.get(&who).filter(|m| m.end == End::Alive);
            other.and_then(|m| m.stays.last()).is_some_and(|s| s.view.id == stay.view.id)
        };
        if let Some(other) = stay.view.members.iter().find(|m| !shares(m.id)) {
            let how = format!(
                "the last view {} of {} lists {}, which is not in it",
                stay.view.id, member.id, other.id
            );
            return Err(Breach::at(stay.at, how));
        }
        if stay.view.options.merges != Merges::Never {
            let first = *last_views.entry(stay.view.name.clone()).or_insert(stay.view.id);
            if first != stay.view.id {
                let how = format!("{} ends in two views, {first} and {}", stay.view.name, stay.view.id);
                return Err(Breach::at(stay.at, how));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, member};
    use super::check;
    use crate::history::What;

    #[test]
    fn all_end_in_one_true_view() {
        Script::new().view(1, &[1, 2, 3]).dies(3).view(2, &[1, 2]).healed().kept(check);
    }

    #[test]
    fn the_dead_the_parted_and_the_waiting_are_noticed() {
        Script::new().view(1, &[1, 2]).dies(2).healed().broken(check);
        Script::new().view(1, &[1]).view(2, &[2]).healed().broken(check);
        let name = wire::GroupName::parse("g").expect("a good name");
        let waits = What::Waiting(member(2).process, name);
        Script::new().view(1, &[1]).healed().see(waits).broken(check);
    }
}
