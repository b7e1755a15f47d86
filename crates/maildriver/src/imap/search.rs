//! SEARCH: what the index knows first; letters are read only where nothing else decides.

use bytes::Bytes;
use mail::{Flags, Mailbox, Record, State, UidSet};

use super::cursor::Set;
use super::run::Task;
use super::search_keys::{Key, Returns, SearchCommand};
use super::search_text::Texts;
use super::session::Session;
use super::write;
use crate::dates;
use crate::edge::Request;

/// A SEARCH on its way.
#[derive(Debug)]
pub(super) struct Search {
    uid: bool,
    returns: Option<Returns>,
    tells_modseq: bool,
    key: Key,
    /// The sets of the conditions, resolved once, in the order in which the key is walked.
    sets: Vec<UidSet>,
    at: usize,
    /// The letter at `at`, once it came; none within is a letter that is gone.
    letter: Option<Option<Bytes>>,
    /// UID, sequence number and MODSEQ of what was found.
    found: Vec<(u32, u32, u64)>,
}

impl Search {
    pub fn letter_came(&mut self, letter: Option<Bytes>) {
        self.letter = Some(letter);
    }
}

impl Session {
    pub(super) fn search(&mut self, tag: String, search: SearchCommand, state: &State) {
        if search.bad_charset {
            return self.no(&tag, "[BADCHARSET (US-ASCII UTF-8)] That charset is not known");
        }
        let tells_modseq = search.key.has_modseq();
        self.condstore |= tells_modseq;
        let mut sets = Vec::new();
        self.resolve(&search.key, &mut sets);
        let SearchCommand { uid, returns, key, .. } = search;
        let search = Search { uid, returns, tells_modseq, key, sets, at: 0, letter: None, found: Vec::new() };
        self.resume(tag, Task::Search(Box::new(search)), state);
    }

    fn resolve(&self, key: &Key, sets: &mut Vec<UidSet>) {
        let uids = |set: &Set, uid| UidSet::of(self.uids_of(set, uid));
        match key {
            Key::And(keys) => keys.iter().for_each(|key| self.resolve(key, sets)),
            Key::Or(a, b) => {
                self.resolve(a, sets);
                self.resolve(b, sets);
            }
            Key::Not(key) => self.resolve(key, sets),
            Key::Sequence(set) => sets.push(uids(set, false)),
            Key::Uid(set) => sets.push(uids(set, true)),
            _ => {}
        }
    }

    pub(super) fn go_on_searching(&mut self, tag: String, mut search: Box<Search>, state: &State) {
        let Some(view) = &self.view else { return };
        let Some(mailbox) = state.mailbox(view.mailbox) else { return self.bye("The mailbox is gone") };
        while let Some(uid) = view.uids.get(search.at).copied() {
            let sequence = search.at as u32 + 1;
            let Some(record) = mailbox.by_uid(uid).copied() else {
                search.letter = None;
                search.at += 1;
                continue;
            };
            let letter = search.letter.take();
            let texts = letter.as_ref().map(|letter| Texts::of(letter.as_deref().unwrap_or_default()));
            let eye = Eye { mailbox, record: &record, state, texts: texts.as_ref() };
            match eye.holds(&search.key, &mut search.sets.iter()) {
                Some(true) => search.found.push((uid, sequence, record.modseq)),
                Some(false) => {}
                None => return self.ask(tag, Task::Search(search), Request::Letter(record.letter)),
            }
            search.at += 1;
        }
        self.found(&tag, &search);
        self.sync(state, search.uid);
        self.ok(&tag, "Done");
    }

    fn found(&mut self, tag: &str, search: &Search) {
        let number = |(uid, sequence, _): &(u32, u32, u64)| if search.uid { *uid } else { *sequence };
        let (first, last) = (search.found.first(), search.found.last());
        let Some(returns) = search.returns else {
            let mut line = "* SEARCH".to_owned();
            search.found.iter().for_each(|found| line.push_str(&format!(" {}", number(found))));
            if let Some(modseq) =
                search.found.iter().map(|found| found.2).max().filter(|_| search.tells_modseq)
            {
                line.push_str(&format!(" (MODSEQ {modseq})"));
            }
            return self.line(&line);
        };
        let mut line = format!("* ESEARCH (TAG {})", write::quoted(tag));
        if search.uid {
            line.push_str(" UID");
        }
        if let Some(first) = first.filter(|_| returns.min) {
            line.push_str(&format!(" MIN {}", number(first)));
        }
        if let Some(last) = last.filter(|_| returns.max) {
            line.push_str(&format!(" MAX {}", number(last)));
        }
        if returns.all && first.is_some() {
            line.push_str(&format!(
                " ALL {}",
                write::set(UidSet::of(search.found.iter().map(number)).runs())
            ));
        }
        if returns.count {
            line.push_str(&format!(" COUNT {}", search.found.len()));
        }
        // With MIN or MAX alone it is the MODSEQ of those (RFC 7162, 3.1.5).
        let only_ends = !returns.all && !returns.count;
        let told: Vec<u64> = match only_ends {
            true => first
                .filter(|_| returns.min)
                .into_iter()
                .chain(last.filter(|_| returns.max))
                .map(|f| f.2)
                .collect(),
            false => search.found.iter().map(|found| found.2).collect(),
        };
        if let Some(modseq) = told.into_iter().max().filter(|_| search.tells_modseq) {
            line.push_str(&format!(" MODSEQ {modseq}"));
        }
        self.line(&line);
    }
}

/// One letter as a search looks at it.
struct Eye<'a> {
    mailbox: &'a Mailbox,
    record: &'a Record,
    state: &'a State,
    texts: Option<&'a Texts<'a>>,
}

impl Eye<'_> {
    /// Whether a condition holds; none if only the letter's bytes can say.
    fn holds<'s>(&self, key: &Key, sets: &mut std::slice::Iter<'s, UidSet>) -> Option<bool> {
        let has = |flags: Flags| self.record.flags.has(flags);
        let letter = self.state.letter(self.record.letter);
        let bytes = letter.map_or(0, |letter| letter.bytes);
        let day = dates::day_of_time(letter.map(|letter| letter.date).unwrap_or_default());
        let sent = || self.texts.map(|texts| texts.sent());
        Some(match key {
            Key::All => true,
            Key::And(keys) => {
                // Every condition is walked, so that each takes its own sets.
                let all: Vec<Option<bool>> = keys.iter().map(|key| self.holds(key, sets)).collect();
                return and(all);
            }
            Key::Or(a, b) => {
                let (a, b) = (self.holds(a, sets), self.holds(b, sets));
                return and([a.map(|a| !a), b.map(|b| !b)]).map(|neither| !neither);
            }
            Key::Not(key) => return self.holds(key, sets).map(|holds| !holds),
            Key::Sequence(_) | Key::Uid(_) => sets.next().is_some_and(|set| set.contains(self.record.uid)),
            Key::Flag(flags) => has(*flags),
            Key::Keyword(keyword) => keyword
                .as_ref()
                .is_some_and(|keyword| self.mailbox.flag_names(self.record.flags).keywords.contains(keyword)),
            Key::Larger(than) => bytes > *than,
            Key::Smaller(than) => bytes < *than,
            Key::ModSeq(least) => self.record.modseq >= *least,
            Key::Before(than) => day < *than,
            Key::On(than) => day == *than,
            Key::Since(than) => day >= *than,
            Key::SentBefore(than) => sent()?.is_some_and(|sent| sent < *than),
            Key::SentOn(than) => sent()? == Some(*than),
            Key::SentSince(than) => sent()?.is_some_and(|sent| sent >= *than),
            Key::Header { name, text } => self.texts?.header_has(name, text),
            Key::Body(text) => self.texts?.body_has(text),
            Key::Text(text) => self.texts?.has(text),
        })
    }
}

/// False if one is, else unknown if one is.
fn and(all: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = true;
    for one in all {
        match one {
            Some(true) => {}
            Some(false) => return Some(false),
            None => known = false,
        }
    }
    known.then_some(true)
}
