//! The listener: lets connections in through the gate and sees them through their handshake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::Shared;
use super::handshake::Failure;
use crate::Refusal;

/// How long to wait when the system has no more descriptors: accepting again at once would spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, from)) if shared.gate.admit(from.ip(), Instant::now()) => {
                let task = see_through(shared.clone(), tcp);
                shared.spawn_in_lobby(task);
            }
            Ok(_) => shared.metrics.refuse(Refusal::AddressRate),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn see_through(shared: Arc<Shared>, tcp: TcpStream) {
    let id = shared.connection_id();
    let from = tcp.peer_addr().ok();
    let (place, pushed_out) = shared.gate.enter();
    let handshake = shared.handshake_in(id, tcp);
    let result = tokio::select! {
        result = tokio::time::timeout(shared.config.handshake_timeout, handshake) => {
            result.unwrap_or(Err(Failure::Refused(Refusal::HandshakeTimeout)))
        }
        Ok(()) = pushed_out => Err(Failure::Refused(Refusal::HalfOpenLimit)),
    };
    drop(place);
    match result {
        Ok(()) => {}
        Err(Failure::Crossed) => shared.metrics.dials_crossed.count(),
        // A dialer does not say why.
        Err(Failure::Told(_)) => shared.metrics.refuse(Refusal::ByPeer),
        Err(Failure::Refused(why)) => {
            shared.metrics.refuse(why);
            tracing::debug!(?from, %why, "connection refused");
        }
    }
}
