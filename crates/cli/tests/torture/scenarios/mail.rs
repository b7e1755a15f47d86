//! Mail under load, by SMTP and IMAP at all sites, while the sites are killed at random points, all at once or single ones,
//! and started again. Whoever was told 250 or OK is held to nothing more: all of it must be there, once, at every site.

use super::durable::{kill, wait};
use crate::support::cluster::Cluster;
use crate::support::post::{Post, serve};
use crate::support::run::Run;
use crate::support::verdict::Verdict;

/// Between two deaths, at most; a login takes a while.
const CALM_MS: u64 = 2_500;

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
    post.judge(run, &cluster, &format!("{times} times killed")).await
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
