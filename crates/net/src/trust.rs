//! Whom a site trusts: the roots, the revocations, and the check of every certificate that a peer shows.
//!
//! The chain, the dates and the signatures are checked by webpki; this adds what a cluster needs: the same
//! cluster, the right role, the right site, not revoked. Roots and revocations may change at run time and hold
//! from the next handshake on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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
use crate::cert::{CertError, Principal, Role, Serial, identify};

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
    /// Counts the lists of revocations.
    lists: watch::Sender<u64>,
}

struct State {
    roots: Arc<RootCertStore>,
    chain: Arc<dyn ClientCertVerifier>,
    revoked: BTreeSet<Serial>,
}

impl Trust {
    /// Trusts these authorities: one, or two while they are being rotated.
    pub fn new(cluster: ClusterId, roots: &[CertificateDer<'static>]) -> Result<Arc<Trust>, CertError> {
        let provider = Arc::new(crate::tls::provider());
        let (roots, chain) = build(&provider, roots)?;
        let state = RwLock::new(Arc::new(State { roots, chain, revoked: BTreeSet::new() }));
        Ok(Arc::new(Trust { cluster, provider, state, lists: watch::Sender::new(0) }))
    }

    /// Replaces the roots. An error leaves the old ones.
    pub fn set_roots(&self, roots: &[CertificateDer<'static>]) -> Result<(), CertError> {
        let (roots, chain) = build(&self.provider, roots)?;
        self.change(|state| State { roots, chain, revoked: state.revoked.clone() });
        Ok(())
    }

    /// Replaces the list of revoked serials. Links that are up are cut by
    /// [`Links::drop_revoked`](crate::Links::drop_revoked); sessions wait for [`Trust::until_revoked`].
    pub fn set_revoked(&self, revoked: impl IntoIterator<Item = Serial>) {
        let revoked = revoked.into_iter().collect();
        self.change(|state| State { roots: state.roots.clone(), chain: state.chain.clone(), revoked });
        self.lists.send_modify(|count| *count += 1);
    }

    /// Returns when this serial is revoked. Cancel-safe.
    pub async fn until_revoked(&self, serial: &Serial) {
        let mut lists = self.lists.subscribe();
        while !self.is_revoked(serial) {
            // The sender is here: it does not go away.
            let _ = lists.changed().await;
        }
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
    ) -> Result<(Principal, Serial), Refusal> {
        let (principal, serial) = identify(certificate)?;
        if principal.cluster != self.cluster {
            return Err(Refusal::WrongCluster);
        }
        if self.is_revoked(&serial) {
            return Err(Refusal::Revoked);
        }
        expect.check(principal.role)?;
        Ok((principal, serial))
    }

    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&State) -> State) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(change(&state));
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

type Chains = (Arc<RootCertStore>, Arc<dyn ClientCertVerifier>);

fn build(provider: &Arc<CryptoProvider>, roots: &[CertificateDer<'static>]) -> Result<Chains, CertError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|why| CertError::Root(why.to_string()))?;
    }
    let store = Arc::new(store);
    let chain = WebPkiClientVerifier::builder_with_provider(store.clone(), provider.clone())
        .build()
        .map_err(|why| CertError::Root(why.to_string()))?;
    Ok((store, chain))
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
            &self.trust.state().roots,
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
        self.trust.state().chain.verify_client_cert(end_entity, intermediates, now)?;
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
