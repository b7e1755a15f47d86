//! Time-outs, the bound they make, and a monitor's doubt in itself.

use std::time::Duration;

use wire::{SiteId, Time};

use super::peer::Peer;
use super::{Detector, Event};
use crate::message::{Body, Sign};

const ROUND_TRIP_FLOOR: Duration = Duration::from_millis(20);
const ROUND_TRIP_CEILING: Duration = Duration::from_secs(2);
/// The round trip to a site that never answered a probe yet.
const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(50);
/// How often in a row a small lateness is forgiven; then a silence counts all the same, or an always busy
/// site would never find anybody failed.
const FORGIVEN_MAX: u32 = 8;

impl Detector {
    /// `R` of the protocol's timers (A7): longer than a round trip to any member is likely to take.
    pub fn round_trip_bound(&self) -> Duration {
        let trips = self.peers.values().filter(|peer| peer.is_watched());
        let longest = trips.map(|peer| peer.trip.timeout().unwrap_or(ROUND_TRIP_UNKNOWN)).max();
        let measured = longest.unwrap_or(ROUND_TRIP_UNKNOWN) + self.lateness.margin();
        measured.clamp(ROUND_TRIP_FLOOR, ROUND_TRIP_CEILING)
    }

    /// The longest that finding a failure takes with what is measured now
    /// ([`Settings::detection_bound`](crate::Settings::detection_bound)).
    pub fn detection_bound(&self) -> Duration {
        self.settings.detection_bound(self.longest_timeout())
    }

    /// How long this site's answer to a probe may take.
    pub(super) fn timeout(&self, site: SiteId) -> Duration {
        self.peers.get(&site).map_or(self.settings.timeout_ceiling, |peer| self.timeout_of(peer))
    }

    /// How long everybody has to refute a suspicion.
    pub(super) fn refutation(&self) -> Duration {
        self.settings.refutation(self.longest_timeout())
    }

    /// Must come first in every `handle_*`: if this site was late itself, it has no right to call others so.
    pub(super) fn wake(&mut self, now: Time) {
        let Some(late) = self.armed.map(|armed| now.since(armed)) else { return };
        if late <= self.settings.timeout_floor / 2 {
            return;
        }
        let slept = late >= self.settings.probe_interval;
        if !slept && self.forgiven >= FORGIVEN_MAX {
            return;
        }
        self.armed = Some(now);
        self.forgiven += 1;
        self.counters.forgiven += 1;
        self.lateness.sample(late.min(self.settings.timeout_ceiling / 8));
        let refutation = self.refutation();
        for peer in self.peers.values_mut().filter(|peer| peer.is_watched()) {
            peer.monitor.forgive(now);
            forgive_case(peer, now, refutation);
        }
        if slept {
            self.events.push_back(Event::WokeLate { by: late });
            // The others may have begun to doubt: do not wait to be asked.
            for site in self.inquiry(self.me.site) {
                self.send(site, Body::Alive {});
            }
        }
    }

    /// Measures this firing's lateness. [`Detector::wake`] has dealt with what is beyond bearing.
    pub(super) fn measure_lateness(&mut self, now: Time) {
        let Some(armed) = self.armed else { return };
        if armed <= now {
            let late = now.since(armed).min(self.settings.timeout_ceiling / 8);
            self.lateness.sample(late);
            if late <= self.settings.timeout_floor / 2 {
                self.forgiven = self.forgiven.saturating_sub(1);
            }
        }
    }

    /// Real-time mode: says when the measured times cannot hold the bound any more, and when again they do.
    pub(super) fn judge_bound(&mut self) {
        let Some(bound) = self.settings.bound else {
            self.holds = true;
            return;
        };
        let watched = self.peers.values().filter(|peer| peer.is_watched() && peer.trip.smoothed().is_some());
        let Some(longest) = watched.map(|peer| self.timeout_of(peer)).max() else { return };
        let measured = self.settings.detection_bound(longest);
        if self.holds && measured > bound {
            self.holds = false;
            self.events.push_back(Event::CannotHold { bound, measured });
        } else if !self.holds && measured * 10 <= bound * 9 {
            // A tenth below, so that a measurement near the bound does not flap.
            self.holds = true;
            self.events.push_back(Event::Holds { bound });
        }
    }

    fn timeout_of(&self, peer: &Peer) -> Duration {
        let unknown = self.settings.timeout_floor * 2;
        let measured = peer.trip.timeout().unwrap_or(unknown) + self.lateness.margin();
        measured.clamp(self.settings.timeout_floor, self.settings.timeout_ceiling)
    }

    fn longest_timeout(&self) -> Duration {
        let watched = self.peers.values().filter(|peer| peer.is_watched());
        watched.map(|peer| self.timeout_of(peer)).max().unwrap_or(self.settings.timeout_floor)
    }
}

/// An inquiry gets its whole time again; a silence that this site thought it saw is forgotten.
fn forgive_case(peer: &mut Peer, now: Time, refutation: Duration) {
    let Some(case) = &mut peer.case else { return };
    match case.mine {
        Some(Sign::OneWay | Sign::Silence) => peer.case = None,
        Some(Sign::Closed | Sign::Refused) | None => {
            case.resend = case.resend.is_some().then_some(now);
            case.resends = 0;
            case.deadline = now + refutation;
            case.patience = case.deadline;
        }
    }
}
