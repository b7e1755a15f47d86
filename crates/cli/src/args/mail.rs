//! `mail`: its commands and their flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::mail_admin::{Alias, AppPassword, MailDomain, MailQuota, MailRights, MailingList};

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous mail add-user ann --password-stdin < secret
  unanimous mail send bob --from ann --subject lunch --body 'At noon?'
  unanimous mail send bob --raw < letter.eml
  unanimous mail list bob
  unanimous mail receive bob --unseen
  unanimous mail delete bob 3 4
  unanimous mail poll bob
  unanimous mail users
  unanimous mail quota bob --bytes 1GiB
  unanimous mail app-password add bob --label phone
  unanimous mail alias set info ann bob
  unanimous mail mailing-list create team --member ann --member bob --owner ann
  unanimous mail domain add example.net --catch-all ann
  unanimous mail who
  unanimous mail change-master site-2
  unanimous mail storage
  unanimous mail doctor

These are the operator's, in anybody's name; users have IMAP. A letter is sent when most machines have it on disk, and then \
received at every site. With --local a site answers by itself, at once, perhaps from the past.")]
pub enum Mail {
    /// Send a letter
    Send(MailSend),
    /// Print letters, whole
    Receive(MailOf),
    /// Print whom letters are from, when they came, and their subjects
    List(MailOf),
    /// Remove letters for good
    Delete {
        /// Whose
        user: String,
        /// Which: their UIDs, as `list` prints them
        #[arg(required = true, value_name = "UID")]
        uids: Vec<u32>,
        /// Of this mailbox, not INBOX
        #[arg(long)]
        mailbox: Option<String>,
    },
    /// Print how many letters a user has not seen
    Poll {
        /// Whose
        user: String,
    },
    /// Add a user
    AddUser {
        /// Its name, which is also the local part of its address
        name: String,
        #[command(flatten)]
        password: Password,
        /// It may administer mail
        #[arg(long)]
        privileged: bool,
    },
    /// Remove a user and its mail
    DeleteUser {
        /// Its name
        name: String,
    },
    /// Give a user another password
    SetPassword {
        /// Its name
        name: String,
        #[command(flatten)]
        password: Password,
    },
    /// Print users: rights, letters, quotas, last logins
    Users {
        /// As they are at this site, at once
        #[arg(long)]
        local: bool,
    },
    /// Set how much a user may store; what is not said has no bound
    Quota(MailQuota),
    /// Let a user administer mail, or not
    Rights(MailRights),
    /// Passwords for single programs
    #[command(subcommand)]
    AppPassword(AppPassword),
    /// Addresses that stand for others
    #[command(subcommand)]
    Alias(Alias),
    /// Mailing lists, with members and owners
    #[command(subcommand)]
    MailingList(MailingList),
    /// Domains for which mail is taken
    #[command(subcommand)]
    Domain(MailDomain),
    /// Print who is logged in by a mail program: where, since when
    Who,
    /// Let a site be the Master: rank 0 of those that serve mail
    ChangeMaster {
        /// The site's name
        of: String,
    },
    /// How much mail there is, and which site has which role
    Storage,
    /// Look for what is wrong with mail at the site that is asked: its index, and every letter on its disk
    #[command(after_help = "Examples:
  unanimous mail doctor
  unanimous mail doctor --quick --site unix:/run/unanimous/session.sock
  unanimous mail doctor --json

The index is counted anew, made anew from a checkpoint of it, and compared with those of the other sites; then every letter is \
read. What is damaged is had from other sites by itself. Fails (1) if something is wrong, and says what to do.")]
    Doctor {
        /// Don't read the letters
        #[arg(long)]
        quick: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct MailSend {
    /// The recipients: addresses, or names of users; at most 10,000
    #[arg(required = true, value_name = "TO")]
    pub to: Vec<String>,
    /// Whom it is from: a user's name, or an address
    #[arg(long, value_name = "USER")]
    pub from: Option<String>,
    /// Its subject
    #[arg(long, default_value = "")]
    pub subject: String,
    /// What it says; else it is read from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub body: Option<String>,
    /// What it says is in this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What is read is a whole letter, with its head
    #[arg(long, conflicts_with_all = ["subject", "body"])]
    pub raw: bool,
}

#[derive(Clone, Debug, Args)]
pub struct MailOf {
    /// Whose
    pub user: String,
    /// Of this mailbox, not INBOX
    #[arg(long)]
    pub mailbox: Option<String>,
    /// Only what was not seen
    #[arg(long)]
    pub unseen: bool,
    /// Only those behind this UID
    #[arg(long, value_name = "UID", default_value_t = 0)]
    pub after: u32,
    /// At most so many
    #[arg(long)]
    pub limit: Option<usize>,
    /// As they are at this site, at once
    #[arg(long)]
    pub local: bool,
}

/// Where a password comes from; if nothing is said it is asked for on the terminal.
#[derive(Clone, Debug, Args)]
pub struct Password {
    /// The password; others on this machine may see it
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}
