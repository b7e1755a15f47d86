//! A session on a state in memory: every entry that it proposes is applied at once.

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod answers;
pub mod smtp;

use std::collections::BTreeMap;

use bytes::Bytes;
use mail::command::{AddUser, Quota};
use mail::{Command, Entry, EntryTime, Outcome, Position, Principal, State, UserName};
use maildriver::imap::{Answer, Config, Peer, Request, Session, Ticket};
use wire::Time;

pub struct Site {
    pub state: State,
    pub letters: BTreeMap<Position, Bytes>,
    position: u64,
}

impl Site {
    /// A site with the users `ann` and `bob`, whose passwords are `secret`; ann's quota is 1 MiB.
    pub fn new() -> Site {
        let state = State::new(mail::Limits::default());
        let mut site = Site { state, letters: BTreeMap::new(), position: 0 };
        for name in ["ann", "bob"] {
            let name = UserName::parse(name).expect("a good name");
            let quota = Quota { bytes_max: Some(1 << 20), letters_max: None };
            let add = AddUser { name, password: None, privileged: false, quota };
            let entry = Entry::new(Principal::Operator, None, Command::AddUser(add)).expect("a good entry");
            assert!(!site.apply(&entry).is_refusal());
        }
        site
    }

    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        self.position += 1;
        let position = Position(self.position);
        if let Some(letter) = entry.letter() {
            self.letters.insert(position, letter.clone());
        }
        self.state.apply(position, EntryTime(1_700_000_000_000), entry)
    }

    pub fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Authenticate { user, password } => {
                let name = UserName::parse(&user).ok().filter(|_| password == b"secret");
                let user = name.and_then(|name| self.state.user_named(&name));
                user.map_or(Answer::LoginRefused, |user| Answer::LoggedIn(user.id()))
            }
            Request::Sasl { message, first, .. } => match (first, &message[..]) {
                (true, b"hello") => Answer::Challenge(b"prove it".to_vec()),
                (false, b"proof") => Answer::LoggedIn(mail::UserId(1)),
                _ => Answer::LoginRefused,
            },
            Request::StartTls => Answer::Secured,
            Request::Barrier => Answer::Reached,
            Request::Letter(position) => match self.letters.get(&position) {
                Some(letter) => Answer::Letter(letter.clone()),
                None => Answer::Unavailable,
            },
            Request::Propose(entry) => Answer::Applied(self.apply(&entry)),
            Request::Verify(_) => panic!("IMAP verifies no letters"),
        }
    }
}

/// One client's connection.
pub struct Client {
    pub session: Session,
    pub now: Time,
    /// What the session has not taken yet.
    unread: Vec<u8>,
    /// The most output that one step made.
    pub most_at_once: usize,
}

impl Client {
    pub fn new(tls: bool) -> Client {
        let peer = Peer { tls, loopback: false };
        let config = Config { letter_bytes_max: 1 << 20, ..Config::default() };
        let session = Session::new(config, peer, Time::ZERO);
        Client { session, now: Time::ZERO, unread: Vec::new(), most_at_once: 0 }
    }

    /// Sends bytes and returns all that the session answers.
    pub fn send(&mut self, site: &mut Site, bytes: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let mut out = Vec::new();
        loop {
            let taken = self.session.handle_bytes(self.now, &self.unread);
            self.unread.drain(..taken);
            self.session.advance(self.now, &site.state);
            let before = out.len();
            while let Some(bytes) = self.session.poll_output() {
                self.most_at_once = self.most_at_once.max(bytes.len());
                out.extend_from_slice(&bytes);
            }
            let request = self.session.poll_request();
            let idle = request.is_none() && taken == 0 && out.len() == before;
            if let Some((ticket, request)) = request {
                let begins_tls = request == Request::StartTls;
                let answer = site.answer(request);
                self.session.handle_answer(self.now, Ticket(ticket.0 + 1), Answer::Unavailable);
                self.session.handle_answer(self.now, ticket, answer);
                if begins_tls {
                    self.unread.clear();
                }
            }
            if idle {
                return out;
            }
        }
    }

    pub fn say(&mut self, site: &mut Site, text: &str) -> String {
        String::from_utf8_lossy(&self.send(site, text.as_bytes())).into_owned()
    }

    /// A client that has logged in as ann.
    pub fn logged_in(site: &mut Site) -> Client {
        let mut client = Client::new(true);
        assert!(client.say(site, "x LOGIN ann secret\r\n").contains("x OK"));
        client
    }
}
