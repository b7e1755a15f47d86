//! Where a session is to be had.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A site's session server. Written `unix:PATH`, a plain path, or `tls:HOST:PORT`.
#[derive(Clone, Debug)]
pub enum Address {
    /// A Unix socket beside the site.
    Unix(PathBuf),
    /// TCP with mutual TLS.
    Tls(Tls),
}

/// A remote site and how to prove who one is.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `HOST:PORT`.
    pub endpoint: String,
    /// Certificate, key and trust roots. Without one, connecting fails with [`AddressError::NoCertificate`].
    pub config: Option<Arc<rustls::ClientConfig>>,
}

/// Why an address was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("an address is unix:PATH or tls:HOST:PORT")]
    Empty,
    /// A scheme that nobody speaks.
    #[error("{0:?} is no address; write unix:PATH or tls:HOST:PORT")]
    Scheme(String),
    /// No port.
    #[error("{0:?} names no port; write tls:HOST:PORT")]
    Port(String),
    /// TLS without a certificate.
    #[error("a tls: address needs a client's certificate; name it with --cert (and --key and --ca)")]
    NoCertificate,
}

impl Address {
    /// The address, with what proves who one is if it is a remote one.
    #[must_use]
    pub fn with_tls(self, config: &Arc<rustls::ClientConfig>) -> Address {
        match self {
            Address::Unix(path) => Address::Unix(path),
            Address::Tls(tls) => Address::Tls(Tls { config: Some(Arc::clone(config)), ..tls }),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(AddressError::Empty) } else { Ok(Address::Unix(path.into())) };
        }
        if let Some(endpoint) = text.strip_prefix("tls:") {
            let port = endpoint.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            return match port {
                Some(Ok(_)) => Ok(Address::Tls(Tls { endpoint: endpoint.to_owned(), config: None })),
                _ => Err(AddressError::Port(endpoint.to_owned())),
            };
        }
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        Err(AddressError::Scheme(text.to_owned()))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tls(tls) => write!(f, "tls:{}", tls.endpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        assert!(matches!("unix:/run/s.sock".parse(), Ok(Address::Unix(_))));
        assert!(matches!("/run/s.sock".parse(), Ok(Address::Unix(_))));
        assert!(matches!("tls:mail.example:7000".parse(), Ok(Address::Tls(_))));
        assert_eq!("tls:mail".parse::<Address>().err(), Some(AddressError::Port("mail".into())));
        assert_eq!("mail".parse::<Address>().err(), Some(AddressError::Scheme("mail".into())));
        assert_eq!("".parse::<Address>().err(), Some(AddressError::Empty));
    }
}
