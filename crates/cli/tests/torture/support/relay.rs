//! Stands between two sites: passes on their connections and their datagrams, and keeps the datagrams.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::verdict::Verdict;

const DATAGRAM_BYTES_MAX: usize = 2_048;

pub struct Relay {
    /// Where it listens, for both.
    pub address: SocketAddr,
    last: Arc<Mutex<Option<Vec<u8>>>>,
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
        let last = Arc::new(Mutex::new(None));
        let source = Arc::new(Mutex::new(None));
        let tasks = vec![
            tokio::spawn(connections(tcp, target)),
            tokio::spawn(there(
                Arc::clone(&inside),
                Arc::clone(&outside),
                Arc::clone(&last),
                Arc::clone(&source),
            )),
            tokio::spawn(back(inside, outside, source)),
        ];
        Ok(Relay { address, last, tasks })
    }

    /// The last datagram that was sent to the target.
    pub fn last_datagram(&self) -> Option<Vec<u8>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
    last: Arc<Mutex<Option<Vec<u8>>>>,
    source: Arc<Mutex<Option<SocketAddr>>>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // What an ICMP message reports of an earlier datagram ends nothing.
        let Ok((length, from)) = inside.recv_from(&mut buffer).await else { continue };
        *source.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer[..length].to_vec());
        let _ = outside.send(&buffer[..length]).await;
    }
}

async fn back(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, source: Arc<Mutex<Option<SocketAddr>>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok(length) = outside.recv(&mut buffer).await else { continue };
        let to = *source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = to {
            let _ = inside.send_to(&buffer[..length], to).await;
        }
    }
}
