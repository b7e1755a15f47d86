//! AUTH (RFC 4954) and STARTTLS (RFC 3207).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::command::{AuthMechanism, Hello};
use super::limits::LOGIN_FAILURES_MAX;
use super::reply::Reply;
use super::run::Task;
use super::session::{Mode, Session};
use crate::edge::{Answer, Mechanism, Request};

/// A line that the client owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sasl {
    Plain,
    LoginName,
    LoginPassword { user: String },
    Scram { first: bool },
}

const FAILED: Reply = Reply::new(535, "5.7.8", "A name or password that is wrong");

impl Session {
    pub(super) fn offers_tls(&self) -> bool {
        self.config.starttls && !self.peer.tls
    }

    /// Whether passwords are taken on this connection.
    pub(super) fn offers_login(&self) -> bool {
        let safe = self.peer.tls || self.config.trial && self.peer.loopback;
        self.config.mode == Mode::Submission && safe && self.user.is_none()
    }

    pub(super) fn authenticate(&mut self, mechanism: AuthMechanism, initial: Option<Vec<u8>>) {
        let extended = matches!(self.hello, Some((Hello::Ehlo, _)));
        if self.config.mode != Mode::Submission {
            return self.reply(&Reply::new(502, "5.5.1", "Nobody logs in here"));
        }
        if self.user.is_some() || self.mail.is_some() || !extended {
            return self.out_of_order();
        }
        if !self.offers_login() {
            return self.reply(&Reply::new(538, "5.7.11", "No passwords without TLS"));
        }
        let sasl = match mechanism {
            AuthMechanism::Plain => Sasl::Plain,
            AuthMechanism::Login => Sasl::LoginName,
            AuthMechanism::ScramSha256 if self.config.scram => Sasl::Scram { first: true },
            AuthMechanism::ScramSha256 => {
                return self.reply(&Reply::new(504, "5.5.4", "There is no such mechanism"));
            }
        };
        match initial {
            // An initial response that is empty is written so (RFC 4954, 4).
            Some(initial) if initial == b"=" => self.sasl_message(sasl, Vec::new()),
            Some(initial) => self.sasl_line(sasl, &initial),
            None => {
                let prompt: &[u8] = if sasl == Sasl::LoginName { b"Username:" } else { b"" };
                self.challenge(prompt, sasl);
            }
        }
    }

    fn challenge(&mut self, message: &[u8], owed: Sasl) {
        self.line(&format!("334 {}", BASE64.encode(message)));
        self.running = Some(Task::Sasl(owed));
    }

    pub(super) fn sasl_line(&mut self, sasl: Sasl, line: &[u8]) {
        if line == b"*" {
            return self.reply(&Reply::new(501, "5.7.0", "It was cancelled"));
        }
        match BASE64.decode(line) {
            Ok(message) => self.sasl_message(sasl, message),
            Err(_) => self.reply(&Reply::new(501, "5.5.2", "That is not base64")),
        }
    }

    fn sasl_message(&mut self, sasl: Sasl, message: Vec<u8>) {
        match sasl {
            Sasl::Plain => {
                let fields: Vec<&[u8]> = message.split(|b| *b == 0).collect();
                match fields[..] {
                    [other, user, password] if other.is_empty() || other == user => {
                        self.log_in(user.to_vec(), password.to_vec());
                    }
                    _ => self.login_failed(),
                }
            }
            Sasl::LoginName => match String::from_utf8(message) {
                Ok(user) => self.challenge(b"Password:", Sasl::LoginPassword { user }),
                Err(_) => self.login_failed(),
            },
            Sasl::LoginPassword { user } => self.log_in(user.into_bytes(), message),
            Sasl::Scram { first } => {
                self.ask(Task::Scram, Request::Sasl { mechanism: Mechanism::ScramSha256, message, first });
            }
        }
    }

    fn log_in(&mut self, user: Vec<u8>, password: Vec<u8>) {
        match String::from_utf8(user) {
            Ok(user) => self.ask(Task::Login, Request::Authenticate { user, password }),
            Err(_) => self.login_failed(),
        }
    }

    pub(super) fn login_answered(&mut self, answer: Answer) {
        match answer {
            Answer::LoggedIn(user) => {
                self.user = Some(user);
                self.idle_commands = 0;
                self.reply(&Reply::new(235, "2.7.0", "Logged in"));
            }
            Answer::Challenge(message) => self.challenge(&message, Sasl::Scram { first: false }),
            Answer::Unavailable => self.reply(&Reply::new(454, "4.7.0", "Try again later")),
            _ => self.login_failed(),
        }
    }

    fn login_failed(&mut self) {
        self.login_failures += 1;
        self.reply(&FAILED);
        if self.login_failures >= LOGIN_FAILURES_MAX {
            self.bye(Reply::new(421, "4.7.0", "Too many logins that failed"));
        }
    }

    pub(super) fn start_tls(&mut self) {
        if !self.offers_tls() {
            return self.reply(&Reply::new(502, "5.5.1", "There is TLS already, or none here"));
        }
        self.reply(&Reply::new(220, "2.0.0", "Begin TLS now"));
        self.forget_all();
        self.ask(Task::Secures, Request::StartTls);
    }

    pub(super) fn secured(&mut self) {
        self.peer.tls = true;
        self.forget_all();
    }
}
