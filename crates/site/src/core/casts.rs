//! Casts on their way into the node: those that wait for the end of a view change or for room, those that are held
//! back to travel with others, and who waits for what becomes of them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use multicast::call::Replies;
use stack::{CallId, CastError, CastOptions, Casted};
use wire::{GroupId, GroupName, ProcessId, Time};

use super::Core;
use crate::handle::{Answer, RequestError};

/// A longer cast is not held back: it fills a packet by itself.
const LAZY_BYTES_MAX: usize = 8 * 1024;

pub(super) struct Cast {
    pub(super) process: ProcessId,
    pub(super) options: CastOptions,
    pub(super) payloads: VecDeque<Bytes>,
    pub(super) waiter: Waiter,
}

pub(super) enum Waiter {
    /// Wants to know that the cast was taken, or has arrived if it came from outside.
    Taken(Answer<()>),
    /// Wants the replies.
    Replies(Answer<multicast::call::Outcome>),
    /// Wants to know when all casts before are at every member.
    Flush(Answer<()>),
    /// Nobody.
    Nothing,
}

impl Waiter {
    fn fail(self, error: RequestError) {
        match self {
            Waiter::Taken(answer) | Waiter::Flush(answer) => drop(answer.send(Err(error))),
            Waiter::Replies(answer) => drop(answer.send(Err(error))),
            Waiter::Nothing => {}
        }
    }
}

impl Core {
    /// Casts behind what was held back for the group.
    pub(super) fn cast(&mut self, group: GroupName, cast: Cast) {
        if let Some(id) = self.processes.membership(cast.process, &group) {
            self.ride(id);
        }
        self.cast_now(group, cast);
    }

    /// Holds a member's cast back, for at most so long; says at once that it is taken.
    pub(super) fn cast_lazily(&mut self, group: GroupName, mut cast: Cast, patience: Duration) {
        let bytes: usize = cast.payloads.iter().map(Bytes::len).sum();
        let plain = cast.options.replies == Replies::None;
        let id = self.processes.membership(cast.process, &group);
        let Some(id) = id.filter(|_| plain && bytes <= LAZY_BYTES_MAX) else {
            return self.cast(group, cast);
        };
        if let Waiter::Taken(answer) = std::mem::replace(&mut cast.waiter, Waiter::Nothing) {
            drop(answer.send(Ok(())));
        }
        for (group, cast) in self.lazy.hold(self.clock.now(), id, patience, (group, cast)) {
            self.cast_now(group, cast);
        }
    }

    /// Answers when all that the process has cast to the group is at every member.
    pub(super) fn flush(&mut self, process: ProcessId, group: GroupName, answer: Answer<()>) {
        let options = CastOptions::plain(multicast::Order::Fbcast);
        let waiter = Waiter::Flush(answer);
        self.cast(group, Cast { process, options, payloads: VecDeque::new(), waiter });
    }

    /// Casts what is held back for a group.
    pub(super) fn ride(&mut self, group: GroupId) {
        for (group, cast) in self.lazy.ride(group) {
            self.cast_now(group, cast);
        }
    }

    /// Casts what may not be held back any longer.
    pub(super) fn ride_due(&mut self, now: Time) {
        if self.lazy.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        for (_, casts) in self.lazy.handle_timeout(now) {
            for (group, cast) in casts {
                self.cast_now(group, cast);
            }
        }
    }

    /// A process that is no longer a member casts nothing more as one; the others' casts go now.
    pub(super) fn give_up_lazy(&mut self, group: GroupId, process: ProcessId) {
        for (group, cast) in self.lazy.handle_left(group) {
            if cast.process != process {
                self.cast_now(group, cast);
            }
        }
    }

    /// Casts now, or queues behind those that wait for the same group.
    pub(super) fn cast_now(&mut self, group: GroupName, cast: Cast) {
        if let Some(queue) = self.waiting.get_mut(&group) {
            queue.push_back(cast);
            return;
        }
        if let Some(rest) = self.try_cast(&group, cast) {
            self.waiting.insert(group, [rest].into());
        }
    }

    /// Gives back what must wait.
    pub(super) fn try_cast(&mut self, group: &GroupName, mut cast: Cast) -> Option<Cast> {
        let now = self.clock.now();
        // It takes itself for the member that it was, and may not speak as an outsider.
        if self.node.joins_again(cast.process, group) {
            cast.waiter.fail(CastError::NotMember.into());
            return None;
        }
        while let Some(payload) = cast.payloads.front() {
            // Other sites feel a member here that takes nothing by acknowledgements that do not come.
            if self.processes.hold_back(group) {
                self.slow.waits(now, group);
                return Some(cast);
            }
            match self.node.cast(now, cast.process, group, &cast.options, payload) {
                Ok(casted) => {
                    cast.payloads.pop_front();
                    if let Casted::Call(call) = casted {
                        let last = cast.payloads.is_empty();
                        let waiter = if last {
                            std::mem::replace(&mut cast.waiter, Waiter::Nothing)
                        } else {
                            Waiter::Nothing
                        };
                        self.calls.insert(call, waiter);
                    }
                }
                Err(CastError::Blocked | CastError::Full) => return Some(cast),
                Err(CastError::Busy) if self.processes.is_open(cast.process) && !self.calls.is_empty() => {
                    return Some(cast);
                }
                Err(error) => {
                    cast.waiter.fail(error.into());
                    return None;
                }
            }
        }
        match cast.waiter {
            Waiter::Taken(answer) => drop(answer.send(Ok(()))),
            Waiter::Flush(answer) => match self.node.flush(cast.process, group) {
                Ok(flush) => drop(self.flushes.insert(flush, answer)),
                // An outsider's casts are answered when they have arrived: there is nothing to wait for.
                Err(_) => drop(answer.send(Ok(()))),
            },
            Waiter::Replies(_) | Waiter::Nothing => {}
        }
        None
    }

    /// Tries what waits for a group again.
    pub(super) fn retry(&mut self, group: &GroupName) {
        if !self.processes.hold_back(group) {
            self.slow.goes_on(group);
        }
        let Some(mut queue) = self.waiting.remove(group) else { return };
        while let Some(cast) = queue.pop_front() {
            if let Some(rest) = self.try_cast(group, cast) {
                queue.push_front(rest);
                break;
            }
        }
        if !queue.is_empty() {
            self.waiting.insert(group.clone(), queue);
        }
    }

    pub(super) fn writable(&mut self, group: GroupId) {
        if let Some(name) = self.processes.name(group) {
            self.retry(&name);
        }
    }

    pub(super) fn call_done(
        &mut self,
        call: CallId,
        outcome: Result<multicast::call::Outcome, stack::CallFailed>,
    ) {
        match (self.calls.remove(&call), outcome) {
            (Some(Waiter::Taken(answer)), Ok(_)) => drop(answer.send(Ok(()))),
            (Some(Waiter::Replies(answer)), Ok(outcome)) => drop(answer.send(Ok(outcome))),
            (Some(waiter), Err(failed)) => waiter.fail(RequestError::Call(failed)),
            (Some(Waiter::Flush(_) | Waiter::Nothing) | None, Ok(_)) | (None, Err(_)) => {}
        }
        // Outsiders' casts wait for the window of their client.
        let groups: Vec<GroupName> = self.waiting.keys().cloned().collect();
        for group in groups {
            self.retry(&group);
        }
    }

    /// A process that is no longer a member casts nothing more as one.
    pub(super) fn fail_waiting(&mut self, group: &GroupName, process: ProcessId) {
        let Some(queue) = self.waiting.get_mut(group) else { return };
        let (gone, stay): (Vec<_>, Vec<_>) = queue.drain(..).partition(|cast| cast.process == process);
        queue.extend(stay);
        for cast in gone {
            cast.waiter.fail(CastError::NotMember.into());
        }
        if queue.is_empty() {
            self.waiting.remove(group);
        }
    }
}
