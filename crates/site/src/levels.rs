//! Feature levels: which this site's build has, which the others have said, and which is in force in the cluster.
//!
//! What is replicated means the same at every site only if all know it. So a release that changes such a meaning has a new
//! level, and behaves as before until the level is *in force*: an entry of the catalog says so, when every site has it. A site
//! that meets a level in force that it does not have stops, and does not start again: it would go another way than the others.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use net::{DiskError, Kept};
use wire::SiteId;
use wire::version::{FEATURE_LEVEL_MAX, FEATURE_LEVEL_MIN, Hello};

/// The file's name in the data directory.
const FILE: &str = "level";

/// A level in force that this program does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's feature level is {in_force}, and this program has {lowest} to {highest}: start the site with the release \
     that the other sites run"
)]
pub struct Unsupported {
    in_force: u32,
    lowest: u32,
    highest: u32,
}

/// What a site knows of levels.
pub(crate) struct Levels {
    supported: RangeInclusive<u32>,
    in_force: AtomicU32,
    /// What the others said when they were linked last.
    others: Mutex<BTreeMap<SiteId, RangeInclusive<u32>>>,
    kept: Arc<Mutex<Kept>>,
}

impl Levels {
    /// Reads which level was in force when the site was last up. `highest` lowers what the build has: for tests of a
    /// cluster that is being upgraded.
    pub(crate) fn open(data: &Path, highest: Option<u32>) -> Result<Levels, DiskError> {
        let (kept, content, _) = Kept::open(data, FILE)?;
        let known = match content.as_deref() {
            None => FEATURE_LEVEL_MIN,
            Some(content) => {
                let damaged = || DiskError::Damaged(data.join(FILE));
                u32::from_be_bytes(content.try_into().map_err(|_| damaged())?)
            }
        };
        Ok(Levels {
            supported: FEATURE_LEVEL_MIN..=highest.unwrap_or(FEATURE_LEVEL_MAX),
            in_force: AtomicU32::new(known),
            others: Mutex::default(),
            kept: Arc::new(Mutex::new(kept)),
        })
    }

    /// Whether the site may start.
    pub(crate) fn check(&self) -> Result<(), Unsupported> {
        self.supports(self.in_force())
    }

    /// What this site's program has.
    pub(crate) fn supported(&self) -> RangeInclusive<u32> {
        self.supported.clone()
    }

    /// The level in force, as far as this site knows.
    pub(crate) fn in_force(&self) -> u32 {
        self.in_force.load(Ordering::Acquire)
    }

    /// Another site has said which levels it has.
    pub(crate) fn heard(&self, hello: &Hello) {
        let said = hello.feature_level_min.unwrap_or(FEATURE_LEVEL_MIN)..=hello.feature_level_max;
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(hello.site.site, said);
    }

    /// What another site's program had when it was linked last.
    pub(crate) fn of(&self, site: SiteId) -> Option<RangeInclusive<u32>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).get(&site).cloned()
    }

    /// The catalog says that this level is in force. It is written down, so that a program that does not have it does not
    /// even begin to take part.
    ///
    /// # Errors
    ///
    /// This one is such a program: the site must stop.
    pub(crate) fn met(&self, level: u32) -> Result<(), Unsupported> {
        if self.in_force.fetch_max(level, Ordering::AcqRel) >= level {
            return Ok(());
        }
        tracing::info!(level, "the cluster's feature level");
        let kept = Arc::clone(&self.kept);
        let write = move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            // The catalog says it again at the next start.
            if let Err(error) = kept.replace(&level.to_be_bytes()) {
                tracing::warn!(%error, "can't write down the feature level");
            }
        };
        let supported = self.supports(level);
        match supported {
            Ok(()) => drop(tokio::task::spawn_blocking(write)),
            // Nothing else is to be done here any more.
            Err(_) => write(),
        }
        supported
    }

    fn supports(&self, in_force: u32) -> Result<(), Unsupported> {
        match self.supported.contains(&in_force) {
            true => Ok(()),
            false => {
                Err(Unsupported { in_force, lowest: *self.supported.start(), highest: *self.supported.end() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_level_is_remembered_and_a_program_without_it_does_not_start() {
        let data = tempfile::tempdir().expect("a directory");
        let old = |levels: Levels| {
            assert!(levels.check().is_ok());
            assert!(levels.met(1).is_ok());
            levels.met(2)
        };
        assert!(old(Levels::open(data.path(), Some(1)).expect("opened")).is_err());
        let old = Levels::open(data.path(), Some(1)).expect("opened");
        let why = old.check().expect_err("2 is in force").to_string();
        assert!(why.contains("is 2") && why.contains("1 to 1"), "{why}");
        let new = Levels::open(data.path(), None).expect("opened");
        assert_eq!((new.in_force(), new.check()), (2, Ok(())));
    }
}
