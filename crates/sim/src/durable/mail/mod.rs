//! Mail as the application of the group: the state machine as sites host it, and beside it what stands for the letters'
//! bodies, which a site keeps for as long as a mailbox points at them.

mod clients;
mod folders;
mod held;
mod letter;
mod requests;

use std::collections::BTreeMap;
use std::time::Duration;

use ::mail::{
    Bugs, Checkpoint, Entry, EntryTime, FlagNames, Limits, Mailbox, MailboxId, Position, Restore, State,
    UidSet, UserId,
};
use bytes::Bytes;
use durable::{Application, Applying, Locator, NotRestored, Parts};

use super::Options;
use super::plan::Plan;
use super::service::Service;
use crate::property::durable::Promise;
use crate::property::mail;
use crate::swarm::Profile;

pub use clients::{Clients, WORKLOAD};
pub(crate) use held::{Waiting, waiting};
pub(crate) use letter::{KEYWORD, keyword, number_of};
pub(crate) use requests::{DOMAIN, LIST, USERS};

/// The domains of a checkpoint: the state's chunks, by number, and the letters.
const CHUNKS: u16 = 1;
const LETTERS: u16 = 2;

/// The mean time between two acts of clients, at least.
const ACT_EVERY_MIN: Duration = Duration::from_millis(8);

/// The application.
#[derive(Clone, Debug)]
pub struct Post {
    state: State,
    /// Which letter each position's entry brought.
    letters: BTreeMap<Position, u64>,
    /// A checkpoint that is being read.
    chunks: Vec<Bytes>,
    bugs: Bugs,
}

/// All of a user's mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub user: UserId,
    /// Every mailbox, by id; none if there is no such user yet.
    pub folders: Vec<Folder>,
    /// What one of them said of its changes, if that was asked.
    pub changes: Option<Changes>,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub id: MailboxId,
    pub name: String,
    pub validity: u32,
    pub uid_next: u32,
    pub modseq: u64,
    /// By UID.
    pub letters: Vec<Shown>,
}

/// A letter in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub uid: u32,
    /// Which letter.
    pub letter: u64,
    /// The system's flags, and [`KEYWORD`].
    pub flags: u32,
    pub modseq: u64,
}

/// What a mailbox said to who knew it as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    pub mailbox: MailboxId,
    /// As of this MODSEQ.
    pub since: u64,
    /// Letters that came or changed.
    pub changed: Vec<Shown>,
    /// UIDs of letters that went.
    pub vanished: UidSet,
}

/// Whose mail, and of which mailbox the changes since which MODSEQ.
pub type Query = (UserId, Option<(MailboxId, u64)>);

impl Post {
    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn shown(&self, mailbox: &Mailbox, record: &::mail::Record) -> Shown {
        let names: FlagNames = mailbox.flag_names(record.flags);
        let flags = names.system.0 | if names.keywords.contains(&keyword()) { KEYWORD } else { 0 };
        // A letter that the site does not have is none that anybody sent.
        let letter = self.letters.get(&record.letter).copied().unwrap_or(0);
        Shown { uid: record.uid, letter, flags, modseq: record.modseq }
    }

    fn changes(&self, (id, since): (MailboxId, u64)) -> Option<Changes> {
        let mailbox = self.state.mailbox(id).filter(|mailbox| mailbox.status().modseq >= since)?;
        let changed = mailbox.changed_since(since).map(|record| self.shown(mailbox, record)).collect();
        Some(Changes { mailbox: id, since, changed, vanished: mailbox.vanished_since(since) })
    }
}

impl Application for Post {
    fn apply(&mut self, request: Applying) -> Bytes {
        let position = Position(request.position);
        let outcome = self.state.apply_bytes(position, EntryTime(request.clock), &request.payload);
        if self.state.is_live(position)
            && let Ok(letter) = Entry::letter_in(&request.payload)
        {
            self.letters.insert(position, number_of(letter));
        }
        wire::codec::encode(&outcome).to_vec().into()
    }

    fn snapshot(&self) -> Parts {
        let at = |number: u64| Locator { domain: CHUNKS, key: number.to_be_bytes().to_vec() };
        let chunks = (0..).zip(Checkpoint::of(&self.state)).map(move |(number, chunk)| (at(number), chunk));
        let live = self.letters.iter().filter(|(position, _)| self.state.is_live(**position));
        let bytes = live.flat_map(|(position, letter)| [position.0.to_be_bytes(), letter.to_be_bytes()]);
        let letters: Bytes = bytes.flatten().collect();
        Box::new(chunks.chain([(Locator { domain: LETTERS, key: Vec::new() }, letters)]))
    }

    fn restore(&mut self, at: &Locator, part: Bytes) -> Result<(), NotRestored> {
        match at.domain {
            CHUNKS => self.chunks.push(part),
            LETTERS => {
                let numbers: Vec<u64> = part.chunks_exact(8).map(number_of).collect();
                let pairs = numbers.chunks_exact(2).map(|pair| (Position(pair[0]), pair[1]));
                self.letters.extend(pairs);
            }
            domain => return Err(NotRestored { domain }),
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        self.state.digest().0 as u64
    }
}

impl Service for Post {
    type Query = Query;
    type Seen = Seen;
    type Clients = Clients;

    const PROFILE: Profile = Profile::Mail;
    const PIECE_BYTES: usize = 800;

    /// Each attempt is of a client of its own, and none is to be forgotten. Repeats are entries too, and a group with slow
    /// disks is not to be given more of them than it can take.
    fn adjust(plan: &mut Plan) {
        plan.act_every = plan.act_every.max(ACT_EVERY_MIN);
        plan.settings.window_clients = durable::Settings::default().window_clients;
    }

    fn new(options: &Options) -> Post {
        let bugs = options.mail;
        let state = State::new(Limits::default()).with_bugs(bugs);
        Post { state, letters: BTreeMap::new(), chunks: Vec::new(), bugs }
    }

    fn whole(&mut self) {
        let mut restore = Restore::with_bugs(self.bugs);
        for chunk in self.chunks.drain(..) {
            restore.read(&chunk).expect("a chunk that mail has written");
        }
        self.state = restore.finish().expect("a checkpoint that mail has written");
    }

    fn look(&self, (user, changes): Query) -> Seen {
        let mailboxes = self.state.user(user).into_iter().flat_map(|user| user.mailboxes());
        let folder = |id: MailboxId| {
            let mailbox = self.state.mailbox(id)?;
            let status = mailbox.status();
            Some(Folder {
                id,
                name: mailbox.name().as_str().to_owned(),
                validity: status.uid_validity,
                uid_next: status.uid_next,
                modseq: status.modseq,
                letters: mailbox.records().map(|record| self.shown(mailbox, record)).collect(),
            })
        };
        let mut folders: Vec<Folder> = mailboxes.filter_map(|(_, id)| folder(id)).collect();
        folders.sort_unstable_by_key(|folder| folder.id);
        Seen { user, folders, changes: changes.and_then(|since| self.changes(since)) }
    }

    /// # Panics
    ///
    /// The state contradicts itself, which is a violation.
    fn all(&self) -> Vec<Seen> {
        self.state.audit().expect("a sound state");
        self.state.users().map(|user| self.look((user.id(), None))).collect()
    }

    fn promises() -> Vec<Promise<Seen>> {
        mail::promises()
    }
}
