//! One session: a writer task, a reader task, and a table of requests that wait for their answers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use wire::session::{
    Answer, Decoder, ErrorCode, Event as Line, Failure, FramingError, FromSite, Hello, Item, LINE_BYTES_MAX,
    Op, Principal, Replies, Reply, ReplyKind, Request, View, encode,
};

use crate::address::{Address, AddressError};
use crate::events::{self, Events, Incoming};

/// The protocol version that this client speaks.
const VERSION: u32 = 1;
/// Requests written and not yet on the wire; more wait in `send`.
const QUEUE_REQUESTS_MAX: usize = 256;

/// Why something could not be done over a session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("no site answers at {address}: {cause}; is it running? (`unanimous up`)")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        cause: io::Error,
    },
    /// Somebody answers there who is no site of the cluster.
    #[error("who answers at {address} is not to be trusted as a site of this cluster: {cause}; check --ca")]
    Untrusted {
        /// Where.
        address: String,
        /// Why not.
        cause: io::Error,
    },
    /// The address can't be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The site refused. The cluster's state is as before the request.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The session is over; whether the last requests were done is not known.
    #[error("the session has ended: {0}")]
    Ended(String),
    /// The site has ended the session for good; any other would, too. Whether the last requests were done is not known.
    #[error("{}", .0.message)]
    Expelled(Failure),
    /// The peer does not speak this protocol, or no common version of it.
    #[error("the peer speaks no session protocol of ours: {0}")]
    Protocol(String),
}

impl From<FramingError> for Error {
    fn from(error: FramingError) -> Error {
        Error::Protocol(error.to_string())
    }
}

/// How to join; the default makes a virtually synchronous group whose primary side lives.
#[derive(Clone, Debug, Default)]
pub struct JoinOptions {
    /// The role to play.
    pub role: Option<String>,
    /// `if-missing`, `must-exist` or `must-create`.
    pub create: Option<String>,
    /// `weak`, `strong` or `virtually-synchronous`.
    pub consistency: Option<String>,
    /// `primary`, `all`, `at-least:N` or `role:R`.
    pub lives: Option<String>,
    /// `same-name`, `never` or `role:R`.
    pub merges: Option<String>,
    /// Milliseconds within which members must take their events when asked; 0: not asked.
    pub probe_ms: u32,
    /// Milliseconds for which changes of membership are gathered.
    pub aggregate_ms: u32,
}

/// The replies to a cast.
#[derive(Clone, Debug)]
pub struct Replied {
    /// Counts and senders.
    pub summary: Reply,
    /// The bodies, in the order of `summary.got`.
    pub bodies: Vec<Bytes>,
    /// The body of the abort reply, if one ended the call.
    pub abort: Option<Bytes>,
}

/// A session with a site. Clones share it; it ends when all of them and the [`Events`] are gone.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
    out: mpsc::Sender<Vec<Bytes>>,
    /// Held until a request has its place in the queue: a channel alone lets who need not wait for room go before who
    /// is about to be given it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Shared {
    hello: Hello,
    process: String,
    principal: Principal,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    answers: BTreeMap<u64, oneshot::Sender<(Answer, Bytes)>>,
    ended: Option<Over>,
}

/// How a session ended.
#[derive(Clone, Debug)]
enum Over {
    Lost(String),
    Expelled(Failure),
}

impl From<Over> for Error {
    fn from(over: Over) -> Error {
        match over {
            Over::Lost(why) => Error::Ended(why),
            Over::Expelled(failure) => Error::Expelled(failure),
        }
    }
}

/// Connects to a site. `client` names the program, for people.
///
/// # Errors
///
/// [`Error::Unreachable`] if nobody answers; [`Error::Refused`] if the principal may not enter;
/// [`Error::Protocol`] if something else answers.
pub async fn connect(address: &Address, client: &str) -> Result<(Session, Events), Error> {
    let unreachable = |cause| Error::Unreachable { address: address.to_string(), cause };
    match address {
        Address::Unix(path) => {
            let stream = connect_unix(path).await.map_err(unreachable)?;
            let (read, write) = stream.into_split();
            start(read, write, client).await
        }
        Address::Tls(tls) => {
            let config = tls.config.clone().ok_or(AddressError::NoCertificate)?;
            let stream = tokio::net::TcpStream::connect(&tls.endpoint).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            let host = tls.endpoint.rsplit_once(':').map_or(tls.endpoint.as_str(), |(host, _)| host);
            let name = rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|_| AddressError::Port(tls.endpoint.clone()))?;
            let shaken = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            let stream = shaken.map_err(|cause| match tls_error(&cause) {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    Error::Untrusted { address: address.to_string(), cause }
                }
                Some(rustls::Error::AlertReceived(_)) => refused_certificate(&cause),
                Some(_) | None => unreachable(cause),
            })?;
            let (read, write) = tokio::io::split(stream);
            start(read, write, client).await
        }
    }
}

/// What TLS has to say about an error of a stream.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// With TLS 1.3 a certificate is refused after the handshake: the first read tells.
fn refused_certificate(alert: &io::Error) -> Error {
    Error::Refused(Failure {
        error: ErrorCode::NotAllowed,
        message: format!(
            "the site refused this certificate ({alert}); it must be a client's or an administrator's, of this \
             cluster, in time and not revoked"
        ),
    })
}

/// Socket paths have a bound of about 100 bytes; a longer one is reached through a descriptor of its folder.
async fn connect_unix(path: &std::path::Path) -> io::Result<tokio::net::UnixStream> {
    const PATH_BYTES_MAX: usize = 100;
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return tokio::net::UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket's path"));
    };
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(folder)?;
    let short = std::path::PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    tokio::net::UnixStream::connect(short).await
}

async fn start<R, W>(mut read: R, write: W, client: &str) -> Result<(Session, Events), Error>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut decoder = Decoder::default();
    let item = next_item(&mut read, &mut decoder).await?;
    let hello = match item.parse::<Line>().map_err(Error::Protocol)? {
        Line::Hello(hello) => hello,
        _ => return Err(Error::Protocol("the first line is no hello".to_owned())),
    };
    if hello.versions.0 > VERSION || hello.versions.1 < VERSION {
        return Err(Error::Protocol(format!(
            "the site speaks versions {} to {}, this program {VERSION}",
            hello.versions.0, hello.versions.1
        )));
    }
    let (out, queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
    tokio::spawn(write_all(write, queue));
    let hello_op = Op::Hello { version: VERSION, client: client.to_owned() };
    let _ = out.send(vec![line_of(&Request { id: 1, op: hello_op, body_len: 0 })]).await;
    let answer: Answer = next_item(&mut read, &mut decoder).await?.parse().map_err(Error::Protocol)?;
    if let Some(failure) = answer.failure {
        return Err(Error::Refused(failure));
    }
    let process = answer.result.get("process").and_then(Value::as_str).unwrap_or_default().to_owned();
    let principal = answer
        .result
        .get("principal")
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or(Principal::Observe);
    let waiting = Mutex::new(Waiting { next_id: 2, ..Waiting::default() });
    let shared = Arc::new(Shared { hello, process, principal, waiting });
    let (incoming, events) = events::queue(out.clone());
    tokio::spawn(read_all(read, decoder, Arc::clone(&shared), incoming));
    Ok((Session { shared, out, turn: Arc::default() }, events))
}

async fn next_item<R: AsyncRead + Unpin>(read: &mut R, decoder: &mut Decoder) -> Result<Item, Error> {
    loop {
        if let Some(item) = decoder.next()? {
            return Ok(item);
        }
        match read.read_buf(decoder.buffer()).await {
            Ok(0) => return Err(Error::Ended("the site closed it".to_owned())),
            Ok(_) => {}
            Err(error) => {
                return Err(match tls_error(&error) {
                    Some(rustls::Error::AlertReceived(_)) => refused_certificate(&error),
                    Some(_) | None => Error::Ended(error.to_string()),
                });
            }
        }
    }
}

async fn write_all<W: AsyncWrite + Unpin>(mut write: W, mut queue: mpsc::Receiver<Vec<Bytes>>) {
    while let Some(pieces) = queue.recv().await {
        for piece in pieces {
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        if queue.is_empty() && write.flush().await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}

async fn read_all<R: AsyncRead + Unpin>(
    mut read: R,
    mut decoder: Decoder,
    shared: Arc<Shared>,
    incoming: Incoming,
) {
    let why = loop {
        let item = match next_item(&mut read, &mut decoder).await {
            Ok(item) => item,
            Err(error) => break error.to_string(),
        };
        match item.parse::<FromSite>() {
            Ok(FromSite::Answer(answer)) => {
                if let Some(waiter) = shared.lock().answers.remove(&answer.re) {
                    let _ = waiter.send((answer, item.body));
                }
            }
            Ok(FromSite::Event(line)) => {
                if let Line::Going { why, error: Some(error) } = &line {
                    shared.end(Over::Expelled(Failure { error: *error, message: why.clone() }));
                }
                if incoming.push(line, item.body).is_err() {
                    break "the program does not take its events".to_owned();
                }
            }
            // An event of a later version: skip it.
            Err(_) => continue,
        }
    };
    shared.end(Over::Lost(why.clone()));
    incoming.end(why);
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic cannot happen while it is held; were it poisoned, its content would still be whole.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was said first stays.
    fn end(&self, over: Over) {
        let mut waiting = self.lock();
        waiting.ended.get_or_insert(over);
        waiting.answers.clear();
    }
}

pub(crate) fn line_of(request: &Request) -> Bytes {
    let mut line = Vec::with_capacity(128);
    encode(request, &mut line);
    line.into()
}

impl Session {
    /// The site's name.
    pub fn site(&self) -> &str {
        &self.shared.hello.site
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &str {
        &self.shared.hello.cluster
    }

    /// This session's process.
    pub fn process(&self) -> &str {
        &self.shared.process
    }

    /// What this session may do.
    pub fn principal(&self) -> Principal {
        self.shared.principal
    }

    /// Makes any request of the protocol and waits for its answer. Cancel-safe: a dropped future forgets the
    /// answer; the request may still be done.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: nothing was done. [`Error::Ended`], [`Error::Expelled`]: it may or may not have been done.
    pub async fn request(&self, op: Op, body: Bytes) -> Result<(Map<String, Value>, Bytes), Error> {
        let (waiter, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.shared.lock();
            if let Some(over) = &waiting.ended {
                return Err(over.clone().into());
            }
            let id = waiting.next_id;
            waiting.next_id += 1;
            waiting.answers.insert(id, waiter);
            id
        };
        let _forget = Forget { shared: &self.shared, id };
        let line = line_of(&Request { id, op, body_len: body.len() });
        if line.len() > LINE_BYTES_MAX {
            let message = format!(
                "a request's line has at most {LINE_BYTES_MAX} bytes, and this one {}; name fewer at once",
                line.len()
            );
            return Err(Error::Refused(Failure { error: ErrorCode::TooLarge, message }));
        }
        let pieces = if body.is_empty() { vec![line] } else { vec![line, body] };
        let closed = || Over::Lost("closed".to_owned());
        let ended = || Error::from(self.shared.lock().ended.clone().unwrap_or_else(closed));
        {
            let _turn = self.turn.lock().await;
            self.out.send(pieces).await.map_err(|_| ended())?;
        }
        let (answer, body) = answer.await.map_err(|_| ended())?;
        match answer.failure {
            Some(failure) => Err(Error::Refused(failure)),
            None => Ok((answer.result, body)),
        }
    }

    /// Joins a group; answers with the member's id once the request is taken. Views follow as events.
    pub async fn join(&self, group: &str, options: JoinOptions) -> Result<String, Error> {
        let op = Op::Join {
            group: group.to_owned(),
            role: options.role,
            create: options.create,
            consistency: options.consistency,
            lives: options.lives,
            merges: options.merges,
            probe_ms: options.probe_ms,
            aggregate_ms: options.aggregate_ms,
        };
        let (result, _) = self.request(op, Bytes::new()).await?;
        Ok(result.get("member").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Leaves a group.
    pub async fn leave(&self, group: &str) -> Result<(), Error> {
        self.request(Op::Leave { group: group.to_owned() }, Bytes::new()).await.map(drop)
    }

    /// Casts one message without waiting for replies.
    pub async fn cast(&self, group: &str, order: &str, payload: Bytes) -> Result<(), Error> {
        let op = cast_op(group, order, Replies::Default, None, Vec::new());
        self.request(op, payload).await.map(drop)
    }

    /// Casts many messages, one after another, in one request.
    pub async fn cast_many(&self, group: &str, order: &str, payloads: &[Bytes]) -> Result<(), Error> {
        let lens: Result<Vec<u32>, _> = payloads.iter().map(|p| u32::try_from(p.len())).collect();
        let lens = lens.map_err(|_| {
            let message = "a message is larger than 64 MiB; split it".to_owned();
            Error::Refused(Failure { error: ErrorCode::TooLarge, message })
        })?;
        let op = cast_op(group, order, Replies::Default, None, lens);
        self.request(op, payloads.concat().into()).await.map(drop)
    }

    /// Casts one message and waits for replies.
    pub async fn call(
        &self,
        group: &str,
        order: &str,
        payload: Bytes,
        replies: Replies,
        timeout: Option<std::time::Duration>,
    ) -> Result<Replied, Error> {
        let timeout_ms = timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        let op = cast_op(group, order, replies, timeout_ms, Vec::new());
        let (mut result, mut rest) = self.request(op, payload).await?;
        let summary = result.remove("replies").unwrap_or(Value::Null);
        let summary: Reply =
            serde_json::from_value(summary).map_err(|error| Error::Protocol(error.to_string()))?;
        let bodies = summary.got.iter().map(|got| rest.split_to(got.body_len.min(rest.len()))).collect();
        let abort = summary.aborted_by.is_some().then_some(rest);
        Ok(Replied { summary, bodies, abort })
    }

    /// Replies to a message that asked for it.
    pub async fn reply(&self, to: &str, kind: ReplyKind, payload: Bytes) -> Result<(), Error> {
        self.request(Op::Reply { to: to.to_owned(), kind }, payload).await.map(drop)
    }

    /// Waits until all own casts to the group are at every member.
    pub async fn flush(&self, group: &str) -> Result<(), Error> {
        self.request(Op::Flush { group: group.to_owned() }, Bytes::new()).await.map(drop)
    }

    /// The cluster as the site sees it: the object of `unanimous status --json`.
    pub async fn status(&self) -> Result<Map<String, Value>, Error> {
        Ok(self.request(Op::Status, Bytes::new()).await?.0)
    }

    /// The groups as the site sees them.
    pub async fn groups(&self) -> Result<Vec<View>, Error> {
        let (mut result, _) = self.request(Op::Groups, Bytes::new()).await?;
        serde_json::from_value(result.remove("groups").unwrap_or(Value::Null))
            .map_err(|error| Error::Protocol(error.to_string()))
    }

    /// One group's view.
    pub async fn view(&self, group: &str) -> Result<View, Error> {
        let (result, _) = self.request(Op::View { group: group.to_owned() }, Bytes::new()).await?;
        serde_json::from_value(Value::Object(result)).map_err(|error| Error::Protocol(error.to_string()))
    }

    /// Follows a group's views from outside: they come as events.
    pub async fn watch(&self, group: &str) -> Result<(), Error> {
        self.request(Op::Watch { group: group.to_owned() }, Bytes::new()).await.map(drop)
    }

    /// Answers a [`Probe`](crate::Probe).
    pub async fn alive(&self, probe: u64) -> Result<(), Error> {
        let line = line_of(&Request { id: 0, op: Op::Alive { probe }, body_len: 0 });
        self.out.send(vec![line]).await.map_err(|_| Error::Ended("closed".to_owned()))
    }

    /// Ends the session in order: memberships are left, not failed.
    pub async fn bye(self) -> Result<(), Error> {
        self.request(Op::Bye, Bytes::new()).await.map(drop)
    }
}

/// Takes a request off the table when its future is dropped or done.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().answers.remove(&self.id);
    }
}

fn cast_op(group: &str, order: &str, replies: Replies, timeout_ms: Option<u64>, lens: Vec<u32>) -> Op {
    Op::Cast {
        group: group.to_owned(),
        order: Some(order.to_owned()),
        safe: false,
        exclude_self: false,
        only: Vec::new(),
        replies,
        timeout_ms,
        lazy_ms: None,
        lens,
    }
}
