//! Accepting mail programs and mail servers: so many at once, so many from one address, and few that nobody knows.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail::{Command, Entry, Principal};
use net::Gate;
use site::MailConfig;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use wire::Time;

use super::connection::{Connection, HalfOpen, half_open_ends};
use super::news::News;
use super::online::Online;
use super::passwords::Passwords;
use super::room::Room;
use super::speaker::Speaker;
use super::stream::Stream;
use crate::edge::Peer;
use crate::imap;
use crate::login::Rates;
use crate::service::{LETTER_BYTES_MAX, Mail};
use crate::smtp::limits::{RECIPIENTS_BYTES_MAX, RECIPIENTS_MAX, TRACE_BYTES_MAX};
use crate::smtp::{self, Mode};
use crate::verify::Verifier;

/// Connections that have not logged in; a new one pushes out the oldest.
const HALF_OPEN_MAX: usize = 256;
/// How long a client may take for its part of a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is sent to it for so long is cut off.
const STUCK: Duration = Duration::from_secs(60);
/// Long letters in memory at once, of connections that are let in, and of strangers'. Each is there up to three times: as it
/// came, as it is composed, and as an entry.
const LETTERS_MAX: usize = 32;
const STRANGERS_LETTERS_MAX: usize = 16;
/// The longest letter that comes by SMTP: with its recipients and what is put in front of it, it fits into an entry.
const SMTP_LETTER_BYTES_MAX: usize = LETTER_BYTES_MAX - TRACE_BYTES_MAX - RECIPIENTS_BYTES_MAX;

/// What is spoken at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Imap,
    Smtp(Mode),
}

/// How a listener's connections begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    protocol: Protocol,
    /// With TLS from the first byte; else it may be begun.
    tls: bool,
}

/// What all listeners share.
pub(super) struct Doors {
    pub(super) mail: Mail,
    pub(super) passwords: Passwords,
    pub(super) verifier: Verifier,
    /// Who has logged in.
    pub(super) online: Arc<Online>,
    tls: Option<TlsAcceptor>,
    host: String,
    trial: bool,
    scram: bool,
    /// Those that have not logged in.
    gate: Gate,
    places: Arc<Semaphore>,
    room: Arc<Room>,
    /// Other people's mail servers: they never log in, and what they do to each other is nothing to users.
    strangers: Gate,
    strangers_places: Arc<Semaphore>,
    strangers_room: Arc<Room>,
    of_one_max: usize,
    rates: Mutex<Rates>,
    began: Instant,
    from: Mutex<BTreeMap<(bool, IpAddr), usize>>,
    pub(super) news: Arc<News>,
}

/// A connection of an address, counted until this is dropped.
struct Counted<'a> {
    doors: &'a Doors,
    from: (bool, IpAddr),
}

impl Door {
    /// A site's listeners: what each is called, where it is, and what it serves.
    pub(super) fn all(settings: &MailConfig) -> Vec<(&'static str, SocketAddr, Door)> {
        let door = |protocol, tls| Door { protocol, tls };
        let all = [
            ("imap", settings.imap, door(Protocol::Imap, false)),
            ("imaps", settings.imaps, door(Protocol::Imap, true)),
            ("smtp", settings.smtp, door(Protocol::Smtp(Mode::Inbound), false)),
            ("submission", settings.submission, door(Protocol::Smtp(Mode::Submission), false)),
            ("submissions", settings.submissions, door(Protocol::Smtp(Mode::Submission), true)),
            ("lmtp", settings.lmtp, door(Protocol::Smtp(Mode::Lmtp), false)),
        ];
        all.into_iter().filter_map(|(what, address, door)| Some((what, address?, door))).collect()
    }

    /// Whether anybody in the world may send letters here.
    fn is_for_strangers(self) -> bool {
        self.protocol == Protocol::Smtp(Mode::Inbound)
    }

    /// A line that says why a connection ends before it has begun.
    fn farewell(self, why: &str) -> String {
        match self.protocol {
            Protocol::Imap => format!("* BYE {why}\r\n"),
            Protocol::Smtp(_) => format!("421 4.3.2 {why}\r\n"),
        }
    }
}

impl Doors {
    #[allow(clippy::disallowed_methods, reason = "what may come in an hour needs a clock")]
    pub(super) fn new(
        mail: Mail,
        passwords: Passwords,
        verifier: Verifier,
        online: Arc<Online>,
        settings: &MailConfig,
        host: String,
        tls: Option<TlsAcceptor>,
    ) -> Doors {
        let strangers = (settings.connections / 4).max(1);
        Doors {
            mail,
            passwords,
            verifier,
            online,
            tls,
            host,
            trial: settings.trial,
            scram: settings.scram,
            gate: Gate::new(HALF_OPEN_MAX, u32::MAX),
            places: Arc::new(Semaphore::new(settings.connections.max(1))),
            room: Room::new(LETTERS_MAX),
            strangers: Gate::new(strangers, u32::MAX),
            // One that is pushed out may take a moment to go.
            strangers_places: Arc::new(Semaphore::new(2 * strangers)),
            strangers_room: Room::new(STRANGERS_LETTERS_MAX),
            of_one_max: settings.connections_of_one.max(1),
            rates: Mutex::new(Rates::new(settings.recipients_per_hour, settings.letters_per_hour_of_one)),
            began: Instant::now(),
            from: Mutex::default(),
            news: Arc::default(),
        }
    }

    /// Whether what a client wants to propose may come: of a letter that a user sends, or that comes from a stranger who is not on this
    /// machine, it is counted. What is deleted, moved or appended is no letter to anybody.
    pub(super) fn may_send(&self, entry: &Entry, from: IpAddr, is_stranger: bool) -> bool {
        let head = entry.head();
        let Command::Deliver(deliver) = &head.command else { return true };
        let now = Time::ZERO + self.began.elapsed();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        match head.by {
            Principal::User(user) => rates.user_may_send(now, user, deliver.recipients.len()),
            Principal::Outside if is_stranger && !from.is_loopback() => rates.stranger_may_send(now, from),
            Principal::Outside | Principal::Operator | Principal::Site => true,
        }
    }

    /// Tells connections of what changes, until the site ends.
    pub(super) fn follow(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.news).follow(self.mail.changes())
    }

    /// Serves a listener until it fails. While all places are taken, more connections wait to be accepted.
    pub(super) async fn serve(self: Arc<Doors>, listener: TcpListener, door: Door) {
        let places = if door.is_for_strangers() { &self.strangers_places } else { &self.places };
        loop {
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
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
        let from = peer.ip().to_canonical();
        let Some(_counted) = self.count(door, from) else {
            if !door.tls {
                let _ = stream.try_write(door.farewell("Too many connections from your address").as_bytes());
            }
            return;
        };
        // Refinements; a connection works without them.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STUCK));
        if self.mail.view().is_err() {
            if !door.tls {
                let why = "Mail is not ready at this site yet; try again";
                let _ = stream.write_all(door.farewell(why).as_bytes()).await;
            }
            return;
        }
        let mut half_open = self.half_open(door);
        let stream = match door.tls {
            false => Stream::Clear(stream),
            true => match self.shake_hands_within(stream, half_open.as_mut()).await {
                Some(stream) => stream,
                None => return,
            },
        };
        let known = Peer { tls: door.tls, loopback: from.is_loopback() };
        let room = if door.is_for_strangers() { &self.strangers_room } else { &self.room };
        let speaker = self.speaker(door.protocol, known, from);
        Connection::new(self, stream, from, speaker, Arc::clone(room)).run(half_open).await;
    }

    /// A place among those that nobody knows; servers of ours need none.
    fn half_open(&self, door: Door) -> Option<HalfOpen<'_>> {
        match door.protocol {
            Protocol::Imap | Protocol::Smtp(Mode::Submission) => Some(self.gate.enter()),
            Protocol::Smtp(Mode::Inbound) => Some(self.strangers.enter()),
            Protocol::Smtp(Mode::Lmtp) => None,
        }
    }

    fn speaker(&self, protocol: Protocol, peer: Peer, from: IpAddr) -> Speaker {
        let (starttls, trial, scram) = (self.tls.is_some(), self.trial, self.scram);
        match protocol {
            Protocol::Imap => {
                let config = imap::Config { letter_bytes_max: LETTER_BYTES_MAX, starttls, trial, scram };
                Speaker::Imap(Box::new(imap::Session::new(config, peer, Time::ZERO)))
            }
            Protocol::Smtp(mode) => {
                let config = smtp::Config {
                    letter_bytes_max: SMTP_LETTER_BYTES_MAX,
                    // A server of ours has made one letter of what may be for everybody here.
                    recipients_max: match mode {
                        Mode::Lmtp => mail::limits::RECIPIENTS_MAX,
                        Mode::Submission | Mode::Inbound => RECIPIENTS_MAX,
                    },
                    starttls,
                    trial,
                    scram,
                    ..smtp::Config::new(mode, &self.host)
                };
                Speaker::Smtp(Box::new(smtp::Session::new(config, peer, Some(from), Time::ZERO)))
            }
        }
    }

    /// The same, unless its place is needed meanwhile.
    async fn shake_hands_within(
        &self,
        stream: TcpStream,
        half_open: Option<&mut HalfOpen<'_>>,
    ) -> Option<Stream> {
        tokio::select! {
            shaken = self.shake_hands(stream) => shaken,
            () = half_open_ends(half_open) => None,
        }
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

    /// Of one address so many are let in to each of both: it may be that of our own mail server and of its users.
    fn count(&self, door: Door, from: IpAddr) -> Option<Counted<'_>> {
        let from = (door.is_for_strangers(), from);
        let mut all = self.counts();
        let count = all.entry(from).or_default();
        if *count >= self.of_one_max {
            return None;
        }
        *count += 1;
        Some(Counted { doors: self, from })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(bool, IpAddr), usize>> {
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
