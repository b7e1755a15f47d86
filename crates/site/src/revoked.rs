//! `revoked` beside a site's certificate: serial numbers of certificates that are valid and must not be believed any
//! longer, in hexadecimal, one a line; what follows a `#` is for people. The running site reads it again when it has
//! changed, and cuts the links and sessions of those that are new on it.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use net::cert::Serial;
use net::{Links, Trust};

use crate::run::StartError;

const NAME: &str = "revoked";
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The serials; none if there is no such file.
pub(crate) fn read(certificates: &Path) -> Result<Vec<Serial>, StartError> {
    let path = certificates.join(NAME);
    let failed = |problem: String| StartError::Revoked { path: path.clone(), problem };
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn parse(text: &str) -> Result<Vec<Serial>, String> {
    let words = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let serial = |word: &str| Serial::parse(word).ok_or_else(|| format!("{word:?} is no serial number"));
    words.filter(|word| !word.is_empty()).map(serial).collect()
}

/// Follows the file. A list that can't be read leaves the last one in force.
pub(crate) async fn watch(certificates: PathBuf, trust: Arc<Trust>, links: Links) {
    let mut seen = changed_at(&certificates);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = changed_at(&certificates);
        if now == seen {
            continue;
        }
        seen = now;
        match read(&certificates) {
            Ok(serials) => {
                let count = serials.len();
                trust.set_revoked(serials);
                let cut = links.drop_distrusted();
                tracing::info!(count, cut, "the list of revoked certificates has changed");
            }
            Err(error) => tracing::error!(%error, "the list of revoked certificates stays as it was"),
        }
    }
}

fn changed_at(certificates: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(certificates.join(NAME)).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let read = parse("# lost laptop\n00AB # site-3\n\n0102\n").expect("a list");
        assert_eq!(read, [Serial::new(&[0xab]), Serial::new(&[1, 2])]);
        assert!(parse("00ab\nxyz\n").expect_err("no serial").contains("xyz"));
    }

    #[test]
    fn no_file_revokes_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).expect("read").is_empty());
        std::fs::write(folder.path().join(NAME), "?").expect("written");
        assert!(read(folder.path()).is_err());
    }
}
