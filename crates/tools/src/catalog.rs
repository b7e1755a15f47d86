//! The catalog: which durable groups a cluster has, and where each began. It is itself the application of a durable group,
//! the first one, whose founders are those of the cluster; every other group is an entry in it.
//!
//! An entry is made once and never changes: which stores count later is said in the group's own log. So whoever finds one
//! knows how the group was founded, whenever he comes.

use std::collections::BTreeMap;
use std::hash::Hasher;

use bytes::Bytes;
use durable::{Application, Applying, Configuration, Locator, NotRestored, Parts};
use minicbor::{Decode, Encode};
use siphasher::sip::SipHasher13;
use wire::GroupName;

/// The name of the catalog's own group.
pub const NAME: &str = "unanimous.catalog";
/// Groups in a catalog.
pub const GROUPS_MAX: usize = 4_096;
/// The domains of its checkpoints. There is a level in those only that were taken above the first: programs that know no
/// other read them.
const ENTRIES: u16 = 1;
const LEVEL: u16 = 9;
/// The feature level that is in force when nothing was said.
pub const LEVEL_FIRST: u32 = 1;

/// What a durable group's application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// A [`Map`](crate::map::Map).
    #[n(0)]
    Map,
    /// An organisation's mail, the state machine of the crate `mail`.
    #[n(1)]
    Mail,
}

/// How a group was founded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Founding {
    /// What it is.
    #[n(0)]
    pub kind: Kind,
    /// The stores that counted first.
    #[n(1)]
    pub stores: Configuration,
}

/// What is asked of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Let there be a group of this name.
    #[n(0)]
    Create {
        /// Its name.
        #[n(0)]
        name: GroupName,
        /// How it begins.
        #[n(1)]
        founding: Founding,
    },
    /// Let this feature level be in force from now on. It never falls.
    #[n(8)]
    Raise {
        /// Which.
        #[n(0)]
        to: u32,
    },
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Answer {
    /// The group is there from now on.
    #[error("created")]
    #[n(0)]
    Created,
    /// It was there.
    #[error("there is such a group already")]
    #[n(1)]
    Exists,
    /// There are [`GROUPS_MAX`] groups.
    #[error("there are {GROUPS_MAX} durable groups, and no room for more")]
    #[n(2)]
    Full,
    /// The request means nothing to this version, or its stores are none that a group can have.
    #[error("this means nothing to the sites' version; upgrade them all")]
    #[n(3)]
    Malformed,
    /// The feature level is in force, or a higher one.
    #[error("in force")]
    #[n(8)]
    Raised,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    groups: BTreeMap<GroupName, Founding>,
    level: u32,
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog { groups: BTreeMap::new(), level: LEVEL_FIRST }
    }
}

impl Catalog {
    /// The groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupName, &Founding)> {
        self.groups.iter()
    }

    /// How a group was founded, if there is one.
    pub fn get(&self, name: &GroupName) -> Option<&Founding> {
        self.groups.get(name)
    }

    /// The feature level that is in force.
    pub fn level(&self) -> u32 {
        self.level
    }

    fn create(&mut self, name: GroupName, founding: Founding) -> Answer {
        if founding.stores.check().is_err() || name.to_string() == NAME {
            return Answer::Malformed;
        }
        if self.groups.contains_key(&name) {
            return Answer::Exists;
        }
        if self.groups.len() >= GROUPS_MAX {
            return Answer::Full;
        }
        self.groups.insert(name, founding);
        Answer::Created
    }
}

impl Application for Catalog {
    fn apply(&mut self, request: Applying) -> Bytes {
        let answer = match wire::codec::decode(&request.payload) {
            Ok(Request::Create { name, founding }) => self.create(name, founding),
            Ok(Request::Raise { to }) => {
                self.level = self.level.max(to);
                Answer::Raised
            }
            Err(_) => Answer::Malformed,
        };
        wire::codec::encode(&answer)
    }

    fn snapshot(&self) -> Parts {
        let parts = self.groups.clone().into_iter().map(|(name, founding)| {
            let key = name.to_string().into_bytes();
            let part = wire::codec::encode(&(name, founding));
            (Locator { domain: ENTRIES, key }, part)
        });
        let level = (self.level > LEVEL_FIRST).then(|| {
            let at = Locator { domain: LEVEL, key: Vec::new() };
            (at, wire::codec::encode(&self.level))
        });
        Box::new(parts.chain(level))
    }

    fn restore(&mut self, at: &Locator, part: Bytes) -> Result<(), NotRestored> {
        let wrong = NotRestored { domain: at.domain };
        if at.domain == LEVEL && self.level == LEVEL_FIRST {
            self.level = wire::codec::decode(&part).map_err(|_| wrong)?;
            return Ok(());
        }
        let (name, founding) = wire::codec::decode::<(GroupName, Founding)>(&part).map_err(|_| wrong)?;
        if at.domain != ENTRIES || self.groups.insert(name, founding).is_some() {
            return Err(wrong);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        for entry in &self.groups {
            hasher.write(&wire::codec::encode(&entry));
        }
        if self.level > LEVEL_FIRST {
            hasher.write_u32(self.level);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use durable::ClientId;
    use wire::{SiteId, StoreId};

    use super::*;

    fn founding(stores: u64) -> Founding {
        let stores = (1..=stores).map(|n| (StoreId(n), SiteId(n as u32)));
        Founding { kind: Kind::Map, stores: Configuration::majority(stores) }
    }

    fn ask(catalog: &mut Catalog, payload: Bytes) -> Answer {
        let client = ClientId::default();
        let answer = catalog.apply(Applying { position: 1, clock: 0, client, payload });
        wire::codec::decode(&answer).expect("an answer")
    }

    fn create(name: &str, stores: u64) -> Bytes {
        let name = GroupName::parse(name).expect("a name");
        wire::codec::encode(&Request::Create { name, founding: founding(stores) })
    }

    #[test]
    fn a_group_is_founded_once() {
        let mut catalog = Catalog::default();
        assert_eq!(ask(&mut catalog, create("a", 3)), Answer::Created);
        assert_eq!(ask(&mut catalog, create("a", 2)), Answer::Exists);
        let name = GroupName::parse("a").expect("a name");
        assert_eq!(catalog.get(&name), Some(&founding(3)));
    }

    #[test]
    fn what_means_nothing_changes_nothing() {
        let mut catalog = Catalog::default();
        for payload in
            [create("a", 0), create(NAME, 3), create("a", 65), Bytes::new(), Bytes::from_static(&[0xff; 40])]
        {
            assert_eq!(ask(&mut catalog, payload), Answer::Malformed);
        }
        assert_eq!(catalog, Catalog::default());
        for n in 0..GROUPS_MAX {
            assert_eq!(ask(&mut catalog, create(&format!("g{n}"), 1)), Answer::Created);
        }
        assert_eq!(ask(&mut catalog, create("more", 1)), Answer::Full);
    }

    #[test]
    fn a_catalog_is_the_same_from_its_parts() {
        let mut catalog = Catalog::default();
        for n in 0..20 {
            ask(&mut catalog, create(&format!("g{n}"), 1 + n % 5));
        }
        let digest = catalog.digest();
        for to in [2, 1] {
            assert_eq!(ask(&mut catalog, wire::codec::encode(&Request::Raise { to })), Answer::Raised);
        }
        assert_eq!(catalog.level(), 2, "it never falls");
        assert_ne!(catalog.digest(), digest);
        let mut again = Catalog::default();
        let parts: Vec<_> = catalog.snapshot().collect();
        assert!(parts.windows(2).all(|two| two[0].0 < two[1].0));
        for (at, part) in &parts {
            again.restore(at, part.clone()).expect("its own part");
        }
        assert_eq!((&again, again.digest()), (&catalog, catalog.digest()));
        assert!(again.restore(&parts[0].0, parts[0].1.clone()).is_err(), "twice");
        assert!(again.restore(&Locator::default(), Bytes::from_static(b"?")).is_err());
    }
}
