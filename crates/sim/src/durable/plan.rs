//! What a seed of the durable workload chooses.

use std::time::Duration;

use durable::{Configuration, Settings};

use crate::dice::{Concern, Dice};
use crate::swarm::{Fault, Swarm};
use crate::world::disk;

/// At most one store of a seed loses what it had acknowledged, and in one of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None does.
    None,
    /// A directory is emptied: another store.
    Emptied,
    /// Bytes of files rot.
    Rot,
    /// An old copy of a directory is put back, when every other store knows better.
    Copied,
}

/// All that a seed chose.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sites, network, the core-set's disks, faults.
    pub swarm: Swarm,
    /// How many sites have a store that counts: the first.
    pub stores: usize,
    /// W, if it is set.
    pub writes: Option<u16>,
    /// What the machines are told.
    pub settings: Settings,
    /// How the logs are cut into files.
    pub segment_bytes: u64,
    /// The mean time of one piece of a store's work.
    pub work_mean: Duration,
    /// Of a million syncs so many fail.
    pub sync_errors: u32,
    /// Whether a store's disk may be full for a while.
    pub full: bool,
    /// How a store loses what it had.
    pub loss: Loss,
    /// Whether the operator wants other stores to count now and then: the group moves.
    pub moves: bool,
    /// Whether the operator wants another W now and then.
    pub rewrites: bool,
    /// Clients.
    pub clients: usize,
    /// The mean time between two acts of clients.
    pub act_every: Duration,
    /// Of a thousand acts so many are reads.
    pub read_per_mille: u32,
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, Concern::Durable);
        let stores = *dice.pick(&[3, 3, 3, 3, 4, 5, 5, 2]);
        let spare = *dice.pick(&[0, 0, 0, 1]);
        let writes = dice.chance(120).then(|| dice.between(1, stores as u64) as u16);
        let mut swarm = Swarm::draw(seed);
        swarm.world.sites = stores + spare;
        swarm.world.mservers = swarm.world.sites;
        swarm.world.founders = if dice.chance(500) { swarm.world.sites.min(3) } else { swarm.world.sites };
        swarm.world.link_bytes_max = None;
        swarm.world.doom_per_mille = *dice.pick(&[0, 0, 10]);
        swarm.world.disk = disk::Model {
            write_mean: Duration::from_micros(dice.between(100, 6000)),
            slow_per_mille: *dice.pick(&[0, 0, 20]),
            error_per_mille: *dice.pick(&[0, 0, 3]),
        };
        swarm.faults = draw_faults(&mut dice);
        swarm.fault_every = Duration::from_millis(dice.between(150, 1500));
        swarm.fault_lasts = Duration::from_millis(dice.between(150, 2000));
        swarm.faulty_for = Duration::from_millis(dice.between(8_000, 13_000));
        swarm.heal_within = Duration::from_secs(120);
        let settings = draw_settings(&mut dice);
        let mut plan = Plan {
            swarm,
            stores,
            writes,
            settings,
            segment_bytes: *dice.pick(&[2_000, 6_000, 1 << 20]),
            work_mean: Duration::from_micros(dice.between(200, 12_000)),
            sync_errors: *dice.pick(&[0, 0, 0, 3_000, 10_000]),
            full: dice.chance(250),
            loss: *dice.pick(&[Loss::None, Loss::None, Loss::Emptied, Loss::Rot]),
            moves: false,
            rewrites: false,
            clients: dice.between(2, 6) as usize,
            act_every: Duration::from_millis(dice.between(3, 25)),
            read_per_mille: *dice.pick(&[50, 250, 600]),
        };
        // Without one store the others must be enough, and must have everything.
        let can_lose = plan.may_want(plan.stores, plan.writes, true);
        if !can_lose {
            plan.loss = Loss::None;
        }
        // Drawn last: a seed without is what it was.
        plan.moves = dice.chance(400) && plan.loss == Loss::None;
        plan.rewrites = dice.chance(300);
        if dice.chance(300) && can_lose && plan.loss == Loss::None && !plan.moves {
            plan.loss = Loss::Copied;
        }
        // Everything at once.
        if dice.chance(150) {
            (plan.full, plan.rewrites) = (true, true);
            plan.swarm.faults.extend([Fault::CrashAll, Fault::Crash]);
            if plan.loss == Loss::None && can_lose {
                (plan.loss, plan.moves) = (Loss::Copied, false);
            }
        }
        plan
    }

    /// The fewest stores that may be wanted to count.
    pub fn stores_least(&self) -> usize {
        if self.moves { (self.stores - 1).max(1) } else { self.stores }
    }

    /// Whether so many stores with this W may be wanted to count.
    pub fn may_want_writes(&self, stores: usize, writes: Option<u16>) -> bool {
        self.may_want(stores, writes, self.loss != Loss::None)
    }

    /// `may_lose`: one of the stores may lose what it had.
    fn may_want(&self, stores: usize, writes: Option<u16>, may_lose: bool) -> bool {
        let all = (0..stores as u32).map(|n| (wire::StoreId(n.into()), wire::SiteId(n)));
        let configuration = Configuration { stores: all.collect(), writes };
        let (writes, elects) = (configuration.writes(), configuration.elects());
        match may_lose {
            // What is acknowledged is on another disk, also while there is one store less.
            true => elects < stores && writes >= 2 && stores >= 3,
            false => (1..=stores).contains(&writes),
        }
    }

    /// The group's first configuration.
    pub fn configuration(
        &self,
        stores: impl IntoIterator<Item = (wire::StoreId, wire::SiteId)>,
    ) -> Configuration {
        Configuration { stores: stores.into_iter().collect(), writes: self.writes }
    }
}

fn draw_faults(dice: &mut Dice) -> Vec<Fault> {
    const ANY: [Fault; 12] = [
        Fault::Crash,
        Fault::PowerCut,
        Fault::CrashWhileSending,
        Fault::CrashAll,
        Fault::Pause,
        Fault::CutOneWay,
        Fault::CutLink,
        Fault::Partition,
        Fault::Deaf,
        Fault::SlowLink,
        Fault::BreakConnection,
        Fault::OrderlyStop,
    ];
    let mut faults: Vec<Fault> = ANY.into_iter().filter(|_| dice.chance(300)).collect();
    if dice.chance(400) {
        faults.extend([Fault::Crash, Fault::CrashAll]);
    }
    if dice.chance(300) {
        faults.extend([Fault::Partition, Fault::Crash]);
    }
    if faults.is_empty() {
        faults.push(Fault::CrashAll);
    }
    faults
}

/// Small, so that every bound and every way of catching up is met.
fn draw_settings(dice: &mut Dice) -> Settings {
    Settings {
        unwritten_bytes_max: *dice.pick(&[1_500, 20_000]),
        waiting_bytes_max: *dice.pick(&[800, 4_000, 100_000]),
        recent_bytes_max: *dice.pick(&[0, 400, 4_000]),
        chunk_bytes: *dice.pick(&[150, 600, 4_000]),
        serving_max: 2,
        catch_up_bytes_per_second: 1 << 20,
        far_entries: *dice.pick(&[8, 100, 1_000]),
        checkpoint_bytes: *dice.pick(&[1_200, 5_000, 1 << 20]),
        retain_entries: dice.below(20),
        statement_runs: *dice.pick(&[0, 1, 64]),
        window_clients: 16,
        window_answers: 4,
        retry: Duration::from_millis(*dice.pick(&[60, 250])),
        full_retry: Duration::from_millis(400),
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_lost_only_where_the_others_are_enough() {
        for seed in 0..2_000 {
            let plan = Plan::draw(seed);
            assert!(
                plan.swarm.world.founders <= plan.swarm.world.sites && plan.stores <= plan.swarm.world.sites
            );
            assert!(plan.may_want_writes(plan.stores, plan.writes), "{plan:?}");
        }
    }
}
