//! From what a group's data plane reports to what its members see.

use std::sync::Arc;

use multicast::call::outsider::{ContactOutput, DedupOutput, Judgement, Opened, Order as Carried};
use multicast::call::{self, Installed, PointMessage};
use multicast::{Delivery, Event as Report, Order};
use wire::{GroupId, GroupName, MemberId, Time};

use super::stores::is_entry;
use super::{Action, Group, Groups, OwnCast};
use crate::api::{Event, LocalMembers};

impl Groups {
    /// Everything that follows from what was done to groups, until nothing does any more.
    pub(crate) fn settle(&mut self, now: Time) {
        self.collect(now);
        loop {
            while let Some(id) = self.dirty.pop_first() {
                self.settle_group(now, id);
            }
            if !self.settle_stores(now) {
                break;
            }
        }
    }

    pub(super) fn settle_group(&mut self, now: Time, id: GroupId) {
        let Some(mut group) = self.groups.remove(&id) else { return };
        loop {
            let mut idle = true;
            while let Some(transmit) = group.endpoint.poll_transmit(now) {
                idle = false;
                self.actions.push_back(Action::Frame { to: transmit.to, frame: transmit.frame });
            }
            while let Some(report) = group.endpoint.poll_event() {
                idle = false;
                self.report(now, &mut group, id, report);
            }
            while let Some(output) = group.dedup.poll_output() {
                idle = false;
                match output {
                    DedupOutput::Cast(envelope, payload) => {
                        let own = OwnCast { order: Carried::Total, envelope, payload, as_of: None };
                        group.queue_own(own, &mut self.caller);
                    }
                    DedupOutput::Send(transmit) => self.point(transmit),
                }
            }
            while let Some(output) = group.contact.poll_output() {
                idle = false;
                match output {
                    ContactOutput::Cast { order, envelope, payload, as_of } => {
                        let own = OwnCast { order, envelope, payload, as_of };
                        group.queue_own(own, &mut self.caller);
                    }
                    ContactOutput::Send(transmit) => self.point(transmit),
                }
            }
            if !group.cast_own(now, &mut self.caller) && idle {
                break;
            }
        }
        group.tell_switch(id, &mut self.switch);
        self.tell_blocked(&mut group, id);
        match group.over.clone() {
            Some(last) => {
                self.end_group(now, id, &group);
                if let Some(endpoint) = group.endpoint.after_end(last.id) {
                    self.come_back(id, endpoint);
                }
            }
            None => {
                self.groups.insert(id, group);
            }
        }
        self.poll_switch();
        self.collect(now);
    }

    /// Tells the members when they may not cast, and when they may again: not before they are shown the view in
    /// which they would.
    fn tell_blocked(&mut self, group: &mut Group, id: GroupId) {
        let blocked = group.endpoint.is_blocked() || !group.is_shown();
        if group.shown.is_some() && group.blocked != blocked {
            group.blocked = blocked;
            self.events.push_back(Event::Blocked { group: id, blocked });
        }
    }

    /// One report of the data plane.
    fn report(&mut self, now: Time, group: &mut Group, id: GroupId, report: Report) {
        match report {
            Report::Deliver(delivery) if is_entry(delivery.order, &delivery.payload) => {
                self.entry_for_store(now, group, (id, delivery.view), delivery.site, delivery.payload);
            }
            Report::Deliver(delivery) => self.delivered(group, id, delivery),
            Report::View { view, transitional } => {
                let installed = Installed::new(view, self.me, &transitional);
                group.dedup.handle_view(&installed);
                group.signalled = false;
                group.carried.clear();
                self.view_for_store(now, &installed.view);
                self.show_view(group, id, &installed, transitional);
            }
            Report::Ended { view } => {
                for member in std::mem::take(&mut group.local) {
                    if self.is_moving(member, &group.name) {
                        continue;
                    }
                    let why = view.left.iter().find(|(left, _)| *left == member).map(|(_, why)| *why);
                    let why = crate::why_text(why);
                    self.events.push_back(Event::Left { group: id, name: group.name.clone(), member, why });
                }
                self.caller.handle_view(&view);
                group.over = Some(Arc::clone(&view));
                group.contact.handle_view(&Installed { view, together: Arc::new([]) }, &mut self.caller);
            }
            Report::TransitionalSignal { transitional } => {
                group.signalled = true;
                self.events.push_back(Event::TransitionalSignal { group: id, members: transitional });
            }
            // The members are told by `tell_blocked`, once it is so for them too.
            Report::Blocked => self.blocked_for_store(now, group, id),
            Report::Unblocked { after: _ } => self.casts_for_store(&group.name),
            Report::Writable => {
                self.casts_for_store(&group.name);
                if std::mem::take(&mut group.wants_room) {
                    self.events.push_back(Event::Writable { group: id });
                }
            }
            Report::Stable { number } => {
                group.stable = group.stable.max(number);
                group.tell_flushed(&mut self.events);
            }
            Report::Suspect(site) => self.actions.push_back(Action::Suspect(site)),
            Report::Slow(site) => self.expel_slow(group, id, site),
            Report::RequestRefresh => {
                self.actions
                    .push_back(Action::Submit(membership::group::GroupRequest::Refresh { group: id }));
            }
            Report::Trace(transition) => self.events.push_back(Event::Trace(trace_name(transition))),
        }
    }

    fn delivered(&mut self, group: &mut Group, id: GroupId, delivery: Delivery) {
        let Delivery { view, sender, site, number, order, safe, payload } = delivery;
        group.causes |= order == Order::Cbcast;
        let body = call::Delivery { group: id, view, sender, order, body: payload };
        match group.dedup.handle_delivery(body) {
            Ok(Some((opened, Judgement::First))) => self.show(group, id, &opened),
            Ok(Some((opened, judgement))) => self.judged(group, id, &opened, judgement),
            Ok(None) => {}
            Err(error) => {
                let note = format!("dropped a message of {sender} in {}: {error}", group.name);
                self.events.push_back(Event::Note(note));
            }
        }
        // Delivered as safe, before any signal: all have it, its place and all before it. Otherwise the next
        // view settles it.
        if site == self.me.site
            && let Some((client, sequence)) = group.carried.remove(&number)
            && safe
            && !group.signalled
        {
            group.contact.handle_settled(client, sequence);
        }
    }

    /// Delivers to the members here that want it.
    fn show(&mut self, group: &mut Group, id: GroupId, opened: &Opened) {
        let envelope = &opened.envelope;
        let Some(view) = group.shown.clone() else { return };
        let from = match envelope.outsider {
            Some(origin) => MemberId { process: origin.client.process, join: 0 },
            None => opened.sender,
        };
        let deliver = |to: LocalMembers, reply_to| Event::Deliver {
            group: id,
            view: opened.view,
            from,
            to,
            order: opened.order,
            reply_to,
            payload: opened.payload.clone(),
        };
        let for_all = envelope.list.is_none() && !envelope.exclude_self && envelope.call.is_none();
        if for_all {
            self.events.push_back(deliver(LocalMembers::All, None));
        } else {
            for &member in group.local.iter().filter(|m| envelope.is_for(**m, opened.sender)) {
                let ticket = self.answerer.handle_delivery(id, member, opened.sender, envelope);
                self.events.push_back(deliver(LocalMembers::Only(vec![member]), ticket));
            }
        }
        if opened.sender.process.birth == self.me {
            match envelope.outsider {
                Some(_) => group.contact.handle_judged(opened, Judgement::First, &view, &mut self.caller),
                None => self.caller.handle_delivery(opened.sender, envelope, &view),
            }
        }
    }

    /// A client's cast that was delivered before, or is not to be delivered.
    fn judged(&mut self, group: &mut Group, id: GroupId, opened: &Opened, judgement: Judgement) {
        let Some(view) = group.shown.clone() else { return };
        if judgement == Judgement::Repeated {
            for &member in &group.local {
                if opened.envelope.is_for(member, opened.sender) {
                    self.answerer.handle_repeated(id, member, opened.sender, &opened.envelope);
                }
            }
        }
        group.contact.handle_judged(opened, judgement, &view, &mut self.caller);
    }

    fn show_view(
        &mut self,
        group: &mut Group,
        id: GroupId,
        installed: &Installed,
        transitional: Vec<MemberId>,
    ) {
        let view = &installed.view;
        let here: Vec<MemberId> =
            view.members.iter().map(|member| member.id).filter(|m| m.process.birth == self.me).collect();
        self.move_in(&here, &view.name);
        for member in group.local.iter().filter(|member| !here.contains(member)) {
            let why = view.left.iter().find(|(left, _)| left == member).map(|(_, why)| *why);
            let why = crate::why_text(why);
            let (name, member) = (group.name.clone(), *member);
            self.events.push_back(Event::Left { group: id, name, member, why });
        }
        if view.primary {
            // Who has left a side may be listed again by the line, which has yet to hear of it.
            group.left.retain(|member| here.contains(member));
        }
        group.left.extend(here.iter().filter(|member| self.departed.contains(member)));
        let is_in = |member: &MemberId| !group.left.contains(member) && !self.refused.contains(member);
        group.local = here.into_iter().filter(is_in).collect();
        group.shown = Some(Arc::clone(view));
        self.caller.handle_view(view);
        self.answerer.handle_view(view);
        group.contact.handle_view(installed, &mut self.caller);
        let (view, members) = (Arc::clone(view), group.local.clone());
        self.events.push_back(Event::View { view, members, transitional });
    }

    /// Members whose group has become another are no longer in the one that it was, whose end may come later. A program
    /// that knows the group by its name need not be told.
    fn move_in(&mut self, members: &[MemberId], name: &GroupName) {
        for (&id, other) in &mut self.groups {
            let moved: Vec<MemberId> = other.local.extract_if(.., |m| members.contains(m)).collect();
            other.left.extend(&moved);
            if other.name != *name {
                let why = "its group is part of another";
                let left = |member| Event::Left { group: id, name: other.name.clone(), member, why };
                self.events.extend(moved.into_iter().map(left));
            }
        }
    }

    /// Whether the member's group is ending here because it has become part of another of its name, whose view is here and
    /// is shown next. So it is where the other's id is the higher one.
    fn is_moving(&self, member: MemberId, name: &GroupName) -> bool {
        let lists =
            |view: &Arc<membership::group::GroupView>| view.members.iter().any(|listed| listed.id == member);
        let takes_in = |other: &Group| other.name == *name && other.latest.as_ref().is_some_and(lists);
        !self.departed.contains(&member) && self.groups.values().any(|other| takes_in(other))
    }

    fn expel_slow(&mut self, group: &Group, id: GroupId, site: wire::SiteId) {
        let Some(view) = &group.shown else { return };
        for member in view.members.iter().filter(|member| member.id.site() == site) {
            let expel = membership::group::GroupRequest::Expel { group: id, member: member.id };
            self.actions.push_back(Action::Submit(expel));
        }
        self.events.push_back(Event::Note(format!(
            "{site} is too slow for {}: its members are asked to leave",
            group.name
        )));
    }

    pub(super) fn point(&mut self, transmit: call::Transmit) {
        self.actions.push_back(Action::Point { to: transmit.to, message: transmit.message });
    }

    /// Hands over what calls have come to.
    pub(super) fn collect(&mut self, now: Time) {
        while let Some(transmit) = self.answerer.poll_transmit() {
            // An answer to a call of this site's own does not need the network.
            match transmit.message {
                PointMessage::Answer(answer) if transmit.to == self.me.site => {
                    self.caller.handle_answer(&answer);
                }
                message => self.actions.push_back(Action::Point { to: transmit.to, message }),
            }
        }
        while let Some(number) = self.caller.poll_ended() {
            if let Some((process, call)) = self.calls.remove(&number) {
                if let Some(outcome) = self.caller.collect(number) {
                    self.events.push_back(Event::CallDone { process, call, outcome: Ok(outcome) });
                }
                continue;
            }
            let groups: Vec<GroupId> = self.groups.keys().copied().collect();
            for id in groups {
                let Some(group) = self.groups.get_mut(&id) else { continue };
                if group.contact.handle_ended(number, &mut self.caller) {
                    self.dirty.insert(id);
                    break;
                }
            }
        }
        self.poll_outsiders(now);
    }
}

fn trace_name(transition: multicast::Transition) -> &'static str {
    use multicast::Transition;
    match transition {
        Transition::FlushStart => "flush: started",
        Transition::Cascade => "flush: cascade",
        Transition::Fetch => "flush: fetched what was missing",
        Transition::Install => "flush: installed with others",
        Transition::InstallAlone => "flush: installed alone",
        Transition::SequencerChange => "order: another sequencer",
        Transition::Fragment => "multicast: a message in fragments",
        Transition::WindowFull => "multicast: window full",
        Transition::LinkFull => "multicast: link full",
        Transition::SafeAfterSignal => "safe: delivered after the signal",
        Transition::UnorderedAtCut => "order: unordered at the cut",
        Transition::Gbcast => "gbcast: delivered",
        Transition::EarlyFrame => "multicast: kept for a later view",
        Transition::LateFrame => "multicast: dropped, of an earlier view",
        Transition::FlushTimeout => "flush: time-out",
        Transition::CutNotClosed => "flush: cut not closed",
    }
}
