//! Local Monotonicity [CKV 3.2]: the ids of the views that a process installs only rise. So do those of the core-set
//! that a site installs, on the line and off it, and the place on the line from which they start never falls.

use std::collections::BTreeMap;

use super::Breach;
use crate::history::{History, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    core_set(history)?;
    for member in history.members.values() {
        for pair in member.stays.windows(2) {
            let (before, after) = (pair[0].view.id, pair[1].view.id);
            if after <= before {
                let how = format!("{} installed {after} after {before}", member.id);
                return Err(Breach::at(pair[1].at, how));
            }
        }
    }
    Ok(())
}

fn core_set(history: &History) -> Result<(), Breach> {
    let mut last = BTreeMap::new();
    for (at, observation) in history.observations.iter().enumerate() {
        let What::Core { life, view, position, .. } = &observation.what else { continue };
        let Some((before, place)) = last.insert(*life, (*view, *position)) else { continue };
        if *view <= before {
            return Err(Breach::at(at, format!("{life} installed {view} after {before}")));
        }
        if *position < place {
            let how =
                format!("{life} installed {view}, which starts from {position}, after one from {place}");
            return Err(Breach::at(at, how));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, life, view_id};
    use super::check;
    use crate::history::What;

    #[test]
    fn views_rise_at_every_member() {
        Script::new().view(1, &[1, 2]).view(3, &[1]).view(2, &[2]).kept(check);
        Script::new().view(2, &[1]).view(1, &[1]).broken(check);
        Script::new().view(2, &[1]).view(2, &[1]).broken(check);
    }

    #[test]
    fn views_of_the_core_set_rise_and_do_not_go_back_on_the_line() {
        let core = |site, view, primary, position| What::Core {
            life: life(site),
            view: view_id(view),
            primary,
            position,
            sites: [].into(),
        };
        Script::new().see(core(1, 1, true, 1)).see(core(1, 2, false, 1)).see(core(1, 3, true, 2)).kept(check);
        Script::new().see(core(1, 2, true, 1)).see(core(2, 1, true, 1)).kept(check);
        Script::new().see(core(1, 2, true, 1)).see(core(1, 1, false, 1)).broken(check);
        Script::new().see(core(1, 1, true, 2)).see(core(1, 2, false, 1)).broken(check);
    }
}
