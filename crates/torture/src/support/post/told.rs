//! What the clients were told, and so what must be in the mailboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The mailboxes that are used.
pub const MAILBOXES: [&str; 2] = ["INBOX", "Archive"];
pub const INBOX: usize = 0;
pub const ARCHIVE: usize = 1;

/// Where a copy of a letter is, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    pub mailbox: usize,
    /// If anybody was told.
    pub uid: Option<u32>,
    pub flags: Vec<String>,
}

impl At {
    /// In INBOX, without flags.
    pub fn new(uid: Option<u32>) -> At {
        At { mailbox: INBOX, uid, flags: Vec::new() }
    }

    fn is(&self, seen: &At) -> bool {
        self.mailbox == seen.mailbox
            && self.flags == seen.flags
            && self.uid.is_none_or(|uid| seen.uid == Some(uid))
    }
}

/// A letter of a user.
pub type Copy = (usize, String);

/// What all clients know together.
#[derive(Default)]
pub struct Told {
    /// Where each copy may be (none: nowhere). Once it was answered, that is one place.
    copies: BTreeMap<Copy, Vec<Option<At>>>,
    /// Of a mailbox of a user: its UIDVALIDITY, and the letter that each UID was seen to name.
    uids: BTreeMap<(usize, usize), (u32, BTreeMap<u32, String>)>,
    /// What should not be.
    pub broken: Vec<String>,
    pub acknowledged: u64,
    /// Letters that were sent once more because nobody had said whether they had come.
    pub repeated: u64,
    last: Option<Instant>,
    /// For how long nobody was answered.
    pub longest: Duration,
}

impl Told {
    /// A client begins to make it so. Until it is answered, it may be so or not.
    pub fn begins(&mut self, copy: &Copy, next: Option<At>) {
        self.copies.entry(copy.clone()).or_insert_with(|| vec![None]).push(next);
    }

    /// It is so.
    pub fn done(&mut self, copy: &Copy, now: Option<At>) {
        self.copies.insert(copy.clone(), vec![now]);
        self.acknowledged += 1;
        let instant = Instant::now();
        if let Some(last) = self.last.replace(instant) {
            self.longest = self.longest.max(instant.duration_since(last));
        }
    }

    /// The letters that are in a user's mailbox for sure.
    pub fn sure(&self, user: usize, mailbox: usize) -> BTreeSet<&str> {
        let of = self.copies.range((user, String::new())..(user + 1, String::new()));
        let sure = of.filter(|(_, may)| matches!(&may[..], [Some(at)] if at.mailbox == mailbox));
        sure.map(|((_, id), _)| id.as_str()).collect()
    }

    /// The letters that are not in a user's mailbox for sure, since their owner has moved or removed them.
    pub fn away(&self, user: usize, mailbox: usize) -> BTreeSet<&str> {
        let of = self.copies.range((user, String::new())..(user + 1, String::new()));
        let away = of.filter(|(_, may)| match &may[..] {
            [Some(at)] => at.mailbox != mailbox,
            [None] => true,
            _ => false,
        });
        away.map(|((_, id), _)| id.as_str()).collect()
    }

    /// The highest UID that anybody has seen there.
    pub fn highest(&self, user: usize, mailbox: usize) -> u32 {
        let uids = self.uids.get(&(user, mailbox));
        uids.and_then(|(_, uids)| uids.keys().next_back().copied()).unwrap_or(0)
    }

    /// A letter was seen there under a UID.
    pub fn seen(&mut self, (user, mailbox): (usize, usize), validity: u32, uid: u32, id: &str) {
        let (known, uids) = self.uids.entry((user, mailbox)).or_insert_with(|| (validity, BTreeMap::new()));
        let place = format!("{} of {user}", MAILBOXES[mailbox]);
        if *known != validity {
            self.broken.push(format!("{place}: UIDVALIDITY was {known} and is {validity}"));
        }
        match uids.get(&uid) {
            Some(other) if other != id => {
                self.broken.push(format!("{place}: UID {uid} names {other} and then {id}"));
            }
            _ => drop(uids.insert(uid, id.to_owned())),
        }
    }

    /// What is wrong with what a user has in the end: each copy with its place.
    pub fn judge(&self, user: usize, there: &[(String, At)]) -> Vec<String> {
        let mut found: BTreeMap<&str, Vec<&At>> = BTreeMap::new();
        for (id, at) in there {
            found.entry(id).or_default().push(at);
        }
        let mut wrong = Vec::new();
        for ((_, id), may) in self.copies.range((user, String::new())..(user + 1, String::new())) {
            let fits = match found.remove(id.as_str()).as_deref() {
                None => may.contains(&None),
                Some([at]) => may.iter().flatten().any(|wanted| wanted.is(at)),
                Some(_) => false,
            };
            if !fits {
                let is: Vec<&At> = there.iter().filter(|(other, _)| other == id).map(|(_, at)| at).collect();
                wrong.push(format!("{id} of {user} should be one of {may:?}, and is {is:?}"));
            }
        }
        wrong.extend(found.keys().map(|id| format!("{id} of {user} was never sent there")));
        wrong
    }

    /// Letters and copies, and how many of these nobody was answered for.
    pub fn counted(&self) -> (usize, usize) {
        (self.copies.len(), self.copies.values().filter(|may| may.len() > 1).count())
    }
}
