//! A file that appears under its name when it is whole and on disk, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where a backup is written to.
pub struct Target {
    to: To,
    bytes: u64,
}

enum To {
    Stdout,
    File { file: File, temporary: Temporary, path: PathBuf },
}

/// Goes when it is dropped, unless it has got its name.
struct Temporary(PathBuf);

impl Target {
    /// Makes a file beside `path` that only its owner may read; `-` is standard output.
    pub fn create(path: &Path) -> Result<Target, Failure> {
        if path == Path::new("-") {
            return Ok(Target { to: To::Stdout, bytes: 0 });
        }
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(Failure::usage(format!("{}: name a file", path.display())));
        };
        let mut temporary = name.to_owned();
        temporary.push(format!(".partial-{}", std::process::id()));
        let temporary = Temporary(path.with_file_name(temporary));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.0);
        let file = made.map_err(|error| Failure::refused(format!("{}: {error}", temporary.0.display())))?;
        Ok(Target { to: To::File { file, temporary, path: path.to_owned() }, bytes: 0 })
    }

    /// Writes a piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.bytes += piece.len() as u64;
        match &mut self.to {
            To::Stdout => Ok(io::stdout().lock().write_all(piece)?),
            To::File { file, path, .. } => file.write_all(piece).map_err(|error| failed(path, &error)),
        }
    }

    /// Makes it durable and gives it its name. Says how many bytes it has.
    pub fn finish(self) -> Result<u64, Failure> {
        match self.to {
            To::Stdout => io::stdout().lock().flush()?,
            To::File { file, temporary, path } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let named = file
                    .sync_all()
                    .and_then(|()| fs::rename(&temporary.0, &path))
                    .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all());
                named.map_err(|error| failed(&path, &error))?;
            }
        }
        Ok(self.bytes)
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("{}: {error}; there is no new backup", path.display()))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed, it is not there any more.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("b");
        fs::write(&path, "old").expect("written");
        let mut target = Target::create(&path).expect("made");
        target.write(b"ne").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"old");
        target.write(b"w").expect("written");
        assert_eq!(target.finish().expect("finished"), 3);
        assert_eq!(fs::read(&path).expect("there"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut target = Target::create(&dir.path().join("b")).expect("made");
        target.write(b"half").expect("written");
        drop(target);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
        assert_eq!(Target::create(dir.path()).err().map(|failure| failure.status), Some(2));
        let nowhere = Target::create(&dir.path().join("no/b")).err();
        assert_eq!(nowhere.map(|failure| failure.status), Some(1));
    }
}
