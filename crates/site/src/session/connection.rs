//! One session: the greeting, the parts it is made of, and its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use net::cert::Certificate;
use net::{Gate, Refusal, Socket, Trust};
use serde_json::{Map, Value};
use stack::ReplyTo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use wire::ProcessId;
use wire::session::{
    self, Answer, Decoder, ErrorCode, Event, Failure, Hello, Op, Principal, Request, encode,
};

use super::{backup, events, requests, translate};
use crate::handle::{Events, Handle};
use crate::metrics::Metrics;
use crate::outlook::Outlook;

/// What a client may be sent before it grants more: the bytes of messages, and of each message its cost.
const CREDIT_BYTES: u64 = 1 << 20;
/// Answers and events that wait to be written.
const OUT_MAX: usize = 256;
/// Messages that may wait for this session's replies; the oldest is forgotten beyond, and null-replied by time-out.
const TICKETS_MAX: usize = 65_536;
/// So much is written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// Remote connections that may be without a finished handshake; a new one pushes out the oldest.
pub(crate) const HALF_OPEN_MAX: usize = 128;
/// How long a client may take for its handshake and hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// What a session needs to know of its site.
pub struct Site {
    /// The site's loop.
    pub handle: Handle,
    /// Its name.
    pub name: String,
    /// Its cluster, as text.
    pub cluster: String,
    /// The Unix user it runs as.
    pub own_uid: u32,
    /// Other Unix users that may enter.
    pub users: Vec<(u32, Principal)>,
    /// Where sessions that are refused are counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where peers that are refused are counted.
    pub(crate) refusals: Arc<net::Metrics>,
    /// Which certificates are revoked.
    pub(crate) trust: Arc<Trust>,
    /// What is seen of the cluster beside the node.
    pub(crate) outlook: Arc<Outlook>,
    /// Remote connections that have not introduced themselves.
    pub(crate) gate: Gate,
    /// Places for backups that are being fetched.
    pub(crate) backups: Arc<Semaphore>,
}

impl Site {
    /// Checks a remote peer's certificate; who is refused is counted. A peer that only connects holds a place until
    /// others want it.
    pub(super) async fn shake_hands(
        &self,
        acceptor: tokio_rustls::TlsAcceptor,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(tokio_rustls::server::TlsStream<Socket>, Entrant)> {
        let (_place, pushed_out) = self.gate.enter();
        let stream = Socket::new(stream, None);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HELLO_WITHIN, acceptor.accept(stream)) => shaken,
            Ok(()) = pushed_out => {
                self.refusals.refuse(Refusal::HalfOpenLimit);
                return None;
            }
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.refusals.refuse(Refusal::of_io(&error));
                tracing::debug!(%peer, %error, "refused a remote session");
                return None;
            }
            Err(_) => {
                self.refusals.refuse(Refusal::HandshakeTimeout);
                return None;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        let certificate = Certificate::read(certificate.clone()).ok()?;
        let principal = match certificate.principal().role {
            net::cert::Role::Administrator => Principal::Administer,
            net::cert::Role::Client => Principal::Member,
            net::cert::Role::Site(_) | net::cert::Role::NamedSite => Principal::Observe,
        };
        Some((stream, Entrant { principal: Some(principal), certificate: Some(certificate) }))
    }

    /// Returns when the certificate is not trusted any longer; who came without one stays.
    async fn until_distrusted(&self, certificate: Option<&Certificate>) -> Refusal {
        match certificate {
            Some(certificate) => self.trust.until_distrusted(certificate).await,
            None => std::future::pending().await,
        }
    }
}

/// Who has connected.
pub(super) struct Entrant {
    /// What it may do; none: not even enter.
    pub(super) principal: Option<Principal>,
    /// Its certificate, if it has come with one.
    pub(super) certificate: Option<Certificate>,
}

pub(super) struct Connection {
    site: Arc<Site>,
    entrant: Entrant,
}

/// What the parts of a session share.
pub(super) struct Shared {
    pub(super) site: Arc<Site>,
    pub(super) principal: Principal,
    pub(super) process: ProcessId,
    pub(super) out: mpsc::Sender<Vec<Bytes>>,
    pub(super) credit: Credit,
    pub(super) tickets: Mutex<Tickets>,
    pub(super) backup: backup::Slot,
}

/// Messages that may still be sent.
#[derive(Default)]
pub(super) struct Credit {
    bytes: AtomicI64,
    granted: Notify,
}

/// Messages that wait for this session's replies, by the number that the client was given.
#[derive(Default)]
pub(super) struct Tickets {
    last: u64,
    open: BTreeMap<u64, ReplyTo>,
}

/// Why a session ends.
pub(super) enum End {
    /// The client said `bye`.
    InOrder,
    /// It went away, or broke the rules; the line is for it.
    Broken(Option<String>),
    /// Its certificate is not trusted any longer.
    Distrusted(Refusal),
}

impl Connection {
    pub(super) fn new(site: Arc<Site>, entrant: Entrant) -> Connection {
        Connection { site, entrant }
    }

    /// Serves the session to its end. Its process ends with it.
    pub(super) async fn run<R, W>(self, mut read: R, write: W)
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (out, queue) = mpsc::channel(OUT_MAX);
        let mut writer = tokio::spawn(write_all(write, queue));
        let hello = Event::Hello(Hello {
            versions: (1, 1),
            site: self.site.name.clone(),
            cluster: self.site.cluster.clone(),
            feature_level: self.site.outlook.levels.in_force(),
        });
        let _ = out.send(vec![line(&hello)]).await;
        let mut decoder = Decoder::default();
        let greeting = self.greet(&mut read, &mut decoder, &out);
        let greeted = tokio::time::timeout(HELLO_WITHIN, greeting).await;
        if !matches!(greeted, Ok(Some(_))) {
            self.site.metrics.sessions_refused.inc();
        }
        if let Ok(Some((process, mut events, principal))) = greeted {
            let credit = Credit::default();
            credit.grant(CREDIT_BYTES);
            let (site, tickets, backup) = (Arc::clone(&self.site), Mutex::default(), backup::Slot::default());
            let shared =
                Arc::new(Shared { site, principal, process, out: out.clone(), credit, tickets, backup });
            let asking =
                events.take_probes().map(|probes| tokio::spawn(events::ask(Arc::clone(&shared), probes)));
            let passing_on = tokio::spawn(events::pass_on(Arc::clone(&shared), events));
            let end = tokio::select! {
                end = requests::serve(&shared, &mut read, decoder) => end,
                why = self.site.until_distrusted(self.entrant.certificate.as_ref()) => End::Distrusted(why),
            };
            passing_on.abort();
            asking.inspect(|asking| asking.abort());
            match &end {
                End::Broken(Some(why)) => {
                    let _ = out.try_send(vec![line(&Event::Going { why: why.clone(), error: None })]);
                }
                End::Distrusted(why) => {
                    self.site.refusals.refuse(*why);
                    tracing::info!(%process, %why, "a session's certificate is not trusted any longer: it is cut");
                    let why = match why {
                        Refusal::Revoked => "has been revoked",
                        _ => "is of an authority that has been retired",
                    };
                    let why = format!("the certificate of this session {why}; ask for another");
                    // To a client that does not read it can't be said.
                    let _ = out.try_send(vec![line(&Event::Going { why, error: Some(ErrorCode::Revoked) })]);
                }
                End::Broken(None) | End::InOrder => {}
            }
            // The site may have gone first.
            let _ = self.site.handle.close(process, matches!(end, End::InOrder)).await;
        }
        drop(out);
        if tokio::time::timeout(HELLO_WITHIN, &mut writer).await.is_err() {
            // It does not take what is left for it; requests in work may hold the queue open, too.
            writer.abort();
        }
    }

    /// The client's hello and its answer; `None` if it may not enter or is no client.
    async fn greet<R: AsyncRead + Unpin>(
        &self,
        read: &mut R,
        decoder: &mut Decoder,
        out: &mpsc::Sender<Vec<Bytes>>,
    ) -> Option<(ProcessId, Events, Principal)> {
        let answered = match next_item(read, decoder).await {
            Ok(Some(item)) => match item.parse::<Request>() {
                Ok(request) => (request.id, self.enter(request.op).await),
                Err(why) => (0, Err(translate::bad(format!("say hello first: {why}")))),
            },
            Ok(None) => return None,
            Err(why) => (0, Err(translate::bad(why))),
        };
        match answered {
            (id, Ok((process, events, principal))) => {
                let result = object(serde_json::json!({
                    "process": process.to_string(), "principal": principal, "credit": CREDIT_BYTES,
                }));
                let _ = out.send(vec![line(&done(id, result, 0))]).await;
                Some((process, events, principal))
            }
            (id, Err(failure)) => {
                let _ = out.send(vec![line(&failed(id, failure))]).await;
                None
            }
        }
    }

    async fn enter(&self, op: Op) -> Result<(ProcessId, Events, Principal), Failure> {
        let Op::Hello { version, client } = op else { return Err(translate::bad("say hello first")) };
        if version != 1 {
            return Err(translate::bad(format!("version {version} is not spoken here; say 1")));
        }
        let Some(principal) = self.entrant.principal else {
            let why = "this user may not enter; the site's configuration lists who may (site.users)";
            return Err(translate::failure(ErrorCode::NotAllowed, why));
        };
        let (process, events) = self.site.handle.open().await.map_err(|error| translate::refused(&error))?;
        tracing::debug!(%process, client, ?principal, "session");
        Ok((process, events, principal))
    }
}

impl Shared {
    pub(super) async fn answer(&self, answer: Answer, body: Bytes) {
        let line = line(&answer);
        let pieces = if body.is_empty() { vec![line] } else { vec![line, body] };
        // If the client is gone, the reader ends the session.
        let _ = self.out.send(pieces).await;
    }

    /// Whether the session's principal may do what needs this one.
    pub(super) fn may(&self, needed: Principal) -> Result<(), Failure> {
        if self.principal >= needed {
            return Ok(());
        }
        let what = match needed {
            Principal::Observe => "observe",
            Principal::Client => "client",
            Principal::Member => "member",
            Principal::Administer => "administer",
        };
        let why = format!("this needs the principal `{what}`; use another user or certificate");
        Err(translate::failure(ErrorCode::NotAllowed, why))
    }

    /// The number under which the client replies.
    pub(super) fn keep_ticket(&self, ticket: ReplyTo) -> String {
        let mut tickets = self.tickets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tickets.last += 1;
        let number = tickets.last;
        tickets.open.insert(number, ticket);
        if tickets.open.len() > TICKETS_MAX {
            tickets.open.pop_first();
        }
        number.to_string()
    }

    /// The ticket behind a number: each may be used once.
    pub(super) fn take_ticket(&self, number: &str) -> Result<ReplyTo, Failure> {
        let unknown =
            || translate::bad(format!("to: {number:?} is no reply_to of a message that waits for a reply"));
        let number: u64 = number.parse().map_err(|_| unknown())?;
        let mut tickets = self.tickets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tickets.open.remove(&number).ok_or_else(unknown)
    }
}

impl Credit {
    /// Grants beyond any sense are cut, so that the sum can't overflow.
    pub(super) fn grant(&self, bytes: u64) {
        const SENSIBLE_MAX: i64 = 1 << 40;
        let bytes = i64::try_from(bytes).unwrap_or(SENSIBLE_MAX).min(SENSIBLE_MAX);
        let add = |now: i64| Some(now.saturating_add(bytes).min(SENSIBLE_MAX));
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        self.granted.notify_one();
    }

    /// Waits until something is left, then spends; a message larger than the rest makes a debt.
    pub(super) async fn spend(&self, bytes: usize) {
        while self.bytes.load(Ordering::Acquire) <= 0 {
            self.granted.notified().await;
        }
        self.bytes.fetch_sub(bytes as i64, Ordering::AcqRel);
    }
}

/// The next item; `None` at the end of the stream. The error is for the peer.
pub(super) async fn next_item<R: AsyncRead + Unpin>(
    read: &mut R,
    decoder: &mut Decoder,
) -> Result<Option<session::Item>, String> {
    loop {
        match decoder.next() {
            Ok(Some(item)) => return Ok(Some(item)),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        match read.read_buf(decoder.buffer()).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

async fn write_all<W: AsyncWrite + Unpin>(mut write: W, mut queue: mpsc::Receiver<Vec<Bytes>>) {
    let mut buffer = Vec::new();
    while let Some(pieces) = queue.recv().await {
        pieces.iter().for_each(|piece| buffer.extend_from_slice(piece));
        while buffer.len() < WRITE_BYTES
            && let Ok(more) = queue.try_recv()
        {
            more.iter().for_each(|piece| buffer.extend_from_slice(piece));
        }
        if write.write_all(&buffer).await.is_err() || write.flush().await.is_err() {
            return;
        }
        buffer.clear();
        buffer.shrink_to(4 * WRITE_BYTES);
    }
    let _ = write.shutdown().await;
}

pub(super) fn line<T: serde::Serialize>(header: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    encode(header, &mut out);
    out.into()
}

pub(super) fn done(re: u64, mut result: Map<String, Value>, body_len: usize) -> Answer {
    result.insert("ok".to_owned(), Value::Bool(true));
    Answer { re, failure: None, result, body_len }
}

pub(super) fn failed(re: u64, failure: Failure) -> Answer {
    Answer { re, failure: Some(failure), result: Map::new(), body_len: 0 }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
