//! Which packet numbers have been seen: exactly for the last [`WIDTH`], and everything older counts as seen.

/// How far behind the newest a packet may arrive.
pub(crate) const WIDTH: u64 = 1024;

const WORDS: usize = (WIDTH / 64) as usize;

/// A replay window. Number 0 is never used.
#[derive(Debug, Default)]
pub(crate) struct Window {
    newest: u64,
    /// Bit `n % WIDTH` says whether number `n`, of the last `WIDTH`, has been seen.
    seen: [u64; WORDS],
}

impl Window {
    /// Takes a number. `None` if it has been seen or is too old to tell; else whether it is the newest so far.
    pub(crate) fn admit(&mut self, number: u64) -> Option<bool> {
        if number == 0 {
            return None;
        }
        if number > self.newest {
            if number - self.newest >= WIDTH {
                self.seen = [0; WORDS];
            } else {
                (self.newest + 1..number).for_each(|skipped| self.set(skipped, false));
            }
            self.newest = number;
            self.set(number, true);
            return Some(true);
        }
        if self.newest - number >= WIDTH || self.get(number) {
            return None;
        }
        self.set(number, true);
        Some(false)
    }

    fn place(number: u64) -> (usize, u64) {
        let bit = number % WIDTH;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn get(&self, number: u64) -> bool {
        let (word, bit) = Window::place(number);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, number: u64, seen: bool) {
        let (word, bit) = Window::place(number);
        if seen { self.seen[word] |= bit } else { self.seen[word] &= !bit }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_number_passes_twice_and_none_within_the_window_is_refused_once(
            steps in prop::collection::vec((0u64..4, 0u64..1500), 1..600),
        ) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            let mut newest = 0u64;
            for (forward, distance) in steps {
                let number = if forward == 0 { newest + distance } else { newest.saturating_sub(distance) };
                let fresh = number != 0 && newest.saturating_sub(number) < WIDTH && !seen.contains(&number);
                let expected = fresh.then_some(number > newest);
                prop_assert_eq!(window.admit(number), expected);
                seen.insert(number);
                newest = newest.max(number);
            }
        }
    }
}
