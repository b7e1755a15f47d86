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
/// After so many in a row of which nobody can say what became of them, a series is not used again.
const UNKNOWN_MAX: u8 = 2;

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
    /// Whether the group has applied one of these, and so knows the client.
    is_known: bool,
    /// How many in a row nobody could say anything of.
    unknown: u8,
}

/// The name of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The client.
    pub client: ClientId,
    /// The request's number.
    pub sequence: u64,
    /// Every request of this client up to here has been answered, or given up; 0 before the group has applied one: members
    /// that do not know a client take any other number for a sign that they have forgotten it.
    pub answered: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The group applied it, now or before.
    Applied,
    /// The group was not asked, or its answer not waited for. It may still be done, until a later one of its series is,
    /// behind the first that was applied.
    GivenUp,
    /// Nobody can say. The second in a row is the last of its series: the members may have forgotten this client, and would
    /// say so for ever.
    Unknown,
}

impl Names {
    /// `random`: 128 bits that no other program has drawn.
    pub fn new(random: u128) -> Names {
        Names { next_client: random, series: Vec::new() }
    }

    /// A name for a new request; none while 4,096 are open. Give it back when the request is over.
    pub fn take(&mut self, now: Time) -> Option<Name> {
        self.series.retain(|series| !series.open.is_empty() || series.is_good(now));
        let at = self.series.iter().position(Series::has_room);
        let at = match at {
            Some(at) => at,
            None if self.series.len() < SERIES_MAX => {
                let client = ClientId(self.next_client.to_be_bytes());
                self.next_client = self.next_client.wrapping_add(1);
                self.series.push(Series::new(client, now));
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

    /// The request is over. A name that is not of these is ignored.
    pub fn give_back(&mut self, client: ClientId, sequence: u64, ending: Ending) {
        let Some(series) = self.series.iter_mut().find(|series| series.client == client) else { return };
        if series.open.remove(&sequence) {
            series.over(ending);
        }
    }
}

impl Series {
    fn new(client: ClientId, now: Time) -> Series {
        Series { client, next: 1, open: BTreeSet::new(), used: now, is_known: false, unknown: 0 }
    }

    fn over(&mut self, ending: Ending) {
        self.is_known |= ending == Ending::Applied;
        self.unknown = match ending {
            Ending::Applied => 0,
            Ending::GivenUp => self.unknown,
            Ending::Unknown => self.unknown.saturating_add(1),
        };
    }

    fn answered(&self) -> u64 {
        match self.is_known {
            true => self.open.first().map_or(self.next, |first| *first) - 1,
            false => 0,
        }
    }

    fn has_room(&self) -> bool {
        self.unknown < UNKNOWN_MAX && self.next - self.answered() <= WINDOW_ANSWERS as u64
    }

    /// Whether more may be named of a series of which nothing is open.
    fn is_good(&self, now: Time) -> bool {
        self.has_room() && now.since(self.used) < UNUSED_MAX
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::entry::Request;
    use crate::settings::Settings;
    use crate::window::Window;

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
            names.give_back(name.client, name.sequence, Ending::Applied);
            taken.push(name);
        }
        let distinct: BTreeSet<_> = taken.iter().map(|name| (name.client, name.sequence)).collect();
        assert_eq!(distinct.len(), taken.len());
        assert_eq!(names.series.len(), 2);
        names.give_back(first.client, first.sequence, Ending::Applied);
        let next = names.take(Time::ZERO).expect("a name");
        assert_eq!((next.client, next.sequence, next.answered), (first.client, 65, 64));
    }

    #[test]
    fn there_is_an_end_to_what_may_be_open_and_an_old_series_is_left() {
        let mut names = Names::new(u128::MAX);
        let all: Vec<Name> = std::iter::from_fn(|| names.take(Time::ZERO)).collect();
        assert_eq!(all.len(), SERIES_MAX * WINDOW_ANSWERS);
        all.iter().for_each(|name| names.give_back(name.client, name.sequence, Ending::Applied));
        let later = Time::ZERO + UNUSED_MAX;
        let name = names.take(later).expect("a name");
        assert_eq!((name.sequence, name.answered), (1, 0));
        assert!(all.iter().all(|old| old.client != name.client));
    }

    /// A site whose first request the group never had, because of a full disk or between two views, was told of all later
    /// ones that its client is forgotten.
    #[test]
    fn nobody_is_forgotten_whose_first_requests_the_group_never_had() {
        let (settings, mut rng) = (Settings::default(), ChaCha8Rng::seed_from_u64(7));
        let (mut names, mut window) = (Names::new(7), Window::default());
        let (mut open, mut applied, mut given_up) = (Vec::new(), 0, 0);
        for step in 0..100_000 {
            // Times in which much is lost, and all at first, and others.
            let lost = if step < 500 { 100 } else { [2, 60, 98][step / 1_000 % 3] };
            if open.len() < 300 && rng.next_u32() % 2 == 0 {
                open.push(names.take(Time::ZERO).expect("a name"));
                continue;
            }
            if open.is_empty() {
                continue;
            }
            let name = open.swap_remove(rng.next_u32() as usize % open.len());
            let ending = match rng.next_u32() % 100 < lost {
                true if rng.next_u32() % 2 == 0 => Ending::Unknown,
                true => Ending::GivenUp,
                false => {
                    let Name { client, sequence, answered } = name;
                    let request = Request { client, sequence, answered, payload: Bytes::new() };
                    // Given up or not, a request of this series that is open is within the window.
                    assert_eq!(window.judge(0, &request, &settings), None, "{name:?} at {step}");
                    window.answered(client, sequence, &Bytes::new(), &settings);
                    applied += 1;
                    Ending::Applied
                }
            };
            given_up += u64::from(ending != Ending::Applied);
            names.give_back(name.client, name.sequence, ending);
            assert!(names.series.len() <= SERIES_MAX);
        }
        assert!(applied > 10_000 && given_up > 10_000, "{applied} {given_up}");
    }

    #[test]
    fn a_client_that_is_forgotten_is_left() {
        let mut names = Names::new(7);
        let mut next = |ending| {
            let name = names.take(Time::ZERO).expect("a name");
            names.give_back(name.client, name.sequence, ending);
            name.client
        };
        let first = next(Ending::Applied);
        assert_eq!(next(Ending::Unknown), first);
        assert_eq!(next(Ending::Applied), first);
        assert_eq!(next(Ending::Unknown), first);
        assert_eq!(next(Ending::GivenUp), first);
        assert_eq!(next(Ending::Unknown), first);
        assert_ne!(next(Ending::Applied), first);
    }
}
