//! What takes the machine away from the sites: this harness again, as a child that spins or writes until its standard
//! input ends.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use super::verdict::Verdict;

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
    pub fn spin(threads: usize) -> Verdict<Hog> {
        Hog::start(CPU, &threads.to_string())
    }

    /// Threads that write and `fsync` in this folder.
    pub fn saturate_disk(folder: &Path) -> Verdict<Hog> {
        std::fs::create_dir_all(folder)?;
        Hog::start(DISK, &folder.to_string_lossy())
    }

    fn start(what: &str, how: &str) -> Verdict<Hog> {
        Ok(Hog(Command::new(std::env::current_exe()?).args([what, how]).stdin(Stdio::piped()).spawn()?))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does a hog's work, if this process was started as one.
pub fn as_child(args: &[String]) -> Option<ExitCode> {
    let [what, how] = args else { return None };
    match what.as_str() {
        CPU => {
            for _ in 0..how.parse::<usize>().unwrap_or(1) {
                std::thread::spawn(|| {
                    let mut x = 1_u64;
                    loop {
                        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                    }
                });
            }
        }
        DISK => {
            for i in 0..WRITERS {
                let path = Path::new(how).join(format!("hog-{i}"));
                std::thread::spawn(move || write_for_ever(&path));
            }
        }
        _ => return None,
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Some(ExitCode::SUCCESS)
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
