//! The certificate that mail programs are shown. It is none of the cluster's: mail programs trust other authorities.

use std::path::Path;
use std::sync::Arc;

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

fn wrong(path: &Path, why: &impl ToString) -> StartError {
    StartError::Certificate { path: path.to_owned(), why: why.to_string() }
}
