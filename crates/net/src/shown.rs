//! The identity that new connections show. It may be replaced while the process runs: connections that stand go on as
//! they were made, and every handshake from then on shows the new one.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use wire::ClusterId;

use crate::cert::{CertError, Certificate, Identity, authority_of, load_roots};
use crate::tls;
use crate::trust::Trust;

/// Trust roots at once: while they are being rotated there are two.
pub const ROOTS_MAX: usize = 2;

/// What a process shows now.
pub struct Shown(RwLock<Current>);

#[derive(Clone)]
struct Current {
    certificate: Certificate,
    key: Arc<CertifiedKey>,
    generation: u64,
}

impl Shown {
    /// Shows this identity.
    ///
    /// # Errors
    ///
    /// [`CertError::Set`] if the key is not the certificate's.
    pub fn new(identity: &Identity) -> Result<Arc<Shown>, CertError> {
        let (certificate, key) = (identity.certificate().clone(), certified(identity)?);
        Ok(Arc::new(Shown(RwLock::new(Current { certificate, key, generation: 0 }))))
    }

    /// Shows another identity of the same principal from now on.
    ///
    /// # Errors
    ///
    /// [`CertError::Set`] if it speaks for somebody else, or the key is not the certificate's. The old one is in force.
    pub fn replace(&self, identity: &Identity) -> Result<(), CertError> {
        let key = certified(identity)?;
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (current.certificate.principal(), identity.principal());
        if old != new {
            return Err(CertError::Set(format!("the certificate is that of {new}; this is {old}")));
        }
        let generation = current.generation + 1;
        *current = Current { certificate: identity.certificate().clone(), key, generation };
        Ok(())
    }

    /// The certificate that is shown.
    pub fn certificate(&self) -> Certificate {
        self.current().certificate
    }

    /// How many times it has been replaced.
    pub fn generation(&self) -> u64 {
        self.current().generation
    }

    fn current(&self) -> Current {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.current().certificate.serial()).finish()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, CertError> {
    let chain = vec![identity.certificate().der().clone()];
    let key = CertifiedKey::from_der(chain, identity.key(), &tls::provider());
    key.map(Arc::new).map_err(|why| CertError::Set(format!("certificate and key do not go together: {why}")))
}

/// The three files of a site: certificate, key and trust roots. They are replaced as a set.
pub struct Files {
    /// `site.pem` with `site.key`.
    pub identity: Identity,
    /// `ca.pem`.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Files {
    /// The names of the files.
    pub const NAMES: [&str; 3] = ["site.pem", "site.key", "ca.pem"];

    /// Reads the files in a folder. Whether they go together says [`Files::check`].
    pub fn load(folder: &Path) -> Result<Files, CertError> {
        let [certificate, key, roots] = Files::NAMES.map(|name| folder.join(name));
        Ok(Files { identity: Identity::load(&certificate, &key)?, roots: load_roots(&roots)? })
    }

    /// Whether a site of this cluster can use them now: the key is the certificate's, the certificate is one of the
    /// roots' and valid, and the roots are one or two authorities of the cluster.
    ///
    /// # Errors
    ///
    /// [`CertError::Set`] says what does not go together.
    pub fn check(&self, cluster: ClusterId, at: SystemTime) -> Result<(), CertError> {
        let refused = |why: &str| Err(CertError::Set(why.to_owned()));
        if !(1..=ROOTS_MAX).contains(&self.roots.len()) {
            return refused("ca.pem must hold one trust root, or two while they are being rotated");
        }
        if self.roots.iter().any(|root| authority_of(root) != Ok(cluster)) {
            return refused("ca.pem holds a certificate that is no authority of this cluster");
        }
        certified(&self.identity)?;
        let certificate = self.identity.certificate();
        if certificate.principal().cluster != cluster {
            return refused("the certificate is of another cluster");
        }
        if Trust::new(cluster, &self.roots)?.authority(certificate).is_none() {
            return refused("the certificate is of none of the authorities in ca.pem");
        }
        let validity = certificate.validity();
        if at >= validity.until {
            return refused("the certificate has expired");
        }
        if at < validity.from {
            return refused("the certificate is not valid yet: compare the clocks");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wire::SiteId;

    use super::*;
    use crate::cert::{Authority, Role, Validity};

    const CLUSTER: ClusterId = ClusterId(7);

    fn authority() -> Authority {
        Authority::generate(CLUSTER, Validity::days(1)).expect("an authority")
    }

    fn site(ca: &Authority) -> Identity {
        ca.issue(Role::Site(SiteId(3)), "c", Validity::days(1)).expect("issued")
    }

    fn files(identity: Identity, roots: &[&Authority]) -> Files {
        Files { identity, roots: roots.iter().map(|ca| ca.certificate()).collect() }
    }

    #[test]
    fn files_go_together_or_it_is_said_why_not() {
        let (old, new, third) = (authority(), authority(), authority());
        let now = SystemTime::now();
        let check = |files: Files| files.check(CLUSTER, now).map_err(|error| error.to_string());
        assert_eq!(check(files(site(&old), &[&old])), Ok(()));
        assert_eq!(check(files(site(&old), &[&new, &old])), Ok(()));
        assert_eq!(check(files(site(&new), &[&new, &old])), Ok(()));
        let why = |files: Files| check(files).expect_err("refused");
        assert!(why(files(site(&old), &[&new])).contains("none of the authorities"));
        assert!(why(files(site(&old), &[])).contains("one trust root"));
        assert!(why(files(site(&old), &[&old, &new, &third])).contains("one trust root"));
        let stranger = Authority::generate(ClusterId(8), Validity::days(1)).expect("an authority");
        assert!(why(files(site(&old), &[&old, &stranger])).contains("no authority of this cluster"));
        assert!(why(files(site(&stranger), &[&old])).contains("another cluster"));
        let late = now + Duration::from_secs(30 * 24 * 3600);
        let error = files(site(&old), &[&old]).check(CLUSTER, late).expect_err("refused");
        assert!(error.to_string().contains("expired"));

        let folder = tempfile::tempdir().expect("a folder");
        let [certificate, key, roots] = Files::NAMES.map(|name| folder.path().join(name));
        site(&old).save(&certificate, &key).expect("saved");
        site(&old).save(&folder.path().join("other.pem"), &key).expect("saved");
        std::fs::write(roots, old.certificate_pem()).expect("written");
        let mixed = Files::load(folder.path()).expect("each is readable");
        assert!(why(mixed).contains("do not go together"));
    }

    #[test]
    fn another_identity_of_the_same_principal_is_shown_and_no_other() {
        let ca = authority();
        let shown = Shown::new(&site(&ca)).expect("usable");
        let renewed = site(&ca);
        shown.replace(&renewed).expect("of the same principal");
        assert_eq!((shown.certificate().serial(), shown.generation()), (renewed.serial(), 1));
        let other = ca.issue(Role::Site(SiteId(4)), "c", Validity::days(1)).expect("issued");
        assert!(shown.replace(&other).is_err());
        assert_eq!((shown.certificate().serial(), shown.generation()), (renewed.serial(), 1));
    }
}
