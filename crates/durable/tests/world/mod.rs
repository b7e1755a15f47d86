//! A seeded world of durable machines: an abstract group communication that gives virtually synchronous views and one
//! order a view, with cut-off sequencers, partitions and cascades; point-to-point messages that are lost and overtake;
//! faulty disks; clients that repeat. What every store applies, acknowledges and reads is held against one history.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod disk;
pub mod faults;
pub mod groups;
pub mod heal;
pub mod history;
pub mod host;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use durable::{Bugs, Configuration, Settings};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{SiteId, StoreId, Time, ViewId};

use groups::GroupView;
use history::History;
use host::Host;

#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len() as u64) as usize])
    }
}

/// What may go wrong in a seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub sites: u32,
    pub stores: u32,
    pub writes: Option<u16>,
    pub crashes: bool,
    pub partitions: bool,
    pub total: bool,
    pub changes: bool,
    pub full: bool,
    pub errors: bool,
    /// At most one of the three in a seed: each may cost a copy of what was acknowledged.
    pub loss: Loss,
    pub slow: Option<SiteId>,
    /// Faults and changes come thick and fast.
    pub eager: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    None,
    Emptied,
    Copied,
    Rot,
}

impl Plan {
    pub fn draw(dice: &mut Dice) -> Plan {
        let stores = [3, 3, 3, 4, 5, 2][dice.below(6) as usize];
        let spare = dice.below(3) as u32;
        let writes = match dice.below(6) {
            0 => Some(1 + dice.below(stores.into()) as u16),
            _ => None,
        };
        Plan {
            sites: stores + spare,
            stores,
            writes,
            crashes: !dice.once_in(4),
            partitions: !dice.once_in(4),
            total: dice.once_in(2),
            changes: dice.once_in(2),
            full: dice.once_in(4),
            errors: dice.once_in(3),
            loss: [Loss::None, Loss::Emptied, Loss::Copied, Loss::Rot][dice.below(4) as usize],
            eager: dice.once_in(4),
            slow: dice.once_in(3).then(|| SiteId(1 + dice.below(stores.into()) as u32)),
        }
    }
}

pub struct World {
    pub dice: Dice,
    pub now: Time,
    pub plan: Plan,
    pub settings: Settings,
    pub hosts: BTreeMap<SiteId, Host>,
    /// Who can talk to whom: the same number.
    pub side: BTreeMap<SiteId, u64>,
    pub groups: BTreeMap<ViewId, GroupView>,
    /// Views made so far.
    pub made: u64,
    pub net: BTreeMap<(SiteId, SiteId), VecDeque<Bytes>>,
    pub history: History,
    pub losses: u32,
    pub rotten: std::collections::BTreeSet<u64>,
    /// The site where entries rotted that no other disk had.
    pub alone: Option<SiteId>,
    /// Whose machines have asked for another view.
    pub wanting: std::collections::BTreeSet<SiteId>,
    /// An old copy of a disk, and whose.
    pub copy: Option<(SiteId, disk::Disk)>,
    pub healing: bool,
}

impl World {
    pub fn new(seed: u64, bugs: Bugs) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        World::planned(dice, plan, bugs)
    }

    pub fn planned(mut dice: Dice, plan: Plan, bugs: Bugs) -> World {
        let settings = Settings {
            unwritten_bytes_max: 1_500,
            waiting_bytes_max: [600, 4_000][dice.below(2) as usize],
            recent_bytes_max: [0, 400, 4_000][dice.below(3) as usize],
            chunk_bytes: [90, 300][dice.below(2) as usize],
            serving_max: 2,
            catch_up_bytes_per_second: 1 << 20,
            far_entries: [8, 1_000][dice.below(2) as usize],
            checkpoint_bytes: [1_200, 1 << 20][dice.below(2) as usize],
            retain_entries: dice.below(8),
            statement_runs: [0, 1, 64][dice.below(3) as usize],
            window_clients: 8,
            window_answers: 4,
            bugs,
            ..Settings::default()
        };
        let founders: BTreeMap<StoreId, SiteId> =
            (1..=plan.stores).map(|n| (StoreId(u64::from(n) * 100), SiteId(n))).collect();
        let founding = Configuration { stores: founders, writes: plan.writes };
        let hosts = (1..=plan.sites).map(|n| {
            let founders = (n <= plan.stores).then(|| founding.clone());
            (SiteId(n), Host::new(SiteId(n), disk::Disk::new(StoreId(u64::from(n) * 100), 0, founders)))
        });
        let mut world = World {
            hosts: hosts.collect(),
            side: (1..=plan.sites).map(|n| (SiteId(n), 0)).collect(),
            dice,
            now: Time::ZERO,
            plan,
            settings,
            groups: BTreeMap::new(),
            made: 0,
            net: BTreeMap::new(),
            history: History::new(founding),
            losses: 0,
            rotten: Default::default(),
            alone: None,
            wanting: Default::default(),
            copy: None,
            healing: false,
        };
        for site in world.hosts.keys().copied().collect::<Vec<_>>() {
            world.start(site);
        }
        world.change_view(0);
        world
    }

    /// Runs a seed: faults, then healing. Returns what was violated.
    pub fn run(seed: u64, bugs: Bugs, steps: usize) -> Vec<String> {
        let mut world = World::new(seed, bugs);
        world.go(steps);
        world.history.violations
    }

    pub fn go(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            if !self.history.violations.is_empty() {
                return;
            }
        }
        self.heal();
    }

    fn step(&mut self) {
        self.now = self.now + std::time::Duration::from_micros(self.dice.below(3_000));
        self.refresh();
        match self.dice.below(200) {
            0..=39 => self.step_disk(),
            40..=84 => self.step_net(),
            85..=119 => self.step_groups(),
            120..=164 => self.step_inbox(),
            165..=183 => self.step_client(),
            184..=193 => self.step_timers(),
            194..=195 if !self.plan.eager => self.step_timers(),
            196 if !self.plan.eager => self.step_timers(),
            _ => self.step_fault(),
        }
    }

    /// Gives a side another view that somebody there has asked for.
    pub fn refresh(&mut self) {
        if let Some(site) = self.wanting.pop_first() {
            self.change_view(self.side[&site]);
        }
    }

    pub fn up(&self) -> Vec<SiteId> {
        self.hosts.iter().filter(|(_, host)| host.machine.is_some()).map(|(site, _)| *site).collect()
    }

    pub fn connected(&self, a: SiteId, b: SiteId) -> bool {
        self.side[&a] == self.side[&b]
    }

    fn step_net(&mut self) {
        let pairs: Vec<_> = self.net.iter().filter(|(_, q)| !q.is_empty()).map(|(pair, _)| *pair).collect();
        let Some((from, to)) = self.dice.pick(&pairs) else { return };
        self.carry(from, to);
    }

    pub fn carry(&mut self, from: SiteId, to: SiteId) {
        let lossy = !self.healing;
        let Some(queue) = self.net.get_mut(&(from, to)) else { return };
        let place = match lossy && self.dice.once_in(5) {
            true => self.dice.below(queue.len() as u64) as usize,
            false => 0,
        };
        let Some(message) = queue.remove(place) else { return };
        let lost = self.side[&from] != self.side[&to] || (lossy && self.dice.once_in(30));
        if !lost {
            self.with(to, |machine, now| {
                machine.handle_message(now, from, &message).expect("an honest message");
            });
        }
    }

    fn step_timers(&mut self) {
        let up = self.up();
        let Some(site) = self.dice.pick(&up) else { return };
        let due = self.hosts[&site].machine.as_ref().and_then(|machine| machine.poll_timeout());
        if let Some(due) = due {
            if due > self.now && self.dice.once_in(3) {
                self.now = due;
            }
            self.with(site, |machine, now| machine.handle_timeout(now));
        }
    }
}
