//! View Agreement: two views of one group with one id are one view. [CKV 3] has it in the definition of a view,
//! which is a triple of id, members and transitional set; here it is checked, since two sides of a partition
//! must never make different views under one id (schedules 2, 3 and 15). The same is asked of the core-set's views.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Breach;
use crate::history::{History, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    core_set(history)?;
    let mut known = BTreeMap::new();
    for (member, _, stay) in history.stays() {
        let first = known.entry((stay.view.group, stay.view.id)).or_insert(&stay.view);
        if !Arc::ptr_eq(first, &stay.view) && *first != &stay.view {
            let how = format!(
                "{} has another view {} than others: {:?} and {first:?}",
                member.id, stay.view.id, stay.view
            );
            return Err(Breach::at(stay.at, how));
        }
    }
    Ok(())
}

fn core_set(history: &History) -> Result<(), Breach> {
    let mut known = BTreeMap::new();
    for (at, observation) in history.observations.iter().enumerate() {
        let What::Core { life, view, primary, position, sites } = &observation.what else { continue };
        let content = (*primary, *position, sites);
        let first = *known.entry(*view).or_insert(content);
        if first != content {
            let how = format!("{life} has another {view} than others: {content:?} and {first:?}");
            return Err(Breach::at(at, how));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::SiteId;

    use super::super::script::{Script, life, view_id};
    use super::check;
    use crate::history::What;

    #[test]
    fn one_id_means_one_view() {
        Script::new().view(1, &[1, 2]).view(2, &[1]).view(3, &[2]).kept(check);
        Script::new().view(1, &[1, 2]).view(2, &[1]).view(2, &[2]).broken(check);
    }

    #[test]
    fn one_id_means_one_view_of_the_core_set() {
        let core = |site, primary, sites: &[u32]| What::Core {
            life: life(site),
            view: view_id(1),
            primary,
            position: 1,
            sites: sites.iter().map(|site| SiteId(*site)).collect(),
        };
        Script::new().see(core(1, true, &[1, 2])).see(core(2, true, &[1, 2])).kept(check);
        Script::new().see(core(1, true, &[1, 2])).see(core(2, true, &[1])).broken(check);
        Script::new().see(core(1, true, &[1, 2])).see(core(2, false, &[1, 2])).broken(check);
    }
}
