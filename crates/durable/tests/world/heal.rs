//! The second half of a seed: nothing fails any more, and everything has to come right.

use std::collections::BTreeSet;
use std::time::Duration;

use durable::{Change, Mode};
use wire::{SiteId, StoreId};

use super::World;
use super::disk::Disk;
use super::host::DIGEST;

/// Rounds until a healed world must be at rest.
const ROUNDS: usize = 400;

impl World {
    pub fn heal(&mut self) {
        self.healing = true;
        self.side.values_mut().for_each(|side| *side = 0);
        self.net.clear();
        let sites: Vec<SiteId> = self.hosts.keys().copied().collect();
        for site in &sites {
            self.hosts.get_mut(site).expect("a host").disk.full = false;
            if self.hosts[site].machine.is_none() {
                self.start(*site);
            }
        }
        self.change_view(0);
        for round in 0..ROUNDS {
            if !self.history.violations.is_empty() {
                return;
            }
            self.now = self.now + Duration::from_millis(20);
            self.refresh();
            for site in &sites {
                self.round(*site);
            }
            self.administer(round);
            if self.is_at_rest() {
                return self.check_end();
            }
        }
        if self.is_recoverable() {
            let hosts: Vec<String> = self
                .hosts
                .values()
                .map(|host| {
                    let status = host.machine.as_ref().map(|machine| machine.status());
                    format!("{} {:?} {status:?}", host.site, host.disk.store)
                })
                .collect();
            let open: usize = self.history.clients.iter().map(|client| client.open.len()).sum();
            self.history.violation(format!("not at rest: {open} open\n{}", hosts.join("\n")));
        }
    }

    /// Does all that one host can do now.
    fn round(&mut self, site: SiteId) {
        for _ in 0..200 {
            let host = &self.hosts[&site];
            let group = &host.group;
            let lagging = group.view.is_some_and(|view| {
                let there = &self.groups[&view];
                group.received < there.order.len() || (there.sites[0] == site && !there.pool.is_empty())
            });
            let incoming = self.net.iter().find(|((_, to), q)| *to == site && !q.is_empty());
            if let Some(((from, to), _)) = incoming {
                let (from, to) = (*from, *to);
                self.carry(from, to);
            } else if !host.disk.is_idle() {
                self.disk(site, false);
            } else if !group.inbox.is_empty() {
                self.tell(site);
            } else if group.flushing.is_some() || lagging {
                self.step_group_of(site);
            } else {
                break;
            }
        }
        self.with(site, |machine, now| machine.handle_timeout(now));
    }

    fn step_group_of(&mut self, site: SiteId) {
        // `step_groups` draws a site; draw until it is this one's turn.
        for _ in 0..64 {
            self.step_groups();
            let group = &self.hosts[&site].group;
            if group.flushing.is_none() {
                return;
            }
        }
    }

    /// What an administrator does: stores that are no more are taken out, and stores that may not vote replaced.
    fn administer(&mut self, round: usize) {
        if round % 5 != 4 {
            return;
        }
        let places: Vec<(usize, u64)> = self
            .history
            .clients
            .iter()
            .enumerate()
            .flat_map(|(place, client)| client.open.keys().map(move |sequence| (place, *sequence)))
            .collect();
        let sites = self.up();
        for (place, sequence) in places {
            let site = self.dice.pick(&sites).expect("all are up");
            self.propose(site, place, sequence);
        }
        let surpassed = std::mem::take(&mut self.history.surpassed);
        let mut changed = false;
        for (site, store) in surpassed {
            if self.hosts[&site].disk.store == store {
                self.crash(site);
                let incarnation = self.hosts[&site].disk.incarnation;
                self.history.retired.insert(store);
                let host = self.hosts.get_mut(&site).expect("a host");
                host.disk = Disk::new(StoreId(store.0 + 1), incarnation, None);
                self.start(site);
                changed = true;
            }
        }
        if changed {
            return self.change_view(0);
        }
        let there: BTreeSet<StoreId> = self.hosts.values().map(|host| host.disk.store).collect();
        let Some(site) = sites.first().copied() else { return };
        let Some(machine) = self.hosts[&site].machine.as_ref() else { return };
        let configuration = machine.status().configuration;
        if let Some(gone) = configuration.stores.keys().find(|store| !there.contains(store)).copied() {
            self.with(site, |machine, now| {
                let _refused = machine.change(now, Change::Remove { store: gone });
            });
        }
    }

    fn is_at_rest(&self) -> bool {
        let open: usize = self.history.clients.iter().map(|client| client.open.len()).sum();
        let reads: usize = self.hosts.values().map(|host| host.reads.len()).sum();
        let mut applied = self.hosts.values().map(|host| {
            let status = host.machine.as_ref().map(|machine| machine.status())?;
            let whole = status.applied == status.committed
                && status.mode == Mode::Active
                && status.last.position == status.committed
                && status.progress.is_none()
                && host.disk.is_idle();
            whole.then_some(status.applied)
        });
        let Some(Some(first)) = applied.next() else { return false };
        open == 0 && reads == 0 && applied.all(|other| other == Some(first))
    }

    /// Whether the stores that are left are enough by the rules.
    fn is_recoverable(&self) -> bool {
        let statuses =
            || self.hosts.values().filter_map(|host| Some((host, host.machine.as_ref()?.status())));
        let Some((_, newest)) = statuses().max_by_key(|(_, status)| status.last) else { return false };
        let configuration = newest.configuration;
        let votes = |host: &super::host::Host, status: &durable::Status| {
            configuration.counts(host.disk.store, host.site) && status.floor.is_none()
        };
        let alive = statuses().filter(|(host, status)| votes(host, status)).count();
        alive >= configuration.elects()
    }

    /// Nothing that was acknowledged is missing, and all have the same.
    fn check_end(&mut self) {
        let digests: BTreeSet<Option<u64>> =
            self.hosts.values().map(|host| host.state.map.get(&DIGEST).copied()).collect();
        if digests.len() != 1 {
            self.history.violation(format!("different states at the end: {digests:?}"));
        }
        let applied: BTreeSet<_> = self.history.positions.values().map(|(key, ..)| *key).collect();
        let lost: Vec<_> =
            self.history.answers.keys().filter(|key| !applied.contains(key)).copied().collect();
        if !lost.is_empty() {
            self.history.violation(format!("acknowledged and lost: {lost:?}"));
        }
        // The state says how often each was applied: as often as there are positions.
        let sum: u64 =
            self.hosts.values().next().map_or(0, |host| {
                host.state.map.iter().filter(|(k, _)| **k != DIGEST).map(|(_, v)| *v).sum()
            });
        let count = self.history.positions.len() as u64;
        if sum != count {
            self.history.violation(format!("{count} requests applied somewhere, {sum} in the end"));
        }
    }
}
