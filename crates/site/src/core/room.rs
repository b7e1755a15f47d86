//! A site whose disk has no room for its record can promise nothing. The others would hear that it is there, ask it in, wait
//! for its promise in vain, and begin anew, some eight views a second. So off the primary view, where nobody counts on it,
//! it keeps away from them until its record is on the disk. In the primary view it stays: it serves what it has.

use std::time::Duration;

use wire::Time;

/// How long the record waits for room before that: a log that is compacted gives some back sooner.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Room {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Enough,
    /// The record waits for room; this is when to look again.
    Full(Time),
    Away,
}

impl Room {
    /// The record waits for room.
    pub(super) fn full(&mut self, now: Time) {
        if self.state == State::Enough {
            self.state = State::Full(now + PATIENCE);
        }
    }

    /// The record is on the disk. True: from now on the site need not keep away any more.
    pub(super) fn stored(&mut self) -> bool {
        std::mem::take(&mut self.state) == State::Away
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Full(at) => Some(at),
            State::Enough | State::Away => None,
        }
    }

    /// True: from now on the site keeps away.
    pub(super) fn handle_timeout(&mut self, now: Time, off_primary: bool) -> bool {
        match self.state {
            State::Full(at) if at <= now && off_primary => self.state = State::Away,
            State::Full(at) if at <= now => self.state = State::Full(now + PATIENCE),
            State::Full(_) | State::Enough | State::Away => return false,
        }
        self.state == State::Away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_full_disk_keeps_away_off_the_primary_view_only_and_until_something_is_stored() {
        let mut room = Room::default();
        assert_eq!(room.poll_timeout(), None);
        room.full(at(0));
        assert!(!room.handle_timeout(at(999), true));
        assert!(!room.handle_timeout(at(1_000), false), "others count on it");
        assert_eq!(room.poll_timeout(), Some(at(2_000)));
        // Said once more, it waits no longer.
        room.full(at(1_900));
        assert!(room.handle_timeout(at(2_000), true));
        assert!(!room.handle_timeout(at(9_000), true), "it is said once");
        assert_eq!(room.poll_timeout(), None);
        assert!(room.stored() && !room.stored());
    }

    #[test]
    fn a_disk_that_has_room_in_time_keeps_nobody_away() {
        let mut room = Room::default();
        room.full(at(0));
        assert!(!room.stored());
        assert_eq!(room.poll_timeout(), None);
        assert!(!room.handle_timeout(at(5_000), true));
    }
}
