//! Lazy casts: held back to ride with the next cast of their group, so that they cost no packet of their own.
//! They keep their order and are never held longer than a bound. [ISIS Manual 2.0, lazy broadcasts]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wire::{GroupId, Time};

/// The lazy casts of one site; `T` is whatever the site needs to send one.
///
/// Call [`Lazy::ride`] just before each cast that is not lazy and send what it gives first; when
/// [`Lazy::poll_timeout`] is due, send what [`Lazy::handle_timeout`] gives.
#[derive(Clone, Debug)]
pub struct Lazy<T> {
    held: BTreeMap<GroupId, VecDeque<(Time, T)>>,
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Lazy { held: BTreeMap::new() }
    }
}

impl<T> Lazy<T> {
    /// The longest a lazy cast is held.
    pub const HELD_MAX: Duration = Duration::from_secs(2);
    /// The most casts held for a group. One more, and all of them go.
    pub const CASTS_MAX: usize = 1024;

    /// Holds a cast back for at most `patience`, or [`Lazy::HELD_MAX`] if that is shorter. Gives the casts that are
    /// to be sent now, in order: none, unless the group's bound is reached.
    #[must_use]
    pub fn hold(&mut self, now: Time, group: GroupId, patience: Duration, cast: T) -> Vec<T> {
        let held = self.held.entry(group).or_default();
        held.push_back((now + patience.min(Self::HELD_MAX), cast));
        if held.len() > Self::CASTS_MAX { self.ride(group) } else { Vec::new() }
    }

    /// A cast is about to be sent in this group: gives those that ride ahead of it, in order.
    #[must_use]
    pub fn ride(&mut self, group: GroupId) -> Vec<T> {
        let held = self.held.remove(&group).unwrap_or_default();
        held.into_iter().map(|(_, cast)| cast).collect()
    }

    /// Gives what may not be held any longer, group by group, with all of that group's casts: one packet takes
    /// them all.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Time) -> Vec<(GroupId, Vec<T>)> {
        let is_due = |held: &VecDeque<(Time, T)>| held.iter().any(|(until, _)| *until <= now);
        let due: Vec<GroupId> =
            self.held.iter().filter(|(_, held)| is_due(held)).map(|(group, _)| *group).collect();
        due.into_iter().map(|group| (group, self.ride(group))).collect()
    }

    /// When [`Lazy::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.held.values().flatten().map(|(until, _)| *until).min()
    }

    /// This site is no longer in the group: gives what was never sent.
    #[must_use]
    pub fn handle_left(&mut self, group: GroupId) -> Vec<T> {
        self.ride(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::testing::group;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lazy_casts_ride_ahead_of_the_next_cast_in_their_order() {
        let mut lazy = Lazy::default();
        assert!(lazy.hold(Time::ZERO, group(), SECOND, 1).is_empty());
        assert!(lazy.hold(Time::ZERO, group(), SECOND, 2).is_empty());
        assert_eq!(lazy.ride(group()), [1, 2]);
        assert_eq!(lazy.poll_timeout(), None);
    }

    #[test]
    fn a_lazy_cast_is_held_no_longer_than_two_seconds() {
        let mut lazy = Lazy::default();
        let _ = lazy.hold(Time::ZERO, group(), 60 * SECOND, 1);
        assert_eq!(lazy.poll_timeout(), Some(Time::from_millis(2000)));
        assert!(lazy.handle_timeout(Time::from_millis(1999)).is_empty());
        assert_eq!(lazy.handle_timeout(Time::from_millis(2000)), [(group(), vec![1])]);
    }

    #[test]
    fn at_the_bound_all_go_at_once() {
        let mut lazy = Lazy::default();
        for n in 0..Lazy::<usize>::CASTS_MAX {
            assert!(lazy.hold(Time::ZERO, group(), SECOND, n).is_empty());
        }
        assert_eq!(lazy.hold(Time::ZERO, group(), SECOND, 0).len(), Lazy::<usize>::CASTS_MAX + 1);
    }
}
