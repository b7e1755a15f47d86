//! A service's spool: a second log of its own beside each store, for what it takes in while its group has no majority.
//!
//! ```text
//!  write ─▶ a place, once it is durable      keep(places, note) ─▶ all others are dropped; the note stays
//!  next(from) ─▶ the first at or behind a place
//! ```
//!
//! It is this site's alone: nothing in it is replicated. Places ascend from 1 and none is used twice, whatever was dropped.

use std::path::Path;

use bytes::Bytes;
use tokio::sync::oneshot;
use wal::LogError;
use wire::{GroupName, StoreId};

use super::ask::{Ask, HostError, Told, no_room};
use super::kept::Payloads;
use super::trouble::Trouble;
use crate::handle::Handle;

/// What a spool had when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// The store that it is beside.
    pub store: StoreId,
    /// The next place.
    pub next: u64,
    /// What its owner noted last; empty if that never was.
    pub note: Bytes,
}

/// What is asked of a spool.
pub(crate) enum SpoolAsk {
    Open { told: Told<Spooled> },
    Write { payload: Bytes, told: Told<u64> },
    Next { from: u64, told: Told<Option<(u64, Bytes)>> },
    Keep { places: Vec<u64>, note: Bytes, told: Told<()> },
}

impl SpoolAsk {
    pub(super) fn refuse(self, error: HostError) {
        match self {
            SpoolAsk::Open { told } => drop(told.send(Err(error))),
            SpoolAsk::Write { told, .. } => drop(told.send(Err(error))),
            SpoolAsk::Next { told, .. } => drop(told.send(Err(error))),
            SpoolAsk::Keep { told, .. } => drop(told.send(Err(error))),
        }
    }
}

/// The spool's log, on the thread of its store.
pub(super) struct SpoolLog {
    log: Payloads,
    store: StoreId,
    /// Written, and not durable yet: the places, and who waits.
    unsynced: Vec<(u64, Told<u64>)>,
    /// Room of what was dropped is being given back.
    compacting: bool,
}

impl SpoolLog {
    /// Opens it, or makes an empty folder of it.
    pub(super) fn open(folder: &Path, store: StoreId) -> Result<SpoolLog, Trouble> {
        let log = Payloads::open(folder, store.0)?;
        Ok(SpoolLog { log, store, unsynced: Vec::new(), compacting: false })
    }

    /// Whether there is something to go on with.
    pub(super) fn is_busy(&self) -> bool {
        self.compacting
    }

    /// Does what is asked; what is written waits for [`finish`](SpoolLog::finish). An error is for the whole site.
    pub(super) fn take(&mut self, ask: SpoolAsk) -> Result<(), LogError> {
        // Whoever has gone needs no answer.
        match ask {
            SpoolAsk::Open { told } => {
                let note = Bytes::copy_from_slice(self.log.note());
                let _ = told.send(Ok(Spooled { store: self.store, next: self.log.next(), note }));
            }
            SpoolAsk::Write { payload, told } => {
                let place = self.log.next();
                match self.log.put(place, &payload) {
                    Ok(()) => self.unsynced.push((place, told)),
                    Err(LogError::Full(_)) => drop(told.send(Err(full()))),
                    Err(LogError::TooLong { .. }) => drop(told.send(Err(HostError::TooLarge))),
                    Err(error) => return Err(error),
                }
            }
            SpoolAsk::Next { from, told } => {
                let found = self.first_from(from)?;
                let _ = told.send(found);
            }
            SpoolAsk::Keep { places, note, told } => {
                let kept =
                    self.log.set_note(&note).and_then(|()| self.log.keep_only(&places, self.log.next()));
                match kept {
                    Ok(()) => {
                        self.compacting = true;
                        let _ = told.send(Ok(()));
                    }
                    // It is dropped the next time.
                    Err(LogError::Full(_)) => drop(told.send(Err(full()))),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn first_from(&mut self, from: u64) -> Result<Result<Option<(u64, Bytes)>, HostError>, LogError> {
        while let Some(place) = self.log.first_from(from) {
            if let Some(payload) = self.log.get(place)? {
                return Ok(Ok(Some((place, payload))));
            }
            // One that is damaged is forgotten; while something waits for room on the disk nothing can be read.
            if self.log.has(place) {
                return Ok(Err(full()));
            }
        }
        Ok(Ok(None))
    }

    /// Makes what was written durable, tells who waits for it, and gives back some room.
    pub(super) fn finish(&mut self) -> Result<(), LogError> {
        if !self.unsynced.is_empty() {
            let synced = self.log.sync();
            let answer = match synced {
                Ok(()) => None,
                // It may become durable yet; nobody is told that it is.
                Err(LogError::Full(_)) => Some(full()),
                Err(error) => return Err(error),
            };
            for (place, told) in self.unsynced.drain(..) {
                let _ = told.send(answer.clone().map_or(Ok(place), Err));
            }
        }
        if self.compacting {
            self.compacting = match self.log.compact_some() {
                Ok(idle) => !idle,
                Err(LogError::Full(_)) => false,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}

fn full() -> HostError {
    HostError::NotActive(no_room(&[]))
}

impl Handle {
    /// What the spool beside this site's store of a service's group has.
    ///
    /// # Errors
    ///
    /// There is no such store here, or it is not open.
    pub async fn spool_open(&self, group: GroupName) -> Result<Spooled, HostError> {
        self.spool(group, |told| SpoolAsk::Open { told }).await
    }

    /// Writes something into a spool, and gives its place when it is durable on this site's disk.
    ///
    /// # Errors
    ///
    /// Nobody is to be told that it is there; it may be found there nevertheless.
    pub async fn spool_write(&self, group: GroupName, payload: Bytes) -> Result<u64, HostError> {
        self.spool(group, |told| SpoolAsk::Write { payload, told }).await
    }

    /// The first thing in a spool at a place or behind it that is not damaged, and its place; none if there is none.
    ///
    /// # Errors
    ///
    /// As [`spool_open`](Handle::spool_open); or the disk is full, and it cannot be read before there is room.
    pub async fn spool_next(&self, group: GroupName, from: u64) -> Result<Option<(u64, Bytes)>, HostError> {
        self.spool(group, |told| SpoolAsk::Next { from, told }).await
    }

    /// Drops all that is in a spool but these places, in ascending order, and replaces its owner's note. Both are durable when
    /// this is done.
    ///
    /// # Errors
    ///
    /// Nothing may have been dropped.
    pub async fn spool_keep(&self, group: GroupName, places: Vec<u64>, note: Bytes) -> Result<(), HostError> {
        self.spool(group, |told| SpoolAsk::Keep { places, note, told }).await
    }

    async fn spool<T>(
        &self,
        group: GroupName,
        ask: impl FnOnce(oneshot::Sender<Result<T, HostError>>) -> SpoolAsk,
    ) -> Result<T, HostError> {
        self.host(|told| Ask::Spool { group, ask: ask(told) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask<T>(
        log: &mut SpoolLog,
        ask: impl FnOnce(oneshot::Sender<Result<T, HostError>>) -> SpoolAsk,
    ) -> Result<T, HostError> {
        let (told, mut answer) = oneshot::channel();
        log.take(ask(told)).expect("a sound disk");
        log.finish().expect("a sound disk");
        answer.try_recv().expect("it is answered")
    }

    fn write(log: &mut SpoolLog, text: &'static str) -> u64 {
        let payload = Bytes::from_static(text.as_bytes());
        ask(log, |told| SpoolAsk::Write { payload, told }).expect("there is room")
    }

    fn all(log: &mut SpoolLog) -> Vec<(u64, Bytes)> {
        let (mut from, mut found) = (1, Vec::new());
        while let Some((place, payload)) = ask(log, |told| SpoolAsk::Next { from, told }).expect("it is open")
        {
            found.push((place, payload));
            from = place + 1;
        }
        found
    }

    #[test]
    fn nothing_is_answered_before_it_is_durable() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = SpoolLog::open(dir.path(), StoreId(7)).expect("opens");
        let (told, mut answer) = oneshot::channel();
        log.take(SpoolAsk::Write { payload: Bytes::from_static(b"one"), told }).expect("a sound disk");
        assert!(answer.try_recv().is_err());
        log.finish().expect("a sound disk");
        assert_eq!(answer.try_recv().expect("it is answered"), Ok(1));
    }

    #[test]
    fn places_and_the_note_go_on_when_all_was_dropped_and_the_log_was_opened_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = SpoolLog::open(dir.path(), StoreId(7)).expect("opens");
        assert_eq!([write(&mut log, "one"), write(&mut log, "two"), write(&mut log, "three")], [1, 2, 3]);
        let keep = |places: &[u64], note: &'static [u8]| {
            let (places, note) = (places.to_vec(), Bytes::from_static(note));
            move |told| SpoolAsk::Keep { places, note, told }
        };
        assert_eq!(ask(&mut log, keep(&[2], b"a")), Ok(()));
        drop(log);
        let mut log = SpoolLog::open(dir.path(), StoreId(7)).expect("opens");
        assert_eq!(all(&mut log), [(2, Bytes::from_static(b"two"))]);
        assert_eq!(write(&mut log, "four"), 4);
        assert_eq!(ask(&mut log, keep(&[], b"b")), Ok(()));
        while log.is_busy() {
            log.finish().expect("a sound disk");
        }
        drop(log);
        let mut log = SpoolLog::open(dir.path(), StoreId(7)).expect("opens");
        let had = ask(&mut log, |told| SpoolAsk::Open { told }).expect("it is open");
        assert_eq!(had, Spooled { store: StoreId(7), next: 5, note: Bytes::from_static(b"b") });
        assert!(all(&mut log).is_empty());
    }
}
