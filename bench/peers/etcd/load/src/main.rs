//! PUTs to etcd over its gRPC, which is HTTP/2: `etcd-load ENDPOINT,… --connections C --streams S --size B --seconds N`.
//!
//! The requests go to the cluster's leader, each connection has S of them under way at once, and the next begins when
//! one is answered: C times S are outstanding. A PUT is answered when its entry is on the disks of a majority. Keys are
//! drawn from a few thousand, so that the store does not grow without bound. One line of JSON says what was measured.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod message;
mod summary;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

type Error = Box<dyn std::error::Error>;

/// Different keys.
const KEYS: u64 = 4_096;
/// Before this, nothing counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// What a connection, and one of its streams, may be sent before it grants more. Answers are short.
const WINDOW_BYTES: u32 = 1 << 20;
/// A cluster that has no leader after so long has none.
const LEADER_WITHIN: Duration = Duration::from_secs(30);

struct Options {
    endpoints: Vec<SocketAddr>,
    connections: usize,
    streams: usize,
    size: usize,
    measured: Duration,
}

fn options() -> Result<Options, Error> {
    let mut args = std::env::args().skip(1);
    let endpoints = args.next().ok_or("name the endpoints: IP:PORT,IP:PORT")?;
    let endpoints = endpoints.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let mut rest = BTreeMap::new();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} wants a number"))?;
        rest.insert(flag, value.parse::<usize>()?);
    }
    let mut take = |flag: &str, otherwise| rest.remove(flag).unwrap_or(otherwise);
    let options = Options {
        endpoints,
        connections: take("--connections", 1),
        streams: take("--streams", 1),
        size: take("--size", 1_024),
        measured: Duration::from_secs(take("--seconds", 5) as u64),
    };
    match rest.keys().next() {
        Some(unknown) => Err(format!("{unknown}: no such flag").into()),
        None if options.connections * options.streams == 0 => Err("nothing would be outstanding".into()),
        None => Ok(options),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let options = options()?;
    let leader = leader(&options.endpoints).await?;
    let local = LocalSet::new();
    let latencies = local.run_until(load(&options, leader)).await?;
    println!("{}", summary::line(&options, latencies));
    Ok(())
}

/// The leader's endpoint; waits until there is one.
async fn leader(endpoints: &[SocketAddr]) -> Result<SocketAddr, Error> {
    let patience = Instant::now() + LEADER_WITHIN;
    loop {
        for endpoint in endpoints {
            if let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(2), status(*endpoint)).await
                && status.leads()
            {
                return Ok(*endpoint);
            }
        }
        if Instant::now() > patience {
            return Err("no endpoint says that it leads".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn status(endpoint: SocketAddr) -> Result<message::Status, Error> {
    let mut client = connect(endpoint).await?;
    let answer = call(&mut client, endpoint, "/etcdserverpb.Maintenance/Status", message::frame(&[])).await?;
    Ok(message::Status::read(&answer)?)
}

async fn connect(endpoint: SocketAddr) -> Result<SendRequest<Bytes>, Error> {
    let tcp = TcpStream::connect(endpoint).await?;
    tcp.set_nodelay(true)?;
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(tcp)
        .await?;
    // It ends when the last request is done and the client is gone.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// One call: the answer's message.
async fn call(
    client: &mut SendRequest<Bytes>,
    endpoint: SocketAddr,
    method: &str,
    body: Bytes,
) -> Result<Bytes, Error> {
    let request = Request::post(format!("http://{endpoint}{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    std::future::poll_fn(|cx| client.poll_ready(cx)).await?;
    let (answer, mut sending) = client.send_request(request, false)?;
    sending.send_data(body, true)?;
    let (head, mut stream) = answer.await?.into_parts();
    let mut message = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        message.extend_from_slice(&part);
    }
    let trailers = stream.trailers().await?;
    grpc_ok(trailers.as_ref().unwrap_or(&head.headers))?;
    Ok(message.into())
}

fn grpc_ok(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("missing");
    match text("grpc-status") {
        "0" => Ok(()),
        status => Err(format!("etcd says {status}: {}", text("grpc-message")).into()),
    }
}

/// The latencies of the PUTs that were answered while it was measured.
async fn load(options: &Options, leader: SocketAddr) -> Result<Vec<Duration>, Error> {
    let begin = Instant::now() + WARM_UP;
    let end = begin + options.measured;
    let mut tasks: JoinSet<Result<Vec<Duration>, String>> = JoinSet::new();
    for connection in 0..options.connections {
        let client = connect(leader).await?;
        for stream in 0..options.streams {
            let seed = (connection * options.streams + stream) as u64;
            let (mut client, size) = (client.clone(), options.size);
            tasks.spawn_local(async move {
                let mut latencies = Vec::new();
                let mut key = seed * 0x9e37_79b9;
                while Instant::now() < end {
                    key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let put = message::put(key >> 33 & (KEYS - 1), size);
                    let began = Instant::now();
                    let answered = call(&mut client, leader, "/etcdserverpb.KV/Put", put).await;
                    answered.map_err(|error| error.to_string())?;
                    let now = Instant::now();
                    if began >= begin && now <= end {
                        latencies.push(now - began);
                    }
                }
                Ok(latencies)
            });
        }
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}
