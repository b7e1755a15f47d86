//! Links between sites: one TCP connection, TLS 1.3 and mutually certified, for each pair.
//!
//! [`Links`] listens, dials the peers in its table, and dials again when a connection is lost: at once, then
//! with growing pauses. Packets are opaque and at most [`PACKET_BYTES_MAX`] long; on the stream each has its
//! length in front, little-endian, whose highest bit marks a probe. A packet that was queued when a connection
//! broke may or may not have arrived: `link` above numbers and resumes.
//!
//! The rule for two sites that dial each other at once is in `peer`.

mod accept;
pub(crate) mod connection;
mod dial;
pub mod gate;
pub(crate) mod handshake;
mod outbox;
mod peer;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wire::{Incarnation, SiteId};

use crate::bids::Bidders;
use crate::cert::{CertError, Certificate, Principal, Role};
use crate::input::{Down, InputSender};
use crate::metrics::Metrics;
use crate::probe::{Socket, Via};
use crate::shown::Shown;
use crate::trust::Trust;
use crate::{Lobby, Refusal};
use connection::Limits;
use gate::Gate;
use handshake::Tls;
pub use peer::SendError;
use peer::{ConnectionId, Peer};

/// The longest packet: a frame of 64 KiB in its envelopes.
pub const PACKET_BYTES_MAX: usize = 64 * 1024 + 8 + 256;

/// Where a site can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The site.
    pub site: SiteId,
    /// Its name, for log lines.
    pub name: String,
    /// Its addresses, tried in order.
    pub addresses: Vec<SocketAddr>,
}

/// The bounds and times of a site's links.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// How long TLS and the hellos may take.
    pub handshake_timeout: Duration,
    /// How long a TCP connection may take to be made to one address.
    pub connect_timeout: Duration,
    /// How long a write may make no progress before the connection is broken.
    pub write_stuck: Duration,
    /// What may wait to be written to a peer, in bytes.
    pub queue_bytes_max: usize,
    /// What a peer may have handed over and the site not taken, in bytes; 512 KiB at least.
    pub inbound_bytes_max: usize,
    /// How many accepted connections may be without a finished handshake. A new one pushes out the oldest.
    pub half_open_max: usize,
    /// How many connections a second are accepted from one address that is not a peer's.
    pub accepts_per_second: u32,
    /// Whether probes may be datagrams.
    pub datagrams: bool,
}

impl Config {
    /// The usual bounds, listening at `listen`.
    pub fn new(listen: SocketAddr) -> Config {
        Config {
            listen,
            handshake_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            write_stuck: Duration::from_secs(10),
            queue_bytes_max: 4 * 1024 * 1024,
            inbound_bytes_max: 2 * 1024 * 1024,
            half_open_max: 256,
            accepts_per_second: 100,
            datagrams: true,
        }
    }
}

/// A hello that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HelloRefused {
    /// What it counts as.
    pub why: Refusal,
    /// For this site's log.
    pub text: String,
}

impl HelloRefused {
    /// A hello that counts as a bad one.
    pub fn new(text: impl ToString) -> HelloRefused {
        HelloRefused { why: Refusal::BadHello, text: text.to_string() }
    }
}

/// What a site that has no number yet does on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bid {
    /// It has connected.
    Opened,
    /// It says this: at most [`crate::bids::BID_BYTES_MAX`].
    Said(Bytes),
    /// Its connection is gone.
    Closed,
}

/// What the two sites of a new connection tell each other before anything else.
pub trait Hello: Send + Sync + 'static {
    /// What this site says: at most 16 KiB.
    fn ours(&self) -> Bytes;

    /// Reads what a peer says, whose certificate speaks for `certified`: which life of which site it is. A number that
    /// stands in the certificate is compared by the caller; whether a name goes with a number is checked here.
    fn check(&self, certified: &Principal, theirs: &Bytes) -> Result<(SiteId, Incarnation), HelloRefused>;

    /// Answers a site of this certified name that has no number yet; `Ok(None)` answers with nothing. May block for
    /// the disk: it is called where that is allowed. An error ends the connection and is counted.
    fn bid(&self, name: &str, bid: Bid) -> Result<Option<Bytes>, Refusal> {
        let _ = (name, bid);
        Err(Refusal::WrongRole)
    }
}

/// All links of a site. Cheap to clone; [`Links::close`] ends them.
#[derive(Clone)]
pub struct Links {
    shared: Arc<Shared>,
    address: SocketAddr,
}

pub(crate) struct Shared {
    me: SiteId,
    config: Config,
    tls: Tls,
    pub(crate) trust: Arc<Trust>,
    pub(crate) hello: Arc<dyn Hello>,
    peers: RwLock<BTreeMap<SiteId, Arc<Peer>>>,
    listed: RwLock<BTreeMap<SiteId, PeerAddress>>,
    gate: Gate,
    pub(crate) bidders: Arc<Bidders>,
    socket: Option<Arc<Socket>>,
    inputs: InputSender,
    pub(crate) metrics: Arc<Metrics>,
    closing: watch::Sender<bool>,
    next_connection: AtomicU64,
    /// Read and written under the lock of `peers`.
    away: AtomicBool,
    /// Where connections run once they are let in.
    main: Handle,
    lobby: Lobby,
}

/// Why links could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address to listen at is taken or not this machine's.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The system has no room for a thread.
    #[error("cannot start the thread that accepts connections: {0}")]
    Lobby(io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The certificate is not that of this site.
    #[error("the certificate is not that of {0}")]
    NotThisSite(SiteId),
}

impl Links {
    /// Listens, and from now on answers as this site. The peers come with [`Links::set_peers`].
    pub async fn start(
        config: Config,
        (me, shown): (SiteId, &Arc<Shown>),
        trust: Arc<Trust>,
        hello: Arc<dyn Hello>,
        inputs: InputSender,
        metrics: Arc<Metrics>,
    ) -> Result<Links, StartError> {
        match shown.certificate().principal().role {
            Role::Site(site) if site == me => {}
            Role::NamedSite => {}
            Role::Site(_) | Role::Client | Role::Administrator => return Err(StartError::NotThisSite(me)),
        }
        let tls = Tls::new(shown, &trust)?;
        let refused = |error| StartError::Listen(config.listen, error);
        let lobby = Lobby::start().map_err(StartError::Lobby)?;
        let listener = lobby.listen(config.listen).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let socket = match config.datagrams {
            true => Socket::bind(address, inputs.clone(), metrics.clone())
                .await
                .inspect_err(|error| tracing::warn!(%address, %error, "no datagrams: probes use connections"))
                .ok(),
            false => None,
        };
        let shared = Arc::new(Shared {
            me,
            gate: Gate::new(config.half_open_max, config.accepts_per_second),
            bidders: Arc::default(),
            config,
            tls,
            trust,
            hello,
            peers: RwLock::default(),
            listed: RwLock::default(),
            socket,
            inputs,
            metrics,
            closing: watch::channel(false).0,
            next_connection: AtomicU64::new(1),
            away: AtomicBool::new(false),
            main: Handle::current(),
            lobby,
        });
        if let Some(socket) = &shared.socket {
            shared.spawn(socket.clone().run());
        }
        shared.spawn_in_lobby(accept::run(shared.clone(), listener));
        Ok(Links { shared, address })
    }

    /// Where the links listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where strangers are seen through their handshakes; for the site's other servers, too.
    pub fn lobby(&self) -> &Lobby {
        &self.shared.lobby
    }

    /// Replaces the table of peers. A peer that is no longer in it is let go; one with new addresses is dialed
    /// there when its connection is lost.
    pub fn set_peers(&self, table: Vec<PeerAddress>) {
        let me = self.shared.me;
        let table: BTreeMap<_, _> =
            table.into_iter().filter(|peer| peer.site != me).map(|peer| (peer.site, peer)).collect();
        let mut listed = self.shared.listed.write().unwrap_or_else(PoisonError::into_inner);
        for site in listed.keys().filter(|site| !table.contains_key(site)) {
            let peer = self.shared.peer(*site);
            peer.set_addresses(Vec::new());
            peer.break_up(Down::Unlisted);
        }
        for (site, entry) in &table {
            let peer = self.shared.peer(*site);
            peer.set_addresses(entry.addresses.clone());
        }
        self.shared.gate.set_known(table.values().flat_map(|peer| &peer.addresses).map(SocketAddr::ip));
        *listed = table;
    }

    /// Queues a packet, `header` followed by `body`, and rings for the writer. Never blocks. An error queues
    /// nothing.
    #[inline]
    pub fn send(&self, site: SiteId, header: &[u8], body: Bytes) -> Result<(), SendError> {
        self.shared.queue(site, header, body, true)
    }

    /// Begins a batch: packets queued in it leave together when it is dropped.
    pub fn batch(&self) -> Batch<'_> {
        Batch { links: self, touched: Vec::new() }
    }

    /// Sends a probe as a datagram, or through the connection where datagrams are not known to arrive.
    pub fn send_probe(&self, site: SiteId, probe: Bytes) -> Result<Via, SendError> {
        if probe.len() > PACKET_BYTES_MAX {
            return Err(SendError::TooLong(probe.len()));
        }
        let peer = self.shared.known_peer(site).ok_or(SendError::Down)?;
        if peer.probes().is_some_and(|session| session.send(&probe)) {
            self.shared.metrics.probes_by_datagram.count();
            return Ok(Via::Datagram);
        }
        peer.send_probe(probe)?;
        self.shared.metrics.probes_by_link.count();
        Ok(Via::Link)
    }

    /// Breaks the connection with this life of a site, which was found silent. The site is dialed again.
    pub fn disconnect(&self, site: SiteId, incarnation: Incarnation) {
        if let Some(peer) = self.shared.known_peer(site) {
            peer.drop_silent(incarnation);
        }
    }

    /// Dials a site at once, if there is no connection with it and it is this site's to dial.
    pub fn reconnect(&self, site: SiteId) {
        let listed = self.shared.listed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = listed.get(&site) {
            self.shared.peer(peer.site).dial_now();
        }
    }

    /// Breaks every connection whose certificate is not trusted any longer, because it was revoked or its authority
    /// retired. Gives their number.
    pub fn drop_distrusted(&self) -> usize {
        let shared = &self.shared;
        let peers = shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        let distrusted = |certificate: &Certificate| {
            shared.trust.still_trusts(certificate).inspect_err(|why| shared.metrics.refuse(*why)).is_err()
        };
        peers.values().filter(|peer| peer.drop_certified(distrusted)).count()
    }

    /// Replaces every connection that shows an earlier identity of this site by one that shows the present one. Each is
    /// in use until its successor is, so that nothing is down meanwhile; a peer that refuses the new identity keeps the
    /// old connection, and is tried again.
    pub fn refresh(&self) {
        let generation = self.shared.tls.generation();
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().for_each(|peer| peer.refresh(generation));
    }

    /// The certificate that a site has shown on the connection in use.
    pub fn certificate(&self, site: SiteId) -> Option<Certificate> {
        self.shared.known_peer(site)?.certificate()
    }

    /// Why there is no connection with a site, as far as this site's dials tell, and when it was last tried.
    pub fn problem(&self, site: SiteId) -> Option<(SystemTime, String)> {
        self.shared.known_peer(site)?.problem()
    }

    /// The sites with which a connection is in use.
    pub fn linked(&self) -> Vec<SiteId> {
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().filter(|peer| peer.is_up()).map(|peer| peer.site).collect()
    }

    /// Whether a connection with this site is in use.
    pub fn is_up(&self, site: SiteId) -> bool {
        self.shared.known_peer(site).is_some_and(|peer| peer.is_up())
    }

    /// Keeps away from all other sites: ends their connections, and makes and takes none, until it is called with false. Who
    /// dials meanwhile is refused with [`Refusal::NoRoom`], which is no evidence that this site has failed.
    pub fn keep_away(&self, away: bool) {
        let peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        self.shared.away.store(away, Relaxed);
        peers.values().for_each(|peer| peer.set_away(away));
    }

    /// Ends every task and connection.
    pub fn close(&self) {
        let _ = self.shared.closing.send(true);
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().for_each(|peer| {
            peer.set_addresses(Vec::new());
            peer.break_up(Down::Closed);
        });
    }
}

/// Packets that leave together. Dropping it rings for the writers.
pub struct Batch<'a> {
    links: &'a Links,
    touched: Vec<SiteId>,
}

impl Batch<'_> {
    /// As [`Links::send`], without ringing for the writer yet.
    #[inline]
    pub fn send(&mut self, site: SiteId, header: &[u8], body: Bytes) -> Result<(), SendError> {
        self.links.shared.queue(site, header, body, false)?;
        if self.touched.last() != Some(&site) && !self.touched.contains(&site) {
            self.touched.push(site);
        }
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for site in &self.touched {
            if let Some(peer) = self.links.shared.known_peer(*site) {
                peer.wake();
            }
        }
    }
}

impl Shared {
    #[inline]
    fn queue(&self, site: SiteId, header: &[u8], body: Bytes, wake: bool) -> Result<(), SendError> {
        if header.len() + body.len() > PACKET_BYTES_MAX {
            return Err(SendError::TooLong(header.len() + body.len()));
        }
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&site).ok_or(SendError::Down)?.send(header, body, wake)?;
        self.metrics.packets_sent.count();
        Ok(())
    }

    fn known_peer(&self, site: SiteId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&site).cloned()
    }

    /// The peer, made with its dialer if it is new. There are no more than the authority certified.
    fn peer(self: &Arc<Shared>, site: SiteId) -> Arc<Peer> {
        if let Some(peer) = self.known_peer(site) {
            return peer;
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let away = self.away.load(Relaxed);
            let peer = Arc::new(Peer::new(self.me, site, away, self.inputs.clone(), self.metrics.clone()));
            // A handshake that has begun under an earlier identity is not the last one then.
            peer.refresh(self.tls.generation());
            self.spawn(dial::run(self.clone(), peer.clone()));
            peer
        };
        peers.entry(site).or_insert_with(new).clone()
    }

    /// A site has been reached that could not be before: the way to others may be free again, too.
    fn nudge_others(&self, reached: SiteId) {
        let now = Instant::now();
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().filter(|peer| peer.site != reached).for_each(|peer| peer.nudge(now));
    }

    fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Relaxed))
    }

    fn limits(&self) -> Limits {
        Limits { inbound_bytes_max: self.config.inbound_bytes_max, stuck: self.config.write_stuck }
    }

    /// Runs a task until it ends or the links close.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.main.spawn(self.until_closing(task));
    }

    /// The same, where strangers are.
    pub(crate) fn spawn_in_lobby(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lobby.spawn(self.until_closing(task));
    }

    fn until_closing(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut closing = self.closing.subscribe();
        async move {
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => {}
                () = task => {}
            }
        }
    }
}
