//! The open segment: the one that entries are appended to.

use std::sync::Arc;

use crate::bugs::Bug;
use crate::config::Config;
use crate::disk::{Disk, DiskError};
use crate::record::{Draft, Head, Salt};
use crate::segment::{self, HEADER_BYTES, Header, Index, Trailer};
use crate::walk::{Cuts, Plan, Trust, scan};

/// The open segment. Entries are encoded into `pending`, and leave it in one write.
#[derive(Debug)]
pub struct Active {
    pub number: u64,
    pub first: u64,
    pub salt: Salt,
    pub index: Arc<Index>,
    /// The end of the last record, written or pending.
    pub end: u64,
    /// The end of what is written.
    pub written: u64,
    /// The position behind the last written record.
    pub written_next: u64,
    /// Room is reserved up to here.
    pub allocated: u64,
    pub pending: Vec<u8>,
    /// Something is written and not synced.
    pub dirty: bool,
    pub lost: u32,
    /// The newest epoch of a record.
    pub epoch: u32,
}

impl Active {
    /// A segment without records, whose header is written and durable.
    pub fn empty(log: u64, number: u64, first: u64, epoch: u32) -> Active {
        Active {
            number,
            first,
            salt: Salt::new(log, number),
            index: Arc::default(),
            end: HEADER_BYTES,
            written: HEADER_BYTES,
            written_next: first,
            allocated: HEADER_BYTES,
            pending: Vec::new(),
            dirty: false,
            lost: 0,
            epoch,
        }
    }

    pub fn name(&self) -> String {
        segment::name(self.number)
    }

    /// Encodes a record at the end. The caller has made room.
    pub fn push(&mut self, draft: Draft<'_>, index_bytes: u64) {
        Arc::make_mut(&mut self.index).note(draft.position, self.end, index_bytes);
        draft.encode(self.salt, self.end, &mut self.pending);
        self.end += draft.record_bytes();
        self.epoch = self.epoch.max(draft.epoch);
    }

    /// What has to be on the disk for a record of so many bytes to fit in, with index and trailer behind it.
    pub fn needed(&self, record_bytes: u64) -> u64 {
        self.end + record_bytes + segment::tail_bytes(self.index.items.len() + 1)
    }

    /// Drops what is pending from a position on. Returns whether anything is left pending.
    pub fn cut_pending(&mut self, from: u64) -> bool {
        let mut keep = 0;
        while let Some(head) = Head::parse(&self.pending[keep..], self.salt, self.written + keep as u64) {
            if head.position >= from {
                break;
            }
            keep += head.record_bytes() as usize;
        }
        self.pending.truncate(keep);
        self.end = self.written + keep as u64;
        Arc::make_mut(&mut self.index).items.retain(|item| item.offset < self.end);
        keep > 0
    }

    pub fn trailer(&self, log: u64, end: u64, epoch: u32) -> Trailer {
        Trailer {
            log,
            number: self.number,
            first: self.first,
            end,
            data_end: self.written,
            items: 0,
            lost: self.lost,
            index_sum: 0,
            epoch: self.epoch.max(epoch),
        }
    }
}

/// A segment file that has no trailer, or one that a truncation makes void.
#[derive(Clone, Copy, Debug)]
pub struct Unclosed {
    pub number: u64,
    pub file_bytes: u64,
    pub first: u64,
    pub epoch: u32,
    /// The header is to be written again.
    pub headless: bool,
}

/// Makes a segment ready to be appended to: what is behind its last good record is cut off, durably, and damaged
/// entries that are left without a good one behind them are written down as lost. Returns the position behind
/// the last record, and what is damaged.
#[allow(clippy::type_complexity, reason = "the parts of one answer, taken apart at once")]
pub fn reopen<D: Disk>(
    disk: &D,
    config: &Config,
    unclosed: Unclosed,
    cuts: &Cuts,
    trust: Trust,
) -> Result<(Active, u64, Vec<(u64, u64)>), DiskError> {
    let Unclosed { number, file_bytes, first, epoch, headless } = unclosed;
    let salt = Salt::new(config.id, number);
    let name = segment::name(number);
    let plan = Plan { salt, file_bytes, first, epoch, cuts, index_bytes: config.index_bytes, trust };
    let scanned = scan(disk, name.clone(), plan)?;
    let mut active = Active {
        index: Arc::new(scanned.index),
        end: scanned.end,
        written: scanned.end,
        lost: scanned.lost,
        epoch: scanned.epoch,
        ..Active::empty(config.id, number, first, epoch)
    };
    // Damage is known by the good records behind it. Where those are cut it is written down, in the place of what
    // is damaged, which is no shorter; only then the proof goes.
    let mut next = scanned.next;
    let epoch = active.epoch.max(cuts.newest_epoch());
    for (from, last) in scanned.damaged.iter().filter(|(from, _)| *from >= scanned.next) {
        active.push(Draft::lost(*from, *last, epoch), config.index_bytes);
        active.lost += 1;
        next = last + 1;
    }
    let careless = config.bugs.has(Bug::TruncationNotDurable);
    if headless {
        let header = Header { log: config.id, number, first, end: None, epoch: unclosed.epoch };
        disk.write_at(&name, 0, &header.encode())?;
    }
    if !active.pending.is_empty() {
        disk.write_at(&name, active.written, &active.pending)?;
        active.pending.clear();
        active.written = active.end;
        if !careless {
            disk.sync(&name)?;
        }
    }
    if file_bytes != active.end {
        disk.truncate(&name, active.end)?;
    }
    active.written_next = next;
    active.allocated = active.end;
    if !careless {
        disk.sync(&name)?;
    }
    Ok((active, next, scanned.damaged))
}
