//! The folder with a cluster's authority, `DIR/ca`: who issues, and during a rotation whom one still trusts.
//!
//! `ca.pem` and `ca.key` are the authority that issues. While roots are rotated, `retiring.pem` and `retiring.key` are
//! the one before it. `roots.pem` is what sites and programs trust: the one, or both.

use std::path::{Path, PathBuf};

use net::cert::{Authority, Certificate, Validity, load_roots};
use net::trust::AuthorityId;
use net::{Refusal, Trust};
use rustls::pki_types::CertificateDer;

use super::place::{File, replace};
use crate::failure::Failure;

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const RETIRING: &str = "retiring.pem";
const RETIRING_KEY: &str = "retiring.key";
const ROOTS: &str = "roots.pem";

/// The authority itself is valid for so long.
const AUTHORITY_DAYS: u32 = 3_650;

/// A cluster's authority, and what is trusted beside it.
pub struct Keeper {
    folder: PathBuf,
    authority: Authority,
    retiring: Option<String>,
}

fn failed(error: net::cert::CertError) -> Failure {
    Failure::refused(error.to_string())
}

impl Keeper {
    /// Makes a cluster's first authority in a folder that is there.
    pub fn create(folder: &Path, cluster: wire::ClusterId) -> Result<Keeper, Failure> {
        let authority = Authority::generate(cluster, Validity::days(AUTHORITY_DAYS)).map_err(failed)?;
        authority.save(&folder.join(CERTIFICATE), &folder.join(KEY)).map_err(failed)?;
        Ok(Keeper { folder: folder.to_owned(), authority, retiring: None })
    }

    /// Reads a folder.
    pub fn load(folder: &Path) -> Result<Keeper, Failure> {
        let authority = Authority::load(&folder.join(CERTIFICATE), &folder.join(KEY)).map_err(|error| {
            Failure::refused(format!(
                "{error}; the folder with the cluster's authority is `ca` in what `init` wrote"
            ))
        })?;
        let retiring = match std::fs::read_to_string(folder.join(RETIRING)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Failure::refused(format!("{}: {error}", folder.join(RETIRING).display())));
            }
        };
        Ok(Keeper { folder: folder.to_owned(), authority, retiring })
    }

    /// Who issues.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The name of who issues.
    pub fn id(&self) -> AuthorityId {
        AuthorityId::of(&self.authority.certificate())
    }

    /// The name of the root that is about to be retired.
    pub fn retiring(&self) -> Result<Option<AuthorityId>, Failure> {
        match self.retiring {
            Some(_) => Ok(self.roots()?.get(1).map(AuthorityId::of)),
            None => Ok(None),
        }
    }

    /// What sites and programs trust, as their `ca.pem`.
    pub fn trusted_pem(&self) -> String {
        format!("{}{}", self.authority.certificate_pem(), self.retiring.as_deref().unwrap_or_default())
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let mut roots = vec![self.authority.certificate()];
        if self.retiring.is_some() {
            roots.extend(load_roots(&self.folder.join(RETIRING)).map_err(failed)?);
        }
        Ok(roots)
    }

    /// Who of those that are trusted has issued a certificate.
    pub fn issuer(&self, certificate: &Certificate) -> Result<AuthorityId, Failure> {
        let trust = Trust::new(self.authority.cluster(), &self.roots()?).map_err(failed)?;
        trust.authority(certificate).ok_or_else(|| Failure::refused(Refusal::OtherAuthority.to_string()))
    }

    /// Makes a new authority that issues from now on. The old one stays trusted until [`Keeper::retire`].
    pub fn add(self) -> Result<Keeper, Failure> {
        if self.retiring.is_some() {
            return Err(Failure::refused(
                "two roots are trusted already; finish with `unanimous cert renew --all` and `unanimous cert root retire`",
            ));
        }
        let old = Authority::load(&self.folder.join(CERTIFICATE), &self.folder.join(KEY)).map_err(failed)?;
        let new = Authority::generate(old.cluster(), Validity::days(AUTHORITY_DAYS)).map_err(failed)?;
        let both = format!("{}{}", new.certificate_pem(), old.certificate_pem());
        replace(
            &self.folder,
            &[
                File::secret(KEY, new.key_pem()),
                File::open(CERTIFICATE, new.certificate_pem().to_owned()),
                File::secret(RETIRING_KEY, old.key_pem()),
                File::open(RETIRING, old.certificate_pem().to_owned()),
                File::open(ROOTS, both),
            ],
            &[],
        )?;
        Keeper::load(&self.folder)
    }

    /// Trusts the retiring root no longer, and forgets its key.
    pub fn retire(self) -> Result<Keeper, Failure> {
        let roots = self.authority.certificate_pem().to_owned();
        replace(&self.folder, &[File::open(ROOTS, roots)], &[RETIRING, RETIRING_KEY])?;
        Keeper::load(&self.folder)
    }
}
