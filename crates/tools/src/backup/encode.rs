//! Writing a backup, as a stream of pieces that are made when they are asked for.

use std::collections::VecDeque;

use bytes::Bytes;
use durable::Parts;
use sha2::{Digest, Sha256};

use super::{
    END, End, FORMAT, GROUP, GROUP_END, GroupEnd, GroupHead, HEAD, Head, MAGIC, PART, checked_head, checksum,
    put_locator,
};

/// A group's state.
pub struct Group {
    /// Which group.
    pub head: GroupHead,
    /// Its state, in parts.
    pub parts: Parts,
}

/// A backup that is being written. It holds the states, which are drawn part by part, and nothing that was written.
pub struct Stream {
    groups: VecDeque<Group>,
    /// Of the first of them: whether its head is written, and what came since.
    begun: Option<GroupEnd>,
    records: u64,
    digest: Sha256,
    /// What is written and not handed out.
    out: Vec<u8>,
    over: bool,
}

impl Stream {
    /// A backup of these groups, whose names rise. [`Head::groups`] is filled in.
    pub fn new(head: Head, groups: Vec<Group>) -> Stream {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(format!("{FORMAT}\n").as_bytes());
        let head = Head { groups: groups.len() as u64, ..head };
        let digest = Sha256::new_with_prefix(&out);
        let mut stream = Stream { groups: groups.into(), begun: None, records: 0, digest, out, over: false };
        stream.record(HEAD, &wire::codec::encode(&head));
        stream
    }

    /// The next piece, of at least so many bytes unless it is the last; none: that was all. It is at most one part
    /// longer than that.
    pub fn next_piece(&mut self, bytes: usize) -> Option<Bytes> {
        while self.out.len() < bytes && !self.over {
            self.step();
        }
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out).into())
    }

    fn step(&mut self) {
        let Some(group) = self.groups.front_mut() else {
            self.over = true;
            let digest = self.digest.clone().finalize().into();
            let end = End { records: self.records, digest };
            return self.record(END, &wire::codec::encode(&end));
        };
        let Some(mut end) = self.begun else {
            let head = wire::codec::encode(&group.head);
            self.begun = Some(GroupEnd::default());
            return self.record(GROUP, &head);
        };
        match group.parts.next() {
            Some((at, part)) => {
                end.parts += 1;
                end.bytes += part.len() as u64;
                self.begun = Some(end);
                let mut body = Vec::with_capacity(at.key.len() + part.len() + 8);
                put_locator(&at, &mut body);
                body.extend_from_slice(&part);
                self.record(PART, &body);
            }
            None => {
                self.groups.pop_front();
                self.begun = None;
                self.record(GROUP_END, &wire::codec::encode(&end));
            }
        }
    }

    fn record(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("a record is short");
        let checksum = checksum(self.records, checked_head(length, kind), body);
        let from = self.out.len();
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(&checksum.to_le_bytes());
        self.out.push(kind);
        self.out.extend_from_slice(body);
        self.digest.update(&self.out[from..]);
        self.records += 1;
    }
}
