//! From a directory to a store and its machine (`durable::Recovery`).

use bytes::Bytes;
use durable::{Configuration, Durable, Known, Life, Locator, RecordError, Recovery, RecoveryError, Settings};
use wal::{Disk, Item, Log, LogError, OpenError};
use wire::{SiteId, StoreId};

use super::checkpoint::{Parts, of_use};
use super::{DiskStore, proof_of};

/// Why a store could not be opened. It stays as it is; the site takes a new store, and has it added in place of this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What the log holds is no machine's state.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The checkpoint in force cannot be read.
    #[error("the checkpoint is damaged")]
    CheckpointDamaged,
    /// Nothing in a file of the log can be read, so how far the log went is not known.
    #[error("nothing of {0} can be read")]
    Unreadable(String),
}

/// A store that was opened, and its machine.
pub struct Opened<D: Disk> {
    /// The store.
    pub store: DiskStore<D>,
    /// The machine, for [`Node::open_durable`](crate::Node::open_durable).
    pub machine: Durable,
}

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Who {
    /// This site.
    pub site: SiteId,
    /// The store's id, drawn when its directory was made.
    pub store: StoreId,
    /// This start: its incarnation was raised on disk before.
    pub life: Life,
    /// The group's first configuration, if this store is one of its founders. Looked at in an empty directory only.
    pub founders: Option<Configuration>,
}

impl<D: Disk> DiskStore<D> {
    /// Opens the store in a directory, or makes one in an empty directory.
    pub fn open(disk: D, config: wal::Config, settings: Settings, who: Who) -> Result<Opened<D>, StoreError> {
        DiskStore::open_with(disk, config, settings, who, &mut |_, _| {})
    }

    /// The same, and the application's state as of the checkpoint in force is shown meanwhile, part by part, as
    /// [`state`](DiskStore::state) does. After an error what was shown is worth nothing.
    ///
    /// The checkpoint is read once, and the log's open segment. A closed segment, which was durable as a whole once, is believed
    /// to be what its first and last entry say; damage between them is found when it is read, to be applied or for somebody.
    pub fn open_with(
        disk: D,
        config: wal::Config,
        settings: Settings,
        who: Who,
        take: &mut dyn FnMut(&Locator, &[u8]),
    ) -> Result<Opened<D>, StoreError> {
        let (log, found) = Log::open(disk.clone(), config)?;
        if found.checkpoint_damaged {
            return Err(StoreError::CheckpointDamaged);
        }
        if let Some(name) = found.unreadable.into_iter().next() {
            return Err(StoreError::Unreadable(name));
        }
        let (parts, window) = Parts::find(&log, take)?.unzip();
        let from = of_use(&log);
        let mut store =
            DiskStore { disk, log, parts, from, first: from, incoming: None, taking: None, failed: None };
        store.forget_incoming().map_err(LogError::Fatal)?;
        let meta = store.log.metadata();
        let meta = (!meta.is_empty()).then(|| Bytes::copy_from_slice(meta));
        let checkpoint = store.checkpoint().cloned().zip(window);
        let at = store.checkpoint().map_or(0, |head| head.number.position);
        let survey = Survey::of(&store.log, from)?;
        let mut recovery = Recovery::new(settings, meta, checkpoint);
        store.first = survey.first(at).min(store.log.next());
        survey.tell(&mut recovery, at)?;
        let machine = recovery.start(who.site, who.store, who.life, who.founders)?;
        Ok(Opened { store, machine })
    }
}

/// What the log holds, as far as it is of use beside the checkpoint: no more than a line for each view and each damage.
#[derive(Default)]
struct Survey {
    /// Without gaps.
    found: Vec<Place>,
    /// The last position that was seen.
    end: u64,
    /// Everything before was synced once: entries behind it say so.
    proven: u64,
}

enum Place {
    /// Entries of one view, from this one up to a position.
    Whole(Known, u64),
    /// The first, and the last.
    Damaged(u64, u64),
}

impl Survey {
    /// Goes through the log from a position on.
    fn of<D: Disk>(log: &Log<D>, from: u64) -> Result<Survey, StoreError> {
        let (mut survey, mut next) = (Survey::default(), from);
        for (first, end) in log.closed() {
            if end <= next {
                continue;
            }
            survey.proven = survey.proven.max(end);
            survey.read(log, next, first)?;
            next = next.max(first);
            if !survey.glance(log, next, end)? {
                survey.read(log, next, end)?;
            }
            next = end;
        }
        survey.read(log, next, log.next())?;
        Ok(survey)
    }

    /// Looks at the first and the last entry of a closed segment's stretch. Where they are of one view, so is all between
    /// them: the numbers of a log rise. Only a beginning of it can have been released. False: it has to be read whole.
    fn glance<D: Disk>(&mut self, log: &Log<D>, from: u64, end: u64) -> Result<bool, StoreError> {
        if log.damaged().any(|(first, last)| first < end && last >= from) {
            return Ok(false);
        }
        let (mut ends, mut sound) = ([None, None], true);
        for (end_of, (from, to)) in ends.iter_mut().zip([(from, end), (end - 1, end)]) {
            log.reader().range(from, to, 1, &mut |item| {
                *end_of = known(item);
                sound &= end_of.is_some();
                self.prove(item);
            })?;
        }
        let [first, last] = ends.map(|end| end.filter(|_| sound));
        match (first, last) {
            (Some(first), Some(last)) if first.number.view == last.number.view => {
                self.add(first.number.position, last.number.position, |_, to| Place::Whole(first, to));
                Ok(true)
            }
            (Some(_) | None, Some(_) | None) => Ok(false),
        }
    }

    fn read<D: Disk>(&mut self, log: &Log<D>, from: u64, to: u64) -> Result<(), StoreError> {
        let mut looked = Ok(());
        log.reader().range(from, to.max(from), u64::MAX, &mut |item| {
            if looked.is_ok() {
                looked = self.look(item);
            }
        })?;
        looked
    }

    /// Notes what one place of the log holds. A record that its own checksum refutes is damaged, too.
    fn look(&mut self, item: Item<'_>) -> Result<(), StoreError> {
        self.prove(item);
        match item {
            Item::Entry(entry) => match Known::of(entry.payload) {
                Ok(known) if known.number.position == entry.position => {
                    self.add(entry.position, entry.position, |_, last| Place::Whole(known, last));
                }
                Err(RecordError::Malformed) => return Err(RecoveryError::Version.into()),
                Ok(_) | Err(RecordError::Checksum) => {
                    self.add(entry.position, entry.position, Place::Damaged);
                }
            },
            Item::Damaged(first, last) => self.add(first, last, Place::Damaged),
        }
        Ok(())
    }

    fn prove(&mut self, item: Item<'_>) {
        if let Item::Entry(entry) = item {
            self.proven = self.proven.max(proof_of(entry.tag));
        }
    }

    fn add(&mut self, first: u64, last: u64, place: impl FnOnce(u64, u64) -> Place) {
        if first != self.end + 1 {
            self.found.clear(); // before a gap: freed
        }
        self.end = last;
        match (place(first, last), self.found.last_mut()) {
            (Place::Whole(next, _), Some(Place::Whole(before, to)))
                if next.base.is_none() && next.number.view == before.number.view =>
            {
                *to = last;
            }
            (place, _) => self.found.push(place),
        }
    }

    /// From this position on the log has everything, and it is of use beside a checkpoint at this position.
    fn first(&self, at: u64) -> u64 {
        match self.found.first().filter(|_| self.end >= at) {
            Some(Place::Whole(known, _)) => known.number.position,
            Some(Place::Damaged(first, _)) => *first,
            None => at + 1,
        }
    }

    /// Tells what was found, if the log reaches beyond the checkpoint's position. What cannot be read and was never known
    /// to be synced is torn: a crash may lose any part of what was written last.
    fn tell(&self, recovery: &mut Recovery, at: u64) -> Result<(), RecoveryError> {
        if self.end < at {
            return Ok(());
        }
        for place in &self.found {
            match place {
                Place::Whole(first, last) => recovery.stretch(*first, *last)?,
                Place::Damaged(first, last) => {
                    let synced = (*last + 1).min(self.proven);
                    if *first < synced {
                        recovery.missing(*first, synced - 1)?;
                    }
                    if synced <= *last {
                        recovery.record((*first).max(synced), Bytes::new(), false)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What an entry says of its place, if it is whole.
fn known(item: Item<'_>) -> Option<Known> {
    match item {
        Item::Entry(entry) => {
            Known::of(entry.payload).ok().filter(|known| known.number.position == entry.position)
        }
        Item::Damaged(..) => None,
    }
}
