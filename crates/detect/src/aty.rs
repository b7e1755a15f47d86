//! The Are-You-There machine: one site's watch over one other [Ravindran & Chanson 85, 2.4].
//!
//! Two states. In NORMAL the other was heard, or it is not yet time to ask. In AYT_AWAIT a probe is out: it
//! is repeated a bounded number of times, then the silence is told and the machine rests before it asks
//! again. Anything heard postpones the next probe, so that a busy link costs none; but now and then an answer
//! is insisted on, because a site that only talks may be deaf.

use std::time::Duration;

use wire::Time;

/// How many sent probes are remembered, so that a late answer still teaches the round trip.
const SENT_MAX: usize = 16;

/// After this many probe intervals without an answer, being heard is not enough.
const ANSWER_INTERVALS: u32 = 10;

/// The paper's two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Heard lately, or not yet time to ask.
    Normal,
    /// A probe is out.
    AytAwait,
}

/// What a machine that fires needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often a probe is sent before the silence counts.
    pub tries: u32,
}

/// What to do after [`Monitor::handle_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it was heard.
    Rest,
    /// Send a probe with this number.
    Probe(u64),
    /// Every try went unanswered, and nothing else was heard of late.
    Silent,
    /// Every try went unanswered, yet the other is heard: the way there is cut, or it is deaf.
    OneWay,
}

/// An answer that belongs to a probe of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From the probe's leaving to now.
    pub round_trip: Duration,
    /// Whether the probe went by the direct path.
    pub direct: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: u64,
    at: Time,
    direct: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Normal { asked: bool, strict: bool },
    Await { started: Time, tries: u32, strict: bool },
}

/// One site's watch over one other. Fire [`Monitor::handle_timeout`] at [`Monitor::due`]; after
/// [`Action::Probe`] call [`Monitor::sent`] and send.
#[derive(Clone, Debug)]
pub struct Monitor {
    phase: Phase,
    due: Option<Time>,
    interval: Option<Duration>,
    heard_at: Time,
    answered_at: Time,
    seq: u64,
    sent: Vec<Sent>,
}

impl Monitor {
    /// A watch that begins now and trusts the other at first. It asks nothing until [`Monitor::watch`].
    pub fn new(now: Time) -> Monitor {
        Monitor {
            phase: Phase::Normal { asked: false, strict: false },
            due: None,
            interval: None,
            heard_at: now,
            answered_at: now,
            seq: 0,
            sent: Vec::new(),
        }
    }

    /// The present state.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Normal { .. } => State::Normal,
            Phase::Await { .. } => State::AytAwait,
        }
    }

    /// How often to ask; none: only when asked to. `first` is the longest until the first probe of a new
    /// watch. A probe that is out stays out.
    pub fn watch(&mut self, now: Time, interval: Option<Duration>, first: Duration) {
        if self.interval == interval {
            return;
        }
        self.interval = interval;
        if let Phase::Normal { asked: false, .. } = self.phase {
            // The first probe is sent whatever is heard: its answer measures the round trip.
            let measure = self.seq == 0 && interval.is_some();
            self.phase = Phase::Normal { asked: measure, strict: measure };
            self.due = interval.map(|interval| now + interval.min(first));
        }
    }

    /// Whether the watch asks by itself.
    pub fn is_watching(&self) -> bool {
        self.interval.is_some()
    }

    /// When the machine wants to be fired.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// When the other was last heard.
    pub fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// When the other last answered a probe.
    pub fn answered_at(&self) -> Time {
        self.answered_at
    }

    /// Something came from the other: it lives. Cheap; called for every packet.
    pub fn heard(&mut self, now: Time) {
        self.heard_at = self.heard_at.max(now);
        if let Phase::Await { strict: false, .. } = self.phase {
            self.rest(now);
        }
    }

    /// An answer came. None if it answers no probe that is remembered: it then only counts as being heard.
    pub fn answered(&mut self, now: Time, seq: u64) -> Option<Answer> {
        let Some(at) = self.sent.iter().position(|sent| sent.seq == seq) else {
            self.heard(now);
            return None;
        };
        let sent = self.sent.swap_remove(at);
        self.heard_at = self.heard_at.max(now);
        self.answered_at = self.answered_at.max(now);
        self.rest(now);
        Some(Answer { round_trip: now.since(sent.at), direct: sent.direct })
    }

    /// Ask at the next firing, which is now. `strict`: being heard is not enough, an answer is wanted.
    pub fn probe_now(&mut self, now: Time, strict: bool) {
        match &mut self.phase {
            Phase::Normal { strict: already, .. } => {
                let strict = strict || *already;
                self.phase = Phase::Normal { asked: true, strict };
                self.due = Some(now);
            }
            Phase::Await { strict: already, .. } => *already |= strict,
        }
    }

    /// The watcher woke late and doubts itself: whatever was out is forgiven, and asked again at once.
    pub fn forgive(&mut self, now: Time) {
        let out = match self.phase {
            Phase::Await { .. } => true,
            Phase::Normal { asked, .. } => asked,
        };
        self.phase = Phase::Normal { asked: out, strict: false };
        self.heard_at = self.heard_at.max(now);
        self.answered_at = self.answered_at.max(now);
        self.due = if out { Some(now) } else { self.interval.map(|interval| now + interval) };
    }

    /// The watch is over: the other has failed or left.
    pub fn stop(&mut self) {
        self.phase = Phase::Normal { asked: false, strict: false };
        self.interval = None;
        self.due = None;
    }

    /// Numbers a probe and remembers when and how it left.
    pub fn sent(&mut self, now: Time, direct: bool) -> u64 {
        self.seq += 1;
        if self.sent.len() == SENT_MAX {
            self.sent.remove(0);
        }
        self.sent.push(Sent { seq: self.seq, at: now, direct });
        self.seq
    }

    /// Fires the machine. `direct` says which way its probe will go. Nothing happens before it is due.
    pub fn handle_timeout(&mut self, now: Time, timing: Timing, direct: bool) -> Action {
        if self.due.is_none_or(|due| due > now) {
            return Action::Rest;
        }
        match self.phase {
            Phase::Normal { asked, strict } => self.fire_normal(now, timing, direct, asked, strict),
            Phase::Await { started, tries, strict } if tries < timing.tries => {
                self.phase = Phase::Await { started, tries: tries + 1, strict };
                self.due = Some(now + timing.timeout);
                Action::Probe(self.sent(now, direct))
            }
            Phase::Await { started, .. } => {
                self.rest(now);
                // What came early in the waiting may have been sent by somebody who died since.
                let lately = self.heard_at >= started && now.since(self.heard_at) < timing.timeout * 2;
                if lately { Action::OneWay } else { Action::Silent }
            }
        }
    }

    fn fire_normal(&mut self, now: Time, timing: Timing, direct: bool, asked: bool, strict: bool) -> Action {
        let mut strict = strict;
        if let (Some(interval), false) = (self.interval, asked) {
            let heard = self.heard_at + interval > now;
            let answer_due = self.answered_at + interval * ANSWER_INTERVALS <= now;
            if heard && !answer_due {
                self.due = Some(self.heard_at + interval);
                return Action::Rest;
            }
            strict |= heard;
        }
        self.phase = Phase::Await { started: now, tries: 1, strict };
        self.due = Some(now + timing.timeout);
        Action::Probe(self.sent(now, direct))
    }

    fn rest(&mut self, now: Time) {
        self.phase = Phase::Normal { asked: false, strict: false };
        self.due = self.interval.map(|interval| now + interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { timeout: Duration::from_millis(60), tries: 4 };
    const INTERVAL: Duration = Duration::from_millis(150);

    fn watching() -> Monitor {
        let mut monitor = Monitor::new(Time::ZERO);
        monitor.watch(Time::ZERO, Some(INTERVAL), INTERVAL);
        monitor
    }

    /// Fires the machine whenever it is due, until it says something else than Rest or Probe.
    fn run(monitor: &mut Monitor, heard_every: Option<Duration>) -> (Time, Action, u32) {
        let mut probes = 0;
        let mut heard = Time::ZERO;
        loop {
            let due = monitor.due().expect("a watch has a timer");
            while let Some(every) = heard_every
                && heard + every <= due
            {
                heard = heard + every;
                monitor.heard(heard);
            }
            match monitor.handle_timeout(due, TIMING, true) {
                Action::Rest => {}
                Action::Probe(_) => probes += 1,
                end @ (Action::Silent | Action::OneWay) => return (due, end, probes),
            }
        }
    }

    #[test]
    fn silence_is_told_after_all_tries_and_not_before() {
        let (at, end, probes) = run(&mut watching(), None);
        assert_eq!((at, end, probes), (Time::from_millis(150 + 4 * 60), Action::Silent, 4));
    }

    #[test]
    fn a_site_that_talks_and_never_answers_is_found_out() {
        let (_, end, probes) = run(&mut watching(), Some(Duration::from_millis(20)));
        assert_eq!((end, probes), (Action::OneWay, 4));
    }

    #[test]
    fn traffic_suppresses_probes_after_the_first_and_an_answer_ends_the_waiting() {
        let mut monitor = watching();
        monitor.heard(Time::from_millis(140));
        let Action::Probe(seq) = monitor.handle_timeout(Time::from_millis(150), TIMING, true) else {
            panic!("the first is sent whatever is heard");
        };
        assert_eq!(monitor.state(), State::AytAwait);
        let answer = monitor.answered(Time::from_millis(153), seq).expect("that probe");
        assert_eq!(answer.round_trip, Duration::from_millis(3));
        assert_eq!(monitor.state(), State::Normal);
        assert_eq!(monitor.answered(Time::from_millis(154), seq), None, "once");
        monitor.heard(Time::from_millis(300));
        assert_eq!(monitor.handle_timeout(Time::from_millis(304), TIMING, true), Action::Rest);
        assert_eq!(monitor.due(), Some(Time::from_millis(450)));
        assert!(matches!(monitor.handle_timeout(Time::from_millis(450), TIMING, true), Action::Probe(_)));
    }

    #[test]
    fn a_monitor_that_doubts_itself_asks_again_with_all_its_tries() {
        let mut monitor = watching();
        for at in [150, 210, 270] {
            assert!(matches!(monitor.handle_timeout(Time::from_millis(at), TIMING, true), Action::Probe(_)));
        }
        monitor.forgive(Time::from_millis(5_000));
        let mut probes = 0;
        while let Action::Probe(_) = monitor.handle_timeout(monitor.due().expect("armed"), TIMING, true) {
            probes += 1;
        }
        assert_eq!(probes, 4);
    }
}
