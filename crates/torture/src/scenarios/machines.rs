//! Machines come and go under a durable map that is written all the time: one is wiped and takes its own place again; two of
//! five are taken out for good, and two new ones come in. What was acknowledged must be there in the end, at every site, and
//! whatever clients were told must have an order. The longest time for which nobody was answered is told, not asserted.
//! And what an emptied disk has: no votes.

use std::time::Duration;

use tokio::process::Command;
use unanimous::SiteConfig;

use crate::support::cluster::Cluster;
use crate::support::load::{Load, map_status};
use crate::support::run::Run;
use crate::support::site::Site;
use crate::support::verdict::{Verdict, ensure, eventually};

/// Between two changes.
const CALM: Duration = Duration::from_millis(700);

/// A machine whose disk was emptied, again and again.
pub async fn replaced(run: &Run) -> Verdict {
    let times = run.times(2, 30);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    for _ in 0..times {
        tokio::time::sleep(CALM).await;
        let victim = usize::try_from(run.below(3)).unwrap_or(0);
        let site = &mut cluster.sites[victim];
        site.kill().await?;
        std::fs::remove_dir_all(&site.config.site.data)?;
        site.start()?;
        cluster.whole().await?;
        let name = cluster.sites[victim].config.site.name.clone();
        ask(run, &cluster, &["replace", &name]).await?;
    }
    tokio::time::sleep(CALM).await;
    cluster.check_alive()?;
    load.judge(run, &cluster, &format!("{times} times wiped and replaced")).await
}

/// An emptied disk is another store: it counts for nothing, also where one more would be enough, until it is let count.
pub async fn wiped(run: &Run) -> Verdict {
    let times = run.times(1, 20);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    for _ in 0..times {
        load.goes_on(50).await?;
        let victim = usize::try_from(run.below(3)).unwrap_or(0);
        let other = (victim + 1 + usize::try_from(run.below(2)).unwrap_or(0)) % 3;
        let stayed = 3 - victim - other;
        cluster.sites[victim].kill().await?;
        std::fs::remove_dir_all(&cluster.sites[victim].config.site.data)?;
        cluster.sites[victim].start()?;
        cluster.whole().await?;
        load.goes_on(20).await?;
        // It has all there is by now, perhaps. It is not asked.
        cluster.sites[other].kill().await?;
        cluster.one_view_of(&[victim, stayed]).await?;
        eventually("one store of three is not enough", async || {
            let map = map_status(&cluster.sites[stayed]).await?;
            let number = |key: &str| map.get(key).and_then(serde_json::Value::as_u64);
            (number("stores_here") == Some(1) && number("stores_needed") == Some(2)).then_some(())
        })
        .await?;
        cluster.sites[other].start()?;
        cluster.whole().await?;
        load.goes_on(20).await?;
        let name = cluster.sites[victim].config.site.name.clone();
        ask(run, &cluster, &["replace", &name]).await?;
        // Now it counts: with it, the other one is not needed.
        cluster.sites[other].kill().await?;
        cluster.one_view_of(&[victim, stayed]).await?;
        load.goes_on(20).await?;
        cluster.sites[other].start()?;
        cluster.whole().await?;
    }
    cluster.check_alive()?;
    load.judge(run, &cluster, &format!("{times} times wiped, and not counted until replaced")).await
}

/// Five sites become three, and five again with two that are new.
pub async fn moved(run: &Run) -> Verdict {
    let times = run.times(1, 10);
    let mut cluster = Cluster::on_loopback(run, 5, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    for round in 1..=times {
        for _ in 0..2 {
            tokio::time::sleep(CALM).await;
            // Never all founders: those that are left give out numbers.
            let gone = 3 + usize::try_from(run.below(2)).unwrap_or(0);
            let gone = gone.min(cluster.sites.len() - 1);
            let name = cluster.sites[gone].config.site.name.clone();
            ask(run, &cluster, &["remove", &name]).await?;
            cluster.sites.remove(gone).kill().await?;
            cluster.whole().await?;
        }
        for n in 0..2 {
            tokio::time::sleep(CALM).await;
            let name = format!("new-{round}-{n}");
            let site = added(run, &cluster, &name).await?;
            cluster.sites.push(site);
            cluster.whole().await?;
            ask(run, &cluster, &["add", &name, "--stores"]).await?;
        }
    }
    tokio::time::sleep(CALM).await;
    cluster.check_alive()?;
    load.judge(run, &cluster, &format!("{times} times five to three and three to five")).await
}

/// `unanimous site …`, of the first site.
pub(super) async fn ask(run: &Run, cluster: &Cluster, args: &[&str]) -> Verdict {
    let address = format!("unix:{}", cluster.sites[0].config.site.session.display());
    eventually(&format!("site {args:?}"), async || {
        let asked =
            Command::new(run.program()).args(["--site", &address, "site"]).args(args).output().await.ok()?;
        asked.status.success().then_some(())
    })
    .await
}

/// A site more, made by `unanimous site add`, and started.
async fn added(run: &Run, cluster: &Cluster, name: &str) -> Verdict<Site> {
    let address = net::ports::free_addresses(1)?[0];
    let made = Command::new(run.program())
        .args(["site", "add", &format!("{name}={address}"), "--mserver", "--dir"])
        .arg(&cluster.folder)
        .output()
        .await?;
    ensure(made.status.success(), || String::from_utf8_lossy(&made.stderr).into_owned())?;
    let path = cluster.folder.join(name).join("site.toml");
    let config = SiteConfig::read(&path)?;
    let number = u32::try_from(cluster.sites.len()).unwrap_or(0) + 100;
    let mut site = Site::new(number, path, config, run.program(), None)?;
    site.start()?;
    Ok(site)
}
