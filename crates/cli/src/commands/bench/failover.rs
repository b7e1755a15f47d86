//! `bench failover`: from the death of a site to the view without it at every survivor, as its members are told.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::Progress;
use super::clock;
use super::cluster::{Cluster, Manner, Places};
use super::namespaces::{Namespaces, set_link};
use super::summary::Summary;
use crate::args;
use crate::args::Fault;
use crate::failure::Failure;
use crate::output::{Table, Tone, say, say_json};

/// Sites of the benched cluster.
const SITES: usize = 3;

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    /// From the fault to the last survivor's view.
    view_ms: Vec<Ways>,
}

#[derive(Debug, Serialize)]
struct Settings {
    sites: usize,
    trials: u32,
    detection: &'static str,
}

#[derive(Debug, Serialize)]
struct Ways {
    fault: &'static str,
    how: &'static str,
    #[serde(flatten)]
    times: Summary,
}

/// `unanimous bench failover`.
pub async fn run(args: &args::BenchFailover, json: bool) -> Result<(), Failure> {
    let progress = Progress::new(json);
    let mut ways = Vec::new();
    if args.only != Some(Fault::Cut) {
        let times = trials(args.trials, &Places::default(), Way::Kill, &progress).await?;
        ways.push(Ways { fault: "kill", how: "kill -9", times });
    }
    if args.only != Some(Fault::Kill) {
        let (how, times) = match Namespaces::make(SITES) {
            Ok(namespaces) => {
                let places = namespaces.places();
                ("its link taken down", trials(args.trials, &places, Way::Cable, &progress).await?)
            }
            Err(why) => {
                if !json {
                    eprintln!("{why}: a cut host is imitated by SIGSTOP");
                }
                ("SIGSTOP", trials(args.trials, &Places::default(), Way::Stop, &progress).await?)
            }
        };
        ways.push(Ways { fault: "cut", how, times });
    }
    progress.end();
    let settings = Settings { sites: SITES, trials: args.trials, detection: "default settings" };
    let report = Report { settings, view_ms: ways };
    if json { say_json(&report) } else { print(&report) }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Kill,
    Cable,
    Stop,
}

async fn trials(count: u32, places: &Places, way: Way, progress: &Progress) -> Result<Summary, Failure> {
    let manner = Manner { session: false, workers: crate::commands::site::workers() };
    let mut cluster = Cluster::start(SITES, places, manner).await?;
    let mut times = Vec::new();
    for trial in 0..count as usize {
        progress.say(&format!("{way:?}: trial {} of {count}", trial + 1));
        times.push(one(&mut cluster, trial % SITES, way).await?);
    }
    Summary::in_ms(&times).ok_or_else(|| Failure::usage("--trials is at least 1"))
}

/// Strikes a site, waits for the others' view, and brings the site back in a new life.
async fn one(cluster: &mut Cluster, victim: usize, way: Way) -> Result<Duration, Failure> {
    let survivors: Vec<usize> = (0..SITES).filter(|&i| i != victim).collect();
    let began = strike(cluster, victim, way)?;
    let seen = cluster.view_of(SITES - 1, &survivors).await?;
    if let Way::Cable = way {
        cluster.kill(victim)?;
        cable(cluster, victim, true)?;
    }
    cluster.restart(victim).await?;
    let all: Vec<usize> = (0..SITES).collect();
    cluster.view_of(SITES, &all).await?;
    Ok(seen.saturating_sub(began))
}

fn strike(cluster: &mut Cluster, victim: usize, way: Way) -> Result<Duration, Failure> {
    match way {
        Way::Kill => cluster.kill(victim),
        Way::Cable => {
            let began = clock::now();
            cable(cluster, victim, false)?;
            Ok(began)
        }
        Way::Stop => {
            let began = clock::now();
            for pid in cluster.pids(victim) {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    kill_process(pid, Signal::STOP).map_err(|error| Failure::refused(error.to_string()))?;
                }
            }
            Ok(began)
        }
    }
}

fn cable(cluster: &Cluster, victim: usize, up: bool) -> Result<(), Failure> {
    let namespace = cluster.namespace(victim).ok_or_else(|| Failure::refused("no namespace"))?;
    set_link(namespace, up).map_err(Failure::refused)
}

fn print(report: &Report) -> Result<(), Failure> {
    say(&format!(
        "{} sites, {} trials each; from the fault to the last survivor's view",
        report.settings.sites, report.settings.trials
    ))?;
    let mut table = Table::new(&["FAULT", "HOW", "P50 ms", "P99 ms", "MAX ms"]);
    for way in &report.view_ms {
        table.row(vec![
            (way.fault.to_owned(), Tone::Plain),
            (way.how.to_owned(), Tone::Plain),
            (format!("{:.1}", way.times.p50), Tone::Plain),
            (format!("{:.1}", way.times.p99), Tone::Plain),
            (format!("{:.1}", way.times.max), Tone::Plain),
        ]);
    }
    table.lines().iter().try_for_each(|line| say(line))
}
