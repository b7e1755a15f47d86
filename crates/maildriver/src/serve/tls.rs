//! The certificate that mail programs are shown. It is none of the cluster's: mail programs trust other authorities.

use std::path::Path;
use std::sync::Arc;

use ::ring::hmac;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use site::MailConfig;
use tokio_rustls::TlsAcceptor;

use super::StartError;

/// Reads it; none, if the configuration names none.
pub(super) fn load(settings: &MailConfig) -> Result<Option<TlsAcceptor>, StartError> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else { return Ok(None) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(certificate, &error));
    let chain = chain?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"there is no certificate in it"));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|error| wrong(certificate, &error))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// What the salts of users are drawn from who do not exist: of the key for mail programs, so that all sites with that key tell
/// the same ones, and after a restart too.
pub(super) fn secret(settings: &MailConfig) -> Result<[u8; 32], StartError> {
    let mut secret = [0; 32];
    match &settings.key {
        Some(path) => {
            let key = std::fs::read(path).map_err(|error| wrong(path, &error))?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            secret.copy_from_slice(hmac::sign(&key, b"unanimous mail logins").as_ref());
        }
        None => secret[..16].copy_from_slice(&net::random().to_ne_bytes()),
    }
    Ok(secret)
}

fn wrong(path: &Path, why: &impl ToString) -> StartError {
    StartError::Certificate { path: path.to_owned(), why: why.to_string() }
}
