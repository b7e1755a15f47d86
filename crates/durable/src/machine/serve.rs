//! The other side of catching up: chunks of the log and of the checkpoint, for others (D18, D19).

use wire::{SiteId, ViewId};

use super::Durable;
use super::disk::ReadFor;
use crate::entry::Number;
use crate::message::{Message, NoTail, put_record};
use crate::storage::{Chunk, Locator, Record, StoreOp};

/// How many chunks are being read for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Serving {
    now: usize,
}

impl Serving {
    /// What is read for sites of the last view is not sent any more.
    pub(super) fn start_anew(&mut self) {
        self.now = 0;
    }
}

/// What another site is waiting for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Tail {
        to: SiteId,
        view: ViewId,
        after: Number,
        bytes_max: usize,
    },
    /// And those behind it, as long as there are bytes left.
    Part {
        to: SiteId,
        view: ViewId,
        number: Number,
        at: Locator,
        bytes_left: usize,
    },
    One {
        to: SiteId,
        view: ViewId,
        position: u64,
    },
}

impl Wanted {
    fn view(&self) -> ViewId {
        match self {
            Wanted::Tail { view, .. } | Wanted::Part { view, .. } | Wanted::One { view, .. } => *view,
        }
    }
}

impl Durable {
    fn refuse(&mut self, to: SiteId, why: NoTail) {
        if let Some(view) = self.present.as_ref().map(|present| present.view.id) {
            self.send(vec![to], &Message::Refuse { view, why });
        }
    }

    pub(super) fn handle_fetch(&mut self, from: SiteId, after: Number, bytes_max: usize) {
        let Some(view) = self.present.as_ref().map(|present| present.view.id) else { return };
        if self.active().is_none() || self.agreed <= after.position {
            return self.refuse(from, NoTail::Lacking);
        }
        let far = self.agreed - after.position > self.settings.far_entries
            && self.checkpoint.as_ref().is_some_and(|head| {
                head.number.position.saturating_sub(after.position) > (self.agreed - after.position) / 2
            });
        if after.position < self.log.base().position || far {
            return self.refuse(from, NoTail::Checkpoint);
        }
        if self.log.number(after.position) != Some(after) {
            return self.refuse(from, NoTail::Lacking);
        }
        let bytes_max = bytes_max.clamp(1, self.settings.chunk_bytes);
        if let Some(records) = self.recent_chunk(after.position, bytes_max) {
            return self.send(vec![from], &Message::Tail { view, after, records });
        }
        if self.serving.now >= self.settings.serving_max {
            return self.refuse(from, NoTail::Busy);
        }
        let position = after.position + 1;
        if !self.is_readable(position) {
            return self.refuse(from, NoTail::Lacking);
        }
        self.serving.now += 1;
        let to = self.log.whole_from(after.position).min(self.agreed).min(self.durable());
        let wanted = Wanted::Tail { to: from, view, after, bytes_max };
        let op = |token| StoreOp::Read { token, from: position, to, bytes_max, once: false };
        self.disk.read(ReadFor::Other(wanted), op);
    }

    /// A chunk of what is in memory.
    fn recent_chunk(&self, after: u64, bytes_max: usize) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        for position in after + 1..=self.agreed {
            let Some(entry) = self.log.recent(position) else { break };
            let record = entry.to_record();
            if !chunk.is_empty() && chunk.len() + record.len() > bytes_max {
                break;
            }
            put_record(&mut chunk, &record);
        }
        (!chunk.is_empty()).then_some(chunk)
    }

    fn served(&mut self, wanted: &Wanted) -> bool {
        let same = self.present.as_ref().is_some_and(|present| present.view.id == wanted.view());
        if same {
            self.serving.now = self.serving.now.saturating_sub(1);
        }
        same
    }

    /// Records that were read for another site.
    pub(super) fn serve_read(&mut self, wanted: Wanted, records: &[Record]) {
        if !self.served(&wanted) {
            return;
        }
        let (to, view, after, bytes_max) = match wanted {
            Wanted::Tail { to, view, after, bytes_max } => (to, view, after, bytes_max),
            Wanted::One { to, view, position } => {
                match records.first().filter(|record| self.checked(record).is_some()) {
                    Some(Record { bytes, .. }) => {
                        self.send(vec![to], &Message::Found { view, record: bytes.to_vec() });
                    }
                    None if self.is_readable(position) => self.damage_found(position),
                    None => {}
                }
                return;
            }
            Wanted::Part { .. } => return,
        };
        let mut chunk = Vec::new();
        for (record, position) in records.iter().zip(after.position + 1..) {
            if record.position != position || self.checked(record).is_none() {
                break;
            }
            if !chunk.is_empty() && chunk.len() + record.bytes.len() > bytes_max {
                break;
            }
            put_record(&mut chunk, &record.bytes);
        }
        if !chunk.is_empty() {
            return self.send(vec![to], &Message::Tail { view, after, records: chunk });
        }
        if self.is_readable(after.position + 1) {
            self.damage_found(after.position + 1);
        }
        self.refuse(to, NoTail::Lacking);
    }

    /// "Do you have it?" Logs with one number in common are the same up to it, so whoever has the number may send what
    /// is before it, whatever its log is behind (D14). Who has not says nothing.
    pub(super) fn handle_want(&mut self, from: SiteId, position: u64, proof: Number) {
        let Some(view) = self.present.as_ref().map(|present| present.view.id) else { return };
        let has = position <= proof.position
            && self.log.known(proof.position) == Some(proof)
            && self.is_readable(position);
        if !has || self.serving.now >= self.settings.serving_max {
            return;
        }
        self.serving.now += 1;
        let op = |token| StoreOp::Read { token, from: position, to: position, bytes_max: 1, once: false };
        self.disk.read(ReadFor::Other(Wanted::One { to: from, view, position }), op);
    }

    pub(super) fn handle_fetch_checkpoint(
        &mut self,
        from: SiteId,
        number: Option<Number>,
        at: Locator,
        bytes_max: usize,
    ) {
        let (Some(view), Some(head)) =
            (self.present.as_ref().map(|present| present.view.id), &self.checkpoint)
        else {
            return self.refuse(from, NoTail::Lacking);
        };
        let current = head.number;
        if number.is_some_and(|number| number != current) {
            return self.refuse(from, NoTail::Lacking);
        }
        if self.serving.now >= self.settings.serving_max {
            return self.refuse(from, NoTail::Busy);
        }
        let bytes_left = bytes_max.min(self.settings.chunk_bytes);
        self.read_part(Wanted::Part { to: from, view, number: current, at, bytes_left });
    }

    fn read_part(&mut self, wanted: Wanted) {
        let Wanted::Part { number, at, bytes_left, .. } = wanted.clone() else { return };
        self.serving.now += 1;
        let bytes_max = bytes_left.max(1);
        let op = |token| StoreOp::ReadCheckpoint { token, number, at, bytes_max };
        self.disk.read(ReadFor::Other(wanted), op);
    }

    /// A part that was read for another site. The next one is read when this one has gone: other work of the disk comes in
    /// between.
    pub(super) fn serve_part(&mut self, wanted: Wanted, chunk: Option<Chunk>) {
        let Wanted::Part { to, view, number, at, bytes_left } = wanted.clone() else { return };
        if !self.served(&wanted) {
            return;
        }
        let head = self.checkpoint.clone().filter(|head| head.number == number);
        let (Some(head), Some(Chunk { bytes, next })) = (head, chunk) else {
            return self.refuse(to, NoTail::Lacking);
        };
        let bytes_left = bytes_left.saturating_sub(bytes.len());
        let following = next.clone().filter(|_| bytes_left > 0);
        let more = following.is_some();
        self.send(vec![to], &Message::Part { view, head, at, next, bytes: bytes.to_vec(), more });
        if let Some(at) = following {
            self.read_part(Wanted::Part { to, view, number, at, bytes_left });
        }
    }
}
