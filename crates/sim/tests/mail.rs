//! Seeds of mail as what a durable group serves: they pass, and are the same run each time.

use sim::durable::{Options, Serving, expected, run_seed, run_seeds};
use sim::trace::Keep;

fn mail() -> Options {
    Options { serving: Serving::Mail, ..Options::default() }
}

#[test]
fn a_seed_of_mail_is_the_same_run_whether_or_not_it_is_put_in_words() {
    for seed in 1..4 {
        let first = run_seed(seed, &mail());
        let second = run_seed(seed, &Options { keep: Keep::Last(10), ..mail() });
        assert!(first.passed(), "{second}");
        assert_eq!((first.digest, first.events), (second.digest, second.events));
        assert!(first.messages > 20 && second.lines.len() == 10, "{second}");
    }
}

#[test]
fn users_of_mail_get_what_they_are_promised() {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let summary = run_seeds(10..50, threads, &mail(), &|_| {});
    assert!(summary.failures.is_empty(), "{}", summary.failures[0]);
    // Few seeds do not reach everything, but all that mail's clients do.
    let missing: Vec<&str> = summary.coverage.missing().map(|(_, name)| name).collect();
    assert!(expected(Serving::Mail).iter().any(|(_, name)| name.starts_with("mail: ")));
    assert!(missing.iter().all(|name| !name.starts_with("mail: ")), "never: {missing:?}");
}

/// The checks have to see the difference between a read behind the barrier and one that is not.
#[test]
fn local_reads_of_mail_do_not_see_all_that_was_acknowledged() {
    let caught = (0..60).find(|seed| {
        let report = run_seed(*seed, &Options { local_reads_passed_off: true, ..mail() });
        report.violations.iter().any(|violation| violation.property == "Receive After Acknowledge")
    });
    let seed = caught.expect("a local read that is behind");
    assert!(run_seed(seed, &mail()).passed());
}
