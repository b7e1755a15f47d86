//! One large cluster without faults but those it is measured by: what a view change costs at full size, in time
//! and in frames, and whether every property holds there too.

mod cluster;
mod table;

use std::time::Duration;

use wire::GroupName;

use crate::history::History;
use crate::host::Order;
use crate::node::Settings;
use crate::property;
use crate::world::Death;
use cluster::Cluster;
pub use table::{Row, Table};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many sites.
    pub sites: usize,
    /// How many of them, the first, found the cluster.
    pub founders: usize,
    /// How many of them, the first, have an mserver: those that are no founders join the core-set. The others
    /// attach to one of them.
    pub mservers: usize,
    /// At how many sites the group has a member.
    pub group: usize,
    /// Chooses latencies, clocks and ties: the same seed gives the same table.
    pub seed: u64,
    /// What the sites are told.
    pub hosts: Settings,
}

/// The fewest members: one dies, another's mserver dies, and a group is left.
pub const GROUP_MIN: usize = 4;

/// Why a cluster was not measured to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReached {
    /// Which phase.
    pub phase: &'static str,
    /// How many were there when time ran out.
    pub there: usize,
    /// How many were waited for.
    pub wanted: usize,
}

impl std::fmt::Display for NotReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NotReached { phase, there, wanted } = self;
        write!(f, "{phase}: {there} of {wanted} sites were there when time ran out")
    }
}

impl Plan {
    /// Whether the plan can be carried out; if not, why.
    pub fn check(&self) -> Result<(), String> {
        if self.group < GROUP_MIN || self.group >= self.sites {
            return Err(format!("a group of {GROUP_MIN} or more, and of fewer than all sites"));
        }
        if self.founders == 0 || self.founders > self.mservers {
            return Err("founders that all have an mserver".to_owned());
        }
        if self.mservers < 3 || self.mservers > self.sites {
            return Err("three mservers or more, and no more than sites".to_owned());
        }
        Ok(())
    }

    /// The sites with a member at first: spread over all, so that some have an mserver and some are attached.
    fn members(&self) -> Vec<usize> {
        (0..self.group).map(|n| n * self.sites / self.group).collect()
    }
}

/// Carries a plan out. `progress` hears of every row.
///
/// # Panics
///
/// If the plan does not pass [`Plan::check`], or if a site finds an own invariant violated.
pub fn measure(plan: &Plan, progress: &mut dyn FnMut(&Row)) -> Result<Table, NotReached> {
    plan.check().expect("a plan that was checked");
    let mut cluster = Cluster::new(plan);
    let mut rows = Vec::new();
    let mut done = |row: Row| {
        progress(&row);
        rows.push(row);
    };
    let members = plan.members();
    let attached = |site: &usize| *site >= plan.mservers;

    done(cluster.phase("cluster formed", Cluster::start_all, Cluster::formed)?);
    done(cluster.phase(
        "group formed",
        |c| members.iter().for_each(|site| c.join(*site)),
        |c| c.grouped(members.len()),
    )?);

    // The last member that is attached, and the last that is not, if there are both.
    let last = *members.iter().rfind(|site| attached(site)).unwrap_or(&members[members.len() - 1]);
    let left = members.len() - 1;
    done(cluster.phase("one killed", |c| c.kill(last, Death::Process), |c| c.grouped(left))?);
    let stranger = (0..plan.sites).rfind(|site| !members.contains(site)).expect("not all are members");
    done(cluster.phase("one joined", |c| c.join(stranger), |c| c.grouped(left + 1))?);
    let silent = *members.iter().rfind(|site| attached(site) && **site != last).unwrap_or(&members[1]);
    done(cluster.phase("one fallen silent", |c| c.kill(silent, Death::Machine), |c| c.grouped(left))?);
    if plan.mservers < plan.sites {
        let server = cluster.busiest_mserver();
        let left = left - usize::from(members.contains(&server));
        done(cluster.phase(
            "an mserver killed",
            |c| c.kill(server, Death::Process),
            |c| {
                let (grouped, formed) = (c.grouped(left), c.formed());
                (grouped.0 + formed.0, grouped.1 + formed.1)
            },
        )?);
    }

    for (phase, order, safe) in [
        ("one fbcast", Order::Fbcast, false),
        ("one cbcast", Order::Cbcast, false),
        ("one abcast", Order::Abcast, false),
        ("one safe abcast", Order::Abcast, true),
        ("one gbcast", Order::Gbcast, false),
    ] {
        done(cluster.phase(phase, |c| c.cast_one(order, safe), Cluster::delivered)?);
    }
    done(cluster.phase("an abcast of each", Cluster::cast_all, Cluster::delivered)?);

    let idle = cluster.idle().clone();
    let (lasted, digest, seen) = cluster.end();
    Ok(Table {
        sites: plan.sites,
        mservers: plan.mservers,
        group: plan.group,
        seed: plan.seed,
        rows,
        idle,
        lasted,
        digest,
        violations: property::check(&History::new(seen)),
    })
}

/// The group's name.
fn name() -> GroupName {
    GroupName::parse("scale").expect("a good name")
}

/// A phase that takes longer than this has failed.
const PHASE_WITHIN: Duration = Duration::from_secs(120);
/// After a phase so much time passes, in which what it brought about goes on: its frames are the phase's too.
const AFTERMATH: Duration = Duration::from_secs(2);
/// What goes on when nothing changes is measured for so long.
const IDLE_FOR: Duration = Duration::from_secs(1);
