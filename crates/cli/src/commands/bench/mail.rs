//! `bench mail`: letters and IMAP operations a second, over three sites as real processes or against any other server.

mod imap;
mod letters;
mod lines;
mod load;
pub mod mailbox;
mod report;
mod served;
mod servers;
mod wide;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::task::JoinSet;

use imap::{Operation, Reader};
use letters::{Login, Post, Sender};
use load::{Measured, Rounds, measure};
use report::{Report, Row, Settings, SiteReport};
use served::{SITES, Served};
pub use servers::Server;
use servers::{Protocol, Servers};

use super::cluster::Folder;
use super::sites::site_name;
use super::summary::Summary;
use super::{Progress, clock, disk};
use crate::args;
use crate::args::MailLoad;
use crate::failure::Failure;
use crate::output::say_json;

/// Connections of IMAP, each a user's of its own.
const READERS: usize = 20;

/// `unanimous bench mail`.
pub async fn run(args: &args::BenchMail, json: bool) -> Result<(), Failure> {
    if args.wide && !args.against.is_empty() {
        return Err(Failure::usage("--wide is for sites of ours; leave out --against"));
    }
    let progress = Progress::new(json);
    let bench = match args.against.is_empty() {
        true => Bench::of_sites(args, &progress).await?,
        false => Bench { args, served: None, servers: Servers::of(&args.against), load: Load::of(args) },
    };
    let disk_before_us = bench.forced_writes_us()?;
    let mut rows = Vec::new();
    let loads = if args.only.is_empty() { &MailLoad::ALL[..] } else { &args.only[..] };
    for load in loads {
        rows.extend(bench.run(*load, &progress).await?);
    }
    let wide = match &bench.served {
        Some(served) if args.wide => {
            progress.say("one letter to many");
            Some(wide::send(served, &args.domain, args.recipients, args.wide_size).await?)
        }
        _ => None,
    };
    progress.end();
    let report = Report {
        settings: Settings::of(args),
        rows,
        wide,
        disk_before_us,
        disk_after_us: bench.forced_writes_us()?,
        sites: bench.site_reports(),
    };
    if json { say_json(&report) } else { report.print() }
}

/// What is loaded, and with what.
struct Bench<'a> {
    args: &'a args::BenchMail,
    /// Our sites; none when another server is loaded.
    served: Option<Served>,
    servers: Servers,
    load: Load,
}

/// What all loads share.
struct Load {
    recipients: Arc<[String]>,
    /// Letters so far.
    next: Arc<AtomicU64>,
}

impl Load {
    fn of(args: &args::BenchMail) -> Load {
        let recipients = (0..args.users).map(|n| format!("user-{n:04}")).collect();
        Load { recipients, next: Arc::new(AtomicU64::new(0)) }
    }
}

impl<'a> Bench<'a> {
    /// Starts sites and lets there be users.
    async fn of_sites(args: &'a args::BenchMail, progress: &Progress) -> Result<Bench<'a>, Failure> {
        let folder = match &args.dir {
            Some(dir) => Folder::make_in(dir)?,
            None => Folder::make()?,
        };
        progress.say("starting three sites");
        let served = Served::start(folder, &args.domain, args.program.clone()).await?;
        progress.say("adding users");
        let load = Load::of(args);
        served.add_users(&load.recipients, None).await?;
        let readers: Vec<String> = (0..READERS).map(reader).collect();
        served.add_users(&readers, Some(&args.password)).await?;
        let at = if args.away { (served.first + 1) % SITES } else { served.first };
        let servers = served.servers(at).await?;
        Ok(Bench { args, served: Some(served), servers, load })
    }

    /// What the sites' disk needs to force a write while they have nothing to do.
    fn forced_writes_us(&self) -> Result<Option<Summary>, Failure> {
        let folder = self.served.as_ref().map(|served| served.folder.path());
        Ok(folder.map(disk::forced_writes_us).transpose()?.flatten())
    }

    /// One kind of load, with every number of connections that it is measured with.
    async fn run(&self, load: MailLoad, progress: &Progress) -> Result<Vec<Row>, Failure> {
        let Servers { lmtp, smtp, submission, imap } = self.servers;
        let (at, protocol) = match load {
            MailLoad::Lmtp => (lmtp, Protocol::Lmtp),
            MailLoad::Smtp => (smtp, Protocol::Smtp),
            MailLoad::Submission => (submission, Protocol::Submission),
            MailLoad::Imap => (imap, Protocol::Imap),
        };
        // What others do not serve is not measured.
        let Some(at) = at else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        if load == MailLoad::Imap {
            for operation in Operation::ALL {
                progress.say(&format!("{} from {READERS} connections", operation.name()));
                let mut ready = JoinSet::new();
                for n in 0..READERS {
                    ready.spawn(Reader::ready(at, self.login(n), operation, self.args.size));
                }
                let readers: Result<Vec<Reader>, Failure> = ready.join_all().await.into_iter().collect();
                rows.push(self.measured(operation.name(), readers?).await?);
            }
            return Ok(rows);
        }
        for connections in &self.args.connections {
            progress.say(&format!("letters by {} from {connections} connections", load.name()));
            let post = Post {
                to: at,
                protocol,
                size: self.args.size,
                domain: self.args.domain.clone(),
                recipients: Arc::clone(&self.load.recipients),
                recipients_each: 1,
                per_connection: self.args.per_connection,
                next: Arc::clone(&self.load.next),
            };
            let login = |n: usize| (load == MailLoad::Submission).then(|| self.login(n % READERS));
            let senders = (0..*connections as usize).map(|n| Sender::new(&post, login(n)));
            rows.push(self.measured(load.name(), senders.collect()).await?);
        }
        Ok(rows)
    }

    fn login(&self, n: usize) -> Login {
        Login { user: reader(n), password: self.args.password.clone() }
    }

    async fn measured<W: load::Worker>(&self, what: &'static str, workers: Vec<W>) -> Result<Row, Failure> {
        let connections = workers.len();
        let rounds = Rounds { count: self.args.rounds, each: Duration::from_secs(self.args.seconds) };
        let times = |served: &Served| served.sites.processor_times().iter().sum::<Duration>();
        let before = self.served.as_ref().map(times);
        let Measured { per_s, latency_us, done } = measure(workers, rounds).await?;
        let used =
            self.served.as_ref().map(times).zip(before).map(|(after, before)| after.saturating_sub(before));
        let processor_us = used.map(|used| used.as_secs_f64() * 1e6 / done as f64);
        Ok(Row { what, connections, per_s, latency_us, done, processor_us })
    }

    fn site_reports(&self) -> Vec<SiteReport> {
        let Some(served) = &self.served else { return Vec::new() };
        let report = |i| SiteReport {
            name: site_name(i),
            peak_memory_bytes: served.sites.pid(i).map_or(0, clock::peak_memory_bytes),
        };
        (0..SITES).map(report).collect()
    }
}

/// The name of one who reads. Those who are sent letters are others, so that what came before makes no difference.
fn reader(n: usize) -> String {
    format!("reader-{n:02}")
}
