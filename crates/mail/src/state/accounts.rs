//! Users, their passwords, rights and quotas [Mail 4].
// [Yampell 86, 9.3]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Context, State};
use crate::address::Address;
use crate::command::{AddAppPassword, AddUser, RemoveAppPassword, SetPassword, SetPrivileged, SetQuota};
use crate::directory::{AppPassword, User};
use crate::feed::Change;
use crate::ids::{MailboxId, UserId};
use crate::limits::APP_PASSWORDS_MAX;
use crate::name::MailboxName;
use crate::outcome::{Outcome, Refusal};

impl State {
    pub(super) fn add_user(&mut self, context: &Context, add: &AddUser) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        if self.directory.names.contains_key(&add.name) {
            return Err(Refusal::Exists);
        }
        let numbers_left = self.last_mailbox.0 < u32::MAX && self.last_validity < u32::MAX;
        if self.directory.users.len() >= self.limits.users_max as usize || !numbers_left {
            return Err(Refusal::Full);
        }
        let id = UserId(self.last_user.0.checked_add(1).ok_or(Refusal::Full)?);
        self.last_user = id;
        let user = User {
            id,
            name: add.name.clone(),
            password: add.password.clone(),
            app_passwords: Vec::new(),
            privileged: add.privileged,
            quota: add.quota,
            credentials_changed: context.position,
            subscriptions: BTreeSet::from([MailboxName::inbox()]),
            freed_bytes: 0,
            mailboxes: BTreeMap::new(),
            bytes: 0,
            letters: 0,
        };
        self.directory.names.insert(add.name.clone(), id);
        self.directory.users.insert(id, Arc::new(user));
        self.make_mailbox(id, MailboxName::inbox())?;
        Ok(Outcome::Added(id))
    }

    /// Aliases and lists name addresses and not people: they stay as they are.
    pub(super) fn delete_user(&mut self, context: &Context, id: UserId) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        let user = self.directory.user(id).ok_or(Refusal::NoUser)?;
        let mailboxes: Vec<MailboxId> = user.mailboxes.values().copied().collect();
        mailboxes.into_iter().for_each(|mailbox| self.remove_mailbox(mailbox));
        if let Some(user) = self.directory.users.remove(&id) {
            self.directory.names.remove(&user.name);
        }
        let owned = self.directory.lists.iter().filter(|(_, list)| list.owners.contains(&id));
        let owned: Vec<Address> = owned.map(|(address, _)| address.clone()).collect();
        for address in owned {
            let list = self.directory.lists.get_mut(&address).expect("it was found");
            Arc::make_mut(list).owners.retain(|owner| *owner != id);
        }
        self.merged.awaited.retain(|(_, user)| *user != id);
        self.feed.say(|| Change::UserRemoved { user: id });
        Ok(Outcome::Done)
    }

    /// The user, for a change of its passwords: its own, or an administrator's.
    fn with_credentials(&mut self, context: &Context, id: UserId) -> Result<&mut User, Refusal> {
        self.may_use(context, id).or_else(|_| self.may_administer(context))?;
        let user = self.directory.user_mut(id).ok_or(Refusal::NoUser)?;
        user.credentials_changed = context.position;
        self.feed.say(|| Change::Credentials { user: id });
        Ok(user)
    }

    pub(super) fn set_password(&mut self, context: &Context, set: &SetPassword) -> Result<Outcome, Refusal> {
        self.with_credentials(context, set.user)?.password.clone_from(&set.password);
        Ok(Outcome::Done)
    }

    pub(super) fn add_app_password(
        &mut self,
        context: &Context,
        add: &AddAppPassword,
    ) -> Result<Outcome, Refusal> {
        let user = self.directory.user(add.user).ok_or(Refusal::NoUser)?;
        let known = user.app_passwords.iter().position(|password| password.label == add.label);
        if known.is_none() && user.app_passwords.len() >= APP_PASSWORDS_MAX {
            return Err(Refusal::Full);
        }
        let user = self.with_credentials(context, add.user)?;
        let password = AppPassword { label: add.label.clone(), scram: add.scram.clone() };
        match known {
            Some(at) => user.app_passwords[at] = password,
            None => user.app_passwords.push(password),
        }
        Ok(Outcome::Done)
    }

    pub(super) fn remove_app_password(
        &mut self,
        context: &Context,
        remove: &RemoveAppPassword,
    ) -> Result<Outcome, Refusal> {
        let user = self.with_credentials(context, remove.user)?;
        user.app_passwords.retain(|password| password.label != remove.label);
        Ok(Outcome::Done)
    }

    pub(super) fn set_privileged(
        &mut self,
        context: &Context,
        set: &SetPrivileged,
    ) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        self.with_credentials(context, set.user)?.privileged = set.privileged;
        Ok(Outcome::Done)
    }

    /// A quota below what is stored removes nothing; it refuses what comes.
    pub(super) fn set_quota(&mut self, context: &Context, set: &SetQuota) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        self.directory.user_mut(set.user).ok_or(Refusal::NoUser)?.quota = set.quota;
        Ok(Outcome::Done)
    }
}
