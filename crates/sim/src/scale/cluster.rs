//! A world of many sites, a process at some of them, and what those saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use membership::group::{GroupOptions, GroupView};
use wire::{GroupId, MemberId, SiteIncarnation, Time, ViewId};

use super::table::{Row, beyond, less};
use super::{AFTERMATH, IDLE_FOR, NotReached, PHASE_WITHIN, Plan, name};
use crate::history::{Message, Observation, What};
use crate::host::{Answer, Cast, Event, Order, Replies, Request};
use crate::node::{Settings, Site};
use crate::payload;
use crate::trace::{Digest, Keep};
use crate::world::{self, Death, Happening, Step, Traffic, World, disk, index, network};

/// What is not told by an event is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The bytes of a message behind its number.
const PAYLOAD_BYTES: usize = 56;

/// A process, and its part in the group.
struct Member {
    id: MemberId,
    view: Arc<GroupView>,
}

pub(super) struct Cluster {
    world: World<Site>,
    mservers: usize,
    /// The core-set's view at each site that has an mserver and runs, and how many sites are in it.
    core: BTreeMap<usize, (ViewId, usize)>,
    /// By site.
    members: BTreeMap<usize, Member>,
    /// Views of the core-set, and of the group, that anybody installed.
    core_views: BTreeSet<ViewId>,
    group_views: BTreeSet<ViewId>,
    /// Who has not been delivered which message yet.
    awaited: BTreeSet<(MemberId, Message)>,
    messages: usize,
    seen: Vec<Observation>,
    /// What a second costs in which nothing changes.
    idle: Traffic,
}

impl Cluster {
    pub(super) fn new(plan: &Plan) -> Cluster {
        let model = world::Model {
            link_bytes_max: None,
            sites: plan.sites,
            founders: plan.founders,
            mservers: plan.mservers,
            // A network in one building, and a disk that is not slow.
            network: network::Model {
                latency_min: Duration::from_micros(50),
                latency_mean: Duration::from_micros(100),
                late_per_mille: 0,
                loss_per_mille: 0,
                double_per_mille: 0,
                patience_max: Duration::from_secs(10),
            },
            disk: disk::Model {
                write_mean: Duration::from_micros(500),
                slow_per_mille: 0,
                error_per_mille: 0,
            },
            drift_ppm_max: 50,
            turn_mean: Duration::ZERO,
            doom_per_mille: 0,
        };
        let hosts: Settings = plan.hosts.clone();
        Cluster {
            world: World::new(plan.seed, model, hosts, Keep::Nothing),
            mservers: plan.mservers,
            core: BTreeMap::new(),
            members: BTreeMap::new(),
            core_views: BTreeSet::new(),
            group_views: BTreeSet::new(),
            awaited: BTreeSet::new(),
            messages: 0,
            seen: Vec::new(),
            idle: Traffic::new(),
        }
    }

    /// Does something, and measures until so many of so many sites are there as `reached` wants.
    pub(super) fn phase(
        &mut self,
        phase: &'static str,
        act: impl FnOnce(&mut Self),
        reached: impl Fn(&Self) -> (usize, usize),
    ) -> Result<Row, NotReached> {
        let began = self.world.now();
        let before = self.world.traffic().clone();
        let views = (self.core_views.len(), self.group_views.len());
        act(self);
        self.world.wake(began + LOOK_EVERY, 0);
        loop {
            let (there, wanted) = reached(self);
            if there >= wanted {
                break;
            }
            if self.world.now().since(began) > PHASE_WITHIN {
                return Err(NotReached { phase, there, wanted });
            }
            self.step_until_news();
        }
        let took = self.world.now().since(began);
        let core_views = self.core_views.len() - views.0;
        let group_views = self.group_views.len() - views.1;
        self.pass(AFTERMATH);
        let lasted = self.world.now().since(began);
        let traffic = less(self.world.traffic(), &before);
        let before = self.world.traffic().clone();
        let row = Row { phase, took, core_views, group_views, traffic: beyond(traffic, &self.idle, lasted) };
        self.pass(IDLE_FOR);
        self.idle = less(self.world.traffic(), &before);
        Ok(row)
    }

    pub(super) fn start_all(&mut self) {
        for site in 0..self.world.sites() {
            assert!(self.world.start(site), "an empty disk can be read");
        }
    }

    pub(super) fn join(&mut self, site: usize) {
        let Some(process) = self.world.open_process(site) else { return };
        self.world.request(site, Request::Join(process, name(), GroupOptions::default()));
    }

    pub(super) fn kill(&mut self, site: usize, death: Death) {
        self.world.crash(site, death);
        self.listen();
    }

    /// How many of the sites that run are in the newest view of the core-set, which lists no other, or are attached
    /// to one that is; and how many run.
    pub(super) fn formed(&self) -> (usize, usize) {
        let running: Vec<usize> = (0..self.world.sites()).filter(|s| self.world.life(*s).is_some()).collect();
        let mservers = running.iter().filter(|site| **site < self.mservers).count();
        let newest = self.core.values().max().filter(|(_, size)| *size == mservers);
        let in_newest = |site: &usize| newest.is_some() && self.core.get(site) == newest;
        let there = |site: &&usize| match **site < self.mservers {
            true => in_newest(site),
            false => {
                let via = self.world.host(**site).and_then(|host| host.node().attached_to());
                via.is_some_and(|via| in_newest(&index(via)))
            }
        };
        (running.iter().filter(there).count(), running.len())
    }

    /// How many sites are in the newest view of the group, if it has so many members; and how many ought to be.
    pub(super) fn grouped(&self, size: usize) -> (usize, usize) {
        let newest = self.members.values().map(|member| &member.view).max_by_key(|view| view.id);
        let Some(newest) = newest.filter(|view| view.members.len() == size) else { return (0, size) };
        (self.members.values().filter(|member| member.view.id == newest.id).count(), size)
    }

    /// The mserver that most sites are attached to.
    pub(super) fn busiest_mserver(&self) -> usize {
        let mut guests = BTreeMap::new();
        for site in self.mservers..self.world.sites() {
            let via = self.world.host(site).and_then(|host| host.node().attached_to());
            *guests.entry(via.map_or(0, index)).or_insert(0) += 1;
        }
        guests
            .into_iter()
            .max_by_key(|(site, guests): &(usize, usize)| (*guests, *site))
            .map_or(0, |(site, _)| site)
    }

    /// A member in the middle of the group casts once.
    pub(super) fn cast_one(&mut self, order: Order, safe: bool) {
        let sites: Vec<usize> = self.members.keys().copied().collect();
        self.cast(sites[sites.len() / 2], order, safe);
    }

    /// Every member casts once in the same order of all.
    pub(super) fn cast_all(&mut self) {
        let sites: Vec<usize> = self.members.keys().copied().collect();
        sites.into_iter().for_each(|site| self.cast(site, Order::Abcast, false));
    }

    fn cast(&mut self, site: usize, order: Order, safe: bool) {
        let Member { id, view } = &self.members[&site];
        let (member, message) = (*id, self.messages);
        self.messages += 1;
        // Also if it is not taken: the phase is then not reached, and says so.
        self.awaited.extend(view.members.iter().map(|to| (to.id, message)));
        let cast = Cast {
            order,
            safe,
            exclude_self: false,
            only: Vec::new(),
            replies: Replies::None,
            payload: payload::make(message, PAYLOAD_BYTES),
        };
        let answer = self.world.request(site, Request::Cast(member.process, name(), cast));
        if matches!(answer, Some(Answer::Taken(_))) {
            let (exclude_self, only, large) = (false, Vec::new().into(), false);
            self.see(What::Cast { message, member, group: name(), order, safe, exclude_self, only, large });
        }
        self.listen();
    }

    /// How many of the messages' deliveries have come, and how many are to come.
    pub(super) fn delivered(&self) -> (usize, usize) {
        let all = self.members.len();
        let waiting: BTreeSet<MemberId> = self.awaited.iter().map(|(member, _)| *member).collect();
        (all.saturating_sub(waiting.len()), all)
    }

    /// What was sent in the last second in which nothing changed.
    pub(super) fn idle(&self) -> &Traffic {
        &self.idle
    }

    /// How long it all lasted, the digest of what happened, and what was seen.
    pub(super) fn end(mut self) -> (Duration, Digest, Vec<Observation>) {
        let lasted = self.world.now().since(Time::ZERO);
        self.see(What::Healed);
        (lasted, self.world.trace().digest(), self.seen)
    }

    fn see(&mut self, what: What) {
        self.seen.push(Observation { at: self.world.now(), what });
    }

    fn pass(&mut self, time: Duration) {
        let until = self.world.now() + time;
        while self.world.next_at().is_some_and(|next| next < until) {
            self.world.step();
            self.listen();
        }
    }

    /// Goes on until something has changed of what phases wait for, or for a little while.
    fn step_until_news(&mut self) {
        loop {
            let step = self.world.step();
            let news = self.listen();
            match step {
                Some(Step::Woken(_)) => {
                    self.world.wake(self.world.now() + LOOK_EVERY, 0);
                    return;
                }
                Some(Step::Moved) if !news => {}
                Some(Step::Moved) | None => return,
            }
        }
    }

    /// Takes in what the sites said; whether it is of any consequence.
    fn listen(&mut self) -> bool {
        let mut news = false;
        for happening in self.world.take_happenings() {
            news |= match happening {
                Happening::Started(_) => false,
                Happening::Died(life) => {
                    self.core.remove(&index(life.site));
                    self.members.remove(&index(life.site));
                    self.awaited.retain(|(member, _)| member.process.birth != life);
                    self.see(What::Died(life));
                    true
                }
                Happening::Said(life, event) => self.hear(life, event),
            };
        }
        news
    }

    fn hear(&mut self, life: SiteIncarnation, event: Event) -> bool {
        let site = index(life.site);
        match event {
            Event::Core { view: Some(view), primary, position, sites } => {
                self.core_views.insert(view);
                self.core.insert(site, (view, sites.len()));
                self.see(What::Core { life, view, primary, position, sites: sites.into() });
                true
            }
            Event::Core { view: None, .. } => {
                self.core.remove(&site);
                true
            }
            Event::View { view, members, transitional } => {
                self.group_views.insert(view.id);
                let transitional: Arc<[MemberId]> = transitional.into();
                for id in members {
                    self.members.insert(site, Member { id, view: view.clone() });
                    let (view, transitional) = (view.clone(), transitional.clone());
                    self.see(What::View { member: id, view, transitional });
                }
                true
            }
            Event::Left { group: _, member } | Event::Rejoining { was: member, group: _ } => {
                self.members.retain(|_, known| known.id != member);
                self.see(What::Left(member));
                true
            }
            Event::Deliver { group, view, from, to: _, order: _, reply: _, payload } => {
                self.took(site, group, view, from, payload::read(&payload).filter(|m| *m < self.messages));
                self.awaited.is_empty()
            }
            Event::Signal { group: _ } => {
                if let Some(member) = self.members.get(&site).map(|member| member.id) {
                    self.see(What::Signal(member));
                }
                false
            }
            Event::JoinFailed { .. }
            | Event::CallDone { .. }
            | Event::NotSent { .. }
            | Event::Flushed { .. }
            | Event::Blocked { .. }
            | Event::MayStop
            | Event::Transition(_)
            | Event::Coordinating(_)
            | Event::Durable(..)
            | Event::Store(..)
            | Event::Note(_) => false,
        }
    }

    fn took(&mut self, site: usize, group: GroupId, view: ViewId, from: MemberId, message: Option<Message>) {
        let Some(member) = self.members.get(&site).map(|member| member.id) else { return };
        if let Some(message) = message {
            self.awaited.remove(&(member, message));
        }
        self.see(What::Deliver { member, message, group, view, from });
    }
}
