//! Letters: sent, received, listed, deleted.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use mail::command::{Deliver, Expunge};
use mail::limits::{HEAD_BYTES_MAX, RECIPIENTS_MAX};
use mail::{
    Address, Command, FlagNames, HELD, Outcome, Principal, Receipt, Record, RequestId, State, UidSet,
};
use mail_parser::{HeaderName, MessageParser};
use serde_json::json;
use site::Answered;
use wire::session::{
    BODY_BYTES_MAX, ErrorCode, Failure, LINE_BYTES_MAX, LetterHeader, Of, Once, ReceiptLine,
};

use super::{Asked, bad, failure, judged, mailbox_named, refused, told, user_named};
use crate::imap::flag_texts;
use crate::service::{LETTER_BYTES_MAX, Taken};

/// Letters in one answer, at most; and if nothing is said.
const LETTERS_MAX: usize = 1_000;
const LETTERS_DEFAULT: usize = 100;
/// Bytes of letters in one answer, unless the first is longer.
const BYTES_MAX: usize = 16 << 20;
/// What an address takes in an entry beside its bytes; and what all of a few take, for which there is room beside any letter.
const ADDRESS_BYTES: usize = 8;
const FEW_ADDRESSES_BYTES: usize = 64 << 10;
const _: () = assert!(BYTES_MAX + LETTER_BYTES_MAX < BODY_BYTES_MAX, "an answer fits into a body");

impl Asked {
    /// Seed 000's `send letter`.
    pub(super) async fn send(
        &self,
        user: Option<String>,
        from: Option<String>,
        to: Vec<String>,
        once: Option<Once>,
        letter: Bytes,
    ) -> Answered {
        if letter.is_empty() {
            return Err(bad("there is no letter: send it as the request's body"));
        }
        if letter.len() > LETTER_BYTES_MAX {
            let why = format!("a letter has at most {LETTER_BYTES_MAX} bytes, and this one {}", letter.len());
            return Err(failure(ErrorCode::TooLarge, why));
        }
        if to.is_empty() {
            return Err(bad("to: name the recipients"));
        }
        let state = self.mail.view().map_err(refused)?;
        let by = match &user {
            Some(name) => Principal::User(user_named(&state, name)?),
            None => Principal::Operator,
        };
        let sender = from.or_else(|| user.map(|user| self.address_of(&user))).unwrap_or_default();
        let recipients = self.addresses("to", &to)?;
        fits(&recipients, &letter)?;
        let request = match once {
            Some(once) => Some(RequestId::of_session(by, client_id(&once.client)?, once.sequence)),
            None => None,
        };
        let deliver = Command::Deliver(Deliver { sender: sender.into(), recipients });
        let taken = self.take(by, request, deliver, Some(letter)).await?;
        let held = matches!(taken, Taken::Held(_));
        let receipts: Vec<ReceiptLine> = match taken {
            Taken::Applied(Outcome::Delivered(receipts)) | Taken::Held(receipts) => {
                to.into_iter().zip(receipts).map(|(to, receipt)| line(to, receipt)).collect()
            }
            // A repeat whose answer is not remembered word by word: it was delivered.
            Taken::Applied(_) => to.into_iter().map(|to| line(to, Receipt::Delivered)).collect(),
        };
        receipts_told(&receipts, held)
    }

    /// Seed 000's `receive mail`, after the site has reached the group's latest point, and `quick receive`, at once.
    pub(super) async fn letters(&self, of: Of, whole: bool) -> Answered {
        if !of.local {
            self.mail.reach().await.map_err(refused)?;
        }
        let state = self.seen(&of.user)?;
        let mailbox = mailbox_named(&state, user_named(&state, &of.user)?, of.mailbox.as_deref())?;
        let limit = of.limit.unwrap_or(LETTERS_DEFAULT).clamp(1, LETTERS_MAX);
        let wanted =
            |record: &&Record| record.uid > of.after && !(of.unseen && record.flags.has(mail::Flags::SEEN));
        let records: Vec<Record> = mailbox.records().filter(wanted).take(limit + 1).cloned().collect();
        let (mut headers, mut bodies, mut more) = (Vec::new(), BytesMut::new(), records.len() > limit);
        for record in records.iter().take(limit) {
            let letter = self.mail.letter(record.letter).await.map_err(refused)?;
            let header = header(&state, record, mailbox.flag_names(record.flags), letter.as_ref(), whole);
            if let Some(letter) = letter.filter(|_| whole) {
                if bodies.len() + letter.len() > BYTES_MAX && !headers.is_empty() {
                    more = true;
                    break;
                }
                bodies.put_slice(&letter);
            }
            headers.push(header);
        }
        let after = headers.last().filter(|_| more).map(|header: &LetterHeader| header.uid);
        let mut body = serde_json::to_vec(&headers).unwrap_or_default();
        let head_len = body.len();
        body.extend_from_slice(&bodies);
        let told = json!({
            "head_len": head_len, "after": after, "mailbox": mailbox.name().as_str(),
            "uid_validity": mailbox.status().uid_validity,
        });
        let serde_json::Value::Object(told) = told else { return told_nothing() };
        Ok((told, body.into()))
    }

    /// Seed 000's `delete letters`.
    pub(super) async fn delete(&self, user: &str, mailbox: Option<String>, uids: Vec<u32>) -> Answered {
        self.mail.look().await.map_err(refused)?;
        let state = self.seen(user)?;
        let owner = user_named(&state, user)?;
        let id = mailbox_named(&state, owner, mailbox.as_deref())?.id();
        let expunge = Expunge { mailbox: id, uids: UidSet::of(uids), only_deleted: false };
        let by = Principal::Operator;
        let taken = match id == HELD {
            true => {
                judged(self.mail.take_back(by, owner, &expunge).await.map_err(refused)?).map(Taken::Applied)
            }
            false => self.take(by, None, Command::Expunge(expunge), None).await,
        };
        match taken? {
            Taken::Applied(Outcome::Expunged { uids, .. }) => {
                told(json!({"deleted": uids.iter().collect::<Vec<u32>>()}))
            }
            _ => told_nothing(),
        }
    }

    /// The state as a user sees it here.
    fn seen(&self, user: &str) -> Result<Arc<State>, Failure> {
        let state = self.mail.view().map_err(refused)?;
        let user = user_named(&state, user)?;
        Ok(self.mail.sight(Some(user)).map_err(refused)?.state)
    }
}

/// Recipients, of which many are in front of the letter.
pub(super) fn recipients(
    mut to: Vec<String>,
    to_len: Option<usize>,
    mut body: Bytes,
) -> Result<(Vec<String>, Bytes), Failure> {
    let Some(len) = to_len else { return Ok((to, body)) };
    if len > body.len() {
        return Err(bad("to_len: the body has fewer bytes"));
    }
    if len > HEAD_BYTES_MAX {
        let why = format!("to_len: at most {HEAD_BYTES_MAX} bytes of recipients; make a mailing list");
        return Err(failure(ErrorCode::TooLarge, why));
    }
    let more: Vec<String> = serde_json::from_slice(&body.split_to(len))
        .map_err(|error| bad(format!("to_len: the body begins with no list of texts: {error}")))?;
    to.extend(more);
    Ok((to, body))
}

/// An entry travels from site to site whole, with its recipients.
fn fits(recipients: &[Address], letter: &Bytes) -> Result<(), Failure> {
    if recipients.len() > RECIPIENTS_MAX {
        let why = format!(
            "a letter has at most {RECIPIENTS_MAX} recipients, and this one {}; make a mailing list",
            recipients.len()
        );
        return Err(failure(ErrorCode::TooLarge, why));
    }
    let addresses: usize = recipients.iter().map(|address| address.as_str().len() + ADDRESS_BYTES).sum();
    if letter.len() + addresses.saturating_sub(FEW_ADDRESSES_BYTES) > LETTER_BYTES_MAX {
        let why = "the letter and its recipients are too long together; make a mailing list";
        return Err(failure(ErrorCode::TooLarge, why));
    }
    Ok(())
}

/// Receipts that would make the answer's line too long are its body.
fn receipts_told(receipts: &[ReceiptLine], held: bool) -> Answered {
    let delivered = receipts.iter().all(|line| line.delivered);
    let list = serde_json::to_vec(receipts).unwrap_or_default();
    if list.len() <= LINE_BYTES_MAX / 2 {
        return told(json!({"receipts": receipts, "delivered": delivered, "held": held}));
    }
    let (told, _) = told(json!({"head_len": list.len(), "delivered": delivered, "held": held}))?;
    Ok((told, list.into()))
}

fn told_nothing() -> Answered {
    told(json!({}))
}

fn header(
    state: &State,
    record: &Record,
    flags: FlagNames,
    letter: Option<&Bytes>,
    whole: bool,
) -> LetterHeader {
    let kept = state.letter(record.letter);
    let parsed = letter.and_then(|letter| MessageParser::new().with_message_ids().parse_headers(&letter[..]));
    let field = |name: HeaderName<'static>| {
        let value = parsed.as_ref()?.header_raw(name)?;
        Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let subject = parsed.as_ref().and_then(|parsed| parsed.subject().map(str::to_owned));
    LetterHeader {
        uid: record.uid,
        flags: flag_texts(&flags),
        date_ms: kept.map_or(0, |letter| letter.date.0),
        bytes: kept.map_or(0, |letter| u64::from(letter.bytes)),
        from: field(HeaderName::From),
        subject: subject.or_else(|| field(HeaderName::Subject)),
        len: letter.filter(|_| whole).map(Bytes::len),
    }
}

fn line(to: String, receipt: Receipt) -> ReceiptLine {
    let (delivered, why) = match receipt {
        Receipt::Delivered => (true, None),
        Receipt::Partly(users) => {
            (true, Some(format!("{} of those it stands for have no room", users.len())))
        }
        Receipt::Refused(why) => (false, Some(why.to_string())),
    };
    ReceiptLine { to, delivered, why }
}

fn client_id(text: &str) -> Result<[u8; 16], Failure> {
    let parsed = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    parsed.map(u128::to_be_bytes).ok_or_else(|| bad("once.client: 32 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_in_front_of_a_letter_end_where_it_is_said() {
        let body = Bytes::from_static(br#"["bob","carol"]Subject: x"#);
        let (to, letter) = recipients(vec!["ann".to_owned()], Some(15), body.clone()).expect("well made");
        assert_eq!(
            (to, &letter[..]),
            (["ann", "bob", "carol"].map(str::to_owned).to_vec(), &b"Subject: x"[..])
        );
        let (to, letter) = recipients(vec!["ann".to_owned()], None, body.clone()).expect("no more of them");
        assert_eq!((to.len(), &letter), (1, &body));
        let wrong = |len, body| recipients(Vec::new(), Some(len), body).map(drop).expect_err("refused").error;
        for len in [0, 1, 14, 16, body.len() + 1, usize::MAX] {
            assert_eq!(wrong(len, body.clone()), ErrorCode::BadRequest, "{len}");
        }
        assert_eq!(wrong(6, Bytes::from_static(b"[1, 2]Subject: x")), ErrorCode::BadRequest);
        let endless = format!("[{}\"\"]", "\"\",".repeat(HEAD_BYTES_MAX / 3));
        assert_eq!(wrong(endless.len(), endless.into()), ErrorCode::TooLarge);
    }
}
