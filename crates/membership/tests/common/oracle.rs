//! What must hold of the line whatever happens: one history for all sites and all their lives.

use std::collections::{BTreeMap, BTreeSet};

use membership::kernel::{Body, Kernel, Message, Tables};
use membership::step::Step;
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};
use wire::{SiteId, SiteIncarnation, ViewId};

/// Facts that, once true, stay true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Oracle {
    /// The primary steps by position.
    pub line: BTreeMap<u64, ViewId>,
    /// Each step's content by id, be it proposed or agreed.
    contents: BTreeMap<ViewId, u64>,
    /// Steps that a coordinator has committed.
    decided: BTreeSet<ViewId>,
    /// The newest view of each life.
    views: BTreeMap<SiteIncarnation, ViewId>,
    /// Who voted for each attempt, if votes are counted; and who may vote, by line view.
    votes: Option<Votes>,
    /// The first thing that went wrong.
    pub violation: Option<String>,
}

/// Votes as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Votes {
    cast: BTreeMap<ViewId, BTreeSet<SiteId>>,
    voters: BTreeMap<ViewId, Vec<SiteId>>,
}

fn fingerprint(step: &Step) -> u64 {
    let mut hasher = SipHasher13::new();
    step.hash(&mut hasher);
    hasher.finish()
}

impl Oracle {
    /// An oracle that also counts votes.
    pub fn counting() -> Oracle {
        Oracle { votes: Some(Votes::default()), ..Oracle::default() }
    }

    /// A kernel has done something: `sent` and `installed` came out of it; `committed` if it coordinated a commit.
    pub fn observe<T: Tables>(
        &mut self,
        kernel: &Kernel<T>,
        sent: &[&Message<T>],
        installed: &[&Step],
        committed: bool,
    ) {
        self.count(kernel, sent, committed);
        if committed {
            for message in sent {
                if let Body::Commit { step, .. } = &message.body {
                    self.decided.insert(step.id);
                }
            }
            self.decided.extend(kernel.line().map(|l| l.step.id));
            self.decided.extend(kernel.view().map(|v| v.step.id));
        }
        for message in sent {
            match &message.body {
                Body::Initiate { step, base, .. } => {
                    self.content(step);
                    self.check(step.base == base.id, || {
                        format!("{} is proposed from {}, and starts from {}", step.id, base.id, step.base)
                    });
                }
                Body::Commit { step, .. } => self.agreed(step),
                Body::Init { line, step } => {
                    self.agreed(&line.step);
                    if let Some(step) = step {
                        self.agreed(step);
                    }
                }
                _ => {}
            }
        }
        if let Some(line) = kernel.line() {
            self.agreed(&line.step);
            self.check(kernel.promised() >= line.step.id, || "a promise below the line".into());
            self.check(line.tables.digest() == line.step.digest, || "tables differ from the step".into());
            if let Some((_, step)) = kernel.accepted() {
                self.check(step.base == line.step.id, || "accepted belongs to another line".into());
            }
        }
        for step in installed {
            self.agreed(step);
            self.check(step.lists(kernel.me()), || format!("{} is not in its view", kernel.me().life()));
            let life = kernel.me().life();
            let last = self.views.insert(life, step.id);
            self.check(last.is_none_or(|l| l < step.id), || format!("{life}: view ids do not rise"));
            let position = kernel.line().map_or(0, |l| l.step.position);
            self.check(step.position >= position, || format!("{life}: a view below the line"));
        }
    }

    /// A primary step is committed only with the votes of a quorum of its base, given for that very attempt.
    fn count<T: Tables>(&mut self, kernel: &Kernel<T>, sent: &[&Message<T>], committed: bool) {
        let Some(mut votes) = self.votes.take() else { return };
        let me = kernel.me().site;
        if let Some(line) = kernel.line() {
            votes.voters.insert(line.step.id, line.step.members.iter().map(|m| m.peer.site).collect());
        }
        for message in sent {
            match &message.body {
                Body::Ack { attempt, accepted: true } => {
                    votes.cast.entry(*attempt).or_default().insert(me);
                }
                Body::Commit { attempt, step }
                    if committed && step.primary && attempt.coordinator == kernel.me().life() =>
                {
                    let cast = votes.cast.entry(*attempt).or_default();
                    let voters = votes.voters.get(&step.base).cloned().unwrap_or_default();
                    let yes = voters.iter().filter(|s| **s == me || cast.contains(s)).count();
                    let senior = voters.first().is_some_and(|s| *s == me || cast.contains(s));
                    let quorum = yes * 2 > voters.len() || (yes * 2 == voters.len() && senior);
                    self.check(quorum, || format!("{} is agreed without a quorum", step.id));
                }
                _ => {}
            }
        }
        self.votes = Some(votes);
    }

    fn agreed(&mut self, step: &Step) {
        self.content(step);
        if step.position == 0 && step.primary {
            return;
        }
        self.check(self.decided.contains(&step.id), || format!("{} is told and not agreed", step.id));
        if step.primary {
            let known = *self.line.entry(step.position).or_insert(step.id);
            self.check(known == step.id, || {
                format!("two line views at {}: {known} and {}", step.position, step.id)
            });
            let before = self.line.get(&(step.position - 1));
            self.check(step.position == 1 || before == Some(&step.base), || "a line with a gap".into());
        }
    }

    fn content(&mut self, step: &Step) {
        let content = fingerprint(step);
        let known = *self.contents.entry(step.id).or_insert(content);
        self.check(known == content, || format!("two steps are called {}", step.id));
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }
}
