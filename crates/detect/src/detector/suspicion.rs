//! From a suspicion to a failure, or to its refutation (C15, schedules 9 and 10).
//!
//! A site that does not hear another says so to the sites nearest before the suspect on the ring, and asks
//! the suspect, by every path, to refute. Each asked site looks for itself: it hears the suspect and says so,
//! or it becomes a witness. Two witnesses whom nobody contradicts, or one whose request to refute stays
//! unanswered, establish the failure; anybody who hears the suspect prevents it, and then only the path
//! between the two is broken.

use wire::{Bug, SiteId, SiteIncarnation, Time};

use super::peer::{Case, Peer, Route, Standing};
use super::{Connection, Detector, Event, Evidence, FAN_OUT_MAX, Path};
use crate::message::{Body, Sign};

/// How often a suspicion is told again while it waits for answers.
const RESENDS_MAX: u32 = 4;

impl Detector {
    /// This site does not hear `site`.
    pub(super) fn suspect(&mut self, now: Time, site: SiteId, sign: Sign) {
        let refutation = self.refutation();
        let resend = now + self.timeout(site);
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        let asked_by_other = peer.case.as_ref().is_some_and(|case| !case.witnesses.is_empty());
        let case = peer.case.get_or_insert_with(|| Case::new(now, refutation));
        if case.mine >= Some(sign) {
            return;
        }
        let first = case.mine.is_none();
        case.mine = Some(sign);
        if sign >= Sign::Refused {
            // Its host has answered: a refutation needs no patience with the path.
            case.deadline = case.deadline.min(now + (resend.since(now)) * 2);
        }
        let who = peer.life;
        case.resend = Some(resend);
        if first {
            case.patience = resend;
        }
        let said = if asked_by_other { Body::Witness { who, sign } } else { Body::Suspect { who, sign } };
        self.tell_inquiry(who, said);
        self.ask_to_refute(who);
        if first {
            self.counters.suspicions += 1;
            self.rewatch(now);
        }
        self.judge(now, site);
    }

    /// Another site does not hear `who`, and asks.
    pub(super) fn asked_about(
        &mut self,
        now: Time,
        from: SiteId,
        path: Path,
        who: SiteIncarnation,
        sign: Sign,
    ) {
        if who.site == self.me.site {
            if who == self.me {
                self.send_by(from, path, Body::Alive {});
                self.say_alive(from);
            }
            return;
        }
        let timeout = self.timeout(who.site);
        let Some(peer) = self.peers.get(&who.site).filter(|peer| peer.life == who) else { return };
        match peer.standing {
            Standing::Left => return,
            Standing::Failed(_) => return self.send(from, Body::Witness { who, sign: Sign::Silence }),
            Standing::Watched => {}
        }
        let fresh = peer.news.is_some_and(|at| now.since(at) < timeout);
        self.witnessed(now, from, who, sign);
        let Some(peer) = self.peers.get_mut(&who.site).filter(|peer| peer.is_watched()) else { return };
        let mine = peer.case.as_ref().and_then(|case| case.mine);
        let connection = match peer.connection {
            Some(Connection::Closed) => Some(Sign::Closed),
            Some(Connection::Refused) => Some(Sign::Refused),
            Some(Connection::Up(_) | Connection::Silent) | None => None,
        };
        match (mine, connection) {
            (Some(mine), _) => self.send(from, Body::Witness { who, sign: mine }),
            (None, Some(seen)) if sign >= Sign::Closed => self.suspect(now, who.site, seen),
            // After a refused connection, news may be older than the death, and a deaf site talks: then only
            // an answer counts.
            (None, _) if fresh && sign == Sign::Silence => self.vouch(who.site),
            (None, _) => peer.monitor.probe_now(now, sign != Sign::Silence),
        }
    }

    /// Another site has said that it does not hear `who`.
    pub(super) fn witnessed(&mut self, now: Time, from: SiteId, who: SiteIncarnation, sign: Sign) {
        let refutation = self.refutation();
        let Some(peer) = self.peers.get_mut(&who.site) else { return };
        if peer.life != who || !peer.is_watched() || from == who.site {
            return;
        }
        let case = peer.case.get_or_insert_with(|| Case::new(now, refutation));
        case.witnesses.insert(from, sign);
        case.hearers.remove(&from);
        self.judge(now, who.site);
    }

    /// Another site has said that it hears `who`.
    pub(super) fn heard_by(&mut self, now: Time, from: SiteId, who: SiteIncarnation, direct: bool) {
        let Some(peer) = self.peers.get_mut(&who.site) else { return };
        if peer.life != who || !peer.is_watched() || from == who.site {
            return;
        }
        let Some(case) = &mut peer.case else { return };
        case.hearers.insert(from, direct);
        case.witnesses.remove(&from);
        self.judge(now, who.site);
    }

    /// A sign of life of a member. `strong`: it cannot have been sent before the inquiry began.
    pub(super) fn news(&mut self, now: Time, site: SiteId, path: Option<Path>, strong: bool) {
        let Some(peer) = self.peers.get_mut(&site) else { return };
        peer.news = Some(now);
        peer.monitor.heard(now);
        let Some(case) = &peer.case else { return };
        // Talking refutes silence. It does not refute deafness, nor a closed connection: it may be older.
        let mut signs = case.mine.into_iter().chain(case.witnesses.values().copied());
        if !strong && signs.any(|sign| sign != Sign::Silence) {
            return;
        }
        self.refuted(now, site, path);
    }

    /// An answer to a probe: the strongest sign of life if the probe left after the inquiry began.
    pub(super) fn answer(&mut self, now: Time, site: SiteId, path: Path, seq: u64) {
        let Some(peer) = self.peers.get_mut(&site) else { return };
        let Some(answer) = peer.monitor.answered(now, seq) else {
            return self.news(now, site, Some(path), false);
        };
        peer.trip.sample(answer.round_trip);
        let left = now - answer.round_trip;
        let strong = peer.case.as_ref().is_some_and(|case| left >= case.opened);
        let round_trip_direct = answer.direct && path == Path::Direct;
        self.news(now, site, Some(path), strong);
        if round_trip_direct {
            self.direct_works(now, site);
        }
        self.judge_bound();
    }

    /// Says to everybody who may ask that this site lives.
    pub(super) fn say_alive(&mut self, asker: SiteId) {
        self.send_by(asker, Path::Direct, Body::Alive {});
        for via in self.neighbours(asker) {
            self.send_by(asker, Path::Via(via), Body::Alive {});
        }
        for site in self.inquiry(self.me.site) {
            if site != asker {
                self.send(site, Body::Alive {});
                if self.path(site) != Some(Path::Direct) {
                    self.send_by(site, Path::Direct, Body::Alive {});
                }
            }
        }
    }

    pub(super) fn connection_changed(&mut self, now: Time, site: SiteId, connection: Connection) {
        let Some(peer) = self.peers.get_mut(&site) else { return };
        match connection {
            Connection::Up(incarnation) if incarnation == peer.life.incarnation => {
                peer.connection = Some(connection);
                if let Route::Broken(broken) = &mut peer.route {
                    broken.retry = now;
                }
                self.news(now, site, Some(Path::Direct), true);
            }
            // The hello of a life that is over arrived late.
            Connection::Up(_) => {}
            Connection::Closed => {
                peer.connection = Some(connection);
                peer.monitor.probe_now(now, true);
                let told = peer.case.as_ref().and_then(|case| case.witnesses.values().copied().max());
                self.events.push_back(Event::Reconnect { site });
                if told >= Some(Sign::Closed) {
                    self.suspect(now, site, Sign::Closed);
                }
            }
            Connection::Refused => {
                peer.connection = Some(connection);
                peer.monitor.probe_now(now, true);
                self.suspect(now, site, Sign::Refused);
            }
            Connection::Silent => {
                peer.connection = Some(connection);
                peer.monitor.probe_now(now, true);
            }
        }
    }

    /// Tells a suspicion again, or closes an inquiry whose time is up.
    pub(super) fn fire_case(&mut self, now: Time, site: SiteId) {
        self.judge(now, site);
        let timeout = self.timeout(site);
        let Some(peer) = self.peers.get_mut(&site) else { return };
        let who = peer.life;
        let Some(case) = &mut peer.case else { return };
        if let (Some(resend), Some(sign)) = (case.resend, case.mine)
            && resend <= now
        {
            case.resends += 1;
            case.resend = (case.resends < RESENDS_MAX).then_some(now + timeout);
            self.tell_inquiry(who, Body::Suspect { who, sign });
            self.ask_to_refute(who);
        }
    }

    pub(super) fn fail(&mut self, now: Time, site: SiteId, evidence: Evidence) {
        let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.is_watched()) else { return };
        peer.standing = Standing::Failed(now);
        peer.case = None;
        peer.monitor.stop();
        let who = peer.life;
        self.events.push_back(Event::Failed { who, evidence });
        self.rewatch(now);
        self.mend_detours(now);
    }

    /// The neighbours that may carry a packet to `site` when every path is tried: good ones first, then those
    /// whose own path is in doubt, by seniority, bounded.
    fn neighbours(&self, site: SiteId) -> Vec<SiteId> {
        let watched =
            |other: &&SiteId| **other != site && self.peers.get(other).is_some_and(Peer::is_watched);
        let good = |other: &SiteId| self.peers.get(other).is_some_and(Peer::is_good_neighbour);
        let (good, doubtful): (Vec<SiteId>, Vec<SiteId>) =
            self.ring.iter().filter(watched).copied().partition(good);
        good.into_iter().chain(doubtful).take(FAN_OUT_MAX).collect()
    }

    /// Whom a suspicion of `suspect` is put to: the nearest before it on the ring, its monitors first. In a
    /// small view that is everybody.
    pub(super) fn inquiry(&self, suspect: SiteId) -> Vec<SiteId> {
        let Some(at) = self.ring.iter().position(|&site| site == suspect) else { return Vec::new() };
        let len = self.ring.len();
        let before = (1..len).map(|step| self.ring[(at + len - step) % len]);
        let asked = |site: &SiteId| self.peers.get(site).is_some_and(Peer::is_watched);
        before.filter(asked).take(FAN_OUT_MAX).collect()
    }

    /// The rule (C15). Called whenever an inquiry learned something or its time is up.
    fn judge(&mut self, now: Time, site: SiteId) {
        let inquiry = self.inquiry(site);
        let Some(peer) = self.peers.get(&site).filter(|peer| peer.is_watched()) else { return };
        let Some(case) = &peer.case else { return };
        let mine = case.mine.map(|sign| (self.me.site, sign));
        let others = case.witnesses.iter().map(|(&site, &sign)| (site, sign));
        let mut witnesses: Vec<(SiteId, Sign)> =
            mine.into_iter().chain(others).filter(|(_, sign)| *sign > Sign::OneWay).collect();
        // Stable: of equal signs the own one first, then by site.
        witnesses.sort_by_key(|(_, sign)| std::cmp::Reverse(*sign));
        let in_time = now < case.deadline;
        if let (Some(&(witness, sign)), true) = (witnesses.first(), self.config.bugs.has(Bug::SingleWitness))
        {
            return self.fail(now, site, Evidence::Unrefuted { witness, sign });
        }
        let talks =
            case.mine == Some(Sign::OneWay) || case.witnesses.values().any(|sign| *sign == Sign::OneWay);
        if !case.hearers.is_empty() || talks {
            return self.contradicted(now, site, in_time);
        }
        let silent_too = |other: &SiteId| self.peers.get(other).is_none_or(Peer::is_suspected);
        let all_spoke = inquiry.iter().all(|other| case.witnesses.contains_key(other) || silent_too(other));
        match witnesses[..] {
            [first, second, ..]
                if (first.1 >= Sign::Refused && second.1 >= Sign::Closed)
                    || (mine.is_some() && all_spoke && now >= case.patience)
                    || (mine.is_some() && !in_time) =>
            {
                self.fail(now, site, Evidence::TwoWitnesses { first, second });
            }
            [(witness, sign)] if mine.is_some() && !in_time => {
                self.fail(now, site, Evidence::Unrefuted { witness, sign });
            }
            _ if mine.is_none() && !in_time => self.close(site),
            _ => {}
        }
    }

    /// Somebody hears the suspect, or it is heard and only answers nothing: no failure. If this site is cut
    /// off from it, a detour is wanted.
    fn contradicted(&mut self, now: Time, site: SiteId, in_time: bool) {
        let Some(peer) = self.peers.get(&site) else { return };
        let Some(case) = &peer.case else { return };
        let via = self.best_neighbour(site, &case.hearers);
        let unreachable = case.hearers.is_empty() && !case.witnesses.is_empty();
        if case.mine.is_none() {
            if !in_time {
                self.close(site);
            }
        } else if via.is_some() || !in_time {
            self.counters.refuted += 1;
            self.close(site);
            self.path_broke(now, site, true, via);
            self.note_unreachable(site, unreachable);
            self.rewatch(now);
        }
    }

    /// The suspect was heard by this site itself.
    fn refuted(&mut self, now: Time, site: SiteId, path: Option<Path>) {
        let Some(peer) = self.peers.get(&site) else { return };
        let Some(case) = &peer.case else { return };
        let mine = case.mine.is_some();
        if !case.witnesses.is_empty() {
            self.vouch(site);
        }
        self.close(site);
        if mine {
            self.counters.refuted += 1;
            if let Some(Path::Via(via)) = path {
                self.path_broke(now, site, true, Some(via));
            }
            self.rewatch(now);
        }
    }

    /// Says that this site hears `site`.
    fn vouch(&mut self, site: SiteId) {
        let Some(peer) = self.peers.get(&site) else { return };
        let who = peer.life;
        let body = Body::Hear { who, direct: matches!(peer.route, Route::Direct) };
        let askers = peer.case.as_ref().map(|case| case.witnesses.keys().copied().collect::<Vec<_>>());
        self.tell_inquiry(who, body);
        let inquiry = self.inquiry(site);
        for asker in askers.into_iter().flatten().filter(|asker| !inquiry.contains(asker)) {
            self.send(asker, body);
        }
    }

    fn close(&mut self, site: SiteId) {
        if let Some(peer) = self.peers.get_mut(&site) {
            peer.case = None;
        }
    }

    fn tell_inquiry(&mut self, who: SiteIncarnation, body: Body) {
        for site in self.inquiry(who.site) {
            self.send(site, body);
        }
    }

    fn ask_to_refute(&mut self, who: SiteIncarnation) {
        self.send_by(who.site, Path::Direct, Body::Refute { who });
        for via in self.neighbours(who.site) {
            self.send_by(who.site, Path::Via(via), Body::Refute { who });
        }
    }
}
