//! The meeting of the sides of a partition: which groups become one again (A6) [Neely 94, IV.E.2].
//!
//! Every site brings the truth about its own members from the newest view that lists it: a view of the line
//! or of a branch. A family is what the sides hold under one name. The side that goes on is the line's if it
//! lives, else the largest living one; a living side merges into it as the group's rule says, or goes on
//! under a name of its own; members of a side that had died are dropped, and their interfaces let them join
//! again under new join numbers, with the state of the living.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{GroupId, GroupName, MemberId, SiteIncarnation, ViewId};

use super::change::Change;
use super::group::{Draft, Group};
use super::{GroupTables, MEMBERS_MAX};
use crate::group::{Branch, Merges};
use crate::step::Why;

/// Where the truth about a site comes from: 0 is the tables, `k` the branch `k - 1`.
type Source = usize;

/// A group as one side has it, with the members that this side speaks for.
struct Side {
    source: Source,
    /// The group there, with all who were in it.
    group: Arc<Group>,
    members: Vec<(MemberId, Option<String>)>,
}

/// Lets the sides meet. `core` and `view` are those of the tables before the step; the tables' sites are
/// renewed already. Branches are distinct and in the order of their views.
pub(super) fn meet(
    change: &mut Change<'_>,
    core: &BTreeSet<SiteIncarnation>,
    view: ViewId,
    branches: &[&Branch],
) {
    let sources = sources(change.tables, core, view, branches);
    let families = families(change.tables, &sources, branches);
    let names: BTreeSet<GroupName> = families.keys().cloned().collect();
    for (name, sides) in families {
        settle_family(change, &name, sides, &names);
    }
}

/// For each present life of a site, the newest view that lists it.
fn sources(
    tables: &GroupTables,
    core: &BTreeSet<SiteIncarnation>,
    view: ViewId,
    branches: &[&Branch],
) -> BTreeMap<SiteIncarnation, Source> {
    let mut sources = BTreeMap::new();
    for life in &tables.core {
        let ours = core.contains(life).then_some((view, 0));
        let theirs = branches.iter().enumerate().filter(|(_, b)| b.sites.contains(life));
        if let Some((_, source)) = theirs.map(|(k, b)| (b.view, k + 1)).chain(ours).max() {
            sources.insert(*life, source);
        }
    }
    // An attached site is where its mserver is.
    for (life, via) in tables.attached() {
        let host = tables.core.iter().find(|l| l.site == via).and_then(|l| sources.get(l));
        sources.insert(life, host.copied().unwrap_or(0));
    }
    sources
}

fn families(
    tables: &GroupTables,
    sources: &BTreeMap<SiteIncarnation, Source>,
    branches: &[&Branch],
) -> BTreeMap<GroupName, Vec<Side>> {
    let mut names: BTreeMap<GroupId, GroupName> = BTreeMap::new();
    let mut families: BTreeMap<GroupName, Vec<Side>> = BTreeMap::new();
    let mut seen: BTreeSet<MemberId> = BTreeSet::new();
    let mut mine = |source: Source, members: &[(MemberId, Option<String>)]| -> Vec<_> {
        let speaks_for = |m: &MemberId| sources.get(&m.process.birth) == Some(&source);
        members.iter().filter(|(m, _)| speaks_for(m) && seen.insert(*m)).cloned().collect()
    };
    for entry in tables.groups.values() {
        let group = entry.group.clone();
        names.insert(group.id, group.name.clone());
        let members = mine(0, &group.members);
        families.entry(group.name.clone()).or_default().push(Side { source: 0, group, members });
    }
    for (k, branch) in branches.iter().enumerate() {
        for brought in &branch.groups {
            let group = Arc::new(Group::of_branch(brought));
            // A group that was given another name at an earlier meeting is known by its id.
            let name = names.entry(group.id).or_insert_with(|| group.name.clone()).clone();
            let members = mine(k + 1, &group.members);
            if !members.is_empty() {
                families.entry(name).or_default().push(Side { source: k + 1, group, members });
            }
        }
    }
    families
}

fn settle_family(
    change: &mut Change<'_>,
    name: &GroupName,
    mut sides: Vec<Side>,
    taken: &BTreeSet<GroupName>,
) {
    let Some(base) = base_of(&sides) else {
        sides.iter().for_each(|side| end(change, side, Fate::Dropped));
        return;
    };
    let base = sides.remove(base);
    let mut draft = draft_of(change, name, &base);
    let mut apart = Vec::new();
    for side in sides {
        let lives = side.lives() && base.lives();
        let is_merged = lives && merges(&base, &side);
        if is_merged {
            enter(&mut draft, &base, &side);
        } else if side.group.id == base.group.id {
            // Its members are told by the view that they are not in it: theirs may be a higher one than the last.
            draft.previous.extend(side.members.iter().map(|(m, _)| (*m, side.group.view)));
        }
        if lives && !is_merged && !side.members.is_empty() {
            apart.push(side);
        } else if side.group.id != base.group.id {
            let fate = if lives { Fate::Moved } else { Fate::Dropped };
            end(change, &side, fate);
        }
    }
    drop_missing(change, &mut draft);
    change.settle(draft);
    for side in apart {
        go_apart(change, name, side, taken);
    }
}

/// The side that goes on: the line's, if it lives; else the largest that lives; else, when all had died, the one that
/// lived last, unless the line has gone on without it since: then nobody is left who knows how it went on.
fn base_of(sides: &[Side]) -> Option<usize> {
    let weight = |side: &Side| {
        let died = (!side.lives()).then(|| side.lived_last());
        (side.lives(), side.source == 0, died, side.members.len())
    };
    let line = sides.iter().find(|side| side.source == 0);
    let is_newest = |side: &Side| {
        side.lives()
            || side.source == 0
            || line.is_some_and(|l| l.group.id == side.group.id && side.lived_last() >= l.lived_last())
    };
    let candidates = sides.iter().enumerate().filter(|(_, s)| !s.members.is_empty() && is_newest(s));
    // Of equals the first: branches stand in the order of their views.
    candidates.rev().max_by_key(|(_, s)| weight(s)).map(|(k, _)| k)
}

fn merges(base: &Side, other: &Side) -> bool {
    let has = |side: &Side, role: &str| side.members.iter().any(|(_, r)| r.as_deref() == Some(role));
    match &base.group.options.merges {
        Merges::Never => false,
        Merges::SameName => true,
        Merges::ContainingRole(role) => has(base, role) || has(other, role),
    }
}

/// The draft of the group that goes on, with the base side's members. What is counted, and who is absent, is
/// known to the tables.
fn draft_of(change: &Change<'_>, name: &GroupName, base: &Side) -> Draft {
    let mut draft = Draft::of(base.group.clone());
    draft.now.name = name.clone();
    draft.now.members = base.members.clone();
    if base.source != 0
        && let Some(known) = change.tables.groups.get(&base.group.id)
    {
        draft.now.absent = known.group.absent.clone();
        draft.now.counts = known.group.counts;
    }
    draft
}

/// Lets the members of another living side in.
fn enter(draft: &mut Draft, base: &Side, side: &Side) {
    for (member, role) in &side.members {
        if draft.now.members.len() >= MEMBERS_MAX {
            return; // the rest is dropped, and refused as `Full` when it joins again
        }
        draft.now.members.push((*member, role.clone()));
        if side.group.id == base.group.id {
            draft.previous.insert(*member, side.group.view);
        }
    }
}

/// Those of the group before who have not come along are gone; the others keep their rank.
fn drop_missing(change: &mut Change<'_>, draft: &mut Draft) {
    let Some(before) = draft.before.clone() else { return };
    let ranks: BTreeMap<MemberId, usize> =
        before.members.iter().enumerate().map(|(rank, (m, _))| (*m, rank)).collect();
    draft.now.members.sort_by_key(|(m, _)| ranks.get(m).copied().unwrap_or(usize::MAX));
    let kept: BTreeSet<MemberId> = draft.now.members.iter().map(|(m, _)| *m).collect();
    let told: Vec<MemberId> = draft.previous.keys().copied().collect();
    for member in ranks.into_keys().chain(told).filter(|m| !kept.contains(m)) {
        let life = member.process.birth;
        change.displace(member);
        draft.left.insert(member, change.why_gone(life));
        let is_known = change.tables.is_present(life) || change.is_superseded(life);
        if change.is_primary() && !is_known && draft.now.minds_absence() {
            draft.now.absent.insert(member);
        }
    }
}

/// A living side that does not merge goes on as a group of its own. It keeps its id if it can: if the side
/// was cut from a group that goes on without it, it becomes another group.
fn go_apart(change: &mut Change<'_>, name: &GroupName, side: Side, taken: &BTreeSet<GroupName>) {
    let keeps_id = change.drafted(side.group.id).is_none();
    let id = if keeps_id { side.group.id } else { change.new_group_id() };
    let name = change.side_name(name, side.group.view, taken);
    let mut draft = if keeps_id {
        Draft::of(side.group.clone())
    } else {
        Draft::fresh(Group::new(id, GroupName::clone(&name), side.group.options.clone()))
    };
    draft.now.name = name;
    draft.now.members = side.members;
    drop_missing(change, &mut draft);
    change.settle(draft);
}

/// What becomes of the members of a side whose group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They are in another group.
    Moved,
    /// They must join again.
    Dropped,
}

/// The group of this side ends.
fn end(change: &mut Change<'_>, side: &Side, fate: Fate) {
    let ended = change.drafted(side.group.id).map(|d| d.clone());
    let mut draft = ended.unwrap_or_else(|| Draft::of(side.group.clone()));
    draft.previous.extend(side.members.iter().map(|(m, _)| (*m, side.group.view)));
    draft.now.members.clear();
    let before = draft.before.iter().flat_map(|b| &b.members);
    let gone: BTreeSet<MemberId> = before.chain(&side.members).map(|(m, _)| *m).collect();
    for member in gone {
        change.displace(member);
        let moved = fate == Fate::Moved && change.tables.is_present(member.process.birth);
        let why = if moved { Why::Left } else { change.why_gone(member.process.birth) };
        draft.left.insert(member, why);
    }
    // On a branch it had ended before, when the side was cut off.
    draft.is_silent = !change.is_primary() && side.members.is_empty();
    change.settle(draft);
}

impl Side {
    fn lives(&self) -> bool {
        self.group.lives
    }

    /// The newest view in which this side lived, as far as a member can tell.
    fn lived_last(&self) -> ViewId {
        if self.lives() {
            return self.group.view;
        }
        let members = self.group.last.iter().flat_map(|view| &view.members);
        members.filter_map(|member| member.previous).max().unwrap_or_default()
    }
}
