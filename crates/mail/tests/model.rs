//! Random entries, applied to the state and to a slow and obvious model of it; whatever can be asked is
//! compared after every step, and every invariant is audited.

mod common;

use std::collections::BTreeMap;

use common::compare::compare;
use common::draw::Draw;
use common::model::Model;
use mail::{EntryTime, Limits, Outcome, Position, State};

/// `MAIL_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("MAIL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150)
}

const STEPS: u64 = 250;

#[test]
fn the_state_is_what_an_obvious_mail_store_would_be() {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds() {
        let mut draw = Draw::of(seed);
        let (mut state, mut model) = (State::new(Limits::default()), Model::default());
        let mut names: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        let founding = draw.founding();
        let mut time = 1_700_000_000_000;
        for step in 1..=STEPS {
            let position = 3 * step;
            time = if draw.chance(1) { time + 13 * 3_600_000 } else { time + 10 - u64::from(draw.below(8)) };
            let entry = match founding.get(step as usize - 1) {
                Some(entry) => entry.clone(),
                None => draw.entry(&state, time),
            };
            let outcome = state.apply(Position(position), EntryTime(time), &entry);
            let wanted = model.apply(position, time, &entry);
            assert_eq!(outcome, wanted, "seed {seed}, step {step}: {:?}", entry.head());
            compare(&state, &model);
            if let Err(what) = state.audit() {
                panic!("seed {seed}, step {step}: {what}");
            }
            never_two_letters_of_one_name(&state, &mut names);
            *reached.entry(kind(&outcome)).or_default() += 1;
        }
    }
    println!("{reached:?}");
    for outcome in ["done", "delivered", "appended", "stored", "expunged", "copied", "repeated", "refused"] {
        assert!(reached.contains_key(outcome), "no seed reached {outcome}");
    }
}

/// (UIDVALIDITY, UID) names one letter for ever [Mail 5].
fn never_two_letters_of_one_name(state: &State, names: &mut BTreeMap<(u32, u32), u64>) {
    for mailbox in state.users().flat_map(|user| user.mailboxes()).filter_map(|(_, id)| state.mailbox(id)) {
        let validity = mailbox.status().uid_validity;
        for record in mailbox.records() {
            let letter = *names.entry((validity, record.uid)).or_insert(record.letter.0);
            assert_eq!(letter, record.letter.0, "UIDVALIDITY {validity}, UID {}", record.uid);
        }
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Delivered(_) => "delivered",
        Outcome::Appended { .. } => "appended",
        Outcome::Stored { .. } => "stored",
        Outcome::Expunged { .. } => "expunged",
        Outcome::Copied { .. } => "copied",
        Outcome::Created { .. } => "created",
        Outcome::Added(_) => "added",
        Outcome::Claimed { .. } => "claimed",
        Outcome::Enrolled { .. } => "enrolled",
        Outcome::Repeated { .. } => "repeated",
        Outcome::Refused(_) => "refused",
    }
}
