//! What answers of mail list: users, addresses, lists, domains, logins.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::mail::Posting;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLine {
    /// Its name.
    pub user: String,
    /// Its address in the site's own domain.
    pub address: String,
    /// Whether it may administer mail.
    pub privileged: bool,
    /// Letters that it has, each counted in every mailbox that it is in.
    pub letters: u32,
    /// Their bytes, counted alike.
    pub bytes: u64,
    /// So many it may have; none is no bound.
    #[serde(default)]
    pub letters_max: Option<u32>,
    /// So many bytes; none is no bound.
    #[serde(default)]
    pub bytes_max: Option<u64>,
    /// Whether it has a password that somebody chose.
    pub password: bool,
    /// How many application passwords it has.
    pub app_passwords: usize,
    /// When it last logged in at the site that answers, in milliseconds since 1970, if that was since the site was started.
    #[serde(default)]
    pub last_login_ms: Option<u64>,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasLine {
    /// The address.
    pub alias: String,
    /// Where its mail goes, in order.
    pub targets: Vec<String>,
}

/// A mailing list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLine {
    /// Its address.
    pub list: String,
    /// How many get its mail.
    pub members: usize,
    /// Names of users who may change it.
    pub owners: Vec<String>,
    /// Who may write to it.
    pub posting: Posting,
}

/// A domain for which mail is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainLine {
    /// The domain.
    pub domain: String,
    /// Who gets mail for names that nobody has there.
    #[serde(default)]
    pub catch_all: Option<String>,
}

/// A connection on which a user has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLine {
    /// Who.
    pub user: String,
    /// `imap` or `submission`.
    pub protocol: String,
    /// Whether it is inside TLS.
    pub tls: bool,
    /// Where the program is.
    pub from: IpAddr,
    /// When, in milliseconds since 1970.
    pub since_ms: u64,
}
