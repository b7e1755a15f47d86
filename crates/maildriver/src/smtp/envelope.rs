//! MAIL, RCPT, DATA and BDAT: who writes to whom, and whether the letter may come.

use std::collections::BTreeSet;

use mail::{Address, MailboxId, Principal, Refusal, State};

use super::input::Body;
use super::limits::{
    RECIPIENT_OVERHEAD_BYTES, RECIPIENTS_BYTES_MAX, RECIPIENTS_MAX, SKIPPED_BYTES_MAX,
    SKIPPED_BYTES_MAX_BEFORE_LOGIN, TARGETS_MAX,
};
use super::reply::{self, Reply};
use super::run::Task;
use super::session::{Mode, Session};
use crate::edge::Request;

/// A letter that is announced.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub sender: String,
    /// As the client said; 0 if it did not.
    pub bytes: u64,
    pub utf8: bool,
    pub recipients: Vec<Address>,
    /// Each once.
    named: BTreeSet<Address>,
    recipients_bytes: usize,
    /// Recipients that were named, those included that were refused.
    pub tries: usize,
    /// Mailboxes that the recipients stand for.
    targets: usize,
    /// Whether the state has reached the group's latest point since the letter was announced.
    pub fresh: bool,
    /// Whether chunks have come, and whether they are any good.
    pub chunks: Chunks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Chunks {
    #[default]
    None,
    Some,
    Spoilt,
}

/// The longest address, with what is around it in an entry.
const RECIPIENT_BYTES_MAX: usize =
    mail::limits::LOCAL_PART_BYTES_MAX + 1 + mail::limits::DOMAIN_BYTES_MAX + RECIPIENT_OVERHEAD_BYTES;
const _: () = assert!(
    RECIPIENTS_MAX * RECIPIENT_BYTES_MAX <= RECIPIENTS_BYTES_MAX,
    "as many as the protocol's edge takes"
);

const TOO_BIG: Reply = Reply::new(552, "5.3.4", "The letter is too long");
const NO_RECIPIENTS: Reply = Reply::new(503, "5.5.1", "There is no recipient");

impl Session {
    /// In whose name letters are delivered here; none if somebody has to log in first.
    pub(super) fn principal(&self) -> Option<Principal> {
        match self.config.mode {
            Mode::Submission => self.user.map(Principal::User),
            Mode::Lmtp | Mode::Inbound => Some(Principal::Outside),
        }
    }

    /// `may_lag`: the state may not have reached yet what another site has answered. Nobody is refused for that.
    pub(super) fn mail_from(&mut self, sender: String, bytes: u64, utf8: bool, may_lag: bool, state: &State) {
        let Some(by) = self.principal() else {
            return self.reply(&Reply::new(530, "5.7.0", "Log in first"));
        };
        if self.mail.is_some() {
            return self.out_of_order();
        }
        if bytes > self.config.letter_bytes_max as u64 {
            return self.reply(&TOO_BIG);
        }
        if let Principal::User(user) = by {
            let own = sender.is_empty() || Address::parse(&sender).is_ok_and(|a| state.may_send_as(user, &a));
            if !own && may_lag {
                return self.ask(Task::Mail { sender, bytes, utf8 }, Request::Barrier);
            }
            if !own {
                return self.reply(&Reply::new(553, "5.7.1", "That address is not yours"));
            }
        }
        self.mail = Some(Transaction { sender, bytes, utf8, fresh: !may_lag, ..Transaction::default() });
        self.reply(&Reply::new(250, "2.1.0", "Go on"));
    }

    pub(super) fn rcpt_to(&mut self, recipient: &str, state: &State) {
        let (recipients_max, tries_max) = (self.config.recipients_max, self.tries_max());
        let Some(mail) = self.mail.as_mut().filter(|mail| mail.chunks == Chunks::None) else {
            return self.out_of_order();
        };
        mail.tries += 1;
        if mail.tries > tries_max {
            return self.bye(Reply::new(421, "4.7.0", "Far too many recipients"));
        }
        if mail.recipients.len() >= recipients_max.min(mail::limits::RECIPIENTS_MAX)
            || mail.recipients_bytes > RECIPIENTS_BYTES_MAX - RECIPIENT_BYTES_MAX
        {
            return self.reply(&Reply::new(452, "4.5.3", "Too many recipients for one letter"));
        }
        if !mail.utf8 && !recipient.is_ascii() {
            return self.reply(&Reply::new(553, "5.6.7", "That address needs SMTPUTF8"));
        }
        // The postmaster of nowhere is that of the first domain.
        let domain = if recipient == "postmaster" { state.domains().next() } else { None };
        let address = match domain {
            Some(domain) => Address::parse(&format!("{recipient}@{domain}")),
            None => Address::parse(recipient),
        };
        match address {
            Ok(address) => self.resolved(address, true, state),
            Err(_) => self.reply(&Reply::new(550, "5.1.3", "There can be no such address here")),
        }
    }

    /// Looks a recipient up. `may_lag` as for a sender: somebody who was added a moment ago at another site is not
    /// refused here for good.
    pub(super) fn resolved(&mut self, recipient: Address, may_lag: bool, state: &State) {
        let (Some(by), Some(mail)) = (self.principal(), self.mail.as_mut()) else {
            return self.out_of_order();
        };
        mail.fresh |= !may_lag;
        // Named twice, it is answered twice and gets one copy.
        let found =
            if mail.named.contains(&recipient) { Ok(0) } else { reaches(&recipient, by, mail.bytes, state) };
        let refused = match found {
            Ok(targets) if mail.targets + targets > TARGETS_MAX => Refusal::TooManyTargets,
            Ok(targets) => {
                mail.targets += targets;
                mail.recipients_bytes += recipient.as_str().len() + RECIPIENT_OVERHEAD_BYTES;
                mail.named.insert(recipient.clone());
                mail.recipients.push(recipient);
                return self.reply(&Reply::new(250, "2.1.5", "Go on"));
            }
            Err(refusal) => refusal,
        };
        let refused = match refused {
            // Mail is being founded: which domains are taken, nobody has said yet.
            Refusal::NotLocal if state.domains().next().is_none() => reply::UNAVAILABLE,
            refused => reply::refusal(refused),
        };
        if !refused.is_temporary() && !self.is_fresh() {
            return self.ask(Task::Rcpt(recipient), Request::Barrier);
        }
        self.reply(&refused);
    }

    pub(super) fn data(&mut self) {
        let Some(mail) = self.mail.as_ref().filter(|mail| mail.chunks == Chunks::None) else {
            return self.out_of_order();
        };
        if mail.recipients.is_empty() {
            return self.reply(&NO_RECIPIENTS);
        }
        self.reader.begin_data(self.config.letter_bytes_max);
        self.letter_began = Some(self.now);
        self.line("354 Go on; a line with nothing but a dot ends it");
    }

    /// A chunk is announced (RFC 3030). Its bytes follow, wanted or not.
    pub(super) fn bdat(&mut self, bytes: u64, last: bool, state: &State) {
        let letter_bytes_max = self.config.letter_bytes_max;
        let known = self.principal().is_some();
        let unwanted = match &mut self.mail {
            None => Some(Reply::new(503, "5.5.1", "There is no letter to come")),
            Some(mail) if mail.recipients.is_empty() => Some(NO_RECIPIENTS),
            Some(mail) => match mail.chunks {
                Chunks::Spoilt => Some(Reply::new(503, "5.5.1", "A chunk before was refused; say RSET")),
                Chunks::Some => None,
                Chunks::None => {
                    mail.chunks = Chunks::Some;
                    self.reader.body = Body::new(letter_bytes_max);
                    None
                }
            },
        };
        let most = if known { SKIPPED_BYTES_MAX } else { SKIPPED_BYTES_MAX_BEFORE_LOGIN };
        if bytes > most as u64 {
            return self.bye(TOO_BIG);
        }
        self.reader.begin_chunk(bytes, last, unwanted.is_none());
        self.unwanted = unwanted;
        self.letter_began.get_or_insert(self.now);
        if bytes == 0 {
            self.reader.end_chunk();
            self.chunk_came(last, state);
        }
    }

    pub(super) fn chunk_came(&mut self, last: bool, state: &State) {
        let unwanted = self.unwanted.take();
        if last && unwanted.is_none() {
            return self.letter_came(true, state);
        }
        let fault = self.reader.body.fault().filter(|_| unwanted.is_none());
        let reply = unwanted.or_else(|| fault.map(super::letter::faulty));
        let spoilt = reply.is_some();
        if let Some(mail) = self.mail.as_mut().filter(|mail| spoilt && mail.chunks == Chunks::Some) {
            mail.chunks = Chunks::Spoilt;
            self.reader.body = Default::default();
        }
        // It ends here, for whoever was told that it would not come.
        if last || self.mail.is_none() {
            self.drop_mail();
        }
        self.reply(&reply.unwrap_or(reply::OK));
    }
}

/// How many mailboxes a letter to this recipient would reach; why none.
fn reaches(recipient: &Address, by: Principal, bytes: u64, state: &State) -> Result<usize, Refusal> {
    let targets = state.resolve(recipient, by)?;
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let room = |mailbox: &MailboxId| state.takes(*mailbox, bytes);
    match targets.keys().map(room).find(Result::is_ok) {
        Some(_) => Ok(targets.len()),
        None => Err(targets.keys().find_map(|mailbox| room(mailbox).err()).unwrap_or(Refusal::NoAddress)),
    }
}
