//! One large cluster without faults: how many packets and how much time a view change costs at full size.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use membership::group::GroupOptions;
use wire::{GroupName, ProcessId, Time, ViewId};

use crate::host::{Event, Host, Request};
use crate::trace::Keep;
use crate::world::{self, Death, Happening, World, disk, index, network};

/// What a change cost.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which change.
    pub change: &'static str,
    /// From the request or the fault to the last site that has seen it.
    pub took: Duration,
    /// Packets that all sites sent meanwhile, probes included.
    pub packets: u64,
    /// Packets that they send in as much time when nothing changes.
    pub idle_packets: u64,
    /// Views of the core-set that were installed on the way.
    pub views: usize,
}

/// What all of them cost.
#[derive(Clone, Debug)]
pub struct Table {
    /// How many sites there were.
    pub sites: usize,
    /// How many members the group had.
    pub group: usize,
    /// One row a change.
    pub rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} sites, a group of {}", self.sites, self.group)?;
        writeln!(f, "{:<28} {:>10} {:>10} {:>10} {:>6}", "CHANGE", "TIME", "PACKETS", "WHEN IDLE", "VIEWS")?;
        for row in &self.rows {
            let took = format!("{:.3} s", row.took.as_secs_f64());
            let (packets, idle, views) = (row.packets, row.idle_packets, row.views);
            writeln!(f, "{:<28} {took:>10} {packets:>10} {idle:>10} {views:>6}", row.change)?;
        }
        Ok(())
    }
}

/// Why a change was not measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReached {
    /// Which change.
    pub change: &'static str,
    /// How many were there when time ran out.
    pub there: usize,
    /// How many were waited for.
    pub wanted: usize,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotReached { change, there, wanted } = self;
        write!(f, "{change}: {there} of {wanted} were there when time ran out")
    }
}

/// A change that takes longer than this has failed.
const CHANGE_WITHIN: Duration = Duration::from_secs(300);

/// Forms a cluster of `sites` and a group of `group` of them, kills one, lets one join.
pub fn scale<H: Host>(sites: usize, group: usize, hosts: H::Config) -> Result<Table, NotReached> {
    assert!(3 < group && group < sites, "a group of some of the sites");
    let mut cluster = Cluster::<H>::new(sites, hosts);
    let mut rows = Vec::new();
    (0..sites).for_each(|site| assert!(cluster.world.start(site), "an empty disk can be read"));
    rows.push(cluster.until("all sites in one view", |c| (c.agreed(), sites))?);
    cluster.rest();
    (0..group).for_each(|site| cluster.join(site));
    rows.push(cluster.until("group formed", |c| (c.in_group(group), group))?);
    cluster.rest();
    cluster.world.crash(group - 1, Death::Process);
    rows.push(cluster.until("one member's site killed", |c| (c.in_group(group - 1), group - 1))?);
    cluster.rest();
    cluster.join(group);
    rows.push(cluster.until("one member joined", |c| (c.in_group(group), group))?);
    Ok(Table { sites, group, rows })
}

struct Cluster<H: Host> {
    world: World<H>,
    core: BTreeMap<usize, ViewId>,
    members: BTreeMap<usize, (ViewId, usize)>,
    seen: std::collections::BTreeSet<ViewId>,
    idle_packets_a_second: u64,
}

impl<H: Host> Cluster<H> {
    fn new(sites: usize, hosts: H::Config) -> Cluster<H> {
        let model = world::Model {
            sites,
            founders: 3,
            link_bytes_max: None,
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
            doom_per_mille: 0,
        };
        Cluster {
            world: World::new(0, model, hosts, Keep::Nothing),
            core: BTreeMap::new(),
            members: BTreeMap::new(),
            seen: std::collections::BTreeSet::new(),
            idle_packets_a_second: 0,
        }
    }

    fn join(&mut self, site: usize) {
        let birth = self.world.life(site).expect("only one site dies");
        let name = GroupName::parse("scale").expect("a good name");
        self.world.request(site, Request::Join(ProcessId { birth, local: 1 }, name, GroupOptions::default()));
    }

    /// How many sites are in the view that most are in.
    fn agreed(&self) -> usize {
        let newest = self.core.values().max();
        self.core.values().filter(|view| Some(*view) == newest).count()
    }

    /// How many sites are in the newest view of the group, if it has so many members.
    fn in_group(&self, size: usize) -> usize {
        let newest = self.members.values().max().filter(|(_, members)| *members == size);
        self.members.values().filter(|view| Some(*view) == newest).count()
    }

    fn until(
        &mut self,
        change: &'static str,
        reached: impl Fn(&Self) -> (usize, usize),
    ) -> Result<Row, NotReached> {
        let (began, packets, views) = (self.world.now(), self.world.packets(), self.seen.len());
        loop {
            let (there, wanted) = reached(self);
            if there >= wanted {
                break;
            }
            if self.world.now().since(began) > CHANGE_WITHIN || !self.step() {
                return Err(NotReached { change, there, wanted });
            }
        }
        let took = self.world.now().since(began);
        let idle_packets = (u128::from(self.idle_packets_a_second) * took.as_nanos() / 1_000_000_000) as u64;
        let views = self.seen.len() - views;
        Ok(Row { change, took, packets: self.world.packets() - packets, idle_packets, views })
    }

    /// Lets things calm down, and measures what a second of calm costs.
    fn rest(&mut self) {
        let pass = |cluster: &mut Self, until: Time| while cluster.world.now() < until && cluster.step() {};
        pass(self, self.world.now() + Duration::from_secs(2));
        let packets = self.world.packets();
        pass(self, self.world.now() + Duration::from_secs(1));
        self.idle_packets_a_second = self.world.packets() - packets;
    }

    fn step(&mut self) -> bool {
        let more = self.world.step().is_some();
        for happening in self.world.take_happenings() {
            match happening {
                Happening::Said(life, Event::Core { view: Some(view), .. }) => {
                    self.seen.insert(view);
                    self.core.insert(index(life.site), view);
                }
                Happening::Said(life, Event::View { view, .. }) => {
                    self.members.insert(index(life.site), (view.id, view.members.len()));
                }
                Happening::Died(life) => {
                    self.core.remove(&index(life.site));
                    self.members.remove(&index(life.site));
                }
                Happening::Started(_) | Happening::Said(..) => {}
            }
        }
        more
    }
}
