//! Opening: what is on the disk becomes a log again.
//!
//! Of a closed segment only header and trailer are read; the open one is read whole. So it takes a time that
//! depends on the number of segments and the size of one, and memory for the open segment's index, a read buffer
//! (256 KiB, or the largest entry), the set of released entries, and some hundred bytes for each segment.

use std::sync::Arc;

use crate::active::{Active, Unclosed, reopen};
use crate::bugs::Bug;
use crate::checkpoint;
use crate::compact::Survey;
use crate::config::Config;
use crate::disk::{Disk, read_or_damaged};
use crate::error::OpenError;
use crate::log::{Log, trust};
use crate::meta::{self, Meta};
use crate::ranges::Ranges;
use crate::record::Salt;
use crate::released::Released;
use crate::segment::{self, HEADER_BYTES, Header, NoHeader, Sealed, TRAILER_BYTES, Trailer};
use crate::walk::{Cut, Cuts, Plan, Scanned, Walker, scan};

/// What opening found, beside the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Nothing was there: a new log was made.
    pub created: bool,
    /// Bytes of a torn tail that were cut off, without reserved room. They held nothing that was reported as
    /// synced.
    pub torn_bytes: u64,
    /// Files of which nothing can be read. What they held is unknown: this store must not say that it never had
    /// it. They are left as they are.
    pub unreadable: Vec<String>,
    /// The checkpoint is damaged and must come from somebody else.
    pub checkpoint_damaged: bool,
    /// One copy of the metadata was damaged, old or absent, and was written anew. After a crash this is usual.
    pub metadata_mended: bool,
}

/// A segment file, as far as its ends tell.
struct Part {
    number: u64,
    file_bytes: u64,
    header: Option<Header>,
    trailer: Option<Trailer>,
    first: u64,
    epoch: u32,
}

impl Part {
    /// The end of its coverage, if it is written down.
    fn end(&self) -> Option<u64> {
        self.trailer.map(|trailer| trailer.end).or(self.header.and_then(|header| header.end))
    }

    fn is_cut_off(&self, cuts: &Cuts) -> bool {
        cuts.cut_before(self.first, self.epoch).is_some()
    }

    /// Whether a truncation has made void what its ends say.
    fn is_cut(&self, cuts: &Cuts) -> bool {
        let epoch = self.trailer.map_or(self.epoch, |trailer| trailer.epoch);
        let last = self.end().and_then(|end| end.checked_sub(1));
        last.is_some_and(|last| cuts.cut_before(last, epoch).is_some())
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in a directory, or makes one in an empty directory. A crash in the middle does no harm, and
    /// opening again after an error neither.
    pub fn open(disk: D, config: Config) -> Result<(Log<D>, Opened), OpenError> {
        // What an earlier life has done to names, and not lived to sync, is relied upon from here on.
        if !config.bugs.has(Bug::DirectoryNotSynced) {
            disk.sync_dir()?;
        }
        let files = disk.list()?;
        let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
        let mut opened = Opened::default();
        let loaded = meta::load(&disk)?;
        let has = |name: &str| names.iter().any(|n| n == name);
        let absent: Vec<&str> = meta::NAMES.into_iter().filter(|name| !has(name)).collect();
        let mut meta = match loaded.meta {
            Some(meta) => meta,
            None => {
                let log =
                    names.iter().any(|n| segment::number(n).is_some() || checkpoint::number(n).is_some());
                if log || absent.is_empty() {
                    return Err(OpenError::MetadataDamaged);
                }
                opened.created = true;
                let mut meta = Meta::new(config.id);
                meta.store_with(&disk, &absent, config.bugs)?;
                meta
            }
        };
        if meta.log != config.id {
            return Err(OpenError::OtherLog { found: meta.log, expected: config.id });
        }
        if loaded.unequal && !opened.created {
            // What it says may be in memory alone, and its cuts are carried out below.
            meta.store_with(&disk, &absent, config.bugs)?;
            opened.metadata_mended = true;
        }
        let mut log = Log {
            meta: meta.clone(),
            sealed: Arc::default(),
            active: None,
            next: 1,
            synced: 1,
            next_number: 1,
            covered: 1,
            released: Released::default(),
            released_durably: Released::default(),
            checkpoint: None,
            writing: None,
            damaged: Arc::new(Ranges::default()),
            compaction: None,
            survey: Survey::default(),
            cache: Arc::default(),
            failed: None,
            closed: Arc::default(),
            cut: Arc::default(),
            disk,
            config,
        };
        log.next_number = names.iter().filter_map(|name| any_number(name)).max().map_or(1, |n| n + 1);
        let mut removed = false;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            log.disk.remove(name)?;
            removed = true;
        }
        removed |= log.open_checkpoint(&files, &mut opened)?;
        let (parts, zombies) = log.parts(&files, &meta.cuts, &mut opened)?;
        for zombie in &zombies {
            log.disk.remove(&segment::name(*zombie))?;
        }
        if (removed || !zombies.is_empty()) && !log.config.bugs.has(Bug::DirectoryNotSynced) {
            log.disk.sync_dir()?;
        }
        let newest = parts.iter().map(|part| part.epoch).max().unwrap_or(0);
        log.open_segments(parts, &meta.cuts, &mut opened)?;
        // Records of this life are newer than all that any earlier one can have left.
        let open = log.active.as_ref().map_or(0, |active| active.epoch);
        meta.epoch = meta.epoch.max(newest).max(open).saturating_add(1);
        meta.cuts = Cuts::default();
        meta.cuts.push(Cut { from: log.covered, epoch: meta.epoch }, log.covered);
        log.meta = meta;
        log.meta.store(&log.disk, log.config.bugs)?;
        Ok((log, opened))
    }

    /// Finds the newest whole checkpoint and removes older ones. Returns whether it removed any.
    fn open_checkpoint(&mut self, files: &[(String, u64)], opened: &mut Opened) -> Result<bool, OpenError> {
        let mut numbers: Vec<(u64, u64)> =
            files.iter().filter_map(|(name, bytes)| Some((checkpoint::number(name)?, *bytes))).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let mut removed = false;
        for (number, bytes) in numbers {
            if self.checkpoint.is_some() {
                self.disk.remove(&checkpoint::name(number))?;
                removed = true;
                continue;
            }
            match checkpoint::open(&self.disk, self.config.id, number, bytes)? {
                None => opened.checkpoint_damaged = true,
                Some((checkpoint, released)) => {
                    self.checkpoint = Some(checkpoint);
                    self.released = released.clone();
                    self.released_durably = released;
                }
            }
        }
        Ok(removed)
    }

    /// The segments that make up the log, in order, and the numbers of those that do not any more.
    fn parts(
        &self,
        files: &[(String, u64)],
        cuts: &Cuts,
        opened: &mut Opened,
    ) -> Result<(Vec<Part>, Vec<u64>), OpenError> {
        let (mut parts, mut gone) = (Vec::new(), Vec::new());
        for (name, bytes) in files {
            let Some(number) = segment::number(name) else { continue };
            match self.part(name, number, *bytes)? {
                Some(part) if part.is_cut_off(cuts) => gone.push(number),
                Some(part) => parts.push(part),
                // The header is durable before there is more: this one was being made.
                None if *bytes <= HEADER_BYTES => gone.push(number),
                None => opened.unreadable.push(name.clone()),
            }
        }
        // Newer ones first: what a newer one covers was compacted into it, or truncated before it.
        parts.sort_unstable_by_key(|part| std::cmp::Reverse(part.number));
        let mut kept: Vec<Part> = Vec::new();
        for part in parts {
            let covered =
                |newer: &Part| newer.first <= part.first && newer.end().is_some_and(|end| part.first < end);
            match kept.iter().any(covered) {
                true => gone.push(part.number),
                false => kept.push(part),
            }
        }
        kept.sort_unstable_by_key(|part| (part.first, part.number));
        Ok((kept, gone))
    }

    /// What the ends of a segment file tell. None if they tell nothing and no record can be read either.
    fn part(&self, name: &str, number: u64, file_bytes: u64) -> Result<Option<Part>, OpenError> {
        let mut bytes = [0; HEADER_BYTES as usize];
        let mut header = None;
        if file_bytes >= HEADER_BYTES && read_or_damaged(&self.disk, name, 0, &mut bytes)? {
            header = match Header::decode(&bytes) {
                Ok(header) if header.log != self.config.id => {
                    return Err(OpenError::OtherLog { found: header.log, expected: self.config.id });
                }
                Ok(header) => Some(header).filter(|header| header.number == number),
                Err(NoHeader::Damaged) => None,
                Err(NoHeader::Newer(format)) => {
                    let known = segment::FORMAT;
                    return Err(OpenError::Newer { name: name.to_owned(), format, known });
                }
            };
        }
        let mut trailer = None;
        if let Some(at) = file_bytes.checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES)
            && read_or_damaged(&self.disk, name, at, &mut bytes)?
        {
            trailer = Trailer::decode(&bytes, self.config.id, number, file_bytes);
        }
        let known = header
            .map(|header| (header.first, header.epoch))
            .or(trailer.map(|trailer| (trailer.first, trailer.epoch)));
        let known = match known {
            Some(known) => Some(known),
            None => {
                let salt = Salt::new(self.config.id, number);
                let mut walker = Walker::new(&self.disk, name.to_owned(), salt, HEADER_BYTES, file_bytes);
                walker.next()?.map(|good| (good.head.position, good.head.epoch))
            }
        };
        Ok(known.map(|(first, epoch)| Part { number, file_bytes, header, trailer, first, epoch }))
    }

    fn open_segments(&mut self, parts: Vec<Part>, cuts: &Cuts, opened: &mut Opened) -> Result<(), OpenError> {
        let mut damaged = Vec::new();
        let firsts: Vec<u64> = parts.iter().skip(1).map(|part| part.first).collect();
        let mut covered = 1;
        for (i, part) in parts.into_iter().enumerate() {
            if part.first > covered {
                damaged.push((covered, part.first - 1));
            }
            // Of a compacted segment the header says where it ends, too.
            let void = part.is_cut(cuts);
            let written_end = part.header.and_then(|header| header.end).filter(|_| !void);
            let next_first = firsts.get(i).copied().or(written_end);
            match (part.trailer, next_first) {
                (Some(trailer), _) if !void => {
                    if trailer.lost > 0 {
                        damaged.extend(self.scan_part(&part, trailer.data_end)?.damaged);
                    }
                    covered = trailer.end;
                    self.add_sealed(Sealed::from_trailer(&trailer, part.file_bytes));
                }
                // Closed, since others follow it, but its trailer is damaged.
                (_, Some(next_first)) => {
                    let scanned = self.scan_part(&part, part.file_bytes)?;
                    damaged.extend(scanned.damaged.iter().filter(|(first, _)| *first < scanned.next));
                    let end = written_end.unwrap_or(next_first);
                    if scanned.next < end {
                        damaged.push((scanned.next, end - 1));
                    }
                    covered = end.max(scanned.next);
                    self.add_sealed(Sealed {
                        number: part.number,
                        first: part.first,
                        end: covered,
                        data_end: scanned.end,
                        file_bytes: part.file_bytes,
                        stored: None,
                        found: Some(Arc::new(scanned.index)),
                    });
                }
                (_, None) => {
                    let name = segment::name(part.number);
                    let used = used_end(&self.disk, &name, part.file_bytes)?;
                    let (active, next, more) = self.reopen_part(&part, cuts)?;
                    opened.torn_bytes = used.saturating_sub(active.end);
                    if !self.config.bugs.has(Bug::CacheBelieved) {
                        write_again(&self.disk, &name, active.end)?;
                    }
                    damaged.extend(more);
                    covered = next;
                    if active.end == HEADER_BYTES {
                        // What is appended from now on is newer than its header says.
                        self.disk.remove(&active.name())?;
                        if !self.config.bugs.has(Bug::DirectoryNotSynced) {
                            self.disk.sync_dir()?;
                        }
                    } else {
                        self.active = Some(active);
                    }
                }
            }
        }
        self.covered = covered;
        self.next = covered;
        if let Some(checkpoint) = &self.checkpoint {
            self.next = self.next.max(checkpoint.position() + 1);
            if self.next > covered {
                damaged.push((covered, self.next - 1));
            }
            if self.active.is_none() && self.sealed.is_empty() {
                self.covered = self.next;
            }
        }
        self.synced = self.next;
        damaged.into_iter().for_each(|(first, last)| self.note_damage(first, last));
        Ok(())
    }

    fn add_sealed(&mut self, sealed: Sealed) {
        Arc::make_mut(&mut self.sealed).push(Arc::new(sealed));
    }

    fn scan_part(&self, part: &Part, data_end: u64) -> Result<Scanned, OpenError> {
        let plan = Plan {
            salt: Salt::new(self.config.id, part.number),
            file_bytes: data_end,
            first: part.first,
            epoch: 0,
            cuts: &Cuts::default(),
            index_bytes: self.config.index_bytes,
            trust: trust(&self.config),
        };
        Ok(scan(&self.disk, segment::name(part.number), plan)?)
    }

    #[allow(clippy::type_complexity, reason = "as `reopen`")]
    fn reopen_part(&self, part: &Part, cuts: &Cuts) -> Result<(Active, u64, Vec<(u64, u64)>), OpenError> {
        let unclosed = Unclosed {
            number: part.number,
            file_bytes: part.file_bytes,
            first: part.first,
            epoch: part.header.map_or(0, |header| header.epoch),
            headless: part.header.is_none_or(|header| header.end.is_some()),
        };
        Ok(reopen(&self.disk, &self.config, unclosed, cuts, trust(&self.config))?)
    }
}

/// Read and written at once when a file is gone through.
const COPY_BYTES: u64 = 1 << 20;

/// The end of what is not zeros, in a file of this length.
fn used_end<D: Disk>(disk: &D, name: &str, file_bytes: u64) -> Result<u64, OpenError> {
    let mut end = file_bytes;
    let mut buffer = vec![0; COPY_BYTES.min(file_bytes) as usize];
    while end > 0 {
        let start = end.saturating_sub(COPY_BYTES);
        let bytes = &mut buffer[..(end - start) as usize];
        if !read_or_damaged(disk, name, start, bytes)? {
            return Ok(end);
        }
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Writes a file's bytes over themselves, and syncs. After a failed sync the system may hold bytes as clean that
/// are not on the disk; a process that reads them back after a restart cannot tell. Writing makes them dirty again.
fn write_again<D: Disk>(disk: &D, name: &str, end: u64) -> Result<(), OpenError> {
    let mut buffer = vec![0; COPY_BYTES.min(end) as usize];
    let mut at = 0;
    while at < end {
        let bytes = &mut buffer[..COPY_BYTES.min(end - at) as usize];
        // What cannot be read is left as it is.
        if read_or_damaged(disk, name, at, bytes)? {
            disk.write_at(name, at, bytes)?;
        }
        at += COPY_BYTES;
    }
    Ok(disk.sync(name)?)
}

fn any_number(name: &str) -> Option<u64> {
    let temporary = name.strip_suffix(".tmp").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let number = segment::number(name).or(checkpoint::number(name)).or(temporary)?;
    (number <= segment::NUMBER_MAX).then_some(number)
}
