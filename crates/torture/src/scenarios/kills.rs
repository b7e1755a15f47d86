//! All sites are killed at random points of view changes, again and again. What the sites logged must be exactly one
//! line of primary views, through all their lives.

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::line::one_line;
use crate::support::member::Member;
use crate::support::run::Run;
use crate::support::verdict::Verdict;

/// Within so many milliseconds of the first death or birth, all the others die.
const SPREAD_MS: u64 = 120;
/// One death after another, within so many milliseconds.
const APART_MS: u64 = 15;

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(5, 200);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    for round in 1..=times {
        // Groups, so that their views change with the sites'.
        let member = Member::join(&cluster.sites[0].address(), "chat", "m1").await?;
        // The change: a death, or a birth that follows a death.
        let first = pick(run, cluster.sites.len());
        cluster.sites[first].kill().await?;
        if run.below(2) == 0 {
            wait(run, SPREAD_MS).await;
            cluster.sites[first].start()?;
        }
        wait(run, SPREAD_MS).await;
        kill_all(run, &mut cluster).await?;
        drop(member);
        // Some come back only to be killed on their way in.
        while run.below(3) == 0 {
            start_all(run, &mut cluster).await?;
            wait(run, 4 * SPREAD_MS).await;
            kill_all(run, &mut cluster).await?;
        }
        start_all(run, &mut cluster).await?;
        cluster.whole().await?;
        one_line(&cluster.sites)?;
        if round % 50 == 0 {
            run.say(format!("{round} rounds"));
        }
    }
    cluster.check_alive()?;
    let line = one_line(&cluster.sites)?;
    let last = line.keys().next_back().copied().unwrap_or(0);
    run.say(format!(
        "all sites killed {times} times and more; {} primary views, up to position {last}, in one line",
        line.len()
    ));
    Ok(())
}

async fn start_all(run: &Run, cluster: &mut Cluster) -> Verdict {
    for site in &mut cluster.sites {
        site.start()?;
        if run.below(2) == 0 {
            wait(run, SPREAD_MS).await;
        }
    }
    Ok(())
}

/// In an order of its own each time.
async fn kill_all(run: &Run, cluster: &mut Cluster) -> Verdict {
    let first = pick(run, cluster.sites.len());
    let count = cluster.sites.len();
    for i in 0..count {
        cluster.sites[(first + i) % count].strike()?;
        wait(run, APART_MS).await;
    }
    for site in &mut cluster.sites {
        site.kill().await?;
    }
    Ok(())
}

fn pick(run: &Run, count: usize) -> usize {
    usize::try_from(run.below(count as u64)).unwrap_or(0)
}

/// Not a wait for an event: the point at which something is done to the sites is what is random.
async fn wait(run: &Run, below_ms: u64) {
    tokio::time::sleep(Duration::from_millis(run.below(below_ms))).await;
}
