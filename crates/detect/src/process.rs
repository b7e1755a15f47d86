//! Hung processes: a member may be asked to answer at the application level too.
//!
//! One [`Watch`] belongs to one local process or client session. It asks for an answer in every interval in
//! which nothing came; a process that does not answer in time is hung, and a hung process is a failed one.
//! A site that woke late itself asks again before it says so.

use std::time::Duration;

use wire::Time;

/// How a process is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// It is asked after this long without a word; none: never.
    pub interval: Option<Duration>,
    /// It has this long to answer.
    pub answer_within: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { interval: None, answer_within: Duration::from_secs(10) }
    }
}

/// What to do after [`Watch::handle_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing yet.
    Rest,
    /// Ask the process, with this number.
    Ask(u64),
    /// It did not answer in time. Said once; it is not asked again.
    Hung,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Quiet,
    Asked { seq: u64, doubted: bool },
    Hung,
}

/// The watch over one local process. Fire [`Watch::handle_timeout`] at [`Watch::poll_timeout`].
#[derive(Clone, Debug)]
pub struct Watch {
    settings: Settings,
    phase: Phase,
    due: Option<Time>,
    seq: u64,
}

impl Watch {
    /// Begins to watch.
    pub fn new(now: Time, settings: Settings) -> Watch {
        Watch { settings, phase: Phase::Quiet, due: settings.interval.map(|every| now + every), seq: 0 }
    }

    /// Asks at the next firing, which is now, whatever the interval: `isis_probe`.
    pub fn ask_now(&mut self, now: Time) {
        if let Phase::Quiet = self.phase {
            self.due = Some(now);
        }
    }

    /// The process did something by itself: it is not hung. An outstanding question still wants its answer.
    pub fn handle_active(&mut self, now: Time) {
        if let Phase::Quiet = self.phase {
            self.due = self.settings.interval.map(|every| now + every);
        }
    }

    /// The process answered question `seq`. An answer to another question, or after it was called hung,
    /// changes nothing.
    pub fn handle_answer(&mut self, now: Time, seq: u64) {
        if let Phase::Asked { seq: asked, .. } = self.phase
            && asked == seq
        {
            self.phase = Phase::Quiet;
            self.due = self.settings.interval.map(|every| now + every);
        }
    }

    /// When the watch wants to be fired.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// Fires the watch. Nothing happens before it is due.
    pub fn handle_timeout(&mut self, now: Time) -> Action {
        let Some(due) = self.due.filter(|due| *due <= now) else { return Action::Rest };
        match self.phase {
            Phase::Quiet => self.ask(now, false),
            // The answer may wait in a queue that this site has not read yet either. Doubted once a question.
            Phase::Asked { doubted: false, .. } if now.since(due) > self.settings.answer_within / 2 => {
                self.ask(now, true)
            }
            Phase::Asked { .. } => {
                self.phase = Phase::Hung;
                self.due = None;
                Action::Hung
            }
            Phase::Hung => Action::Rest,
        }
    }

    fn ask(&mut self, now: Time, doubted: bool) -> Action {
        self.seq += 1;
        self.phase = Phase::Asked { seq: self.seq, doubted };
        self.due = Some(now + self.settings.answer_within);
        Action::Ask(self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { interval: Some(Duration::from_secs(5)), answer_within: Duration::from_secs(2) };

    #[test]
    fn a_process_that_answers_is_never_hung_and_one_that_does_not_is_hung_once() {
        let mut watch = Watch::new(Time::ZERO, SETTINGS);
        assert_eq!(watch.handle_timeout(Time::from_millis(5_000)), Action::Ask(1));
        watch.handle_answer(Time::from_millis(5_100), 1);
        assert_eq!(watch.handle_timeout(Time::from_millis(10_100)), Action::Ask(2));
        watch.handle_answer(Time::from_millis(10_200), 1);
        assert_eq!(watch.handle_timeout(Time::from_millis(12_100)), Action::Hung);
        assert_eq!(watch.poll_timeout(), None);
        assert_eq!(watch.handle_timeout(Time::from_millis(99_000)), Action::Rest);
    }

    #[test]
    fn a_site_that_slept_asks_again_before_it_calls_a_process_hung() {
        let mut watch = Watch::new(Time::ZERO, SETTINGS);
        assert_eq!(watch.handle_timeout(Time::from_millis(5_000)), Action::Ask(1));
        assert_eq!(watch.handle_timeout(Time::from_millis(30_000)), Action::Ask(2));
        assert_eq!(watch.handle_timeout(Time::from_millis(32_000)), Action::Hung);
    }

    #[test]
    fn a_busy_process_is_not_asked() {
        let mut watch = Watch::new(Time::ZERO, SETTINGS);
        watch.handle_active(Time::from_millis(4_000));
        assert_eq!(watch.handle_timeout(Time::from_millis(5_000)), Action::Rest);
        assert_eq!(watch.poll_timeout(), Some(Time::from_millis(9_000)));
    }
}
