//! Who waits for changes of a durable map.

use bytes::Bytes;
use tools::map::{Changes, Compacted, Map};

use super::ask::Told;
use super::served::Served;
use super::{Hosting, Stage};

/// Somebody who waits for changes of a map.
pub(super) struct Watcher {
    pub(super) since: u64,
    pub(super) prefix: Bytes,
    pub(super) told: Told<Result<Changes, Compacted>>,
}

impl Hosting {
    /// Answers those who wait for changes, after whatever was applied.
    pub(crate) fn tell_watchers(&mut self) {
        for hosted in self.groups.values_mut().filter(|hosted| hosted.changed) {
            hosted.changed = false;
            let Stage::Open(_, Served::Map(map)) = &hosted.stage else { continue };
            let watchers = std::mem::take(&mut hosted.watchers);
            hosted.watchers = watchers.into_iter().filter_map(|watcher| watcher.tell(map)).collect();
        }
    }
}

impl Watcher {
    /// Tells what there is to tell; else gives itself back, unless nobody listens any more.
    pub(super) fn tell(self, map: &Map) -> Option<Watcher> {
        if self.told.is_closed() {
            return None;
        }
        match map.changes_since(self.since, &self.prefix) {
            Ok(changes) if changes.changes.is_empty() => {
                Some(Watcher { since: changes.upto.max(self.since), ..self })
            }
            told => {
                let _ = self.told.send(Ok(told));
                None
            }
        }
    }
}
