//! What changes letters: STORE, COPY, MOVE, EXPUNGE, CLOSE, APPEND, and what the client is told of it.

use bytes::Bytes;
use mail::command::{self, Expunge};
use mail::{EntryTime, FlagNames, FlagOp, Outcome, Refusal, State, UidSet};

use super::command::Name;
use super::cursor::Set;
use super::run::Task;
use super::session::Session;
use super::write;

/// A STORE that was proposed.
#[derive(Debug)]
pub(super) struct Store {
    pub uid: bool,
    pub silent: bool,
    pub uids: Vec<u32>,
}

/// A COPY or MOVE that was proposed.
#[derive(Debug)]
pub(super) struct Transfer {
    uid: bool,
    moves: bool,
}

/// An APPEND that was proposed.
#[derive(Debug)]
pub(super) struct Append;

impl Session {
    /// Whether the selected mailbox may be changed; else the client is told.
    fn may_change(&mut self, tag: &str) -> bool {
        let may = self.view.as_ref().is_some_and(|view| !view.read_only);
        if !may {
            self.no(tag, "[READ-ONLY] The mailbox was opened to be read");
        }
        may
    }

    pub(super) fn store(
        &mut self,
        tag: String,
        store: Store,
        op: FlagOp,
        flags: FlagNames,
        since: Option<u64>,
    ) {
        if !self.may_change(&tag) {
            return;
        }
        let Some(view) = &self.view else { return };
        let uids = UidSet::of(store.uids.iter().copied());
        let command = command::Store { mailbox: view.mailbox, uids, op, flags, unchanged_since: since };
        self.propose(tag, Task::Store(Box::new(store)), mail::Command::Store(command), None);
    }

    pub(super) fn transfer(
        &mut self,
        tag: String,
        uid: bool,
        set: &Set,
        to: Name,
        moves: bool,
        state: &State,
    ) {
        if moves && !self.may_change(&tag) {
            return;
        }
        let to = match self.mailbox_of(to, state) {
            Ok(to) => to,
            Err(why) => return self.no(&tag, &why.replace("[NONEXISTENT]", "[TRYCREATE]")),
        };
        let Some(view) = &self.view else { return };
        let uids = UidSet::of(self.uids_of(set, uid));
        let transfer = command::Transfer { from: view.mailbox, uids, to };
        let command = if moves { mail::Command::Move(transfer) } else { mail::Command::Copy(transfer) };
        self.propose(tag, Task::Transfer(Transfer { uid, moves }), command, None);
    }

    /// Only letters that the client knows: one that came meanwhile marked `\Deleted` is left to the next time.
    pub(super) fn expunge(&mut self, tag: String, set: Option<&Set>) {
        if !self.may_change(&tag) {
            return;
        }
        let Some(view) = &self.view else { return };
        let uids = match set {
            Some(set) => UidSet::of(self.uids_of(set, true)),
            None => UidSet::of(view.uids.iter().copied()),
        };
        let command = Expunge { mailbox: view.mailbox, uids, only_deleted: true };
        self.propose(tag, Task::Expunge { closes: false }, mail::Command::Expunge(command), None);
    }

    pub(super) fn close_mailbox(&mut self, tag: String) {
        let Some(view) = self.view.take() else { return };
        if view.read_only {
            return self.ok(&tag, "Done");
        }
        let uids = UidSet::of(view.uids.iter().copied());
        let command = Expunge { mailbox: view.mailbox, uids, only_deleted: true };
        self.propose(tag, Task::Expunge { closes: true }, mail::Command::Expunge(command), None);
    }

    pub(super) fn append(
        &mut self,
        tag: String,
        name: Name,
        flags: FlagNames,
        date: Option<EntryTime>,
        letter: Bytes,
        state: &State,
    ) {
        let mailbox = match self.mailbox_of(name, state) {
            Ok(mailbox) => mailbox,
            Err(why) => return self.no(&tag, &why.replace("[NONEXISTENT]", "[TRYCREATE]")),
        };
        if letter.is_empty() {
            return self.no(&tag, "[CANNOT] A letter of no bytes is none");
        }
        if letter.len() > self.config.letter_bytes_max {
            return self.no(&tag, "[TOOBIG] The letter is too long");
        }
        if let Err(refusal) = state.takes(mailbox, letter.len() as u32) {
            return self.refused(&tag, refusal);
        }
        let append = command::Append { mailbox, flags, date };
        self.propose(tag, Task::Append(Append), mail::Command::Append(append), Some(letter));
    }

    /// A proposed entry was applied.
    pub(super) fn applied(&mut self, tag: String, task: Task, outcome: Outcome, state: &State) {
        if let Outcome::Refused(refusal) = outcome {
            if let Task::Expunge { closes: true } = task {
                // The mailbox is closed; what was marked stays.
                return self.ok(&tag, "Closed; nothing was removed");
            }
            self.sync(state, false);
            return self.refused(&tag, refusal);
        }
        match (task, outcome) {
            (Task::Folders(text), _) => self.ok(&tag, text),
            (Task::Append(Append), Outcome::Appended { validity, uid }) => {
                self.sync(state, true);
                self.ok(&tag, &format!("[APPENDUID {validity} {uid}] Done"));
            }
            (Task::Store(store), Outcome::Stored { modseq, changed, modified }) => {
                self.stored(&tag, &store, modseq, &changed, &modified, state);
            }
            (Task::Transfer(transfer), Outcome::Copied { validity, from, to }) => {
                let (from, to) = (write::set(from.runs()), write::set(to.runs()));
                let code = if from.is_empty() {
                    String::new()
                } else {
                    format!("[COPYUID {validity} {from} {to}] ")
                };
                if transfer.moves {
                    if !code.is_empty() {
                        self.line(&format!("* OK {code}Moved"));
                    }
                    self.sync(state, true);
                    self.ok(&tag, "Done");
                } else {
                    self.sync(state, transfer.uid);
                    self.ok(&tag, &format!("{code}Done"));
                }
            }
            (Task::Expunge { closes: false }, Outcome::Expunged { .. }) => {
                self.sync(state, true);
                self.ok(&tag, self.done());
            }
            (_, _) => {
                self.sync(state, true);
                self.ok(&tag, "Done");
            }
        }
    }

    fn stored(
        &mut self,
        tag: &str,
        store: &Store,
        modseq: u64,
        changed: &UidSet,
        modified: &UidSet,
        state: &State,
    ) {
        if let Some(mut view) = self.view.take() {
            if let Some(mailbox) = state.mailbox(view.mailbox) {
                for uid in &store.uids {
                    let Some(record) = mailbox.by_uid(*uid) else { continue };
                    // With CONDSTORE a silent STORE still tells the MODSEQ (RFC 7162, 3.1.3).
                    let wanted = !store.silent || self.condstore && changed.contains(*uid);
                    if modified.contains(*uid) {
                        continue;
                    }
                    // What somebody else changed meanwhile is told by `sync`.
                    if record.modseq <= modseq {
                        view.tell(*uid, record.modseq);
                        if wanted {
                            self.tell_record(&view, mailbox, record, !store.silent);
                        }
                    }
                }
            }
            self.view = Some(view);
        }
        let numbers = match store.uid {
            true => modified.clone(),
            false => {
                let view = self.view.as_ref();
                let sequence = |uid| view.and_then(|view| view.sequence_of(uid));
                UidSet::of(modified.iter().filter_map(sequence).map(|n| n as u32))
            }
        };
        self.sync(state, store.uid);
        let code = match numbers.is_empty() {
            true => String::new(),
            false => format!("[MODIFIED {}] ", write::set(numbers.runs())),
        };
        self.ok(tag, &format!("{code}{}", self.done()));
    }

    fn done(&self) -> &'static str {
        if self.apart { "Done here; everywhere when there is a majority" } else { "Done" }
    }

    fn refused(&mut self, tag: &str, refusal: Refusal) {
        let code = match refusal {
            Refusal::OverQuota => "OVERQUOTA",
            Refusal::Full | Refusal::KeywordsFull => "LIMIT",
            Refusal::Exists => "ALREADYEXISTS",
            Refusal::NoMailbox | Refusal::NoUser => "NONEXISTENT",
            Refusal::NotPermitted => "NOPERM",
            Refusal::InUse => "INUSE",
            Refusal::PrimaryOnly | Refusal::NotEnrolled => "UNAVAILABLE",
            _ => "CANNOT",
        };
        self.no(tag, &format!("[{code}] {refusal}"));
    }
}
