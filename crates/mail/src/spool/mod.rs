//! What a minority queues: letters from users, flags, deletions. They are shown at once and merged in the
//! primary order later, each once [Mail 12].
//!
//! What is queued is written down as the very entry that will be proposed to the primary
//! ([`Command::Merge`]), so merging is proposing what the disk has, and nothing is translated twice.

mod circle;
mod exchange;
mod held;
mod message;
mod queue;
mod shown;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::StoreId;

pub use circle::Circle;
pub use exchange::{Having, Lacking, Run};
pub use held::HeldLetter;
pub use message::{BadMessage, Batch, Told, Verdict};
pub use queue::{Ask, Queuing};
pub use shown::{HELD, Shown, held_place, shown_turn};

use crate::command::{Command, Merge, Principal, Queued};
use crate::entry::{Entry, RequestId};
use crate::ids::{MailboxId, SpoolId, UserId};
use crate::limits::COUNT_MAX;
use crate::state::State;

/// How much a store may hold for a minority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Letters and changes.
    pub items_max: usize,
    /// Bytes of letters.
    pub bytes_max: u64,
}

impl Default for SpoolLimits {
    fn default() -> SpoolLimits {
        SpoolLimits { items_max: 100_000, bytes_max: 8 << 30 }
    }
}

/// Something that cannot be in a spool. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSpool {
    /// Not an entry that a spool holds.
    #[error("this entry is not one that a spool holds")]
    NotQueued,
    /// A letter that was left out cannot be held.
    #[error("the letter of this entry was left out")]
    NoLetter,
    /// Places ascend.
    #[error("this place was used before")]
    Place,
    /// The spool is full.
    #[error("the spool is full")]
    Full,
}

/// Where a store's spool log goes on. Its log keeps both, whatever is dropped from it: neither is used twice, and a state that
/// was restored may be older than what was merged when the log was shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolNext {
    /// The next place.
    pub place: u32,
    /// The next number of what this store writes down first.
    pub number: u64,
}

impl SpoolNext {
    /// Of a store that has held nothing yet.
    pub const FIRST: SpoolNext = SpoolNext { place: 1, number: 1 };
}

/// What one store holds for its minority.
///
/// [`queue`](Spool::queue) makes an entry of what a client asks. Write it to this store's spool log, and only
/// then send it to the other sites in reach, which write it to theirs; each [`accept`](Spool::accept)s it
/// under the place that it has in its own log. The client is answered when every disk in reach has it. What a site has missed
/// it asks for: [`having`](Spool::having) says what it has, and [`lacking`](Spool::lacking) what another has beyond. After a
/// restart, accept what the log has, again: it has kept [`next`](Spool::next) too. Back in the primary, propose the entries of
/// [`to_merge`](Spool::to_merge) in order, and when the state has applied them [`settle`](Spool::settle) and
/// drop from the log what that returns.
#[derive(Clone, Debug)]
pub struct Spool {
    store: StoreId,
    limits: SpoolLimits,
    /// The highest number of this store's own that was given out.
    last_number: u64,
    next_place: u32,
    /// The last place that was accepted.
    last_place: u32,
    items: BTreeMap<SpoolId, Held>,
    /// In the order in which they were accepted: by place.
    order: VecDeque<SpoolId>,
    /// In the order in which they are done, here and at the merge.
    turns: BTreeSet<(u64, SpoolId)>,
    /// The highest turn that was seen.
    last_turn: u64,
    requests: BTreeMap<RequestId, SpoolId>,
    /// Changes of each mailbox, by turn.
    changes: BTreeMap<MailboxId, BTreeSet<(u64, SpoolId)>>,
    /// Who has deleted which held letter.
    cancelled: BTreeSet<(SpoolId, UserId)>,
    bytes: u64,
}

/// One thing that is held.
#[derive(Clone, Debug)]
struct Held {
    place: u32,
    request: Option<RequestId>,
    merge: Merge,
    letter_bytes: u32,
    /// Who sees the letter.
    readers: BTreeSet<UserId>,
}

impl Spool {
    /// The spool of a store whose spool log goes on there. Then accept what the log has.
    pub fn new(store: StoreId, next: SpoolNext, limits: SpoolLimits) -> Spool {
        Spool {
            store,
            limits,
            last_number: next.number.saturating_sub(1),
            next_place: next.place.max(1),
            last_place: 0,
            items: BTreeMap::new(),
            order: VecDeque::new(),
            turns: BTreeSet::new(),
            last_turn: 0,
            requests: BTreeMap::new(),
            changes: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Takes in an entry that this store's log has at a place. Places ascend and are not used again: they are
    /// the UIDs of `Held`. True if it is new; false if another site had brought it before, or it is merged: then
    /// the log need not keep it.
    pub fn accept(&mut self, state: &State, place: u32, entry: &Entry) -> Result<bool, BadSpool> {
        let Some(merge) = self.wants(state, entry)? else { return Ok(false) };
        if place <= self.last_place {
            return Err(BadSpool::Place);
        }
        let head = entry.head();
        self.bytes += u64::from(head.letter_bytes);
        self.last_place = place;
        self.next_place = self.next_place.max(place.saturating_add(1));
        self.last_turn = self.last_turn.max(merge.turn);
        if merge.spool.store == self.store {
            self.last_number = self.last_number.max(merge.spool.number);
        }
        self.index(merge, head.request);
        let held = Held {
            place,
            request: head.request,
            merge: merge.clone(),
            letter_bytes: head.letter_bytes,
            readers: readers(state, merge),
        };
        self.order.push_back(merge.spool);
        self.items.insert(merge.spool, held);
        Ok(true)
    }

    /// What an entry would add: none if it is held already, or merged. To be asked before it is written down: what is in the
    /// log must be one that [`accept`](Spool::accept) takes.
    pub fn wants<'a>(&self, state: &State, entry: &'a Entry) -> Result<Option<&'a Merge>, BadSpool> {
        let head = entry.head();
        let Command::Merge(merge) = &head.command else { return Err(BadSpool::NotQueued) };
        let counted = (1..=COUNT_MAX).contains(&merge.spool.number) && merge.turn <= COUNT_MAX;
        if head.by != Principal::Site || !counted {
            return Err(BadSpool::NotQueued);
        }
        if merge.change.carries_letter() && entry.letter().is_none() {
            return Err(BadSpool::NoLetter);
        }
        if self.items.contains_key(&merge.spool) || state.is_merged(merge.spool) {
            return Ok(None);
        }
        let bytes = self.bytes.saturating_add(u64::from(head.letter_bytes));
        if self.items.len() >= self.limits.items_max || bytes > self.limits.bytes_max {
            return Err(BadSpool::Full);
        }
        Ok(Some(merge))
    }

    fn index(&mut self, merge: &Merge, request: Option<RequestId>) {
        if let Some(request) = request {
            self.requests.entry(request).or_insert(merge.spool);
        }
        let turn = (merge.turn, merge.spool);
        self.turns.insert(turn);
        match &merge.change {
            Queued::Flags(flags) => drop(self.changes.entry(flags.mailbox).or_default().insert(turn)),
            Queued::Expunge(expunge) => drop(self.changes.entry(expunge.mailbox).or_default().insert(turn)),
            Queued::Cancel(cancel) => {
                self.cancelled.insert((cancel.letter, cancel.user));
            }
            Queued::Deliver(_) | Queued::Append(_) => {}
        }
    }

    /// What is still to be proposed to the primary, in the order in which it was done: the same at every site that holds the same.
    pub fn to_merge<'a>(&'a self, state: &'a State) -> impl Iterator<Item = SpoolId> + 'a {
        self.turns.iter().map(|(_, id)| *id).filter(|id| !state.is_merged(*id))
    }

    /// Whether something that is held was done after all else that is.
    pub fn is_newest(&self, id: SpoolId) -> bool {
        self.turns.last().is_some_and(|(_, last)| *last == id)
    }

    /// Forgets what the state has merged, and returns it: the spool log may drop it.
    pub fn settle(&mut self, state: &State) -> Vec<SpoolId> {
        let done: Vec<SpoolId> = self.order.iter().copied().filter(|id| state.is_merged(*id)).collect();
        if done.is_empty() {
            return done;
        }
        self.remove(&done);
        self.cancelled.retain(|(letter, _)| self.items.contains_key(letter) || !state.is_merged(*letter));
        done
    }

    /// Forgets something that cannot be merged any more, since the log has lost it.
    pub fn lose(&mut self, id: SpoolId) {
        self.remove(&[id]);
    }

    fn remove(&mut self, ids: &[SpoolId]) {
        for id in ids {
            if let Some(held) = self.items.remove(id) {
                self.bytes -= u64::from(held.letter_bytes);
                if held.request.is_some_and(|request| self.requests.get(&request) == Some(id)) {
                    held.request.map(|request| self.requests.remove(&request));
                }
            }
        }
        self.order.retain(|id| self.items.contains_key(id));
        self.turns.retain(|(_, id)| self.items.contains_key(id));
        for changes in self.changes.values_mut() {
            changes.retain(|(_, id)| self.items.contains_key(id));
        }
        self.changes.retain(|_, changes| !changes.is_empty());
    }

    /// Where the spool log goes on: what it keeps with each entry that it writes.
    pub fn next(&self) -> SpoolNext {
        SpoolNext { place: self.next_place, number: self.last_number + 1 }
    }

    /// Whose it is.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Letters and changes that are held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the letters that are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a letter or change is held: the spool log keeps it.
    pub fn holds(&self, id: SpoolId) -> bool {
        self.items.contains_key(&id)
    }
}

/// Who would get a letter, as far as this side knows.
fn readers(state: &State, merge: &Merge) -> BTreeSet<UserId> {
    match &merge.change {
        Queued::Deliver(deliver) => {
            let resolved = deliver.recipients.iter().filter_map(|to| state.resolve(to, merge.by).ok());
            resolved.flat_map(|targets| targets.into_values()).collect()
        }
        Queued::Append(append) => {
            state.mailbox(append.mailbox).map(|mailbox| mailbox.owner()).into_iter().collect()
        }
        Queued::Flags(_) | Queued::Expunge(_) | Queued::Cancel(_) => BTreeSet::new(),
    }
}
