//! Causality across overlapping groups, and `flush`.
//!
//! Within a group vector time keeps the causal order. Across groups nothing does, so before a site casts in a
//! group B what depends on causal casts of a group A, every such cast of A that it has sent or delivered must be
//! stable: every member of A has it. Then no member of both groups can see the effect in B before the cause in A.
//! The price is one wait at each switch, and none for who stays in one group. [Birman, Schiper & Stephenson 91]

use std::collections::{BTreeMap, VecDeque};

use wire::GroupId;

/// Whether a cast may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// At once.
    Go,
    /// These groups must be flushed first; [`Switch::poll_event`] says [`Event::Done`] with this ticket when they
    /// are. Until then the caster's causal casts wait, in their order.
    MustFlush {
        /// The groups with causal casts that are not stable.
        groups: Vec<GroupId>,
        /// What [`Event::Done`] will name.
        ticket: Ticket,
    },
}

/// Names a wait for stability at this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A moment in what this site has sent and delivered in one group: which casts came before it is the site's to keep
/// ([`crate::Extent`]). From 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// What [`Switch::poll_event`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything that this ticket waits for is stable.
    Done(Ticket),
}

/// Too many waits at this site; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} casts or flushes wait for stability at this site", Switch::WAITS_MAX)]
pub struct TooManyWaits;

/// The causal casts of one site over all its groups.
///
/// The data plane's reports come in as [`Switch::note`] (causal casts were sent, or delivered, here since the mark
/// before) and [`Switch::handle_stable`]. A program's cast asks [`Switch::pass`] first; a
/// program's `flush` is [`Switch::flush`].
#[derive(Clone, Debug, Default)]
pub struct Switch {
    groups: BTreeMap<GroupId, Marks>,
    waits: BTreeMap<Ticket, BTreeMap<GroupId, Mark>>,
    last: u64,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    noted: Mark,
    stable: Mark,
}

impl Switch {
    /// The most waits at a time. Beyond it [`Switch::pass`] and [`Switch::flush`] refuse.
    pub const WAITS_MAX: usize = 65_536;

    /// A site without groups.
    pub fn new() -> Switch {
        Switch::default()
    }

    /// Causal casts of this group were sent or delivered here. Gives the mark of this moment, one more than the mark
    /// before.
    pub fn note(&mut self, group: GroupId) -> Mark {
        let marks = self.groups.entry(group).or_default();
        marks.noted.0 += 1;
        marks.noted
    }

    /// Every cast of this group up to this mark is stable. Smaller marks and unknown groups change nothing; a mark
    /// that was never given counts as the last one.
    pub fn handle_stable(&mut self, group: GroupId, mark: Mark) {
        let Some(marks) = self.groups.get_mut(&group) else { return };
        let stable = mark.min(marks.noted);
        if stable > marks.stable {
            marks.stable = stable;
            self.release(group, stable);
        }
    }

    /// A view of this group was installed, so everything delivered before it has reached all who came along
    /// (M7): what was noted is stable.
    pub fn handle_installed(&mut self, group: GroupId) {
        self.handle_stable(group, Mark(u64::MAX));
    }

    /// This site is no longer in the group: nothing waits for it any more.
    pub fn handle_left(&mut self, group: GroupId) {
        self.groups.remove(&group);
        self.release(group, Mark(u64::MAX));
    }

    /// Whether a causal cast in `group` may go now, or must wait for other groups.
    pub fn pass(&mut self, group: GroupId) -> Result<Passage, TooManyWaits> {
        let unstable = |(other, marks): (&GroupId, &Marks)| {
            (*other != group && marks.stable < marks.noted).then_some((*other, marks.noted))
        };
        let needs: BTreeMap<GroupId, Mark> = self.groups.iter().filter_map(unstable).collect();
        if needs.is_empty() {
            return Ok(Passage::Go);
        }
        let groups = needs.keys().copied().collect();
        Ok(Passage::MustFlush { groups, ticket: self.wait(needs)? })
    }

    /// Waits until everything noted so far is stable in every group; if it is, the event comes at once.
    pub fn flush(&mut self) -> Result<Ticket, TooManyWaits> {
        let unstable = self.groups.iter().filter(|(_, marks)| marks.stable < marks.noted);
        let needs = unstable.map(|(group, marks)| (*group, marks.noted)).collect();
        self.wait(needs)
    }

    /// Gives up a wait. Its event does not come, if it has not come yet.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.waits.remove(&ticket);
        self.events.retain(|event| *event != Event::Done(ticket));
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn wait(&mut self, needs: BTreeMap<GroupId, Mark>) -> Result<Ticket, TooManyWaits> {
        if self.waits.len() + self.events.len() >= Self::WAITS_MAX {
            return Err(TooManyWaits);
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        if needs.is_empty() {
            self.events.push_back(Event::Done(ticket));
        } else {
            self.waits.insert(ticket, needs);
        }
        Ok(ticket)
    }

    fn release(&mut self, group: GroupId, stable: Mark) {
        let mut done = Vec::new();
        for (ticket, needs) in &mut self.waits {
            if needs.get(&group).is_some_and(|mark| *mark <= stable) {
                needs.remove(&group);
            }
            if needs.is_empty() {
                done.push(*ticket);
            }
        }
        for ticket in done {
            self.waits.remove(&ticket);
            self.events.push_back(Event::Done(ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::testing::group;

    fn two() -> (GroupId, GroupId) {
        (group(), GroupId { index: 1, ..group() })
    }

    fn ticket(passage: Result<Passage, TooManyWaits>) -> Ticket {
        match passage {
            Ok(Passage::MustFlush { ticket, .. }) => ticket,
            other => panic!("should have to wait: {other:?}"),
        }
    }

    #[test]
    fn who_stays_in_one_group_never_waits() {
        let (a, _) = two();
        let mut switch = Switch::new();
        for _ in 0..10 {
            assert_eq!(switch.pass(a), Ok(Passage::Go));
            switch.note(a);
        }
    }

    #[test]
    fn a_switch_waits_until_what_the_other_group_was_sent_is_stable() {
        let (a, b) = two();
        let mut switch = Switch::new();
        switch.note(a);
        let second = switch.note(a);
        let waiting = ticket(switch.pass(b));
        switch.note(a);
        switch.handle_stable(a, Mark(1));
        assert_eq!(switch.poll_event(), None);
        switch.handle_stable(a, second);
        assert_eq!(switch.poll_event(), Some(Event::Done(waiting)));
        assert_eq!(switch.poll_event(), None);
    }

    #[test]
    fn a_view_or_a_departure_releases_who_waits() {
        let (a, b) = two();
        let mut switch = Switch::new();
        switch.note(a);
        let first = ticket(switch.pass(b));
        switch.handle_installed(a);
        assert_eq!(switch.poll_event(), Some(Event::Done(first)));
        assert_eq!(switch.pass(b), Ok(Passage::Go));
        switch.note(a);
        let second = ticket(switch.pass(b));
        switch.handle_left(a);
        assert_eq!(switch.poll_event(), Some(Event::Done(second)));
    }

    #[test]
    fn flush_waits_for_all_groups_and_is_done_at_once_when_nothing_is_open() {
        let (a, b) = two();
        let mut switch = Switch::new();
        let idle = switch.flush().expect("room");
        assert_eq!(switch.poll_event(), Some(Event::Done(idle)));
        let (in_a, in_b) = (switch.note(a), switch.note(b));
        let busy = switch.flush().expect("room");
        switch.handle_stable(a, in_a);
        assert_eq!(switch.poll_event(), None);
        switch.handle_stable(b, in_b);
        assert_eq!(switch.poll_event(), Some(Event::Done(busy)));
    }

    #[test]
    fn a_cancelled_wait_is_silent() {
        let (a, b) = two();
        let mut switch = Switch::new();
        switch.note(a);
        let waiting = ticket(switch.pass(b));
        switch.cancel(waiting);
        switch.handle_installed(a);
        assert_eq!(switch.poll_event(), None);
    }
}
