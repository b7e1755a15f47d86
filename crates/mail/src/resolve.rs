//! Which mailboxes an address stands for [Mail 7].
//!
//! In this order: a list; an alias; a user by name; for `name+detail` an alias or a user by name alone, the
//! letter going to the user's mailbox `detail` if there is one; `postmaster`, who is the privileged users
//! where nobody else is; the domain's catch-all. Every address is followed once, to a bounded depth.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::command::{Posting, Principal};
use crate::directory::{Directory, List, User};
use crate::ids::{MailboxId, UserId};
use crate::limits::ALIAS_DEPTH_MAX;
use crate::name::MailboxName;
use crate::outcome::Refusal;

/// The mailboxes that an address stands for, and whose they are.
pub type Targets = BTreeMap<MailboxId, UserId>;

/// Follows one address.
struct Walk<'a> {
    directory: &'a Directory,
    by: Principal,
    seen: BTreeSet<Address>,
    targets: Targets,
    /// The first thing that went wrong; told if nothing was found.
    failed: Option<Refusal>,
    steps_left: &'a mut usize,
}

impl Directory {
    /// The mailboxes for a letter to this address. A part that leads nowhere does not hinder the others.
    /// `steps_left` bounds the work for all recipients of a letter together.
    pub(crate) fn resolve(
        &self,
        address: &Address,
        by: Principal,
        steps_left: &mut usize,
    ) -> Result<Targets, Refusal> {
        let mut walk = Walk {
            directory: self,
            by,
            seen: BTreeSet::new(),
            targets: Targets::new(),
            failed: None,
            steps_left,
        };
        walk.follow(address, 0, false)?;
        match walk.failed {
            _ if !walk.targets.is_empty() => Ok(walk.targets),
            Some(refusal) => Err(refusal),
            None => Err(Refusal::NoAddress),
        }
    }

    /// Whether a user may write letters from this address: its own, one of an alias that leads to it alone or
    /// with others, or that of a list that it owns.
    pub(crate) fn may_send_as(&self, user: &User, address: &Address) -> bool {
        if !self.is_local(address) {
            return false;
        }
        if let Some(list) = self.lists.get(address) {
            return list.owners.contains(&user.id);
        }
        if let Some(targets) = self.aliases.get(address) {
            return targets.iter().any(|target| self.names_user(target, user));
        }
        self.names_user(address, user)
    }

    /// Whether an address is this user's own, with or without detail.
    fn names_user(&self, address: &Address, user: &User) -> bool {
        let base = address.local().split('+').next().unwrap_or_default();
        self.is_local(address) && base == user.name.as_str()
    }

    fn may_post(&self, list: &List, by: Principal) -> bool {
        let user = match by {
            Principal::Operator | Principal::Site => return true,
            Principal::Outside => return list.posting == Posting::Anyone,
            Principal::User(id) => self.user(id),
        };
        let Some(user) = user else { return false };
        let owns = list.owners.contains(&user.id);
        match list.posting {
            Posting::Anyone | Posting::Users => true,
            Posting::Members => owns || list.members.iter().any(|member| self.names_user(member, user)),
            Posting::Owners => owns,
        }
    }
}

impl Walk<'_> {
    /// `listed`: a list led here, and who may write to that one may write to this.
    fn follow(&mut self, address: &Address, depth: usize, listed: bool) -> Result<(), Refusal> {
        if depth > ALIAS_DEPTH_MAX || !self.seen.insert(address.clone()) {
            self.fail(Refusal::AliasLoop);
            return Ok(());
        }
        *self.steps_left = self.steps_left.checked_sub(1).ok_or(Refusal::TooManyTargets)?;
        let directory = self.directory;
        let Some(catch_all) = directory.domains.get(&address.domain()) else {
            self.fail(Refusal::NotLocal);
            return Ok(());
        };
        if let Some(list) = directory.lists.get(address) {
            if !listed && !directory.may_post(list, self.by) {
                self.fail(Refusal::NotAllowedToPost);
                return Ok(());
            }
            return list.members.iter().try_for_each(|member| self.follow(member, depth + 1, true));
        }
        if let Some(targets) = directory.aliases.get(address) {
            return targets.iter().try_for_each(|target| self.follow(target, depth + 1, listed));
        }
        if let Some(user) = directory.by_name(address.local()) {
            self.reach(user, user.inbox());
            return Ok(());
        }
        if let Some((base, detail)) = address.without_detail() {
            if let Some(targets) = directory.aliases.get(&base) {
                return targets.iter().try_for_each(|target| self.follow(target, depth + 1, listed));
            }
            if let Some(user) = directory.by_name(base.local()) {
                self.reach(user, detail_mailbox(user, detail).unwrap_or_else(|| user.inbox()));
                return Ok(());
            }
        }
        if address.local() == "postmaster" && self.reach_privileged() {
            return Ok(());
        }
        match catch_all {
            Some(target) => self.follow(target, depth + 1, listed),
            None => {
                self.fail(Refusal::NoAddress);
                Ok(())
            }
        }
    }

    fn reach(&mut self, user: &User, mailbox: MailboxId) {
        self.targets.insert(mailbox, user.id);
    }

    fn reach_privileged(&mut self) -> bool {
        let directory = self.directory;
        let mut any = false;
        for user in directory.users.values().filter(|user| user.privileged) {
            self.reach(user, user.inbox());
            any = true;
        }
        any
    }

    fn fail(&mut self, refusal: Refusal) {
        self.failed.get_or_insert(refusal);
    }
}

/// The mailbox that a detail names, without case: addresses have none.
fn detail_mailbox(user: &User, detail: &str) -> Option<MailboxId> {
    let exact = MailboxName::normal(detail).ok().and_then(|name| user.mailbox(&name));
    let alike = || user.mailboxes.iter().find(|(name, _)| name.as_str().eq_ignore_ascii_case(detail));
    exact.or_else(|| alike().map(|(_, id)| *id))
}
