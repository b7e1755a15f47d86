//! The harness's arguments: those of libtest that make sense here, and `--long`.

use std::time::Duration;

pub const USAGE: &str =
    "torture [NAME ...] [--exact] [--skip NAME] [--list] [--long] [--seed N] [--seconds N] [--times N]

    NAME          run the scenarios whose names contain it
    --long        the long versions: an hour in all
    --seconds N   how long the scenarios that last a while go on
    --times N     how often the scenarios that repeat do so
    --seed N      what is drawn at random is drawn from this";

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
    pub long: bool,
    pub seed: u64,
    pub seconds: Option<u64>,
    pub times: Option<u32>,
}

impl Options {
    /// Reads them. What libtest has and this harness needs not is passed over.
    pub fn parse(args: &[String]) -> Result<Options, String> {
        let mut options = Options { seed: u64::from(std::process::id()), ..Options::default() };
        options.long = std::env::var("UNANIMOUS_TORTURE").is_ok_and(|value| value == "long");
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            let number =
                |text: &str| text.parse::<u64>().map_err(|_| format!("{arg}: {text:?} is no number"));
            match arg {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--long" | "--ignored" | "--include-ignored" => options.long = true,
                "--skip" => options.skip.push(value()?.to_owned()),
                "--seed" => options.seed = number(value()?)?,
                "--seconds" => options.seconds = Some(number(value()?)?),
                "--times" => options.times = Some(u32::try_from(number(value()?)?).unwrap_or(u32::MAX)),
                "--test-threads" | "--format" | "--color" | "-Z" => drop(value()?),
                flag if flag.starts_with('-') => {}
                name => options.names.push(name.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether the scenario is to be run.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |wanted: &String| if self.exact { wanted == name } else { name.contains(wanted.as_str()) };
        (self.names.is_empty() || self.names.iter().any(fits)) && !self.skip.iter().any(fits)
    }

    /// When a scenario is taken to hang.
    pub fn limit(&self) -> Duration {
        if self.long || self.seconds.is_some() || self.times.is_some() { LONG_LIMIT } else { SHORT_LIMIT }
    }
}
