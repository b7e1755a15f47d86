//! A group's store that cannot be opened: why, and when it is tried again.

use std::io;
use std::time::Duration;

use durable::Configuration;
use stack::store::StoreError;
use wal::{DiskError, LogError, OpenError};
use wire::Time;

use super::served::Served;

/// After the first refusal a store is tried again in so long; it doubles with each.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// The longest that it takes.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What keeps a store from being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// There is no room on its disk. It is tried again.
    Full,
    /// The system refused: files, a thread, a lock. It is tried again.
    System,
    /// What the folder held is not there, or cannot be read. Somebody has to look at it, so nobody touches it meanwhile: a
    /// folder that is being put back must not be opened half-way.
    Damaged,
}

/// Why a store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it is.
    pub kind: TroubleKind,
    /// In words, with what to do.
    pub why: String,
}

impl TroubleKind {
    /// Its name, as `status --json` shows it.
    pub fn name(self) -> &'static str {
        match self {
            TroubleKind::Full => "full",
            TroubleKind::System => "system",
            TroubleKind::Damaged => "damaged",
        }
    }

    /// Whether it may pass by itself.
    pub fn may_pass(self) -> bool {
        match self {
            TroubleKind::Full | TroubleKind::System => true,
            TroubleKind::Damaged => false,
        }
    }

    pub(super) fn of_io(error: &io::Error) -> TroubleKind {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TroubleKind::Full,
            _ => TroubleKind::System,
        }
    }

    pub(super) fn of_store(error: &StoreError) -> TroubleKind {
        match error {
            StoreError::Open(OpenError::Disk(error)) => TroubleKind::of_disk(error),
            StoreError::Log(LogError::Full(_)) => TroubleKind::Full,
            StoreError::Log(LogError::Fatal(error) | LogError::Read(error)) => TroubleKind::of_disk(error),
            StoreError::Open(_)
            | StoreError::Log(_)
            | StoreError::Recovery(_)
            | StoreError::CheckpointDamaged
            | StoreError::Unreadable(_) => TroubleKind::Damaged,
        }
    }

    fn of_disk(error: &DiskError) -> TroubleKind {
        match error {
            DiskError::Full(_) => TroubleKind::Full,
            DiskError::NotFound(_) | DiskError::Unreadable(_) | DiskError::Failed { .. } => {
                TroubleKind::System
            }
        }
    }
}

/// What a group's store is opened with, again if need be.
pub(super) struct Founded {
    /// The new state of such a group.
    pub(super) empty: Served,
    /// The stores that the group was founded on.
    pub(super) stores: Configuration,
}

/// A store that is tried again now and then.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Refusals in a row.
    vain: u32,
    /// The next time, while it is closed and may be opened.
    at: Option<Time>,
}

impl Tries {
    /// It was refused.
    pub(super) fn refused(&mut self, now: Time, kind: TroubleKind) {
        let wait = AGAIN_FIRST * (1 << self.vain.min(6));
        self.vain = self.vain.saturating_add(1);
        self.at = kind.may_pass().then(|| now + wait.min(AGAIN_MAX));
    }

    /// Whether it is time to try again. Says so once.
    pub(super) fn take(&mut self, now: Time) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_tried_again_and_again_and_a_damaged_store_is_left_alone() {
        let mut tries = Tries::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert!(!tries.take(at(99)));
        let mut now = 0;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            tries.refused(at(now), TroubleKind::Full);
            assert!(!tries.take(at(now + wait - 1)) && tries.take(at(now + wait)));
            assert!(!tries.take(at(now + 999)));
            now += wait;
        }
        tries.refused(at(now), TroubleKind::Damaged);
        assert!(!tries.take(at(now + 9_999)));
    }

    #[test]
    fn what_may_pass_is_told_from_what_needs_somebody() {
        let full = StoreError::Open(OpenError::Disk(DiskError::Full("a".to_owned())));
        assert_eq!(TroubleKind::of_store(&full), TroubleKind::Full);
        assert_eq!(TroubleKind::of_store(&StoreError::CheckpointDamaged), TroubleKind::Damaged);
        assert_eq!(TroubleKind::of_io(&io::Error::from(io::ErrorKind::StorageFull)), TroubleKind::Full);
    }
}
