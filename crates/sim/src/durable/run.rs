//! One seed of the durable workload, from its plan to its verdict.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use durable::{Done, Mode, Status};
use wire::{GroupName, SiteId, SiteIncarnation, StoreId, Time, ViewId};

use super::app::App;
use super::disks::{Disks, Due, Held};
use super::history::{Observation, What};
use super::member::Members;
use super::plan::{Loss, Plan};
use super::service::{Clients, Service};
use super::{Options, operator};
use crate::coverage::Kind;
use crate::dice::{Concern, Dice};
use crate::faults::{Faults, Later};
use crate::host::{self, Durably, Request};
use crate::node::Site;
use crate::property::{self, Violation};
use crate::quiet;
use crate::run::Report;
use crate::world::{Death, Step, World, index, site_id};

/// The group's name.
const GROUP: &str = "ledger";
const LOOK_EVERY: Duration = Duration::from_millis(200);
const OPERATE_EVERY: Duration = Duration::from_millis(300);
const JOIN_EVERY: Duration = Duration::from_millis(150);
/// What a paused site is to be told is tried again after this.
const TELL_AGAIN: Duration = Duration::from_millis(5);
/// After the last words so much time is left for the answers.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(30);
/// More than this happens in no sound seed.
const EVENTS_MAX: u64 = 30_000_000;
/// A rotten byte strikes one site, at most so often.
const ROTS_MAX: u32 = 3;

/// Runs one seed.
pub fn run<S: Service>(seed: u64, mut plan: Plan, options: &Options) -> Report {
    S::adjust(&mut plan);
    let mut run = Run::<S>::new(seed, plan, options);
    let panicked = quiet::during(|| catch_unwind(AssertUnwindSafe(|| run.whole()))).err();
    run.report(seed, panicked)
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wake {
    Strike,
    Fault(Later),
    Act,
    Join,
    Operate,
    /// A piece of work of the store at a site is done.
    Work(usize, u64),
    /// A site was paused when it was to be told.
    Tell(usize),
    /// There is room again on the disk of a site.
    Room(usize),
    Heal,
    Look,
}

/// A read that is awaited.
pub(super) struct Read<Q> {
    pub(super) number: u64,
    pub(super) site: SiteIncarnation,
    pub(super) query: Q,
}

pub(super) struct Run<S: Service> {
    pub(super) plan: Plan,
    pub(super) group: GroupName,
    pub(super) world: World<Site>,
    pub(super) faults: Faults,
    pub(super) disks: Disks<S>,
    pub(super) apps: Vec<App<S>>,
    pub(super) members: Members,
    pub(super) clients: S::Clients,
    pub(super) dice: Dice,
    pub(super) wakes: Vec<Wake>,
    /// What stores have done and paused sites were not told, in order.
    pub(super) untold: Vec<Vec<Done>>,
    pub(super) reads: BTreeMap<(SiteId, durable::ReadId), Read<S::Query>>,
    pub(super) reads_asked: u64,
    pub(super) core: BTreeMap<SiteIncarnation, (ViewId, bool)>,
    pub(super) views: BTreeSet<ViewId>,
    pub(super) seen: Vec<Observation<S::Seen>>,
    pub(super) violations: Vec<Violation>,
    pub(super) requests: u64,
    pub(super) options: Options,
    /// The site whose store has lost something, and how often.
    pub(super) lost: Option<(usize, u32)>,
    /// All sites were dead at once, and the group has not been active since.
    pub(super) all_died: bool,
    pub(super) healed_at: Option<Time>,
    pub(super) settled_at: Option<Time>,
    pub(super) ends_at: Option<Time>,
}

impl<S: Service> Run<S> {
    fn new(seed: u64, plan: Plan, options: &Options) -> Run<S> {
        let sites = plan.swarm.world.sites;
        let group = GroupName::parse(GROUP).expect("a good name");
        let disks = Disks::new(seed, &plan, options);
        Run {
            group: group.clone(),
            world: World::new(seed, plan.swarm.world.clone(), options.hosts.clone(), options.keep),
            faults: Faults::new(seed, &plan.swarm),
            apps: vec![App::new(options); sites],
            members: Members::new(group, sites),
            clients: S::Clients::new(seed, &plan, &disks.stores()),
            disks,
            dice: Dice::new(seed, Concern::Mischief),
            wakes: Vec::new(),
            untold: vec![Vec::new(); sites],
            reads: BTreeMap::new(),
            reads_asked: 0,
            core: BTreeMap::new(),
            views: BTreeSet::new(),
            seen: Vec::new(),
            violations: Vec::new(),
            requests: 0,
            options: options.clone(),
            lost: None,
            all_died: false,
            healed_at: None,
            settled_at: None,
            ends_at: None,
            plan,
        }
    }

    fn whole(&mut self) {
        for site in 0..self.world.sites() {
            self.wake(Duration::from_millis(20 * site as u64), Wake::Fault(Later::Restart(site)));
        }
        self.wake(JOIN_EVERY, Wake::Join);
        self.wake(OPERATE_EVERY, Wake::Operate);
        self.wake(Duration::from_millis(300), Wake::Act);
        self.wake(Duration::from_millis(1500), Wake::Strike);
        self.wake(self.plan.swarm.faulty_for, Wake::Heal);
        while !self.over() {
            let Some(step) = self.world.step() else { return };
            if let Step::Woken(token) = step {
                self.woken(self.wakes[token as usize]);
            }
            self.listen();
        }
    }

    fn over(&mut self) -> bool {
        let late = self.ends_at.is_some_and(|end| self.world.now() >= end);
        late || !self.violations.is_empty() || self.world.trace().events() > EVENTS_MAX
    }

    pub(super) fn wake(&mut self, after: Duration, wake: Wake) {
        self.wakes.push(wake);
        self.world.wake(self.world.now() + after, self.wakes.len() as u64 - 1);
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Strike if self.healed_at.is_some() => {}
            Wake::Strike => {
                self.strike();
                self.wake(Duration::from_millis(1) + self.plan.swarm.fault_every, Wake::Strike);
            }
            Wake::Fault(Later::End(number)) => self.faults.end(&mut self.world, number),
            Wake::Fault(Later::Restart(site)) => self.faults.restart(&mut self.world, site),
            Wake::Act => {
                let winding_up = self.healed_at.is_some();
                let act = self.with_places(|clients, places| clients.act(places, winding_up));
                if let Some(act) = act {
                    self.act(act);
                }
                let mean = match self.healed_at {
                    Some(_) => self.plan.act_every * 8,
                    None => self.plan.act_every,
                };
                let next = Duration::from_micros(100) + self.clients.wait(mean);
                self.wake(next, Wake::Act);
            }
            Wake::Join => {
                self.members.join(&mut self.world);
                self.wake(JOIN_EVERY, Wake::Join);
            }
            Wake::Operate => {
                self.operate();
                self.wake(OPERATE_EVERY, Wake::Operate);
            }
            Wake::Work(site, serial) => self.work(site, serial),
            Wake::Tell(site) => self.tell(site),
            Wake::Room(site) => self.disks.empty_out(site),
            Wake::Heal => self.heal(),
            Wake::Look => self.look(),
        }
    }

    fn strike(&mut self) {
        if !self.dice.chance(250) || !self.strike_a_store() {
            let senior = self.core.values().map(|(view, _)| index(view.coordinator.site)).max();
            let prominent: Vec<usize> =
                senior.into_iter().filter(|site| *site < self.world.sites()).collect();
            let later = self.faults.strike(&mut self.world, &prominent, false);
            later.into_iter().for_each(|(after, later)| self.wake(after, Wake::Fault(later)));
        }
    }

    /// A fault of a store's disk. False if this seed has none now.
    fn strike_a_store(&mut self) -> bool {
        let site = self.dice.index(self.world.sites());
        if self.plan.full && self.dice.chance(500) {
            self.reach(Kind::Fault, "store: full");
            self.disks.fill(site);
            let lasts = self.dice.wait(self.plan.swarm.fault_lasts * 2);
            self.wake(lasts, Wake::Room(site));
            return true;
        }
        match self.plan.loss {
            Loss::None => false,
            Loss::Emptied if self.lost.is_none() && self.disks.counts(site) => {
                self.world.crash(site, Death::Process);
                // It is emptied when its death was heard of.
                self.listen();
                self.empty(site);
                self.reach(Kind::Fault, "store: emptied");
                true
            }
            Loss::Emptied => false,
            Loss::Copied if self.lost.is_some() => false,
            Loss::Copied => self.strike_by_copy(site),
            Loss::Rot => {
                let (site, times) = self.lost.unwrap_or((site, 0));
                if times >= ROTS_MAX || !self.disks.counts(site) || !self.disks.rot(site) {
                    return false;
                }
                self.lost = Some((site, times + 1));
                self.reach(Kind::Fault, "store: rot");
                if self.dice.chance(500) {
                    self.world.crash(site, Death::Machine);
                }
                true
            }
        }
    }

    /// A directory is copied, and later the copy is put back.
    fn strike_by_copy(&mut self, site: usize) -> bool {
        match self.disks.copied() {
            None if self.disks.counts(site) => {
                self.disks.copy(site);
                self.reach(Kind::Fault, "store: copied");
                true
            }
            Some(site) if self.disks.copy_is_known() => {
                self.world.crash(site, Death::Process);
                // It is put back when its death was heard of.
                self.listen();
                self.disks.put_back();
                self.lost = Some((site, 1));
                self.reach(Kind::Fault, "store: an old copy put back");
                true
            }
            None | Some(_) => false,
        }
    }

    pub(super) fn empty(&mut self, site: usize) {
        let times = self.lost.map_or(0, |(_, times)| times);
        self.lost = Some((site, times + 1));
        self.disks.empty(site);
        self.apps[site] = App::new(&self.options);
    }

    pub(super) fn ask(&mut self, site: usize, what: Durably) -> Option<host::Answer> {
        self.world.request(site, Request::Durable(self.group.clone(), what))
    }

    fn operate(&mut self) {
        // Not before all have what was wanted before: two operators at once could go below what is wanted.
        if self.plan.moves && self.healed_at.is_none() && self.dice.chance(400) && self.is_as_wanted() {
            let site = self.dice.index(self.world.sites());
            if self.disks.move_on(site, &self.plan) {
                self.reach(Kind::Workload, "durable: other stores wanted");
            }
        }
        let may_rewrite = self.plan.rewrites && self.healed_at.is_none();
        if may_rewrite && self.dice.chance(300) && self.is_as_wanted() && self.disks.rewrite(&self.plan) {
            self.reach(Kind::Workload, "durable: another W wanted");
        }
        let (wanted, alive, may_lose) =
            (self.disks.wanted(), self.disks.alive(), self.plan.loss != Loss::None);
        for site in 0..self.world.sites() {
            let status = self.status(site);
            let change = status.and_then(|status| operator::next_change(&status, &wanted, &alive, may_lose));
            if let Some(change) = change {
                self.ask(site, Durably::Change(change));
                return;
            }
        }
    }

    /// Whether every site is up and knows of the configuration that is wanted.
    fn is_as_wanted(&self) -> bool {
        let wanted = self.disks.wanted();
        let knows = |site| self.status(site).is_some_and(|status| status.configuration == wanted);
        (0..self.world.sites()).all(knows)
    }

    pub(super) fn status(&self, site: usize) -> Option<Status> {
        self.world.host(site).filter(|_| !self.world.paused(site))?.node().durable_status(&self.group)
    }

    fn work(&mut self, site: usize, serial: u64) {
        let Some((done, held, next)) = self.disks.work(site, serial) else { return };
        let store = self.disks.store(site);
        self.held(store, held);
        self.again(site, next);
        self.untold[site].extend(done);
        self.tell(site);
    }

    pub(super) fn held(&mut self, store: StoreId, held: Vec<Held>) {
        for held in held {
            self.see(match held {
                Held::Entry(number) => What::Held(store, number),
                Held::UpTo(position) => What::HeldUpTo(store, position),
            });
        }
    }

    /// Tells a site what its store has done.
    fn tell(&mut self, site: usize) {
        if self.world.paused(site) {
            return self.wake(TELL_AGAIN, Wake::Tell(site));
        }
        for done in Done::together(std::mem::take(&mut self.untold[site])) {
            let name = match &done {
                Done::Stored(_) | Done::StoredTogether(_) => "stored",
                Done::Failed(_) => "failed",
                Done::Full(_) => "full",
                Done::Read(..) => "read",
                Done::Part(..) => "part",
                Done::Installed(..) => "installed",
                Done::Taken(..) => "taken",
                Done::NotTaken(_) => "not taken",
            };
            let now = self.world.now();
            let key = [30, site as u64, name.len() as u64];
            self.world.trace().event(now, key, &[], || format!("{} store: {done:?}", site_id(site)));
            match done {
                Done::Taken(..) => self.reach(Kind::Transition, "durable: checkpoint taken"),
                Done::NotTaken(_) => self.reach(Kind::Transition, "durable: a checkpoint could not be taken"),
                Done::Installed(..) => self.reach(Kind::Transition, "durable: caught up by a checkpoint"),
                _ => {}
            }
            self.ask(site, Durably::Done(done));
            self.listen();
        }
    }

    pub(super) fn again(&mut self, site: usize, next: Option<Due>) {
        if let Some((after, serial)) = next {
            self.wake(after, Wake::Work(site, serial));
        }
    }

    fn heal(&mut self) {
        self.healed_at = Some(self.world.now());
        self.ends_at = Some(self.world.now() + self.plan.swarm.heal_within);
        self.disks.calm();
        self.faults.heal(&mut self.world);
        self.wake(LOOK_EVERY, Wake::Look);
    }

    fn look(&mut self) {
        if self.is_settled() {
            if self.settled_at.is_none() {
                self.settled_at = Some(self.world.now());
                self.ends_at = Some(self.world.now() + LAST_WORDS_WITHIN);
                let last = self.with_places(|clients, places| clients.last_words(places));
                last.into_iter().for_each(|act| self.act(act));
            } else if self.reads.is_empty() {
                self.leave();
                self.ends_at = Some(self.world.now());
                return;
            }
        }
        self.wake(LOOK_EVERY, Wake::Look);
    }

    /// Why it is not over yet; none if everybody is there, has everything, and waits for nothing.
    fn unsettled(&self) -> Option<String> {
        let sites = self.world.sites();
        let in_one = (0..sites).all(|site| {
            let life = self.world.life(site).filter(|_| !self.world.paused(site));
            life.and_then(|life| self.core.get(&life)).is_some_and(|(_, primary)| *primary)
        });
        if !in_one || !self.members.together() {
            return Some("the sites are not in one view".to_owned());
        }
        if self.clients.open() > 0 {
            return Some(format!("{} requests are open; {:?}", self.clients.open(), self.statuses()));
        }
        let wanted = self.disks.wanted();
        let mut ends = BTreeSet::new();
        for site in 0..sites {
            let status = self.status(site)?;
            let whole = status.mode == Mode::Active
                && status.applied == status.committed
                && status.applied == status.last.position
                && status.damaged.is_empty()
                && status.progress.is_none()
                && status.configuration == wanted;
            if !whole {
                return Some(format!("{} is not whole: {status:?}, wanted {wanted:?}", site_id(site)));
            }
            ends.insert((status.last, self.apps[site].digest()));
        }
        (ends.len() > 1).then(|| format!("they differ: {ends:?}"))
    }

    pub(super) fn statuses(&self) -> Vec<Option<Status>> {
        (0..self.world.sites()).map(|site| self.status(site)).collect()
    }

    fn is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    pub(super) fn see(&mut self, what: What<S::Seen>) {
        self.seen.push(Observation { at: self.world.now(), what });
    }

    pub(super) fn reach(&mut self, kind: Kind, name: &'static str) {
        self.world.reached().insert((kind, name));
    }

    pub(super) fn violated(&mut self, property: &'static str, how: String) {
        self.violations.push(Violation { property, at: Some(self.world.now()), how });
    }

    fn report(mut self, seed: u64, panicked: Option<Box<dyn Any + Send>>) -> Report {
        let now = self.world.now();
        let mut violations = std::mem::take(&mut self.violations);
        if let Some(panic) = panicked {
            let how = quiet::message(panic.as_ref());
            violations.push(Violation { property: "Own Invariant", at: Some(now), how });
        }
        violations.extend(property::durable::check(&self.seen, &S::promises()));
        if violations.is_empty()
            && let Some(how) = self.unsettled()
        {
            violations.push(Violation { property: "Convergence", at: Some(now), how });
        }
        let since_heal = |at: Time| self.healed_at.map(|healed| at.since(healed));
        Report {
            seed,
            profile: S::PROFILE,
            violations,
            digest: self.world.trace().digest(),
            events: self.world.trace().events(),
            view_changes: self.views.len() as u64,
            messages: self.requests,
            lasted: now.since(Time::ZERO),
            settled_after: self.settled_at.and_then(since_heal),
            packets_a_second: 0,
            reached: std::mem::take(self.world.reached()),
            lines: self.world.into_trace().into_lines(),
        }
    }
}
