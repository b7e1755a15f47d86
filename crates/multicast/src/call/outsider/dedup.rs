//! The members' end: which outsiders' casts have been delivered, so that none is delivered twice.
//!
//! # Two tables
//!
//! *In a view* every site delivers the same casts in the same order from the view's first message on. The table of
//! what was delivered since then is therefore the same at all sites of the view without a word being said, joiners
//! included, and it alone judges deliveries. Nothing ever waits for it.
//!
//! *Across views* it is enough that a contact never casts what was delivered in an earlier view. A cast belongs to
//! the view in which it was made. So a contact judges a cast when it makes it, by all that it knows to have been
//! delivered; if a copy was delivered before, it says so in the envelope ([`Kind::Repeated`]) and asks only for
//! replies. Two copies of which neither contact knew the other's are cast, and delivered, in one view, where the
//! first table parts them.
//!
//! # What a contact must know
//!
//! All that any site of the view had delivered before they came together. Sites that moved together (the
//! transitional set) know the same of their past; of every other site that was in the group before (a *carrier*) this
//! one needs the table: a joiner of all carriers, a carrier after a merge of those of the other sides. Until it has
//! them it carries nothing. It asks the most senior of those whose table it lacks; the answer holds what was
//! delivered before the view, and names the sites whose past is in it. Whoever is asked before it is in that view
//! answers once it is; when the view changes, what is still lacking is asked for again. Of a site that has gone
//! nothing is needed, since nobody of its past is left to see a cast twice; if all carriers of a joiner have gone, it
//! knows that it knows nothing of the views before its own ([`Judgement::Forgotten`]). A request may have been under way
//! since then, and its client may have turned to another contact meanwhile, whatever the request says: it names the view
//! that its client knew when it first asked, and no copy is cast in an earlier one. A joiner of an earlier view that has no table yet says so in
//! its answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wire::{Bug, Bugs, GroupId, MemberId, SiteId, SiteIncarnation, ViewId};

use super::super::codec::DecodeError;
use super::super::envelope::{Envelope, Kind};
use super::super::point::PointMessage;
use super::super::{Delivery, Installed, Transmit};
use super::{Gone, Judgement, Origin, Refusal, Table};

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
}

/// What [`Dedup::poll_output`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedupOutput {
    /// Tell the group, in total order: cast this ([`Kind::Gone`]).
    Cast(Envelope, Bytes),
    /// Send this to another site of the group.
    Send(Transmit),
}

/// Whether a contact may cast what a client asked it to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// This site does not know enough yet: later.
    Later,
    /// It was not delivered in any view before this one.
    Fresh,
    /// It was delivered: cast it as [`Kind::Repeated`], for its replies and to learn when that is settled.
    Repeated,
    /// It is not to be cast.
    Refused(Refusal),
}

/// Why a delivery was refused. It is dropped, and the state is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DedupError {
    /// Its envelope or body does not parse.
    #[error("a delivered message does not parse: {0}")]
    Malformed(#[from] DecodeError),
}

/// The deduplication of one group at one site. Everything that the group's data plane delivers or installs goes
/// through [`Dedup::handle_delivery`] and [`Dedup::handle_view`], in its order.
#[derive(Clone, Debug)]
pub struct Dedup {
    me: SiteIncarnation,
    group: GroupId,
    bugs: Bugs,
    clients_max: usize,
    view: Option<ViewId>,
    /// The view's sites by seniority.
    sites: Vec<SiteIncarnation>,
    /// What was delivered in the view.
    recent: Table,
    /// What is known to have been delivered before it.
    known: Table,
    /// Whose past `known` lacks.
    need: BTreeSet<SiteIncarnation>,
    /// Whether `known` holds anybody's past: not at a joiner before its first table.
    informed: bool,
    /// The first view that this site has installed since it came without a past: what was delivered from then on it knows.
    joined: Option<ViewId>,
    /// Who asked, and as of which view, if that is not installed here yet.
    asked: BTreeMap<SiteId, ViewId>,
    /// Lives that have ended, as far as clients of theirs may be in the table.
    dead: BTreeSet<SiteIncarnation>,
    out: VecDeque<DedupOutput>,
}

impl Dedup {
    /// The most sites whose requests are kept until their view is installed here. Beyond it a request is dropped, and
    /// comes again with the next view.
    pub const ASKED_MAX: usize = 1024;
    /// The most ended lives remembered. Beyond it the first is dropped: its clients stay until they are the least
    /// recently used.
    pub const DEAD_MAX: usize = 1024;

    /// A site that has no view of the group yet. `clients_max`: how many clients its tables hold, the same at all
    /// sites.
    pub fn new(me: SiteIncarnation, group: GroupId, clients_max: usize, bugs: Bugs) -> Dedup {
        Dedup {
            me,
            group,
            bugs,
            clients_max,
            view: None,
            sites: Vec::new(),
            recent: Table::new(clients_max),
            known: Table::new(clients_max),
            need: BTreeSet::new(),
            informed: false,
            joined: None,
            asked: BTreeMap::new(),
            dead: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// The group's data plane has delivered something. [`Judgement::First`]: deliver it to the members here that want
    /// it ([`Envelope::is_for`]); any other: do not, but its contact and the answerer want to know. None: it was not
    /// for members.
    pub fn handle_delivery(&mut self, delivery: Delivery) -> Result<Option<(Opened, Judgement)>, DedupError> {
        let Delivery { group, view, sender, order, body } = delivery;
        let (envelope, payload) = Envelope::parse(body)?;
        let judgement = match envelope.kind {
            Kind::Gone => {
                let gone: Gone = minicbor::decode(&payload).map_err(|_| DecodeError::BadBody)?;
                self.bury(&gone);
                return Ok(None);
            }
            Kind::Entry => return Ok(None),
            Kind::Repeated => Judgement::Repeated,
            Kind::Cast => envelope.outsider.map_or(Judgement::First, |origin| self.judge(&origin)),
        };
        Ok(Some((Opened { group, view, sender, order, envelope, payload }, judgement)))
    }

    /// The group's data plane has installed a view.
    pub fn handle_view(&mut self, installed: &Installed) {
        let view = &installed.view;
        let carriers: BTreeSet<SiteIncarnation> = view
            .members
            .iter()
            .filter(|member| member.previous.is_some())
            .map(|member| member.id.process.birth)
            .collect();
        let carries = carriers.contains(&self.me);
        if carries {
            self.known.merge(&self.recent);
            let stayed = |site: &SiteIncarnation| installed.together.contains(site);
            self.need.retain(|site| stayed(site) && carriers.contains(site));
            self.need.extend(carriers.iter().filter(|site| !stayed(site)));
        } else {
            // It joins, or its members were all replaced in one step: they come without a past.
            self.known = Table::new(self.clients_max);
            self.informed = view.id == view.group.created;
            self.need = carriers;
        }
        // Who skips views on its way in has delivered nothing in them, though it was a member.
        if self.view.is_none() || !carries {
            self.joined = Some(view.id);
        }
        self.recent = self.known.successor();
        self.need.remove(&self.me);
        self.view = Some(view.id);
        self.sites = sites(view);
        self.conclude();
        self.answer_all(view.id);
        self.ask();
    }

    /// Another site asks for the table as of a view.
    pub fn handle_request(&mut self, from: SiteId, view: ViewId) {
        if self.view == Some(view) {
            self.answer(from, view);
        } else if self.view.is_none_or(|own| own < view)
            && (self.asked.len() < Self::ASKED_MAX || self.asked.contains_key(&from))
        {
            self.asked.insert(from, view);
        }
        // What is asked as of an earlier view is asked again as of this one.
    }

    /// A table has come. One that is not `informed` is of a site that has joined and was told nothing yet. An error
    /// changes nothing.
    pub fn handle_table(
        &mut self,
        view: ViewId,
        covers: &[SiteIncarnation],
        informed: bool,
        table: &[u8],
    ) -> Result<(), DecodeError> {
        let theirs = Table::decode(table)?;
        if self.view != Some(view) || !covers.iter().any(|site| self.need.contains(site)) {
            return Ok(());
        }
        self.known.merge(&theirs);
        self.informed |= informed;
        self.need.retain(|site| !covers.contains(site));
        self.conclude();
        self.ask();
        Ok(())
    }

    /// The life of a site has ended, so its clients are gone for good. Whichever site is the most senior tells the
    /// group.
    pub fn handle_life_ended(&mut self, life: SiteIncarnation) {
        if self.dead.len() >= Self::DEAD_MAX {
            self.dead.pop_first();
        }
        self.dead.insert(life);
        self.tell_dead();
    }

    /// Whether a contact at this site may cast this in the installed view: to be asked at the very moment of the
    /// cast, when all that the data plane has delivered was handed in. `as_of` is the view that the client knew when it
    /// first asked a contact, which is the first in which a copy may be cast.
    pub fn may_carry(&self, origin: &Origin, as_of: ViewId) -> Carriage {
        if !self.is_informed() || self.view < Some(as_of) {
            return Carriage::Later;
        }
        let said = [self.known.look_up(origin, as_of), self.recent.peek(origin)];
        if said.contains(&Judgement::Gone) {
            Carriage::Refused(Refusal::Gone)
        } else if said.contains(&Judgement::Repeated) && !self.bugs.has(Bug::OutsiderCastTwice) {
            Carriage::Repeated
        } else if said.contains(&Judgement::Forgotten) {
            Carriage::Refused(Refusal::Forgotten)
        } else {
            Carriage::Fresh
        }
    }

    /// Whether this site knows what every site of the view has delivered.
    pub fn is_informed(&self) -> bool {
        self.informed && self.need.is_empty()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<DedupOutput> {
        self.out.pop_front()
    }

    fn judge(&mut self, origin: &Origin) -> Judgement {
        match self.recent.judge(origin) {
            Judgement::Repeated if self.bugs.has(Bug::OutsiderCastTwice) => Judgement::First,
            judgement => judgement,
        }
    }

    fn bury(&mut self, gone: &Gone) {
        self.recent.bury(gone);
        self.known.bury(gone);
        match gone {
            Gone::Process(_) => {}
            Gone::Life(life) => {
                self.dead.remove(life);
            }
        }
    }

    /// Looks whether anything is lacking still.
    fn conclude(&mut self) {
        if self.need.is_empty() && !self.informed {
            // Every carrier went with its table.
            self.joined.into_iter().for_each(|joined| self.known.forget(joined));
            self.informed = true;
        }
        self.tell_dead();
    }

    /// Asks the most senior site whose past is lacking.
    fn ask(&mut self) {
        let Some(view) = self.view else { return };
        if let Some(senior) = self.sites.iter().find(|site| self.need.contains(site)) {
            let message = PointMessage::TableRequest { group: self.group, view };
            self.out.push_back(DedupOutput::Send(Transmit { to: senior.site, message }));
        }
    }

    fn answer_all(&mut self, view: ViewId) {
        for (from, as_of) in std::mem::take(&mut self.asked) {
            if as_of == view {
                self.answer(from, view);
            } else if as_of > view {
                self.asked.insert(from, as_of);
            }
        }
    }

    fn answer(&mut self, to: SiteId, view: ViewId) {
        let covers = self.sites.iter().filter(|site| !self.need.contains(site)).copied().collect();
        let table = Bytes::from(self.known.encode());
        let informed = self.informed;
        let message = PointMessage::Table { group: self.group, view, covers, informed, table };
        self.out.push_back(DedupOutput::Send(Transmit { to, message }));
    }

    /// Tells the group which clients' lives have ended, if this site is the most senior.
    fn tell_dead(&mut self) {
        if self.sites.first() != Some(&self.me) || !self.is_informed() {
            return;
        }
        for life in std::mem::take(&mut self.dead) {
            if self.known.knows_of(life) || self.recent.knows_of(life) {
                let body = Gone::Life(life).encode();
                self.out.push_back(DedupOutput::Cast(Envelope::of(Kind::Gone), body));
            }
        }
    }
}

/// The sites of a view by the rank of their most senior member.
fn sites(view: &membership::group::GroupView) -> Vec<SiteIncarnation> {
    let mut sites = Vec::new();
    for member in &view.members {
        let site = member.id.process.birth;
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

#[cfg(test)]
#[path = "dedup_test.rs"]
mod tests;
