//! A durable map under load while disks fill up: one of three, then two. A disk that is full before the map is made has it when
//! there is room. With one full the others go on, and the site with it
//! says so and takes no writes. With two nothing can be written anywhere: that is said, with whose disks they are, and what
//! was acknowledged can be read everywhere. With room again all goes on, without a restart.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;
use unanimous::Bytes;
use unanimous::session::protocol::{ErrorCode, Failure};
use unanimous::session::{Error, Session, WriteOptions, connect};

use crate::support::cluster::Cluster;
use crate::support::load::{Load, MAP, map_status};
use crate::support::run::Run;
use crate::support::site::Site;
use crate::support::verdict::{Verdict, ensure, eventually, failed};
use crate::support::volume::Volume;

/// A log reserves room for some megabytes ahead, so it takes large values to feel that there is no more.
const BULK_BYTES: usize = 256 << 10;
const BULK: &str = "bulk";
const MARK: &str = "mark";
const VOLUME_MEBIBYTES: u32 = 192;
/// How long a site that can promise nothing is looked at, and how many views the others may make meanwhile. One or two are due.
const AWAY: Duration = Duration::from_secs(3);
const VIEWS_MAX: u64 = 8;

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(1, 20);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    let volumes = cluster.sites.iter().map(|site| Volume::mount(&site.config.site.data, VOLUME_MEBIBYTES));
    let volumes = volumes.collect::<Verdict<Vec<Volume>>>()?;
    cluster.start().await?;
    let late = 1 + usize::try_from(run.below(2)).unwrap_or(0);
    volumes[late].fill()?;
    let load = Load::start(run, &cluster).await?;
    load.goes_on(50).await?;
    ensure(!is_open(&cluster.sites[late]).await, || "a store was opened on a full disk".to_owned())?;
    volumes[late].empty_out()?;
    for site in &cluster.sites {
        eventually(&format!("s{} has the map", site.number), async || is_open(site).await.then_some(()))
            .await?;
    }
    load.goes_on(50).await?;
    put_anywhere(&cluster, MARK, b"before").await?;
    for _ in 0..times {
        let first = usize::try_from(run.below(3)).unwrap_or(0);
        let second = (first + 1 + usize::try_from(run.below(2)).unwrap_or(0)) % 3;
        one_is_full(&cluster, &volumes, first, &load).await?;
        two_are_full(run, &cluster, &volumes, (first, second)).await?;
        // The order is that of any operator: one of the two is enough.
        volumes[first].empty_out()?;
        load.goes_on(50).await?;
        volumes[second].empty_out()?;
        nobody_is_full(&cluster).await?;
        cluster.whole().await?;
        load.goes_on(50).await?;
        returns_full(run, &cluster, &volumes, second, &load).await?;
    }
    cluster.check_alive()?;
    load.judge(run, &cluster, &format!("{times} times one and two disks of three full")).await
}

/// The others go on; the site whose disk is full is behind, says so, takes no write, and can be read as it is.
async fn one_is_full(cluster: &Cluster, volumes: &[Volume], full: usize, load: &Load) -> Verdict {
    fill(cluster, volumes, &[full]).await?;
    load.goes_on(100).await?;
    let site = &cluster.sites[full];
    let why = refused(&put(&session(site).await?, MARK, b"refused").await)?;
    ensure(why.contains("full"), || format!("a write to the site whose disk is full: {why}"))?;
    let read = session(site).await?.get(MAP, MARK, true).await?;
    ensure(read.is_some_and(|pair| &pair.value[..] == b"before"), || "it can't be read locally".to_owned())
}

/// Nothing can be written anywhere, and all that was acknowledged can be read everywhere.
async fn two_are_full(
    run: &Run,
    cluster: &Cluster,
    volumes: &[Volume],
    (first, second): (usize, usize),
) -> Verdict {
    fill(cluster, volumes, &[first, second]).await?;
    for site in &cluster.sites {
        let session = session(site).await?;
        let why = refused(&put(&session, MARK, b"refused").await)?;
        for full in [first, second] {
            let name = format!("s{}", cluster.sites[full].number);
            ensure(why.contains("full") && why.contains(&name), || format!("{name} is not named: {why}"))?;
        }
        let read = session.get(MAP, MARK, false).await?;
        ensure(read.is_some_and(|pair| &pair.value[..] == b"before"), || "an up-to-date read".to_owned())?;
        let address = format!("unix:{}", site.config.site.session.display());
        let status = Command::new(run.program()).args(["--site", &address, "status"]).output().await?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure(status.contains("make room"), || format!("status does not say what to do:\n{status}"))?;
    }
    Ok(())
}

/// A site that was away comes back with a disk on which there is no room for a promise: the others go on without it as if it were not
/// there, and have it again when there is room.
async fn returns_full(run: &Run, cluster: &Cluster, volumes: &[Volume], full: usize, load: &Load) -> Verdict {
    let site = &cluster.sites[full];
    let kept_away = || site.log().matches("keeps away from the others").count();
    let so_far = kept_away();
    site.signal(Signal::STOP)?;
    let others: Vec<usize> = (0..3).filter(|other| *other != full).collect();
    let gone = cluster.one_view_of(&others).await;
    volumes[full].fill()?;
    site.signal(Signal::CONT)?;
    gone?;
    eventually(&format!("s{} keeps away", site.number), async || (kept_away() > so_far).then_some(()))
        .await?;
    let before = position(&cluster.sites[others[0]]).await?;
    load.goes_on(200).await?;
    tokio::time::sleep(AWAY).await;
    let views = position(&cluster.sites[others[0]]).await? - before;
    ensure(views <= VIEWS_MAX, || format!("{views} views while s{} can promise nothing", site.number))?;
    let address = format!("unix:{}", cluster.sites[others[0]].config.site.session.display());
    let status = Command::new(run.program()).args(["--site", &address, "status"]).output().await?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure(status.contains("no room"), || format!("status does not say why it is away:\n{status}"))?;
    volumes[full].empty_out()?;
    cluster.whole().await?;
    load.goes_on(50).await
}

/// How far the line of primary views is.
async fn position(site: &Site) -> Verdict<u64> {
    let status = eventually("a status", async || site.status().await).await?;
    let position = status.get("position").and_then(Value::as_u64);
    position.map_or_else(|| failed("a status without a position"), Ok)
}

/// Fills the disks of these sites until every site knows that just they are full.
async fn fill(cluster: &Cluster, volumes: &[Volume], full: &[usize]) -> Verdict {
    let mut numbers: Vec<u64> = full.iter().map(|site| u64::from(cluster.sites[*site].number)).collect();
    numbers.sort_unstable();
    let bulk = vec![0x5a; BULK_BYTES];
    eventually(&format!("the disks of {numbers:?} are full"), async || {
        for site in full {
            volumes[*site].fill().ok()?;
        }
        // Anywhere: who is full refuses it.
        for site in &cluster.sites {
            let session = session(site).await.ok()?;
            let put = put(&session, BULK, &bulk);
            let _ = tokio::time::timeout(Duration::from_secs(1), put).await;
        }
        are_full(cluster, &numbers).await
    })
    .await
}

/// Whether the map is open and can be written there.
async fn is_open(site: &Site) -> bool {
    let map = map_status(site).await;
    map.is_some_and(|map| map.get("state").and_then(Value::as_str) == Some("active"))
}

async fn nobody_is_full(cluster: &Cluster) -> Verdict {
    eventually("there is room everywhere", async || are_full(cluster, &[]).await).await
}

/// Whether every site says that the disks of just these sites are full.
async fn are_full(cluster: &Cluster, numbers: &[u64]) -> Option<()> {
    for site in &cluster.sites {
        let map = map_status(site).await?;
        let full: Vec<u64> = map.get("full")?.as_array()?.iter().filter_map(Value::as_u64).collect();
        if full != numbers {
            return None;
        }
    }
    Some(())
}

async fn session(site: &Site) -> Verdict<Session> {
    Ok(connect(&site.address(), "torture").await?.0)
}

async fn put(session: &Session, key: &str, value: &[u8]) -> Result<u64, Error> {
    session.put(MAP, key, Bytes::copy_from_slice(value), WriteOptions::default()).await
}

async fn put_anywhere(cluster: &Cluster, key: &str, value: &[u8]) -> Verdict {
    eventually(&format!("{key} is put"), async || {
        put(&session(&cluster.sites[0]).await.ok()?, key, value).await.ok().map(drop)
    })
    .await
}

/// Why it was refused, with nothing changed.
fn refused(put: &Result<u64, Error>) -> Verdict<String> {
    match put {
        Err(Error::Refused(Failure { error: ErrorCode::NotPrimary, message })) => Ok(message.clone()),
        other => failed(format!("a write that can't be done was not refused, but {other:?}")),
    }
}
