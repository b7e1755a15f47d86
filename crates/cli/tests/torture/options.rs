//! The harness's arguments: those of libtest that make sense here, and `--long`.

use std::time::Duration;

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

/// A scenario that takes longer hangs.
const SHORT_LIMIT: Duration = Duration::from_secs(180);
const LONG_LIMIT: Duration = Duration::from_secs(3_600);

/// What the command line asked for.
#[derive(Debug, Default)]
pub struct Options {
    pub names: Vec<String>,
    pub skip: Vec<String>,
    pub exact: bool,
    pub list: bool,
    pub help: bool,
    pub long: bool,
    pub seed: u64,
    pub seconds: Option<u64>,
    pub times: Option<u32>,
}

impl Options {
    /// Reads them. What is not known is refused, in one line: whoever mistypes an option does not want everything to be run.
    pub fn parse(args: &[String]) -> Result<Options, String> {
        let mut options = Options { seed: u64::from(std::process::id()), ..Options::default() };
        options.long = std::env::var("UNANIMOUS_TORTURE").is_ok_and(|value| value == "long");
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
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                "--long" | "--ignored" | "--include-ignored" => options.long = true,
                flag if ALONE.contains(&flag) => {}
                flag => return Err(format!("{flag} is no option")),
            }
        }
        Ok(options)
    }

    /// Whether the scenario is to be run.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |wanted: &String| if self.exact { wanted == name } else { name.contains(wanted.as_str()) };
        (self.names.is_empty() || self.names.iter().any(fits)) && !self.skip.iter().any(fits)
    }

    /// What `wants` goes by, as it was typed.
    pub fn filter(&self) -> String {
        let skips = self.skip.iter().map(|name| format!("--skip {name}"));
        self.names.iter().cloned().chain(skips).collect::<Vec<_>>().join(" ")
    }

    /// When a scenario is taken to hang.
    pub fn limit(&self) -> Duration {
        if self.long || self.seconds.is_some() || self.times.is_some() { LONG_LIMIT } else { SHORT_LIMIT }
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag}: {text:?} is no number, or too high"))
}
