//! The dialer of one peer: whenever there is no connection, it makes one; at once, then with growing pauses.
//!
//! A dial that is wanted now ([`Peer::dial_now`], [`Peer::nudge`], new addresses) ends the pause, or a connection attempt
//! that hangs, and begins the series anew. When a network heals, the first pair of sites that finds each other so brings
//! the others together, long before their pauses and the repetitions of their lost packets are over.

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

/// The pauses before the first, second, … attempt; the last one repeats. The first may meet a process that is dying and
/// still seems to listen: the second tells.
const PAUSES_MS: [u64; 8] = [0, 2, 10, 50, 100, 200, 500, 1000];

/// How long the first attempt waits for a TCP connection; each later one twice as long as the one before, up to the
/// configured time. A system repeats the first packet of a connection after a second only.
const CONNECT_FIRST: Duration = Duration::from_millis(250);

/// A peer that has refused a new connection in place of the one in use is tried again after so long.
const RENEWAL_AGAIN: Duration = Duration::from_secs(3);

/// Over this time a site spreads the dials that replace its connections.
const RENEWAL_SPREAD_MICROS: u64 = 500_000;

/// A connection that lasted so long was a good one: the next attempt is a first one again.
const STEADY: Duration = Duration::from_secs(1);

pub(crate) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut attempt = 0;
    // Attempts to replace a connection that is up.
    let mut renewals = 0;
    let mut series = 0;
    let mut up_since: Option<Instant> = None;
    loop {
        if peer.is_up() {
            up_since.get_or_insert_with(Instant::now);
        } else if up_since.take().is_some_and(|since| since.elapsed() >= STEADY) {
            attempt = 0;
        }
        if !peer.wants_dial() {
            renewals = 0;
            peer.changed.notified().await;
            continue;
        }
        let (addresses, wanted) = peer.addresses();
        // Compared here and nowhere else: whoever asks between two looks is not overlooked.
        if std::mem::replace(&mut series, wanted) != wanted {
            attempt = 0;
        }
        let renews = peer.is_up();
        let pause = if renews { renewal_pause(renewals) } else { pause(attempt) };
        if !pause.is_zero() && !sleep_undisturbed(&peer, pause).await {
            // Something is new: the peer called, or a dial is wanted now.
            continue;
        }
        let id = shared.connection_id();
        if peer.begin_dial(id) {
            shared.metrics.dials.count();
            let attempt = if renews { renewals } else { attempt };
            dial(&shared, &peer, Dialing { id, series, attempt, renews }, &addresses).await;
            peer.end_dial(id);
        }
        if renews {
            renewals += 1;
        } else {
            attempt += 1;
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

/// One attempt.
#[derive(Clone, Copy)]
struct Dialing {
    id: ConnectionId,
    /// Which series of attempts it belongs to.
    series: u64,
    /// Its place in the series.
    attempt: usize,
    /// It is to replace a connection that is up.
    renews: bool,
}

async fn dial(shared: &Arc<Shared>, peer: &Arc<Peer>, dialing: Dialing, addresses: &[SocketAddr]) {
    let mut refused = 0;
    for address in addresses {
        match connect(shared, peer, dialing, *address).await {
            Some(Ok(tcp)) => {
                if shake_hands(shared, peer, dialing, tcp).await {
                    return;
                }
            }
            Some(Err(error)) => {
                peer.note_problem(&format!("{address}: {error}"));
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => refused += 1,
                    _ => tracing::trace!(peer = %peer.site, %address, %error, "cannot connect"),
                }
            }
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
    dialing: Dialing,
    address: SocketAddr,
) -> Option<io::Result<TcpStream>> {
    let patience = patience(dialing.attempt).min(shared.config.connect_timeout);
    let connect = tokio::time::timeout(patience, TcpStream::connect(address));
    let mut connect = std::pin::pin!(connect);
    loop {
        tokio::select! {
            result = &mut connect => {
                return Some(result.unwrap_or(Err(io::ErrorKind::TimedOut.into())).and_then(not_oneself));
            }
            () = peer.changed.notified() => {
                if !peer.is_dialing(dialing.id) || peer.addresses().1 != dialing.series {
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
async fn shake_hands(shared: &Arc<Shared>, peer: &Arc<Peer>, dialing: Dialing, tcp: TcpStream) -> bool {
    let handshake = shared.handshake_out(peer, dialing.id, tcp);
    let result = tokio::time::timeout(shared.config.handshake_timeout, handshake)
        .await
        .unwrap_or(Err(Failure::Refused(Refusal::HandshakeTimeout)));
    let (refusal, why) = match result {
        Ok(()) => return true,
        Err(Failure::Crossed) => {
            shared.metrics.dials_crossed.count();
            return true;
        }
        Err(Failure::Refused(why)) => (why, why.to_string()),
        Err(Failure::Told(why)) => (Refusal::ByPeer, format!("{}: {why}", Refusal::ByPeer)),
    };
    shared.metrics.refuse(refusal);
    // The same may be so for days.
    match (peer.note_problem(&why), dialing.renews) {
        (true, false) => tracing::warn!(peer = %peer.site, %why, "cannot link; trying again"),
        (true, true) => {
            tracing::warn!(peer = %peer.site, %why, "no link with the new certificate yet; the old one is in use");
        }
        (false, _) => tracing::debug!(peer = %peer.site, %why, "cannot link"),
    }
    false
}

/// How long an attempt waits for a TCP connection, but for the configured bound.
fn patience(attempt: usize) -> Duration {
    CONNECT_FIRST * (1 << attempt.min(8))
}

/// The pause before an attempt, give or take a quarter, so that sites do not dial in step.
fn pause(attempt: usize) -> Duration {
    let micros = PAUSES_MS[attempt.min(PAUSES_MS.len() - 1)] * 1000;
    Duration::from_micros(micros - micros / 4 + jitter(micros / 2))
}

/// The pause before an attempt to replace a connection, which nothing waits for: spread, because a site replaces all of
/// its connections at once.
fn renewal_pause(attempt: usize) -> Duration {
    let pause = if attempt == 0 { Duration::ZERO } else { RENEWAL_AGAIN };
    pause + Duration::from_micros(jitter(RENEWAL_SPREAD_MICROS))
}

/// At random from nothing up to so much.
fn jitter(micros: u64) -> u64 {
    let mut random = [0; 8];
    // Without randomness the pause is merely in step.
    let _ = SystemRandom::new().fill(&mut random);
    u64::from_le_bytes(random) % (micros + 1)
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
