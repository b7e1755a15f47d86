//! Every decoder, fed with its own encodings, with these encodings changed, and with anything at all: what
//! was encoded is read again; nothing panics, nothing allocates far beyond its input.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::fields::file::messages;
use wire::fields::{Integer, Key, Message, Own, Value};
use wire::frame::{self, BODY_BYTES_MAX, Header, Kind};
use wire::{
    ClusterId, GroupId, GroupName, Hello, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, StoreId,
    ViewId, codec,
};

fn life() -> impl Strategy<Value = SiteIncarnation> {
    (any::<u32>(), any::<u64>())
        .prop_map(|(site, n)| SiteIncarnation { site: SiteId(site), incarnation: Incarnation(n) })
}

fn view() -> impl Strategy<Value = ViewId> {
    (any::<u64>(), any::<u32>(), life()).prop_map(|(epoch, attempt, coordinator)| ViewId {
        epoch,
        attempt,
        coordinator,
    })
}

fn process() -> impl Strategy<Value = ProcessId> {
    (life(), any::<u64>()).prop_map(|(birth, local)| ProcessId { birth, local })
}

fn hello() -> impl Strategy<Value = Hello> {
    (any::<(u64, u32, u64, u16, u16, u32)>(), life(), "[a-zé]{0,40}").prop_map(|(numbers, site, name)| {
        let (cluster, epoch, store, version_min, version_max, feature_level_max) = numbers;
        let mut hello = Hello::new(ClusterId(cluster), epoch, site, StoreId(store), &name);
        (hello.version_min, hello.version_max) = (version_min, version_max);
        hello.feature_level_max = feature_level_max;
        hello
    })
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![any::<u32>().prop_map(Key::Number), ".{0,8}".prop_map(Key::Name)]
}

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        some_bytes().prop_map(Value::Bytes),
        any::<i64>().prop_map(|n| Value::Integer(Integer::from(n))),
        any::<u64>().prop_map(|n| Value::Integer(Integer::from(n))),
        prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(-0.0)].prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        ".{0,20}".prop_map(Value::Text),
        any::<u32>().prop_map(|n| Value::Site(SiteId(n))),
        process().prop_map(Value::Process),
        (process(), any::<u64>()).prop_map(|(process, join)| Value::Member(MemberId { process, join })),
        (view(), any::<u32>()).prop_map(|(created, index)| Value::Group(GroupId { created, index })),
        view().prop_map(Value::View),
        ("[a-z]{0,8}", some_bytes()).prop_map(|(type_name, bytes)| Value::Own(Own { type_name, bytes })),
    ];
    plain.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((key(), inner), 0..6).prop_map(|fields| Value::Message(collect(fields))),
        ]
    })
}

fn collect(fields: Vec<(Key, Value)>) -> Message {
    fields.into_iter().fold(Message::new(), |message, (key, value)| message.with(key, value))
}

fn message() -> impl Strategy<Value = Message> {
    vec((key(), value()), 0..8).prop_map(collect)
}

/// Changes to make: a place, a new byte there, and whether to cut off or double what follows.
fn changes() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    vec(any::<(usize, u8, u8)>(), 1..6)
}

fn changed(bytes: &[u8], changes: &[(usize, u8, u8)]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (place, byte, how) in changes {
        if bytes.is_empty() {
            break;
        }
        let place = place % bytes.len();
        match how % 8 {
            0 => bytes.truncate(place),
            1 => bytes.extend_from_within(place..),
            2 => bytes.insert(place, *byte),
            3 => {
                bytes.remove(place);
            }
            _ => bytes[place] = *byte,
        }
    }
    Bytes::from(bytes)
}

/// Feeds every decoder; what any of them takes it must be able to say again.
fn feed_all(bytes: &Bytes) {
    if let Ok(message) = Message::decode(bytes) {
        let again = message.encode().expect("what was decoded is within the bounds");
        let read = Message::decode(&again).expect("what was encoded can be read");
        assert_eq!(read.encode().expect("within the bounds"), again);
    }
    let _any_result_is_fine = (
        Hello::decode(bytes),
        codec::decode::<GroupName>(bytes),
        codec::decode::<MemberId>(bytes),
        codec::decode::<GroupId>(bytes),
        codec::decode::<Vec<ViewId>>(bytes),
        Header::parse(bytes, BODY_BYTES_MAX),
        frame::split(bytes.clone(), BODY_BYTES_MAX),
    );
    // Each record takes at least its header, so this ends.
    assert!(messages(&bytes[..]).count() <= bytes.len() / 16 + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn anything_at_all_is_taken_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        feed_all(&bytes.into());
    }

    #[test]
    fn a_message_reads_as_it_was_written(message in message()) {
        let bytes = message.encode().expect("small");
        let read = Message::decode(&bytes).expect("what was encoded can be read");
        prop_assert_eq!(read.encode().expect("small"), bytes);
        // Equality of floats is not reflexive; everything else is compared as values.
        if !format!("{message:?}").contains("NaN") {
            prop_assert_eq!(read, message);
        }
    }

    #[test]
    fn a_changed_message_is_taken_or_refused(message in message(), changes in changes()) {
        feed_all(&changed(&message.encode().expect("small"), &changes));
    }

    #[test]
    fn a_changed_file_yields_only_messages_that_were_written(
        written in vec(message(), 1..4),
        changes in changes(),
    ) {
        let mut file = Vec::new();
        for message in &written {
            message.write_to(&mut file).expect("memory");
        }
        let encodings: Vec<Bytes> = written.iter().map(|m| m.encode().expect("small")).collect();
        for read in messages(&changed(&file, &changes)[..]).flatten() {
            prop_assert!(encodings.contains(&read.encode().expect("small")));
        }
        prop_assert_eq!(messages(&file[..]).filter_map(Result::ok).count(), written.len());
    }

    #[test]
    fn a_hello_reads_as_it_was_written_and_is_judged_alike_by_both(a in hello(), b in hello()) {
        prop_assert_eq!(Hello::decode(&a.encode()).expect("small"), a.clone());
        let (mine, theirs) = (a.agree(&b), b.agree(&a));
        if let (Ok(mine), Ok(theirs)) = (mine, theirs) {
            prop_assert_eq!(mine, theirs);
        }
    }

    #[test]
    fn a_changed_hello_or_frame_is_taken_or_refused(
        hello in hello(),
        kind in 0..Kind::ALL.len(),
        changes in changes(),
    ) {
        let body = hello.encode();
        let framed = frame::join(Kind::ALL[kind], 0, &body);
        feed_all(&changed(&body, &changes));
        feed_all(&changed(&framed, &changes));
    }
}
