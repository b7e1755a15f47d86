//! The first words on a connection: who is there, and which version of the protocol both speak.
//!
//! A *version* is about bytes and is agreed for each connection. A *feature level* is about replicated
//! semantics: it is raised for the whole cluster, last of all in an upgrade, after every site has said that
//! it supports the new one. Here a site only says how far it can go.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::epoch::ClusterEpoch;
use crate::id::{ClusterId, SiteId, SiteIncarnation, StoreId};

/// The oldest protocol version that this program speaks.
pub const VERSION_MIN: u16 = 1;
/// The newest protocol version that this program speaks.
pub const VERSION_MAX: u16 = 1;
/// The lowest feature level that this program supports.
pub const FEATURE_LEVEL_MIN: u32 = 1;
/// The highest feature level that this program supports; `docs/operating.md` says what each is about.
pub const FEATURE_LEVEL_MAX: u32 = 2;

/// What a site says first on every connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Its cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// The cluster's epoch: raised when a cluster is recovered by force, so that old stores cannot join.
    #[n(1)]
    pub epoch: u32,
    /// This life of the site.
    #[n(2)]
    pub site: SiteIncarnation,
    /// Its data directory.
    #[n(3)]
    pub store: StoreId,
    /// Its name, for people.
    #[n(4)]
    pub name: String,
    /// The oldest version it speaks.
    #[n(5)]
    pub version_min: u16,
    /// The newest version it speaks.
    #[n(6)]
    pub version_max: u16,
    /// The highest feature level it supports.
    #[n(7)]
    pub feature_level_max: u32,
    /// Where it can be reached, `HOST:PORT`, if the others' configurations do not say.
    #[n(8)]
    pub addresses: Option<Vec<String>>,
    /// Whether it has an mserver, if the others' configurations do not say.
    #[n(9)]
    pub mserver: Option<bool>,
    /// The lowest feature level it supports; of a site that does not say, 1.
    #[n(10)]
    pub feature_level_min: Option<u32>,
    /// Drawn at random at this start. Two copies of one data directory that are started have one life, but not this.
    #[n(11)]
    pub start: Option<u64>,
}

/// What two sites have agreed on for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version: the newest that both speak.
    pub version: u16,
    /// The feature level that both support.
    pub feature_level: u32,
}

/// Why two sites do not talk. The reason is for a person who operates them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// They belong to different clusters.
    #[error("{name} belongs to cluster {theirs}, this site to {mine}: check the addresses")]
    OtherCluster {
        /// The peer's name.
        name: String,
        /// The peer's cluster.
        theirs: ClusterId,
        /// This site's.
        mine: ClusterId,
    },
    /// The cluster was recovered by force, and one of the two has not taken part.
    #[error(
        "the cluster was recovered by force without {without} (cluster epoch {theirs}; that of {name} is {mine}); \
         on its machine, `unanimous recover --join {mine}` lets it in anew, as a site without a past"
    )]
    OlderEpoch {
        /// The site of the newer epoch.
        name: String,
        /// Its epoch.
        mine: ClusterEpoch,
        /// The site of the older one.
        without: String,
        /// Its epoch.
        theirs: ClusterEpoch,
    },
    /// The cluster was recovered by force twice, with different survivors.
    #[error(
        "{name} (cluster epoch {mine}) and {other} ({theirs}) were recovered with different survivors: they are two \
         clusters now; choose one, and let the sites of the other join it with `unanimous recover --join`"
    )]
    OtherSurvivors {
        /// The one site.
        name: String,
        /// Its epoch.
        mine: ClusterEpoch,
        /// The other.
        other: String,
        /// Its epoch.
        theirs: ClusterEpoch,
    },
    /// A site has reached itself, or a copy of itself.
    #[error("{name} says that it is {site}, and so is this site: an address points here, or a copy runs")]
    SameSite {
        /// The peer's name.
        name: String,
        /// The id of both.
        site: SiteId,
    },
    /// Their versions do not overlap.
    #[error(
        "{name} speaks versions {theirs_min} to {theirs_max}, this site {mine_min} to {mine_max}: upgrade the older"
    )]
    NoCommonVersion {
        /// The peer's name.
        name: String,
        /// The oldest version the peer speaks.
        theirs_min: u16,
        /// The newest version the peer speaks.
        theirs_max: u16,
        /// The oldest version this site speaks.
        mine_min: u16,
        /// The newest version this site speaks.
        mine_max: u16,
    },
    /// Their feature levels do not overlap.
    #[error(
        "{name} has feature levels {theirs_min} to {theirs_max}, this site {mine_min} to {mine_max}: upgrade the older one \
         release by release"
    )]
    NoCommonLevel {
        /// The peer's name.
        name: String,
        /// The lowest level the peer has.
        theirs_min: u32,
        /// The highest level the peer has.
        theirs_max: u32,
        /// The lowest level this site has.
        mine_min: u32,
        /// The highest level this site has.
        mine_max: u32,
    },
    /// The hello contradicts itself or names nobody.
    #[error("a hello that makes no sense: {0}")]
    Senseless(&'static str),
}

impl Hello {
    /// The longest encoding that is read.
    pub const BYTES_MAX: usize = 1024;
    /// The most addresses.
    pub const ADDRESSES_MAX: usize = 4;
    /// The longest address, in bytes.
    pub const ADDRESS_BYTES_MAX: usize = 128;
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 128;

    /// The hello of a site that runs this program.
    pub fn new(cluster: ClusterId, epoch: u32, site: SiteIncarnation, store: StoreId, name: &str) -> Hello {
        Hello {
            cluster,
            epoch,
            site,
            store,
            name: name.to_owned(),
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            feature_level_max: FEATURE_LEVEL_MAX,
            addresses: None,
            mserver: None,
            feature_level_min: Some(FEATURE_LEVEL_MIN),
            start: None,
        }
    }

    /// The body of a frame of [`crate::frame::Kind::Hello`].
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// Reads the body of a hello.
    pub fn decode(body: &[u8]) -> Result<Hello, DecodeError> {
        codec::decode_within(body, Hello::BYTES_MAX)
    }

    /// Whether this site, which says `self`, talks with one that says `theirs`, and how. From two good
    /// hellos both sides reach the same answer.
    pub fn agree(&self, theirs: &Hello) -> Result<Agreed, Refusal> {
        theirs.make_sense()?;
        let name = || theirs.name.clone();
        if theirs.cluster != self.cluster {
            return Err(Refusal::OtherCluster { name: name(), theirs: theirs.cluster, mine: self.cluster });
        }
        if theirs.epoch != self.epoch {
            return Err(self.other_epoch(theirs));
        }
        if theirs.site.site == self.site.site {
            return Err(Refusal::SameSite { name: name(), site: theirs.site.site });
        }
        let version = self.version_max.min(theirs.version_max);
        if version < self.version_min.max(theirs.version_min) {
            return Err(Refusal::NoCommonVersion {
                name: name(),
                theirs_min: theirs.version_min,
                theirs_max: theirs.version_max,
                mine_min: self.version_min,
                mine_max: self.version_max,
            });
        }
        let feature_level = self.feature_level_max.min(theirs.feature_level_max);
        let (mine_min, theirs_min) = (self.lowest_level(), theirs.lowest_level());
        if feature_level < mine_min.max(theirs_min) {
            let (mine_max, theirs_max) = (self.feature_level_max, theirs.feature_level_max);
            return Err(Refusal::NoCommonLevel { name: name(), theirs_min, theirs_max, mine_min, mine_max });
        }
        Ok(Agreed { version, feature_level })
    }

    /// The lowest feature level it supports.
    pub fn lowest_level(&self) -> u32 {
        self.feature_level_min.unwrap_or(1)
    }

    /// Both sides name the same site as the older one.
    fn other_epoch(&self, theirs: &Hello) -> Refusal {
        let (one, other) = if self.epoch > theirs.epoch { (self, theirs) } else { (theirs, self) };
        let (mine, older) = (ClusterEpoch(one.epoch), ClusterEpoch(other.epoch));
        let (name, without) = (one.name.clone(), other.name.clone());
        if mine.generation() == older.generation() {
            return Refusal::OtherSurvivors { name, mine, other: without, theirs: older };
        }
        Refusal::OlderEpoch { name, mine, without, theirs: older }
    }

    fn make_sense(&self) -> Result<(), Refusal> {
        if self.name.is_empty() || self.name.len() > Hello::NAME_BYTES_MAX {
            return Err(Refusal::Senseless("the name is empty or too long"));
        }
        if self.name.chars().any(char::is_control) {
            return Err(Refusal::Senseless("the name has control characters"));
        }
        if self.site.site.0 == 0 || self.site.incarnation.0 == 0 {
            return Err(Refusal::Senseless("site and incarnation count from 1"));
        }
        let addresses = self.addresses.as_deref().unwrap_or_default();
        let readable = |address: &String| address.bytes().all(|b| b.is_ascii_graphic());
        if addresses.len() > Hello::ADDRESSES_MAX
            || addresses.iter().any(|address| address.len() > Hello::ADDRESS_BYTES_MAX || !readable(address))
        {
            return Err(Refusal::Senseless("its addresses are too many, too long or unreadable"));
        }
        if self.lowest_level() > self.feature_level_max {
            return Err(Refusal::Senseless("the lowest feature level is above the highest"));
        }
        if self.version_min > self.version_max {
            return Err(Refusal::Senseless("the oldest version is newer than the newest"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    fn hello(site: u32) -> Hello {
        let site = SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) };
        Hello::new(ClusterId(7), 0, site, StoreId(u64::from(site.site.0)), &format!("site-{}", site.site.0))
    }

    #[test]
    fn a_hello_fits_its_bound_and_reads_as_written() {
        let mut longest = hello(u32::MAX);
        longest.name = "x".repeat(Hello::NAME_BYTES_MAX);
        longest.site.incarnation = Incarnation(u64::MAX);
        longest.addresses = Some(vec!["x".repeat(Hello::ADDRESS_BYTES_MAX); Hello::ADDRESSES_MAX]);
        longest.mserver = Some(false);
        longest.feature_level_min = Some(u32::MAX);
        assert_eq!(Hello::decode(&longest.encode()).expect("a good hello"), longest);
    }

    #[test]
    fn both_sides_agree_on_the_newest_common_version() {
        let (mut a, mut b) = (hello(1), hello(2));
        (a.version_min, a.version_max, a.feature_level_max) = (2, 5, 9);
        (b.version_min, b.version_max, b.feature_level_max) = (1, 3, 4);
        let agreed = Agreed { version: 3, feature_level: 4 };
        assert_eq!(a.agree(&b), Ok(agreed));
        assert_eq!(b.agree(&a), Ok(agreed));
        b.version_max = 1;
        assert!(matches!(a.agree(&b), Err(Refusal::NoCommonVersion { .. })));
        assert!(matches!(b.agree(&a), Err(Refusal::NoCommonVersion { .. })));
    }

    #[test]
    fn releases_too_far_apart_do_not_talk() {
        let (mut old, mut new) = (hello(1), hello(2));
        (old.feature_level_min, old.feature_level_max) = (None, 3);
        (new.feature_level_min, new.feature_level_max) = (Some(3), 4);
        assert_eq!(old.agree(&new).map(|agreed| agreed.feature_level), Ok(3));
        new.feature_level_min = Some(4);
        assert!(matches!(old.agree(&new), Err(Refusal::NoCommonLevel { theirs_min: 4, .. })));
        assert!(matches!(new.agree(&old), Err(Refusal::NoCommonLevel { theirs_max: 3, .. })));
        new.feature_level_min = Some(5);
        assert!(matches!(old.agree(&new), Err(Refusal::Senseless(_))));
    }

    #[test]
    fn strangers_are_told_why_they_are_refused() {
        let mine = hello(1);
        let refusal = |change: fn(&mut Hello)| {
            let mut theirs = hello(2);
            change(&mut theirs);
            mine.agree(&theirs).expect_err("a stranger")
        };
        assert!(matches!(refusal(|h| h.cluster = ClusterId(8)), Refusal::OtherCluster { .. }));
        assert!(matches!(refusal(|h| h.epoch = 1), Refusal::OtherSurvivors { .. }));
        assert!(matches!(
            refusal(|h| h.epoch = 1 << 16),
            Refusal::OlderEpoch { name, without, .. } if name == "site-2" && without == "site-1"
        ));
        assert!(matches!(refusal(|h| h.site.site = SiteId(1)), Refusal::SameSite { .. }));
        assert!(matches!(refusal(|h| h.name.clear()), Refusal::Senseless(_)));
        assert!(matches!(refusal(|h| h.name.push('\n')), Refusal::Senseless(_)));
        assert!(matches!(refusal(|h| h.site.site = SiteId(0)), Refusal::Senseless(_)));
        assert!(matches!(refusal(|h| h.version_min = 2), Refusal::Senseless(_)));
        assert!(matches!(refusal(|h| h.addresses = Some(vec!["a b".into()])), Refusal::Senseless(_)));
        assert!(matches!(refusal(|h| h.addresses = Some(vec![String::new(); 5])), Refusal::Senseless(_)));
        assert!(matches!(refusal(|h| h.addresses = Some(vec!["x".repeat(129)])), Refusal::Senseless(_)));
    }
}
