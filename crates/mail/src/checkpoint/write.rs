//! Writing: one chunk at a time, from a clone of the state that nobody changes any more.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use super::FORMAT;
use super::item::{self, End, Item};
use crate::bugs::Bug;
use crate::ids::{MailboxId, UserId};
use crate::state::State;

/// A chunk is closed when it is longer than this; its last item may make it a little longer still.
const CHUNK_BYTES: usize = 64 << 10;
/// Letters, records or requests in one item.
const BATCH: usize = 500;
/// Requests in one item: each may have an answer of [`crate::limits::ANSWER_BYTES_MAX`] bytes.
const BATCH_BYTES: usize = 32 << 10;

/// Where the next items come from.
enum Section {
    Start,
    Users(Bound<UserId>),
    Addresses,
    Letters(usize),
    Mailboxes(Bound<MailboxId>),
    Records(MailboxId, usize),
    Requests(usize),
    Merged,
    End,
}

/// A state being written. Iterate for the chunks; `nth` goes on where another donor stopped.
pub struct Checkpoint {
    state: State,
    section: Option<Section>,
    /// Encoded items that have not gone into a chunk.
    items: VecDeque<Vec<u8>>,
    chunks: u64,
}

impl Checkpoint {
    /// Starts a checkpoint of what the state is now.
    pub fn of(state: &State) -> Checkpoint {
        Checkpoint { state: state.clone(), section: Some(Section::Start), items: VecDeque::new(), chunks: 0 }
    }

    /// Turns the next part of the state into items. False at the end.
    fn step(&mut self) -> bool {
        let Some(section) = self.section.take() else { return false };
        let (items, next) = match section {
            Section::Start => (vec![item::start(&self.state)], Some(Section::Users(Bound::Unbounded))),
            Section::Users(from) => self.users(from),
            Section::Addresses => {
                let state = &self.state;
                let items = item::domains(state).chain(item::aliases(state)).chain(item::lists(state));
                (items.collect(), Some(Section::Letters(0)))
            }
            Section::Letters(place) => self.letters(place),
            Section::Mailboxes(from) => self.mailboxes(from),
            Section::Records(mailbox, place) => self.records(mailbox, place),
            Section::Requests(place) => self.requests(place),
            Section::Merged => (item::merged(&self.state).collect(), Some(Section::End)),
            Section::End => {
                let digest = self.state.digest().0.to_be_bytes();
                (
                    vec![Item::End(End { chunks: self.chunks + 1, digest, position: self.state.position })],
                    None,
                )
            }
        };
        self.section = next;
        let encoded = items.iter().map(|item| minicbor::to_vec(item).expect("a Vec takes every byte"));
        self.items.extend(encoded);
        true
    }

    fn users(&self, from: Bound<UserId>) -> (Vec<Item>, Option<Section>) {
        match self.state.directory.users.range_from(from.as_ref()).next() {
            Some((id, user)) => (item::user(user).collect(), Some(Section::Users(Bound::Excluded(*id)))),
            None => (Vec::new(), Some(Section::Addresses)),
        }
    }

    fn letters(&self, place: usize) -> (Vec<Item>, Option<Section>) {
        let batch: Vec<_> = self.state.letters.starting_at(place).take(BATCH).map(Into::into).collect();
        match batch.len() {
            0 => (Vec::new(), Some(Section::Mailboxes(Bound::Unbounded))),
            count => (vec![Item::Letters(batch)], Some(Section::Letters(place + count))),
        }
    }

    fn mailboxes(&self, from: Bound<MailboxId>) -> (Vec<Item>, Option<Section>) {
        match self.state.mailboxes.range_from(from.as_ref()).next() {
            Some((id, mailbox)) => {
                (vec![item::mailbox(mailbox, self.state.bugs)], Some(Section::Records(*id, 0)))
            }
            None => (Vec::new(), Some(Section::Requests(0))),
        }
    }

    fn records(&self, id: MailboxId, place: usize) -> (Vec<Item>, Option<Section>) {
        let records = self.state.mailboxes[&id].starting_at(place);
        let batch: Vec<_> = records.take(BATCH).map(Into::into).collect();
        match batch.len() {
            0 => (Vec::new(), Some(Section::Mailboxes(Bound::Excluded(id)))),
            count => (vec![Item::Records(id, batch)], Some(Section::Records(id, place + count))),
        }
    }

    fn requests(&self, place: usize) -> (Vec<Item>, Option<Section>) {
        if self.state.bugs.has(Bug::RequestsNotInCheckpoint) {
            return (Vec::new(), Some(Section::Merged));
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for done in self.state.requests.iter_from(place).take(BATCH) {
            bytes += done.answer.bytes();
            batch.push(done.clone());
            if bytes > BATCH_BYTES {
                break;
            }
        }
        match batch.len() {
            0 => (Vec::new(), Some(Section::Merged)),
            count => (vec![Item::Requests(batch)], Some(Section::Requests(place + count))),
        }
    }
}

impl Iterator for Checkpoint {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = vec![FORMAT];
        while chunk.len() < CHUNK_BYTES {
            match self.items.pop_front() {
                Some(item) => chunk.extend_from_slice(&item),
                None if self.step() => {}
                None => break,
            }
        }
        if chunk.len() == 1 {
            return None;
        }
        self.chunks += 1;
        Some(Bytes::from(chunk))
    }
}
