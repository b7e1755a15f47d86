//! What a minority shows, as a state like any other: a copy of the site's with the queued changes done in it, and `Held` as
//! a mailbox of whoever looks. It is only looked at; nothing of it is ever replicated.

use super::Spool;
use crate::command::Merge;
use crate::flags::Flags;
use crate::ids::{MailboxId, Position, SpoolId, UserId};
use crate::letters::Letter;
use crate::mailbox::{Mailbox, Record};
use crate::name::MailboxName;
use crate::outcome::{Outcome, Refusal};
use crate::state::State;

/// `Held`, in a state that is shown. Ids of mailboxes ascend from 1, and this is the last of all.
pub const HELD: MailboxId = MailboxId(u32::MAX);
/// MODSEQs from here on are of a state that is shown. No client is told one.
const MODSEQS: u64 = 1 << 62;
/// A MODSEQ is the copy's turn, above so many bits that count what was done in it.
const TURN_BITS: u32 = 24;
/// Positions from here on are of held letters, with their places added.
const LETTERS: u64 = 1 << 63;

/// A copy of a site's state with queued changes done in it.
#[derive(Clone, Debug)]
pub struct Shown {
    state: State,
    /// The last MODSEQ that was given out here.
    modseq: u64,
}

impl Spool {
    /// A copy of the state with the queued changes done in it. `turn` is above that of every copy that was shown before:
    /// then no MODSEQ in it was ever shown for something else.
    pub fn shown(&self, state: &State, turn: u32) -> Shown {
        let mut copy = state.clone();
        copy.watch(false);
        let mut shown = Shown { state: copy, modseq: MODSEQS + (u64::from(turn) << TURN_BITS) };
        for id in self.to_merge(state) {
            // One that would be refused now changes nothing.
            let _ = shown.add(&self.items[&id].merge);
        }
        shown
    }

    /// The place of something that is held.
    pub fn place(&self, id: SpoolId) -> Option<u32> {
        self.items.get(&id).map(|held| held.place)
    }

    /// The places of all that is held, in ascending order.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.order.iter().map(|id| self.items[id].place)
    }

    /// Letters that are held, as opposed to changes.
    pub fn letters(&self) -> usize {
        self.items.values().filter(|held| held.merge.change.carries_letter()).count()
    }
}

impl Shown {
    /// Does one more change in it, and says what it came to: what the primary will make of it, if nothing is changed there
    /// meanwhile. A letter changes nothing but `Held`.
    ///
    /// # Errors
    ///
    /// The primary would refuse it now.
    pub fn add(&mut self, merge: &Merge) -> Result<Outcome, Refusal> {
        self.modseq += 1;
        self.state.preview(merge, self.modseq)
    }

    /// Something else of `Held` has changed.
    pub fn touch(&mut self) {
        self.modseq += 1;
    }

    /// The MODSEQ of what was done last.
    pub fn modseq(&self) -> u64 {
        self.modseq
    }

    /// The state as it is shown to nobody in particular.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state as it is shown to a user: with a `Held`, if this spool's store has a UIDVALIDITY for it. `state` is the one
    /// that this is a copy of; `flags` says how its letters are marked.
    pub fn for_user(
        &self,
        spool: &Spool,
        state: &State,
        user: UserId,
        flags: impl Fn(u32) -> Flags,
    ) -> State {
        let mut shown = self.state.clone();
        let Some(validity) = state.held_validity(spool.store).filter(|_| state.user(user).is_some()) else {
            return shown;
        };
        let mut held = Mailbox::new(HELD, user, MailboxName::held(), validity);
        held.modseq = self.modseq;
        for letter in spool.held(state, user) {
            let position = Position(LETTERS + u64::from(letter.uid));
            let record =
                Record { uid: letter.uid, flags: flags(letter.uid), modseq: self.modseq, letter: position };
            held.restore(record, letter.bytes);
            shown.letters.push(Letter { position, date: letter.date, bytes: letter.bytes, references: 1 });
        }
        held.uid_next = spool.held_uid_next();
        held.recent_from = held.uid_next;
        shown.add_shown(held);
        shown
    }
}

/// The place in the spool's log of a letter that is only shown; none of one that the group's log has.
pub fn held_place(letter: Position) -> Option<u64> {
    letter.0.checked_sub(LETTERS)
}

/// Whether a MODSEQ is of a state that is shown, and of which copy: 0 is the state itself. Of one copy they ascend with what
/// changes; between two they say nothing.
pub fn shown_turn(modseq: u64) -> u64 {
    if modseq < MODSEQS { 0 } else { modseq >> TURN_BITS }
}
