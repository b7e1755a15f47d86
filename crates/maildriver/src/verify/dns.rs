//! The name servers that are asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mail_auth::MessageAuthenticator;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::net::NetError;
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::hickory_resolver::system_conf::read_system_conf;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::limits::{
    ANSWERS_REMEMBERED, ASKED_AGAIN, NAME_SERVER_ANSWERS_WITHIN, NOTHING_REMEMBERED_FOR, REMEMBERED_FOR,
};

/// Those of the configuration; else the system's, as they are when they are first needed.
pub(super) struct NameServers {
    named: Vec<SocketAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<MessageAuthenticator>,
    /// It was said that there are none.
    complained: bool,
}

impl NameServers {
    pub fn new(named: Vec<SocketAddr>) -> NameServers {
        NameServers { named, state: Mutex::default() }
    }

    /// Who asks them; none if there are none. Then the system's configuration is read again the next time.
    pub fn ask(&self) -> Option<MessageAuthenticator> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.is_none() {
            match self.open() {
                Ok(known) => state.known = Some(known),
                Err(error) if !state.complained => {
                    tracing::warn!(%error, "senders are not verified: there is no name server; see mail.resolver");
                    state.complained = true;
                }
                Err(_) => {}
            }
        }
        state.known.clone()
    }

    fn open(&self) -> Result<MessageAuthenticator, NetError> {
        let (servers, mut options) = match &self.named[..] {
            [] => read_system_conf()?,
            named => {
                let servers = named.iter().copied().map(server).collect();
                (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
            }
        };
        options.timeout = NAME_SERVER_ANSWERS_WITHIN;
        options.attempts = ASKED_AGAIN;
        options.cache_size = ANSWERS_REMEMBERED;
        options.positive_max_ttl = Some(REMEMBERED_FOR);
        options.negative_max_ttl = Some(NOTHING_REMEMBERED_FOR);
        // What this machine calls others says nothing about what they may send.
        options.use_hosts_file = ResolveHosts::Never;
        // They are asked in clear. By itself the resolver would read the system's certificates, and fail where there are none.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let resolver = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
        Ok(MessageAuthenticator(resolver.with_options(options).with_tls_config(tls).build()?))
    }
}

fn server(at: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(at.ip());
    for connection in &mut server.connections {
        connection.port = at.port();
    }
    server
}
