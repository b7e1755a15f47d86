//! What a checkpoint is made of. Counts and sums are not written where they follow from the rest: restoring
//! makes them anew, so a checkpoint cannot contradict itself there.

use minicbor::{Decode, Encode};
use wire::StoreId;

use crate::address::{Address, Domain};
use crate::bugs::{Bug, Bugs};
use crate::command::{Posting, Quota, SpecialUse};
use crate::directory::{AppPassword, User};
use crate::flags::{Flags, Keyword};
use crate::ids::{EntryTime, MailboxId, Position, SpoolId, UserId};
use crate::letters::Letter;
use crate::limits::Limits;
use crate::mailbox::{Mailbox, Record};
use crate::name::{MailboxName, UserName};
use crate::requests::Done;
use crate::state::State;

/// Names, addresses or runs in one item; longer lists go on in the next.
const PART: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Item {
    #[n(0)]
    Start(#[n(0)] Start),
    #[n(1)]
    User(#[n(0)] UserItem),
    #[n(2)]
    Subscriptions(#[n(0)] UserId, #[n(1)] Vec<MailboxName>),
    #[n(3)]
    Domain(#[n(0)] Domain, #[n(1)] Option<Address>),
    #[n(4)]
    Alias(#[n(0)] Address, #[n(1)] Vec<Address>),
    #[n(5)]
    List(#[n(0)] Address, #[n(1)] Vec<UserId>, #[n(2)] Posting),
    #[n(6)]
    Members(#[n(0)] Address, #[n(1)] Vec<Address>),
    #[n(7)]
    Letters(#[n(0)] Vec<LetterItem>),
    #[n(8)]
    Mailbox(#[n(0)] MailboxItem),
    #[n(9)]
    Records(#[n(0)] MailboxId, #[n(1)] Vec<RecordItem>),
    #[n(10)]
    Requests(#[n(0)] Vec<Done>),
    #[n(11)]
    Store(#[n(0)] StoreId, #[n(1)] u32),
    #[n(12)]
    Merged(#[n(0)] StoreId, #[n(1)] Vec<(u64, u64)>),
    #[n(13)]
    HeldLetter(#[n(0)] SpoolId, #[n(1)] Position),
    #[n(14)]
    Awaited(#[n(0)] SpoolId, #[n(1)] UserId),
    #[n(15)]
    End(#[n(0)] End),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Start {
    #[n(0)]
    pub limits: Limits,
    #[n(1)]
    pub position: Position,
    #[n(2)]
    pub now: EntryTime,
    #[n(3)]
    pub last_user: UserId,
    #[n(4)]
    pub last_mailbox: MailboxId,
    #[n(5)]
    pub last_validity: u32,
    #[n(6)]
    pub freed_letters: u64,
    #[n(7)]
    pub freed_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct UserItem {
    #[n(0)]
    pub id: UserId,
    #[n(1)]
    pub name: UserName,
    #[n(2)]
    pub password: Option<Box<str>>,
    #[n(3)]
    pub app_passwords: Vec<AppPassword>,
    #[n(4)]
    pub privileged: bool,
    #[n(5)]
    pub quota: Quota,
    #[n(6)]
    pub credentials_changed: Position,
    #[n(7)]
    pub freed_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct MailboxItem {
    #[n(0)]
    pub id: MailboxId,
    #[n(1)]
    pub owner: UserId,
    #[n(2)]
    pub name: MailboxName,
    #[n(3)]
    pub validity: u32,
    #[n(4)]
    pub uid_next: u32,
    #[n(5)]
    pub modseq: u64,
    #[n(6)]
    pub recent_from: u32,
    #[n(7)]
    pub special_use: Option<SpecialUse>,
    #[n(8)]
    pub keywords: Vec<Keyword>,
    #[n(9)]
    pub vanished: Vec<(u64, u32, u32)>,
    #[n(10)]
    pub vanished_floor: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct LetterItem {
    #[n(0)]
    pub position: Position,
    #[n(1)]
    pub date: EntryTime,
    #[n(2)]
    pub bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RecordItem {
    #[n(0)]
    pub uid: u32,
    #[n(1)]
    pub flags: Flags,
    #[n(2)]
    pub modseq: u64,
    #[n(3)]
    pub letter: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct End {
    /// Chunks, this one included.
    #[n(0)]
    pub chunks: u64,
    /// The state's digest, big endian.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: [u8; 16],
    /// The state's position again: it is no part of the digest.
    #[n(2)]
    pub position: Position,
}

impl From<&Letter> for LetterItem {
    fn from(letter: &Letter) -> LetterItem {
        LetterItem { position: letter.position, date: letter.date, bytes: letter.bytes }
    }
}

impl From<&Record> for RecordItem {
    fn from(record: &Record) -> RecordItem {
        let Record { uid, flags, modseq, letter } = *record;
        RecordItem { uid, flags, modseq, letter }
    }
}

impl From<RecordItem> for Record {
    fn from(item: RecordItem) -> Record {
        let RecordItem { uid, flags, modseq, letter } = item;
        Record { uid, flags, modseq, letter }
    }
}

pub(crate) fn start(state: &State) -> Item {
    let storage = state.letters.storage();
    Item::Start(Start {
        limits: state.limits,
        position: state.position,
        now: state.now,
        last_user: state.last_user,
        last_mailbox: state.last_mailbox,
        last_validity: state.checkpoint_validity(),
        freed_letters: storage.freed_letters,
        freed_bytes: storage.freed_bytes,
    })
}

pub(crate) fn user(user: &User) -> impl Iterator<Item = Item> {
    let item = Item::User(UserItem {
        id: user.id,
        name: user.name.clone(),
        password: user.password.clone(),
        app_passwords: user.app_passwords.clone(),
        privileged: user.privileged,
        quota: user.quota,
        credentials_changed: user.credentials_changed,
        freed_bytes: user.freed_bytes,
    });
    let names: Vec<MailboxName> = user.subscriptions.iter().cloned().collect();
    let id = user.id;
    std::iter::once(item).chain(parts(names, move |part| Item::Subscriptions(id, part)))
}

pub(crate) fn mailbox(mailbox: &Mailbox, bugs: Bugs) -> Item {
    let mut item = MailboxItem {
        id: mailbox.id,
        owner: mailbox.owner,
        name: mailbox.name.clone(),
        validity: mailbox.validity,
        uid_next: mailbox.uid_next,
        modseq: mailbox.modseq,
        recent_from: mailbox.recent_from,
        special_use: mailbox.special_use,
        keywords: mailbox.keywords().cloned().collect(),
        vanished: mailbox.vanished.iter().map(|v| (v.modseq, v.first, v.last)).collect(),
        vanished_floor: mailbox.vanished_floor,
    };
    if bugs.has(Bug::UidsNotInCheckpoint) {
        item.uid_next = mailbox.records().next_back().map_or(1, |record| record.uid + 1);
        item.vanished.clear();
    }
    Item::Mailbox(item)
}

pub(crate) fn domains(state: &State) -> impl Iterator<Item = Item> {
    let of = |(domain, target): (&Domain, &Option<Address>)| Item::Domain(domain.clone(), target.clone());
    state.directory.domains.iter().map(of)
}

pub(crate) fn aliases(state: &State) -> impl Iterator<Item = Item> {
    state.directory.aliases.iter().flat_map(|(address, targets)| {
        let address = address.clone();
        parts(targets.to_vec(), move |part| Item::Alias(address.clone(), part))
    })
}

pub(crate) fn lists(state: &State) -> impl Iterator<Item = Item> {
    state.directory.lists.iter().flat_map(|(address, list)| {
        let head = Item::List(address.clone(), list.owners.clone(), list.posting);
        let address = address.clone();
        let members = parts(list.members.clone(), move |part| Item::Members(address.clone(), part));
        std::iter::once(head).chain(members)
    })
}

pub(crate) fn merged(state: &State) -> impl Iterator<Item = Item> {
    let stores = state.merged.stores.iter().flat_map(|(store, enrolled)| {
        let head = Item::Store(*store, enrolled.held_validity);
        let store = *store;
        std::iter::once(head).chain(parts(enrolled.merged.clone(), move |part| Item::Merged(store, part)))
    });
    let letters = state.merged.letters().map(|(id, position)| Item::HeldLetter(id, position));
    let awaited = state.merged.awaited.iter().map(|(id, user)| Item::Awaited(*id, *user));
    stores.chain(letters).chain(awaited)
}

/// Everything of a state but its letters, records and requests: what the digest walks.
pub(crate) fn items_of_few(state: &State) -> impl Iterator<Item = Item> {
    let users = state.directory.users.values().flat_map(|each| user(each));
    let mailboxes = state.mailboxes.values().map(|each| mailbox(each, state.bugs));
    users
        .chain(mailboxes)
        .chain(domains(state))
        .chain(aliases(state))
        .chain(lists(state))
        .chain(merged(state))
}

fn parts<T>(all: Vec<T>, item: impl Fn(Vec<T>) -> Item) -> impl Iterator<Item = Item> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<T> = rest.by_ref().take(PART).collect();
        if part.is_empty() { None } else { Some(item(part)) }
    })
}
