//! Who there is: users, domains, aliases, lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::address::{Address, Domain};
use crate::command::{Posting, Quota, Scram};
use crate::ids::{MailboxId, Position, UserId};
use crate::name::{MailboxName, UserName};
use crate::tree::Tree;

/// A generated password of one program.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AppPassword {
    /// What its owner calls it.
    #[n(0)]
    pub label: Box<str>,
    /// Its keys.
    #[n(1)]
    pub scram: Scram,
}

/// What a user has stored, and may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of letters, each counted in every mailbox that it is in.
    pub bytes: u64,
    /// Letters, counted alike.
    pub letters: u32,
    /// Bytes of letters that the user has removed, counted alike, since it was added.
    pub freed_bytes: u64,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(crate) id: UserId,
    pub(crate) name: UserName,
    pub(crate) password: Option<Box<str>>,
    pub(crate) app_passwords: Vec<AppPassword>,
    pub(crate) privileged: bool,
    pub(crate) quota: Quota,
    pub(crate) credentials_changed: Position,
    pub(crate) subscriptions: BTreeSet<MailboxName>,
    pub(crate) freed_bytes: u64,
    /// Derived from the mailboxes.
    pub(crate) mailboxes: BTreeMap<MailboxName, MailboxId>,
    /// Derived from the mailboxes.
    pub(crate) bytes: u64,
    /// Derived from the mailboxes.
    pub(crate) letters: u32,
}

impl User {
    /// Its id.
    pub fn id(&self) -> UserId {
        self.id
    }

    /// Its name, which is also the local part of its address in every local domain.
    pub fn name(&self) -> &UserName {
        &self.name
    }

    /// The hash of its password; none lets nobody in.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Its application passwords.
    pub fn app_passwords(&self) -> &[AppPassword] {
        &self.app_passwords
    }

    /// Whether it may administer.
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// How much it may store.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// What it has stored.
    pub fn usage(&self) -> Usage {
        Usage { bytes: self.bytes, letters: self.letters, freed_bytes: self.freed_bytes }
    }

    /// The entry that last changed its passwords: a site drops logins that it verified before.
    pub fn credentials_changed(&self) -> Position {
        self.credentials_changed
    }

    /// Its mailboxes by name.
    pub fn mailboxes(&self) -> impl Iterator<Item = (&MailboxName, MailboxId)> {
        self.mailboxes.iter().map(|(name, id)| (name, *id))
    }

    /// The mailbox of this name.
    pub fn mailbox(&self, name: &MailboxName) -> Option<MailboxId> {
        self.mailboxes.get(name).copied()
    }

    /// INBOX.
    pub fn inbox(&self) -> MailboxId {
        self.mailbox(&MailboxName::inbox()).expect("every user has an INBOX")
    }

    /// Names that it subscribes to.
    pub fn subscriptions(&self) -> impl Iterator<Item = &MailboxName> {
        self.subscriptions.iter()
    }

    /// Whether so much more has room.
    pub(crate) fn has_room(&self, bytes: u64, letters: u32) -> bool {
        let fits_bytes = self.quota.bytes_max.is_none_or(|max| self.bytes.saturating_add(bytes) <= max);
        let all = self.letters.checked_add(letters);
        fits_bytes && all.is_some_and(|all| self.quota.letters_max.is_none_or(|max| all <= max))
    }

    pub(crate) fn count_added(&mut self, bytes: u64, letters: u32) {
        self.bytes += bytes;
        self.letters += letters;
    }

    pub(crate) fn count_removed(&mut self, bytes: u64, letters: u32) {
        self.bytes -= bytes;
        self.letters -= letters;
        self.freed_bytes += bytes;
    }
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Who gets its mail, in ascending order.
    pub members: Vec<Address>,
    /// Who may change it.
    pub owners: Vec<UserId>,
    /// Who may write to it.
    pub posting: Posting,
}

/// Who there is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Directory {
    pub users: Tree<UserId, Arc<User>>,
    pub names: Tree<UserName, UserId>,
    /// Local domains, and who gets mail for names that nobody has.
    pub domains: Tree<Domain, Option<Address>>,
    pub aliases: Tree<Address, Arc<Vec<Address>>>,
    pub lists: Tree<Address, Arc<List>>,
}

impl Directory {
    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id).map(Arc::as_ref)
    }

    pub(crate) fn user_mut(&mut self, id: UserId) -> Option<&mut User> {
        self.users.get_mut(&id).map(Arc::make_mut)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&User> {
        let name = UserName::normal(name).ok()?;
        self.user(*self.names.get(&name)?)
    }

    pub(crate) fn is_local(&self, address: &Address) -> bool {
        self.domains.contains_key(&address.domain())
    }
}
