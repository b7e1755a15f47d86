//! The member's end: delivers each cast of each client at most once, and sees to it that who joins gets the table.
//!
//! # How a joiner gets the table
//!
//! A *carrier* of a view is a site that was in the group before; any other site of the view joins with it. Sites
//! that came together (the transitional set) hold the same table. When a view has joiners, or carriers that did
//! not come together (a merge), each of those sets casts, in total order, its table **as of the view's beginning**:
//! its most senior site that has one does. Whoever needs the table waits for the tables of all carriers: a joiner
//! for all of them, a carrier for those that did not come with it. While it waits, an outsider's cast is held, and
//! from then on everything behind it, views included, so that the order stays what it was. Applied to the table as
//! of the view, the held casts give the same as they gave elsewhere.
//!
//! If the site that owed the table dies before the cast, the next in seniority casts the same table in the next
//! view, the oldest table first: those who have it keep it, encoded, until it was delivered. If the last carrier dies with it, the joiners
//! know it from the views, and begin with a table that knows that it knows nothing (`Judgement::Forgotten`). Such a
//! joiner may refuse what the dead delivered, so nobody may have been told of it: a cast is *firm* only if it stands
//! in the order behind the tables that were owed, and a contact casts again what is not.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::{Bug, Bugs, GroupId, MemberId, SiteIncarnation, Time, ViewId};

use super::super::codec::DecodeError;
use super::super::envelope::{Envelope, Kind};
use super::super::{Delivery, Installed};
use super::{Gone, Judgement, Table};

/// The bounds of a [`Dedup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupLimits {
    /// How many clients the table holds; the same at all members.
    pub clients_max: usize,
    /// How many deliveries are held while the table is awaited.
    pub held_max: usize,
    /// How many bytes of them.
    pub held_bytes_max: usize,
    /// How long they are held. At any of these three bounds the site must leave the group and join again.
    pub held_for: Duration,
}

impl Default for DedupLimits {
    fn default() -> DedupLimits {
        DedupLimits {
            clients_max: Table::CLIENTS_MAX,
            held_max: 16_384,
            held_bytes_max: 64 << 20,
            held_for: Duration::from_secs(10),
        }
    }
}

/// A delivery whose envelope has been parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The group.
    pub group: GroupId,
    /// The view in which it is delivered.
    pub view: ViewId,
    /// Which member cast or carried it.
    pub sender: MemberId,
    /// In which order it was delivered.
    pub order: crate::Order,
    /// The envelope.
    pub envelope: Envelope,
    /// The payload, a slice of the delivered body.
    pub payload: Bytes,
    /// Whether every site of the view had the table at this point of the order. If not, a site might yet lose its
    /// last chance to get it and never deliver this, so nobody may be told that it is settled.
    pub firm: bool,
}

/// What [`Dedup::poll_output`] gives, in the order in which the members see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a box would allocate for each message")]
pub enum DedupOutput {
    /// Deliver it to the members here that want it ([`Envelope::is_for`]). An outsider's cast is its first.
    Deliver(Opened),
    /// Not to be delivered: an outsider's cast that was judged so. Its contact and the answerer want to know.
    Judged(Opened, Judgement),
    /// Show the members this view.
    View(Installed),
    /// From here on what is delivered is firm again: tell the contact.
    Firm,
    /// Cast this body in the group, in total order, and behind what this asked to be cast before.
    Cast(Bytes),
    /// The table did not come within the bounds: this site's members must leave the group and join again. What was
    /// held is dropped, and so is what is delivered until a view is installed in which this site joins.
    MustRejoin,
}

/// Why a delivery was refused. It is dropped, and the state is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DedupError {
    /// Its envelope or body does not parse.
    #[error("a delivered message does not parse: {0}")]
    Malformed(#[from] DecodeError),
}

/// The deduplication of one group at one site. Everything the group's data plane delivers or installs goes through
/// [`Dedup::handle_delivery`] and [`Dedup::handle_view`], in its order, and comes out of [`Dedup::poll_output`].
#[derive(Clone, Debug)]
pub struct Dedup {
    me: SiteIncarnation,
    bugs: Bugs,
    limits: DedupLimits,
    /// None at a joiner that waits for it.
    table: Option<Table>,
    wait: Option<Wait>,
    /// Views to be applied after the wait, and from the first held delivery on everything.
    queue: VecDeque<Item>,
    held: usize,
    held_bytes: usize,
    held_since: Option<Time>,
    /// Tables that have come for views that are still in the queue.
    early: VecDeque<State>,
    /// Tables as of earlier views that have not been delivered to all who wait for them, oldest first.
    owed: Vec<Owed>,
    /// The newest view's sites by seniority.
    latest: Vec<SiteIncarnation>,
    /// Lives that have ended, as far as clients of theirs may be in the table.
    dead: BTreeSet<SiteIncarnation>,
    lost: bool,
    out: VecDeque<DedupOutput>,
}

/// The wait for the tables as of a view.
#[derive(Clone, Debug)]
struct Wait {
    as_of: ViewId,
    need: BTreeSet<SiteIncarnation>,
}

/// A table that others wait for.
#[derive(Clone, Debug)]
struct Owed {
    as_of: ViewId,
    /// The sites that came together into the view, which have this table.
    covers: BTreeSet<SiteIncarnation>,
    /// Those of them that are still there.
    present: BTreeSet<SiteIncarnation>,
    /// Who waits.
    waiting: BTreeSet<SiteIncarnation>,
    table: Vec<u8>,
    /// Whether this site has cast it. A cast is not lost while its site lives, so once is enough.
    cast: bool,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a box would allocate for each message")]
enum Item {
    Delivery(Opened),
    /// A view, and whether it has been shown.
    View(Installed, bool),
}

/// The body of a [`Kind::DedupState`] cast.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
struct State {
    #[n(0)]
    as_of: ViewId,
    #[n(1)]
    covers: Vec<SiteIncarnation>,
    #[n(2)]
    table: ByteVec,
}

impl Dedup {
    /// The most tables owed at a time. Beyond it the oldest is dropped, and who waits for it runs into its own bound.
    pub const OWED_MAX: usize = 16;
    /// The most early tables kept. Beyond it the oldest is dropped, likewise.
    pub const EARLY_MAX: usize = 16;
    /// The most ended lives remembered. Beyond it the first is dropped: its clients stay until they are the least
    /// recently used.
    pub const DEAD_MAX: usize = 1024;

    /// A site that has no view of the group yet.
    pub fn new(me: SiteIncarnation, limits: DedupLimits, bugs: Bugs) -> Dedup {
        Dedup {
            me,
            bugs,
            limits,
            table: None,
            wait: None,
            queue: VecDeque::new(),
            held: 0,
            held_bytes: 0,
            held_since: None,
            early: VecDeque::new(),
            owed: Vec::new(),
            latest: Vec::new(),
            dead: BTreeSet::new(),
            lost: false,
            out: VecDeque::new(),
        }
    }

    /// The group's data plane has delivered something.
    pub fn handle_delivery(&mut self, now: Time, delivery: Delivery) -> Result<(), DedupError> {
        let Delivery { group, view, sender, order, body } = delivery;
        let (envelope, payload) = Envelope::parse(body)?;
        let owes = self.owes();
        let opened = Opened { group, view, sender, order, envelope, payload, firm: !owes };
        match opened.envelope.kind {
            Kind::DedupState => self.take_state(&opened.payload)?,
            Kind::Gone => {
                minicbor::decode::<Gone>(&opened.payload).map_err(|_| DecodeError::BadBody)?;
                self.take(now, opened);
            }
            Kind::Cast => self.take(now, opened),
        }
        self.conclude(owes);
        Ok(())
    }

    /// The group's data plane has installed a view.
    pub fn handle_view(&mut self, installed: Installed) {
        let carriers = carriers(&installed.view);
        if !carriers.contains(&self.me) || !installed.together.contains(&self.me) {
            self.let_go();
            self.begin_anew();
        }
        self.latest = sites(&installed.view);
        if self.lost {
            return self.out.push_back(DedupOutput::View(installed));
        }
        let owes = self.owes();
        let together = self.stayed(&installed);
        for owed in &mut self.owed {
            owed.present.retain(|site| together.contains(site));
            owed.waiting.retain(|site| together.contains(site));
        }
        self.owed.retain(|owed| !owed.waiting.is_empty());
        match &mut self.wait {
            None => {
                self.out.push_back(DedupOutput::View(installed.clone()));
                self.apply_view(&installed);
            }
            Some(wait) => {
                wait.need.retain(|site| together.contains(site));
                let shown = self.held == 0;
                if shown {
                    self.out.push_back(DedupOutput::View(installed.clone()));
                }
                self.queue.push_back(Item::View(installed, shown));
            }
        }
        self.go_on();
        self.conclude(owes);
    }

    /// The life of a site has ended, so its clients are gone for good. Whichever site is the most senior tells the
    /// group, so that all forget them at one point of the order.
    pub fn handle_life_ended(&mut self, life: SiteIncarnation) {
        if self.dead.len() >= Self::DEAD_MAX {
            self.dead.pop_first();
        }
        self.dead.insert(life);
        self.tell_dead();
    }

    /// Gives up if what is held has been held too long.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.give_up();
        }
    }

    /// When [`Dedup::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.held_since.map(|since| since + self.limits.held_for)
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<DedupOutput> {
        self.out.pop_front()
    }

    /// The table; none at a joiner that waits for it.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Whether this site waits for tables.
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Whether a site of the newest view may lack the table.
    fn owes(&self) -> bool {
        self.wait.is_some() || !self.owed.is_empty()
    }

    /// After each input: `owed` says whether a table was owed before it.
    fn conclude(&mut self, owed: bool) {
        self.cast_owed();
        if owed && !self.owes() {
            self.out.push_back(DedupOutput::Firm);
        }
    }

    /// Delivers at once, or holds.
    fn take(&mut self, now: Time, opened: Opened) {
        if self.lost {
            return;
        }
        if self.wait.is_none() || (self.held == 0 && !needs_table(&opened.envelope)) {
            return self.deliver(opened);
        }
        self.held += 1;
        self.held_bytes += opened.payload.len();
        self.held_since.get_or_insert(now);
        self.queue.push_back(Item::Delivery(opened));
        if self.held > self.limits.held_max || self.held_bytes > self.limits.held_bytes_max {
            self.give_up();
        }
    }

    fn deliver(&mut self, opened: Opened) {
        if opened.envelope.kind == Kind::Gone {
            return self.bury(&opened.payload);
        }
        let Some(origin) = opened.envelope.outsider else {
            return self.out.push_back(DedupOutput::Deliver(opened));
        };
        let table = self.table.as_mut().expect("an outsider's cast is held until the table is here");
        let mut judgement = table.judge(&origin);
        if self.bugs.has(Bug::OutsiderCastTwice) && judgement == Judgement::Repeated {
            judgement = Judgement::First;
        }
        self.out.push_back(match judgement {
            Judgement::First => DedupOutput::Deliver(opened),
            Judgement::Repeated | Judgement::Forgotten | Judgement::Gone => {
                DedupOutput::Judged(opened, judgement)
            }
        });
    }

    fn bury(&mut self, body: &[u8]) {
        let gone: Gone = minicbor::decode(body).expect("parsed when it was delivered");
        self.table.as_mut().expect("held until the table is here").bury(&gone);
        match gone {
            Gone::Process(_) => {}
            Gone::Life(life) => {
                self.dead.remove(&life);
            }
        }
    }

    /// A view in its place in the order: who is owed a table now, and does this site wait for one?
    fn apply_view(&mut self, installed: &Installed) {
        let (carriers, all) = (carriers(&installed.view), sites(&installed.view));
        let mine = self.stayed(installed);
        let as_of = installed.view.id;
        if self.table.is_none() && (carriers.is_empty() || carriers.contains(&self.me)) {
            // Nobody can have a table for this site: the group is new, or all who were in it have died at once.
            let new = as_of == installed.view.group.created;
            let clients_max = self.limits.clients_max;
            self.table = Some(if new { Table::new(clients_max) } else { Table::amnesiac(clients_max) });
        }
        if let Some(table) = &self.table {
            let waiting: BTreeSet<SiteIncarnation> =
                all.into_iter().filter(|site| !mine.contains(site)).collect();
            if !mine.is_empty() && !waiting.is_empty() {
                let (covers, present, table) = (mine.clone(), mine.clone(), table.encode());
                self.owed.push(Owed { as_of, covers, present, waiting, table, cast: false });
            }
            if self.owed.len() > Self::OWED_MAX {
                self.owed.remove(0);
            }
        }
        let need: BTreeSet<SiteIncarnation> = carriers.difference(&mine).copied().collect();
        if !need.is_empty() {
            self.wait = Some(Wait { as_of, need });
        }
    }

    /// A table has come: for the present wait, for a later one, or for others.
    fn take_state(&mut self, body: &[u8]) -> Result<(), DedupError> {
        let state: State = minicbor::decode(body).map_err(|_| DecodeError::BadBody)?;
        Table::decode(&state.table)?;
        let covers: BTreeSet<SiteIncarnation> = state.covers.iter().copied().collect();
        self.owed.retain(|owed| owed.as_of != state.as_of || owed.covers != covers);
        let Some(wait) = &self.wait else { return Ok(()) };
        if wait.as_of == state.as_of {
            self.merge(&state)?;
            self.go_on();
        } else if wait.as_of < state.as_of {
            if self.early.len() >= Self::EARLY_MAX {
                self.early.pop_front();
            }
            self.early.push_back(state);
        }
        Ok(())
    }

    fn merge(&mut self, state: &State) -> Result<(), DedupError> {
        let theirs = Table::decode(&state.table)?;
        let Some(wait) = &mut self.wait else { return Ok(()) };
        let before = wait.need.len();
        wait.need.retain(|site| !state.covers.contains(site));
        if wait.need.len() < before {
            match &mut self.table {
                Some(table) => table.merge(&theirs),
                None => self.table = Some(theirs),
            }
        }
        Ok(())
    }

    /// Ends the wait if nothing is needed any more, and applies what was queued, up to the next wait.
    fn go_on(&mut self) {
        while self.wait.as_ref().is_some_and(|wait| wait.need.is_empty()) {
            self.wait = None;
            // Every carrier died with its table: this site knows that it knows nothing.
            self.table.get_or_insert_with(|| Table::amnesiac(self.limits.clients_max));
            while let Some(item) = self.pop_queued() {
                match item {
                    Item::Delivery(opened) => self.deliver(opened),
                    Item::View(installed, shown) => {
                        if !shown {
                            self.out.push_back(DedupOutput::View(installed.clone()));
                        }
                        self.apply_view(&installed);
                        self.catch_up();
                    }
                }
                if self.wait.is_some() {
                    break;
                }
            }
        }
        if self.wait.is_none() {
            self.early.clear();
        }
    }

    fn pop_queued(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        if let Item::Delivery(opened) = &item {
            self.held -= 1;
            self.held_bytes -= opened.payload.len();
            if self.held == 0 {
                self.held_since = None;
            }
        }
        Some(item)
    }

    /// A view was applied late: takes into account what has happened since it was installed.
    fn catch_up(&mut self) {
        let later: Vec<BTreeSet<SiteIncarnation>> = self
            .queue
            .iter()
            .filter_map(|item| match item {
                Item::View(installed, _) => Some(self.stayed(installed)),
                Item::Delivery(_) => None,
            })
            .collect();
        let stayed = |site: &SiteIncarnation| later.iter().all(|together| together.contains(site));
        if let Some(owed) = self.owed.last_mut() {
            owed.present.retain(stayed);
            owed.waiting.retain(stayed);
        }
        self.owed.retain(|owed| !owed.waiting.is_empty());
        let Some(wait) = &mut self.wait else { return };
        let as_of = wait.as_of;
        for state in std::mem::take(&mut self.early) {
            if state.as_of == as_of {
                self.merge(&state).expect("checked when it came");
            } else {
                self.early.push_back(state);
            }
        }
        if let Some(wait) = &mut self.wait {
            wait.need.retain(stayed);
        }
    }

    /// The sites that came with this one and still have what they had. A site whose members have all been replaced
    /// in one step came along as far as the data plane goes, but joins as far as the table goes: its new members
    /// are no carriers, so everybody owes it a table, and nobody may count on its old one.
    fn stayed(&self, installed: &Installed) -> BTreeSet<SiteIncarnation> {
        let mut carriers = carriers(&installed.view);
        if !carriers.contains(&self.me) {
            return BTreeSet::new();
        }
        carriers.retain(|site| installed.together.contains(site));
        carriers
    }

    /// Casts each table that is owed, once, if this site is the most senior that has it. The oldest first: whoever
    /// joined later must not have a table before who joined earlier, or, if all others died between the two, only
    /// the former would know what was delivered.
    fn cast_owed(&mut self) {
        for at in 0..self.owed.len() {
            let (older, rest) = self.owed.split_at_mut(at);
            let owed = &mut rest[0];
            let has_table = |site: &&SiteIncarnation| {
                owed.present.contains(site) && !older.iter().any(|older| older.waiting.contains(site))
            };
            if owed.cast || self.latest.iter().find(has_table) != Some(&self.me) {
                continue;
            }
            owed.cast = true;
            let covers = owed.covers.iter().copied().collect();
            let state = State { as_of: owed.as_of, covers, table: owed.table.clone().into() };
            let body = minicbor::to_vec(state).expect("writing to memory does not fail");
            self.out.push_back(DedupOutput::Cast(Envelope::of(Kind::DedupState).wrap(&body)));
        }
        self.tell_dead();
    }

    /// Tells the group which clients' lives have ended, if this site is the most senior.
    fn tell_dead(&mut self) {
        let senior = self.latest.first() == Some(&self.me);
        let Some(table) = &self.table else { return };
        if !senior || self.wait.is_some() {
            return;
        }
        for life in std::mem::take(&mut self.dead) {
            if table.knows_of(life) {
                self.out.push_back(DedupOutput::Cast(Gone::Life(life).wrap()));
            }
        }
    }

    fn give_up(&mut self) {
        self.begin_anew();
        self.lost = true;
        self.out.push_back(DedupOutput::MustRejoin);
    }

    /// The table will not come any more. What is held behind outsiders' casts is no worse for it; these cannot be
    /// judged.
    fn let_go(&mut self) {
        for item in std::mem::take(&mut self.queue) {
            match item {
                Item::View(installed, false) => self.out.push_back(DedupOutput::View(installed)),
                Item::Delivery(opened) if !needs_table(&opened.envelope) => {
                    self.out.push_back(DedupOutput::Deliver(opened));
                }
                Item::View(_, true) | Item::Delivery(_) => {}
            }
        }
    }

    /// Forgets the group: this site joins, or must join again.
    fn begin_anew(&mut self) {
        self.table = None;
        self.wait = None;
        self.queue.clear();
        self.held = 0;
        self.held_bytes = 0;
        self.held_since = None;
        self.early.clear();
        self.owed.clear();
        self.lost = false;
    }
}

/// Whether this can be judged only by the table.
fn needs_table(envelope: &Envelope) -> bool {
    envelope.outsider.is_some() || envelope.kind == Kind::Gone
}

/// The sites of a view by the rank of their most senior member.
fn sites(view: &GroupView) -> Vec<SiteIncarnation> {
    let mut sites = Vec::new();
    for member in &view.members {
        let site = member.id.process.birth;
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

/// The sites of a view that were in the group before.
fn carriers(view: &GroupView) -> BTreeSet<SiteIncarnation> {
    let old = view.members.iter().filter(|member| member.previous.is_some());
    old.map(|member| member.id.process.birth).collect()
}

#[cfg(test)]
#[path = "dedup_test.rs"]
mod tests;
