//! One member stops (SIGSTOP) while others flood its group; the time for slow members is raised, so that it stays. The
//! senders are held back, no process grows beyond its bound, and when the member goes on it gets all, in order.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use unanimous::session::protocol::View;

use crate::support::caster::{Cast, Caster, Manner};
use crate::support::cluster::Cluster;
use crate::support::member::{Entry, Log, Member};
use crate::support::oracle::{at_rest, judge, nothing_lost};
use crate::support::run::Run;
use crate::support::site::{memory_of, signal_process};
use crate::support::verdict::{Verdict, ensure, failed};

/// Bytes of a message.
const SIZE: usize = 16 * 1024;
/// What a site may have resident with three flooded members: `docs/operating.md`, "Memory".
const SITE_MEMORY_MAX: u64 = 128 << 20;
/// What a member that takes lines may.
const MEMBER_MEMORY_MAX: u64 = 64 << 20;
/// Messages that the member takes between two stops.
const BETWEEN: usize = 2_000;
/// Without a cast taken for so long, the senders are held back.
const HELD_BACK: Duration = Duration::from_millis(1_500);

pub async fn run(run: &Run) -> Verdict {
    let mut cluster = Cluster::on_loopback(run, 3, |config| config.limits.slow_member_s = 3_600).await?;
    cluster.start().await?;
    let mut members = Vec::new();
    for site in &cluster.sites {
        members.push(Member::join(&site.address(), "flood", &format!("m{}", site.number)).await?);
    }
    // The one that will stop: a process of its own at site 3.
    let slow = Slow::join(run, &cluster).await?;
    for member in &members {
        member.log.view_of(4).await?;
    }
    slow.log.view_of(4).await?;

    let manner = Manner { pause: Duration::ZERO, bytes: SIZE };
    let casters: Vec<Caster> = members.iter().map(|m| Caster::start(m, manner)).collect();
    let taken = || casters.iter().map(|caster| caster.taken.load(Ordering::Relaxed)).sum::<u64>();
    // It stops and goes on several times, so that what is not given back adds up.
    let rounds = run.times(2, 10);
    let lasts = run.lasts(10, 600) / rounds;
    let (mut highest, mut longest) = ([0_u64; 4], Duration::ZERO);
    for round in 1..=rounds {
        let enough = slow.log.entries().len() + BETWEEN;
        let went_on = |entries: &[(Instant, Entry)]| (entries.len() >= enough).then_some(());
        slow.log.until("messages between two stops", went_on).await?;
        signal_process(slow.pid, Signal::STOP)?;
        let began = Instant::now();
        let (mut last, mut since, mut held_back) = (taken(), began, None);
        while began.elapsed() < lasts {
            // Not a wait for an event: memory is looked at from time to time.
            tokio::time::sleep(Duration::from_millis(100)).await;
            for (i, site) in cluster.sites.iter().enumerate() {
                highest[i] = highest[i].max(site.memory()?.0);
            }
            highest[3] = highest[3].max(memory_of(slow.pid)?.0);
            let now = taken();
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() >= HELD_BACK && held_back.is_none() {
                held_back = Some(since.duration_since(began));
            }
        }
        let Some(after) = held_back else {
            return failed(format!("{last} casts taken in round {round} and nobody was held back"));
        };
        longest = longest.max(after);
        signal_process(slow.pid, Signal::CONT)?;
    }
    for (i, &bytes) in highest.iter().enumerate() {
        let bound = if i < 3 { SITE_MEMORY_MAX } else { MEMBER_MEMORY_MAX };
        ensure(bytes <= bound, || {
            format!("process {i} had {} MiB resident, the bound is {}", bytes >> 20, bound >> 20)
        })?;
    }
    for member in &members {
        let views = member.log.views();
        ensure(views.last().is_some_and(|view| view.members.len() == 4), || {
            "the stopped member was removed".to_owned()
        })?;
    }
    run.say(format!(
        "stopped {rounds} times; held back after {} ms at most; resident at most {} MiB of a site, {} of the member",
        longest.as_millis(),
        highest[..3].iter().max().map_or(0, |bytes| bytes >> 20),
        highest[3] >> 20
    ));
    let mut cast = Cast::default();
    for caster in casters {
        cast.add(caster.stop().await?);
    }
    let mut logs: Vec<_> = members.iter().map(|member| member.log.clone()).collect();
    logs.push(Arc::clone(&slow.log));
    at_rest(&logs, &cast).await?;
    let judged = judge(&logs, &cast)?;
    nothing_lost(&logs, &cast)?;
    ensure(cast.refused.is_empty() && cast.unknown.is_empty(), || {
        format!("{} casts refused, {} unknown", cast.refused.len(), cast.unknown.len())
    })?;
    run.say(format!("{} cast, {} delivered, none dropped", cast.taken.len(), judged.delivered));
    cluster.check_alive()
}

/// `unanimous join`, whose lines are kept as a member's log.
struct Slow {
    pid: u32,
    log: Arc<Log>,
    _process: Child,
}

impl Slow {
    async fn join(run: &Run, cluster: &Cluster) -> Verdict<Slow> {
        let mut command = Command::new(run.program());
        command.args(["--json", "--site", &cluster.sites[2].address().to_string(), "join", "flood"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (Some(pid), Some(output)) = (process.id(), process.stdout.take()) else {
            return failed("`unanimous join` has ended at once");
        };
        let log = Log::new("slow");
        let keep = Arc::clone(&log);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(entry) = entry(&line) {
                    keep.push(entry);
                }
            }
        });
        Ok(Slow { pid, log, _process: process })
    }
}

fn entry(line: &str) -> Option<Entry> {
    let value: Value = serde_json::from_str(line).ok()?;
    match value["event"].as_str()? {
        "view" => serde_json::from_value::<View>(value).ok().map(Entry::View),
        "message" => {
            let text = value["text"].as_str()?.split(' ').next()?.to_owned();
            Some(Entry::Message { view: value["view"].as_str()?.to_owned(), text })
        }
        "error" => Some(Entry::Over(value["message"].as_str()?.to_owned())),
        _ => None,
    }
}
