//! What goes wrong, and what clients and administrators do meanwhile.

use bytes::Bytes;
use durable::{Change, Request};
use wire::{SiteId, StoreId};

use super::disk::Disk;
use super::{Loss, World};

impl World {
    pub fn step_client(&mut self) {
        let sites = self.up();
        let Some(site) = self.dice.pick(&sites) else { return };
        if self.dice.once_in(4) {
            return self.read(site);
        }
        let place = self.dice.below(self.history.clients.len() as u64) as usize;
        let word = self.dice.number();
        let client = &mut self.history.clients[place];
        let known = self.history.known;
        let fresh =
            client.open.len() < 3 && client.next < client.open.keys().next().map_or(u64::MAX, |s| s + 4);
        let sequence = match fresh && self.dice.once_in(2) {
            true => {
                let length = 1 + word as usize % 40;
                let payload: Bytes = vec![word as u8; length].into();
                client.open.insert(client.next, (payload, known));
                client.next += 1;
                client.next - 1
            }
            false => {
                let open: Vec<u64> = client.open.keys().copied().collect();
                match self.dice.pick(&open) {
                    Some(sequence) => sequence,
                    None => return,
                }
            }
        };
        self.propose(site, place, sequence);
    }

    pub fn propose(&mut self, site: SiteId, place: usize, sequence: u64) {
        let client = &self.history.clients[place];
        let Some((payload, _)) = client.open.get(&sequence) else { return };
        let answered = client.open.keys().next().map_or(sequence, |first| *first) - 1;
        let request = Request { client: client.id, sequence, answered, payload: payload.clone() };
        let time = self.now.as_nanos() / 1_000_000;
        self.with(site, |machine, now| {
            let _refused = machine.propose(now, time, request);
        });
    }

    pub fn read(&mut self, site: SiteId) {
        let floor = self.history.known;
        let mut id = None;
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&site)
            && let Some(machine) = &mut host.machine
            && let Ok(read) = machine.read(now)
        {
            host.reads.insert(read, floor);
            id = Some(read);
        }
        if id.is_some() {
            self.with(site, |_, _| ());
        }
    }

    pub fn step_fault(&mut self) {
        let sites: Vec<SiteId> = self.hosts.keys().copied().collect();
        let Some(site) = self.dice.pick(&sites) else { return };
        let plan = self.plan;
        match self.dice.below(20) {
            0..=2 if plan.crashes => {
                self.crash(site);
                self.later_view(site);
            }
            3..=7 if self.hosts[&site].machine.is_none() => {
                self.start(site);
                self.later_view(site);
            }
            8..=9 if plan.partitions => {
                let sides = 1 + self.dice.below(2);
                for side in self.side.values_mut() {
                    *side = self.dice.below(sides + 1);
                }
                for side in 0..=sides {
                    if !self.dice.once_in(4) {
                        self.change_view(side);
                    }
                }
            }
            10..=11 => {
                self.side.values_mut().for_each(|side| *side = 0);
                self.change_view(0);
            }
            12..=13 => self.change_view(self.side[&site]),
            14 if plan.total && self.dice.once_in(4) => sites.iter().for_each(|site| self.crash(*site)),
            15..=16 if plan.changes => self.reconfigure(site),
            17 if plan.full => {
                let full = self.dice.once_in(2);
                self.hosts.get_mut(&site).expect("a host").disk.full = full;
            }
            18..=19 => self.lose(site),
            _ => {}
        }
    }

    fn later_view(&mut self, site: SiteId) {
        if !self.dice.once_in(3) {
            self.change_view(self.side[&site]);
        }
    }

    /// An administrator asks for some change of the configuration.
    fn reconfigure(&mut self, site: SiteId) {
        let Some(machine) = self.hosts[&site].machine.as_ref() else { return };
        let configuration = machine.status().configuration;
        let spare: Vec<(StoreId, SiteId)> = self
            .hosts
            .values()
            .filter(|host| !configuration.stores.values().any(|site| *site == host.site))
            .map(|host| (host.disk.store, host.site))
            .collect();
        let stores: Vec<StoreId> = configuration.stores.keys().copied().collect();
        let change = match self.dice.below(4) {
            0..=1 => self.dice.pick(&spare).map(|(store, site)| Change::Add { store, site }),
            2 if stores.len() > 1 => self.dice.pick(&stores).map(|store| Change::Remove { store }),
            _ => {
                let writes = 1 + self.dice.below(stores.len() as u64 + 1) as u16;
                let writes = (usize::from(writes) <= stores.len()).then_some(writes);
                Some(Change::Writes { writes })
            }
        };
        if let Some(change) = change {
            self.with(site, |machine, now| {
                let _refused = machine.change(now, change);
            });
        }
    }

    /// One of the ways to lose a copy of what was acknowledged.
    fn lose(&mut self, site: SiteId) {
        match self.plan.loss {
            Loss::None => {}
            Loss::Emptied if self.losses == 0 && self.copies_to_spare(site) && self.dice.once_in(2) => {
                self.losses += 1;
                self.crash(site);
                let old = &self.hosts[&site].disk;
                let (incarnation, store) = (old.incarnation, StoreId(old.store.0 + 1));
                self.history.retired.insert(old.store);
                let host = self.hosts.get_mut(&site).expect("a host");
                host.disk = Disk::new(store, incarnation, None);
                self.later_view(site);
            }
            Loss::Copied => self.copy(site),
            Loss::Rot if self.dice.once_in(2) => self.rot(site),
            Loss::Emptied | Loss::Rot => {}
        }
    }

    /// Whether acknowledged entries are on another disk too, whatever this one had.
    fn copies_to_spare(&self, _site: SiteId) -> bool {
        self.plan.writes.is_none_or(|writes| writes >= 2) && !self.plan.changes
    }

    /// Keeps an old copy of a disk, and puts it back when later lives of the store are known to all others.
    fn copy(&mut self, site: SiteId) {
        match self.copy.take() {
            None if self.copies_to_spare(site) && self.losses == 0 => {
                let mut disk = self.hosts[&site].disk.clone();
                disk.crash(&mut self.dice);
                self.copy = Some((site, disk));
            }
            None => {}
            Some((of, disk)) => {
                // Asked of the machines that were in a view with it: each knows of a later life.
                let later = self.hosts[&of].disk.incarnation > disk.incarnation + 1;
                let others = self.hosts.values().filter(|host| host.site != of);
                let mut founders = others.filter(|host| {
                    self.history.founding.stores.contains_key(&host.disk.store) && host.site != of
                });
                let known = founders.all(|host| {
                    host.disk
                        .meta
                        .as_ref()
                        .is_some_and(|meta| knows_later_life(meta, disk.store, disk.incarnation + 1))
                });
                if later && known {
                    self.losses += 1;
                    self.crash(of);
                    let host = self.hosts.get_mut(&of).expect("a host");
                    host.disk = disk;
                    self.history.retired.insert(host.disk.store);
                    self.later_view(of);
                } else {
                    self.copy = Some((of, disk));
                }
            }
        }
    }

    /// Durable records rot, one or some in a row, of which another disk has a whole copy; or, at one site of a seed, one that
    /// no other disk has and that is not committed for that, where the others are enough to go on (D21).
    fn rot(&mut self, site: SiteId) {
        if !self.copies_to_spare(site) {
            return;
        }
        let host = &self.hosts[&site];
        let proven: Vec<u64> = host.disk.log.iter().filter(|(_, k)| k.proven).map(|(p, _)| *p).collect();
        let newest = proven.iter().rev().take(4).copied().collect::<Vec<_>>();
        let from = match self.dice.once_in(2) {
            true => &newest,
            false => &proven,
        };
        let Some(first) = self.dice.pick(from) else { return };
        let row = if self.dice.once_in(3) { 1 + self.dice.below(6) } else { 1 };
        let rotten = (first..first + row).filter(|position| self.rot_record(site, *position)).count();
        if rotten > 0 && self.dice.once_in(2) {
            self.crash(site);
            self.later_view(site);
        }
    }

    /// One of them. False if it must not.
    fn rot_record(&mut self, site: SiteId, position: u64) -> bool {
        let Some(kept) = self.hosts[&site].disk.log.get(&position).filter(|kept| kept.proven) else {
            return false;
        };
        let whole = durable::Entry::from_record(kept.bytes.clone()).is_ok();
        let elsewhere = self.hosts.values().filter(|other| {
            other.site != site && other.disk.log.get(&position).is_some_and(|other| other.bytes == kept.bytes)
        });
        let founding = &self.history.founding;
        let may_be_alone =
            founding.elects() < founding.stores.len() && self.alone.is_none_or(|of| of == site);
        let is_alone = elsewhere.count() == 0;
        if !whole || (is_alone && !may_be_alone) || self.rotten.contains(&position) {
            return false;
        }
        self.rotten.insert(position);
        if is_alone {
            self.alone = Some(site);
        }
        self.losses += 1;
        self.hosts.get_mut(&site).expect("a host").disk.rot(position);
        true
    }
}

/// Reads a meta record as the machine writes it: field 4 is what it has seen, (store, {life: (incarnation, ..)}).
fn knows_later_life(meta: &[u8], store: StoreId, than: u64) -> bool {
    let mut decoder = minicbor::Decoder::new(meta);
    let Ok(Some(fields)) = decoder.map() else { return false };
    for _ in 0..fields {
        let Ok(field) = decoder.u8() else { return false };
        if field != 4 {
            decoder.skip().expect("a whole record");
            continue;
        }
        let count = decoder.array().expect("a list").expect("of a known length");
        for _ in 0..count {
            decoder.array().expect("a pair");
            let of = decoder.u64().expect("a store");
            decoder.array().expect("what was seen");
            decoder.array().expect("a life");
            let incarnation = decoder.u64().expect("an incarnation");
            decoder.skip().expect("a nonce");
            decoder.skip().expect("a number");
            decoder.skip().expect("a time");
            if of == store.0 && incarnation > than {
                return true;
            }
        }
    }
    false
}
