//! The log's disk: a directory of the file system.
//!
//! `fdatasync` makes a file durable, `fsync` of the directory the names in it. Room is reserved with `fallocate`,
//! so that a full disk refuses an entry before anything of it is written; a file system that cannot reserve finds
//! out when it writes. All calls block: they belong on the log's own thread, those of readers on any other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

use crate::disk::lock;

/// Files that are kept open.
const OPEN_FILES: usize = 64;

/// A directory that a log lives in, and nobody else. A clone is the same one; it is let go with the last.
#[derive(Clone, Debug)]
pub struct FileDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// The last used is the last.
    open: Mutex<Vec<(String, Arc<File>)>>,
    _lock: File,
}

impl FileDisk {
    /// Opens a directory, or makes it, and locks it against other processes. The directory's own name is durable
    /// when this returns.
    pub fn open(dir: &Path) -> Result<FileDisk, crate::DiskError> {
        let refused = |error| crate::DiskError::Io { path: dir.to_owned(), error };
        fs::create_dir_all(dir).map_err(refused)?;
        let lock = lock(dir)?;
        if let Some(parent) = fs::canonicalize(dir).map_err(refused)?.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(refused)?;
        }
        let shared = Shared { dir: dir.to_owned(), open: Mutex::default(), _lock: lock };
        Ok(FileDisk { shared: Arc::new(shared) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.dir.join(name)
    }

    fn with_open<T>(&self, with: impl FnOnce(&mut Vec<(String, Arc<File>)>) -> T) -> T {
        with(&mut self.shared.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The file, open to read and write; no lock is held while anything is done with it.
    fn file(&self, name: &str) -> Result<Arc<File>, wal::DiskError> {
        let found = self.with_open(|open| {
            let at = open.iter().rposition(|(n, _)| n == name)?;
            let found = open.remove(at);
            let file = Arc::clone(&found.1);
            open.push(found);
            Some(file)
        });
        match found {
            Some(file) => Ok(file),
            None => {
                let opened = OpenOptions::new().read(true).write(true).open(self.path(name));
                Ok(self.keep(name, opened.map_err(|error| refusal(name, error))?))
            }
        }
    }

    fn keep(&self, name: &str, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let dropped = self.with_open(|open| {
            open.push((name.to_owned(), Arc::clone(&file)));
            if open.len() > OPEN_FILES { Some(open.remove(0)) } else { None }
        });
        drop(dropped);
        file
    }

    fn forget(&self, name: &str) {
        self.with_open(|open| open.retain(|(n, _)| n != name));
    }

    fn on_file<T>(&self, name: &str, what: impl FnOnce(&File) -> io::Result<T>) -> Result<T, wal::DiskError> {
        what(&*self.file(name)?).map_err(|error| refusal(name, error))
    }
}

fn refusal(name: &str, error: io::Error) -> wal::DiskError {
    let name = name.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => wal::DiskError::Full(name),
        io::ErrorKind::NotFound => wal::DiskError::NotFound(name),
        _ => wal::DiskError::Failed { name, why: error.to_string() },
    }
}

impl wal::Disk for FileDisk {
    fn list(&self) -> Result<Vec<(String, u64)>, wal::DiskError> {
        let list = || -> io::Result<Vec<(String, u64)>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.shared.dir)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                    files.push((name, metadata.len()));
                }
            }
            Ok(files)
        };
        list().map_err(|error| refusal("the directory", error))
    }

    fn create(&self, name: &str) -> Result<(), wal::DiskError> {
        let created = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name));
        self.keep(name, created.map_err(|error| refusal(name, error))?);
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<usize, wal::DiskError> {
        let file = self.file(name)?;
        let mut read = 0;
        while read < into.len() {
            match file.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Err(wal::DiskError::Unreadable(name.to_owned()));
                }
                Err(error) => return Err(refusal(name, error)),
            }
        }
        Ok(read)
    }

    fn read_once(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<usize, wal::DiskError> {
        let read = self.read_at(name, offset, into)?;
        // Whole pages go, and the same memory is read into next: of a large file the rest of the machine's is left alone.
        self.on_file(name, |file| {
            let _ = fadvise(file, offset, NonZeroU64::new(read as u64), Advice::DontNeed);
            Ok(read)
        })
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), wal::DiskError> {
        self.on_file(name, |file| file.write_all_at(bytes, offset))
    }

    fn allocate(&self, name: &str, length: u64) -> Result<(), wal::DiskError> {
        self.on_file(name, |file| match fallocate(file, FallocateFlags::empty(), 0, length) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    fn truncate(&self, name: &str, length: u64) -> Result<(), wal::DiskError> {
        self.on_file(name, |file| file.set_len(length))
    }

    fn sync(&self, name: &str) -> Result<(), wal::DiskError> {
        // A full disk that shows here, where room was promised late, is as fatal as any other error.
        self.on_file(name, File::sync_data).map_err(|error| match error {
            wal::DiskError::Full(name) => {
                wal::DiskError::Failed { name, why: "the disk is full while syncing".to_owned() }
            }
            other => other,
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), wal::DiskError> {
        fs::rename(self.path(from), self.path(to)).map_err(|error| refusal(from, error))?;
        self.forget(from);
        self.forget(to);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), wal::DiskError> {
        self.forget(name);
        fs::remove_file(self.path(name)).map_err(|error| refusal(name, error))
    }

    fn sync_dir(&self) -> Result<(), wal::DiskError> {
        let synced = File::open(&self.shared.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| refusal("the directory", error))
    }
}

#[cfg(test)]
#[path = "file_disk_tests.rs"]
mod tests;
