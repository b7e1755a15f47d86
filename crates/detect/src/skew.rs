//! How far other sites' wall clocks are from this one's: for people, never relied upon.
//!
//! A site asks, the other says what its clock shows, and the answer is compared with this site's clock half a round trip
//! ago; what the two ways may differ is the error, at most half the round trip. The best of the last few answers counts,
//! until one comes that contradicts it: somebody has set a clock then. The wall clock is an input here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use wire::codec::{self, DecodeError};
use wire::{SiteId, Time};

/// The longest message that is read.
pub const MESSAGE_BYTES_MAX: usize = 64;
/// How often a site is asked.
pub const ASK_EVERY: Duration = Duration::from_secs(10);
/// A difference beyond this, less its error, is told as an event.
pub const FAR: Duration = Duration::from_millis(500);

/// Answers that are remembered of a site.
const SAMPLES_MAX: usize = 8;
/// An answer that takes longer says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How far two good clocks may drift apart: an older sample is worth less by this part of its age.
const DRIFT_PER_MILLION: u64 = 200;

/// What a clock shows: microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Wall(#[n(0)] pub u64);

/// How far another clock is ahead of this one's, give or take the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// Microseconds; negative if it is behind.
    pub ahead_us: i64,
    /// Microseconds.
    pub error_us: u64,
}

impl Skew {
    /// Whether the clocks differ by more than [`FAR`], whatever the error.
    pub fn is_far(self) -> bool {
        u128::from(self.ahead_us.unsigned_abs().saturating_sub(self.error_us)) > FAR.as_micros()
    }
}

/// A question, or with a clock in it the answer.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Message {
    #[n(0)]
    question: u64,
    #[n(1)]
    wall: Option<Wall>,
}

/// What a message brought about.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is to be sent back.
    Answer(Bytes),
    /// The difference is known, or known better.
    Measured,
    /// The clocks have come to differ by more than [`FAR`].
    Far(Skew),
    /// They do so no longer.
    Near(Skew),
    /// It came too late, or answers no question of this site's.
    Ignored,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Time,
    skew: Skew,
}

impl Sample {
    /// As it is worth later.
    fn aged(&self, now: Time) -> Skew {
        let age = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let drift = age / 1_000_000 * DRIFT_PER_MILLION;
        Skew { error_us: self.skew.error_us.saturating_add(drift), ..self.skew }
    }
}

#[derive(Debug, Default)]
struct Peer {
    asked: Option<(u64, Time)>,
    last: Option<Time>,
    samples: VecDeque<Sample>,
    far: bool,
}

impl Peer {
    fn skew(&self, now: Time) -> Option<Skew> {
        self.samples.iter().map(|sample| sample.aged(now)).min_by_key(|skew| skew.error_us)
    }

    fn take(&mut self, new: Sample) {
        // Both can't be right: a clock was set between them.
        let agrees = |old: &Sample| {
            let old = old.aged(new.at);
            let apart = old.ahead_us.saturating_sub(new.skew.ahead_us).unsigned_abs();
            apart <= old.error_us.saturating_add(new.skew.error_us)
        };
        self.samples.retain(agrees);
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(new);
    }
}

/// The clocks of the sites that this one is linked with.
#[derive(Debug, Default)]
pub struct Clocks {
    peers: BTreeMap<SiteId, Peer>,
    next: u64,
}

impl Clocks {
    /// Questions that are due, for the sites that are linked now; the others are forgotten.
    pub fn due(&mut self, now: Time, linked: &[SiteId]) -> Vec<(SiteId, Bytes)> {
        self.peers.retain(|site, _| linked.contains(site));
        let mut due = Vec::new();
        for site in linked {
            let peer = self.peers.entry(*site).or_default();
            if peer.last.is_some_and(|last| now.since(last) < ASK_EVERY) {
                continue;
            }
            self.next += 1;
            peer.asked = Some((self.next, now));
            peer.last = Some(now);
            due.push((*site, codec::encode(&Message { question: self.next, wall: None })));
        }
        due
    }

    /// A message of another site's has come; `wall` is what this site's clock shows.
    ///
    /// # Errors
    ///
    /// It is none. Nothing has changed.
    pub fn handle_message(
        &mut self,
        now: Time,
        wall: Wall,
        from: SiteId,
        body: &[u8],
    ) -> Result<Outcome, DecodeError> {
        let message: Message = codec::decode_within(body, MESSAGE_BYTES_MAX)?;
        let Some(theirs) = message.wall else {
            let answer = Message { question: message.question, wall: Some(wall) };
            return Ok(Outcome::Answer(codec::encode(&answer)));
        };
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(Outcome::Ignored) };
        let Some((_, asked)) = peer.asked.take_if(|(question, _)| *question == message.question) else {
            return Ok(Outcome::Ignored);
        };
        let round_trip = now.since(asked);
        if round_trip > ANSWER_WITHIN {
            return Ok(Outcome::Ignored);
        }
        let half = u64::try_from(round_trip.as_micros() / 2).unwrap_or(u64::MAX);
        let ours = i128::from(wall.0) - i128::from(half);
        let ahead = i128::from(theirs.0) - ours;
        let ahead_us = i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX });
        // One more for what is cut off.
        peer.take(Sample { at: now, skew: Skew { ahead_us, error_us: half + 1 } });
        let Some(skew) = peer.skew(now) else { return Ok(Outcome::Measured) };
        Ok(match (std::mem::replace(&mut peer.far, skew.is_far()), skew.is_far()) {
            (false, true) => Outcome::Far(skew),
            (true, false) => Outcome::Near(skew),
            (true, true) | (false, false) => Outcome::Measured,
        })
    }

    /// How far a site's clock is ahead of this one's, if it is linked and has answered.
    pub fn skew(&self, now: Time, site: SiteId) -> Option<Skew> {
        self.peers.get(&site)?.skew(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: SiteId = SiteId(2);
    /// What this site's clock shows at time 0.
    const START: u64 = 1_800_000_000_000_000;

    fn wall(at: Time) -> Wall {
        Wall(START + at.as_nanos() / 1_000)
    }

    /// A question that takes `there`, and an answer that takes `back`, from a clock that is `ahead` microseconds ahead.
    fn ask(clocks: &mut Clocks, at: Time, there: u64, back: u64, ahead: i64) -> Outcome {
        let due = clocks.due(at, &[OTHER]);
        assert_eq!(due.len(), 1);
        let met = at + Duration::from_micros(there);
        let theirs = Wall(wall(met).0.saturating_add_signed(ahead));
        let answered = Clocks::default().handle_message(met, theirs, SiteId(1), &due[0].1);
        let Ok(Outcome::Answer(answer)) = answered else { panic!("{answered:?}") };
        let now = met + Duration::from_micros(back);
        clocks.handle_message(now, wall(now), OTHER, &answer).expect("readable")
    }

    fn later(n: u64) -> Time {
        Time::ZERO + ASK_EVERY * n as u32
    }

    #[test]
    fn the_true_difference_is_within_the_error_and_the_best_answer_counts() {
        let mut clocks = Clocks::default();
        let ways = [(900, 100), (100, 90_000), (5_000, 1), (150, 160), (0, 0), (70_000, 20)];
        let mut best = u64::MAX;
        for (n, (there, back)) in ways.into_iter().enumerate() {
            let at = later(n as u64);
            assert_eq!(ask(&mut clocks, at, there, back, -123_456), Outcome::Measured);
            let skew = clocks.skew(at, OTHER).expect("measured");
            assert!((skew.ahead_us + 123_456).unsigned_abs() <= skew.error_us, "{skew:?}");
            best = best.min((there + back) / 2 + 1);
            // What older answers are worth less by is little.
            assert!(skew.error_us <= best + 60 * DRIFT_PER_MILLION, "{skew:?} {best}");
        }
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_at_the_next_answer_and_told_once_each_way() {
        let mut clocks = Clocks::default();
        assert_eq!(ask(&mut clocks, later(0), 50, 50, 0), Outcome::Measured);
        let Outcome::Far(skew) = ask(&mut clocks, later(1), 4_000, 9_000, 2_000_000) else {
            panic!("not told")
        };
        assert!((skew.ahead_us - 2_000_000).unsigned_abs() <= skew.error_us);
        assert_eq!(ask(&mut clocks, later(2), 50, 50, 2_000_000), Outcome::Measured);
        let Outcome::Near(skew) = ask(&mut clocks, later(3), 50, 50, -400_000) else { panic!("not told") };
        assert!(!skew.is_far());
        // It may be near, within the error.
        assert_eq!(ask(&mut clocks, later(4), 950_000, 950_000, 1_000_000), Outcome::Measured);
    }

    #[test]
    fn nothing_counts_but_the_answer_to_the_last_question_in_time() {
        let mut clocks = Clocks::default();
        let due = clocks.due(Time::ZERO, &[OTHER]);
        assert!(clocks.due(Time::ZERO + ASK_EVERY / 2, &[OTHER]).is_empty(), "not again so soon");
        let answer = |question| codec::encode(&Message { question, wall: Some(Wall(u64::MAX)) });
        let mut handle = |at, from, body: &[u8]| clocks.handle_message(at, Wall(0), from, body);
        assert!(matches!(handle(Time::ZERO, OTHER, &answer(77)), Ok(Outcome::Ignored)));
        assert!(matches!(handle(Time::ZERO, SiteId(9), &answer(1)), Ok(Outcome::Ignored)));
        assert!(handle(Time::ZERO, OTHER, b"garbage").is_err());
        assert!(handle(Time::ZERO, OTHER, &[0; MESSAGE_BYTES_MAX + 1]).is_err());
        let late = Time::ZERO + ANSWER_WITHIN * 2;
        assert!(matches!(handle(late, OTHER, &answer(1)), Ok(Outcome::Ignored)));
        assert!(clocks.skew(late, OTHER).is_none());
        assert_eq!(due.len(), 1);
        // A clock beyond reason is shown as far as numbers go.
        clocks.due(late, &[OTHER]);
        let Ok(Outcome::Far(skew)) = clocks.handle_message(late, Wall(0), OTHER, &answer(2)) else {
            panic!()
        };
        assert_eq!(skew.ahead_us, i64::MAX);
        // Who is not linked is forgotten.
        clocks.due(late, &[]);
        assert!(clocks.skew(late, OTHER).is_none() && clocks.peers.is_empty());
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        // {0: 7, 5: "x"}: a question.
        let body = [0xa2, 0x00, 0x07, 0x05, 0x61, 0x78];
        let outcome = Clocks::default().handle_message(Time::ZERO, Wall(5), OTHER, &body);
        assert!(matches!(outcome, Ok(Outcome::Answer(_))), "{outcome:?}");
    }
}
