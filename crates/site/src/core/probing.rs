//! Asks processes whether they take their events, where their groups want to know (`probe_ms`).
//!
//! A process in such groups is asked again and again, half the shortest of their times after its last answer. A
//! group whose time runs out before the answer comes gives its member up; the process's other memberships, and its
//! session, stay. So a hung member is found within one and a half times its group's time. A site that looks late
//! doubts itself first, and gives the whole time again.

use std::collections::BTreeMap;
use std::time::Duration;

use membership::group::GroupView;
use wire::{GroupName, MemberId, ProcessId, Time};

use crate::handle::Probe;

/// A site that looks at its watch so much too late has been away itself.
const LATE: Duration = Duration::from_millis(50);
/// So often it gives the whole time again for one probe.
const LATE_MAX: u32 = 3;
/// A member that was given up and is still there is given up again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The processes that are probed.
#[derive(Default)]
pub(super) struct Probing {
    processes: BTreeMap<ProcessId, Probed>,
    /// Members that were given up, how long each was waited for, and when; until their processes are told.
    given_up: BTreeMap<MemberId, (Duration, Time)>,
    last: u64,
}

struct Probed {
    groups: BTreeMap<GroupName, Asking>,
    state: State,
}

enum State {
    /// It answered, and is asked again at this time.
    Answered { next: Time },
    /// It was asked by this probe, at this time.
    Asked { probe: u64, since: Time, late: u32 },
}

struct Asking {
    member: MemberId,
    within: Duration,
    /// Given up at this time; not gone yet.
    given_up: Option<Time>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask the process.
    Ask(ProcessId, Probe),
    /// Take the member out of its group.
    GiveUp(GroupName, MemberId, Duration),
}

impl Probing {
    /// A view of a group with these members here.
    pub(super) fn view(&mut self, now: Time, view: &GroupView, here: &[MemberId]) {
        let within = Duration::from_millis(view.options.probe_ms.into());
        for (process, probed) in &mut self.processes {
            if !here.iter().any(|member| member.process == *process) {
                probed.groups.remove(&view.name);
            }
        }
        self.processes.retain(|_, probed| !probed.groups.is_empty());
        if within.is_zero() {
            return;
        }
        for &member in here {
            let probed = self.processes.entry(member.process).or_insert_with(|| Probed {
                groups: BTreeMap::new(),
                state: State::Answered { next: now + within / 2 },
            });
            let asking = probed.groups.entry(view.name.clone());
            let asking = asking.or_insert(Asking { member, within, given_up: None });
            if asking.member != member {
                *asking = Asking { member, within, given_up: None };
            }
        }
    }

    /// A process is no longer in a group. Says how long it was waited for, if it was given up.
    pub(super) fn left(&mut self, group: &GroupName, member: MemberId) -> Option<Duration> {
        if let Some(probed) = self.processes.get_mut(&member.process) {
            probed.groups.retain(|name, asking| name != group || asking.member != member);
            if probed.groups.is_empty() {
                self.processes.remove(&member.process);
            }
        }
        self.given_up.remove(&member).map(|(within, _)| within)
    }

    /// A process is over.
    pub(super) fn closed(&mut self, process: ProcessId) {
        self.processes.remove(&process);
        self.given_up.retain(|member, _| member.process != process);
    }

    /// A process has answered.
    pub(super) fn alive(&mut self, now: Time, process: ProcessId, answers: u64) {
        let Some(probed) = self.processes.get_mut(&process) else { return };
        if matches!(probed.state, State::Asked { probe, .. } if probe == answers) {
            probed.state = State::Answered { next: now + probed.shortest() / 2 };
            probed.groups.values_mut().for_each(|asking| asking.given_up = None);
        }
        // An answer that comes too late takes nothing back: whoever was given up goes, and is told why. If it has not gone
        // long after, it will go for another reason.
        self.given_up.retain(|member, (_, at)| member.process != process || now < *at + AGAIN_AFTER);
    }

    /// When to look next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.processes.values().map(Probed::due).min()
    }

    /// What is to be done now.
    pub(super) fn handle_timeout(&mut self, now: Time) -> Vec<Due> {
        let mut due = Vec::new();
        for (process, probed) in &mut self.processes {
            let at = probed.due();
            if at > now {
                continue;
            }
            match &mut probed.state {
                State::Answered { .. } => {
                    self.last += 1;
                    probed.state = State::Asked { probe: self.last, since: now, late: 0 };
                    let groups = probed.groups.keys().cloned().collect();
                    due.push(Due::Ask(*process, Probe { id: self.last, groups }));
                }
                // The answer may be among what waited while this site was away.
                State::Asked { since, late, .. } if now > at + LATE && *late < LATE_MAX => {
                    *since = now;
                    *late += 1;
                }
                State::Asked { since, .. } => {
                    let since = *since;
                    for (group, asking) in &mut probed.groups {
                        if asking.due(since) <= now {
                            asking.given_up = Some(now);
                            self.given_up.insert(asking.member, (asking.within, now));
                            due.push(Due::GiveUp(group.clone(), asking.member, asking.within));
                        }
                    }
                }
            }
        }
        due
    }
}

impl Probed {
    fn shortest(&self) -> Duration {
        self.groups.values().map(|asking| asking.within).min().unwrap_or(AGAIN_AFTER)
    }

    fn due(&self) -> Time {
        match self.state {
            State::Answered { next } => next,
            State::Asked { since, .. } => {
                let due = self.groups.values().map(|asking| asking.due(since)).min();
                due.unwrap_or(since + AGAIN_AFTER)
            }
        }
    }
}

impl Asking {
    fn due(&self, since: Time) -> Time {
        match self.given_up {
            Some(at) => at + AGAIN_AFTER,
            None => since + self.within,
        }
    }
}

#[cfg(test)]
mod tests {
    use membership::group::GroupOptions;
    use wire::{GroupId, Incarnation, SiteId, SiteIncarnation, ViewId};

    use super::*;

    fn member(local: u64) -> MemberId {
        let birth = SiteIncarnation { site: SiteId(1), incarnation: Incarnation(1) };
        MemberId { process: ProcessId { birth, local }, join: 1 }
    }

    fn view(name: &str, probe_ms: u32) -> GroupView {
        GroupView {
            group: GroupId::default(),
            name: GroupName::parse(name).expect("a name"),
            id: ViewId::default(),
            primary: true,
            lives: true,
            members: Vec::new(),
            joined: Vec::new(),
            left: Vec::new(),
            options: GroupOptions { probe_ms, ..GroupOptions::default() },
        }
    }

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn asked(due: Vec<Due>) -> u64 {
        match &due[..] {
            [Due::Ask(_, probe)] => probe.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_answers_is_asked_again_and_who_does_not_is_given_up_where_its_time_is_over() {
        let mut probing = Probing::default();
        probing.view(ms(0), &view("quick", 100), &[member(1)]);
        probing.view(ms(0), &view("slow", 1_000), &[member(1)]);
        probing.view(ms(0), &view("never", 0), &[member(1)]);
        assert_eq!(probing.poll_timeout(), Some(ms(50)));
        let first = asked(probing.handle_timeout(ms(50)));
        probing.alive(ms(60), member(1).process, first);
        assert_eq!(probing.poll_timeout(), Some(ms(110)));
        let second = asked(probing.handle_timeout(ms(110)));
        assert_ne!(first, second);
        // A late answer to an earlier probe is no answer to this one.
        probing.alive(ms(120), member(1).process, first);
        assert_eq!(probing.poll_timeout(), Some(ms(210)));
        let due = probing.handle_timeout(ms(210));
        let quick = GroupName::parse("quick").expect("a name");
        assert_eq!(due, [Due::GiveUp(quick.clone(), member(1), Duration::from_millis(100))]);
        assert_eq!(probing.left(&quick, member(1)), Some(Duration::from_millis(100)));
        assert_eq!(probing.poll_timeout(), Some(ms(1_110)), "the other group waits for longer");
        probing.alive(ms(1_000), member(1).process, second);
        let slow = GroupName::parse("slow").expect("a name");
        assert_eq!(probing.left(&slow, member(1)), None, "it left of its own accord");
        assert_eq!(probing.poll_timeout(), None);
    }

    #[test]
    fn an_answer_that_comes_too_late_does_not_hide_why_a_member_goes() {
        let quick = GroupName::parse("quick").expect("a name");
        let given_up = || {
            let mut probing = Probing::default();
            probing.view(ms(0), &view("quick", 100), &[member(1)]);
            let probe = asked(probing.handle_timeout(ms(50)));
            assert_eq!(probing.handle_timeout(ms(150)).len(), 1);
            probing.alive(ms(151), member(1).process, probe);
            probing
        };
        let mut probing = given_up();
        assert_eq!(probing.left(&quick, member(1)), Some(Duration::from_millis(100)));
        // It was not taken out: when it leaves, long after, that has nothing to do with it.
        let mut probing = given_up();
        let probe = asked(probing.handle_timeout(ms(5_200)));
        probing.alive(ms(5_201), member(1).process, probe);
        assert_eq!(probing.left(&quick, member(1)), None);
    }

    #[test]
    fn a_site_that_was_away_gives_the_time_again() {
        let mut probing = Probing::default();
        probing.view(ms(0), &view("quick", 100), &[member(1)]);
        asked(probing.handle_timeout(ms(50)));
        assert_eq!(probing.handle_timeout(ms(30_000)), []);
        assert_eq!(probing.poll_timeout(), Some(ms(30_100)));
        assert_eq!(probing.handle_timeout(ms(30_100)).len(), 1);
    }

    #[test]
    fn a_member_that_does_not_go_is_given_up_again() {
        let mut probing = Probing::default();
        probing.view(ms(0), &view("quick", 100), &[member(1)]);
        asked(probing.handle_timeout(ms(50)));
        assert_eq!(probing.handle_timeout(ms(150)).len(), 1);
        assert_eq!(probing.poll_timeout(), Some(ms(5_150)));
        assert_eq!(probing.handle_timeout(ms(5_150)).len(), 1);
        // The same view again changes nothing; one without it ends the matter.
        probing.view(ms(5_200), &view("quick", 100), &[member(1)]);
        assert_eq!(probing.poll_timeout(), Some(ms(10_150)));
        probing.view(ms(5_300), &view("quick", 100), &[]);
        assert_eq!(probing.poll_timeout(), None);
        let quick = GroupName::parse("quick").expect("a name");
        assert_eq!(probing.left(&quick, member(1)), Some(Duration::from_millis(100)), "it is told why");
    }
}
