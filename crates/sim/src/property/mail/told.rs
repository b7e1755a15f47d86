//! What clients asked for and were told, put together from the attempts that they made: what must be in the mailboxes, and
//! what may be.

use std::collections::{BTreeMap, BTreeSet};

use ::mail::{Command, Entry, Head, Outcome, Principal, RequestId, SpoolId, UserId};
use bytes::Bytes;

use super::owned::{Owned, Version};
use super::shown;
use crate::durable::{DOMAIN, LIST, Observation, Seen, Spooled, USERS, Waiting, What, number_of, waiting};

/// A request of a client, however often it was made.
pub struct Request {
    /// The observation at which it was asked for first, and that of its first answer.
    pub asked: usize,
    pub answered: Option<usize>,
    pub head: Head,
    /// Its letter; 0 if it has none.
    pub letter: u64,
    /// What came of it, as it was told first.
    pub outcome: Option<Outcome>,
}

/// A letter that was sent.
#[derive(Clone, Debug)]
pub struct Letter {
    pub asked: usize,
    /// From here on readers behind the barrier see it.
    pub answered: Option<usize>,
    /// A site without a majority has promised it for later.
    pub is_held: bool,
    pub to: BTreeSet<UserId>,
}

/// A letter that a site without a majority has written down.
struct Waits {
    letter: u64,
    /// Its sender was told, and somebody has it.
    is_promised: bool,
}

/// All of it.
pub struct Told {
    pub requests: BTreeMap<RequestId, Request>,
    pub letters: BTreeMap<u64, Letter>,
    /// Who deleted a letter that waited, and whether that was acknowledged.
    pub discarded: BTreeMap<(UserId, u64), bool>,
    owned: BTreeMap<UserId, Owned>,
}

impl Told {
    pub fn of(seen: &[Observation<Seen>]) -> Told {
        let mut told = Told {
            requests: BTreeMap::new(),
            letters: BTreeMap::new(),
            discarded: BTreeMap::new(),
            owned: BTreeMap::new(),
        };
        let mut attempts = BTreeMap::new();
        let mut waits = BTreeMap::new();
        for (at, observation) in seen.iter().enumerate() {
            match &observation.what {
                What::Asked(attempt, payload) => {
                    attempts.extend(told.asked(at, payload).map(|id| (*attempt, id)));
                }
                What::Answered(attempt, answer) => {
                    let request = attempts.get(attempt).and_then(|id| told.requests.get_mut(id));
                    request.into_iter().for_each(|request| request.answered(at, answer));
                }
                What::Queued(payload, spooled) => told.queued(payload, *spooled, &mut waits),
                _ => {}
            }
        }
        for Waits { letter, .. } in waits.into_values().filter(|waits| waits.is_promised) {
            let held = Letter { asked: 0, answered: None, is_held: true, to: BTreeSet::new() };
            told.letters.insert(letter, held);
        }
        told.deliver();
        told.own(seen);
        told
    }

    /// A client asks. Its request, if it is one: what sites bring of what they held is none.
    fn asked(&mut self, at: usize, payload: &Bytes) -> Option<RequestId> {
        let entry = Entry::decode(payload).ok()?;
        let id = entry.head().request?;
        if matches!(entry.head().command, Command::Merge(_)) {
            return None;
        }
        let letter = entry.letter().map_or(0, |letter| number_of(letter));
        self.requests.entry(id).or_insert_with(|| Request {
            asked: at,
            answered: None,
            head: entry.head().clone(),
            letter,
            outcome: None,
        });
        Some(id)
    }

    fn queued(&mut self, payload: &Bytes, spooled: Spooled, waits: &mut BTreeMap<SpoolId, Waits>) {
        match waiting(payload) {
            Some(Waiting::Letter(spool, letter)) => {
                let waits = waits.entry(spool).or_insert(Waits { letter, is_promised: false });
                waits.is_promised =
                    spooled == Spooled::Told || (spooled == Spooled::Untold && waits.is_promised);
            }
            Some(Waiting::Deletion(spool, user)) => {
                let letter = waits.get(&spool).map_or(0, |waits| waits.letter);
                let is_told = self.discarded.entry((user, letter)).or_default();
                *is_told = spooled == Spooled::Told || (spooled == Spooled::Untold && *is_told);
            }
            None => {}
        }
    }

    /// Puts together what letters there are.
    fn deliver(&mut self) {
        for request in self.requests.values() {
            let Command::Deliver(deliver) = &request.head.command else { continue };
            let is_held = self.letters.get(&request.letter).is_some_and(|letter| letter.is_held);
            let to = deliver.recipients.iter().flat_map(|to| users_of(to.as_str())).collect();
            let Request { asked, answered, letter, .. } = *request;
            self.letters.insert(letter, Letter { asked, answered, is_held, to });
        }
    }

    /// Puts together what owners did to their mailboxes, one thing after another.
    fn own(&mut self, seen: &[Observation<Seen>]) {
        let all = seen.iter().flat_map(|observation| shown(&observation.what));
        for shown in all {
            self.owned.entry(shown.user).or_default().show(shown);
        }
        let mut requests: Vec<&Request> = self.requests.values().collect();
        requests.sort_unstable_by_key(|request| request.asked);
        for request in requests {
            if let Principal::User(user) = request.head.by {
                self.owned.entry(user).or_default().did(request);
            }
        }
    }

    /// As what a user's mailboxes may have been seen by a reader who asked and was answered there; none if nobody knows,
    /// because what was asked last was never answered.
    pub fn versions(&self, user: UserId, asked: usize, done: usize) -> Option<Vec<&Version>> {
        self.owned.get(&user)?.between(asked, done)
    }
}

impl Request {
    fn answered(&mut self, at: usize, answer: &Bytes) {
        if self.answered.is_none() {
            self.answered = Some(at);
            self.outcome = outcome_of(answer);
        }
    }
}

/// What an answer says, behind the digest; of a repeat, what came of the first.
pub fn outcome_of(answer: &Bytes) -> Option<Outcome> {
    match wire::codec::decode(answer.get(8..)?).ok()? {
        Outcome::Repeated { answer, .. } => Some(*answer),
        outcome => Some(outcome),
    }
}

/// For whom an address stands.
fn users_of(address: &str) -> Vec<UserId> {
    let local = address.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('@'));
    let is_meant = |user: &str| local == Some(LIST) || local == Some(user);
    let users = (1..).map(UserId).zip(USERS).filter(|(_, user)| is_meant(user));
    users.map(|(id, _)| id).collect()
}
