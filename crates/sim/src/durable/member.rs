//! The process that each site has in the group: it joins whenever it is not in it.

use std::sync::Arc;

use membership::group::{GroupOptions, GroupView};
use wire::{GroupName, MemberId, ProcessId, SiteIncarnation};

use crate::host::{Answer, Event, Host, Request};
use crate::world::{World, index};

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    Out,
    Asked,
    In(MemberId, Arc<GroupView>),
}

#[derive(Clone, Debug, Default)]
struct Member {
    process: Option<ProcessId>,
    stage: Stage,
}

/// The members, by site.
pub struct Members {
    group: GroupName,
    sites: Vec<Member>,
}

impl Members {
    pub fn new(group: GroupName, sites: usize) -> Members {
        Members { group, sites: vec![Member::default(); sites] }
    }

    pub fn started<H: Host>(&mut self, world: &mut World<H>, site: usize) {
        self.sites[site] = Member { process: world.open_process(site), stage: Stage::Out };
    }

    pub fn died(&mut self, site: usize) {
        self.sites[site] = Member::default();
    }

    /// Whoever is out asks to be let in.
    pub fn join<H: Host>(&mut self, world: &mut World<H>) {
        for (site, member) in self.sites.iter_mut().enumerate() {
            if let (Some(process), Stage::Out) = (member.process, &member.stage) {
                let join = Request::Join(process, self.group.clone(), GroupOptions::default());
                if let Some(Answer::Taken(_)) = world.request(site, join) {
                    member.stage = Stage::Asked;
                }
            }
        }
    }

    pub fn hear(&mut self, life: SiteIncarnation, event: &Event) {
        let member = &mut self.sites[index(life.site)];
        match event {
            Event::View { view, members, .. } if view.name == self.group => {
                let own = members.iter().find(|own| Some(own.process) == member.process);
                if let Some(own) = own {
                    member.stage = Stage::In(*own, Arc::clone(view));
                }
            }
            Event::Left { member: left, .. } => {
                if matches!(&member.stage, Stage::In(own, _) if own == left) {
                    member.stage = Stage::Out;
                }
            }
            Event::JoinFailed { process, .. } if member.process == Some(*process) => {
                member.stage = Stage::Out
            }
            Event::Rejoining { was, .. } if member.process == Some(was.process) => {
                member.stage = Stage::Asked;
            }
            _ => {}
        }
    }

    /// Whether all are in one view of the group, with everybody in it.
    pub fn together(&self) -> bool {
        let mut views = self.sites.iter().map(|member| match &member.stage {
            Stage::In(own, view) => view.members.iter().any(|m| m.id == *own).then_some(view),
            Stage::Out | Stage::Asked => None,
        });
        let Some(Some(first)) = views.next() else { return false };
        let whole = first.lives && first.primary && first.members.len() == self.sites.len();
        whole && views.all(|view| view.is_some_and(|view| view.id == first.id))
    }
}
