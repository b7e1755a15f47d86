//! Compaction: entries that are still needed move out of segments that are mostly released, and the rest is freed.
//!
//! Only closed segments that the checkpoint in force covers are looked at, and only what was released when it was
//! begun counts: so after a crash nothing is missing that the owner's state, read back from the checkpoint, still
//! points at. Neighbours that are to be compacted become one segment, written under a temporary name and made
//! durable before it is renamed; its header says which positions it covers, so a crash before the old ones are
//! removed leaves two of everything, and opening keeps the newer.
//!
//! A step reads and writes about as much as it is told, and syncs it; so others never wait long for the disk.

use std::sync::Arc;

use crate::active::Active;
use crate::bugs::Bug;
use crate::disk::{Disk, DiskError};
use crate::error::LogError;
use crate::log::Log;
use crate::reader::{Entry, Item};
use crate::record::{Draft, Kind};
use crate::released::Released;
use crate::segment::{self, HEADER_BYTES, Header, Sealed};

/// Segments whose index is looked at in one step, at most.
const SURVEYED_AT_ONCE: usize = 8;

/// What a step of compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// Nothing is left to do until the next checkpoint.
    Idle,
    /// Some was done, and there may be more.
    Working,
    /// Segments were replaced or removed.
    Freed {
        /// Bytes of files that are gone, less those of the new one.
        bytes: u64,
    },
}

/// Which segments were looked at since the last checkpoint.
#[derive(Debug, Default)]
pub struct Survey {
    running: bool,
    /// Segments up to here were looked at.
    looked_to: u64,
    /// Neighbours that are to be compacted together.
    run: Run,
}

impl Survey {
    pub fn begin(&mut self) {
        *self = Survey { running: true, ..Survey::default() };
    }
}

#[derive(Debug, Default)]
struct Run {
    segments: Vec<Arc<Sealed>>,
    live_bytes: u64,
    worthwhile: bool,
}

/// A compaction under way.
#[derive(Debug)]
pub struct Compaction {
    victims: Vec<Arc<Sealed>>,
    /// What is to be copied next.
    pub at: u64,
    pub out: Active,
    pub created: bool,
}

impl Compaction {
    fn first(&self) -> u64 {
        self.victims.first().map_or(0, |victim| victim.first)
    }

    fn end(&self) -> u64 {
        self.victims.last().map_or(0, |victim| victim.end)
    }

    pub fn temporary(&self) -> String {
        format!("{:016x}.tmp", self.out.number)
    }
}

impl<D: Disk> Log<D> {
    /// Does one step of compaction: reads and writes about `budget` bytes, or one entry, and syncs them; or looks
    /// at eight segments' indexes. To be called now and then while entries are appended, until it is idle.
    ///
    /// [`LogError::Full`] gives the compaction up, and its room back; whole segments that are released are removed
    /// on a full disk too.
    pub fn compact(&mut self, budget: u64) -> Result<Compacted, LogError> {
        self.alive()?;
        if let Some(compaction) = self.compaction.take() {
            let released = self.compactable().clone();
            return match self.copy(compaction, &released, &[], budget)? {
                Ok(freed) => Ok(Compacted::Freed { bytes: freed }),
                Err(unfinished) => {
                    self.compaction = Some(unfinished);
                    Ok(Compacted::Working)
                }
            };
        }
        self.look_around()
    }

    fn compactable(&self) -> &Released {
        match self.config.bugs.has(Bug::ReleaseNotDurable) {
            true => &self.released,
            false => &self.released_durably,
        }
    }

    /// Looks at some segments, and begins a compaction if some neighbours are worth it.
    fn look_around(&mut self) -> Result<Compacted, LogError> {
        let covered_to = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position() + 1);
        if !self.survey.running {
            return Ok(Compacted::Idle);
        }
        let mut freed = Vec::new();
        for _ in 0..SURVEYED_AT_ONCE {
            let at = self.sealed.partition_point(|segment| segment.end <= self.survey.looked_to);
            let Some(segment) = self.sealed.get(at).filter(|segment| segment.end <= covered_to).cloned()
            else {
                self.survey.running = false;
                break;
            };
            let looked_to = segment.end.max(self.survey.looked_to.saturating_add(1));
            if self.compactable().next_held(segment.first) >= segment.end {
                self.survey.looked_to = looked_to;
                freed.push(segment);
                continue;
            }
            let live_bytes = self.live_bytes(&segment)?;
            let limit = segment::segment_bytes(self.config.segment_bytes);
            let sparse = live_bytes * 100 <= segment.file_bytes * self.config.live_percent;
            let small = segment.file_bytes <= limit / 4;
            let run = &mut self.survey.run;
            let adjacent = run.segments.last().is_none_or(|last| last.end == segment.first);
            let fits = run.live_bytes + live_bytes <= limit && adjacent;
            if !run.segments.is_empty() && !(fits && (sparse || small)) {
                break;
            }
            self.survey.looked_to = looked_to;
            if sparse || small {
                run.worthwhile |= sparse || !run.segments.is_empty();
                run.live_bytes += live_bytes;
                run.segments.push(segment);
            }
        }
        if !freed.is_empty() {
            let bytes = freed.iter().map(|segment| segment.file_bytes).sum();
            self.replace(&freed, None)?;
            return Ok(Compacted::Freed { bytes });
        }
        // A run that may still grow waits for the next look.
        let may_grow = self.survey.running && self.next_extends_run(covered_to)?;
        if !may_grow {
            let run = std::mem::take(&mut self.survey.run);
            if run.worthwhile {
                self.compaction = Some(self.begin_compaction(run.segments));
            }
        }
        Ok(Compacted::Working)
    }

    /// Whether the segment behind those looked at would join the run.
    fn next_extends_run(&self, covered_to: u64) -> Result<bool, LogError> {
        let at = self.sealed.partition_point(|segment| segment.end <= self.survey.looked_to);
        let Some(next) = self.sealed.get(at).filter(|segment| segment.end <= covered_to) else {
            return Ok(false);
        };
        let run = &self.survey.run;
        let limit = segment::segment_bytes(self.config.segment_bytes);
        let live_bytes = self.live_bytes(next)?;
        let sparse = live_bytes * 100 <= next.file_bytes * self.config.live_percent;
        let adjacent = run.segments.last().is_some_and(|last| last.end == next.first);
        Ok(adjacent && run.live_bytes + live_bytes <= limit && (sparse || next.file_bytes <= limit / 4))
    }

    /// About how many bytes of a segment are still needed: exactly for entries longer than `index_bytes`, by the
    /// average of their neighbours for shorter ones.
    fn live_bytes(&self, segment: &Sealed) -> Result<u64, LogError> {
        let released = self.compactable();
        if released.next_released(segment.first, segment.end) == segment.end {
            return Ok(segment.file_bytes);
        }
        let index = self.reader().sealed_index(segment)?;
        let mut live = 0;
        for (i, item) in index.items.iter().enumerate() {
            let next = index.items.get(i + 1);
            let (end, end_offset) =
                next.map_or((segment.end, segment.data_end), |next| (next.position, next.offset));
            let positions = end.saturating_sub(item.position).max(1);
            let held = positions - released.count(item.position..end).min(positions);
            let bytes = end_offset.saturating_sub(item.offset);
            live += (u128::from(bytes) * u128::from(held) / u128::from(positions)) as u64;
        }
        Ok(live)
    }

    pub(crate) fn begin_compaction(&mut self, victims: Vec<Arc<Sealed>>) -> Compaction {
        let number = self.take_number();
        let first = victims.first().map_or(0, |victim| victim.first);
        let out = Active::empty(self.config.id, number, first, 0);
        Compaction { victims, at: first, out, created: false }
    }

    /// Copies on. `Ok` with the freed bytes when it is done, or the compaction to go on with.
    pub(crate) fn copy(
        &mut self,
        mut compaction: Compaction,
        released: &Released,
        patches: &[Entry<'_>],
        budget: u64,
    ) -> Result<Result<u64, Compaction>, LogError> {
        match self.copy_some(&mut compaction, released, patches, budget) {
            Ok(true) => self.finish_compaction(compaction).map(Ok),
            Ok(false) => Ok(Err(compaction)),
            Err(error) => {
                if compaction.created && !matches!(error, LogError::Fatal(_)) {
                    self.remove_if_there(&compaction.temporary())?;
                }
                Err(error)
            }
        }
    }

    /// True if all is copied.
    fn copy_some(
        &mut self,
        compaction: &mut Compaction,
        released: &Released,
        patches: &[Entry<'_>],
        budget: u64,
    ) -> Result<bool, LogError> {
        let temporary = compaction.temporary();
        if !compaction.created {
            self.disk.create(&temporary).map_err(|error| self.full_or_fatal(error))?;
            compaction.created = true;
            let header = Header {
                log: self.config.id,
                number: compaction.out.number,
                first: compaction.first(),
                end: Some(compaction.end()),
                epoch: self.meta.epoch,
            };
            let written = self.disk.write_at(&temporary, 0, &header.encode());
            written.map_err(|error| self.full_or_fatal(error))?;
        }
        let (from, end) = (compaction.at, compaction.end());
        let mut out = Copier {
            out: &mut compaction.out,
            epoch: self.meta.epoch,
            index_bytes: self.config.index_bytes,
            released,
            patches,
            damaged: Vec::new(),
        };
        let reader = self.reader();
        let next = reader.range(from, end, budget, &mut |item| match item {
            Item::Entry(entry) => out.entry(entry),
            Item::Damaged(first, last) => out.damaged(first, last),
        })?;
        let damaged = out.damaged;
        damaged.into_iter().for_each(|(first, last)| self.note_damage(first, last));
        compaction.at = next;
        let out = &mut compaction.out;
        let written = self.disk.write_at(&temporary, out.written, &out.pending);
        written.map_err(|error| self.full_or_fatal(error))?;
        out.written = out.end;
        out.pending.clear();
        if !self.config.bugs.has(Bug::SwitchBeforeSync) {
            self.sync_file(&temporary)?;
        }
        Ok(next >= end)
    }

    fn finish_compaction(&mut self, mut compaction: Compaction) -> Result<u64, LogError> {
        let (temporary, end) = (compaction.temporary(), compaction.end());
        let freed: u64 = compaction.victims.iter().map(|victim| victim.file_bytes).sum();
        let out = &mut compaction.out;
        if out.end == HEADER_BYTES && self.compactable().next_held(compaction.victims[0].first) >= end {
            self.remove_if_there(&temporary)?;
            self.replace(&compaction.victims, None)?;
            return Ok(freed);
        }
        let mut trailer = out.trailer(self.config.id, end, self.meta.epoch);
        let tail = segment::tail(&out.index, &mut trailer);
        let file_bytes = out.written + tail.len() as u64;
        let written = self.disk.write_at(&temporary, out.written, &tail);
        if let Err(error) = written {
            if matches!(error, DiskError::Full(_)) {
                self.remove_if_there(&temporary)?;
            }
            return Err(self.full_or_fatal(error));
        }
        if !self.config.bugs.has(Bug::SwitchBeforeSync) {
            self.sync_file(&temporary)?;
        }
        let renamed = self.disk.rename(&temporary, &segment::name(trailer.number));
        renamed.map_err(|error| self.fatal(error))?;
        self.sync_names()?;
        let new = Sealed::from_trailer(&trailer, file_bytes);
        self.replace(&compaction.victims, Some(new))?;
        Ok(freed.saturating_sub(file_bytes))
    }

    /// Puts one segment, or none, in the place of others, and removes those. The new one is durable.
    fn replace(&mut self, victims: &[Arc<Sealed>], new: Option<Sealed>) -> Result<(), LogError> {
        let gone = |segment: &Arc<Sealed>| victims.iter().any(|victim| victim.number == segment.number);
        let sealed = Arc::make_mut(&mut self.sealed);
        sealed.retain(|segment| !gone(segment));
        if let Some(new) = new {
            let at = sealed.partition_point(|segment| segment.first < new.first);
            sealed.insert(at, Arc::new(new));
        }
        for victim in victims {
            self.remove_if_there(&victim.name())?;
        }
        self.sync_names()
    }
}

/// Encodes what is to be kept into the new segment.
pub(crate) struct Copier<'a> {
    pub out: &'a mut Active,
    pub epoch: u32,
    pub index_bytes: u64,
    pub released: &'a Released,
    pub patches: &'a [Entry<'a>],
    pub damaged: Vec<(u64, u64)>,
}

impl Copier<'_> {
    fn entry(&mut self, entry: Entry<'_>) {
        if !self.released.contains(entry.position) {
            let Entry { position, tag, payload } = entry;
            let draft = Draft { kind: Kind::Entry, position, epoch: self.epoch, tag, payload };
            self.out.push(draft, self.index_bytes);
        }
    }

    /// What is damaged stays so, less what was released and what there is a patch for.
    pub fn damaged(&mut self, first: u64, last: u64) {
        let mut at = self.released.next_held(first);
        while at <= last {
            let patch = self.patches.get(self.patches.partition_point(|patch| patch.position < at)).copied();
            if let Some(patch) = patch.filter(|patch| patch.position == at) {
                self.entry(patch);
                at = self.released.next_held(at + 1);
                continue;
            }
            let patched = patch.map_or(u64::MAX, |patch| patch.position);
            let to = self.released.next_released(at, patched.min(last + 1));
            self.damaged.push((at, to - 1));
            let to = to.min(at.saturating_add(1 << 32));
            self.out.push(Draft::lost(at, to - 1, self.epoch), self.index_bytes);
            self.out.lost += 1;
            at = self.released.next_held(to);
        }
    }
}
