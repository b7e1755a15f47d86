//! Commands begin, go on and end: which state a command needs, and what each waits for.

use mail::{Address, State};

use super::command::{self, Bad, Command, Hello};
use super::input::Input;
use super::letter::Letter;
use super::limits::{IDLE_COMMANDS_MAX, RECIPIENTS_MAX};
use super::login::Sasl;
use super::reply::{self, Reply};
use super::session::{Mode, Session};
use crate::edge::Answer;

/// What a command that has begun waits for.
#[derive(Debug)]
pub(super) enum Task {
    Login,
    Scram,
    /// A line of the client.
    Sasl(Sasl),
    Secures,
    /// The state may lag behind what another site has said of a sender.
    Mail {
        sender: String,
        bytes: u64,
        utf8: bool,
    },
    /// The same of a recipient.
    Rcpt(Address),
    Letter(Box<Letter>),
    /// Somebody is told that a letter did not reach everybody; then these are the replies.
    Notice {
        replies: Vec<Reply>,
        repeatable: bool,
    },
}

impl Task {
    /// Whether a line of the client is part of the task, not the next command.
    pub fn takes_lines(&self) -> bool {
        matches!(self, Task::Sasl(_))
    }
}

const OUT_OF_ORDER: Reply = Reply::new(503, "5.5.1", "That does not come now");

impl Session {
    /// Something came of the client.
    pub(super) fn came(&mut self, input: Input, state: &State) {
        match input {
            Input::Line(line) => match command::parse(&line) {
                Ok(command) => self.start(command, state),
                Err(Bad::Reply(reply)) => {
                    self.idle_commands += 1;
                    self.reply(&reply);
                }
                Err(Bad::Stranger) => self.bye(Reply::new(421, "4.7.0", "This is a mail server")),
            },
            Input::LongLine => self.reply(&Reply::new(500, "5.5.6", "That line is too long")),
            Input::BareLineEnd => {
                self.bye(Reply::new(500, "5.5.2", "Lines end with CR LF, and no otherwise"))
            }
            Input::Letter => self.letter_came(false, state),
            Input::Chunk { last } => self.chunk_came(last, state),
            Input::Hopeless => self.bye(Reply::new(552, "5.3.4", "That is far too long")),
        }
    }

    fn start(&mut self, command: Command, state: &State) {
        let helps = matches!(command, Command::Rcpt { .. } | Command::Bdat { bytes: 1.., .. });
        self.idle_commands += u32::from(!helps);
        if self.idle_commands > IDLE_COMMANDS_MAX {
            return self.bye(Reply::new(421, "4.7.0", "Too many commands without a letter"));
        }
        match command {
            Command::Hello { kind, name } => self.greet(kind, name),
            Command::Quit => self.bye(Reply::new(221, "2.0.0", "Until next time")),
            Command::Noop => self.reply(&reply::OK),
            Command::Rset => {
                self.drop_mail();
                self.reply(&reply::OK);
            }
            Command::Vrfy => {
                self.reply(&Reply::new(252, "2.0.0", "Who is here is not told; send a letter and see"))
            }
            Command::Help => self.reply(&Reply::new(214, "2.0.0", "RFC 5321 has it all")),
            Command::StartTls => self.start_tls(),
            // A chunk comes whatever is said to it.
            Command::Bdat { bytes, last } => self.bdat(bytes, last, state),
            _ if self.hello.is_none() => self.reply(&Reply::new(503, "5.5.1", "Say hello first")),
            Command::Auth { mechanism, initial } => self.authenticate(mechanism, initial),
            Command::Mail { sender, bytes, utf8 } => self.mail_from(sender, bytes, utf8, true, state),
            Command::Rcpt { recipient } => self.rcpt_to(&recipient, state),
            Command::Data => self.data(),
        }
    }

    fn greet(&mut self, kind: Hello, name: String) {
        if (kind == Hello::Lhlo) != (self.config.mode == Mode::Lmtp) {
            return self.reply(&Reply::new(500, "5.5.1", "This is the other protocol"));
        }
        self.drop_mail();
        self.hello = Some((kind, name));
        let site = self.config.name.clone();
        if kind == Hello::Helo {
            return self.line(&format!("250 {site}"));
        }
        self.line(&format!("250-{site}"));
        for keyword in ["PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES"] {
            self.line(&format!("250-{keyword}"));
        }
        if self.offers_tls() {
            self.line("250-STARTTLS");
        }
        if self.offers_login() {
            let scram = if self.config.scram { " SCRAM-SHA-256" } else { "" };
            self.line(&format!("250-AUTH PLAIN LOGIN{scram}"));
        }
        self.line(&format!("250 SIZE {}", self.config.letter_bytes_max));
    }

    /// A task's request was answered.
    pub(super) fn answered(&mut self, task: Task, answer: Answer, state: &State) {
        match (task, answer) {
            (Task::Login | Task::Scram, answer) => self.login_answered(answer),
            (Task::Secures, Answer::Secured) => self.secured(),
            (Task::Secures, _) => self.bye(Reply::new(421, "4.7.0", "TLS did not begin")),
            (Task::Mail { sender, bytes, utf8 }, Answer::Reached) => {
                self.mail_from(sender, bytes, utf8, false, state);
            }
            (Task::Rcpt(recipient), Answer::Reached) => self.resolved(recipient, false, state),
            (Task::Letter(letter), answer) => self.letter_answered(letter, answer, state),
            (Task::Notice { replies, repeatable }, answer) => self.told(replies, repeatable, &answer),
            (Task::Mail { .. } | Task::Rcpt(_), _) => self.reply(&reply::UNAVAILABLE),
            // Only `line_for` goes on with it.
            (Task::Sasl(_), _) => self.reply(&OUT_OF_ORDER),
        }
    }

    /// A line that belongs to a task.
    pub(super) fn line_for(&mut self, task: Task, input: Input) {
        match (task, input) {
            (Task::Sasl(sasl), Input::Line(line)) => self.sasl_line(sasl, &line),
            (_, Input::BareLineEnd) => {
                self.bye(Reply::new(500, "5.5.2", "Lines end with CR LF, and no otherwise"))
            }
            (_, _) => self.reply(&Reply::new(500, "5.5.6", "That line is too long")),
        }
    }

    /// The state has reached what was acknowledged anywhere before this letter's first recipient was doubted.
    pub(super) fn is_fresh(&self) -> bool {
        self.mail.as_ref().is_some_and(|mail| mail.fresh)
    }

    /// How many recipients may be tried.
    pub(super) fn tries_max(&self) -> usize {
        self.config.recipients_max.saturating_add(RECIPIENTS_MAX)
    }

    pub(super) fn out_of_order(&mut self) {
        self.reply(&OUT_OF_ORDER);
    }
}
