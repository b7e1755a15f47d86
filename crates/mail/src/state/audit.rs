//! The digest that sites compare, and the audit behind `mail doctor` [Mail 11].

use std::collections::BTreeMap;
use std::fmt;

use crate::bugs::Bug;
use crate::checkpoint::{Item, items_of_few};
use crate::digest::{Part, Sum};
use crate::ids::{MailboxId, Position, UserId};
use crate::name::MailboxName;
use crate::state::State;

/// A state in 16 bytes. Two sites whose states stand at the same position have the same digest, or one of
/// them is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl State {
    /// The last UIDVALIDITY as a checkpoint has it.
    pub(crate) fn checkpoint_validity(&self) -> u32 {
        if self.bugs.has(Bug::ValidityNotInCheckpoint) {
            let held = self.merged.stores.values().map(|store| store.held_validity);
            return self.mailboxes.values().map(|mailbox| mailbox.validity).chain(held).max().unwrap_or(0);
        }
        self.last_validity
    }

    /// The state's digest; its position is not a part of it. Sums of letters, records and requests are kept as
    /// they change; users, mailboxes, addresses and what waits are walked.
    pub fn digest(&self) -> Digest {
        let sums = self
            .mailboxes
            .values()
            .fold(self.letters.sum().value(), |sum, mailbox| sum.wrapping_add(mailbox.sum().value()));
        self.digest_with(sums.wrapping_add(self.sum_of_requests(self.requests.sum())))
    }

    fn sum_of_requests(&self, sum: Sum) -> u128 {
        if self.bugs.has(Bug::RequestsNotInCheckpoint) { 0 } else { sum.value() }
    }

    fn digest_with(&self, many: u128) -> Digest {
        let storage = self.letters.storage();
        let mut few = Sum::default();
        let numbers = (self.now, self.last_user, self.last_mailbox, self.checkpoint_validity());
        let freed = (storage.freed_letters, storage.freed_bytes);
        few.add(Part::Item, &encoded(&(self.limits, numbers, freed)));
        items_of_few(self).for_each(|item: Item| few.add(Part::Item, &encoded(&item)));
        Digest(few.value().wrapping_add(many))
    }

    /// Makes every count, reference and sum anew and compares it with what was kept. An error names the first
    /// thing that is wrong. Takes time with the size of the state.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_mailboxes()?;
        self.audit_users()?;
        self.audit_letters()?;
        for (_, letter) in self.merged.letters() {
            ensure(self.is_live(letter), || format!("a held letter at {letter} that nobody has"))?;
        }
        let mut sums = self.letters.sum_walked().value();
        for mailbox in self.mailboxes.values() {
            sums = sums.wrapping_add(mailbox.sum().value());
        }
        let walked = self.digest_with(sums.wrapping_add(self.sum_of_requests(self.requests.sum_walked())));
        ensure(walked == self.digest(), || "the sums of the digest".to_owned())
    }

    fn audit_mailboxes(&self) -> Result<(), String> {
        for (id, mailbox) in self.mailboxes.iter() {
            let name = || format!("mailbox {id} ({})", mailbox.name);
            let recounted = mailbox.recounted(&self.letters);
            ensure(recounted.as_ref() == Some(mailbox.as_ref()), || format!("the counts of {}", name()))?;
            let last = mailbox.records().next_back().map_or(0, |record| record.uid);
            ensure(last < mailbox.uid_next && mailbox.uid_next > 0, || format!("UIDNEXT of {}", name()))?;
            let newest = mailbox.records().map(|record| record.modseq).max();
            ensure(newest <= Some(mailbox.modseq), || format!("MODSEQ of {}", name()))?;
            let numbers = *id <= self.last_mailbox && mailbox.validity <= self.last_validity;
            ensure(numbers && mailbox.id == *id, || format!("the numbers of {}", name()))?;
        }
        Ok(())
    }

    fn audit_users(&self) -> Result<(), String> {
        let mut owned: BTreeMap<UserId, BTreeMap<MailboxName, MailboxId>> = BTreeMap::new();
        let mut used: BTreeMap<UserId, (u64, u32)> = BTreeMap::new();
        for mailbox in self.mailboxes.values() {
            owned.entry(mailbox.owner).or_default().insert(mailbox.name.clone(), mailbox.id);
            let used = used.entry(mailbox.owner).or_default();
            let status = mailbox.status();
            *used = (used.0 + status.bytes, used.1 + status.exists);
        }
        ensure(owned.keys().eq(self.directory.users.keys()), || "a mailbox without a user".to_owned())?;
        for (id, user) in self.directory.users.iter() {
            let name = || format!("user {}", user.name);
            ensure(owned[id] == user.mailboxes, || format!("the mailboxes of {}", name()))?;
            ensure(used[id] == (user.bytes, user.letters), || format!("the usage of {}", name()))?;
            ensure(owned[id].contains_key(&MailboxName::inbox()), || format!("no INBOX of {}", name()))?;
            let named = self.directory.names.get(&user.name) == Some(id) && user.id == *id;
            ensure(named && *id <= self.last_user, || format!("the number of {}", name()))?;
            let mut uses: Vec<_> =
                user.mailboxes.values().filter_map(|id| self.mailboxes[id].special_use).collect();
            let all = uses.len();
            uses.sort();
            uses.dedup();
            ensure(uses.len() == all, || format!("two mailboxes for one use of {}", name()))?;
        }
        ensure(self.directory.names.len() == self.directory.users.len(), || {
            "a name without a user".to_owned()
        })
    }

    fn audit_letters(&self) -> Result<(), String> {
        let mut references: BTreeMap<Position, u32> = BTreeMap::new();
        for record in self.mailboxes.values().flat_map(|mailbox| mailbox.records()) {
            *references.entry(record.letter).or_default() += 1;
        }
        let (mut letters, mut bytes) = (0, 0);
        for letter in self.letters.iter() {
            let counted = references.get(&letter.position).copied().unwrap_or(0);
            let at = letter.position;
            ensure(counted > 0 && counted == letter.references, || {
                format!("references of the letter at {at}")
            })?;
            ensure(at <= self.position, || format!("a letter at {at} that has not come"))?;
            letters += 1;
            bytes += u64::from(letter.bytes);
        }
        let storage = self.storage();
        let counted = (letters, bytes) == (storage.live_letters, storage.live_bytes);
        ensure(counted && references.len() as u64 == letters, || "the counts of letters".to_owned())
    }
}

fn encoded(value: &impl minicbor::Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes every byte")
}

fn ensure(right: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(what()) }
}
