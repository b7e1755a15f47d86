//! Stations that acquire ids over a lossy broadcast: the ids of connected sites end up unique.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use detect::site_id::{Acquisition, Config, Event, Method, Registrar, Responder, Station, To};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{SiteId, Time};

struct Ether {
    now: Time,
    stations: BTreeMap<Station, Acquisition>,
    /// Which segment a station is on; segments do not hear each other.
    segment: BTreeMap<Station, u8>,
    starts: BTreeMap<(Time, Station), ()>,
    queue: BTreeMap<(Time, u64), (Station, Station, Vec<u8>)>,
    events: Vec<(Station, Event)>,
    loss: u64,
    count: u64,
    rng: ChaCha8Rng,
}

impl Ether {
    fn new(seed: u64, loss: u64) -> Ether {
        Ether {
            now: Time::ZERO,
            stations: BTreeMap::new(),
            segment: BTreeMap::new(),
            starts: BTreeMap::new(),
            queue: BTreeMap::new(),
            events: Vec::new(),
            loss,
            count: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn add(&mut self, station: u64, config: Config, after: Duration) {
        let seed = self.rng.next_u64();
        let station = Station(station);
        self.stations.insert(station, Acquisition::new(config, station, Responder::new(), seed));
        self.segment.insert(station, 0);
        self.starts.insert((self.now + after, station), ());
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let start = self.starts.keys().next().copied();
            let packet = self.queue.keys().next().map(|(at, _)| *at);
            let timer = self.stations.iter().filter_map(|(&id, site)| Some((site.poll_timeout()?, id))).min();
            let times = [start.map(|(at, _)| at), packet, timer.map(|(at, _)| at)];
            let Some(next) = times.into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            if let Some((at, station)) = start.filter(|(at, _)| *at == next) {
                self.starts.remove(&(at, station));
                self.stations.get_mut(&station).expect("added").start(now);
                self.drain(station);
            } else if packet == Some(next) {
                let (_, (from, to, body)) = self.queue.pop_first().expect("it was there");
                if let Some(site) = self.stations.get_mut(&to) {
                    site.handle_message(now, from, &body).expect("a message about site ids");
                    self.drain(to);
                }
            } else if let Some((_, station)) = timer {
                self.stations.get_mut(&station).expect("added").handle_timeout(now);
                self.drain(station);
            }
        }
        self.now = end;
    }

    fn drain(&mut self, from: Station) {
        while let Some(transmit) = self.stations.get_mut(&from).expect("added").poll_transmit() {
            let all: Vec<Station> = self.stations.keys().copied().collect();
            for to in all {
                let meant = transmit.to == To::All || transmit.to == To::Station(to);
                let connected = self.segment[&from] == self.segment[&to];
                if to != from && meant && connected && self.rng.next_u64() % 100 >= self.loss {
                    self.count += 1;
                    let delay = Duration::from_micros(self.rng.next_u64() % 5_000);
                    self.queue.insert((self.now + delay, self.count), (from, to, transmit.body.clone()));
                }
            }
        }
        while let Some(event) = self.stations.get_mut(&from).expect("added").poll_event() {
            self.events.push((from, event));
        }
    }

    fn ids(&self) -> Vec<Option<SiteId>> {
        self.stations.values().map(Acquisition::site).collect()
    }

    fn assert_unique(&self, why: &str) {
        let ids = self.ids();
        assert!(ids.iter().all(Option::is_some), "{why}: {ids:?}");
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{why}: {ids:?}");
    }
}

fn config(method: Method) -> Config {
    Config { method, ..Config::default() }
}

#[test]
fn the_first_station_takes_the_lowest_id_and_the_next_ones_the_next() {
    let mut ether = Ether::new(1, 0);
    for station in 1..=4 {
        ether.add(station, config(Method::Network), Duration::ZERO);
        ether.run(Duration::from_secs(10));
    }
    assert_eq!(ether.ids(), [1, 2, 3, 4].map(|id| Some(SiteId(id))));
}

#[test]
fn simultaneous_joiners_end_with_unique_ids_whatever_is_lost() {
    for seed in 0..1_000 {
        let mut ether = Ether::new(seed, seed % 4 * 10);
        let method = match seed % 3 {
            0 => Method::Network,
            // A space so small that random numbers collide.
            _ => Method::Random,
        };
        let stations = 2 + seed % 7;
        for station in 0..stations {
            let apart = Duration::from_millis(if seed % 2 == 0 { 0 } else { ether.rng.next_u64() % 700 });
            ether.add(100 + station, Config { highest_id: 12, ..config(method) }, apart);
        }
        ether.run(Duration::from_secs(90));
        ether.assert_unique(&format!("seed {seed}"));
    }
}

#[test]
fn two_segments_that_chose_alike_mend_it_when_they_are_joined() {
    for seed in 0..200 {
        let mut ether = Ether::new(seed, seed % 3 * 5);
        for station in 0..6 {
            ether.add(100 + station, config(Method::Network), Duration::from_millis(seed % 50 * station));
            ether.segment.insert(Station(100 + station), (station % 2) as u8);
        }
        ether.run(Duration::from_secs(30));
        let ids: BTreeSet<_> = ether.ids().into_iter().collect();
        assert!(ids.len() < 6, "seed {seed}: both sides began at the lowest id");
        ether.segment.values_mut().for_each(|segment| *segment = 0);
        ether.run(Duration::from_secs(90));
        ether.assert_unique(&format!("seed {seed}"));
        assert!(ether.events.iter().any(|(_, event)| matches!(event, Event::Lost(_))));
    }
}

#[test]
fn an_id_of_the_dead_is_not_used_again() {
    let mut ether = Ether::new(3, 0);
    for station in 1..=3 {
        ether.add(station, config(Method::Network), Duration::ZERO);
        ether.run(Duration::from_secs(10));
    }
    ether.stations.get_mut(&Station(3)).expect("added").shut_down();
    ether.drain(Station(3));
    ether.run(Duration::from_secs(1));
    ether.stations.remove(&Station(3));
    ether.add(9, config(Method::Network), Duration::ZERO);
    ether.add(8, Config { highest_id: 4, ..config(Method::Random) }, Duration::from_secs(20));
    ether.run(Duration::from_secs(60));
    assert_eq!(ether.stations[&Station(9)].site(), Some(SiteId(4)));
    assert_eq!(ether.stations[&Station(8)].site(), None, "1 to 4 are used");
    // The station itself may have its id back.
    ether.add(3, config(Method::Fixed(SiteId(3))), Duration::ZERO);
    ether.run(Duration::from_secs(10));
    assert_eq!(ether.stations[&Station(3)].site(), Some(SiteId(3)));
}

#[test]
fn a_fixed_id_that_is_in_use_is_given_up_with_a_word_about_it() {
    let mut ether = Ether::new(3, 0);
    ether.add(1, config(Method::Fixed(SiteId(7))), Duration::ZERO);
    ether.run(Duration::from_secs(2));
    ether.add(2, config(Method::Fixed(SiteId(7))), Duration::ZERO);
    ether.run(Duration::from_secs(120));
    let mine = Station(2);
    assert!(ether.events.contains(&(mine, Event::FixedIdInUse(SiteId(7)))));
    assert_eq!(ether.ids(), [Some(SiteId(7)), None]);
}

#[test]
fn hostile_messages_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let voters = [2, 3, 4].map(Station).into();
    let mut site = Acquisition::new(Config { voters, ..Config::default() }, Station(1), Responder::new(), 1);
    let mut registrar = Registrar::new(SiteId(1), Station(1));
    site.start(Time::ZERO);
    for round in 0..100_000u64 {
        let mut body = [0u8; 24];
        rng.fill_bytes(&mut body);
        // Half of them well-formed at the outside: an array of a variant and its fields.
        if round % 2 == 0 {
            body[..3].copy_from_slice(&[0x82, (rng.next_u64() % 9) as u8, 0x80 | (round % 4) as u8]);
        }
        let len = (rng.next_u64() % 25) as usize;
        let now = Time::from_millis(round);
        let _ = site.handle_message(now, Station(2 + round % 5), &body[..len]);
        let _ = registrar.handle_message(Station(2 + round % 5), &body[..len]);
        assert!(registrar.claims().count() <= 5);
        site.handle_timeout(now);
        while site.poll_transmit().is_some() || site.poll_event().is_some() {}
    }
}
