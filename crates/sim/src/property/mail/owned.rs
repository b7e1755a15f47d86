//! The mailboxes of one user, as their owner has left them: it does one thing at a time, so that there is one version after
//! another, and a reader sees one of those between its question and its answer.

use std::collections::{BTreeMap, BTreeSet};

use ::mail::{Command, FlagNames, FlagOp, MailboxId, Outcome, UidSet};

use super::told::Request;
use crate::durable::{KEYWORD, Seen, keyword};

pub const INBOX: &str = "INBOX";

/// A mailbox that only its owner puts letters into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub validity: u32,
    /// By UID: which letter, and its flags.
    pub letters: BTreeMap<u32, (u64, u32)>,
    /// UIDs that are gone.
    pub gone: BTreeSet<u32>,
}

/// How everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub folders: BTreeMap<MailboxId, Kept>,
    /// Letters that the owner has put into INBOX, and those that it has taken out.
    pub added: BTreeSet<u64>,
    pub taken: BTreeSet<u64>,
    /// Flags of letters in INBOX; none of those that are not named.
    pub flags: BTreeMap<u64, u32>,
}

/// What came of one thing that was asked for at one observation and answered at another.
#[derive(Clone, Debug)]
pub struct Version {
    asked: usize,
    /// None: never answered, so that nobody knows what came of it.
    answered: Option<usize>,
    pub state: State,
}

/// A user's mailboxes through the run.
#[derive(Clone, Debug)]
pub struct Owned {
    inbox: Option<MailboxId>,
    /// Letters by UID, in INBOX, as they were seen at any time.
    names: BTreeMap<u32, u64>,
    /// The first is that before anything was done.
    versions: Vec<Version>,
}

impl Default for Owned {
    fn default() -> Owned {
        let first = Version { asked: 0, answered: Some(0), state: State::default() };
        Owned { inbox: None, names: BTreeMap::new(), versions: vec![first] }
    }
}

impl Owned {
    /// Somebody has seen this.
    pub fn show(&mut self, seen: &Seen) {
        for folder in seen.folders.iter().filter(|folder| folder.name == INBOX) {
            self.inbox = Some(folder.id);
            self.names.extend(folder.letters.iter().map(|shown| (shown.uid, shown.letter)));
        }
    }

    /// The owner asked for something, behind all that it had asked for before.
    pub fn did(&mut self, request: &Request) {
        let mut state = self.versions.last().map(|last| last.state.clone()).unwrap_or_default();
        if let Some(outcome) = &request.outcome {
            self.apply(&mut state, request, outcome);
        }
        self.versions.push(Version { asked: request.asked, answered: request.answered, state });
    }

    /// See [`Told::versions`](super::told::Told::versions).
    pub fn between(&self, asked: usize, done: usize) -> Option<Vec<&Version>> {
        let first = self.versions.partition_point(|one| one.answered.is_some_and(|at| at <= asked));
        let end = self.versions.partition_point(|one| one.asked <= done);
        let may = &self.versions[first - 1..end.max(first)];
        may.iter().all(|version| version.answered.is_some()).then(|| may.iter().collect())
    }

    fn apply(&self, state: &mut State, request: &Request, outcome: &Outcome) {
        match (&request.head.command, outcome) {
            (Command::Append(append), Outcome::Appended { uid, .. }) => {
                let flags = marks(&append.flags);
                match state.folders.get_mut(&append.mailbox) {
                    Some(folder) => drop(folder.letters.insert(*uid, (request.letter, flags))),
                    None => {
                        state.added.insert(request.letter);
                        state.flags.insert(request.letter, flags);
                    }
                }
            }
            (Command::Store(store), Outcome::Stored { modified, .. }) => {
                let new = |old: u32| change(store.op, old, marks(&store.flags));
                for uid in store.uids.iter().filter(|uid| !modified.contains(*uid)) {
                    self.set_flags(state, store.mailbox, uid, &new);
                }
            }
            (Command::Expunge(expunge), Outcome::Expunged { uids, .. }) => {
                for uid in uids.iter() {
                    self.take(state, expunge.mailbox, uid);
                }
            }
            (Command::Copy(transfer), Outcome::Copied { from, to, .. }) => {
                self.put(state, transfer.from, transfer.to, (from, to), false);
            }
            (Command::Move(transfer), Outcome::Copied { from, to, .. }) => {
                self.put(state, transfer.from, transfer.to, (from, to), true);
            }
            (Command::CreateMailbox(create), Outcome::Created { mailbox, validity }) => {
                let name = create.name.as_str().to_owned();
                state.folders.insert(*mailbox, Kept { name, validity: *validity, ..Kept::default() });
            }
            (Command::DeleteMailbox(named), Outcome::Done) => {
                state.folders.retain(|_, folder| folder.name != named.name.as_str());
            }
            (Command::RenameMailbox(rename), Outcome::Done) => {
                let mut folders = state.folders.values_mut();
                if let Some(folder) = folders.find(|folder| folder.name == rename.from.as_str()) {
                    folder.name = rename.to.as_str().to_owned();
                }
            }
            // What is not answered as it was asked is another promise's.
            _ => {}
        }
    }

    fn letter(&self, state: &State, mailbox: MailboxId, uid: u32) -> Option<(u64, u32)> {
        match state.folders.get(&mailbox) {
            Some(folder) => folder.letters.get(&uid).copied(),
            None => {
                self.inbox.filter(|inbox| *inbox == mailbox)?;
                let letter = *self.names.get(&uid).filter(|letter| !state.taken.contains(letter))?;
                Some((letter, state.flags.get(&letter).copied().unwrap_or(0)))
            }
        }
    }

    fn set_flags(&self, state: &mut State, mailbox: MailboxId, uid: u32, new: &dyn Fn(u32) -> u32) {
        let Some((letter, old)) = self.letter(state, mailbox, uid) else { return };
        match state.folders.get_mut(&mailbox) {
            Some(folder) => drop(folder.letters.insert(uid, (letter, new(old)))),
            None => drop(state.flags.insert(letter, new(old))),
        }
    }

    fn take(&self, state: &mut State, mailbox: MailboxId, uid: u32) {
        match state.folders.get_mut(&mailbox) {
            Some(folder) => {
                folder.letters.remove(&uid);
                folder.gone.insert(uid);
            }
            None => state.taken.extend(self.names.get(&uid)),
        }
    }

    fn put(
        &self,
        state: &mut State,
        from: MailboxId,
        to: MailboxId,
        (old, new): (&UidSet, &UidSet),
        is_move: bool,
    ) {
        for (old, new) in old.iter().zip(new.iter()) {
            let letter = self.letter(state, from, old);
            if is_move {
                self.take(state, from, old);
            }
            if let (Some(letter), Some(folder)) = (letter, state.folders.get_mut(&to)) {
                folder.letters.insert(new, letter);
            }
        }
    }
}

/// Flags as readers see them.
fn marks(names: &FlagNames) -> u32 {
    names.system.0 | if names.keywords.contains(&keyword()) { KEYWORD } else { 0 }
}

fn change(op: FlagOp, old: u32, named: u32) -> u32 {
    match op {
        FlagOp::Add => old | named,
        FlagOp::Remove => old & !named,
        FlagOp::Replace => named,
    }
}
