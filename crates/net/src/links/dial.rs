//! The dialer of one peer: whenever there is no connection, it makes one; at once, then with growing pauses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpStream;

use super::Shared;
use super::handshake::Failure;
use super::peer::{ConnectionId, Peer};
use crate::Refusal;

/// The pauses before the first, second, … attempt; the last one repeats.
const PAUSES_MS: [u64; 7] = [0, 10, 50, 100, 200, 500, 1000];

/// A connection that lasted so long was a good one: the next attempt is a first one again.
const STEADY: Duration = Duration::from_secs(1);

pub(crate) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut attempt = 0;
    let mut up_since: Option<Instant> = None;
    loop {
        if peer.is_up() {
            up_since.get_or_insert_with(Instant::now);
        } else if up_since.take().is_some_and(|since| since.elapsed() >= STEADY) {
            attempt = 0;
        }
        if !peer.wants_dial() {
            peer.changed.notified().await;
            continue;
        }
        let (addresses, table) = peer.addresses();
        let pause = pause(attempt);
        attempt += 1;
        if !pause.is_zero() && !sleep_undisturbed(&peer, pause).await {
            // Something is new: the peer called, or it has other addresses.
            if peer.addresses().1 != table {
                attempt = 0;
            }
            continue;
        }
        let id = shared.connection_id();
        if peer.begin_dial(id) {
            shared.metrics.dials.count();
            dial(&shared, &peer, id, &addresses, attempt == 1).await;
            peer.end_dial(id);
        }
    }
}

/// False if the peer's state changed before the pause was over.
async fn sleep_undisturbed(peer: &Peer, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = peer.changed.notified() => false,
    }
}

async fn dial(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    id: ConnectionId,
    addresses: &[SocketAddr],
    first: bool,
) {
    let mut refused = 0;
    for address in addresses {
        match connect(shared, peer, id, *address).await {
            Some(Ok(tcp)) => {
                if shake_hands(shared, peer, id, tcp, first).await {
                    return;
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => refused += 1,
            Some(Err(error)) => tracing::trace!(peer = %peer.site, %address, %error, "cannot connect"),
            None => return,
        }
    }
    // One address that does not answer may be one that only a cut path hides: no evidence then.
    if refused == addresses.len() {
        shared.metrics.dials_refused.count();
        peer.refused();
    }
}

/// `None` if the dial has been given up.
async fn connect(
    shared: &Shared,
    peer: &Peer,
    id: ConnectionId,
    address: SocketAddr,
) -> Option<io::Result<TcpStream>> {
    let connect = tokio::time::timeout(shared.config.connect_timeout, TcpStream::connect(address));
    let mut connect = std::pin::pin!(connect);
    loop {
        tokio::select! {
            result = &mut connect => {
                return Some(result.unwrap_or(Err(io::ErrorKind::TimedOut.into())).and_then(not_oneself));
            }
            () = peer.changed.notified() => {
                if !peer.is_dialing(id) {
                    peer.changed.notify_one();
                    return None;
                }
            }
        }
    }
}

/// On one machine a dial to a port where nobody listens may meet itself, if that port is drawn for its own end.
fn not_oneself(tcp: TcpStream) -> io::Result<TcpStream> {
    match tcp.local_addr()? == tcp.peer_addr()? {
        true => Err(io::ErrorKind::ConnectionRefused.into()),
        false => Ok(tcp),
    }
}

/// True if the peer needs no further address now: there is a connection, or its own is coming.
async fn shake_hands(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    id: ConnectionId,
    tcp: TcpStream,
    first: bool,
) -> bool {
    let handshake = shared.handshake_out(peer, id, tcp);
    let result = tokio::time::timeout(shared.config.handshake_timeout, handshake)
        .await
        .unwrap_or(Err(Failure::Refused(Refusal::HandshakeTimeout)));
    match result {
        Ok(()) => true,
        Err(Failure::Crossed) => {
            shared.metrics.dials_crossed.count();
            true
        }
        Err(Failure::Refused(why)) => {
            shared.metrics.refuse(why);
            match first {
                true => tracing::warn!(peer = %peer.site, %why, "cannot link; trying again"),
                false => tracing::debug!(peer = %peer.site, %why, "cannot link"),
            }
            false
        }
    }
}

/// The pause before an attempt, give or take a quarter, so that sites do not dial in step.
fn pause(attempt: usize) -> Duration {
    let micros = PAUSES_MS[attempt.min(PAUSES_MS.len() - 1)] * 1000;
    let mut random = [0; 8];
    // Without randomness the pause is merely in step.
    let _ = SystemRandom::new().fill(&mut random);
    let jitter = u64::from_le_bytes(random) % (micros / 2 + 1);
    Duration::from_micros(micros - micros / 4 + jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_at_nothing_grow_and_stay_bounded() {
        assert_eq!(pause(0), Duration::ZERO);
        for attempt in 1..100 {
            let middle = Duration::from_millis(PAUSES_MS[attempt.min(PAUSES_MS.len() - 1)]);
            for _ in 0..20 {
                let pause = pause(attempt);
                assert!(pause >= middle * 3 / 4 && pause <= middle * 5 / 4, "{attempt}: {pause:?}");
            }
        }
    }
}
