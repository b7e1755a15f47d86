//! One site's process, as `up` sees it.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;
use unanimous::config::MailConfig;
use unanimous::session::{Address, connect};
use unanimous::{Running, SiteConfig};

use crate::failure::Failure;

/// Who ran for so long before it died is started again at once.
const RAN_WELL: Duration = Duration::from_secs(10);
/// Who did not is given a pause, twice as long each time.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// A site that `up` started; it may have been killed and started again by hand.
pub struct Child {
    config_path: PathBuf,
    config: SiteConfig,
    process: Option<std::process::Child>,
    pid: u32,
    /// When it was started, or ended, last.
    since: Instant,
    /// How long to wait before it is started again.
    pause: Duration,
}

impl Child {
    /// Starts a site.
    pub fn start(config_path: &Path) -> Result<Child, Failure> {
        let config = SiteConfig::read(config_path).map_err(|error| Failure::refused(error.to_string()))?;
        let (config_path, since) = (config_path.to_owned(), Instant::now());
        let mut child = Child { config_path, config, process: None, pid: 0, since, pause: Duration::ZERO };
        child.restart()?;
        Ok(child)
    }

    /// Starts it (again).
    pub fn restart(&mut self) -> Result<(), Failure> {
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let process = Command::new(std::env::current_exe()?)
            .args(["site", "--with-stdin", "--config"])
            .arg(&self.config_path)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal reaches `up` alone, which stops its sites in order.
            .process_group(0)
            .spawn()?;
        (self.pid, self.since) = (process.id(), Instant::now());
        self.process = Some(process);
        Ok(())
    }

    /// The site's name.
    pub fn name(&self) -> &str {
        &self.config.site.name
    }

    /// The process that `up` started last.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The site's configuration file.
    pub fn config(&self) -> &Path {
        &self.config_path
    }

    /// The site's session socket.
    pub fn session(&self) -> &Path {
        &self.config.site.session
    }

    /// What the site serves of mail.
    pub fn mail(&self) -> Option<&MailConfig> {
        self.config.mail.as_ref()
    }

    /// Where the site's log goes.
    pub fn log(&self) -> PathBuf {
        self.config_path.with_file_name("log")
    }

    /// What the running site says of itself.
    pub fn running(&self) -> Option<Running> {
        Running::read(&self.config.site.data).filter(|running| alive(running.pid))
    }

    /// If the process that `up` started has ended since the last call: how.
    pub fn died(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        self.pause = match self.since.elapsed() < RAN_WELL {
            true => (self.pause * 2).clamp(PAUSES[0], PAUSES[1]),
            false => Duration::ZERO,
        };
        self.since = Instant::now();
        Some(describe(status))
    }

    /// Whether it is time to start it again: no process of the site is left, neither one that `up` started nor another, and its
    /// pause is over.
    pub fn is_due(&self) -> bool {
        self.process.is_none() && self.since.elapsed() >= self.pause && self.running().is_none()
    }

    /// How long it is before the site is started again.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Whether it answers and sees so many sites up.
    pub async fn serves_with(&self, sites: usize) -> bool {
        // An attached site hears from its mserver who else has one, and of no other site.
        let sites = if self.config.site.mserver { sites } else { self.config.founders.len() + 1 };
        let address = Address::Unix(self.config.site.session.clone());
        let Ok((session, _events)) = connect(&address, "up").await else { return false };
        let Ok(status) = session.status().await else { return false };
        let up = status.get("sites").and_then(|sites| sites.as_array()).map_or(0, |sites| {
            sites.iter().filter(|site| site.get("state").is_some_and(|state| state == "up")).count()
        });
        up == sites
    }

    /// Asks the site, whoever started it, to stop in order.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the site at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Returns when no process of the site is left.
    pub async fn gone(&mut self) {
        loop {
            let own_ended =
                self.process.as_mut().is_none_or(|p| matches!(p.try_wait(), Ok(Some(_)) | Err(_)));
            if own_ended && self.running().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let own = self.process.as_ref().map(|process| process.id());
        let other = self.running().map(|running| running.pid).filter(|&pid| Some(pid) != own);
        for pid in own.into_iter().chain(other).filter_map(pid_of) {
            let _ = kill_process(pid, signal);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "stopped".to_owned(),
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn alive(pid: u32) -> bool {
    pid_of(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
