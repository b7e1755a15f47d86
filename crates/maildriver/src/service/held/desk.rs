//! What is held, in memory, and the copies of the state that show it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mail::command::{Expunge, Merge, Queued, Store};
use mail::{
    Ask, Batch, Command, Entry, EntryTime, Flags, HELD, Having, Lacking, MailboxId, Outcome, Principal,
    Queuing, Refusal, RequestId, Shown, Spool, SpoolId, State, UidSet, UserId,
};
use site::Standing;
use tokio::sync::watch;

use super::super::{MailError, lock};

/// So many numbers are reserved at once, and no fewer than half of them are left.
const RESERVED: u64 = 1 << 16;

/// What a site holds, how its group stands, and what it shows.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    standing: watch::Sender<Standing>,
    /// How much is held; none before that was read.
    count: watch::Sender<Option<usize>>,
    held: Mutex<Held>,
    /// What is written is accepted before the next is: places are the order.
    pub(super) writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    /// None before its log was read.
    spool: Option<Spool>,
    /// Copies that were made so far.
    turn: u32,
    copy: Option<Copy>,
    /// Numbers up to this one are not given out after a restart: the log's note says so.
    reserved: u64,
    /// Flags of letters in `Held`, by whose it is and the UID.
    flags: BTreeMap<(UserId, u32), Flags>,
}

/// What is shown, and of which state it is a copy.
#[derive(Debug)]
struct Copy {
    of: Arc<State>,
    shown: Shown,
    users: BTreeMap<UserId, Arc<State>>,
}

/// What a user's programs see.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// The state.
    pub(crate) state: Arc<State>,
    /// Whether it is this site's alone: its MODSEQs are nothing to clients.
    pub(crate) apart: bool,
}

/// How much a site holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// Letters.
    pub(crate) letters: usize,
    /// Changes of flags, deletions.
    pub(crate) changes: usize,
    /// Bytes of the letters.
    pub(crate) bytes: u64,
    /// Whether it may hold any: what it held before is read, and its store has a UIDVALIDITY for `Held`.
    pub(crate) enrolled: bool,
}

impl Waits {
    /// As `status` tells it.
    pub(crate) fn told(self) -> serde_json::Value {
        let Waits { letters, changes, bytes, enrolled } = self;
        serde_json::json!({"letters": letters, "changes": changes, "bytes": bytes, "enrolled": enrolled})
    }
}

impl Desk {
    pub(super) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// The group stands so from now on.
    pub(in crate::service) fn stands(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// Hears how the group stands, and how much is held.
    pub(super) fn follow(&self) -> (watch::Receiver<Standing>, watch::Receiver<Option<usize>>) {
        (self.standing.subscribe(), self.count.subscribe())
    }

    /// Returns when nothing is held.
    pub(super) async fn emptied(&self) {
        let _ = self.count.subscribe().wait_for(|count| *count == Some(0)).await;
    }

    /// What the spool's log had.
    pub(super) fn opened(&self, spool: Spool) {
        lock(&self.held).spool = Some(spool);
        self.counted();
    }

    /// What the spool's log had cannot be read: nobody waits for it.
    pub(super) fn unreadable(&self) {
        self.count.send_replace(Some(0));
    }

    /// How much is held.
    pub(crate) fn waits(&self, view: Option<&State>) -> Waits {
        let held = lock(&self.held);
        held.spool.as_ref().map_or(Waits::default(), |spool| {
            let letters = spool.letters();
            let enrolled = view.is_some_and(|view| view.held_validity(spool.store()).is_some());
            Waits { letters, changes: spool.len() - letters, bytes: spool.bytes(), enrolled }
        })
    }

    /// What a user sees of a state.
    pub(super) fn sight(&self, view: Arc<State>, user: Option<UserId>) -> Sight {
        let is_apart = self.standing() == Standing::Apart;
        let shown = user.and_then(|user| lock(&self.held).show(&view, user, is_apart));
        let apart = is_apart || shown.is_some();
        Sight { state: shown.unwrap_or(view), apart }
    }

    /// Makes an entry of what a client asks.
    pub(super) fn queue(
        &self,
        view: &State,
        now: EntryTime,
        by: Principal,
        request: Option<RequestId>,
        ask: Ask,
    ) -> Result<Result<Queuing, Refusal>, MailError> {
        let mut held = lock(&self.held);
        let spool = held.spool.as_mut().ok_or(MailError::NotReady)?;
        Ok(spool.queue(view, now, by, request, ask))
    }

    /// Takes in what the log has at a place, and shows it. What it comes to here.
    pub(super) fn accept(&self, view: &Arc<State>, place: u64, entry: &Entry) -> Result<Outcome, MailError> {
        let mut held = lock(&self.held);
        // The copy is made before it has the entry, which is then done in it.
        let copied = held.copied(view).ok_or(MailError::NotReady)?;
        let place = u32::try_from(place).map_err(|_| MailError::Spool(mail::BadSpool::Full))?;
        if !copied.spool.accept(view, place, entry).map_err(MailError::Spool)? {
            return Ok(Outcome::Done);
        }
        self.count.send_replace(Some(copied.spool.len()));
        let Command::Merge(merge) = &entry.head().command else { return Ok(Outcome::Done) };
        if !copied.spool.is_newest(merge.spool) {
            // It was done before others that are in the copy.
            held.copy = None;
            return Ok(Outcome::Done);
        }
        copied.copy.users.clear();
        Ok(copied.copy.shown.add(merge).unwrap_or_else(Outcome::Refused))
    }

    /// Whether something of another site is to be written down here.
    pub(super) fn wants(&self, view: &State, entry: &Entry) -> Result<bool, MailError> {
        let held = lock(&self.held);
        let spool = held.spool.as_ref().ok_or(MailError::NotReady)?;
        Ok(spool.wants(view, entry).map_err(MailError::Spool)?.is_some())
    }

    /// What is held behind a name.
    pub(super) fn having(&self, after: SpoolId) -> Result<Having, MailError> {
        let held = lock(&self.held);
        held.spool.as_ref().map(|spool| spool.having(after)).ok_or(MailError::NotReady)
    }

    /// What is held beyond that: as much as goes into one batch.
    pub(super) fn lacking(&self, view: &State, having: &Having) -> Result<Lacking, MailError> {
        let held = lock(&self.held);
        let spool = held.spool.as_ref().ok_or(MailError::NotReady)?;
        Ok(spool.lacking(view, having, Batch::ENTRIES_MAX))
    }

    /// The place of something that is held.
    pub(super) fn place(&self, id: SpoolId) -> Option<u32> {
        lock(&self.held).spool.as_ref()?.place(id)
    }

    /// If the numbers that may be given out come to an end: the places that the log keeps, and up to where numbers will be
    /// reserved.
    pub(super) fn to_reserve(&self) -> Option<(Vec<u64>, u64)> {
        let held = lock(&self.held);
        let spool = held.spool.as_ref()?;
        let next = spool.next().number;
        let is_short = next + RESERVED / 2 > held.reserved;
        is_short.then(|| (spool.places().map(u64::from).collect(), next + RESERVED))
    }

    /// The log knows that numbers up to this one may have been given out.
    pub(super) fn reserved(&self, number: u64) {
        lock(&self.held).reserved = number;
    }

    /// Changes flags of letters in a user's `Held`.
    pub(super) fn mark(&self, view: &Arc<State>, user: UserId, store: &Store) -> Result<Outcome, MailError> {
        let mut held = lock(&self.held);
        let held = held.copied(view).ok_or(MailError::NotReady)?;
        let mut changed = Vec::new();
        for letter in held.spool.held(view, user).iter().filter(|letter| store.uids.contains(letter.uid)) {
            let flags = held.flags.entry((user, letter.uid)).or_insert(Flags::NONE);
            let new = store.op.apply(*flags, store.flags.system);
            if std::mem::replace(flags, new) != new {
                changed.push(letter.uid);
            }
        }
        held.copy.shown.touch();
        held.copy.users.clear();
        let (modseq, changed) = (held.copy.shown.modseq(), UidSet::of(changed));
        Ok(Outcome::Stored { modseq, changed, modified: UidSet::default() })
    }

    /// Which letters of a user's `Held` an EXPUNGE means.
    pub(super) fn chosen(&self, view: &State, user: UserId, expunge: &Expunge) -> Vec<u32> {
        let held = lock(&self.held);
        let Some(spool) = &held.spool else { return Vec::new() };
        let flags = |uid| held.flags.get(&(user, uid)).copied().unwrap_or(Flags::NONE);
        let is_meant = |uid: u32| {
            expunge.uids.contains(uid) && (!expunge.only_deleted || flags(uid).has(Flags::DELETED))
        };
        spool.held(view, user).iter().map(|letter| letter.uid).filter(|uid| is_meant(*uid)).collect()
    }

    /// Which letters an EXPUNGE of a real mailbox means, as it is shown here.
    pub(super) fn shown_of(&self, view: &Arc<State>, expunge: &Expunge) -> UidSet {
        let mut held = lock(&self.held);
        let Some(held) = held.copied(view) else { return UidSet::default() };
        let mailbox = held.copy.shown.state().mailbox(expunge.mailbox);
        let records = mailbox.into_iter().flat_map(|mailbox| mailbox.by_uids(&expunge.uids));
        let meant = records.filter(|record| !expunge.only_deleted || record.flags.has(Flags::DELETED));
        meant.map(|record| record.uid).collect()
    }

    /// What is to be merged next, and its place.
    pub(super) fn next(&self, view: &State) -> Option<(SpoolId, u32)> {
        let held = lock(&self.held);
        let spool = held.spool.as_ref()?;
        let id = spool.to_merge(view).next()?;
        Some((id, spool.place(id)?))
    }

    /// Whether something was brought by another site first.
    pub(super) fn is_anothers(&self, id: SpoolId) -> bool {
        lock(&self.held).spool.as_ref().is_some_and(|spool| spool.store() != id.store)
    }

    /// The stores whose things are held.
    pub(super) fn stores(&self, view: &State) -> Vec<wire::StoreId> {
        let held = lock(&self.held);
        let spool = held.spool.as_ref();
        let mut stores: Vec<_> =
            spool.iter().flat_map(|spool| spool.to_merge(view)).map(|id| id.store).collect();
        stores.extend(spool.map(Spool::store));
        stores.sort_unstable();
        stores.dedup();
        stores
    }

    /// The log has lost it.
    pub(super) fn lose(&self, id: SpoolId) {
        let mut held = lock(&self.held);
        held.copy = None;
        if let Some(spool) = &mut held.spool {
            spool.lose(id);
        }
        drop(held);
        self.counted();
    }

    /// Forgets what is merged. If something is: the places that the log keeps, and the next number.
    pub(super) fn settle(&self, view: &State) -> Option<(Vec<u64>, u64)> {
        let mut held = lock(&self.held);
        let reserved = held.reserved;
        let spool = held.spool.as_mut()?;
        if spool.settle(view).is_empty() {
            return None;
        }
        let number = spool.next().number.max(reserved);
        let kept = (spool.places().map(u64::from).collect(), number);
        let is_empty = spool.is_empty();
        if is_empty {
            held.flags.clear();
        }
        held.copy = None;
        drop(held);
        self.counted();
        Some(kept)
    }

    fn counted(&self) {
        let count = lock(&self.held).spool.as_ref().map(Spool::len);
        self.count.send_if_modified(|before| std::mem::replace(before, count) != count);
    }
}

/// A spool with a copy of the state as it is now.
struct Copied<'a> {
    spool: &'a mut Spool,
    copy: &'a mut Copy,
    flags: &'a mut BTreeMap<(UserId, u32), Flags>,
}

impl Held {
    /// The spool, and a copy of this state.
    fn copied(&mut self, view: &Arc<State>) -> Option<Copied<'_>> {
        let spool = self.spool.as_mut()?;
        let copy = match self.copy.take().filter(|copy| Arc::ptr_eq(&copy.of, view)) {
            Some(copy) => copy,
            None => {
                self.turn += 1;
                let shown = spool.shown(view, self.turn);
                Copy { of: Arc::clone(view), shown, users: BTreeMap::new() }
            }
        };
        Some(Copied { spool, copy: self.copy.insert(copy), flags: &mut self.flags })
    }

    /// What a user sees, if that is not the state itself.
    fn show(&mut self, view: &Arc<State>, user: UserId, is_apart: bool) -> Option<Arc<State>> {
        if !is_apart && self.spool.as_ref().is_none_or(Spool::is_empty) {
            self.copy = None;
            return None;
        }
        let Copied { spool, copy, flags } = self.copied(view)?;
        let shown = &copy.shown;
        let of = || {
            let marked = |uid| flags.get(&(user, uid)).copied().unwrap_or(Flags::NONE);
            Arc::new(shown.for_user(spool, view, user, marked))
        };
        Some(Arc::clone(copy.users.entry(user).or_insert_with(of)))
    }
}

/// The mailbox that something queued changes.
pub(super) fn changes(entry: &Entry) -> MailboxId {
    match &entry.head().command {
        Command::Merge(Merge { change: Queued::Flags(flags), .. }) => flags.mailbox,
        Command::Merge(Merge { change: Queued::Expunge(expunge), .. }) => expunge.mailbox,
        _ => HELD,
    }
}
