//! Connects as somebody who is not to be let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::cert::Identity;
use net::{Expect, Trust, tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wire::version::Hello;
use wire::{ClusterId, Incarnation, SiteId, SiteIncarnation, StoreId};

use super::verdict::Verdict;

/// Whom it says it is.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    pub cluster: ClusterId,
    pub site: SiteId,
}

/// Connects with this certificate, or none, says hello as a site, or nothing, and reads until it is thrown out.
pub async fn intrude(
    address: SocketAddr,
    identity: Option<&Identity>,
    trust: &Arc<Trust>,
    says: Option<Says>,
) -> Verdict {
    let mut config = match identity {
        Some(identity) => (*tls::client_config(identity, trust, Expect::AnySite)?).clone(),
        None => ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth(),
    };
    config.dangerous().set_certificate_verifier(Arc::new(Anybody));
    let intruding = async {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("any").map_err(std::io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        if let Some(says) = says {
            let life = SiteIncarnation { site: says.site, incarnation: Incarnation(1_000_000) };
            let hello = Hello::new(says.cluster, 0, life, StoreId(666), "intruder").encode();
            let length = u32::try_from(hello.len()).unwrap_or(u32::MAX).to_le_bytes();
            stream.write_all(&[&length[..], &hello].concat()).await?;
        }
        stream.read_to_end(&mut Vec::new()).await
    };
    // Being thrown out is what is wanted.
    let _ = tokio::time::timeout(Duration::from_secs(6), intruding).await;
    Ok(())
}

/// Trusts everybody: what an intruder does.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
