//! `DIR/recovered-0`, `DIR/recovered-1`: that an operator forced the cluster into a new epoch.
//!
//! The file begins the epoch and voids the record that was there in one replacement: it names the old record by its
//! digest, so a crash between the two cannot leave an old record in a new epoch.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use wire::{ClusterEpoch, Incarnation, SiteId, StoreId};

use super::{DiskError, Replaced, identity_bytes, io_error, lock, parse_identity};

/// Names the life that a fresh directory was told to outlive.
const OUTLIVED: &str = "outlived";

/// What a recovery by force has decided for a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The cluster's epoch.
    pub epoch: ClusterEpoch,
    /// The survivors, who found the cluster's new line together, in order of seniority; none: this site joins them.
    pub founders: Vec<SiteId>,
}

/// A data directory that no site uses, held so that none can.
pub struct Held {
    /// The directory's random name; none: it was never used.
    pub store: Option<StoreId>,
    /// The last life of the site.
    pub incarnation: Incarnation,
    /// The last stored record of this cluster epoch.
    pub record: Option<Vec<u8>>,
    /// The last recovery by force.
    pub recovered: Option<Recovered>,
    dir: PathBuf,
    stored: Option<Vec<u8>>,
    recovery: Replaced,
    identity: Replaced,
    _lock: File,
}

impl Held {
    /// Reads a data directory, which is made if there is none. Nothing in it changes, but that a damaged copy is
    /// mended from the other.
    pub fn open(dir: &Path) -> Result<Held, DiskError> {
        fs::create_dir_all(dir).map_err(|error| io_error(dir, error))?;
        let lock = lock(dir)?;
        let (file, identity, _) = Replaced::open(dir, "identity")?;
        let (_, stored, _) = Replaced::open(dir, "record")?;
        let (recovery, bytes, _) = open(dir)?;
        let identity = match identity {
            Some(bytes) => {
                Some(parse_identity(&bytes).ok_or_else(|| DiskError::Damaged(dir.join("identity")))?)
            }
            None => None,
        };
        let (recovered, record) = take_apart(dir, bytes, stored.clone())?;
        Ok(Held {
            store: identity.map(|(store, _)| store),
            incarnation: identity.map_or(Incarnation(0), |(_, incarnation)| incarnation),
            record,
            recovered,
            dir: dir.to_owned(),
            stored,
            recovery,
            identity: file,
            _lock: lock,
        })
    }

    /// Begins a cluster epoch: the record is void from now on. Durable when it returns.
    pub fn recover(mut self, recovered: &Recovered) -> Result<(), DiskError> {
        let void = self.stored.as_deref().map(|record| digest(&SHA256, record));
        let mut bytes = recovered.epoch.0.to_le_bytes().to_vec();
        bytes.extend_from_slice(void.as_ref().map_or(&[0; SHA256_OUTPUT_LEN], |sum| sum.as_ref()));
        recovered.founders.iter().for_each(|site| bytes.extend_from_slice(&site.0.to_le_bytes()));
        self.recovery.replace(&bytes)
    }

    /// The site's next life is above this one, which an earlier store of the site has had. For a directory that was opened
    /// `fresh`, and has been in no view since: it is as fresh then as it was. Durable when it returns.
    pub fn outlive(mut self, life: Incarnation) -> Result<(), DiskError> {
        let Some(store) = self.store.filter(|_| self.incarnation < life) else { return Ok(()) };
        let path = self.dir.join(OUTLIVED);
        let noted = File::create(&path).and_then(|mut file| {
            file.write_all(&life.0.to_le_bytes())?;
            file.sync_all()
        });
        noted.map_err(|error| io_error(&path, error))?;
        self.identity.replace(&identity_bytes(store, life))
    }

    /// Which directory it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Which life the directory was told to outlive, when it was fresh. Of no use once it has started again.
pub(super) fn outlived(dir: &Path) -> Option<Incarnation> {
    let bytes = fs::read(dir.join(OUTLIVED)).ok()?;
    Some(Incarnation(u64::from_le_bytes(bytes.try_into().ok()?)))
}

/// The file, in its two copies.
#[allow(clippy::type_complexity, reason = "the parts of one answer, taken apart at once")]
pub(super) fn open(dir: &Path) -> Result<(Replaced, Option<Vec<u8>>, Vec<PathBuf>), DiskError> {
    Replaced::open(dir, "recovered")
}

/// The recovery, and the record unless it was voided by it.
pub(super) fn take_apart(
    dir: &Path,
    bytes: Option<Vec<u8>>,
    record: Option<Vec<u8>>,
) -> Result<(Option<Recovered>, Option<Vec<u8>>), DiskError> {
    let Some(bytes) = bytes else { return Ok((None, record)) };
    let (recovered, void) = parse(&bytes).ok_or_else(|| DiskError::Damaged(dir.join("recovered")))?;
    let record = record.filter(|record| digest(&SHA256, record).as_ref() != void);
    Ok((Some(recovered), record))
}

fn parse(bytes: &[u8]) -> Option<(Recovered, &[u8])> {
    let (epoch, rest) = bytes.split_first_chunk::<4>()?;
    let (void, rest) = rest.split_at_checked(SHA256_OUTPUT_LEN)?;
    let (founders, []) = rest.as_chunks::<4>() else { return None };
    let founders = founders.iter().map(|site| SiteId(u32::from_le_bytes(*site))).collect();
    Some((Recovered { epoch: ClusterEpoch(u32::from_le_bytes(*epoch)), founders }, void))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Disk;
    use super::*;
    use crate::input::{Input, inputs};

    fn run(dir: &Path, record: Option<&[u8]>) -> super::super::Opened {
        let (sender, mut inputs) = inputs();
        let (disk, opened) = Disk::open(dir, sender, Arc::default()).expect("opens");
        if let Some(record) = record {
            disk.store(1, record.to_vec());
            drop(disk);
            assert!(matches!(inputs.try_recv(), Some(Input::Stored(1))));
        }
        opened
    }

    #[test]
    fn a_recovery_voids_the_record_that_was_there_and_no_later_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = run(dir.path(), Some(b"the old line"));
        assert_eq!(first.recovered, None);
        let held = Held::open(dir.path()).expect("nobody uses it");
        assert_eq!(held.record.as_deref(), Some(&b"the old line"[..]));
        assert_eq!((held.store, held.incarnation), (Some(first.store), Incarnation(1)));
        let recovered = Recovered { epoch: ClusterEpoch(0x1_3f2a), founders: vec![SiteId(1), SiteId(3)] };
        held.recover(&recovered).expect("durable");

        let second = run(dir.path(), Some(b"the new line"));
        assert_eq!((second.record, second.recovered), (None, Some(recovered.clone())));
        assert_eq!((second.store, second.incarnation), (first.store, Incarnation(2)));
        let third = run(dir.path(), None);
        assert_eq!((third.record.as_deref(), third.recovered), (Some(&b"the new line"[..]), Some(recovered)));
    }

    #[test]
    fn a_new_store_outlives_an_earlier_one_and_keeps_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = run(dir.path(), Some(b"promises"));
        assert!(first.fresh);
        let outlive = |life| Held::open(dir.path()).expect("nobody uses it").outlive(Incarnation(life));
        outlive(7).expect("durable");
        outlive(3).expect("nothing to do");
        let second = run(dir.path(), None);
        assert_eq!((second.store, second.incarnation, second.fresh), (first.store, Incarnation(8), true));
        assert_eq!(second.record.as_deref(), Some(&b"promises"[..]));
        assert!(!run(dir.path(), None).fresh, "somebody may have copied it");
        assert!(!run(dir.path(), None).fresh);
    }

    #[test]
    fn a_directory_in_use_is_not_recovered() {
        let dir = tempfile::tempdir().expect("a directory");
        let (sender, _inputs) = inputs();
        let (_disk, _) = Disk::open(dir.path(), sender, Arc::default()).expect("opens");
        assert!(matches!(Held::open(dir.path()), Err(DiskError::Locked(_))));
    }

    #[test]
    fn a_damaged_recovery_is_not_taken_for_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = Held::open(dir.path()).expect("a new one");
        held.recover(&Recovered { epoch: ClusterEpoch(0x1_0001), founders: Vec::new() }).expect("durable");
        for copy in 0..2 {
            fs::write(dir.path().join(format!("recovered-{copy}")), b"rust").expect("written");
        }
        assert!(matches!(Held::open(dir.path()), Err(DiskError::Damaged(_))));
    }
}
