//! Mail's clients: one who founds the cluster, the owner of each user's mailboxes, and senders. What is not answered they
//! repeat, under the same request's name, as one more attempt or as the last one again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::mail::{Ask, Command, Outcome, Principal, RequestId, UserId};
use bytes::Bytes;
use durable::{ClientId, Request};
use wire::StoreId;

use super::super::history::{self, Spooled};
use super::super::plan::{Loss, Plan};
use super::super::service::{self, Heard, Place};
use super::folders::{Did, Owner};
use super::held::{Held, Holds};
use super::requests::{USERS, deliver, founding, plain, request_id, with_letter};
use super::{LIST, Post, Query, Seen};
use crate::dice::{Concern, Dice};

/// Requests that a sender has open at once.
const OPEN_MAX: usize = 3;
/// Of a thousand repeats so many are another attempt, of which the group knows nothing: as by a mail program that was cut off
/// and asks another server. The rest are the last attempt again, as sites repeat what was not answered.
const ANEW_PER_MILLE: u32 = 150;
/// Of a thousand answers so many are lost on their way.
const LOST_PER_MILLE: u32 = 60;

type Act = service::Act<Query>;

/// What clients of mail reach.
pub const WORKLOAD: &[&str] = &[
    "mail: answer lost",
    "mail: flags set",
    "mail: held",
    "mail: held letter deleted",
    "mail: letter appended",
    "mail: letter to a list",
    "mail: letter to one",
    "mail: letter to several",
    "mail: letters copied",
    "mail: letters expunged",
    "mail: letters moved",
    "mail: mailbox made",
    "mail: mailbox made again",
    "mail: mailbox removed",
    "mail: mailbox renamed",
    "mail: merged",
    "mail: passed over, since it had changed",
    "mail: repeated as another attempt",
    "mail: told what came of the first",
];

/// What a client is.
#[derive(Debug)]
enum Role {
    /// It makes the cluster's users; what is left to do.
    Founder(Vec<Command>),
    /// It does one thing at a time with its mailboxes.
    Owner(Owner, Option<Did>),
    /// It sends letters.
    Sender,
}

/// Something that was asked for and not answered.
#[derive(Debug)]
struct Open {
    payload: Bytes,
    /// The attempt that is awaited, and where it was made last.
    attempt: ClientId,
    site: usize,
    /// What a site without a majority may be asked instead.
    letter: Option<(RequestId, Ask)>,
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    role: Role,
    requests: u64,
    attempts: u64,
    open: Vec<Open>,
}

/// All of them.
#[derive(Debug)]
pub struct Clients {
    clients: Vec<Client>,
    holds: Holds,
    /// Whether sites without a majority are asked to hold letters.
    may_hold: bool,
    /// What was seen last of each user's mail.
    seen: BTreeMap<UserId, Seen>,
    reached: BTreeSet<&'static str>,
    dice: Dice,
    read_per_mille: u32,
    now: u64,
}

impl Client {
    fn new(place: usize, role: Role) -> Client {
        Client { id: ClientId([place as u8 + 1; 16]), role, requests: 0, attempts: 0, open: Vec::new() }
    }

    fn principal(&self) -> Principal {
        match &self.role {
            Role::Founder(_) => Principal::Operator,
            Role::Owner(owner, _) => Principal::User(owner.user),
            Role::Sender => Principal::Outside,
        }
    }

    /// How many of its requests may be open at once.
    fn open_max(&self) -> usize {
        match self.role {
            Role::Founder(_) | Role::Owner(..) => 1,
            Role::Sender => OPEN_MAX,
        }
    }

    /// Asks for what is open in this place, by one attempt more, if so.
    fn ask(&mut self, place: usize, site: usize, anew: bool) -> Request {
        let open = &mut self.open[place];
        open.site = site;
        if anew {
            self.attempts += 1;
            open.attempt = attempt_id(self.id, self.attempts);
        }
        Request { client: open.attempt, sequence: 1, answered: 0, payload: open.payload.clone() }
    }
}

/// Who makes an attempt: to the group each is of another client, since the one before may never be answered.
pub fn attempt_id(ClientId(mut id): ClientId, number: u64) -> ClientId {
    id[8..].copy_from_slice(&number.to_be_bytes());
    ClientId(id)
}

impl Clients {
    fn is_founding(&self) -> bool {
        let Client { role, open, .. } = &self.clients[0];
        !open.is_empty() || matches!(role, Role::Founder(left) if !left.is_empty())
    }

    /// Which client waits for an attempt, and with which request.
    fn place_of(&self, attempt: ClientId) -> Option<(usize, usize)> {
        let open = |client: &Client| client.open.iter().position(|open| open.attempt == attempt);
        self.clients.iter().enumerate().find_map(|(place, client)| Some((place, open(client)?)))
    }

    fn user(&mut self) -> UserId {
        UserId(1 + self.dice.below(USERS.len() as u64) as u32)
    }

    /// Somebody reads a user's mail, and asks for the changes of a mailbox since it was seen last.
    fn query(&mut self) -> Query {
        let user = self.user();
        let folders = self.seen.get(&user).map_or(&[][..], |seen| &seen.folders);
        let folder = if folders.is_empty() { None } else { Some(self.dice.pick(folders)) };
        (user, folder.map(|folder| (folder.id, folder.modseq)))
    }

    /// A client asks for something new, if it can think of something.
    fn fresh(&mut self, place: usize, site: usize) -> Option<Act> {
        let client = &mut self.clients[place];
        let (number, by) = (client.requests + 1, client.principal());
        let id = request_id(by, client.id, number);
        let letter = (place as u64 + 1) << 32 | number;
        let mut ask = None;
        let payload = match &mut client.role {
            Role::Founder(left) => {
                if left.is_empty() {
                    return None;
                }
                plain(by, id, left.remove(0))
            }
            Role::Owner(owner, doing) => {
                let (did, command) = owner.next(&mut self.dice, self.seen.get(&owner.user))?;
                self.reached.insert(did.name());
                *doing = Some(did);
                match command.carries_letter() {
                    true => with_letter(by, id, command, letter),
                    false => plain(by, id, command),
                }
            }
            Role::Sender => {
                let (name, to) = recipients(&mut self.dice);
                self.reached.insert(name);
                let letter = (deliver(&to), letter);
                let body = super::letter::letter_of(letter.1);
                ask = Some((id, Ask::Deliver(letter.0.clone(), body)));
                with_letter(by, id, Command::Deliver(letter.0), letter.1)
            }
        };
        client.requests = number;
        client.open.push(Open { payload, attempt: client.id, site, letter: ask });
        let request = client.ask(client.open.len() - 1, site, true);
        Some(Act::Ask { site, request, fresh: true })
    }

    fn repeat(&mut self, place: usize, site: usize) -> Option<Act> {
        let client = &mut self.clients[place];
        if client.open.is_empty() {
            return None;
        }
        let open = self.dice.index(client.open.len());
        let fresh = self.dice.chance(ANEW_PER_MILLE);
        let request = client.ask(open, site, fresh);
        if fresh {
            self.reached.insert("mail: repeated as another attempt");
        }
        Some(Act::Ask { site, request, fresh })
    }

    /// A site goes on with what it has held.
    fn merge(&mut self, site: usize, place: &Place<'_, Post>) -> Option<Act> {
        let (settled, next) = self.holds.merge(site, place);
        if settled > 0 {
            self.reached.insert("mail: merged");
        }
        next.map(|(request, fresh)| Act::Ask { site, request, fresh })
    }

    /// A request is done.
    fn done(&mut self, place: usize, open: usize, answer: &Bytes) {
        let client = &mut self.clients[place];
        client.open.remove(open);
        let outcome = answer.get(8..).and_then(|outcome| wire::codec::decode(outcome).ok());
        let outcome = match outcome {
            Some(Outcome::Repeated { answer, .. }) => {
                self.reached.insert("mail: told what came of the first");
                *answer
            }
            Some(outcome) => outcome,
            None => return,
        };
        if let Role::Owner(owner, doing) = &mut client.role
            && let Some(did) = doing.take()
        {
            self.reached.extend(owner.done(&did, &outcome));
        }
    }
}

impl service::Clients<Post> for Clients {
    fn new(seed: u64, plan: &Plan, stores: &[StoreId]) -> Clients {
        let mut dice = Dice::new(seed, Concern::Clients);
        // A store that loses what it had loses what it held too.
        let may_hold = matches!(plan.loss, Loss::None | Loss::Rot) && dice.chance(600);
        let enrolled = if may_hold { stores } else { &[] };
        let founder = Role::Founder(founding(enrolled.iter().copied()));
        let owners = (1..=USERS.len() as u32).map(|user| Role::Owner(Owner::new(UserId(user)), None));
        let senders = (0..plan.clients.div_ceil(2)).map(|_| Role::Sender);
        let roles = [founder].into_iter().chain(owners).chain(senders);
        Clients {
            clients: roles.enumerate().map(|(place, role)| Client::new(place, role)).collect(),
            holds: Holds::new(stores),
            may_hold,
            seen: BTreeMap::new(),
            reached: BTreeSet::new(),
            dice,
            read_per_mille: plan.read_per_mille,
            now: 0,
        }
    }

    fn wait(&mut self, mean: Duration) -> Duration {
        self.dice.wait(mean)
    }

    fn act(&mut self, places: &[Place<'_, Post>], winding_up: bool) -> Option<Act> {
        let site = self.dice.index(places.len());
        if self.is_founding() {
            return self.repeat(0, site).or_else(|| self.fresh(0, site));
        }
        // An answer may be lost in the end, too, and whoever waits for it asks again before all is over.
        if winding_up
            && self.dice.chance(500)
            && let Some(place) = self.clients.iter().position(|client| !client.open.is_empty())
        {
            return self.repeat(place, site);
        }
        if self.dice.chance(self.read_per_mille) {
            let query = self.query();
            return Some(match self.dice.chance(300) {
                true => Act::Look { site, query },
                false => Act::Read { site, query },
            });
        }
        let merges_per_mille = if winding_up { 600 } else { 250 };
        if self.may_hold && places[site].is_up && self.dice.chance(merges_per_mille) {
            let user = self.user();
            let may_discard = !places[site].is_active && !winding_up;
            if may_discard && self.holds.discard(site, places, self.now, user, &mut self.dice) {
                self.reached.insert("mail: held letter deleted");
                return None;
            }
            return self.merge(site, &places[site]);
        }
        let place = 1 + self.dice.index(self.clients.len() - 1);
        let client = &self.clients[place];
        if !winding_up && client.open.len() < client.open_max() && self.dice.chance(700) {
            return self.fresh(place, site);
        }
        self.repeat(place, site)
    }

    fn last_words(&mut self, places: &[Place<'_, Post>]) -> Vec<Act> {
        let mut last = Vec::new();
        for place in 1..self.clients.len() {
            let site = self.dice.index(places.len());
            last.extend(self.fresh(place, site));
        }
        for site in 0..places.len() {
            let query = self.query();
            last.push(Act::Read { site, query });
        }
        last
    }

    fn hear(&mut self, (id, _): history::RequestId, answer: &Bytes) -> Heard {
        if let Some(site) = self.holds.hear(id) {
            return Heard::Answer(site);
        }
        let Some((place, open)) = self.place_of(id) else { return Heard::Late };
        if self.dice.chance(LOST_PER_MILLE) {
            self.reached.insert("mail: answer lost");
            return Heard::Lost;
        }
        let site = self.clients[place].open[open].site;
        self.done(place, open, answer);
        Heard::Answer(site)
    }

    fn is_open(&self, (id, _): history::RequestId) -> bool {
        self.place_of(id).is_some() || self.holds.is_open(id)
    }

    fn open(&self) -> usize {
        let open: usize = self.clients.iter().map(|client| client.open.len()).sum();
        open + self.holds.len() + usize::from(self.is_founding())
    }

    fn see(&mut self, seen: &Seen) {
        self.seen.insert(seen.user, seen.clone());
    }

    fn started(&mut self, site: usize, place: &Place<'_, Post>) {
        self.holds.started(site, place);
    }

    fn turned_away(
        &mut self,
        site: usize,
        places: &[Place<'_, Post>],
        (id, _): history::RequestId,
        now: u64,
    ) {
        self.now = now;
        if !self.may_hold || places[site].is_active {
            return;
        }
        let Some((place, open)) = self.place_of(id) else { return };
        let client = &mut self.clients[place];
        let Some((request, ask)) = client.open[open].letter.clone() else { return };
        let asked = (client.principal(), Some(request), ask);
        match self.holds.ask(site, places, now, asked, &mut self.dice) {
            Held::Told => {
                self.reached.insert("mail: held");
                client.open.remove(open);
            }
            Held::Lost | Held::Refused => {}
        }
    }

    fn take_queued(&mut self) -> Vec<(Bytes, Spooled)> {
        self.holds.take_queued()
    }

    fn take_reached(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.reached).into_iter().collect()
    }
}

/// To whom a letter goes: to one, to several, or to the list and perhaps to somebody who is on it.
fn recipients(dice: &mut Dice) -> (&'static str, Vec<&'static str>) {
    let one = *dice.pick(&USERS);
    match dice.below(10) {
        0..=3 => ("mail: letter to one", vec![one]),
        4..=6 => {
            let others = USERS.iter().copied().filter(|other| *other != one && dice.chance(600));
            let to: Vec<&str> = [one].into_iter().chain(others).collect();
            let name = if to.len() > 1 { "mail: letter to several" } else { "mail: letter to one" };
            (name, to)
        }
        7..=8 => ("mail: letter to a list", vec![LIST]),
        _ => ("mail: letter to a list", vec![one, LIST]),
    }
}
