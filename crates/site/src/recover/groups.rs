//! Durable groups that have lost too many of their stores for good (D22): what a stopped site's disk knows of each, and which
//! of the stores that counted are left.

use std::path::{Path, PathBuf};

use durable::{Configuration, Forcing, Life, Settings};
use net::FileDisk;
use stack::store::{DiskStore, Opened, Who};
use wire::{Incarnation, SiteId, StoreId};

use super::RecoverError;

/// A durable group that cannot go on with the survivors as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostGroup {
    /// Its name.
    pub group: String,
    /// How far the log of this site's store goes.
    pub last: u64,
    /// The sites whose stores counted, as this store knows it.
    pub counted: Vec<SiteId>,
    /// Those of them that survive; nobody: nothing can be done here.
    pub left: Vec<SiteId>,
    /// It was forced before.
    pub done: bool,
}

/// The folder of all groups' stores, and whose they are.
#[derive(Clone, Debug)]
pub(super) struct Stores {
    pub(super) root: PathBuf,
    pub(super) site: SiteId,
    pub(super) store: StoreId,
}

impl Stores {
    /// The groups that what is left is too little for. Nothing changes.
    pub(super) fn lost(&self, survivors: &[SiteId]) -> Result<Vec<LostGroup>, RecoverError> {
        let mut lost = Vec::new();
        for folder in self.folders()? {
            if let Some(Forcing { last, before, after, done }) =
                self.open(&folder)?.machine.forcing(survivors)
            {
                lost.push(LostGroup {
                    group: name_of(&folder),
                    last: last.position,
                    counted: by_number(before),
                    left: by_number(after),
                    done,
                });
            }
        }
        lost.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(lost)
    }

    /// Lets each of them go on with what is left. Durable when it returns.
    pub(super) fn force(&self, survivors: &[SiteId]) -> Result<(), RecoverError> {
        for folder in self.folders()? {
            let Opened { mut store, mut machine } = self.open(&folder)?;
            machine.force(survivors);
            let ops: Vec<_> = std::iter::from_fn(|| machine.poll_store()).collect();
            store.work(ops);
            if let Some(why) = store.failed() {
                return Err(RecoverError::Store { path: folder, why: why.to_owned() });
            }
        }
        Ok(())
    }

    fn folders(&self) -> Result<Vec<PathBuf>, RecoverError> {
        let failed =
            |error: std::io::Error| RecoverError::Store { path: self.root.clone(), why: error.to_string() };
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        Ok(folders)
    }

    fn open(&self, folder: &Path) -> Result<Opened<FileDisk>, RecoverError> {
        let failed = |why: String| RecoverError::Store { path: folder.to_owned(), why };
        let disk = FileDisk::open(folder).map_err(|error| failed(error.to_string()))?;
        // It takes part in nothing in this life, which is nobody's.
        let life = Life { incarnation: Incarnation(0), nonce: 0 };
        let who = Who { site: self.site, store: self.store, life, founders: None };
        DiskStore::open(disk, wal::Config::new(self.store.0), Settings::default(), who)
            .map_err(|error| failed(error.to_string()))
    }
}

fn by_number(configuration: Configuration) -> Vec<SiteId> {
    let mut sites: Vec<SiteId> = configuration.stores.into_values().collect();
    sites.sort_unstable();
    sites
}

/// The group that a folder is of, as hosting names them: plainly, or six bits a letter.
fn name_of(folder: &Path) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let folder = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(plain) = folder.strip_prefix("group-") {
        return plain.to_owned();
    }
    let Some(letters) = folder.strip_prefix("name-") else { return folder };
    let mut name = Vec::new();
    for four in letters.as_bytes().chunks(4) {
        let six = |letter: &u8| LETTERS.iter().position(|known| known == letter).unwrap_or(0) as u32;
        let bits = four.iter().enumerate().fold(0, |bits, (n, letter)| bits | six(letter) << (18 - 6 * n));
        name.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_its_group() {
        for (folder, name) in [
            ("group-notes", "notes"),
            ("name-dW5hbmltb3VzLmNhdGFsb2c", "unanimous.catalog"),
            ("name-YS9i", "a/b"),
            ("name-QQ", "A"),
            ("other", "other"),
        ] {
            assert_eq!(name_of(Path::new(folder)), name);
        }
    }
}
