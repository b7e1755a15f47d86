//! What a minority shows: the letters that wait, and real mailboxes with the queued changes on top.

use super::Spool;
use crate::command::Queued;
use crate::flags::{FlagNames, Flags};
use crate::ids::{EntryTime, SpoolId, UserId};
use crate::mailbox::{Mailbox, Record};
use crate::state::State;

/// A letter in somebody's `Held`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLetter {
    /// Its UID in the `Held` of this store; the UIDVALIDITY is [`State::held_validity`].
    pub uid: u32,
    /// Its name.
    pub id: SpoolId,
    /// When it was queued.
    pub date: EntryTime,
    /// Its length in bytes.
    pub bytes: u32,
}

impl Spool {
    /// A user's `Held`, by UID. A letter leaves it in the moment in which the state shows it where it belongs.
    pub fn held(&self, state: &State, user: UserId) -> Vec<HeldLetter> {
        let shown = |id: &SpoolId| {
            let item = &self.items[id];
            let waits = item.readers.contains(&user)
                && !self.cancelled.contains(&(*id, user))
                && !state.is_merged(*id)
                && item.request.is_none_or(|r| self.requests.get(&r) == Some(id) && !state.is_done(&r));
            let (date, bytes) = (item.merge.queued, item.letter_bytes);
            waits.then_some(HeldLetter { uid: item.place, id: *id, date, bytes })
        };
        self.order.iter().filter_map(shown).collect()
    }

    /// The next UID of every `Held` of this store.
    pub fn held_uid_next(&self) -> u32 {
        self.next_place
    }

    /// A letter's flags in a real mailbox with the queued changes on top; none if it has been removed.
    pub fn show(&self, mailbox: &Mailbox, record: &Record) -> Option<FlagNames> {
        let mut flags = mailbox.flag_names(record.flags);
        for (_, id) in self.changes.get(&mailbox.id()).into_iter().flatten() {
            match &self.items[id].merge.change {
                Queued::Flags(change) if change.uids.contains(record.uid) => {
                    flags.leave_out(&change.remove);
                    flags.join(change.add.clone());
                }
                Queued::Expunge(expunge) if expunge.uids.contains(record.uid) => {
                    if !expunge.only_deleted || flags.system.has(Flags::DELETED) {
                        return None;
                    }
                }
                Queued::Flags(_)
                | Queued::Expunge(_)
                | Queued::Deliver(_)
                | Queued::Append(_)
                | Queued::Cancel(_) => {}
            }
        }
        Some(flags)
    }
}
