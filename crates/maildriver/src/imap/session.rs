//! The session: what its driver sees, and the order in which commands run.

use bytes::Bytes;
use mail::{Entry, MailboxId, State, UserId};
use wire::Time;

use crate::edge::{Answer, Peer, Request, Ticket};

use super::input::{Bounds, Input, Part, Reader};
use super::limits::{BAD_COMMANDS_MAX, IDLE_AFTER_LOGIN, IDLE_BEFORE_LOGIN, KEEPALIVE, OUTPUT_BYTES_HIGH};
use super::run::Task;
use super::view::View;

/// What a site's operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest letter that APPEND takes, in bytes; at most `mail::limits::LETTER_BYTES_MAX`.
    pub letter_bytes_max: usize,
    /// Whether STARTTLS is offered to connections without TLS.
    pub starttls: bool,
    /// A trial: passwords are taken without TLS from this machine.
    pub trial: bool,
    /// Whether SCRAM-SHA-256 is offered: whoever answers the session's requests can compute it.
    pub scram: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { letter_bytes_max: mail::limits::LETTER_BYTES_MAX, starttls: true, trial: false, scram: true }
    }
}

/// One client's session, from the greeting to the end.
///
/// Give it what comes: [`handle_bytes`](Session::handle_bytes), [`handle_answer`](Session::handle_answer),
/// [`handle_timeout`](Session::handle_timeout). After each, and when the mailbox that is [selected](Session::selected) has changed,
/// call [`advance`](Session::advance) with the site's state, then [`poll_output`](Session::poll_output) and
/// [`poll_request`](Session::poll_request) until they have nothing more, then set a timer for
/// [`poll_timeout`](Session::poll_timeout). `handle_bytes` takes what it has room for and no more: offer the rest
/// again after the next `advance`. Not reading from the client meanwhile is the back-pressure.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Config,
    pub(super) peer: Peer,
    reader: Reader,
    /// One command that is whole and has not begun.
    pending: Option<Vec<Part>>,
    pub(super) running: Option<(String, Task)>,
    pub(super) out: Vec<u8>,
    wanted: Option<(Ticket, Request)>,
    outstanding: Option<Ticket>,
    answer: Option<Answer>,
    tickets: u64,
    pub(super) user: Option<UserId>,
    pub(super) view: Option<View>,
    pub(super) condstore: bool,
    /// What is shown is this site's alone: its MODSEQs are nothing to the client.
    pub(super) apart: bool,
    pub(super) login_failures: u32,
    pub(super) commands: u32,
    pub(super) bad_commands: u32,
    last_active: Time,
    last_keepalive: Time,
    closing: bool,
}

impl Session {
    /// A session that greets its client.
    pub fn new(config: Config, peer: Peer, now: Time) -> Session {
        let mut session = Session {
            config,
            peer,
            reader: Reader::default(),
            pending: None,
            running: None,
            out: Vec::new(),
            wanted: None,
            outstanding: None,
            answer: None,
            tickets: 0,
            user: None,
            view: None,
            condstore: false,
            apart: false,
            login_failures: 0,
            commands: 0,
            bad_commands: 0,
            last_active: now,
            last_keepalive: now,
            closing: false,
        };
        let capabilities = session.capabilities();
        session.line(&format!("* OK [CAPABILITY {capabilities}] Maildriver is ready"));
        session
    }

    /// Takes bytes of the client as far as there is room, and says how many. The rest is to be offered again.
    pub fn handle_bytes(&mut self, now: Time, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.takes_bytes() {
            self.last_active = now;
            let bounds =
                Bounds { logged_in: self.user.is_some(), letter_bytes_max: self.config.letter_bytes_max };
            match self.reader.read(&mut rest, bounds) {
                None => {}
                Some(Input::Continue) => self.line("+ go on"),
                Some(Input::Whole(parts)) => {
                    // Some clients send an empty line behind a literal.
                    let empty = matches!(&parts[..], [Part::Text(text)] if text.is_empty());
                    if !empty || self.takes_lines() {
                        self.pending = Some(parts);
                    }
                }
                Some(Input::TooBig(tag)) if tag.is_empty() || self.takes_lines() => {
                    self.bad("*", "That is too long")
                }
                Some(Input::TooBig(tag)) => {
                    self.bad(&String::from_utf8_lossy(&tag), "[TOOBIG] That is too long")
                }
                Some(Input::Hopeless) => self.bye("That is far too long"),
            }
        }
        // Of a connection that ends nothing more is read.
        if self.closing { bytes.len() } else { bytes.len() - rest.len() }
    }

    /// Whether the client's bytes are wanted now.
    pub fn takes_bytes(&self) -> bool {
        let secures = matches!(&self.running, Some((_, Task::Secures)));
        !self.closing && self.pending.is_none() && !secures && self.out.len() < OUTPUT_BYTES_HIGH
    }

    /// Takes the answer to a request. One to a request that nobody made is passed over.
    pub fn handle_answer(&mut self, now: Time, ticket: Ticket, answer: Answer) {
        if self.outstanding == Some(ticket) {
            self.outstanding = None;
            self.answer = Some(answer);
            self.last_active = now;
        }
    }

    /// The mailbox that is open: what changes in it may be news to this client, so that `advance` is worth calling.
    pub fn selected(&self) -> Option<MailboxId> {
        self.view.as_ref().map(|view| view.mailbox)
    }

    /// Whether the states that come next are what a site without a majority shows: of those no MODSEQs are told.
    pub fn set_apart(&mut self, apart: bool) {
        self.apart = apart;
    }

    /// Runs commands as far as they go without waiting. `state` is this site's, with all applied that was
    /// answered before.
    pub fn advance(&mut self, now: Time, state: &State) {
        if !self.closing && self.user.is_some_and(|user| state.user(user).is_none()) {
            self.bye("This account is gone");
        }
        while !self.closing && self.out.len() < OUTPUT_BYTES_HIGH {
            let progress = match (self.running.take(), self.answer.take()) {
                (Some((tag, task)), Some(answer)) => {
                    self.answered(tag, task, answer, state);
                    true
                }
                (Some((tag, task)), None) => self.go_on(now, tag, task, state),
                (None, _) => match self.pending.take() {
                    Some(parts) => {
                        self.last_keepalive = now;
                        self.start(&parts, state);
                        true
                    }
                    None => false,
                },
            };
            if !progress {
                break;
            }
        }
    }

    /// A task that has no answer to take: it waits for one, for a line of the client, or for room.
    fn go_on(&mut self, now: Time, tag: String, task: Task, state: &State) -> bool {
        if self.outstanding.is_some() {
            self.running = Some((tag, task));
            return false;
        }
        if task.takes_lines() {
            if let Some(parts) = self.pending.take() {
                self.line_for(tag, task, parts, state);
                return true;
            }
            if matches!(task, Task::Idle) {
                self.last_keepalive = if self.sync(state, true) { now } else { self.last_keepalive };
            }
            self.running = Some((tag, task));
            return false;
        }
        self.resume(tag, task, state);
        true
    }

    fn takes_lines(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, task)| task.takes_lines())
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

    /// Who has logged in.
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// Memory of commands that are coming or wait, and of the letter that is looked at: a driver that has too much of
    /// it in all sessions together stops offering bytes to some. The entry of a letter that is proposed is the driver's.
    pub fn memory_bytes(&self) -> usize {
        let waits: usize = self.pending.iter().flatten().map(Part::len).sum();
        let looked_at = match &self.running {
            Some((_, Task::Fetch(fetch))) => fetch.memory_bytes(),
            _ => 0,
        };
        self.reader.memory_bytes() + waits + looked_at
    }

    /// When `handle_timeout` is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let idles = matches!(self.running, Some((_, Task::Idle)));
        let keepalive = if idles { Some(self.last_keepalive + KEEPALIVE) } else { None };
        let end = self.last_active + self.patience();
        (!self.closing).then(|| keepalive.map_or(end, |keepalive| keepalive.min(end)))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closing {
            return;
        }
        if now >= self.last_active + self.patience() {
            return self.bye("Nothing was heard for too long");
        }
        if matches!(self.running, Some((_, Task::Idle))) && now >= self.last_keepalive + KEEPALIVE {
            self.last_keepalive = now;
            self.line("* OK Still here");
        }
    }

    fn patience(&self) -> std::time::Duration {
        if self.user.is_some() { IDLE_AFTER_LOGIN } else { IDLE_BEFORE_LOGIN }
    }

    // What the commands use.

    /// Asks for something; the task goes on when it is answered.
    pub(super) fn ask(&mut self, tag: String, task: Task, request: Request) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.outstanding = Some(ticket);
        self.wanted = Some((ticket, request));
        self.running = Some((tag, task));
    }

    /// Proposes a command in the user's name.
    pub(super) fn propose(&mut self, tag: String, task: Task, command: mail::Command, letter: Option<Bytes>) {
        let Some(user) = self.user else { return self.no(&tag, "Log in first") };
        let by = mail::Principal::User(user);
        let entry = match letter {
            Some(letter) => Entry::with_letter(by, None, command, letter),
            None => Entry::new(by, None, command),
        };
        match entry {
            Ok(entry) => self.ask(tag, task, Request::Propose(entry)),
            Err(error) => self.no(&tag, &format!("[LIMIT] {error}")),
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    pub(super) fn ok(&mut self, tag: &str, text: &str) {
        self.line(&format!("{tag} OK {text}"));
    }

    pub(super) fn no(&mut self, tag: &str, text: &str) {
        self.line(&format!("{tag} NO {text}"));
    }

    pub(super) fn bad(&mut self, tag: &str, text: &str) {
        self.line(&format!("{tag} BAD {text}"));
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS_MAX {
            self.bye("Too many commands that cannot be read");
        }
    }

    /// Ends the session.
    pub(super) fn bye(&mut self, text: &str) {
        self.line(&format!("* BYE {text}"));
        self.close();
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
        self.running = None;
        self.pending = None;
        self.wanted = None;
    }

    /// Everything that came in clear is forgotten (a command behind STARTTLS must not be carried into TLS).
    pub(super) fn forget_input(&mut self) {
        self.reader = Reader::default();
        self.pending = None;
    }
}
