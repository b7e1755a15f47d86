//! `bench stream`: one process writes to others over bare TCP and TLS on loopback, with nothing of the system in
//! between: no group can deliver more than this.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use net::cert::{Identity, load_roots};
use net::{Expect, Trust};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use unanimous::SiteConfig;
use wire::SiteId;

use super::clock::now;
use super::cluster::Folder;
use crate::args;
use crate::commands::certificates::{Founder, write_cluster};
use crate::failure::Failure;
use crate::output::{say, say_json};

/// What a stream carried.
#[derive(Debug, Serialize)]
pub struct Report {
    size: usize,
    receivers: usize,
    /// Received, all receivers together.
    pub bytes_per_s: f64,
}

impl Report {
    /// For people.
    pub fn line(&self) -> String {
        format!(
            "bare TCP and TLS over loopback, writes of {} B, {} receiver{}: {:.0} MB/s in all",
            self.size,
            self.receivers,
            if self.receivers == 1 { "" } else { "s" },
            self.bytes_per_s / 1e6
        )
    }
}

/// What a receiver says, one line each.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Listens(SocketAddr),
    Received { bytes: u64, seconds: f64 },
}

/// `unanimous bench stream`.
pub async fn run(args: &args::BenchStream, json: bool) -> Result<(), Failure> {
    let seconds = Duration::from_secs(args.seconds);
    let report = measure(args.size as usize, seconds, args.receivers as usize).await?;
    if json { say_json(&report) } else { say(&report.line()) }
}

/// Writes for so long to so many receivers.
pub async fn measure(size: usize, time: Duration, receivers: usize) -> Result<Report, Failure> {
    let folder = Folder::make()?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let founder = |i: usize| Founder {
        name: format!("site-{}", i + 1),
        address: listen.to_string(),
        listen,
        metrics: None,
        mail: None,
    };
    let founders: Vec<Founder> = (0..=receivers).map(founder).collect();
    let configs = write_cluster(folder.path(), &founders, founders.len())?;
    let mut sinks = Vec::new();
    for config in &configs[1..] {
        sinks.push(Sink::start(config.clone()).await?);
    }
    let (identity, trust) = identity(&read(&configs[0])?)?;
    let writing: Vec<_> = sinks
        .iter()
        .enumerate()
        .map(|(i, sink)| {
            let site = SiteId(u32::try_from(i + 2).expect("a few receivers"));
            let config =
                net::tls::client_config(&identity, &trust, Expect::Site(site)).map_err(certificates)?;
            let address = sink.address;
            Ok(tokio::task::spawn_blocking(move || write_to(address, config, size, time)))
        })
        .collect::<Result<_, Failure>>()?;
    for writer in writing {
        writer.await.map_err(|panic| Failure::refused(panic.to_string()))??;
    }
    let mut bytes_per_s = 0.0;
    for sink in &mut sinks {
        bytes_per_s += sink.received().await?;
    }
    Ok(Report { size, receivers, bytes_per_s })
}

fn write_to(
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    size: usize,
    time: Duration,
) -> Result<(), Failure> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let connection = ClientConnection::new(config, ServerName::IpAddress(address.ip().into()))
        .map_err(|error| Failure::refused(error.to_string()))?;
    let mut stream = StreamOwned::new(connection, socket);
    let buffer = vec![0x5a; size];
    let end = now() + time;
    while now() < end {
        stream.write_all(&buffer)?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// `unanimous bench sink`, which `bench stream` starts.
pub fn sink(args: &args::BenchSink) -> Result<(), Failure> {
    let (identity, trust) = identity(&read(&args.config)?)?;
    let config = net::tls::server_config(&identity, &trust, Expect::AnySite).map_err(certificates)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    say_json(&Said::Listens(listener.local_addr()?))?;
    let (socket, _) = listener.accept()?;
    let connection = ServerConnection::new(config).map_err(|error| Failure::refused(error.to_string()))?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = stream.read(&mut buffer)? as u64;
    let started = now();
    bytes += loop_until_end(&mut stream, &mut buffer)?;
    let seconds = now().saturating_sub(started).as_secs_f64();
    say_json(&Said::Received { bytes, seconds })
}

fn loop_until_end(stream: &mut impl Read, buffer: &mut [u8]) -> Result<u64, Failure> {
    let mut bytes = 0;
    loop {
        match stream.read(buffer)? {
            0 => return Ok(bytes),
            count => bytes += count as u64,
        }
    }
}

struct Sink {
    _process: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    address: SocketAddr,
}

impl Sink {
    async fn start(config: PathBuf) -> Result<Sink, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["bench", "sink", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = process.stdout.take().ok_or_else(|| Failure::refused("a receiver has no output"))?;
        let mut lines = BufReader::new(out).lines();
        match next(&mut lines).await? {
            Said::Listens(address) => Ok(Sink { _process: process, lines, address }),
            Said::Received { .. } => Err(Failure::refused("a receiver ended before it began")),
        }
    }

    /// Bytes a second.
    async fn received(&mut self) -> Result<f64, Failure> {
        match next(&mut self.lines).await? {
            Said::Received { bytes, seconds } => Ok(bytes as f64 / seconds.max(f64::EPSILON)),
            Said::Listens(_) => Err(Failure::refused("a receiver listens again")),
        }
    }
}

async fn next(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>) -> Result<Said, Failure> {
    let line = lines.next_line().await?.ok_or_else(|| Failure::refused("a receiver has ended"))?;
    serde_json::from_str(&line).map_err(|error| Failure::refused(error.to_string()))
}

fn read(config: &std::path::Path) -> Result<SiteConfig, Failure> {
    SiteConfig::read(config).map_err(|error| Failure::refused(error.to_string()))
}

fn identity(config: &SiteConfig) -> Result<(Identity, Arc<Trust>), Failure> {
    let folder = &config.site.certificates;
    let identity =
        Identity::load(&folder.join("site.pem"), &folder.join("site.key")).map_err(certificates)?;
    let roots = load_roots(&folder.join("ca.pem")).map_err(certificates)?;
    let trust = Trust::new(config.cluster_id(), &roots).map_err(certificates)?;
    Ok((identity, trust))
}

fn certificates(error: net::cert::CertError) -> Failure {
    Failure::refused(error.to_string())
}
