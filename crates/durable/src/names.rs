//! Names for requests: what a program calls those that it has under way, so that a repeat of one is known as such (D13).

use std::collections::BTreeSet;
use std::time::Duration;

use wire::Time;

use crate::entry::ClientId;
use crate::settings::WINDOW_ANSWERS;

/// Series of one program: with each a window of requests that may be open at once.
const SERIES_MAX: usize = 64;
/// A series that was not used for so long is not used again: members forget a client in the end.
const UNUSED_MAX: Duration = Duration::from_secs(3_600);

/// The names of a program's requests to one group.
///
/// Requests that are open at once share a *series*, a client of the group, as long as its window has room; then
/// another is begun. So a program that has few under way is one client, and thousands of requests push nobody else out of
/// the members' memory.
#[derive(Clone, Debug)]
pub struct Names {
    /// The next series' client: drawn at random, then counted.
    next_client: u128,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    client: ClientId,
    next: u64,
    open: BTreeSet<u64>,
    used: Time,
}

/// The name of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The client.
    pub client: ClientId,
    /// The request's number.
    pub sequence: u64,
    /// Every request of this client up to here has been answered, or given up.
    pub answered: u64,
}

impl Names {
    /// `random`: 128 bits that no other program has drawn.
    pub fn new(random: u128) -> Names {
        Names { next_client: random, series: Vec::new() }
    }

    /// A name for a new request; none while 4,096 are open. Give it back when the request is answered or given up.
    pub fn take(&mut self, now: Time) -> Option<Name> {
        self.series.retain(|series| !series.open.is_empty() || now.since(series.used) < UNUSED_MAX);
        let at = self.series.iter().position(Series::has_room);
        let at = match at {
            Some(at) => at,
            None if self.series.len() < SERIES_MAX => {
                let client = ClientId(self.next_client.to_be_bytes());
                self.next_client = self.next_client.wrapping_add(1);
                self.series.push(Series { client, next: 1, open: BTreeSet::new(), used: now });
                self.series.len() - 1
            }
            None => return None,
        };
        let series = &mut self.series[at];
        let name = Name { client: series.client, sequence: series.next, answered: series.answered() };
        series.open.insert(name.sequence);
        series.next += 1;
        series.used = now;
        Some(name)
    }

    /// The request is answered, or given up. One that was given up may still be done, until a later one of its series is.
    /// A name that is not of these is ignored.
    pub fn give_back(&mut self, client: ClientId, sequence: u64) {
        if let Some(series) = self.series.iter_mut().find(|series| series.client == client) {
            series.open.remove(&sequence);
        }
    }
}

impl Series {
    fn answered(&self) -> u64 {
        self.open.first().map_or(self.next, |first| *first) - 1
    }

    fn has_room(&self) -> bool {
        self.next - self.answered() <= WINDOW_ANSWERS as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_stays_within_the_window_of_its_series() {
        let mut names = Names::new(7);
        let first = names.take(Time::ZERO).expect("a name");
        assert_eq!((first.sequence, first.answered), (1, 0));
        // The first stays open: the series is used up when the window is.
        let mut taken = vec![first];
        for _ in 0..2 * WINDOW_ANSWERS {
            let name = names.take(Time::ZERO).expect("a name");
            assert!(name.sequence <= name.answered + WINDOW_ANSWERS as u64, "{name:?}");
            names.give_back(name.client, name.sequence);
            taken.push(name);
        }
        let distinct: BTreeSet<_> = taken.iter().map(|name| (name.client, name.sequence)).collect();
        assert_eq!(distinct.len(), taken.len());
        assert_eq!(names.series.len(), 2);
        names.give_back(first.client, first.sequence);
        let next = names.take(Time::ZERO).expect("a name");
        assert_eq!((next.client, next.sequence, next.answered), (first.client, 65, 64));
    }

    #[test]
    fn there_is_an_end_to_what_may_be_open_and_an_old_series_is_left() {
        let mut names = Names::new(u128::MAX);
        let all: Vec<Name> = std::iter::from_fn(|| names.take(Time::ZERO)).collect();
        assert_eq!(all.len(), SERIES_MAX * WINDOW_ANSWERS);
        all.iter().for_each(|name| names.give_back(name.client, name.sequence));
        let later = Time::ZERO + UNUSED_MAX;
        let name = names.take(later).expect("a name");
        assert_eq!((name.sequence, name.answered), (1, 0));
        assert!(all.iter().all(|old| old.client != name.client));
    }
}
