//! The line of primary views, read from what the sites logged.

use std::collections::BTreeMap;

use super::site::Site;
use super::verdict::{Verdict, ensure, failed};

/// A view of the core-set as a site logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreView {
    pub id: String,
    pub primary: bool,
    pub position: u64,
    /// Lives of sites, `s2.5`, by rank.
    pub members: Vec<String>,
}

impl CoreView {
    /// The sites' numbers, by rank.
    pub fn sites(&self) -> Vec<&str> {
        self.members
            .iter()
            .map(|member| member.split_once('.').map_or(member.as_str(), |(site, _)| site))
            .collect()
    }
}

/// The views that a site logged, in order, life after life.
pub fn logged(site: &Site) -> Verdict<Vec<CoreView>> {
    site.log()
        .lines()
        .filter_map(|line| line.split_once(" view view="))
        .map(|(_, rest)| parse(rest))
        .collect()
}

/// How often the members changed, as the sites logged it, summed over all of them. A step that only changes a group, such
/// as the last join before, may come late and is no change of members.
pub fn member_changes(sites: &[Site]) -> Verdict<usize> {
    let mut changes = 0;
    for site in sites {
        let mut members: Vec<Vec<String>> = logged(site)?.into_iter().map(|view| view.members).collect();
        members.iter_mut().for_each(|members| members.sort());
        changes += members.windows(2).filter(|pair| pair[0] != pair[1]).count();
    }
    Ok(changes)
}

fn parse(rest: &str) -> Verdict<CoreView> {
    let parsed = || {
        let (id, rest) = rest.split_once(" primary=")?;
        let (primary, rest) = rest.split_once(" position=")?;
        let (position, rest) = rest.split_once(" members=")?;
        let members = rest.trim().trim_matches('"').split(' ').map(str::to_owned).collect();
        Some(CoreView {
            id: id.to_owned(),
            primary: primary.parse().ok()?,
            position: position.parse().ok()?,
            members,
        })
    };
    // A line that a kill cut off in the middle is no view.
    parsed().map_or_else(|| failed(format!("a log line that is no view: {rest}")), Ok)
}

/// Exactly one line: one view at each position, at each site positions that rise through all its lives, ids that rise
/// with the positions, and successors that share a quorum. Gives the line.
pub fn one_line(sites: &[Site]) -> Verdict<BTreeMap<u64, CoreView>> {
    let mut line: BTreeMap<u64, CoreView> = BTreeMap::new();
    for site in sites {
        let mut last = 0;
        for view in logged(site)?.into_iter().filter(|view| view.primary) {
            ensure(view.position >= last, || {
                format!("site {} went back from position {last} to {}", site.number, view.position)
            })?;
            last = view.position;
            let known = line.entry(view.position).or_insert_with(|| view.clone());
            ensure(*known == view, || format!("two primary views at one position: {known:?} and {view:?}"))?;
        }
    }
    for (before, after) in line.values().zip(line.values().skip(1)) {
        ensure(id_of(before) < id_of(after), || format!("{after:?} follows {before:?}"))?;
        if after.position == before.position + 1 {
            ensure(share_a_quorum(before, after), || {
                format!("no quorum of {before:?} is in its successor {after:?}")
            })?;
        }
    }
    Ok(line)
}

fn id_of(view: &CoreView) -> (u64, u64, &str) {
    let mut parts = view.id.splitn(3, '-');
    let mut next = || parts.next().unwrap_or_default();
    (next().parse().unwrap_or(0), next().parse().unwrap_or(0), next())
}

/// More than half of the sites, or half with rank 0. Disks are kept here, so sites stand for their votes.
fn share_a_quorum(before: &CoreView, after: &CoreView) -> bool {
    let (before, after) = (before.sites(), after.sites());
    let common = before.iter().filter(|site| after.contains(site)).count();
    2 * common > before.len() || (2 * common == before.len() && after.contains(&before[0]))
}
