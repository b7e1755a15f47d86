//! What sessions ask of mail (`docs/sessions.md`): seed 000's functions, and what an administrator needs besides.

mod addresses;
mod app_passwords;
mod doctor;
mod letters;
mod lists;
mod page;
mod users;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use mail::{
    Address, BadEntry, Command, Domain, Entry, MailboxName, Outcome, Refusal, RequestId, State, User, UserId,
    UserName,
};
use serde_json::{Map as Object, Value, json};
use site::{Answered, Answering, Handle, HostError, Requests};
use tokio::sync::Mutex;
use wire::session::{ErrorCode, Failure, MailOp, Principal};

use crate::serve::online::Online;
use crate::serve::passwords::Passwords;
use crate::service::{GROUP, Mail, MailError, Shared, Taken};

/// Who answers them.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) shared: Arc<Shared>,
    pub(crate) passwords: Passwords,
    pub(crate) online: Arc<Online>,
    /// Who looks at something and then changes it, holds this: one at a time at this site.
    pub(crate) changing: Arc<Mutex<()>>,
    pub(crate) domain: Domain,
    /// What the site calls itself.
    pub(crate) host: String,
    /// Where it serves what.
    pub(crate) listeners: BTreeMap<&'static str, SocketAddr>,
}

/// What a request is done with.
struct Asked {
    mail: Mail,
    passwords: Passwords,
    online: Arc<Online>,
    changing: Arc<Mutex<()>>,
    domain: Domain,
}

impl Requests for Answers {
    fn run(&self, site: Handle, principal: Principal, op: MailOp, body: Bytes) -> Answering {
        let mail = Mail::new(site, Arc::clone(&self.shared));
        let asked = Asked {
            mail,
            passwords: self.passwords.clone(),
            online: Arc::clone(&self.online),
            changing: Arc::clone(&self.changing),
            domain: self.domain.clone(),
        };
        Box::pin(async move {
            // All of these are in other people's names: the operator's alone, who owns the machine [Mail 4].
            if principal < Principal::Administer {
                let why =
                    "mail in other people's names needs the principal `administer`; use IMAP with a password";
                return Err(failure(ErrorCode::NotAllowed, why));
            }
            asked.run(op, body).await
        })
    }

    fn status(&self) -> (&'static str, Value) {
        let told = json!({
            "domain": self.domain.as_str(), "host": self.host, "group": GROUP, "ready": self.shared.is_ready(),
            "listeners": self.listeners, "held": self.shared.waits().told(),
            "sharing": self.shared.shares(),
        });
        ("mail", told)
    }
}

impl Asked {
    async fn run(&self, op: MailOp, body: Bytes) -> Answered {
        match op {
            MailOp::Send { user, from, to, to_len, once } => {
                let (to, letter) = letters::recipients(to, to_len, body)?;
                self.send(user, from, to, once, letter).await
            }
            MailOp::Receive(of) => self.letters(of, true).await,
            MailOp::List(of) => self.letters(of, false).await,
            MailOp::Delete { user, mailbox, uids } => self.delete(&user, mailbox, uids).await,
            MailOp::Poll { user } => {
                let state = self.mail.view().map_err(refused)?;
                let unseen = state.poll_mail(user_named(&state, &user)?);
                told(json!({"user": user, "unseen": unseen}))
            }
            MailOp::AddUser { user, password, privileged } => self.add_user(user, password, privileged).await,
            MailOp::DeleteUser { user } => self.delete_user(&user).await,
            MailOp::SetPassword { user, password } => self.set_password(&user, password).await,
            MailOp::Users(page) => self.users(page).await,
            MailOp::SetQuota { user, bytes, letters } => self.set_quota(&user, bytes, letters).await,
            MailOp::SetPrivileged { user, privileged } => self.set_privileged(&user, privileged).await,
            MailOp::AddAppPassword { user, label } => self.add_app_password(&user, label).await,
            MailOp::RemoveAppPassword { user, label } => self.remove_app_password(&user, label).await,
            MailOp::AppPasswords { user } => self.app_passwords(&user).await,
            MailOp::SetAlias { address, targets } => self.set_alias(&address, &targets).await,
            MailOp::RemoveAlias { address } => self.remove_alias(&address).await,
            MailOp::Aliases(page) => self.aliases(page).await,
            MailOp::SetDomain { domain, catch_all } => self.set_domain(&domain, catch_all).await,
            MailOp::RemoveDomain { domain } => self.remove_domain(&domain).await,
            MailOp::Domains(page) => self.domains(page).await,
            MailOp::CreateList { list, members, owners, posting } => {
                self.create_list(&list, &members, &owners, posting).await
            }
            MailOp::ChangeList { list, owners, posting } => self.change_list(&list, owners, posting).await,
            MailOp::AddMembers { list, members } => self.add_members(&list, &members).await,
            MailOp::RemoveMembers { list, members } => self.remove_members(&list, &members).await,
            MailOp::Members { list, page } => self.members(&list, page).await,
            MailOp::RemoveList { list } => self.remove_list(&list).await,
            MailOp::Lists(page) => self.lists(page).await,
            MailOp::Who(page) => self.who(page),
            MailOp::ChangeMaster { site } => self.change_master(&site).await,
            MailOp::Storage => self.storage().await,
            MailOp::Examine => self.examine().await,
            MailOp::ReadLetters { after } => self.read_letters(after).await,
        }
    }

    /// Proposes a command, and gives what became of it if it was not refused.
    async fn propose(
        &self,
        by: mail::Principal,
        request: Option<RequestId>,
        command: Command,
        letter: Option<Bytes>,
    ) -> Result<Outcome, Failure> {
        let entry = entry(by, request, command, letter)?;
        judged(self.mail.propose(&entry).await.map_err(refused)?)
    }

    /// The same of what a site without a majority may hold.
    async fn take(
        &self,
        by: mail::Principal,
        request: Option<RequestId>,
        command: Command,
        letter: Option<Bytes>,
    ) -> Result<Taken, Failure> {
        match self.mail.take(entry(by, request, command, letter)?).await.map_err(refused)? {
            Taken::Applied(outcome) => judged(outcome).map(Taken::Applied),
            held => Ok(held),
        }
    }

    /// Proposes a change of the operator's.
    async fn change(&self, command: Command) -> Result<Outcome, Failure> {
        self.propose(mail::Principal::Operator, None, command, None).await
    }

    /// The state to list from: with all that was acknowledged anywhere, or as it is here.
    async fn listed(&self, local: bool) -> Result<Arc<State>, Failure> {
        let state = if local { self.mail.view() } else { self.mail.reach().await };
        state.map_err(refused)
    }

    /// An address of this domain, if none is said.
    fn address(&self, what: &str, text: &str) -> Result<Address, Failure> {
        Address::parse(&self.address_of(text)).map_err(|error| bad(format!("{what}: {text:?}: {error}")))
    }

    fn addresses(&self, what: &str, texts: &[String]) -> Result<Vec<Address>, Failure> {
        texts.iter().map(|text| self.address(what, text)).collect()
    }

    fn address_of(&self, name: &str) -> String {
        if name.contains('@') { name.to_owned() } else { format!("{name}@{}", self.domain) }
    }
}

fn entry(
    by: mail::Principal,
    request: Option<RequestId>,
    command: Command,
    letter: Option<Bytes>,
) -> Result<Entry, Failure> {
    let entry = match letter {
        Some(letter) => Entry::with_letter(by, request, command, letter),
        None => Entry::new(by, request, command),
    };
    entry.map_err(|error| match error {
        BadEntry::TooMuch(_) => failure(ErrorCode::TooLarge, error.to_string()),
        error => bad(error.to_string()),
    })
}

/// What became of a command, if it was not refused.
fn judged(outcome: Outcome) -> Result<Outcome, Failure> {
    let outcome = match outcome {
        Outcome::Repeated { answer, .. } => *answer,
        outcome => outcome,
    };
    match outcome {
        Outcome::Refused(why @ Refusal::Exists) => Err(failure(ErrorCode::Exists, why.to_string())),
        Outcome::Refused(why @ (Refusal::PrimaryOnly | Refusal::NotEnrolled)) => {
            Err(failure(ErrorCode::NotPrimary, why.to_string()))
        }
        Outcome::Refused(why) => Err(bad(format!("{why}{}", advice(why)))),
        outcome => Ok(outcome),
    }
}

/// What to do about a refusal, where that is not plain.
fn advice(why: Refusal) -> &'static str {
    match why {
        Refusal::NotLocal => "; `unanimous mail domain list` says for which it is",
        Refusal::InUse => {
            "; see `unanimous mail alias list`, `unanimous mail mailing-list list`, `unanimous mail domain list`"
        }
        _ => "",
    }
}

/// The user of a name, given alone or as an address.
fn user_named(state: &State, name: &str) -> Result<UserId, Failure> {
    let local = name.rsplit_once('@').map_or(name, |(local, _)| local);
    let user = UserName::parse(local).ok().and_then(|name| state.user_named(&name));
    let why = || bad(format!("there is no user {name}; add one with `unanimous mail add-user {name}`"));
    user.map(User::id).ok_or_else(why)
}

/// A user's mailbox; INBOX if nothing is said.
fn mailbox_named<'a>(
    state: &'a State,
    user: UserId,
    name: Option<&str>,
) -> Result<&'a mail::Mailbox, Failure> {
    let wanted = match name {
        Some(name) => MailboxName::parse(name).map_err(|error| bad(format!("mailbox: {error}")))?,
        None => MailboxName::inbox(),
    };
    state.mailbox_named(user, &wanted).ok_or_else(|| bad(format!("there is no mailbox {wanted}")))
}

fn told(value: Value) -> Answered {
    match value {
        Value::Object(object) => Ok((object, Bytes::new())),
        _ => Ok((Object::new(), Bytes::new())),
    }
}

fn failure(error: ErrorCode, message: impl Into<String>) -> Failure {
    Failure { error, message: message.into() }
}

fn bad(message: impl Into<String>) -> Failure {
    failure(ErrorCode::BadRequest, message)
}

fn refused(error: MailError) -> Failure {
    let code = match &error {
        MailError::Host(HostError::NoSuchGroup(_)) => return refused(MailError::NotReady),
        MailError::Host(error) => error.code(),
        MailError::Minority => ErrorCode::NotPrimary,
        MailError::NotReady | MailError::Unmerged | MailError::Spool(_) => ErrorCode::Busy,
        MailError::Answer => ErrorCode::Interrupted,
    };
    failure(code, error.to_string())
}
