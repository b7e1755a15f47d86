//! Mail over a session: its requests, and what their answers say.

use bytes::Bytes;
use serde_json::{Map, Value};
use wire::session::{LetterHeader, MailOp, Op, ReceiptLine};

use crate::maps::{Answer, cut, field, head};
use crate::session::{Error, Session};

/// A letter of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its UID, flags, date, and whom it says it is from.
    pub header: LetterHeader,
    /// Its bytes; none, if they were not asked for, or are not at the site now.
    pub bytes: Option<Bytes>,
}

/// Some letters of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// By UID.
    pub letters: Vec<Letter>,
    /// The mailbox's UIDVALIDITY.
    pub uid_validity: u32,
    /// The UID behind which to go on; none: that was all.
    pub after: Option<u32>,
}

impl Session {
    /// Does something of mail; the body is the letter that is sent. Gives the answer's fields, and its body.
    pub async fn mail(&self, op: MailOp, letter: Bytes) -> Result<Answer, Error> {
        self.request(Op::Mail(op), letter).await
    }
}

/// What became of a letter for each of its recipients.
pub fn receipts((mut result, _): Answer) -> Result<Vec<ReceiptLine>, Error> {
    field(&mut result, "receipts")
}

/// The letters that an answer has.
pub fn letters((mut result, mut body): Answer) -> Result<Letters, Error> {
    let headers: Vec<LetterHeader> = head(&mut result, &mut body)?;
    let letter = |header: LetterHeader| {
        let bytes = header.len.map(|len| cut(&mut body, len)).transpose()?;
        Ok(Letter { header, bytes })
    };
    let letters = headers.into_iter().map(letter).collect::<Result<_, Error>>()?;
    let uid_validity = field(&mut result, "uid_validity")?;
    Ok(Letters { letters, uid_validity, after: field(&mut result, "after")? })
}

/// A number that an answer has.
pub fn number(result: &Map<String, Value>, name: &str) -> Result<u64, Error> {
    let number = result.get(name).and_then(Value::as_u64);
    number.ok_or_else(|| Error::Protocol(format!("an answer without its {name}")))
}
