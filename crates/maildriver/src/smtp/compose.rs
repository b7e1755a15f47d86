//! What becomes of a letter's header: what is looked at in it, what is taken out, what is added.

use bytes::Bytes;
use mail::Address;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use super::limits::{AUTHORS_MAX, HEADER_BYTES_MAX};
use super::reply::Reply;
use super::trace::{Trace, is_results_of};
use crate::header::fields;

/// Where a letter's header ends, and whose it is.
#[derive(Debug)]
pub(super) struct Form<'a> {
    header: &'a [u8],
    /// The text begins without the empty line that should stand before it.
    lacks_blank: bool,
}

/// What is done to a header besides the trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What a user's program left out is added, and `Bcc:` taken out.
    pub completes: bool,
    /// `Authentication-Results:` in the site's own name were written by somebody else.
    pub results_are_forged: bool,
}

const BAD_AUTHOR: Reply = Reply::new(554, "5.6.0", "From and Sender have to name the author, once");
const FOREIGN_AUTHOR: Reply = Reply::new(550, "5.7.1", "From and Sender have to be your own addresses");

impl<'a> Form<'a> {
    pub fn of(letter: &'a [u8]) -> Result<Form<'a>, Reply> {
        let end = fields_end(letter);
        if end > HEADER_BYTES_MAX {
            return Err(Reply::new(554, "5.6.0", "The letter's header is too long"));
        }
        let lacks_blank = !letter[end..].is_empty() && !letter[end..].starts_with(b"\r\n");
        Ok(Form { header: &letter[..end], lacks_blank })
    }

    /// The header with nothing behind it, in memory of its own.
    pub fn header_alone(&self) -> Bytes {
        Bytes::copy_from_slice(self.header)
    }

    /// Its length, without the empty line behind it.
    pub fn header_bytes(&self) -> usize {
        self.header.len()
    }

    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |(found, _): &(&[u8], &[u8])| found.eq_ignore_ascii_case(name.as_bytes());
        fields(self.header).filter(named).map(|(_, field)| value(field))
    }

    pub fn count(&self, name: &'a str) -> usize {
        self.values(name).count()
    }

    fn has(&self, name: &'a str) -> bool {
        self.count(name) > 0
    }

    pub fn has_message_id(&self) -> bool {
        self.values("Message-ID").any(|id| !id.trim_ascii().is_empty())
    }

    /// Whether everybody who is named as author or sender is one of whom `owns` says yes. A letter without an author
    /// is its envelope sender's.
    pub fn is_by(&self, envelope_sender: &str, owns: impl Fn(&Address) -> bool) -> Result<(), Reply> {
        for name in ["From", "Sender"] {
            let mut values = self.values(name);
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Err(BAD_AUTHOR);
            }
            let authors = addresses(value).ok_or(BAD_AUTHOR)?;
            if !authors.iter().all(&owns) {
                return Err(FOREIGN_AUTHOR);
            }
        }
        if !self.has("From") && envelope_sender.is_empty() { Err(BAD_AUTHOR) } else { Ok(()) }
    }

    /// The letter as it is delivered.
    pub fn compose(&self, letter: &[u8], trace: &Trace<'_>, terms: Terms) -> Vec<u8> {
        let mut head = trace.fields();
        if terms.completes {
            self.complete(&mut head, letter, trace);
        }
        let body = &letter[self.header.len()..];
        let mut out = Vec::with_capacity(head.len() + letter.len() + 2);
        out.extend_from_slice(head.as_bytes());
        for (name, field) in fields(self.header) {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            let hidden = terms.completes && (is("Bcc") || is("Resent-Bcc"));
            let results = is("Authentication-Results") && is_results_of(value(field), trace.site);
            let forged = terms.results_are_forged && results;
            if !(is("Return-Path") || hidden || forged) {
                out.extend_from_slice(field);
            }
        }
        if self.lacks_blank {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(body);
        out
    }

    /// What a letter has to have and a program left out (RFC 6409, 8).
    fn complete(&self, head: &mut String, letter: &[u8], trace: &Trace<'_>) {
        if !self.has("Date") {
            *head += &format!("Date: {}\r\n", trace.date());
        }
        if !self.has("From") {
            *head += &format!("From: <{}>\r\n", trace.sender_path());
        }
        if !self.has_message_id() {
            *head += &format!("Message-ID: <{}>\r\n", trace.message_id(letter));
        }
    }
}

fn value(field: &[u8]) -> &[u8] {
    let colon = field.iter().position(|b| *b == b':').map_or(field.len(), |at| at + 1);
    &field[colon..]
}

/// Where the last field ends. Everything behind is text for every reader, whatever it looks like.
fn fields_end(letter: &[u8]) -> usize {
    let mut at = 0;
    while at < letter.len() {
        let rest = &letter[at..];
        let line = &rest[..rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |n| n + 1)];
        let continues = at > 0 && matches!(line, [b' ' | b'\t', ..]);
        if !continues && !is_field(line) {
            break;
        }
        at += line.len();
    }
    at
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// The addresses of a field; none if one of them cannot be read, or there are none or too many.
fn addresses(value: &[u8]) -> Option<Vec<Address>> {
    let HeaderValue::Address(parsed) = MessageStream::new(value).parse_address() else { return None };
    let found: Vec<_> = parsed.iter().take(AUTHORS_MAX + 1).collect();
    if found.is_empty() || found.len() > AUTHORS_MAX {
        return None;
    }
    found.iter().map(|found| Address::parse(found.address.as_deref()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(header: &str, sender: &str) -> u16 {
        let own = |a: &Address| a.as_str().starts_with("ann@");
        let form = Form::of(header.as_bytes()).expect("it is short");
        form.is_by(sender, own).map_or_else(|reply| reply.code, |()| 250)
    }

    #[test]
    fn who_a_letter_is_by() {
        for (header, wanted) in [
            ("From: Ann <ann@x>\r\n", 250),
            ("From: ann@x, \"bob@x\" <ann@y>\r\n", 250),
            ("From: (bob@x) ann@x\r\n", 250),
            ("From: bob@x\r\n", 550),
            ("From: ann@x, bob@x\r\n", 550),
            ("From: ann@x <bob@x>\r\n", 550),
            ("From: friends: ann@x, bob@x;\r\n", 550),
            ("From: ann@x\r\nFROM : bob@x\r\n", 554),
            ("From: ann@x\r\nSender: bob@x\r\n", 550),
            ("From: ann@x\r\nSender: ann@x\r\nSender: ann@x\r\n", 554),
            ("From: \r\n", 554),
            ("From: nobody\r\n", 554),
            ("From: ann@x\r\n\tbob@x\r\n", 554),
            ("Subject: x\r\n", 250),
            ("Subject: x\r\nno field\r\nFrom: bob@x\r\n", 250),
        ] {
            let code = by(header, "ann@x");
            // Whatever is made of what is no list of addresses, it is not let through.
            assert!(code == wanted || wanted == 554 && code == 550, "{header:?}: {code}");
        }
        assert_eq!(by("Subject: x\r\n", ""), 554);
        let many = format!("From: {}\r\n", "ann@x, ".repeat(AUTHORS_MAX) + "bob@x");
        assert_eq!(by(&many, "ann@x"), 554);
    }

    #[test]
    fn a_header_ends_where_no_field_is() {
        for (letter, header, lacks_blank) in [
            ("", "", false),
            ("\r\nx", "", false),
            ("hello\r\n", "", true),
            (" a: b\r\n", "", true),
            ("a: b\r\n c\r\nd : e\r\n\r\nf: g\r\n", "a: b\r\n c\r\nd : e\r\n", false),
            ("a: b\r\nhello: \r\nhello you: x\r\n", "a: b\r\nhello: \r\n", true),
            ("a: b", "a: b", false),
        ] {
            let form = Form::of(letter.as_bytes()).expect("it is short");
            assert_eq!((form.header, form.lacks_blank), (header.as_bytes(), lacks_blank), "{letter:?}");
        }
        let long = "a: b\r\n".repeat(HEADER_BYTES_MAX / 6 + 1);
        assert!(Form::of(long.as_bytes()).is_err());
    }
}
