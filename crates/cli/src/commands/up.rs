//! `up`: a cluster on this machine. Each site is a process of its own; this one starts them, says when they are
//! ready, tells what dies, and stops them all when it is stopped. A pipe on each site's standard input makes
//! sure that they stop even if this process is killed.

mod child;
mod layout;
mod mail;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use unanimous::Running;

use crate::args;
use crate::args::Find;
use crate::cluster_file::{ClusterFile, SiteEntry};
use crate::failure::Failure;
use crate::locate::default_dir;
use crate::output::{Table, Tone, say, say_json};
use child::Child;
use layout::Layout;
use mail::Trial;

/// How long the cluster may take to be ready before `up` gives up.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often the sites are looked at while nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a site may take to stop in order before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// `unanimous up`.
#[allow(clippy::disallowed_methods, reason = "the program's edge has a clock")]
pub async fn run(find: &Find, args: &args::Up, json: bool) -> Result<(), Failure> {
    let dir = find.dir.clone().unwrap_or_else(default_dir);
    std::fs::create_dir_all(&dir)
        .map_err(|error| Failure::refused(format!("can't make {}: {error}", dir.display())))?;
    let dir = dir.canonicalize()?;
    let _lock = lock(&dir)?;
    let _ = std::fs::remove_file(dir.join(ClusterFile::NAME));
    let layout = Layout::open_or_create(&dir, args.sites)?;
    let mut stop = Stop::new()?;
    let mut cluster = Cluster { dir, children: Vec::new(), respawn: args.respawn, json, mail: None };
    for config in &layout.configs {
        cluster.children.push(Child::start(config)?);
    }
    let ready = tokio::select! {
        ready = cluster.ready() => ready,
        () = stop.requested() => Err(Failure::refused("stopped before the cluster was ready".to_owned())),
    };
    let announced = ready.and_then(|()| cluster.publish()).and_then(|()| cluster.announce());
    if announced.is_ok() {
        tokio::select! {
            never = cluster.watch() => match never {},
            () = stop.requested() => {}
        }
    }
    cluster.stop().await;
    announced
}

/// Where a site serves something.
fn of_port(running: &Running, what: &str) -> String {
    running.ports.get(what).map_or_else(|| "-".to_owned(), |port| format!("127.0.0.1:{port}"))
}

/// Only one `up` runs on a directory.
fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join("up.lock");
    let file = File::create(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::refused(format!(
            "a cluster runs in {} already; stop it, or choose another --dir",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Cluster {
    dir: PathBuf,
    children: Vec<Child>,
    respawn: bool,
    json: bool,
    mail: Option<Trial>,
}

impl Cluster {
    /// Waits until every site serves and all of them are in one view.
    #[allow(clippy::disallowed_methods, reason = "the program's edge has a clock")]
    async fn ready(&mut self) -> Result<(), Failure> {
        let started = std::time::Instant::now();
        let sites = self.children.len();
        loop {
            let mut missing = None;
            for child in &mut self.children {
                if let Some(why) = child.died() {
                    return Err(Failure::refused(format!(
                        "{} {why} before it was ready; its log is {}",
                        child.name(),
                        child.log().display()
                    )));
                }
                if missing.is_none() && !child.serves_with(sites).await {
                    missing = Some(child.name().to_owned());
                }
            }
            let Some(name) = missing else { break };
            if started.elapsed() > READY_WITHIN {
                return Err(Failure::refused(format!(
                    "{name} was not ready within {} s; see the logs in {}",
                    READY_WITHIN.as_secs(),
                    self.dir.display()
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left = READY_WITHIN.saturating_sub(started.elapsed());
        self.mail = match tokio::time::timeout(left, Trial::ready(&self.dir, &self.children)).await {
            Ok(mail) => mail?,
            Err(_) => {
                let why = format!("mail was not ready within {} s; see the logs in", READY_WITHIN.as_secs());
                return Err(Failure::refused(format!("{why} {}", self.dir.display())));
            }
        };
        Ok(())
    }

    fn publish(&self) -> Result<(), Failure> {
        let sites = self
            .children
            .iter()
            .map(|child| {
                let running = child.running().unwrap_or_default();
                SiteEntry {
                    name: child.name().to_owned(),
                    pid: running.pid,
                    session: format!("unix:{}", child.session().display()),
                    ports: running.ports,
                }
            })
            .collect();
        let mail_domain = self.mail.as_ref().map(|mail| mail.domain.clone());
        let mail_certificate = self.mail.as_ref().and_then(|mail| mail.certificate.clone());
        Ok(ClusterFile { sites, mail_domain, mail_certificate }.write(&self.dir)?)
    }

    fn announce(&self) -> Result<(), Failure> {
        if self.json {
            let mail = self.mail.as_ref().map(|mail| json!({"domain": mail.domain, "users": mail.users}));
            return say_json(&json!({"event": "ready", "dir": self.dir, "mail": mail}));
        }
        let mut table = Table::new(&["SITE", "STATE", "PID", "LINK", "METRICS"]);
        for child in &self.children {
            let running = child.running().unwrap_or_default();
            let port = |what: &str| of_port(&running, what);
            table.row(vec![
                (child.name().to_owned(), Tone::Plain),
                ("ready".to_owned(), Tone::Good),
                (running.pid.to_string(), Tone::Plain),
                (port("link"), Tone::Plain),
                (port("metrics"), Tone::Plain),
            ]);
        }
        for line in table.lines() {
            say(&line)?;
        }
        let flag =
            if self.dir == default_dir() { String::new() } else { format!("--dir {} ", self.dir.display()) };
        say("")?;
        say(&format!("Everything is kept in {}. From another terminal:", self.dir.display()))?;
        say(&format!("  unanimous {flag}status"))?;
        say(&format!("  unanimous {flag}join chat"))?;
        say(&format!("  unanimous {flag}cast chat hello"))?;
        if let Some(mail) = &self.mail {
            say(&format!("  unanimous {flag}mail send bob --subject hi --body hello"))?;
            say("")?;
            self.announce_mail(mail)?;
            say("")?;
        }
        say("Ctrl-C stops the cluster.")
    }

    fn announce_mail(&self, mail: &Trial) -> Result<(), Failure> {
        say(&format!("Mail for {}, at any of the sites:", mail.domain))?;
        let head = ["SITE", "IMAP", "IMAPS", "SUBMISSION", "SUBMISSIONS", "SMTP", "LMTP"];
        let mut table = Table::new(&head);
        for child in &self.children {
            let running = child.running().unwrap_or_default();
            let ports = head[1..].iter().map(|what| (of_port(&running, &what.to_lowercase()), Tone::Plain));
            table.row([(child.name().to_owned(), Tone::Plain)].into_iter().chain(ports).collect());
        }
        table.lines().iter().try_for_each(|line| say(line))?;
        for user in &mail.users {
            say(&format!("  {} with the password {}", user.address, user.password))?;
        }
        match &mail.certificate {
            Some(certificate) => {
                say(&format!("Mail programs find the certificate in {}.", certificate.display()))
            }
            None => Ok(()),
        }
    }

    /// Says what dies and what comes back. Nothing ends this: what can't be done now, on a full disk, is tried again.
    async fn watch(&mut self) -> Infallible {
        let mut known: BTreeMap<String, u32> =
            self.children.iter().map(|c| (c.name().to_owned(), c.pid())).collect();
        let mut is_published = true;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for i in 0..self.children.len() {
                if let Some(why) = self.children[i].died() {
                    self.report_death(i, &why);
                }
                if self.respawn && self.children[i].is_due() {
                    let _ = self.children[i].restart();
                }
                let child = &self.children[i];
                if let Some(running) = child.running()
                    && known.get(child.name()) != Some(&running.pid)
                {
                    known.insert(child.name().to_owned(), running.pid);
                    self.report(
                        &format!("{} is back as process {}", child.name(), running.pid),
                        "back",
                        child,
                    );
                    is_published = false;
                }
            }
            is_published = is_published || self.publish().is_ok();
        }
    }

    fn report_death(&self, i: usize, why: &str) {
        let child = &self.children[i];
        let next = match self.respawn {
            true if child.pause() > LOOK_EVERY => {
                let (pause, log) = (child.pause().as_secs_f32(), child.log());
                format!("starting it again in {pause:.1} s; its log is {}", log.display())
            }
            true => "starting it again".to_owned(),
            false => format!("start it again with: unanimous site --config {}", child.config().display()),
        };
        self.report(&format!("{} {why}; {next}", child.name()), "died", child);
    }

    /// What can't be said is no reason to stop the sites.
    fn report(&self, line: &str, event: &str, child: &Child) {
        let _ = match self.json {
            true => say_json(&json!({"event": event, "site": child.name(), "message": line})),
            false => say(line),
        };
    }

    /// Stops all sites in order, those restarted by hand too; kills what does not stop.
    async fn stop(&mut self) {
        for child in &self.children {
            child.ask_to_stop();
        }
        let all_gone = async {
            for child in &mut self.children {
                child.gone().await;
            }
        };
        if tokio::time::timeout(STOP_WITHIN, all_gone).await.is_err() {
            for child in &mut self.children {
                child.kill();
            }
        }
        let _ = std::fs::remove_file(self.dir.join(ClusterFile::NAME));
    }
}
