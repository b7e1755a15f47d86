//! Whether a service's group has a majority here, and since when it has none: what a site knows of its being in a minority.

use durable::{Mode, Why};
use stack::Node;
use wire::{GroupName, Time};

use super::ask::why_not;
use super::served::Served;
use super::{HostError, Hosting, PATIENCE, Stage};
use crate::service::Standing;

/// A group is apart when it was without a majority for so long, without interruption: as long as whoever asks something of it
/// waits for one.
const APART_AFTER: std::time::Duration = PATIENCE;

/// How a group stands, and since when it lacks a majority.
#[derive(Debug, Default)]
pub(super) struct Stands {
    lacks_since: Option<Time>,
    /// It was active since the site started. Before, the state is that of a checkpoint, and nobody here knows what is behind it.
    was_active: bool,
    now: Standing,
}

impl Stands {
    /// Whether nobody waits for it any more.
    pub(super) fn is_apart(&self) -> bool {
        self.now == Standing::Apart
    }

    /// Looks again. The standing, if it is another now.
    fn look(&mut self, now: Time, is_active: bool, lacks: bool) -> Option<Standing> {
        self.lacks_since = lacks.then(|| self.lacks_since.unwrap_or(now));
        self.was_active |= is_active;
        let lacks_long = self.lacks_since.is_some_and(|since| now.since(since) >= APART_AFTER);
        let is_apart = self.was_active && lacks_long;
        let standing = match (is_active, is_apart) {
            (true, _) => Standing::Active,
            (false, true) => Standing::Apart,
            (false, false) => Standing::Waiting,
        };
        let before = std::mem::replace(&mut self.now, standing);
        (before != standing).then_some(standing)
    }
}

impl Hosting {
    /// Looks how a service's group stands, and tells the service of a change. What waits for a group that is apart is refused.
    pub(super) fn look_at_standing(&mut self, node: &Node, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        let Stage::Open(_, served @ Served::Service(..)) = &mut hosted.stage else { return };
        let lacks = lacks_majority(hosted.mode, || node.status().primary);
        let Some(standing) = hosted.stands.look(now, hosted.mode == Mode::Active, lacks) else { return };
        tracing::info!(group = %name, ?standing, "how a service's group stands");
        served.stands(standing);
        if standing == Standing::Apart {
            let why = why_not(&hosted.mode);
            let waiting = std::mem::take(&mut hosted.waiting);
            waiting.into_iter().for_each(|(_, ask)| ask.refuse(HostError::NotActive(why.clone())));
        }
    }
}

/// Whether this side has no majority, as far as can be known. A group that agrees on where to go on, or that the site has not joined
/// yet while it is in the cluster's majority, only takes its time.
fn lacks_majority(mode: Mode, is_primary: impl FnOnce() -> bool) -> bool {
    match mode {
        Mode::Active => false,
        Mode::ReadOnly(Why::NotPrimary) => true,
        Mode::ReadOnly(Why::Stores { here, needed }) => here < needed,
        Mode::ReadOnly(Why::NoView) => !is_primary(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_group_is_apart_when_it_lacks_a_majority_for_long_and_not_when_it_does_again_and_again() {
        let mut stands = Stands::default();
        let at = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        let long = APART_AFTER.as_millis() as u64;
        assert_eq!(stands.look(at(0), true, false), Some(Standing::Active));
        assert_eq!(stands.look(at(100), false, true), Some(Standing::Waiting));
        assert_eq!(stands.look(at(long), false, true), None);
        // It has one for a moment, though nobody is answered in it.
        assert_eq!(stands.look(at(long + 50), false, false), None);
        assert_eq!(stands.look(at(long + 100), false, true), None);
        assert_eq!(stands.look(at(2 * long), false, true), None);
        assert_eq!(stands.look(at(2 * long + 100), false, true), Some(Standing::Apart));
        assert_eq!(stands.look(at(3 * long), false, true), None);
        assert_eq!(stands.look(at(3 * long + 1), true, false), Some(Standing::Active));
    }

    #[test]
    fn a_site_that_starts_alone_does_not_serve_what_its_last_checkpoint_has() {
        let mut stands = Stands::default();
        for long in 0..3 {
            assert_eq!(stands.look(Time::ZERO + APART_AFTER * long, false, true), None);
        }
        assert!(!stands.is_apart());
    }

    #[test]
    fn who_takes_its_time_has_a_majority() {
        let stores = |here, needed| Mode::ReadOnly(Why::Stores { here, needed });
        assert!(!lacks_majority(Mode::Active, || false));
        assert!(lacks_majority(Mode::ReadOnly(Why::NotPrimary), || true));
        assert!(lacks_majority(stores(1, 2), || true) && !lacks_majority(stores(2, 2), || true));
        // Nothing is known of its stores yet.
        assert!(!lacks_majority(stores(0, 0), || true));
        assert!(!lacks_majority(Mode::ReadOnly(Why::NoView), || true));
        assert!(lacks_majority(Mode::ReadOnly(Why::NoView), || false));
    }
}
