//! What the map promises, one scenario for each.

mod common;

use common::{Site, done};
use durable::Application;
use tools::map::{Answer, Condition, Delete, Found, Put, Request};

fn put<'a>(key: &'a str, value: &'a str) -> Put<'a> {
    Put { key: key.as_bytes(), value: value.as_bytes(), ttl_ms: None, only_if: None }
}

#[test]
fn a_key_remembers_when_it_came_to_be_when_it_changed_and_how_often() {
    let mut site = Site::default();
    assert_eq!(site.apply(&Request::Put(put("a", "1"))), done(1, None));
    assert_eq!(site.apply(&Request::Put(put("a", "2"))), done(2, Some(1)));
    let pair = site.map.get(b"a", 0).unwrap();
    assert_eq!((pair.value(), pair.created(), pair.modified(), pair.versions()), (&b"2"[..], 1, 2, 2));
    let delete = Request::Delete(Delete { key: b"a", only_if: None });
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
    for (revision, condition) in
        [Condition::Value(b"1"), Condition::Revision(14), Condition::Present].iter().enumerate()
    {
        let answer = site.apply(&Request::Put(Put { only_if: Some(*condition), ..put("a", "2") }));
        assert!(matches!(answer, Answer::Done { .. }), "{revision}: {condition:?}");
    }
    site.map.audit().unwrap();
    let _ = site.map.digest();
}
