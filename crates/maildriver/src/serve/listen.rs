//! Accepting mail programs: so many at once, so many from one address, and few that have not logged in.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::Gate;
use site::MailConfig;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::bounds;
use super::connection::{Connection, Stream};
use crate::imap::{Config, Peer};
use crate::logins::Logins;
use crate::service::{LETTER_BYTES_MAX, Mail};

/// Connections that have not logged in; a new one pushes out the oldest.
const HALF_OPEN_MAX: usize = 256;
/// How long a client may take for its part of a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is sent to it for so long is cut off.
const STUCK: Duration = Duration::from_secs(60);

/// How a listener's connections begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// In clear; TLS may be begun.
    Clear,
    /// With TLS.
    Tls,
}

/// What all listeners share.
pub(super) struct Doors {
    pub(super) mail: Mail,
    pub(super) logins: Logins,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) gate: Gate,
    trial: bool,
    places: Arc<Semaphore>,
    of_one_max: usize,
    from: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A connection of an address, counted until this is dropped.
struct Counted<'a> {
    doors: &'a Doors,
    from: IpAddr,
}

impl Doors {
    pub(super) fn new(mail: Mail, logins: Logins, settings: &MailConfig, tls: Option<TlsAcceptor>) -> Doors {
        let (all, of_one_max) = bounds(settings);
        Doors {
            mail,
            logins,
            tls,
            gate: Gate::new(HALF_OPEN_MAX, u32::MAX),
            trial: settings.trial,
            places: Arc::new(Semaphore::new(all)),
            of_one_max,
            from: Mutex::default(),
        }
    }

    /// Serves a listener until it fails. While all places are taken, more connections wait to be accepted.
    pub(super) async fn serve(self: Arc<Doors>, listener: TcpListener, door: Door) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let doors = Arc::clone(&self);
                    tokio::spawn(async move {
                        doors.enter(stream, peer, door).await;
                        drop(place);
                    });
                }
                Err(error) if passes(&error) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => {
                    return tracing::error!(%error, "a listener for mail has ended; restart the site");
                }
            }
        }
    }

    async fn enter(&self, mut stream: TcpStream, peer: SocketAddr, door: Door) {
        let Some(_counted) = self.count(peer.ip()) else {
            let _ = stream.try_write(b"* BYE Too many connections from your address\r\n");
            return;
        };
        // Refinements; a connection works without them.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STUCK));
        if self.mail.view().is_err() {
            let _ = stream.write_all(b"* BYE Mail is not ready at this site yet; try again\r\n").await;
            return;
        }
        let known = Peer { tls: door == Door::Tls, loopback: peer.ip().is_loopback() };
        let (place, mut pushed_out) = self.gate.enter();
        let stream = match (door, &self.tls) {
            (Door::Clear, _) => Stream::Clear(stream),
            (Door::Tls, Some(_)) => {
                let shaken = tokio::select! {
                    shaken = self.shake_hands(stream) => shaken,
                    Ok(()) = &mut pushed_out => None,
                };
                match shaken {
                    Some(stream) => stream,
                    None => return,
                }
            }
            // The configuration was checked: without a certificate there is no such listener.
            (Door::Tls, None) => return,
        };
        let config = Config {
            letter_bytes_max: LETTER_BYTES_MAX,
            starttls: self.tls.is_some(),
            trial: self.trial,
            scram: false,
        };
        Connection::new(self, stream, config, known).run(place, pushed_out).await;
    }

    /// Begins TLS; none if the client does not.
    pub(super) async fn shake_hands(&self, stream: TcpStream) -> Option<Stream> {
        let accepting = self.tls.as_ref()?.accept(stream);
        match tokio::time::timeout(HANDSHAKE_WITHIN, accepting).await {
            Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a mail program's TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    fn count(&self, from: IpAddr) -> Option<Counted<'_>> {
        let mut all = self.counts();
        let count = all.entry(from).or_default();
        if *count >= self.of_one_max {
            return None;
        }
        *count += 1;
        Some(Counted { doors: self, from })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut all = self.doors.counts();
        if let Some(count) = all.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.from);
            }
        }
    }
}

/// Whether a listener can go on: a client that has gone, or too few descriptors.
fn passes(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}
