//! What a durable group takes of this site's disk.

use std::path::Path;

/// Bytes of a group's files at this site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Its log and checkpoints.
    pub log: u64,
    /// Payloads that a service keeps beside it.
    pub kept: u64,
    /// The service's spool.
    pub spool: u64,
}

impl Weight {
    /// Of the group whose store is in this folder. What is removed meanwhile is not counted.
    pub(super) fn of(folder: &Path) -> Weight {
        Weight {
            log: bytes_in(folder),
            kept: bytes_in(&folder.with_extension("kept")),
            spool: bytes_in(&folder.with_extension("spool")),
        }
    }

    /// All of it.
    pub fn all(self) -> u64 {
        self.log + self.kept + self.spool
    }
}

/// A store's folder has no folders in it.
fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_where_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("group-ledger");
        assert_eq!(Weight::of(&folder), Weight::default());
        for (name, bytes) in [("group-ledger", 3), ("group-ledger.kept", 5), ("group-ledger.spool", 7)] {
            std::fs::create_dir(dir.path().join(name)).expect("a folder");
            std::fs::write(dir.path().join(name).join("one"), vec![0; bytes]).expect("a file");
            std::fs::write(dir.path().join(name).join("two"), [0]).expect("a file");
        }
        let weight = Weight::of(&folder);
        assert_eq!((weight, weight.all()), (Weight { log: 4, kept: 6, spool: 8 }, 18));
    }
}
