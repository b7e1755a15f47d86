//! Payloads that a service keeps and that this site does not have are had from the other members: after a checkpoint was sent
//! to it, or when some were damaged here.
//!
//! A member is asked for one by its position, in a cast to it alone that wants a reply; one that has it replies with it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use multicast::Order;
use multicast::call::{Outcome, Replies};
use stack::{CallFailed, CallId, CastOptions, Casted, Node, ReplyKind, ReplyTo};
use wire::{GroupName, MemberId, ProcessId, Time};

use super::disk::Job;
use super::{Hosting, Stage, compare};

/// What a member is asked begins with this.
const QUESTION: &[u8; 16] = b"payload, please\n";
/// Payloads of a group that are asked for at once.
const FETCHING_MAX: usize = 8;
/// How long a member may take for one.
const WITHIN: Duration = Duration::from_secs(10);
/// When nobody had one, all are asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// What a group lacks, and who may have it.
#[derive(Default)]
pub(super) struct Missing {
    /// All that is missing, what is asked for now included.
    all: BTreeSet<u64>,
    /// In the order in which it is asked for.
    positions: VecDeque<u64>,
    own: Option<MemberId>,
    others: Vec<MemberId>,
    /// Whom to ask next.
    turn: usize,
    under_way: usize,
    /// Questions in a row that came to nothing.
    vain: usize,
    again: Option<Time>,
}

/// What members were asked.
pub(super) struct Asked {
    group: GroupName,
    what: What,
}

enum What {
    /// One payload, of one member.
    Payload(u64),
    /// Their digests, of all.
    Digests,
}

impl Asked {
    pub(super) fn digests(group: GroupName) -> Asked {
        Asked { group, what: What::Digests }
    }
}

impl Missing {
    /// These, and no others, are missing.
    pub(super) fn set(&mut self, positions: Vec<u64>) {
        self.all = positions.iter().copied().collect();
        self.positions = positions.into();
        (self.vain, self.again) = (0, None);
    }

    /// These are, too.
    pub(super) fn add(&mut self, positions: Vec<u64>) {
        for position in positions {
            if self.all.insert(position) {
                self.positions.push_back(position);
            }
        }
    }

    /// Who the others are now.
    pub(super) fn others(&mut self, view: &GroupView, own: Option<ProcessId>) {
        let members = view.members.iter().map(|member| member.id);
        let (own, others): (Vec<_>, Vec<_>) = members.partition(|member| Some(member.process) == own);
        (self.own, self.others) = (own.first().copied(), others);
        (self.vain, self.again) = (0, None);
    }

    /// Whether this is the site's own member of the group.
    pub(super) fn is_own(&self, member: MemberId) -> bool {
        self.own == Some(member)
    }

    /// The others.
    pub(super) fn others_now(&self) -> &[MemberId] {
        &self.others
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// What to ask whom now.
    fn next(&mut self, now: Time) -> Option<(u64, MemberId)> {
        if self.under_way >= FETCHING_MAX || self.others.is_empty() || self.again.is_some_and(|at| now < at) {
            return None;
        }
        let position = self.positions.pop_front()?;
        self.turn %= self.others.len();
        self.under_way += 1;
        Some((position, self.others[self.turn]))
    }

    /// A question came to nothing: another member is asked.
    fn failed(&mut self, now: Time, position: u64) {
        self.positions.push_back(position);
        self.turn += 1;
        self.vain += 1;
        if self.vain >= self.others.len().max(1) * FETCHING_MAX {
            self.vain = 0;
            self.again = Some(now + AGAIN);
        }
    }
}

impl Hosting {
    /// Asks for what a group lacks.
    pub(super) fn fetch(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        let Some(process) = self.process else { return };
        let Some(hosted) = self.groups.get_mut(name) else { return };
        let Stage::Open(_, served) = &hosted.stage else { return };
        while let Some((position, member)) = hosted.missing.next(now) {
            if !served.keeps(position) {
                hosted.missing.under_way -= 1;
                hosted.missing.all.remove(&position);
                continue;
            }
            let options = CastOptions {
                only: vec![member],
                replies: Replies::Count(1),
                timeout: WITHIN,
                ..CastOptions::plain(Order::Fbcast)
            };
            let mut question = QUESTION.to_vec();
            question.extend_from_slice(&position.to_be_bytes());
            match node.cast(now, process, name, &options, &question.into()) {
                Ok(Casted::Call(call)) => {
                    self.fetching.insert(call, Asked { group: name.clone(), what: What::Payload(position) });
                }
                // A view change, or too much is under way: later.
                Ok(Casted::Done) | Err(_) => {
                    hosted.missing.under_way -= 1;
                    hosted.missing.positions.push_front(position);
                    hosted.missing.again = Some(now + AGAIN);
                }
            }
        }
    }

    /// What became of a question.
    pub(crate) fn call_done(
        &mut self,
        node: &mut Node,
        now: Time,
        call: CallId,
        outcome: Result<Outcome, CallFailed>,
    ) {
        let Some(Asked { group, what }) = self.fetching.remove(&call) else { return };
        let replies = outcome.map(|outcome| outcome.replies).unwrap_or_default();
        let position = match what {
            What::Payload(position) => position,
            What::Digests => return self.compared(&group, &replies),
        };
        let Some(hosted) = self.groups.get_mut(&group) else { return };
        hosted.missing.under_way = hosted.missing.under_way.saturating_sub(1);
        match (replies.into_iter().next(), &hosted.stage) {
            (Some((_, payload)), Stage::Open(disk, served)) if served.is_payload(position, &payload) => {
                hosted.missing.vain = 0;
                hosted.missing.all.remove(&position);
                disk.ask(Job::Keep { position, payload });
            }
            _ => hosted.missing.failed(now, position),
        }
        self.fetch(node, now, &group);
    }

    /// Another site's member asks the site's own; what is no question is not answered.
    pub(crate) fn asked(&mut self, node: &mut Node, now: Time, to: ReplyTo, question: &Bytes) {
        if question[..] == compare::QUESTION[..] {
            return self.tell_digests(node, now, to);
        }
        let position = question.strip_prefix(QUESTION).and_then(|rest| rest.try_into().ok());
        let hosted = self.groups.values().find(|hosted| hosted.missing.is_own(to.member));
        match (position.map(u64::from_be_bytes), hosted.map(|hosted| &hosted.stage)) {
            (Some(position), Some(Stage::Open(disk, _))) => disk.ask(Job::PayloadFor { position, to }),
            _ => self.tell_payload(node, now, to, None),
        }
    }

    /// Answers it. If nobody waits any more, nobody misses it.
    pub(super) fn tell_payload(&self, node: &mut Node, now: Time, to: ReplyTo, payload: Option<Bytes>) {
        let (kind, payload) = match payload {
            Some(payload) => (ReplyKind::Reply, payload),
            None => (ReplyKind::Null, Bytes::new()),
        };
        let _ = node.reply(now, to, kind, payload);
    }
}
