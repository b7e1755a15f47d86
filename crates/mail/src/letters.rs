//! The letters that some mailbox points at. The bodies are in the log, once per machine; this is what says
//! which of them are still wanted [Mail 10].
// [Yampell 86, 7.3] links, not copies

use crate::digest::{Part, Sum};
use crate::ids::{EntryTime, Position};
use crate::series::{Keyed, Series};

/// A letter: its body is in the log's entry at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where its body is.
    pub position: Position,
    /// Its internal date, which copies keep.
    pub date: EntryTime,
    /// Its length in bytes.
    pub bytes: u32,
    /// How many mailbox records point at it.
    pub references: u32,
}

impl Letter {
    fn part(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.position.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.date.0.to_be_bytes());
        bytes[16..].copy_from_slice(&self.bytes.to_be_bytes());
        bytes
    }
}

impl Keyed for Letter {
    type Key = Position;
    fn key(&self) -> Position {
        self.position
    }
}

/// Bodies that are wanted and bodies that are not, each counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Storage {
    /// Letters that some mailbox points at.
    pub live_letters: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Letters that were stored and that nobody points at any more, since the state began. What of them a
    /// machine has already taken out of its log, only that machine knows.
    pub freed_letters: u64,
    /// Their bytes.
    pub freed_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Letters {
    series: Series<Letter>,
    storage: Storage,
    sum: Sum,
}

impl Letters {
    /// Takes in a letter that stands behind all others.
    pub(crate) fn push(&mut self, letter: Letter) {
        self.sum.add(Part::Letter, &letter.part());
        self.storage.live_letters += 1;
        self.storage.live_bytes += u64::from(letter.bytes);
        self.series.push(letter);
    }

    pub(crate) fn get(&self, position: Position) -> Option<&Letter> {
        self.series.get(position)
    }

    /// The letter that a record points at.
    pub(crate) fn of_record(&self, position: Position) -> &Letter {
        self.get(position).expect("a record points at a letter")
    }

    /// Another record points at a letter.
    pub(crate) fn refer(&mut self, position: Position) {
        let letter = self.series.get_mut(position).expect("a record points at a letter");
        letter.references = letter.references.checked_add(1).expect("fewer records than u32 counts");
    }

    /// A record less points at a letter. True if it was the last.
    pub(crate) fn release(&mut self, position: Position) -> bool {
        let letter = self.series.get_mut(position).expect("a record points at a letter");
        letter.references -= 1;
        if letter.references > 0 {
            return false;
        }
        let letter = *letter;
        self.series.extract(&[(position, position)], |_| true);
        self.sum.remove(Part::Letter, &letter.part());
        self.storage.live_letters -= 1;
        self.storage.live_bytes -= u64::from(letter.bytes);
        self.storage.freed_letters += 1;
        self.storage.freed_bytes += u64::from(letter.bytes);
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.series.iter()
    }

    pub(crate) fn last(&self) -> Option<&Letter> {
        self.series.last()
    }

    pub(crate) fn starting_at(&self, place: usize) -> impl Iterator<Item = &Letter> {
        self.series.starting_at(place)
    }

    pub(crate) fn range(&self, first: Position, last: Position) -> impl Iterator<Item = &Letter> {
        self.series.range(first, last)
    }

    pub(crate) fn storage(&self) -> Storage {
        self.storage
    }

    /// What a checkpoint says of letters that are gone.
    pub(crate) fn set_freed(&mut self, letters: u64, bytes: u64) {
        self.storage.freed_letters = letters;
        self.storage.freed_bytes = bytes;
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    pub(crate) fn sum_walked(&self) -> Sum {
        let mut sum = Sum::default();
        self.iter().for_each(|letter| sum.add(Part::Letter, &letter.part()));
        sum
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.series.memory_bytes()
    }
}
