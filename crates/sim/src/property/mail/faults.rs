//! What is wrong with what a reader was shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ::mail::UserId;

use super::owned::{INBOX, Kept, State};
use super::told::Told;
use crate::durable::{Folder, Seen};

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A letter is not there.
    Missing(u64),
    /// A letter is there twice.
    Twice(u64),
    /// A letter that nobody sent there is there.
    Strange(u64),
    /// A letter that was removed is there.
    Undeleted(u64),
    /// A letter has these flags, and should have those.
    Flags(u64, u32, u32),
    /// A mailbox of this name is not as its owner has left it: not there, there, or under another name.
    Folder(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing(letter) => write!(f, "letter {letter:x} is not there"),
            Fault::Twice(letter) => write!(f, "letter {letter:x} is there twice"),
            Fault::Strange(letter) => write!(f, "letter {letter:x} was never sent there"),
            Fault::Undeleted(letter) => write!(f, "letter {letter:x} was removed and is there"),
            Fault::Flags(letter, are, should) => {
                write!(f, "letter {letter:x} has the flags {are:x} and not {should:x}")
            }
            Fault::Folder(name) => write!(f, "mailbox {name:?} is not as it was left"),
        }
    }
}

/// Letters that came to a user by themselves: those that a reader must see and those that it may, unless their owner has taken
/// them out; and those of which nothing is asked.
struct Came {
    must: BTreeSet<u64>,
    may: BTreeSet<u64>,
    aside: BTreeSet<u64>,
}

impl Came {
    /// To a reader who asked and was answered at these observations. `in_the_end`: also what was promised for later must be
    /// there.
    fn of(told: &Told, user: UserId, (asked, done): (usize, usize), in_the_end: bool) -> Came {
        let sent = || told.letters.iter().filter(|(_, letter)| letter.to.contains(&user));
        let must = sent().filter(|(_, letter)| {
            let is_answered = letter.answered.is_some_and(|at| at <= asked);
            is_answered || (in_the_end && letter.is_held)
        });
        let may = sent().filter(|(_, letter)| letter.asked <= done);
        let aside = told.discarded.keys().filter(|(of, _)| *of == user).map(|(_, letter)| *letter);
        Came {
            must: must.map(|(number, _)| *number).collect(),
            may: may.map(|(number, _)| *number).collect(),
            aside: aside.collect(),
        }
    }
}

/// What is wrong with what a reader was shown who asked and was answered at these observations; none if one of the versions
/// explains it, or nobody can say.
pub fn faults(told: &Told, seen: &Seen, between: (usize, usize), in_the_end: bool) -> Vec<Fault> {
    let Some(versions) = told.versions(seen.user, between.0, between.1) else { return Vec::new() };
    let came = Came::of(told, seen.user, between, in_the_end);
    let mut last = Vec::new();
    for version in versions {
        last = compare(&version.state, &came, seen);
        if last.is_empty() {
            return last;
        }
    }
    last
}

fn compare(state: &State, came: &Came, seen: &Seen) -> Vec<Fault> {
    let mut faults = Vec::new();
    let inbox = seen.folders.iter().find(|folder| folder.name == INBOX);
    compare_inbox(state, came, inbox, &mut faults);
    for folder in seen.folders.iter().filter(|folder| folder.name != INBOX) {
        match state.folders.get(&folder.id) {
            Some(kept) if kept.name == folder.name && kept.validity == folder.validity => {
                compare_folder(kept, came, folder, &mut faults);
            }
            _ => faults.push(Fault::Folder(folder.name.clone())),
        }
    }
    let shown: BTreeSet<_> = seen.folders.iter().map(|folder| folder.id).collect();
    let missing = state.folders.iter().filter(|(id, _)| !shown.contains(id));
    faults.extend(missing.map(|(_, kept)| Fault::Folder(kept.name.clone())));
    faults
}

fn compare_inbox(state: &State, came: &Came, inbox: Option<&Folder>, faults: &mut Vec<Fault>) {
    let mut there = BTreeMap::new();
    for shown in inbox.into_iter().flat_map(|inbox| &inbox.letters) {
        if there.insert(shown.letter, shown.flags).is_some() {
            faults.push(Fault::Twice(shown.letter));
        }
    }
    let must = came.must.union(&state.added).filter(|letter| !state.taken.contains(letter));
    let missing = must.filter(|letter| !there.contains_key(letter) && !came.aside.contains(letter));
    faults.extend(missing.map(|letter| Fault::Missing(*letter)));
    for (letter, flags) in there.into_iter().filter(|(letter, _)| !came.aside.contains(letter)) {
        let left = state.flags.get(&letter).copied().unwrap_or(0);
        if state.taken.contains(&letter) {
            faults.push(Fault::Undeleted(letter));
        } else if !came.may.contains(&letter) && !state.added.contains(&letter) {
            faults.push(Fault::Strange(letter));
        } else if left != flags {
            faults.push(Fault::Flags(letter, flags, left));
        }
    }
}

fn compare_folder(kept: &Kept, came: &Came, folder: &Folder, faults: &mut Vec<Fault>) {
    let there: BTreeMap<u32, (u64, u32)> =
        folder.letters.iter().map(|shown| (shown.uid, (shown.letter, shown.flags))).collect();
    let asked = |letters: &BTreeMap<u32, (u64, u32)>| -> Vec<(u32, (u64, u32))> {
        let asked = letters.iter().filter(|(_, (letter, _))| !came.aside.contains(letter));
        asked.map(|(uid, letter)| (*uid, *letter)).collect()
    };
    for (uid, (letter, flags)) in asked(&there) {
        match kept.letters.get(&uid) {
            Some((known, left)) if *known == letter => {
                if *left != flags {
                    faults.push(Fault::Flags(letter, flags, *left));
                }
            }
            _ if kept.gone.contains(&uid) => faults.push(Fault::Undeleted(letter)),
            _ => faults.push(Fault::Strange(letter)),
        }
    }
    let missing = asked(&kept.letters).into_iter().filter(|(uid, _)| !there.contains_key(uid));
    faults.extend(missing.map(|(_, (letter, _))| Fault::Missing(letter)));
}
