//! A durable map under load while bits flip in its logs: in a record in the middle of one, in the same record of two, in the
//! last record of the newest segment, and (the long version) in a checkpoint. What is damaged is had from others and listed
//! until then; nobody reads a wrong value; nothing that was acknowledged is lost.

use serde_json::Value;
use tokio::process::Command;
use unanimous::Bytes;
use unanimous::session::{WriteOptions, connect};

use super::machines::ask;
use crate::support::cluster::Cluster;
use crate::support::load::{Load, MAP, map_status};
use crate::support::rot;
use crate::support::run::Run;
use crate::support::site::Site;
use crate::support::verdict::{Verdict, ensure, eventually, failed};

/// A checkpoint is due when the log has grown by 256 MiB.
const BULK_PUTS: usize = 300;
const BULK_BYTES: usize = 1 << 20;
const BULK_KEYS: usize = 16;
/// What is said of a store that has to be given up.
const GIVE_UP: &[&str] = &["move it away and start again", "give the site a new data directory"];

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(1, 15);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    let mut given_up = 0;
    for round in 1..=times {
        let one = usize::try_from(run.below(3)).unwrap_or(0);
        in_one_log(&mut cluster, one, &load, round).await?;
        in_two_logs(run, &mut cluster, one, &load, round).await?;
        given_up += u32::from(in_the_last_record(run, &mut cluster, one, &load).await?);
    }
    if run.long {
        in_a_checkpoint(run, &mut cluster, &load).await?;
    }
    cluster.check_alive()?;
    let after = format!(
        "{times} times a record of one log, the same of two, and the last one of one, for which {given_up} stores were given up"
    );
    load.judge(run, &cluster, &after).await
}

/// The damaged record is had from the others, and written anew.
async fn in_one_log(cluster: &mut Cluster, one: usize, load: &Load, round: u32) -> Verdict {
    let (key, value) = marked(cluster, load, &format!("one-{round}")).await?;
    cluster.sites[one].kill().await?;
    rot::flip_in(&cluster.sites[one], value.as_bytes())?;
    ensure(!rot::has(&cluster.sites[one], value.as_bytes())?, || "it did not flip".to_owned())?;
    load.goes_on(20).await?;
    cluster.sites[one].start()?;
    is_whole_again(&cluster.sites[one], &key, &value).await?;
    cluster.whole().await?;
    load.goes_on(20).await
}

/// Nobody here has the record: it is listed, and nothing is made up; the third brings it.
async fn in_two_logs(run: &Run, cluster: &mut Cluster, one: usize, load: &Load, round: u32) -> Verdict {
    let (key, value) = marked(cluster, load, &format!("two-{round}")).await?;
    let (other, third) = ((one + 1) % 3, (one + 2) % 3);
    for site in &mut cluster.sites {
        site.strike()?;
    }
    for site in &mut cluster.sites {
        site.kill().await?;
    }
    for damaged in [one, other] {
        rot::flip_in(&cluster.sites[damaged], value.as_bytes())?;
        cluster.sites[damaged].start()?;
    }
    for damaged in [one, other] {
        let site = &cluster.sites[damaged];
        eventually(&format!("site {} lists what is damaged", site.number), async || {
            if let Err(wrong) = no_other_value(site, &key, &value).await {
                return Some(Err(wrong));
            }
            let map = map_status(site).await?;
            (map.get("damaged")?.as_array()?.len() == 1).then_some(Ok(()))
        })
        .await??;
    }
    let status = status_text(run, &cluster.sites[one]).await?;
    ensure(status.contains("damaged record"), || format!("status does not say so:\n{status}"))?;
    cluster.sites[third].start()?;
    for damaged in [one, other] {
        is_whole_again(&cluster.sites[damaged], &key, &value).await?;
    }
    cluster.whole().await?;
    load.goes_on(20).await
}

/// A last record that rots looks like one that a crash has torn, and is cut. If somebody knows that the store had acknowledged
/// it, the store is as good as an old copy: its site stops, says so, and gets another. Gives whether that was so.
async fn in_the_last_record(run: &Run, cluster: &mut Cluster, one: usize, load: &Load) -> Verdict<bool> {
    load.goes_on(20).await?;
    cluster.sites[one].kill().await?;
    rot::flip_last(&cluster.sites[one])?;
    cluster.sites[one].start()?;
    let stopped = eventually("its site is in the map again, or has stopped", async || {
        if cluster.sites[one].check_alive().is_err() {
            return Some(true);
        }
        let map = map_status(&cluster.sites[one]).await?;
        let writable = map.get("writable")?.as_bool()?;
        let whole = map.get("damaged")?.as_array()?.is_empty() && map.get("catching_up")?.is_null();
        (writable && whole).then_some(false)
    })
    .await?;
    if stopped {
        let log = cluster.sites[one].log();
        let said = log.lines().rev().take(5).any(|line| GIVE_UP.iter().any(|what| line.contains(what)));
        ensure(said, || format!("it has stopped and does not say what to do: {:?}", log.lines().last()))?;
        new_store(run, cluster, one).await?;
    }
    cluster.whole().await?;
    load.goes_on(20).await?;
    Ok(stopped)
}

/// The store can't be opened without its checkpoint: status says what to do, and that brings it back.
async fn in_a_checkpoint(run: &Run, cluster: &mut Cluster, load: &Load) -> Verdict {
    let (session, _events) = connect(&cluster.sites[0].address(), "torture").await?;
    for n in 0..BULK_PUTS {
        let value = Bytes::from(vec![(n % 251) as u8; BULK_BYTES]);
        session.put(MAP, &format!("bulk-{}", n % BULK_KEYS), value, WriteOptions::default()).await?;
    }
    let one = usize::try_from(run.below(3)).unwrap_or(0);
    eventually("there is a checkpoint", async || rot::has_checkpoint(&cluster.sites[one]).then_some(()))
        .await?;
    cluster.sites[one].kill().await?;
    rot::flip_checkpoint(&cluster.sites[one])?;
    cluster.sites[one].start()?;
    eventually("its store is refused", async || {
        let map = map_status(&cluster.sites[one]).await?;
        let why = map.get("why")?.as_str()?;
        let said = GIVE_UP.iter().any(|what| why.contains(what));
        (map.get("trouble").and_then(Value::as_str) == Some("damaged") && said).then_some(())
    })
    .await?;
    load.goes_on(20).await?;
    new_store(run, cluster, one).await?;
    run.say("a checkpoint that was damaged: the store was refused, and replaced");
    load.goes_on(20).await
}

/// The site gets a new data directory, and its new store counts in place of the old one.
pub(super) async fn new_store(run: &Run, cluster: &mut Cluster, one: usize) -> Verdict {
    cluster.sites[one].kill().await?;
    std::fs::remove_dir_all(&cluster.sites[one].config.site.data)?;
    cluster.sites[one].start()?;
    cluster.whole().await?;
    let name = cluster.sites[one].config.site.name.clone();
    ask(run, cluster, &["replace", &name]).await
}

/// Puts a value that no other record has, which all logs have when this returns, with more behind it.
async fn marked(cluster: &Cluster, load: &Load, name: &str) -> Verdict<(String, String)> {
    let (key, value) = (format!("mark-{name}"), format!("value-of-{name}-").repeat(4));
    eventually(&format!("{key} is put"), async || {
        let (session, _events) = connect(&cluster.sites[0].address(), "torture").await.ok()?;
        let put = session.put(MAP, &key, Bytes::from(value.clone()), WriteOptions::default());
        put.await.ok().map(drop)
    })
    .await?;
    for site in &cluster.sites {
        eventually("all logs have it", async || rot::has(site, value.as_bytes()).ok()?.then_some(())).await?;
    }
    load.goes_on(30).await?;
    Ok((key, value))
}

/// Waits until the site's log has the record again and nothing is damaged; meanwhile nobody reads another value.
async fn is_whole_again(site: &Site, key: &str, value: &str) -> Verdict {
    eventually(&format!("site {} has the record again", site.number), async || {
        if let Err(wrong) = no_other_value(site, key, value).await {
            return Some(Err(wrong));
        }
        let map = map_status(site).await?;
        let whole = map.get("damaged")?.as_array()?.is_empty() && rot::has(site, value.as_bytes()).ok()?;
        whole.then_some(Ok(()))
    })
    .await??;
    let (session, _events) = connect(&site.address(), "torture").await?;
    let found = session.get(MAP, key, false).await?;
    ensure(found.is_some_and(|pair| pair.value == value.as_bytes()), || format!("{key} has another value"))
}

/// What is read at the site alone is the value, or nothing yet.
async fn no_other_value(site: &Site, key: &str, value: &str) -> Verdict {
    let Ok((session, _events)) = connect(&site.address(), "torture").await else { return Ok(()) };
    match session.get(MAP, key, true).await {
        Ok(Some(pair)) => ensure(pair.value == value.as_bytes(), || {
            format!("site {} reads another value of {key}: {:?}", site.number, pair.value)
        }),
        Ok(None) | Err(_) => Ok(()),
    }
}

async fn status_text(run: &Run, site: &Site) -> Verdict<String> {
    let address = format!("unix:{}", site.config.site.session.display());
    let output = Command::new(run.program()).args(["--site", &address, "status"]).output().await?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => failed(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
