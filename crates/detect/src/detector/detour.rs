//! Around a broken link: a live site whose direct path is cut is reached through a common neighbour
//! (C15, schedule 9). The direct path is tried again and again; a path that flaps is trusted more slowly
//! each time.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{SiteId, Time};

use super::peer::{Broken, Peer, Route};
use super::{BAD_LINK, Detector, Event, Path};
use crate::message::Body;

/// How often a broken direct path is tried.
const RETRY: Duration = Duration::from_millis(500);
/// Direct round trips in a row that make a path good.
const GOOD_WANTED: u32 = 2;
/// The other end's word that it hears nothing is good for this long.
const DEAF: Duration = Duration::from_secs(3);
/// The longest back-off between two reports of one bad link.
const BAD_LINK_AFTER_MAX: Duration = Duration::from_secs(600);

impl Detector {
    /// The best common neighbour: the most senior among those about as near as the nearest.
    pub(super) fn best_neighbour(&self, site: SiteId, hearers: &BTreeMap<SiteId, bool>) -> Option<SiteId> {
        let able = hearers.iter().filter(|(_, direct)| **direct).filter_map(|(other, _)| {
            let peer = self.peers.get(other).filter(|peer| *other != site && peer.is_good_neighbour())?;
            Some((peer.rank, peer.trip.smoothed().unwrap_or_default(), *other))
        });
        let able: Vec<(usize, Duration, SiteId)> = able.collect();
        let nearest = able.iter().map(|(_, trip, _)| *trip).min()?;
        let near = nearest * 2 + Duration::from_millis(1);
        able.into_iter().filter(|(_, trip, _)| *trip <= near).min().map(|(_, _, other)| other)
    }

    /// The direct path to a live site does not work. `own`: this site has seen it itself.
    pub(super) fn path_broke(&mut self, now: Time, site: SiteId, own: bool, via: Option<SiteId>) {
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        let before = match &mut peer.route {
            Route::Direct => {
                peer.flap.broke(now);
                let deaf = (!own).then_some(now);
                let retry = now + RETRY;
                let (since, bad_link, good, unreachable) = (now, None, 0, false);
                peer.route =
                    Route::Broken(Broken { own, deaf, via, since, unreachable, bad_link, retry, good });
                None
            }
            Route::Broken(broken) => {
                broken.own |= own;
                broken.good = 0;
                // What this site saw itself was seen by way of the old neighbour.
                let next = if own { via } else { via.or(broken.via) };
                std::mem::replace(&mut broken.via, next)
            }
        };
        self.via_changed(now, site, before);
    }

    /// Whether the last inquiry found anybody who reaches the site.
    pub(super) fn note_unreachable(&mut self, site: SiteId, unreachable: bool) {
        if let Some(Route::Broken(broken)) = self.peers.get_mut(&site).map(|peer| &mut peer.route) {
            broken.unreachable = unreachable;
        }
    }

    /// The other end of a path told whether it hears this one.
    pub(super) fn other_end_says(&mut self, now: Time, site: SiteId, path: Path, deaf: bool) {
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        match (&mut peer.route, path) {
            (Route::Direct, Path::Via(via)) if deaf => self.path_broke(now, site, false, Some(via)),
            (Route::Direct, Path::Direct | Path::Via(_)) => {}
            (Route::Broken(broken), Path::Direct | Path::Via(_)) => {
                broken.deaf = deaf.then_some(now);
                if let (None, Path::Via(via)) = (broken.via, path) {
                    self.path_broke(now, site, false, Some(via));
                }
            }
        }
    }

    /// A probe went and its answer came by the direct path.
    pub(super) fn direct_works(&mut self, now: Time, site: SiteId) {
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        let hold = peer.flap.hold();
        let Route::Broken(broken) = &mut peer.route else { return };
        broken.good += 1;
        // Patience with a path that flaps is for who has another.
        if broken.good < GOOD_WANTED || (broken.via.is_some() && now.since(broken.since) < hold) {
            return;
        }
        broken.own = false;
        let told_deaf = broken.deaf.is_some_and(|at| now.since(at) < DEAF);
        if told_deaf {
            return;
        }
        let told = broken.via.is_some();
        peer.flap.restored(now);
        peer.route = Route::Direct;
        peer.bad_link_after = BAD_LINK;
        if told {
            self.events.push_back(Event::DirectPathRestored { peer: site });
        }
        self.probe_both_ways(now, site);
    }

    /// Neighbours that went can carry nothing: looks for others.
    pub(super) fn mend_detours(&mut self, now: Time) {
        let good: Vec<SiteId> =
            self.peers.iter().filter(|(_, peer)| peer.is_good_neighbour()).map(|(&site, _)| site).collect();
        let sites: Vec<SiteId> = self.peers.keys().copied().collect();
        for site in sites {
            let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { continue };
            let Route::Broken(broken) = &mut peer.route else { continue };
            if let Some(via) = broken.via.filter(|via| !good.contains(via)) {
                broken.via = None;
                // Without a neighbour the probe goes direct; its silence asks everybody again.
                peer.monitor.probe_now(now, true);
                self.via_changed(now, site, Some(via));
            }
        }
    }

    /// Tries the direct path again, and tells of a neighbour missed for too long.
    pub(super) fn fire_route(&mut self, now: Time, site: SiteId) {
        let me = (self.rank, self.me);
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        let it = (peer.rank, peer.life);
        let Route::Broken(broken) = &mut peer.route else { return };
        if broken.bad_link.is_some_and(|at| at <= now) {
            peer.bad_link_after = (peer.bad_link_after * 2).min(BAD_LINK_AFTER_MAX);
            broken.bad_link = Some(now + peer.bad_link_after);
            // A site that nobody reaches is the bad end itself, however senior.
            let it_goes = me.0 < it.0 || broken.unreachable;
            let ((_, senior), (_, junior)) = if it_goes { (me, it) } else { (it, me) };
            self.events.push_back(Event::BadLink { junior, senior });
        }
        let Some(peer) = self.peers.get_mut(&site) else { return };
        let Route::Broken(broken) = &mut peer.route else { return };
        if broken.retry <= now {
            broken.retry = now + RETRY;
            self.probe_both_ways(now, site);
        }
    }

    fn via_changed(&mut self, now: Time, site: SiteId, before: Option<SiteId>) {
        let Some(peer) = self.peers.get_mut(&site) else { return };
        let bad_link_after = peer.bad_link_after;
        let Route::Broken(broken) = &mut peer.route else { return };
        match broken.via {
            Some(via) => {
                broken.bad_link = None;
                if before != Some(via) {
                    self.events.push_back(Event::DirectPathBroken { peer: site, via });
                    self.probe_both_ways(now, site);
                }
            }
            None => {
                broken.bad_link.get_or_insert(now + bad_link_after);
            }
        }
    }

    /// One probe by the direct path and one by the detour: the first looks whether the path is good again,
    /// the second tells the other end what this one hears.
    fn probe_both_ways(&mut self, now: Time, site: SiteId) {
        let Some(peer) = self.peers.get_mut(&site) else { return };
        let via = match &peer.route {
            Route::Direct => None,
            Route::Broken(broken) => broken.via,
        };
        let paths = [Some(Path::Direct), via.map(Path::Via)];
        for path in paths.into_iter().flatten() {
            let Some(peer) = self.peers.get_mut(&site) else { return };
            let seq = peer.monitor.sent(now, path == Path::Direct);
            let body = probe_body(peer, seq);
            self.counters.probes += 1;
            self.send_by(site, path, body);
        }
    }
}

fn probe_body(peer: &Peer, seq: u64) -> Body {
    Body::AreYouThere { seq, whom: peer.life.incarnation, deaf: peer.deaf() }
}
