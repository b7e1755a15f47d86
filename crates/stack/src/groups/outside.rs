//! Casts from processes that are no members: carried by a contact under the client's own name and number.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use membership::group::GroupView;
use multicast::Order;
use multicast::call::outsider::{Carry, ClientEvent, Fate, Order as Carried, Refusal, Verdict};
use multicast::call::{CallOptions, Client, ClientId, Outcome, PointMessage};
use wire::{GroupId, ProcessId, SiteId, Time};

use super::{Action, Groups};
use crate::api::{CallFailed, CallId, CastError, CastOptions, Casted, Event};

/// A process's way into a group of which it is no member.
pub(super) struct Outsider {
    pub(super) client: Client,
    id: ClientId,
    calls: BTreeMap<u64, CallId>,
}

impl Groups {
    /// Casts for a process that is no member. Every such cast is a call: its end says that it has arrived.
    pub(crate) fn cast_from_outside(
        &mut self,
        now: Time,
        process: ProcessId,
        view: &Arc<GroupView>,
        options: &CastOptions,
        payload: &Bytes,
    ) -> Result<Casted, CastError> {
        let group = view.group;
        if !self.clients.contains_key(&(process, group)) {
            self.next_stream += 1;
            let id = ClientId { process, stream: self.next_stream };
            let mut client = Client::new(id, group);
            client.handle_contacts(now, view.id, &contacts(view));
            self.clients.insert((process, group), Outsider { client, id, calls: BTreeMap::new() });
        }
        let Some(outsider) = self.clients.get_mut(&(process, group)) else { return Err(CastError::Busy) };
        let order = match (options.order, options.safe) {
            (Order::Gbcast, _) => Carried::Group,
            (Order::Mbcast | Order::Fbcast | Order::Cbcast | Order::Abcast, true) => Carried::Safe,
            (Order::Mbcast | Order::Fbcast | Order::Cbcast | Order::Abcast, false) => Carried::Total,
        };
        let wanted = CallOptions { replies: options.replies, time_out: options.timeout };
        let sequence =
            outsider.client.cast(now, order, wanted, payload.clone()).map_err(|_| CastError::Busy)?;
        let call = CallId(self.next_call);
        self.next_call += 1;
        outsider.calls.insert(sequence, call);
        self.collect(now);
        Ok(Casted::Call(call))
    }

    /// Whoever is in the group now may carry.
    pub(crate) fn tell_outsiders(&mut self, now: Time, view: &GroupView) {
        let contacts = contacts(view);
        for (_, outsider) in self.clients.iter_mut().filter(|((_, group), _)| *group == view.group) {
            outsider.client.handle_contacts(now, view.id, &contacts);
        }
        self.collect(now);
    }

    pub(super) fn handle_contact_died(&mut self, now: Time, site: SiteId) {
        for outsider in self.clients.values_mut() {
            outsider.client.handle_contact_died(now, site);
        }
        self.collect(now);
    }

    pub(super) fn handle_verdict(
        &mut self,
        now: Time,
        from: SiteId,
        group: GroupId,
        client: ClientId,
        sequence: u64,
        verdict: Verdict,
    ) {
        if let Some(outsider) = self.clients.get_mut(&(client.process, group))
            && outsider.id == client
        {
            outsider.client.handle_verdict(now, from, sequence, verdict);
            self.collect(now);
        }
    }

    /// This site has nothing of that group: the client is to ask another.
    pub(super) fn refuse_carry(&mut self, from: SiteId, carry: &Carry) {
        let message = PointMessage::Verdict {
            group: carry.group,
            client: carry.origin.client,
            sequence: carry.origin.sequence,
            verdict: Verdict::Refused(Refusal::NotMember),
        };
        self.actions.push_back(Action::Point { to: from, message });
    }

    pub(super) fn outsiders_time_out(&mut self, now: Time) {
        for outsider in self.clients.values_mut() {
            outsider.client.handle_timeout(now);
        }
    }

    pub(super) fn outsider_gone(&mut self, now: Time, process: ProcessId) {
        let gone: Vec<_> = self.clients.keys().filter(|(owner, _)| *owner == process).copied().collect();
        for key in gone {
            let Some(outsider) = self.clients.remove(&key) else { continue };
            if let Some(contact) = outsider.client.contact() {
                let message = PointMessage::ClientGone { group: key.1, client: outsider.id };
                self.actions.push_back(Action::Point { to: contact, message });
            }
        }
        self.collect(now);
    }

    pub(super) fn poll_outsiders(&mut self, _now: Time) {
        for (&(process, _), outsider) in &mut self.clients {
            while let Some(transmit) = outsider.client.poll_transmit() {
                self.actions.push_back(Action::Point { to: transmit.to, message: transmit.message });
            }
            while let Some(event) = outsider.client.poll_event() {
                let ClientEvent::Ended { sequence, fate } = event else { continue };
                let Some(call) = outsider.calls.remove(&sequence) else { continue };
                let outcome = match fate {
                    Fate::Carried => Ok(Outcome::default()),
                    Fate::Answered(outcome) => Ok(*outcome),
                    Fate::Unknown => Err(CallFailed::Unknown),
                    Fate::NotSent => Err(CallFailed::NotSent),
                };
                self.events.push_back(Event::CallDone { process, call, outcome });
            }
        }
    }
}

/// The sites with members, by seniority.
fn contacts(view: &GroupView) -> Vec<SiteId> {
    let mut sites = Vec::new();
    for member in &view.members {
        if !sites.contains(&member.id.site()) {
            sites.push(member.id.site());
        }
    }
    sites
}
