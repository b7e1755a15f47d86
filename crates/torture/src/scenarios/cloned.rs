//! A durable map under load while copies of a site's data directory are started: in the original's place after it has gone on
//! (once, so that the copy's life is equal to one that was seen, and again, so that it is above), and beside it while it runs.
//! A copy has forgotten what the original promised and acknowledged since. It is refused, or stops, and its log says why; nothing
//! that was acknowledged may be lost. The original, put back, goes on; one beside which a copy has run needs a new data directory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::rotten::new_store;
use crate::support::cluster::Cluster;
use crate::support::line::one_line;
use crate::support::load::{Load, map_status};
use crate::support::run::Run;
use crate::support::site::Site;
use crate::support::verdict::{Verdict, eventually};

/// What a site says whose data are an old copy.
const SAID: &str = "old copy";

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(1, 20);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    for round in 1..=times {
        let victim = usize::try_from(run.below(3)).unwrap_or(0);
        instead(&mut cluster, victim, &load).await?;
        beside(run, &mut cluster, victim, &load, round).await?;
        one_line(&cluster.sites)?;
    }
    cluster.check_alive()?;
    let after = format!("{times} times an old copy in its original's place, twice each, and one beside it");
    load.judge(run, &cluster, &after).await
}

/// The copy takes the original's place.
async fn instead(cluster: &mut Cluster, victim: usize, load: &Load) -> Verdict {
    let data = cluster.sites[victim].config.site.data.clone();
    let (copy, original) = (data.with_extension("copy"), data.with_extension("original"));
    load.goes_on(30).await?;
    cluster.sites[victim].kill().await?;
    copy_all(&data, &copy)?;
    cluster.sites[victim].start()?;
    cluster.whole().await?;
    load.goes_on(50).await?;
    cluster.sites[victim].kill().await?;
    fs::rename(&data, &original)?;
    fs::rename(&copy, &data)?;
    for again in ["in a life that was seen", "in one above it"] {
        let before = cluster.sites[victim].log().len();
        cluster.sites[victim].start()?;
        // In a life that was seen it is refused, and goes on trying; in one above, the map's store is recognised.
        let site = &cluster.sites[victim];
        eventually(&format!("the copy is recognised, {again}"), async || {
            site.log().get(before..)?.contains(SAID).then_some(())
        })
        .await?;
        load.goes_on(20).await?;
        cluster.sites[victim].kill().await?;
    }
    fs::remove_dir_all(&data)?;
    fs::rename(&original, &data)?;
    start_original(cluster, victim).await?;
    load.goes_on(30).await
}

/// The original starts. If a copy has had the life that it takes now, it is refused, until it is started once more.
async fn start_original(cluster: &mut Cluster, victim: usize) -> Verdict {
    let before = cluster.sites[victim].log().len();
    cluster.sites[victim].start()?;
    let site = &cluster.sites[victim];
    let refused = eventually("the original is let in, or refused", async || {
        if site.log().get(before..)?.contains(SAID) {
            return Some(true);
        }
        (site.status().await?.get("primary")?.as_bool()?).then_some(false)
    })
    .await?;
    if refused {
        cluster.sites[victim].kill().await?;
        cluster.sites[victim].start()?;
    }
    cluster.whole().await.map(drop)
}

/// The copy, made while the original runs, is started beside it.
async fn beside(run: &Run, cluster: &mut Cluster, victim: usize, load: &Load, round: u32) -> Verdict {
    load.goes_on(30).await?;
    let mut copy = a_second(run, &cluster.sites[victim], round)?;
    load.goes_on(30).await?;
    // What the original has acknowledged since is known to another: else the copy has forgotten nothing that anybody knows of.
    let other = &cluster.sites[(victim + 1) % 3];
    eventually("the original lags behind nobody", async || {
        map_status(other).await?.get("absent")?.as_array()?.is_empty().then_some(())
    })
    .await?;
    copy.start()?;
    // Its log begins with it.
    eventually("the copy is recognised", async || copy.log().contains(SAID).then_some(())).await?;
    copy.kill().await?;
    // Its life was above the original's, which it has pushed out; and where nothing had changed since it was copied, in the
    // catalog, it is the store that goes on, and the original is the old one. Neither is of use any more.
    new_store(run, cluster, victim).await?;
    load.goes_on(30).await
}

/// A site with the same name, number, certificate and, by now, data, which listens elsewhere.
fn a_second(run: &Run, site: &Site, round: u32) -> Verdict<Site> {
    let folder = site.path().with_file_name(format!("copy-{round}"));
    fs::create_dir_all(&folder)?;
    let mut config = site.config.clone();
    config.site.link = net::ports::free_addresses(1)?[0];
    config.site.metrics = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.site.session = folder.join("session.sock");
    config.site.data = folder.join("data");
    copy_all(&site.config.site.data, &config.site.data)?;
    Site::new(site.number, folder.join("site.toml"), config, run.program(), None)
}

/// Copies a folder, as somebody would while its files are written: what has gone by then is left out.
fn copy_all(from: &Path, to: &Path) -> Verdict {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_all(&entry.path(), &target)?,
            false => match fs::copy(entry.path(), target) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                Ok(_) | Err(_) => {}
            },
        }
    }
    Ok(())
}
