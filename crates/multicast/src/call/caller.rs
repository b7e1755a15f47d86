//! The calling side of a call: collects the answers of the members to which a cast was delivered.
//!
//! A call ends as soon as enough have replied; or when every target has replied, null-replied or is gone; or on
//! one abort-reply; or at its time-out [ISIS Manual 2.0, chapter 1: the sender learns of a shortfall]. Its
//! result is a value, never an exception, and always adds up: every target is in exactly one of the outcome's
//! lists.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{GroupId, MemberId, SiteIncarnation, Time, ViewId};

use super::CallKey;
use super::envelope::Envelope;
use super::point::{Answer, Answered};

/// How many replies end a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replies {
    /// No reply is wanted; the call ends as it begins.
    #[default]
    None,
    /// So many.
    Count(u32),
    /// More than half of the members of the view in which the cast is delivered; with a process list, of those
    /// on the list.
    Majority,
    /// One from every target.
    All,
}

/// What a call asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// How many replies end it.
    pub replies: Replies,
    /// After how long it ends in any case. Waiting for ever is not offered: choose the bound.
    pub time_out: Duration,
}

/// The result of a call. Each target is in exactly one of `replies`, `nulls`, `failed`, `missing` and
/// `aborted_by`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The view in which the cast was delivered at the caller's site; none if the call ended before that, and
    /// then only those who answered count as targets.
    pub delivered_in: Option<ViewId>,
    /// How many were to answer.
    pub targets: usize,
    /// Who replied, in order of arrival, and what.
    pub replies: Vec<(MemberId, Bytes)>,
    /// Who said that it has nothing to say.
    pub nulls: Vec<MemberId>,
    /// Who left the group, failed or was cut off before it answered.
    pub failed: Vec<MemberId>,
    /// Who is there and had not answered when the call ended.
    pub missing: Vec<MemberId>,
    /// Whose abort-reply ended the call, and its reason.
    pub aborted_by: Option<(MemberId, Bytes)>,
    /// Whether the time-out ended the call.
    pub timed_out: bool,
}

impl Outcome {
    /// How many targets are accounted for; always equal to `targets`.
    pub fn accounted(&self) -> usize {
        let aborted = usize::from(self.aborted_by.is_some());
        self.replies.len() + self.nulls.len() + self.failed.len() + self.missing.len() + aborted
    }
}

/// How a call stands: what a forked call's owner sees when it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The call goes on; this would be its outcome if it ended now.
    Open(Outcome),
    /// The call has ended; [`Caller::collect`] hands the outcome over.
    Ended(Outcome),
}

/// Too many calls are open or not collected at this site; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} calls are open or wait to be collected; collect or cancel some", Caller::CALLS_MAX)]
pub struct TooManyCalls;

/// The calls of one site.
///
/// Order of use: [`Caller::open`], put the number into the cast's envelope ([`Caller::seal`]), cast; then
/// [`Caller::handle_delivery`] when the cast comes back, [`Caller::handle_answer`], [`Caller::handle_view`] and
/// [`Caller::handle_timeout`] as they come; [`Caller::poll_ended`] names calls that have ended, each once, and
/// [`Caller::collect`] hands their outcomes over. A call that nobody collects stays (a forked call), counted in
/// [`Caller::CALLS_MAX`].
#[derive(Clone, Debug)]
pub struct Caller {
    me: SiteIncarnation,
    last: u64,
    calls: BTreeMap<u64, Call>,
    deadlines: BTreeSet<(Time, u64)>,
    ended: VecDeque<u64>,
}

/// What is known of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Awaited,
    Replied { place: u32, body: Bytes },
    Null,
    Failed,
    Aborted(Bytes),
}

#[derive(Clone, Debug)]
struct Call {
    group: GroupId,
    replies: Replies,
    deadline: Time,
    delivered_in: Option<ViewId>,
    /// Before the delivery: who answered early. Afterwards: the targets.
    targets: BTreeMap<MemberId, Standing>,
    replied: u32,
    awaited: u32,
    wanted: u32,
    timed_out: bool,
    ended: bool,
}

impl Caller {
    /// The most calls, open or not yet collected. Beyond it [`Caller::open`] refuses.
    pub const CALLS_MAX: usize = 65_536;
    /// The most answers kept for a call whose cast has not come back yet. Later ones are dropped: their senders
    /// count as missing.
    pub const EARLY_MAX: usize = 1024;

    /// The calls of this life of the site: none yet.
    pub fn new(me: SiteIncarnation) -> Caller {
        Caller { me, last: 0, calls: BTreeMap::new(), deadlines: BTreeSet::new(), ended: VecDeque::new() }
    }

    /// Opens a call in a group and gives its number. With [`Replies::None`] it has ended at once.
    pub fn open(&mut self, now: Time, group: GroupId, options: &CallOptions) -> Result<u64, TooManyCalls> {
        if self.calls.len() >= Self::CALLS_MAX {
            return Err(TooManyCalls);
        }
        self.last += 1;
        let deadline = now + options.time_out;
        let call = Call {
            group,
            replies: options.replies,
            deadline,
            delivered_in: None,
            targets: BTreeMap::new(),
            replied: 0,
            awaited: 0,
            wanted: 0,
            timed_out: false,
            ended: false,
        };
        self.calls.insert(self.last, call);
        self.deadlines.insert((deadline, self.last));
        if options.replies == Replies::None {
            self.end(self.last);
        }
        Ok(self.last)
    }

    /// Writes the call into the envelope of its cast, if a reply is wanted.
    pub fn seal(&self, number: u64, envelope: &mut Envelope) {
        envelope.call = self.calls.get(&number).filter(|call| !call.ended).map(|_| number);
    }

    /// The call's name in the cluster.
    pub fn key(&self, number: u64) -> CallKey {
        CallKey { home: self.me, number }
    }

    /// A cast of this site that wants replies has come back: its targets are the members of `view` that want
    /// it. A second delivery, or one of a call that has ended, changes nothing.
    pub fn handle_delivery(&mut self, sender: MemberId, envelope: &Envelope, view: &GroupView) {
        let Some(number) = envelope.call else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        if call.ended || call.delivered_in.is_some() || call.group != view.group {
            return;
        }
        call.deliver(sender, envelope, view);
        self.end_if_complete(number);
    }

    /// An answer has come. Second answers of one member, answers to calls that have ended and answers of
    /// members that are no targets are dropped [Ravindran & Chanson 85, 4.2]; says whether it counted.
    pub fn handle_answer(&mut self, answer: &Answer) -> bool {
        if answer.call.home != self.me {
            return false;
        }
        let number = answer.call.number;
        let Some(call) = self.calls.get_mut(&number) else { return false };
        let counted = !call.ended && call.answer(answer);
        if counted {
            self.end_if_complete(number);
        }
        counted
    }

    /// A later view of a group: targets that are no longer in it count as failed, unless they have answered.
    pub fn handle_view(&mut self, view: &GroupView) {
        let concerned: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.awaits(view)).map(|(number, _)| *number).collect();
        let present: BTreeSet<MemberId> = view.members.iter().map(|member| member.id).collect();
        for number in concerned {
            if let Some(call) = self.calls.get_mut(&number) {
                call.lose_all_but(&present);
            }
            self.end_if_complete(number);
        }
    }

    /// No view of a group will come any more: who has not answered there counts as failed.
    pub fn handle_lost(&mut self, group: GroupId) {
        let is_there = |call: &Call| !call.ended && call.group == group && call.delivered_in.is_some();
        let concerned: Vec<u64> =
            self.calls.iter().filter(|(_, call)| is_there(call)).map(|(number, _)| *number).collect();
        for number in concerned {
            if let Some(call) = self.calls.get_mut(&number) {
                call.lose_all_but(&BTreeSet::new());
            }
            self.end_if_complete(number);
        }
    }

    /// Ends the calls whose time is over.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            if let Some(call) = self.calls.get_mut(&number) {
                call.timed_out = true;
            }
            self.end(number);
        }
    }

    /// When [`Caller::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next call that has ended, each once.
    pub fn poll_ended(&mut self) -> Option<u64> {
        self.ended.pop_front()
    }

    /// How a call stands; none if it was never opened, or was collected or cancelled.
    pub fn poll(&self, number: u64) -> Option<Progress> {
        let call = self.calls.get(&number)?;
        let outcome = call.outcome();
        Some(if call.ended { Progress::Ended(outcome) } else { Progress::Open(outcome) })
    }

    /// Hands over the outcome of a call that has ended and forgets the call; none while it goes on.
    pub fn collect(&mut self, number: u64) -> Option<Outcome> {
        if !self.calls.get(&number)?.ended {
            return None;
        }
        self.calls.remove(&number).map(|call| call.outcome())
    }

    /// Forgets a call whatever its state. Answers that still come are dropped.
    pub fn cancel(&mut self, number: u64) {
        if let Some(call) = self.calls.remove(&number) {
            self.deadlines.remove(&(call.deadline, number));
            self.ended.retain(|ended| *ended != number);
        }
    }

    fn end_if_complete(&mut self, number: u64) {
        if self.calls.get(&number).is_some_and(Call::complete) {
            self.end(number);
        }
    }

    fn end(&mut self, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        assert!(!call.ended, "a call ends once");
        call.ended = true;
        self.deadlines.remove(&(call.deadline, number));
        self.ended.push_back(number);
    }
}

impl Call {
    fn deliver(&mut self, sender: MemberId, envelope: &Envelope, view: &GroupView) {
        let mut early = std::mem::take(&mut self.targets);
        self.delivered_in = Some(view.id);
        for member in view.members.iter().filter(|member| envelope.is_for(member.id, sender)) {
            let standing = early.remove(&member.id).unwrap_or(Standing::Awaited);
            self.targets.insert(member.id, standing);
        }
        let count =
            |wanted: fn(&Standing) -> bool| self.targets.values().filter(|s| wanted(s)).count() as u32;
        self.replied = count(|standing| matches!(standing, Standing::Replied { .. }));
        self.awaited = count(|standing| *standing == Standing::Awaited);
        let electors = if envelope.list.is_some() { self.targets.len() } else { view.members.len() };
        self.wanted = match self.replies {
            Replies::None => 0,
            Replies::Count(n) => n,
            Replies::Majority => electors as u32 / 2 + 1,
            Replies::All => u32::MAX,
        };
    }

    /// Takes an answer; says whether it changed anything. A target that was counted as failed has answered
    /// after all if its answer was on the way while it left.
    fn answer(&mut self, answer: &Answer) -> bool {
        let place = self.replied;
        let before_delivery = self.delivered_in.is_none();
        if before_delivery
            && self.targets.len() < Caller::EARLY_MAX
            && !self.targets.contains_key(&answer.from)
        {
            self.targets.insert(answer.from, Standing::Awaited);
            self.awaited += 1;
        }
        let Some(standing) = self.targets.get_mut(&answer.from) else { return false };
        match standing {
            Standing::Awaited => self.awaited -= 1,
            Standing::Failed => {}
            Standing::Replied { .. } | Standing::Null | Standing::Aborted(_) => return false,
        }
        *standing = match &answer.what {
            Answered::Reply(body) => {
                self.replied += 1;
                Standing::Replied { place, body: body.clone() }
            }
            Answered::Null => Standing::Null,
            Answered::Abort(reason) => Standing::Aborted(reason.clone()),
        };
        true
    }

    fn awaits(&self, view: &GroupView) -> bool {
        !self.ended && self.group == view.group && self.delivered_in.is_some_and(|id| id < view.id)
    }

    fn lose_all_but(&mut self, present: &BTreeSet<MemberId>) {
        for (member, standing) in &mut self.targets {
            if *standing == Standing::Awaited && !present.contains(member) {
                *standing = Standing::Failed;
                self.awaited -= 1;
            }
        }
    }

    fn complete(&self) -> bool {
        let aborted = || self.targets.values().any(|standing| matches!(standing, Standing::Aborted(_)));
        let answered = self.delivered_in.is_some() && (self.awaited == 0 || self.replied >= self.wanted);
        !self.ended && (answered || aborted())
    }

    fn outcome(&self) -> Outcome {
        let mut outcome = Outcome {
            delivered_in: self.delivered_in,
            targets: self.targets.len(),
            timed_out: self.timed_out,
            ..Outcome::default()
        };
        let mut replies = Vec::new();
        for (&member, standing) in &self.targets {
            match standing {
                Standing::Awaited => outcome.missing.push(member),
                Standing::Replied { place, body } => replies.push((*place, member, body.clone())),
                Standing::Null => outcome.nulls.push(member),
                Standing::Failed => outcome.failed.push(member),
                Standing::Aborted(reason) => {
                    // Two can only meet among early answers; the first of them ended the call.
                    assert!(outcome.aborted_by.is_none(), "one abort-reply ends a call");
                    outcome.aborted_by = Some((member, reason.clone()));
                }
            }
        }
        replies.sort_by_key(|(place, member, _)| (*place, *member));
        outcome.replies = replies.into_iter().map(|(_, member, body)| (member, body)).collect();
        assert!(outcome.accounted() == outcome.targets, "every target is accounted for once");
        outcome
    }
}

#[cfg(test)]
#[path = "caller_test.rs"]
mod tests;
