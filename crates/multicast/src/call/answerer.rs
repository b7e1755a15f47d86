//! The answering side of a call: which delivered casts of which callers still wait for a reply from the members
//! at this site.
//!
//! Answers travel from site to site, not through the group's order. What a member answered to an outsider's cast
//! is remembered for a while, so that the cast, repeated through another contact, gets its first answer again
//! [Ravindran & Chanson 85, 4.2].

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use membership::group::GroupView;
use membership::step::Why;
use wire::{GroupId, MemberId};

use super::outsider::ClientId;
use super::point::{Answer, Answered, PointMessage, ReplyCopy};
use super::{CallKey, Envelope, Transmit};

/// One delivered cast that waits for the answer of one member at this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Who is to answer.
    pub member: MemberId,
    /// What it was asked.
    pub asked: Asked,
}

/// What a member was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asked {
    /// A member's cast.
    Call(CallKey),
    /// An outsider's cast, whoever carried it.
    Outsider(GroupId, ClientId, u64),
}

/// Nothing with this ticket waits for an answer: it was answered, its caller is dead, or it was never given.
/// Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing waits for this answer: it was given already, or its caller is gone")]
pub struct NotAwaited;

/// The outstanding answers of one site.
///
/// [`Answerer::handle_delivery`] for each member at this site that is delivered a cast with a call,
/// [`Answerer::handle_repeated`] for each when an outsider's cast comes again; then one of the four answers, once.
/// [`Answerer::poll_transmit`] says what to send where.
#[derive(Clone, Debug, Default)]
pub struct Answerer {
    open: BTreeMap<Ticket, Open>,
    remembered: BTreeMap<Ticket, Answered>,
    by_age: VecDeque<Ticket>,
    remembered_bytes: usize,
    out: VecDeque<Transmit>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    group: GroupId,
    caller: MemberId,
    /// Where the answer goes; none while an outsider's contact is dead.
    call: Option<CallKey>,
}

impl Answerer {
    /// The most casts that wait for an answer at this site. One more is null-replied at once.
    pub const OPEN_MAX: usize = 65_536;
    /// The most answers to outsiders that are remembered. The oldest is forgotten first, and asked again, null.
    pub const REMEMBERED_MAX: usize = 16_384;
    /// The most bytes of answers to outsiders that are remembered.
    pub const REMEMBERED_BYTES_MAX: usize = 16 << 20;

    /// A site that was asked nothing yet.
    pub fn new() -> Answerer {
        Answerer::default()
    }

    /// A cast that wants a reply was delivered to `member`. Gives the ticket to answer it with; none if it wants no
    /// reply, or was delivered before, or if too many wait (then it is null-replied).
    pub fn handle_delivery(
        &mut self,
        group: GroupId,
        member: MemberId,
        sender: MemberId,
        envelope: &Envelope,
    ) -> Option<Ticket> {
        let call = CallKey { home: sender.process.birth, number: envelope.call? };
        let ticket = ticket(group, member, envelope, call);
        if self.open.contains_key(&ticket) || self.remembered.contains_key(&ticket) {
            return None;
        }
        if self.open.len() >= Self::OPEN_MAX {
            self.send(member, call, Answered::Null);
            return None;
        }
        self.open.insert(ticket, Open { group, caller: sender, call: Some(call) });
        Some(ticket)
    }

    /// An outsider's cast has come again, with `sender` as its contact now: the answer that `member` gave is sent
    /// again; one that it has not given yet goes to the new contact; what is not remembered is null-replied.
    pub fn handle_repeated(
        &mut self,
        group: GroupId,
        member: MemberId,
        sender: MemberId,
        envelope: &Envelope,
    ) {
        let Some(number) = envelope.call else { return };
        let call = CallKey { home: sender.process.birth, number };
        let ticket = ticket(group, member, envelope, call);
        if let Some(open) = self.open.get_mut(&ticket) {
            open.call = Some(call);
            open.caller = sender;
        } else {
            let answer = self.remembered.get(&ticket).cloned().unwrap_or(Answered::Null);
            self.send(member, call, answer);
        }
    }

    /// Replies.
    pub fn reply(&mut self, ticket: Ticket, body: Bytes) -> Result<(), NotAwaited> {
        self.answer(ticket, Answered::Reply(body)).map(|_| ())
    }

    /// Says that there is nothing to say: the caller does not wait for this member.
    pub fn null_reply(&mut self, ticket: Ticket) -> Result<(), NotAwaited> {
        self.answer(ticket, Answered::Null).map(|_| ())
    }

    /// Ends the whole call at once, with a reason.
    pub fn abort_reply(&mut self, ticket: Ticket, reason: Bytes) -> Result<(), NotAwaited> {
        self.answer(ticket, Answered::Abort(reason)).map(|_| ())
    }

    /// Replies, and sends a copy to each of these members: cohorts of the one that replies.
    pub fn reply_with_copies(
        &mut self,
        ticket: Ticket,
        body: Bytes,
        copies: &[MemberId],
    ) -> Result<(), NotAwaited> {
        let call = self.answer(ticket, Answered::Reply(body.clone()))?;
        let Some(call) = call else { return Ok(()) };
        for &to in copies.iter().filter(|to| **to != ticket.member) {
            let copy = ReplyCopy { call, from: ticket.member, to, body: body.clone() };
            self.out.push_back(Transmit { to: to.site(), message: PointMessage::Copy(copy) });
        }
        Ok(())
    }

    /// A view: what dead callers asked needs no answer any more, and members that are gone give none. An outsider
    /// outlives its contact: its cast may come again.
    pub fn handle_view(&mut self, view: &GroupView) {
        for (gone, why) in &view.left {
            let dead = match why {
                Why::Failed | Why::Partitioned => true,
                Why::Left => false,
            };
            self.open.retain(|ticket, open| {
                if open.group != view.group {
                    return true;
                }
                let by_dead = dead && open.caller == *gone;
                match ticket.asked {
                    Asked::Call(_) => ticket.member != *gone && !by_dead,
                    Asked::Outsider(..) => {
                        if by_dead {
                            open.call = None;
                        }
                        ticket.member != *gone
                    }
                }
            });
        }
    }

    /// This site is no longer in the group: nothing of it is answered any more.
    pub fn handle_left(&mut self, group: GroupId) {
        self.open.retain(|_, open| open.group != group);
    }

    /// Which casts wait for an answer of this member, in order of their callers.
    pub fn outstanding(&self, member: MemberId) -> impl Iterator<Item = Ticket> + '_ {
        self.open.keys().filter(move |ticket| ticket.member == member).copied()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    fn answer(&mut self, ticket: Ticket, what: Answered) -> Result<Option<CallKey>, NotAwaited> {
        let open = self.open.remove(&ticket).ok_or(NotAwaited)?;
        if let Some(call) = open.call {
            self.send(ticket.member, call, what.clone());
        }
        match ticket.asked {
            Asked::Call(_) => {}
            Asked::Outsider(..) => self.remember(ticket, what),
        }
        Ok(open.call)
    }

    fn send(&mut self, from: MemberId, call: CallKey, what: Answered) {
        let message = PointMessage::Answer(Answer { call, from, what });
        self.out.push_back(Transmit { to: call.home.site, message });
    }

    fn remember(&mut self, ticket: Ticket, what: Answered) {
        self.remembered_bytes += weight(&what);
        assert!(self.remembered.insert(ticket, what).is_none(), "an answer is given once");
        self.by_age.push_back(ticket);
        while self.remembered.len() > Self::REMEMBERED_MAX
            || self.remembered_bytes > Self::REMEMBERED_BYTES_MAX
        {
            let oldest = self.by_age.pop_front().expect("as many ages as answers");
            let answer = self.remembered.remove(&oldest).expect("as many answers as ages");
            self.remembered_bytes -= weight(&answer);
        }
    }
}

fn ticket(group: GroupId, member: MemberId, envelope: &Envelope, call: CallKey) -> Ticket {
    let asked = match envelope.outsider {
        Some(origin) => Asked::Outsider(group, origin.client, origin.sequence),
        None => Asked::Call(call),
    };
    Ticket { member, asked }
}

fn weight(answer: &Answered) -> usize {
    match answer {
        Answered::Reply(body) | Answered::Abort(body) => body.len(),
        Answered::Null => 0,
    }
}

#[cfg(test)]
#[path = "answerer_test.rs"]
mod tests;
