//! Whom a site shares with what it holds, for whose disks a client waits, and whom to ask next for what is missing here
//! [Mail 12].
//!
//! ```text
//!  a new view ─▶ enter ─▶ awaited: whose disks a client waits for      call over ─▶ heard: who was silent is late
//!                   └───▶ ask_next: walk through what another has, a stretch at a time ◀── got, failed
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use wire::Time;

use crate::ids::SpoolId;

/// How often another site is asked for what is missing here, though nothing has changed.
const ROUND: Duration = Duration::from_secs(30);
/// One that could not be asked is asked again after so long.
const AGAIN: Duration = Duration::from_secs(3);

/// The other sites of a side, by what their members in the group are called.
#[derive(Clone, Debug)]
pub struct Circle<P> {
    others: BTreeMap<P, Other>,
    /// Who is being asked, and what lies behind.
    walk: Option<(P, SpoolId)>,
}

#[derive(Clone, Copy, Debug)]
struct Other {
    /// It was silent when it should have answered: nobody waits for it before it has answered again.
    is_late: bool,
    /// When to ask it for what is missing here.
    due: Time,
}

impl<P> Default for Circle<P> {
    fn default() -> Circle<P> {
        Circle { others: BTreeMap::new(), walk: None }
    }
}

impl<P: Copy + Ord> Circle<P> {
    /// Of a new view, the others. All are asked for what is missing here.
    pub fn enter(&mut self, now: Time, others: impl IntoIterator<Item = P>) {
        let before = std::mem::take(&mut self.others);
        let other = |of: P| {
            let is_late = before.get(&of).is_some_and(|other| other.is_late);
            (of, Other { is_late, due: now })
        };
        self.others = others.into_iter().map(other).collect();
        self.walk = None;
    }

    /// Nobody is in reach.
    pub fn leave(&mut self) {
        self.others.clear();
        self.walk = None;
    }

    /// Those whose disks a client waits for.
    pub fn awaited(&self) -> Vec<P> {
        let awaited = self.others.iter().filter(|(_, other)| !other.is_late);
        awaited.map(|(of, _)| *of).collect()
    }

    /// Who has been waited for in vain. It will ask for what it has missed by itself.
    pub fn silent(&mut self, of: P) {
        if let Some(other) = self.others.get_mut(&of) {
            other.is_late = true;
        }
    }

    /// Whom to ask now for what is missing here behind a name. Nobody else is asked before that one has answered, or failed.
    pub fn ask_next(&mut self, now: Time) -> Option<(P, SpoolId)> {
        if self.walk.is_none() {
            let due = self.others.iter().filter(|(_, other)| other.due <= now);
            self.walk = due.min_by_key(|(of, other)| (other.due, **of)).map(|(of, _)| (*of, SpoolId::FIRST));
        }
        self.walk
    }

    /// It has answered: there is no more up to here. False if that is no answer to what it was asked, which ended with `upto`.
    pub fn got(&mut self, now: Time, of: P, reached: SpoolId, upto: SpoolId) -> bool {
        let Some((_, after)) = self.walk.filter(|(asked, _)| *asked == of) else { return true };
        if reached <= after || reached > upto {
            self.failed(now, of);
            return false;
        }
        let Some(other) = self.others.get_mut(&of) else { return true };
        other.is_late = false;
        self.walk = Some((of, reached));
        if reached == SpoolId::LAST {
            other.due = now + ROUND;
            self.walk = None;
        }
        true
    }

    /// It has not answered, or what it has does not fit here.
    pub fn failed(&mut self, now: Time, of: P) {
        if let Some(other) = self.others.get_mut(&of) {
            other.due = now + AGAIN;
        }
        self.walk.take_if(|(asked, _)| *asked == of);
    }

    /// When somebody is to be asked.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.others.values().map(|other| other.due).min()
    }

    /// How many others there are, and how many of them are late.
    pub fn count(&self) -> (usize, usize) {
        let late = self.others.values().filter(|other| other.is_late).count();
        (self.others.len(), late)
    }
}
