//! What sites without a majority write down for their clients, and bring to the others when they meet them again.
//!
//! A site's spool log is on its disk from the moment in which it is written; what is tried here is what becomes of it.

use std::collections::VecDeque;

use ::mail::command::{Cancel, Merge, Queued};
use ::mail::{
    Ask, Command, Entry, EntryTime, Principal, Queuing, RequestId, Spool, SpoolId, SpoolLimits, SpoolNext,
    State, UserId,
};
use bytes::Bytes;
use durable::{ClientId, Request};
use wire::StoreId;

use super::super::history::Spooled;
use super::super::service::Place;
use super::Post;
use super::clients::attempt_id;
use super::letter::number_of;
use crate::dice::Dice;

/// One site's.
#[derive(Debug)]
struct Hold {
    store: StoreId,
    spool: Spool,
    log: VecDeque<(u32, Entry)>,
    /// In whose name it asks, and how often it did.
    client: ClientId,
    requests: u64,
    /// What it brings to the others now.
    merging: Option<(SpoolId, Bytes)>,
}

/// All sites'.
#[derive(Debug)]
pub struct Holds {
    sites: Vec<Hold>,
    /// What was written down, or is lost.
    queued: Vec<(Bytes, Spooled)>,
}

/// What came of asking a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is written down, or done.
    Told,
    /// It is written down, and the answer was lost.
    Lost,
    /// Nothing is written down.
    Refused,
}

impl Hold {
    fn new(site: usize, store: StoreId) -> Hold {
        Hold {
            store,
            spool: Spool::new(store, SpoolNext::FIRST, SpoolLimits::default()),
            log: VecDeque::new(),
            client: ClientId([200 + site as u8; 16]),
            requests: 0,
            merging: None,
        }
    }

    /// Writes an entry down, if it is new.
    fn write(&mut self, state: &State, entry: &Entry) {
        let place = self.spool.next().place;
        if self.spool.accept(state, place, entry) == Ok(true) {
            self.log.push_back((place, entry.clone()));
        }
    }

    fn has(&self, entry: &Entry) -> bool {
        self.log.iter().any(|(_, held)| spool_id(held) == spool_id(entry))
    }

    /// The site starts again: its spool is what its log has, which knows where it goes on.
    fn restart(&mut self, state: &State) {
        self.spool = Spool::new(self.store, self.spool.next(), SpoolLimits::default());
        for (place, entry) in &self.log {
            // One that is merged is none that the log needs.
            let taken = self.spool.accept(state, *place, entry);
            assert!(taken.is_ok(), "the spool does not take what it has written: {taken:?}");
        }
        self.merging = None;
    }

    /// Forgets what is merged.
    fn settle(&mut self, state: &State) -> usize {
        let done = self.spool.settle(state);
        self.log.retain(|(_, entry)| self.spool.holds(spool_id(entry)));
        if self.merging.as_ref().is_some_and(|(id, _)| !self.spool.holds(*id)) {
            self.merging = None;
        }
        done.len()
    }

    /// What it brings to the others next.
    fn merge(&mut self, state: &State) -> Option<(Request, bool)> {
        if let Some((_, payload)) = &self.merging {
            return Some((self.request(payload.clone()), false));
        }
        let id = self.spool.to_merge(state).next()?;
        let (_, entry) = self.log.iter().find(|(_, entry)| spool_id(entry) == id)?;
        let payload = entry.encode();
        self.merging = Some((id, payload.clone()));
        self.requests += 1;
        Some((self.request(payload), true))
    }

    fn request(&self, payload: Bytes) -> Request {
        Request { client: self.attempt(), sequence: 1, answered: 0, payload }
    }

    fn attempt(&self) -> ClientId {
        attempt_id(self.client, self.requests)
    }
}

impl Holds {
    pub fn new(stores: &[StoreId]) -> Holds {
        let sites = stores.iter().enumerate().map(|(site, store)| Hold::new(site, *store));
        Holds { sites: sites.collect(), queued: Vec::new() }
    }

    /// A site starts.
    pub fn started(&mut self, site: usize, place: &Place<'_, Post>) {
        let hold = &mut self.sites[site];
        if hold.store != place.store {
            // Whoever asks for it goes on counting: another store is no other client.
            let anew = Hold { requests: hold.requests, ..Hold::new(site, place.store) };
            let had = std::mem::replace(hold, anew).log;
            let is_elsewhere = |entry: &Entry| self.sites.iter().any(|hold| hold.has(entry));
            let lost = had.iter().filter(|(_, entry)| !is_elsewhere(entry));
            self.queued.extend(lost.map(|(_, entry)| (entry.encode(), Spooled::Lost)));
        }
        self.sites[site].restart(place.service.state());
    }

    /// Somebody asks a site without a majority.
    pub fn ask(
        &mut self,
        site: usize,
        places: &[Place<'_, Post>],
        now: u64,
        (by, request, ask): (Principal, Option<RequestId>, Ask),
        dice: &mut Dice,
    ) -> Held {
        let state = places[site].service.state();
        let hold = &mut self.sites[site];
        let entry = match hold.spool.queue(state, EntryTime(now), by, request, ask) {
            Ok(Queuing::Write { entry, .. }) => entry,
            Ok(Queuing::Held(id)) => {
                let held = hold.log.iter().find(|(_, entry)| spool_id(entry) == id);
                self.queued.extend(held.map(|(_, entry)| (entry.encode(), Spooled::Told)));
                return Held::Told;
            }
            // Whether it was deleted since is not asked of a minority.
            Ok(Queuing::Done) | Err(_) => return Held::Refused,
        };
        hold.write(state, &entry);
        // Others have it too, if they are in reach.
        for (other, place) in places.iter().enumerate() {
            if other != site && place.is_up && dice.chance(300) {
                self.sites[other].write(place.service.state(), &entry);
            }
        }
        let (spooled, held) = match dice.chance(800) {
            true => (Spooled::Told, Held::Told),
            false => (Spooled::Untold, Held::Lost),
        };
        self.queued.push((entry.encode(), spooled));
        held
    }

    /// A user deletes a letter that waits at a site. True if there was one.
    pub fn discard(
        &mut self,
        site: usize,
        places: &[Place<'_, Post>],
        now: u64,
        user: UserId,
        dice: &mut Dice,
    ) -> bool {
        let held = self.sites[site].spool.held(places[site].service.state(), user);
        if held.is_empty() {
            return false;
        }
        let ask = Ask::Discard { user, uid: dice.pick(&held).uid };
        self.ask(site, places, now, (Principal::User(user), None, ask), dice) != Held::Refused
    }

    /// What a site with a majority brings next, and whether for the first time.
    pub fn merge(&mut self, site: usize, place: &Place<'_, Post>) -> (usize, Option<(Request, bool)>) {
        let hold = &mut self.sites[site];
        let state = place.service.state();
        let settled = hold.settle(state);
        let next = if place.is_active { hold.merge(state) } else { None };
        (settled, next)
    }

    /// A request of a site is answered; of which, if it waits for it.
    pub fn hear(&mut self, attempt: ClientId) -> Option<usize> {
        let site = self.sites.iter().position(|hold| hold.merging.is_some() && hold.attempt() == attempt)?;
        self.sites[site].merging = None;
        Some(site)
    }

    pub fn is_open(&self, attempt: ClientId) -> bool {
        self.sites.iter().any(|hold| hold.merging.is_some() && hold.attempt() == attempt)
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.sites.iter().map(|hold| hold.spool.len()).sum()
    }

    pub fn take_queued(&mut self) -> Vec<(Bytes, Spooled)> {
        std::mem::take(&mut self.queued)
    }
}

/// The name of what is queued.
fn spool_id(entry: &Entry) -> SpoolId {
    match &entry.head().command {
        Command::Merge(merge) => merge.spool,
        other => panic!("{other:?} is in a spool"),
    }
}

/// Which letter something queued is, or deletes for whom.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    /// A letter to these.
    Letter(SpoolId, u64),
    /// A deletion.
    Deletion(SpoolId, UserId),
}

/// What was queued, if these bytes are that.
pub(crate) fn waiting(payload: &Bytes) -> Option<Waiting> {
    let entry = Entry::decode(payload).ok()?;
    let Command::Merge(Merge { spool, change, .. }) = &entry.head().command else { return None };
    match change {
        Queued::Deliver(_) => Some(Waiting::Letter(*spool, number_of(entry.letter()?))),
        Queued::Cancel(Cancel { user, letter }) => Some(Waiting::Deletion(*letter, *user)),
        Queued::Append(_) | Queued::Flags(_) | Queued::Expunge(_) => None,
    }
}
