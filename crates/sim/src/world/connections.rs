//! How connections come up, break, and are noticed to be broken, at each end by itself.

use std::time::Duration;

use wire::Incarnation;

use super::network::{Epoch, Way};
use super::site::{Input, Slot};
use super::{Death, Event, World};
use crate::host::{Connection, Host};

impl<H: Host> World<H> {
    /// The end `way.from` of a connection to a site that has just died.
    pub(super) fn lose_peer(&mut self, way: Way, death: Death) {
        if let Some(epoch) = self.network.end(way.back()) {
            self.network.closed(way.back(), epoch);
        }
        let Some(epoch) = self.network.end(way) else { return };
        if death == Death::Process && self.network.open(way.back()) {
            let latency = self.network.latency(way.back(), &mut self.network_dice);
            self.at(self.now + latency, Event::Hangup { way, epoch });
        } else {
            let patience = self.network.patience(&mut self.network_dice);
            self.at(self.now + patience, Event::Patience { way, epoch });
        }
    }

    /// The end `way.from` gives a connection up.
    pub(super) fn hang_up(&mut self, way: Way, epoch: Epoch) {
        if !self.network.closed(way, epoch) {
            return;
        }
        if self.running(way.from) {
            let input = Input::Connection { peer: way.to, connection: Connection::Closed };
            let boot = Some(self.slots[way.from].boot);
            self.arrive(way.from, boot, input);
        }
        if self.network.end(way.back()) == Some(epoch) {
            if self.network.open(way) {
                let latency = self.network.latency(way, &mut self.network_dice);
                self.at(self.now + latency, Event::Hangup { way: way.back(), epoch });
            } else {
                let patience = self.network.patience(&mut self.network_dice);
                self.at(self.now + patience, Event::Patience { way: way.back(), epoch });
            }
        }
        self.dial_soon(way.from, way.to, Duration::from_millis(30));
    }

    pub(super) fn dial_soon(&mut self, a: usize, b: usize, mean: Duration) {
        let (low, high) = (a.min(b), a.max(b));
        let dialling = &mut self.dialling[low * self.model.sites + high];
        if !std::mem::replace(dialling, true) {
            let wait = self.network_dice.wait(mean);
            self.at(self.now + wait, Event::Dial { low, high });
        }
    }

    /// Two sites try to connect, unless both are down.
    pub(super) fn dial(&mut self, low: usize, high: usize) {
        self.dialling[low * self.model.sites + high] = false;
        let ways = [Way { from: low, to: high }, Way { from: high, to: low }];
        let ends = ways.map(|way| self.network.end(way));
        if (ends[0].is_some() && ends[0] == ends[1]) || !(self.running(low) || self.running(high)) {
            return;
        }
        let reachable = ways.iter().all(|way| self.network.open(*way));
        let awake = |slot: &Slot<H>| slot.host.is_some() && slot.backlog.is_none();
        if reachable && awake(&self.slots[low]) && awake(&self.slots[high]) {
            return self.connect(ways, ends);
        }
        for (way, end) in ways.into_iter().zip(ends) {
            if end.is_none() && awake(&self.slots[way.from]) {
                let nobody = self.slots[way.to].host.is_none() && self.slots[way.to].machine_up;
                let refused = reachable && nobody;
                self.reach_if(refused, "connection refused");
                self.reach_if(!refused, "connection dialled in vain");
                let connection = if refused { Connection::Refused } else { Connection::Silent };
                self.take(way.from, Input::Connection { peer: way.to, connection });
            }
        }
        self.dial_soon(low, high, Duration::from_millis(150));
    }

    fn connect(&mut self, ways: [Way; 2], ends: [Option<Epoch>; 2]) {
        for (way, end) in ways.into_iter().zip(ends) {
            if let Some(old) = end {
                self.network.closed(way, old);
                self.take(way.from, Input::Connection { peer: way.to, connection: Connection::Closed });
            }
        }
        let epoch = self.network.connect();
        for way in ways {
            self.network.opened(self.now, way, epoch);
        }
        for way in ways {
            let incarnation = Incarnation(self.slots[way.to].disk.incarnation);
            // The first of the two may crash while it is told, and then there is nothing to tell the other.
            if self.network.end(way) == Some(epoch) {
                let connection = Connection::Up(incarnation);
                self.take(way.from, Input::Connection { peer: way.to, connection });
            }
        }
    }
}
