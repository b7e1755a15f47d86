//! Mail: what was acknowledged is on the disks of most of the sites that keep it, and is lost no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use client::protocol::{
    AliasLine, DomainLine, ListLine, LoginLine, MailOp, Of, Once, Op, PageOf, Posting, ReceiptLine, UserLine,
};
use client::{Letters, mail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::process::Process;

/// The cluster's mail, as the cluster's operator uses it: in anybody's name. Over a session this needs a principal who may
/// administer; everybody else uses IMAP. Clones share the numbers of their letters.
///
/// If the site is lost before it answers, a request is repeated at the next one; a letter that is [sent](Mail::send) so is
/// delivered once.
///
/// ```no_run
/// use unanimous::{Of, Site};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Site::connect_any(unanimous::locate::addresses()?, "greeter").await?;
/// let mail = process.mail();
/// mail.send(Some("ann"), &["bob"], "From: ann\r\nTo: bob\r\nSubject: hi\r\n\r\nhello\r\n").await?;
/// let of = Of { user: "bob".to_owned(), ..Of::default() };
/// for letter in mail.receive(of).await?.letters {
///     println!("{}: {:?}", letter.header.uid, letter.header.subject);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mail {
    process: Process,
    /// Drawn once: with a number it names a letter.
    client: u128,
    sent: Arc<AtomicU64>,
}

impl Mail {
    pub(crate) fn new(process: Process) -> Mail {
        Mail { process, client: net::random(), sent: Arc::default() }
    }

    /// Sends a letter, in the name of a user or of the operator. A recipient is an address, or a user's name. Says what became
    /// of it for each, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: nobody has it. [`Error::Interrupted`]: it may have been delivered, once.
    pub async fn send(
        &self,
        user: Option<&str>,
        to: &[&str],
        letter: impl Into<Bytes>,
    ) -> Result<Vec<ReceiptLine>, Error> {
        let sequence = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let once = Some(Once { client: format!("{:032x}", self.client), sequence, answered: 0 });
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        let (op, body) = mail::send(user.map(str::to_owned), None, to, once, letter.into());
        mail::receipts(self.ask(op, body).await?).map_err(Error::of_request)
    }

    /// Letters of a mailbox, whole: all that were acknowledged anywhere before, or, with [`Of::local`], those that the site
    /// has. A page: `after` says where to go on.
    pub async fn receive(&self, of: Of) -> Result<Letters, Error> {
        mail::letters(self.ask(MailOp::Receive(of), Bytes::new()).await?).map_err(Error::of_request)
    }

    /// The same letters without their bytes.
    pub async fn list(&self, of: Of) -> Result<Letters, Error> {
        mail::letters(self.ask(MailOp::List(of), Bytes::new()).await?).map_err(Error::of_request)
    }

    /// Removes letters of a user's mailbox (none: INBOX) for good.
    pub async fn delete(&self, user: &str, mailbox: Option<&str>, uids: &[u32]) -> Result<(), Error> {
        let (user, mailbox) = (user.to_owned(), mailbox.map(str::to_owned));
        self.tell(MailOp::Delete { user, mailbox, uids: uids.to_vec() }).await.map(drop)
    }

    /// How many letters wait in a user's INBOX that it has not seen, as far as the site knows.
    pub async fn poll(&self, user: &str) -> Result<u64, Error> {
        let told = self.tell(MailOp::Poll { user: user.to_owned() }).await?;
        mail::number(&told, "unseen").map_err(Error::of_request)
    }

    /// Adds a user. Without a password nobody can log in.
    pub async fn add_user(&self, user: &str, password: Option<&str>) -> Result<(), Error> {
        let (user, password) = (user.to_owned(), password.map(str::to_owned));
        self.tell(MailOp::AddUser { user, password, privileged: false }).await.map(drop)
    }

    /// Removes a user and its mail.
    pub async fn delete_user(&self, user: &str) -> Result<(), Error> {
        self.tell(MailOp::DeleteUser { user: user.to_owned() }).await.map(drop)
    }

    /// Gives a user another password.
    pub async fn set_password(&self, user: &str, password: &str) -> Result<(), Error> {
        let (user, password) = (user.to_owned(), password.to_owned());
        self.tell(MailOp::SetPassword { user, password }).await.map(drop)
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<UserLine>, Error> {
        self.pages(MailOp::Users).await
    }

    /// Sets how many bytes and letters a user may store; none is no bound. What it has stays, also if it is more.
    pub async fn set_quota(&self, user: &str, bytes: Option<u64>, letters: Option<u32>) -> Result<(), Error> {
        self.tell(MailOp::SetQuota { user: user.to_owned(), bytes, letters }).await.map(drop)
    }

    /// Makes a user privileged, who may then administer mail, or ordinary again.
    pub async fn set_privileged(&self, user: &str, privileged: bool) -> Result<(), Error> {
        self.tell(MailOp::SetPrivileged { user: user.to_owned(), privileged }).await.map(drop)
    }

    /// Makes a password for one program of a user's, in place of the one with this label, if there is one. It is told here
    /// and nowhere again. If the site is lost before it answers, the next one makes another, and that counts.
    pub async fn add_app_password(&self, user: &str, label: &str) -> Result<String, Error> {
        let (user, label) = (user.to_owned(), Some(label.to_owned()));
        let mut told = self.tell(MailOp::AddAppPassword { user, label }).await?;
        match told.remove("password") {
            Some(Value::String(password)) => Ok(password),
            _ => Err(Error::of_request(client::Error::Protocol("an answer without its password".to_owned()))),
        }
    }

    /// Takes an application password back: whoever logs in with it from now on is refused.
    pub async fn remove_app_password(&self, user: &str, label: &str) -> Result<(), Error> {
        let (user, label) = (user.to_owned(), label.to_owned());
        self.tell(MailOp::RemoveAppPassword { user, label }).await.map(drop)
    }

    /// Lets an address stand for others, of local domains.
    pub async fn set_alias(&self, address: &str, targets: &[&str]) -> Result<(), Error> {
        let (address, targets) = (address.to_owned(), owned(targets));
        self.tell(MailOp::SetAlias { address, targets }).await.map(drop)
    }

    /// Removes an alias.
    pub async fn remove_alias(&self, address: &str) -> Result<(), Error> {
        self.tell(MailOp::RemoveAlias { address: address.to_owned() }).await.map(drop)
    }

    /// All aliases, by address.
    pub async fn aliases(&self) -> Result<Vec<AliasLine>, Error> {
        self.pages(MailOp::Aliases).await
    }

    /// Makes a mailing list. Its owners are names of users.
    pub async fn create_list(
        &self,
        list: &str,
        members: &[&str],
        owners: &[&str],
        posting: Posting,
    ) -> Result<(), Error> {
        let (list, members, owners) = (list.to_owned(), owned(members), owned(owners));
        self.tell(MailOp::CreateList { list, members, owners, posting }).await.map(drop)
    }

    /// Gives a mailing list other owners, or lets others write to it. What is not said stays.
    pub async fn change_list(
        &self,
        list: &str,
        owners: Option<&[&str]>,
        posting: Option<Posting>,
    ) -> Result<(), Error> {
        let (list, owners) = (list.to_owned(), owners.map(owned));
        self.tell(MailOp::ChangeList { list, owners, posting }).await.map(drop)
    }

    /// Lets a mailing list have more members.
    pub async fn add_members(&self, list: &str, members: &[&str]) -> Result<(), Error> {
        let (list, members) = (list.to_owned(), owned(members));
        self.tell(MailOp::AddMembers { list, members }).await.map(drop)
    }

    /// Lets a mailing list have fewer members.
    pub async fn remove_members(&self, list: &str, members: &[&str]) -> Result<(), Error> {
        let (list, members) = (list.to_owned(), owned(members));
        self.tell(MailOp::RemoveMembers { list, members }).await.map(drop)
    }

    /// All members of a mailing list, by address.
    pub async fn members(&self, list: &str) -> Result<Vec<String>, Error> {
        self.pages(|page| MailOp::Members { list: list.to_owned(), page }).await
    }

    /// Removes a mailing list.
    pub async fn remove_list(&self, list: &str) -> Result<(), Error> {
        self.tell(MailOp::RemoveList { list: list.to_owned() }).await.map(drop)
    }

    /// All mailing lists, by address.
    pub async fn lists(&self) -> Result<Vec<ListLine>, Error> {
        self.pages(MailOp::Lists).await
    }

    /// Takes mail for a domain; for names that nobody has there, to an address if one is named.
    pub async fn set_domain(&self, domain: &str, catch_all: Option<&str>) -> Result<(), Error> {
        let (domain, catch_all) = (domain.to_owned(), catch_all.map(str::to_owned));
        self.tell(MailOp::SetDomain { domain, catch_all }).await.map(drop)
    }

    /// Takes no more mail for a domain, which no alias, list or catch-all may use.
    pub async fn remove_domain(&self, domain: &str) -> Result<(), Error> {
        self.tell(MailOp::RemoveDomain { domain: domain.to_owned() }).await.map(drop)
    }

    /// All domains for which mail is taken.
    pub async fn domains(&self) -> Result<Vec<DomainLine>, Error> {
        self.pages(MailOp::Domains).await
    }

    /// Whose mail programs are logged in at the site that this process is at.
    pub async fn who(&self) -> Result<Vec<LoginLine>, Error> {
        self.pages(MailOp::Who).await
    }

    /// Lets a site, by its name, be the Master: rank 0 of those that serve mail.
    pub async fn change_master(&self, site: &str) -> Result<(), Error> {
        self.tell(MailOp::ChangeMaster { site: site.to_owned() }).await.map(drop)
    }

    /// How much mail there is, and who has which role: the fields of `unanimous mail storage --json`.
    pub async fn storage(&self) -> Result<Map<String, Value>, Error> {
        self.tell(MailOp::Storage).await
    }

    async fn pages<T: DeserializeOwned>(&self, op: impl Fn(PageOf) -> MailOp) -> Result<Vec<T>, Error> {
        mail::pages(|page| self.ask(op(page), Bytes::new()), Error::of_request).await
    }

    async fn tell(&self, op: MailOp) -> Result<Map<String, Value>, Error> {
        Ok(self.ask(op, Bytes::new()).await?.0)
    }

    async fn ask(&self, op: MailOp, letter: Bytes) -> Result<(Map<String, Value>, Bytes), Error> {
        self.process.request(Op::Mail(op), letter).await
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
