//! From what is on the disk to a machine: what is torn, what is damaged, what is in force (D3, D14, D15).

use bytes::Bytes;
use wire::{SiteId, StoreId, ViewId};

use crate::bugs::Bug;
use crate::configuration::Configuration;
use crate::entry::{Body, Entry, Number};
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
/// ([`known`](Recovery::known), [`record`](Recovery::record) or [`missing`](Recovery::missing)), then
/// [`start`](Recovery::start). What is told must have been synced: after a crash of the process alone, the log's tail may
/// be in the kernel's memory only.
#[derive(Clone, Debug)]
pub struct Recovery {
    settings: Settings,
    meta: Option<Bytes>,
    checkpoint: Option<(CheckpointHead, Bytes)>,
    /// What the log has, by position, from the first that was told.
    found: Vec<(u64, Slot)>,
    torn: bool,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Entry { number: Number, base: Option<Number> },
    Damaged,
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

    /// A record whose number an index tells, so that it need not be read. Only at or before the checkpoint's position.
    pub fn known(&mut self, number: Number) -> Result<(), RecoveryError> {
        self.add(number.position, Slot::Entry { number, base: None })
    }

    /// The next record. `synced`: the disk can prove that it was durable once, so that it is damaged if it does not
    /// pass, and torn if that cannot be proved. Behind a torn record nothing is looked at.
    pub fn record(&mut self, position: u64, bytes: Bytes, synced: bool) -> Result<(), RecoveryError> {
        let unchecked = self.settings.bugs.has(Bug::TornTailAccepted) && !synced;
        let entry = match Entry::from_record(bytes.clone()) {
            Ok(entry) => Some(entry),
            Err(crate::RecordError::Malformed) => return Err(RecoveryError::Version),
            Err(crate::RecordError::Checksum) => unchecked.then(|| Entry::from_unchecked(bytes)).flatten(),
        };
        match entry {
            Some(entry) if entry.number.position == position || unchecked => {
                let base = match entry.body {
                    Body::ViewStart { base } => Some(base),
                    Body::Request(_) | Body::Configuration(_) | Body::Mark => None,
                };
                let number = Number { position, ..entry.number };
                self.add(position, Slot::Entry { number, base })
            }
            Some(_) | None if synced => self.missing(position),
            Some(_) | None => {
                self.torn = true;
                Ok(())
            }
        }
    }

    /// A record that was durable once and cannot be had (D14).
    pub fn missing(&mut self, position: u64) -> Result<(), RecoveryError> {
        if self.settings.bugs.has(Bug::TailCutVotes) {
            self.torn = true;
        }
        self.add(position, Slot::Damaged)
    }

    fn add(&mut self, position: u64, slot: Slot) -> Result<(), RecoveryError> {
        if self.torn {
            return Ok(());
        }
        if self.found.last().is_some_and(|(last, _)| last + 1 != position) {
            return Err(RecoveryError::Gap);
        }
        self.found.push((position, slot));
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
        let excess = torn || matches!(found.last(), Some((_, Slot::Damaged)));

        // The end: damaged records there are a floor [D14].
        let mut lost = None;
        while let Some((position, Slot::Damaged)) = found.last().copied() {
            lost = lost.or(Some(position));
            found.pop();
        }
        if let Some(position) = lost.filter(|position| *position > at.position) {
            let floor = Number { view: meta.promised, position };
            meta.floor = meta.floor.max(Some(floor));
        }
        let log = read_log(at, &found)?;
        if let Some(head) = &head {
            meta.configurations.retain(|(number, _)| number.position > at.position);
            meta.configurations.insert(0, head.configuration.clone());
        }
        Ok(Durable::new(settings, me, store, life, Found { meta, log, checkpoint: head, window, excess }))
    }
}

/// The log of what was found. What is before a damaged record that the checkpoint covers is of no use.
fn read_log(at: Number, found: &[(u64, Slot)]) -> Result<Log, RecoveryError> {
    let covered = |(position, slot): &(u64, Slot)| *position <= at.position && matches!(slot, Slot::Damaged);
    let from = found.iter().rposition(covered).map_or(0, |place| place + 1);
    let found = &found[from..];
    if found.last().is_none_or(|(position, _)| *position <= at.position) {
        return Ok(Log::new(at));
    }
    let contradicts = |(position, slot): &(u64, Slot)| match slot {
        Slot::Entry { number, .. } => *position == at.position && *number != at,
        Slot::Damaged => false,
    };
    if found.iter().any(contradicts) {
        return Err(RecoveryError::Contradiction);
    }
    let mut log = match found.first() {
        // The number before the first record is not known: the first is the base itself.
        Some((position, Slot::Entry { number, .. })) if *position <= at.position => Log::new(*number),
        Some((position, _)) if *position == at.position + 1 => Log::new(at),
        Some(_) | None => return Err(RecoveryError::Gap),
    };
    for (place, (position, slot)) in found.iter().enumerate() {
        if *position <= log.end() {
            continue;
        }
        match slot {
            Slot::Entry { number, .. } if *number > log.last() => log.extend(*number),
            Slot::Entry { .. } => return Err(RecoveryError::Contradiction),
            Slot::Damaged => {
                let (view, guessed) = view_of(&found[place..], log.last().view);
                log.extend_hole(view, guessed);
            }
        }
    }
    Ok(log)
}

/// The view of a damaged record, and whether it is only a guess: what stands behind it tells the view of the record
/// before it, and views do not go down.
fn view_of(found: &[(u64, Slot)], before: ViewId) -> (ViewId, bool) {
    let next = found.iter().enumerate().find_map(|(place, (_, slot))| match slot {
        Slot::Entry { number, base } => Some((place, base.map_or(number.view, |base| base.view))),
        Slot::Damaged => None,
    });
    match next {
        Some((place, view)) => (view.max(before), place > 1 && view != before),
        None => (before, true),
    }
}
