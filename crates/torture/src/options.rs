//! What is to be run, and how.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::scenarios::SCENARIOS;

/// A scenario that takes longer hangs.
const SHORT_LIMIT: Duration = Duration::from_secs(180);
/// The same for the long versions, besides how long they were told to go on.
const LONG_LIMIT: Duration = Duration::from_secs(3_600);

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program under torture.
    pub program: PathBuf,
    /// How this program is started to do a hog's work ([`crate::hog`]): what stands in front of its arguments.
    pub hog: Vec<OsString>,
    /// Scenarios with one of these in their names; all, if there is none.
    pub names: Vec<String>,
    /// And none of these.
    pub skip: Vec<String>,
    /// Names are whole.
    pub exact: bool,
    /// The long versions.
    pub long: bool,
    /// What is drawn at random is drawn from this.
    pub seed: u64,
    /// How long scenarios that last a while go on, in seconds, if not as long as their version says.
    pub seconds: Option<u64>,
    /// How often scenarios that repeat do so, if not as often as their version says.
    pub times: Option<u32>,
}

impl Options {
    /// The short versions of all scenarios, with a seed of this process.
    pub fn new(program: PathBuf) -> Options {
        Options {
            program,
            hog: Vec::new(),
            names: Vec::new(),
            skip: Vec::new(),
            exact: false,
            long: false,
            seed: u64::from(std::process::id()),
            seconds: None,
            times: None,
        }
    }

    /// Whether the scenario is to be run.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |wanted: &String| if self.exact { wanted == name } else { name.contains(wanted.as_str()) };
        (self.names.is_empty() || self.names.iter().any(fits)) && !self.skip.iter().any(fits)
    }

    /// A name that no scenario has, if there is one.
    pub fn unknown(&self) -> Option<&str> {
        let known = |name: &&String| {
            let one = Options { names: vec![(*name).clone()], skip: Vec::new(), ..self.clone() };
            SCENARIOS.iter().any(|scenario| one.wants(scenario.name))
        };
        self.names.iter().find(|name| !known(name)).map(String::as_str)
    }

    /// When a scenario is taken to hang.
    pub(crate) fn limit(&self) -> Duration {
        let lasts = Duration::from_secs(self.seconds.unwrap_or(0));
        if self.long || self.seconds.is_some() || self.times.is_some() {
            LONG_LIMIT.saturating_add(lasts)
        } else {
            SHORT_LIMIT
        }
    }
}
