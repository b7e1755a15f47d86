//! Turning what a client asks of a minority into what will be proposed to the primary.

use bytes::Bytes;

use super::Spool;
use crate::command::{
    Append, Cancel, Command, Deliver, Expunge, Merge, Principal, Queued, QueuedFlags, Store,
};
use crate::entry::{Entry, RequestId};
use crate::flags::{FlagNames, FlagOp};
use crate::ids::{EntryTime, MailboxId, SpoolId, UserId};
use crate::limits::COUNT_MAX;
use crate::outcome::{Receipt, Refusal};
use crate::state::State;
use crate::uids::UidSet;

/// What a client may ask of a minority. Everything else is the primary's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Send a letter.
    Deliver(Deliver, Bytes),
    /// Put a letter into a mailbox.
    Append(Append, Bytes),
    /// Change flags of letters in a real mailbox.
    Store(Store),
    /// Remove letters from a real mailbox.
    Expunge(Expunge),
    /// Remove letters from `Held`.
    Discard {
        /// Whose `Held`.
        user: UserId,
        /// The letter's UID there.
        uid: u32,
    },
}

/// What became of the asking.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "made once for a request, and taken apart at once")]
pub enum Queuing {
    /// To be written down, here first, before anybody hears of it.
    Write {
        /// What to write, and later to propose.
        entry: Entry,
        /// For a letter: one receipt for each recipient. Those that are refused are no longer in the entry.
        receipts: Vec<Receipt>,
    },
    /// The same request is held already.
    Held(SpoolId),
    /// The same request was done by the primary already.
    Done,
}

impl Spool {
    /// Makes an entry of what a client asks at `now`. Its number is used up even if the entry is never
    /// written.
    pub fn queue(
        &mut self,
        state: &State,
        now: EntryTime,
        by: Principal,
        request: Option<RequestId>,
        ask: Ask,
    ) -> Result<Queuing, Refusal> {
        if let Some(request) = request {
            if let Some(id) = self.requests.get(&request) {
                return Ok(Queuing::Held(*id));
            }
            if state.is_done(&request) {
                return Ok(Queuing::Done);
            }
        }
        if state.held_validity(self.store).is_none() {
            return Err(Refusal::NotEnrolled);
        }
        let (change, letter, receipts) = self.judge(state, by, ask)?;
        let bytes = self.bytes.saturating_add(letter.len() as u64);
        if self.items.len() >= self.limits.items_max || bytes > self.limits.bytes_max {
            return Err(Refusal::Full);
        }
        self.last_number = self.last_number.max(state.last_merged(self.store)) + 1;
        let spool = SpoolId { store: self.store, number: self.last_number };
        let turn = (self.last_turn + 1).min(COUNT_MAX);
        let command = Command::Merge(Merge { spool, queued: now, by, change, turn });
        let entry = match letter.is_empty() {
            true => Entry::new(Principal::Site, request, command),
            false => Entry::with_letter(Principal::Site, request, command, letter),
        };
        Ok(Queuing::Write { entry: entry.map_err(|_| Refusal::Unreadable)?, receipts })
    }

    fn judge(
        &self,
        state: &State,
        by: Principal,
        ask: Ask,
    ) -> Result<(Queued, Bytes, Vec<Receipt>), Refusal> {
        let owns = |user: UserId| match by {
            Principal::Operator => Ok(()),
            Principal::User(id) if id == user && state.user(id).is_some() => Ok(()),
            Principal::User(_) | Principal::Site | Principal::Outside => Err(Refusal::NotPermitted),
        };
        let owns_mailbox = |id: MailboxId| owns(state.mailbox(id).ok_or(Refusal::NoMailbox)?.owner());
        match ask {
            Ask::Deliver(deliver, letter) => {
                if by == Principal::Site {
                    return Err(Refusal::NotPermitted);
                }
                let (deliver, receipts) = only_known(state, by, deliver)?;
                Ok((Queued::Deliver(deliver), letter, receipts))
            }
            Ask::Append(append, letter) => {
                owns_mailbox(append.mailbox)?;
                Ok((Queued::Append(append), letter, Vec::new()))
            }
            Ask::Store(store) => {
                owns_mailbox(store.mailbox)?;
                let flags = self.difference(state, store)?;
                Ok((Queued::Flags(flags), Bytes::new(), Vec::new()))
            }
            Ask::Expunge(expunge) => {
                owns_mailbox(expunge.mailbox)?;
                let uids = there(state, expunge.mailbox, &expunge.uids);
                Ok((Queued::Expunge(Expunge { uids, ..expunge }), Bytes::new(), Vec::new()))
            }
            Ask::Discard { user, uid } => {
                owns(user)?;
                let held = self.held(state, user).into_iter().find(|letter| letter.uid == uid);
                let letter = held.ok_or(Refusal::NoMailbox)?.id;
                Ok((Queued::Cancel(Cancel { user, letter }), Bytes::new(), Vec::new()))
            }
        }
    }

    /// A change of flags as what it sets and what it clears of what this client can see: to replace flags
    /// must not undo, at the merge, what the primary set meanwhile.
    fn difference(&self, state: &State, store: Store) -> Result<QueuedFlags, Refusal> {
        if store.unchanged_since.is_some() {
            return Err(Refusal::PrimaryOnly);
        }
        let mailbox = state.mailbox(store.mailbox).ok_or(Refusal::NoMailbox)?;
        let uids = there(state, store.mailbox, &store.uids);
        let (add, remove) = match store.op {
            FlagOp::Add => (store.flags, FlagNames::default()),
            FlagOp::Remove => (FlagNames::default(), store.flags),
            FlagOp::Replace => {
                let mut seen = FlagNames::default();
                for shown in mailbox.by_uids(&uids).filter_map(|record| self.show(mailbox, record)) {
                    seen.join(shown);
                }
                seen.leave_out(&store.flags);
                (store.flags, seen)
            }
        };
        Ok(QueuedFlags { mailbox: store.mailbox, uids, add, remove })
    }
}

/// The letters that the client can have meant: those that are there. `1:*` must not grow on its way.
fn there(state: &State, mailbox: MailboxId, uids: &UidSet) -> UidSet {
    let mailbox = state.mailbox(mailbox);
    mailbox.into_iter().flat_map(|mailbox| mailbox.by_uids(uids)).map(|record| record.uid).collect()
}

/// The letter for those recipients that this side knows.
fn only_known(state: &State, by: Principal, deliver: Deliver) -> Result<(Deliver, Vec<Receipt>), Refusal> {
    let judged: Vec<Receipt> = deliver
        .recipients
        .iter()
        .map(|to| state.resolve(to, by).map_or_else(Receipt::Refused, |_| Receipt::Delivered))
        .collect();
    let known = deliver.recipients.into_iter().zip(&judged);
    let recipients: Vec<_> =
        known.filter(|(_, receipt)| **receipt == Receipt::Delivered).map(|(to, _)| to).collect();
    if recipients.is_empty() {
        return Err(Refusal::NoAddress);
    }
    Ok((Deliver { recipients, ..deliver }, judged))
}
