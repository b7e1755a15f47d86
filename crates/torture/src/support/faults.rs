//! What is done to one site, or all, and ends again: deaths, pauses, cut ways.

use std::time::Duration;

use rustix::process::Signal;

use super::cluster::Cluster;
use super::hosts::Hosts;
use super::run::Run;
use super::verdict::Verdict;
use super::volume::Volume;

/// What lasts, lasts at least so long.
const LASTS_AT_LEAST_MS: u64 = 100;

/// One thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
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
    /// Its disk has no more room.
    Full(usize),
}

/// What faults are done with.
pub struct Means<'a> {
    pub hosts: &'a Hosts,
    /// The sites' disks, if they can be filled.
    pub volumes: &'a [Volume],
}

impl Fault {
    /// One of those that can be done with these means.
    pub fn draw(run: &Run, means: &Means<'_>) -> Fault {
        let sites = means.hosts.count();
        let one = pick(run, sites);
        let other = (one + 1 + pick(run, sites - 1)) % sites;
        let kinds = if means.volumes.is_empty() { 7 } else { 8 };
        match run.below(kinds) {
            0 => Fault::Death(one),
            1 => Fault::DeathOfAll,
            2 => Fault::Pause(one),
            3 => Fault::OneWay(one, other),
            4 => Fault::Cut(one, other),
            5 => Fault::Alone(one),
            6 => Fault::AloneAndPaused(one),
            _ => Fault::Full(one),
        }
    }

    pub fn kind(self) -> &'static str {
        match self {
            Fault::Death(_) => "deaths",
            Fault::DeathOfAll => "deaths of all",
            Fault::Pause(_) => "pauses",
            Fault::OneWay(..) => "one-way cuts",
            Fault::Cut(..) => "cuts",
            Fault::Alone(_) => "isolations",
            Fault::AloneAndPaused(_) => "pauses in isolation",
            Fault::Full(_) => "full disks",
        }
    }

    /// Does it, for some time below this, and ends it.
    pub async fn pass(self, run: &Run, cluster: &mut Cluster, means: &Means<'_>, below: Duration) -> Verdict {
        self.strike(run, cluster, means).await?;
        let below = u64::try_from(below.as_millis()).unwrap_or(u64::MAX);
        let lasts = LASTS_AT_LEAST_MS + run.below(below.saturating_sub(LASTS_AT_LEAST_MS));
        tokio::time::sleep(Duration::from_millis(lasts)).await;
        self.end(run, cluster, means).await
    }

    async fn strike(self, run: &Run, cluster: &mut Cluster, means: &Means<'_>) -> Verdict {
        let hosts = means.hosts;
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
            Fault::Full(one) => means.volumes[one].fill(),
        }
    }

    async fn end(self, run: &Run, cluster: &mut Cluster, means: &Means<'_>) -> Verdict {
        let hosts = means.hosts;
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
            Fault::Full(one) => means.volumes[one].empty_out(),
        }
    }
}

fn others(hosts: &Hosts, one: usize) -> impl Iterator<Item = usize> {
    (0..hosts.count()).filter(move |other| *other != one)
}

fn pick(run: &Run, count: usize) -> usize {
    usize::try_from(run.below(count as u64)).unwrap_or(0)
}

/// Not a wait for an event: the point at which something is done to the sites is what is random.
pub async fn sleep_below(run: &Run, below_ms: u64) {
    tokio::time::sleep(Duration::from_millis(run.below(below_ms))).await;
}
