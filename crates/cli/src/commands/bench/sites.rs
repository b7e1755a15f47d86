//! Sites as real processes whose stores are on one disk, with a durable map or mail.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::{Child, Command};
use unanimous::config::MailConfig;
use unanimous::session::{Address, Session, WriteOptions, connect};

use super::cluster::{Places, founders};
use super::{GROUP, clock};
use crate::commands::certificates::{Founder, write_cluster};
use crate::failure::Failure;

/// How long the cluster may take to serve the map, or mail.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
pub const A_MOMENT: Duration = Duration::from_millis(50);

/// The sites. They end with this.
pub struct Sites {
    processes: Vec<Option<Child>>,
    configs: Vec<PathBuf>,
    addresses: Vec<Address>,
    folder: PathBuf,
    program: PathBuf,
}

pub fn site_name(i: usize) -> String {
    format!("site-{}", i + 1)
}

impl Sites {
    /// Writes configuration and certificates of so many sites into a folder, founded by the first of them. None is started
    /// yet. They run this program, or another.
    pub fn made(
        folder: &Path,
        count: usize,
        founded_by: usize,
        program: Option<PathBuf>,
    ) -> Result<Sites, Failure> {
        let configs = write_cluster(folder, &founders(count, &Places::default())?, founded_by)?;
        Sites::of(folder, configs, program)
    }

    /// The same, of sites that found the cluster together and serve this mail each.
    pub fn with_mail(
        folder: &Path,
        count: usize,
        mail: &MailConfig,
        program: Option<PathBuf>,
    ) -> Result<Sites, Failure> {
        let founders = founders(count, &Places::default())?.into_iter();
        let serving = |founder| Founder { mail: Some(mail.clone()), ..founder };
        let configs = write_cluster(folder, &founders.map(serving).collect::<Vec<_>>(), count)?;
        Sites::of(folder, configs, program)
    }

    /// The sites that were made in a folder.
    pub fn found(folder: &Path, count: usize, program: Option<PathBuf>) -> Result<Sites, Failure> {
        let configs = (0..count).map(|i| folder.join(site_name(i)).join("site.toml")).collect();
        Sites::of(folder, configs, program)
    }

    fn of(folder: &Path, configs: Vec<PathBuf>, program: Option<PathBuf>) -> Result<Sites, Failure> {
        let mut addresses = Vec::new();
        for config in &configs {
            let parsed =
                site::SiteConfig::read(config).map_err(|error| Failure::refused(error.to_string()))?;
            addresses.push(Address::Unix(parsed.site.session));
        }
        let program = match program {
            Some(program) => program,
            None => std::env::current_exe()?,
        };
        let processes = configs.iter().map(|_| None).collect();
        Ok(Sites { processes, configs, addresses, folder: folder.to_owned(), program })
    }

    /// Starts a site.
    pub fn start(&mut self, i: usize) -> Result<(), Failure> {
        let config = &self.configs[i];
        let log = std::fs::File::create(config.with_file_name("log"))?;
        let mut command = Command::new(&self.program);
        command.args(["site", "--with-stdin", "--config"]).arg(config);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.processes[i] = Some(command.spawn()?);
        Ok(())
    }

    /// Kills a site as a power cut would, and waits until it is gone.
    pub async fn kill(&mut self, i: usize) -> Result<(), Failure> {
        match self.processes[i].take() {
            Some(mut process) => Ok(process.kill().await?),
            None => Ok(()),
        }
    }

    /// Where a site's sessions are.
    pub fn address(&self, i: usize) -> &Address {
        &self.addresses[i]
    }

    /// The process of a site that runs.
    pub fn pid(&self, i: usize) -> Option<u32> {
        self.processes[i].as_ref().and_then(Child::id)
    }

    /// The folder of a site's store of the map.
    pub fn store(&self, i: usize) -> PathBuf {
        self.folder.join(site_name(i)).join("data").join("durable").join(format!("group-{GROUP}"))
    }

    /// A session with a site, as soon as it takes one.
    pub async fn session(&self, i: usize) -> Session {
        loop {
            match connect(&self.addresses[i], "unanimous bench").await {
                Ok((session, _)) => return session,
                Err(_) => tokio::time::sleep(A_MOMENT).await,
            }
        }
    }

    /// Makes the map, at the first site, and waits until so many sites serve it. Gives the one that orders.
    pub async fn serve(&self, members: usize) -> Result<usize, Failure> {
        let made = tokio::time::timeout(PATIENCE, async {
            let session = self.session(0).await;
            while session.create_map(GROUP).await.is_err() {
                tokio::time::sleep(A_MOMENT).await;
            }
            loop {
                // All are there, and the map is served.
                let view = session.view(GROUP).await;
                let whole = view.ok().filter(|view| view.members.len() == members);
                let put = session.put(GROUP, "ready", Bytes::new(), WriteOptions::default()).await;
                if let (Some(view), Ok(_)) = (whole, put) {
                    return view;
                }
                tokio::time::sleep(A_MOMENT).await;
            }
        });
        let Ok(view) = made.await else {
            return Err(self.failed("the map is not served after half a minute"));
        };
        // A member's name begins with its site's number, from 1.
        let first = (0..self.configs.len()).find(|i| view.members[0].starts_with(&format!("s{}.", i + 1)));
        first.ok_or_else(|| Failure::refused(format!("no site of this bench: {}", view.members[0])))
    }

    /// The time that each has run on a processor.
    pub fn processor_times(&self) -> Vec<Duration> {
        (0..self.configs.len()).map(|i| self.pid(i).map_or(Duration::ZERO, clock::processor_time)).collect()
    }

    /// The folder may be about to be removed: the end of the logs goes with the reason.
    pub fn failed(&self, why: &str) -> Failure {
        let last = |i: usize| {
            let log = std::fs::read_to_string(self.folder.join(site_name(i)).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(3).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
        };
        let logs: Vec<String> = (0..self.configs.len()).map(last).collect();
        Failure::refused(format!("{why}; the ends of the sites' logs:\n  {}", logs.join("\n  ")))
    }
}
