//! Sites that acquire ids over connections to registrars that crash, forget what is not on disk, and are cut off: no
//! id is ever confirmed for two.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use detect::site_id::{Acquisition, Config, Event, Method, Record, Registrar, Responder, Station};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{SiteId, Time};

/// A founder, and what its disk holds.
struct Voter {
    registrar: Registrar,
    claims: BTreeMap<Station, SiteId>,
    held: BTreeMap<SiteId, Station>,
    up: bool,
}

/// A site without an id, and what its disk holds.
struct Newcomer {
    machine: Acquisition,
    disk: Option<SiteId>,
    confirmed: Option<SiteId>,
}

/// One of a newcomer's connections. What was under way on an earlier one is lost with it.
#[derive(Clone, Copy, Default)]
struct Wire {
    generation: u64,
    last: Time,
}

struct Packet {
    newcomer: usize,
    voter: usize,
    generation: u64,
    upward: bool,
    body: Vec<u8>,
}

struct Town {
    now: Time,
    voters: Vec<Voter>,
    newcomers: Vec<Newcomer>,
    wires: BTreeMap<(usize, usize), Wire>,
    packets: BTreeMap<(Time, u64), Packet>,
    count: u64,
    lost: u64,
    rng: ChaCha8Rng,
}

fn founder(voter: usize) -> (SiteId, Station) {
    (SiteId(voter as u32 + 1), Station(1 + voter as u64))
}

fn newcomer(n: usize) -> Station {
    Station(100 + n as u64)
}

impl Town {
    fn new(seed: u64, voters: usize, newcomers: usize) -> Town {
        let mut town = Town {
            now: Time::ZERO,
            voters: Vec::new(),
            newcomers: Vec::new(),
            wires: BTreeMap::new(),
            packets: BTreeMap::new(),
            count: 0,
            lost: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        for voter in 0..voters {
            let (site, station) = founder(voter);
            let registrar = Registrar::new(site, station);
            let held = (0..voters).map(founder).collect();
            town.voters.push(Voter { registrar, claims: BTreeMap::new(), held, up: true });
            town.recall(voter);
        }
        for n in 0..newcomers {
            let machine = town.machine(n, Method::Network);
            town.newcomers.push(Newcomer { machine, disk: None, confirmed: None });
            town.settle(n);
        }
        town
    }

    fn machine(&mut self, n: usize, method: Method) -> Acquisition {
        let voters = (0..self.voters.len()).map(|voter| founder(voter).1).collect();
        let config = Config { method, voters, ..Config::default() };
        let mut machine = Acquisition::new(config, newcomer(n), Responder::new(), self.rng.next_u64());
        machine.start(self.now);
        machine
    }

    /// A voter as it comes back from its disk.
    fn recall(&mut self, voter: usize) {
        let (site, station) = founder(voter);
        let voter = &mut self.voters[voter];
        voter.registrar = Registrar::new(site, station);
        voter.held.iter().for_each(|(site, station)| voter.registrar.hold(*site, *station));
        voter.claims.iter().for_each(|(station, site)| voter.registrar.claim(*site, *station));
        voter.up = true;
    }

    fn wire(&mut self, n: usize, voter: usize) -> &mut Wire {
        self.wires.entry((n, voter)).or_default()
    }

    fn cut(&mut self, n: usize, voter: usize) {
        self.wire(n, voter).generation += 1;
        self.voters[voter].registrar.handle_closed(newcomer(n));
    }

    fn send(&mut self, n: usize, voter: usize, upward: bool, body: Vec<u8>) {
        if !self.voters[voter].up {
            return;
        }
        let delay = Duration::from_micros(self.rng.next_u64() % 150_000);
        let now = self.now;
        let wire = self.wire(n, voter);
        wire.last = wire.last.max(now + delay);
        let (at, generation) = (wire.last, wire.generation);
        self.count += 1;
        self.packets.insert((at, self.count), Packet { newcomer: n, voter, generation, upward, body });
    }

    fn deliver(&mut self, packet: Packet) {
        let Packet { newcomer: n, voter, generation, upward, body } = packet;
        if self.wire(n, voter).generation != generation || !self.voters[voter].up {
            return;
        }
        if !upward {
            let from = founder(voter).1;
            self.newcomers[n].machine.handle_message(self.now, from, &body).expect("an answer");
            return self.settle(n);
        }
        let from = newcomer(n);
        let keeper = &mut self.voters[voter];
        let ruling = keeper.registrar.handle_message(from, &body).expect("a bid");
        match ruling.record {
            Some(Record::Claimed(site)) => drop(keeper.claims.insert(from, site)),
            Some(Record::Released(_)) => drop(keeper.claims.remove(&from)),
            None => {}
        }
        if let Some(answer) = ruling.answer {
            self.send(n, voter, false, answer);
        }
    }

    fn settle(&mut self, n: usize) {
        let mut over = false;
        while let Some(event) = self.newcomers[n].machine.poll_event() {
            match event {
                Event::Acquired(site) => self.newcomers[n].disk = Some(site),
                Event::Confirmed(site) => self.confirm(n, site),
                Event::Lost(_) | Event::FixedIdInUse(_) => {
                    self.newcomers[n].disk = None;
                    self.lost += 1;
                    over = true;
                }
            }
        }
        while let Some(transmit) = self.newcomers[n].machine.poll_transmit() {
            for voter in 0..self.voters.len() {
                self.send(n, voter, true, transmit.body.clone());
            }
        }
        if over {
            // What was said last arrives, or not; then all is begun anew on new connections.
            let farewell = !self.rng.next_u64().is_multiple_of(4);
            let said: Vec<_> = self.packets.iter().filter(|(_, p)| p.newcomer == n && p.upward).collect();
            let said: Vec<_> = said.into_iter().map(|(key, _)| *key).collect();
            for key in said {
                let packet = self.packets.remove(&key).expect("it was there");
                if farewell {
                    self.deliver(packet);
                }
            }
            (0..self.voters.len()).for_each(|voter| self.cut(n, voter));
            self.newcomers[n].machine = self.machine(n, Method::Network);
            self.settle(n);
        }
    }

    fn confirm(&mut self, n: usize, site: SiteId) {
        assert!(site.0 as usize > self.voters.len(), "{site} is a founder's");
        for other in (0..self.newcomers.len()).filter(|other| *other != n) {
            assert_ne!(self.newcomers[other].confirmed, Some(site), "{n} and {other} have one id");
        }
        self.newcomers[n].confirmed = Some(site);
        // It says hello to those that it reaches, and they are certain of it.
        for voter in 0..self.voters.len() {
            if self.voters[voter].up && !self.rng.next_u64().is_multiple_of(3) {
                let voter = &mut self.voters[voter];
                voter.registrar.hold(site, newcomer(n));
                voter.held.insert(site, newcomer(n));
                voter.claims.retain(|station, claimed| *station != newcomer(n) && *claimed != site);
            }
        }
    }

    fn restart(&mut self, n: usize) {
        (0..self.voters.len()).for_each(|voter| self.cut(n, voter));
        let method = self.newcomers[n].disk.map_or(Method::Network, Method::Fixed);
        self.newcomers[n].machine = self.machine(n, method);
        self.settle(n);
    }

    fn mishap(&mut self) {
        let voter = (self.rng.next_u64() % self.voters.len() as u64) as usize;
        let n = (self.rng.next_u64() % self.newcomers.len() as u64) as usize;
        match self.rng.next_u64() % 5 {
            0 => self.cut(n, voter),
            1 if self.newcomers[n].confirmed.is_none() => self.restart(n),
            2 => {
                (0..self.newcomers.len()).for_each(|n| self.cut(n, voter));
                self.voters[voter].up = false;
            }
            _ => self.recall_all_down(),
        }
    }

    fn recall_all_down(&mut self) {
        for voter in 0..self.voters.len() {
            if !self.voters[voter].up {
                self.recall(voter);
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let packet = self.packets.keys().next().map(|(at, _)| *at);
            let waiting = |newcomer: &Newcomer| newcomer.confirmed.is_none();
            let timers = self.newcomers.iter().enumerate().filter(|(_, newcomer)| waiting(newcomer));
            let timer = timers.filter_map(|(n, newcomer)| Some((newcomer.machine.poll_timeout()?, n))).min();
            let times = [packet, timer.map(|(at, _)| at)];
            let Some(next) = times.into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, packet) = self.packets.pop_first().expect("it was there");
                self.deliver(packet);
            } else if let Some((_, n)) = timer {
                self.newcomers[n].machine.handle_timeout(self.now);
                self.settle(n);
            }
        }
        self.now = end;
    }
}

#[test]
fn no_id_is_confirmed_for_two_whatever_crashes_and_all_get_one_in_the_end() {
    let mut lost = 0;
    for seed in 0..1_500 {
        let voters = 1 + (seed % 5) as usize;
        let mut town = Town::new(seed, voters, 2 + (seed / 5 % 4) as usize);
        for _ in 0..seed % 40 {
            let span = Duration::from_millis(town.rng.next_u64() % 400);
            town.run(span);
            town.mishap();
        }
        // A minority may stay away.
        town.recall_all_down();
        for voter in 0..(voters - 1) / 2 {
            (0..town.newcomers.len()).for_each(|n| town.cut(n, voter));
            town.voters[voter].up = false;
        }
        town.run(Duration::from_secs(600));
        let ids: Vec<_> = town.newcomers.iter().map(|newcomer| newcomer.confirmed).collect();
        assert!(ids.iter().all(Option::is_some), "seed {seed}: {ids:?}");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "seed {seed}: {ids:?}");
        lost += town.lost;
    }
    assert!(lost > 20, "divided voters were met with {lost} times");
}

#[test]
fn without_a_majority_nobody_gets_an_id_and_with_it_the_next_free_one() {
    let mut town = Town::new(1, 3, 1);
    town.voters[1].up = false;
    town.voters[2].up = false;
    town.run(Duration::from_secs(300));
    assert_eq!(town.newcomers[0].confirmed, None);
    town.recall(2);
    town.run(Duration::from_secs(60));
    assert_eq!(town.newcomers[0].confirmed, Some(SiteId(4)));
}
