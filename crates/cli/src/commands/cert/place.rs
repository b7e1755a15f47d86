//! Files that belong together, put into a folder all at once.
//!
//! A copy of the folder is made beside it with the new files in it, and the two are exchanged, which is one step for
//! whoever reads and for a machine that loses power. Where the file system can't exchange two folders, the files are
//! replaced one after the other, keys first; a running site waits until they go together.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::failure::Failure;

/// A file to be put in place.
pub struct File {
    name: &'static str,
    text: String,
    mode: u32,
}

impl File {
    /// For its owner alone.
    pub fn secret(name: &'static str, text: String) -> File {
        File { name, text, mode: 0o600 }
    }

    /// For everybody to read.
    pub fn open(name: &'static str, text: String) -> File {
        File { name, text, mode: 0o644 }
    }
}

/// Puts files into a folder that is there, takes others out of it, and leaves the rest. The files belong to whom the
/// folder belongs to. An error leaves the folder as it was, or, where folders can't be exchanged, with some files new.
pub fn replace(folder: &Path, files: &[File], remove: &[&str]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::refused(format!("can't write to {}: {error}", folder.display()));
    // A link to the folder stays what it is.
    let folder = fs::canonicalize(folder).map_err(failed)?;
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(Failure::refused(format!("{} can't be replaced", folder.display())));
    };
    let copy = parent.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let done = exchange(&folder, &copy, files, remove).and_then(|exchanged| match exchanged {
        true => sync(parent),
        false => one_by_one(&folder, files, remove),
    });
    // What is left there is the old folder, or a copy that did not get finished.
    let _ = fs::remove_dir_all(&copy);
    done.map_err(failed)
}

/// False if the file system can't.
fn exchange(folder: &Path, copy: &Path, files: &[File], remove: &[&str]) -> io::Result<bool> {
    let old = fs::metadata(folder)?;
    fs::DirBuilder::new().mode(0o700).create(copy)?;
    chown_like(copy, &old)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let replaced = |name: &str| entry.file_name() == name;
        if files.iter().any(|file| replaced(file.name)) || remove.iter().any(|name| replaced(name)) {
            continue;
        }
        if !entry.file_type()?.is_file() {
            return Ok(false);
        }
        // The same file, so that what is written to it meanwhile is not lost.
        if fs::hard_link(entry.path(), copy.join(entry.file_name())).is_err() {
            return Ok(false);
        }
    }
    for file in files {
        write(&copy.join(file.name), file, &old)?;
    }
    fs::set_permissions(copy, fs::Permissions::from_mode(old.mode() & 0o7777))?;
    sync(copy)?;
    Ok(renameat_with(CWD, copy, CWD, folder, RenameFlags::EXCHANGE).is_ok())
}

fn one_by_one(folder: &Path, files: &[File], remove: &[&str]) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    let temporary = |file: &File| folder.join(format!(".{}.{}.new", file.name, std::process::id()));
    for file in files {
        write(&temporary(file), file, &owner)?;
    }
    let secrets_first =
        files.iter().filter(|f| f.mode == 0o600).chain(files.iter().filter(|f| f.mode != 0o600));
    for file in secrets_first {
        fs::rename(temporary(file), folder.join(file.name))?;
    }
    for name in remove {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync(folder)
}

fn write(path: &PathBuf, file: &File, owner: &fs::Metadata) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(path)?;
    out.write_all(file.text.as_bytes())?;
    out.sync_all()?;
    chown_like(path, owner)
}

/// A site that does not run as the one who renews must be able to read its key.
fn chown_like(path: &Path, like: &fs::Metadata) -> io::Result<()> {
    let now = fs::metadata(path)?;
    if (now.uid(), now.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    chown(path, Some(like.uid()), Some(like.gid()))
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_replaced_and_removed_and_others_stay_the_files_they_were() {
        for plain in [true, false] {
            let dir = tempfile::tempdir().expect("a folder");
            let folder = dir.path().join("certificates");
            fs::create_dir(&folder).expect("a folder");
            if !plain {
                // With a folder in it, it is not exchanged.
                fs::create_dir(folder.join("old")).expect("a folder");
            }
            for name in ["key", "gone", "revoked"] {
                fs::write(folder.join(name), name).expect("written");
            }
            let mut revoked = OpenOptions::new().append(true).open(folder.join("revoked")).expect("open");
            let files = [File::open("pem", "new".into()), File::secret("key", "new".into())];
            assert!(replace(&folder, &files, &["gone", "never"]).is_ok());
            revoked.write_all(b" and more").expect("written");
            let read = |name| fs::read_to_string(folder.join(name)).expect("it is there");
            assert_eq!(
                (read("pem"), read("key"), read("revoked")),
                ("new".into(), "new".into(), "revoked and more".into())
            );
            let mode = |name| fs::metadata(folder.join(name)).expect("there").mode() & 0o777;
            assert_eq!((mode("key"), mode("pem")), (0o600, 0o644));
            let expected =
                if plain { vec!["key", "pem", "revoked"] } else { vec!["key", "old", "pem", "revoked"] };
            assert_eq!(names(&folder), expected);
            assert_eq!(names(dir.path()), ["certificates"], "nothing is left beside it");
        }
    }
}
