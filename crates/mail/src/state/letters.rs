//! What is done to letters that are there: flags, removal, copies, moves [Mail 6].

use super::{Context, State};
use crate::bugs::Bug;
use crate::command::{Expunge, Store, Transfer};
use crate::feed::Change;
use crate::flags::Flags;
use crate::ids::MailboxId;
use crate::mailbox::Record;
use crate::outcome::{Outcome, Refusal};
use crate::uids::UidSet;

impl State {
    /// One MODSEQ for all letters that change; none for those that stay as they were (RFC 7162, 3.1.3).
    pub(super) fn store(&mut self, context: &Context, store: &Store) -> Result<Outcome, Refusal> {
        self.usable(context, store.mailbox)?;
        let mailbox = self.mailbox_mut(store.mailbox);
        let named = match store.op {
            // What nobody has cannot be taken away: no slot is needed for it.
            crate::FlagOp::Remove => mailbox.keywords.known(&store.flags),
            crate::FlagOp::Add | crate::FlagOp::Replace => {
                mailbox.intern(&store.flags).map_err(|_| Refusal::KeywordsFull)?
            }
        };
        let mut modified = UidSet::default();
        let mut wanted = Vec::new();
        for record in mailbox.by_uids(&store.uids) {
            if store.unchanged_since.is_some_and(|since| record.modseq > since) {
                modified.push(record.uid);
                continue;
            }
            let flags = store.op.apply(record.flags, named);
            if flags != record.flags {
                wanted.push((record.uid, flags));
            }
        }
        let (modseq, changed) = self.set_flags(store.mailbox, &wanted);
        Ok(Outcome::Stored { modseq, changed, modified })
    }

    /// Gives letters new flags; tells the mailbox's MODSEQ and which changed.
    pub(super) fn set_flags(&mut self, id: MailboxId, wanted: &[(u32, Flags)]) -> (u64, UidSet) {
        let same_again = self.bugs.has(Bug::ModseqTwice);
        let mailbox = self.mailbox_mut(id);
        if wanted.is_empty() {
            return (mailbox.modseq, UidSet::default());
        }
        let modseq = if same_again { mailbox.modseq } else { mailbox.next_modseq() };
        let mut changed = UidSet::default();
        for (uid, flags) in wanted {
            mailbox.set_flags(*uid, *flags, modseq);
            changed.push(*uid);
        }
        let uids = &changed;
        self.feed.say(|| Change::Flags { mailbox: id, uids: uids.clone(), modseq });
        (modseq, changed)
    }

    pub(super) fn expunge(&mut self, context: &Context, expunge: &Expunge) -> Result<Outcome, Refusal> {
        self.usable(context, expunge.mailbox)?;
        let only_deleted = expunge.only_deleted;
        let wanted = |record: &Record| !only_deleted || record.flags.has(Flags::DELETED);
        let gone = self.remove_letters(expunge.mailbox, &expunge.uids, wanted);
        let uids = gone.iter().map(|record| record.uid).collect();
        Ok(Outcome::Expunged { modseq: self.mailboxes[&expunge.mailbox].modseq, uids })
    }

    /// Removes letters from a mailbox, and those that nobody points at any more for good.
    pub(super) fn remove_letters(
        &mut self,
        id: MailboxId,
        uids: &UidSet,
        wanted: impl FnMut(&Record) -> bool,
    ) -> Vec<Record> {
        let gone = self.take(id, uids, wanted);
        let mut bytes = 0;
        for record in &gone {
            bytes += u64::from(self.letters.of_record(record.letter).bytes);
            if self.letters.release(record.letter) {
                self.merged.forget_letter(record.letter);
            }
        }
        let owner = self.mailboxes[&id].owner;
        let user = self.directory.user_mut(owner).expect("a mailbox has an owner");
        user.count_removed(bytes, gone.len() as u32);
        gone
    }

    /// Takes records out of a mailbox and tells the feed; the letters keep their references.
    fn take(&mut self, id: MailboxId, uids: &UidSet, wanted: impl FnMut(&Record) -> bool) -> Vec<Record> {
        let mailbox = self.mailboxes.get_mut(&id).expect("the mailbox was found before");
        let mailbox = std::sync::Arc::make_mut(mailbox);
        let gone = mailbox.take(uids, &self.letters, wanted);
        if !gone.is_empty() {
            let modseq = mailbox.modseq;
            let uids = || gone.iter().map(|record| record.uid).collect();
            self.feed.say(|| Change::Went { mailbox: id, uids: uids(), modseq });
        }
        gone
    }

    /// All or none: a copy that would exceed the quota copies nothing (RFC 9051, 6.4.7).
    pub(super) fn copy(&mut self, context: &Context, transfer: &Transfer) -> Result<Outcome, Refusal> {
        let records = self.transferable(context, transfer)?;
        let bytes = records.iter().map(|r| u64::from(self.letters.of_record(r.letter).bytes)).sum();
        let owner = self.mailboxes[&transfer.from].owner;
        let user = self.directory.user_mut(owner).expect("a mailbox has an owner");
        if user.letters.saturating_add(records.len() as u32) > self.limits.letters_max {
            return Err(Refusal::Full);
        }
        if !user.has_room(bytes, records.len() as u32) {
            return Err(Refusal::OverQuota);
        }
        user.count_added(bytes, records.len() as u32);
        records.iter().for_each(|record| self.letters.refer(record.letter));
        Ok(self.put_records(transfer.from, transfer.to, &records))
    }

    /// The letters get new UIDs where they go and are gone where they were; no client sees them in both.
    pub(super) fn relocate(&mut self, context: &Context, transfer: &Transfer) -> Result<Outcome, Refusal> {
        if transfer.from == transfer.to {
            return Err(Refusal::WrongMailbox);
        }
        self.transferable(context, transfer)?;
        Ok(self.move_letters(transfer.from, transfer.to, &transfer.uids))
    }

    /// Moves letters; the target is known to have room.
    pub(super) fn move_letters(&mut self, from: MailboxId, to: MailboxId, uids: &UidSet) -> Outcome {
        let records = self.take(from, uids, |_| true);
        self.put_records(from, to, &records)
    }

    fn transferable(&self, context: &Context, transfer: &Transfer) -> Result<Vec<Record>, Refusal> {
        let from = self.usable(context, transfer.from)?;
        let to = self.usable(context, transfer.to)?;
        if from.owner != to.owner {
            return Err(Refusal::WrongMailbox);
        }
        let records: Vec<Record> = from.by_uids(&transfer.uids).copied().collect();
        if !to.has_room(records.len() as u32) {
            return Err(Refusal::Full);
        }
        Ok(records)
    }

    /// Puts records of one mailbox into another under new UIDs and one MODSEQ.
    fn put_records(&mut self, from: MailboxId, to: MailboxId, records: &[Record]) -> Outcome {
        let names = self.mailboxes[&from].keywords.clone();
        let target = self.mailboxes.get_mut(&to).expect("the mailbox was found before");
        let target = std::sync::Arc::make_mut(target);
        let (validity, first) = (target.validity, target.uid_next);
        if records.is_empty() {
            return Outcome::Copied { validity, from: UidSet::default(), to: UidSet::default() };
        }
        let modseq = target.next_modseq();
        for record in records {
            let flags = match record.flags.without(Flags::SYSTEM) {
                Flags::NONE => record.flags,
                _ => target.keywords.intern_what_fits(&names.name(record.flags)),
            };
            let bytes = self.letters.of_record(record.letter).bytes;
            target.add(record.letter, bytes, flags, modseq);
        }
        let last = target.uid_next - 1;
        self.feed.say(|| Change::Came { mailbox: to, first, last, modseq });
        Outcome::Copied {
            validity,
            from: records.iter().map(|record| record.uid).collect(),
            to: UidSet::of_runs([(first, last)]),
        }
    }

    pub(super) fn claim_recent(&mut self, context: &Context, id: MailboxId) -> Result<Outcome, Refusal> {
        self.usable(context, id)?;
        let mailbox = self.mailbox_mut(id);
        let (from, to) = (mailbox.recent_from, mailbox.uid_next);
        mailbox.recent_from = to;
        Ok(Outcome::Claimed { from, to })
    }
}
