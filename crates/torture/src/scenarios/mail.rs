//! Mail under load, by SMTP and IMAP at all sites, while the sites are killed at random points, all at once or single ones,
//! and started again. Whoever was told 250 or OK is held to nothing more: all of it must be there, once, at every site.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::durable::{kill, wait};
use crate::support::cluster::Cluster;
use crate::support::faults::{Fault, Means};
use crate::support::hosts::Hosts;
use crate::support::post::{Post, serve};
use crate::support::run::Run;
use crate::support::verdict::Verdict;
use crate::support::volume::Volume;

/// Between two deaths, at most; a login takes a while.
const CALM_MS: u64 = 2_500;
/// A fault of the mix lasts less than this, and one comes soon after the other.
const FAULT_BELOW: Duration = Duration::from_secs(3);
const BETWEEN_MS: u64 = 1_000;
/// Of each site's disk. A log reserves some megabytes ahead, and in each second some letters stay.
const VOLUME_MEBIBYTES: u64 = 96;
const VOLUME_MEBIBYTES_IN_TWO_SECONDS: u64 = 1;

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(3, 200);
    let mut cluster = Cluster::on_loopback(run, 3, serve).await?;
    cluster.start().await?;
    let post = Post::start(run, &cluster).await?;
    for round in 1..=times {
        wait(run, CALM_MS).await;
        match round % 2 {
            1 => kill(run, &mut cluster, round).await?,
            _ => one_dies(run, &mut cluster).await?,
        }
    }
    wait(run, CALM_MS).await;
    cluster.check_alive()?;
    post.judge(run, &cluster, &format!("{times} times killed")).await?;
    cluster.rests().await
}

/// Kills a site, and starts it again when the others have gone on without it.
async fn one_dies(run: &Run, cluster: &mut Cluster) -> Verdict {
    let victim = usize::try_from(run.below(3)).unwrap_or(0);
    cluster.sites[victim].kill().await?;
    let others: Vec<usize> = (0..3).filter(|site| *site != victim).collect();
    cluster.one_view_of(&others).await?;
    wait(run, CALM_MS).await;
    cluster.sites[victim].start()?;
    cluster.whole().await.map(drop)
}

/// Everything that can be done to sites, in any order, while letters come.
pub async fn faults(run: &Run) -> Verdict {
    let hosts = Hosts::make(3)?;
    let mut cluster = Cluster::in_hosts(run, &hosts, serve).await?;
    let lasts = run.lasts(7, 600);
    let mebibytes = VOLUME_MEBIBYTES + lasts.as_secs() / 2 * VOLUME_MEBIBYTES_IN_TWO_SECONDS;
    let mebibytes = u32::try_from(mebibytes).unwrap_or(u32::MAX);
    let volumes = cluster.sites.iter().map(|site| Volume::mount(&site.config.site.data, mebibytes));
    let volumes = volumes.collect::<Verdict<Vec<Volume>>>()?;
    cluster.start().await?;
    let means = Means { hosts: &hosts, volumes: &volumes };
    let post = Post::start(run, &cluster).await?;
    let begun = Instant::now();
    let mut struck: BTreeMap<&str, u32> = BTreeMap::new();
    while begun.elapsed() < lasts {
        wait(run, BETWEEN_MS).await;
        let fault = Fault::draw(run, &means);
        *struck.entry(fault.kind()).or_default() += 1;
        fault.pass(run, &mut cluster, &means, FAULT_BELOW).await?;
        // Every other time the next fault meets what this one has left.
        if run.below(2) == 0 {
            cluster.whole().await?;
        }
    }
    cluster.whole().await?;
    wait(run, CALM_MS).await;
    cluster.check_alive()?;
    let struck: Vec<String> = struck.into_iter().map(|(kind, times)| format!("{times} {kind}")).collect();
    post.judge(run, &cluster, &struck.join(", ")).await?;
    cluster.rests().await
}
