//! A backup that is read: to be checked as a whole, and then range by range of its groups' keys.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use tools::backup::{Checker, Damaged, Head, Item};
use tools::map::Pair;
use unanimous::Bytes;

use super::{Seen, progress};
use crate::failure::Failure;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// A backup in a file.
pub struct Source {
    file: File,
    path: PathBuf,
    bytes: u64,
    buffer: Vec<u8>,
    checker: Checker,
    /// Of the group that is being read.
    group: Option<Group>,
    head: Option<Head>,
}

struct Group {
    name: String,
    quota: Option<u64>,
    clock_ms: u64,
    after: Option<Bytes>,
}

/// What the backup has in a range of keys of one group. The ranges of a group follow each other, without gaps, from the
/// first key to the last.
#[derive(Clone, Debug)]
pub struct Range {
    /// Which group.
    pub group: String,
    /// With the first range of a group: what its pairs may count together.
    pub quota: Option<u64>,
    /// The time of the backup, in milliseconds since 1970.
    pub clock_ms: u64,
    /// The range begins behind this key; none: with the first.
    pub after: Option<Bytes>,
    /// It goes up to this key; none: it is the group's last, and has no pairs.
    pub upto: Option<Bytes>,
    /// The pairs, as a part of a checkpoint.
    pub part: Bytes,
}

impl Source {
    /// Opens a file, which must be one that can be read twice.
    pub fn open(path: &Path) -> Result<Source, Failure> {
        let failed = |error: std::io::Error| Failure::refused(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(Failure::usage(format!(
                "{} is no file; name one that holds a backup",
                path.display()
            )));
        }
        Ok(Source {
            file,
            path: path.to_owned(),
            bytes: about.len(),
            buffer: vec![0; READ_BYTES],
            checker: Checker::default(),
            group: None,
            head: None,
        })
    }

    /// How long the file is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads it from end to end, and goes back to its beginning.
    pub fn verify(&mut self, json: bool) -> Result<Seen, Failure> {
        let progress = progress(json, "checking", self.bytes);
        let mut seen = Seen::default();
        while let Some(item) = self.item()? {
            if let Item::Pairs { part, .. } = &item {
                progress.inc(part.len() as u64);
            }
            seen.take(item);
        }
        progress.finish_and_clear();
        self.rewind()?;
        Ok(seen)
    }

    /// Goes back to the beginning.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        self.file.rewind().map_err(|error| Failure::refused(format!("{}: {error}", self.path.display())))?;
        (self.checker, self.group, self.head) = (Checker::default(), None, None);
        Ok(())
    }

    /// The next range; none: that was all.
    pub fn range(&mut self) -> Result<Option<Range>, Failure> {
        while let Some(item) = self.item()? {
            match item {
                Item::Head(head) => self.head = Some(head),
                Item::Group { head, quota, clock } => {
                    // Of a map that nobody has written to for long its own time says little.
                    let taken_ms = self.head.as_ref().map_or(0, |head| head.taken_ms);
                    let (name, clock_ms) = (head.name.to_string(), clock.max(taken_ms));
                    self.group = Some(Group { name, quota: Some(quota), clock_ms, after: None });
                }
                Item::Pairs { pairs, part } => {
                    let upto = pairs.last().map(|pair: &Pair| Bytes::copy_from_slice(pair.key()));
                    if let Some(group) = &mut self.group {
                        return Ok(Some(group.range(upto, part)));
                    }
                }
                Item::GroupEnd(_) => {
                    if let Some(mut group) = self.group.take() {
                        return Ok(Some(group.range(None, Bytes::new())));
                    }
                }
                Item::End(_) => {}
            }
        }
        Ok(None)
    }

    fn item(&mut self) -> Result<Option<Item>, Failure> {
        let Source { file, path, buffer, checker, .. } = self;
        let damaged = |damaged: Damaged| Failure::refused(format!("{}: {damaged}", path.display()));
        loop {
            if let Some(item) = checker.next().map_err(damaged)? {
                return Ok(Some(item));
            }
            let read = file.read(buffer);
            match read.map_err(|error| Failure::refused(format!("{}: {error}", path.display())))? {
                0 => {
                    checker.finish().map_err(damaged)?;
                    return Ok(None);
                }
                bytes => checker.extend(&buffer[..bytes]),
            }
        }
    }
}

impl Group {
    fn range(&mut self, upto: Option<Bytes>, part: Bytes) -> Range {
        let after = std::mem::replace(&mut self.after, upto.clone());
        let (group, quota, clock_ms) = (self.name.clone(), self.quota.take(), self.clock_ms);
        Range { group, quota, clock_ms, after, upto, part }
    }
}
