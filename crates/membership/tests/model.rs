//! Exhaustive search of small cases of the production kernel, within printed bounds; the long run is
//! `cargo run --release -p unanimous-membership --example model`.

mod common;

use common::cases::cases;
use common::search::search;
use wire::Bugs;

#[test]
fn no_small_case_breaks_the_line() {
    for case in cases(0, 5_000) {
        let found = search(&case, Bugs::NONE);
        println!(
            "{}: {} states, depth {}, {}",
            case.name,
            found.states,
            found.depth,
            if found.complete { "complete" } else { "cut off" }
        );
        assert!(found.violation.is_none(), "{}: {:#?}", case.name, found.violation);
    }
}
