//! A site's disk: one record, replaced as a whole, with writes that take time and may not survive a crash.
//!
//! The driver writes a record beside the old one, syncs it and renames it. So a crash in the middle leaves an
//! older record or a newer one, and a torn write is never read as a record; but which of the writes under way
//! made it is anybody's guess. A record that rotted is found by its checksum, and then the directory is as good
//! as empty: what replaces it is a new store.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use wire::{StoreId, Time};

use crate::dice::Dice;
use crate::host::Write;

/// How a seed's disks behave.
#[derive(Clone, Debug)]
pub struct Model {
    /// The mean time of a write.
    pub write_mean: Duration,
    /// So many writes of a thousand are slow, by a factor of up to a hundred.
    pub slow_per_mille: u32,
    /// So many writes of a thousand fail; that is fatal for the site.
    pub error_per_mille: u32,
}

/// One site's disk. Survives the site.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The data directory's name.
    pub store: StoreId,
    /// Raised before a start.
    pub incarnation: u64,
    record: Option<Bytes>,
    under_way: VecDeque<Write>,
    free_at: Time,
}

/// What became of a write when its time came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is durable.
    Stored(u64),
    /// The disk said no.
    Failed,
}

impl Disk {
    /// A new data directory.
    pub fn new(dice: &mut Dice) -> Disk {
        Disk {
            store: StoreId(dice.number()),
            incarnation: 0,
            record: None,
            under_way: VecDeque::new(),
            free_at: Time::ZERO,
        }
    }

    /// What can be read at a start.
    pub fn record(&self) -> Option<Bytes> {
        self.record.clone()
    }

    /// Takes a write; returns when it will be done. Writes are done in order.
    pub fn write(&mut self, now: Time, write: Write, model: &Model, dice: &mut Dice) -> Time {
        let mut takes = dice.wait(model.write_mean);
        if dice.chance(model.slow_per_mille) {
            takes *= dice.between(2, 100) as u32;
        }
        self.under_way.push_back(write);
        self.free_at = self.free_at.max(now) + takes;
        self.free_at
    }

    /// The oldest write's time has come.
    pub fn done(&mut self, model: &Model, dice: &mut Dice) -> Done {
        let write = self.under_way.pop_front().expect("a write is done once, in order");
        if dice.chance(model.error_per_mille) {
            return Done::Failed;
        }
        self.record = Some(write.record);
        Done::Stored(write.ticket)
    }

    /// The site has died: some of the writes under way made it, from the oldest on; the rest are gone.
    /// Returns (kept, lost).
    pub fn crash(&mut self, now: Time, dice: &mut Dice) -> (usize, usize) {
        let total = self.under_way.len();
        let kept = dice.below(total as u64 + 1) as usize;
        if let Some(write) = self.under_way.drain(..).take(kept).last() {
            self.record = Some(write.record);
        }
        self.free_at = now;
        (kept, total - kept)
    }

    /// The directory is emptied: another store.
    pub fn wipe(&mut self, dice: &mut Dice) {
        assert!(self.under_way.is_empty(), "only a dead site's disk is wiped");
        self.store = StoreId(dice.number());
        self.record = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Concern;

    fn model() -> Model {
        Model { write_mean: Duration::from_millis(1), slow_per_mille: 0, error_per_mille: 0 }
    }

    #[test]
    fn a_crash_leaves_a_prefix_of_the_writes_under_way() {
        let mut dice = Dice::new(1, Concern::Disk);
        let mut seen = [false; 3];
        for _ in 0..100 {
            let mut disk = Disk::new(&mut dice);
            for n in 1..=2u8 {
                let write = Write { ticket: u64::from(n), record: Bytes::copy_from_slice(&[n]) };
                disk.write(Time::ZERO, write, &model(), &mut dice);
            }
            let (kept, lost) = disk.crash(Time::ZERO, &mut dice);
            assert_eq!(kept + lost, 2);
            assert_eq!(disk.record().map_or(0, |r| usize::from(r[0])), kept);
            seen[kept] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn what_is_stored_survives_a_crash() {
        let mut dice = Dice::new(1, Concern::Disk);
        let mut disk = Disk::new(&mut dice);
        let write = Write { ticket: 9, record: Bytes::from_static(b"x") };
        let at = disk.write(Time::from_millis(5), write, &model(), &mut dice);
        assert!(at >= Time::from_millis(5));
        assert_eq!(disk.done(&model(), &mut dice), Done::Stored(9));
        disk.crash(at, &mut dice);
        assert_eq!(disk.record(), Some(Bytes::from_static(b"x")));
    }
}
