//! Bytes that flip in the files of a durable map's store, at a site that does not run.

use std::fs;
use std::path::{Path, PathBuf};

use super::load::MAP;
use super::site::Site;
use super::verdict::{Verdict, failed};

/// The files of the map's store at a site that end like this, in order.
fn files(site: &Site, ends: &str) -> Verdict<Vec<PathBuf>> {
    let folder = site.config.site.data.join("durable").join(format!("group-{MAP}"));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == ends) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Where the log of a site has these bytes.
fn find(site: &Site, bytes: &[u8]) -> Verdict<Option<(PathBuf, usize)>> {
    for path in files(site, "seg")? {
        let content = fs::read(&path)?;
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            return Ok(Some((path, at)));
        }
    }
    Ok(None)
}

/// Whether the log of a site has these bytes.
pub fn has(site: &Site, bytes: &[u8]) -> Verdict<bool> {
    Ok(find(site, bytes)?.is_some())
}

/// A bit flips in the middle of these bytes, which the log of a site has.
pub fn flip_in(site: &Site, bytes: &[u8]) -> Verdict {
    match find(site, bytes)? {
        Some((path, at)) => flip(&path, at + bytes.len() / 2),
        None => failed(format!("the log of site {} does not have the record", site.number)),
    }
}

/// A bit flips in the last record of the newest segment.
pub fn flip_last(site: &Site) -> Verdict {
    let files = files(site, "seg")?;
    let Some(newest) = files.last() else { return failed("there is no log") };
    // Behind the last record there is reserved room, all zeros.
    match fs::read(newest)?.iter().rposition(|byte| *byte != 0) {
        Some(at) => flip(newest, at),
        None => failed("the newest segment is empty"),
    }
}

/// Whether the store at a site has a checkpoint.
pub fn has_checkpoint(site: &Site) -> bool {
    files(site, "ckp").is_ok_and(|files| !files.is_empty())
}

/// A bit flips in the middle of the checkpoint.
pub fn flip_checkpoint(site: &Site) -> Verdict {
    let files = files(site, "ckp")?;
    let Some(checkpoint) = files.last() else { return failed("there is no checkpoint") };
    flip(checkpoint, fs::read(checkpoint)?.len() / 2)
}

fn flip(path: &Path, at: usize) -> Verdict {
    let mut content = fs::read(path)?;
    match content.get_mut(at) {
        Some(byte) => *byte ^= 0x10,
        None => return failed(format!("{} is shorter than {at}", path.display())),
    }
    Ok(fs::write(path, content)?)
}
