//! `bench kv`: writes to a durable map, over three sites as real processes whose stores are on one disk.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;
use unanimous::session::{Address, Session, WriteOptions, connect};

use super::clock::{self, now};
use super::cluster::Folder;
use super::sites::{Sites, site_name};
use super::summary::Summary;
use super::{GROUP, Progress, disk};
use crate::args;
use crate::failure::Failure;
use crate::output::{Table, Tone, say, say_json};

/// Sites of the benched cluster.
const SITES: usize = 3;
/// Writing goes on for so long before counting begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    writes_per_s: f64,
    latency_us: Summary,
    /// One write of 1,200 bytes and an `fdatasync`, alone on the disk, before the run.
    disk_before_us: Summary,
    disk_after_us: Summary,
    /// Writes a second if each `fdatasync` of the disk alone, at its median, covered all that are outstanding.
    disk_allows_per_s: f64,
    /// The part of that which was reached.
    of_disk: f64,
    /// Processor time of all sites together for one write.
    processor_us: f64,
    sites: Vec<SiteReport>,
}

#[derive(Debug, Serialize)]
struct Settings {
    sites: usize,
    size: u32,
    outstanding: u32,
    sessions: u32,
    keys: u64,
    away: bool,
    seconds: u64,
    encryption: &'static str,
}

#[derive(Debug, Serialize)]
struct SiteReport {
    name: String,
    /// Whether the sessions were with it.
    served: bool,
    /// Processors kept busy, on average.
    processors: f64,
    peak_memory_bytes: u64,
}

/// `unanimous bench kv`.
pub async fn run(args: &args::BenchKv, json: bool) -> Result<(), Failure> {
    if args.sessions > args.outstanding {
        return Err(Failure::usage("there are more --sessions than --outstanding writes"));
    }
    let progress = Progress::new(json);
    progress.say("measuring the disk");
    let folder = match &args.dir {
        Some(dir) => Folder::make_in(dir)?,
        None => Folder::make()?,
    };
    let disk_before_us = measured(&folder)?;
    progress.say("starting three sites");
    let mut sites = Sites::made(folder.path(), SITES, SITES, args.program.clone())?;
    (0..SITES).try_for_each(|i| sites.start(i))?;
    let first = sites.serve(SITES).await?;
    let served = if args.away { (first + 1) % SITES } else { first };
    progress.say(&format!("writing for {} s", args.seconds + WARM_UP.as_secs()));
    let before = sites.processor_times();
    let (latencies, elapsed) = load(sites.address(served), args).await?;
    let after = sites.processor_times();
    let site = |i: usize| SiteReport {
        name: site_name(i),
        served: i == served,
        processors: after[i].saturating_sub(before[i]).as_secs_f64() / elapsed.as_secs_f64(),
        peak_memory_bytes: sites.pid(i).map_or(0, clock::peak_memory_bytes),
    };
    let site_reports: Vec<SiteReport> = (0..SITES).map(site).collect();
    drop(sites);
    progress.say("measuring the disk");
    let disk_after_us = measured(&folder)?;
    progress.end();
    let writes_per_s = latencies.len() as f64 / args.seconds as f64;
    let disk_allows_per_s = f64::from(args.outstanding) * 1e6 / disk_before_us.p50.min(disk_after_us.p50);
    let report = Report {
        settings: Settings {
            sites: SITES,
            size: args.size,
            outstanding: args.outstanding,
            sessions: args.sessions,
            keys: args.keys,
            away: args.away,
            seconds: args.seconds,
            encryption: "TLS 1.3, AES-256-GCM",
        },
        writes_per_s,
        latency_us: Summary::in_us(&latencies)
            .ok_or_else(|| Failure::refused("no write was answered in time"))?,
        disk_before_us,
        disk_after_us,
        disk_allows_per_s,
        of_disk: writes_per_s / disk_allows_per_s,
        processor_us: site_reports.iter().map(|site| site.processors).sum::<f64>() * 1e6 / writes_per_s,
        sites: site_reports,
    };
    if json { say_json(&report) } else { print(&report) }
}

fn measured(folder: &Folder) -> Result<Summary, Failure> {
    disk::forced_writes_us(folder.path())?.ok_or_else(|| Failure::refused("the disk did nothing in a second"))
}

/// The latencies of the writes that began and were answered while it was measured, and how long all took.
async fn load(site: &Address, args: &args::BenchKv) -> Result<(Vec<Duration>, Duration), Failure> {
    let started = now();
    let begin = started + WARM_UP;
    let end = begin + Duration::from_secs(args.seconds);
    let mut writers = JoinSet::new();
    let mut sessions = Vec::new();
    for _ in 0..args.sessions {
        sessions.push(connect(site, "unanimous bench").await?);
    }
    for writer in 0..args.outstanding {
        let session = sessions[(writer % args.sessions) as usize].0.clone();
        let value = Bytes::from(vec![0x5a; args.size as usize]);
        writers.spawn(write(session, u64::from(writer), args.keys, value, (begin, end)));
    }
    let mut latencies = Vec::new();
    while let Some(written) = writers.join_next().await {
        let written = written.map_err(|error| Failure::refused(error.to_string()))?;
        latencies.extend(written.map_err(|why| Failure::refused(format!("a write failed: {why}")))?);
    }
    Ok((latencies, now().saturating_sub(started)))
}

/// One write after the other, each when the one before is answered.
async fn write(
    session: Session,
    seed: u64,
    keys: u64,
    value: Bytes,
    (begin, end): (Duration, Duration),
) -> Result<Vec<Duration>, String> {
    let mut latencies = Vec::new();
    let mut key = seed.wrapping_mul(0x9e37_79b9);
    while now() < end {
        key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = format!("key-{:06}", (key >> 33) % keys);
        let began = now();
        let put = session.put(GROUP, &name, value.clone(), WriteOptions::default()).await;
        put.map_err(|error| error.to_string())?;
        let answered = now();
        if began >= begin && answered <= end {
            latencies.push(answered.saturating_sub(began));
        }
    }
    Ok(latencies)
}

fn print(report: &Report) -> Result<(), Failure> {
    let Settings { size, outstanding, sessions, .. } = &report.settings;
    say(&format!(
        "{} sites, values of {size} bytes, {outstanding} outstanding in {sessions} session(s)",
        report.settings.sites
    ))?;
    let times = [
        ("write", &report.latency_us),
        ("disk before", &report.disk_before_us),
        ("disk after", &report.disk_after_us),
    ];
    let mut table = Table::new(&["WHAT", "P50 us", "P99 us", "MAX us", "COUNT"]);
    for (what, times) in times {
        table.row(vec![
            (what.to_owned(), Tone::Plain),
            (format!("{:.0}", times.p50), Tone::Plain),
            (format!("{:.0}", times.p99), Tone::Plain),
            (format!("{:.0}", times.max), Tone::Plain),
            (times.count.to_string(), Tone::Plain),
        ]);
    }
    table.lines().iter().try_for_each(|line| say(line))?;
    say(&format!(
        "{:.0} writes/s: {:.0} % of what one forced write of {outstanding} at a time would allow; {:.0} us of the sites' \
         processors each",
        report.writes_per_s,
        report.of_disk * 100.0,
        report.processor_us
    ))
}
