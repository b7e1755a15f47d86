//! Links against a bare TLS stream on the loopback, in turns and in one process: bytes at 64 KiB a packet, and
//! packets a second at 64 B. `cargo bench -p unanimous-net`.

#![allow(clippy::disallowed_methods, reason = "a bench has a clock")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use net::{Expect, Input, SendError};
use support::{Cluster, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wire::SiteId;

const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(1500);
const HEADER: [u8; 40] = [7; 40];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let cluster = Cluster::new();
        let (mut bare, mut links, mut small) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            bare.push(bare_stream(&cluster).await / 1e6);
            links.push(packets(&cluster, 64 * 1024).await * 65536.0 / 1e6);
            small.push(packets(&cluster, 64).await / 1e6);
        }
        let (bare, links, small) = (median(bare), median(links), median(small));
        println!("bare TLS stream, 64 KiB writes   {bare:8.0} MB/s");
        println!("links, 64 KiB packets            {links:8.0} MB/s   ratio {:.2}", links / bare);
        println!("links, 64 B packets              {small:8.2} million packets/s");
    });
}

/// Bytes a second through TLS and nothing else.
async fn bare_stream(cluster: &Cluster) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let server = net::tls::server_config(&cluster.site(1), &cluster.trust, Expect::AnySite).expect("usable");
    let client = net::tls::client_config(&cluster.site(2), &cluster.trust, Expect::AnySite).expect("usable");
    let receiver = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accepted");
        let mut stream = TlsAcceptor::from(server).accept(tcp).await.expect("a handshake");
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        let mut started = None;
        while let Ok(bytes) = stream.read(&mut buffer).await {
            if bytes == 0 {
                break;
            }
            started.get_or_insert_with(Instant::now);
            total += bytes;
        }
        total as f64 / started.expect("something came").elapsed().as_secs_f64()
    });
    let tcp = TcpStream::connect(address).await.expect("connected");
    tcp.set_nodelay(true).expect("set");
    let name = support::any_name();
    let mut stream = TlsConnector::from(client).connect(name, tcp).await.expect("a handshake");
    let payload = vec![1; 64 * 1024];
    let until = Instant::now() + TURN;
    while Instant::now() < until {
        stream.write_all(&payload).await.expect("written");
    }
    stream.shutdown().await.expect("ended");
    receiver.await.expect("the receiver")
}

/// Packets a second from one site's node to another's.
async fn packets(cluster: &Cluster, body_bytes: usize) -> f64 {
    let (mut a, b) = support::pair(cluster).await;
    let mut receiver = b;
    let until = Instant::now() + TURN;
    let counter = tokio::spawn(async move {
        let mut count = 0usize;
        let started = Instant::now();
        while Instant::now() < until {
            if let Input::Packets(_, packets) = receiver.next().await {
                count += packets.len();
            }
        }
        let rate = count as f64 / started.elapsed().as_secs_f64();
        receiver.links.close();
        rate
    });
    let body = Bytes::from(vec![2; body_bytes]);
    while Instant::now() < until {
        if fill(&a, &body) {
            tokio::task::yield_now().await;
            continue;
        }
        loop {
            match a.next().await {
                Input::Writable(_) => break,
                Input::Down { .. } => break,
                _ => {}
            }
        }
    }
    let rate = counter.await.expect("the receiver");
    a.links.close();
    rate
}

/// Queues what fits, at most a batch; false if the queue is full.
fn fill(site: &Site, body: &Bytes) -> bool {
    let mut batch = site.links.batch();
    for _ in 0..256 {
        match batch.send(SiteId(2), &HEADER, body.clone()) {
            Ok(()) => {}
            Err(SendError::Filled | SendError::Full | SendError::Down) => return false,
            Err(error) => panic!("{error}"),
        }
    }
    true
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
