//! The word that whoever accepted a letter owes when some of its recipients did not get it: a letter like those of
//! RFC 3464, made as the entry that delivers it. SMTP has one reply for all recipients, and a list's members have
//! none; and what a minority held may turn out undeliverable when it is merged.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mail::command::Deliver;
use mail::{Address, Command, Entry, EntryTime, Principal, Receipt, RequestId, State, UserId};
use ring::digest::{SHA256, digest};

use super::reply;
use crate::dates;

/// A letter and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The site's host name.
    pub site: &'a str,
    /// The site's wall clock.
    pub clock: EntryTime,
    /// In whose name the letter was delivered.
    pub by: Principal,
    /// Its envelope sender; empty for the null reverse path, to which nothing is ever told.
    pub sender: &'a str,
    /// Its envelope recipients.
    pub recipients: &'a [Address],
    /// One for each recipient.
    pub receipts: &'a [Receipt],
    /// The letter; its header is told.
    pub letter: &'a [u8],
    /// The letter's request: a notice about it is sent once.
    pub request: Option<RequestId>,
    /// Whether recipients whom nobody has told the sender of count, or only members of lists.
    pub refused_too: bool,
}

/// What of the header is told.
const HEADER_BYTES_TOLD: usize = 16 << 10;
/// Recipients that are told of one by one.
const RECIPIENTS_TOLD: usize = 1_000;

impl Notice<'_> {
    /// The entry that tells whoever has to know: the user who sent the letter; the owner of a list; for letters of
    /// strangers, whom nobody could write to, the postmaster of the recipient's domain. None if nothing is owed.
    pub fn entry(&self, state: &State) -> Option<Entry> {
        let failed: Vec<(&Address, &Receipt)> =
            self.recipients.iter().zip(self.receipts).filter(|(_, receipt)| self.counts(receipt)).collect();
        if self.sender.is_empty() || failed.is_empty() {
            return None;
        }
        let told: BTreeSet<Address> =
            failed.iter().filter_map(|(to, receipt)| self.who_is_told(to, receipt, state)).collect();
        let recipients: Vec<Address> = told.into_iter().collect();
        if recipients.is_empty() {
            return None;
        }
        let text = self.text(&recipients, &failed, state);
        let request = self.request.map(|id| RequestId::of_letter(self.by, "notice", &recipients, &id.0));
        let deliver = Deliver { sender: "".into(), recipients };
        Entry::with_letter(self.by, request, Command::Deliver(deliver), text.into()).ok()
    }

    fn counts(&self, receipt: &Receipt) -> bool {
        match receipt {
            Receipt::Delivered => false,
            Receipt::Partly(_) => true,
            Receipt::Refused(_) => self.refused_too,
        }
    }

    fn who_is_told(&self, recipient: &Address, receipt: &Receipt, state: &State) -> Option<Address> {
        let of_user = |user: UserId, domain| {
            state.user(user).and_then(|user| Address::of_user(user.name(), &domain).ok())
        };
        let list = state.list(recipient).filter(|_| matches!(receipt, Receipt::Partly(_)));
        let owner = list.and_then(|list| of_user(*list.owners.first()?, recipient.domain()));
        let sender = match self.by {
            Principal::User(user) => {
                let local = Address::parse(self.sender).ok().filter(|sender| state.is_local(sender));
                of_user(user, local.unwrap_or_else(|| recipient.clone()).domain())
            }
            Principal::Site | Principal::Operator | Principal::Outside => None,
        };
        let postmaster = || Address::normal(&format!("postmaster@{}", recipient.domain())).ok();
        owner.or(sender).or_else(postmaster)
    }

    fn text(&self, told: &[Address], failed: &[(&Address, &Receipt)], state: &State) -> String {
        let date = dates::in_header(self.clock);
        let to: Vec<&str> = told.iter().map(Address::as_str).collect();
        let id = hex(&[self.letter, date.as_bytes(), to.join(",").as_bytes()].concat());
        let (site, boundary) = (self.site, format!("notice-{id}"));
        let mut out = format!(
            "Return-Path: <>\r\nDate: {date}\r\nFrom: Mail service <postmaster@{site}>\r\nTo: {}\r\n\
             Subject: A letter that did not reach everybody\r\nMessage-ID: <{id}@{site}>\r\n\
             Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n",
            to.join(",\r\n\t")
        );
        out += &format!("--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
        out += &format!("The letter from {} was delivered, but not to everybody:\r\n\r\n", self.sender);
        let few = &failed[..failed.len().min(RECIPIENTS_TOLD)];
        for (recipient, receipt) in few {
            let _ = write!(out, "    {recipient}: {}\r\n", why(receipt, state).1);
        }
        if few.len() < failed.len() {
            let _ = write!(out, "    and {} more\r\n", failed.len() - few.len());
        }
        out += &format!(
            "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {site}\r\n"
        );
        for (recipient, receipt) in few {
            let (status, text) = why(receipt, state);
            let kind = if recipient.as_str().is_ascii() { "rfc822" } else { "utf-8" };
            let _ = write!(
                out,
                "\r\nFinal-Recipient: {kind}; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n\
                 Diagnostic-Code: smtp; {text}\r\n"
            );
        }
        out += &format!("\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n");
        out += &self.header();
        out += &format!("\r\n--{boundary}--\r\n");
        out
    }

    /// As much of the letter's header as is told, in whole lines.
    fn header(&self) -> String {
        let length = crate::header::header_length(self.letter).min(HEADER_BYTES_TOLD);
        let text = String::from_utf8_lossy(&self.letter[..length]);
        let whole = text.rfind("\r\n").map_or("", |end| &text[..end + 2]);
        // Nothing in it may look like one of our own lines.
        whole.split_inclusive('\n').filter(|line| !line.starts_with("--")).collect()
    }
}

/// The enhanced code and a text.
fn why(receipt: &Receipt, state: &State) -> (&'static str, String) {
    match receipt {
        Receipt::Delivered => ("2.0.0", "Delivered".to_owned()),
        Receipt::Refused(refusal) => {
            let reply = reply::refusal(*refusal);
            (reply.status, reply.text.into_owned())
        }
        Receipt::Partly(users) => {
            let names: Vec<&str> =
                users.iter().filter_map(|user| state.user(*user)).map(|user| user.name().as_str()).collect();
            ("5.2.2", format!("No room for {}", names.join(", ")))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect()
}
