//! What an entry asks for. Users and mailboxes are named by id: the site that proposes an entry has looked
//! them up, and an id is never used again, so a name that changes hands between proposal and application
//! cannot send a command to the wrong mailbox [Mail 2].

use minicbor::{Decode, Encode};
use wire::StoreId;

use crate::address::{Address, Domain};
use crate::flags::{FlagNames, FlagOp};
use crate::ids::{EntryTime, MailboxId, SpoolId, UserId};
use crate::name::{MailboxName, UserName};
use crate::uids::UidSet;

/// In whose name a command is given. The site that proposes the entry has authenticated it; what it may do is
/// judged when the entry is applied [Mail 4].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Principal {
    /// A site, for its own chores: enrolling its store, merging what a minority queued, letting time pass.
    #[n(0)]
    Site,
    /// The cluster's administrator: whoever may administer the site.
    #[n(1)]
    Operator,
    /// A user, privileged or not.
    #[n(2)]
    User(#[n(0)] UserId),
    /// A mail server outside, or whoever hands in over LMTP: may deliver and nothing else.
    #[n(3)]
    Outside,
}

/// What an entry asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Time passes; nothing else.
    #[n(0)]
    Tick,
    /// Sends the entry's letter to its recipients: seed 000's `send letter`.
    #[n(1)]
    Deliver(#[n(0)] Deliver),
    /// Puts the entry's letter into one mailbox.
    #[n(2)]
    Append(#[n(0)] Append),
    /// Changes flags.
    #[n(3)]
    Store(#[n(0)] Store),
    /// Removes letters for good: IMAP's EXPUNGE and seed 000's `delete letters`.
    #[n(4)]
    Expunge(#[n(0)] Expunge),
    /// Copies letters to another mailbox of the same user, all or none.
    #[n(5)]
    Copy(#[n(0)] Transfer),
    /// Moves letters to another mailbox of the same user, all or none.
    #[n(6)]
    Move(#[n(0)] Transfer),
    /// Makes a mailbox.
    #[n(7)]
    CreateMailbox(#[n(0)] CreateMailbox),
    /// Removes a mailbox and its letters; what is below it stays.
    #[n(8)]
    DeleteMailbox(#[n(0)] NamedMailbox),
    /// Renames a mailbox and all below it; INBOX gives its letters away and stays.
    #[n(9)]
    RenameMailbox(#[n(0)] RenameMailbox),
    /// Subscribes to a name, whether there is a mailbox or not.
    #[n(10)]
    Subscribe(#[n(0)] NamedMailbox),
    /// Ends a subscription.
    #[n(11)]
    Unsubscribe(#[n(0)] NamedMailbox),
    /// Gives a mailbox a special use, or takes it away.
    #[n(12)]
    SetUse(#[n(0)] SetUse),
    /// Claims the letters that no session has seen yet as `\Recent` for one session.
    #[n(13)]
    ClaimRecent(#[n(0)] MailboxId),
    /// Adds a user with its INBOX.
    #[n(14)]
    AddUser(#[n(0)] AddUser),
    /// Removes a user, its mailboxes and its letters.
    #[n(15)]
    DeleteUser(#[n(0)] UserId),
    /// Changes a password.
    #[n(16)]
    SetPassword(#[n(0)] SetPassword),
    /// Adds an application password, or replaces the one of the same label.
    #[n(17)]
    AddAppPassword(#[n(0)] AddAppPassword),
    /// Takes an application password back.
    #[n(18)]
    RemoveAppPassword(#[n(0)] RemoveAppPassword),
    /// Makes a user privileged, or ordinary again.
    #[n(19)]
    SetPrivileged(#[n(0)] SetPrivileged),
    /// Sets a user's quota.
    #[n(20)]
    SetQuota(#[n(0)] SetQuota),
    /// Makes a domain local, with or without a catch-all.
    #[n(21)]
    SetDomain(#[n(0)] SetDomain),
    /// Mail for a domain is no longer ours.
    #[n(22)]
    RemoveDomain(#[n(0)] Domain),
    /// Sets an alias's targets; none removes it.
    #[n(23)]
    SetAlias(#[n(0)] SetAlias),
    /// Makes or changes a list.
    #[n(24)]
    SetList(#[n(0)] SetList),
    /// Removes a list.
    #[n(25)]
    RemoveList(#[n(0)] Address),
    /// Gives a store the UIDVALIDITY of the `Held` mailboxes that it will show.
    #[n(26)]
    EnrolStore(#[n(0)] StoreId),
    /// Applies what a minority queued, once.
    #[n(27)]
    Merge(#[n(0)] Merge),
}

/// A letter for any number of recipients. The letter itself is the body of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Deliver {
    /// The envelope sender as it was given; empty for the null reverse path.
    #[n(0)]
    pub sender: Box<str>,
    /// The envelope recipients.
    #[n(1)]
    pub recipients: Vec<Address>,
}

/// A letter for one mailbox. The letter itself is the body of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Append {
    /// The mailbox.
    #[n(0)]
    pub mailbox: MailboxId,
    /// The letter's flags.
    #[n(1)]
    pub flags: FlagNames,
    /// Its internal date; the entry's time if none is given.
    #[n(2)]
    pub date: Option<EntryTime>,
}

/// A change of flags.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Store {
    /// The mailbox.
    #[n(0)]
    pub mailbox: MailboxId,
    /// Which letters; those that are not there are passed over.
    #[n(1)]
    pub uids: UidSet,
    /// What to do with the flags.
    #[n(2)]
    pub op: FlagOp,
    /// Which flags.
    #[n(3)]
    pub flags: FlagNames,
    /// Only letters whose MODSEQ is not above this.
    #[n(4)]
    pub unchanged_since: Option<u64>,
}

/// Letters to remove.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Expunge {
    /// The mailbox.
    #[n(0)]
    pub mailbox: MailboxId,
    /// Which letters; those that are not there are passed over.
    #[n(1)]
    pub uids: UidSet,
    /// Only those that are marked `\Deleted`.
    #[n(2)]
    pub only_deleted: bool,
}

/// Letters that go to another mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Transfer {
    /// Where they are.
    #[n(0)]
    pub from: MailboxId,
    /// Which; those that are not there are passed over.
    #[n(1)]
    pub uids: UidSet,
    /// Where they go.
    #[n(2)]
    pub to: MailboxId,
}

/// What a mailbox is for (RFC 6154).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum SpecialUse {
    /// `\All`
    #[n(0)]
    All,
    /// `\Archive`
    #[n(1)]
    Archive,
    /// `\Drafts`
    #[n(2)]
    Drafts,
    /// `\Flagged`
    #[n(3)]
    Flagged,
    /// `\Junk`
    #[n(4)]
    Junk,
    /// `\Sent`
    #[n(5)]
    Sent,
    /// `\Trash`
    #[n(6)]
    Trash,
}

/// A new mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreateMailbox {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// Its name.
    #[n(1)]
    pub name: MailboxName,
    /// What it is for.
    #[n(2)]
    pub special_use: Option<SpecialUse>,
}

/// A mailbox by name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NamedMailbox {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// Its name.
    #[n(1)]
    pub name: MailboxName,
}

/// A mailbox and its new name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RenameMailbox {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// Its name.
    #[n(1)]
    pub from: MailboxName,
    /// Its new name.
    #[n(2)]
    pub to: MailboxName,
}

/// A mailbox's use.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetUse {
    /// The mailbox.
    #[n(0)]
    pub mailbox: MailboxId,
    /// What it is for; none takes a use away.
    #[n(1)]
    pub special_use: Option<SpecialUse>,
}

/// How much a user may store; none is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Quota {
    /// Bytes of letters, each counted in every mailbox that it is in.
    #[n(0)]
    pub bytes_max: Option<u64>,
    /// Letters, counted alike.
    #[n(1)]
    pub letters_max: Option<u32>,
}

/// A new user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AddUser {
    /// Its name.
    #[n(0)]
    pub name: UserName,
    /// Its password, hashed (argon2id) where the entry was made; none lets nobody in.
    #[n(1)]
    pub password: Option<Box<str>>,
    /// Whether it may administer.
    #[n(2)]
    pub privileged: bool,
    /// How much it may store.
    #[n(3)]
    pub quota: Quota,
}

/// A user's new password.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetPassword {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// The password, hashed; none lets nobody in.
    #[n(1)]
    pub password: Option<Box<str>>,
}

/// What SCRAM-SHA-256 needs to know of a generated password (RFC 5803).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Scram {
    /// The salt.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: Vec<u8>,
    /// The iteration count.
    #[n(1)]
    pub iterations: u32,
    /// `StoredKey`
    #[cbor(n(2), with = "minicbor::bytes")]
    pub stored_key: [u8; 32],
    /// `ServerKey`
    #[cbor(n(3), with = "minicbor::bytes")]
    pub server_key: [u8; 32],
}

/// A generated password for one program.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AddAppPassword {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// What its owner calls it.
    #[n(1)]
    pub label: Box<str>,
    /// Its keys.
    #[n(2)]
    pub scram: Scram,
}

/// A generated password to take back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RemoveAppPassword {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// What its owner calls it.
    #[n(1)]
    pub label: Box<str>,
}

/// Whether a user may administer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetPrivileged {
    /// Who.
    #[n(0)]
    pub user: UserId,
    /// Whether.
    #[n(1)]
    pub privileged: bool,
}

/// A user's quota.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetQuota {
    /// Whose.
    #[n(0)]
    pub user: UserId,
    /// How much.
    #[n(1)]
    pub quota: Quota,
}

/// A local domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetDomain {
    /// The domain.
    #[n(0)]
    pub domain: Domain,
    /// Who gets mail for names that nobody has.
    #[n(1)]
    pub catch_all: Option<Address>,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetAlias {
    /// The address.
    #[n(0)]
    pub address: Address,
    /// Where its mail goes.
    #[n(1)]
    pub targets: Vec<Address>,
}

/// Who may write to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Posting {
    /// Everybody.
    #[n(0)]
    Anyone,
    /// Users of this cluster.
    #[n(1)]
    Users,
    /// Its members and its owners.
    #[n(2)]
    Members,
    /// Its owners.
    #[n(3)]
    Owners,
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetList {
    /// Its address.
    #[n(0)]
    pub address: Address,
    /// Who gets its mail.
    #[n(1)]
    pub members: Vec<Address>,
    /// Who may change it; the first gets what its members' machines return.
    #[n(2)]
    pub owners: Vec<UserId>,
    /// Who may write to it.
    #[n(3)]
    pub posting: Posting,
}

/// What a minority queued.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Merge {
    /// Its name: it is applied once, however many sites bring it.
    #[n(0)]
    pub spool: SpoolId,
    /// When it was queued.
    #[n(1)]
    pub queued: EntryTime,
    /// In whose name.
    #[n(2)]
    pub by: Principal,
    /// What it was.
    #[n(3)]
    pub change: Queued,
    /// Its place among all that minorities queue: above that of everything that its store held when it was queued. So whoever
    /// merges in this order brings what a user did at two sites in the order in which it was done.
    #[n(4)]
    #[cbor(default)]
    pub turn: u64,
}

/// What a minority may queue [Mail 12].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Queued {
    /// A letter from a user.
    #[n(0)]
    Deliver(#[n(0)] Deliver),
    /// A letter for one mailbox.
    #[n(1)]
    Append(#[n(0)] Append),
    /// A change of flags; `Replace` was turned into what it added and removed where it was queued.
    #[n(2)]
    Flags(#[n(0)] QueuedFlags),
    /// Letters of a real mailbox that were deleted.
    #[n(3)]
    Expunge(#[n(0)] Expunge),
    /// One recipient deletes a held letter, which may have been merged already, or not yet.
    #[n(4)]
    Cancel(#[n(0)] Cancel),
}

/// Flags to set and to clear.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct QueuedFlags {
    /// The mailbox.
    #[n(0)]
    pub mailbox: MailboxId,
    /// Which letters.
    #[n(1)]
    pub uids: UidSet,
    /// Flags to set.
    #[n(2)]
    pub add: FlagNames,
    /// Flags to clear.
    #[n(3)]
    pub remove: FlagNames,
}

/// A held letter that one of its recipients has deleted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cancel {
    /// Who.
    #[n(0)]
    pub user: UserId,
    /// Which.
    #[n(1)]
    pub letter: SpoolId,
}

impl Command {
    /// Whether the entry of such a command carries a letter.
    pub fn carries_letter(&self) -> bool {
        match self {
            Command::Deliver(_) | Command::Append(_) => true,
            Command::Merge(merge) => merge.change.carries_letter(),
            Command::Tick
            | Command::Store(_)
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
            | Command::AddUser(_)
            | Command::DeleteUser(_)
            | Command::SetPassword(_)
            | Command::AddAppPassword(_)
            | Command::RemoveAppPassword(_)
            | Command::SetPrivileged(_)
            | Command::SetQuota(_)
            | Command::SetDomain(_)
            | Command::RemoveDomain(_)
            | Command::SetAlias(_)
            | Command::SetList(_)
            | Command::RemoveList(_)
            | Command::EnrolStore(_) => false,
        }
    }
}

impl Queued {
    /// Whether it comes with a letter.
    pub fn carries_letter(&self) -> bool {
        match self {
            Queued::Deliver(_) | Queued::Append(_) => true,
            Queued::Flags(_) | Queued::Expunge(_) | Queued::Cancel(_) => false,
        }
    }
}
