//! A trial's mail: a domain, a certificate that is its own authority, and two users with passwords that are printed.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unanimous::Bytes;
use unanimous::config::MailConfig;
use unanimous::session::protocol::{ErrorCode, MailOp};
use unanimous::session::{Address, Error, connect};

use super::child::Child;
use crate::failure::Failure;

/// The trial's domain: one that nobody can own (RFC 2606).
pub const DOMAIN: &str = "unanimous.test";
/// Listeners of a site.
pub const LISTENERS: usize = 6;
const USERS: [&str; 2] = ["ann", "bob"];
/// Letters and digits that are not taken for each other: 32 of them, 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const PASSWORD_LETTERS: usize = 16;
const AGAIN: Duration = Duration::from_millis(100);

/// Where the trial's mail keeps what it made once.
pub struct Files {
    folder: PathBuf,
}

/// A user of the trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its password.
    pub password: String,
}

impl Files {
    fn of(dir: &Path) -> Files {
        Files { folder: dir.join("mail") }
    }

    /// Makes certificate, key and users' passwords.
    pub fn create(dir: &Path) -> Result<Files, Failure> {
        let files = Files::of(dir);
        std::fs::create_dir_all(&files.folder)?;
        let names = [DOMAIN, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|error| Failure::refused(format!("no certificate for mail: {error}")))?;
        std::fs::write(files.certificate(), made.cert.pem())?;
        write_secret(&files.folder.join("key.pem"), made.signing_key.serialize_pem().as_bytes())?;
        let user = |name: &str| User {
            name: name.to_owned(),
            address: format!("{name}@{DOMAIN}"),
            password: password(),
        };
        let users: Vec<User> = USERS.into_iter().map(user).collect();
        write_secret(
            &files.folder.join("users.json"),
            &serde_json::to_vec_pretty(&users).unwrap_or_default(),
        )?;
        Ok(files)
    }

    /// What a site serves of it, at these addresses.
    pub fn config(&self, at: [SocketAddr; LISTENERS]) -> MailConfig {
        let [imap, imaps, smtp, submission, submissions, lmtp] = at.map(Some);
        MailConfig {
            imap,
            imaps,
            smtp,
            submission,
            submissions,
            lmtp,
            certificate: Some(self.certificate()),
            key: Some(self.folder.join("key.pem")),
            trial: true,
            connections: 1_024,
            connections_of_one: 1_024,
            ..MailConfig::of(DOMAIN)
        }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }
}

/// What `up` says of the trial's mail.
pub struct Trial {
    /// The domain.
    pub domain: String,
    /// What a mail program is to trust.
    pub certificate: Option<PathBuf>,
    /// Who can log in.
    pub users: Vec<User>,
}

impl Trial {
    /// Sees to it that the trial's users are there, and that every site serves mail. None, if the cluster has no mail: it was
    /// made by a program that had none.
    pub async fn ready(dir: &Path, children: &[Child]) -> Result<Option<Trial>, Failure> {
        let Some(first) = children.first().and_then(|child| child.mail().cloned()) else { return Ok(None) };
        let users: Vec<User> = match std::fs::read(Files::of(dir).folder.join("users.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Failure::refused(format!("the trial's users are damaged: {error}")))?,
            Err(_) => Vec::new(),
        };
        for child in children {
            let address = Address::Unix(child.session().to_owned());
            loop {
                match prepare(&address, &users).await {
                    Ok(()) => break,
                    Err(error) if passes(&error) => tokio::time::sleep(AGAIN).await,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(Some(Trial { domain: first.domain, certificate: first.certificate, users }))
    }
}

/// Adds the users that are not there; who is there keeps the password that it has.
async fn prepare(address: &Address, users: &[User]) -> Result<(), Error> {
    let (session, _events) = connect(address, "up").await?;
    for user in users {
        let asked = session.mail(MailOp::Poll { user: user.name.clone() }, Bytes::new()).await;
        match asked {
            Err(Error::Refused(failure)) if failure.error == ErrorCode::BadRequest => {}
            asked => {
                asked?;
                continue;
            }
        }
        let (name, password) = (user.name.clone(), Some(user.password.clone()));
        let add = MailOp::AddUser { user: name, password, privileged: false };
        match session.mail(add, Bytes::new()).await {
            Err(Error::Refused(failure)) if failure.error == ErrorCode::Exists => {}
            added => drop(added?),
        }
    }
    Ok(())
}

/// Whether it is only that the site is not that far yet.
fn passes(error: &Error) -> bool {
    match error {
        Error::Refused(failure) => matches!(
            failure.error,
            ErrorCode::Busy
                | ErrorCode::NotPrimary
                | ErrorCode::NotAdmitted
                | ErrorCode::NoSuchGroup
                | ErrorCode::Interrupted
                | ErrorCode::Stopping
        ),
        Error::Ended(_) | Error::Unreachable { .. } => true,
        Error::Expelled(_) | Error::Untrusted { .. } | Error::Address(_) | Error::Protocol(_) => false,
    }
}

fn password() -> String {
    let drawn = net::random();
    let letter = |n: usize| char::from(LETTERS[(drawn >> (5 * n)) as usize & 31]);
    (0..PASSWORD_LETTERS).map(letter).collect()
}

/// A file that only its owner reads.
fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}
