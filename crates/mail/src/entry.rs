//! Entries as the group's log carries them: a head of numbered fields, then the letter.
//!
//! ```text
//! format u8 = 1 · flags u8 (1: the letter was left out) · head length u32, big endian · head · letter
//! ```
//!
//! The head says how long the letter is, so an entry whose letter was left out, because nobody wants it any
//! more, is applied like the whole one [Mail 10].

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use crate::address::Address;
use crate::command::{Command, Deliver, Principal, Queued};
use crate::flags::FlagNames;
use crate::limits::{
    HEAD_BYTES_MAX, LETTER_BYTES_MAX, LIST_MEMBERS_MAX, LIST_OWNERS_MAX, PASSWORD_HASH_BYTES_MAX,
    RECIPIENTS_MAX, SALT_BYTES_MAX, TARGETS_MAX, TEXT_BYTES_MAX,
};

const FORMAT: u8 = 1;
const LEFT_OUT: u8 = 1;
const PREFIX_BYTES: usize = 6;

/// The name of a request: one that is repeated does no harm [Mail 9].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct RequestId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl RequestId {
    /// The `number`th request of a session client, in the name of `by`.
    // [Ravindran & Chanson 85, 4.3]
    pub fn of_session(by: Principal, client: [u8; 16], number: u64) -> RequestId {
        let mut hash = Sha256::new_with_prefix(b"session\0");
        hash.update(minicbor::to_vec(by).expect("a Vec takes every byte"));
        hash.update(client);
        hash.update(number.to_be_bytes());
        RequestId::of(hash)
    }

    /// A letter that came by SMTP or LMTP, by its envelope and its bytes as received, before trace lines were
    /// added. Only for letters with a Message-ID: without one, two equal letters may be two letters.
    pub fn of_letter(by: Principal, sender: &str, recipients: &[Address], received: &[u8]) -> RequestId {
        let mut hash = Sha256::new_with_prefix(b"letter\0");
        hash.update(minicbor::to_vec(by).expect("a Vec takes every byte"));
        for text in std::iter::once(sender).chain(recipients.iter().map(Address::as_str)) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update((recipients.len() as u64).to_be_bytes());
        hash.update(received);
        RequestId::of(hash)
    }

    fn of(hash: Sha256) -> RequestId {
        let whole: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&whole[..16]);
        RequestId(id)
    }
}

/// Everything of an entry but the letter. This is all that the state machine reads.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// In whose name.
    #[n(0)]
    pub by: Principal,
    /// The request's name, if it has one.
    #[n(1)]
    pub request: Option<RequestId>,
    /// What is asked for.
    #[n(2)]
    pub command: Command,
    /// The letter's length in bytes; 0 without one.
    #[n(3)]
    pub letter_bytes: u32,
}

/// One entry of the group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    head: Head,
    letter: Option<Bytes>,
}

/// Bytes that are no entry. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// A format of a later version, or no entry at all.
    #[error("an entry of format {0}, which this version does not know")]
    Format(u8),
    /// Shorter or longer than it says.
    #[error("an entry whose length is wrong")]
    Length,
    /// The head cannot be read.
    #[error("an entry's head cannot be read: {0}")]
    Head(String),
    /// A bound of `limits` is exceeded.
    #[error("an entry has too much of: {0}")]
    TooMuch(&'static str),
    /// A letter with a command that has none, or none with one that needs it.
    #[error("an entry and its letter do not fit together")]
    Letter,
}

impl Entry {
    /// An entry of a command that carries no letter.
    pub fn new(by: Principal, request: Option<RequestId>, command: Command) -> Result<Entry, BadEntry> {
        Entry::checked(Head { by, request, command, letter_bytes: 0 }, Some(Bytes::new()))
    }

    /// An entry of a command that carries a letter.
    pub fn with_letter(
        by: Principal,
        request: Option<RequestId>,
        command: Command,
        letter: Bytes,
    ) -> Result<Entry, BadEntry> {
        let letter_bytes = u32::try_from(letter.len()).map_err(|_| BadEntry::TooMuch("letter"))?;
        Entry::checked(Head { by, request, command, letter_bytes }, Some(letter))
    }

    fn checked(head: Head, letter: Option<Bytes>) -> Result<Entry, BadEntry> {
        let whole = letter.as_ref().is_none_or(|letter| letter.len() == head.letter_bytes as usize);
        if !whole {
            return Err(BadEntry::Length);
        }
        if head.command.carries_letter() != (head.letter_bytes > 0) {
            return Err(BadEntry::Letter);
        }
        if head.letter_bytes as usize > LETTER_BYTES_MAX {
            return Err(BadEntry::TooMuch("letter"));
        }
        check(&head.command)?;
        Ok(Entry { head, letter })
    }

    /// Everything but the letter.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The letter; none if the entry has none, or if it was left out.
    pub fn letter(&self) -> Option<&Bytes> {
        self.letter.as_ref().filter(|letter| !letter.is_empty())
    }

    /// The same entry without its letter, for a site that catches up on what was deleted meanwhile [Mail 10].
    pub fn without_letter(&self) -> Entry {
        let letter = (self.head.letter_bytes == 0).then(Bytes::new);
        Entry { head: self.head.clone(), letter }
    }

    /// The entry as bytes.
    pub fn encode(&self) -> Bytes {
        let head = minicbor::to_vec(&self.head).expect("a Vec takes every byte");
        let letter = self.letter.as_deref();
        let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + head.len() + letter.map_or(0, <[u8]>::len));
        bytes.put_u8(FORMAT);
        bytes.put_u8(if letter.is_none() { LEFT_OUT } else { 0 });
        bytes.put_u32(head.len() as u32);
        bytes.put_slice(&head);
        bytes.put_slice(letter.unwrap_or_default());
        bytes.freeze()
    }

    /// The entry in these bytes; its letter is a part of them and is not copied.
    pub fn decode(bytes: &Bytes) -> Result<Entry, BadEntry> {
        let (head_range, left_out) = prefix(bytes)?;
        let letter = bytes.slice(head_range.end..);
        let head_bytes = &bytes[head_range];
        let mut decoder = minicbor::Decoder::new(head_bytes);
        let head: Head = decoder.decode().map_err(|e| BadEntry::Head(e.to_string()))?;
        if decoder.position() != head_bytes.len() {
            return Err(BadEntry::Length);
        }
        match left_out {
            true if !letter.is_empty() || head.letter_bytes == 0 => Err(BadEntry::Length),
            true => Entry::checked(head, None),
            false => Entry::checked(head, Some(letter)),
        }
    }

    /// Where in an entry's bytes the letter is, without reading the head: what a site does that fetches a
    /// letter from the log.
    pub fn letter_in(bytes: &[u8]) -> Result<&[u8], BadEntry> {
        let (head, _) = prefix(bytes)?;
        Ok(&bytes[head.end..])
    }
}

/// Where the head is, and whether the letter was left out.
fn prefix(bytes: &[u8]) -> Result<(std::ops::Range<usize>, bool), BadEntry> {
    let [format, flags, a, b, c, d, rest @ ..] = bytes else { return Err(BadEntry::Length) };
    if *format != FORMAT || *flags & !LEFT_OUT != 0 {
        return Err(BadEntry::Format(*format));
    }
    let head = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if head > HEAD_BYTES_MAX {
        return Err(BadEntry::TooMuch("head"));
    }
    if head > rest.len() {
        return Err(BadEntry::Length);
    }
    Ok((PREFIX_BYTES..PREFIX_BYTES + head, *flags & LEFT_OUT != 0))
}

/// The bounds that types do not keep by themselves.
fn check(command: &Command) -> Result<(), BadEntry> {
    match command {
        Command::Deliver(deliver) => check_deliver(deliver),
        Command::Append(append) => check_flags(&append.flags),
        Command::Store(store) => check_flags(&store.flags),
        Command::AddUser(add) => check_password(add.password.as_deref()),
        Command::SetPassword(set) => check_password(set.password.as_deref()),
        Command::AddAppPassword(add) => {
            within("label", add.label.len(), TEXT_BYTES_MAX)?;
            within("salt", add.scram.salt.len(), SALT_BYTES_MAX)
        }
        Command::RemoveAppPassword(remove) => within("label", remove.label.len(), TEXT_BYTES_MAX),
        Command::SetAlias(alias) => within("targets", alias.targets.len(), TARGETS_MAX),
        Command::SetList(list) => {
            within("members", list.members.len(), LIST_MEMBERS_MAX)?;
            within("owners", list.owners.len(), LIST_OWNERS_MAX)
        }
        Command::Merge(merge) => match &merge.change {
            Queued::Deliver(deliver) => check_deliver(deliver),
            Queued::Append(append) => check_flags(&append.flags),
            Queued::Flags(flags) => check_flags(&flags.add).and(check_flags(&flags.remove)),
            Queued::Expunge(_) | Queued::Cancel(_) => Ok(()),
        },
        Command::Tick
        | Command::Expunge(_)
        | Command::Copy(_)
        | Command::Move(_)
        | Command::CreateMailbox(_)
        | Command::DeleteMailbox(_)
        | Command::RenameMailbox(_)
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::SetUse(_)
        | Command::ClaimRecent(_)
        | Command::DeleteUser(_)
        | Command::SetPrivileged(_)
        | Command::SetQuota(_)
        | Command::SetDomain(_)
        | Command::RemoveDomain(_)
        | Command::RemoveList(_)
        | Command::EnrolStore(_) => Ok(()),
    }
}

fn check_deliver(deliver: &Deliver) -> Result<(), BadEntry> {
    within("sender", deliver.sender.len(), TEXT_BYTES_MAX)?;
    within("recipients", deliver.recipients.len(), RECIPIENTS_MAX)
}

fn check_flags(flags: &FlagNames) -> Result<(), BadEntry> {
    within("keywords", flags.keywords.len(), crate::limits::KEYWORDS_MAX)
}

fn check_password(hash: Option<&str>) -> Result<(), BadEntry> {
    within("password hash", hash.map_or(0, str::len), PASSWORD_HASH_BYTES_MAX)
}

fn within(what: &'static str, count: usize, max: usize) -> Result<(), BadEntry> {
    if count > max { Err(BadEntry::TooMuch(what)) } else { Ok(()) }
}
