//! Casting in a group: for its members here, and what the site carries for others.

use std::collections::VecDeque;

use bytes::Bytes;
use multicast::call::outsider::{Carriage, Order as Carried, Refusal};
use multicast::call::{CallOptions, Caller, Envelope, Kind, ProcessList, Replies, Ticket};
use multicast::{Cast, MessageNumber, Order};
use wire::{GroupId, MemberId, ProcessId, Time};

use super::{Group, Groups, OWN_CASTS_MAX, OwnCast};
use crate::api::{CallId, CastError, CastOptions, Casted, Event, ReplyKind};

impl Groups {
    /// Casts for a member.
    pub(crate) fn cast(
        &mut self,
        now: Time,
        (id, member): (GroupId, MemberId),
        options: &CastOptions,
        payload: &Bytes,
    ) -> Result<Casted, CastError> {
        if self.groups.get(&id).is_some_and(|group| !group.is_shown()) {
            return Err(CastError::Blocked);
        }
        if options.order == Order::Cbcast && !self.may_switch(now, id)? {
            return Err(CastError::Full);
        }
        let mut envelope = Envelope { exclude_self: options.exclude_self, ..Envelope::default() };
        if !options.only.is_empty() {
            let list = ProcessList::create(options.only.iter().copied()).map_err(|_| CastError::Busy)?;
            envelope.list = Some(list);
        }
        let call = match options.replies {
            Replies::None => None,
            Replies::All | Replies::Majority | Replies::Count(_) => {
                let wanted = CallOptions { replies: options.replies, time_out: options.timeout };
                let number = self.caller.open(now, id, &wanted).map_err(|_| CastError::Busy)?;
                self.caller.seal(number, &mut envelope);
                Some(number)
            }
        };
        let body = envelope.wrap(payload);
        let Some(group) = self.groups.get_mut(&id) else { return Err(CastError::NotMember) };
        match group.cast(now, member, options.order, options.safe, body) {
            Ok(_) => {
                group.causes |= options.order == Order::Cbcast;
                self.dirty.insert(id);
                Ok(match call {
                    Some(number) => {
                        let call = CallId(self.next_call);
                        self.next_call += 1;
                        self.calls.insert(number, (member.process, call));
                        Casted::Call(call)
                    }
                    None => Casted::Done,
                })
            }
            Err(error) => {
                if let Some(number) = call {
                    self.caller.cancel(number);
                }
                Err(error)
            }
        }
    }

    /// Answers a message that wants a reply. A refusal changes nothing.
    pub(crate) fn reply(
        &mut self,
        now: Time,
        ticket: Ticket,
        kind: ReplyKind,
        body: Bytes,
    ) -> Result<(), CastError> {
        let taken = match kind {
            ReplyKind::Reply => self.answerer.reply(ticket, body),
            ReplyKind::Null => self.answerer.null_reply(ticket),
            ReplyKind::Abort => self.answerer.abort_reply(ticket, body),
        };
        self.collect(now);
        taken.map_err(|_| CastError::NotAwaited)
    }

    /// `Event::Flushed` with the returned number follows when all that was cast at this site is at every member.
    pub(crate) fn flush(&mut self, process: ProcessId, id: GroupId) -> u64 {
        let flush = self.next_flush;
        self.next_flush += 1;
        if let Some(group) = self.groups.get_mut(&id) {
            group.flushes.push((process, flush, group.newest));
            group.tell_flushed(&mut self.events);
        }
        flush
    }
}

impl Group {
    pub(super) fn cast(
        &mut self,
        now: Time,
        member: MemberId,
        order: Order,
        safe: bool,
        body: Bytes,
    ) -> Result<MessageNumber, CastError> {
        let taken = match order {
            Order::Gbcast => self.endpoint.gbcast(now, member, body),
            Order::Mbcast | Order::Fbcast | Order::Cbcast | Order::Abcast => {
                self.endpoint.cast(now, member, Cast { order, safe, payload: body })
            }
        };
        match taken {
            Ok(number) => {
                self.newest = self.newest.max(number);
                Ok(number)
            }
            Err(error) => {
                self.wants_room |= error == multicast::CastError::Full;
                Err(error.into())
            }
        }
    }

    /// Casts what the site carries for others, as far as the group takes it. Says whether it did anything.
    pub(super) fn cast_own(&mut self, now: Time, caller: &mut Caller) -> bool {
        let before = self.own_casts.len();
        // What was delivered before the cast must have been judged: else a copy might be cast in a later view.
        if before > 0 && self.is_shown() && !self.endpoint.is_blocked() {
            self.cast_waiting(now, caller);
        }
        self.own_casts.len() < before
    }

    fn cast_waiting(&mut self, now: Time, caller: &mut Caller) {
        // Any member of the site's will do, even one that has left and is still listed.
        let listed = self.endpoint.view().into_iter().flat_map(|view| &view.members);
        let Some(member) = listed.map(|member| member.id).find(|member| member.process.birth == self.me)
        else {
            self.own_casts.clear();
            return;
        };
        while let Some(mut own) = self.own_casts.pop_front() {
            let origin = own.envelope.outsider;
            match origin.zip(own.as_of).map(|(origin, as_of)| (origin, self.dedup.may_carry(&origin, as_of)))
            {
                None | Some((_, Carriage::Fresh)) => {}
                Some((_, Carriage::Repeated)) => own.envelope.kind = Kind::Repeated,
                Some((_, Carriage::Later)) => {
                    self.own_casts.push_front(own);
                    return;
                }
                Some((origin, Carriage::Refused(refusal))) => {
                    self.contact.handle_refused(&origin, refusal, caller);
                    continue;
                }
            }
            let (order, safe) = match own.order {
                // Always safe: only what all have, with its place and all before it, may be called settled.
                Carried::Total | Carried::Safe => (Order::Abcast, true),
                Carried::Group => (Order::Gbcast, false),
            };
            match self.cast(now, member, order, safe, own.envelope.wrap(&own.payload)) {
                Ok(number) => {
                    if let Some(origin) = origin {
                        self.carried.insert(number, (origin.client, origin.sequence));
                    }
                }
                Err(CastError::Full | CastError::Blocked) => {
                    self.own_casts.push_front(own);
                    return;
                }
                // It will never be taken as things are: the client asks again, or another contact.
                Err(_) => {
                    if let Some(origin) = origin {
                        self.contact.handle_refused(&origin, Refusal::Busy, caller);
                    }
                }
            }
        }
    }

    /// Queues a cast for others than the site's members. At the bound its client is told that the contact is busy.
    pub(super) fn queue_own(&mut self, own: OwnCast, caller: &mut Caller) {
        if self.own_casts.len() < OWN_CASTS_MAX {
            self.own_casts.push_back(own);
        } else if let Some(origin) = own.envelope.outsider {
            self.contact.handle_refused(&origin, Refusal::Busy, caller);
        }
    }

    pub(super) fn tell_flushed(&mut self, events: &mut VecDeque<Event>) {
        let stable = self.stable;
        self.flushes.retain(|&(process, flush, number)| {
            if number <= stable {
                events.push_back(Event::Flushed { process, flush });
            }
            number > stable
        });
    }
}
