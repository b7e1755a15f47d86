//! What a seed chooses: how large the cluster, which faults and how often, which groups and what is cast in them.
//!
//! Swarm testing [Groce et al. 2012]: a seed leaves most faults out, so that those it has are not drowned by the
//! others. Beside the plain draw there are profiles that stress one thing; the seed's remainder chooses.

use std::time::Duration;

use membership::group::{Consistency, GroupOptions, Lives, Merges};

use crate::dice::{Concern, Dice};
use crate::host::Order;
use crate::world::{self, disk, network};

/// What a seed stresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Whatever the dice say.
    Mixed,
    /// Sites die while they coordinate, in the middle of what they say.
    Coordinators,
    /// The cluster parts and meets again.
    Partitions,
    /// One change on top of another.
    Cascades,
    /// The eldest of a group dies while it orders messages.
    Sequencers,
    /// Sites die and come back from disks that lose and fail.
    Disks,
    /// Links between two live sites are cut, for long.
    Links,
    /// Processes outside cast to groups whose members come and go.
    Outsiders,
    /// One link at a time is cut and nobody dies: nobody may be removed (schedule 9).
    OneBadLink,
    /// Few sites, which go in an orderly way one after the other, while ways between them are cut for a moment: an
    /// attempt that was cut off may find a smaller line than it began with.
    Leavers,
    /// Sides of a partition are slow within and soon meet again: what one side is agreeing on off the line is overtaken
    /// by the line.
    Stragglers,
    /// Links are cut for longer than two sites may be without a detour.
    LongCuts,
    /// Much is cast while links stall that have little room.
    FullLinks,
    /// One site hears nothing and can still send: nobody else may be removed.
    OneDeaf,
    /// Few sites with slow disks, many changes, and deaths: an acknowledgement waits for a write, is asked for again, and
    /// comes when its coordinator has gone on to another attempt.
    LateVotes,
    /// Members come and go while one way after the other stalls for longer than a view change: a site hears of several changes
    /// at once, when others have long acted on them.
    Stalls,
    /// The durable workload, which has plans of its own (`crate::durable`). No ordinary seed has it.
    Durable,
    /// The same with mail as what the group serves.
    Mail,
}

impl Profile {
    /// The first profiles; a seed's remainder by their number chooses.
    const FIRST: [Profile; 9] = [
        Profile::Mixed,
        Profile::Coordinators,
        Profile::Partitions,
        Profile::Cascades,
        Profile::Sequencers,
        Profile::Disks,
        Profile::Links,
        Profile::Outsiders,
        Profile::OneBadLink,
    ];

    /// Profiles that came later.
    const LATER: [Profile; 4] =
        [Profile::Leavers, Profile::Stragglers, Profile::LongCuts, Profile::FullLinks];
    /// So many seeds of a thousand have one of these.
    const LATER_PER_MILLE: u32 = 300;
    /// So many of the others have a deaf site.
    const DEAF_PER_MILLE: u32 = 40;
    /// So many of the rest have disks that stall.
    const LATE_VOTES_PER_MILLE: u32 = 100;
    /// So many of what is left have ways that stall.
    const STALLS_PER_MILLE: u32 = 120;

    /// The profile of a seed. Those that came later are drawn with dice of their own, so that every other seed remains
    /// the run that it was.
    pub fn of(seed: u64) -> Profile {
        let mut dice = Dice::new(seed, Concern::Profile);
        if dice.chance(Profile::LATER_PER_MILLE) {
            return *dice.pick(&Profile::LATER);
        }
        if dice.chance(Profile::DEAF_PER_MILLE) {
            return Profile::OneDeaf;
        }
        if dice.chance(Profile::LATE_VOTES_PER_MILLE) {
            return Profile::LateVotes;
        }
        if dice.chance(Profile::STALLS_PER_MILLE) {
            return Profile::Stalls;
        }
        Profile::FIRST[(seed % Profile::FIRST.len() as u64) as usize]
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A site's process dies.
    Crash,
    /// A site's machine dies.
    PowerCut,
    /// A site dies in the middle of what it sends.
    CrashWhileSending,
    /// All sites die.
    CrashAll,
    /// A site is stopped for a while.
    Pause,
    /// One way between two sites is cut.
    CutOneWay,
    /// Both ways between two sites are cut.
    CutLink,
    /// The sites part into two sides.
    Partition,
    /// One site can send, and hears nothing.
    Deaf,
    /// A link is slow.
    SlowLink,
    /// A connection breaks.
    BreakConnection,
    /// A site dies and its disk is emptied.
    Wipe,
    /// A site leaves in order to stop, and starts again later.
    OrderlyStop,
    /// The sites stand in a row, and each reaches only those beside it.
    Row,
}

impl Fault {
    /// What the plain draw chooses from. A row would seldom last for long enough to matter: it has a profile.
    const ANY: [Fault; 13] = [
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
        Fault::Wipe,
        Fault::OrderlyStop,
    ];

    /// Its name in the coverage table.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::PowerCut => "power cut",
            Fault::CrashWhileSending => "crash while sending, armed",
            Fault::CrashAll => "crash of all",
            Fault::Pause => "pause",
            Fault::CutOneWay => "one way cut",
            Fault::CutLink => "link cut",
            Fault::Partition => "partition",
            Fault::Deaf => "deaf site",
            Fault::SlowLink => "slow link",
            Fault::BreakConnection => "break",
            Fault::Wipe => "disk emptied",
            Fault::OrderlyStop => "orderly stop",
            Fault::Row => "row",
        }
    }
}

/// A group that processes will join.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub options: GroupOptions,
}

/// What the application does.
#[derive(Clone, Debug)]
pub struct Work {
    /// Processes at each site.
    pub processes: u64,
    /// The groups.
    pub groups: Vec<GroupPlan>,
    /// The orders in use; one that stands twice is used twice as often.
    pub orders: Vec<Order>,
    /// So many casts of a thousand are safe.
    pub safe_per_mille: u32,
    /// So many casts of a thousand ask for replies.
    pub replies_per_mille: u32,
    /// So many casts of a thousand are for some members only.
    pub some_per_mille: u32,
    /// So many acts of a thousand are an outsider's cast.
    pub outside_per_mille: u32,
    /// So many acts of a thousand change a membership.
    pub churn_per_mille: u32,
    /// The largest message.
    pub bytes_max: u64,
    /// The mean time between two acts.
    pub every: Duration,
}

/// All that a seed chose.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// What it stresses.
    pub profile: Profile,
    /// Sites, network, disks, clocks.
    pub world: world::Model,
    /// The faults in use; one that stands twice strikes twice as often.
    pub faults: Vec<Fault>,
    /// The mean time between two faults.
    pub fault_every: Duration,
    /// The mean time until a fault ends.
    pub fault_lasts: Duration,
    /// What the application does.
    pub work: Work,
    /// How long the first phase lasts.
    pub faulty_for: Duration,
    /// How long the second phase may last.
    pub heal_within: Duration,
}

impl Swarm {
    /// Draws the options of a seed.
    pub fn draw(seed: u64) -> Swarm {
        let mut dice = Dice::new(seed, Concern::Swarm);
        let profile = Profile::of(seed);
        let mut swarm = Swarm {
            profile,
            world: draw_world(&mut dice),
            faults: draw_faults(&mut dice),
            fault_every: Duration::from_millis(dice.between(400, 2500)),
            fault_lasts: Duration::from_millis(dice.between(200, 2500)),
            work: draw_work(&mut dice),
            faulty_for: Duration::from_millis(dice.between(7_000, 11_000)),
            heal_within: Duration::from_secs(120),
        };
        swarm.stress(&mut dice);
        swarm.world.turn_mean = draw_turns(seed, profile);
        swarm
    }

    fn stress(&mut self, dice: &mut Dice) {
        match self.profile {
            Profile::Mixed | Profile::Durable | Profile::Mail => {}
            Profile::Coordinators => {
                self.faults = vec![Fault::CrashWhileSending, Fault::CrashWhileSending, Fault::Crash];
                self.world.doom_per_mille = *dice.pick(&[5, 20, 60]);
                self.work.churn_per_mille = 60;
            }
            Profile::Partitions => {
                self.faults = vec![Fault::Partition, Fault::Partition, Fault::Crash, Fault::CutOneWay];
                self.fault_lasts = Duration::from_millis(dice.between(1000, 4000));
                self.world.sites = self.world.sites.max(4);
            }
            Profile::Cascades => {
                self.faults.extend([Fault::Crash, Fault::Crash, Fault::BreakConnection, Fault::Pause]);
                self.fault_every = Duration::from_millis(dice.between(80, 400));
                self.fault_lasts = Duration::from_millis(dice.between(100, 600));
                self.work.churn_per_mille = 100;
            }
            Profile::Sequencers => {
                self.faults = vec![Fault::Crash, Fault::CrashWhileSending, Fault::CutOneWay, Fault::Pause];
                self.work.orders = vec![Order::Abcast, Order::Abcast, Order::Abcast, Order::Cbcast];
                self.work.safe_per_mille = *dice.pick(&[0, 300, 700]);
                self.work.every = Duration::from_millis(6);
            }
            Profile::Disks => {
                self.faults = vec![Fault::Crash, Fault::PowerCut, Fault::CrashAll, Fault::CrashWhileSending];
                self.faults.extend((dice.chance(300)).then_some(Fault::Wipe));
                self.world.disk.write_mean = Duration::from_millis(dice.between(2, 40));
                self.world.disk.slow_per_mille = 100;
                self.world.disk.error_per_mille = 10;
                self.world.doom_per_mille = *dice.pick(&[0, 20]);
            }
            Profile::Links => {
                self.faults =
                    vec![Fault::CutLink, Fault::CutLink, Fault::CutOneWay, Fault::Deaf, Fault::SlowLink];
                self.fault_lasts = Duration::from_millis(dice.between(2000, 9000));
                self.world.sites = self.world.sites.max(4);
            }
            Profile::Outsiders => {
                self.work.outside_per_mille = 300;
                self.work.churn_per_mille = 40;
                self.faults.extend([Fault::Crash, Fault::BreakConnection, Fault::Pause]);
            }
            Profile::OneBadLink => {
                self.faults = vec![Fault::CutOneWay, Fault::CutLink];
                self.fault_lasts = Duration::from_millis(dice.between(1000, 4000));
                self.fault_every = self.faulty_for / 2;
                self.world.sites = self.world.sites.max(4);
                self.be_well();
            }
            Profile::Leavers => {
                self.world.sites = dice.between(3, 4) as usize;
                self.world.founders = 3;
                self.faults = vec![
                    Fault::OrderlyStop,
                    Fault::OrderlyStop,
                    Fault::OrderlyStop,
                    Fault::CutOneWay,
                    Fault::CutOneWay,
                    Fault::Crash,
                ];
                self.fault_every = Duration::from_millis(dice.between(60, 300));
                self.fault_lasts = Duration::from_millis(dice.between(50, 400));
                self.world.network.latency_mean = Duration::from_micros(dice.between(500, 8000));
                self.world.network.late_per_mille = 100;
                self.work.churn_per_mille = 60;
                self.work.orders = vec![Order::Fbcast, Order::Abcast];
                self.work.safe_per_mille = *dice.pick(&[0, 500, 900]);
            }
            Profile::Stragglers => {
                self.world.sites = dice.between(4, 6) as usize;
                self.world.founders = self.world.founders.min(self.world.sites);
                self.faults = vec![Fault::Partition, Fault::Partition, Fault::SlowLink, Fault::CutOneWay];
                self.fault_every = Duration::from_millis(dice.between(200, 800));
                self.fault_lasts = Duration::from_millis(dice.between(300, 1200));
                self.world.network.latency_mean = Duration::from_millis(dice.between(2, 15));
                self.world.network.late_per_mille = 100;
                self.work.churn_per_mille = 100;
                self.work.safe_per_mille = *dice.pick(&[0, 500, 900]);
            }
            Profile::LongCuts => {
                // In a row of five the ends are too far from each other for a detour, and the middle reaches both.
                self.world.sites = 5;
                self.world.founders = self.world.founders.min(self.world.sites);
                self.faults = vec![Fault::Row, Fault::Row, Fault::CutLink, Fault::Deaf];
                // One fault, which mostly lasts until the healing.
                self.faulty_for = Duration::from_secs(20);
                self.fault_every = self.faulty_for;
                self.fault_lasts = self.faulty_for * 4;
            }
            Profile::FullLinks => {
                self.world.sites = 3;
                self.world.founders = 3;
                self.world.link_bytes_max = Some(70 << 10);
                self.world.network.patience_max = Duration::from_secs(8);
                self.faults = vec![Fault::CutLink, Fault::CutOneWay, Fault::Pause, Fault::Crash];
                self.fault_every = Duration::from_millis(dice.between(800, 2000));
                self.fault_lasts = Duration::from_millis(dice.between(400, 1500));
                self.work.processes = 2;
                self.work.every = Duration::from_millis(4);
                // A larger one goes in fragments, which what is cast later may pass.
                self.work.bytes_max = 30_000;
            }
            Profile::LateVotes => {
                self.world.sites = 3;
                self.world.founders = 3;
                self.world.disk.write_mean = Duration::from_millis(dice.between(8, 25));
                self.world.disk.slow_per_mille = 0;
                self.faults = vec![Fault::Crash, Fault::CrashAll, Fault::CrashAll];
                self.fault_every = Duration::from_millis(dice.between(300, 1500));
                self.fault_lasts = Duration::from_millis(dice.between(100, 800));
                self.work.churn_per_mille = 200;
            }
            Profile::Stalls => {
                self.world.sites = dice.between(3, 4) as usize;
                self.world.founders = 3;
                self.world.network.latency_mean = Duration::from_micros(dice.between(50, 500));
                self.world.network.patience_max = Duration::from_secs(8);
                self.faults = vec![Fault::CutOneWay];
                self.fault_every = Duration::from_millis(dice.between(30, 150));
                self.fault_lasts = Duration::from_millis(dice.between(20, 150));
                self.work.processes = 1;
                self.work.groups.truncate(2);
                self.work.churn_per_mille = *dice.pick(&[300, 600, 900]);
                self.be_well();
                self.world.disk.write_mean = Duration::from_micros(dice.between(100, 1000));
            }
            Profile::OneDeaf => {
                self.faults = vec![Fault::Deaf];
                // It lasts until the healing.
                self.fault_lasts = self.faulty_for * 4;
                self.fault_every = self.faulty_for;
                self.world.sites = self.world.sites.max(4);
                self.be_well();
            }
        }
        self.world.mservers = self.world.sites;
    }

    /// What the dice say of networks and disks must not be a reason to remove anybody.
    fn be_well(&mut self) {
        self.world.network.late_per_mille = 0;
        self.world.network.loss_per_mille = self.world.network.loss_per_mille.min(10);
        self.world.disk = disk::Model { error_per_mille: 0, slow_per_mille: 0, ..self.world.disk };
    }
}

fn draw_world(dice: &mut Dice) -> world::Model {
    // What goes wrong among nine mostly goes wrong among five, in a third of the time.
    let sites = dice.between(3, 9).min(dice.between(3, 9)) as usize;
    world::Model {
        sites,
        founders: if dice.chance(700) { sites.min(3) } else { sites },
        mservers: sites,
        network: network::Model {
            latency_min: Duration::from_micros(dice.between(20, 500)),
            latency_mean: Duration::from_micros(dice.between(50, 3000)),
            late_per_mille: *dice.pick(&[0, 10, 100]),
            loss_per_mille: *dice.pick(&[0, 0, 10, 100, 300]),
            double_per_mille: *dice.pick(&[0, 0, 10, 100]),
            patience_max: Duration::from_millis(dice.between(300, 8000)),
        },
        disk: disk::Model {
            write_mean: Duration::from_micros(dice.between(100, 8000)),
            slow_per_mille: *dice.pick(&[0, 0, 20]),
            error_per_mille: *dice.pick(&[0, 0, 0, 5]),
        },
        link_bytes_max: None,
        drift_ppm_max: *dice.pick(&[0, 100, 20_000]),
        turn_mean: Duration::ZERO,
        doom_per_mille: 0,
    }
}

/// A fifth of the seeds have busy sites, but not where it is a race that is stressed. Drawn with dice of their own: every
/// other seed remains the run that it was.
fn draw_turns(seed: u64, profile: Profile) -> Duration {
    let mut dice = Dice::new(seed, Concern::Turns);
    let (busy, mean) = (dice.chance(200), Duration::from_millis(*dice.pick(&[2, 10])));
    match profile {
        Profile::Stalls => mean,
        Profile::Leavers | Profile::Stragglers | Profile::LateVotes => Duration::ZERO,
        // A turn that outlasts a round trip by far looks like silence.
        Profile::OneBadLink | Profile::OneDeaf if busy => Duration::from_micros(300),
        _ if busy => mean,
        _ => Duration::ZERO,
    }
}

fn draw_faults(dice: &mut Dice) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Fault::ANY.into_iter().filter(|_| dice.chance(350)).collect();
    if faults.is_empty() {
        faults.push(Fault::Crash);
    }
    faults
}

fn draw_work(dice: &mut Dice) -> Work {
    let groups = dice.between(1, 4);
    let mut orders: Vec<Order> = [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast]
        .into_iter()
        .filter(|_| dice.chance(500))
        .collect();
    orders.push(*dice.pick(&[Order::Fbcast, Order::Cbcast, Order::Abcast]));
    // A gbcast is a view change: now and then.
    let orders = orders.repeat(20).into_iter().chain(dice.chance(500).then_some(Order::Gbcast)).collect();
    Work {
        processes: dice.between(1, 2),
        groups: (0..groups).map(|n| draw_group(n, dice)).collect(),
        orders,
        safe_per_mille: *dice.pick(&[0, 100, 500]),
        replies_per_mille: *dice.pick(&[0, 50, 200]),
        some_per_mille: *dice.pick(&[0, 0, 50, 200]),
        outside_per_mille: *dice.pick(&[0, 0, 50]),
        churn_per_mille: *dice.pick(&[2, 10, 30]),
        bytes_max: *dice.pick(&[16, 64, 1000, 5000, 90_000]),
        every: Duration::from_millis(dice.between(6, 12)),
    }
}

fn draw_group(n: u64, dice: &mut Dice) -> GroupPlan {
    let consistency = *dice.pick(&[
        Consistency::VirtuallySynchronous,
        Consistency::VirtuallySynchronous,
        Consistency::VirtuallySynchronous,
        Consistency::VirtuallySynchronous,
        Consistency::Strong,
        Consistency::Weak,
    ]);
    let lives = dice.pick(&[Lives::Primary, Lives::Primary, Lives::All, Lives::AtLeast(2)]).clone();
    let merges = dice.pick(&[Merges::SameName, Merges::SameName, Merges::SameName, Merges::Never]).clone();
    let aggregate_ms = *dice.pick(&[0, 0, 0, 20]);
    let options = GroupOptions { consistency, lives, merges, aggregate_ms, ..GroupOptions::default() };
    // The first group is always one of the kind that is promised most.
    let options = if n == 0 { GroupOptions::default() } else { options };
    GroupPlan { name: format!("group-{n}"), options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_has_three_to_nine_sites_and_some_fault() {
        for seed in 0..2000 {
            let swarm = Swarm::draw(seed);
            assert!((3..=9).contains(&swarm.world.sites));
            assert!(swarm.world.founders <= swarm.world.sites);
            assert!(!swarm.faults.is_empty() && !swarm.work.orders.is_empty());
        }
    }
}
