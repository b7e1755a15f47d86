//! Mailboxes come, go and are renamed [Mail 5].
//!
//! A name that has others below it and no mailbox of its own is shown as `\Noselect`; nothing is stored for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, State};
use crate::command::{CreateMailbox, NamedMailbox, RenameMailbox, SetUse, SpecialUse};
use crate::directory::User;
use crate::feed::Change;
use crate::ids::{MailboxId, UserId};
use crate::mailbox::Mailbox;
use crate::name::MailboxName;
use crate::outcome::{Outcome, Refusal};
use crate::uids::UidSet;

impl State {
    pub(super) fn create_mailbox(
        &mut self,
        context: &Context,
        create: &CreateMailbox,
    ) -> Result<Outcome, Refusal> {
        self.may_use(context, create.user)?;
        self.free_name(create.user, &create.name)?;
        self.free_use(create.user, create.special_use)?;
        let id = self.make_mailbox(create.user, create.name.clone())?;
        self.mailbox_mut(id).special_use = create.special_use;
        self.folders_changed(create.user);
        Ok(Outcome::Created { mailbox: id, validity: self.mailboxes[&id].validity })
    }

    /// Whether a user may have a mailbox of this name that it has not yet.
    fn free_name(&self, user: UserId, name: &MailboxName) -> Result<(), Refusal> {
        let user = self.directory.user(user).ok_or(Refusal::NoUser)?;
        if name.is_held() {
            return Err(Refusal::Reserved);
        }
        if user.mailboxes.contains_key(name) {
            return Err(Refusal::Exists);
        }
        if user.mailboxes.len() >= self.limits.mailboxes_max as usize {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// At most one mailbox of a user for each use: clients disagree about which of two to take.
    fn free_use(&self, user: UserId, special_use: Option<SpecialUse>) -> Result<(), Refusal> {
        let user = self.directory.user(user).ok_or(Refusal::NoUser)?;
        let taken = |id: &MailboxId| self.mailboxes[id].special_use == special_use;
        if special_use.is_some() && user.mailboxes.values().any(taken) {
            return Err(Refusal::Exists);
        }
        Ok(())
    }

    /// Makes a mailbox under numbers that nobody had before.
    pub(super) fn make_mailbox(&mut self, user: UserId, name: MailboxName) -> Result<MailboxId, Refusal> {
        let id = self.last_mailbox.0.checked_add(1).ok_or(Refusal::Full)?;
        let validity = self.next_validity()?;
        self.last_mailbox = MailboxId(id);
        let mailbox = Mailbox::new(self.last_mailbox, user, name.clone(), validity);
        self.mailboxes.insert(self.last_mailbox, Arc::new(mailbox));
        let user = self.directory.user_mut(user).ok_or(Refusal::NoUser)?;
        user.mailboxes.insert(name, self.last_mailbox);
        Ok(self.last_mailbox)
    }

    /// A UIDVALIDITY above every other: one counter for the cluster, so that a mailbox that is made again gets
    /// a higher one, and a name never meets one of its own again.
    pub(super) fn next_validity(&mut self) -> Result<u32, Refusal> {
        self.last_validity = self.last_validity.checked_add(1).ok_or(Refusal::Full)?;
        Ok(self.last_validity)
    }

    pub(super) fn delete_mailbox(
        &mut self,
        context: &Context,
        named: &NamedMailbox,
    ) -> Result<Outcome, Refusal> {
        self.may_use(context, named.user)?;
        if named.name.is_inbox() {
            return Err(Refusal::Reserved);
        }
        let user = self.directory.user(named.user).ok_or(Refusal::NoUser)?;
        let Some(id) = user.mailbox(&named.name) else {
            let noselect = below(user, &named.name).next().is_some();
            return Err(if noselect { Refusal::InUse } else { Refusal::NoMailbox });
        };
        self.remove_mailbox(id);
        self.folders_changed(named.user);
        Ok(Outcome::Done)
    }

    pub(super) fn remove_mailbox(&mut self, id: MailboxId) {
        self.remove_letters(id, &UidSet::all(), |_| true);
        let mailbox = self.mailboxes.remove(&id).expect("the mailbox was found before");
        let user = self.directory.user_mut(mailbox.owner).expect("a mailbox has an owner");
        user.mailboxes.remove(&mailbox.name);
        self.feed.say(|| Change::Removed { mailbox: id });
    }

    pub(super) fn rename_mailbox(
        &mut self,
        context: &Context,
        rename: &RenameMailbox,
    ) -> Result<Outcome, Refusal> {
        self.may_use(context, rename.user)?;
        let user = self.directory.user(rename.user).ok_or(Refusal::NoUser)?;
        if rename.from.is_inbox() {
            return self.rename_inbox(rename);
        }
        if rename.to.is_held() {
            return Err(Refusal::Reserved);
        }
        if rename.to == rename.from || rename.to.is_below(&rename.from) {
            return Err(Refusal::BadName);
        }
        let itself = user.mailbox(&rename.from).map(|id| (rename.from.clone(), id));
        let all: Vec<(MailboxName, MailboxId)> =
            itself.into_iter().chain(below(user, &rename.from).map(|(n, id)| (n.clone(), id))).collect();
        if all.is_empty() {
            return Err(Refusal::NoMailbox);
        }
        let mut kept = user.mailboxes.clone();
        all.iter().for_each(|(name, _)| {
            kept.remove(name);
        });
        let mut renamed = BTreeMap::new();
        for (name, id) in all {
            let new = name.moved(&rename.from, &rename.to).map_err(|_| Refusal::BadName)?;
            if kept.contains_key(&new) {
                return Err(Refusal::Exists);
            }
            renamed.insert(new, id);
        }
        for (name, id) in &renamed {
            self.mailbox_mut(*id).name = name.clone();
        }
        kept.append(&mut renamed);
        let user = self.directory.user_mut(rename.user).ok_or(Refusal::NoUser)?;
        user.mailboxes = kept;
        move_subscriptions(user, rename);
        self.folders_changed(rename.user);
        Ok(Outcome::Done)
    }

    /// INBOX's letters go to a new mailbox; INBOX stays, empty, and what is below it stays too (RFC 9051,
    /// 6.3.6).
    fn rename_inbox(&mut self, rename: &RenameMailbox) -> Result<Outcome, Refusal> {
        self.free_name(rename.user, &rename.to)?;
        let id = self.make_mailbox(rename.user, rename.to.clone())?;
        let inbox = self.directory.user(rename.user).ok_or(Refusal::NoUser)?.inbox();
        self.move_letters(inbox, id, &UidSet::all());
        self.folders_changed(rename.user);
        Ok(Outcome::Created { mailbox: id, validity: self.mailboxes[&id].validity })
    }

    pub(super) fn subscribe(&mut self, context: &Context, named: &NamedMailbox) -> Result<Outcome, Refusal> {
        self.may_use(context, named.user)?;
        let max = self.limits.mailboxes_max as usize;
        let user = self.directory.user_mut(named.user).ok_or(Refusal::NoUser)?;
        if user.subscriptions.len() >= max && !user.subscriptions.contains(&named.name) {
            return Err(Refusal::Full);
        }
        user.subscriptions.insert(named.name.clone());
        self.folders_changed(named.user);
        Ok(Outcome::Done)
    }

    pub(super) fn unsubscribe(
        &mut self,
        context: &Context,
        named: &NamedMailbox,
    ) -> Result<Outcome, Refusal> {
        self.may_use(context, named.user)?;
        let user = self.directory.user_mut(named.user).ok_or(Refusal::NoUser)?;
        user.subscriptions.remove(&named.name);
        self.folders_changed(named.user);
        Ok(Outcome::Done)
    }

    pub(super) fn set_use(&mut self, context: &Context, set: &SetUse) -> Result<Outcome, Refusal> {
        let mailbox = self.usable(context, set.mailbox)?;
        let owner = mailbox.owner;
        if mailbox.special_use != set.special_use {
            self.free_use(owner, set.special_use)?;
            self.mailbox_mut(set.mailbox).special_use = set.special_use;
            self.folders_changed(owner);
        }
        Ok(Outcome::Done)
    }

    fn folders_changed(&mut self, user: UserId) {
        self.feed.say(|| Change::Folders { user });
    }
}

/// A user's mailboxes below a name.
fn below<'a>(user: &'a User, name: &'a MailboxName) -> impl Iterator<Item = (&'a MailboxName, MailboxId)> {
    user.mailboxes().filter(move |(other, _)| other.is_below(name))
}

/// A subscription is to a name; it follows the mailbox to its new one.
fn move_subscriptions(user: &mut User, rename: &RenameMailbox) {
    let follows = |name: &MailboxName| *name == rename.from || name.is_below(&rename.from);
    let old: Vec<MailboxName> = user.subscriptions.iter().filter(|name| follows(name)).cloned().collect();
    for name in old {
        if let Ok(new) = name.moved(&rename.from, &rename.to) {
            user.subscriptions.remove(&name);
            user.subscriptions.insert(new);
        }
    }
}
