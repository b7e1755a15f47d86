//! The session: what its driver sees, and the order in which commands run.

use std::net::IpAddr;

use bytes::Bytes;
use mail::{EntryTime, State, UserId};
use wire::Time;

use super::command::Hello;
use super::envelope::Transaction;
use super::input::{Body, Input, Reader};
use super::limits::{
    ANSWER_TIME, ERRORS_MAX, ERRORS_MAX_LMTP, LETTER_TIME, OUTPUT_BYTES_HIGH, RECIPIENTS_MAX, SILENCE,
    SILENCE_BEFORE_LOGIN, TRACE_BYTES_MAX,
};
use super::reply::Reply;
use super::run::Task;
use crate::edge::{Answer, Peer, Request, Ticket};

/// Who is at the other end, and so what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A user's program: logs in, and writes from the user's own addresses.
    Submission,
    /// A mail server of ours: hands over letters for our users, and is answered for each recipient (RFC 2033).
    Lmtp,
    /// Anybody's mail server: letters for our users and for nobody else.
    Inbound,
}

/// What a site's operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is served here.
    pub mode: Mode,
    /// The site's host name: in the greeting, in `Received:`, and as what `Authentication-Results:` are signed with.
    pub name: String,
    /// The longest letter in bytes. It is told to clients, and is at most `mail::limits::LETTER_BYTES_MAX` less
    /// [`TRACE_BYTES_MAX`].
    pub letter_bytes_max: usize,
    /// Recipients of one letter; at most `mail::limits::RECIPIENTS_MAX`.
    pub recipients_max: usize,
    /// Whether STARTTLS is offered to connections without TLS.
    pub starttls: bool,
    /// A trial: passwords are taken without TLS from this machine.
    pub trial: bool,
    /// Whether senders of letters from outside are verified.
    pub verifies: bool,
    /// Whether SCRAM-SHA-256 is offered: many programs prefer it, and only application passwords can be used with it.
    pub scram: bool,
}

impl Config {
    /// A site of this name, with the bounds of the protocol's edge.
    pub fn new(mode: Mode, name: &str) -> Config {
        Config {
            mode,
            name: name.to_owned(),
            letter_bytes_max: mail::limits::LETTER_BYTES_MAX - TRACE_BYTES_MAX,
            recipients_max: RECIPIENTS_MAX,
            starttls: true,
            trial: false,
            verifies: true,
            scram: true,
        }
    }
}

/// One client's connection, from the greeting to the end.
///
/// Give it what comes: [`handle_bytes`](Session::handle_bytes), [`handle_answer`](Session::handle_answer),
/// [`handle_timeout`](Session::handle_timeout). After each call [`advance`](Session::advance) with the site's state
/// and its clock, then [`poll_output`](Session::poll_output) and [`poll_request`](Session::poll_request) until they
/// have nothing more, then set a timer for [`poll_timeout`](Session::poll_timeout). `handle_bytes` takes what it has
/// room for and no more: offer the rest again after the next `advance`. Not reading from the client meanwhile is
/// the back-pressure.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Config,
    pub(super) peer: Peer,
    pub(super) address: Option<IpAddr>,
    pub(super) reader: Reader,
    /// What has come and was not looked at.
    pending: Option<Input>,
    pub(super) running: Option<Task>,
    out: Vec<u8>,
    wanted: Option<(Ticket, Request)>,
    outstanding: Option<Ticket>,
    answer: Option<Answer>,
    tickets: u64,
    pub(super) user: Option<UserId>,
    pub(super) hello: Option<(Hello, String)>,
    pub(super) mail: Option<Transaction>,
    /// What the chunk that is being read is answered with, because it is not wanted.
    pub(super) unwanted: Option<Reply>,
    pub(super) login_failures: u32,
    pub(super) idle_commands: u32,
    errors: u32,
    /// As the driver said last.
    pub(super) now: Time,
    pub(super) clock: EntryTime,
    last_active: Time,
    asked: Time,
    pub(super) letter_began: Option<Time>,
    closing: bool,
}

impl Session {
    /// A session that greets its client. `address` is where it comes from; none from a socket of this machine.
    pub fn new(mut config: Config, peer: Peer, address: Option<IpAddr>, now: Time) -> Session {
        config.letter_bytes_max =
            config.letter_bytes_max.min(mail::limits::LETTER_BYTES_MAX - TRACE_BYTES_MAX);
        let protocol = if config.mode == Mode::Lmtp { "LMTP" } else { "ESMTP" };
        let greeting = format!("220 {} {protocol} Maildriver\r\n", config.name);
        Session {
            config,
            peer,
            address,
            reader: Reader::default(),
            pending: None,
            running: None,
            out: greeting.into_bytes(),
            wanted: None,
            outstanding: None,
            answer: None,
            tickets: 0,
            user: None,
            hello: None,
            mail: None,
            unwanted: None,
            login_failures: 0,
            idle_commands: 0,
            errors: 0,
            now,
            clock: EntryTime(0),
            last_active: now,
            asked: now,
            letter_began: None,
            closing: false,
        }
    }

    /// Takes bytes of the client as far as there is room, and says how many. The rest is to be offered again.
    pub fn handle_bytes(&mut self, now: Time, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.takes_bytes() {
            self.pending = self.reader.read(&mut rest);
            // A command that comes byte by byte is as good as silence.
            if self.pending.is_some() || self.reader.is_in_letter() {
                self.last_active = now;
            }
        }
        // Of a connection that ends nothing more is read.
        if self.closing { bytes.len() } else { bytes.len() - rest.len() }
    }

    /// Whether the client's bytes are wanted now.
    pub fn takes_bytes(&self) -> bool {
        let waits =
            self.running.as_ref().is_some_and(|task| !task.takes_lines()) || self.outstanding.is_some();
        !self.closing && self.pending.is_none() && !waits && self.out.len() < OUTPUT_BYTES_HIGH
    }

    /// Takes the answer to a request. One to a request that nobody made, or that took too long, is passed over.
    pub fn handle_answer(&mut self, now: Time, ticket: Ticket, answer: Answer) {
        if self.outstanding == Some(ticket) {
            self.outstanding = None;
            self.answer = Some(answer);
            self.last_active = now;
        }
    }

    /// Runs commands as far as they go without waiting. `clock` is the site's wall clock, as it would stamp an entry;
    /// `state` is the site's, with all applied that was answered before.
    pub fn advance(&mut self, now: Time, clock: EntryTime, state: &State) {
        (self.now, self.clock) = (now, clock);
        if self.user.is_some_and(|user| state.user(user).is_none()) {
            self.bye(Reply::new(421, "4.7.0", "This account is gone"));
        }
        while !self.closing && self.out.len() < OUTPUT_BYTES_HIGH {
            match (self.running.take(), self.answer.take()) {
                (Some(task), Some(answer)) => self.answered(task, answer, state),
                (Some(task), None) if task.takes_lines() && self.outstanding.is_none() => {
                    let Some(input) = self.pending.take() else {
                        self.running = Some(task);
                        break;
                    };
                    self.line_for(task, input);
                }
                (running @ Some(_), None) => {
                    self.running = running;
                    break;
                }
                (None, _) => match self.pending.take() {
                    Some(input) => self.came(input, state),
                    None => break,
                },
            }
        }
    }

    /// Bytes for the client.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        if self.out.is_empty() { None } else { Some(std::mem::take(&mut self.out).into()) }
    }

    /// What the session wants of the mail service.
    pub fn poll_request(&mut self) -> Option<(Ticket, Request)> {
        self.wanted.take()
    }

    /// Whether the connection is to be closed once all output is sent.
    pub fn is_closed(&self) -> bool {
        self.closing
    }

    /// Whether anybody in the world may send letters on it.
    pub fn is_inbound(&self) -> bool {
        self.config.mode == Mode::Inbound
    }

    /// Who has logged in.
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// Memory of the letter that is coming or waits: a driver that has too much of it in all sessions together stops
    /// offering bytes to some. The entry of a letter that is proposed is the driver's.
    pub fn memory_bytes(&self) -> usize {
        let waits = if let Some(Task::Letter(letter)) = &self.running { letter.received.len() } else { 0 };
        self.reader.body.memory_bytes() + waits
    }

    /// When `handle_timeout` is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        (!self.closing).then(|| self.deadline())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closing || now < self.deadline() {
            return;
        }
        if self.outstanding.take().is_some() {
            // Whoever should have answered did not. What it did all the same, a repeat is told [Mail 9].
            self.wanted = None;
            self.answer = Some(Answer::Unavailable);
            self.last_active = now;
            return;
        }
        self.bye(Reply::new(421, "4.4.2", "Nothing was heard for too long"));
    }

    fn deadline(&self) -> Time {
        if self.outstanding.is_some() {
            return self.asked + ANSWER_TIME;
        }
        let before_login = self.config.mode == Mode::Submission && self.user.is_none();
        let silence = self.last_active + if before_login { SILENCE_BEFORE_LOGIN } else { SILENCE };
        self.letter_began.map_or(silence, |began| silence.min(began + LETTER_TIME))
    }

    // What the commands use.

    /// Asks for something; the task goes on when it is answered.
    pub(super) fn ask(&mut self, task: Task, request: Request) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.outstanding = Some(ticket);
        self.asked = self.now;
        self.wanted = Some((ticket, request));
        self.running = Some(task);
    }

    /// Answers a command. Who is told too often that something is wrong is sent away.
    pub(super) fn reply(&mut self, reply: &Reply) {
        if self.closing {
            return;
        }
        self.line(&reply.line());
        self.errors += u32::from(reply.code >= 500);
        let most = if self.config.mode == Mode::Lmtp { ERRORS_MAX_LMTP } else { ERRORS_MAX };
        if self.errors > most {
            self.bye(Reply::new(421, "4.7.0", "Too much went wrong"));
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the session.
    pub(super) fn bye(&mut self, reply: Reply) {
        if !self.closing {
            self.line(&reply.line());
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
        self.running = None;
        self.pending = None;
        self.wanted = None;
        self.drop_mail();
        self.reader = Reader::default();
    }

    /// Everything that came in clear is forgotten (what was said before TLS, anybody may have said).
    pub(super) fn forget_all(&mut self) {
        self.drop_mail();
        self.reader = Reader::default();
        self.pending = None;
        self.hello = None;
    }

    /// The letter that was announced does not come, or has come.
    pub(super) fn drop_mail(&mut self) {
        self.mail = None;
        self.letter_began = None;
        self.reader.body = Body::default();
    }
}
