//! `unanimous torture`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous torture                        the scenarios
  unanimous torture mail mail_faults       the long versions of these two
  unanimous torture mail_faults --seconds 3600
  unanimous torture kills --times 200 --seed 7
  unanimous torture --all --short          every scenario, about two minutes

Each scenario runs clusters of its own, of this program, in folders of its own that it removes when all went \
well; no other cluster is touched. Those in network namespaces, and those with file systems of their own, have to \
be run as root.")]
pub struct Torture {
    /// Scenarios to run, by name; without one they are listed
    pub names: Vec<String>,
    /// Run every scenario
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// The short versions, as in the tests
    #[arg(long)]
    pub short: bool,
    /// How long the scenarios that last a while go on, in seconds
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// How often the scenarios that repeat do so
    #[arg(long, value_name = "N")]
    pub times: Option<u32>,
    /// What is drawn at random is drawn from this [default: another each time; it is printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Torture this program instead, for instance of another version
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,

    /// Do a hog's work
    #[arg(long, hide = true)]
    pub hog_processors: Option<usize>,
    /// Do a hog's work
    #[arg(long, hide = true)]
    pub hog_disk: Option<PathBuf>,
}
