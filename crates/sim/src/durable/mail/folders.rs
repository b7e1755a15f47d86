//! The owner of mailboxes: one thing at a time, so that it knows what it has, whatever it has been shown.

use std::collections::BTreeMap;

use ::mail::command::{Append, CreateMailbox, Expunge, NamedMailbox, RenameMailbox, Store, Transfer};
use ::mail::{Command, FlagNames, FlagOp, Flags, MailboxId, MailboxName, Outcome, UidSet, UserId};

use super::letter::{KEYWORD, keyword};
use super::{Folder, Seen};
use crate::dice::Dice;

/// The names of mailboxes that come and go.
const NAMES: [&str; 3] = ["a", "b", "b/c"];
/// Letters that one command names.
const LETTERS_MAX: usize = 3;

/// What it did.
#[derive(Clone, Debug)]
pub enum Did {
    /// Something to letters; its name in the coverage.
    Letters(&'static str),
    /// It made a mailbox of this name.
    Created(MailboxName),
    /// It removed one.
    Deleted(MailboxName),
    /// It renamed one.
    Renamed(MailboxName, MailboxName),
}

impl Did {
    /// Its name in the coverage.
    pub fn name(&self) -> &'static str {
        match self {
            Did::Letters(name) => name,
            Did::Created(_) => "mail: mailbox made",
            Did::Deleted(_) => "mail: mailbox removed",
            Did::Renamed(..) => "mail: mailbox renamed",
        }
    }
}

/// What an owner knows of its mailboxes but INBOX.
#[derive(Clone, Debug)]
pub struct Owner {
    pub user: UserId,
    folders: BTreeMap<MailboxName, MailboxId>,
    /// Names that had a mailbox once.
    used: Vec<MailboxName>,
}

impl Owner {
    pub fn new(user: UserId) -> Owner {
        Owner { user, folders: BTreeMap::new(), used: Vec::new() }
    }

    /// What to do next; none if it has not seen enough yet.
    pub fn next(&self, dice: &mut Dice, seen: Option<&Seen>) -> Option<(Did, Command)> {
        match dice.below(20) {
            0..=3 => self.append(dice, seen),
            4..=5 => self.create(dice),
            6 => self.delete(dice),
            7 => self.rename(dice),
            8..=12 => self.flag(dice, seen),
            13..=15 => self.expunge(dice, seen),
            _ => self.transfer(dice, seen),
        }
    }

    /// What it did was done.
    pub fn done(&mut self, did: &Did, outcome: &Outcome) -> Option<&'static str> {
        match (did, outcome) {
            (Did::Created(name), Outcome::Created { mailbox, .. }) => {
                self.folders.insert(name.clone(), *mailbox);
                if self.used.contains(name) {
                    return Some("mail: mailbox made again");
                }
                self.used.push(name.clone());
            }
            (Did::Deleted(name), _) => drop(self.folders.remove(name)),
            (Did::Renamed(from, to), _) => {
                if let Some(id) = self.folders.remove(from) {
                    self.folders.insert(to.clone(), id);
                    self.used.push(to.clone());
                }
            }
            (Did::Letters(_), Outcome::Stored { modified, .. }) if !modified.is_empty() => {
                return Some("mail: passed over, since it had changed");
            }
            (Did::Created(_) | Did::Letters(_), _) => {}
        }
        None
    }

    fn append(&self, dice: &mut Dice, seen: Option<&Seen>) -> Option<(Did, Command)> {
        let inbox = seen.and_then(|seen| inbox(seen)).map(|inbox| inbox.id);
        let all: Vec<MailboxId> = self.folders.values().copied().chain(inbox).collect();
        let mailbox = *pick(dice, &all)?;
        let append = Append { mailbox, flags: flags(dice), date: None };
        Some((Did::Letters("mail: letter appended"), Command::Append(append)))
    }

    fn create(&self, dice: &mut Dice) -> Option<(Did, Command)> {
        let free: Vec<MailboxName> = names().filter(|name| !self.folders.contains_key(name)).collect();
        let name = pick(dice, &free)?.clone();
        let create = CreateMailbox { user: self.user, name: name.clone(), special_use: None };
        Some((Did::Created(name), Command::CreateMailbox(create)))
    }

    fn delete(&self, dice: &mut Dice) -> Option<(Did, Command)> {
        let all: Vec<&MailboxName> = self.folders.keys().collect();
        let name = (*pick(dice, &all)?).clone();
        let named = NamedMailbox { user: self.user, name: name.clone() };
        Some((Did::Deleted(name), Command::DeleteMailbox(named)))
    }

    /// A mailbox without others below it gets a name that nobody has.
    fn rename(&self, dice: &mut Dice) -> Option<(Did, Command)> {
        let has_below = |name: &MailboxName| self.folders.keys().any(|other| other.is_below(name));
        let all: Vec<&MailboxName> = self.folders.keys().filter(|name| !has_below(name)).collect();
        let from = (*pick(dice, &all)?).clone();
        let free = names().filter(|name| !self.folders.contains_key(name) && !name.is_below(&from));
        let to = pick(dice, &free.collect::<Vec<_>>())?.clone();
        let rename = RenameMailbox { user: self.user, from: from.clone(), to: to.clone() };
        Some((Did::Renamed(from, to), Command::RenameMailbox(rename)))
    }

    fn flag(&self, dice: &mut Dice, seen: Option<&Seen>) -> Option<(Did, Command)> {
        let (folder, uids) = self.some(dice, seen?)?;
        let op = *dice.pick(&[FlagOp::Add, FlagOp::Remove, FlagOp::Replace]);
        let unchanged_since = dice.chance(200).then_some(folder.modseq);
        let store = Store { mailbox: folder.id, uids, op, flags: flags(dice), unchanged_since };
        Some((Did::Letters("mail: flags set"), Command::Store(store)))
    }

    fn expunge(&self, dice: &mut Dice, seen: Option<&Seen>) -> Option<(Did, Command)> {
        let (folder, uids) = self.some(dice, seen?)?;
        let only_deleted = dice.chance(200);
        let expunge = Expunge { mailbox: folder.id, uids, only_deleted };
        Some((Did::Letters("mail: letters expunged"), Command::Expunge(expunge)))
    }

    /// Letters go from wherever they are to a mailbox that is not INBOX.
    fn transfer(&self, dice: &mut Dice, seen: Option<&Seen>) -> Option<(Did, Command)> {
        let (folder, uids) = self.some(dice, seen?)?;
        let all: Vec<MailboxId> = self.folders.values().copied().filter(|id| *id != folder.id).collect();
        let transfer = Transfer { from: folder.id, uids, to: *pick(dice, &all)? };
        Some(match dice.chance(500) {
            true => (Did::Letters("mail: letters moved"), Command::Move(transfer)),
            false => (Did::Letters("mail: letters copied"), Command::Copy(transfer)),
        })
    }

    /// Some letters that were seen, in a mailbox that is still there.
    fn some<'a>(&self, dice: &mut Dice, seen: &'a Seen) -> Option<(&'a Folder, UidSet)> {
        let is_there = |folder: &Folder| {
            folder.name == MailboxName::inbox().as_str() || self.folders.values().any(|id| *id == folder.id)
        };
        let folders = seen.folders.iter().filter(|folder| is_there(folder) && !folder.letters.is_empty());
        let folder = *pick(dice, &folders.collect::<Vec<_>>())?;
        let count = 1 + dice.index(LETTERS_MAX);
        let uids = (0..count).map(|_| dice.pick(&folder.letters).uid);
        Some((folder, UidSet::of(uids)))
    }
}

fn names() -> impl Iterator<Item = MailboxName> {
    NAMES.iter().map(|name| MailboxName::parse(name).expect("a good name"))
}

fn inbox(seen: &Seen) -> Option<&Folder> {
    seen.folders.iter().find(|folder| folder.name == MailboxName::inbox().as_str())
}

fn pick<'a, T>(dice: &mut Dice, all: &'a [T]) -> Option<&'a T> {
    if all.is_empty() { None } else { Some(dice.pick(all)) }
}

/// Some of the system's flags and a keyword.
fn flags(dice: &mut Dice) -> FlagNames {
    let bits = dice.below(u64::from(KEYWORD) << 1) as u32;
    let keywords = if bits & KEYWORD == 0 { Vec::new() } else { vec![keyword()] };
    FlagNames { system: Flags(bits).and(Flags::SYSTEM), keywords }
}
