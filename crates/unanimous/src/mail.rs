//! Mail: what was acknowledged is on the disks of most of the sites that keep it, and is lost no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use client::protocol::{MailOp, Of, Once, Op, ReceiptLine};
use client::{Letters, mail};
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
        let op = MailOp::Send { user: user.map(str::to_owned), from: None, to, once };
        mail::receipts(self.ask(op, letter.into()).await?).map_err(Error::of_request)
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

    /// Lets a site, by its name, be the Master: rank 0 of those that serve mail.
    pub async fn change_master(&self, site: &str) -> Result<(), Error> {
        self.tell(MailOp::ChangeMaster { site: site.to_owned() }).await.map(drop)
    }

    /// How much mail there is, and who has which role: the fields of `unanimous mail storage --json`.
    pub async fn storage(&self) -> Result<Map<String, Value>, Error> {
        self.tell(MailOp::Storage).await
    }

    async fn tell(&self, op: MailOp) -> Result<Map<String, Value>, Error> {
        Ok(self.ask(op, Bytes::new()).await?.0)
    }

    async fn ask(&self, op: MailOp, letter: Bytes) -> Result<(Map<String, Value>, Bytes), Error> {
        self.process.request(Op::Mail(op), letter).await
    }
}
