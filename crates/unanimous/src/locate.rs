//! Finding the sites of this machine, as the program `unanimous` does: the variable `UNANIMOUS_SITE` (with
//! `UNANIMOUS_CERT` and its like, if it names a remote one), else the directory that `unanimous up` uses.

use std::path::{Path, PathBuf};

use client::{Address, AddressError};

use crate::credentials::{Credentials, CredentialsError};

/// Why no site was found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// `UNANIMOUS_SITE`, or an entry of the cluster's file, is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// What proves who one is to a remote site is of no use.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Nothing runs in the directory.
    #[error("no cluster runs in {}; start one with `unanimous up`", .0.display())]
    NoCluster(PathBuf),
    /// The cluster's file is not what it should be.
    #[error("{} is damaged; run `unanimous up` again", .0.display())]
    Damaged(PathBuf),
}

/// The sessions that may be tried, in order.
pub fn addresses() -> Result<Vec<Address>, LocateError> {
    match std::env::var("UNANIMOUS_SITE") {
        Ok(site) if !site.is_empty() => {
            let addresses = vec![site.parse()?];
            match Credentials::from_environment() {
                Some(credentials) => Ok(credentials.apply(addresses)?),
                None => Ok(addresses),
            }
        }
        _ => addresses_in(&default_dir()),
    }
}

/// The sessions of the cluster, or of the site, whose directory this is.
pub fn addresses_in(dir: &Path) -> Result<Vec<Address>, LocateError> {
    let socket = dir.join("session.sock");
    if socket.exists() {
        return Ok(vec![Address::Unix(socket)]);
    }
    let file = dir.join("cluster.json");
    let text = std::fs::read(&file).map_err(|_| LocateError::NoCluster(dir.to_owned()))?;
    let damaged = || LocateError::Damaged(file.clone());
    let cluster: serde_json::Value = serde_json::from_slice(&text).map_err(|_| damaged())?;
    let sites = cluster.get("sites").and_then(|sites| sites.as_array()).ok_or_else(damaged)?;
    let session = |site: &serde_json::Value| Some(site.get("session")?.as_str()?.parse());
    sites.iter().map(|site| Ok(session(site).ok_or_else(damaged)??)).collect()
}

/// The directory that `unanimous up` uses when nobody names one.
pub fn default_dir() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local").join("state")));
    state.unwrap_or_else(std::env::temp_dir).join("unanimous")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_s_file_names_its_sessions() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(matches!(addresses_in(dir.path()), Err(LocateError::NoCluster(_))));

        let text = r#"{"sites":[{"name":"site-1","session":"unix:/a/1.sock"},{"session":"unix:/a/2.sock"}]}"#;
        std::fs::write(dir.path().join("cluster.json"), text).expect("written");
        let found = addresses_in(dir.path()).expect("two sites");
        let found: Vec<String> = found.iter().map(Address::to_string).collect();
        assert_eq!(found, ["unix:/a/1.sock", "unix:/a/2.sock"]);

        std::fs::write(dir.path().join("cluster.json"), "{").expect("written");
        assert!(matches!(addresses_in(dir.path()), Err(LocateError::Damaged(_))));
    }
}
