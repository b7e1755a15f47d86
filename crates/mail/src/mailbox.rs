//! One mailbox: records that point at letters, in the order of their UIDs, and the counts that clients ask
//! for all the time.

use std::collections::VecDeque;

use crate::command::SpecialUse;
use crate::digest::{Part, Sum};
use crate::flags::{FlagNames, Flags, Keyword, Keywords, KeywordsFull};
use crate::ids::{MailboxId, Position, UserId};
use crate::letters::Letters;
use crate::limits::VANISHED_RUNS_MAX;
use crate::name::MailboxName;
use crate::series::{Keyed, Series};
use crate::uids::UidSet;

/// A letter in a mailbox: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its UID.
    pub uid: u32,
    /// Its flags; the mailbox knows what its keyword bits are called.
    pub flags: Flags,
    /// The MODSEQ of its last change.
    pub modseq: u64,
    /// The letter.
    pub letter: Position,
}

impl Keyed for Record {
    type Key = u32;
    fn key(&self) -> u32 {
        self.uid
    }
}

/// Counts of a mailbox, kept as it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// Letters.
    pub exists: u32,
    /// Letters that are not `\Seen`.
    pub unseen: u32,
    /// Letters that are `\Deleted`.
    pub deleted: u32,
    /// Letters that no session has claimed as recent.
    pub recent: u32,
    /// Bytes of all letters.
    pub bytes: u64,
    /// The next letter's UID.
    pub uid_next: u32,
    /// With a UID, names one letter for ever [Mail 5].
    pub uid_validity: u32,
    /// The highest MODSEQ.
    pub modseq: u64,
}

/// Letters that went at one MODSEQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vanished {
    pub modseq: u64,
    pub first: u32,
    pub last: u32,
}

/// One mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub(crate) id: MailboxId,
    pub(crate) owner: UserId,
    pub(crate) name: MailboxName,
    pub(crate) validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    /// Letters from this UID on are recent.
    pub(crate) recent_from: u32,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) keywords: Keywords,
    pub(crate) vanished: VecDeque<Vanished>,
    /// Up to this MODSEQ not all that vanished is remembered.
    pub(crate) vanished_floor: u64,
    records: Series<Record>,
    unseen: u32,
    deleted: u32,
    bytes: u64,
    sum: Sum,
}

impl Mailbox {
    pub(crate) fn new(id: MailboxId, owner: UserId, name: MailboxName, validity: u32) -> Mailbox {
        Mailbox {
            id,
            owner,
            name,
            validity,
            uid_next: 1,
            modseq: 1,
            recent_from: 1,
            special_use: None,
            keywords: Keywords::default(),
            vanished: VecDeque::new(),
            vanished_floor: 0,
            records: Series::default(),
            unseen: 0,
            deleted: 0,
            bytes: 0,
            sum: Sum::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> MailboxId {
        self.id
    }

    /// Whose it is.
    pub fn owner(&self) -> UserId {
        self.owner
    }

    /// Its name now.
    pub fn name(&self) -> &MailboxName {
        &self.name
    }

    /// What it is for.
    pub fn special_use(&self) -> Option<SpecialUse> {
        self.special_use
    }

    /// The keywords that it knows, those that no letter has any more included.
    pub fn keywords(&self) -> impl Iterator<Item = &Keyword> {
        self.keywords.names()
    }

    /// A letter's flags by name.
    pub fn flag_names(&self, flags: Flags) -> FlagNames {
        self.keywords.name(flags)
    }

    /// The bits of named flags; a keyword that the mailbox does not know has none.
    pub fn flags_named(&self, names: &FlagNames) -> Flags {
        self.keywords.known(names)
    }

    /// Its counts.
    pub fn status(&self) -> Status {
        Status {
            exists: self.records.len() as u32,
            unseen: self.unseen,
            deleted: self.deleted,
            recent: (self.records.len() - self.records.rank(self.recent_from)) as u32,
            bytes: self.bytes,
            uid_next: self.uid_next,
            uid_validity: self.validity,
            modseq: self.modseq,
        }
    }

    /// The letter with this UID.
    pub fn by_uid(&self, uid: u32) -> Option<&Record> {
        self.records.get(uid)
    }

    /// The letter with this sequence number, from 1.
    pub fn by_sequence(&self, sequence: u32) -> Option<&Record> {
        self.records.nth(sequence.checked_sub(1)? as usize)
    }

    /// The sequence number of the letter with this UID.
    pub fn sequence_of(&self, uid: u32) -> Option<u32> {
        self.by_uid(uid)?;
        Some(self.records.rank(uid) as u32 + 1)
    }

    /// All letters, by UID.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter()
    }

    pub(crate) fn starting_at(&self, place: usize) -> impl Iterator<Item = &Record> {
        self.records.starting_at(place)
    }

    /// The letters from one sequence number to another, both included.
    pub fn by_sequences(&self, first: u32, last: u32) -> impl Iterator<Item = &Record> {
        let first = first.max(1);
        let count = (u64::from(last) + 1).saturating_sub(u64::from(first));
        self.records.starting_at(first as usize - 1).take(count as usize)
    }

    /// The letters whose UIDs are in a set.
    pub fn by_uids<'a>(&'a self, uids: &'a UidSet) -> impl Iterator<Item = &'a Record> {
        uids.runs().iter().flat_map(|(first, last)| self.records.range(*first, *last))
    }

    /// Letters that have all of some flags and none of others.
    pub fn by_flags(&self, with: Flags, without: Flags) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |r| r.flags.has(with) && r.flags.and(without) == Flags::NONE)
    }

    /// The first letter that is not `\Seen`.
    pub fn first_unseen(&self) -> Option<&Record> {
        if self.unseen == 0 {
            return None;
        }
        self.by_flags(Flags::NONE, Flags::SEEN).next()
    }

    /// Letters that came or whose flags changed after a MODSEQ.
    pub fn changed_since(&self, modseq: u64) -> impl Iterator<Item = &Record> {
        let none = modseq >= self.modseq;
        self.records.iter().filter(move |r| !none && r.modseq > modseq)
    }

    /// UIDs of letters that went after a MODSEQ: just those if they are remembered, else every UID below
    /// UIDNEXT that names no letter, which says more than was asked for and nothing wrong (RFC 7162, 3.2.6).
    pub fn vanished_since(&self, modseq: u64) -> UidSet {
        if modseq >= self.vanished_floor {
            let later = self.vanished.iter().filter(|v| v.modseq > modseq);
            return UidSet::of_runs(later.map(|v| (v.first, v.last)));
        }
        let mut gaps = Vec::new();
        let mut next = 1;
        for record in self.records.iter() {
            if next < record.uid {
                gaps.push((next, record.uid - 1));
            }
            next = record.uid + 1;
        }
        if next < self.uid_next {
            gaps.push((next, self.uid_next - 1));
        }
        UidSet::of_runs(gaps)
    }

    /// Whether the mailbox has UIDs for so many more letters.
    pub(crate) fn has_room(&self, letters: u32) -> bool {
        self.uid_next.checked_add(letters).is_some()
    }

    /// The MODSEQ of the next change: one per command and mailbox.
    pub(crate) fn next_modseq(&mut self) -> u64 {
        self.modseq += 1;
        self.modseq
    }

    pub(crate) fn intern(&mut self, names: &FlagNames) -> Result<Flags, KeywordsFull> {
        self.keywords.intern(names)
    }

    /// Takes in a letter under the next UID.
    pub(crate) fn add(&mut self, letter: Position, bytes: u32, flags: Flags, modseq: u64) -> u32 {
        let uid = self.uid_next;
        self.uid_next = uid.checked_add(1).expect("has_room was asked before");
        self.restore(Record { uid, flags, modseq, letter }, bytes);
        uid
    }

    /// Takes in a record as it is, behind all others.
    pub(crate) fn restore(&mut self, record: Record, bytes: u32) {
        self.keywords.count(Flags::NONE, record.flags);
        self.unseen += u32::from(!record.flags.has(Flags::SEEN));
        self.deleted += u32::from(record.flags.has(Flags::DELETED));
        self.bytes += u64::from(bytes);
        self.sum.add(Part::Record, &self.part(&record));
        self.records.push(record);
    }

    pub(crate) fn set_flags(&mut self, uid: u32, flags: Flags, modseq: u64) {
        let record = self.records.get_mut(uid).expect("the letter was found before");
        let old = *record;
        record.flags = flags;
        record.modseq = modseq;
        let new = *record;
        self.keywords.count(old.flags, flags);
        let counted = |flag: Flags| (u32::from(flags.has(flag)), u32::from(old.flags.has(flag)));
        let (seen, was_seen) = counted(Flags::SEEN);
        self.unseen = self.unseen + was_seen - seen;
        let (deleted, was_deleted) = counted(Flags::DELETED);
        self.deleted = self.deleted + deleted - was_deleted;
        self.sum.remove(Part::Record, &self.part(&old));
        self.sum.add(Part::Record, &self.part(&new));
    }

    /// Takes letters out. The letters themselves are still to be released.
    pub(crate) fn take(
        &mut self,
        uids: &UidSet,
        letters: &Letters,
        wanted: impl FnMut(&Record) -> bool,
    ) -> Vec<Record> {
        let gone = self.records.extract(uids.runs(), wanted);
        if gone.is_empty() {
            return gone;
        }
        let modseq = self.next_modseq();
        for record in &gone {
            self.keywords.count(record.flags, Flags::NONE);
            self.unseen -= u32::from(!record.flags.has(Flags::SEEN));
            self.deleted -= u32::from(record.flags.has(Flags::DELETED));
            self.bytes -= u64::from(letters.of_record(record.letter).bytes);
            self.sum.remove(Part::Record, &self.part(record));
        }
        for (first, last) in UidSet::of(gone.iter().map(|record| record.uid)).runs() {
            self.vanished.push_back(Vanished { modseq, first: *first, last: *last });
        }
        while self.vanished.len() > VANISHED_RUNS_MAX {
            if let Some(forgotten) = self.vanished.pop_front() {
                self.vanished_floor = forgotten.modseq;
            }
        }
        gone
    }

    fn part(&self, record: &Record) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&self.id.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&record.uid.to_be_bytes());
        bytes[8..12].copy_from_slice(&record.flags.0.to_be_bytes());
        bytes[12..20].copy_from_slice(&record.modseq.to_be_bytes());
        bytes[20..].copy_from_slice(&record.letter.0.to_be_bytes());
        bytes
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    /// The mailbox's counts and sum made anew from its records; they must be what was kept.
    pub(crate) fn recounted(&self, letters: &Letters) -> Option<Mailbox> {
        let mut fresh = Mailbox {
            keywords: Keywords::of_names(self.keywords.names().cloned().collect()),
            records: Series::default(),
            unseen: 0,
            deleted: 0,
            bytes: 0,
            sum: Sum::default(),
            ..self.clone()
        };
        for record in self.records.iter() {
            if !fresh.keywords.covers(record.flags) {
                return None;
            }
            fresh.restore(*record, letters.get(record.letter)?.bytes);
        }
        Some(fresh)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.records.memory_bytes() + size_of::<Mailbox>()
    }
}
