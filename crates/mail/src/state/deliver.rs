//! Letters that come: to many recipients at once, or into one mailbox [Mail 7].
// [Yampell 86, 7.3]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Context, State};
use crate::bugs::Bug;
use crate::command::{Append, Deliver, Principal};
use crate::feed::Change;
use crate::flags::{FlagNames, Flags};
use crate::ids::{MailboxId, UserId};
use crate::letters::Letter;
use crate::limits::{RECEIPT_USERS_MAX, RESOLVE_STEPS_MAX};
use crate::outcome::{Outcome, Receipt, Refusal};
use crate::resolve::Targets;

/// How a letter is handed out.
pub(super) struct Terms<'a> {
    /// Whether quotas are kept. A letter that a minority accepted is not refused for one afterwards.
    pub quotas: bool,
    /// Users who have deleted the letter before it came.
    pub deleted_by: &'a BTreeSet<UserId>,
}

impl State {
    pub(super) fn deliver(&mut self, context: &Context, deliver: &Deliver) -> Result<Outcome, Refusal> {
        match context.by {
            Principal::Operator | Principal::Outside => {}
            Principal::User(id) => {
                self.directory.user(id).ok_or(Refusal::NoUser)?;
            }
            Principal::Site => return Err(Refusal::NotPermitted),
        }
        Ok(self.hand_out(context, deliver, &Terms { quotas: true, deleted_by: &BTreeSet::new() }))
    }

    /// One record for each mailbox that any recipient stands for; the letter is stored once, if at all.
    pub(super) fn hand_out(&mut self, context: &Context, deliver: &Deliver, terms: &Terms<'_>) -> Outcome {
        let mut steps_left = RESOLVE_STEPS_MAX;
        let resolve = |address| self.directory.resolve(address, context.by, &mut steps_left);
        let resolved: Vec<Result<Targets, Refusal>> = deliver.recipients.iter().map(resolve).collect();
        let refused = self.put_into_each(context, &resolved, terms);
        Outcome::Delivered(resolved.into_iter().map(|targets| receipt(targets, &refused)).collect())
    }

    /// Puts the letter into every mailbox that takes it; returns those that do not.
    fn put_into_each(
        &mut self,
        context: &Context,
        resolved: &[Result<Targets, Refusal>],
        terms: &Terms<'_>,
    ) -> BTreeMap<MailboxId, Refusal> {
        let (mut refused, mut references) = (BTreeMap::new(), 0);
        let each = || resolved.iter().flatten().flatten().map(|(mailbox, user)| (*mailbox, *user));
        let everyone: Vec<(MailboxId, UserId)> = match self.bugs.has(Bug::CopyForEachRecipient) {
            true => each().collect(),
            false => each().collect::<Targets>().into_iter().collect(),
        };
        for (mailbox, user) in everyone {
            if terms.deleted_by.contains(&user) {
                continue;
            }
            match self.has_room(mailbox, user, context.letter_bytes, terms.quotas) {
                Ok(()) => {
                    self.put(context, mailbox, Flags::NONE);
                    references += 1;
                }
                Err(refusal) => {
                    refused.insert(mailbox, refusal);
                }
            }
        }
        self.keep_letter(context, context.time, references);
        refused
    }

    pub(super) fn has_room(
        &self,
        mailbox: MailboxId,
        user: UserId,
        bytes: u32,
        quotas: bool,
    ) -> Result<(), Refusal> {
        if !self.mailboxes[&mailbox].has_room(1) {
            return Err(Refusal::Full);
        }
        let user = self.directory.user(user).ok_or(Refusal::NoUser)?;
        if quotas && user.letters >= self.limits.letters_max || user.letters == u32::MAX {
            return Err(Refusal::Full);
        }
        if quotas && !user.has_room(u64::from(bytes), 1) {
            return Err(Refusal::OverQuota);
        }
        Ok(())
    }

    /// Adds a record of the entry's letter to a mailbox, and tells its UID.
    pub(super) fn put(&mut self, context: &Context, id: MailboxId, flags: Flags) -> u32 {
        let mailbox = Arc::make_mut(self.mailboxes.get_mut(&id).expect("the mailbox was found before"));
        let modseq = mailbox.next_modseq();
        let uid = mailbox.add(context.position, context.letter_bytes, flags, modseq);
        let user = self.directory.user_mut(mailbox.owner).expect("a mailbox has an owner");
        user.count_added(u64::from(context.letter_bytes), 1);
        self.feed.say(|| Change::Came { mailbox: id, first: uid, last: uid, modseq });
        uid
    }

    /// Keeps the entry's letter, at which so many records point.
    pub(super) fn keep_letter(&mut self, context: &Context, date: crate::EntryTime, references: u32) {
        if references > 0 {
            let (position, bytes) = (context.position, context.letter_bytes);
            self.letters.push(Letter { position, date, bytes, references });
        }
    }

    pub(super) fn append(&mut self, context: &Context, append: &Append) -> Result<Outcome, Refusal> {
        let mailbox = self.usable(context, append.mailbox)?;
        self.has_room(mailbox.id, mailbox.owner, context.letter_bytes, true)?;
        Ok(self.append_there(context, append.mailbox, &append.flags, append.date))
    }

    pub(super) fn append_there(
        &mut self,
        context: &Context,
        id: MailboxId,
        flags: &FlagNames,
        date: Option<crate::EntryTime>,
    ) -> Outcome {
        let mailbox = self.mailbox_mut(id);
        // A letter is worth more than its keywords: those that find no slot are left out.
        let flags = mailbox.keywords.intern_what_fits(flags);
        let validity = mailbox.validity;
        let uid = self.put(context, id, flags);
        self.keep_letter(context, date.unwrap_or(context.time), 1);
        Outcome::Appended { validity, uid }
    }
}

/// What one recipient is told.
fn receipt(targets: Result<Targets, Refusal>, refused: &BTreeMap<MailboxId, Refusal>) -> Receipt {
    let targets = match targets {
        Ok(targets) => targets,
        Err(refusal) => return Receipt::Refused(refusal),
    };
    let without: Vec<(Refusal, UserId)> =
        targets.iter().filter_map(|(mailbox, user)| Some((*refused.get(mailbox)?, *user))).collect();
    match without.first() {
        None => Receipt::Delivered,
        Some((refusal, _)) if without.len() == targets.len() => Receipt::Refused(*refusal),
        Some(_) => {
            Receipt::Partly(without.into_iter().map(|(_, user)| user).take(RECEIPT_USERS_MAX).collect())
        }
    }
}
