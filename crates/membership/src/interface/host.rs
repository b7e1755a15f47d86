//! [`Host`]: an mserver's end of the attachment of sites that have no mserver of their own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wire::{GroupId, GroupName, MemberId, SiteId, SiteIncarnation, Time, ViewId};

use super::message::{
    Answer, Attach, Attached, BadMessage, Claim, Direct, Look, Message, Seen, StartChange, Submit,
    SubmitAnswer, Unknown,
};
use super::{Config, LOOKS_MAX};
use crate::group::{Consistency, GroupRequest, GroupView, Outcome};
use crate::kernel::Tables;
use crate::step::{Request, RequestId, RequestKind, Why};
use crate::tables::GroupTables;

/// Steps whose views are kept for a guest that has not acknowledged them, and for one that fails over to
/// here. A guest further behind must let its members join again.
const STEPS_MAX: usize = 256;
/// Unanswered requests of one guest; beyond, it hears `Busy`.
const ASKED_MAX: usize = 1_024;
/// Guests of one mserver; beyond, an Attach is not answered and the site goes on to another mserver.
const GUESTS_MAX: usize = 1_024;

/// The views of one step.
type StepViews = (ViewId, Vec<Arc<GroupView>>);

/// Serves attached sites at an mserver.
///
/// # Call order
///
/// After any other call drain [`poll_submit`](Host::poll_submit), [`poll_wish`](Host::poll_wish) and
/// [`poll_transmit`](Host::poll_transmit), then arm one timer for [`poll_timeout`](Host::poll_timeout).
#[derive(Clone, Debug)]
pub struct Host {
    config: Config,
    guests: BTreeMap<SiteId, Guest>,
    /// Views of the last steps, for those who fail over to here.
    recent: VecDeque<StepViews>,
    /// Attached sites whose mserver is gone, since when.
    orphans: BTreeMap<SiteIncarnation, Time>,
    transmits: VecDeque<(SiteId, Message)>,
    submits: VecDeque<Request>,
    wishes: VecDeque<GroupRequest>,
}

#[derive(Clone, Debug)]
struct Guest {
    life: SiteIncarnation,
    heard: Time,
    /// Its machine has said that nobody listens there: until then it may show that it lives.
    refused: Option<Time>,
    /// Views sent and not acknowledged, oldest first.
    owed: VecDeque<StepViews>,
    resend: Time,
    tries: u32,
    asked: BTreeSet<RequestId>,
    /// Groups that it looks at without members in them.
    looks: BTreeSet<GroupName>,
}

impl Host {
    /// A host without guests.
    pub fn new(config: Config) -> Host {
        Host {
            config,
            guests: BTreeMap::new(),
            recent: VecDeque::new(),
            orphans: BTreeMap::new(),
            transmits: VecDeque::new(),
            submits: VecDeque::new(),
            wishes: VecDeque::new(),
        }
    }

    /// Bytes from an attached site. An error changes nothing.
    pub fn handle_bytes(
        &mut self,
        now: Time,
        from: SiteId,
        bytes: &[u8],
        tables: &GroupTables,
    ) -> Result<(), BadMessage> {
        self.handle_message(now, from, Message::decode(bytes)?, tables);
        Ok(())
    }

    /// A message from an attached site. What only an mserver may say, and what speaks for another site, is
    /// ignored.
    pub fn handle_message(&mut self, now: Time, from: SiteId, message: Message, tables: &GroupTables) {
        match message {
            Message::Attach(attach) if attach.life.site == from => self.attach(now, from, attach, tables),
            Message::Submit(submit) if submit.id.origin.site == from => {
                self.submit(now, from, submit, tables);
            }
            Message::Look(look) => self.look(now, from, look, tables),
            Message::DirectAck(ack) => self.acknowledged(now, from, ack.step),
            Message::Attach(_)
            | Message::Submit(_)
            | Message::SubmitAnswer(_)
            | Message::Direct(_)
            | Message::Attached(_)
            | Message::Seen(_)
            | Message::StartChange(_) => {}
        }
    }

    /// The mserver has installed a step: its views, and the tables after it.
    pub fn handle_step(&mut self, now: Time, views: &[Arc<GroupView>], tables: &GroupTables) {
        self.answer(tables);
        if !views.is_empty() {
            self.recent.push_back((tables.view(), views.to_vec()));
            if self.recent.len() > STEPS_MAX {
                self.recent.pop_front();
            }
        }
        for guest in self.guests.keys().copied().collect::<Vec<_>>() {
            self.direct(now, guest, tables.view(), views);
        }
        self.tell_seen(views);
        let core: BTreeSet<SiteId> = tables.core().map(|life| life.site).collect();
        let orphans: BTreeSet<SiteIncarnation> =
            tables.attached().filter(|(_, via)| !core.contains(via)).map(|(life, _)| life).collect();
        self.orphans.retain(|life, _| orphans.contains(life));
        for life in orphans {
            self.orphans.entry(life).or_insert(now);
        }
    }

    /// A change has begun: the hint for every guest with members in the group (M12).
    pub fn handle_start_change(&mut self, hint: &StartChange) {
        let sites: BTreeSet<SiteId> = hint.members.iter().map(|m| m.site()).collect();
        for site in self.guests.keys().filter(|site| sites.contains(site)) {
            self.transmits.push_back((*site, Message::StartChange(hint.clone())));
        }
    }

    /// A change of the core-set has begun: the hint to every guest, for each group that it has members in (M12).
    pub fn handle_core_change(&mut self, attempt: ViewId, tables: &GroupTables) {
        for (site, guest) in &self.guests {
            let groups: BTreeSet<GroupId> =
                tables.memberships_at(guest.life).map(|(_, group)| group).collect();
            for view in groups.into_iter().filter_map(|group| tables.group_view(group)) {
                let members = view.members.iter().map(|member| member.id).collect();
                let hint = StartChange { group: view.group, attempt, members };
                self.transmits.push_back((*site, Message::StartChange(hint)));
            }
        }
    }

    /// The machine of a site answers that nobody listens there. A guest that lives shows it by its next sign of life.
    pub fn handle_refused(&mut self, now: Time, site: SiteId) {
        if let Some(guest) = self.guests.get_mut(&site) {
            guest.refused.get_or_insert(now + self.config.beat * 2);
        }
    }

    /// Time has come: repeats what is not acknowledged, and reports guests that are silent and orphans that
    /// nobody has taken.
    pub fn handle_timeout(&mut self, now: Time, tables: &GroupTables) {
        let silence = self.config.silence * 2;
        let silent = |g: &Guest| g.gone_at(silence) <= now;
        let gone: Vec<SiteId> = self.guests.iter().filter(|(_, g)| silent(g)).map(|(s, _)| *s).collect();
        for site in gone {
            self.dismiss(site, tables);
        }
        for (site, guest) in &mut self.guests {
            if !guest.owed.is_empty() && guest.resend <= now {
                let pause = self.config.retry_min * 2u32.saturating_pow(guest.tries.min(16));
                guest.resend = now + pause.min(self.config.retry_max);
                guest.tries = guest.tries.saturating_add(1);
                let again = guest.owed.iter().map(|(step, views)| (*site, direct(*step, views)));
                self.transmits.extend(again);
            }
        }
        // One mserver speaks for all: the lowest site of the core-set.
        let speaks = tables.core().next().is_some_and(|life| life.site == self.config.life.site);
        for (life, since) in &mut self.orphans {
            if *since + silence <= now {
                *since = now;
                if speaks {
                    self.wishes.push_back(GroupRequest::Detach { life: *life, why: Why::Failed });
                }
            }
        }
    }

    /// A guest's request for this mserver's kernel, under the guest's own id.
    pub fn poll_submit(&mut self) -> Option<Request> {
        self.submits.pop_front()
    }

    /// A request of the host's own: give it to this site's [`Interface::request`](super::Interface::request).
    pub fn poll_wish(&mut self) -> Option<GroupRequest> {
        self.wishes.pop_front()
    }

    /// The next message for a guest.
    pub fn poll_transmit(&mut self) -> Option<(SiteId, Message)> {
        self.transmits.pop_front()
    }

    /// When to call [`handle_timeout`](Host::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.config.silence * 2;
        let silent = self.guests.values().map(|g| g.gone_at(silence));
        let owed = self.guests.values().filter(|g| !g.owed.is_empty()).map(|g| g.resend);
        let orphans = self.orphans.values().map(|since| *since + silence);
        silent.chain(owed).chain(orphans).min()
    }

    /// The sites that are attached here now.
    pub fn guests(&self) -> impl Iterator<Item = SiteIncarnation> + '_ {
        self.guests.values().map(|g| g.life)
    }

    fn attach(&mut self, now: Time, from: SiteId, attach: Attach, tables: &GroupTables) {
        let known = self.guests.get(&from).map(|g| g.life);
        if known.is_some_and(|life| life > attach.life) {
            return; // an earlier life speaks
        }
        if known.is_none() && self.guests.len() >= GUESTS_MAX {
            return;
        }
        let is_new = known != Some(attach.life);
        if is_new {
            self.guests.insert(from, Guest::new(attach.life, now));
        }
        let guest = self.guests.get_mut(&from).expect("it was put there two lines above");
        guest.hear(now);
        let in_flight = !guest.owed.is_empty();
        let mut unknown = Vec::new();
        let mut behind: BTreeMap<GroupId, ViewId> = BTreeMap::new();
        for claim in attach.members {
            match tables.group_of(claim.member) {
                Some(group) if tables.group_view_id(group) == Some(claim.seen) => {}
                // What is behind may be on its way; it is owed until it is acknowledged.
                Some(_) if in_flight => {}
                Some(group) if self.can_tell(&claim, group, tables) => {
                    behind.insert(group, if group == claim.group { claim.seen } else { ViewId::default() });
                }
                Some(_) | None => unknown.push(Unknown { member: claim.member, group: claim.group }),
            }
        }
        self.catch_up(now, from, &behind, tables);
        let attached = tables.attached().any(|(l, via)| l == attach.life && via == self.config.life.site);
        self.transmits.push_back((
            from,
            Message::Attached(Attached {
                view: tables.view(),
                primary: tables.primary(),
                known: attached,
                unknown,
                core: Some(tables.core().collect()),
            }),
        ));
    }

    /// What is said of a group is not repeated: the guest says again what it lacks.
    fn look(&mut self, now: Time, from: SiteId, look: Look, tables: &GroupTables) {
        let Some(guest) = self.guests.get_mut(&from) else { return };
        guest.hear(now);
        let looked_at = look.groups.into_iter().take(LOOKS_MAX);
        let (mut views, mut missing, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (name, seen) in looked_at {
            match tables.group_named(&name).and_then(|group| tables.group_view(group)) {
                Some(view) if Some(view.id) > seen => views.push((*view).clone()),
                Some(_) => {}
                None => missing.push(name.clone()),
            }
            names.insert(name);
        }
        guest.looks = names;
        if !views.is_empty() || !missing.is_empty() {
            self.transmits.push_back((from, Message::Seen(Seen { views, missing })));
        }
    }

    /// Tells the guests of a step's views what they look at.
    fn tell_seen(&mut self, views: &[Arc<GroupView>]) {
        for (site, guest) in self.guests.iter().filter(|(_, guest)| !guest.looks.is_empty()) {
            let looked_at = views.iter().filter(|view| guest.looks.contains(&view.name));
            let views: Vec<GroupView> = looked_at.map(|view| (**view).clone()).collect();
            if !views.is_empty() {
                self.transmits.push_back((*site, Message::Seen(Seen { views, missing: Vec::new() })));
            }
        }
    }

    /// Whether the views after the one that was seen are all here; a Weak group may skip some.
    fn can_tell(&self, claim: &Claim, group: GroupId, tables: &GroupTables) -> bool {
        let weak = tables.options(group).is_some_and(|o| o.consistency == Consistency::Weak);
        let moved = group != claim.group;
        weak || moved || self.follows(claim.member, group, claim.seen)
    }

    fn follows(&self, member: MemberId, group: GroupId, seen: ViewId) -> bool {
        let later = self.recent.iter().flat_map(|(_, views)| views);
        let first = later.filter(|v| v.group == group && v.id > seen).min_by_key(|v| v.id);
        let listed = first.and_then(|v| v.members.iter().find(|m| m.id == member));
        listed.is_some_and(|m| m.previous == Some(seen))
    }

    /// Sends the views of these groups after those seen, in order; the standing view if they are not here.
    fn catch_up(
        &mut self,
        now: Time,
        from: SiteId,
        behind: &BTreeMap<GroupId, ViewId>,
        tables: &GroupTables,
    ) {
        let wanted = |v: &Arc<GroupView>| behind.get(&v.group).is_some_and(|seen| v.id > *seen);
        let mut told: BTreeSet<GroupId> = BTreeSet::new();
        let mut steps: Vec<StepViews> = Vec::new();
        for (step, views) in &self.recent {
            let views: Vec<Arc<GroupView>> = views.iter().filter(|v| wanted(v)).cloned().collect();
            told.extend(views.iter().map(|v| v.group));
            if !views.is_empty() {
                steps.push((*step, views));
            }
        }
        let rest = behind.keys().filter(|g| !told.contains(g));
        let standing: Vec<Arc<GroupView>> = rest.filter_map(|g| tables.group_view(*g)).collect();
        if !standing.is_empty() {
            steps.push((tables.view(), standing));
        }
        for (step, views) in steps {
            self.owe(now, from, step, views);
        }
    }

    /// Sends a guest what a step has for it: views that list members there, or say that they are gone.
    fn direct(&mut self, now: Time, site: SiteId, step: ViewId, views: &[Arc<GroupView>]) {
        let is_there = |m: &MemberId| m.site() == site;
        let concerns = |v: &&Arc<GroupView>| {
            v.members.iter().any(|m| is_there(&m.id)) || v.left.iter().any(|(m, _)| is_there(m))
        };
        let views: Vec<Arc<GroupView>> = views.iter().filter(concerns).cloned().collect();
        if !views.is_empty() {
            self.owe(now, site, step, views);
        }
    }

    fn owe(&mut self, now: Time, site: SiteId, step: ViewId, views: Vec<Arc<GroupView>>) {
        let Some(guest) = self.guests.get_mut(&site) else { return };
        if guest.owed.len() >= STEPS_MAX {
            // Too far behind: what it missed is found out by its next sign of life.
            guest.owed.clear();
        }
        if guest.owed.is_empty() {
            guest.resend = now + self.config.retry_min;
            guest.tries = 1;
        }
        self.transmits.push_back((site, direct(step, &views)));
        guest.owed.push_back((step, views));
    }

    fn acknowledged(&mut self, now: Time, from: SiteId, step: ViewId) {
        let Some(guest) = self.guests.get_mut(&from) else { return };
        guest.hear(now);
        guest.owed.retain(|(owed, _)| *owed != step);
        guest.tries = 0;
    }

    fn submit(&mut self, now: Time, from: SiteId, submit: Submit, tables: &GroupTables) {
        let Some(guest) = self.guests.get_mut(&from) else { return };
        if guest.life != submit.id.origin {
            return;
        }
        guest.hear(now);
        let id = submit.id;
        let answer = if let Some(outcome) = tables.settled(id) {
            Answer::Outcome(outcome)
        } else if !tables.primary() && guest.asked.contains(&id) {
            Answer::Outcome(Outcome::Pending)
        } else if guest.asked.len() >= ASKED_MAX && !guest.asked.contains(&id) {
            Answer::Busy
        } else {
            guest.asked.insert(id);
            self.submits.push_back(Request { id, kind: RequestKind::Group(submit.request) });
            Answer::Wait
        };
        self.transmits.push_back((from, Message::SubmitAnswer(SubmitAnswer { id, answer })));
    }

    /// Tells the guests what the tables have settled.
    fn answer(&mut self, tables: &GroupTables) {
        for (site, guest) in &mut self.guests {
            let asked = guest.asked.iter();
            let settled: Vec<_> = asked.filter_map(|id| Some((*id, tables.settled(*id)?))).collect();
            for (id, outcome) in settled {
                guest.asked.remove(&id);
                let answer = SubmitAnswer { id, answer: Answer::Outcome(outcome) };
                self.transmits.push_back((*site, Message::SubmitAnswer(answer)));
            }
        }
    }

    fn dismiss(&mut self, site: SiteId, tables: &GroupTables) {
        let Some(guest) = self.guests.remove(&site) else { return };
        let mine =
            |(life, via): (SiteIncarnation, SiteId)| life == guest.life && via == self.config.life.site;
        // If it has moved on to another mserver, the tables say so, and nothing is reported.
        if tables.attached().any(mine) {
            self.wishes.push_back(GroupRequest::Detach { life: guest.life, why: Why::Failed });
        }
    }
}

impl Guest {
    fn hear(&mut self, now: Time) {
        self.heard = now;
        self.refused = None;
    }

    /// When it is taken for gone.
    fn gone_at(&self, silence: Duration) -> Time {
        let silent = self.heard + silence;
        self.refused.map_or(silent, |until| until.min(silent))
    }

    fn new(life: SiteIncarnation, now: Time) -> Guest {
        Guest {
            life,
            heard: now,
            refused: None,
            owed: VecDeque::new(),
            resend: now,
            tries: 0,
            asked: BTreeSet::new(),
            looks: BTreeSet::new(),
        }
    }
}

fn direct(step: ViewId, views: &[Arc<GroupView>]) -> Message {
    Message::Direct(Direct { step, views: views.iter().map(|v| GroupView::clone(v)).collect() })
}
