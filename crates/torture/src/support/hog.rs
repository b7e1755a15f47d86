//! What takes the machine away from the sites: this program again, as a child that spins or writes until its standard
//! input ends.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::run::Run;
use super::verdict::Verdict;

/// What stands in front of a hog's argument.
const CPU: &str = "--hog-processors";
const DISK: &str = "--hog-disk";

/// Writers that flush all the time.
const WRITERS: usize = 8;
const WRITE_BYTES: usize = 64 * 1024;
/// Each writer begins its file anew after so much.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Ends with it.
pub struct Hog(Child);

impl Hog {
    /// So many threads that spin.
    pub fn spin(run: &Run, threads: usize) -> Verdict<Hog> {
        Hog::start(run, CPU, threads.to_string().as_ref())
    }

    /// Threads that write and `fsync` in this folder.
    pub fn saturate_disk(run: &Run, folder: &Path) -> Verdict<Hog> {
        std::fs::create_dir_all(folder)?;
        Hog::start(run, DISK, folder.as_os_str())
    }

    fn start(run: &Run, what: &str, how: &OsStr) -> Verdict<Hog> {
        let program = std::env::current_exe()?;
        Ok(Hog(Command::new(program).args(run.hog()).arg(what).arg(how).stdin(Stdio::piped()).spawn()?))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hog's work.
#[derive(Clone, Debug)]
pub enum Hogging {
    /// So many threads spin.
    Processors(usize),
    /// Eight threads write and `fsync` in this folder.
    Disk(PathBuf),
}

impl Hogging {
    /// What a child was started for, if it was started as a hog: its arguments, without what stands in front of them
    /// ([`crate::Options::hog`]).
    pub fn asked(args: &[OsString]) -> Option<Hogging> {
        let [what, how] = args else { return None };
        match what.to_str()? {
            CPU => Some(Hogging::Processors(how.to_str()?.parse().ok()?)),
            DISK => Some(Hogging::Disk(how.into())),
            _ => None,
        }
    }
}

/// Does a hog's work until this process's standard input ends.
pub fn hog(work: &Hogging) {
    match work {
        Hogging::Processors(threads) => {
            for _ in 0..*threads {
                std::thread::spawn(spin_for_ever);
            }
        }
        Hogging::Disk(folder) => {
            for i in 0..WRITERS {
                let path = folder.join(format!("hog-{i}"));
                std::thread::spawn(move || write_for_ever(&path));
            }
        }
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn spin_for_ever() {
    let mut x = 1_u64;
    loop {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

fn write_for_ever(path: &Path) {
    let block = vec![0x5a; WRITE_BYTES];
    loop {
        let Ok(mut file) = std::fs::File::create(path) else { return };
        for _ in 0..FILE_BYTES_MAX / WRITE_BYTES {
            if file.write_all(&block).is_err() || file.sync_all().is_err() {
                return;
            }
        }
    }
}
