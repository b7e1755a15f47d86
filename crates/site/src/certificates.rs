//! The site's certificate, key and trust roots, while it runs: they may be replaced in their folder, and are taken into
//! use as a set, or not at all.
//!
//! New connections show the new certificate and trust the new roots from then on. Links that stand are replaced one by one,
//! each by one that is made while the old is in use. A set is looked at when it has not changed for a moment, so that
//! three files that are copied one after the other count as one change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use net::cert::{CertError, Role};
use net::shown::Files;
use net::{Links, Shown, Trust};
use wire::SiteId;

use crate::config::SiteConfig;
use crate::revoked;
use crate::run::StartError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is said that the certificate is about to expire, or has.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What a site begins with. Whether the certificate is valid now does not matter yet: its peers judge that, and a better
/// one may be put in its place.
pub(crate) fn load(config: &SiteConfig) -> Result<(Files, Arc<Trust>), StartError> {
    let folder = &config.site.certificates;
    let files = Files::load(folder)?;
    let principal = files.identity.principal();
    let (fits, site) = match config.site.id {
        0 => (
            principal.role == Role::NamedSite && principal.name == config.site.name,
            format!("site {}, by name alone", config.site.name),
        ),
        id => (principal.role == Role::Site(SiteId(id)), SiteId(id).to_string()),
    };
    if principal.cluster != config.cluster_id() || !fits {
        return Err(StartError::WrongCertificate { path: folder.clone(), site });
    }
    if let Err(error) = files.check(config.cluster_id(), SystemTime::now()) {
        tracing::error!(%error, "no other site will link with this one; `unanimous cert renew` makes a new certificate");
    }
    let trust = Trust::new(config.cluster_id(), &files.roots)?;
    trust.set_revoked(revoked::read(folder)?);
    Ok((files, trust))
}

/// What changes when a file is replaced or written.
type Stamp = [Option<(SystemTime, u64, u64)>; 3];

fn stamp(folder: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    Files::NAMES.map(|name| {
        let metadata = std::fs::metadata(folder.join(name)).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    })
}

/// Which set was last looked at, and which is being waited for to settle.
struct Looked {
    at: Stamp,
    settling: Option<Stamp>,
}

impl Looked {
    /// Whether there is a set that has not been looked at, and has not changed since the last time.
    fn is_new(&mut self, now: Stamp) -> bool {
        if now == self.at {
            self.settling = None;
            return false;
        }
        if self.settling != Some(now) {
            self.settling = Some(now);
            return false;
        }
        (self.at, self.settling) = (now, None);
        true
    }
}

/// What is in force, and where it is replaced.
pub(crate) struct InForce {
    pub(crate) folder: PathBuf,
    pub(crate) shown: Arc<Shown>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) links: Links,
    pub(crate) metrics: Arc<net::Metrics>,
}

impl InForce {
    /// Follows the files for ever. A set that is of no use leaves the last one in force.
    pub(crate) async fn watch(self) {
        let mut looked = Looked { at: stamp(&self.folder), settling: None };
        let mut warned: Option<tokio::time::Instant> = None;
        loop {
            if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) && self.warn() {
                warned = Some(tokio::time::Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if !looked.is_new(stamp(&self.folder)) {
                continue;
            }
            match self.take() {
                Ok(()) => {
                    self.metrics.certificates_replaced.count();
                    warned = None;
                }
                // They have changed while they were read: they are looked at again.
                Err(_) if stamp(&self.folder) != looked.at => {}
                Err(error) => {
                    self.metrics.certificates_refused.count();
                    tracing::error!(%error, "the new certificates are refused; the old ones stay in force");
                }
            }
        }
    }

    /// Takes the files into use.
    fn take(&self) -> Result<(), CertError> {
        let files = Files::load(&self.folder)?;
        files.check(self.trust.cluster(), SystemTime::now())?;
        // The only one that may still refuse goes first: the files are in force as a whole or not at all.
        self.shown.replace(&files.identity)?;
        self.trust.set_roots(&files.roots)?;
        let cut = self.links.drop_distrusted();
        self.links.refresh();
        let certificate = self.shown.certificate();
        let days = certificate.validity().seconds_left(SystemTime::now()) / (24 * 3600);
        tracing::info!(serial = %certificate.serial(), days, roots = files.roots.len(), cut, "new certificates");
        Ok(())
    }

    /// Says that it is time to renew; false if it is not.
    fn warn(&self) -> bool {
        let validity = self.shown.certificate().validity();
        let now = SystemTime::now();
        if !validity.is_ending(now) {
            return false;
        }
        match validity.seconds_left(now) {
            left @ 1.. => {
                let (days, hours) = (left / (24 * 3600), left / 3600 % 24);
                tracing::warn!(
                    days,
                    hours,
                    "the certificate expires soon; `unanimous cert renew` makes another"
                );
            }
            _ => tracing::error!(
                "the certificate has expired: links that break can't be made again; `unanimous cert renew` makes another"
            ),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_copied_one_after_the_other_are_looked_at_once() {
        let at = |n: u64| [Some((SystemTime::UNIX_EPOCH, n, 1)), None, None];
        let mut looked = Looked { at: at(0), settling: None };
        let seen: Vec<bool> = [0, 1, 2, 2, 2, 3, 2, 3, 3].map(|n| looked.is_new(at(n))).into();
        let expected = [false, false, false, true, false, false, false, false, true];
        assert_eq!(seen, expected);
    }
}
