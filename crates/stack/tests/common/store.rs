//! A durable group's store for a site of a test: on a simulated disk, done at once.

use bytes::Bytes;
use durable::{Body, Configuration, Event as Said, Life, Settings};
use stack::store::{DiskStore, Who};
use stack::{Event, Node};
use wal::sim::{Faults, SimDisk};
use wire::{GroupName, Incarnation, SiteId, StoreId, Time};

pub struct Store {
    group: GroupName,
    disk: SimDisk,
    id: StoreId,
    founders: Configuration,
    settings: Settings,
    open: Option<DiskStore<SimDisk>>,
    /// The payloads of the requests that were applied in this life, and the state that it began with.
    pub state: Vec<String>,
}

impl Store {
    pub fn new(group: &str, n: u32, founders: u32, settings: Settings) -> Store {
        let stores = (1..=founders).map(|n| (StoreId(u64::from(n) + 100), SiteId(n)));
        Store {
            group: super::group(group),
            disk: SimDisk::new(u64::from(n), Faults::default()),
            id: StoreId(u64::from(n) + 100),
            founders: Configuration::majority(stores),
            settings,
            open: None,
            state: Vec::new(),
        }
    }

    pub fn open(&mut self, node: &mut Node, site: SiteId, incarnation: Incarnation) {
        let who = Who {
            site,
            store: self.id,
            life: Life { incarnation, nonce: incarnation.0 },
            founders: Some(self.founders.clone()),
        };
        let config = wal::Config { segment_bytes: 4_000, ..wal::Config::new(self.id.0) };
        let opened = DiskStore::open(self.disk.clone(), config, self.settings.clone(), who);
        let opened = opened.expect("a sound disk");
        self.open = Some(opened.store);
        self.load();
        node.open_durable(self.group.clone(), opened.machine);
    }

    pub fn crash(&mut self) {
        self.open = None;
        self.disk.crash();
    }

    fn load(&mut self) {
        let mut state = Vec::new();
        let store = self.open.as_ref().expect("it is open");
        let mut load =
            |_: &durable::Locator, part: &[u8]| state.push(String::from_utf8_lossy(part).into_owned());
        store.state(&mut load).expect("a sound disk");
        self.state = state;
    }

    /// Does what the node asks of the disk, and of the application.
    pub fn work(&mut self, node: &mut Node, now: Time, told: &mut Vec<Event>) {
        loop {
            let mut done = Vec::new();
            while let Some((_, op)) = node.poll_durable_store() {
                done.extend(self.open.as_mut().expect("it is open").work([op]));
            }
            // One part between two pieces of other work.
            let store = self.open.as_mut().expect("it is open");
            let mut busy = !done.is_empty() || store.is_taking();
            done.extend(store.take_some(1));
            while let Some(event) = node.poll_event() {
                busy = true;
                match &event {
                    Event::Durable { said: Said::Apply { entry, .. }, .. } => {
                        let Body::Request(request) = &entry.body else { panic!("{entry:?} is applied") };
                        self.state.push(String::from_utf8_lossy(&request.payload).into_owned());
                        let mut group = node.durable(now, &self.group).expect("it is open");
                        group.applied(entry.number.position, request.payload.clone());
                    }
                    Event::Durable { said: Said::Checkpoint { head, window }, .. } => {
                        let parts = self.state.clone().into_iter().enumerate().map(|(n, text)| {
                            let key = if n == 0 { Vec::new() } else { (n as u32).to_be_bytes().to_vec() };
                            (durable::Locator { domain: 1, key }, Bytes::from(text))
                        });
                        self.open.as_mut().expect("it is open").take(head.clone(), window, Box::new(parts));
                    }
                    Event::Durable { said: Said::Restore(_), .. } => self.load(),
                    _ => {}
                }
                told.push(event);
            }
            for done in done {
                node.durable(now, &self.group).expect("it is open").done(done);
            }
            node.settle(now);
            if !busy {
                return;
            }
        }
    }
}
