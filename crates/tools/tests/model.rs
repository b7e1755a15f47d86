//! Random requests, applied to the map and to an obvious model of it: every answer, every pair, every list is compared;
//! what watchers are told builds the same map; and a map from a snapshot goes on as the one it was made of.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::draw::Draw;
use common::{Site, parts, restored};
use durable::Application;
use tools::map::{Answer, Condition, Fault, Found, Map, Operation, Pair, Request, What};

/// `MAP_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("MAP_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(120)
}

#[derive(Clone, PartialEq, Debug)]
struct Known {
    value: Vec<u8>,
    found: Found,
    expires: Option<u64>,
}

struct Model {
    pairs: BTreeMap<Vec<u8>, Known>,
    quota: u64,
}

impl Model {
    fn counted(&self) -> u64 {
        self.pairs.iter().map(|(key, known)| (key.len() + known.value.len()) as u64 + 128).sum()
    }

    fn apply(&mut self, revision: u64, clock: u64, request: &Request) -> Answer {
        self.pairs.retain(|_, known| known.expires.is_none_or(|at| at > clock));
        let operations = match request {
            Request::Tick => return Answer::Done { revision, previous: None },
            Request::Quota(quota) => {
                self.quota = quota.bytes;
                return Answer::Done { revision, previous: None };
            }
            Request::Put(put) => vec![Operation::Put(put.clone())],
            Request::Delete(delete) => vec![Operation::Delete(delete.clone())],
            Request::Batch(batch) => batch.operations.clone(),
        };
        for (n, operation) in operations.iter().enumerate() {
            if operations[..n].iter().any(|other| other.key() == operation.key()) {
                return Answer::Malformed(Fault::KeyTwice);
            }
        }
        for (n, operation) in operations.iter().enumerate() {
            let known = self.pairs.get(operation.key());
            let holds = match operation.only_if() {
                None => true,
                Some(Condition::Absent) => known.is_none(),
                Some(Condition::Present) => known.is_some(),
                Some(Condition::Revision(revision)) => known.is_some_and(|k| k.found.modified == *revision),
                Some(Condition::Value(value)) => known.is_some_and(|k| &k.value[..] == *value),
            };
            if !holds {
                return Answer::Unmet { operation: n as u32, found: known.map(|known| known.found) };
            }
        }
        let before = self.pairs.clone();
        let counted = self.counted();
        let mut previous = Vec::new();
        for operation in &operations {
            let key = operation.key().to_vec();
            let known = self.pairs.remove(&key);
            previous.push(known.as_ref().map(|known| known.found.modified));
            if let Operation::Put(put) = operation {
                let created = known.as_ref().map_or(revision, |known| known.found.created);
                let versions = known.as_ref().map_or(1, |known| known.found.versions + 1);
                let found = Found { modified: revision, created, versions };
                let expires = put.ttl_ms.map(|ttl| clock + ttl);
                self.pairs.insert(key, Known { value: put.value.to_vec(), found, expires });
            }
        }
        if self.counted() > counted.max(self.quota) {
            self.pairs = before;
            return Answer::Full { counted, quota: self.quota };
        }
        match request {
            Request::Batch(_) => Answer::Batch { revision, previous },
            _ => Answer::Done { revision, previous: previous[0] },
        }
    }
}

fn known(pair: &Pair) -> (Vec<u8>, Known) {
    let found = Found { modified: pair.modified(), created: pair.created(), versions: pair.versions() };
    (pair.key().to_vec(), Known { value: pair.value().to_vec(), found, expires: pair.expires() })
}

fn compare(map: &Map, model: &Model, draw: &mut Draw) {
    let clock = map.clock();
    assert_eq!((map.len(), map.quota()), (model.pairs.len(), (model.counted(), model.quota)));
    assert_eq!(map.next_expiry(), model.pairs.values().filter_map(|known| known.expires).min());
    let key = draw.key();
    assert_eq!(map.get(&key, clock).map(|pair| known(pair).1).as_ref(), model.pairs.get(&key));
    // A reader whose clock is ahead, and who asks for a few pairs at a time.
    let later = clock + u64::from(draw.below(100));
    let prefix: &[u8] = [&b""[..], b"b", b"a/", b"\xff", b"none"][draw.below(5) as usize];
    let (mut listed, mut after) = (Vec::new(), None::<Bytes>);
    loop {
        let limit = draw.below(20) as usize;
        let some = map.list(prefix, after.as_deref(), limit, later);
        assert!(some.pairs.len() <= limit.max(1));
        listed.extend(some.pairs.iter().map(known));
        after = some.after;
        if after.is_none() {
            break;
        }
    }
    let seen =
        |key: &[u8], known: &Known| key.starts_with(prefix) && known.expires.is_none_or(|at| at > later);
    let wanted = model.pairs.iter().filter(|(key, known)| seen(key, known));
    assert!(listed.into_iter().eq(wanted.map(|(key, known)| (key.clone(), known.clone()))));
}

/// A watcher: what it believes, and from where it goes on.
#[derive(Default)]
struct Mirror {
    pairs: BTreeMap<Vec<u8>, Known>,
    upto: u64,
}

impl Mirror {
    fn follow(&mut self, map: &Map) {
        while self.upto < map.revision() {
            let changes = map.changes_since(self.upto, b"").expect("all is remembered");
            for change in changes.changes {
                assert!(change.revision > self.upto && change.revision <= changes.upto);
                match change.what {
                    What::Put(pair) => {
                        let (key, known) = known(&pair);
                        assert_eq!(known.found.modified, change.revision);
                        self.pairs.insert(key, known);
                    }
                    What::Deleted(key) => {
                        assert!(self.pairs.remove(&key[..]).is_some(), "it was there");
                    }
                    What::Expired(key) => {
                        let gone = self.pairs.remove(&key[..]).expect("it was there");
                        assert!(gone.expires.is_some_and(|at| at <= map.clock()));
                    }
                }
            }
            self.upto = changes.upto;
        }
    }
}

#[test]
fn the_map_is_what_an_obvious_map_would_be() {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds() {
        let mut draw = Draw::of(seed);
        let (mut site, mut mirror) = (Site::default(), Mirror::default());
        let mut model = Model { pairs: BTreeMap::new(), quota: 8 << 30 };
        site.clock = 1_700_000_000_000;
        for step in 0..400 {
            site.clock += u64::from(draw.below(25));
            let words = draw.words();
            let before = site.map.clone();
            let request = draw.request(&before, &words);
            let answer = site.apply(&request);
            let wanted = model.apply(site.map.revision(), site.clock, &request);
            assert_eq!(answer, wanted, "seed {seed}, step {step}: {request:?}");
            *reached.entry(kind(&answer)).or_default() += 1;
            compare(&site.map, &model, &mut draw);
            if step % 16 == 0 {
                site.map.audit().unwrap_or_else(|what| panic!("seed {seed}, step {step}: {what}"));
            }
            if draw.chance(20) {
                mirror.follow(&site.map);
                assert_eq!(mirror.pairs, model.pairs);
            }
        }
    }
    println!("{reached:?}");
    for kind in ["done", "batch", "unmet", "full", "malformed"] {
        assert!(reached.contains_key(kind), "no seed reached {kind}");
    }
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done { .. } => "done",
        Answer::Batch { .. } => "batch",
        Answer::Unmet { .. } => "unmet",
        Answer::Full { .. } => "full",
        Answer::Malformed(_) => "malformed",
    }
}

#[test]
fn a_map_from_a_snapshot_goes_on_like_the_one_it_was_taken_of() {
    let mut most = 0;
    for seed in 0..seeds() / 2 {
        let mut draw = Draw::of(seed);
        let mut sites = vec![Site::default()];
        for step in 0..300 {
            let clock = sites[0].clock + u64::from(draw.below(25));
            let words = draw.words();
            let before = sites[0].map.clone();
            let payload = draw.request(&before, &words).encode();
            let mut answers = sites.iter_mut().map(|site| {
                site.clock = clock;
                site.apply_bytes(payload.clone())
            });
            let answer = answers.next();
            assert!(answers.all(|other| Some(other) == answer), "seed {seed}, step {step}");
            if !draw.chance(4) {
                continue;
            }
            let parts = parts(&sites[0].map);
            most = most.max(parts.len());
            assert!(parts.windows(2).all(|two| two[0].0 < two[1].0), "rising locators from domain 1 on");
            assert!(parts.iter().all(|(at, part)| at.domain >= 1 && part.len() <= 4 << 20));
            let sound = parts.iter().all(|(_, part)| part.len() <= 64 << 10 || part.len() > 150_000);
            assert!(sound, "a part is long only for one pair");
            let map = restored(&parts).expect("its own parts");
            map.audit().unwrap();
            assert_eq!(map.digest(), sites[0].map.digest());
            if sites.len() == 4 {
                sites.pop();
            }
            sites.push(Site { map, clock });
            for site in &sites {
                assert_eq!(site.map.digest(), sites[0].map.digest());
                assert!(site.map.snapshot().eq(parts.iter().cloned()), "seed {seed}, step {step}");
            }
        }
    }
    assert!(most >= 7, "snapshots of several parts: {most}");
}

#[test]
fn a_snapshot_stays_as_it_was_while_the_map_goes_on() {
    for seed in 0..6 {
        let mut draw = Draw::of(3 * seed + 2);
        let mut site = Site::default();
        let mut step = |site: &mut Site| {
            site.clock += u64::from(draw.below(25));
            let words = draw.words();
            let before = site.map.clone();
            site.apply(&draw.request(&before, &words));
        };
        (0..600).for_each(|_| step(&mut site));
        let wanted = parts(&site.map);
        let mut drawn = Vec::new();
        for part in site.map.snapshot() {
            drawn.push(part);
            (0..50).for_each(|_| step(&mut site));
        }
        assert_eq!(drawn, wanted);
    }
}

/// The same pairs in trees that grew differently: what was between them, and is gone, came and went in other orders.
#[test]
fn digest_and_parts_are_of_the_state_and_not_of_the_way_to_it() {
    const GONE: u32 = 3_000;
    let filler = vec![7; 900];
    let mut sites = Vec::new();
    for factor in [1, 0x9e37_79b9, 3, 0xffff_ffff] {
        let mut site = Site::default();
        let key = |n: u32| format!("{:08x}", n.wrapping_mul(factor));
        for n in 0..GONE {
            site.apply(&Request::Put(common::put(&key(n), "x")));
        }
        for n in 0..GONE / 2 {
            site.apply(&Request::Delete(common::delete(&key(n))));
        }
        for n in 0..2_000 {
            let key = format!("7{:07x}", n * 7_919 % 2_000);
            let put = tools::map::Put { value: &filler[..n as usize % 900], ..common::put(&key, "") };
            site.apply(&Request::Put(put));
        }
        for n in GONE / 2..GONE {
            site.apply(&Request::Delete(common::delete(&key(n))));
        }
        site.map.audit().unwrap();
        sites.push(site);
    }
    assert!(sites[0].map.len() > 1_900);
    for site in &sites[1..] {
        assert_eq!(site.map.digest(), sites[0].map.digest());
        assert_eq!(parts(&site.map), parts(&sites[0].map));
    }
    let mut other = sites[0].clone();
    other.apply(&Request::Tick);
    assert_ne!(other.map.digest(), sites[0].map.digest());
}
