//! A small file system of a directory's own, which can be filled and have room again. Needs root.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::verdict::{Verdict, failed, skipped};

/// What takes the room of a full one.
const FILLER: &str = "filler";
/// A page: less is never left.
const PAGE: usize = 4096;

/// A file system in memory; unmounted when dropped.
pub struct Volume {
    at: PathBuf,
}

impl Volume {
    /// Makes one at a directory, which is made too; a reason to skip the scenario if that can't be done here.
    pub fn mount(at: &Path, mebibytes: u32) -> Verdict<Volume> {
        if !rustix::process::geteuid().is_root() {
            return skipped("only root mounts a small file system");
        }
        fs::create_dir_all(at)?;
        let options = format!("size={mebibytes}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).stdin(Stdio::null());
        match mount.output() {
            Ok(output) if output.status.success() => Ok(Volume { at: at.to_owned() }),
            Ok(_) => skipped("this kernel or container mounts nothing"),
            Err(_) => skipped("`mount` is missing (package mount)"),
        }
    }

    /// Takes all room that is left. What was reserved by others stays theirs.
    pub fn fill(&self) -> Verdict {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.at.join(FILLER))?;
        for bytes in [256 * PAGE, PAGE] {
            loop {
                match filler.write(&vec![0xff; bytes]) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return failed(format!("{}: {error}", self.at.display())),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn empty_out(&self) -> Verdict {
        Ok(fs::remove_file(self.at.join(FILLER))?)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: whoever still uses it, uses it to its end.
        let _ = Command::new("umount").arg("-l").arg(&self.at).stdin(Stdio::null()).output();
    }
}
