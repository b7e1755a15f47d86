//! The harness's arguments: those of libtest that make sense here, and the scenarios' own.

use std::path::PathBuf;

use torture::Options;

pub const USAGE: &str =
    "torture [NAME ...] [--exact] [--skip NAME] [--list] [--long] [--seed N] [--seconds N] [--times N]

    NAME          run the scenarios whose names contain it; with --exact, those of this name
    --skip NAME   but not these
    --list        print the scenarios' names, and run none
    --long        the long versions: an hour in all
    --seconds N   how long the scenarios that last a while go on
    --times N     how often the scenarios that repeat do so
    --seed N      what is drawn at random is drawn from this

Options of `cargo test` that mean nothing here (--nocapture, --test-threads and their like) are passed over.";

/// Options of libtest that change nothing here: alone, and with a value.
const ALONE: [&str; 9] = [
    "--nocapture",
    "--no-capture",
    "--show-output",
    "--quiet",
    "-q",
    "--test",
    "--force-run-in-process",
    "--exclude-should-panic",
    "--report-time",
];
const WITH_VALUE: [&str; 5] = ["--test-threads", "--format", "--color", "--logfile", "-Z"];

/// What the command line asked for.
#[derive(Debug)]
pub struct Args {
    pub help: bool,
    pub list: bool,
    pub options: Options,
}

impl Args {
    /// Reads them. What is not known is refused, in one line: whoever mistypes an option does not want everything to be run.
    pub fn parse(program: PathBuf, args: &[String]) -> Result<Args, String> {
        let mut options = Options::new(program);
        options.long = std::env::var("UNANIMOUS_TORTURE").is_ok_and(|value| value == "long");
        let (mut help, mut list) = (false, false);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (flag, given) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with('-') => (flag, Some(value)),
                _ => (arg.as_str(), None),
            };
            let mut value = || {
                let next = given.map(str::to_owned).or_else(|| args.next().cloned());
                next.ok_or_else(|| format!("{flag} wants a value"))
            };
            match flag {
                "--skip" => options.skip.push(value()?),
                "--seed" => options.seed = number(flag, &value()?)?,
                "--seconds" => options.seconds = Some(number(flag, &value()?)?),
                "--times" => options.times = Some(number(flag, &value()?)?),
                flag if WITH_VALUE.contains(&flag) => drop(value()?),
                name if !name.starts_with('-') => options.names.push(name.to_owned()),
                flag if given.is_some() => return Err(format!("{flag} takes no value")),
                "--exact" => options.exact = true,
                "--list" => list = true,
                "--help" | "-h" => help = true,
                "--long" | "--ignored" | "--include-ignored" => options.long = true,
                flag if ALONE.contains(&flag) => {}
                flag => return Err(format!("{flag} is no option")),
            }
        }
        Ok(Args { help, list, options })
    }

    /// What chooses the scenarios, as it was typed.
    pub fn filter(&self) -> String {
        let skips = self.options.skip.iter().map(|name| format!("--skip {name}"));
        self.options.names.iter().cloned().chain(skips).collect::<Vec<_>>().join(" ")
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag}: {text:?} is no number, or too high"))
}
