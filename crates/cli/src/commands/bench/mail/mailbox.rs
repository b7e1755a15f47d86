//! `bench mailbox`: very many letters, and one large mailbox among them: how long it takes to open it, what it takes of memory
//! and disk, and from a crash of all sites until each serves it again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use super::imap::Session;
use super::letters::{Login, Post, Sender};
use super::load::Worker;
use super::served::{SITES, Served};
use super::servers::Protocol;
use crate::args;
use crate::commands::bench::Progress;
use crate::commands::bench::clock::{self, now};
use crate::commands::bench::cluster::Folder;
use crate::commands::bench::sites::{A_MOMENT, site_name};
use crate::commands::bench::summary::Summary;
use crate::failure::Failure;
use crate::output::{Table, Tone, say, say_json};

const DOMAIN: &str = "bench.test";
const PASSWORD: &str = "a-password";
/// Who has the large mailbox.
const READER: &str = "reader";
/// Letters of a connection before it is ended and another made.
const PER_CONNECTION: u32 = 1_000;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is said how far the filling is.
const SAID_EVERY: Duration = Duration::from_millis(500);

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    fill_s: f64,
    /// Letters a second meanwhile.
    fill_per_s: f64,
    sites: Vec<SiteReport>,
}

#[derive(Debug, Serialize)]
struct Settings {
    letters: u64,
    mailbox: u64,
    users: usize,
    size: usize,
    program: PathBuf,
}

/// What was seen at one site.
#[derive(Debug, Default, Serialize)]
struct SiteReport {
    name: String,
    select_ms: Summary,
    /// The UIDs and flags of the whole mailbox.
    flags_ms: Summary,
    resident_memory_bytes: u64,
    disk_bytes: u64,
    /// From the start of all sites, after all were killed, until the mailbox was open here.
    restart_s: f64,
    restart_peak_memory_bytes: u64,
    /// The first SELECT of a connection that was made then.
    restart_select_ms: f64,
}

/// `unanimous bench mailbox`.
pub async fn run(args: &args::BenchMailbox, json: bool) -> Result<(), Failure> {
    if args.mailbox > args.letters {
        return Err(Failure::usage("--mailbox is a part of --letters: say a smaller one, or more letters"));
    }
    let progress = Progress::new(json);
    progress.say("starting three sites");
    let folder = args.dir.as_ref().map_or_else(Folder::make, |dir| Folder::make_in(dir))?;
    let mut served = Served::start(folder, DOMAIN, args.program.clone()).await?;
    let users: Vec<String> = (0..args.users).map(|n| format!("user-{n:04}")).collect();
    served.add_users(&[READER.to_owned()], Some(PASSWORD)).await?;
    served.add_users(&users, None).await?;
    let began = now();
    fill(&served, args, &[READER.to_owned()], 0..args.mailbox, &progress).await?;
    fill(&served, args, &users, args.mailbox..args.letters, &progress).await?;
    let fill_s = now().saturating_sub(began).as_secs_f64();
    let mut sites = Vec::new();
    for i in 0..SITES {
        progress.say(&format!("opening the mailbox at {}", site_name(i)));
        sites.push(open(&served, args, i).await?);
    }
    progress.say("killing all sites, and starting them");
    restart(&mut served, args.mailbox, &mut sites).await?;
    progress.end();
    let settings = Settings {
        letters: args.letters,
        mailbox: args.mailbox,
        users: args.users,
        size: args.size,
        program: args.program.clone().unwrap_or_else(|| "this".into()),
    };
    let report = Report { settings, fill_s, fill_per_s: args.letters as f64 / fill_s, sites };
    if json { say_json(&report) } else { print(&report) }
}

/// Sends the letters of these numbers over LMTP, to each recipient in turn, from many connections.
async fn fill(
    served: &Served,
    args: &args::BenchMailbox,
    recipients: &[String],
    numbers: std::ops::Range<u64>,
    progress: &Progress,
) -> Result<(), Failure> {
    let servers = served.servers(served.first).await?;
    let to = servers.lmtp.ok_or_else(|| Failure::refused("the sites of this program serve no LMTP"))?;
    let next = Arc::new(AtomicU64::new(numbers.start));
    let post = Post {
        to,
        protocol: Protocol::Lmtp,
        size: args.size,
        domain: DOMAIN.to_owned(),
        recipients: recipients.into(),
        recipients_each: 1,
        per_connection: PER_CONNECTION,
        next: Arc::clone(&next),
    };
    let mut sending = JoinSet::new();
    for _ in 0..args.connections {
        let (mut sender, next, end) = (Sender::new(&post, None), Arc::clone(&next), numbers.end);
        sending.spawn(async move {
            // As many numbers are given out beyond the last as there are connections at most.
            while next.load(Ordering::Relaxed) < end {
                sender.once().await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while !sending.is_empty() {
        match tokio::time::timeout(SAID_EVERY, sending.join_next()).await {
            Ok(Some(Ok(sent))) => sent?,
            Ok(Some(Err(error))) => return Err(Failure::refused(error.to_string())),
            Ok(None) => break,
            Err(_) => progress.say(&format!("{} of {} letters", next.load(Ordering::Relaxed), args.letters)),
        }
    }
    Ok(())
}

fn login() -> Login {
    Login { user: READER.to_owned(), password: PASSWORD.to_owned() }
}

async fn connect(served: &Served, i: usize) -> Result<Session, Failure> {
    let at = served.servers(i).await?.imap;
    Session::connect(at.ok_or_else(|| Failure::refused("the sites of this program serve no IMAP"))?, &login())
        .await
}

/// Opens the mailbox at a site again and again.
async fn open(served: &Served, args: &args::BenchMailbox, i: usize) -> Result<SiteReport, Failure> {
    let mut session = connect(served, i).await?;
    let (mut selects, mut flags) = (Vec::new(), Vec::new());
    for _ in 0..args.trials {
        selects.push(timed(&mut session, "SELECT INBOX").await?);
        flags.push(timed(&mut session, "FETCH 1:* (UID FLAGS)").await?);
    }
    if u64::from(session.exists) < args.mailbox {
        return Err(Failure::refused(format!("{} letters are in the mailbox", session.exists)));
    }
    let pid = served.sites.pid(i).ok_or_else(|| served.sites.failed("a site has ended"))?;
    Ok(SiteReport {
        name: site_name(i),
        select_ms: Summary::in_ms(&selects).unwrap_or_default(),
        flags_ms: Summary::in_ms(&flags).unwrap_or_default(),
        resident_memory_bytes: clock::resident_memory_bytes(pid),
        disk_bytes: bytes_in(&served.folder.path().join(site_name(i)).join("data"))?,
        ..SiteReport::default()
    })
}

async fn timed(session: &mut Session, command: &str) -> Result<Duration, Failure> {
    let began = now();
    session.command(command).await?;
    Ok(now().saturating_sub(began))
}

/// Kills all sites at once, starts them, and waits until each serves the mailbox.
async fn restart(served: &mut Served, letters: u64, reports: &mut [SiteReport]) -> Result<(), Failure> {
    for i in 0..SITES {
        served.sites.kill(i).await?;
    }
    let began = now();
    for i in 0..SITES {
        served.sites.start(i)?;
    }
    let mut open = BTreeMap::new();
    while open.len() < SITES {
        if now().saturating_sub(began) > PATIENCE {
            return Err(served.sites.failed("mail is not served after ten minutes"));
        }
        for i in 0..SITES {
            if !open.contains_key(&i)
                && let Some(select) = try_open(served, i, letters).await
            {
                open.insert(i, (now().saturating_sub(began), select));
            }
        }
        tokio::time::sleep(A_MOMENT).await;
    }
    for (i, (after, select)) in open {
        reports[i].restart_s = after.as_secs_f64();
        reports[i].restart_select_ms = select.as_secs_f64() * 1e3;
        reports[i].restart_peak_memory_bytes = served.sites.pid(i).map_or(0, clock::peak_memory_bytes);
    }
    Ok(())
}

/// Opens the whole mailbox, if the site serves it by now.
async fn try_open(served: &Served, i: usize, letters: u64) -> Option<Duration> {
    let mut session = connect(served, i).await.ok()?;
    let took = timed(&mut session, "SELECT INBOX").await.ok()?;
    (u64::from(session.exists) >= letters).then_some(took)
}

/// The bytes of all files below a folder.
fn bytes_in(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // What has gone since counts for nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// The table, for people.
fn print(report: &Report) -> Result<(), Failure> {
    let Settings { letters, mailbox, size, .. } = report.settings;
    say(&format!(
        "{letters} letters of {size} bytes, {mailbox} of them in one mailbox; filled in {:.0} s, {:.0} a second",
        report.fill_s, report.fill_per_s
    ))?;
    let headings = [
        "SITE",
        "SELECT MS",
        "MAX",
        "FLAGS MS",
        "RESIDENT MIB",
        "DISK MIB",
        "RESTART S",
        "PEAK MIB",
        "SELECT MS",
    ];
    let mut table = Table::new(&headings);
    for site in &report.sites {
        let mib = |bytes: u64| format!("{}", bytes >> 20);
        let row = [
            site.name.clone(),
            format!("{:.1}", site.select_ms.p50),
            format!("{:.1}", site.select_ms.max),
            format!("{:.1}", site.flags_ms.p50),
            mib(site.resident_memory_bytes),
            mib(site.disk_bytes),
            format!("{:.2}", site.restart_s),
            mib(site.restart_peak_memory_bytes),
            format!("{:.1}", site.restart_select_ms),
        ];
        table.row(row.map(|cell| (cell, Tone::Plain)).to_vec());
    }
    table.lines().iter().try_for_each(|line| say(line))
}
