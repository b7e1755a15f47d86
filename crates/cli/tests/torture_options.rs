//! The torture harness's arguments, which it reads itself.

#[path = "torture/args.rs"]
mod args;

use args::{Args, USAGE};

fn parse(line: &str) -> Result<Args, String> {
    Args::parse("program".into(), &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

fn good(line: &str) -> Args {
    parse(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

#[test]
fn names_and_skips_choose_and_nothing_chooses_all() {
    let chosen = |line: &str| -> Vec<&str> {
        let args = good(line);
        ["mail", "mail_faults", "kills"].into_iter().filter(|name| args.options.wants(name)).collect()
    };
    assert_eq!(chosen(""), ["mail", "mail_faults", "kills"]);
    assert_eq!(chosen("mail"), ["mail", "mail_faults"]);
    assert_eq!(chosen("mail --exact"), ["mail"]);
    assert_eq!(chosen("--skip mail"), ["kills"]);
    assert_eq!(chosen("mail --skip=faults"), ["mail"]);
    assert!(chosen("imap_transcripts").is_empty(), "a filter that means other tests runs nothing");
    assert_eq!(good("imap --skip x").filter(), "imap --skip x");
}

#[test]
fn what_cargo_test_passes_on_is_passed_over_and_what_nobody_knows_is_refused() {
    let args = good("--nocapture --test-threads 1 --test-threads=2 -q --color always --format=pretty kills");
    assert_eq!((args.list || args.help, args.options.names), (false, vec!["kills".to_owned()]));
    for (line, why) in [
        ("--log", "--log is no option"),
        ("kills --sed 7", "--sed is no option"),
        ("-x", "-x is no option"),
        ("--seed", "--seed wants a value"),
        ("--seed seven", "--seed: \"seven\" is no number, or too high"),
        ("--times=5000000000", "--times: \"5000000000\" is no number, or too high"),
        ("--long=1", "--long takes no value"),
    ] {
        assert_eq!(parse(line).map(|args| args.options.names), Err(why.to_owned()), "{line}");
    }
}

#[test]
fn numbers_are_read_in_both_spellings() {
    let args = good("--seed 7 --times=3 --seconds 600 --long --list --help");
    let options = &args.options;
    assert_eq!((options.seed, options.times, options.seconds), (7, Some(3), Some(600)));
    assert!(options.long && args.list && args.help);
    assert!(USAGE.contains("--seconds N"));
}
