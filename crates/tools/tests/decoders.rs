//! Requests and snapshots from anybody: what was encoded is read again; changed bytes, and any bytes at all, give a typed
//! error or something that can be applied, break nothing, and never panic.

mod common;

use bytes::Bytes;
use common::draw::Draw;
use common::{Site, delete, parts, put, restored};
use durable::{Application, Locator};
use proptest::collection::vec;
use proptest::prelude::*;
use tools::map::limits::{BATCH_MAX, KEY_BYTES_MAX, REQUEST_BYTES_MAX, TTL_MS_MAX, VALUE_BYTES_MAX};
use tools::map::{Answer, Batch, Condition, Delete, Fault, Map, Operation, Put, Request};

fn site(seed: u64, steps: u64) -> (Site, Vec<Bytes>) {
    let mut draw = Draw::of(seed);
    let mut site = Site::default();
    let mut payloads = Vec::new();
    for _ in 0..steps {
        site.clock += u64::from(draw.below(25));
        let words = draw.words();
        let payload = draw.request(&site.map, &words).encode();
        site.apply_bytes(payload.clone());
        payloads.push(payload);
    }
    (site, payloads)
}

fn change(draw: &mut Draw, bytes: &mut [u8], near: usize) {
    for _ in 0..=draw.below(3) {
        let at = draw.below(bytes.len().min(near) as u32) as usize;
        bytes[at] = match draw.below(3) {
            0 => bytes[at] ^ (1 << draw.below(8)),
            1 => draw.below(256) as u8,
            _ => 0xff,
        };
    }
}

#[test]
fn what_was_encoded_is_read_again_and_nothing_shorter_is() {
    for seed in 0..20 {
        for payload in site(seed, 100).1 {
            match Request::decode(&payload) {
                Ok(request) => assert_eq!(request.encode(), payload),
                Err(fault) => assert_eq!(fault, Fault::KeyTwice, "what is drawn has no other fault"),
            }
            for cut in 0..payload.len().min(200) {
                assert_eq!(Request::decode(&payload[..cut]), Err(Fault::Unreadable));
            }
            let longer = [&payload[..], b"\0"].concat();
            assert_eq!(Request::decode(&longer), Err(Fault::Unreadable));
        }
    }
}

#[test]
fn changed_requests_never_break_a_map() {
    for seed in 0..6 {
        let (before, payloads) = site(seed, 60);
        let mut draw = Draw::of(seed + 500);
        let mut meant_something = 0;
        for payload in payloads {
            for _ in 0..40 {
                let mut changed = payload.to_vec();
                change(&mut draw, &mut changed, 200);
                let mut site = before.clone();
                let answer = site.apply_bytes(changed.into());
                meant_something += u32::from(!matches!(answer, Answer::Malformed(_)));
                if draw.chance(20) {
                    site.map.audit().unwrap();
                }
            }
        }
        assert!(meant_something > 100, "some still mean something: {meant_something}");
    }
}

#[test]
fn every_bound_of_a_request_is_refused_by_its_name() {
    let long = vec![b'k'; VALUE_BYTES_MAX + 1];
    let key = |bytes| Put { key: &long[..bytes], ..put("", "") };
    let value = |bytes| Put { value: &long[..bytes], ..put("a", "") };
    let ttl = |ms| Put { ttl_ms: Some(ms), ..put("a", "") };
    let only_if = |bytes| Put { only_if: Some(Condition::Value(&long[..bytes])), ..put("a", "") };
    let cases = [
        (Request::Put(key(0)), Err(Fault::KeyEmpty)),
        (Request::Put(key(KEY_BYTES_MAX)), Ok(())),
        (Request::Put(key(KEY_BYTES_MAX + 1)), Err(Fault::KeyTooLong)),
        (Request::Delete(delete("")), Err(Fault::KeyEmpty)),
        (Request::Delete(Delete { key: &long, only_if: None }), Err(Fault::KeyTooLong)),
        (Request::Put(value(VALUE_BYTES_MAX)), Ok(())),
        (Request::Put(value(VALUE_BYTES_MAX + 1)), Err(Fault::ValueTooLong)),
        (Request::Put(only_if(VALUE_BYTES_MAX)), Ok(())),
        (Request::Put(only_if(VALUE_BYTES_MAX + 1)), Err(Fault::ValueTooLong)),
        (Request::Put(ttl(0)), Err(Fault::Ttl)),
        (Request::Put(ttl(TTL_MS_MAX)), Ok(())),
        (Request::Put(ttl(TTL_MS_MAX + 1)), Err(Fault::Ttl)),
        (Request::Batch(Batch { operations: Vec::new() }), Err(Fault::Operations)),
    ];
    for (n, (request, wanted)) in cases.iter().enumerate() {
        assert_eq!(Request::decode(&request.encode()).map(drop), *wanted, "case {n}");
    }
    // The largest single operation fits; a batch of as many bytes as one likes does not.
    let largest =
        Put { key: &long[..KEY_BYTES_MAX], only_if: Some(Condition::Value(&long[1..])), ..value(1 << 20) };
    assert!(Request::decode(&Request::Put(largest).encode()).is_ok());
    let names: Vec<String> = (0..BATCH_MAX + 40).map(|n| format!("key {n}")).collect();
    let operations = |count: usize, bytes| {
        let put = |name| Operation::Put(Put { value: &long[..bytes], ..put(name, "") });
        Request::Batch(Batch { operations: names[..count].iter().map(|name| put(name)).collect() })
    };
    assert!(Request::decode(&operations(BATCH_MAX, 9).encode()).is_ok());
    assert_eq!(Request::decode(&operations(3, VALUE_BYTES_MAX).encode()), Err(Fault::RequestTooLong));
    assert_eq!(Request::decode(&vec![0; REQUEST_BYTES_MAX + 1]), Err(Fault::RequestTooLong));
    let twice = vec![Operation::Put(put("a", "1")), Operation::Delete(delete("a"))];
    assert_eq!(Request::decode(&Request::Batch(Batch { operations: twice }).encode()), Err(Fault::KeyTwice));
    assert_eq!(Request::decode(&operations(BATCH_MAX + 1, 0).encode()), Err(Fault::Operations));
    assert_eq!(Request::decode(&operations(BATCH_MAX + 40, 0).encode()), Err(Fault::Operations));
}

#[test]
fn a_small_request_cannot_claim_to_be_large() {
    // An array of 2^32 operations; byte strings of 2^63 bytes.
    for bytes in [
        &[0x82, 3, 0x81, 0xa1, 0, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0][..],
        &[0x82, 1, 0x81, 0xa1, 0, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x82, 3, 0x81, 0xbf],
        &[0x9f; 100],
    ] {
        assert_eq!(Request::decode(bytes), Err(Fault::Unreadable));
    }
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    let request = Request::Put(put("key", "value"));
    let mut bytes = request.encode().to_vec();
    // [1, [{0: key, 1: value, …}]]: one more field, number 90, with a text in it.
    assert_eq!(&bytes[..3], [0x82, 1, 0x81]);
    assert_eq!(bytes[3] & 0xe0, 0xa0, "a map of a known length");
    bytes[3] += 1;
    bytes.extend(minicbor::to_vec(90u8).unwrap());
    bytes.extend(minicbor::to_vec("from the future").unwrap());
    assert_eq!(Request::decode(&bytes), Ok(request));
    // A kind of request that this version does not know means nothing.
    assert_eq!(Request::decode(&[0x82, 25, 0x81, 0xa0]), Err(Fault::Unreadable));
}

#[test]
fn a_snapshot_is_taken_whole_in_order_and_unchanged_or_not_at_all() {
    let whole = parts(&site(2, 250).0.map);
    assert!(whole.len() > 3);
    assert!(restored(&whole).is_ok());
    let mut wrong: Vec<(&str, Vec<(Locator, Bytes)>)> = Vec::new();
    for at in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(at);
        if at + 1 < whole.len() {
            wrong.push(("without a part", without));
        }
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        wrong.push(("a part twice", twice));
        let mut swapped = whole.clone();
        swapped.swap(at, (at + 1) % whole.len());
        wrong.push(("in another order", swapped));
        let mut cut = whole.clone();
        cut[at].1.truncate(whole[at].1.len() - 1);
        wrong.push(("a part cut", cut));
        let mut named = whole.clone();
        named[at].0.key.push(1);
        wrong.push(("another locator", named));
        let mut domain = whole.clone();
        domain[at].0.domain += 1;
        wrong.push(("another domain", domain));
    }
    for (what, parts) in wrong {
        assert!(restored(&parts).is_err(), "{what}");
    }
    // Into a map that is not new.
    let mut used = Map::default();
    used.restore(&whole[0].0, whole[0].1.clone()).unwrap();
    assert!(used.restore(&whole[0].0, whole[0].1.clone()).is_err());
    let mut applied = site(4, 1).0.map;
    assert!(applied.restore(&whole[0].0, whole[0].1.clone()).is_err());
}

#[test]
fn a_changed_snapshot_is_refused_or_is_the_same() {
    let mut refused = 0;
    for seed in 0..8 {
        let map = site(3 * seed, 80).0.map;
        let whole = parts(&map);
        let mut draw = Draw::of(seed + 700);
        for _ in 0..400 {
            let mut changed = whole.clone();
            let at = draw.below(changed.len() as u32) as usize;
            let mut bytes = changed[at].1.to_vec();
            change(&mut draw, &mut bytes, usize::MAX);
            changed[at].1 = bytes.into();
            match restored(&changed) {
                Ok(again) => {
                    again.audit().unwrap();
                    assert_eq!(again.digest(), map.digest());
                    assert!(again.snapshot().eq(whole.iter().cloned()));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 2_000, "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_at_all_is_no_panic(bytes in vec(any::<u8>(), 0..300), kind in 0u8..5, domain in 0u16..5) {
        let _ = Request::decode(&bytes);
        let _ = Answer::decode(&bytes);
        let mut named = vec![0x82, kind, 0x81];
        named.extend(&bytes);
        let _ = Request::decode(&named);
        let _ = Answer::decode(&named);
        let mut site = Site::default();
        site.apply_bytes(named.into());
        site.map.audit().unwrap();
        let mut map = Map::default();
        let whole = parts(&map);
        let _ = map.restore(&Locator { domain, key: Vec::new() }, bytes.clone().into());
        let mut map = Map::default();
        map.restore(&whole[0].0, whole[0].1.clone()).unwrap();
        let _ = map.restore(&Locator { domain, key: Vec::new() }, bytes.into());
    }
}
