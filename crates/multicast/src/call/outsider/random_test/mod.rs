//! Clients, contacts and members under seeded deaths, joins, departures, partitions, merges and delays, on a model of the
//! group's data plane (`eras.rs`). The link between two sites is in order; what is sent across a partition arrives when it
//! is healed, and what the dead had sent may be lost.
//!
//! What must hold: no member is delivered a cast twice; those who move together were delivered the same in the same
//! order; a client is told that a cast is carried only when somebody was delivered it whom no failure separates from
//! those who stay; as long as one side lives at a time, a cast is delivered in one view; every outcome adds up, and
//! every cast has its fate.

mod check;
mod eras;
mod site;
mod world;

use wire::Bugs;

use super::ClientId;
use world::World;

type CastId = (ClientId, u64);

/// What was reached.
#[derive(Default, Debug)]
struct Coverage {
    deaths: u32,
    joins: u32,
    /// Sites of sides that had died.
    ended: u32,
    parted: u32,
    merged: u32,
    /// Sites that installed a later view than the others, alone.
    slept: u32,
    /// Casts that a cut did not have.
    lost: u32,
    /// Deliveries of a copy in the view of the first.
    repeated: u32,
    /// Casts of which the contact knew that they were delivered.
    known: u32,
    /// Times that a contact did not know enough.
    waited: u32,
    /// Tables sent.
    tables: u32,
    answered: u32,
    carried: u32,
    unknown: u32,
    forgotten: u32,
    gone: u32,
}

impl Coverage {
    fn add(&mut self, other: &Coverage) {
        let theirs = other.all();
        self.all_mut().into_iter().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
    }

    fn all(&self) -> [u32; 16] {
        let mut copy = Coverage { ..*self };
        copy.all_mut().map(|count| *count)
    }

    fn all_mut(&mut self) -> [&mut u32; 16] {
        let Coverage {
            deaths,
            joins,
            ended,
            parted,
            merged,
            slept,
            lost,
            repeated,
            known,
            waited,
            tables,
            answered,
            carried,
            unknown,
            forgotten,
            gone,
        } = self;
        [
            deaths, joins, ended, parted, merged, slept, lost, repeated, known, waited, tables, answered,
            carried, unknown, forgotten, gone,
        ]
    }
}

/// How many seeds a run tries.
const SEEDS: u64 = 1000;

#[test]
fn an_acknowledged_cast_is_delivered_once_at_all_who_stay() {
    let mut seen = Coverage::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Bugs::NONE);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = result {
            eprintln!("seed {seed} fails ({:?})", world.sides_may);
            std::panic::resume_unwind(panic);
        }
        seen.add(&world.seen);
    }
    println!("{seen:?}");
    for count in seen.all() {
        assert!(count >= 10, "every kind of trouble is reached: {seen:?}");
    }
}

#[cfg(feature = "bugs")]
#[test]
fn the_check_catches_an_outsiders_cast_delivered_twice() {
    let caught = (0..50).any(|seed| {
        let mut world = World::new(seed, Bugs::only(wire::Bug::OutsiderCastTwice));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run())).is_err()
    });
    assert!(caught);
}
