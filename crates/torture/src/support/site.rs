//! One site as a process, seen from outside: its log, its socket, its memory, its metrics.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use unanimous::session::{Address, connect};
use unanimous::{Running, SiteConfig};

use super::hosts::Loopback;
use super::verdict::{Verdict, eventually, failed};

pub struct Site {
    /// From 1.
    pub number: u32,
    pub config: SiteConfig,
    path: PathBuf,
    program: PathBuf,
    namespace: Option<String>,
    process: Option<Child>,
}

impl Site {
    /// A site that does not run yet. Its configuration is written back.
    pub fn new(
        number: u32,
        path: PathBuf,
        config: SiteConfig,
        program: PathBuf,
        namespace: Option<String>,
    ) -> Verdict<Site> {
        std::fs::write(&path, config.to_toml())?;
        Ok(Site { number, config, path, program, namespace, process: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it (again); a process of it that still runs is killed first.
    pub fn start(&mut self) -> Verdict {
        self.process = None;
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // It stops when its standard input ends: with this harness, however that dies.
        command.args(["site", "--with-stdin", "--config"]).arg(&self.path);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// Where a client on its machine connects.
    pub fn loopback(&self) -> Loopback {
        Loopback(self.namespace.clone())
    }

    pub fn pid(&self) -> Verdict<u32> {
        match self.process.as_ref().and_then(Child::id) {
            Some(pid) => Ok(pid),
            None => failed(format!("site {} does not run", self.number)),
        }
    }

    /// `kill -9`, and waits for the corpse.
    pub async fn kill(&mut self) -> Verdict {
        if let Some(process) = &mut self.process {
            process.kill().await?;
        }
        self.process = None;
        Ok(())
    }

    /// `kill -9` without waiting.
    pub fn strike(&mut self) -> Verdict {
        if let Some(process) = &mut self.process {
            process.start_kill()?;
        }
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> Verdict {
        signal_process(self.pid()?, signal)
    }

    /// Fails if the process has ended though nobody killed it.
    pub fn check_alive(&mut self) -> Verdict {
        match self.process.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => {
                failed(format!("site {} has ended by itself: {status}; {}", self.number, self.last_words()))
            }
            Some(Ok(None) | Err(_)) | None => Ok(()),
        }
    }

    fn last_words(&self) -> String {
        let log = self.log();
        log.lines().next_back().unwrap_or_default().to_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.path.with_file_name("log")
    }

    /// All that it has logged, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned())
    }

    pub fn address(&self) -> Address {
        Address::Unix(self.config.site.session.clone())
    }

    /// `status`, or nothing if it does not answer now.
    pub async fn status(&self) -> Option<Map<String, Value>> {
        let asking = async {
            let (session, _events) = connect(&self.address(), "torture").await.ok()?;
            session.status().await.ok()
        };
        tokio::time::timeout(std::time::Duration::from_secs(2), asking).await.ok().flatten()
    }

    /// Resident memory now, and at its highest, in bytes.
    pub fn memory(&self) -> Verdict<(u64, u64)> {
        memory_of(self.pid()?)
    }

    /// A port of this life of the site.
    pub async fn port(&self, what: &str) -> Verdict<u16> {
        let pid = self.pid()?;
        eventually(&format!("site {} says where it serves {what}", self.number), async || {
            let running = Running::read(&self.config.site.data).filter(|running| running.pid == pid)?;
            running.ports.get(what).copied()
        })
        .await
    }

    /// The counters, by name and labels.
    pub async fn metrics(&self) -> Verdict<Vec<(String, u64)>> {
        let port = self.port("metrics").await?;
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: site\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let counter = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter(|line| !line.starts_with('#')).filter_map(counter).collect())
    }

    /// One counter; 0 if it is not there.
    pub async fn metric(&self, name: &str) -> Verdict<u64> {
        Ok(self.metrics().await?.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| *value))
    }
}

pub fn signal_process(pid: u32, signal: Signal) -> Verdict {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return failed("no such process") };
    Ok(kill_process(pid, signal)?)
}

/// Resident memory of a process now, and at its highest, in bytes.
pub fn memory_of(pid: u32) -> Verdict<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    match (field("VmRSS:"), field("VmHWM:")) {
        (Some(now), Some(highest)) => Ok((now, highest)),
        (now, _) => failed(format!("no memory figures of process {pid} ({now:?})")),
    }
}
