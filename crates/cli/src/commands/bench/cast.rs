//! `bench cast`: messages per second at every member, then the latency of one message at a time.

use std::time::Duration;

use serde::Serialize;

use super::clock::now;
use super::cluster::{Cluster, Manner, Places, Ran};
use super::stream;
use super::summary::Summary;
use super::talk::{Load, Task};
use crate::args;
use crate::failure::Failure;
use crate::output::{Table, Tone, say, say_json};

/// Sites of the benched cluster.
const SITES: usize = 3;
/// Casting goes on for so long before counting begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    /// Delivered at the member that got the fewest.
    msgs_per_s: f64,
    bytes_per_s: f64,
    /// From cast to own delivery, one message at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Summary>,
    /// The same while the window was kept full.
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded_latency_us: Option<Summary>,
    members: Vec<MemberReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<stream::Report>,
}

#[derive(Debug, Serialize)]
struct Settings {
    sites: usize,
    senders: usize,
    size: usize,
    window: usize,
    order: &'static str,
    safe: bool,
    away: bool,
    session: bool,
    seconds: u64,
    workers: usize,
    encryption: &'static str,
    namespaces: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MemberReport {
    rank: usize,
    sends: bool,
    msgs_per_s: f64,
    /// Processors kept busy, on average.
    processors: f64,
    peak_memory_bytes: u64,
}

/// `unanimous bench cast`.
pub async fn run(args: &args::BenchCast, json: bool) -> Result<(), Failure> {
    if args.size == 0 || args.window == 0 || !(1..=SITES).contains(&args.senders) || args.seconds == 0 {
        return Err(Failure::usage(format!(
            "--size, --window and --seconds are at least 1, and --senders is 1 to {SITES}"
        )));
    }
    let places = Places { namespaces: args.netns.clone(), addresses: args.addresses.clone() };
    let manner = Manner { session: args.session, workers: args.workers };
    let progress = super::Progress::new(json);
    progress.say("starting three sites");
    let mut cluster = Cluster::start(SITES, &places, manner).await?;
    let (by_rank, sends) = roles(&cluster, args);
    progress.say(&format!("casting for {} s", args.seconds + WARM_UP.as_secs()));
    let from = now() + WARM_UP;
    let to = from + Duration::from_secs(args.seconds);
    let tasks: Vec<Task> =
        sends.iter().map(|&casts| Task::Throughput(load(args, casts, args.senders, (from, to)))).collect();
    let ran = cluster.run(&tasks).await?;
    check(&ran)?;
    let latency_us = match args.latency_casts {
        0 => None,
        _ => {
            progress.say("casting one message at a time");
            one_at_a_time(&mut cluster, args, &sends).await?
        }
    };
    drop(cluster);
    let stream = match args.stream {
        true => {
            progress.say("the bare stream");
            Some(stream::measure(args.size, Duration::from_secs(2), SITES - 1).await?)
        }
        false => None,
    };
    progress.end();
    let report = report(args, &by_rank, &sends, &ran, latency_us, stream);
    if json { say_json(&report) } else { print(&report) }
}

/// The members by rank, and which of them cast.
fn roles(cluster: &Cluster, args: &args::BenchCast) -> (Vec<usize>, Vec<bool>) {
    let by_rank = cluster.by_rank();
    let mut order = by_rank.clone();
    if args.away {
        // The sequencer is at the site of rank 0.
        order.rotate_left(1);
    }
    let mut sends = vec![false; SITES];
    for &i in order.iter().take(args.senders) {
        sends[i] = true;
    }
    (by_rank, sends)
}

fn load(args: &args::BenchCast, casts: bool, senders: usize, (from, to): (Duration, Duration)) -> Load {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Load {
        casts,
        senders,
        size: args.size,
        window: args.window,
        order: args.order.name().to_owned(),
        safe: args.safe,
        from_ns: ns(from),
        to_ns: ns(to),
        casts_max: args.latency_casts,
    }
}

/// The first sender alone casts one at a time.
async fn one_at_a_time(
    cluster: &mut Cluster,
    args: &args::BenchCast,
    sends: &[bool],
) -> Result<Option<Summary>, Failure> {
    let first = sends.iter().position(|&sends| sends);
    let task = |i: usize| Task::Latency(load(args, Some(i) == first, 1, (Duration::ZERO, Duration::ZERO)));
    let tasks: Vec<Task> = (0..SITES).map(task).collect();
    let ran = cluster.run(&tasks).await?;
    check(&ran)?;
    Ok(first.and_then(|first| ran[first].counted.latency_us))
}

/// All have delivered exactly what was cast: the bench of a system that loses messages says nothing.
fn check(ran: &[Ran]) -> Result<(), Failure> {
    let cast: u64 = ran.iter().map(|ran| ran.counted.cast_in_all).sum();
    let delivered: Vec<u64> = ran.iter().map(|ran| ran.counted.delivered_in_all).collect();
    match delivered.iter().all(|&delivered| delivered == cast) {
        true => Ok(()),
        false => Err(Failure::refused(format!("cast {cast} messages; the members delivered {delivered:?}"))),
    }
}

fn report(
    args: &args::BenchCast,
    by_rank: &[usize],
    sends: &[bool],
    ran: &[Ran],
    latency_us: Option<Summary>,
    stream: Option<stream::Report>,
) -> Report {
    let rate = |i: usize| ran[i].counted.delivered as f64 / args.seconds as f64;
    let members: Vec<MemberReport> = by_rank
        .iter()
        .enumerate()
        .map(|(rank, &i)| MemberReport {
            rank,
            sends: sends[i],
            msgs_per_s: rate(i),
            processors: ran[i].processors,
            peak_memory_bytes: ran[i].peak_memory_bytes,
        })
        .collect();
    let msgs_per_s = members.iter().map(|member| member.msgs_per_s).fold(f64::INFINITY, f64::min);
    let first = (0..SITES).find(|&i| sends[i]);
    Report {
        settings: Settings {
            sites: SITES,
            senders: args.senders,
            size: args.size,
            window: args.window,
            order: args.order.name(),
            safe: args.safe,
            away: args.away,
            session: args.session,
            seconds: args.seconds,
            workers: args.workers,
            encryption: "TLS 1.3, AES-256-GCM",
            namespaces: args.netns.clone(),
        },
        msgs_per_s,
        bytes_per_s: msgs_per_s * args.size as f64,
        latency_us,
        loaded_latency_us: first.and_then(|i| ran[i].counted.latency_us),
        members,
        stream,
    }
}

fn print(report: &Report) -> Result<(), Failure> {
    let settings = &report.settings;
    let flag = |on: bool, name: &str| if on { format!(", {name}") } else { String::new() };
    say(&format!(
        "{}{} of {} B, {} sender{}{}{}, window {}, {} sites, {}",
        settings.order,
        flag(settings.safe, "safe"),
        settings.size,
        settings.senders,
        if settings.senders == 1 { "" } else { "s" },
        if settings.away { " away from the sequencer" } else { "" },
        flag(settings.session, "through the session socket"),
        settings.window,
        settings.sites,
        settings.encryption,
    ))?;
    let mut table = Table::new(&["RANK", "SENDS", "DELIVERED/s", "MB/s", "PROCESSORS", "PEAK MiB"]);
    for member in &report.members {
        let megabytes = member.msgs_per_s * settings.size as f64 / 1e6;
        table.row(vec![
            (member.rank.to_string(), Tone::Plain),
            (if member.sends { "yes" } else { "no" }.to_owned(), Tone::Plain),
            (format!("{:.0}", member.msgs_per_s), Tone::Plain),
            (format!("{megabytes:.1}"), Tone::Plain),
            (format!("{:.2}", member.processors), Tone::Plain),
            (format!("{:.1}", member.peak_memory_bytes as f64 / f64::from(1 << 20)), Tone::Plain),
        ]);
    }
    for line in table.lines() {
        say(&line)?;
    }
    for (what, summary) in
        [("one at a time", &report.latency_us), ("with a full window", &report.loaded_latency_us)]
    {
        if let Some(times) = summary {
            say(&format!(
                "to own delivery, {what}: p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs ({} casts)",
                times.p50, times.p99, times.max, times.count
            ))?;
        }
    }
    match &report.stream {
        Some(stream) => {
            say(&stream.line())?;
            let all = report.bytes_per_s * (settings.sites - 1) as f64;
            say(&format!(
                "of the stream's bytes, counted once per receiving site: {:.2}",
                all / stream.bytes_per_s
            ))
        }
        None => Ok(()),
    }
}
