//! What minorities queued enters the primary order here: each thing once, whoever brings it and however
//! often [Mail 12].

use std::collections::BTreeSet;
use std::sync::Arc;

use wire::StoreId;

use super::deliver::Terms;
use super::{Context, State};
use crate::bugs::Bug;
use crate::command::{Append, Cancel, Merge, Principal, Queued, QueuedFlags};
use crate::ids::{Position, SpoolId, UserId};
use crate::limits::COUNT_MAX;
use crate::mailbox::Mailbox;
use crate::merged::Enrolled;
use crate::outcome::{Outcome, Refusal};
use crate::uids::UidSet;

impl State {
    /// A store gets its UIDVALIDITY once; to ask again does no harm.
    pub(super) fn enrol_store(&mut self, context: &Context, store: StoreId) -> Result<Outcome, Refusal> {
        self.may_serve(context)?;
        if let Some(enrolled) = self.merged.stores.get(&store) {
            return Ok(Outcome::Enrolled { held_validity: enrolled.held_validity });
        }
        if self.merged.stores.len() >= self.limits.stores_max as usize {
            return Err(Refusal::Full);
        }
        let held_validity = self.next_validity()?;
        self.merged.stores.insert(store, Enrolled { held_validity, merged: Vec::new() });
        Ok(Outcome::Enrolled { held_validity })
    }

    pub(super) fn merge(&mut self, context: &Context, merge: &Merge) -> Result<Outcome, Refusal> {
        self.may_serve(context)?;
        let numbered = (1..=COUNT_MAX).contains(&merge.spool.number);
        if !numbered || !self.merged.stores.contains_key(&merge.spool.store) {
            return Err(Refusal::NotPermitted);
        }
        if self.merged.contains(merge.spool) {
            return Ok(Outcome::Repeated { first: Position(0), answer: Box::new(Outcome::Done) });
        }
        if !self.merged.has_room(merge.spool, &self.limits) {
            return Err(Refusal::Full);
        }
        let queued = Context { by: merge.by, time: merge.queued, ..*context };
        let outcome = match self.merge_change(&queued, merge) {
            // Room may come: the site keeps it and asks again.
            Err(Refusal::Full) => return Err(Refusal::Full),
            other => other,
        };
        self.merged.insert(merge.spool);
        outcome
    }

    /// A held letter whose request was done before, because its client repeated it at another site: it has
    /// been merged, and what was deleted of it is deleted of the one that came first.
    pub(super) fn merge_repeated(&mut self, context: &Context, merge: &Merge, first: Position) {
        let numbered = (1..=COUNT_MAX).contains(&merge.spool.number);
        let room = self.merged.has_room(merge.spool, &self.limits);
        if self.may_serve(context).is_err() || !numbered || !room || self.merged.contains(merge.spool) {
            return;
        }
        self.merged.insert(merge.spool);
        for user in self.take_awaited(merge.spool) {
            self.remove_everywhere(user, first);
        }
        if self.letters.get(first).is_some() {
            self.merged.remember_letter(merge.spool, first);
        }
    }

    /// Removes a letter from every mailbox of a user.
    fn remove_everywhere(&mut self, user: UserId, letter: Position) {
        let mailboxes = self.directory.user(user).map(|user| user.mailboxes.clone()).unwrap_or_default();
        for mailbox in mailboxes.into_values() {
            self.remove_letters(mailbox, &UidSet::all(), |record| record.letter == letter);
        }
    }

    fn merge_change(&mut self, context: &Context, merge: &Merge) -> Result<Outcome, Refusal> {
        match &merge.change {
            Queued::Deliver(deliver) => {
                let deleted_by = self.take_awaited(merge.spool);
                let terms = Terms { quotas: false, deleted_by: &deleted_by };
                let outcome = self.hand_out(context, deliver, &terms);
                self.remember_held(context, merge.spool);
                Ok(outcome)
            }
            Queued::Append(append) => self.merge_append(context, merge.spool, append),
            Queued::Flags(flags) => self.merge_flags(context, flags),
            Queued::Expunge(expunge) => self.expunge(context, expunge),
            Queued::Cancel(cancel) => self.merge_cancel(context, cancel),
        }
    }

    /// Does what a queued change of flags or a deletion will do, in a copy that is only shown; its mailbox has this MODSEQ
    /// then. What else is queued changes nothing here.
    pub(crate) fn preview(&mut self, merge: &Merge, modseq: u64) -> Result<Outcome, Refusal> {
        let mailbox = match &merge.change {
            Queued::Flags(flags) => flags.mailbox,
            Queued::Expunge(expunge) => expunge.mailbox,
            Queued::Deliver(_) | Queued::Append(_) | Queued::Cancel(_) => return Ok(Outcome::Done),
        };
        let context = Context { position: self.position, time: merge.queued, by: merge.by, letter_bytes: 0 };
        self.usable(&context, mailbox)?;
        self.mailbox_mut(mailbox).modseq = modseq - 1;
        self.merge_change(&context, merge)
    }

    /// A mailbox that is only shown, of a user that is there.
    pub(crate) fn add_shown(&mut self, mailbox: Mailbox) {
        if let Some(user) = self.directory.user_mut(mailbox.owner) {
            user.mailboxes.insert(mailbox.name.clone(), mailbox.id);
            self.mailboxes.insert(mailbox.id, Arc::new(mailbox));
        }
    }

    /// The letter goes to the mailbox that it was meant for, or to INBOX if that is gone.
    fn merge_append(
        &mut self,
        context: &Context,
        spool: SpoolId,
        append: &Append,
    ) -> Result<Outcome, Refusal> {
        let owner = match (self.mailboxes.get(&append.mailbox), context.by) {
            (Some(mailbox), _) => mailbox.owner,
            (None, Principal::User(id)) => id,
            (None, Principal::Operator | Principal::Site | Principal::Outside) => {
                return Err(Refusal::NoMailbox);
            }
        };
        self.may_use(context, owner)?;
        let user = self.directory.user(owner).ok_or(Refusal::NoUser)?;
        let there = self.mailboxes.contains_key(&append.mailbox);
        let mailbox = if there { append.mailbox } else { user.inbox() };
        self.has_room(mailbox, owner, context.letter_bytes, false)?;
        if self.take_awaited(spool).contains(&owner) {
            return Ok(Outcome::Done);
        }
        let outcome = self.append_there(context, mailbox, &append.flags, append.date);
        self.remember_held(context, spool);
        Ok(outcome)
    }

    /// Who deleted this letter before it came.
    // [Yampell 86, 9.1]
    fn take_awaited(&mut self, letter: SpoolId) -> BTreeSet<UserId> {
        let all = (letter, UserId(0))..=(letter, UserId(u32::MAX));
        let deleted_by: BTreeSet<UserId> = self.merged.awaited.range(all).map(|(_, user)| *user).collect();
        for user in &deleted_by {
            self.merged.awaited.remove(&(letter, *user));
        }
        deleted_by
    }

    fn remember_held(&mut self, context: &Context, spool: SpoolId) {
        if self.letters.get(context.position).is_some() {
            self.merged.remember_letter(spool, context.position);
        }
    }

    fn merge_flags(&mut self, context: &Context, flags: &QueuedFlags) -> Result<Outcome, Refusal> {
        self.usable(context, flags.mailbox)?;
        let mailbox = self.mailbox_mut(flags.mailbox);
        let remove = mailbox.keywords.known(&flags.remove);
        let add = mailbox.keywords.intern_what_fits(&flags.add);
        let new = |old: crate::Flags| old.without(remove) | add;
        let changed = mailbox.by_uids(&flags.uids).filter(|r| new(r.flags) != r.flags);
        let wanted: Vec<_> = changed.map(|record| (record.uid, new(record.flags))).collect();
        let (modseq, changed) = self.set_flags(flags.mailbox, &wanted);
        Ok(Outcome::Stored { modseq, changed, modified: UidSet::default() })
    }

    /// Deletes a letter that was held, or waits for it.
    fn merge_cancel(&mut self, context: &Context, cancel: &Cancel) -> Result<Outcome, Refusal> {
        self.may_use(context, cancel.user)?;
        self.directory.user(cancel.user).ok_or(Refusal::NoUser)?;
        if let Some(position) = self.merged.letter(cancel.letter) {
            self.remove_everywhere(cancel.user, position);
            return Ok(Outcome::Done);
        }
        if !self.merged.contains(cancel.letter) && !self.bugs.has(Bug::DeletionForgotten) {
            if self.merged.awaited.len() >= self.limits.awaited_max as usize {
                return Err(Refusal::Full);
            }
            self.merged.awaited.insert((cancel.letter, cancel.user));
        }
        Ok(Outcome::Done)
    }
}
