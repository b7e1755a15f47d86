//! The mailbox as the client knows it: sequence numbers change only when the client is told.

use std::collections::BTreeMap;

use mail::{Mailbox, MailboxId, Record, State, UidSet, shown_turn};

use super::command::{Name, SYSTEM_FLAGS};
use super::cursor::Set;
use super::session::Session;
use super::write;

/// A selected mailbox: four bytes a letter.
#[derive(Debug)]
pub(super) struct View {
    pub mailbox: MailboxId,
    pub read_only: bool,
    /// UIDs by sequence number, those included that are gone and of which the client does not know yet.
    pub uids: Vec<u32>,
    /// Letters from this UID on the client does not know.
    next: u32,
    /// Up to this MODSEQ the client knows all flags.
    modseq: u64,
    /// And up to this one of the primary's; a site without a majority shows others above them.
    sure: u64,
    /// Letters are gone and could not be told.
    owes: bool,
    /// Flags that the client was told, or set itself: the letter's UID and MODSEQ.
    told: BTreeMap<u32, u64>,
    keywords: Vec<String>,
}

impl View {
    pub fn sequence_of(&self, uid: u32) -> Option<usize> {
        self.uids.binary_search(&uid).ok().map(|at| at + 1)
    }

    pub fn tell(&mut self, uid: u32, modseq: u64) {
        self.told.insert(uid, modseq);
    }
}

/// The highest MODSEQ of the primary's that is known to be below all that the primary does from now on.
fn sure_of(mailbox: &Mailbox) -> u64 {
    let modseq = mailbox.status().modseq;
    if shown_turn(modseq) == 0 {
        return modseq;
    }
    let all = mailbox.records().map(|record| record.modseq);
    all.filter(|modseq| shown_turn(*modseq) == 0).max().unwrap_or(0)
}

fn keywords_of(mailbox: &Mailbox) -> Vec<String> {
    mailbox.keywords().map(|keyword| keyword.as_str().to_owned()).collect()
}

impl Session {
    pub(super) fn select(&mut self, tag: &str, name: Name, read_only: bool, state: &State) {
        let mailbox = match self.mailbox_of(name, state) {
            Ok(id) => state.mailbox(id),
            Err(why) => return self.no(tag, why),
        };
        let Some(mailbox) = mailbox else { return self.no(tag, "[NONEXISTENT] There is no such mailbox") };
        let status = mailbox.status();
        let view = View {
            mailbox: mailbox.id(),
            read_only,
            uids: mailbox.records().map(|record| record.uid).collect(),
            next: status.uid_next,
            modseq: status.modseq,
            sure: sure_of(mailbox),
            owes: false,
            told: BTreeMap::new(),
            keywords: keywords_of(mailbox),
        };
        self.tell_flags(&view);
        self.line(&format!("* {} EXISTS", status.exists));
        self.line("* 0 RECENT");
        if let Some(first) = mailbox.first_unseen().and_then(|record| mailbox.sequence_of(record.uid)) {
            self.line(&format!("* OK [UNSEEN {first}] The first that is not seen"));
        }
        self.line(&format!("* OK [UIDVALIDITY {}] UIDs are valid", status.uid_validity));
        self.line(&format!("* OK [UIDNEXT {}] The next UID", status.uid_next));
        match self.apart {
            true => self.line("* OK [NOMODSEQ] There is no majority, which gives them out"),
            false => self.line(&format!("* OK [HIGHESTMODSEQ {}] The highest MODSEQ", status.modseq)),
        }
        self.view = Some(view);
        self.ok(tag, if read_only { "[READ-ONLY] Done" } else { "[READ-WRITE] Done" });
    }

    fn tell_flags(&mut self, view: &View) {
        let system = SYSTEM_FLAGS.iter().map(|(_, name)| (*name).to_owned());
        let flags = system.chain(view.keywords.iter().cloned()).collect::<Vec<_>>().join(" ");
        self.line(&format!("* FLAGS ({flags})"));
        let permanent = if view.read_only { String::new() } else { format!("{flags} \\*") };
        self.line(&format!("* OK [PERMANENTFLAGS ({permanent})] Flags that stay"));
    }

    /// The UIDs of letters that the client named and knows, ascending.
    pub(super) fn uids_of(&self, set: &Set, uid: bool) -> Vec<u32> {
        let Some(view) = &self.view else { return Vec::new() };
        let uids = &view.uids;
        let mut found = Vec::new();
        if uid {
            let last = uids.last().copied().unwrap_or(0);
            for (first, last) in UidSet::of_runs(set.runs(last)).runs() {
                let (from, to) = (uids.partition_point(|u| u < first), uids.partition_point(|u| u <= last));
                found.extend_from_slice(&uids[from..to]);
            }
        } else {
            for (first, last) in UidSet::of_runs(set.runs(uids.len() as u32)).runs() {
                let (from, to) = ((*first).max(1) as usize - 1, (*last as usize).min(uids.len()));
                found.extend_from_slice(uids.get(from..to).unwrap_or_default());
            }
        }
        found
    }

    /// Tells the client what changed: flags and new letters always, letters that are gone only where their
    /// numbers may move (RFC 3501, 7.4.1). Ends the session if the mailbox is gone. True if anything was told.
    pub(super) fn sync(&mut self, state: &State, may_expunge: bool) -> bool {
        let Some(mut view) = self.view.take() else { return false };
        let Some(mailbox) = state.mailbox(view.mailbox) else {
            self.bye("The mailbox is gone");
            return true;
        };
        let before = self.out.len();
        let status = mailbox.status();
        let (modseq, next) = (view.modseq, view.next);
        if status.modseq != modseq || view.owes && may_expunge {
            self.sync_gone(&mut view, mailbox, may_expunge);
        }
        if status.modseq != modseq {
            if next < status.uid_next {
                let new = UidSet::of_runs([(next, status.uid_next - 1)]);
                let known = view.uids.len();
                view.uids.extend(mailbox.by_uids(&new).map(|record| record.uid));
                view.next = status.uid_next;
                if view.uids.len() > known {
                    self.line(&format!("* {} EXISTS", view.uids.len()));
                }
            }
            let keywords = keywords_of(mailbox);
            if keywords != view.keywords {
                view.keywords = keywords;
                self.tell_flags(&view);
            }
            let told = std::mem::take(&mut view.told);
            // MODSEQs of two copies that were shown say nothing of each other.
            let since = if shown_turn(modseq) == shown_turn(status.modseq) { modseq } else { view.sure };
            for record in mailbox.changed_since(since).filter(|record| record.uid < next) {
                if told.get(&record.uid) != Some(&record.modseq) {
                    self.tell_record(&view, mailbox, record, true);
                }
            }
            view.modseq = status.modseq;
            if shown_turn(status.modseq) == 0 {
                view.sure = status.modseq;
            }
        }
        self.view = Some(view);
        self.out.len() > before
    }

    fn sync_gone(&mut self, view: &mut View, mailbox: &Mailbox, may_expunge: bool) {
        let mut there = mailbox.records().map(|record| record.uid).peekable();
        let mut gone = Vec::new();
        for (at, uid) in view.uids.iter().enumerate() {
            while there.next_if(|other| other < uid).is_some() {}
            if there.peek() != Some(uid) {
                gone.push(at);
            }
        }
        view.owes = !may_expunge && !gone.is_empty();
        if !may_expunge || gone.is_empty() {
            return;
        }
        // Each number counts with those before it gone already.
        gone.iter().enumerate().for_each(|(before, at)| self.line(&format!("* {} EXPUNGE", at + 1 - before)));
        let mut gone = gone.into_iter().peekable();
        let mut at = 0;
        view.uids.retain(|_| {
            at += 1;
            gone.next_if_eq(&(at - 1)).is_none()
        });
    }

    /// `* n FETCH` with a letter's flags.
    pub(super) fn tell_record(&mut self, view: &View, mailbox: &Mailbox, record: &Record, flags: bool) {
        let Some(sequence) = view.sequence_of(record.uid) else { return };
        let mut items = vec![format!("UID {}", record.uid)];
        if flags {
            items.push(format!("FLAGS {}", write::flags(&mailbox.flag_names(record.flags), false)));
        }
        if self.condstore && !self.apart {
            items.push(format!("MODSEQ ({})", record.modseq));
        }
        self.line(&format!("* {sequence} FETCH ({})", items.join(" ")));
    }
}
