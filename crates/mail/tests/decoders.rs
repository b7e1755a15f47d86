//! Entries and checkpoints from anybody: what was encoded is read again, changed bytes and any bytes at all
//! give an error or something that can be applied, and nothing panics.

mod common;

use bytes::Bytes;
use common::draw::Draw;
use mail::command::Store;
use mail::{
    Command, Entry, EntryTime, FlagNames, FlagOp, Limits, MailboxId, Position, Principal, Restore, State,
    UidSet,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A state with something in it, and the entries that made it.
fn drawn(seed: u64) -> (State, Vec<Entry>) {
    let mut draw = Draw::of(seed);
    let mut state = State::new(Limits::default());
    let mut entries = draw.founding();
    for step in 0..80 {
        let entry = if step < entries.len() {
            entries[step].clone()
        } else {
            draw.entry(&state, 1_000 + step as u64)
        };
        state.apply(Position(step as u64 + 1), EntryTime(1_000 + step as u64), &entry);
        if step >= entries.len() {
            entries.push(entry);
        }
    }
    (state, entries)
}

#[test]
fn what_was_encoded_is_read_again() {
    for seed in 0..20 {
        for entry in drawn(seed).1 {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes).as_ref(), Ok(&entry));
            assert_eq!(Entry::letter_in(&bytes).unwrap(), entry.letter().map_or(&[][..], |l| l));
            let brief = entry.without_letter();
            assert_eq!(Entry::decode(&brief.encode()).as_ref(), Ok(&brief));
            assert_eq!(brief.head(), entry.head());
        }
    }
}

#[test]
fn changed_entries_never_break_a_state() {
    for seed in 0..6 {
        let (state, entries) = drawn(seed);
        let mut draw = Draw::of(seed + 500);
        for entry in entries {
            let bytes = entry.encode();
            for _ in 0..40 {
                let mut changed = bytes.to_vec();
                let near = (changed.len() as u32).min(300);
                for _ in 0..=draw.below(3) {
                    let at = draw.below(near) as usize;
                    changed[at] = match draw.below(3) {
                        0 => changed[at] ^ (1 << draw.below(8)),
                        1 => draw.below(256) as u8,
                        _ => 0xff,
                    };
                }
                let mut victim = state.clone();
                victim.apply_bytes(Position(1_000), EntryTime(5_000), &Bytes::from(changed));
                victim.audit().expect("a sound state");
            }
            for cut in 0..bytes.len().min(200) {
                assert!(Entry::decode(&bytes.slice(..cut)).is_err());
            }
        }
    }
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    let command = Command::Store(Store {
        mailbox: MailboxId(1),
        uids: UidSet::of([1, 2]),
        op: FlagOp::Add,
        flags: FlagNames::default(),
        unchanged_since: None,
    });
    let entry = Entry::new(Principal::Operator, None, command).unwrap();
    let bytes = entry.encode();
    // The head is a map: one more field, number 90, with a text in it.
    let mut later = bytes[6..].to_vec();
    assert_eq!(later[0] & 0xe0, 0xa0, "a map of a known length");
    later[0] += 1;
    later.extend(minicbor::to_vec(90u8).unwrap());
    later.extend(minicbor::to_vec("from the future").unwrap());
    let mut whole = bytes[..2].to_vec();
    whole.extend((later.len() as u32).to_be_bytes());
    whole.extend(later);
    assert_eq!(Entry::decode(&Bytes::from(whole)), Ok(entry));
}

#[test]
fn a_small_entry_cannot_claim_to_be_large() {
    // An array of 2^32 recipients in a few bytes; a head longer than the bytes.
    for head in [&[0xa1, 0x02, 0x82, 0x01, 0x81, 0xa1, 0x01, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0][..], &[0xbf; 100]]
    {
        let mut bytes = vec![1, 0];
        bytes.extend((head.len() as u32).to_be_bytes());
        bytes.extend(head);
        assert!(Entry::decode(&Bytes::from(bytes)).is_err());
    }
    assert!(Entry::decode(&Bytes::from_static(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0])).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_at_all_is_no_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Entry::decode(&Bytes::from(bytes.clone()));
        let mut prefixed = vec![1, 0];
        prefixed.extend((bytes.len() as u32).to_be_bytes());
        prefixed.extend(&bytes);
        let _ = Entry::decode(&Bytes::from(prefixed));
        let mut restore = Restore::new();
        let mut chunk = vec![1];
        chunk.extend(bytes);
        let _ = restore.read(&chunk);
        let _ = restore.finish();
    }

    #[test]
    fn names_that_are_taken_are_normal(text in "\\PC{0,40}") {
        if let Ok(name) = mail::MailboxName::parse(&text) {
            prop_assert_eq!(mail::MailboxName::parse(name.as_str()).unwrap(), name.clone());
            prop_assert_eq!(mail::MailboxName::normal(name.as_str()).unwrap(), name);
        }
        if let Ok(name) = mail::UserName::parse(&text) {
            prop_assert_eq!(mail::UserName::normal(name.as_str()).unwrap(), name);
        }
        if let Ok(address) = mail::Address::parse(&text) {
            prop_assert_eq!(mail::Address::normal(address.as_str()).unwrap(), address);
        }
    }
}
