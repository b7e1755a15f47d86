//! What the disk under a folder needs to force a write.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};

use super::clock::now;
use super::summary::Summary;
use crate::failure::Failure;

/// About what a log takes for a value of 1 KiB.
const BYTES: usize = 1_200;
/// The file is allocated before, as the logs are.
const ALLOCATED_BYTES: u64 = 64 << 20;
/// How long it is measured.
const MEASURED: Duration = Duration::from_secs(1);

/// One write after the other, each forced with `fdatasync`.
pub fn forced_writes_us(folder: &Path) -> Result<Option<Summary>, Failure> {
    let path = folder.join("disk-probe");
    let mut file = File::create(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, ALLOCATED_BYTES).map_err(std::io::Error::from)?;
    file.sync_all()?;
    let block = [0x5a; BYTES];
    let (end, mut times) = (now() + MEASURED, Vec::new());
    let mut left = ALLOCATED_BYTES / BYTES as u64;
    while now() < end && left > 0 {
        let began = now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(now().saturating_sub(began));
        left -= 1;
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(Summary::in_us(&times))
}
