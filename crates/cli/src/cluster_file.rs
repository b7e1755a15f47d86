//! `DIR/cluster.json`: what `up` tells other programs about the cluster it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The whole file. What is not served is absent.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClusterFile {
    /// The sites, by number.
    pub sites: Vec<SiteEntry>,
    /// The domain whose mail they serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_domain: Option<String>,
    /// The certificate that they show to mail programs (PEM): what these are to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_certificate: Option<PathBuf>,
}

/// One site.
#[derive(Debug, Serialize, Deserialize)]
pub struct SiteEntry {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its session address.
    pub session: String,
    /// Its ports on loopback, by what they serve.
    pub ports: BTreeMap<String, u16>,
}

impl ClusterFile {
    /// The file's name within the cluster's directory.
    pub const NAME: &'static str = "cluster.json";

    /// Reads it; `None` if there is none.
    pub fn read(dir: &Path) -> Result<Option<ClusterFile>, Failure> {
        let path = dir.join(Self::NAME);
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(file) => Ok(Some(file)),
                Err(error) => Err(Failure::refused(format!(
                    "{} is damaged ({error}); run `unanimous up` again",
                    path.display()
                ))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::unreachable(format!("can't read {}: {error}", path.display()))),
        }
    }

    /// Writes it so that a reader sees the old one or the new one.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        let temporary = dir.join(".cluster.json.new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, dir.join(Self::NAME))
    }
}
