//! Accuracy (schedule 9; the eventual strong accuracy of failure detectors [Chandra & Toueg 1996], asked where it
//! can be had): while every site runs and each can be reached by some neighbour, no site is removed from the
//! core-set, whatever single link is cut. Nor is one on the word of a site that hears nothing.

use std::collections::BTreeMap;

use super::Breach;
use crate::history::{History, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut well = None;
    let mut there: BTreeMap<_, &[wire::SiteId]> = BTreeMap::new();
    for (at, observation) in history.observations.iter().enumerate() {
        match &observation.what {
            What::Accurate { but } => well = Some(*but),
            What::Core { life, view, sites, .. } => {
                let before = there.insert(*life, sites).unwrap_or_default();
                let Some(but) = well else { continue };
                let removed = before.iter().find(|site| !sites.contains(site) && Some(**site) != but);
                if let Some(site) = removed.filter(|_| Some(life.site) != but) {
                    return Err(Breach::at(at, format!("{site} was removed by {view}, and it is well")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, life, view_id};
    use super::check;
    use crate::history::What;

    fn core(view: u64, sites: &[u32]) -> What {
        let sites = sites.iter().map(|s| wire::SiteId(*s)).collect();
        What::Core { life: life(1), view: view_id(view), primary: true, position: view, sites }
    }

    #[test]
    fn a_site_that_is_well_stays() {
        let mut script = Script::new();
        script
            .see(core(1, &[1, 2]))
            .see(core(2, &[1, 2, 3]))
            .see(What::Accurate { but: None })
            .see(core(3, &[1, 2, 3]));
        script.kept(check);
        script.clone_with(|s| s.see(core(4, &[1, 2]))).broken(check);
        script
            .clone_with(|s| s.see(What::Accurate { but: Some(wire::SiteId(3)) }).see(core(4, &[1, 2])))
            .kept(check);
        script
            .clone_with(|s| s.see(What::Accurate { but: Some(wire::SiteId(3)) }).see(core(4, &[1, 3])))
            .broken(check);
    }
}
