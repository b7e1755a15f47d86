//! Histories of a durable map's clients at several sites, while sites die, stop (SIGSTOP) and are cut off, one after another or
//! two at once. Whatever clients were told must be what one copy of the map could have told them (linearizability); a
//! request without an answer may have been done or not; one that was refused was not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::faults::{Fault, Means, sleep_below};
use crate::support::hosts::Hosts;
use crate::support::load::Load;
use crate::support::run::Run;
use crate::support::verdict::Verdict;

/// Between two faults, at most.
const CALM_MS: u64 = 1_200;
/// What lasts, lasts at most so long.
const LASTS_BELOW: Duration = Duration::from_secs(4);

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(6, 150);
    let hosts = Hosts::make(if run.long { 5 } else { 3 })?;
    let mut cluster = Cluster::in_hosts(run, &hosts, |_| {}).await?;
    cluster.start().await?;
    let means = Means { hosts: &hosts, volumes: &[] };
    let load = Load::start(run, &cluster).await?;
    let mut struck: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 1..=times {
        sleep_below(run, CALM_MS).await;
        let fault = Fault::draw(run, &means);
        *struck.entry(fault.kind()).or_default() += 1;
        fault.pass(run, &mut cluster, &means, LASTS_BELOW).await?;
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
