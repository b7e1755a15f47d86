//! One run of one scenario: what was asked for, its folder, its random numbers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::options::Options;
use crate::support::verdict::Verdict;

pub struct Run {
    name: &'static str,
    program: PathBuf,
    hog: Vec<OsString>,
    tell: fn(&str),
    told: Mutex<Vec<String>>,
    /// Whether this is the long version.
    pub long: bool,
    seconds: Option<u64>,
    times: Option<u32>,
    random: Mutex<u64>,
    /// Removed in the end, unless it is kept.
    folder: Mutex<Option<tempfile::TempDir>>,
}

impl Run {
    pub fn new(options: &Options, name: &'static str, tell: fn(&str)) -> Run {
        let folder = tempfile::Builder::new().prefix("unanimous-torture-").tempdir().ok();
        Run {
            name,
            program: options.program.clone(),
            hog: options.hog.clone(),
            tell,
            told: Mutex::default(),
            long: options.long,
            seconds: options.seconds,
            times: options.times,
            random: Mutex::new(options.seed),
            folder: Mutex::new(folder),
        }
    }

    /// The program under torture.
    pub fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// What stands in front of the arguments of this process's program, if it is to do a hog's work.
    pub fn hog(&self) -> &[OsString] {
        &self.hog
    }

    /// The scenario's own folder.
    pub fn folder(&self) -> Verdict<PathBuf> {
        let folder = self.folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let none = || std::io::Error::other("no temporary folder can be made here");
        Ok(folder.as_ref().map(|folder| folder.path().to_owned()).ok_or_else(none)?)
    }

    /// Leaves the folder where it is, for whoever looks for the cause.
    pub fn keep(&self) -> PathBuf {
        let folder = self.folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        folder.map_or_else(|| Path::new("(none)").to_owned(), tempfile::TempDir::keep)
    }

    /// How long, in the short and in the long version.
    pub fn lasts(&self, short: u64, long: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.long { long } else { short }))
    }

    /// How often, in the short and in the long version.
    pub fn times(&self, short: u32, long: u32) -> u32 {
        self.times.unwrap_or(if self.long { long } else { short })
    }

    /// A random number below this (SplitMix64).
    pub fn below(&self, bound: u64) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// A figure, for whoever reads the run.
    pub fn say(&self, what: impl AsRef<str>) {
        let what = what.as_ref();
        (self.tell)(&format!("torture {} ...   {what}", self.name));
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what.to_owned());
    }

    /// All figures that were told.
    pub fn figures(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
