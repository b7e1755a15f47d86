//! From what is on the disk to a machine: what is torn, what is damaged, what is in force (D3, D14, D15).

use bytes::Bytes;
use wire::{SiteId, StoreId, ViewId};

use crate::bugs::Bug;
use crate::configuration::Configuration;
use crate::entry::{Body, Entry, Known, Number, RecordError};
use crate::log::Log;
use crate::machine::{Durable, Found};
use crate::message::Life;
use crate::meta::Meta;
use crate::settings::Settings;
use crate::storage::CheckpointHead;
use crate::window::Window;

/// Why nothing could be made of what is on a disk. It stays as it is; the site takes a new store and has it added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// There is a log or a checkpoint, and no meta record that can be read: what this store has promised is lost.
    #[error("the meta record is lost; this store cannot vote any more: take a new one")]
    MetaLost,
    /// The checkpoint's own domain cannot be read.
    #[error("the checkpoint cannot be read; this store cannot go on: take a new one")]
    CheckpointLost,
    /// Records do not follow each other.
    #[error("the records of the log do not follow each other")]
    Gap,
    /// The log does not have the checkpoint's entry where it should be.
    #[error("the log and the checkpoint contradict each other")]
    Contradiction,
    /// A record is whole and cannot be read: it is of a later version.
    #[error("the log was written by a later version")]
    Version,
}

/// What is on a disk, told in order: [`Recovery::new`], then every position of the log from the lowest on
/// ([`stretch`](Recovery::stretch), [`record`](Recovery::record) or [`missing`](Recovery::missing)), then
/// [`start`](Recovery::start). What is told must have been synced: after a crash of the process alone, the log's tail may
/// be in the kernel's memory only.
///
/// Of the log it keeps which view numbered which stretch, and what is damaged: its memory does not grow with the log.
#[derive(Clone, Debug)]
pub struct Recovery {
    settings: Settings,
    meta: Option<Bytes>,
    checkpoint: Option<(CheckpointHead, Bytes)>,
    /// What the log has, from the first position that was told, without gaps.
    found: Vec<Stretch>,
    torn: bool,
}

/// Positions of one kind that follow each other, first and last included.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u64,
    last: u64,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Of one view; before the first of them the log ended so, if that is known.
    Entries {
        view: ViewId,
        base: Option<Number>,
    },
    Damaged,
}

impl Stretch {
    /// What of it is at or behind this position.
    fn from(self, position: u64) -> Option<Stretch> {
        (position <= self.last).then(|| Stretch { first: self.first.max(position), ..self })
    }
}

impl Recovery {
    /// Begins with the meta record and the current checkpoint, with its domain 0. Neither is there on a new disk.
    pub fn new(
        settings: Settings,
        meta: Option<Bytes>,
        checkpoint: Option<(CheckpointHead, Bytes)>,
    ) -> Recovery {
        Recovery { settings, meta, checkpoint, found: Vec::new(), torn: false }
    }

    /// Records that were synced, are whole and of one view, from this one up to `last`. Those between the two need not have
    /// been read: damage there is found when they are, to be applied or for somebody, and is damage from then on (D14).
    pub fn stretch(&mut self, first: Known, last: u64) -> Result<(), RecoveryError> {
        let Known { number, base } = first;
        self.add(Stretch { first: number.position, last, slot: Slot::Entries { view: number.view, base } })
    }

    /// The next record. `synced`: the disk can prove that it was durable once, so that it is damaged if it does not
    /// pass, and torn if that cannot be proved. Behind a torn record nothing is looked at.
    pub fn record(&mut self, position: u64, bytes: Bytes, synced: bool) -> Result<(), RecoveryError> {
        let unchecked = self.settings.bugs.has(Bug::TornTailAccepted) && !synced;
        let entry = match Entry::from_record(bytes.clone()) {
            Ok(entry) => Some(entry),
            Err(RecordError::Malformed) => return Err(RecoveryError::Version),
            Err(RecordError::Checksum) => unchecked.then(|| Entry::from_unchecked(bytes)).flatten(),
        };
        match entry {
            Some(entry) if entry.number.position == position || unchecked => {
                let base = match entry.body {
                    Body::ViewStart { base } => Some(base),
                    Body::Request(_) | Body::Configuration(_) | Body::Mark => None,
                };
                self.stretch(Known { number: Number { position, ..entry.number }, base }, position)
            }
            Some(_) | None if synced => self.missing(position, position),
            Some(_) | None => {
                self.torn = true;
                Ok(())
            }
        }
    }

    /// Records that were durable once and cannot be had (D14), first and last included.
    pub fn missing(&mut self, first: u64, last: u64) -> Result<(), RecoveryError> {
        if self.settings.bugs.has(Bug::TailCutVotes) {
            self.torn = true;
        }
        self.add(Stretch { first, last, slot: Slot::Damaged })
    }

    fn add(&mut self, next: Stretch) -> Result<(), RecoveryError> {
        if self.torn {
            return Ok(());
        }
        let Some(before) = self.found.last_mut() else {
            self.found.push(next);
            return Ok(());
        };
        if before.last + 1 != next.first || next.last < next.first {
            return Err(RecoveryError::Gap);
        }
        let goes_on = match (before.slot, next.slot) {
            (Slot::Entries { view, .. }, Slot::Entries { view: of, base }) => view == of && base.is_none(),
            (Slot::Damaged, Slot::Damaged) => true,
            (Slot::Entries { .. }, Slot::Damaged) | (Slot::Damaged, Slot::Entries { .. }) => false,
        };
        match goes_on {
            true => before.last = next.last,
            false => self.found.push(next),
        }
        Ok(())
    }

    /// Makes the machine. `life`: raised on disk before, and drawn at random. `founders`: the configuration of a new
    /// group, if this store is one of its founders; looked at on a new disk only.
    pub fn start(
        self,
        me: SiteId,
        store: StoreId,
        life: Life,
        founders: Option<Configuration>,
    ) -> Result<Durable, RecoveryError> {
        let Recovery { settings, meta, checkpoint, mut found, torn } = self;
        let empty = found.is_empty() && checkpoint.is_none();
        let mut meta = match meta.map(|record| Meta::decode(&record)) {
            Some(Some(meta)) => meta,
            None if empty => Meta {
                configurations: vec![(Number::default(), founders.unwrap_or_default())],
                ..Meta::default()
            },
            Some(None) | None => return Err(RecoveryError::MetaLost),
        };
        let (head, window) = match checkpoint {
            Some((head, window)) => {
                (Some(head), Window::decode(&window).ok_or(RecoveryError::CheckpointLost)?)
            }
            None => (None, Window::default()),
        };
        let at = head.as_ref().map_or(Number::default(), |head| head.number);
        // The end: damaged records there are a floor [D14].
        let lost = found.pop_if(|last| last.slot == Slot::Damaged).map(|lost| lost.last);
        let excess = torn || lost.is_some();
        if let Some(position) = lost.filter(|position| *position > at.position) {
            let floor = Number { view: meta.promised, position };
            meta.floor = meta.floor.max(Some(floor));
        }
        let log = read_log(at, &found)?;
        if let Some(head) = &head {
            meta.covered(head);
        }
        Ok(Durable::new(settings, me, store, life, Found { meta, log, checkpoint: head, window, excess }))
    }
}

/// The log of what was found. What is before a damaged record that the checkpoint covers is of no use.
fn read_log(at: Number, found: &[Stretch]) -> Result<Log, RecoveryError> {
    let covered = |stretch: &&Stretch| stretch.slot == Slot::Damaged && stretch.first <= at.position;
    let from = found.iter().rfind(covered).map_or(0, |damaged| damaged.last.min(at.position) + 1);
    let found: Vec<Stretch> = found.iter().filter_map(|stretch| stretch.from(from)).collect();
    if found.last().is_none_or(|stretch| stretch.last <= at.position) {
        return Ok(Log::new(at));
    }
    let contradicts = |stretch: &Stretch| match stretch.slot {
        Slot::Entries { view, .. } => {
            (stretch.first..=stretch.last).contains(&at.position) && view != at.view
        }
        Slot::Damaged => false,
    };
    if found.iter().any(contradicts) {
        return Err(RecoveryError::Contradiction);
    }
    let mut log = match found.first() {
        // The number before the first record is not known: the first is the base itself.
        Some(Stretch { first, slot: Slot::Entries { view, .. }, .. }) if *first <= at.position => {
            Log::new(Number { view: *view, position: *first })
        }
        Some(Stretch { first, .. }) if *first == at.position + 1 => Log::new(at),
        Some(_) | None => return Err(RecoveryError::Gap),
    };
    for (place, stretch) in found.iter().enumerate() {
        let Some(Stretch { first, last, slot }) = stretch.from(log.end() + 1) else { continue };
        match slot {
            Slot::Entries { view, .. } if Number { view, position: first } > log.last() => {
                log.extend_to(Number { view, position: last });
            }
            Slot::Entries { .. } => return Err(RecoveryError::Contradiction),
            Slot::Damaged => {
                let next = found.get(place + 1).map(|next| next.slot);
                // Of a guess nothing follows for those behind it.
                let before = log.last().view;
                for position in first..=last {
                    let (view, guessed) = view_of(next, position == last, before);
                    log.extend_hole(view, guessed);
                }
            }
        }
    }
    Ok(log)
}

/// The view of a damaged record, and whether it is only a guess: what stands `next` behind the damage tells the view of the
/// last record before it, and views do not go down.
fn view_of(next: Option<Slot>, is_last: bool, before: ViewId) -> (ViewId, bool) {
    match next {
        Some(Slot::Entries { view, base }) => {
            let view = base.map_or(view, |base| base.view).max(before);
            (view, !is_last && view != before)
        }
        Some(Slot::Damaged) | None => (before, true),
    }
}
