//! The group communication, abstract: in each view one order, which its first site makes, and of which every member has
//! a prefix until it begins to flush. Who goes on together then delivers the same, and others may have delivered it in
//! another order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use durable::View;
use wire::{Incarnation, SiteId, SiteIncarnation, ViewId};

use super::World;

#[derive(Clone, Debug)]
pub enum Told {
    Blocked,
    View(View),
    Deliver(SiteId, Bytes),
}

/// A view as the group has it.
#[derive(Clone, Debug)]
pub struct GroupView {
    pub sites: Vec<SiteId>,
    /// Cast and not ordered.
    pub pool: Vec<(SiteId, Bytes)>,
    pub order: Vec<(SiteId, Bytes)>,
}

/// Where a host is.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    pub view: Option<ViewId>,
    /// How much of the order it has.
    pub received: usize,
    /// It flushes for a view.
    pub flushing: Option<(ViewId, bool)>,
    /// What the machine has not been told yet.
    pub inbox: VecDeque<Told>,
}

impl World {
    /// Something happens in a group: a message gets its place, or a member gets the next one, or a flush ends.
    pub fn step_groups(&mut self) {
        let sites = self.up();
        let Some(site) = self.dice.pick(&sites) else { return };
        if self.hosts[&site].group.flushing.is_some() {
            if self.healing || self.dice.once_in(4) {
                self.install(site);
            }
            return;
        }
        let Some(view) = self.hosts[&site].group.view else { return };
        let sequencer = self.groups[&view].sites[0];
        if sequencer == site && (self.healing || self.dice.once_in(2)) {
            self.order(site, view);
        }
        self.receive(site, view);
    }

    fn order(&mut self, site: SiteId, view: ViewId) {
        let side = &self.side;
        let group = self.groups.get_mut(&view).expect("a view that is installed");
        let reach: Vec<usize> = group
            .pool
            .iter()
            .enumerate()
            .filter(|(_, (from, _))| side[from] == side[&site])
            .map(|(place, _)| place)
            .collect();
        if let Some(place) = self.dice.pick(&reach) {
            let message = group.pool.remove(place);
            group.order.push(message);
        }
    }

    /// The next of the order, from the sequencer or whoever has it.
    fn receive(&mut self, site: SiteId, view: ViewId) {
        let received = self.hosts[&site].group.received;
        let group = &self.groups[&view];
        let has = |other: &SiteId| {
            let there = &self.hosts[other].group;
            self.connected(site, *other)
                && there.view == Some(view)
                && self.hosts[other].machine.is_some()
                && (*other == group.sites[0] || there.received > received)
        };
        if received < group.order.len() && group.sites.iter().any(has) {
            let (from, payload) = group.order[received].clone();
            let host = self.hosts.get_mut(&site).expect("a host");
            host.group.received += 1;
            host.group.inbox.push_back(Told::Deliver(from, payload));
        }
    }

    /// A new view of everybody on a side. Members begin to flush; each installs it when its time comes.
    pub fn change_view(&mut self, side: u64) {
        let mut sites: Vec<SiteId> = self.up().into_iter().filter(|site| self.side[site] == side).collect();
        if sites.is_empty() {
            return;
        }
        let turn = self.dice.below(sites.len() as u64) as usize;
        if self.dice.once_in(3) {
            sites.rotate_left(turn);
        }
        // Above every view of its members; not always above what a restarted member was in before, or the other sides.
        self.made += 1;
        let newest = |site: &SiteId| {
            let group = &self.hosts[site].group;
            group.flushing.map(|(view, _)| view).max(group.view).map_or(0, |view| view.epoch)
        };
        let above = sites.iter().map(newest).max().unwrap_or(0);
        let all = self.groups.keys().map(|view| view.epoch).max().unwrap_or(0);
        let epoch = 1 + if self.healing || self.dice.once_in(2) { all } else { above };
        let coordinator = SiteIncarnation { site: sites[0], incarnation: Incarnation(self.made) };
        let id = ViewId { epoch, attempt: 0, coordinator };
        let primary = self.healing || !self.dice.once_in(8);
        for site in &sites {
            let host = self.hosts.get_mut(site).expect("a host");
            if host.group.flushing.is_none() {
                host.group.inbox.push_back(Told::Blocked);
            }
            host.group.flushing = Some((id, primary));
        }
        self.groups.insert(id, GroupView { sites, pool: Vec::new(), order: Vec::new() });
    }

    /// The cut, and the view. The first to install it settles the cut of all who come from the same view.
    fn install(&mut self, site: SiteId) {
        let Some((id, primary)) = self.hosts[&site].group.flushing else { return };
        let sites = self.groups[&id].sites.clone();
        let together: BTreeSet<SiteId> = sites
            .iter()
            .copied()
            .filter(|other| {
                let there = &self.hosts[other].group;
                there.flushing == Some((id, primary)) && self.hosts[other].machine.is_some()
            })
            .collect();
        let mut cuts: BTreeMap<Option<ViewId>, Vec<(SiteId, Bytes)>> = BTreeMap::new();
        for view in together.iter().map(|other| self.hosts[other].group.view) {
            let Some(group) = view.and_then(|view| self.groups.get(&view)) else { continue };
            let from_there = |other: &&SiteId| self.hosts[other].group.view == view;
            let most = together.iter().filter(from_there).map(|other| self.hosts[other].group.received).max();
            let known = most.unwrap_or(0);
            // What the sequencer ordered beyond, and what was never ordered: in any order, the same for these.
            let mine = |(from, _): &&(SiteId, Bytes)| together.contains(from);
            let mut rest: Vec<_> = group.order[known..].iter().filter(mine).cloned().collect();
            rest.extend(group.pool.iter().filter(mine).cloned());
            let turn = self.dice.below(rest.len().max(1) as u64) as usize;
            rest.rotate_left(turn);
            rest.reverse();
            let mut cut = group.order[..known].to_vec();
            cut.extend(rest);
            cuts.entry(view).or_insert(cut);
        }
        for other in together {
            let host = self.hosts.get_mut(&other).expect("a host");
            if let Some(cut) = cuts.get(&host.group.view) {
                let rest = cut.iter().skip(host.group.received).cloned();
                host.group.inbox.extend(rest.map(|(from, payload)| Told::Deliver(from, payload)));
            }
            host.group.inbox.push_back(Told::View(View { id, primary, sites: sites.clone() }));
            host.group.view = Some(id);
            host.group.received = 0;
            host.group.flushing = None;
        }
    }

    /// A machine is told the next of what its endpoint has for it.
    pub fn step_inbox(&mut self) {
        let sites = self.up();
        let Some(site) = self.dice.pick(&sites) else { return };
        self.tell(site);
    }

    pub fn tell(&mut self, site: SiteId) {
        let Some(told) = self.hosts.get_mut(&site).and_then(|host| host.group.inbox.pop_front()) else {
            return;
        };
        self.with(site, |machine, now| match told {
            Told::Blocked => machine.handle_blocked(now),
            Told::View(view) => machine.handle_view(now, view),
            Told::Deliver(from, payload) => {
                machine.handle_delivery(now, from, payload).expect("an honest cast");
            }
        });
    }
}
