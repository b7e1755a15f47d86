//! Replicas agree: between each other, between replay and checkpoint with a tail, with entries whose letters
//! were left out, and however often requests are repeated.

mod common;

use bytes::Bytes;
use common::draw::Draw;
use mail::{BadCheckpoint, Checkpoint, Entry, EntryTime, Limits, Outcome, Position, Restore, State};

const SEEDS: u64 = 120;
const STEPS: u64 = 200;

type Log = Vec<(Position, EntryTime, Entry)>;

/// A log drawn from a seed, positions four apart, and the state after it.
fn run(seed: u64, limits: Limits) -> (Log, State) {
    let mut draw = Draw::of(seed);
    let mut state = State::new(limits);
    let founding = draw.founding();
    let (mut log, mut time) = (Log::new(), 1_700_000_000_000);
    for step in 1..=STEPS {
        time += 1 + u64::from(draw.below(1_000));
        let entry = match founding.get(step as usize - 1) {
            Some(entry) => entry.clone(),
            None => draw.entry(&state, time),
        };
        let (position, time) = (Position(4 * step), EntryTime(time));
        state.apply(position, time, &entry);
        log.push((position, time, entry));
    }
    (log, state)
}

fn restored(chunks: impl Iterator<Item = Bytes>) -> Result<State, BadCheckpoint> {
    let mut restore = Restore::new();
    for chunk in chunks {
        assert!(chunk.len() <= mail::limits::CHECKPOINT_CHUNK_BYTES_MAX);
        restore.read(&chunk)?;
    }
    restore.finish()
}

fn same(a: &State, b: &State) {
    assert_eq!(a.digest(), b.digest());
    assert!(a == b);
}

#[test]
fn a_checkpoint_and_the_tail_are_as_good_as_the_log() {
    for seed in 0..SEEDS {
        let (log, state) = run(seed, Limits::default());
        let cut = (seed * 7919 % STEPS) as usize;
        let mut donor = State::new(Limits::default());
        for (position, time, entry) in &log[..cut] {
            donor.apply(*position, *time, entry);
        }
        let mut taker = restored(Checkpoint::of(&donor)).expect("a sound checkpoint");
        same(&taker, &donor);
        for (position, time, entry) in &log[cut..] {
            // What is deleted by the end travels without its letter [Mail 10].
            let wanted = state.is_live(*position);
            let sent = if wanted { entry.clone() } else { entry.without_letter() };
            let sent = Entry::decode(&sent.encode()).expect("an entry of ours");
            assert_eq!(
                donor.apply(*position, *time, entry),
                taker.apply_bytes(*position, *time, &sent.encode())
            );
            assert_eq!(donor.digest(), taker.digest(), "seed {seed} at {position}");
        }
        same(&taker, &state);
        taker.audit().expect("a sound state");
    }
}

#[test]
fn a_checkpoint_goes_on_from_another_donor() {
    for seed in 0..30 {
        let (log, one) = run(seed, Limits::default());
        let mut early = State::new(Limits::default());
        for (position, time, entry) in &log[..50] {
            early.apply(*position, *time, entry);
        }
        // The other donor has a history of its own: it was restored itself.
        let mut other = restored(Checkpoint::of(&early)).expect("a sound checkpoint");
        for (position, time, entry) in &log[50..] {
            other.apply(*position, *time, entry);
        }
        let first: Vec<Bytes> = Checkpoint::of(&one).collect();
        let second: Vec<Bytes> = Checkpoint::of(&other).collect();
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn requests_that_are_repeated_anywhere_later_do_no_harm() {
    let mut repeats = 0;
    for seed in 0..SEEDS {
        let (log, state) = run(seed, Limits::default());
        let mut draw = Draw::of(seed + 1_000_000);
        let mut other = State::new(Limits::default());
        for (at, (position, time, entry)) in log.iter().enumerate() {
            other.apply(*position, *time, entry);
            for after in 1..=3 {
                // Entries with a request that was done; the others are not said to be repeatable.
                let (_, _, again) = &log[draw.below(at as u32 + 1) as usize];
                let done = again.head().request.is_some_and(|request| other.is_done(&request));
                if !done {
                    continue;
                }
                let outcome = other.apply(Position(position.0 + after), *time, again);
                assert!(matches!(outcome, Outcome::Repeated { .. }), "{outcome:?}");
                repeats += 1;
            }
        }
        assert_eq!(other.digest(), state.digest(), "seed {seed}");
    }
    assert!(repeats > 1_000, "{repeats} repeats");
}

#[test]
fn entries_that_were_applied_change_nothing() {
    let (log, mut state) = run(5, Limits::default());
    let before = state.clone();
    for (position, time, entry) in &log {
        let outcome = state.apply(*position, *time, entry);
        assert_eq!(outcome, Outcome::Refused(mail::Refusal::AlreadyApplied));
    }
    same(&state, &before);
}

#[test]
fn small_limits_hold_and_travel() {
    let limits = Limits { users_max: 3, mailboxes_max: 4, requests_max: 5, ..Limits::default() };
    for seed in 0..40 {
        let (_, state) = run(seed, limits);
        state.audit().expect("a sound state");
        assert!(state.users().count() <= 3 && state.requests_remembered() <= 5);
        assert!(state.users().all(|user| user.mailboxes().count() <= 4));
        same(&restored(Checkpoint::of(&state)).expect("a sound checkpoint"), &state);
    }
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let (_, state) = run(9, Limits::default());
    let chunks: Vec<Bytes> = Checkpoint::of(&state).collect();
    let whole: Vec<u8> = chunks.concat();
    assert_eq!(chunks.len(), 1, "small enough to change every byte of it");
    let mut survived = 0;
    for at in 0..whole.len() {
        for flip in [1, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            // Some bytes carry nothing: a number may be written in more than one way.
            if let Ok(read) = restored([Bytes::from(damaged)].into_iter()) {
                same(&read, &state);
                survived += 1;
            }
        }
    }
    assert!(survived < whole.len() / 10, "{survived} of {}", whole.len());
    assert_eq!(restored(std::iter::empty()), Err(BadCheckpoint::Unfinished));
    let half = Bytes::from(whole[..whole.len() / 2].to_vec());
    assert!(restored([half].into_iter()).is_err());
    let twice = [chunks[0].clone(), chunks[0].clone()];
    assert!(restored(twice.into_iter()).is_err());
}

#[test]
fn the_digest_tells_states_apart() {
    for seed in 0..20 {
        let (log, state) = run(seed, Limits::default());
        let mut other = State::new(Limits::default());
        for (at, (position, time, entry)) in log.iter().enumerate() {
            // One entry is lost.
            if at as u64 != STEPS / 2 {
                other.apply(*position, *time, entry);
            }
        }
        assert_eq!(other == state, other.digest() == state.digest(), "seed {seed}");
    }
}
