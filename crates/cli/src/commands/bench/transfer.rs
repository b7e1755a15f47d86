//! `bench transfer`: a site that has nothing gets a large state, while clients write to the group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use unanimous::session::{Address, Session, WriteOptions, connect};

use super::clock::{self, now};
use super::cluster::Folder;
use super::filling::{Filling, GIB, files_of};
use super::sites::{A_MOMENT, Sites, site_name};
use super::summary::Summary;
use super::{GROUP, Progress};
use crate::args;
use crate::failure::Failure;
use crate::output::{Table, Tone, say, say_json};

/// Sites that have the map.
const SITES: usize = 3;
/// The one that comes.
const JOINER: usize = SITES;
/// How long the group is written to before and after.
const ALONE: Duration = Duration::from_secs(8);
/// How often the joining site is asked how far it is.
const LOOKED_EVERY: Duration = Duration::from_millis(20);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// Bytes of a value that is written meanwhile, and how many keys there are.
const VALUE_BYTES: usize = 1_024;
const KEYS: u64 = 4_096;

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    /// From the start of the joining site's process until it has all.
    seconds: f64,
    /// From its first part of the checkpoint to the last.
    received_s: f64,
    received_bytes: u64,
    bytes_per_s: f64,
    donor_killed: Option<Killed>,
    /// Of the writes that were begun before, while it received, and after.
    before: Phase,
    meanwhile: Phase,
    after: Phase,
    sites: Vec<SiteReport>,
}

#[derive(Debug, Serialize)]
struct Settings {
    state_bytes: u64,
    size: u32,
    outstanding: u32,
}

#[derive(Debug, Serialize)]
struct Killed {
    site: String,
    /// What had been received, and from whom it went on.
    at_bytes: u64,
    then: String,
    /// How long nothing came.
    pause_ms: f64,
    /// Whether it began anew.
    anew: bool,
}

#[derive(Debug, Serialize)]
struct Phase {
    seconds: f64,
    writes_per_s: f64,
    latency_us: Summary,
}

#[derive(Debug, Serialize)]
struct SiteReport {
    name: String,
    joined: bool,
    /// In the end: mostly the state.
    memory_bytes: u64,
    /// The most since the joining site was started.
    peak_memory_bytes: u64,
    /// Processors kept busy since then, on average.
    processors: f64,
}

/// `unanimous bench transfer`.
pub async fn run(args: &args::BenchTransfer, json: bool) -> Result<(), Failure> {
    let progress = Progress::new(json);
    let folder = match &args.dir {
        Some(dir) => Folder::make_in(dir)?,
        None => Folder::make()?,
    };
    let mut sites = Sites::made(folder.path(), SITES + 1, SITES, args.program.clone())?;
    (0..SITES).try_for_each(|i| sites.start(i))?;
    let first = sites.serve(SITES).await?;
    let filling = Filling::of(args.gib, args.size);
    progress.say(&format!("writing a map of {:.2} GiB", filling.bytes() as f64 / GIB));
    filling.write(&sites.session(first).await, |_| async { Ok(true) }).await?;
    let load = Load::start(&sites, args.outstanding);
    tokio::time::sleep(ALONE).await;
    (0..SITES).filter_map(|i| sites.pid(i)).for_each(clock::forget_peak_memory);
    progress.say("a site comes");
    let (began, processors) = (now(), sites.processor_times());
    sites.start(JOINER)?;
    let followed = tokio::time::timeout(PATIENCE, follow(&mut sites, args.kill_donor, &progress)).await;
    let followed = followed.map_err(|_| sites.failed("the site has not come after twenty minutes"))??;
    let ended = now();
    let elapsed = ended.saturating_sub(began).as_secs_f64();
    let busy = sites.processor_times().into_iter().zip(processors);
    let busy: Vec<f64> =
        busy.map(|(after, before)| after.saturating_sub(before).as_secs_f64() / elapsed).collect();
    let site = |i: usize| SiteReport {
        name: site_name(i),
        joined: i == JOINER,
        memory_bytes: sites.pid(i).map_or(0, clock::resident_memory_bytes),
        peak_memory_bytes: sites.pid(i).map_or(0, clock::peak_memory_bytes),
        processors: busy[i],
    };
    let site_reports = (0..=JOINER).map(site).collect();
    progress.say("writing on");
    tokio::time::sleep(ALONE).await;
    let times = load.end().await?;
    drop(sites);
    progress.end();
    let Followed { first_part, last_part, received, killed } = followed;
    let received_s = last_part.saturating_sub(first_part).as_secs_f64();
    let report = Report {
        settings: Settings { state_bytes: filling.bytes(), size: args.size, outstanding: args.outstanding },
        seconds: elapsed,
        received_s,
        received_bytes: received,
        bytes_per_s: received as f64 / received_s.max(1e-9),
        donor_killed: killed,
        before: phase(&times, Duration::ZERO, began)?,
        meanwhile: phase(&times, began, ended)?,
        after: phase(&times, ended, Duration::MAX)?,
        sites: site_reports,
    };
    if json { say_json(&report) } else { print(&report) }
}

/// How the joining site came to have all.
struct Followed {
    first_part: Duration,
    last_part: Duration,
    received: u64,
    killed: Option<Killed>,
}

/// What the joining site says of itself.
struct Look {
    applied: u64,
    /// Bytes received, and whom the next are asked of; none if it receives no checkpoint.
    receives: Option<(u64, usize)>,
    catches_up: bool,
}

async fn follow(sites: &mut Sites, kill_donor: bool, progress: &Progress) -> Result<Followed, Failure> {
    let session = sites.session(JOINER).await;
    let (mut parts, mut received, mut from): (Option<(Duration, Duration)>, u64, usize) = (None, 0, 0);
    let mut killed: Option<Killed> = None;
    let whole = files_of(&sites.store(0))?.checkpoint_bytes;
    loop {
        tokio::time::sleep(LOOKED_EVERY).await;
        let Some(look) = look(&session).await else { continue };
        if let Some((bytes, donor)) = look.receives {
            let (first, last) = parts.unwrap_or((now(), now()));
            if bytes != received {
                if let Some(killed) = killed.as_mut().filter(|killed| killed.then.is_empty()) {
                    killed.then = site_name(donor);
                    killed.pause_ms = now().saturating_sub(last).as_secs_f64() * 1e3;
                    killed.anew = bytes < received;
                }
                parts = Some((first, now()));
                (received, from) = (bytes, donor);
                progress.say(&format!("{} MiB received from {}", bytes >> 20, site_name(donor)));
            }
            if kill_donor && killed.is_none() && bytes > whole / 2 {
                sites.kill(from).await?;
                killed = Some(Killed {
                    site: site_name(from),
                    at_bytes: bytes,
                    then: String::new(),
                    pause_ms: 0.0,
                    anew: false,
                });
            }
            continue;
        }
        let other = (0..SITES).find(|i| sites.pid(*i).is_some()).unwrap_or_default();
        let there = self::look(&sites.session(other).await).await;
        // A moment behind is nothing that is caught up with.
        if !look.catches_up && there.is_some_and(|there| look.applied + KEYS >= there.applied) {
            // So little may come as entries of the log, without a checkpoint.
            let (first_part, last_part) = parts.unwrap_or((now(), now()));
            return Ok(Followed { first_part, last_part, received, killed });
        }
    }
}

async fn look(session: &Session) -> Option<Look> {
    let status = session.status().await.ok()?;
    let groups = status.get("durable")?.as_array()?;
    let group = groups.iter().find(|group| group.get("group").and_then(Value::as_str) == Some(GROUP))?;
    let catching_up = group.get("catching_up").filter(|progress| !progress.is_null());
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let receives = catching_up.and_then(|progress| {
        let from = number(progress, "from")?.checked_sub(1)?;
        Some((number(progress, "received_bytes")?, usize::try_from(from).ok()?))
    });
    Some(Look { applied: number(group, "applied")?, receives, catches_up: catching_up.is_some() })
}

/// Clients that write, each when the write before is answered, at the last of the sites that have the map; at another when
/// that is gone.
struct Load {
    ends: Arc<AtomicBool>,
    writers: JoinSet<Vec<(Duration, Duration)>>,
}

impl Load {
    fn start(sites: &Sites, outstanding: u32) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let addresses: Arc<Vec<Address>> =
            Arc::new((0..SITES).rev().map(|i| sites.address(i).clone()).collect());
        let at = Arc::new(AtomicUsize::new(0));
        let mut writers = JoinSet::new();
        for writer in 0..u64::from(outstanding) {
            writers.spawn(write(Arc::clone(&addresses), Arc::clone(&at), writer, Arc::clone(&ends)));
        }
        Load { ends, writers }
    }

    /// When each write began, and how long it took.
    async fn end(mut self) -> Result<Vec<(Duration, Duration)>, Failure> {
        self.ends.store(true, Relaxed);
        let mut all = Vec::new();
        while let Some(times) = self.writers.join_next().await {
            all.extend(times.map_err(|error| Failure::refused(error.to_string()))?);
        }
        Ok(all)
    }
}

async fn write(
    addresses: Arc<Vec<Address>>,
    at: Arc<AtomicUsize>,
    seed: u64,
    ends: Arc<AtomicBool>,
) -> Vec<(Duration, Duration)> {
    let value = Bytes::from(vec![0x5a; VALUE_BYTES]);
    let (mut times, mut number, mut session) = (Vec::new(), seed, None);
    while !ends.load(Relaxed) {
        let began = now();
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = format!("small-{:06}", (number >> 33) % KEYS);
        // It was put or not: putting it again is the same.
        while !ends.load(Relaxed) {
            let place = at.load(Relaxed);
            let open = match session.take() {
                Some(open) => Ok(open),
                None => connect(&addresses[place % addresses.len()], "unanimous bench")
                    .await
                    .map(|(open, _)| open),
            };
            if let Ok(open) = open
                && open.put(GROUP, &name, value.clone(), WriteOptions::default()).await.is_ok()
            {
                times.push((began, now().saturating_sub(began)));
                session = Some(open);
                break;
            }
            let _ = at.compare_exchange(place, place + 1, Relaxed, Relaxed);
            tokio::time::sleep(A_MOMENT).await;
        }
    }
    times
}

/// Of the writes that began from then on, and before then.
fn phase(times: &[(Duration, Duration)], from: Duration, to: Duration) -> Result<Phase, Failure> {
    let within: Vec<_> = times.iter().filter(|(began, _)| (from..to).contains(began)).collect();
    let taken: Vec<Duration> = within.iter().map(|(_, taken)| *taken).collect();
    let first = within.iter().map(|(began, _)| *began).min().unwrap_or_default();
    let last = within.iter().map(|(began, taken)| *began + *taken).max().unwrap_or_default();
    let seconds = last.saturating_sub(first).as_secs_f64();
    Ok(Phase {
        seconds,
        writes_per_s: taken.len() as f64 / seconds.max(1e-9),
        latency_us: Summary::in_us(&taken).ok_or_else(|| Failure::refused("no write was answered"))?,
    })
}

fn print(report: &Report) -> Result<(), Failure> {
    say(&format!(
        "{:.2} GiB of state: there after {:.1} s, received in {:.1} s at {:.0} MiB/s",
        report.settings.state_bytes as f64 / GIB,
        report.seconds,
        report.received_s,
        report.bytes_per_s / f64::from(1 << 20)
    ))?;
    if let Some(killed) = &report.donor_killed {
        say(&format!(
            "{} was killed after {} MiB; {} went on after {:.0} ms{}",
            killed.site,
            killed.at_bytes >> 20,
            killed.then,
            killed.pause_ms,
            if killed.anew { ", from the beginning" } else { "" }
        ))?;
    }
    let mut table = Table::new(&["WRITES", "PER S", "P50 US", "P99 US", "MAX US"]);
    for (what, phase) in
        [("before", &report.before), ("meanwhile", &report.meanwhile), ("after", &report.after)]
    {
        let Summary { p50, p99, max, .. } = phase.latency_us;
        let numbers = [phase.writes_per_s, p50, p99, max].map(|n| (format!("{n:.0}"), Tone::Plain));
        table.row(std::iter::once((what.to_owned(), Tone::Plain)).chain(numbers).collect());
    }
    table.lines().iter().try_for_each(|line| say(line))?;
    let mut table = Table::new(&["SITE", "MEMORY MIB", "PEAK MIB", "PROCESSORS"]);
    for site in &report.sites {
        let row = [
            site.name.clone(),
            format!("{}", site.memory_bytes >> 20),
            format!("{}", site.peak_memory_bytes >> 20),
            format!("{:.2}", site.processors),
        ];
        table.row(row.map(|cell| (cell, Tone::Plain)).to_vec());
    }
    table.lines().iter().try_for_each(|line| say(line))
}
