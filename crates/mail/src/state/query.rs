//! What the edges ask. Nothing here changes anything; what "receive mail" must have waited for before it
//! asks is the site's business.

use std::collections::BTreeSet;

use crate::address::{Address, Domain};
use crate::command::Principal;
use crate::directory::{List, User};
use crate::entry::RequestId;
use crate::ids::{MailboxId, Position, SpoolId, UserId};
use crate::letters::Letter;
use crate::limits::RESOLVE_STEPS_MAX;
use crate::mailbox::{Mailbox, Record};
use crate::merged::Enrolled;
use crate::name::{MailboxName, UserName};
use crate::outcome::Refusal;
use crate::resolve::Targets;
use crate::state::State;

/// A name of a user's hierarchy, for LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: MailboxName,
    /// Its mailbox; none is `\Noselect`: only names below it have one.
    pub mailbox: Option<MailboxId>,
    /// Whether there are names below it.
    pub has_children: bool,
    /// Whether the user subscribes to it.
    pub subscribed: bool,
}

impl State {
    /// A user by id.
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.directory.user(id)
    }

    /// A user by name.
    pub fn user_named(&self, name: &UserName) -> Option<&User> {
        self.directory.user(*self.directory.names.get(name)?)
    }

    /// All users, by id.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.directory.users.values().map(AsRef::as_ref)
    }

    /// A mailbox by id.
    pub fn mailbox(&self, id: MailboxId) -> Option<&Mailbox> {
        self.mailboxes.get(&id).map(AsRef::as_ref)
    }

    /// A user's mailbox by name.
    pub fn mailbox_named(&self, user: UserId, name: &MailboxName) -> Option<&Mailbox> {
        self.mailbox(self.user(user)?.mailbox(name)?)
    }

    /// The letter of a record.
    pub fn letter(&self, position: Position) -> Option<&Letter> {
        self.letters.get(position)
    }

    /// A user's names, in order, those without a mailbox of their own included.
    pub fn names_of(&self, user: UserId) -> Vec<Listed> {
        let Some(user) = self.user(user) else { return Vec::new() };
        let parents: BTreeSet<&str> = user.mailboxes.keys().flat_map(MailboxName::ancestors).collect();
        let mut names: BTreeSet<MailboxName> = user.mailboxes.keys().cloned().collect();
        names.extend(parents.iter().filter_map(|above| MailboxName::normal(above).ok()));
        let listed = |name: MailboxName| Listed {
            mailbox: user.mailbox(&name),
            has_children: parents.contains(name.as_str()),
            subscribed: user.subscriptions.contains(&name),
            name,
        };
        names.into_iter().map(listed).collect()
    }

    // Seed 000's functions that read.

    /// `receive mail`, and `quick receive`, which only waits for less before it asks: every letter of a user's
    /// INBOX, the oldest first.
    // [Yampell 86, 8 and IV]
    pub fn receive(&self, user: UserId) -> impl Iterator<Item = (&Record, &Letter)> {
        let inbox = self.mailbox_named(user, &MailboxName::inbox());
        inbox
            .into_iter()
            .flat_map(Mailbox::records)
            .map(|record| (record, self.letters.of_record(record.letter)))
    }

    /// `message polling`: how many letters wait in a user's INBOX that it has not seen. One look-up.
    // [Yampell 86, 9.2]
    pub fn poll_mail(&self, user: UserId) -> u32 {
        self.mailbox_named(user, &MailboxName::inbox()).map_or(0, |inbox| inbox.status().unseen)
    }

    // Addresses [Mail 7].

    /// The mailboxes that a letter of this principal to this address would reach now; for RCPT.
    pub fn resolve(&self, address: &Address, by: Principal) -> Result<Targets, Refusal> {
        self.directory.resolve(address, by, &mut RESOLVE_STEPS_MAX.clone())
    }

    /// Whether a letter of so many bytes would find room in a mailbox now; for RCPT.
    pub fn takes(&self, mailbox: MailboxId, letter_bytes: u32) -> Result<(), Refusal> {
        let owner = self.mailbox(mailbox).ok_or(Refusal::NoMailbox)?.owner();
        self.has_room(mailbox, owner, letter_bytes, true)
    }

    /// Whether a user may write letters from this address.
    pub fn may_send_as(&self, user: UserId, address: &Address) -> bool {
        self.user(user).is_some_and(|user| self.directory.may_send_as(user, address))
    }

    /// Whether an address is of a local domain.
    pub fn is_local(&self, address: &Address) -> bool {
        self.directory.is_local(address)
    }

    /// Local domains, in order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.directory.domains.keys()
    }

    /// A list by its address.
    pub fn list(&self, address: &Address) -> Option<&List> {
        self.directory.lists.get(address).map(AsRef::as_ref)
    }

    // What a machine's log may drop [Mail 10].

    /// Whether some mailbox still points at the letter in this entry of the log. If not, the log needs only
    /// the entry's head, and nothing of it once a checkpoint covers it.
    pub fn is_live(&self, position: Position) -> bool {
        self.letters.get(position).is_some()
    }

    /// The letters that are still wanted from one position of the log to another, both included: what
    /// compaction of that part has to keep.
    pub fn live_letters(&self, first: Position, last: Position) -> impl Iterator<Item = &Letter> {
        self.letters.range(first, last)
    }

    // Minorities [Mail 12].

    /// The UIDVALIDITY of the `Held` mailboxes that a store shows, once it is enrolled.
    pub fn held_validity(&self, store: wire::StoreId) -> Option<u32> {
        self.merged.stores.get(&store).map(|enrolled| enrolled.held_validity)
    }

    /// Whether something that was queued has been merged.
    pub fn is_merged(&self, spool: SpoolId) -> bool {
        self.merged.contains(spool)
    }

    /// The highest number of a store that was merged; 0 if none was.
    pub fn last_merged(&self, store: wire::StoreId) -> u64 {
        let last = |enrolled: &Enrolled| enrolled.merged.last().map_or(0, |(_, last)| *last);
        self.merged.stores.get(&store).map_or(0, last)
    }

    /// Whether a request was done and is remembered.
    pub fn is_done(&self, request: &RequestId) -> bool {
        self.requests.get(request).is_some()
    }

    /// Requests that are remembered now.
    pub fn requests_remembered(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of memory that the index of letters takes: records in mailboxes, and letters.
    pub fn index_bytes(&self) -> usize {
        let mailboxes: usize = self.mailboxes.values().map(|mailbox| mailbox.memory_bytes()).sum();
        mailboxes + self.letters.memory_bytes()
    }
}
