//! The application: processes that join, leave, cast, reply and die, at random; and their oracle, which knows
//! everything that they were told. Generic over the host: it speaks [`Request`]s and hears [`Event`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::group::{GroupView, Merges};
use wire::{GroupId, GroupName, MemberId, ProcessId, SiteIncarnation, Time};

use crate::coverage::Kind;
use crate::dice::{Concern, Dice};
use crate::history::{Message, Observation, What, is_synchronous};
use crate::host::{Answer, Cast, Event, Host, Order, Replies, Request};
use crate::payload;
use crate::swarm::Work;
use crate::world::{World, index};

/// A process's part in one group.
#[derive(Clone, Debug, Default)]
enum Part {
    /// None, and none wanted for now.
    #[default]
    Out,
    /// It asked to join, and will be told what comes of it.
    Joining,
    /// It is a member.
    In(Membership),
}

#[derive(Clone, Debug)]
struct Membership {
    member: MemberId,
    view: Arc<GroupView>,
    leaving: bool,
    /// Whether its site joins again for it, since the line has left its side of the group behind.
    rejoining: bool,
}

/// A process, for as long as it lives.
#[derive(Clone, Debug)]
struct Process {
    site: usize,
    /// By group.
    parts: Vec<Part>,
    /// What it is in besides: a side of a group that went on under a name of its own, while it joined the other.
    besides: Vec<(usize, Membership)>,
    unflushed: Vec<Vec<Message>>,
    flushes: BTreeMap<u64, Vec<Message>>,
    calls: BTreeMap<u64, Message>,
}

/// The application and its oracle.
pub struct Workload {
    dice: Dice,
    work: Work,
    names: Vec<GroupName>,
    processes: BTreeMap<ProcessId, Process>,
    blocked: BTreeMap<(usize, GroupId), bool>,
    messages: usize,
    taken: u64,
    seen: Vec<Observation>,
    winding_up: bool,
    /// Members that are out. A view that was agreed before may still list them.
    gone: BTreeSet<MemberId>,
    /// Last words that a member of their view has not been delivered yet.
    awaited: BTreeSet<(MemberId, Message)>,
}

/// Messages from this size on may travel in fragments: 32 KiB with what the host wraps around them.
const LARGE_BYTES_MIN: usize = 31 << 10;

impl Workload {
    /// What a seed's application does.
    pub fn new(seed: u64, work: Work) -> Workload {
        let name =
            |plan: &crate::swarm::GroupPlan| GroupName::parse(&plan.name).expect("our own names are good");
        Workload {
            dice: Dice::new(seed, Concern::Workload),
            names: work.groups.iter().map(name).collect(),
            work,
            processes: BTreeMap::new(),
            blocked: BTreeMap::new(),
            messages: 0,
            taken: 0,
            seen: Vec::new(),
            winding_up: false,
            gone: BTreeSet::new(),
            awaited: BTreeSet::new(),
        }
    }

    /// How many casts were taken.
    pub fn messages(&self) -> u64 {
        self.taken
    }

    /// What was observed, when the run is over.
    pub fn into_observations(self) -> Vec<Observation> {
        self.seen
    }

    /// The time to the next act.
    pub fn next_act(&mut self) -> Duration {
        // With everything healed, what is looked for is convergence, not load.
        self.dice.wait(if self.winding_up { self.work.every * 10 } else { self.work.every })
    }

    /// Sites that matter to a group: where its eldest member is.
    pub fn prominent(&self) -> Vec<usize> {
        let eldest = |m: &Membership| m.view.members.first().map(|first| index(first.id.site()));
        let mut sites: Vec<usize> = self.memberships().filter_map(|(_, _, m)| eldest(m)).collect();
        sites.sort_unstable();
        sites.dedup();
        sites
    }

    /// Notes an observation that is not the application's own.
    pub fn see(&mut self, at: Time, what: What) {
        self.seen.push(Observation { at, what });
    }

    /// A site started: its processes are born.
    pub fn started<H: Host>(&mut self, world: &mut World<H>, life: SiteIncarnation) {
        for _ in 0..self.work.processes {
            self.bear(world, index(life.site));
        }
    }

    /// A site died, with its processes.
    pub fn died(&mut self, at: Time, life: SiteIncarnation) {
        self.processes.retain(|id, _| id.birth != life);
        self.blocked.retain(|(site, _), _| *site != index(life.site));
        self.see(at, What::Died(life));
    }

    /// From now on nobody dies, leaves or fails to want what it wants.
    pub fn wind_up(&mut self) {
        self.winding_up = true;
    }

    fn bear<H: Host>(&mut self, world: &mut World<H>, site: usize) {
        let Some(id) = world.open_process(site) else { return };
        let process = Process {
            site,
            parts: vec![Part::Out; self.names.len()],
            besides: Vec::new(),
            unflushed: vec![Vec::new(); self.names.len()],
            flushes: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        self.processes.insert(id, process);
    }

    fn memberships(&self) -> impl Iterator<Item = (ProcessId, usize, &Membership)> {
        self.processes.iter().flat_map(|(id, process)| {
            let parts = process.parts.iter().enumerate().filter_map(|(group, part)| match part {
                Part::In(membership) => Some((group, membership)),
                Part::Out | Part::Joining => None,
            });
            let besides = process.besides.iter().map(|(group, membership)| (*group, membership));
            parts.chain(besides).map(|(group, membership)| (*id, group, membership))
        })
    }

    /// Somebody does something.
    pub fn act<H: Host>(&mut self, world: &mut World<H>) {
        let lively: Vec<ProcessId> = self.processes.keys().copied().collect();
        if lively.is_empty() {
            return;
        }
        let id = *self.dice.pick(&lively);
        let group = self.dice.index(self.names.len());
        let churn = !self.winding_up && self.dice.chance(self.work.churn_per_mille);
        if let Some((_, membership)) = self.processes[&id].besides.last().cloned() {
            let leave = Request::Leave(id, membership.view.name.clone());
            world.request(self.processes[&id].site, leave);
            return;
        }
        match self.processes[&id].parts[group].clone() {
            Part::Out | Part::Joining if self.dice.chance(self.work.outside_per_mille) => {
                self.cast_from_outside(world, id, group);
            }
            Part::Out => self.join(world, id, group),
            // It is told what comes of it, sooner or later.
            Part::Joining => {}
            Part::In(_) if churn && self.dice.chance(300) => self.kill(world, id),
            // In the end all go back to the group of that name.
            Part::In(membership) if self.winding_up && membership.view.name != self.names[group] => {
                self.leave(world, id, group, &membership);
            }
            Part::In(membership) if churn => self.leave(world, id, group, &membership),
            Part::In(membership) => {
                for _ in 0..if self.dice.chance(20) { self.dice.between(2, 20) } else { 1 } {
                    let order = *self.dice.pick(&self.work.orders);
                    let safe = self.dice.chance(self.work.safe_per_mille);
                    self.cast(world, id, &membership, order, safe);
                    if order == Order::Gbcast {
                        break; // it asks for a view, which must be heard before anything is cast in it
                    }
                }
                if self.dice.chance(10) {
                    self.flush(world, id, group, membership.view.name.clone());
                }
            }
        }
    }

    /// Everybody casts once more, in every way: what liveness is asked of.
    pub fn last_words<H: Host>(&mut self, world: &mut World<H>) {
        let all: Vec<_> = self.memberships().map(|(id, _, m)| (id, m.clone())).collect();
        for (id, membership) in all {
            for (order, safe) in [
                (Order::Fbcast, false),
                (Order::Cbcast, false),
                (Order::Abcast, false),
                (Order::Abcast, true),
            ] {
                let message = self.messages;
                if self.cast(world, id, &membership, order, safe) {
                    self.awaited.extend(membership.view.members.iter().map(|m| (m.id, message)));
                }
            }
        }
    }

    fn join<H: Host>(&mut self, world: &mut World<H>, id: ProcessId, group: usize) {
        let options = self.work.groups[group].options.clone();
        let site = self.processes[&id].site;
        let answer = world.request(site, Request::Join(id, self.names[group].clone(), options));
        if let Some(Answer::Taken(_)) = answer {
            self.part(id, group, Part::Joining);
            world.reached().insert((Kind::Workload, "join"));
        }
    }

    fn leave<H: Host>(&mut self, world: &mut World<H>, id: ProcessId, group: usize, membership: &Membership) {
        let site = self.processes[&id].site;
        let request = Request::Leave(id, membership.view.name.clone());
        if membership.leaving || !matches!(world.request(site, request), Some(Answer::Taken(_))) {
            return;
        }
        self.part(id, group, Part::In(Membership { leaving: true, ..membership.clone() }));
        world.reached().insert((Kind::Workload, "leave"));
    }

    fn kill<H: Host>(&mut self, world: &mut World<H>, id: ProcessId) {
        let site = self.processes[&id].site;
        if world.request(site, Request::Gone(id)).is_none() {
            return;
        }
        let members: Vec<_> =
            self.memberships().filter(|(p, _, _)| *p == id).map(|(_, _, m)| m.member).collect();
        members.into_iter().for_each(|member| self.see(world.now(), What::Left(member)));
        self.processes.remove(&id);
        self.bear(world, site);
        world.reached().insert((Kind::Workload, "process death"));
    }

    fn flush<H: Host>(&mut self, world: &mut World<H>, id: ProcessId, group: usize, name: GroupName) {
        let process = self.processes.get_mut(&id).expect("it has just acted");
        if let Some(Answer::Taken(number)) = world.request(process.site, Request::Flush(id, name)) {
            let messages = std::mem::take(&mut process.unflushed[group]);
            process.flushes.insert(number, messages);
            world.reached().insert((Kind::Workload, "flush"));
        }
    }

    fn cast<H: Host>(
        &mut self,
        world: &mut World<H>,
        id: ProcessId,
        membership: &Membership,
        order: Order,
        safe: bool,
    ) -> bool {
        let site = self.processes[&id].site;
        let group = membership.view.group;
        if membership.leaving || !membership.view.lives || self.blocked.get(&(site, group)) == Some(&true) {
            return false;
        }
        // A group that is not virtually synchronous offers no order.
        let order = if is_synchronous(&membership.view) { order } else { Order::Mbcast };
        let gbcast = order == Order::Gbcast;
        let some = !gbcast && !self.winding_up && self.dice.chance(self.work.some_per_mille);
        let only = if some { self.some_of(&membership.view) } else { Vec::new() };
        let cast = Cast {
            order,
            safe: safe && !gbcast && order != Order::Mbcast,
            exclude_self: some && only.is_empty(),
            only,
            replies: if gbcast { Replies::None } else { self.replies() },
            payload: self.payload(),
        };
        let request = Request::Cast(id, membership.view.name.clone(), cast.clone());
        let answer = world.request(site, request);
        self.was_cast(world, membership.member, membership.view.name.clone(), cast, answer)
    }

    fn cast_from_outside<H: Host>(&mut self, world: &mut World<H>, id: ProcessId, group: usize) {
        let order = *self.dice.pick(&[Order::Fbcast, Order::Abcast]);
        let replies = self.replies();
        let payload = self.payload();
        let cast = Cast { order, safe: false, exclude_self: false, only: Vec::new(), replies, payload };
        let name = self.names[group].clone();
        let request = Request::Cast(id, name.clone(), cast.clone());
        let answer = world.request(self.processes[&id].site, request);
        world.reached().insert((Kind::Workload, "outsider's cast"));
        self.was_cast(world, MemberId { process: id, join: 0 }, name, cast, answer);
    }

    fn was_cast<H: Host>(
        &mut self,
        world: &mut World<H>,
        member: MemberId,
        group: GroupName,
        cast: Cast,
        answer: Option<Answer>,
    ) -> bool {
        let message = self.messages;
        self.messages += 1;
        let number = match answer {
            Some(Answer::Taken(number)) => number,
            Some(Answer::Later) => {
                world.reached().insert((Kind::Workload, "cast held back"));
                return false;
            }
            Some(Answer::Refused(_)) | None => return false,
        };
        self.taken += 1;
        world.reached().insert((Kind::Workload, name_of(cast.order)));
        let process = self.processes.get_mut(&member.process).expect("it has just cast");
        // A flush speaks of what a member cast by itself; a gbcast waits for its view change in any case.
        let flushable = member.join != 0 && cast.order != Order::Gbcast;
        if let Some(n) = self.names.iter().position(|name| *name == group).filter(|_| flushable) {
            process.unflushed[n].push(message);
        }
        if number != 0 {
            process.calls.insert(number, message);
        }
        let (order, safe, exclude_self) = (cast.order, cast.safe, cast.exclude_self);
        let (only, large) = (cast.only.into(), cast.payload.len() >= LARGE_BYTES_MIN);
        self.see(world.now(), What::Cast { message, member, group, order, safe, exclude_self, only, large });
        true
    }

    fn some_of(&mut self, view: &GroupView) -> Vec<MemberId> {
        let dice = &mut self.dice;
        view.members.iter().map(|m| m.id).filter(|_| dice.chance(400)).collect()
    }

    fn replies(&mut self) -> Replies {
        if !self.dice.chance(self.work.replies_per_mille) {
            return Replies::None;
        }
        *self.dice.pick(&[Replies::All, Replies::Majority, Replies::Count(1), Replies::Count(2)])
    }

    fn payload(&mut self) -> Bytes {
        let len =
            if self.dice.chance(100) { self.dice.below(self.work.bytes_max) } else { self.dice.below(16) };
        payload::make(self.messages, len as usize)
    }

    fn part(&mut self, id: ProcessId, group: usize, part: Part) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.parts[group] = part;
        }
    }

    /// A host said something.
    pub fn hear<H: Host>(&mut self, world: &mut World<H>, life: SiteIncarnation, event: Event) {
        let at = world.now();
        match event {
            Event::Core { view, primary, position, sites } => {
                if let Some(view) = view {
                    self.see(at, What::Core { life, view, primary, position, sites: sites.into() });
                }
            }
            Event::View { view, members, transitional } => {
                self.viewed(at, &view, members, transitional.into());
            }
            Event::Left { group: _, member } => self.left(at, member),
            Event::JoinFailed { process, group } => {
                if let Some(n) = self.names.iter().position(|name| *name == group) {
                    self.part(process, n, Part::Out);
                }
            }
            Event::Deliver { group, view, from, to, order: _, reply, payload } => {
                let message = payload::read(&payload).filter(|m| *m < self.messages);
                let members = self.receivers(life, group, to);
                for member in &members {
                    if let Some(message) = message {
                        self.awaited.remove(&(*member, message));
                    }
                    self.see(at, What::Deliver { member: *member, message, group, view, from });
                }
                if let Some(ticket) = reply.filter(|_| !members.is_empty() && self.dice.chance(900)) {
                    world.request(index(life.site), Request::Reply(*ticket, Bytes::from_static(b"yes")));
                }
            }
            Event::Signal { group } => {
                world.reached().insert((Kind::Workload, "transitional signal"));
                for member in self.receivers(life, group, None) {
                    self.see(at, What::Signal(member));
                }
            }
            Event::CallDone { process, call, complete, replied } => {
                let name = if complete { "call complete" } else { "call short" };
                world.reached().insert((Kind::Workload, name));
                if let Some(message) = self.called(process, call) {
                    self.see(at, What::Replied(message, replied));
                }
            }
            Event::NotSent { process, call } => {
                if let Some(message) = self.called(process, call) {
                    self.see(at, What::NotSent(message));
                }
            }
            Event::Rejoining { was, group } => {
                self.rejoins(was, &group);
            }
            Event::Flushed { process, flush } => {
                let flusher = self.processes.get_mut(&process);
                if let Some(messages) = flusher.and_then(|flusher| flusher.flushes.remove(&flush)) {
                    self.see(at, What::Flushed(messages));
                }
            }
            Event::Blocked { group, blocked } => {
                self.blocked.insert((index(life.site), group), blocked);
            }
            // Ordinary seeds have no stores.
            Event::Durable(..) | Event::Store(..) => {}
            Event::MayStop | Event::Transition(_) | Event::Coordinating(_) | Event::Note(_) => {}
        }
    }

    /// A site joins again for a process. The member that it was may have to be shown the end of its group yet.
    fn rejoins(&mut self, was: MemberId, group: &GroupName) {
        let known = self.names.iter().position(|name| name == group);
        let Some(process) = self.processes.get_mut(&was.process) else { return };
        for (n, part) in process.parts.iter_mut().enumerate() {
            match part {
                Part::In(membership) if membership.member == was => membership.rejoining = true,
                Part::Out | Part::Joining if known == Some(n) => *part = Part::Joining,
                Part::In(_) | Part::Out | Part::Joining => {}
            }
        }
    }

    fn called(&mut self, process: ProcessId, call: u64) -> Option<Message> {
        self.processes.get_mut(&process)?.calls.remove(&call)
    }

    fn viewed(
        &mut self,
        at: Time,
        view: &Arc<GroupView>,
        members: Vec<MemberId>,
        transitional: Arc<[MemberId]>,
    ) {
        for member in members {
            if self.gone.contains(&member) {
                continue;
            }
            let Some(process) = self.processes.get_mut(&member.process) else { continue };
            // A side that does not merge goes on under another name: its members know it by themselves.
            let known = process.parts.iter().position(|p| matches!(p, Part::In(old) if old.member == member));
            let named = || self.names.iter().position(|name| is_called(&view.name, name));
            let Some(group) = known.or_else(named) else { continue };
            let leaving = match &process.parts[group] {
                Part::In(old) if old.member == member => old.leaving,
                Part::In(_) | Part::Joining | Part::Out => false,
            };
            process.besides.retain(|(_, besides)| besides.member != member);
            let membership = Membership { member, view: view.clone(), leaving, rejoining: false };
            let other = match &process.parts[group] {
                Part::In(old) if old.member != member && !self.gone.contains(&old.member) => {
                    Some(old.clone())
                }
                Part::In(_) | Part::Joining | Part::Out => None,
            };
            match other {
                // Of two sides it is in, the one under the group's own name counts.
                Some(_) if self.names[group] != view.name => process.besides.push((group, membership)),
                other => {
                    process.besides.extend(other.map(|other| (group, other)));
                    process.parts[group] = Part::In(membership);
                }
            }
            let what = What::View { member, view: view.clone(), transitional: transitional.clone() };
            self.see(at, what);
        }
    }

    fn left(&mut self, at: Time, member: MemberId) {
        if !self.gone.insert(member) {
            return;
        }
        let Some(process) = self.processes.get_mut(&member.process) else { return };
        process.besides.retain(|(_, besides)| besides.member != member);
        for part in &mut process.parts {
            if let Part::In(was) = part
                && was.member == member
            {
                *part = if was.rejoining { Part::Joining } else { Part::Out };
            }
        }
        self.see(at, What::Left(member));
    }

    /// The local members a delivery is for.
    fn receivers(&self, life: SiteIncarnation, group: GroupId, to: Option<Vec<MemberId>>) -> Vec<MemberId> {
        let here = self.memberships().filter(|(id, _, m)| id.birth == life && m.view.group == group);
        let members = here.map(|(_, _, m)| m.member);
        members.filter(|member| to.as_ref().is_none_or(|to| to.contains(member))).collect()
    }

    /// Whether everybody who wants to be somewhere is there, and those who are together agree.
    pub fn settled(&self) -> bool {
        let mut last = BTreeMap::new();
        // Under the group's own name: who is on a side that goes on by itself is about to leave it.
        let is_home = |part: &Part, name: &GroupName| matches!(part, Part::In(m) if !m.leaving && !m.rejoining && m.view.name == *name);
        let joined = self.processes.values().all(|p| {
            p.parts.iter().zip(&self.names).all(|(part, name)| is_home(part, name)) && p.besides.is_empty()
        });
        let current: BTreeMap<MemberId, &Arc<GroupView>> =
            self.memberships().map(|(_, _, m)| (m.member, &m.view)).collect();
        joined
            && current.iter().all(|(_, view)| {
                let shared = view.members.iter().all(|m| current.get(&m.id).is_some_and(|v| v.id == view.id));
                let one = view.options.merges == Merges::Never
                    || *last.entry(&view.name).or_insert(view.id) == view.id;
                view.lives && shared && one
            })
    }

    /// Whether all last words have been heard by everybody.
    pub fn all_delivered(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Joins that nobody answered, at the end of a run.
    pub fn see_who_waits(&mut self, at: Time) {
        let waiting: Vec<_> = self
            .processes
            .iter()
            .flat_map(|(id, p)| p.parts.iter().enumerate().map(move |(group, part)| (*id, group, part)))
            .filter(|(_, _, part)| !matches!(part, Part::In(_)))
            .map(|(id, group, _)| What::Waiting(id, self.names[group].clone()))
            .collect();
        waiting.into_iter().for_each(|what| self.see(at, what));
    }
}

/// Whether a group has this name, or one that was made of it when sides met.
fn is_called(group: &GroupName, name: &GroupName) -> bool {
    group.as_str().split('~').next() == Some(name.as_str())
}

fn name_of(order: Order) -> &'static str {
    match order {
        Order::Mbcast => "mbcast",
        Order::Fbcast => "fbcast",
        Order::Cbcast => "cbcast",
        Order::Abcast => "abcast",
        Order::Gbcast => "gbcast",
    }
}
