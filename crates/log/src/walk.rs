//! Walking over the records of a segment, good and bad.
//!
//! A place where no acceptable record begins is stepped over, eight bytes at a time, until one does. So a
//! damaged record costs itself and no other.

use crate::config::{POSITION_MAX, TAG_BYTES_MAX};
use crate::disk::{Disk, DiskError};
use crate::record::{ALIGN, HEAD_BYTES, Head, Kind, Salt};
use crate::segment::{HEADER_BYTES, Index};

/// Read at once, unless the walker is told less.
const AHEAD_BYTES: usize = 256 << 10;
/// What is read alone if a larger read meets an unreadable sector.
const SECTOR_BYTES: u64 = 512;

/// A truncation, or an opening: records from `from` on that are older than `epoch` do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub from: u64,
    pub epoch: u32,
}

/// The cuts that a record may still have escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// In rising order, of both position and epoch.
    cuts: Vec<Cut>,
}

impl Cuts {
    pub const MAX: usize = 16;

    /// Adds one that is newer than the others. Those of which every position from theirs up to this one's is
    /// durable by now are needed no more: nothing older can show up in the place of what is durable.
    pub fn push(&mut self, cut: Cut, durable_to: u64) {
        self.cuts.retain(|old| old.from < cut.from && durable_to < cut.from);
        self.cuts.push(cut);
    }

    pub fn is_full(&self) -> bool {
        self.cuts.len() >= Self::MAX
    }

    pub fn iter(&self) -> impl Iterator<Item = Cut> + '_ {
        self.cuts.iter().copied()
    }

    pub fn newest_epoch(&self) -> u32 {
        self.iter().map(|cut| cut.epoch).max().unwrap_or(0)
    }

    /// Where the cut is that a position of this epoch stands behind, if one is.
    pub fn cut_before(&self, position: u64, epoch: u32) -> Option<u64> {
        self.iter().find(|cut| position >= cut.from && epoch < cut.epoch).map(|cut| cut.from)
    }
}

impl FromIterator<Cut> for Cuts {
    fn from_iter<I: IntoIterator<Item = Cut>>(cuts: I) -> Cuts {
        Cuts { cuts: cuts.into_iter().collect() }
    }
}

/// A record whose checksums are right.
pub struct Good<'w> {
    pub offset: u64,
    pub head: Head,
    /// Whether something that is no record stands between it and its predecessor.
    pub skipped: bool,
    pub tag: &'w [u8],
    pub payload: &'w [u8],
}

/// Walks from an offset to a limit. Memory: what is read ahead, or the largest record met.
pub struct Walker<'d, D> {
    disk: &'d D,
    name: String,
    salt: Salt,
    /// Where the next record should begin.
    offset: u64,
    /// Where records end.
    limit: u64,
    /// The least position that the next record may have, and the least epoch.
    least: (u64, u32),
    /// Accepts what it should not: the bugs.
    trusting: Trust,
    ahead: usize,
    once: bool,
    window: Vec<u8>,
    window_at: u64,
}

/// Which checks are left out; none, but for the bugs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trust {
    pub bodies: bool,
    pub stale: bool,
}

impl<'d, D: Disk> Walker<'d, D> {
    pub fn new(disk: &'d D, name: String, salt: Salt, from: u64, limit: u64) -> Walker<'d, D> {
        Walker {
            disk,
            name,
            salt,
            offset: from,
            limit,
            least: (0, 0),
            trusting: Trust::default(),
            ahead: AHEAD_BYTES,
            once: false,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The same, reading only so much ahead.
    pub fn with_ahead(self, ahead: usize) -> Walker<'d, D> {
        Walker { ahead: ahead.min(AHEAD_BYTES), ..self }
    }

    /// The same, through places that nobody is expected to read again.
    pub fn with_once(self, once: bool) -> Walker<'d, D> {
        Walker { once, ..self }
    }

    /// The end of the last good record, or where the walk began.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next good record. None at the limit; [`offset`](Walker::offset) then says where the good ones ended.
    pub fn next(&mut self) -> Result<Option<Good<'_>>, DiskError> {
        let mut at = self.offset;
        while at + HEAD_BYTES as u64 <= self.limit {
            if let Some(head) = self.acceptable(at)? {
                if self.body_is_good(at, &head)? {
                    let skipped = at != self.offset;
                    self.offset = at + head.record_bytes();
                    let start = (at - self.window_at) as usize + HEAD_BYTES;
                    let (tag, rest) = self.window[start..].split_at(usize::from(head.tag_bytes));
                    let payload = rest.get(..head.payload_bytes as usize).unwrap_or_default();
                    self.least = (head.position + 1, head.epoch.max(self.least.1));
                    return Ok(Some(Good { offset: at, head, skipped, tag, payload }));
                }
                // Its length is believed only if a successor stands where it ends.
                let end = at + head.record_bytes();
                let successor = self.acceptable(end)?;
                if successor.is_some_and(|next| next.position > head.position) {
                    at = end;
                    continue;
                }
            }
            at += ALIGN;
        }
        Ok(None)
    }

    fn acceptable(&mut self, at: u64) -> Result<Option<Head>, DiskError> {
        let salt = self.salt;
        let bytes = self.bytes(at, HEAD_BYTES + TAG_BYTES_MAX)?;
        // Almost all places that are no record end here.
        if bytes.get(12).is_none_or(|kind| *kind < 0xE0) {
            return Ok(None);
        }
        let head = Head::parse(bytes, salt, at);
        let stale = self.trusting.stale;
        Ok(head.filter(|head| {
            let fits = at.checked_add(head.record_bytes()).is_some_and(|end| end <= self.limit);
            let next = head.position >= self.least.0 && head.position < POSITION_MAX;
            fits && next && (head.epoch >= self.least.1 || stale)
        }))
    }

    fn body_is_good(&mut self, at: u64, head: &Head) -> Result<bool, DiskError> {
        let trusting = self.trusting.bodies;
        let bytes = self.bytes(at, head.record_bytes() as usize)?;
        let start = HEAD_BYTES + usize::from(head.tag_bytes);
        let payload = bytes.get(start..start + head.payload_bytes as usize);
        Ok(payload.is_some_and(|payload| trusting || head.body_is_good(payload)))
    }

    /// At least `want` bytes from `at` on, fewer only at the limit. Unreadable ones are zeros.
    fn bytes(&mut self, at: u64, want: usize) -> Result<&[u8], DiskError> {
        let want = want.min(self.limit.saturating_sub(at) as usize);
        let held = at >= self.window_at && at + want as u64 <= self.window_at + self.window.len() as u64;
        if !held {
            let room = self.limit.saturating_sub(at) as usize;
            self.window.clear();
            self.window.resize(want.max(self.ahead).min(room), 0);
            self.window_at = at;
            let read = if self.once { D::read_once } else { D::read_at };
            read_what_can_be(self.disk, read, &self.name, at, &mut self.window)?;
        }
        Ok(&self.window[(at - self.window_at) as usize..])
    }
}

/// Fills the buffer; what the file does not have, or the disk cannot read, stays zero.
fn read_what_can_be<D: Disk>(
    disk: &D,
    read: impl Fn(&D, &str, u64, &mut [u8]) -> Result<usize, DiskError>,
    name: &str,
    offset: u64,
    into: &mut [u8],
) -> Result<(), DiskError> {
    match read(disk, name, offset, into) {
        Ok(_) => Ok(()),
        Err(DiskError::Unreadable(_)) => {
            let (mut rest, mut at) = (into, offset);
            while !rest.is_empty() {
                let length = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
                let (sector, behind) = rest.split_at_mut(length.min(rest.len()));
                sector.fill(0);
                match disk.read_at(name, at, sector) {
                    Ok(_) => {}
                    Err(DiskError::Unreadable(_)) => sector.fill(0),
                    Err(other) => return Err(other),
                }
                at += sector.len() as u64;
                rest = behind;
            }
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// What a segment holds, found by reading it whole.
#[derive(Debug)]
pub struct Scanned {
    pub index: Index,
    /// The end of the last good record.
    pub end: u64,
    /// The position behind the last good record.
    pub next: u64,
    /// The newest epoch of a good record, or the one given.
    pub epoch: u32,
    /// Records that say that an entry was lost.
    pub lost: u32,
    /// Positions that are missing between good records, or said to be lost: first and last. Those from `next`
    /// on stood before records that a truncation has cut.
    pub damaged: Vec<(u64, u64)>,
}

/// How to scan a segment.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    pub salt: Salt,
    pub file_bytes: u64,
    pub first: u64,
    pub epoch: u32,
    pub cuts: &'a Cuts,
    pub index_bytes: u64,
    pub trust: Trust,
}

/// Reads a segment's records from the first on. A bad place that good records follow is damage; one that none
/// follows is the torn tail, behind [`Scanned::end`].
pub fn scan<D: Disk>(disk: &D, name: String, plan: Plan<'_>) -> Result<Scanned, DiskError> {
    let mut walker = Walker::new(disk, name, plan.salt, HEADER_BYTES, plan.file_bytes);
    walker.least = (plan.first, plan.epoch);
    walker.trusting = plan.trust;
    let mut scanned = Scanned {
        index: Index::default(),
        end: HEADER_BYTES,
        next: plan.first,
        epoch: plan.epoch,
        lost: 0,
        damaged: Vec::new(),
    };
    while let Some(good) = walker.next()? {
        let head = good.head;
        let cut = |position| plan.cuts.cut_before(position, head.epoch).filter(|_| !plan.trust.stale);
        let cut_off = cut(head.position);
        let to = cut_off.map_or(head.position, |from| from.min(head.position));
        if good.skipped && to > scanned.next {
            scanned.damaged.push((scanned.next, to - 1));
        }
        // Lost entries end where the next record begins: a truncation has made room for it.
        if let Some((_, last)) = scanned.damaged.last_mut()
            && *last >= to
        {
            *last = to - 1;
        }
        if let Some(from) = cut_off {
            scanned.next = scanned.next.min(from);
            break;
        }
        // Of lost entries the first may have escaped a cut, and the last not.
        let last = cut(head.last()).map_or(head.last(), |from| from - 1);
        if let Kind::Lost { .. } = head.kind {
            scanned.lost += 1;
            scanned.damaged.push((head.position, last));
        }
        scanned.index.note(head.position, good.offset, plan.index_bytes);
        scanned.next = last + 1;
        scanned.epoch = scanned.epoch.max(head.epoch);
        scanned.end = good.offset + head.record_bytes();
    }
    Ok(scanned)
}
