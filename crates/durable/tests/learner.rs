//! A store that is no founder learns from the log which stores count, so that its checkpoints say it to others.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable::{Configuration, Done, Durable, Life, Recovery, Settings, StoreOp, View};
use wire::{Incarnation, SiteId, StoreId, Time, ViewId};

const FOUNDER: SiteId = SiteId(1);
const LEARNER: SiteId = SiteId(2);

fn founding() -> Configuration {
    Configuration::majority([(StoreId(1), FOUNDER)])
}

fn start(site: SiteId, recovery: Recovery) -> Durable {
    let life = Life { incarnation: Incarnation(1), nonce: 1 };
    let founders = (site == FOUNDER).then(founding);
    recovery.start(site, StoreId(site.0.into()), life, founders).expect("a sound disk")
}

/// A disk that does everything at once.
#[derive(Default)]
struct Disk {
    meta: Option<Bytes>,
    log: BTreeMap<u64, Bytes>,
}

impl Disk {
    fn work(&mut self, op: StoreOp) -> Done {
        let token = op.token();
        match op {
            StoreOp::Meta { record, .. } => self.meta = Some(record),
            StoreOp::Append { records, .. } => {
                self.log.extend(records.into_iter().map(|r| (r.position, r.bytes)))
            }
            StoreOp::Cut { from, .. } => drop(self.log.split_off(&from)),
            other => panic!("nothing of the kind happens here: {other:?}"),
        }
        Done::Stored(token)
    }

    fn recovery(&self) -> Recovery {
        let mut recovery = Recovery::new(Settings::default(), self.meta.clone(), None);
        for (position, bytes) in &self.log {
            recovery.record(*position, bytes.clone(), true).expect("in order");
        }
        recovery
    }
}

#[test]
fn the_founding_configuration_is_in_the_log() {
    let now = Time::ZERO;
    let sites = vec![FOUNDER, LEARNER];
    let id = ViewId { epoch: 1, ..ViewId::default() };
    let mut hosts = [FOUNDER, LEARNER].map(|site| {
        let disk = Disk::default();
        (site, start(site, disk.recovery()), disk)
    });
    for (_, machine, _) in &mut hosts {
        machine.handle_view(now, View { id, primary: true, sites: sites.clone() });
    }
    while hosts.iter().any(|(_, machine, _)| machine.status().committed < 2) {
        let (mut casts, mut messages) = (Vec::new(), Vec::new());
        for (site, machine, disk) in &mut hosts {
            while let Some(op) = machine.poll_store() {
                machine.handle_done(now, disk.work(op));
            }
            casts.extend(std::iter::from_fn(|| machine.poll_cast()).map(|cast| (*site, cast)));
            messages.extend(std::iter::from_fn(|| machine.poll_transmit()).map(|sent| (*site, sent)));
        }
        assert!(!casts.is_empty() || !messages.is_empty(), "they stand still");
        for (site, machine, _) in &mut hosts {
            for (from, cast) in &casts {
                machine.handle_delivery(now, *from, cast.clone()).expect("its own kind");
            }
            for (from, sent) in messages.iter().filter(|(_, sent)| sent.to.contains(site)) {
                machine.handle_message(now, *from, &sent.message).expect("its own kind");
            }
        }
    }
    for (site, machine, disk) in hosts {
        assert_eq!(machine.status().configuration, founding());
        assert_eq!(start(site, disk.recovery()).status().configuration, founding(), "{site}");
    }
}
