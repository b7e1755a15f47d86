//! Moves the stores of all durable groups: one step in each, as often as it is asked.

use std::time::Duration;

use durable::{ChangeError, Mode};
use stack::{Node, SiteSummary};
use wire::{GroupName, SiteId, Time};

use super::ask::{Placed, why_not};
use super::placing::{self, Step, Wish};
use super::{Hosting, Stage, catalog_name};

/// What was committed longer ago says nothing about who keeps up now.
const NOTED_FOR: Duration = Duration::from_secs(2);

impl Hosting {
    /// Takes the next step in every group. The catalog goes first, and alone: new groups are founded on the stores that
    /// count in it, so when it has moved, those that are not listed yet begin where they belong.
    pub(super) fn place(&mut self, node: &mut Node, now: Time, wish: Wish) -> Vec<Placed> {
        let catalog = catalog_name();
        // An attached site does not know of all others whether they are there.
        let sites = if node.attached_to().is_none() { node.sites() } else { Vec::new() };
        let first = self.place_one(node, now, &catalog, &sites, wish);
        let moved = first.step == Step::Done;
        let mut all = vec![first];
        if moved {
            let others: Vec<GroupName> =
                self.groups.keys().filter(|name| **name != catalog).cloned().collect();
            all.extend(others.iter().map(|name| self.place_one(node, now, name, &sites, wish)));
        }
        all
    }

    fn place_one(
        &mut self,
        node: &mut Node,
        now: Time,
        name: &GroupName,
        sites: &[SiteSummary],
        wish: Wish,
    ) -> Placed {
        let placed = |step| Placed { group: name.clone(), step, sites: Vec::new() };
        let Some(hosted) = self.groups.get_mut(name) else {
            return placed(Step::Wait("it is not open here yet".to_owned()));
        };
        match &hosted.stage {
            Stage::Open(..) => {}
            Stage::Opening(_) => return placed(Step::Wait("it is being opened here".to_owned())),
            Stage::Refused(trouble) => {
                let why = &trouble.why;
                let text = format!("its store at this site can't be used: {why}; ask another site");
                return placed(Step::Refused(text));
            }
        }
        let Some(mut group) = node.durable(now, name) else {
            return placed(Step::Wait("it is being opened here".to_owned()));
        };
        let status = group.status();
        let earlier =
            hosted.noted.filter(|(at, _)| now.since(*at) < NOTED_FOR).map(|(_, committed)| committed);
        hosted.noted = Some((now, status.committed));
        let mut step = placing::next(&status, sites, wish, earlier);
        if let Step::Change(change) = step {
            match group.change(change) {
                Ok(()) => tracing::info!(group = %name, ?change, "its stores change"),
                Err(ChangeError::NotActive) => step = Step::Wait(why_not(&Mode::Active)),
                Err(why @ (ChangeError::Busy | ChangeError::NotHere)) => step = Step::Wait(why.to_string()),
                Err(why) => step = Step::Refused(why.to_string()),
            }
        }
        let mut sites: Vec<SiteId> = status.configuration.stores.into_values().collect();
        sites.sort_unstable();
        Placed { group: name.clone(), step, sites }
    }
}
