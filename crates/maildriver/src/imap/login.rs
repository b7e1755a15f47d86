//! Logging in: LOGIN, AUTHENTICATE, STARTTLS, and what CAPABILITY says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::input::Part;
use super::limits::LOGIN_FAILURES_MAX;
use super::run::Task;
use super::session::Session;
use crate::edge::{Answer, Mechanism, Request};

/// Exactly what works.
const OFFERED: &str = "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE";
const OFFERED_AFTER_LOGIN: &str = "NAMESPACE CHILDREN IDLE UNSELECT UIDPLUS MOVE SPECIAL-USE CREATE-SPECIAL-USE \
     LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH CONDSTORE QUOTA";

/// A line that the client owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sasl {
    Plain,
    LoginName,
    LoginPassword { user: String },
    Scram { first: bool },
}

impl Session {
    /// Whether passwords are taken on this connection.
    fn may_log_in(&self) -> bool {
        self.peer.tls || self.config.trial && self.peer.loopback
    }

    pub(super) fn capabilities(&self) -> String {
        if self.user.is_some() {
            return format!("{OFFERED} {OFFERED_AFTER_LOGIN}");
        }
        let tls = if self.config.starttls && !self.peer.tls { " STARTTLS" } else { "" };
        let login = match (self.may_log_in(), self.config.scram) {
            (true, true) => " AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256",
            (true, false) => " AUTH=PLAIN AUTH=LOGIN",
            (false, _) => " LOGINDISABLED",
        };
        format!("{OFFERED}{tls}{login}")
    }

    pub(super) fn log_in(&mut self, tag: String, user: Vec<u8>, password: Vec<u8>) {
        if !self.may_log_in() {
            return self.no(&tag, "[PRIVACYREQUIRED] No passwords without TLS");
        }
        let Ok(user) = String::from_utf8(user) else { return self.login_failed(&tag) };
        self.ask(tag, Task::Login, Request::Authenticate { user, password });
    }

    pub(super) fn authenticate(&mut self, tag: String, mechanism: &str, initial: Option<Vec<u8>>) {
        if !self.may_log_in() {
            return self.no(&tag, "[PRIVACYREQUIRED] No passwords without TLS");
        }
        let sasl = match mechanism {
            "PLAIN" => Sasl::Plain,
            "LOGIN" => Sasl::LoginName,
            "SCRAM-SHA-256" if self.config.scram => Sasl::Scram { first: true },
            _ => return self.no(&tag, "[CANNOT] There is no such mechanism"),
        };
        match initial {
            // An initial answer that is empty is written so (RFC 4959, 3).
            Some(initial) if initial == b"=" => self.sasl_message(tag, sasl, Vec::new()),
            Some(initial) => self.sasl_line(tag, sasl, &initial),
            None => {
                let prompt: &[u8] = if sasl == Sasl::LoginName { b"Username:" } else { b"" };
                self.challenge(prompt);
                self.running = Some((tag, Task::Sasl(sasl)));
            }
        }
    }

    fn challenge(&mut self, message: &[u8]) {
        self.line(&format!("+ {}", BASE64.encode(message)));
    }

    pub(super) fn sasl_parts(&mut self, tag: String, sasl: Sasl, parts: &[Part]) {
        match parts {
            [Part::Text(line)] => self.sasl_line(tag, sasl, line),
            _ => self.bad(&tag, "A line was expected"),
        }
    }

    fn sasl_line(&mut self, tag: String, sasl: Sasl, line: &[u8]) {
        if line == b"*" {
            return self.bad(&tag, "It was cancelled");
        }
        match BASE64.decode(line) {
            Ok(message) => self.sasl_message(tag, sasl, message),
            Err(_) => self.bad(&tag, "That is not base64"),
        }
    }

    fn sasl_message(&mut self, tag: String, sasl: Sasl, message: Vec<u8>) {
        match sasl {
            Sasl::Plain => {
                let fields: Vec<&[u8]> = message.split(|b| *b == 0).collect();
                match fields[..] {
                    [other, user, password] if other.is_empty() || other == user => {
                        self.log_in(tag, user.to_vec(), password.to_vec());
                    }
                    _ => self.login_failed(&tag),
                }
            }
            Sasl::LoginName => match String::from_utf8(message) {
                Ok(user) => {
                    self.challenge(b"Password:");
                    self.running = Some((tag, Task::Sasl(Sasl::LoginPassword { user })));
                }
                Err(_) => self.login_failed(&tag),
            },
            Sasl::LoginPassword { user } => self.log_in(tag, user.into_bytes(), message),
            Sasl::Scram { first } => {
                let request = Request::Sasl { mechanism: Mechanism::ScramSha256, message, first };
                self.ask(tag, Task::Scram, request);
            }
        }
    }

    pub(super) fn login_answered(&mut self, tag: String, answer: Answer) {
        match answer {
            Answer::LoggedIn(user) => {
                self.user = Some(user);
                self.bad_commands = 0;
                let capabilities = self.capabilities();
                self.ok(&tag, &format!("[CAPABILITY {capabilities}] Logged in"));
            }
            Answer::Challenge(message) => {
                self.challenge(&message);
                self.running = Some((tag, Task::Sasl(Sasl::Scram { first: false })));
            }
            Answer::Unavailable => self.no(&tag, "[UNAVAILABLE] Try again later"),
            _ => self.login_failed(&tag),
        }
    }

    fn login_failed(&mut self, tag: &str) {
        self.login_failures += 1;
        self.no(tag, "[AUTHENTICATIONFAILED] A name or password that is wrong");
        if self.login_failures >= LOGIN_FAILURES_MAX {
            self.bye("Too many logins that failed");
        }
    }

    pub(super) fn start_tls(&mut self, tag: String) {
        if self.peer.tls || !self.config.starttls {
            return self.bad(&tag, "There is TLS already, or none here");
        }
        self.ok(&tag, "Begin TLS now");
        self.forget_input();
        self.ask(tag, Task::Secures, Request::StartTls);
    }

    pub(super) fn secured(&mut self) {
        self.peer.tls = true;
        self.forget_input();
    }
}
