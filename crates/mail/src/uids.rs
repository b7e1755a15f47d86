//! Sets of UIDs as runs: what clients ask about and what answers tell.

use minicbor::{Decode, Encode};

use crate::limits::UID_RUNS_MAX;

/// UIDs as ascending runs that neither touch nor overlap. `1:*` is one run; nothing here counts through it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct UidSet {
    runs: Vec<(u32, u32)>,
}

impl UidSet {
    /// The set of all in these runs, in whatever order; the two ends of a run may stand either way, as in IMAP.
    pub fn of_runs(runs: impl IntoIterator<Item = (u32, u32)>) -> UidSet {
        let mut runs: Vec<(u32, u32)> = runs.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        runs.sort_unstable();
        let mut set = UidSet::default();
        for (first, last) in runs {
            set.extend(first, last);
        }
        set
    }

    /// The set of these UIDs.
    pub fn of(uids: impl IntoIterator<Item = u32>) -> UidSet {
        UidSet::of_runs(uids.into_iter().map(|uid| (uid, uid)))
    }

    /// Every UID that there can be.
    pub fn all() -> UidSet {
        UidSet { runs: vec![(1, u32::MAX)] }
    }

    /// Adds a run that starts at or behind the last one's start.
    fn extend(&mut self, first: u32, last: u32) {
        match self.runs.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
            Some(_) | None => self.runs.push((first, last)),
        }
    }

    /// Adds a UID that is above all in the set.
    pub(crate) fn push(&mut self, uid: u32) {
        self.extend(uid, uid);
    }

    /// The runs, both ends included.
    pub fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }

    /// Whether the set has this UID.
    pub fn contains(&self, uid: u32) -> bool {
        let at = self.runs.partition_point(|(_, last)| *last < uid);
        self.runs.get(at).is_some_and(|(first, _)| *first <= uid)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many UIDs the set has.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Each UID, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl FromIterator<u32> for UidSet {
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> UidSet {
        UidSet::of(uids)
    }
}

/// One array of numbers, first and last of each run in turn.
impl<C> Encode<C> for UidSet {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2 * self.runs.len() as u64)?;
        for (first, last) in &self.runs {
            e.u32(*first)?.u32(*last)?;
        }
        e.ok()
    }
}

impl<'b, C> Decode<'b, C> for UidSet {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let mut numbers = d.array_iter_with::<C, u32>(ctx)?;
        let mut runs = Vec::new();
        while let Some(first) = numbers.next() {
            let last = numbers.next().ok_or_else(|| minicbor::decode::Error::message("half a run"))??;
            let first = first?;
            let below = runs.last().map_or(0, |(_, last): &(u32, u32)| last.saturating_add(1));
            if first <= below && (first, below) != (1, 0) || last < first {
                return Err(minicbor::decode::Error::message("runs of UIDs that do not ascend"));
            }
            if runs.len() == UID_RUNS_MAX {
                return Err(minicbor::decode::Error::message("too many runs of UIDs"));
            }
            runs.push((first, last));
        }
        Ok(UidSet { runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join() {
        let set = UidSet::of([5, 1, 2, 3, 9, 4]);
        assert_eq!(set.runs(), [(1, 5), (9, 9)]);
        assert!(set.contains(4) && !set.contains(6) && set.contains(9) && !set.contains(10));
        assert_eq!(UidSet::of_runs([(9, 3), (4, 20)]).runs(), [(3, 20)]);
        assert_eq!(UidSet::of_runs([(5, u32::MAX), (7, u32::MAX)]).runs(), [(5, u32::MAX)]);
        assert_eq!(set.len(), 6);
    }

    #[test]
    fn only_the_normal_form_is_read() {
        let read = |numbers: &[u32]| minicbor::decode::<UidSet>(&minicbor::to_vec(numbers).unwrap());
        assert_eq!(read(&[1, 5, 9, 9]).unwrap(), UidSet::of([1, 2, 3, 4, 5, 9]));
        for wrong in
            [&[0, 1][..], &[1], &[5, 1], &[1, 5, 6, 7], &[9, 9, 1, 5], &[1, u32::MAX, u32::MAX, u32::MAX]]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
