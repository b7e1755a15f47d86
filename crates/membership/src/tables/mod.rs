//! The tables of a core-set: application groups, the site table, attached sites, settled requests.
//!
//! A deterministic replicated state machine, a function of steps (A6): every mserver applies every step and
//! has the same tables after it. `change` is one step at work, `sides` is the meeting of the sides of a
//! partition, `group` one group, `settled` what has been decided, `codec` the form on disk and in Init.

mod change;
mod codec;
mod group;
mod settled;
mod sides;
mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use minicbor::Encode;
use siphasher::sip::SipHasher13;
use wire::{GroupId, GroupName, MemberId, ProcessId, SiteId, SiteIncarnation, ViewId};

use crate::group::{Branch, BranchGroup, GroupOptions, GroupStatistics, GroupView, Outcome, SiteInfo};
use crate::kernel::{Applied as Made, Tables};
use crate::step::{Peer, Request, RequestId, Step};

pub use codec::BadTables;

use group::Group;
use settled::Settled;
use sites::Sites;

/// Groups in one core-set: at the bound none is created. Sides that meet may bring more.
pub const GROUPS_MAX: usize = 65_536;
/// Members in one group.
pub const MEMBERS_MAX: usize = 4_096;
/// Bytes of a role.
pub const ROLE_BYTES_MAX: usize = 64;
/// Lines of the site table, and attached sites.
pub const SITES_MAX: usize = 4_096;
/// Addresses of one site.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of a site's name or of one address.
pub const SITE_BYTES_MAX: usize = 256;

/// What a step did to the tables.
pub type Applied = Made<Arc<GroupView>>;

/// The replicated tables. Cloning shares the groups. Two tables are equal if they hold the same; the hash is
/// the [`digest`](Tables::digest).
#[derive(Clone, Debug, Default)]
pub struct GroupTables {
    /// The step after which these are the tables.
    view: ViewId,
    /// Whether that step is on the line.
    primary: bool,
    /// The core members of that step.
    core: BTreeSet<SiteIncarnation>,
    /// The members of the first view of the line, which all founders decided: their stores are the first that count in
    /// durable groups.
    founders: Vec<Peer>,
    sites: Sites,
    groups: BTreeMap<GroupId, Entry>,
    settled: Settled,
    /// Derived from `groups`: the ids by name.
    names: BTreeMap<GroupName, GroupId>,
    /// Derived from `groups`: each process's memberships.
    processes: BTreeMap<ProcessId, BTreeMap<MemberId, GroupId>>,
    /// Derived from `groups`: the sum of their digests.
    sum: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    group: Arc<Group>,
    digest: u64,
}

impl PartialEq for GroupTables {
    fn eq(&self, other: &Self) -> bool {
        let groups = |t: &Self| t.groups.values().map(|e| e.group.clone()).collect::<Vec<_>>();
        self.digest() == other.digest()
            && (self.view, self.primary) == (other.view, other.primary)
            && self.core == other.core
            && self.founders == other.founders
            && self.sites == other.sites
            && self.settled == other.settled
            && groups(self) == groups(other)
    }
}

impl Eq for GroupTables {}

impl Hash for GroupTables {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest().hash(state);
    }
}

impl GroupTables {
    /// The tables before the first step: nothing in them.
    pub fn new() -> GroupTables {
        GroupTables::default()
    }

    /// The id of the step after which these are the tables.
    pub fn view(&self) -> ViewId {
        self.view
    }

    /// Whether that step is on the line.
    pub fn primary(&self) -> bool {
        self.primary
    }

    /// The newest view of a group, as it was given.
    pub fn group_view(&self, group: GroupId) -> Option<Arc<GroupView>> {
        self.groups.get(&group).map(|e| Arc::new(e.group.given_view().clone()))
    }

    /// The newest views of all groups, by id.
    pub fn group_views(&self) -> impl Iterator<Item = Arc<GroupView>> + '_ {
        self.groups.values().map(|e| Arc::new(e.group.given_view().clone()))
    }

    /// The id of the group of that name.
    pub fn group_named(&self, name: &GroupName) -> Option<GroupId> {
        self.names.get(name).copied()
    }

    /// The newest view id of a group.
    pub fn group_view_id(&self, group: GroupId) -> Option<ViewId> {
        self.groups.get(&group).map(|e| e.group.view)
    }

    /// A group's rules.
    pub fn options(&self, group: GroupId) -> Option<&GroupOptions> {
        self.groups.get(&group).map(|e| &e.group.options)
    }

    /// What a group has been through.
    pub fn statistics(&self, group: GroupId) -> Option<GroupStatistics> {
        self.groups.get(&group).map(|e| e.group.statistics())
    }

    /// The group that a member is in.
    pub fn group_of(&self, member: MemberId) -> Option<GroupId> {
        self.processes.get(&member.process)?.get(&member).copied()
    }

    /// The memberships of a process: groups nest and overlap.
    pub fn memberships(&self, process: ProcessId) -> impl Iterator<Item = (MemberId, GroupId)> + '_ {
        self.processes.get(&process).into_iter().flatten().map(|(m, g)| (*m, *g))
    }

    /// The memberships of all processes of one life of a site.
    pub fn memberships_at(&self, life: SiteIncarnation) -> impl Iterator<Item = (MemberId, GroupId)> + '_ {
        let from = ProcessId { birth: life, local: 0 };
        let to = ProcessId { birth: life, local: u64::MAX };
        self.processes.range(from..=to).flat_map(|(_, groups)| groups.iter().map(|(m, g)| (*m, *g)))
    }

    /// The groups of a scope (`@scope:name`), by name; none: those without one.
    pub fn groups_in_scope<'a>(
        &'a self,
        scope: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a GroupName, GroupId)> {
        self.names.iter().filter(move |(n, _)| n.scope() == scope).map(|(n, g)| (n, *g))
    }

    /// The site table.
    pub fn site_table(&self) -> impl Iterator<Item = (SiteId, &SiteInfo)> + '_ {
        self.sites.table()
    }

    /// What the site table says of a site.
    pub fn site(&self, site: SiteId) -> Option<&SiteInfo> {
        self.sites.info(site)
    }

    /// The attached sites, each with the site whose mserver it uses.
    pub fn attached(&self) -> impl Iterator<Item = (SiteIncarnation, SiteId)> + '_ {
        self.sites.attached().into_iter().map(|(life, via, _)| (life, via))
    }

    /// Whether processes of this life of a site may be members: it is in the core-set or attached.
    pub fn is_present(&self, life: SiteIncarnation) -> bool {
        self.core.contains(&life) || self.sites.is_attached(life)
    }

    /// The core members of the newest step.
    pub fn core(&self) -> impl Iterator<Item = SiteIncarnation> + '_ {
        self.core.iter().copied()
    }

    /// The members of the first view of the line, with their stores; none before there was one. Never changes after.
    pub fn founders(&self) -> &[Peer] {
        &self.founders
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Puts a group into the tables, or takes it out if it has no members; keeps what is derived from it.
    fn put(&mut self, group: Group) {
        self.take_out(group.id);
        if group.members.is_empty() {
            return;
        }
        let digest = digest_of(&group);
        self.sum = self.sum.wrapping_add(digest);
        let other = self.names.insert(group.name.clone(), group.id);
        assert!(other.is_none(), "the name {} has two groups", group.name);
        for (member, _) in &group.members {
            self.processes.entry(member.process).or_default().insert(*member, group.id);
        }
        self.groups.insert(group.id, Entry { group: Arc::new(group), digest });
    }

    fn take_out(&mut self, id: GroupId) -> Option<Arc<Group>> {
        let Entry { group, digest } = self.groups.remove(&id)?;
        self.sum = self.sum.wrapping_sub(digest);
        self.names.remove(&group.name);
        for (member, _) in &group.members {
            if let Some(groups) = self.processes.get_mut(&member.process) {
                groups.remove(member);
                if groups.is_empty() {
                    self.processes.remove(&member.process);
                }
            }
        }
        Some(group)
    }
}

impl Tables for GroupTables {
    type View = Arc<GroupView>;

    /// Each changed group has one view, by group id. Requests settled before are passed over.
    fn apply(&mut self, step: &Step) -> Applied {
        change::apply(self, step)
    }

    fn digest(&self) -> u64 {
        digest_of(&(
            (self.view, self.primary),
            self.core.iter().copied().collect::<Vec<_>>(),
            &self.founders,
            &self.sites,
            &self.settled,
            (self.groups.len() as u64, self.sum),
        ))
    }

    /// The outcomes of requests long past are told as `Done` or as refused for being stale.
    fn settled(&self, id: RequestId) -> Option<Outcome> {
        self.settled.get(id)
    }

    fn wants(&self, request: &Request, primary: bool) -> bool {
        self.settled.get(request.id).is_none() && (primary || change::would_act(self, request))
    }

    fn branch(&self) -> Option<Branch> {
        if self.primary || self.view == ViewId::default() {
            return None;
        }
        let group = |e: &Entry| BranchGroup {
            view: e.group.given_view().clone(),
            refreshed: e.group.refreshed.iter().copied().collect(),
        };
        Some(Branch {
            view: self.view,
            sites: self.core.iter().copied().collect(),
            attached: self.sites.attached(),
            groups: self.groups.values().map(group).collect(),
        })
    }

    fn views(&self) -> Vec<Arc<GroupView>> {
        self.group_views().collect()
    }
}

/// SipHash-1-3 with zero keys over the canonical encoding.
fn digest_of<T: Encode<()>>(value: &T) -> u64 {
    let bytes = minicbor::to_vec(value).expect("a Vec takes every byte");
    let mut hasher = SipHasher13::new();
    hasher.write(&bytes);
    hasher.finish()
}
