//! Mail over a session: its requests, and what their answers say.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wire::session::{LINE_BYTES_MAX, LetterHeader, MailOp, Once, Op, PageOf, ReceiptLine};

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

    /// All that there is of something that is told in pages: what asks for one, is given with where it is to begin.
    pub async fn mail_pages<T: DeserializeOwned>(
        &self,
        op: impl Fn(PageOf) -> MailOp,
    ) -> Result<Vec<T>, Error> {
        pages(|page| self.mail(op(page), Bytes::new()), |error| error).await
    }
}

/// A letter to some recipients, as a request: what says so, and its body. Recipients that would make its line too long are in
/// front of the letter.
pub fn send(
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
    once: Option<Once>,
    letter: Bytes,
) -> (MailOp, Bytes) {
    let list = serde_json::to_vec(&to).unwrap_or_default();
    if list.len() <= LINE_BYTES_MAX / 2 {
        return (MailOp::Send { user, from, to, to_len: None, once }, letter);
    }
    let body = [&list[..], &letter[..]].concat().into();
    (MailOp::Send { user, from, to: Vec::new(), to_len: Some(list.len()), once }, body)
}

/// What became of a letter for each of its recipients.
pub fn receipts((mut result, mut body): Answer) -> Result<Vec<ReceiptLine>, Error> {
    match result.contains_key("head_len") {
        true => head(&mut result, &mut body),
        false => field(&mut result, "receipts"),
    }
}

/// All users, aliases, lists, members, domains or logins, of which `ask` asks for a page. `wrong` makes an error of an answer that
/// cannot be read.
pub async fn pages<T: DeserializeOwned, E, F: Future<Output = Result<Answer, E>>>(
    ask: impl Fn(PageOf) -> F,
    wrong: impl Fn(Error) -> E,
) -> Result<Vec<T>, E> {
    let (mut all, mut page) = (Vec::new(), PageOf::default());
    loop {
        let (mut result, mut body) = ask(page.clone()).await?;
        all.extend(head::<T>(&mut result, &mut body).map_err(&wrong)?);
        page.after = field(&mut result, "after").map_err(&wrong)?;
        if page.after.is_none() {
            return Ok(all);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_recipients_are_in_front_of_the_letter() {
        let letter = Bytes::from_static(b"Subject: x\r\n\r\n");
        let few = vec!["ann".to_owned(); 3];
        let (op, body) = send(None, None, few.clone(), None, letter.clone());
        assert_eq!(
            (op, &body),
            (MailOp::Send { user: None, from: None, to: few, to_len: None, once: None }, &letter)
        );
        let many: Vec<String> = (0..10_000).map(|number| format!("somebody{number}@mail.test")).collect();
        let (op, body) = send(Some("ann".to_owned()), None, many.clone(), None, letter.clone());
        let MailOp::Send { to, to_len: Some(len), .. } = op else { panic!("{op:?}") };
        assert_eq!((to.len(), &body[len..]), (0, &letter[..]));
        assert_eq!(serde_json::from_slice::<Vec<String>>(&body[..len]).expect("a list"), many);
    }
}
