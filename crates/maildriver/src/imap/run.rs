//! Commands begin, go on and end: which state a command needs, and what each waits for.

use mail::{MailboxId, State};

use super::command::{self, Command, Name, StatusItem};
use super::fetch::Fetch;
use super::input::Part;
use super::letters::{Append, Store, Transfer};
use super::limits::COMMANDS_BEFORE_LOGIN_MAX;
use super::login::Sasl;
use super::search::Search;
use super::session::Session;
use crate::edge::{Answer, Request};

/// What a command that has begun waits for.
#[derive(Debug)]
pub(super) enum Task {
    Login,
    /// A line of the client.
    Sasl(Sasl),
    Scram,
    Secures,
    Select {
        mailbox: Name,
        read_only: bool,
    },
    Status {
        name: Name,
        items: Vec<StatusItem>,
    },
    /// A change of folders; `OK` and this text when it is done.
    Folders(&'static str),
    Append(Append),
    Store(Box<Store>),
    Transfer(Transfer),
    Expunge {
        closes: bool,
    },
    Fetch(Box<Fetch>),
    Search(Box<Search>),
    /// The client says DONE.
    Idle,
}

impl Task {
    /// Whether a line of the client is part of the task, not the next command.
    pub fn takes_lines(&self) -> bool {
        matches!(self, Task::Sasl(_) | Task::Idle)
    }
}

impl Session {
    /// Begins a command.
    pub(super) fn start(&mut self, parts: &[Part], state: &State) {
        let (tag, command) = match command::parse(parts) {
            Ok((tag, Ok(command))) => (tag, command),
            Ok((tag, Err(bad))) => return self.bad(&tag, bad.0),
            Err(bad) => return self.bad("*", bad.0),
        };
        if self.user.is_none() {
            self.commands += 1;
            if self.commands > COMMANDS_BEFORE_LOGIN_MAX {
                return self.bye("Too many commands without a login");
            }
        }
        match command {
            Command::Capability => {
                let capabilities = self.capabilities();
                self.line(&format!("* CAPABILITY {capabilities}"));
                self.ok(&tag, "That is all");
            }
            Command::Noop => {
                self.sync(state, true);
                self.ok(&tag, "Done");
            }
            Command::Logout => {
                self.line("* BYE Until next time");
                self.ok(&tag, "Logged out");
                self.close();
            }
            Command::Id => {
                self.line("* ID (\"name\" \"Unanimous Maildriver\")");
                self.ok(&tag, "Pleased to meet you");
            }
            Command::StartTls | Command::Authenticate { .. } | Command::Login { .. }
                if self.user.is_some() =>
            {
                self.bad(&tag, "You have logged in already");
            }
            Command::StartTls => self.start_tls(tag),
            Command::Authenticate { mechanism, initial } => self.authenticate(tag, &mechanism, initial),
            Command::Login { user, password } => self.log_in(tag, user, password),
            _ if self.user.is_none() => self.bad(&tag, "Log in first"),
            other => self.start_logged_in(tag, other, state),
        }
    }

    fn start_logged_in(&mut self, tag: String, command: Command, state: &State) {
        match command {
            Command::Enable(names) => {
                let known = names.iter().any(|name| name == "CONDSTORE");
                self.condstore |= known;
                self.line(if known { "* ENABLED CONDSTORE" } else { "* ENABLED" });
                self.ok(&tag, "Done");
            }
            Command::Select { name, read_only, condstore } => {
                self.view = None;
                self.condstore |= condstore;
                self.ask(tag, Task::Select { mailbox: name, read_only }, Request::Barrier);
            }
            Command::Status { name, items } => {
                self.condstore |= items.contains(&StatusItem::HighestModSeq);
                self.ask(tag, Task::Status { name, items }, Request::Barrier);
            }
            Command::Create { .. }
            | Command::Delete(_)
            | Command::Rename { .. }
            | Command::Subscribe(_)
            | Command::Unsubscribe(_) => self.change_folders(tag, command, state),
            Command::List(list) => self.list(&tag, &list, state),
            Command::Namespace => {
                self.line("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                self.ok(&tag, "Done");
            }
            Command::GetQuota(root) => self.quota(&tag, &root, state),
            Command::GetQuotaRoot(name) => self.quota_root(&tag, name, state),
            Command::SetQuota => self.no(&tag, "[NOPERM] Quotas are the administrator's"),
            Command::Append { name, flags, date, letter } => {
                self.append(tag, name, flags, date, letter, state)
            }
            Command::Idle => {
                self.line("+ idling");
                self.sync(state, true);
                // A mailbox that is gone has ended the session.
                if !self.is_closed() {
                    self.running = Some((tag, Task::Idle));
                }
            }
            _ if self.view.is_none() => self.bad(&tag, "Select a mailbox first"),
            other => self.start_selected(tag, other, state),
        }
    }

    fn start_selected(&mut self, tag: String, command: Command, state: &State) {
        if self.apart && command.asks_modseqs() {
            return self.bad(&tag, "There are no MODSEQs while this site is without a majority");
        }
        match command {
            Command::Unselect => {
                self.view = None;
                self.ok(&tag, "Done");
            }
            Command::Close => self.close_mailbox(tag),
            Command::Expunge(set) => self.expunge(tag, set.as_ref()),
            Command::Search(search) => self.search(tag, search, state),
            Command::Fetch { uid, set, items, changed_since } => {
                self.fetch(tag, uid, &set, items, changed_since, state);
            }
            Command::Store { uid, set, op, flags, silent, unchanged_since } => {
                self.condstore |= unchanged_since.is_some();
                let store = Store { uid, silent, uids: self.uids_of(&set, uid) };
                self.store(tag, store, op, flags, unchanged_since);
            }
            Command::Transfer { uid, set, to, moves } => self.transfer(tag, uid, &set, to, moves, state),
            _ => self.bad(&tag, "That cannot be done now"),
        }
    }

    /// A task's request was answered.
    pub(super) fn answered(&mut self, tag: String, task: Task, answer: Answer, state: &State) {
        match (task, answer) {
            (Task::Login | Task::Scram, answer) => self.login_answered(tag, answer),
            (Task::Secures, Answer::Secured) => self.secured(),
            (Task::Secures, _) => self.bye("TLS did not begin"),
            (Task::Select { mailbox, read_only }, Answer::Reached) => {
                self.select(&tag, mailbox, read_only, state)
            }
            (Task::Status { name, items }, Answer::Reached) => self.status(&tag, name, &items, state),
            (Task::Fetch(mut fetch), Answer::Letter(letter)) => {
                fetch.letter_came(Some(letter));
                self.resume(tag, Task::Fetch(fetch), state);
            }
            (Task::Fetch(mut fetch), Answer::Unavailable) => {
                fetch.letter_came(None);
                self.resume(tag, Task::Fetch(fetch), state);
            }
            // What FETCH asked first was to mark the letters as seen; it goes on whatever became of it.
            (Task::Fetch(mut fetch), answer) => {
                fetch.marked(answer);
                self.resume(tag, Task::Fetch(fetch), state);
            }
            (Task::Search(mut search), answer) => {
                let letter = if let Answer::Letter(letter) = answer { Some(letter) } else { None };
                search.letter_came(letter);
                self.resume(tag, Task::Search(search), state);
            }
            (task, Answer::Applied(outcome)) => self.applied(tag, task, outcome, state),
            (_, _) => self.no(&tag, "[UNAVAILABLE] That cannot be done now; try again later"),
        }
    }

    /// A task goes on by itself.
    pub(super) fn resume(&mut self, tag: String, task: Task, state: &State) {
        match task {
            Task::Fetch(fetch) => self.go_on_fetching(tag, fetch, state),
            Task::Search(search) => self.go_on_searching(tag, search, state),
            // Every other task waits for an answer or a line.
            _ => self.bye("Something went wrong"),
        }
    }

    /// A line that belongs to a task.
    pub(super) fn line_for(&mut self, tag: String, task: Task, parts: Vec<Part>, state: &State) {
        match task {
            Task::Sasl(sasl) => self.sasl_parts(tag, sasl, &parts),
            _ => {
                self.sync(state, true);
                let done = matches!(&parts[..], [Part::Text(text)] if text.eq_ignore_ascii_case(b"DONE"));
                if done {
                    return self.ok(&tag, "Done");
                }
                // A client that forgot to say DONE: its command is not lost.
                self.bad(&tag, "DONE was expected");
                if !self.is_closed() {
                    self.start(&parts, state);
                }
            }
        }
    }

    /// The mailbox of a name, or what the client is told.
    pub(super) fn mailbox_of(&self, name: Name, state: &State) -> Result<MailboxId, &'static str> {
        let name = name.map_err(|_| "[NONEXISTENT] There can be no such mailbox")?;
        let user = self.user.ok_or("Log in first")?;
        let mailbox = state.mailbox_named(user, &name).ok_or("[NONEXISTENT] There is no such mailbox")?;
        Ok(mailbox.id())
    }
}
