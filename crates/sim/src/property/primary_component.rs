//! Primary Component [CKV 3.4]: the primary views form one line, and somebody goes from each to the next. The
//! core-set's line is asked for one view at each place; the primary views of a group that lives on the line are
//! asked for a member that lived through the change, unless only newcomers are left. A group of another rule may live
//! off the line, and go on from there.

use std::collections::BTreeMap;

use membership::group::Lives;
use wire::{GroupId, ViewId};

use super::Breach;
use crate::history::{History, Stay, What};

pub(super) fn check(history: &History) -> Result<(), Breach> {
    core_set(history)?;
    groups(history)
}

fn core_set(history: &History) -> Result<(), Breach> {
    let mut line: BTreeMap<u64, ViewId> = BTreeMap::new();
    let mut reached = BTreeMap::new();
    for (at, observation) in history.observations.iter().enumerate() {
        let What::Core { life, view, primary: true, position, .. } = &observation.what else { continue };
        let there = line.entry(*position).or_insert(*view);
        if there != view {
            let how = format!("place {position} of the line has two views, {there} and {view} (at {life})");
            return Err(Breach::at(at, how));
        }
        let last = reached.entry(*life).or_insert(*position);
        if *last > *position {
            return Err(Breach::at(at, format!("{life} went back on the line from {last} to {position}")));
        }
        *last = *position;
    }
    let ids: Vec<_> = line.values().collect();
    match ids.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(Breach::whole(format!("{} stands on the line before {}", pair[0], pair[1]))),
        None => Ok(()),
    }
}

fn groups(history: &History) -> Result<(), Breach> {
    let mut lines: BTreeMap<GroupId, BTreeMap<ViewId, &Stay>> = BTreeMap::new();
    let on_the_line = |stay: &Stay| stay.view.primary && stay.view.options.lives == Lives::Primary;
    for (_, _, stay) in history.stays().filter(|(_, _, stay)| on_the_line(stay)) {
        lines.entry(stay.view.group).or_default().entry(stay.view.id).or_insert(stay);
    }
    for line in lines.values() {
        let views: Vec<_> = line.values().collect();
        for pair in views.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let lived_through = after.view.members.iter().any(|m| before.lists(m.id));
            if !lived_through && !only_newcomers(history, after) {
                let how = format!("nobody went from primary {} to primary {}", before.view.id, after.view.id);
                return Err(Breach::at(after.at, how));
            }
        }
    }
    Ok(())
}

/// Whether no member of the view was in an earlier primary one: nobody is left who could have lived through.
fn only_newcomers(history: &History, after: &Stay) -> bool {
    let new = |m| {
        let mut stays = history.members.get(m).into_iter().flat_map(|member| &member.stays);
        !stays.any(|stay| stay.view.primary && stay.view.id < after.view.id)
    };
    after.view.members.iter().all(|m| new(&m.id))
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, life, view_id};
    use super::check;
    use crate::history::What;

    fn core(site: u32, view: u64, position: u64) -> What {
        What::Core { life: life(site), view: view_id(view), primary: true, position, sites: [].into() }
    }

    #[test]
    fn the_line_has_one_view_at_each_place() {
        Script::new().see(core(1, 1, 1)).see(core(2, 1, 1)).see(core(2, 2, 2)).kept(check);
        Script::new().see(core(1, 1, 1)).see(core(2, 2, 1)).broken(check);
        Script::new().see(core(1, 2, 2)).see(core(1, 1, 1)).broken(check);
        Script::new().see(core(1, 2, 1)).see(core(2, 1, 2)).broken(check);
    }

    #[test]
    fn two_disjoint_primary_views_of_a_group_are_noticed() {
        Script::new().view(1, &[1, 2, 3]).view(2, &[1, 2]).view(3, &[1]).kept(check);
        Script::new().view(1, &[1, 2, 3]).view(2, &[1]).view(3, &[2, 3]).broken(check);
        Script::new().view(1, &[1]).view(2, &[2]).kept(check);
    }
}
