//! What was asked of a group's machine and is not answered, and until when somebody waits.

use std::collections::{BTreeMap, VecDeque};

use wire::Time;

/// What is open, by name. Each is given up when its time is over, if nothing has come of it.
pub(super) struct Open<K, V> {
    /// With the time when it is over.
    open: BTreeMap<K, (Time, V)>,
    /// The same times, as they were asked, so in order. Some of it is answered; never more than twice what is open, and
    /// [`SLACK`].
    due: VecDeque<(Time, K)>,
}

/// Of what is answered so much may be listed as due.
const SLACK: usize = 1_024;

impl<K, V> Default for Open<K, V> {
    fn default() -> Open<K, V> {
        Open { open: BTreeMap::new(), due: VecDeque::new() }
    }
}

impl<K: Ord + Copy, V> Open<K, V> {
    /// Something is asked, and waited for until then: no earlier than what was asked before. One that is asked again under
    /// its name keeps its time; `V::default()` is what there is of a new one.
    pub(super) fn ask(&mut self, name: K, until: Time) -> &mut V
    where
        V: Default,
    {
        if !self.open.contains_key(&name) {
            self.due.push_back((until, name));
            if self.due.len() > 2 * self.open.len() + SLACK {
                let open = &self.open;
                let is_open = |(until, of): &(Time, K)| open.get(of).is_some_and(|(at, _)| at == until);
                self.due.retain(|due| due.1 == name || is_open(due));
            }
        }
        &mut self.open.entry(name).or_insert_with(|| (until, V::default())).1
    }

    /// It is answered.
    pub(super) fn remove(&mut self, name: &K) -> Option<V> {
        self.open.remove(name).map(|(_, open)| open)
    }

    /// The next whose time is over.
    pub(super) fn overdue(&mut self, now: Time) -> Option<(K, V)> {
        while let Some((until, name)) = self.due.front().copied() {
            let is_open = self.open.get(&name).is_some_and(|(at, _)| *at == until);
            if is_open && until > now {
                return None;
            }
            self.due.pop_front();
            if is_open {
                return self.remove(&name).map(|open| (name, open));
            }
        }
        None
    }

    /// Everything that is open.
    pub(super) fn take(&mut self) -> BTreeMap<K, V> {
        self.due.clear();
        std::mem::take(&mut self.open).into_iter().map(|(name, (_, open))| (name, open)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_not_answered_is_over_in_its_time_and_once() {
        let mut open: Open<u64, Vec<char>> = Open::default();
        open.ask(1, at(10)).push('a');
        open.ask(2, at(11)).push('b');
        open.ask(3, at(12)).push('c');
        // Asked again: both are answered when the first is.
        open.ask(1, at(13)).push('d');
        assert_eq!(open.remove(&2), Some(vec!['b']));
        assert_eq!(open.overdue(at(9)), None);
        assert_eq!(open.overdue(at(10)), Some((1, vec!['a', 'd'])));
        assert_eq!(open.overdue(at(11)), None);
        assert_eq!(open.overdue(at(12)), Some((3, vec!['c'])));
        assert_eq!(open.overdue(at(99)), None);
    }

    #[test]
    fn a_name_that_was_answered_and_is_asked_again_has_its_own_time() {
        let mut open: Open<u64, Vec<char>> = Open::default();
        open.ask(1, at(10)).push('a');
        open.remove(&1);
        open.ask(1, at(20)).push('b');
        assert_eq!(open.overdue(at(10)), None);
        assert_eq!(open.overdue(at(20)), Some((1, vec!['b'])));
    }

    #[test]
    fn the_list_stays_short_while_one_waits_and_others_are_answered() {
        let mut open: Open<u64, Vec<char>> = Open::default();
        open.ask(0, at(10)).push('a');
        for name in 1..100_000 {
            open.ask(name, at(10)).push('b');
            open.remove(&name);
        }
        assert!(open.due.len() <= 2 + SLACK + 1);
        assert_eq!(open.overdue(at(10)), Some((0, vec!['a'])));
    }
}
