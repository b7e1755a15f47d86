//! Probes as datagrams: sealed under keys exported from the pair's TLS session, so that who is not that peer can
//! neither make nor repeat one.
//!
//! ```text
//!  0 … 7     8 … 15          16 …                     16 bytes
//!  key id    packet number   sealed: flags, payload   tag
//! ```
//!
//! A connection exports one key for each direction, and its key id. The packet number is part of the nonce, is
//! never used twice under a key, and passes the receiver's window once. A datagram path counts as working for
//! [`CONFIRMED_FOR`] after the peer said, in a datagram, that it hears ours. Until then probes go through the
//! connection, and an empty datagram beside each of them knocks on the path.

mod window;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use wire::SiteId;

use crate::input::{Input, InputSender};
use crate::metrics::Metrics;
use window::Window;

/// The longest probe that travels as a datagram: it fits every path without fragments.
pub const DATAGRAM_BYTES_MAX: usize = 1200;

/// How long a path that was confirmed counts as working.
pub const CONFIRMED_FOR: Duration = Duration::from_millis(500);

const HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const LABEL: &[u8] = b"EXPORTER-unanimous-probes";

/// The sender has lately opened a datagram of the receiver.
const HEARD: u8 = 1;

/// After so many packets a key is not used any more; the connection carries the probes then.
const PACKETS_MAX: u64 = 1 << 32;

/// How a probe left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// As a datagram of its own.
    Datagram,
    /// Through the connection, because datagrams are not known to arrive.
    Link,
}

/// What one direction of a session is sealed with.
struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    id: u64,
}

const DIRECTION_BYTES: usize = 16 + NONCE_LEN + 8;

/// The keys that one TLS connection gives to probes.
pub(crate) struct Keys {
    send: Direction,
    receive: Direction,
}

/// Probes of one connection.
pub(crate) struct Session {
    site: SiteId,
    keys: Keys,
    next: AtomicU64,
    remote: Mutex<Option<SocketAddr>>,
    window: Mutex<Window>,
    /// When a datagram of the peer was last opened, and when it last said that it hears us: milliseconds since
    /// the socket was made, plus one; 0 is never.
    heard: AtomicU64,
    confirmed: AtomicU64,
    closed: AtomicBool,
    socket: Weak<Socket>,
}

/// The socket that all sessions share.
pub(crate) struct Socket {
    udp: UdpSocket,
    made: Instant,
    sessions: RwLock<HashMap<u64, Arc<Session>>>,
    inputs: InputSender,
    budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Direction {
    fn new(material: &[u8; DIRECTION_BYTES]) -> Direction {
        let (key, rest) = material.split_first_chunk::<16>().expect("as long as its parts");
        let (iv, id) = rest.split_first_chunk::<NONCE_LEN>().expect("as long as its parts");
        let key = UnboundKey::new(&AES_128_GCM, key).expect("AES-128 keys have 16 bytes");
        let id = u64::from_le_bytes(id.try_into().expect("as long as its parts"));
        Direction { key: LessSafeKey::new(key), iv: *iv, id }
    }

    /// The TLS way: the number, written at the end, over the secret start.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, mask) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= mask;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, number: u64, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(HEADER_BYTES + 1 + payload.len() + TAG_BYTES);
        datagram.extend_from_slice(&self.id.to_le_bytes());
        datagram.extend_from_slice(&number.to_le_bytes());
        datagram.push(flags);
        datagram.extend_from_slice(payload);
        let (header, content) = datagram.split_at_mut(HEADER_BYTES);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(number), Aad::from(&*header), content)
            .expect("a datagram is far below the cipher's bound");
        datagram.extend_from_slice(tag.as_ref());
        datagram
    }

    /// The flags and the payload, if the datagram was sealed under this key.
    fn open<'a>(&self, number: u64, datagram: &'a mut [u8]) -> Option<(u8, &'a [u8])> {
        let (header, content) = datagram.split_at_mut_checked(HEADER_BYTES)?;
        let content = self.key.open_in_place(self.nonce(number), Aad::from(&*header), content).ok()?;
        content.split_first().map(|(flags, payload)| (*flags, payload))
    }
}

impl Keys {
    /// Exports the keys of a connection; both sides of it get the same pair, crosswise.
    pub(crate) fn export(
        dialer: bool,
        export: impl FnOnce(&mut [u8], &[u8]) -> Result<(), rustls::Error>,
    ) -> Result<Keys, rustls::Error> {
        let mut material = [[0; DIRECTION_BYTES]; 2];
        export(material.as_flattened_mut(), LABEL)?;
        let [from_dialer, from_accepter] = material.map(|material| Direction::new(&material));
        Ok(match dialer {
            true => Keys { send: from_dialer, receive: from_accepter },
            false => Keys { send: from_accepter, receive: from_dialer },
        })
    }
}

impl Session {
    pub(crate) fn new(
        site: SiteId,
        keys: Keys,
        remote: Option<SocketAddr>,
        socket: &Arc<Socket>,
    ) -> Arc<Session> {
        Arc::new(Session {
            site,
            keys,
            next: AtomicU64::new(1),
            remote: Mutex::new(remote),
            window: Mutex::new(Window::default()),
            heard: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            socket: Arc::downgrade(socket),
        })
    }

    /// From now on its datagrams are of an unknown key.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
        if let Some(socket) = self.socket.upgrade() {
            socket.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&self.keys.receive.id);
        }
    }

    /// Sends a probe as a datagram if the path is known to work; else knocks on the path and returns false.
    pub(crate) fn send(&self, payload: &[u8]) -> bool {
        let Some(socket) = self.socket.upgrade() else { return false };
        let works = payload.len() <= DATAGRAM_BYTES_MAX && socket.is_recent(&self.confirmed);
        let sent = self.transmit(&socket, if works { payload } else { &[] });
        works && sent
    }

    fn transmit(&self, socket: &Socket, payload: &[u8]) -> bool {
        let Some(remote) = *self.remote.lock().unwrap_or_else(PoisonError::into_inner) else { return false };
        let number = self.next.fetch_add(1, Relaxed);
        if number >= PACKETS_MAX {
            return false;
        }
        let flags = if socket.is_recent(&self.heard) { HEARD } else { 0 };
        match socket.udp.try_send_to(&self.keys.send.seal(number, flags, payload), remote) {
            Ok(_) => true,
            Err(_) => {
                socket.metrics.probes_dropped.count();
                false
            }
        }
    }
}

impl Socket {
    /// A socket at this address; fails if it is taken.
    pub(crate) async fn bind(
        address: SocketAddr,
        inputs: InputSender,
        metrics: Arc<Metrics>,
    ) -> io::Result<Arc<Socket>> {
        let udp = UdpSocket::bind(address).await?;
        Ok(Arc::new(Socket {
            udp,
            made: Instant::now(),
            sessions: RwLock::default(),
            inputs,
            budget: InputSender::probe_budget(),
            metrics,
        }))
    }

    pub(crate) fn register(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if !session.closed.load(Relaxed) {
            sessions.insert(session.keys.receive.id, session.clone());
        }
    }

    /// Receives for ever.
    pub(crate) async fn run(self: Arc<Socket>) {
        // A byte more than any datagram of ours, to see that one is too long.
        let mut buffer = [0; HEADER_BYTES + 1 + DATAGRAM_BYTES_MAX + TAG_BYTES + 1];
        loop {
            match self.udp.recv_from(&mut buffer).await {
                Ok((bytes, from)) => self.receive(&mut buffer[..bytes], from),
                // The kernel reports what became of earlier datagrams here; the socket goes on.
                Err(error) => tracing::trace!(%error, "datagram socket"),
            }
        }
    }

    fn receive(&self, datagram: &mut [u8], from: SocketAddr) {
        let lengths = HEADER_BYTES + 1 + TAG_BYTES..=HEADER_BYTES + 1 + DATAGRAM_BYTES_MAX + TAG_BYTES;
        let (Some(id), Some(number), true) =
            (read_u64(datagram, 0), read_u64(datagram, 8), lengths.contains(&datagram.len()))
        else {
            return self.metrics.probes_malformed.count();
        };
        let session = self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let Some(session) = session else { return self.metrics.probes_unknown_key.count() };
        let Some((flags, payload)) = session.keys.receive.open(number, datagram) else {
            return self.metrics.probes_forged.count();
        };
        // Only what the peer has sealed may move the window.
        let Some(newest) = session.window.lock().unwrap_or_else(PoisonError::into_inner).admit(number) else {
            return self.metrics.probes_replayed.count();
        };
        if newest {
            *session.remote.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        }
        let first = !self.is_recent(&session.heard);
        session.heard.store(self.stamp(), Relaxed);
        if flags & HEARD != 0 {
            session.confirmed.store(self.stamp(), Relaxed);
        }
        match payload {
            [] if first || flags & HEARD == 0 => {
                // Somebody knocks who has not been heard lately, or has not heard this side: knock back, so that both
                // know. No answer to the answer, because that says that it has heard.
                session.transmit(self, &[]);
            }
            [] => {}
            payload => self.give(session.site, payload),
        }
    }

    fn give(&self, site: SiteId, payload: &[u8]) {
        match self.budget.clone().try_acquire_owned() {
            Ok(permit) => {
                self.metrics.probes_received.count();
                self.inputs.send_budgeted(Input::Probe(site, Bytes::copy_from_slice(payload)), permit);
            }
            Err(_) => self.metrics.probes_dropped.count(),
        }
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn is_recent(&self, stamp: &AtomicU64) -> bool {
        let then = stamp.load(Relaxed);
        then != 0 && u128::from(self.stamp().saturating_sub(then)) <= CONFIRMED_FOR.as_millis()
    }
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Inputs, inputs};

    fn keys(dialer: bool, secret: u8) -> Keys {
        let export = |material: &mut [u8], _: &[u8]| {
            material.iter_mut().enumerate().for_each(|(i, byte)| *byte = secret ^ i as u8);
            Ok(())
        };
        Keys::export(dialer, export).expect("exported")
    }

    async fn socket() -> (Arc<Socket>, Inputs) {
        let (sender, receiver) = inputs();
        let address = "127.0.0.1:0".parse().expect("an address");
        (Socket::bind(address, sender, Arc::default()).await.expect("bound"), receiver)
    }

    fn from() -> SocketAddr {
        "127.0.0.1:9".parse().expect("an address")
    }

    #[tokio::test]
    async fn a_probe_is_taken_once_and_only_as_it_was_sealed() {
        let (socket, mut inputs) = socket().await;
        let session = Session::new(SiteId(2), keys(false, 1), None, &socket);
        socket.register(&session);
        let sealed = keys(true, 1).send.seal(5, 0, b"are you there");
        let metrics = socket.metrics.clone();

        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            socket.receive(&mut forged, from());
        }
        assert_eq!(metrics.probes_unknown_key.get(), 64);
        assert_eq!(metrics.probes_forged.get(), sealed.len() as u64 * 8 - 64);
        assert!(inputs.try_recv().is_none());

        for _ in 0..3 {
            socket.receive(&mut sealed.clone(), from());
        }
        assert_eq!(metrics.probes_replayed.get(), 2);
        assert!(matches!(inputs.try_recv(), Some(Input::Probe(SiteId(2), p)) if p == b"are you there"[..]));
        assert!(inputs.try_recv().is_none());

        for length in 0..HEADER_BYTES + 1 + TAG_BYTES {
            socket.receive(&mut sealed[..length].to_vec(), from());
        }
        assert_eq!(metrics.probes_malformed.get(), (HEADER_BYTES + 1 + TAG_BYTES) as u64);

        // What the peer sealed for the other direction, sent back to where it came from.
        let mut reflected = session.keys.send.seal(6, 0, b"reflected");
        socket.receive(&mut reflected, from());
        assert_eq!(metrics.probes_unknown_key.get(), 65);

        session.close();
        socket.register(&session);
        socket.receive(&mut keys(true, 1).send.seal(7, 0, b"late"), from());
        assert_eq!(metrics.probes_unknown_key.get(), 66);
    }

    #[tokio::test]
    async fn probes_nobody_takes_are_dropped_and_not_queued_for_ever() {
        let (socket, _inputs) = socket().await;
        let session = Session::new(SiteId(2), keys(false, 1), None, &socket);
        socket.register(&session);
        let peer = keys(true, 1);
        for number in 1..=3000 {
            socket.receive(&mut peer.send.seal(number, 0, b"probe"), from());
        }
        assert_eq!(socket.metrics.probes_received.get(), 1024);
        assert_eq!(socket.metrics.probes_dropped.get(), 3000 - 1024);
    }
}
