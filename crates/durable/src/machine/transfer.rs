//! Receiving a checkpoint: some parts at a time, from one donor at a time, resumed at the last locator (D19, D20).

use std::collections::VecDeque;

use bytes::Bytes;
use wire::{SiteId, Time};

use super::{Durable, Progress};
use crate::event::Event;
use crate::log::Log;
use crate::message::Message;
use crate::storage::{CheckpointHead, Locator, StoreOp, Token};
use crate::window::Window;

/// A checkpoint on its way. It survives views: what it is of is committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    /// Of what; none before the first part.
    head: Option<CheckpointHead>,
    /// The next part.
    at: Locator,
    /// There is none behind those that have come.
    is_whole: bool,
    donor: SiteId,
    /// How many donors in a row did not answer or refused.
    turns: usize,
    /// Parts were asked for, and the next is awaited until then.
    asked: Option<Time>,
    /// Until then this store's share of the links is used up by what has come.
    not_before: Option<Time>,
    /// What is being written: parts, or the floor.
    writing: VecDeque<Token>,
    installing: Option<Installing>,
    received: u64,
}

/// The disk was asked to install it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Installing {
    /// What the log has behind it stays.
    keep: bool,
}

/// A part that came.
pub(super) struct Part {
    pub(super) at: Locator,
    /// The one behind it; none: it is the last.
    pub(super) next: Option<Locator>,
    pub(super) bytes: Vec<u8>,
    /// The next one comes without being asked for.
    pub(super) more: bool,
}

impl Transfer {
    pub(super) fn timeout(&self) -> Option<Time> {
        self.asked.or(self.not_before)
    }

    pub(super) fn progress(&self) -> Progress {
        let number = self.head.as_ref().map(|head| head.number);
        Progress::Checkpoint { number, received: self.received, donor: self.donor }
    }
}

impl Durable {
    /// A donor has only a checkpoint for us.
    pub(super) fn start_transfer(&mut self, now: Time, donor: SiteId) {
        self.transfer = Some(Transfer {
            head: None,
            at: Locator::default(),
            is_whole: false,
            donor,
            turns: 0,
            asked: None,
            not_before: None,
            writing: VecDeque::new(),
            installing: None,
            received: 0,
        });
        self.go_on_with_transfer(now);
    }

    /// What was asked for in the view before does not come any more: it is asked for as soon as the new one is active, of
    /// the same donor if that is there.
    pub(super) fn transfer_in_new_view(&mut self) {
        if let Some(transfer) = &mut self.transfer {
            transfer.asked = None;
        }
    }

    /// Asks for the next parts, when those that were asked for are written.
    pub(super) fn go_on_with_transfer(&mut self, now: Time) {
        let Some(present) = self.present.as_ref().filter(|present| present.active.is_some()) else { return };
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.is_whole || !transfer.writing.is_empty() || transfer.asked.is_some() {
            return;
        }
        if transfer.not_before.is_some_and(|at| now < at) || self.disk.full_until().is_some() {
            return;
        }
        if transfer.head.as_ref().is_some_and(|head| head.number.position <= self.agreed) {
            self.transfer = None; // it is not needed any more
            return;
        }
        if !present.view.sites.contains(&transfer.donor) {
            let others = crate::message::others(&present.view.sites, self.me);
            let Some(next) = others.get(transfer.turns % others.len().max(1)) else { return };
            transfer.donor = *next;
        }
        transfer.not_before = Some(now);
        transfer.asked = Some(now + self.settings.retry);
        let message = Message::FetchCheckpoint {
            view: present.view.id,
            number: transfer.head.as_ref().map(|head| head.number),
            at: transfer.at.clone(),
            bytes_max: u32::try_from(self.settings.chunk_bytes).unwrap_or(u32::MAX),
            several: true,
        };
        let donor = transfer.donor;
        self.send(vec![donor], &message);
    }

    pub(super) fn handle_part(&mut self, now: Time, from: SiteId, head: CheckpointHead, part: Part) {
        let Part { at, next, bytes, more } = part;
        let (pause, retry) = (self.share(bytes.len() as u64), self.settings.retry);
        let Some(transfer) = &mut self.transfer else { return };
        let fits = transfer.head.as_ref().is_none_or(|known| *known == head);
        if from != transfer.donor || at != transfer.at || transfer.asked.is_none() || !fits {
            return;
        }
        // One that brings nothing, or goes back, is none.
        if head.number.position <= self.applied.max(self.agreed)
            || next.as_ref().is_some_and(|next| *next <= at)
        {
            self.transfer = None;
            return;
        }
        transfer.asked = (more && next.is_some()).then(|| now + retry);
        transfer.turns = 0;
        // Counted from when it was asked for: the way is no part of the share.
        transfer.not_before = transfer.not_before.map(|since| since + pause);
        transfer.received += bytes.len() as u64;
        let number = head.number;
        transfer.head = Some(head);
        transfer.is_whole = next.is_none();
        transfer.at = next.unwrap_or_default();
        let bytes = Bytes::from(bytes);
        let op = |token| StoreOp::WriteCheckpoint { token, number, at, bytes };
        transfer.writing.push_back(self.disk.write_checkpoint(op));
    }

    /// A part of it may be written.
    pub(super) fn part_stored(&mut self, token: Token) {
        let Some(transfer) = &mut self.transfer else { return };
        let before = transfer.writing.len();
        transfer.writing.retain(|writing| *writing != token);
        let is_last =
            before > 0 && transfer.writing.is_empty() && transfer.is_whole && transfer.installing.is_none();
        if is_last && let Some(head) = transfer.head.clone() {
            self.install(head);
        }
    }

    /// All parts are there. A log that has the checkpoint's entry where it should be is the same up to there (D1), and what it
    /// has behind it stays: it may be acknowledged. What any other log has there goes, and may be acknowledged too: until
    /// the log has come as far again the store is not sure of its end, and that is on disk first (D15). But a log that was
    /// stated in this view may be its base, and then there may be no other before the view's first entry is committed: it
    /// stays as it is, and a transfer begins anew if need be.
    fn install(&mut self, head: CheckpointHead) {
        if self.log.known(head.number.position) == Some(head.number) {
            return self.ask_to_install(head, true);
        }
        let last = self.log.last();
        let committed = self.committed;
        let may_shorten =
            self.active().is_some_and(|active| active.winner != self.me || committed >= active.start());
        if last > head.number && !may_shorten {
            self.transfer = None;
            return;
        }
        if last > head.number && self.meta.floor.is_none_or(|floor| floor < last) {
            self.meta.floor = Some(last);
            let floor = self.save_meta();
            if let Some(transfer) = &mut self.transfer {
                transfer.writing.push_back(floor);
            }
            return;
        }
        self.ask_to_install(head, false);
    }

    fn ask_to_install(&mut self, head: CheckpointHead, keep: bool) {
        if let Some(transfer) = &mut self.transfer {
            transfer.installing = Some(Installing { keep });
        }
        self.disk.install_checkpoint(|token| StoreOp::InstallCheckpoint { token, head, keep });
    }

    /// It takes the place of the log (D20).
    pub(super) fn checkpoint_installed(&mut self, now: Time, window: &[u8]) {
        let Some(Transfer { head: Some(head), installing, .. }) = self.transfer.take() else { return };
        let Some(window) = Window::decode(window) else {
            return self.fail(crate::Fatal::WriteFailed); // what was written is not what was read
        };
        let number = head.number;
        self.window = window;
        self.clock = self.clock.max(head.clock);
        let keep = installing.is_some_and(|installing| installing.keep);
        if keep && self.log.known(number.position) == Some(number) {
            self.log.begin_behind(number);
            self.agreed = self.agreed.max(number.position);
        } else {
            self.log = Log::new(number);
            self.agreed = number.position;
        }
        self.applied = number.position;
        self.committed = self.committed.max(number.position);
        self.meta.covered(&head);
        self.meta.configurations.retain(|(known, _)| known.position <= self.log.end());
        self.apply.start_anew();
        self.checkpoint = Some(head.clone());
        self.events.push_back(Event::Restore(head));
        self.fetch.start_anew();
        // What was proposed here and lies before it: answered, or cast again.
        let keys: Vec<_> = self.open.keys().copied().collect();
        for (client, sequence) in keys {
            if let Some(answer) = self.window.lookup(client, sequence) {
                self.answer(client, sequence, answer);
            } else if self
                .open
                .get(&(client, sequence))
                .is_some_and(|open| open.entry.is_none_or(|entry| entry.position <= number.position))
            {
                self.to_cast.push_back((client, sequence));
            }
        }
        self.change_skipped(number);
        self.settle(now);
    }

    /// Whether a refusal was about the transfer.
    pub(super) fn transfer_refused(&mut self, now: Time, from: SiteId) -> bool {
        match &mut self.transfer {
            Some(transfer) if transfer.donor == from && transfer.asked.is_some() => {
                self.next_donor(now);
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn transfer_timed_out(&mut self, now: Time) {
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.asked.is_none() && transfer.not_before.is_some_and(|at| now >= at) {
            transfer.not_before = None;
        }
        if transfer.asked.is_some_and(|until| now >= until) {
            self.next_donor(now);
        }
    }

    /// Another donor that has the same checkpoint; when nobody has it, it is begun anew with whatever there is.
    fn next_donor(&mut self, now: Time) {
        let Some(present) = &self.present else { return };
        let others = crate::message::others(&present.view.sites, self.me);
        let retry = self.settings.retry;
        let Some(transfer) = &mut self.transfer else { return };
        transfer.asked = None;
        transfer.turns += 1;
        if transfer.turns >= others.len().max(1) {
            self.transfer = None;
            self.fetch.pause(now + retry);
            return;
        }
        let place = others.iter().position(|site| *site == transfer.donor).map_or(0, |place| place + 1);
        if let Some(next) = others.get(place % others.len().max(1)) {
            transfer.donor = *next;
        }
    }
}
