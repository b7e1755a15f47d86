//! The long run of the model checker: `cargo run --release -p unanimous-membership --example model -- [MORE] [STATES]`.
//!
//! `MORE` timers run out beyond those of the least cases (default 1); no case looks at more than `STATES` states
//! (default 2,000,000). It prints the bounds and the numbers of states, and fails if a case breaks the line.

#[path = "../tests/common/mod.rs"]
mod common;

use common::cases::cases;
use common::search::search;
use wire::Bugs;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| {
        args.next().map_or(default, |arg| arg.parse().expect("a number: [MORE timers] [STATES at most]"))
    };
    let (more, states_max) = (u32::try_from(number(1)).unwrap_or(u32::MAX), number(2_000_000));
    let mut sum = 0;
    println!(
        "{:<42} {:>5} {:>6} {:>7} {:>10} {:>5}",
        "case", "sites", "timers", "doubled", "states", "depth"
    );
    for case in cases(more, states_max) {
        let found = search(&case, Bugs::NONE);
        sum += found.states;
        println!(
            "{:<42} {:>5} {:>6} {:>7} {:>10} {:>5} {}",
            case.name,
            case.founders,
            case.timers,
            case.doubled,
            found.states,
            found.depth,
            if found.complete { "complete" } else { "cut off" }
        );
        if let Some((what, way)) = found.violation {
            println!("{what}:\n  {}", way.join("\n  "));
            std::process::exit(1);
        }
    }
    println!("{sum} states, no violation");
}
