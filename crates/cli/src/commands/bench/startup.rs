//! `bench startup`: a site with much in its store is killed, and started again: how long until it answers, how much memory
//! it takes for that, and what the disk alone would need.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use unanimous::session::{Error, Session, WriteOptions};

use super::clock::{self, now};
use super::cluster::Folder;
use super::filling::{Files, Filling, GIB, files_of, key};
use super::sites::{A_MOMENT, Sites, site_name};
use super::{GROUP, Progress};
use crate::args;
use crate::failure::Failure;
use crate::output::{Table, Tone, say, say_json};

/// How often the folder's files are counted meanwhile.
const COUNTED_EVERY: u64 = 256;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    /// The site was killed with this on its disk.
    files: Files,
    /// Keys and values.
    state_bytes: u64,
    trials: Vec<Trial>,
}

#[derive(Debug, Serialize)]
struct Settings {
    size: u32,
    program: PathBuf,
}

#[derive(Debug, Serialize)]
struct Trial {
    /// Whether the machine had forgotten the files.
    cold: bool,
    /// From the start of the process to the answer of a read of all that was written.
    read_s: f64,
    /// And of a write.
    write_s: f64,
    peak_memory_bytes: u64,
    /// Bytes that the disk gave until then; and that the site asked for, from memory or disk.
    from_disk_bytes: u64,
    read_bytes: u64,
    /// Processor time until then.
    processor_s: f64,
    /// The files read one after the other, alone.
    disk_bytes_per_s: f64,
}

/// `unanimous bench startup`.
pub async fn run(args: &args::BenchStartup, json: bool) -> Result<(), Failure> {
    let progress = Progress::new(json);
    let mut removed = None;
    let folder = match (&args.keep, &args.dir) {
        (Some(kept), _) => kept.clone(),
        (None, Some(dir)) => removed.insert(Folder::make_in(dir)?).path().to_owned(),
        (None, None) => removed.insert(Folder::make()?).path().to_owned(),
    };
    let there = folder.join("ca").exists();
    let mut sites = match there {
        true => Sites::found(&folder, 1, args.program.clone())?,
        false => {
            std::fs::create_dir_all(&folder)?;
            let sites = Sites::made(&folder, 1, 1, args.program.clone())?;
            let config = folder.join(site_name(0)).join("site.toml");
            space_checkpoints(&config, ((args.gib - args.state_gib) * GIB) as u64)?;
            sites
        }
    };
    let filling = Filling::of(args.state_gib, args.size);
    if !there {
        fill(&mut sites, filling, args.gib, &progress).await?;
    }
    let (files, state_bytes) = (files_of(&sites.store(0))?, filling.bytes());
    let mut trials = Vec::new();
    for trial in 1..=args.trials {
        progress.say(&format!("start {trial} of {}", args.trials));
        trials.push(start(&mut sites).await?);
    }
    drop(sites);
    progress.end();
    let program = args.program.clone().unwrap_or_else(|| "this".into());
    let report = Report { settings: Settings { size: args.size, program }, files, state_bytes, trials };
    drop(removed);
    if json { say_json(&report) } else { print(&report) }
}

/// Lets the log grow to so many bytes: it has what was written since the checkpoint before the last one, so the way between two
/// is made long enough. When it has come to its length, half as much as that way is behind the last one.
fn space_checkpoints(config: &Path, log_bytes: u64) -> Result<(), Failure> {
    let failed = |error: site::ConfigError| Failure::refused(error.to_string());
    let mut changed = site::SiteConfig::read(config).map_err(failed)?;
    let limits = &mut changed.limits;
    limits.checkpoint_bytes = limits.checkpoint_bytes.max(log_bytes / 3 * 2);
    Ok(std::fs::write(config, changed.to_toml())?)
}

/// Writes until there are so many bytes on the disk. Then the site is killed.
async fn fill(sites: &mut Sites, filling: Filling, gib: f64, progress: &Progress) -> Result<(), Failure> {
    sites.start(0)?;
    sites.serve(1).await?;
    let (session, store, wanted) = (sites.session(0).await, sites.store(0), (gib * GIB) as u64);
    progress.say("filling the map");
    let mut have = 0;
    let enough = |written: u64| {
        if written.is_multiple_of(COUNTED_EVERY) {
            have = files_of(&store).map_or(have, |files| files.checkpoint_bytes + files.log_bytes);
        }
        let is_enough = have >= wanted;
        async move { Ok(is_enough) }
    };
    filling.write(&session, enough).await?;
    sites.kill(0).await
}

/// One start, and then the end of the site.
async fn start(sites: &mut Sites) -> Result<Trial, Failure> {
    let store = sites.store(0);
    let disk_bytes_per_s = match forget_files() {
        true => read_alone(&store)?,
        false => 0.0,
    };
    let cold = forget_files();
    let began = now();
    sites.start(0)?;
    let answers =
        async { tokio::join!(answered(sites, began, Asked::Read), answered(sites, began, Asked::Write)) };
    let Ok((read_s, write_s)) = tokio::time::timeout(PATIENCE, answers).await else {
        return Err(sites.failed("the map is not served after ten minutes"));
    };
    let pid = sites.pid(0).ok_or_else(|| sites.failed("the site has ended"))?;
    let trial = Trial {
        cold,
        read_s,
        write_s,
        peak_memory_bytes: clock::peak_memory_bytes(pid),
        from_disk_bytes: clock::io_bytes(pid, "read_bytes:"),
        read_bytes: clock::io_bytes(pid, "rchar:"),
        processor_s: clock::processor_time(pid).as_secs_f64(),
        disk_bytes_per_s,
    };
    sites.kill(0).await?;
    Ok(trial)
}

#[derive(Clone, Copy)]
enum Asked {
    Read,
    Write,
}

/// Asks until there is an answer. Gives when that was, in seconds.
async fn answered(sites: &Sites, began: Duration, asked: Asked) -> f64 {
    loop {
        let session = sites.session(0).await;
        while let Some(done) = ask(&session, asked).await {
            if done {
                return now().saturating_sub(began).as_secs_f64();
            }
            tokio::time::sleep(A_MOMENT).await;
        }
    }
}

/// Whether it was answered; none if the session has ended.
async fn ask(session: &Session, asked: Asked) -> Option<bool> {
    let name = key(0);
    let refused = match asked {
        Asked::Read => session.get(GROUP, &name, false).await.map(|pair| pair.is_some()),
        Asked::Write => {
            session.put(GROUP, "started", Bytes::new(), WriteOptions::default()).await.map(|_| true)
        }
    };
    match refused {
        Ok(done) => Some(done),
        Err(Error::Refused(_)) => Some(false),
        Err(_) => None,
    }
}

/// Lets the machine forget what it holds of files. False: it is not ours to say.
fn forget_files() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Reads the files of a store one after the other, much at a time. Gives bytes a second.
fn read_alone(store: &Path) -> Result<f64, Failure> {
    let (began, mut bytes, mut buffer) = (now(), 0u64, vec![0; 1 << 20]);
    for file in std::fs::read_dir(store)? {
        let mut file = std::fs::File::open(file?.path())?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                more => bytes += more as u64,
            }
        }
    }
    Ok(bytes as f64 / now().saturating_sub(began).as_secs_f64().max(1e-9))
}

fn print(report: &Report) -> Result<(), Failure> {
    let Files { checkpoint_bytes, log_bytes, segments } = report.files;
    say(&format!(
        "a map of {:.2} GiB: a checkpoint of {:.2} GiB, a log of {:.2} GiB in {segments} segments",
        report.state_bytes as f64 / GIB,
        checkpoint_bytes as f64 / GIB,
        log_bytes as f64 / GIB
    ))?;
    let headings =
        ["FILES", "READ S", "WRITE S", "CPU S", "PEAK MIB", "MIB FROM DISK", "MIB READ", "DISK MIB/S"];
    let mut table = Table::new(&headings);
    for trial in &report.trials {
        let mib = |bytes: u64| format!("{}", bytes >> 20);
        let row = [
            if trial.cold { "cold".to_owned() } else { "warm".to_owned() },
            format!("{:.2}", trial.read_s),
            format!("{:.2}", trial.write_s),
            format!("{:.2}", trial.processor_s),
            mib(trial.peak_memory_bytes),
            mib(trial.from_disk_bytes),
            mib(trial.read_bytes),
            mib(trial.disk_bytes_per_s as u64),
        ];
        table.row(row.map(|cell| (cell, Tone::Plain)).to_vec());
    }
    table.lines().iter().try_for_each(|line| say(line))
}
