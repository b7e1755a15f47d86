//! [`Interface`]: what a site's processes see of the membership service.

mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wire::{GroupId, GroupName, MemberId, ProcessId, SiteId, Time, ViewId};

use super::attachment::{Attachment, Due};
use super::looks::{Looked, Looks};
use super::message::{Answer, Attach, Attached, BadMessage, Claim, DirectAck, Message, StartChange, Submit};
use super::{Config, Event, Failure, INTERFACE_REQUESTS, Join, WISHES_MAX, WishError};
use crate::group::{GroupOptions, GroupRequest, GroupView, Outcome, Reason};
use crate::kernel::Tables;
use crate::step::{Request, RequestId, RequestKind, Why};
use crate::tables::GroupTables;

/// A site's member interface.
///
/// # Call order
///
/// After any other call drain [`poll_submit`](Interface::poll_submit),
/// [`poll_transmit`](Interface::poll_transmit) and [`poll_event`](Interface::poll_event) until each returns
/// `None`, then arm one timer for [`poll_timeout`](Interface::poll_timeout). A site with an mserver of its
/// own gives every installed step to [`handle_step`](Interface::handle_step) and every request of
/// `poll_submit` to its kernel; another gives what its links bring to
/// [`handle_message`](Interface::handle_message).
#[derive(Clone, Debug)]
pub struct Interface {
    config: Config,
    attachment: Option<Attachment>,
    processes: BTreeSet<ProcessId>,
    members: BTreeMap<MemberId, Membership>,
    /// The newest view seen of each group with members here.
    seen: BTreeMap<GroupId, Arc<GroupView>>,
    asked: BTreeMap<u64, Asked>,
    /// The step that let this life into the core-set, the last time.
    admitted: ViewId,
    looks: Looks,
    /// The core members, as the mserver in use told them last.
    core: Vec<wire::SiteIncarnation>,
    /// The mserver's view, and whether it is on the line.
    core_view: Option<(ViewId, bool)>,
    last_process: u64,
    last_join: u64,
    last_request: u64,
    submits: VecDeque<Request>,
    transmits: VecDeque<(SiteId, Message)>,
    events: VecDeque<Event>,
}

/// A local member.
#[derive(Clone, Debug)]
struct Membership {
    name: GroupName,
    join: Join,
    /// The group, once a view has listed the member.
    group: Option<GroupId>,
    /// Nobody wished for it: its process was in the group before.
    again: bool,
}

/// A request that has no final outcome yet.
#[derive(Clone, Debug)]
struct Asked {
    request: GroupRequest,
    /// When to say it (again).
    next: Time,
    tries: u32,
    /// When the one who wished it is told that there is no answer; none if nobody waits.
    until: Option<Time>,
    /// This side has said that it may not decide.
    pending: bool,
    /// It is the attachment itself, which goes before all others.
    attaches: bool,
}

impl Interface {
    /// The interface of a site that has just started.
    pub fn new(config: Config, now: Time) -> Interface {
        Interface {
            attachment: Attachment::new(&config, now),
            config,
            processes: BTreeSet::new(),
            members: BTreeMap::new(),
            seen: BTreeMap::new(),
            asked: BTreeMap::new(),
            admitted: ViewId::default(),
            looks: Looks::default(),
            core: Vec::new(),
            core_view: None,
            last_process: 0,
            last_join: 0,
            last_request: 0,
            submits: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A process is born: its id.
    pub fn handle_born(&mut self) -> ProcessId {
        self.last_process += 1;
        let process = ProcessId { birth: self.config.life, local: self.last_process };
        self.processes.insert(process);
        process
    }

    /// A process has died: it is reported as failed, from all its groups at once.
    pub fn handle_died(&mut self, now: Time, process: ProcessId) {
        if !self.processes.remove(&process) {
            return;
        }
        let mine: Vec<MemberId> = self.members.keys().filter(|m| m.process == process).copied().collect();
        let delays = mine.iter().map(|m| self.gathering_of(*m)).min();
        for member in &mine {
            self.members.remove(member);
        }
        self.asked.retain(|_, a| {
            !matches!(&a.request, GroupRequest::Join { member, .. }
            if member.process == process && a.tries == 0)
        });
        if let Some(delay) = delays {
            self.ask(now + delay, GroupRequest::Fail { process }, None);
        }
        self.forget_empty_groups();
        self.say_due(now);
    }

    /// A process wishes to join. It is a member when a view lists it.
    pub fn join(
        &mut self,
        now: Time,
        process: ProcessId,
        name: GroupName,
        join: Join,
    ) -> Result<MemberId, WishError> {
        if !self.processes.contains(&process) {
            return Err(WishError::Unknown);
        }
        self.check_room()?;
        let member = self.ask_to_join(now, process, name, join, Some(now + self.config.patience));
        self.say_due(now);
        Ok(member)
    }

    /// A member wishes to leave. It need not wait: for this site it has left at once, and the interface sees
    /// to the rest [Neely 94, II.D.2].
    pub fn leave(&mut self, now: Time, member: MemberId) -> Result<(), WishError> {
        let delay = self.gathering_of(member);
        let Some(membership) = self.members.remove(&member) else { return Err(WishError::Unknown) };
        self.drop_unsaid_join(member);
        let group = membership.group.unwrap_or_default();
        self.ask(now + delay, GroupRequest::Leave { group, member }, None);
        if let Some(group) = membership.group {
            self.events.push_back(Event::Left { member, group, why: Why::Left });
        }
        self.forget_empty_groups();
        self.say_due(now);
        Ok(())
    }

    /// Any other wish: expel, split, merge, refresh, reorder, a line of the site table. The outcome comes as
    /// [`Event::Answered`].
    pub fn request(&mut self, now: Time, request: GroupRequest) -> Result<RequestId, WishError> {
        self.check_room()?;
        let delay = self.delay_of(&request);
        let n = self.ask(now + delay, request, Some(now + self.config.patience));
        self.say_due(now);
        Ok(self.request_id(n))
    }

    /// The site's own mserver is in the core-set since this step. A member that an earlier view took for failed was
    /// removed with its site: to be said before [`Interface::handle_step`].
    pub fn handle_admitted(&mut self, at: ViewId) {
        self.admitted = at;
    }

    /// The site's own mserver has installed a step: its views, and the tables after it, which tell the outcome
    /// of requests. Whatever was missed before (a step learned by `Init`) is made good from the tables.
    pub fn handle_step(&mut self, now: Time, views: &[Arc<GroupView>], tables: &GroupTables) {
        self.take_views(now, views);
        let asked: Vec<RequestId> = self.asked.keys().map(|n| self.request_id(*n)).collect();
        for id in asked {
            if let Some(outcome) = tables.settled(id) {
                self.handle_answer(now, id, Answer::Outcome(outcome));
            }
        }
        self.compare(now, tables);
        self.say_due(now);
    }

    /// What an mserver says about a request. Ids of others are ignored.
    pub fn handle_answer(&mut self, now: Time, id: RequestId, answer: Answer) {
        if id.origin != self.config.life {
            return;
        }
        let Some(asked) = self.asked.get_mut(&id.n) else { return };
        match answer {
            Answer::Wait | Answer::Busy => {}
            Answer::Outcome(Outcome::Pending) => asked.pending = true,
            Answer::Outcome(outcome) => {
                let asked = self.asked.remove(&id.n).expect("it was there a line above");
                self.conclude(now, id, asked, outcome);
            }
        }
        self.say_due(now);
    }

    /// A change has begun (M12): passed on if the group has members here.
    pub fn handle_start_change(&mut self, hint: StartChange) {
        let StartChange { group, attempt, members } = hint;
        if self.seen.get(&group).is_some_and(|v| v.id < attempt) {
            self.events.push_back(Event::StartChange { group, attempt, members });
        }
    }

    /// A message from an mserver elsewhere. An error changes nothing.
    pub fn handle_bytes(&mut self, now: Time, from: SiteId, bytes: &[u8]) -> Result<(), BadMessage> {
        self.handle_message(now, from, Message::decode(bytes)?);
        Ok(())
    }

    /// A message from an mserver elsewhere. What only an interface may say is ignored.
    pub fn handle_message(&mut self, now: Time, from: SiteId, message: Message) {
        match message {
            Message::SubmitAnswer(m) => self.handle_answer(now, m.id, m.answer),
            Message::Direct(direct) => {
                let views: Vec<Arc<GroupView>> = direct.views.into_iter().map(Arc::new).collect();
                self.take_views(now, &views);
                // Said again, it is acknowledged again and changes nothing (schedule 14).
                self.transmits.push_back((from, Message::DirectAck(DirectAck { step: direct.step })));
            }
            Message::Attached(attached) => self.handle_attached(now, from, attached),
            Message::StartChange(hint) => self.handle_start_change(hint),
            Message::Seen(seen) => {
                for name in self.looks.handle_seen(seen) {
                    self.events.push_back(Event::Looked { name });
                }
            }
            Message::Attach(_) | Message::Submit(_) | Message::DirectAck(_) | Message::Look(_) => {}
        }
        self.say_due(now);
    }

    /// What is known at an attached site of a group, whether it has members here or not. What is not known is
    /// asked for: [`Event::Looked`] says when it is, and again when it changes. Names are remembered, up to
    /// [`LOOKS_MAX`](super::LOOKS_MAX); beyond, the one asked for longest ago is forgotten.
    pub fn look(&mut self, name: &GroupName) -> Looked {
        if let Some(view) = self.seen.values().find(|view| view.name == *name) {
            return Looked::View(Arc::clone(view));
        }
        let looked = self.looks.look(name);
        if looked == Looked::Unknown {
            self.say_looks();
        }
        looked
    }

    /// The views of the groups that an attached site knows.
    pub fn known_views(&self) -> impl Iterator<Item = &Arc<GroupView>> {
        let here = self.seen.values();
        here.chain(self.looks.views().filter(|view| !self.seen.contains_key(&view.group)))
    }

    /// The core-set's view as an attached site's mserver told it last, and whether it is on the line; its members.
    pub fn core(&self) -> Option<(ViewId, bool, &[wire::SiteIncarnation])> {
        let (view, primary) = self.core_view?;
        Some((view, primary, &self.core))
    }

    fn say_looks(&mut self) {
        let Some(attachment) = self.attachment.as_ref().filter(|a| a.is_confirmed()) else { return };
        if let Some(look) = self.looks.say() {
            self.transmits.push_back((attachment.via(), Message::Look(look)));
        }
    }

    /// A site cannot be reached. If it is the mserver in use, the next is taken at once.
    pub fn handle_unreachable(&mut self, now: Time, site: SiteId) {
        let Some(attachment) = &mut self.attachment else { return };
        if attachment.via() == site {
            let due = attachment.fail_over(now);
            self.follow(now, due);
        }
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(attachment) = &mut self.attachment {
            let due = attachment.poll(now);
            self.follow(now, due);
        }
        self.lose_patience(now);
        self.say_due(now);
    }

    /// The next request for the site's own mserver. Said again with growing pauses until it has an outcome.
    pub fn poll_submit(&mut self) -> Option<Request> {
        self.submits.pop_front()
    }

    /// The next message for an mserver elsewhere.
    pub fn poll_transmit(&mut self) -> Option<(SiteId, Message)> {
        self.transmits.pop_front()
    }

    /// The next event for the site.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Interface::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Time> {
        let may_say = |a: &&Asked| a.attaches || self.may_say();
        let saying = self.asked.values().filter(may_say).map(|a| a.next);
        let waiting = self.asked.values().filter_map(|a| a.until);
        saying.chain(waiting).chain(self.attachment.as_ref().map(Attachment::timeout)).min()
    }

    /// The mserver in use; none if the site runs its own.
    pub fn attached_to(&self) -> Option<SiteId> {
        self.attachment.as_ref().filter(|a| a.is_confirmed()).map(Attachment::via)
    }

    /// The local processes.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.processes.iter().copied()
    }

    /// The membership by which a process joins a group again by itself, while no view has listed it.
    pub fn joins_again(&self, process: ProcessId, name: &GroupName) -> Option<MemberId> {
        let of_it = |member: &MemberId, m: &Membership| member.process == process && m.name == *name;
        let mut again = self.members.iter().filter(|(_, m)| m.again && m.group.is_none());
        again.find(|(member, m)| of_it(member, m)).map(|(member, _)| *member)
    }

    /// Whether another membership of this one's process in the group of this name has taken its place, or is to: the process
    /// joins again by itself, or has joined anew.
    pub fn is_succeeded(&self, was: MemberId, name: &GroupName) -> bool {
        let of_it = |member: &MemberId| member.process == was.process && *member != was;
        self.members.iter().any(|(member, m)| of_it(member) && m.name == *name)
    }

    /// The local members of a group, as the newest view seen lists them.
    pub fn members_of(&self, group: GroupId) -> impl Iterator<Item = MemberId> + '_ {
        self.members.iter().filter(move |(_, m)| m.group == Some(group)).map(|(id, _)| *id)
    }

    /// The newest view seen of a group with members here.
    pub fn view(&self, group: GroupId) -> Option<&Arc<GroupView>> {
        self.seen.get(&group)
    }

    // Wishes.

    fn request_id(&self, n: u64) -> RequestId {
        RequestId { origin: self.config.life, n }
    }

    fn check_room(&self) -> Result<(), WishError> {
        let wishes = self.asked.values().filter(|a| a.until.is_some()).count();
        if wishes >= WISHES_MAX { Err(WishError::Busy) } else { Ok(()) }
    }

    fn ask_to_join(
        &mut self,
        now: Time,
        process: ProcessId,
        name: GroupName,
        join: Join,
        until: Option<Time>,
    ) -> MemberId {
        self.last_join += 1;
        let member = MemberId { process, join: self.last_join };
        let known = self.seen.values().find(|v| v.name == name).map(|v| gathering(&v.options));
        let delay = known.unwrap_or_else(|| gathering(&join.options));
        let request = GroupRequest::Join {
            group: name.clone(),
            member,
            role: join.role.clone(),
            create: join.create,
            options: join.options.clone(),
        };
        self.members.insert(member, Membership { name, join, group: None, again: until.is_none() });
        self.ask(now + delay, request, until);
        member
    }

    fn ask(&mut self, next: Time, request: GroupRequest, until: Option<Time>) -> u64 {
        self.last_request += 1;
        let n = INTERFACE_REQUESTS + self.last_request;
        let attaches = matches!(request, GroupRequest::Attach { .. });
        // Changes that are gathered for one group go together, when the first of them is due.
        let gathered = self.asked.values().filter(|a| a.tries == 0 && same_group(&a.request, &request));
        let next = gathered.map(|a| a.next).fold(next, Time::min);
        self.asked.insert(n, Asked { request, next, tries: 0, until, pending: false, attaches });
        n
    }

    /// A join that nobody has been asked for yet need not be asked for.
    fn drop_unsaid_join(&mut self, leaver: MemberId) {
        self.asked.retain(|_, a| {
            !matches!(&a.request, GroupRequest::Join { member, .. } if *member == leaver && a.tries == 0)
        });
    }

    fn gathering_of(&self, member: MemberId) -> Duration {
        let group = self.members.get(&member).and_then(|m| self.seen.get(&m.group?));
        group.map_or(Duration::ZERO, |v| gathering(&v.options))
    }

    fn delay_of(&self, request: &GroupRequest) -> Duration {
        let GroupRequest::Expel { group, .. } = request else { return Duration::ZERO };
        self.seen.get(group).map_or(Duration::ZERO, |v| gathering(&v.options))
    }

    /// Whether requests other than the attachment itself may be said now.
    fn may_say(&self) -> bool {
        self.attachment.as_ref().is_none_or(Attachment::is_admitted)
    }

    /// Says what is due, oldest first, and arms the next repeat of each with twice the pause.
    fn say_due(&mut self, now: Time) {
        let may_say = self.may_say();
        let via = self.attachment.as_ref().map(|a| (a.via(), a.is_confirmed()));
        for (n, asked) in &mut self.asked {
            let ready = asked.next <= now && (may_say || asked.attaches && via.is_some_and(|(_, c)| c));
            if !ready {
                continue;
            }
            let id = RequestId { origin: self.config.life, n: *n };
            let request = asked.request.clone();
            match via {
                None => self.submits.push_back(Request { id, kind: RequestKind::Group(request) }),
                Some((via, _)) => {
                    self.transmits.push_back((via, Message::Submit(Submit { id, request })));
                }
            }
            let pause = self.config.retry_min * 2u32.saturating_pow(asked.tries.min(16));
            asked.next = now + pause.min(self.config.retry_max);
            asked.tries = asked.tries.saturating_add(1);
        }
    }

    fn lose_patience(&mut self, now: Time) {
        let over: Vec<u64> =
            self.asked.iter().filter(|(_, a)| a.until.is_some_and(|t| t <= now)).map(|(n, _)| *n).collect();
        for n in over {
            let asked = self.asked.remove(&n).expect("it was there a line above");
            let id = self.request_id(n);
            let GroupRequest::Join { group, member, .. } = asked.request else {
                let outcome = asked.pending.then_some(Outcome::Pending);
                self.events.push_back(Event::Answered { id, outcome });
                continue;
            };
            if self.members.remove(&member).is_some() {
                // It may be granted yet: then the leave that follows it undoes it.
                self.ask(now, GroupRequest::Leave { group: GroupId::default(), member }, None);
                let why = if asked.pending { Failure::NotPrimary } else { Failure::Unanswered };
                self.events.push_back(Event::JoinFailed { member, group, why });
            }
        }
    }

    fn conclude(&mut self, now: Time, id: RequestId, asked: Asked, outcome: Outcome) {
        if let GroupRequest::Join { member, .. } = asked.request {
            // A join that is done is over when a view lists the member.
            if let Outcome::Refused(reason) = outcome {
                self.join_refused(now, member, reason, asked.until);
            }
        } else if asked.until.is_some() {
            self.events.push_back(Event::Answered { id, outcome: Some(outcome) });
        }
    }

    fn join_refused(&mut self, now: Time, member: MemberId, reason: Reason, until: Option<Time>) {
        // Listed by a view already: it was granted on a branch, and the line saw it come that way.
        if self.members.get(&member).is_none_or(|m| m.group.is_some()) {
            return;
        }
        let Some(Membership { name, join, .. }) = self.members.remove(&member) else { return };
        match reason {
            // The side changed under the request: ask again, under another number.
            Reason::SiteAbsent | Reason::NotPrimary if until.is_none_or(|t| t > now) => {
                let group = name.clone();
                let next = self.ask_to_join(now + self.config.retry_min, member.process, name, join, until);
                self.events.push_back(Event::Rejoining { was: member, member: next, group });
            }
            Reason::SiteAbsent
            | Reason::NotPrimary
            | Reason::NoSuchGroup
            | Reason::Exists
            | Reason::NotMember
            | Reason::Full
            | Reason::TooManyGroups
            | Reason::RoleTooLong
            | Reason::Stale
            | Reason::NoSuchSite
            | Reason::SiteTableFull
            | Reason::SiteInUse => {
                let why = Failure::Refused(reason);
                self.events.push_back(Event::JoinFailed { member, group: name, why });
            }
        }
    }

    // An mserver elsewhere.

    fn follow(&mut self, now: Time, due: Due) {
        match due {
            Due::Nothing => return,
            Due::Beat => {}
            Due::FailedOver { lost } => {
                (self.core_view, self.core) = (None, Vec::new());
                if lost {
                    self.events.push_back(Event::Detached);
                }
                self.asked.retain(|_, a| !a.attaches);
                // What is unanswered is said again to the next, under the same ids.
                for asked in self.asked.values_mut().filter(|a| a.tries > 0) {
                    asked.tries = 1;
                    asked.next = now;
                }
            }
        }
        self.beat();
    }

    fn beat(&mut self) {
        let Some(attachment) = &self.attachment else { return };
        let claim = |(member, m): (&MemberId, &Membership)| {
            let group = m.group?;
            let seen = self.seen.get(&group).map_or(ViewId::default(), |v| v.id);
            Some(Claim { member: *member, group, seen })
        };
        let members = self.members.iter().filter_map(claim).collect();
        let attach = Attach { life: self.config.life, members };
        self.transmits.push_back((attachment.via(), Message::Attach(attach)));
        self.say_looks();
    }

    fn handle_attached(&mut self, now: Time, from: SiteId, attached: Attached) {
        let Some(attachment) = &mut self.attachment else { return };
        if from != attachment.via() {
            return; // an mserver that was given up
        }
        if attachment.heard(now, attached.known) {
            self.events.push_back(Event::Attached { via: from });
            self.say_looks();
        }
        self.core_view = Some((attached.view, attached.primary));
        self.core = attached.core.unwrap_or_default();
        if !attached.known && !self.asked.values().any(|a| a.attaches) {
            self.ask(now, GroupRequest::Attach { life: self.config.life, via: from }, None);
        }
        if attached.known {
            self.asked.retain(|_, a| !a.attaches);
        }
        if !attached.primary || !attached.known {
            return; // what a branch does not know may be on the line
        }
        for unknown in attached.unknown {
            if self.members.get(&unknown.member).is_some_and(|m| m.group == Some(unknown.group)) {
                self.rejoin(now, unknown.member);
            }
        }
        self.forget_empty_groups();
    }
}

fn gathering(options: &GroupOptions) -> Duration {
    Duration::from_millis(options.aggregate_ms.into())
}

/// Whether two requests are joins, or leaves, of one group.
fn same_group(a: &GroupRequest, b: &GroupRequest) -> bool {
    use GroupRequest::{Join, Leave};
    matches!((a, b), (Join { group: a, .. }, Join { group: b, .. }) if a == b)
        || matches!((a, b), (Leave { group: a, .. }, Leave { group: b, .. }) if a == b)
}
