//! TLS as every connection of a cluster uses it: version 1.3 only, both sides certified, no resumption (a ticket
//! would outlive a revocation), AES-GCM first because the machine has instructions for it.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::cert::{CertError, Identity};
use crate::shown::Shown;
use crate::trust::{Expect, Trust, Verifier};

/// For who accepts connections from `expect`, as one identity.
pub fn server_config(
    identity: &Identity,
    trust: &Arc<Trust>,
    expect: Expect,
) -> Result<Arc<ServerConfig>, CertError> {
    accepting(&Shown::new(identity)?, trust, expect)
}

/// For who accepts connections from `expect`, as whatever is shown when they come.
pub fn accepting(
    shown: &Arc<Shown>,
    trust: &Arc<Trust>,
    expect: Expect,
) -> Result<Arc<ServerConfig>, CertError> {
    let verifier = Arc::new(Verifier { trust: trust.clone(), expect });
    let mut config = ServerConfig::builder_with_provider(trust.provider().clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown.clone());
    config.send_tls13_tickets = 0;
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// For who connects to `expect`, as one identity.
pub fn client_config(
    identity: &Identity,
    trust: &Arc<Trust>,
    expect: Expect,
) -> Result<Arc<ClientConfig>, CertError> {
    connecting(&Shown::new(identity)?, trust, expect)
}

/// For who connects to `expect`, as whatever is shown then.
pub fn connecting(
    shown: &Arc<Shown>,
    trust: &Arc<Trust>,
    expect: Expect,
) -> Result<Arc<ClientConfig>, CertError> {
    let verifier = Arc::new(Verifier { trust: trust.clone(), expect });
    let mut config = ClientConfig::builder_with_provider(trust.provider().clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(shown.clone());
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

pub(crate) fn provider() -> CryptoProvider {
    use ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    }
}

fn unusable(error: rustls::Error) -> CertError {
    CertError::Root(error.to_string())
}
