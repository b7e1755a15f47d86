//! A letter has come: it is looked at, verified if it is from outside, proposed, and its client answered.

use bytes::Bytes;
use mail::command::Deliver;
use mail::{Address, Command, Entry, Principal, RequestId, State};

use super::command::Hello;
use super::compose::{Form, Terms};
use super::input::Fault;
use super::limits::RECEIVED_MAX;
use super::outcome;
use super::reply::{self, Reply};
use super::run::Task;
use super::session::{Mode, Session};
use super::trace::Trace;
use crate::edge::{Answer, Request, Verified, Verify};

/// A letter on its way.
#[derive(Debug)]
pub(super) struct Letter {
    pub by: Principal,
    pub sender: String,
    pub recipients: Vec<Address>,
    /// As it was received; once it is proposed, its header only.
    pub received: Bytes,
    utf8: bool,
    fresh: bool,
    /// What was found out about its sender.
    verified: Option<Verified>,
    /// What a repeat of it is recognised by.
    pub request: Option<RequestId>,
    waits: Waits,
}

/// What a letter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nothing,
    Fresh,
    Verified,
    Applied,
}

/// What a client is told of a letter that cannot be taken.
pub(super) fn faulty(fault: Fault) -> Reply {
    match fault {
        Fault::TooBig => Reply::new(552, "5.3.4", "The letter is too long"),
        Fault::BareLineEnd => Reply::new(554, "5.6.0", "Lines end with CR LF, and no otherwise"),
        Fault::Nul => Reply::new(554, "5.6.0", "A letter has no NULs"),
        Fault::LongLine => Reply::new(554, "5.6.0", "A line of the letter is too long"),
    }
}

impl Session {
    /// `chunked`: its end was counted, so that nobody can be of two minds about it.
    pub(super) fn letter_came(&mut self, chunked: bool, state: &State) {
        let body = self.reader.body.take();
        let (Some(mail), Some(by)) = (self.mail.take(), self.principal()) else { return self.out_of_order() };
        self.drop_mail();
        let mut letter = Box::new(Letter {
            by,
            sender: mail.sender,
            recipients: mail.recipients,
            received: Bytes::new(),
            utf8: mail.utf8,
            fresh: mail.fresh,
            verified: None,
            request: None,
            waits: Waits::Nothing,
        });
        match body {
            Ok(received) => {
                letter.received = received;
                self.judge(letter, state);
            }
            Err(fault) => {
                self.refuse(&letter, &faulty(fault));
                if fault == Fault::BareLineEnd && !chunked {
                    self.bye(Reply::new(421, "4.7.0", "Such a letter ends the connection"));
                }
            }
        }
    }

    /// Every recipient's reply, in LMTP; the one that there is, in SMTP.
    fn refuse(&mut self, letter: &Letter, reply: &Reply) {
        let count = if self.config.mode == Mode::Lmtp { letter.recipients.len() } else { 1 };
        (0..count).for_each(|_| self.reply(reply));
    }

    /// Looks at a letter as far as it can be judged now, and goes on with it.
    fn judge(&mut self, mut letter: Box<Letter>, state: &State) {
        let received = letter.received.clone();
        let form = match Form::of(&received) {
            Ok(form) => form,
            Err(reply) => return self.refuse(&letter, &reply),
        };
        if form.count("Received") >= RECEIVED_MAX {
            return self.refuse(&letter, &Reply::new(554, "5.4.6", "The letter goes round in circles"));
        }
        if let Principal::User(user) = letter.by
            && let Err(reply) = form.is_by(&letter.sender, |author| state.may_send_as(user, author))
        {
            if letter.fresh {
                return self.refuse(&letter, &reply);
            }
            letter.waits = Waits::Fresh;
            return self.ask(Task::Letter(letter), Request::Barrier);
        }
        if self.config.mode == Mode::Inbound && self.config.verifies && letter.verified.is_none() {
            let verify = Verify {
                address: self.address,
                helo: self.hello.as_ref().map_or_else(String::new, |(_, name)| name.clone()),
                sender: letter.sender.clone(),
                letter: letter.received.clone(),
                header_bytes: form.header_bytes(),
            };
            letter.waits = Waits::Verified;
            return self.ask(Task::Letter(letter), Request::Verify(verify));
        }
        self.propose(letter, &form);
    }

    fn propose(&mut self, mut letter: Box<Letter>, form: &Form) {
        let to = &letter.recipients;
        letter.request = form
            .has_message_id()
            .then(|| RequestId::of_letter(letter.by, &letter.sender, to, &letter.received));
        let trace = Trace {
            site: &self.config.name,
            sender: &letter.sender,
            hello: self.hello.as_ref().map_or("", |(_, name)| name),
            address: self.address,
            with: self.protocol(letter.utf8),
            // Who else gets it is nobody's business (RFC 5321, 7.2).
            recipient: if let [only] = &letter.recipients[..] { Some(only) } else { None },
            clock: self.clock,
            results: letter.verified.as_ref().map(|verified| &*verified.results),
        };
        let terms = Terms {
            completes: self.config.mode == Mode::Submission,
            results_are_forged: self.config.mode != Mode::Lmtp,
        };
        let text = form.compose(&letter.received, &trace, terms);
        let deliver =
            Deliver { sender: letter.sender.as_str().into(), recipients: letter.recipients.clone() };
        match Entry::with_letter(letter.by, letter.request, Command::Deliver(deliver), text.into()) {
            Ok(entry) => {
                // Of the letter itself one copy is enough while it is on its way.
                letter.received = form.header_alone();
                letter.waits = Waits::Applied;
                self.ask(Task::Letter(letter), Request::Propose(entry));
            }
            Err(_) => self.refuse(&letter, &faulty(Fault::TooBig)),
        }
    }

    /// The protocol's name in `Received:` (RFC 3848, RFC 6531).
    fn protocol(&self, utf8: bool) -> String {
        if matches!(self.hello, Some((Hello::Helo, _))) {
            return "SMTP".to_owned();
        }
        let base = match (self.config.mode, utf8) {
            (Mode::Lmtp, false) => "LMTP",
            (Mode::Lmtp, true) => "UTF8LMTP",
            (Mode::Submission | Mode::Inbound, false) => "ESMTP",
            (Mode::Submission | Mode::Inbound, true) => "UTF8SMTP",
        };
        let (tls, login) = (self.peer.tls, self.user.is_some());
        format!("{base}{}{}", if tls { "S" } else { "" }, if login { "A" } else { "" })
    }

    /// A letter's request was answered.
    pub(super) fn letter_answered(&mut self, mut letter: Box<Letter>, answer: Answer, state: &State) {
        match (letter.waits, answer) {
            (Waits::Fresh, Answer::Reached) => {
                letter.fresh = true;
                self.judge(letter, state);
            }
            (Waits::Verified, Answer::Verified(verified)) if verified.refuse => {
                self.refuse(
                    &letter,
                    &Reply::new(550, "5.7.26", "The author's domain does not stand for this letter"),
                );
            }
            (Waits::Verified, answer) => {
                // What could not be found out is no reason to refuse; the letter says that it was not.
                let nothing = Verified { results: "none".to_owned(), refuse: false };
                let verified = if let Answer::Verified(verified) = answer { verified } else { nothing };
                letter.verified = Some(verified);
                self.judge(letter, state);
            }
            (Waits::Applied, Answer::Applied(outcome)) => {
                match outcome::receipts(outcome, letter.recipients.len()) {
                    Ok(receipts) => self.delivered(&letter, receipts, &reply::DELIVERED, state),
                    Err(refusal) => self.refuse(&letter, &reply::refusal(refusal)),
                }
            }
            (Waits::Applied, Answer::Held(receipts)) if receipts.len() == letter.recipients.len() => {
                self.delivered(&letter, receipts, &reply::HELD, state);
            }
            (Waits::Nothing | Waits::Fresh | Waits::Applied, _) => self.refuse(&letter, &reply::UNAVAILABLE),
        }
    }
}
