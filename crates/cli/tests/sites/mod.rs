//! Sites as processes of the real program, each cluster on loopback addresses of its own.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use unanimous::SiteConfig;

/// A generous limit: who waits longer has found a bug.
pub const GAVE_UP: Duration = Duration::from_secs(60);

/// A cluster's files, and the processes of its sites. All of it goes when it is dropped.
pub struct Cluster {
    dir: TempDir,
    host: IpAddr,
    names: Vec<String>,
    running: Vec<Option<Child>>,
}

impl Cluster {
    /// Makes the files for sites of these names. `change` may alter each site's configuration.
    pub fn new(names: &[&str], change: impl Fn(usize, &mut SiteConfig)) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("cluster");
        let host = own_host();
        let founders: Vec<String> =
            names.iter().enumerate().map(|(i, name)| format!("{name}={host}:{}", 7_001 + i)).collect();
        let made = unanimous().arg("init").arg("--out").arg(&out).args(&founders).output().expect("runs");
        assert!(made.status.success(), "{}", text(&made.stderr));
        for (i, name) in names.iter().enumerate() {
            let path = out.join(name).join("site.toml");
            let mut config = SiteConfig::read(&path).expect("init wrote it");
            config.site.link = SocketAddr::new(host, config.site.link.port());
            config.site.metrics = None;
            change(i, &mut config);
            std::fs::write(&path, config.to_toml()).expect("written");
        }
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let running = names.iter().map(|_| None).collect();
        Cluster { dir, host, names, running }
    }

    /// Makes the files for one more site with `unanimous site add`. Gives its place among the sites.
    pub fn add(&mut self, name: &str, args: &[&str]) -> usize {
        let site = format!("{name}={}:{}", self.host, 7_001 + self.names.len());
        let made = unanimous().args(["site", "add", &site, "--dir", utf8(&self.dir())]).args(args).output();
        let made = made.expect("runs");
        assert!(made.status.success(), "{}", text(&made.stderr));
        self.names.push(name.to_owned());
        self.running.push(None);
        self.names.len() - 1
    }

    /// A file or folder of a site.
    pub fn path(&self, site: usize, name: &str) -> PathBuf {
        self.dir.path().join("cluster").join(&self.names[site]).join(name)
    }

    /// The folder of the cluster's files.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    /// Starts a site.
    pub fn start(&mut self, site: usize) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(site, "log"))
            .expect("a log beside the configuration");
        self.start_logging_to(site, log);
    }

    /// Starts a site whose log goes there.
    pub fn start_logging_to(&mut self, site: usize, log: std::fs::File) {
        let child = unanimous()
            .args(["site", "--with-stdin", "--config"])
            .arg(self.path(site, "site.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the site starts");
        self.running[site] = Some(child);
    }

    /// Empties the data directory of a site that does not run: a new disk.
    pub fn wipe(&self, site: usize) {
        assert!(self.running[site].is_none(), "it does not run");
        std::fs::remove_dir_all(self.path(site, "data")).expect("it has one");
    }

    /// `kill -9`.
    pub fn kill(&mut self, site: usize) {
        if let Some(mut child) = self.running[site].take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// Waits for the end of a site that stops by itself.
    pub fn ended(&mut self, site: usize) -> std::process::ExitStatus {
        let mut child = self.running[site].take().expect("it runs");
        let status = eventually(|| child.try_wait().expect("it is ours"));
        status.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("{} goes on; log:\n{}", self.names[site], self.log(site))
        })
    }

    /// One of the site's counters.
    pub fn metric(&self, site: usize, name: &str) -> Option<u64> {
        let page = self.metrics_page(site)?;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// All of the site's metrics, as text.
    pub fn metrics(&self, site: usize) -> String {
        self.metrics_page(site).unwrap_or_default()
    }

    fn metrics_page(&self, site: usize) -> Option<String> {
        let running = std::fs::read(self.path(site, "data/running.json")).ok()?;
        let running: Value = serde_json::from_slice(&running).ok()?;
        let port = u16::try_from(running["ports"]["metrics"].as_u64()?).ok()?;
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        Some(page)
    }

    /// The site's process.
    pub fn pid(&self, site: usize) -> u32 {
        self.running[site].as_ref().map(Child::id).expect("it runs")
    }

    /// What the site has logged.
    pub fn log(&self, site: usize) -> String {
        std::fs::read_to_string(self.path(site, "log")).unwrap_or_default()
    }

    /// Runs a command of the program against a site.
    pub fn run(&self, site: usize, args: &[&str]) -> Output {
        let address = format!("unix:{}", self.path(site, "session.sock").display());
        unanimous().args(["--site", &address]).args(args).output().expect("runs")
    }

    /// The site's status, once it satisfies a condition.
    pub fn until(&self, site: usize, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        let found = eventually(|| {
            let output = self.run(site, &["status", "--json"]);
            last = format!("{}{}", text(&output.stdout), text(&output.stderr));
            serde_json::from_slice(&output.stdout).ok().filter(|status| holds(status))
        });
        found.unwrap_or_else(|| {
            panic!("{} never: {what}; last:\n{last}\nlog:\n{}", self.names[site], self.log(site))
        })
    }

    /// Waits until a site sees these sites, and no others, in a primary view.
    pub fn until_up(&self, site: usize, names: &[&str]) {
        self.until(site, &format!("{names:?} up"), |status| status["primary"] == true && up(status) == names);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for site in 0..self.running.len() {
            if let Some(mut child) = self.running[site].take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Whether the site is a member of the cluster's catalog: then it has no view to come of its own.
pub fn in_catalog(status: &Value) -> bool {
    let groups = status["durable"].as_array().map_or(&[][..], Vec::as_slice);
    groups.iter().any(|group| group["group"] == "unanimous.catalog" && group["state"] == "active")
}

/// The names of the sites that are up, by number.
pub fn up(status: &Value) -> Vec<&str> {
    let sites = status["sites"].as_array().map_or(&[][..], Vec::as_slice);
    sites.iter().filter(|site| site["state"] == "up").filter_map(|site| site["name"].as_str()).collect()
}

/// The program under test.
pub fn unanimous() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unanimous"));
    command.env_remove("UNANIMOUS_SITE").env_remove("UNANIMOUS_LOG");
    command
}

/// Tries until there is a result, or it takes too long.
pub fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + GAVE_UP;
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn utf8(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

/// A loopback address that no other cluster uses: by process, and by cluster within it. Its ports lie below those
/// that the system hands out, so nobody takes them meanwhile.
fn own_host() -> IpAddr {
    static CLUSTERS: AtomicU8 = AtomicU8::new(2);
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Process numbers have 22 bits; processes that share the rest of an address are half a million apart.
    IpAddr::V4(Ipv4Addr::new(127, middle, low, high << 5 | cluster & 0x1f))
}
