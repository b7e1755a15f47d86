//! The driver of each host: gives it what comes, takes out what it says, keeps its timer.

use std::time::Duration;

use bytes::Bytes;

use super::disk::Done;
use super::network::{Datagram, Stream, Way};
use super::site::Input;
use super::{Death, Event, Happening, World, index, life_of, site_id};
use crate::coverage::Kind;
use crate::host::{self, Channel, Host};

impl<H: Host> World<H> {
    pub(super) fn arrive(&mut self, site: usize, boot: Option<u64>, input: Input) {
        let slot = &mut self.slots[site];
        if slot.host.is_none() || boot.is_some_and(|boot| boot != slot.boot) {
            return;
        }
        match &mut slot.backlog {
            Some(backlog) => backlog.push(input),
            None => self.take(site, input),
        }
    }

    pub(super) fn take(&mut self, site: usize, input: Input) {
        let World { slots, network, trace, now, .. } = self;
        let slot = &mut slots[site];
        let Some(host) = slot.host.as_mut() else { return };
        let local = slot.clock.local(*now);
        match input {
            Input::Packet { from, on, bytes } => {
                let channel = if on.is_some() { Channel::Stream } else { Channel::Datagram };
                if on.is_some() && network.end(Way { from: site, to: from }) != on {
                    self.reached.insert((Kind::Fault, "stream packet lost with its connection"));
                    return;
                }
                trace.event(*now, [10, site as u64, from as u64], &bytes, || {
                    format!("{} <- {} {channel:?} {}", site_id(site), site_id(from), H::describe(&bytes))
                });
                host.handle_packet(local, site_id(from), channel, bytes);
            }
            Input::Connection { peer, connection } => {
                trace.event(*now, [11, site as u64, peer as u64], &[], || {
                    format!("{} sees {} {connection:?}", site_id(site), site_id(peer))
                });
                host.handle_connection(local, site_id(peer), connection);
            }
            Input::WriteDone => match slot.disk.done(&self.model.disk, &mut self.disk_dice) {
                Done::Stored(ticket) => {
                    trace.event(*now, [12, site as u64, ticket], &[], || {
                        format!("{} has stored {ticket}", site_id(site))
                    });
                    host.handle_stored(local, ticket);
                }
                Done::Failed => {
                    self.reached.insert((Kind::Fault, "fsync error"));
                    self.crash(site, Death::Process);
                    return;
                }
            },
        }
        self.hear(site);
    }

    /// A host was given something: it is heard at once, or at the end of the turn that begins with it.
    pub(super) fn hear(&mut self, site: usize) {
        if self.model.turn_mean.is_zero() {
            return self.drain(site);
        }
        let slot = &mut self.slots[site];
        if std::mem::replace(&mut slot.in_turn, true) {
            self.reached.insert((Kind::Fault, "several inputs in a turn"));
            return;
        }
        let boot = slot.boot;
        let lasting = self.turn_dice.wait(self.model.turn_mean);
        self.at(self.now + lasting, Event::Turn { site, boot });
    }

    pub(super) fn end_turn(&mut self, site: usize, boot: u64) {
        let slot = &mut self.slots[site];
        // A site that is stopped in the middle of a turn goes on with it when it goes on.
        if slot.boot == boot && slot.backlog.is_none() {
            self.drain(site);
        }
    }

    pub(super) fn timer(&mut self, site: usize, boot: u64, serial: u64) {
        let slot = &mut self.slots[site];
        if slot.boot != boot || slot.timer.is_none_or(|(_, armed)| armed != serial) {
            return;
        }
        slot.timer = None;
        if slot.backlog.is_some() {
            return;
        }
        let Some(host) = slot.host.as_mut() else { return };
        let local = slot.clock.local(self.now);
        if host.poll_timeout().is_some_and(|due| due <= local) {
            self.trace.event(self.now, [13, site as u64, 0], &[], || format!("{} wakes", site_id(site)));
            host.handle_timeout(local);
        }
        self.drain(site);
    }

    pub(super) fn resume(&mut self, site: usize, boot: u64) {
        let slot = &mut self.slots[site];
        if slot.boot != boot {
            return;
        }
        let Some(backlog) = slot.backlog.take() else { return };
        self.reached.insert((Kind::Fault, "pause"));
        self.note(9, site, backlog.len() as u64, || format!("{} goes on", site_id(site)));
        // Whether the sockets or the timers are looked at first is up to the operating system.
        let timers_first = self.clock_dice.chance(500);
        if timers_first {
            self.overdue(site);
        }
        for input in backlog {
            self.take(site, input);
        }
        self.overdue(site);
    }

    fn overdue(&mut self, site: usize) {
        let slot = &mut self.slots[site];
        let local = slot.clock.local(self.now);
        if let Some(host) = slot.host.as_mut() {
            if host.poll_timeout().is_some_and(|due| due <= local) {
                host.handle_timeout(local);
            }
            self.drain(site);
        }
    }

    /// Takes everything out of a host, writes first. Events come before packets, so that a transition can
    /// doom its site to die before, among or after the packets that it led to.
    pub(super) fn drain(&mut self, site: usize) {
        self.slots[site].in_turn = false;
        loop {
            let Some(host) = self.slots[site].host.as_mut() else { return };
            if let Some(write) = host.poll_write() {
                self.write(site, write);
            } else if let Some(event) = host.poll_event() {
                self.said(site, event);
            } else if let Some(transmit) = host.poll_transmit() {
                self.transmit(site, transmit);
            } else {
                break;
            }
        }
        self.arm(site);
    }

    fn arm(&mut self, site: usize) {
        let slot = &mut self.slots[site];
        let Some(due) = slot.host.as_ref().and_then(|host| host.poll_timeout()) else { return };
        // A host that asks for the past is served, but time must go on.
        let at = slot.clock.when(due, self.now + Duration::from_micros(1));
        if slot.timer.is_some_and(|(armed, _)| armed <= at) {
            return;
        }
        self.serial += 1;
        slot.timer = Some((at, self.serial));
        let event = Event::Timer { site, boot: slot.boot, serial: self.serial };
        self.at(at, event);
    }

    fn write(&mut self, site: usize, write: host::Write) {
        let boot = self.slots[site].boot;
        let ticket = write.ticket;
        self.trace.event(self.now, [14, site as u64, ticket], &write.record, || {
            format!("{} stores {ticket}", site_id(site))
        });
        let done = self.slots[site].disk.write(self.now, write, &self.model.disk, &mut self.disk_dice);
        self.reach_if(done > self.now + self.model.disk.write_mean * 20, "slow write");
        self.at(done, Event::Input { site, boot: Some(boot), input: Input::WriteDone });
    }

    fn said(&mut self, site: usize, event: host::Event) {
        if let host::Event::Transition(name) = event {
            self.reached.insert((Kind::Transition, name));
            if self.doom_dice.chance(self.model.doom_per_mille) {
                self.slots[site].doom = Some(self.doom_dice.below(5));
            }
        }
        if let host::Event::Coordinating(phase) = event {
            self.slots[site].phase = phase.map(|phase| (phase, self.now));
        }
        let life = life_of(site, &self.slots[site].disk);
        self.note(15, site, 0, || format!("{life}: {event:?}"));
        self.happenings.push(Happening::Said(life, event));
    }

    fn transmit(&mut self, site: usize, transmit: host::Transmit) {
        if let Some(left) = &mut self.slots[site].doom {
            if *left == 0 {
                self.reached.insert((Kind::Fault, "crash in the middle of sending"));
                return self.crash(site, Death::Process);
            }
            *left -= 1;
        }
        let to = index(transmit.to);
        assert!(to < self.sites() && to != site, "{} sends to {}", site_id(site), transmit.to);
        let sent = self.traffic.entry(H::about(&transmit.bytes)).or_default();
        sent.packets += 1;
        sent.bytes += transmit.bytes.len() as u64;
        let way = Way { from: site, to };
        let channel = transmit.channel;
        self.trace.event(self.now, [16, site as u64, to as u64], &transmit.bytes, || {
            format!("{} -> {} {channel:?} {}", site_id(site), transmit.to, H::describe(&transmit.bytes))
        });
        match channel {
            Channel::Stream => self.stream(way, transmit.bytes),
            Channel::Datagram => self.datagram(way, transmit.bytes),
        }
    }

    fn stream(&mut self, way: Way, bytes: Bytes) {
        match self.network.stream(self.now, way, &bytes, &mut self.network_dice) {
            Stream::Unconnected => {}
            Stream::Held => {
                self.reached.insert((Kind::Fault, "stream stalled"));
            }
            Stream::At(at, epoch) => {
                let input = Input::Packet { from: way.from, on: Some(epoch), bytes };
                let boot = Some(self.slots[way.to].boot);
                self.at(at, Event::Input { site: way.to, boot, input });
            }
        }
    }

    fn datagram(&mut self, way: Way, bytes: Bytes) {
        let fate = self.network.datagram(self.now, way, &mut self.network_dice);
        let times = match fate {
            Datagram::Lost => {
                self.reached.insert((Kind::Fault, "datagram lost"));
                [None, None]
            }
            Datagram::Once(at) => [Some(at), None],
            Datagram::Twice(first, second) => {
                self.reached.insert((Kind::Fault, "datagram doubled"));
                [Some(first), Some(second)]
            }
        };
        for at in times.into_iter().flatten() {
            let overtaken = self.network.overtakes(way, at);
            self.reach_if(overtaken, "datagram overtaken");
            let input = Input::Packet { from: way.from, on: None, bytes: bytes.clone() };
            self.at(at, Event::Input { site: way.to, boot: None, input });
        }
    }
}
