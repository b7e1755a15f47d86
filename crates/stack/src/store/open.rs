//! From a directory to a store and its machine (`durable::Recovery`).

use bytes::Bytes;
use durable::{Configuration, Durable, Life, Number, Recovery, RecoveryError, Settings};
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
    #[error("the checkpoint is damaged; move the directory away, and the site returns as a new store")]
    CheckpointDamaged,
    /// Nothing in a file of the log can be read, so how far the log went is not known.
    #[error("nothing of {0} can be read; move the directory away, and the site returns as a new store")]
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
        let (log, found) = Log::open(disk.clone(), config)?;
        if found.checkpoint_damaged {
            return Err(StoreError::CheckpointDamaged);
        }
        if let Some(name) = found.unreadable.into_iter().next() {
            return Err(StoreError::Unreadable(name));
        }
        let parts = Parts::find(&log)?;
        let from = of_use(&log);
        let mut store =
            DiskStore { disk, log, parts, from, first: from, incoming: None, taking: None, failed: None };
        store.forget_incoming().map_err(LogError::Fatal)?;
        let meta = store.log.metadata();
        let meta = (!meta.is_empty()).then(|| Bytes::copy_from_slice(meta));
        let checkpoint = match &store.parts {
            Some(parts) => Some((parts.head.clone(), parts.window(&store.log)?)),
            None => None,
        };
        let at = checkpoint.as_ref().map_or(Number::default(), |(head, _)| head.number);
        let mut recovery = Recovery::new(settings, meta, checkpoint);
        let Found { first, proven } = store.find(at)?;
        store.first = first.unwrap_or(store.log.next());
        if let Some(first) = first {
            let mut told = Ok(());
            store.log.reader().range(first, store.log.next(), u64::MAX, &mut |item| {
                if told.is_ok() {
                    told = tell(&mut recovery, item, proven);
                }
            })?;
            told?;
        }
        let machine = recovery.start(who.site, who.store, who.life, who.founders)?;
        Ok(Opened { store, machine })
    }

    /// Goes through the log, to see from where on it is of use beside the checkpoint.
    fn find(&self, at: Number) -> Result<Found, StoreError> {
        let (mut first, mut end, mut proven) = (None, 0, 0);
        self.log.reader().range(self.from, self.log.next().max(self.from), u64::MAX, &mut |item| {
            let (from, to) = match item {
                Item::Entry(entry) => (entry.position, entry.position),
                Item::Damaged(from, to) => (from, to),
            };
            if first.is_none() || from != end + 1 {
                first = Some(from); // before a gap: freed
            }
            end = to;
            if let Item::Entry(entry) = item {
                proven = proven.max(proof_of(entry.tag));
            }
        })?;
        let first = first.filter(|_| end >= at.position).or(Some(at.position + 1));
        Ok(Found { first: first.filter(|first| *first < self.log.next()), proven })
    }
}

/// What the log holds.
struct Found {
    /// From here on, without gaps, it is of use.
    first: Option<u64>,
    /// Everything before was synced once: entries behind it say so.
    proven: u64,
}

/// Tells what one place of the log holds. What cannot be read and was never known to be synced is torn: a crash may lose
/// any part of what was written last.
fn tell(recovery: &mut Recovery, item: Item<'_>, proven: u64) -> Result<(), RecoveryError> {
    match item {
        Item::Entry(entry) => recovery.record(entry.position, Bytes::copy_from_slice(entry.payload), true),
        Item::Damaged(first, last) => (first..=last).try_for_each(|position| match position < proven {
            true => recovery.missing(position),
            false => recovery.record(position, Bytes::new(), false),
        }),
    }
}
