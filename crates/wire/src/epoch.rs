//! The epoch of a cluster: 0 from its founding, and a new one after each recovery by force.

use std::fmt;
use std::str::FromStr;

use crate::id::SiteId;

/// A cluster's epoch. Sites of different epochs do not talk.
///
/// It is a generation, which counts recoveries, and a tag drawn from who recovered: two operators who recover two
/// halves of one cluster make two clusters that refuse each other, and the same survivors named on each of their
/// machines make one, without a file that must be carried around. Written `0`, or `1.3f2a`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterEpoch(pub u32);

impl ClusterEpoch {
    /// How many recoveries there were.
    pub fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The epoch that these survivors begin, whatever the order in which they are named; none after 65,535
    /// recoveries.
    pub fn next(self, survivors: &[SiteId]) -> Option<ClusterEpoch> {
        let generation = self.generation().checked_add(1)?;
        let mut sites: Vec<u32> = survivors.iter().map(|site| site.0).collect();
        sites.sort_unstable();
        let mut named = self.0.to_le_bytes().to_vec();
        named.extend(sites.into_iter().flat_map(u32::to_le_bytes));
        let sum = crate::crc::crc32(&[&named]);
        Some(ClusterEpoch(u32::from(generation) << 16 | (sum >> 16 ^ sum) & 0xffff))
    }
}

impl fmt::Display for ClusterEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        write!(f, "{}.{:04x}", self.generation(), self.0 & 0xffff)
    }
}

/// The text is no cluster epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cluster epoch; they are written like 1.3f2a")]
pub struct EpochError(String);

impl FromStr for ClusterEpoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<ClusterEpoch, EpochError> {
        if text == "0" {
            return Ok(ClusterEpoch(0));
        }
        let parse = || {
            let (generation, tag) = text.split_once('.')?;
            let generation: u16 = generation.parse().ok().filter(|&generation| generation > 0)?;
            let tag = u16::from_str_radix(tag, 16).ok().filter(|_| tag.len() == 4)?;
            Some(ClusterEpoch(u32::from(generation) << 16 | u32::from(tag)))
        };
        parse().ok_or_else(|| EpochError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_survivors_begin_the_same_epoch_and_others_another() {
        let first = ClusterEpoch(0);
        let ac = first.next(&[SiteId(1), SiteId(3)]).expect("an epoch");
        assert_eq!(first.next(&[SiteId(3), SiteId(1)]), Some(ac));
        assert_eq!(ac.generation(), 1);
        let b = first.next(&[SiteId(2)]).expect("an epoch");
        assert_ne!(ac, b);
        let again = ac.next(&[SiteId(1), SiteId(3)]).expect("an epoch");
        assert_eq!(again.generation(), 2);
        assert_eq!(ClusterEpoch(u32::MAX).next(&[SiteId(1)]), None);
    }

    #[test]
    fn an_epoch_reads_back_as_it_is_printed() {
        for epoch in [0, 0x1_0000, 0x1_3f2a, u32::MAX] {
            let text = ClusterEpoch(epoch).to_string();
            assert_eq!(text.parse(), Ok(ClusterEpoch(epoch)), "{text}");
        }
        for garbage in ["", "1", "0.3f2a", "1.3f2", "1.3f2a0", "x.3f2a", "1.zzzz", "70000.0000"] {
            assert!(garbage.parse::<ClusterEpoch>().is_err(), "{garbage}");
        }
    }
}
