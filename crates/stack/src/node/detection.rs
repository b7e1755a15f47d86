//! Who is heard, who has failed, and by which way packets go: what detection says, and what the node makes of it.

use std::time::Duration;

use detect::{Event as Detected, Evidence, Path};
use membership::step::{Why, Witnesses};
use wire::frame::{self, Kind};
use wire::{SiteIncarnation, Time};

use super::Node;
use crate::api::{Channel, Event};

/// How often the set of sites heard is looked at.
const HEARD_EVERY: Duration = Duration::from_millis(50);

impl Node {
    pub(super) fn settle_detection(&mut self, now: Time) -> bool {
        let mut busy = false;
        while let Some(transmit) = self.detector.poll_transmit() {
            let by = match transmit.path {
                Path::Direct => None,
                Path::Via(neighbour) => Some(neighbour),
            };
            let probe = frame::join(Kind::Detect, 0, &transmit.body);
            self.peers.send_bare(transmit.to, Channel::Datagram, by, probe);
        }
        while let Some(event) = self.detector.poll_event() {
            busy = true;
            self.detected(now, event);
        }
        busy
    }

    fn detected(&mut self, now: Time, event: Detected) {
        match event {
            Detected::Failed { who, evidence } => {
                self.note(format!("{who} is established as failed: {evidence:?}"));
                self.trace("detection: failed");
                self.establish(now, who, Why::Failed, witnesses(evidence));
                self.interface.handle_unreachable(now, who.site);
            }
            Detected::Left { who } => {
                self.note(format!("{who} shuts down"));
                self.trace("detection: announced shutdown");
                self.establish(now, who, Why::Left, Witnesses::Two);
                self.interface.handle_unreachable(now, who.site);
            }
            Detected::DirectPathBroken { peer, via } => {
                self.note(format!("the direct path to {peer} is broken: going through {via}"));
                self.trace("detection: detour");
                self.peers.set_detour(now, peer, Some(via));
            }
            Detected::DirectPathRestored { peer } => {
                self.note(format!("the direct path to {peer} works again"));
                self.trace("detection: direct path restored");
                self.peers.set_detour(now, peer, None);
            }
            Detected::BadLink { junior, senior } => {
                self.note(format!("nobody connects {senior} and {junior}: the junior is to go"));
                self.trace("detection: bad link");
                self.establish(now, junior, Why::Partitioned, Witnesses::Two);
            }
            Detected::Reconnect { site } => self.events.push_back(Event::Reconnect(site)),
            Detected::WokeLate { by } => {
                self.note(format!("this site was held up for {} ms", by.as_millis()));
                self.trace("detection: woke late");
            }
            Detected::CannotHold { bound, measured } => self.note(format!(
                "detection within {} ms cannot be held: it may take {} ms now",
                bound.as_millis(),
                measured.as_millis()
            )),
            Detected::Holds { bound } => {
                self.note(format!("detection within {} ms holds again", bound.as_millis()));
            }
        }
    }

    fn establish(&mut self, now: Time, who: SiteIncarnation, why: Why, witnesses: Witnesses) {
        if let Some(service) = &mut self.service {
            service.establish(now, who, why, witnesses);
        }
    }

    /// Compares who is heard with who was, and lets time-outs follow what is measured. An attached site has no use for
    /// either.
    pub(super) fn look_around(&mut self, now: Time) {
        self.heard_due = now + HEARD_EVERY;
        let Some(service) = &mut self.service else { return };
        service.set_round_trip_bound(self.detector.round_trip_bound());
        // Twenty times a second, and nearly always as before: nothing is built to see that.
        let mut count = 0;
        let mut heard = self.detector.heard(now).inspect(|_| count += 1);
        let as_before = heard.all(|life| self.heard.contains(&life.site));
        drop(heard);
        if as_before && count == self.heard.len() {
            return;
        }
        let heard = self.detector.heard(now).map(|life| life.site).collect();
        if heard != self.heard {
            self.heard = heard;
            service.handle_heard(now, &self.heard);
        }
    }
}

/// On how many sites' word a failure is told to the others (C15).
fn witnesses(evidence: Evidence) -> Witnesses {
    match evidence {
        Evidence::TwoWitnesses { .. } | Evidence::NewLife { .. } => Witnesses::Two,
        Evidence::Unrefuted { .. } => Witnesses::One,
    }
}

/// Detection settings that find a silent site within this time on a healthy network.
pub(super) fn settings(within: Duration) -> detect::Settings {
    let default = detect::Settings::default();
    let usual = default.detection_bound(default.timeout_floor);
    let scale = |d: Duration| {
        Duration::from_nanos(
            u64::try_from(d.as_nanos() * within.as_nanos() / usual.as_nanos().max(1)).unwrap_or(u64::MAX),
        )
    };
    if within >= usual {
        return default;
    }
    detect::Settings {
        probe_interval: scale(default.probe_interval),
        timeout_floor: scale(default.timeout_floor),
        ..default
    }
}
