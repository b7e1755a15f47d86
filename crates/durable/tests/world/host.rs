//! One host: a disk, perhaps a machine, the application's state, and the driver that joins them.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable::{Bugs, Durable, Entry, Event, ReadId, Request, StoreOp};
use wire::{SiteId, Time};

use super::disk::{Checkpoint, Disk, Done};
use super::groups::Membership;
use super::{Loss, World};

/// The application: a map of numbers, and a digest of all that was done to it, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub map: BTreeMap<u64, u64>,
    pub applied: u64,
}

/// The key under which the digest is.
pub const DIGEST: u64 = u64::MAX;

impl State {
    /// The state of the disk's checkpoint.
    fn load(disk: &Disk) -> State {
        let checkpoint = disk.checkpoint.clone().unwrap_or_default();
        let applied = checkpoint.head.number.position;
        State { map: checkpoint.state.into_iter().collect(), applied }
    }

    /// Applies a request and answers with the digest, which no other history has.
    pub fn apply(&mut self, entry: &Entry, request: &Request) -> Bytes {
        let key = u64::from(request.payload.first().copied().unwrap_or(0) % 16);
        *self.map.entry(key).or_default() += 1;
        let digest = self.map.entry(DIGEST).or_default();
        let words = [request.sequence, u64::from(request.client.0[0]), key];
        for word in words {
            *digest = (*digest ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
        }
        self.applied = entry.number.position;
        Bytes::copy_from_slice(&self.map[&DIGEST].to_be_bytes())
    }
}

pub struct Host {
    pub site: SiteId,
    pub disk: Disk,
    pub machine: Option<Durable>,
    pub group: Membership,
    pub state: State,
    /// Reads under way, with what they have to see.
    pub reads: BTreeMap<ReadId, u64>,
    /// The machine has said that its store has failed.
    pub failed: bool,
}

impl Host {
    pub fn new(site: SiteId, disk: Disk) -> Host {
        let (group, state) = (Membership::default(), State::default());
        Host { site, disk, machine: None, group, state, reads: BTreeMap::new(), failed: false }
    }
}

impl World {
    pub fn start(&mut self, site: SiteId) {
        let nonce = self.dice.number();
        let Some(host) = self.hosts.get_mut(&site) else { return };
        match host.disk.start(site, nonce, &self.settings) {
            Ok(machine) => {
                host.machine = Some(machine);
                host.state = State::load(&host.disk);
            }
            Err(why) => self.history.violation(format!("{site} cannot start: {why:?}")),
        }
        self.drain(site);
    }

    pub fn crash(&mut self, site: SiteId) {
        let Some(host) = self.hosts.get_mut(&site) else { return };
        if host.machine.take().is_none() {
            return;
        }
        host.disk.crash(&mut self.dice);
        host.group = Membership::default();
        host.reads.clear();
        host.failed = false;
        for ((from, to), queue) in &mut self.net {
            if *from == site || *to == site {
                queue.clear();
            }
        }
    }

    /// Gives a machine an input and does what it asks for.
    pub fn with(&mut self, site: SiteId, input: impl FnOnce(&mut Durable, Time)) {
        let now = self.now;
        if let Some(machine) = self.hosts.get_mut(&site).and_then(|host| host.machine.as_mut()) {
            input(machine, now);
            self.drain(site);
        }
    }

    fn drain(&mut self, site: SiteId) {
        let now = self.now;
        loop {
            let Some(host) = self.hosts.get_mut(&site) else { return };
            let Some(machine) = host.machine.as_mut() else { return };
            let mut busy = false;
            while let Some(op) = machine.poll_store() {
                busy = true;
                if let StoreOp::Append { records, .. } = &op {
                    records.iter().for_each(|record| self.history.written(site, record));
                }
                host.disk.ask(op);
            }
            while let Some(transmit) = machine.poll_transmit() {
                busy = true;
                for to in transmit.to {
                    self.net.entry((site, to)).or_default().push_back(transmit.message.clone());
                }
            }
            let installed = host.group.view.filter(|_| host.group.flushing.is_none());
            if let Some(view) = installed {
                while let Some(cast) = machine.poll_cast() {
                    busy = true;
                    let group = self.groups.get_mut(&view).expect("a view that is installed");
                    group.pool.push((site, cast));
                }
            }
            if machine.poll_refresh() {
                self.wanting.insert(site);
            }
            while let Some(event) = machine.poll_event() {
                busy = true;
                match event {
                    Event::Apply { entry, .. } => {
                        let durable::Body::Request(request) = &entry.body else {
                            self.history.violation("something else than a request is applied".into());
                            continue;
                        };
                        if host.state.applied >= entry.number.position {
                            self.history.violation(format!("{site} goes back to {:?}", entry.number));
                        }
                        let answer = host.state.apply(&entry, request);
                        self.history.applied(site, &entry, request, &answer);
                        machine.handle_applied(now, entry.number.position, answer);
                    }
                    Event::Answer { client, sequence, answer } => {
                        self.history.answered(site, client, sequence, &answer);
                    }
                    Event::Read(id) => {
                        if let Some(floor) = host.reads.remove(&id) {
                            let at = machine.status().applied;
                            self.history.read(site, floor, at);
                        }
                    }
                    Event::Checkpoint { head, window } => {
                        let state = host.state.map.iter().map(|(k, v)| (*k, *v)).collect();
                        host.disk.taking = Some(Checkpoint { head, window: window.to_vec(), state });
                    }
                    Event::Restore(head) => {
                        self.history.restored += 1;
                        host.state = State::load(&host.disk);
                        self.history.digest(site, head.number.position, host.state.map.get(&DIGEST).copied());
                    }
                    Event::Changed(outcome) => self.history.changes += u64::from(outcome.is_ok()),
                    Event::Surpassed { store, seen } => {
                        self.history.surpassed.push((site, store));
                        if self.plan.loss != Loss::Copied && self.settings.bugs == Bugs::NONE {
                            self.history.violation(format!("{site} is accused of being a copy: {seen:?}"));
                        }
                    }
                    Event::Fatal(durable::Fatal::Diverged) => {
                        self.history.violation(format!("{site} has diverged"));
                    }
                    Event::Fatal(durable::Fatal::WriteFailed) => host.failed = true,
                    Event::Mode(_) | Event::Full(_) => {}
                }
            }
            if !busy {
                return;
            }
        }
    }

    pub fn step_disk(&mut self) {
        let sites = self.up();
        let Some(site) = self.dice.pick(&sites) else { return };
        if self.plan.slow == Some(site) && !self.healing && !self.dice.once_in(12) {
            return;
        }
        let fail = self.plan.errors && !self.healing && self.dice.once_in(400);
        self.disk(site, fail);
    }

    pub fn disk(&mut self, site: SiteId, fail: bool) {
        let Some(host) = self.hosts.get_mut(&site) else { return };
        let Some(done) = host.disk.step(&mut self.dice, fail) else { return };
        let mut failed = false;
        self.with(site, |machine, now| match done {
            Done::Stored(token) => machine.handle_stored(now, token),
            Done::Failed(token) => {
                failed = true;
                machine.handle_store_failed(now, token);
            }
            Done::Full(tokens) => tokens.into_iter().for_each(|token| machine.handle_disk_full(now, token)),
            Done::Read(token, records) => machine.handle_read(now, token, records),
            Done::Part(token, chunk) => machine.handle_checkpoint_read(now, token, chunk),
            Done::Installed(token, window) => machine.handle_checkpoint_installed(now, token, &window),
            Done::Taken(number) => machine.handle_checkpoint_taken(now, number, 0),
        });
        // The site of a store that has failed is restarted; one that says nothing of it goes on.
        if failed && self.hosts[&site].failed {
            self.history.errors += 1;
            self.crash(site);
        }
    }
}
