//! Flags: five of the system and a bounded number of keywords, a bit each in a letter's record [Mail 6].

use std::cmp::Ordering;
use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use minicbor::{Decode, Encode};

use crate::limits::{KEYWORD_BYTES_MAX, KEYWORDS_MAX};
use crate::name::{BadName, text_name};

/// A keyword: an atom of IMAP, compared without case, shown as it was first written.
#[derive(Clone, Eq)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// A keyword as a client wrote it.
    pub fn normal(text: &str) -> Result<Keyword, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > KEYWORD_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        let wrong = |b: u8| !b.is_ascii_graphic() || b"(){%*\"\\]".contains(&b);
        if text.bytes().any(wrong) {
            return Err(BadName::Character);
        }
        Ok(Keyword(text.into()))
    }

    /// The keyword as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Keyword) -> Ordering {
        let folded = |k: &'_ Keyword| k.0.to_ascii_lowercase();
        folded(self).cmp(&folded(other))
    }
}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Keyword) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

text_name!(Keyword);

/// A set of flags as bits: the system's five, then a mailbox's keywords by their place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Flags(#[n(0)] pub u32);

impl Flags {
    /// None.
    pub const NONE: Flags = Flags(0);
    /// `\Answered`
    pub const ANSWERED: Flags = Flags(1);
    /// `\Flagged`
    pub const FLAGGED: Flags = Flags(1 << 1);
    /// `\Deleted`
    pub const DELETED: Flags = Flags(1 << 2);
    /// `\Seen`
    pub const SEEN: Flags = Flags(1 << 3);
    /// `\Draft`
    pub const DRAFT: Flags = Flags(1 << 4);
    /// The system's five.
    pub const SYSTEM: Flags = Flags(SYSTEM_BITS);

    /// Whether all of `others` are set.
    pub fn has(self, others: Flags) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those that are in both.
    pub fn and(self, others: Flags) -> Flags {
        Flags(self.0 & others.0)
    }

    /// These without others.
    pub fn without(self, others: Flags) -> Flags {
        Flags(self.0 & !others.0)
    }

    fn keyword(slot: usize) -> Flags {
        Flags(1 << (SYSTEM_COUNT + slot))
    }

    fn slots(self) -> impl Iterator<Item = usize> {
        (0..KEYWORDS_MAX).filter(move |slot| self.has(Flags::keyword(*slot)))
    }
}

const SYSTEM_COUNT: usize = 5;
const SYSTEM_BITS: u32 = (1 << SYSTEM_COUNT) - 1;
const _: () = assert!(SYSTEM_COUNT + KEYWORDS_MAX == 32, "a flag is a bit of a u32");

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

/// Flags by name, as commands carry them: the system's as bits, keywords as text.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct FlagNames {
    /// The system's.
    #[n(0)]
    pub system: Flags,
    /// Keywords.
    #[n(1)]
    pub keywords: Vec<Keyword>,
}

impl FlagNames {
    /// Adds others.
    pub(crate) fn join(&mut self, others: FlagNames) {
        self.system |= others.system;
        for keyword in others.keywords {
            if !self.keywords.contains(&keyword) {
                self.keywords.push(keyword);
            }
        }
    }

    /// Takes others away.
    pub(crate) fn leave_out(&mut self, others: &FlagNames) {
        self.system = self.system.without(others.system);
        self.keywords.retain(|keyword| !others.keywords.contains(keyword));
    }
}

impl From<Flags> for FlagNames {
    fn from(system: Flags) -> FlagNames {
        FlagNames { system: system.and(Flags::SYSTEM), keywords: Vec::new() }
    }
}

/// What a change does with the flags that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FlagOp {
    /// Sets them, leaves others.
    #[n(0)]
    Add,
    /// Clears them, leaves others.
    #[n(1)]
    Remove,
    /// Sets them and clears all others.
    #[n(2)]
    Replace,
}

impl FlagOp {
    /// The flags after the change.
    pub fn apply(self, old: Flags, named: Flags) -> Flags {
        match self {
            FlagOp::Add => old | named,
            FlagOp::Remove => old.without(named),
            FlagOp::Replace => named,
        }
    }
}

/// A mailbox's keywords by slot, and how many letters have each. A slot that nobody uses is given to the
/// next new keyword when no fresh one is left [Mail 6].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Keywords {
    slots: Vec<(Keyword, u32)>,
}

/// A new keyword, and every slot is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeywordsFull;

impl Keywords {
    pub(crate) fn names(&self) -> impl Iterator<Item = &Keyword> {
        self.slots.iter().map(|(keyword, _)| keyword)
    }

    pub(crate) fn of_names(names: Vec<Keyword>) -> Keywords {
        Keywords { slots: names.into_iter().map(|name| (name, 0)).collect() }
    }

    /// The bits of these names as far as they are known.
    pub(crate) fn known(&self, names: &FlagNames) -> Flags {
        let mut flags = names.system.and(Flags::SYSTEM);
        for keyword in &names.keywords {
            if let Some(slot) = self.slots.iter().position(|(k, _)| k == keyword) {
                flags |= Flags::keyword(slot);
            }
        }
        flags
    }

    /// The bits of these names; new keywords get a slot. If one finds none, nothing has changed.
    pub(crate) fn intern(&mut self, names: &FlagNames) -> Result<Flags, KeywordsFull> {
        let before = self.slots.clone();
        let flags = self.intern_each(names);
        if flags.is_err() {
            self.slots = before;
        }
        flags
    }

    fn intern_each(&mut self, names: &FlagNames) -> Result<Flags, KeywordsFull> {
        let mut flags = names.system.and(Flags::SYSTEM);
        for keyword in &names.keywords {
            flags |= Flags::keyword(self.slot_for(keyword, flags).ok_or(KeywordsFull)?);
        }
        Ok(flags)
    }

    /// The bits of these names; a new keyword that finds no slot is left out.
    pub(crate) fn intern_what_fits(&mut self, names: &FlagNames) -> Flags {
        let mut flags = names.system.and(Flags::SYSTEM);
        for keyword in &names.keywords {
            if let Some(slot) = self.slot_for(keyword, flags) {
                flags |= Flags::keyword(slot);
            }
        }
        flags
    }

    /// The slot of a keyword, a new one if need be; the slots in `taken` are not reused.
    fn slot_for(&mut self, keyword: &Keyword, taken: Flags) -> Option<usize> {
        if let Some(slot) = self.slots.iter().position(|(known, _)| known == keyword) {
            return Some(slot);
        }
        if self.slots.len() < KEYWORDS_MAX {
            self.slots.push((keyword.clone(), 0));
            return Some(self.slots.len() - 1);
        }
        let idle = |slot: &usize| self.slots[*slot].1 == 0 && !taken.has(Flags::keyword(*slot));
        let slot = (0..KEYWORDS_MAX).find(idle)?;
        self.slots[slot].0 = keyword.clone();
        Some(slot)
    }

    /// Counts a letter whose flags go from `old` to `new`.
    pub(crate) fn count(&mut self, old: Flags, new: Flags) {
        if old.without(Flags::SYSTEM) == new.without(Flags::SYSTEM) {
            return;
        }
        for slot in old.without(new).slots() {
            self.slots[slot].1 -= 1;
        }
        for slot in new.without(old).slots() {
            self.slots[slot].1 += 1;
        }
    }

    /// Whether every keyword bit has a slot here.
    pub(crate) fn covers(&self, flags: Flags) -> bool {
        flags.slots().all(|slot| slot < self.slots.len())
    }

    /// Bits as names.
    pub(crate) fn name(&self, flags: Flags) -> FlagNames {
        FlagNames {
            system: flags.and(Flags::SYSTEM),
            keywords: flags.slots().map(|slot| self.slots[slot].0.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keywords: &[String]) -> FlagNames {
        let keywords = keywords.iter().map(|k| Keyword::normal(k).unwrap()).collect();
        FlagNames { system: Flags::SEEN, keywords }
    }

    #[test]
    fn an_idle_slot_is_reused_and_a_busy_one_is_not() {
        let mut table = Keywords::default();
        let all: Vec<String> = (0..KEYWORDS_MAX).map(|n| format!("k{n}")).collect();
        let full = table.intern(&names(&all)).unwrap();
        table.count(Flags::NONE, full);
        assert_eq!(table.intern(&names(&["new".into()])), Err(KeywordsFull));
        let third = table.known(&names(&["K3".into()]));
        table.count(full, full.without(third));
        assert_eq!(table.intern(&names(&["new".into(), "k4".into(), "other".into()])), Err(KeywordsFull));
        assert!(table.names().any(|k| k.as_str() == "k3"), "a refusal changes nothing");
        assert_eq!(table.intern(&names(&["new".into()])).unwrap(), third);
        assert_eq!(table.name(third), names(&["new".into()]));
    }

    #[test]
    fn keywords_have_no_case() {
        let mut table = Keywords::default();
        let one = table.intern(&names(&["$Forwarded".into()])).unwrap();
        assert_eq!(table.intern(&names(&["$forwarded".into()])).unwrap(), one);
        for wrong in ["", "\\Seen", "a b", "a\u{e9}", "a*", "x]"] {
            assert!(Keyword::normal(wrong).is_err(), "{wrong:?}");
        }
    }
}
