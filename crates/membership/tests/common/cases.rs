//! The bounded cases: what is searched, and within which budget.

use super::search::{Case, Event};

/// The cases. `timers` more timers run out than in the least of them, and no case looks at more than
/// `states_max` states.
pub fn cases(timers_more: u32, states_max: usize) -> Vec<Case> {
    let case = |name, founders, events: &[Event], timers: u32, doubled| Case {
        name,
        founders,
        founding: false,
        events: events.to_vec(),
        timers: (timers + timers_more).saturating_sub(2),
        doubled,
        slow_disk: false,
        states_max,
    };
    use Event::{Ask, Crash, Fail, Join, Leave, Reorder, Restart, RestartFromCopy, Search};
    let mut cases = vec![
        case("a request and its coordinator's crash", 3, &[Ask(1), Crash(1, 0), Fail(2, 1)], 3, 0),
        case("two simultaneous changes", 3, &[Ask(1), Ask(2)], 2, 0),
        case("two changes and a doubled packet", 3, &[Ask(1), Ask(1)], 1, 1),
        case("two elections", 3, &[Fail(2, 1), Fail(3, 1)], 3, 0),
        case("crash and restart from disk", 3, &[Ask(1), Crash(1, 0), Restart(1)], 2, 0),
        case("an acceptor's crash and restart", 3, &[Ask(1), Crash(2, 0), Restart(2)], 2, 0),
        case("a partition and its merge", 3, &[Fail(1, 2), Fail(1, 3), Fail(2, 1), Search(1)], 3, 0),
        case("an even tie", 2, &[Fail(1, 2), Fail(2, 1), Search(1)], 4, 0),
        case("four sites in halves", 4, &[Fail(1, 3), Fail(1, 4), Fail(3, 1), Fail(3, 2)], 3, 0),
        case("silence that establishes nothing", 3, &[Ask(3)], 4, 0),
        case("an old copy of a disk", 3, &[Ask(1), Crash(3, 0), RestartFromCopy(3)], 2, 0),
        case("a leave and a request", 3, &[Ask(1), Leave(3)], 3, 0),
        case("the coordinator leaves", 3, &[Ask(2), Leave(1)], 2, 0),
        case("a reorder and a request", 3, &[Reorder(2, 3), Ask(1)], 2, 0),
        case("a join and the sponsor's crash", 3, &[Join(4), Crash(1, 0), Fail(2, 1)], 3, 0),
        Case { founding: true, ..case("founding", 3, &[], 2, 1) },
        Case { founding: true, ..case("founding with a crash", 2, &[Crash(1, 0), Restart(1)], 3, 0) },
        Case { slow_disk: true, ..case("a slow disk", 3, &[Ask(1)], 2, 0) },
    ];
    cases.push(Case {
        slow_disk: true,
        ..case("a crash before the disk", 3, &[Ask(1), Crash(2, 0), Restart(2), Fail(3, 1)], 3, 0)
    });
    cases
}
