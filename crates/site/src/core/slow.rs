//! Casts made here that wait for a member here which does not take what it is told.
//!
//! Other sites feel such a member by acknowledgements that do not come, and ask the members of this site to leave after
//! the stated time (`limits.slow_member_s`). Where only this site casts nobody else feels it, so this site asks: it knows
//! which member it is, and the others here stay.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{GroupName, MemberId, Time};

use super::processes::Processes;

/// A site that looks at its watch so much too late has been away itself, and so, perhaps, have its programs.
const LATE: Duration = Duration::from_secs(1);
/// A member that was asked to leave and is still there is asked again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The casts that wait, and since when.
pub(super) struct Slow {
    after: Duration,
    waiting: BTreeMap<GroupName, Time>,
    /// Members that were asked to leave, and when to ask again; until their processes are told.
    asked: BTreeMap<MemberId, Time>,
}

impl Slow {
    pub(super) fn new(after: Duration) -> Slow {
        Slow { after, waiting: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// A cast to this group waits for its members here.
    pub(super) fn waits(&mut self, now: Time, group: &GroupName) {
        if !self.waiting.contains_key(group) {
            self.waiting.insert(group.clone(), now);
        }
    }

    /// Nothing waits for this group's members here any longer.
    pub(super) fn goes_on(&mut self, group: &GroupName) {
        self.waiting.remove(group);
    }

    /// A member is gone. Whether it had been asked to leave.
    pub(super) fn left(&mut self, member: MemberId) -> bool {
        self.asked.remove(&member).is_some()
    }

    /// How long a member may hold others back.
    pub(super) fn after(&self) -> Duration {
        self.after
    }

    /// When to look next.
    pub(super) fn poll_timeout(&self, processes: &Processes) -> Option<Time> {
        self.waiting
            .iter()
            .flat_map(|(group, since)| self.due(processes, group, *since))
            .map(|(_, at)| at)
            .min()
    }

    /// The members to be asked to leave now, with their groups. `casts_wait` says whether any do for a group still.
    pub(super) fn handle_timeout(
        &mut self,
        now: Time,
        processes: &Processes,
        casts_wait: impl Fn(&GroupName) -> bool,
    ) -> Vec<(GroupName, MemberId)> {
        self.waiting.retain(|group, _| casts_wait(group));
        let mut slow = Vec::new();
        let mut away = false;
        for (group, since) in &self.waiting {
            for (member, at) in self.due(processes, group, *since) {
                away |= now > at + LATE;
                if now >= at {
                    slow.push((group.clone(), member));
                }
            }
        }
        if away {
            self.waiting.values_mut().for_each(|since| *since = now);
            return Vec::new();
        }
        self.asked.extend(slow.iter().map(|(_, member)| (*member, now + AGAIN_AFTER)));
        slow
    }

    /// The members here that hold this group back, and when each is to be asked to leave.
    fn due<'a>(
        &'a self,
        processes: &'a Processes,
        group: &'a GroupName,
        since: Time,
    ) -> impl Iterator<Item = (MemberId, Time)> + 'a {
        processes.behind(group).map(move |(member, behind)| {
            let at = behind.max(since) + self.after;
            (member, self.asked.get(&member).map_or(at, |again| at.max(*again)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::testing::{deliver_much, name, with_group};
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    fn s(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_member_that_holds_back_a_cast_made_here_is_asked_to_leave_in_time_and_again() {
        let mut slow = Slow::new(AFTER);
        let (mut processes, _events, members) = with_group(&[1, 2]);
        deliver_much(&mut processes, s(10), &members[..1]);
        assert_eq!(slow.poll_timeout(&processes), None, "nobody waits for it");
        slow.waits(s(20), &name());
        slow.waits(s(25), &name());
        assert_eq!(slow.poll_timeout(&processes), Some(s(50)));
        assert!(slow.handle_timeout(s(49), &processes, |_| true).is_empty());
        assert_eq!(
            slow.handle_timeout(s(50), &processes, |_| true),
            [(name(), members[0])],
            "the other one stays"
        );
        assert!(slow.handle_timeout(s(51), &processes, |_| true).is_empty());
        assert_eq!(
            slow.handle_timeout(s(55), &processes, |_| true),
            [(name(), members[0])],
            "it is still there"
        );
        assert!(slow.left(members[0]) && !slow.left(members[1]));
    }

    #[test]
    fn who_takes_its_events_again_begins_anew() {
        let mut slow = Slow::new(AFTER);
        let (mut processes, _events, members) = with_group(&[1]);
        deliver_much(&mut processes, s(10), &members);
        slow.waits(s(10), &name());
        processes.resume(members[0].process);
        slow.goes_on(&name());
        assert_eq!(slow.poll_timeout(&processes), None);
        deliver_much(&mut processes, s(35), &members);
        slow.waits(s(36), &name());
        assert_eq!(slow.poll_timeout(&processes), Some(s(66)));
    }

    #[test]
    fn a_site_that_was_away_gives_the_whole_time_again() {
        let mut slow = Slow::new(AFTER);
        let (mut processes, _events, members) = with_group(&[1]);
        deliver_much(&mut processes, s(10), &members);
        slow.waits(s(10), &name());
        assert!(slow.handle_timeout(s(100), &processes, |_| true).is_empty());
        assert_eq!(slow.poll_timeout(&processes), Some(s(130)));
        assert!(slow.handle_timeout(s(130), &processes, |_| false).is_empty(), "the casts were given up");
        assert_eq!(slow.poll_timeout(&processes), None);
    }
}
