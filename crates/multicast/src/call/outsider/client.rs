//! The client's end: numbers the casts of a process that is no member, and sees each of them to its fate.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use wire::{GroupId, SiteId, Time, ViewId};

use super::super::Transmit;
use super::super::caller::{CallOptions, Outcome, Replies};
use super::super::point::PointMessage;
use super::{CLIENT_WINDOW, Carry, ClientId, Order, Origin, Refusal, Verdict};

/// How a client's cast ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered exactly once at every member of the view.
    Carried,
    /// Delivered exactly once, and this is what the members answered.
    Answered(Box<Outcome>),
    /// Delivered at most once; nobody can say whether it was.
    Unknown,
    /// Never delivered: no contact was found in time.
    NotSent,
}

/// What [`Client::poll_event`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The cast is settled; its replies are still being collected.
    Carried {
        /// Which cast.
        sequence: u64,
    },
    /// The cast has ended.
    Ended {
        /// Which cast.
        sequence: u64,
        /// How.
        fate: Fate,
    },
}

/// Why a cast was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Too many casts are open: wait for the oldest one's fate.
    #[error("the window of {CLIENT_WINDOW} casts is full; wait for the oldest one's fate")]
    WindowFull,
    /// The group holds this client for dead.
    #[error("the group holds this client for dead; make another one")]
    Dead,
}

/// One client of one group.
///
/// [`Client::cast`] takes casts; [`Client::handle_contacts`] says which sites have members,
/// [`Client::handle_contact_died`] that one is gone, [`Client::handle_verdict`] what a contact told. After each call
/// poll [`Client::poll_transmit`] and [`Client::poll_event`]; [`Client::handle_timeout`] when
/// [`Client::poll_timeout`] says.
#[derive(Clone, Debug)]
pub struct Client {
    id: ClientId,
    group: GroupId,
    contacts: Vec<SiteId>,
    contact: Option<SiteId>,
    /// The newest view of the group that is known here.
    view: ViewId,
    last: u64,
    open: BTreeMap<u64, Cast>,
    /// A busy contact asked for a pause.
    pause_until: Option<Time>,
    dead: bool,
    out: VecDeque<Transmit>,
    events: VecDeque<ClientEvent>,
}

#[derive(Clone, Debug)]
struct Cast {
    payload: Bytes,
    order: Order,
    options: CallOptions,
    /// How often a contact was asked to carry it.
    asked: u32,
    carried: bool,
    /// The view that was known when a contact was first asked.
    as_of: ViewId,
    /// When the present contact should have answered.
    due: Time,
    /// When the client gives up.
    end: Time,
}

impl Client {
    /// How long a contact may take to say that a cast is settled before another is asked.
    pub const PATIENCE: Duration = Duration::from_secs(5);
    /// How long a client pauses when a contact is busy.
    pub const PAUSE: Duration = Duration::from_millis(200);
    /// How often a cast is given to a contact before the client gives up.
    pub const ASKED_MAX: u32 = 16;
    /// After how long the client gives up, beside the time that the collection of replies may take.
    pub const GIVE_UP: Duration = Duration::from_secs(60);

    /// A client that knows no contact yet.
    pub fn new(id: ClientId, group: GroupId) -> Client {
        Client {
            id,
            group,
            contacts: Vec::new(),
            contact: None,
            view: group.created,
            last: 0,
            open: BTreeMap::new(),
            pause_until: None,
            dead: false,
            out: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes a cast and gives its number. It is kept until its fate is known.
    pub fn cast(
        &mut self,
        now: Time,
        order: Order,
        options: CallOptions,
        payload: Bytes,
    ) -> Result<u64, ClientError> {
        if self.dead {
            return Err(ClientError::Dead);
        }
        let oldest = self.open.keys().next().copied().unwrap_or(self.last + 1);
        if self.last + 1 >= oldest + CLIENT_WINDOW {
            return Err(ClientError::WindowFull);
        }
        self.last += 1;
        let end = now + Self::GIVE_UP + options.time_out;
        let cast =
            Cast { payload, order, options, asked: 0, carried: false, as_of: self.view, due: end, end };
        self.open.insert(self.last, cast);
        if self.pause_until.is_none() {
            self.ask(now, self.last);
        }
        Ok(self.last)
    }

    /// These sites have members of the group in this view, by seniority. Keeps the present contact if it is among them;
    /// otherwise its own site if that is, else one that its id picks, so that clients spread over the contacts.
    pub fn handle_contacts(&mut self, now: Time, view: ViewId, contacts: &[SiteId]) {
        self.view = self.view.max(view);
        self.contacts = contacts.to_vec();
        if self.contact.is_some_and(|contact| self.contacts.contains(&contact)) {
            return;
        }
        self.contact = self.pick();
        self.ask_all(now);
    }

    /// A site is gone. If it was the contact, the next one is asked for everything that is open.
    pub fn handle_contact_died(&mut self, now: Time, site: SiteId) {
        self.turn_from(now, site);
    }

    /// A contact has said how a cast stands. What is said of casts that have ended is dropped.
    pub fn handle_verdict(&mut self, now: Time, from: SiteId, sequence: u64, verdict: Verdict) {
        let Some(cast) = self.open.get_mut(&sequence) else { return };
        match verdict {
            Verdict::Carried if cast.options.replies == Replies::None => self.end(sequence, Fate::Carried),
            Verdict::Carried => {
                cast.due = now + cast.options.time_out + Self::PATIENCE;
                if !cast.carried {
                    cast.carried = true;
                    self.events.push_back(ClientEvent::Carried { sequence });
                }
            }
            Verdict::Outcome(outcome) => self.end(sequence, Fate::Answered(outcome)),
            Verdict::Refused(Refusal::NotMember) => self.turn_from(now, from),
            Verdict::Refused(Refusal::Busy) => {
                self.pause_until.get_or_insert(now + Self::PAUSE);
            }
            Verdict::Refused(Refusal::Forgotten) => self.end_unknown(sequence),
            Verdict::Refused(Refusal::Gone) => {
                self.dead = true;
                while let Some((&sequence, _)) = self.open.first_key_value() {
                    self.end_unknown(sequence);
                }
            }
        }
    }

    /// Asks again, turns to another contact, or gives up, as each cast's time says.
    pub fn handle_timeout(&mut self, now: Time) {
        let over: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, cast)| cast.end <= now || (cast.due <= now && cast.asked >= Self::ASKED_MAX))
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in over {
            self.end_unknown(sequence);
        }
        if self.pause_until.is_some_and(|until| until <= now) {
            self.pause_until = None;
            self.turn(now);
        } else if self.open.values().any(|cast| cast.due <= now) {
            self.turn(now);
        }
    }

    /// When [`Client::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let casts = self.open.values().map(|cast| cast.due.min(cast.end));
        casts.chain(self.pause_until).min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The contact, if there is one.
    pub fn contact(&self) -> Option<SiteId> {
        self.contact
    }

    /// How many casts are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    fn pick(&self) -> Option<SiteId> {
        let home = self.id.process.site();
        if self.contacts.contains(&home) {
            return Some(home);
        }
        let spread = u64::from(home.0).wrapping_add(self.id.process.local);
        let count = self.contacts.len() as u64;
        (count > 0).then(|| self.contacts[(spread % count) as usize])
    }

    /// A site is no contact any more. If it was the present one, turns to the next.
    fn turn_from(&mut self, now: Time, site: SiteId) {
        let at = self.contacts.iter().position(|contact| *contact == site);
        if let Some(at) = at {
            // The next one moves to its place; the last one's next is the first.
            self.contacts.remove(at);
        }
        if self.contact == Some(site) {
            let next = at.filter(|at| *at < self.contacts.len()).unwrap_or(0);
            self.contact = self.contacts.get(next).copied();
            self.ask_all(now);
        }
    }

    /// Turns to the contact after the present one; with a single one, asks it again.
    fn turn(&mut self, now: Time) {
        let at = self.contacts.iter().position(|contact| Some(*contact) == self.contact);
        let next = at.map_or(0, |at| (at + 1) % self.contacts.len());
        self.contact = self.contacts.get(next).copied();
        self.ask_all(now);
    }

    fn ask_all(&mut self, now: Time) {
        let all: Vec<u64> = self.open.keys().copied().collect();
        for sequence in all {
            self.ask(now, sequence);
        }
    }

    fn ask(&mut self, now: Time, sequence: u64) {
        let oldest = self.open.keys().next().copied().unwrap_or(sequence);
        let Some(cast) = self.open.get_mut(&sequence) else { return };
        let Some(to) = self.contact else {
            cast.due = cast.end;
            return;
        };
        let collecting = if cast.carried { cast.options.time_out } else { Duration::ZERO };
        cast.due = now + Self::PATIENCE + collecting;
        let origin = Origin { client: self.id, sequence, again: cast.asked > 0 };
        if cast.asked == 0 {
            cast.as_of = self.view;
        }
        cast.asked = cast.asked.saturating_add(1);
        let carry = Carry {
            group: self.group,
            origin,
            oldest,
            as_of: cast.as_of,
            order: cast.order,
            replies: cast.options.replies,
            time_out_ms: u32::try_from(cast.options.time_out.as_millis()).unwrap_or(u32::MAX),
            payload: cast.payload.clone(),
        };
        self.out.push_back(Transmit { to, message: PointMessage::Carry(carry) });
    }

    fn end_unknown(&mut self, sequence: u64) {
        let asked = self.open.get(&sequence).is_some_and(|cast| cast.asked > 0);
        self.end(sequence, if asked { Fate::Unknown } else { Fate::NotSent });
    }

    fn end(&mut self, sequence: u64, fate: Fate) {
        if self.open.remove(&sequence).is_some() {
            self.events.push_back(ClientEvent::Ended { sequence, fate });
        }
    }
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
