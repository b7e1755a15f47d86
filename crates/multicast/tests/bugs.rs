//! Each known bug of the flush, re-introduced, is caught by an assert or by a property.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Cluster, check};
use wire::{Bug, Bugs};

const STEPS: usize = 700;

/// Runs seeds with a bug until an assert or a property catches it.
fn caught(bug: Bug) {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = (0..2_000).find_map(|seed| {
        let run =
            catch_unwind(AssertUnwindSafe(|| check::violations(&Cluster::run(seed, Bugs::only(bug), STEPS))));
        match run {
            Ok(found) if found.is_empty() => None,
            Ok(found) => Some((seed, found[0].clone())),
            Err(_) => Some((seed, "an assert".to_owned())),
        }
    });
    let _ = std::panic::take_hook();
    let (seed, how) = caught.unwrap_or_else(|| panic!("{bug:?} is not caught"));
    println!("{bug:?}: caught at seed {seed}: {how}");
}

#[test]
fn every_flush_bug_is_caught() {
    caught(Bug::DeliverAfterFlush);
    caught(Bug::AckAfterFlush);
    caught(Bug::TwoFlushes);
    caught(Bug::ViewBelowFlushed);
    caught(Bug::HaveReceived);
    caught(Bug::FlushNotAwaited);
    caught(Bug::DeliverWithoutFlush);
    caught(Bug::OrderLostAtSequencerCrash);
}
