//! Finding a site: `--site`, else `--dir`, else `UNANIMOUS_SITE`, else the directory that `up` uses.

use std::path::{Path, PathBuf};

use unanimous::Credentials;
use unanimous::session::{Address, Error as SessionError, Events, Session, connect};

use crate::args::Find;
use crate::cluster_file::ClusterFile;
use crate::failure::Failure;

/// The directory that `up` uses when nobody names one: the user's state directory.
pub fn default_dir() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from)?;
        Some(home.join(".local").join("state"))
    });
    state.unwrap_or_else(std::env::temp_dir).join("unanimous")
}

/// The sessions that may be tried, in order, with what proves who one is to those that are remote.
pub fn candidates(find: &Find) -> Result<Vec<Address>, Failure> {
    let addresses = addresses(find)?;
    match &find.cert {
        Some(cert) => Credentials::named(cert, find.key.clone(), find.ca.clone())
            .apply(addresses)
            .map_err(|error| Failure::usage(error.to_string())),
        None => Ok(addresses),
    }
}

fn addresses(find: &Find) -> Result<Vec<Address>, Failure> {
    if let Some(site) = &find.site {
        return Ok(vec![parse(site)?]);
    }
    if find.dir.is_none()
        && let Ok(site) = std::env::var("UNANIMOUS_SITE")
        && !site.is_empty()
    {
        return Ok(vec![parse(&site)?]);
    }
    let dir = find.dir.clone().unwrap_or_else(default_dir);
    from_dir(&dir)
}

fn parse(site: &str) -> Result<Address, Failure> {
    site.parse().map_err(|error| Failure::usage(format!("{error}")))
}

fn from_dir(dir: &Path) -> Result<Vec<Address>, Failure> {
    let socket = dir.join("session.sock");
    if socket.exists() {
        return Ok(vec![Address::Unix(socket)]);
    }
    match ClusterFile::read(dir)? {
        Some(cluster) => cluster.sites.iter().map(|site| parse(&site.session)).collect(),
        None => Err(Failure::unreachable(format!(
            "no cluster runs in {}; start one with `unanimous up`, or name a site with --site or --dir",
            dir.display()
        ))),
    }
}

/// Connects to the first candidate that answers.
pub async fn session(find: &Find, program: &str) -> Result<(Session, Events), Failure> {
    let mut last = None;
    for address in candidates(find)? {
        match connect(&address, program).await {
            Ok(connected) => return Ok(connected),
            Err(error @ SessionError::Refused(_)) => return Err(error.into()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Failure::unreachable("the cluster has no sites".to_owned()), Failure::from))
}
