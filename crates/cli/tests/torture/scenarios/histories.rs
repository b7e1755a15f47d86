//! Histories of a durable map's clients at several sites, while sites die, stop (SIGSTOP) and are cut off, one after another or
//! two at once. Whatever clients were told must be what one copy of the map could have told them (linearizability); a
//! request without an answer may have been done or not; one that was refused was not.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::cluster::Cluster;
use crate::support::hosts::Hosts;
use crate::support::load::Load;
use crate::support::run::Run;
use crate::support::verdict::Verdict;

/// Between two faults, at most.
const CALM_MS: u64 = 1_200;
/// What lasts, lasts at least and at most so long.
const LASTS_MS: (u64, u64) = (100, 4_000);

/// What is done to the sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// `kill -9` of one, and its restart.
    Death(usize),
    /// Of all, one after the other within milliseconds.
    DeathOfAll,
    /// SIGSTOP, and SIGCONT.
    Pause(usize),
    /// One hears nothing from another.
    OneWay(usize, usize),
    /// Two do not hear each other.
    Cut(usize, usize),
    /// One hears nobody and is heard by nobody.
    Alone(usize),
    /// The same, and it stops meanwhile: it wakes up before it is heard again.
    AloneAndPaused(usize),
}

impl Fault {
    const KINDS: u64 = 7;

    fn draw(run: &Run, sites: usize) -> Fault {
        let one = pick(run, sites);
        let other = (one + 1 + pick(run, sites - 1)) % sites;
        match run.below(Fault::KINDS) {
            0 => Fault::Death(one),
            1 => Fault::DeathOfAll,
            2 => Fault::Pause(one),
            3 => Fault::OneWay(one, other),
            4 => Fault::Cut(one, other),
            5 => Fault::Alone(one),
            _ => Fault::AloneAndPaused(one),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Fault::Death(_) => "deaths",
            Fault::DeathOfAll => "deaths of all",
            Fault::Pause(_) => "pauses",
            Fault::OneWay(..) => "one-way cuts",
            Fault::Cut(..) => "cuts",
            Fault::Alone(_) => "isolations",
            Fault::AloneAndPaused(_) => "pauses in isolation",
        }
    }

    async fn strike(self, run: &Run, cluster: &mut Cluster, hosts: &Hosts) -> Verdict {
        match self {
            Fault::Death(one) => cluster.sites[one].kill().await,
            Fault::DeathOfAll => {
                for site in &mut cluster.sites {
                    site.strike()?;
                    sleep_below(run, 10).await;
                }
                for site in &mut cluster.sites {
                    site.kill().await?;
                }
                Ok(())
            }
            Fault::Pause(one) => cluster.sites[one].signal(Signal::STOP),
            Fault::OneWay(from, to) => hosts.cut_one_way(from, to),
            Fault::Cut(one, other) => hosts.cut(one, other),
            Fault::Alone(one) => others(hosts, one).try_for_each(|other| hosts.cut(one, other)),
            Fault::AloneAndPaused(one) => {
                others(hosts, one).try_for_each(|other| hosts.cut(one, other))?;
                sleep_below(run, 300).await;
                cluster.sites[one].signal(Signal::STOP)
            }
        }
    }

    async fn end(self, run: &Run, cluster: &mut Cluster, hosts: &Hosts) -> Verdict {
        match self {
            Fault::Death(one) => cluster.sites[one].start(),
            Fault::DeathOfAll => {
                for site in &mut cluster.sites {
                    site.start()?;
                    sleep_below(run, 100).await;
                }
                Ok(())
            }
            Fault::Pause(one) => cluster.sites[one].signal(Signal::CONT),
            Fault::OneWay(from, to) => hosts.heal_one_way(from, to),
            Fault::Cut(one, other) => hosts.heal(one, other),
            Fault::Alone(one) => others(hosts, one).try_for_each(|other| hosts.heal(one, other)),
            Fault::AloneAndPaused(one) => {
                cluster.sites[one].signal(Signal::CONT)?;
                sleep_below(run, 500).await;
                others(hosts, one).try_for_each(|other| hosts.heal(one, other))
            }
        }
    }
}

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(6, 150);
    let hosts = Hosts::make(if run.long { 5 } else { 3 })?;
    let mut cluster = Cluster::in_hosts(run, &hosts, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    let mut struck: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 1..=times {
        sleep_below(run, CALM_MS).await;
        let fault = Fault::draw(run, hosts.count());
        *struck.entry(fault.kind()).or_default() += 1;
        fault.strike(run, &mut cluster, &hosts).await?;
        tokio::time::sleep(Duration::from_millis(LASTS_MS.0 + run.below(LASTS_MS.1 - LASTS_MS.0))).await;
        fault.end(run, &mut cluster, &hosts).await?;
        // Every other time the next fault meets what this one has left.
        if run.below(2) == 0 || round == times {
            cluster.whole().await?;
        }
        if round % 25 == 0 {
            run.say(format!("{round} faults"));
        }
    }
    load.goes_on(50).await?;
    cluster.check_alive()?;
    let struck: Vec<String> = struck.into_iter().map(|(kind, times)| format!("{times} {kind}")).collect();
    load.judge(run, &cluster, &struck.join(", ")).await
}

fn others(hosts: &Hosts, one: usize) -> impl Iterator<Item = usize> {
    (0..hosts.count()).filter(move |other| *other != one)
}

fn pick(run: &Run, count: usize) -> usize {
    usize::try_from(run.below(count as u64)).unwrap_or(0)
}

/// Not a wait for an event: the point at which something is done to the sites is what is random.
async fn sleep_below(run: &Run, below_ms: u64) {
    tokio::time::sleep(Duration::from_millis(run.below(below_ms))).await;
}
