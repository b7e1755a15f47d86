//! `running.json` in a site's data directory: what a running site tells programs on its machine of itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The site's process.
    pub pid: u32,
    /// Its ports, by what they serve.
    pub ports: BTreeMap<String, u16>,
}

impl Running {
    const NAME: &'static str = "running.json";

    /// Reads it from a data directory; `None` if there is none. The process it names may have died since.
    pub fn read(data: &Path) -> Option<Running> {
        serde_json::from_slice(&std::fs::read(data.join(Self::NAME)).ok()?).ok()
    }

    /// Writes it so that a reader sees the old one or the new one.
    pub fn write(&self, data: &Path) -> std::io::Result<()> {
        let temporary = data.join(".running.json.new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, data.join(Self::NAME))
    }

    /// Removes it, at an orderly stop.
    pub fn remove(data: &Path) {
        let _ = std::fs::remove_file(data.join(Self::NAME));
    }
}
