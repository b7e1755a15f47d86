//! Causal order across groups: before a causal cast leaves in one group, what was cast and delivered in others is at their
//! members, and delivered here.

use multicast::call::causal::Event as Passed;
use multicast::call::{Passage, Switch};
use wire::{GroupId, Time};

use super::{Group, Groups};
use crate::api::{CastError, Event};

impl Groups {
    /// Whether a causal cast may go to this group now; else `Writable` follows when it may. All that was delivered
    /// in another group before must be at its members, not the causal casts alone: what these wait for there is
    /// delivered here already.
    pub(super) fn may_switch(&mut self, now: Time, id: GroupId) -> Result<bool, CastError> {
        if self.is_parting() {
            self.parted.insert(id);
            return Ok(false);
        }
        if self.switching.values().any(|waiting| *waiting == id) {
            return Ok(false);
        }
        // What is everywhere may have to be delivered here yet, if it was cast in this turn: causes come first.
        let is_cause = |other: &GroupId| *other != id && self.groups.get(other).is_some_and(|g| g.causes);
        for other in self.dirty.extract_if(.., |other| is_cause(other)).collect::<Vec<_>>() {
            self.settle_group(now, other);
        }
        for (&other, group) in self.groups.iter_mut().filter(|(other, _)| **other != id) {
            if std::mem::take(&mut group.causes)
                && let Some(extent) = group.endpoint.extent()
            {
                group.marks.push_back((extent, self.switch.note(other)));
                group.tell_switch(other, &mut self.switch);
            }
        }
        match self.switch.pass(id).map_err(|_| CastError::Busy)? {
            Passage::Go => Ok(true),
            Passage::MustFlush { ticket, .. } => {
                self.switching.insert(ticket, id);
                Ok(false)
            }
        }
    }

    /// Whether somebody is awaited to deliver what this site knows of a group that it has left.
    fn is_parting(&self) -> bool {
        self.partings.values().any(|parting| parting.holds(|life| self.core.contains(&life)))
    }

    /// Lets go of the partings that are over; when none holds any more causal casts may leave again.
    pub(super) fn end_partings(&mut self, now: Time) {
        self.partings.retain(|_, parting| !parting.is_over(now));
        if !self.is_parting() {
            let parted = std::mem::take(&mut self.parted);
            self.events.extend(parted.into_iter().map(|group| Event::Writable { group }));
        }
    }

    pub(super) fn poll_switch(&mut self) {
        while let Some(Passed::Done(ticket)) = self.switch.poll_event() {
            if let Some(group) = self.switching.remove(&ticket) {
                self.events.push_back(Event::Writable { group });
            }
        }
    }
}

impl Group {
    /// Tells the switch what is at every member by now.
    pub(super) fn tell_switch(&mut self, id: GroupId, switch: &mut Switch) {
        let mut reached = None;
        while let Some((_, mark)) = self.marks.pop_front_if(|(extent, _)| self.endpoint.is_everywhere(extent))
        {
            reached = Some(mark);
        }
        if let Some(mark) = reached {
            switch.handle_stable(id, mark);
        }
    }
}
