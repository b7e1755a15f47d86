//! What a node knows of its cluster, for people and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use membership::group::GroupView;
use membership::interface::Looked;
use membership::service::Service;
use membership::step::Peer;
use wire::{GroupName, SiteId};

use super::Node;
use crate::api::{GroupSummary, SiteState, SiteSummary, Status};

impl Node {
    /// The cluster, as this site sees it.
    pub fn status(&self) -> Status {
        let learned = self.service.as_ref().and_then(Service::view);
        let attached = self.interface.core().filter(|_| !self.config.mserver);
        Status {
            view: self.view_id().or(attached.map(|(view, _, _)| view)),
            primary: learned.map_or(attached.is_some_and(|(_, primary, _)| primary), |l| l.step.primary),
            position: learned.map_or(0, |learned| learned.step.position),
            sites: self.sites(),
            groups: self.group_views().into_iter().map(|view| GroupSummary { view }).collect(),
            waiting_for: self.waiting_for(),
        }
    }

    /// Whether this is an mserver that is in no primary view, or in one that the others have left behind.
    pub fn is_off_primary(&self) -> bool {
        self.service.as_ref().is_some_and(|service| !service.kernel().is_primary())
    }

    /// The sites that are known, by number, as this site sees them.
    pub fn sites(&self) -> Vec<SiteSummary> {
        let learned = self.service.as_ref().and_then(Service::view);
        let mut sites: BTreeMap<SiteId, SiteSummary> = BTreeMap::new();
        let me = (self.config.me.site, self.config.name.clone());
        for (site, name) in self.config.known.iter().cloned().chain([me]) {
            let summary = SiteSummary { site, name, state: SiteState::Down, incarnation: None, rank: None };
            sites.insert(site, summary);
        }
        if let Some(learned) = learned {
            for (site, info) in learned.tables.site_table() {
                sites.entry(site).or_insert_with(|| unnamed(site)).name = info.name.clone();
            }
        }
        let attached = self.interface.core().filter(|_| !self.config.mserver);
        let members = attached.map_or(&self.members[..], |(_, _, core)| core);
        for (rank, life) in members.iter().enumerate() {
            let summary = sites.entry(life.site).or_insert_with(|| unnamed(life.site));
            summary.state = SiteState::Up;
            summary.incarnation = Some(life.incarnation);
            summary.rank = Some(rank);
        }
        for (life, _) in learned.into_iter().flat_map(|learned| learned.tables.attached()) {
            let summary = sites.entry(life.site).or_insert_with(|| unnamed(life.site));
            (summary.state, summary.incarnation) = (SiteState::Up, Some(life.incarnation));
        }
        if self.interface.attached_to().is_some() {
            let me = sites.entry(self.config.me.site).or_insert_with(|| unnamed(self.config.me.site));
            me.state = SiteState::Up;
            me.incarnation = Some(self.config.me.incarnation);
        }
        for life in self.detector.suspected() {
            if let Some(summary) = sites.get_mut(&life.site)
                && summary.rank.is_some()
            {
                summary.state = SiteState::Suspected;
            }
        }
        sites.into_values().collect()
    }

    /// The sites of the first view of the line, with the stores that they had then; empty while this site knows of none,
    /// and where there is no mserver. They are the first that count in durable groups.
    pub fn founders(&self) -> &[Peer] {
        let learned = self.service.as_ref().and_then(|service| service.view().or(service.kernel().line()));
        learned.map_or(&[], |learned| learned.tables.founders())
    }

    /// The mserver elsewhere that this site uses, once it has answered; none if it has its own.
    pub fn attached_to(&self) -> Option<SiteId> {
        self.interface.attached_to()
    }

    /// A group as this site knows it. An attached site that does not know it asks its mserver:
    /// [`Event::Looked`](crate::Event::Looked) follows, and again whenever the group changes.
    pub fn look(&mut self, name: &GroupName) -> Looked {
        if !self.config.mserver {
            return self.interface.look(name);
        }
        self.group_view(name).map_or(Looked::Missing, Looked::View)
    }

    /// The current view of a group, by name, where there is an mserver; see [`Node::look`].
    pub fn group_view(&self, name: &GroupName) -> Option<Arc<GroupView>> {
        let tables = &self.service.as_ref().and_then(Service::view)?.tables;
        tables.group_view(tables.group_named(name)?)
    }

    /// The current views of all groups, by name.
    pub fn group_views(&self) -> Vec<Arc<GroupView>> {
        let learned = self.service.as_ref().and_then(Service::view);
        let known = || self.interface.known_views().cloned().collect();
        let mut views: Vec<_> = learned.map_or_else(known, |learned| learned.tables.group_views().collect());
        views.sort_by(|a: &Arc<GroupView>, b| a.name.cmp(&b.name));
        views
    }

    /// In one line, what a site that can't serve waits for.
    fn waiting_for(&self) -> Option<String> {
        let Some(service) = self.service.as_ref() else {
            let detached = self.interface.attached_to().is_none();
            return detached.then(|| "waiting for a site with an mserver to attach to".to_owned());
        };
        let name = |site: SiteId| {
            let known = self.config.known.iter().find(|(known, _)| *known == site);
            known.map_or_else(|| site.to_string(), |(_, name)| name.clone())
        };
        let missing = |sites: &mut dyn Iterator<Item = SiteId>| {
            let absent: Vec<String> = sites
                .filter(|site| *site != self.config.me.site && !self.heard.contains(site))
                .map(name)
                .collect();
            absent.join(", ")
        };
        match (service.view(), service.kernel().line()) {
            (Some(view), _) if view.step.primary => None,
            (Some(_), Some(line)) => {
                let absent = missing(&mut line.step.members.iter().map(|m| m.peer.site));
                Some(format!("this side has no majority; it waits for {absent}"))
            }
            (None, Some(line)) => {
                let absent = missing(&mut line.step.members.iter().map(|m| m.peer.site));
                Some(format!("waiting for a majority of the last view; not heard: {absent}"))
            }
            (None, None) if !self.config.founders.contains(&self.config.me.site) => {
                Some("waiting to be let in by a site of the cluster".to_owned())
            }
            (Some(_) | None, None) => {
                let absent = missing(&mut self.config.founders.iter().copied());
                Some(format!("waiting for the founders; not heard: {absent}"))
            }
        }
    }
}

fn unnamed(site: SiteId) -> SiteSummary {
    SiteSummary { site, name: site.to_string(), state: SiteState::Down, incarnation: None, rank: None }
}
