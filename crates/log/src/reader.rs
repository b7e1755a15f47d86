//! Reading: a snapshot of the log that any thread may read from while the log goes on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskError, read_or_damaged};
use crate::error::LogError;
use crate::ranges::Ranges;
use crate::record::{Kind, Salt};
use crate::segment::{self, HEADER_BYTES, ITEM_BYTES, Index, Sealed};
use crate::walk::{Cuts, Plan, Trust, Walker, scan};

/// Indexes of closed segments that are kept in memory.
const CACHED_INDEXES: usize = 32;

/// Read at once at least, for one entry.
const LEAST_AHEAD: u64 = 32 << 10;

/// An entry, where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number in the log.
    pub position: u64,
    /// What its owner wrote beside it: the view it was ordered in.
    pub tag: &'a [u8],
    /// Its content.
    pub payload: &'a [u8],
}

/// What a range of positions holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An entry.
    Entry(Entry<'a>),
    /// Entries that are damaged or lost here, first and last included.
    Damaged(u64, u64),
}

/// An entry that was read alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// What its owner wrote beside it.
    pub tag: Vec<u8>,
    /// Its content.
    pub payload: Vec<u8>,
}

/// Where a part of an entry's payload is. It stays good however the log moves the entry between its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    /// The entry.
    pub position: u64,
    /// Where in its payload the part begins.
    pub offset: u32,
    /// The part's bytes.
    pub bytes: u32,
}

/// The last few indexes that were read.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    indexes: Mutex<VecDeque<(u64, Arc<Index>)>>,
}

impl Cache {
    fn get(&self, number: u64) -> Option<Arc<Index>> {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = indexes.iter().position(|(n, _)| *n == number)?;
        let found = indexes.remove(at)?;
        let index = Arc::clone(&found.1);
        indexes.push_back(found);
        Some(index)
    }

    fn put(&self, number: u64, index: &Arc<Index>) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if indexes.len() >= CACHED_INDEXES {
            indexes.pop_front();
        }
        indexes.push_back((number, Arc::clone(index)));
    }
}

/// The open segment, as far as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub number: u64,
    pub first: u64,
    pub end: u64,
    pub data_end: u64,
    pub index: Arc<Index>,
}

/// A snapshot of the log: what was written when it was taken, synced or not. It is cheap to take and to clone,
/// holds no lock while it reads, and may be used on any thread that the disk may be used on. Once the log is
/// truncated, or has compacted what is asked for, it answers [`LogError::Gone`].
#[derive(Clone, Debug)]
pub struct Reader<D> {
    pub(crate) disk: D,
    pub(crate) log: u64,
    pub(crate) index_bytes: u64,
    pub(crate) sealed: Arc<Vec<Arc<Sealed>>>,
    pub(crate) written: Option<Written>,
    pub(crate) damaged: Arc<Ranges>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) closed: Arc<AtomicBool>,
    /// The write epoch of the snapshot: newer records stand where a truncation has made room for them.
    pub(crate) epoch: u32,
    /// Set when the log is truncated.
    pub(crate) cut: Arc<AtomicBool>,
    /// What is read is not wanted again.
    pub(crate) once: bool,
}

/// A segment as a reader needs it.
struct Source<'a> {
    number: u64,
    first: u64,
    end: u64,
    data_end: u64,
    sealed: Option<&'a Sealed>,
}

impl<D: Disk> Reader<D> {
    /// The same, for entries that nobody is expected to read again: the system need not keep them in memory
    /// ([`Disk::read_once`]).
    pub fn once(self) -> Reader<D> {
        Reader { once: true, ..self }
    }

    /// One entry. None if it was released or never here.
    pub fn read(&self, position: u64) -> Result<Option<Owned>, LogError> {
        let mut found = Ok(None);
        self.range(position, position.saturating_add(1), 1, &mut |item| {
            found = match item {
                Item::Entry(entry) => {
                    Ok(Some(Owned { tag: entry.tag.to_vec(), payload: entry.payload.to_vec() }))
                }
                Item::Damaged(..) => Err(LogError::Damaged(position)),
            };
        })?;
        found
    }

    /// A part of an entry's payload. None if the entry is not here, or shorter. The whole entry is read and its
    /// checksum compared.
    pub fn read_part(&self, handle: Handle) -> Result<Option<Vec<u8>>, LogError> {
        let Some(mut owned) = self.read(handle.position)? else { return Ok(None) };
        let (start, length) = (handle.offset as usize, handle.bytes as usize);
        if start.checked_add(length).is_none_or(|end| end > owned.payload.len()) {
            return Ok(None);
        }
        owned.payload.drain(..start);
        owned.payload.truncate(length);
        Ok(Some(owned.payload))
    }

    /// Shows what the positions `from..to` hold, in order, until about `bytes_max` bytes of records were read; one
    /// entry at least. Returns where to go on, `to` if all was shown. Positions that are not shown were released
    /// or never here.
    pub fn range(
        &self,
        from: u64,
        to: u64,
        bytes_max: u64,
        visit: &mut dyn FnMut(Item<'_>),
    ) -> Result<u64, LogError> {
        if self.closed.load(Relaxed) {
            return Err(LogError::Fatal(DiskError::Failed {
                name: String::new(),
                why: "an earlier write or sync failed".to_owned(),
            }));
        }
        self.still_here(self.epoch)?;
        let (mut at, mut left) = (from, bytes_max.max(1));
        let begin = self.sealed.partition_point(|segment| segment.end <= from);
        let sealed = self.sealed[begin..].iter().map(|s| Source {
            number: s.number,
            first: s.first,
            end: s.end,
            data_end: s.data_end,
            sealed: Some(&**s),
        });
        let open = self.written.iter().map(|w| Source {
            number: w.number,
            first: w.first,
            end: w.end,
            data_end: w.data_end,
            sealed: None,
        });
        for source in sealed.chain(open) {
            if at >= to {
                return Ok(to);
            }
            if source.first > at {
                let end = source.first.min(to);
                self.show_missing(at, end, visit);
                at = end;
            }
            if at < source.end && at < to && !self.within(&source, &mut at, to, &mut left, visit)? {
                return Ok(at);
            }
        }
        if at < to {
            self.show_missing(at, to, visit);
        }
        Ok(to)
    }

    fn show_missing(&self, from: u64, to: u64, visit: &mut dyn FnMut(Item<'_>)) {
        if from < to {
            self.damaged.within(from, to - 1).for_each(|(first, last)| visit(Item::Damaged(first, last)));
        }
    }

    /// Shows what of `at..to` this segment holds. False if `left` ran out before; `at` says where to go on.
    fn within(
        &self,
        source: &Source<'_>,
        at: &mut u64,
        to: u64,
        left: &mut u64,
        visit: &mut dyn FnMut(Item<'_>),
    ) -> Result<bool, LogError> {
        let index = self.index(source)?;
        let start = index.start(*at);
        let to = to.min(source.end);
        let name = segment::name(source.number);
        let mut walker =
            Walker::new(&self.disk, name, Salt::new(self.log, source.number), start, source.data_end)
                .with_ahead((*left).clamp(LEAST_AHEAD, u64::from(u32::MAX)) as usize)
                .with_once(self.once);
        // The first position that is not known to be there or not, and what is, from there on, said to be lost.
        let mut next = source.first;
        let mut lost_to = 0;
        while *at < to {
            let Some(good) = walker.next().map_err(read_error)? else {
                let end = if walker.offset() < source.data_end { to } else { lost_to.min(to) };
                self.show_damaged(next.max(*at), end, visit)?;
                // Of a segment without its trailer, opening has found out what is missing at its end.
                self.show_missing(next.max(*at).max(end), to, visit);
                break;
            };
            let position = good.head.position.min(source.end);
            // What is lost ends where the next record begins; what was skipped reaches up to there.
            let end = if good.skipped { position } else { position.min(lost_to) };
            self.show_damaged(next.max(*at), end.min(to), visit)?;
            self.still_here(good.head.epoch)?;
            (next, lost_to) = (position + 1, 0);
            if let Kind::Lost { .. } = good.head.kind {
                (next, lost_to) = (position, good.head.last() + 1);
                *at = position.clamp(*at, to);
                continue;
            }
            if position < *at {
                continue;
            }
            if position >= to {
                break;
            }
            visit(Item::Entry(Entry { position, tag: good.tag, payload: good.payload }));
            *at = next;
            *left = left.saturating_sub(good.head.record_bytes());
            if *left == 0 {
                return Ok(false);
            }
        }
        *at = to;
        Ok(true)
    }

    fn show_damaged(&self, from: u64, to: u64, visit: &mut dyn FnMut(Item<'_>)) -> Result<(), LogError> {
        if from < to {
            self.still_here(self.epoch)?;
            visit(Item::Damaged(from, to - 1));
        }
        Ok(())
    }

    /// A truncation since the snapshot may have made good places bad, and put other records there.
    fn still_here(&self, epoch: u32) -> Result<(), LogError> {
        let gone = epoch > self.epoch || self.cut.load(Relaxed);
        if gone { Err(LogError::Gone) } else { Ok(()) }
    }

    fn index(&self, source: &Source<'_>) -> Result<Arc<Index>, LogError> {
        match (source.sealed, &self.written) {
            (Some(sealed), _) => self.sealed_index(sealed),
            (None, Some(written)) => Ok(Arc::clone(&written.index)),
            (None, None) => Ok(Arc::default()),
        }
    }

    /// A closed segment's index: from memory, from the file, or by reading the segment whole.
    pub(crate) fn sealed_index(&self, sealed: &Sealed) -> Result<Arc<Index>, LogError> {
        if let Some(found) = &sealed.found {
            return Ok(Arc::clone(found));
        }
        if let Some(index) = self.cache.get(sealed.number) {
            return Ok(index);
        }
        let index = Arc::new(self.load_index(sealed).map_err(read_error)?);
        self.cache.put(sealed.number, &index);
        Ok(index)
    }

    fn load_index(&self, sealed: &Sealed) -> Result<Index, DiskError> {
        if let Some((items, sum)) = sealed.stored {
            let mut bytes = vec![0; items as usize * ITEM_BYTES as usize];
            if read_or_damaged(&self.disk, &sealed.name(), sealed.data_end, &mut bytes)?
                && crc32c::crc32c(&bytes) == sum
                && let Some(index) = Index::decode(&bytes, sealed.data_end)
            {
                return Ok(index);
            }
        }
        let plan = Plan {
            salt: sealed.salt(self.log),
            file_bytes: sealed.data_end.max(HEADER_BYTES),
            first: sealed.first,
            epoch: 0,
            cuts: &Cuts::default(),
            index_bytes: self.index_bytes,
            trust: Trust::default(),
        };
        Ok(scan(&self.disk, sealed.name(), plan)?.index)
    }
}

fn read_error(error: DiskError) -> LogError {
    match error {
        DiskError::NotFound(_) => LogError::Gone,
        other => LogError::Read(other),
    }
}
