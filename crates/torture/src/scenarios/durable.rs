//! A durable map under load while all its sites are killed at random points, again and again, and single ones in between.
//! Clients know what was acknowledged: all of it must be there at the end, at every site, and what they were told must
//! have an order (linearizability).

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::load::Load;
use crate::support::run::Run;
use crate::support::verdict::Verdict;

/// Between two deaths, at most.
const CALM_MS: u64 = 1_500;

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(3, 300);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    for round in 1..=times {
        wait(run, CALM_MS).await;
        kill(run, &mut cluster, round).await?;
        if round % 50 == 0 {
            run.say(format!("{round} rounds"));
        }
    }
    wait(run, CALM_MS).await;
    cluster.check_alive()?;
    load.judge(run, &cluster, &format!("{times} times killed")).await
}

/// Kills all sites, or one, and starts them again.
pub async fn kill(run: &Run, cluster: &mut Cluster, round: u32) -> Verdict {
    let all = round % 2 == 1 || run.below(2) == 0;
    let victims: Vec<usize> = match all {
        true => (0..cluster.sites.len()).collect(),
        false => vec![usize::try_from(run.below(3)).unwrap_or(0)],
    };
    for &victim in &victims {
        cluster.sites[victim].strike()?;
        wait(run, 10).await;
    }
    for &victim in &victims {
        cluster.sites[victim].kill().await?;
    }
    for &victim in &victims {
        cluster.sites[victim].start()?;
        wait(run, 100).await;
    }
    cluster.whole().await.map(drop)
}

/// Not a wait for an event: the point at which something is done to the sites is what is random.
pub async fn wait(run: &Run, below_ms: u64) {
    tokio::time::sleep(Duration::from_millis(run.below(below_ms))).await;
}
