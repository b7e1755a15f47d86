//! A running site that serves mail: the service in the site, and the listeners beside it.
//!
//! Connections of mail programs run on a thread of their own with a small runtime, so that parsing letters, searching and TLS
//! take nothing from the thread that carries the site.

mod connection;
mod listen;
mod news;
pub(crate) mod online;
pub(crate) mod passwords;
mod room;
pub(crate) mod speaker;
mod stream;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mail::command::SetDomain;
use mail::{Address, Command, Domain, Entry, Outcome, Principal};
use net::Lobby;
use site::{HostError, Kind, MailConfig, RunningSite, Services, SiteConfig};
use tokio::net::TcpListener;
use wire::session::ErrorCode;

use crate::requests::Answers;
use crate::service::{Application, Mail, MailError, Shared, group, share, tend};
use crate::verify::Verifier;
use listen::{Door, Doors};
use online::Online;
use passwords::Passwords;

/// When the group cannot be founded yet it is tried again after so long.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a site with mail could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The site.
    #[error(transparent)]
    Site(#[from] site::StartError),
    /// `mail.domain` is no domain.
    #[error("mail.domain = {domain:?}: {why}")]
    Domain {
        /// What it is.
        domain: String,
        /// Why it is none.
        why: mail::BadName,
    },
    /// `mail.host` is no name of a host.
    #[error("mail.host = {host:?}: {why}")]
    Host {
        /// What it is.
        host: String,
        /// Why it is none.
        why: mail::BadName,
    },
    /// The certificate for mail programs cannot be used.
    #[error("{path}: {why}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refuses a thread.
    #[error("no thread for mail: {0}")]
    Thread(io::Error),
}

/// A site, and its mail if its configuration has some.
#[derive(Debug)]
pub struct WithMail {
    /// The site.
    pub site: RunningSite,
    /// Where connections run; they end when this is dropped.
    _lobby: Option<Lobby>,
}

/// Brings up a site, with mail if its configuration has `[mail]`. When this returns it listens.
///
/// # Errors
///
/// Nothing is left running.
pub async fn start(config: SiteConfig) -> Result<WithMail, StartError> {
    let Some(settings) = config.mail.clone() else {
        return Ok(WithMail { site: site::start(config).await?, _lobby: None });
    };
    let why = |why| StartError::Domain { domain: settings.domain.clone(), why };
    let domain = Domain::parse(&settings.domain).map_err(why)?;
    let host = host(&settings, &config.site.name)?;
    let tls = tls::load(&settings)?;
    let lobby = Lobby::start().map_err(StartError::Thread)?;
    let mut at = BTreeMap::new();
    let mut listeners = Vec::new();
    for (what, address, door) in Door::all(&settings) {
        let listener = listen(&lobby, what, address)?;
        at.insert(what, listener.local_addr().unwrap_or(address));
        listeners.push((listener, door));
    }
    let shared = Arc::new(Shared::new(settings.minority));
    let online = Arc::new(Online::default());
    let passwords = Passwords::new(tls::secret(&settings)?);
    let ports = at.iter().map(|(what, at)| ((*what).to_owned(), at.port())).collect();
    let mut services = Services { ports, ..Services::default() };
    services.applications.insert(Kind::Mail, Box::new(Application::new(Arc::clone(&shared))));
    services.requests = Some(Arc::new(Answers {
        shared: Arc::clone(&shared),
        passwords: passwords.clone(),
        online: Arc::clone(&online),
        changing: Arc::default(),
        domain: domain.clone(),
        host: host.clone(),
        listeners: at,
    }));
    let site = site::start_with(config, services).await?;
    let mail = Mail::new(site.handle(), shared);
    lobby.spawn(found(mail.clone(), domain));
    lobby.spawn(tend(mail.clone(), host.clone()));
    lobby.spawn(share(mail.clone()));
    lobby.spawn(passwords.clone().follow(mail.changes()));
    let verifier = Verifier::new(&settings, &host);
    let doors = Arc::new(Doors::new(mail, passwords, verifier, online, &settings, host, tls));
    lobby.spawn(doors.follow());
    for (listener, door) in listeners {
        lobby.spawn(Arc::clone(&doors).serve(listener, door));
    }
    Ok(WithMail { site, _lobby: Some(lobby) })
}

fn listen(lobby: &Lobby, what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = lobby.listen(address);
    let refused = |cause| site::StartError::Listen { what, address: address.to_string(), cause };
    Ok(bound.map_err(refused)?)
}

/// Lets there be the mail's group, and its domain. Every site that serves mail asks for both; once is enough.
async fn found(mail: Mail, domain: Domain) {
    loop {
        match mail.site().create_group(group(), Kind::Mail).await {
            Ok(()) => break,
            Err(error) if error.code() == ErrorCode::Exists => break,
            Err(HostError::Stopped) => return,
            Err(error) => {
                tracing::debug!(%error, "mail cannot be founded yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    loop {
        match take_domain(&mail, &domain).await {
            Ok(()) => return tracing::info!(%domain, "mail is served"),
            Err(MailError::Host(HostError::Stopped)) => return,
            Err(error) => {
                tracing::debug!(%error, %domain, "mail is not ready yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn take_domain(mail: &Mail, domain: &Domain) -> Result<(), MailError> {
    let state = mail.reach().await?;
    let known =
        Address::normal(&format!("postmaster@{domain}")).is_ok_and(|address| state.is_local(&address));
    if known {
        return Ok(());
    }
    let set = Command::SetDomain(SetDomain { domain: domain.clone(), catch_all: None });
    let entry = Entry::new(Principal::Operator, None, set).map_err(|_| MailError::Answer)?;
    match mail.propose(&entry).await? {
        Outcome::Refused(why) => {
            tracing::error!(%domain, %why, "the domain is refused");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What the site calls itself: what is configured; else its name in the mail's domain, as far as hosts may have that.
fn host(settings: &MailConfig, site: &str) -> Result<String, StartError> {
    let made = || {
        let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let label: String = site.chars().map(fits).take(63).collect();
        format!("{}.{}", label.trim_matches('-'), settings.domain)
    };
    match &settings.host {
        Some(host) => match Domain::parse(host) {
            Ok(host) => Ok(host.as_str().to_owned()),
            Err(why) => Err(StartError::Host { host: host.clone(), why }),
        },
        None => Ok(Domain::parse(&made()).map_or(settings.domain.clone(), |host| host.as_str().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_calls_itself_what_a_host_may_be_called() {
        let named = |configured: Option<&str>, site: &str| {
            let settings = MailConfig { host: configured.map(str::to_owned), ..MailConfig::of("x.org") };
            host(&settings, site).ok()
        };
        assert_eq!(named(None, "site-1").as_deref(), Some("site-1.x.org"));
        assert_eq!(named(None, "rack_2;x=(y").as_deref(), Some("rack-2-x--y.x.org"));
        assert_eq!(named(None, "\u{fc}").as_deref(), Some("x.org"));
        assert_eq!(named(Some("mx.x.org"), "a").as_deref(), Some("mx.x.org"));
        assert_eq!(named(Some("mx; dkim=pass"), "a"), None);
    }
}
