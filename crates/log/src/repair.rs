//! Repair: what is damaged here is put back from somebody who has it.

use std::ops::Range;
use std::sync::Arc;

use crate::compact::Copier;
use crate::config::{ENTRY_BYTES_MAX, TAG_BYTES_MAX};
use crate::disk::Disk;
use crate::error::LogError;
use crate::log::{Log, within};
use crate::reader::Entry;
use crate::released::Released;
use crate::segment::{HEADER_BYTES, Sealed};

impl<D: Disk> Log<D> {
    /// Puts entries in place of damaged ones, with what somebody else has: positions in rising order, with their
    /// tags and contents. Those that are not damaged here are left as they are. Durable when it returns.
    ///
    /// Each segment with a damaged entry among them is written anew, so they are best given all at once; the open
    /// one is closed first. [`LogError::Full`] leaves those of the remaining segments damaged.
    pub fn repair(&mut self, entries: &[(u64, &[u8], &[u8])]) -> Result<(), LogError> {
        self.alive()?;
        if let Some(compaction) = self.compaction.take()
            && compaction.created
        {
            self.remove_if_there(&compaction.temporary())?;
        }
        self.survey.begin();
        let mut least = 0;
        for (position, tag, payload) in entries {
            within("a tag", tag.len(), TAG_BYTES_MAX)?;
            within("an entry", payload.len(), ENTRY_BYTES_MAX)?;
            if *position < least || *position >= self.next {
                let why = "repaired positions rise, and are below the log's end";
                return Err(LogError::Misplaced { position: *position, why });
            }
            least = position + 1;
        }
        let wanted: Vec<Entry<'_>> = entries
            .iter()
            .filter(|(position, ..)| self.damaged.contains(*position))
            .map(|(position, tag, payload)| Entry { position: *position, tag, payload })
            .collect();
        if let (Some(last), Some(active)) = (wanted.last(), &self.active)
            && last.position >= active.first
        {
            self.seal()?;
        }
        let mut rest = &wanted[..];
        while let Some(first) = rest.first() {
            let at = self.sealed.partition_point(|segment| segment.end <= first.position);
            let place = match self.sealed.get(at).filter(|segment| segment.first <= first.position) {
                Some(segment) => Place::In(Arc::clone(segment)),
                None => Place::Between(self.hole(at)),
            };
            let range = place.range();
            let count = rest.iter().take_while(|entry| entry.position < range.end).count();
            let (now, later) = rest.split_at(count.max(1));
            rest = later;
            self.rewrite(place, now)?;
            for entry in now {
                Arc::make_mut(&mut self.damaged).remove(entry.position, entry.position);
            }
        }
        Ok(())
    }

    /// The positions before the closed segment at this index that no segment covers.
    fn hole(&self, at: usize) -> Range<u64> {
        let from = at.checked_sub(1).map_or(1, |before| self.sealed[before].end);
        let open = self.active.as_ref().map_or(self.covered.max(self.next), |active| active.first);
        from..self.sealed.get(at).map_or(open, |segment| segment.first)
    }

    /// Writes one segment anew, or a new one where there was none, with these entries.
    fn rewrite(&mut self, place: Place, entries: &[Entry<'_>]) -> Result<(), LogError> {
        let nothing = Released::default();
        match place {
            Place::In(segment) => {
                let mut compaction = self.begin_compaction(vec![segment]);
                while let Err(unfinished) = self.copy(compaction, &nothing, entries, 8 << 20)? {
                    compaction = unfinished;
                }
                Ok(())
            }
            Place::Between(hole) => self.fill(hole, entries),
        }
    }

    /// Makes a segment for positions of which no segment is left.
    fn fill(&mut self, hole: Range<u64>, entries: &[Entry<'_>]) -> Result<(), LogError> {
        let absent = Arc::new(Sealed {
            number: self.take_number(),
            first: hole.start,
            end: hole.end,
            data_end: HEADER_BYTES,
            file_bytes: HEADER_BYTES,
            stored: None,
            found: Some(Arc::default()),
        });
        let mut compaction = self.begin_compaction(vec![absent]);
        let mut out = Copier {
            out: &mut compaction.out,
            epoch: self.meta.epoch,
            index_bytes: self.config.index_bytes,
            released: &Released::default(),
            patches: entries,
            damaged: Vec::new(),
        };
        for (first, last) in self.damaged.within(hole.start, hole.end - 1) {
            out.damaged(first, last);
        }
        compaction.at = hole.end;
        while let Err(unfinished) = self.copy(compaction, &Released::default(), &[], 1)? {
            compaction = unfinished;
        }
        Ok(())
    }
}

enum Place {
    In(Arc<Sealed>),
    Between(Range<u64>),
}

impl Place {
    fn range(&self) -> Range<u64> {
        match self {
            Place::In(segment) => segment.first..segment.end,
            Place::Between(hole) => hole.clone(),
        }
    }
}
