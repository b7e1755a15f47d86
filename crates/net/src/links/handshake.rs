//! From a TCP connection to one that can be used: TLS, then Hello, Welcome and Confirm.
//!
//! ```text
//!  dialer    → length, hello
//!  accepter  → length, verdict, rest     0 Welcome: the hello; 1 Busy; 2 Refused: why, for a human;
//!                                          3 Stale: the later life that it has seen, 8 bytes
//!  dialer    → length, "ok"                Confirm: the first packet of the connection itself
//! ```
//!
//! A site that has no number yet says that it bids for one instead of a hello: see [`crate::bids`].

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use wire::{Incarnation, SiteId};

use super::connection::{self, SOCKET_READ_BYTES, Stream, TLS_WRITE_BYTES};
use super::peer::{Answer, CONFIRM, ConnectionId, Established, Peer};
use super::{HelloRefused, Shared};
use crate::Refusal;
use crate::bids;
use crate::cert::{CertError, Certificate, Principal, Role};
use crate::input::Down;
use crate::probe::{Keys, Session};
use crate::shown::Shown;
use crate::socket::Socket;
use crate::tls;
use crate::trust::{Expect, Trust, Verifier};

/// The longest packet of a handshake.
pub(crate) const HELLO_BYTES_MAX: usize = 16 * 1024;

/// What is taken in of a peer's reason to refuse.
const REFUSAL_CHARS_MAX: usize = 200;

pub(crate) const WELCOME: u8 = 0;
const BUSY: u8 = 1;
pub(crate) const REFUSED: u8 = 2;
const STALE: u8 = 3;

/// What both sides of a handshake need.
pub(crate) struct Tls {
    client: ClientConfig,
    trust: Arc<Trust>,
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

impl Tls {
    pub(crate) fn new(shown: &Arc<Shown>, trust: &Arc<Trust>) -> Result<Tls, CertError> {
        let acceptor = tls::accepting(shown, trust, Expect::AnySite)?.into();
        let client = (*tls::connecting(shown, trust, Expect::AnySite)?).clone();
        Ok(Tls { client, trust: trust.clone(), acceptor, shown: shown.clone() })
    }

    /// Of which identity a handshake that begins now is.
    pub(super) fn generation(&self) -> u64 {
        self.shown.generation()
    }

    fn connector(&self, expect: Expect) -> TlsConnector {
        let mut client = self.client.clone();
        let verifier = Verifier { trust: self.trust.clone(), expect };
        client.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(client).into()
    }
}

/// How a handshake ended, if not with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Turned away by one side.
    Refused(Refusal),
    /// Turned away by the peer, which has said why.
    Told(String),
    /// The other site's dial, or another connection, goes first.
    Crossed,
}

impl From<Refusal> for Failure {
    fn from(why: Refusal) -> Failure {
        Failure::Refused(why)
    }
}

impl Shared {
    /// The dialer's side. Gives up if the peer's own connection wins meanwhile.
    pub(super) async fn handshake_out(
        self: &Arc<Shared>,
        peer: &Arc<Peer>,
        id: ConnectionId,
        tcp: TcpStream,
    ) -> Result<(), Failure> {
        let remote = tcp.peer_addr().map_err(|_| Refusal::Abandoned)?;
        let generation = self.tls.generation();
        let connector = self.tls.connector(Expect::Site(peer.site));
        // Sites are named by the URI in their certificate; the name here only fills the argument.
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
        let stream = connector.connect(name, Socket::new(tcp, Some(self.config.write_stuck))).await;
        let mut stream = TlsStream::from(stream.map_err(|error| Refusal::of_io(&error))?);
        let certificate = self.certified(&stream, Expect::Site(peer.site))?;
        if !peer.may_send_hello(id) {
            return Err(Failure::Crossed);
        }
        write(&mut stream, &[&self.hello.ours()]).await?;
        let mut reply = read(&mut stream, HELLO_BYTES_MAX).await?;
        let hello = match reply.first() {
            Some(&WELCOME) => reply.split_off(1),
            Some(&BUSY) => return Err(Failure::Crossed),
            Some(&REFUSED) => {
                let why = String::from_utf8_lossy(&reply[1..]);
                let why = why.chars().filter(|c| !c.is_control()).take(REFUSAL_CHARS_MAX).collect();
                return Err(Failure::Told(why));
            }
            Some(&STALE) => {
                let newest = reply[1..].try_into().map_err(|_| Refusal::BadHello)?;
                let newest = Incarnation(u64::from_le_bytes(newest));
                tracing::warn!(peer = %peer.site, later = newest.0, "the peer has seen a later life of this site");
                peer.told_stale(newest);
                return Err(Refusal::ByPeer.into());
            }
            Some(_) | None => return Err(Refusal::BadHello.into()),
        };
        let (site, incarnation) = self.check_hello(certificate.principal(), &hello)?;
        if site != peer.site {
            return Err(Refusal::WrongSite.into());
        }
        self.establish(peer, stream, Some(remote), Made { id, incarnation, hello, certificate, generation })
    }

    /// The accepter's side.
    pub(super) async fn handshake_in(
        self: &Arc<Shared>,
        id: ConnectionId,
        tcp: TcpStream,
    ) -> Result<(), Failure> {
        let generation = self.tls.generation();
        let stream = self.tls.acceptor.accept(Socket::new(tcp, Some(self.config.write_stuck))).await;
        let mut stream = TlsStream::from(stream.map_err(|error| Refusal::of_io(&error))?);
        let certificate = self.certified(&stream, Expect::AnySite)?;
        let hello = read(&mut stream, HELLO_BYTES_MAX).await?;
        if hello == bids::OPENING {
            // It lasts longer than a handshake may.
            self.spawn_in_lobby(bids::serve(self.clone(), stream, certificate));
            return Ok(());
        }
        let (site, incarnation) = match self.check_hello(certificate.principal(), &hello) {
            Ok(life) => life,
            Err(why) => return refuse(&mut stream, why).await,
        };
        let peer = self.peer(site);
        match peer.answer(id, incarnation) {
            Answer::Welcome => {}
            Answer::Busy => {
                write(&mut stream, &[&[BUSY]]).await?;
                return Err(Failure::Crossed);
            }
            Answer::Away => return refuse(&mut stream, Refusal::NoRoom).await,
            Answer::Stale(newest) => {
                write(&mut stream, &[&[STALE], &newest.0.to_le_bytes()]).await?;
                let _ = stream.shutdown().await;
                return Err(Refusal::StaleIncarnation.into());
            }
        }
        let accepting = Accepting { peer: &peer, id };
        write(&mut stream, &[&[WELCOME], &self.hello.ours()]).await?;
        match read(&mut stream, HELLO_BYTES_MAX).await {
            Ok(confirm) if confirm == CONFIRM => {}
            Ok(_) => return Err(Refusal::BadHello.into()),
            // The dialer's side of a crossed dial goes away without a word.
            Err(_) => return Err(Failure::Crossed),
        }
        let made = Made { id, incarnation, hello, certificate, generation };
        let made = self.establish(&peer, stream, None, made);
        drop(accepting);
        made
    }

    /// As which site a finished handshake has certified the other.
    fn certified(&self, stream: &Stream, expect: Expect) -> Result<Certificate, Refusal> {
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = self.trust.check(certificate.ok_or(Refusal::NoCertificate)?, expect)?;
        match certificate.principal().role {
            // Nobody but this process may speak as this site.
            Role::Site(site) if site == self.me => Err(Refusal::WrongSite),
            Role::Site(_) | Role::NamedSite => Ok(certificate),
            Role::Client | Role::Administrator => Err(Refusal::WrongRole),
        }
    }

    fn check_hello(&self, certified: &Principal, hello: &Bytes) -> Result<(SiteId, Incarnation), Refusal> {
        match (self.hello.check(certified, hello), certified.role) {
            (Ok((says, _)), Role::Site(site)) if says != site => {
                tracing::warn!(certified = %site, %says, "a site speaks as another");
                Err(Refusal::WrongSite)
            }
            (Ok(life), _) => Ok(life),
            (Err(HelloRefused { why, text }), _) => {
                tracing::warn!(peer = certified.name, %text, "a hello is of no use");
                Err(why)
            }
        }
    }

    fn establish(
        self: &Arc<Shared>,
        peer: &Arc<Peer>,
        mut stream: Stream,
        dialed: Option<SocketAddr>,
        made: Made,
    ) -> Result<(), Failure> {
        let socket = match &mut stream {
            TlsStream::Client(stream) => {
                stream.get_mut().1.set_buffer_limit(Some(TLS_WRITE_BYTES));
                stream.get_mut().0
            }
            TlsStream::Server(stream) => {
                stream.get_mut().1.set_buffer_limit(Some(TLS_WRITE_BYTES));
                stream.get_mut().0
            }
        };
        socket.let_in(&self.main, SOCKET_READ_BYTES).map_err(|error| Refusal::of_io(&error))?;
        let probes = self.socket.as_ref().and_then(|socket| {
            let keys =
                Keys::export(dialed.is_some(), |material, label| export(&stream, material, label)).ok()?;
            let remote = dialed.or_else(|| peer.addresses().0.first().copied());
            Some((socket, Session::new(peer.site, keys, remote, socket)))
        });
        let established = Established {
            id: made.id,
            incarnation: made.incarnation,
            hello: made.hello,
            certificate: made.certificate,
            generation: made.generation,
            probes: probes.as_ref().map(|(_, session)| session.clone()),
            queue_bytes_max: self.config.queue_bytes_max,
        };
        let certificate = established.certificate.clone();
        // Before the peer is up: the site's loop runs on another thread and knocks at once, and the answer must find the key.
        if let Some((socket, session)) = &probes {
            socket.register(session);
        }
        let Some(running) = peer.establish(established) else {
            probes.inspect(|(_, session)| session.close());
            return Err(Failure::Crossed);
        };
        // Who it is may have come to be distrusted since the handshake looked, and after the links were gone through.
        if let Err(why) = self.trust.still_trusts(&certificate) {
            peer.down(running.id, Down::Expelled);
            return Err(why.into());
        }
        self.nudge_others(peer.site);
        tracing::info!(peer = %peer.site, incarnation = %made.incarnation, dialed = dialed.is_some(), "connected");
        let (reader, writer) =
            connection::run(stream, peer.clone(), running, self.metrics.clone(), self.limits());
        self.spawn(reader);
        self.spawn(writer);
        Ok(())
    }
}

struct Made {
    id: ConnectionId,
    incarnation: Incarnation,
    hello: Bytes,
    certificate: Certificate,
    generation: u64,
}

/// Gives the peer's dialer its turn again, however the accepter's side ends.
struct Accepting<'a> {
    peer: &'a Peer,
    id: ConnectionId,
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.peer.end_accept(self.id);
    }
}

fn export(stream: &Stream, material: &mut [u8], label: &[u8]) -> Result<(), rustls::Error> {
    match stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material(material, label, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material(material, label, None),
    }
    .map(|_| ())
}

async fn refuse(stream: &mut Stream, why: Refusal) -> Result<(), Failure> {
    write(stream, &[&[REFUSED], why.to_string().as_bytes()]).await?;
    let _ = stream.shutdown().await;
    Err(why.into())
}

pub(crate) async fn write(stream: &mut Stream, parts: &[&[u8]]) -> Result<(), Refusal> {
    let body = parts.concat();
    assert!(body.len() <= HELLO_BYTES_MAX, "a hello is short");
    let packet = [&(body.len() as u32).to_le_bytes()[..], &body].concat();
    let written = async {
        stream.write_all(&packet).await?;
        stream.flush().await
    };
    written.await.map_err(|error| Refusal::of_io(&error))
}

/// Reads one packet and not a byte more: what follows the handshake is the connection's.
pub(crate) async fn read(stream: &mut Stream, bytes_max: usize) -> Result<Bytes, Refusal> {
    let failed = |error| Refusal::of_io(&error);
    let length = stream.read_u32_le().await.map_err(failed)? as usize;
    if length > bytes_max {
        return Err(Refusal::BadHello);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(failed)?;
    Ok(body.into())
}
