//! One client's connection: a socket, and the protocol machine that it drives.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use net::links::gate::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use wire::Time;

use super::listen::Doors;
use super::news::Listening;
use super::online::{Login, Present};
use super::passwords::Passwords;
use super::room::{Held, Room, SMALL};
use super::speaker::Speaker;
use super::stream::Stream;
use crate::edge::{Answer, Request, Ticket};
use crate::login::Exchange;
use crate::service::{Mail, MailError, Taken, now as clock};
use crate::verify::Verifier;

/// What is read at once, and may wait to be taken.
const READ_BYTES: usize = 16 << 10;
/// What is written at once.
const WRITE_BYTES: usize = 16 << 10;
/// A client that does not take that in so long is cut off.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// A request of the session's under way: its answer, and the place of a long letter.
type Asking = Pin<Box<dyn Future<Output = (Answer, Option<Held>)> + Send>>;

/// A place for a long letter that is waited for.
type Entering = Pin<Box<dyn Future<Output = Held> + Send>>;

pub(super) struct Connection<'a> {
    doors: &'a Doors,
    stream: Stream,
    from: IpAddr,
    speaker: Speaker,
    /// Shared with the request that is under way.
    exchange: Arc<Mutex<Exchange>>,
    began: Instant,
    /// Who has logged in is seen at this site until the connection ends.
    present: Option<Present<'a>>,
    listening: Listening,
    /// Read, and not taken by the session.
    unread: Vec<u8>,
    asking: Option<(Ticket, Asking)>,
    room: Arc<Room>,
    /// Its place for a long letter.
    held: Option<Held>,
    /// Waits for one; until then nothing is read.
    entering: Option<Entering>,
}

/// What has happened.
enum Happened {
    Answer(Ticket, Answer, Option<Held>),
    Room(Held),
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

/// A place among those that nobody knows yet, and who hears that it is needed.
pub(super) type HalfOpen<'a> = (Place<'a>, oneshot::Receiver<()>);

impl<'a> Connection<'a> {
    #[allow(clippy::disallowed_methods, reason = "connections have time-outs, and a clock for them")]
    pub(super) fn new(
        doors: &'a Doors,
        stream: Stream,
        from: IpAddr,
        speaker: Speaker,
        room: Arc<Room>,
    ) -> Connection<'a> {
        Connection {
            doors,
            stream,
            from,
            speaker,
            exchange: Arc::default(),
            began: Instant::now(),
            present: None,
            listening: doors.news.listen(),
            unread: Vec::new(),
            asking: None,
            room,
            held: None,
            entering: None,
        }
    }

    /// Serves it to its end. `half_open` is given back once somebody has logged in.
    pub(super) async fn run(mut self, mut half_open: Option<HalfOpen<'_>>) {
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
            if self.speaker.user().is_some() {
                half_open = None;
            }
            match self.next(&mut buffer, half_open.as_mut()).await {
                Happened::Answer(ticket, answer, held) => {
                    self.asking = None;
                    self.held = held.or(self.held.take());
                    let now = self.now();
                    self.speaker.handle_answer(now, ticket, answer);
                }
                Happened::Room(held) => {
                    self.entering = None;
                    self.held = Some(held);
                }
                Happened::Read(Ok(0) | Err(_)) | Happened::PushedOut => return,
                Happened::Read(Ok(read)) => self.unread.extend_from_slice(&buffer[..read]),
                Happened::Change => {}
                Happened::Time => {
                    let now = self.now();
                    self.speaker.handle_timeout(now);
                }
            }
        }
    }

    /// Lets the session do whatever it can, and writes what it says.
    async fn go_on(&mut self) -> io::Result<Wants> {
        loop {
            let now = self.now();
            let taken = self.speaker.handle_bytes(now, &self.unread);
            self.unread.drain(..taken);
            // The state can go only with the site.
            let Ok(sight) = self.doors.mail.sight(self.speaker.reader()) else { return Ok(Wants::End) };
            self.speaker.advance(now, &sight);
            drop(sight);
            self.look_at_login();
            let hears_more = self.listening.wants(self.speaker.interest());
            let mut wrote = false;
            while let Some(bytes) = self.speaker.poll_output() {
                self.write(&bytes).await?;
                wrote = true;
            }
            match self.speaker.poll_request() {
                Some((ticket, Request::StartTls)) => return Ok(Wants::Tls(ticket)),
                Some((ticket, request)) => self.asks(ticket, request),
                None if self.speaker.is_closed() => return Ok(Wants::End),
                None if taken == 0 && !wrote && !hears_more => {
                    self.look_at_room();
                    return Ok(Wants::Wait);
                }
                None => {}
            }
        }
    }

    /// Takes a place for what is in memory, or gives it back. Nothing waits to be written.
    fn look_at_room(&mut self) {
        if self.asking.is_some() {
            return;
        }
        let needs = self.speaker.memory_bytes() > SMALL;
        if !needs {
            (self.held, self.entering) = (None, None);
        } else if self.held.is_none() && self.entering.is_none() {
            self.entering = Some(Box::pin(Arc::clone(&self.room).enter()));
        }
    }

    /// Begins what the session asks for.
    fn asks(&mut self, ticket: Ticket, request: Request) {
        if let Request::Propose(entry) = &request
            && !self.doors.may_send(entry, self.from, self.speaker.is_for_strangers())
        {
            let now = self.now();
            return self.speaker.handle_answer(now, ticket, Answer::TooMuch);
        }
        // A long letter that is read has its place before it is in memory.
        let long = match &request {
            Request::Letter(position) => self.doors.mail.sight(self.speaker.reader()).is_ok_and(|sight| {
                sight.state.letter(*position).is_some_and(|letter| letter.bytes as usize > SMALL)
            }),
            _ => false,
        };
        let room = (long && self.held.is_none()).then(|| Arc::clone(&self.room));
        let answering = Answering {
            mail: self.doors.mail.clone(),
            passwords: self.doors.passwords.clone(),
            verifier: self.doors.verifier.clone(),
            exchange: Arc::clone(&self.exchange),
            from: self.from,
            reads: self.speaker.reader().is_some(),
        };
        let asking = async move {
            let held = match room {
                Some(room) => Some(room.enter().await),
                None => None,
            };
            (answering.answer(request).await, held)
        };
        self.asking = Some((ticket, Box::pin(asking)));
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Who takes a letter slowly takes it, while nobody waits for its place; who takes nothing is cut off.
        for piece in bytes.chunks(WRITE_BYTES) {
            let (stream, held) = (&mut self.stream, &mut self.held);
            let writing = async {
                stream.write_all(piece).await?;
                stream.flush().await
            };
            tokio::select! {
                written = tokio::time::timeout(WRITTEN_WITHIN, writing) => {
                    written.map_err(|_| io::ErrorKind::TimedOut)??;
                }
                () = pushed_out(held) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(())
    }

    /// Waits for whatever comes first. Without room for more, nothing is read: the client feels it.
    async fn next(&mut self, buffer: &mut [u8], half_open: Option<&mut HalfOpen<'_>>) -> Happened {
        let reads = self.unread.len() < READ_BYTES && self.entering.is_none() && self.speaker.takes_bytes();
        let due = self.speaker.poll_timeout().map(|at| self.began + at.since(Time::ZERO));
        let Connection { stream, listening, asking, held, entering, .. } = self;
        // What is under way goes on: a letter that is proposed is a matter of a moment.
        let waits = asking.is_none();
        tokio::select! {
            (ticket, (answer, held)) = answered(asking) => Happened::Answer(ticket, answer, held),
            held = entered(entering) => Happened::Room(held),
            read = stream.read(buffer), if reads => Happened::Read(read),
            () = listening.news() => Happened::Change,
            () = until(due) => Happened::Time,
            () = pushed_out(held), if waits => Happened::PushedOut,
            () = half_open_ends(half_open) => Happened::PushedOut,
        }
    }

    /// Begins TLS. What the client has sent in clear behind its request is dropped.
    async fn secure(mut self, ticket: Ticket) -> Option<Connection<'a>> {
        self.unread.clear();
        let Stream::Clear(stream) = self.stream else { return None };
        self.stream = self.doors.shake_hands(stream).await?;
        let now = self.began.elapsed();
        self.speaker.handle_answer(Time::ZERO + now, ticket, Answer::Secured);
        Some(self)
    }

    /// Lets it be seen who has logged in, before that is answered.
    fn look_at_login(&mut self) {
        if let (None, Some(user)) = (&self.present, self.speaker.user()) {
            let (protocol, tls) = (self.speaker.protocol(), matches!(self.stream, Stream::Tls(_)));
            let login = Login { user, protocol, tls, from: self.from, since: clock() };
            self.present = Some(self.doors.online.enter(login));
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }
}

/// The answer to the request under way; never, if there is none.
async fn answered(asking: &mut Option<(Ticket, Asking)>) -> (Ticket, (Answer, Option<Held>)) {
    match asking {
        Some((ticket, asking)) => (*ticket, asking.await),
        None => std::future::pending().await,
    }
}

async fn entered(entering: &mut Option<Entering>) -> Held {
    match entering {
        Some(entering) => entering.await,
        None => std::future::pending().await,
    }
}

/// Returns when the place for a long letter is needed; never, if there is none.
async fn pushed_out(held: &mut Option<Held>) {
    match held {
        Some(held) => held.pushed_out().await,
        None => std::future::pending().await,
    }
}

/// Returns when a place among those that nobody knows is needed; never, if there is none.
pub(super) async fn half_open_ends(half_open: Option<&mut HalfOpen<'_>>) {
    if let Some((_, pushed_out)) = half_open
        && pushed_out.await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What a session's requests are answered from.
struct Answering {
    mail: Mail,
    passwords: Passwords,
    verifier: Verifier,
    exchange: Arc<Mutex<Exchange>>,
    from: IpAddr,
    /// Who reads is served what the site has where there is no majority.
    reads: bool,
}

impl Answering {
    /// Does what a session asks for.
    async fn answer(&self, request: Request) -> Answer {
        self.run(request).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a mail program's request could not be done");
            Answer::Unavailable
        })
    }

    async fn run(&self, request: Request) -> Result<Answer, MailError> {
        let Answering { mail, passwords, .. } = self;
        match request {
            Request::Authenticate { user, password } => {
                passwords.check(mail, self.from, &user, &password).await
            }
            Request::Sasl { message, first, .. } => {
                passwords.scram(mail, self.from, &self.exchange, &message, first).await
            }
            Request::Barrier if self.reads => mail.look().await.map(|()| Answer::Reached),
            Request::Barrier => mail.reach().await.map(|_| Answer::Reached),
            Request::Letter(position) => {
                let letter = mail.letter(position).await?;
                Ok(letter.map_or(Answer::Unavailable, Answer::Letter))
            }
            // It is on most disks, and applied here, when this answers; or held here.
            Request::Propose(entry) => Ok(match mail.take(entry).await? {
                Taken::Applied(outcome) => Answer::Applied(outcome),
                Taken::Held(receipts) => Answer::Held(receipts),
            }),
            // If nobody tries, the letter says so.
            Request::Verify(asked) => {
                Ok(self.verifier.verify(asked).await.map_or(Answer::Unavailable, Answer::Verified))
            }
            // This the connection does itself.
            Request::StartTls => Ok(Answer::Unavailable),
        }
    }
}
