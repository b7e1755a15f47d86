//! FETCH: letter by letter and item by item, so that no more output is made than there is room for.

use bytes::Bytes;
use mail::{FlagNames, FlagOp, Flags, Outcome, Record, State, UidSet};

use super::cursor::Set;
use super::fetch_items::FetchItem;
use super::limits::OUTPUT_BYTES_HIGH;
use super::mime;
use super::run::Task;
use super::session::Session;
use super::{envelope, structure, write};
use crate::dates;
use crate::edge::{Answer, Request};

/// A FETCH on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    uid: bool,
    items: Vec<FetchItem>,
    uids: Vec<u32>,
    /// Which of `uids` is next.
    at: usize,
    /// Which of `items` is next; above 0 the line has begun.
    item: usize,
    letter: Option<(Bytes, mime::Part)>,
    /// Letters that this FETCH marked as seen.
    seen: UidSet,
    needs_letter: bool,
    missing: bool,
}

impl Fetch {
    pub fn letter_came(&mut self, letter: Option<Bytes>) {
        match letter {
            Some(letter) => {
                let parts = mime::parse(&letter);
                self.letter = Some((letter, parts));
            }
            None => {
                self.missing = true;
                self.at += 1;
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.letter.as_ref().map_or(0, |(letter, _)| letter.len())
    }

    pub fn marked(&mut self, answer: Answer) {
        if let Answer::Applied(Outcome::Stored { changed, .. }) = answer {
            self.seen = changed;
        }
    }
}

impl Session {
    pub(super) fn fetch(
        &mut self,
        tag: String,
        uid: bool,
        set: &Set,
        mut items: Vec<FetchItem>,
        changed_since: Option<u64>,
        state: &State,
    ) {
        if changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        self.condstore |= items.contains(&FetchItem::ModSeq);
        if uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        let mut uids = self.uids_of(set, uid);
        let Some(view) = &self.view else { return };
        let Some(mailbox) = state.mailbox(view.mailbox) else { return self.bye("The mailbox is gone") };
        let modseq =
            |uid: &u32| mailbox.by_uid(*uid).is_some_and(|record| Some(record.modseq) > changed_since);
        if changed_since.is_some() {
            uids.retain(modseq);
        }
        let unseen = |uid: &&u32| mailbox.by_uid(**uid).is_some_and(|record| !record.flags.has(Flags::SEEN));
        let marks = !view.read_only && items.iter().any(FetchItem::sees);
        let unseen: UidSet =
            if marks { uids.iter().filter(unseen).copied().collect() } else { UidSet::default() };
        let store = mail::command::Store {
            mailbox: view.mailbox,
            uids: unseen,
            op: FlagOp::Add,
            flags: FlagNames::from(Flags::SEEN),
            unchanged_since: None,
        };
        let needs_letter = items.iter().any(FetchItem::needs_letter);
        let seen = UidSet::default();
        let fetch =
            Fetch { uid, items, uids, at: 0, item: 0, letter: None, seen, needs_letter, missing: false };
        let task = Task::Fetch(Box::new(fetch));
        match store.uids.is_empty() {
            true => self.resume(tag, task, state),
            false => self.propose(tag, task, mail::Command::Store(store), None),
        }
    }

    pub(super) fn go_on_fetching(&mut self, tag: String, mut fetch: Box<Fetch>, state: &State) {
        while let Some(uid) = fetch.uids.get(fetch.at).copied() {
            if self.out.len() >= OUTPUT_BYTES_HIGH {
                self.running = Some((tag, Task::Fetch(fetch)));
                return;
            }
            let Some(view) = &self.view else { return };
            let sequence = view.sequence_of(uid);
            let record = state.mailbox(view.mailbox).and_then(|mailbox| mailbox.by_uid(uid)).copied();
            let (Some(sequence), Some(record)) = (sequence, record) else {
                if fetch.item > 0 {
                    // It went while its line was being written: what is left of it cannot be told.
                    return self.bye("A letter went while it was being fetched");
                }
                fetch.missing = true;
                fetch.letter = None;
                fetch.at += 1;
                continue;
            };
            if fetch.needs_letter && fetch.letter.is_none() {
                return self.ask(tag, Task::Fetch(fetch), Request::Letter(record.letter));
            }
            if fetch.item == 0 {
                self.out.extend_from_slice(format!("* {sequence} FETCH (").as_bytes());
            }
            if let Some(item) = fetch.items.get(fetch.item) {
                if fetch.item > 0 {
                    self.out.push(b' ');
                }
                self.fetch_item(item, &fetch, &record, state);
                fetch.item += 1;
                continue;
            }
            self.end_of_line(&mut fetch, &record, state);
        }
        self.sync(state, fetch.uid);
        match fetch.missing {
            true => self.no(&tag, "[EXPUNGEISSUED] Some of the letters are gone"),
            false => self.ok(&tag, "Done"),
        }
    }

    fn end_of_line(&mut self, fetch: &mut Fetch, record: &Record, state: &State) {
        if fetch.seen.contains(record.uid) && !fetch.items.contains(&FetchItem::Flags) {
            self.out.push(b' ');
            self.fetch_item(&FetchItem::Flags, fetch, record, state);
        }
        if let Some(view) = self.view.as_mut().filter(|_| fetch.seen.contains(record.uid)) {
            view.tell(record.uid, record.modseq);
        }
        self.line(")");
        fetch.at += 1;
        fetch.item = 0;
        fetch.letter = None;
    }

    fn fetch_item(&mut self, item: &FetchItem, fetch: &Fetch, record: &Record, state: &State) {
        let letter = state.letter(record.letter);
        let out = &mut self.out;
        let text = match item {
            FetchItem::Uid => format!("UID {}", record.uid),
            FetchItem::Flags => {
                let mailbox = self.view.as_ref().and_then(|view| state.mailbox(view.mailbox));
                let names = mailbox.map(|mailbox| mailbox.flag_names(record.flags)).unwrap_or_default();
                format!("FLAGS {}", write::flags(&names, false))
            }
            FetchItem::InternalDate => {
                format!("INTERNALDATE \"{}\"", dates::internal(letter.map(|l| l.date).unwrap_or_default()))
            }
            FetchItem::Size => format!("RFC822.SIZE {}", letter.map_or(0, |letter| letter.bytes)),
            FetchItem::ModSeq => format!("MODSEQ ({})", record.modseq),
            FetchItem::Envelope => "ENVELOPE ".to_owned(),
            FetchItem::Structure { extended: true } => "BODYSTRUCTURE ".to_owned(),
            FetchItem::Structure { extended: false } => "BODY ".to_owned(),
            FetchItem::Bytes(section) => format!("{} ", section.label),
        };
        out.extend_from_slice(text.as_bytes());
        let Some((letter, parts)) = &fetch.letter else { return };
        match item {
            FetchItem::Envelope => envelope::envelope(out, &letter[parts.header.clone()]),
            FetchItem::Structure { extended } => structure::structure(out, letter, parts, *extended),
            FetchItem::Bytes(section) => match structure::section(letter, parts, section) {
                Some(bytes) => write::literal(out, &bytes),
                None => out.extend_from_slice(b"NIL"),
            },
            _ => {}
        }
    }
}
