//! Small ids and views for the tests of this module: member `n` is the only one of site `n`.

use std::sync::Arc;

use membership::group::{GroupMember, GroupOptions, GroupView};
use membership::step::Why;
use wire::{GroupId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, ViewId};

use super::Installed;
use super::outsider::ClientId;

pub fn life(n: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(n), incarnation: Incarnation(1) }
}

pub fn member(n: u32) -> MemberId {
    MemberId { process: ProcessId { birth: life(n), local: 1 }, join: 1 }
}

pub fn client(n: u32) -> ClientId {
    ClientId { process: ProcessId { birth: life(n), local: 7 }, stream: 1 }
}

pub fn view_id(epoch: u64) -> ViewId {
    ViewId { epoch, attempt: 0, coordinator: life(1) }
}

pub fn group() -> GroupId {
    GroupId { created: view_id(1), index: 0 }
}

/// A view in which everybody comes from the view before.
pub fn view(epoch: u64, members: &[u32]) -> GroupView {
    view_with(epoch, members, &[], &[])
}

/// A view with joiners, who must be among the members, and with those who failed.
pub fn view_with(epoch: u64, members: &[u32], joined: &[u32], failed: &[u32]) -> GroupView {
    let previous = |n: &u32| if joined.contains(n) { None } else { Some(view_id(epoch - 1)) };
    GroupView {
        group: group(),
        name: GroupName::parse("g").expect("a good name"),
        id: view_id(epoch),
        primary: true,
        lives: true,
        members: members
            .iter()
            .map(|n| GroupMember { id: member(*n), role: None, previous: previous(n) })
            .collect(),
        joined: joined.iter().map(|n| member(*n)).collect(),
        left: failed.iter().map(|n| (member(*n), Why::Failed)).collect(),
        options: GroupOptions::default(),
    }
}

/// The view as a site sees it that came together with the sites `together`.
pub fn installed(view: GroupView, together: &[u32]) -> Installed {
    Installed { view: Arc::new(view), together: together.iter().map(|n| life(*n)).collect() }
}
