//! Stands between two sites: passes on their connections and their datagrams, and keeps the datagrams.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::verdict::Verdict;

const DATAGRAM_BYTES_MAX: usize = 2_048;

/// The last datagram of one direction, and when it passed.
type Last = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

pub struct Relay {
    /// Where it listens, for both.
    pub address: SocketAddr,
    there: Last,
    back: Last,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Verdict<Relay> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = tcp.local_addr()?;
        let inside = Arc::new(UdpSocket::bind(address).await?);
        let outside = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        outside.connect(target).await?;
        let (there_last, back_last) = (Last::default(), Last::default());
        let source = Arc::new(Mutex::new(None));
        let tasks = vec![
            tokio::spawn(connections(tcp, target)),
            tokio::spawn(there(
                Arc::clone(&inside),
                Arc::clone(&outside),
                Arc::clone(&there_last),
                Arc::clone(&source),
            )),
            tokio::spawn(back(inside, outside, Arc::clone(&back_last), source)),
        ];
        Ok(Relay { address, there: there_last, back: back_last, tasks })
    }

    /// The last datagram to the target.
    pub fn there(&self) -> Option<(Instant, Vec<u8>)> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last datagram from the target.
    pub fn back(&self) -> Option<(Instant, Vec<u8>)> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn keep(last: &Last, datagram: &[u8]) {
    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), datagram.to_vec()));
}

async fn connections(listener: TcpListener, target: SocketAddr) {
    while let Ok((mut from, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Ok(mut to) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

async fn there(
    inside: Arc<UdpSocket>,
    outside: Arc<UdpSocket>,
    last: Last,
    source: Arc<Mutex<Option<SocketAddr>>>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // What an ICMP message reports of an earlier datagram ends nothing.
        let Ok((length, from)) = inside.recv_from(&mut buffer).await else { continue };
        *source.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        keep(&last, &buffer[..length]);
        let _ = outside.send(&buffer[..length]).await;
    }
}

async fn back(
    inside: Arc<UdpSocket>,
    outside: Arc<UdpSocket>,
    last: Last,
    source: Arc<Mutex<Option<SocketAddr>>>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok(length) = outside.recv(&mut buffer).await else { continue };
        keep(&last, &buffer[..length]);
        let to = *source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = to {
            let _ = inside.send_to(&buffer[..length], to).await;
        }
    }
}
