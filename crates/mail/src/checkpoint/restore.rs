//! Reading: chunk by chunk, believing nothing. Bytes that contradict themselves or the house's bounds are
//! refused before they can break an invariant; the digest at the end says that the rest is what was written.

use std::sync::Arc;

use super::FORMAT;
use super::item::{End, Item, LetterItem, MailboxItem, RecordItem, Start, UserItem};
use crate::bugs::Bugs;
use crate::command::Quota;
use crate::directory::{List, User};
use crate::ids::MailboxId;
use crate::letters::Letter;
use crate::limits::{
    APP_PASSWORDS_MAX, CHECKPOINT_CHUNK_BYTES_MAX, COUNT_MAX, KEYWORDS_MAX, LIST_MEMBERS_MAX,
    LIST_OWNERS_MAX, PASSWORD_HASH_BYTES_MAX, SALT_BYTES_MAX, TARGETS_MAX, TEXT_BYTES_MAX, VANISHED_RUNS_MAX,
};
use crate::mailbox::{Mailbox, Record, Vanished};
use crate::merged::Enrolled;
use crate::requests::Done;
use crate::state::State;

/// Bytes that are no checkpoint. What was read of it so far is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// A format of a later version.
    #[error("a checkpoint of format {0}, which this version does not know")]
    Format(u8),
    /// A chunk is empty or too long.
    #[error("a chunk of a checkpoint has {0} bytes")]
    Length(usize),
    /// An item cannot be read.
    #[error("an item of a checkpoint cannot be read: {0}")]
    Unreadable(String),
    /// An item that cannot stand where it stands.
    #[error("a checkpoint contradicts itself: {0}")]
    Contradiction(&'static str),
    /// It is not the state that was written.
    #[error("a checkpoint is damaged: {0}")]
    Damaged(String),
    /// There is more to come.
    #[error("a checkpoint ends early")]
    Unfinished,
}

use BadCheckpoint::Contradiction;

/// A checkpoint being read: give it every chunk in order, then take the state.
#[derive(Default)]
pub struct Restore {
    state: Option<State>,
    chunks: u64,
    end: Option<End>,
    bugs: Bugs,
}

impl Restore {
    /// Nothing read yet.
    pub fn new() -> Restore {
        Restore::default()
    }

    /// The same of a state with bugs; none in the shipped program.
    pub fn with_bugs(bugs: Bugs) -> Restore {
        Restore { bugs, ..Restore::default() }
    }

    /// How many chunks were read: the number, from 0, of the next.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Takes in the next chunk.
    pub fn read(&mut self, chunk: &[u8]) -> Result<(), BadCheckpoint> {
        if chunk.len() > CHECKPOINT_CHUNK_BYTES_MAX {
            return Err(BadCheckpoint::Length(chunk.len()));
        }
        let Some((format, items)) = chunk.split_first().filter(|(_, items)| !items.is_empty()) else {
            return Err(BadCheckpoint::Length(chunk.len()));
        };
        if *format != FORMAT {
            return Err(BadCheckpoint::Format(*format));
        }
        self.chunks += 1;
        let mut decoder = minicbor::Decoder::new(items);
        while decoder.position() < items.len() {
            let item = decoder.decode().map_err(|e| BadCheckpoint::Unreadable(e.to_string()))?;
            self.take(item)?;
        }
        Ok(())
    }

    /// The state, if all of it came and it is what was written.
    pub fn finish(self) -> Result<State, BadCheckpoint> {
        let (Some(state), Some(end)) = (self.state, self.end) else { return Err(BadCheckpoint::Unfinished) };
        if end.chunks != self.chunks {
            return Err(BadCheckpoint::Unfinished);
        }
        state.audit().map_err(BadCheckpoint::Damaged)?;
        if state.digest().0.to_be_bytes() != end.digest || state.position != end.position {
            return Err(BadCheckpoint::Damaged("its digest is another".to_owned()));
        }
        Ok(state)
    }

    fn take(&mut self, item: Item) -> Result<(), BadCheckpoint> {
        if self.end.is_some() {
            return Err(Contradiction("items behind the end"));
        }
        let Some(state) = &mut self.state else {
            let Item::Start(start) = item else { return Err(Contradiction("no start")) };
            ensure(start.freed_bytes.max(start.freed_letters) <= COUNT_MAX, "what was freed")?;
            self.state = Some(begin(&start).with_bugs(self.bugs));
            return Ok(());
        };
        match item {
            Item::Start(_) => Err(Contradiction("two starts")),
            Item::User(user) => take_user(state, user),
            Item::Subscriptions(user, names) => {
                let max = state.limits.mailboxes_max as usize;
                let user = state.directory.user_mut(user).ok_or(Contradiction("names of nobody"))?;
                user.subscriptions.extend(names);
                ensure(user.subscriptions.len() <= max, "too many subscriptions")
            }
            Item::Domain(domain, catch_all) => {
                state.directory.domains.insert(domain, catch_all);
                ensure(state.directory.domains.len() <= state.limits.domains_max as usize, "too many domains")
            }
            Item::Alias(address, targets) => {
                let max = state.limits.aliases_max as usize;
                if !state.directory.aliases.contains_key(&address) {
                    state.directory.aliases.insert(address.clone(), Arc::default());
                }
                let known = state.directory.aliases.get_mut(&address).expect("it was put there");
                let known = Arc::make_mut(known);
                ensure(!targets.is_empty(), "an alias without targets")?;
                known.extend(targets);
                ensure(known.len() <= TARGETS_MAX && known.is_sorted(), "the targets of an alias")?;
                ensure(state.directory.aliases.len() <= max, "too many aliases")
            }
            Item::List(address, owners, posting) => {
                ensure(owners.len() <= LIST_OWNERS_MAX, "too many owners")?;
                let list = List { members: Vec::new(), owners, posting };
                let before = state.directory.lists.insert(address, Arc::new(list));
                ensure(before.is_none(), "two lists of one address")?;
                ensure(state.directory.lists.len() <= state.limits.aliases_max as usize, "too many lists")
            }
            Item::Members(address, members) => {
                let list =
                    state.directory.lists.get_mut(&address).ok_or(Contradiction("members of no list"))?;
                let known = &mut Arc::make_mut(list).members;
                known.extend(members);
                ensure(known.len() <= LIST_MEMBERS_MAX && known.is_sorted(), "the members of a list")
            }
            Item::Letters(letters) => letters.iter().try_for_each(|letter| take_letter(state, letter)),
            Item::Mailbox(mailbox) => take_mailbox(state, mailbox),
            Item::Records(mailbox, records) => take_records(state, mailbox, &records),
            Item::Requests(requests) => requests.into_iter().try_for_each(|done| take_request(state, done)),
            Item::Store(store, held_validity) => {
                let enrolled = Enrolled { held_validity, merged: Vec::new() };
                ensure(held_validity <= state.last_validity, "a store's UIDVALIDITY")?;
                let before = state.merged.stores.insert(store, enrolled);
                ensure(before.is_none(), "one store twice")?;
                ensure(state.merged.stores.len() <= state.limits.stores_max as usize, "too many stores")
            }
            Item::Merged(store, runs) => {
                let store = state.merged.stores.get_mut(&store).ok_or(Contradiction("runs of no store"))?;
                for (first, last) in runs {
                    let above = store.merged.last().map_or(0, |(_, last)| *last);
                    let apart =
                        above.checked_add(1).is_some_and(|next| first > next || above == 0 && first == 1);
                    ensure(apart && first <= last && last <= COUNT_MAX, "what was merged")?;
                    store.merged.push((first, last));
                }
                ensure(store.merged.len() <= state.limits.merged_runs_max as usize, "too many runs")
            }
            Item::HeldLetter(id, position) => {
                let right = state.merged.contains(id) && state.is_live(position);
                ensure(right && state.merged.letter(id).is_none(), "a held letter")?;
                state.merged.remember_letter(id, position);
                Ok(())
            }
            Item::Awaited(id, user) => {
                ensure(state.directory.user(user).is_some() && !state.merged.contains(id), "what waits")?;
                state.merged.awaited.insert((id, user));
                ensure(state.merged.awaited.len() <= state.limits.awaited_max as usize, "too much waits")
            }
            Item::End(end) => {
                self.end = Some(end);
                Ok(())
            }
        }
    }
}

fn begin(start: &Start) -> State {
    let mut state = State::new(start.limits);
    state.position = start.position;
    state.now = start.now;
    state.last_user = start.last_user;
    state.last_mailbox = start.last_mailbox;
    state.last_validity = start.last_validity;
    state.letters.set_freed(start.freed_letters, start.freed_bytes);
    state
}

fn take_user(state: &mut State, item: UserItem) -> Result<(), BadCheckpoint> {
    let salts = item.app_passwords.iter().all(|p| p.scram.salt.len() <= SALT_BYTES_MAX);
    let labels = item.app_passwords.iter().all(|p| p.label.len() <= TEXT_BYTES_MAX);
    ensure(salts && labels && item.app_passwords.len() <= APP_PASSWORDS_MAX, "application passwords")?;
    ensure(item.freed_bytes <= COUNT_MAX, "what was freed")?;
    let hash = item.password.as_deref().map_or(0, str::len);
    ensure(hash <= PASSWORD_HASH_BYTES_MAX, "a password hash")?;
    let above = state.directory.users.last_key().is_none_or(|last| *last < item.id);
    ensure(above && item.id <= state.last_user, "a user's number")?;
    let UserItem { id, name, password, app_passwords, privileged, quota, credentials_changed, freed_bytes } =
        item;
    let Quota { bytes_max, letters_max } = quota;
    let named = state.directory.names.insert(name.clone(), id);
    ensure(named.is_none(), "two users of one name")?;
    let user = User {
        id,
        name,
        password,
        app_passwords,
        privileged,
        quota: Quota { bytes_max, letters_max },
        credentials_changed,
        subscriptions: Default::default(),
        freed_bytes,
        mailboxes: Default::default(),
        bytes: 0,
        letters: 0,
    };
    state.directory.users.insert(id, Arc::new(user));
    ensure(state.directory.users.len() <= state.limits.users_max as usize, "too many users")
}

fn take_letter(state: &mut State, item: &LetterItem) -> Result<(), BadCheckpoint> {
    let last = state.letters.last().map(|letter| letter.position);
    let right = last.is_none_or(|last| last < item.position) && item.position <= state.position;
    ensure(right, "a letter's position")?;
    let LetterItem { position, date, bytes } = *item;
    state.letters.push(Letter { position, date, bytes, references: 0 });
    Ok(())
}

fn take_mailbox(state: &mut State, item: MailboxItem) -> Result<(), BadCheckpoint> {
    let above = state.mailboxes.last_key().is_none_or(|last| *last < item.id);
    ensure(above && item.id <= state.last_mailbox, "a mailbox's number")?;
    ensure(item.keywords.len() <= KEYWORDS_MAX, "too many keywords")?;
    ensure(item.vanished.len() <= VANISHED_RUNS_MAX, "too much vanished")?;
    let right = item.uid_next > 0 && (1..=item.uid_next).contains(&item.recent_from);
    let right = right && item.modseq <= COUNT_MAX && item.validity <= state.last_validity;
    ensure(right, "a mailbox's numbers")?;
    let max = state.limits.mailboxes_max as usize;
    let user = state.directory.user_mut(item.owner).ok_or(Contradiction("a mailbox of nobody"))?;
    ensure(user.mailboxes.len() < max && !item.name.is_held(), "a user's mailboxes")?;
    let before = user.mailboxes.insert(item.name.clone(), item.id);
    ensure(before.is_none(), "two mailboxes of one name")?;
    let mut mailbox = Mailbox::new(item.id, item.owner, item.name, item.validity);
    mailbox.uid_next = item.uid_next;
    mailbox.modseq = item.modseq;
    mailbox.recent_from = item.recent_from;
    mailbox.special_use = item.special_use;
    mailbox.keywords = crate::flags::Keywords::of_names(item.keywords);
    mailbox.vanished_floor = item.vanished_floor;
    for (modseq, first, last) in item.vanished {
        ensure(0 < first && first <= last && last < item.uid_next, "what vanished")?;
        mailbox.vanished.push_back(Vanished { modseq, first, last });
    }
    state.mailboxes.insert(item.id, Arc::new(mailbox));
    Ok(())
}

fn take_records(state: &mut State, id: MailboxId, items: &[RecordItem]) -> Result<(), BadCheckpoint> {
    let mailbox = state.mailboxes.get_mut(&id).ok_or(Contradiction("records of no mailbox"))?;
    let mailbox = Arc::make_mut(mailbox);
    let user = state.directory.user_mut(mailbox.owner).ok_or(Contradiction("a mailbox of nobody"))?;
    for item in items {
        let last = mailbox.records().next_back().map_or(0, |record| record.uid);
        let letter = state.letters.get(item.letter).ok_or(Contradiction("a record without a letter"))?;
        let right = last < item.uid && item.uid < mailbox.uid_next && item.modseq <= mailbox.modseq;
        ensure(right && mailbox.keywords.covers(item.flags), "a record's numbers")?;
        ensure(letter.references < u32::MAX && user.letters < u32::MAX, "too many records")?;
        user.count_added(u64::from(letter.bytes), 1);
        mailbox.restore(Record::from(*item), letter.bytes);
        state.letters.refer(item.letter);
    }
    Ok(())
}

fn take_request(state: &mut State, done: Done) -> Result<(), BadCheckpoint> {
    let right = state.requests.follows(&done) && done.position <= state.position && done.time <= state.now;
    ensure(right, "a request")?;
    let room = state.requests.len() < state.limits.requests_max as usize;
    ensure(room, "too many requests")?;
    state.requests.remember(done, state.limits.requests_max);
    Ok(())
}

fn ensure(right: bool, what: &'static str) -> Result<(), BadCheckpoint> {
    if right { Ok(()) } else { Err(Contradiction(what)) }
}
