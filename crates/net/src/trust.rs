//! Whom a site trusts: the roots, the revocations, and the check of every certificate that a peer shows.
//!
//! The chain, the dates and the signatures are checked by webpki; this adds what a cluster needs: the same
//! cluster, the right role, the right site, not revoked. Roots and revocations may change at run time and hold
//! from the next handshake on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio::sync::watch;
use wire::{ClusterId, SiteId};

use crate::Refusal;
use crate::cert::{CertError, Certificate, Role, Serial};

/// Whom a connection may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Just this site. One that is certified by name alone is let through: which number goes with the name is for who
    /// keeps the table of names to say, when the hello has come ([`Hello::check`](crate::Hello::check)).
    Site(SiteId),
    /// Any site of the cluster.
    AnySite,
    /// A client or an administrator.
    Session,
}

impl Expect {
    fn check(self, role: Role) -> Result<(), Refusal> {
        match (self, role) {
            (Expect::Site(wanted), Role::Site(site)) if wanted != site => Err(Refusal::WrongSite),
            (Expect::Site(_) | Expect::AnySite, Role::Site(_) | Role::NamedSite) => Ok(()),
            (Expect::Session, Role::Client | Role::Administrator) => Ok(()),
            (Expect::Site(_) | Expect::AnySite, Role::Client | Role::Administrator)
            | (Expect::Session, Role::Site(_) | Role::NamedSite) => Err(Refusal::WrongRole),
        }
    }
}

/// The trust roots and revocations of one cluster.
pub struct Trust {
    cluster: ClusterId,
    provider: Arc<CryptoProvider>,
    state: RwLock<Arc<State>>,
    /// Counts the changes of what is trusted.
    changes: watch::Sender<u64>,
}

struct State {
    roots: Roots,
    revoked: BTreeSet<Serial>,
}

/// Names a trust root: the beginning of its certificate's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId(u64);

impl AuthorityId {
    /// The name of this root.
    pub fn of(root: &CertificateDer<'_>) -> AuthorityId {
        let sum = digest(&SHA256, root);
        AuthorityId(u64::from_be_bytes(*sum.as_ref().first_chunk().expect("a digest is longer")))
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Trust {
    /// Trusts these authorities: one, or two while they are being rotated.
    pub fn new(cluster: ClusterId, roots: &[CertificateDer<'static>]) -> Result<Arc<Trust>, CertError> {
        let provider = Arc::new(crate::tls::provider());
        let roots = Roots::build(&provider, roots)?;
        let state = RwLock::new(Arc::new(State { roots, revoked: BTreeSet::new() }));
        Ok(Arc::new(Trust { cluster, provider, state, changes: watch::Sender::new(0) }))
    }

    /// Replaces the roots. An error leaves the old ones. What is up is cut as by [`Trust::set_revoked`].
    pub fn set_roots(&self, roots: &[CertificateDer<'static>]) -> Result<(), CertError> {
        let roots = Roots::build(&self.provider, roots)?;
        self.change(|state| State { roots, revoked: state.revoked.clone() });
        Ok(())
    }

    /// Replaces the list of revoked serials. Links that are up are cut by
    /// [`Links::drop_distrusted`](crate::Links::drop_distrusted); sessions wait for [`Trust::until_distrusted`].
    pub fn set_revoked(&self, revoked: impl IntoIterator<Item = Serial>) {
        let revoked = revoked.into_iter().collect();
        self.change(|state| State { roots: state.roots.clone(), revoked });
    }

    /// Returns when a certificate that was good is so no longer, with the reason. Cancel-safe.
    pub async fn until_distrusted(&self, certificate: &Certificate) -> Refusal {
        let mut changes = self.changes.subscribe();
        loop {
            if let Err(why) = self.still_trusts(certificate) {
                return why;
            }
            // The sender is here: it does not go away.
            let _ = changes.changed().await;
        }
    }

    /// Whether a certificate that was good when its connection was made still is. Dates do not count: a connection that
    /// stands is not cut because its certificate expires, or a forgotten renewal would stop the whole cluster at once.
    /// It cannot be made again, though.
    pub fn still_trusts(&self, certificate: &Certificate) -> Result<(), Refusal> {
        if self.is_revoked(certificate.serial()) {
            return Err(Refusal::Revoked);
        }
        self.authority(certificate).map(|_| ()).ok_or(Refusal::OtherAuthority)
    }

    /// Which of the roots has issued a certificate, whatever its dates.
    pub fn authority(&self, certificate: &Certificate) -> Option<AuthorityId> {
        let at = certificate.validity().from.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let parsed = ParsedCertificate::try_from(certificate.der()).ok()?;
        let signed = |store: &RootCertStore| {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                store,
                &[],
                UnixTime::since_unix_epoch(at),
                algorithms,
            )
        };
        let state = self.state();
        state.roots.each.iter().find(|(_, store)| signed(store).is_ok()).map(|(id, _)| *id)
    }

    /// The roots that are trusted.
    pub fn authorities(&self) -> Vec<AuthorityId> {
        self.state().roots.each.iter().map(|(id, _)| *id).collect()
    }

    /// Whether this serial is revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.state().revoked.contains(serial)
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Checks whom a certificate, whose chain has been checked, speaks for.
    pub(crate) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        expect: Expect,
    ) -> Result<Certificate, Refusal> {
        let certificate = Certificate::read(certificate.clone().into_owned())?;
        if certificate.principal().cluster != self.cluster {
            return Err(Refusal::WrongCluster);
        }
        if self.is_revoked(certificate.serial()) {
            return Err(Refusal::Revoked);
        }
        expect.check(certificate.principal().role)?;
        Ok(certificate)
    }

    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&State) -> State) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(change(&state));
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Roots {
    all: Arc<RootCertStore>,
    chain: Arc<dyn ClientCertVerifier>,
    /// Each by itself.
    each: Vec<(AuthorityId, Arc<RootCertStore>)>,
}

impl Roots {
    fn build(provider: &Arc<CryptoProvider>, roots: &[CertificateDer<'static>]) -> Result<Roots, CertError> {
        let store = |roots: &[CertificateDer<'static>]| -> Result<_, CertError> {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root.clone()).map_err(|why| CertError::Root(why.to_string()))?;
            }
            Ok(Arc::new(store))
        };
        let all = store(roots)?;
        let chain = WebPkiClientVerifier::builder_with_provider(all.clone(), provider.clone())
            .build()
            .map_err(|why| CertError::Root(why.to_string()))?;
        let each = roots
            .iter()
            .map(|root| Ok((AuthorityId::of(root), store(std::slice::from_ref(root))?)))
            .collect::<Result<_, CertError>>()?;
        Ok(Roots { all, chain, each })
    }
}

/// The check as rustls calls it, on either side of a connection.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) trust: Arc<Trust>,
    pub(crate) expect: Expect,
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match self.trust.check(certificate, self.expect) {
            Ok(_) => Ok(()),
            Err(why) => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Only TLS 1.3 is spoken.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3 is spoken".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Not `WebPkiServerVerifier`: it wants a DNS name, and sites are named by their URI.
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.trust.state().roots.all,
            intermediates,
            now,
            self.trust.provider.signature_verification_algorithms.all,
        )?;
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.state().roots.chain.verify_client_cert(end_entity, intermediates, now)?;
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
