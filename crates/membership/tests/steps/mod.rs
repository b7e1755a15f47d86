//! Steps made by hand, for tests of the tables.
#![allow(dead_code)]

use std::sync::Arc;

use membership::group::{Create, GroupOptions, GroupRequest, GroupView, Lives, Merges, Outcome};
use membership::kernel::Tables;
use membership::step::{CoreMember, Peer, Request, RequestId, RequestKind, Step, Why};
use membership::tables::{Applied, GroupTables};
use wire::{GroupId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, StoreId, ViewId};

pub fn life(site: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
}

pub fn view_id(epoch: u64, by: u32) -> ViewId {
    ViewId { epoch, attempt: 0, coordinator: life(by) }
}

/// The first member of the only process at a site.
pub fn member(site: u32) -> MemberId {
    member_n(site, 1)
}

pub fn member_n(site: u32, join: u64) -> MemberId {
    MemberId { process: ProcessId { birth: life(site), local: 1 }, join }
}

pub fn name(text: &str) -> GroupName {
    GroupName::parse(text).expect("a good name")
}

pub fn options(lives: Lives, merges: Merges) -> GroupOptions {
    GroupOptions { lives, merges, ..GroupOptions::default() }
}

pub fn join(group: &str, member: MemberId, role: Option<&str>, options: GroupOptions) -> GroupRequest {
    let role = role.map(str::to_owned);
    GroupRequest::Join { group: name(group), member, role, create: Create::IfMissing, options }
}

/// One side's tables, and how it got there.
#[derive(Clone)]
pub struct Side {
    pub tables: GroupTables,
    pub line: GroupTables,
    pub epoch: u64,
    pub sites: Vec<u32>,
    position: u64,
    requests: u64,
}

impl Side {
    /// A cluster whose first step lists these sites.
    pub fn found(sites: &[u32]) -> Side {
        let tables = GroupTables::new();
        let mut side =
            Side { line: tables.clone(), tables, epoch: 0, sites: Vec::new(), position: 0, requests: 0 };
        side.step(true, sites, vec![]);
        side
    }

    pub fn make(&mut self, primary: bool, sites: &[u32], requests: Vec<GroupRequest>) -> Step {
        self.epoch += 1;
        let peer =
            |site| Peer { site: SiteId(site), incarnation: Incarnation(1), store: StoreId(site.into()) };
        let id = view_id(self.epoch, sites[0]);
        let gone = self.sites.iter().filter(|s| !sites.contains(s));
        let requests = requests.into_iter().map(|asked| {
            self.requests += 1;
            let id = RequestId { origin: life(sites[0] + 100), n: self.epoch * 1_000 + self.requests };
            Request { id, kind: RequestKind::Group(asked) }
        });
        Step {
            id,
            base: self.line.view(),
            position: self.position + u64::from(primary),
            primary,
            requests: requests.collect(),
            members: sites.iter().map(|s| CoreMember { peer: peer(*s), joined_at: id }).collect(),
            removed: gone.map(|s| (peer(*s), Why::Partitioned)).collect(),
            digest: 0,
            branches: self.tables.branch().into_iter().collect(),
        }
    }

    /// Takes a step to the tables of its base.
    pub fn take(&mut self, step: &Step) -> Applied {
        let mut tables = self.line.clone();
        let applied = tables.apply(step);
        let bytes = tables.to_bytes();
        let back = GroupTables::from_bytes(&bytes).expect("what was written can be read");
        assert_eq!(back, tables, "the tables survive the disk");
        assert_eq!(back.digest(), tables.digest());
        self.epoch = step.id.epoch;
        self.sites = step.members.iter().map(|m| m.peer.site.0).collect();
        if step.primary {
            self.line = tables.clone();
            self.position = step.position;
        }
        self.tables = tables;
        applied
    }

    pub fn step(&mut self, primary: bool, sites: &[u32], requests: Vec<GroupRequest>) -> Applied {
        let step = self.make(primary, sites, requests);
        self.take(&step)
    }

    /// The line side merges with others.
    pub fn merge(&mut self, primary: bool, sites: &[u32], others: &[&Side]) -> Applied {
        self.epoch = others.iter().map(|o| o.epoch).fold(self.epoch, u64::max);
        let mut step = self.make(primary, sites, vec![]);
        step.branches.extend(others.iter().filter_map(|o| o.tables.branch()));
        self.take(&step)
    }

    pub fn members(&self, group: &str) -> Option<Vec<MemberId>> {
        let id = self.tables.group_named(&name(group))?;
        let view = self.tables.group_view(id).expect("a named group has a view");
        Some(view.members.iter().map(|m| m.id).collect())
    }

    pub fn view(&self, group: &str) -> Arc<GroupView> {
        let id = self.tables.group_named(&name(group)).expect("there is such a group");
        self.tables.group_view(id).expect("a named group has a view")
    }

    pub fn id(&self, group: &str) -> GroupId {
        self.tables.group_named(&name(group)).expect("there is such a group")
    }
}

pub fn only(applied: &Applied) -> &GroupView {
    assert_eq!(applied.views.len(), 1, "one view: {:?}", applied.views);
    &applied.views[0]
}

pub fn outcomes(applied: &Applied) -> Vec<Outcome> {
    applied.outcomes.iter().map(|(_, outcome)| *outcome).collect()
}
