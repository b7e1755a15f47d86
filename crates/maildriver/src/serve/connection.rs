//! One mail program's connection: a socket, and the protocol machine that it drives.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mail::Change;
use net::links::gate::Place;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::oneshot;
use tokio_rustls::server::TlsStream;
use wire::Time;

use super::listen::Doors;
use crate::imap::{Answer, Config, Peer, Request, Session, Ticket};
use crate::logins::Logins;
use crate::service::{Mail, MailError};

/// What is read at once, and may wait to be taken.
const READ_BYTES: usize = 16 << 10;
/// What is written at once.
const WRITE_BYTES: usize = 16 << 10;
/// A client that does not take that in so long is cut off.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// A connection, with or without TLS.
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A request of the session's under way.
type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub(super) struct Connection<'a> {
    doors: &'a Doors,
    stream: Stream,
    session: Session,
    began: Instant,
    changes: Receiver<Arc<Change>>,
    /// Read, and not taken by the session.
    unread: Vec<u8>,
    asking: Option<(Ticket, Asking)>,
}

/// What has happened.
enum Happened {
    Answer(Ticket, Answer),
    Read(io::Result<usize>),
    Change,
    Time,
    PushedOut,
}

/// What the session wants next.
enum Wants {
    /// Something has to happen first.
    Wait,
    /// TLS, and then the answer to this.
    Tls(Ticket),
    End,
}

impl<'a> Connection<'a> {
    #[allow(clippy::disallowed_methods, reason = "connections have time-outs, and a clock for them")]
    pub(super) fn new(doors: &'a Doors, stream: Stream, config: Config, peer: Peer) -> Connection<'a> {
        Connection {
            doors,
            stream,
            session: Session::new(config, peer, Time::ZERO),
            began: Instant::now(),
            changes: doors.mail.changes(),
            unread: Vec::new(),
            asking: None,
        }
    }

    /// Serves it to its end. `place` is one among those that have not logged in.
    pub(super) async fn run(mut self, place: Place<'_>, mut pushed_out: oneshot::Receiver<()>) {
        let mut place = Some(place);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match self.go_on().await {
                Ok(Wants::Wait) => {}
                Ok(Wants::Tls(ticket)) => match self.secure(ticket).await {
                    Some(secured) => {
                        self = secured;
                        continue;
                    }
                    None => return,
                },
                Ok(Wants::End) => {
                    let _ = tokio::time::timeout(WRITTEN_WITHIN, self.stream.shutdown()).await;
                    return;
                }
                Err(_) => return,
            }
            if self.session.user().is_some() {
                place = None;
            }
            match self.next(&mut buffer, place.is_some(), &mut pushed_out).await {
                Happened::Answer(ticket, answer) => {
                    self.asking = None;
                    let now = self.now();
                    self.session.handle_answer(now, ticket, answer);
                }
                Happened::Read(Ok(0) | Err(_)) | Happened::PushedOut => return,
                Happened::Read(Ok(read)) => self.unread.extend_from_slice(&buffer[..read]),
                Happened::Change => {}
                Happened::Time => {
                    let now = self.now();
                    self.session.handle_timeout(now);
                }
            }
        }
    }

    /// Lets the session do whatever it can, and writes what it says.
    async fn go_on(&mut self) -> io::Result<Wants> {
        loop {
            let now = self.now();
            let taken = self.session.handle_bytes(now, &self.unread);
            self.unread.drain(..taken);
            // The state can go only with the site.
            let Ok(state) = self.doors.mail.view() else { return Ok(Wants::End) };
            self.session.advance(now, &state);
            drop(state);
            let mut wrote = false;
            while let Some(bytes) = self.session.poll_output() {
                self.write(&bytes).await?;
                wrote = true;
            }
            match self.session.poll_request() {
                Some((ticket, Request::StartTls)) => return Ok(Wants::Tls(ticket)),
                Some((ticket, request)) => {
                    let (mail, logins) = (self.doors.mail.clone(), self.doors.logins.clone());
                    self.asking = Some((ticket, Box::pin(answer(mail, logins, request))));
                }
                None if self.session.is_closed() => return Ok(Wants::End),
                None if taken == 0 && !wrote => return Ok(Wants::Wait),
                None => {}
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Who takes a letter slowly takes it; who takes nothing is cut off.
        for piece in bytes.chunks(WRITE_BYTES) {
            let writing = async {
                self.stream.write_all(piece).await?;
                self.stream.flush().await
            };
            tokio::time::timeout(WRITTEN_WITHIN, writing).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        Ok(())
    }

    /// Waits for whatever comes first. Without room for more, nothing is read: the client feels it.
    async fn next(
        &mut self,
        buffer: &mut [u8],
        half_open: bool,
        pushed_out: &mut oneshot::Receiver<()>,
    ) -> Happened {
        let reads = self.unread.len() < READ_BYTES && self.session.takes_bytes();
        let due = self.session.poll_timeout().map(|at| self.began + at.since(Time::ZERO));
        let Connection { stream, session, changes, asking, .. } = self;
        tokio::select! {
            (ticket, answer) = answered(asking) => Happened::Answer(ticket, answer),
            read = stream.read(buffer), if reads => Happened::Read(read),
            () = concerning(changes, session) => Happened::Change,
            () = until(due) => Happened::Time,
            Ok(()) = pushed_out, if half_open => Happened::PushedOut,
        }
    }

    /// Begins TLS. What the client has sent in clear behind its request is dropped.
    async fn secure(mut self, ticket: Ticket) -> Option<Connection<'a>> {
        self.unread.clear();
        let Stream::Clear(stream) = self.stream else { return None };
        self.stream = self.doors.shake_hands(stream).await?;
        let now = self.began.elapsed();
        self.session.handle_answer(Time::ZERO + now, ticket, Answer::Secured);
        Some(self)
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }
}

/// The answer to the request under way; never, if there is none.
async fn answered(asking: &mut Option<(Ticket, Asking)>) -> (Ticket, Answer) {
    match asking {
        Some((ticket, asking)) => (*ticket, asking.await),
        None => std::future::pending().await,
    }
}

/// Returns when there is news for the session.
async fn concerning(changes: &mut Receiver<Arc<Change>>, session: &Session) {
    loop {
        match changes.recv().await {
            Ok(change) if session.concerns(&change) => return,
            Ok(_) => {}
            // It is behind: it looks at everything that it shows.
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Does what a session asks for.
async fn answer(mail: Mail, logins: Logins, request: Request) -> Answer {
    let answered = match request {
        Request::Authenticate { user, password } => {
            let found = logins.check(&mail, &user, password).await;
            found.map(|user| user.map_or(Answer::LoginRefused, Answer::LoggedIn))
        }
        // It is not offered.
        Request::Sasl { .. } => Ok(Answer::LoginRefused),
        // The connection begins TLS by itself; and nobody asks here who sent a letter.
        Request::StartTls | Request::Verify(_) => Ok(Answer::Unavailable),
        Request::Barrier => mail.reach().await.map(|_| Answer::Reached),
        Request::Letter(position) => {
            let letter = mail.letter(position).await;
            letter.map(|letter| letter.map_or(Answer::Unavailable, Answer::Letter))
        }
        Request::Propose(entry) => mail.propose(&entry).await.map(Answer::Applied),
    };
    answered.unwrap_or_else(|error: MailError| {
        tracing::debug!(%error, "a mail program's request could not be done");
        Answer::Unavailable
    })
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_read(cx, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
