//! Three sites that serve mail, on ports that the system chooses, and their users.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Map, Value};
use tokio::task::JoinSet;
use unanimous::Bytes;
use unanimous::config::MailConfig;
use unanimous::session::protocol::{ErrorCode, MailOp};
use unanimous::session::{Error, Session};

use super::servers::Servers;
use crate::commands::bench::cluster::Folder;
use crate::commands::bench::sites::{A_MOMENT, PATIENCE, Sites, site_name};
use crate::failure::Failure;

/// Sites of the benched cluster.
pub const SITES: usize = 3;
/// Users that are added at once.
const ADDED_AT_ONCE: usize = 64;
/// As many connections as any load makes, and some.
const CONNECTIONS: usize = 8_192;

/// The sites. They end with this, and their files go.
pub struct Served {
    pub sites: Sites,
    /// The site that orders.
    pub first: usize,
    /// Declared last: removed when the processes are gone.
    pub folder: Folder,
}

impl Served {
    /// Starts them, and waits until all serve mail.
    pub async fn start(folder: Folder, domain: &str, program: Option<PathBuf>) -> Result<Served, Failure> {
        let any = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mail = MailConfig {
            imap: any,
            smtp: any,
            submission: any,
            lmtp: any,
            trial: true,
            recipients_per_hour: 0,
            letters_per_hour_of_one: 0,
            connections: CONNECTIONS,
            connections_of_one: CONNECTIONS,
            ..MailConfig::of(domain)
        };
        let mut sites = Sites::with_mail(folder.path(), SITES, &mail, program)?;
        (0..SITES).try_for_each(|i| sites.start(i))?;
        let Ok(first) = tokio::time::timeout(PATIENCE, whole(&sites)).await else {
            return Err(sites.failed("mail is not served after half a minute"));
        };
        Ok(Served { first, sites, folder })
    }

    /// Where a site serves what.
    pub async fn servers(&self, i: usize) -> Result<Servers, Failure> {
        let status = self.sites.session(i).await.status().await?;
        let mail = status.get("mail").and_then(|mail| mail.get("listeners"));
        let at = |what: &str| mail?.get(what)?.as_str()?.parse().ok();
        Ok(Servers { lmtp: at("lmtp"), smtp: at("smtp"), submission: at("submission"), imap: at("imap") })
    }

    /// Lets there be users; of those that are to log in with this password.
    pub async fn add_users(&self, names: &[String], password: Option<&str>) -> Result<(), Failure> {
        let session = self.sites.session(self.first).await;
        let mut adding = JoinSet::new();
        for name in names {
            while adding.len() >= ADDED_AT_ONCE {
                added(adding.join_next().await)?;
            }
            let (user, password) = (name.clone(), password.map(str::to_owned));
            let add = MailOp::AddUser { user, password, privileged: false };
            let session = session.clone();
            adding.spawn(async move { session.mail(add, Bytes::new()).await.map(|_| ()) });
        }
        while !adding.is_empty() {
            added(adding.join_next().await)?;
        }
        Ok(())
    }

    /// How much mail there is, as a site has it.
    pub async fn storage(&self, i: usize) -> Result<Map<String, Value>, Failure> {
        let session = self.sites.session(i).await;
        Ok(session.mail(MailOp::Storage, Bytes::new()).await?.0)
    }
}

/// Waits until every site has applied an entry, which brings the domain, and knows who orders. Gives that site.
async fn whole(sites: &Sites) -> usize {
    let mut first = 0;
    for i in 0..SITES {
        let session = sites.session(i).await;
        first = loop {
            if let Some(first) = master(&session).await {
                break first;
            }
            tokio::time::sleep(A_MOMENT).await;
        };
    }
    first
}

async fn master(session: &Session) -> Option<usize> {
    let (storage, _) = session.mail(MailOp::Storage, Bytes::new()).await.ok()?;
    let applied = storage.get("position").and_then(Value::as_u64)?;
    let name = storage.get("master").and_then(Value::as_str)?;
    (0..SITES).find(|i| applied > 0 && site_name(*i) == name)
}

type Added = Result<Result<(), Error>, tokio::task::JoinError>;

fn added(one: Option<Added>) -> Result<(), Failure> {
    match one {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(Error::Refused(failure)))) if failure.error == ErrorCode::Exists => Ok(()),
        Some(Ok(Err(error))) => Err(Failure::refused(format!("a user could not be added: {error}"))),
        Some(Err(error)) => Err(Failure::refused(error.to_string())),
    }
}
