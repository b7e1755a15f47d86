//! Who a program is to a remote site: its certificate, the key to it, and the authority that it trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Address;
use net::cert::{CertError, Identity, load_roots};
use net::{Expect, Trust};

/// Where a certificate, its key and the trust roots are, as `unanimous cert issue` writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate of a client or an administrator.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The cluster's authority: one, or two while they are being rotated.
    pub authority: PathBuf,
}

/// Why credentials are of no use. Nothing was connected.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file can't be read, or is not what it should be.
    #[error("{0}; `unanimous cert issue` makes certificates for programs")]
    Certificates(#[from] CertError),
}

impl Credentials {
    /// The files of a directory as `unanimous cert issue` fills it: `cert.pem`, `key.pem` and `ca.pem`.
    pub fn in_dir(dir: &Path) -> Credentials {
        Credentials {
            certificate: dir.join("cert.pem"),
            key: dir.join("key.pem"),
            authority: dir.join("ca.pem"),
        }
    }

    /// What `UNANIMOUS_CERT` (a file, or a directory with all three), `UNANIMOUS_KEY` and `UNANIMOUS_CA` name; none
    /// without the first.
    pub fn from_environment() -> Option<Credentials> {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(Credentials::named(&path("UNANIMOUS_CERT")?, path("UNANIMOUS_KEY"), path("UNANIMOUS_CA")))
    }

    /// A certificate, or a directory with all three files; what is not named is looked for beside the certificate.
    pub fn named(certificate: &Path, key: Option<PathBuf>, authority: Option<PathBuf>) -> Credentials {
        let is_dir = certificate.is_dir();
        let dir = if is_dir { certificate } else { certificate.parent().unwrap_or(Path::new("")) };
        let usual = Credentials::in_dir(dir);
        Credentials {
            certificate: if is_dir { usual.certificate } else { certificate.to_owned() },
            key: key.unwrap_or(usual.key),
            authority: authority.unwrap_or(usual.authority),
        }
    }

    /// Reads them, for [`Address::with_tls`]. The sites of the certificate's cluster are trusted, and nobody else.
    pub fn load(&self) -> Result<Arc<rustls::ClientConfig>, CredentialsError> {
        let identity = Identity::load(&self.certificate, &self.key)?;
        let trust = Trust::new(identity.principal().cluster, &load_roots(&self.authority)?)?;
        Ok(net::tls::client_config(&identity, &trust, Expect::AnySite)?)
    }

    /// These addresses, with the credentials where they are remote ones. Read only if one is.
    pub fn apply(&self, addresses: Vec<Address>) -> Result<Vec<Address>, CredentialsError> {
        if !addresses.iter().any(|address| matches!(address, Address::Tls(_))) {
            return Ok(addresses);
        }
        let config = self.load()?;
        Ok(addresses.into_iter().map(|address| address.with_tls(&config)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_or_a_file_names_all_three() {
        let dir = tempfile::tempdir().expect("a folder");
        let all = Credentials::in_dir(dir.path());
        assert_eq!(Credentials::named(dir.path(), None, None), all);
        assert_eq!(Credentials::named(&all.certificate, None, None), all);
        let other = Credentials::named(dir.path(), Some("k".into()), Some("c".into()));
        assert_eq!((other.key, other.authority), (PathBuf::from("k"), PathBuf::from("c")));
        assert!(all.load().is_err(), "there is nothing there");
    }
}
