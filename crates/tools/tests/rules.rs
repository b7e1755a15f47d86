//! What the map promises, one scenario for each.

mod common;

use bytes::Bytes;
use common::{Site, delete, done, parts, put, restored};
use durable::{Application, Applying, ClientId};
use tools::map::limits::{CHANGES_LOOKS_MAX, EXPIRED_MAX, LIST_BYTES_MAX, LIST_LOOKS_MAX, LIST_MAX};
use tools::map::{
    Answer, Batch, Change, Compacted, Condition, Delete, Found, HistoryLimits, Map, Operation, Put, Quota,
    Request, What,
};

#[test]
fn a_key_remembers_when_it_came_to_be_when_it_changed_and_how_often() {
    let mut site = Site::default();
    assert_eq!(site.apply(&Request::Put(put("a", "1"))), done(1, None));
    assert_eq!(site.apply(&Request::Put(put("a", "2"))), done(2, Some(1)));
    let pair = site.map.get(b"a", 0).unwrap();
    assert_eq!((pair.value(), pair.created(), pair.modified(), pair.versions()), (&b"2"[..], 1, 2, 2));
    let delete = Request::Delete(delete("a"));
    assert_eq!(site.apply(&delete), done(3, Some(2)));
    assert_eq!(site.apply(&delete), done(4, None));
    assert_eq!(site.apply(&Request::Put(put("a", "3"))), done(5, None));
    let pair = site.map.get(b"a", 0).unwrap();
    assert_eq!((pair.created(), pair.versions()), (5, 1));
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing_and_says_what_was_found() {
    let mut site = Site::default();
    site.apply(&Request::Put(put("a", "1")));
    let found = Some(Found { modified: 1, created: 1, versions: 1 });
    let cases = [
        ("a", Condition::Absent, found),
        ("b", Condition::Present, None),
        ("a", Condition::Revision(7), found),
        ("b", Condition::Revision(0), None),
        ("a", Condition::Value(b"2"), found),
        ("b", Condition::Value(b""), None),
    ];
    for (key, condition, found) in cases {
        let before = site.map.get(b"a", 0).cloned();
        let answer = site.apply(&Request::Put(Put { only_if: Some(condition), ..put(key, "x") }));
        assert_eq!(answer, Answer::Unmet { operation: 0, found }, "{condition:?}");
        let delete = Delete { key: key.as_bytes(), only_if: Some(condition) };
        assert_eq!(site.apply(&Request::Delete(delete)), Answer::Unmet { operation: 0, found });
        assert_eq!((site.map.get(b"a", 0).cloned(), site.map.len()), (before, 1));
    }
    for condition in [Condition::Value(b"1"), Condition::Revision(14), Condition::Present] {
        let answer = site.apply(&Request::Put(Put { only_if: Some(condition), ..put("a", "2") }));
        assert!(matches!(answer, Answer::Done { .. }), "{condition:?}");
    }
}

fn lasting<'a>(key: &'a str, value: &'a str, ttl_ms: u64) -> Request<'a> {
    Request::Put(Put { ttl_ms: Some(ttl_ms), ..put(key, value) })
}

#[test]
fn a_pair_goes_when_an_entry_says_that_its_time_is_over() {
    let mut site = Site { clock: 1_000, ..Site::default() };
    site.apply(&lasting("a", "1", 50));
    site.apply(&Request::Put(put("b", "1")));
    assert_eq!((site.map.next_expiry(), site.value("a")), (Some(1_050), Some(&b"1"[..])));
    site.clock = 1_049;
    site.apply(&Request::Tick);
    assert_eq!(site.value("a"), Some(&b"1"[..]));
    // A reader whose clock is ahead does not see it; it is there all the same.
    assert!(site.map.get(b"a", 1_050).is_none());
    assert_eq!((site.map.list(b"", None, 9, 1_050).pairs.len(), site.map.len()), (1, 2));
    site.clock = 1_050;
    site.apply(&Request::Tick);
    assert_eq!((site.value("a"), site.map.len(), site.map.next_expiry()), (None, 1, None));
    // A clock that goes back brings nothing back, and a time to live counts from the time of the state.
    site.clock = 10;
    site.apply(&lasting("a", "2", 50));
    assert_eq!((site.map.clock(), site.map.next_expiry()), (1_050, Some(1_100)));
    assert_eq!(site.map.get(b"a", 1_050).unwrap().created(), 5);
    // A put without a time to live makes it stay.
    site.apply(&Request::Put(put("a", "3")));
    assert_eq!(site.map.next_expiry(), None);
}

#[test]
fn an_entry_finds_gone_what_is_due_at_its_own_time() {
    let mut site = Site { clock: 1_000, ..Site::default() };
    site.apply(&lasting("a", "1", 50));
    site.clock = 1_050;
    let absent = Put { only_if: Some(Condition::Absent), ..put("a", "2") };
    assert_eq!(site.apply(&Request::Put(absent)), done(2, None));
    let what: Vec<What> = changes(&site.map, 1, b"").into_iter().map(|change| change.what).collect();
    let pair = site.map.get(b"a", 1_050).unwrap().clone();
    assert_eq!(what, [What::Expired("a".into()), What::Put(pair)]);
}

#[test]
fn at_the_end_of_time_a_pair_still_has_an_end() {
    let mut site = Site { clock: u64::MAX, ..Site::default() };
    site.apply(&lasting("a", "1", 50));
    assert_eq!(site.map.next_expiry(), Some(u64::MAX - 1));
    site.apply(&Request::Tick);
    assert_eq!(site.value("a"), None);
    site.map.audit().unwrap();
}

#[test]
fn what_is_due_goes_in_the_order_of_its_end_and_so_much_at_a_time() {
    let mut site = Site { clock: 1_000, ..Site::default() };
    let many = EXPIRED_MAX as u64 + 500;
    for n in 0..many {
        // The last key goes first; two keys each go together.
        let key = format!("{n:05}");
        site.apply(&lasting(&key, "x", 10 + (many - n) / 2));
    }
    site.clock = 100_000;
    site.apply(&Request::Tick);
    let revision = site.map.revision();
    assert_eq!(site.map.len(), 500);
    // What has not had its turn is not seen, and is no hindrance.
    assert!(site.map.list(b"", None, LIST_MAX, site.map.clock()).pairs.is_empty());
    assert!(site.map.next_expiry().is_some_and(|at| at <= site.map.clock()));
    let left = "00003";
    assert!(site.map.get(left.as_bytes(), 0).is_some() && site.value(left).is_none());
    assert_eq!(site.apply(&Request::Put(put(left, "new"))), done(revision + 1, None));
    let gone: Vec<Change> = changes(&site.map, revision - 1, b"");
    let ended = |change: &&Change| matches!(change.what, What::Expired(_));
    let keys: Vec<u64> = gone
        .iter()
        .filter(ended)
        .map(|change| std::str::from_utf8(change.key()).unwrap().parse().unwrap())
        .collect();
    let mut wanted: Vec<u64> = (0..many).collect();
    wanted.sort_by_key(|n| ((many - n) / 2, *n));
    assert_eq!((&keys, keys.len() as u64), (&wanted, many));
    assert_eq!((site.map.len(), site.map.next_expiry(), site.value(left)), (1, None, Some(&b"new"[..])));
    site.map.audit().unwrap();
}

#[test]
fn a_delete_of_what_is_due_finds_nothing() {
    let mut site = Site { clock: 1_000, ..Site::default() };
    for n in 0..=EXPIRED_MAX {
        let key = format!("{n:05}");
        site.apply(&lasting(&key, "x", 10));
    }
    site.clock = 2_000;
    let last = format!("{EXPIRED_MAX:05}");
    let revision = site.map.revision();
    assert_eq!(site.apply(&Request::Delete(delete(&last))), done(revision + 1, None));
    let changes = changes(&site.map, revision, b"");
    assert_eq!(changes.last().unwrap().what, What::Expired(Bytes::from(last)));
    assert_eq!((changes.len(), site.map.len()), (EXPIRED_MAX + 1, 0));
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let mut site = Site::default();
    site.apply(&Request::Put(put("a", "1")));
    let move_it = |value: &'static [u8]| {
        let taken = Delete { key: b"a", only_if: Some(Condition::Value(value)) };
        let given = Put { only_if: Some(Condition::Absent), ..put("b", "1") };
        let counted = put("count", "1");
        Request::Batch(Batch {
            operations: vec![Operation::Put(counted), Operation::Delete(taken), Operation::Put(given)],
        })
    };
    let found = Some(Found { modified: 1, created: 1, versions: 1 });
    assert_eq!(site.apply(&move_it(b"2")), Answer::Unmet { operation: 1, found });
    assert_eq!((site.map.len(), site.value("a")), (1, Some(&b"1"[..])));
    let previous = vec![None, Some(1), None];
    assert_eq!(site.apply(&move_it(b"1")), Answer::Batch { revision: 3, previous });
    assert_eq!((site.value("a"), site.value("b")), (None, Some(&b"1"[..])));
    let at: Vec<u64> = changes(&site.map, 2, b"").iter().map(|change| change.revision).collect();
    assert_eq!(at, [3, 3, 3]);
}

#[test]
fn beyond_the_quota_nothing_is_added_and_everything_may_go() {
    let mut site = Site::default();
    site.apply(&Request::Put(put("a", "12345")));
    site.apply(&Request::Put(put("b", "12345")));
    let (counted, _) = site.map.quota();
    assert_eq!(counted, 2 * (6 + 128));
    site.apply(&Request::Quota(Quota { bytes: counted - 1 }));
    let full = Answer::Full { counted, quota: counted - 1 };
    assert_eq!(site.apply(&Request::Put(put("c", ""))), full);
    assert_eq!(site.apply(&Request::Put(put("a", "123456"))), full);
    // What makes the map no larger is allowed, also above the quota.
    assert_eq!(site.apply(&Request::Put(put("a", "54321"))), done(6, Some(1)));
    let exchange = vec![Operation::Put(put("c", "1")), Operation::Delete(delete("b"))];
    let exchange = Request::Batch(Batch { operations: exchange });
    assert_eq!(site.apply(&exchange), Answer::Batch { revision: 7, previous: vec![None, Some(2)] });
    assert_eq!(site.apply(&Request::Delete(delete("a"))), done(8, Some(6)));
    assert_eq!(restored(&parts(&site.map)).unwrap().quota(), site.map.quota());
}

/// All changes behind a revision, asked for piece by piece.
fn changes(map: &Map, mut since: u64, prefix: &[u8]) -> Vec<Change> {
    let mut all = Vec::new();
    while since < map.revision() {
        let some = map.changes_since(since, prefix).expect("remembered");
        assert!(some.upto > since, "it goes on");
        all.extend(some.changes);
        since = some.upto;
    }
    all
}

#[test]
fn a_watcher_goes_on_at_another_site_without_a_gap() {
    let (mut here, mut there) = (Site::default(), Site::default());
    let payloads: Vec<Bytes> = (0..40)
        .map(|n| match n % 4 {
            3 => Request::Delete(delete("b/1")).encode(),
            _ => Request::Put(put(["a/1", "b/1", "b/2"][n % 4], &n.to_string())).encode(),
        })
        .collect();
    payloads[..25].iter().for_each(|payload| drop(here.apply_bytes(payload.clone())));
    payloads[..10].iter().for_each(|payload| drop(there.apply_bytes(payload.clone())));
    let seen = here.map.changes_since(5, b"b/").unwrap();
    assert_eq!(seen.upto, 25);
    // The other site is behind: nothing yet, and nothing twice.
    let none = there.map.changes_since(seen.upto, b"b/").unwrap();
    assert_eq!((none.changes.len(), none.upto), (0, 25));
    payloads[10..].iter().for_each(|payload| drop(there.apply_bytes(payload.clone())));
    let rest = there.map.changes_since(seen.upto, b"b/").unwrap();
    payloads[25..].iter().for_each(|payload| drop(here.apply_bytes(payload.clone())));
    let both: Vec<Change> = seen.changes.into_iter().chain(rest.changes).collect();
    assert_eq!(both, changes(&here.map, 5, b"b/"));
    assert!(both.iter().all(|change| change.key().starts_with(b"b/") && change.revision > 5));
}

#[test]
fn a_watcher_who_comes_too_late_is_told_to_list_again() {
    let limits = HistoryLimits { changes_max: 10, bytes_max: 1_000 };
    let mut site = Site { map: Map::new(limits), clock: 0 };
    (0..30).for_each(|_| drop(site.apply(&Request::Put(put("a", "x")))));
    assert_eq!(site.map.changes_since(19, b""), Err(Compacted { upto: 20 }));
    assert_eq!(site.map.changes_since(20, b"").unwrap().changes.len(), 10);
    // By bytes.
    let long = "x".repeat(400);
    (0..3).for_each(|_| drop(site.apply(&Request::Put(put("a", &long)))));
    assert_eq!(site.map.changes_since(30, b""), Err(Compacted { upto: 31 }));
    assert_eq!(site.map.changes_since(31, b"").unwrap().changes.len(), 2);
    let longer = "x".repeat(1_000);
    site.apply(&Request::Put(put("a", &longer)));
    assert_eq!(site.map.changes_since(33, b""), Err(Compacted { upto: 34 }));
    // After a checkpoint only what came behind it is known.
    let mut map = restored(&parts(&site.map)).unwrap();
    assert_eq!(map.changes_since(33, b""), Err(Compacted { upto: 34 }));
    assert!(map.changes_since(34, b"").unwrap().changes.is_empty());
    let payload = Request::Put(put("b", "y")).encode();
    map.apply(Applying { position: 40, clock: 0, client: ClientId::default(), payload });
    let some = map.changes_since(34, b"").unwrap();
    assert_eq!((some.changes.len(), some.upto), (1, 40));
}

#[test]
fn where_nothing_is_remembered_nobody_watches() {
    let mut site = Site { map: Map::new(HistoryLimits::NONE), clock: 0 };
    site.apply(&Request::Put(put("a", "x")));
    assert_eq!(site.map.changes_since(0, b""), Err(Compacted { upto: 1 }));
    assert!(site.map.changes_since(1, b"").unwrap().changes.is_empty());
}

#[test]
fn changes_of_one_entry_are_never_parted() {
    let mut site = Site::default();
    let names: Vec<String> = (0..60).map(|n| format!("{n:02}")).collect();
    let batch = names.iter().map(|name| Operation::Put(put(name, "x"))).collect();
    let payload = Request::Batch(Batch { operations: batch }).encode();
    (0..100).for_each(|_| drop(site.apply_bytes(payload.clone())));
    let some = site.map.changes_since(0, b"").unwrap();
    assert!(some.upto < 100 && some.changes.len() >= CHANGES_LOOKS_MAX);
    assert_eq!(some.changes.len() as u64, 60 * some.upto);
    assert_eq!(changes(&site.map, 0, b"0").len(), 10 * 100);
    assert_eq!(changes(&site.map, 0, b"none").len(), 0);
}

#[test]
fn a_list_is_bounded_and_goes_on_where_it_stopped() {
    let mut site = Site { clock: 1_000, ..Site::default() };
    let long = "x".repeat(LIST_BYTES_MAX / 2);
    for n in 0..6 {
        let key = format!("long {n}");
        site.apply(&Request::Put(put(&key, &long)));
    }
    let some = site.map.list(b"long", None, 100, 0);
    assert_eq!((some.pairs.len(), some.after), (1, Some("long 0".into())));
    // Many that are hidden end a list early, and it is said that there is more.
    for n in 0..LIST_LOOKS_MAX + 10 {
        let key = format!("z{n:06}");
        site.apply(&lasting(&key, "", 10));
    }
    site.apply(&Request::Put(put("zz", "")));
    let some = site.map.list(b"z", None, LIST_MAX, 5_000);
    let after = some.after.expect("there is more");
    assert!(some.pairs.is_empty());
    let rest = site.map.list(b"z", Some(&after), LIST_MAX, 5_000);
    assert_eq!((rest.pairs.len(), rest.pairs[0].key(), rest.after), (1, &b"zz"[..], None));
    assert_eq!(site.map.list(b"z", None, usize::MAX, 0).pairs.len(), LIST_MAX);
    // Behind a key before the prefix it begins with the prefix; behind one after it there is nothing.
    assert_eq!(site.map.list(b"long", Some(b"a"), 1, 0).pairs[0].key(), b"long 0");
    assert!(site.map.list(b"long", Some(b"z"), 1, 0).pairs.is_empty());
}

#[test]
#[should_panic(expected = "2 after 2")]
fn an_entry_is_not_applied_twice() {
    let mut map = Map::default();
    for position in [2, 2] {
        let payload = Request::Tick.encode();
        map.apply(Applying { position, clock: 0, client: ClientId::default(), payload });
    }
}

#[test]
#[should_panic(expected = "restored to its end")]
fn half_a_snapshot_is_no_map() {
    let mut site = Site::default();
    site.apply(&Request::Put(put("a", "1")));
    let parts = parts(&site.map);
    let mut map = Map::default();
    parts[..2].iter().for_each(|(at, part)| map.restore(at, part.clone()).unwrap());
    let payload = Request::Tick.encode();
    map.apply(Applying { position: 2, clock: 0, client: ClientId::default(), payload });
}

#[test]
fn bytes_of_a_value_stay_when_the_pair_has_gone() {
    let mut site = Site::default();
    site.apply(&Request::Put(put("key", "value")));
    let value = site.map.get(b"key", 0).unwrap().value_bytes();
    site.apply(&Request::Delete(delete("key")));
    assert_eq!((&value[..], site.map.bytes(), site.map.is_empty()), (&b"value"[..], 0, true));
}
