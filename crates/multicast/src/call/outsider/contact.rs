//! The contact: carries the casts of clients into one group from a site that has members there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{GroupId, SiteId, SiteIncarnation, Time, ViewId};

use super::super::caller::{CallOptions, Caller, Outcome, Replies};
use super::super::envelope::{Envelope, Kind};
use super::super::point::PointMessage;
use super::super::{Installed, Transmit};
use super::dedup::Opened;
use super::{Carry, ClientId, Gone, Judgement, Order, Origin, Refusal, TABLE_WINDOW, Verdict};

/// What [`Contact::poll_output`] asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactOutput {
    /// Cast this in the group, in the name of any member at this site, in the order of these outputs, as soon as the
    /// data plane takes it and as [`super::Dedup::may_carry`] says at that moment. Report it with
    /// [`Contact::handle_judged`] when it comes back and with [`Contact::handle_settled`] when every member has it,
    /// its place in the order and all before it; or, if it may not be cast, with [`Contact::handle_refused`]. Where
    /// stability is known of messages but not of their order, cast it safe: then its delivery before a transitional
    /// signal is that moment.
    Cast {
        /// In which order.
        order: Order,
        /// The envelope.
        envelope: Envelope,
        /// What goes behind it.
        payload: Bytes,
        /// For a client's cast: the view that the client knew when it first asked.
        as_of: Option<ViewId>,
    },
    /// Send this to a client's site.
    Send(Transmit),
}

/// The contact of one group at one site.
///
/// It keeps no payload beyond the cast: that is the client's to keep, until the cast is settled.
#[derive(Clone, Debug)]
pub struct Contact {
    me: SiteIncarnation,
    group: GroupId,
    member: bool,
    carrying: BTreeMap<(ClientId, u64), Carrying>,
    by_call: BTreeMap<u64, (ClientId, u64)>,
    /// The first cast of a client that was refused and may be asked for again: what comes after it is refused too, or
    /// it would overtake it.
    refused: BTreeMap<ClientId, u64>,
    out: VecDeque<ContactOutput>,
}

#[derive(Clone, Debug)]
struct Carrying {
    /// The client's site.
    from: SiteId,
    /// The client's oldest cast whose fate was open.
    oldest: u64,
    call: Option<u64>,
    delivered: bool,
    settled: bool,
    outcome: Option<Box<Outcome>>,
}

impl Contact {
    /// The most casts carried at a time. Beyond it clients are told that the contact is busy.
    pub const CARRYING_MAX: usize = 4096;
    /// The most clients whose refused cast is remembered. Beyond it the casts of further clients may overtake each
    /// other.
    pub const REFUSED_MAX: usize = 4096;

    /// A contact in a group of which this site has no member yet.
    pub fn new(me: SiteIncarnation, group: GroupId) -> Contact {
        Contact {
            me,
            group,
            member: false,
            carrying: BTreeMap::new(),
            by_call: BTreeMap::new(),
            refused: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// A client asks to carry a cast. One that is being carried is not cast again; its client is told here when it is
    /// settled. `newest` is the newest view of the group that has come to this site, installed or not: a client that knows
    /// one which has not is told that the contact is busy.
    pub fn handle_carry(
        &mut self,
        now: Time,
        from: SiteId,
        carry: Carry,
        newest: Option<ViewId>,
        caller: &mut Caller,
    ) {
        let (client, sequence) = (carry.origin.client, carry.origin.sequence);
        if let Err(refusal) = self.admit(&carry, newest) {
            self.note_refused((client, sequence), carry.oldest);
            return self.tell(from, client, sequence, Verdict::Refused(refusal));
        }
        if let Some(carrying) = self.carrying.get_mut(&(client, sequence)) {
            carrying.from = from;
            if carrying.settled {
                self.tell(from, client, sequence, Verdict::Carried);
            }
            return;
        }
        let mut envelope = Envelope { outsider: Some(carry.origin), ..Envelope::of(Kind::Cast) };
        let call = match carry.replies {
            Replies::None => None,
            replies @ (Replies::Count(_) | Replies::Majority | Replies::All) => {
                let time_out = Duration::from_millis(u64::from(carry.time_out_ms));
                match caller.open(now, self.group, &CallOptions { replies, time_out }) {
                    Ok(call) => Some(call),
                    Err(_) => {
                        self.note_refused((client, sequence), carry.oldest);
                        return self.tell(from, client, sequence, Verdict::Refused(Refusal::Busy));
                    }
                }
            }
        };
        if let Some(call) = call {
            caller.seal(call, &mut envelope);
            self.by_call.insert(call, (client, sequence));
        }
        let oldest = carry.oldest;
        let carrying = Carrying { from, oldest, call, delivered: false, settled: false, outcome: None };
        self.carrying.insert((client, sequence), carrying);
        let (order, payload, as_of) = (carry.order, carry.payload, Some(carry.as_of));
        self.out.push_back(ContactOutput::Cast { order, envelope, payload, as_of });
    }

    /// A carried cast has come back from the group and was judged. Reports about casts that this contact does not
    /// carry, or that another site cast, change nothing.
    pub fn handle_judged(
        &mut self,
        opened: &Opened,
        judgement: Judgement,
        view: &GroupView,
        caller: &mut Caller,
    ) {
        let Some(origin) = opened.envelope.outsider else { return };
        let cast = (origin.client, origin.sequence);
        if opened.sender.process.birth != self.me {
            return;
        }
        let Some(carrying) = self.carrying.get_mut(&cast) else { return };
        match judgement {
            Judgement::First | Judgement::Repeated => {
                carrying.delivered = true;
                caller.handle_delivery(opened.sender, &opened.envelope, view);
            }
            Judgement::Forgotten => self.refuse(cast, Refusal::Forgotten, caller),
            Judgement::Gone => self.refuse(cast, Refusal::Gone, caller),
        }
    }

    /// A cast was not made, for this reason; its client is told.
    pub fn handle_refused(&mut self, origin: &Origin, refusal: Refusal, caller: &mut Caller) {
        self.refuse((origin.client, origin.sequence), refusal, caller);
    }

    /// A carried cast has been delivered here, and every member of its view has it and its place in the order. Only
    /// now may the client be told: whatever dies next, all who stay deliver it.
    pub fn handle_settled(&mut self, client: ClientId, sequence: u64) {
        let cast = (client, sequence);
        let Some(carrying) = self.carrying.get_mut(&cast) else { return };
        if carrying.delivered && !carrying.settled {
            carrying.settled = true;
            let from = carrying.from;
            self.tell(from, client, sequence, Verdict::Carried);
            self.finish(cast);
        }
    }

    /// A view was installed: all who came along have delivered what was delivered here, which settles it. At a site
    /// without members nothing is carried any more; nor where the group does not live, which may never have had what
    /// was delivered here at the last.
    pub fn handle_view(&mut self, installed: &Installed, caller: &mut Caller) {
        let here = |member: &membership::group::GroupMember| member.id.process.birth == self.me;
        self.member = installed.view.lives && installed.view.members.iter().any(here);
        let all: Vec<(ClientId, u64)> = self.carrying.keys().copied().collect();
        for (client, sequence) in all {
            if self.member {
                self.handle_settled(client, sequence);
            } else {
                self.refuse((client, sequence), Refusal::NotMember, caller);
            }
        }
    }

    /// The group is over for this site, without a view that says so: what was delivered here may be known nowhere else.
    pub fn handle_lost(&mut self, caller: &mut Caller) {
        self.member = false;
        let all: Vec<(ClientId, u64)> = self.carrying.keys().copied().collect();
        for cast in all {
            self.refuse(cast, Refusal::NotMember, caller);
        }
    }

    /// A call of this site has ended; if it was opened for a client, its outcome goes there once the cast is settled.
    /// Says whether it was.
    pub fn handle_ended(&mut self, call: u64, caller: &mut Caller) -> bool {
        let Some(cast) = self.by_call.remove(&call) else { return false };
        let outcome = caller.collect(call).map(Box::new);
        if let Some(carrying) = self.carrying.get_mut(&cast) {
            carrying.call = None;
            carrying.outcome = outcome;
        }
        self.finish(cast);
        true
    }

    /// A client's site says that the client is gone for good. All members are told, in order, and forget it.
    pub fn handle_client_gone(&mut self, client: ClientId, caller: &mut Caller) {
        let gone = Gone::Process(client.process);
        let carried: Vec<_> =
            self.carrying.keys().filter(|(client, _)| gone.covers(client)).copied().collect();
        for cast in carried {
            self.drop_cast(cast, caller);
        }
        if self.member {
            let (envelope, payload) = (Envelope::of(Kind::Gone), gone.encode());
            self.out.push_back(ContactOutput::Cast { order: Order::Total, envelope, payload, as_of: None });
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<ContactOutput> {
        self.out.pop_front()
    }

    /// How many casts are carried.
    pub fn carrying(&self) -> usize {
        self.carrying.len()
    }

    fn admit(&mut self, carry: &Carry, newest: Option<ViewId>) -> Result<(), Refusal> {
        let (client, sequence) = (carry.origin.client, carry.origin.sequence);
        if !self.member || carry.group != self.group {
            return Err(Refusal::NotMember);
        }
        if self.carrying.contains_key(&(client, sequence)) {
            return Ok(());
        }
        let oldest = self.carrying.range((client, 0)..=(client, u64::MAX)).next();
        let too_far = oldest.is_some_and(|((_, oldest), _)| sequence >= oldest.saturating_add(TABLE_WINDOW));
        let refused = self.refused.get(&client).filter(|refused| **refused >= carry.oldest);
        let overtakes = refused.is_some_and(|refused| sequence > *refused);
        let is_ahead = newest < Some(carry.as_of);
        if too_far || overtakes || is_ahead || self.carrying.len() >= Self::CARRYING_MAX {
            return Err(Refusal::Busy);
        }
        self.refused.remove(&client);
        Ok(())
    }

    /// Remembers the first refused cast of a client, among those whose fate is open.
    fn note_refused(&mut self, (client, sequence): (ClientId, u64), oldest: u64) {
        let has_room = self.refused.len() < Self::REFUSED_MAX;
        match self.refused.get_mut(&client) {
            Some(first) if (oldest..=sequence).contains(first) => {}
            Some(first) => *first = sequence,
            None if has_room => {
                self.refused.insert(client, sequence);
            }
            None => {}
        }
    }

    fn refuse(&mut self, cast: (ClientId, u64), refusal: Refusal, caller: &mut Caller) {
        if let Some(carrying) = self.drop_cast(cast, caller) {
            match refusal {
                Refusal::NotMember | Refusal::Busy => self.note_refused(cast, carrying.oldest),
                Refusal::Forgotten | Refusal::Gone => {}
            }
            self.tell(carrying.from, cast.0, cast.1, Verdict::Refused(refusal));
        }
    }

    fn drop_cast(&mut self, cast: (ClientId, u64), caller: &mut Caller) -> Option<Carrying> {
        let carrying = self.carrying.remove(&cast)?;
        if let Some(call) = carrying.call {
            self.by_call.remove(&call);
            caller.cancel(call);
        }
        Some(carrying)
    }

    /// Forgets a settled cast once its replies, if any were wanted, are on their way.
    fn finish(&mut self, cast: (ClientId, u64)) {
        let Some(carrying) = self.carrying.get(&cast) else { return };
        if !carrying.settled || carrying.call.is_some() {
            return;
        }
        let carrying = self.carrying.remove(&cast).expect("just seen");
        if let Some(outcome) = carrying.outcome {
            self.tell(carrying.from, cast.0, cast.1, Verdict::Outcome(outcome));
        }
    }

    fn tell(&mut self, to: SiteId, client: ClientId, sequence: u64, verdict: Verdict) {
        let message = PointMessage::Verdict { group: self.group, client, sequence, verdict };
        self.out.push_back(ContactOutput::Send(Transmit { to, message }));
    }
}

#[cfg(test)]
#[path = "contact_test.rs"]
mod tests;
