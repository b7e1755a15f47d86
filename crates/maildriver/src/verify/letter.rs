//! What a letter has of its sender: the authors that its header names, and signatures.
//!
//! Where the header ends is not found out a second time: the session has decided it, and readers see the letter so.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::dkim::Canonicalization;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address, HeaderValue};
use tokio::sync::Semaphore;

use super::limits::{FIELDS_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use crate::edge::Verify;
use crate::header::fields;

/// A hash of the body: how it was written for it, with what it is made, of how much, and what it is.
type BodyHash = (Canonicalization, HashAlgorithm, u64, Vec<u8>);

/// A letter's header, as far as it is looked at.
#[derive(Debug)]
pub(super) struct Header {
    /// Without signatures beyond the bounds; it ends with an empty line.
    fields: Vec<u8>,
    pub authors: Authors,
    /// Signatures that are not looked at.
    pub passed_over: usize,
}

/// Who wrote the letter, as it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Authors {
    /// Nobody with an address.
    Nobody,
    /// Addresses of this domain.
    Of(String),
    /// Addresses of several domains, in one field: DMARC is not about them (RFC 9989).
    Several,
    /// `From` stands there more than once, and every reader shows another.
    Unclear,
}

impl Header {
    pub fn of(asked: &Verify) -> Header {
        let header = &asked.letter[..asked.header_bytes.min(asked.letter.len())];
        let (mut kept, mut signatures, mut passed_over) = (Vec::with_capacity(header.len() + 2), 0, 0);
        let may_be_signed = fields(header).count() <= FIELDS_MAX;
        for (name, field) in fields(header) {
            if name.eq_ignore_ascii_case(b"DKIM-Signature") {
                let looked_at =
                    may_be_signed && field.len() <= SIGNATURE_BYTES_MAX && signatures < SIGNATURES_MAX;
                signatures += usize::from(looked_at);
                passed_over += usize::from(!looked_at);
                if !looked_at {
                    continue;
                }
            }
            kept.extend_from_slice(field);
        }
        kept.extend_from_slice(b"\r\n");
        Header { fields: kept, authors: authors(header), passed_over }
    }

    /// The header as signatures are checked in it; none if it has no field. Its hashes of the body are still to be made.
    pub fn parsed(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut parsed = AuthenticatedMessage::parse(&self.fields)?;
        parsed.from = match &self.authors {
            Authors::Of(domain) => vec![format!("@{domain}")],
            Authors::Nobody | Authors::Several | Authors::Unclear => Vec::new(),
        };
        Some(parsed)
    }
}

/// The letter's text, without the empty line before it.
pub(super) fn body(asked: &Verify) -> Bytes {
    let body = asked.letter.slice(asked.header_bytes.min(asked.letter.len())..);
    if body.starts_with(b"\r\n") { body.slice(2..) } else { body }
}

/// Makes the hashes of the body that the signatures ask for: at most one for each way to write it and to hash it. It is done
/// on another thread, `places` of them at once. None, if it is not done: the signatures cannot be looked at.
pub(super) async fn hash_body(
    parsed: &mut AuthenticatedMessage<'_>,
    body: Bytes,
    places: &Arc<Semaphore>,
) -> Option<()> {
    if parsed.body_hashes.is_empty() {
        return Some(());
    }
    let mut hashes = parsed.body_hashes.clone();
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let hashed = tokio::task::spawn_blocking(move || {
        hashes.iter_mut().for_each(|wanted| hash(wanted, &body));
        drop(place);
        hashes
    });
    parsed.body_hashes = hashed.await.ok()?;
    Some(())
}

fn hash((written, with, bytes, made): &mut BodyHash, body: &[u8]) {
    // The library takes lines at the end that have nothing but blanks for text (RFC 6376, 3.4.4).
    let body = if *written == Canonicalization::Relaxed { without_blank_end(body) } else { body };
    *made = with.hash(written.canonical_body(body, *bytes)).as_ref().to_vec();
}

/// The text up to the end of the last line that has something in it.
fn without_blank_end(body: &[u8]) -> &[u8] {
    let text = body.iter().rposition(|b| !b" \t\r\n".contains(b)).map_or(0, |last| last + 1);
    match body[text..].iter().position(|b| *b == b'\n') {
        // Blanks behind the text in its own line stay.
        Some(end) if text > 0 => &body[..=text + end],
        Some(_) => b"",
        None => body,
    }
}

fn authors(header: &[u8]) -> Authors {
    let mut named = fields(header).filter(|(name, _)| name.eq_ignore_ascii_case(b"From"));
    let Some((_, field)) = named.next() else { return Authors::Nobody };
    if named.next().is_some() {
        return Authors::Unclear;
    }
    let colon = field.iter().position(|b| *b == b':').map_or(field.len(), |at| at + 1);
    let HeaderValue::Address(parsed) = MessageStream::new(&field[colon..]).parse_address() else {
        return Authors::Nobody;
    };
    let mut domains = domains(&parsed);
    match (domains.pop_first(), domains.is_empty()) {
        (None, _) => Authors::Nobody,
        (Some(only), true) => Authors::Of(only),
        (Some(_), false) => Authors::Several,
    }
}

fn domains(parsed: &Address<'_>) -> BTreeSet<String> {
    let addresses = parsed.iter().filter_map(|found| found.address.as_deref());
    addresses.filter_map(|address| Some(address.rsplit_once('@')?.1.to_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(header: &str, text: &str) -> Verify {
        Verify {
            address: None,
            helo: String::new(),
            sender: String::new(),
            letter: format!("{header}{text}").into(),
            header_bytes: header.len(),
        }
    }

    #[test]
    fn authors_are_who_readers_see() {
        let of = |header: &str| Header::of(&asked(header, "\r\nFrom: not@a.field\r\n")).authors;
        let only = |domain: &str| Authors::Of(domain.to_owned());
        assert_eq!(of("From: Ann <ann@X.org>\r\n"), only("x.org"));
        assert_eq!(of("from : \"ann@y.org\" <ann@x.org>, bob@x.org\r\n"), only("x.org"));
        assert_eq!(of("From: friends: ann@x.org, bob@x.org;\r\n"), only("x.org"));
        assert_eq!(of("From: ann@x.org, bob@y.org\r\n"), Authors::Several);
        assert_eq!(of("From: ann@x.org\r\nFrom: ann@x.org\r\n"), Authors::Unclear);
        for header in ["", "Subject: x\r\n", "From: \r\n", "From: Ann\r\n"] {
            assert_eq!(of(header), Authors::Nobody, "{header:?}");
        }
    }

    #[test]
    fn the_text_begins_behind_the_empty_line_or_where_no_field_is() {
        assert_eq!(body(&asked("a: b\r\n", "\r\n\r\nx")), "\r\nx");
        assert_eq!(body(&asked("a: b\r\n", "x\r\n")), "x\r\n");
        assert_eq!(body(&asked("a: b\r\n", "")), "");
        let header = Header::of(&asked("From: a@x.org\r\n", "no field\r\nFrom: b@y.org\r\n\r\nx"));
        let parsed = header.parsed().expect("it has a field");
        assert_eq!((parsed.headers.len(), parsed.from()), (1, "@x.org"));
    }

    #[test]
    fn signatures_beyond_the_bounds_are_passed_over() {
        let field = "DKIM-Signature: v=1; a=rsa-sha256; d=x.org; s=a; h=from; bh=eA==; b=eA==\r\n";
        let long = format!("DKIM-Signature: {}\r\n", "x".repeat(SIGNATURE_BYTES_MAX));
        let header = Header::of(&asked(&[&long, &*field.repeat(SIGNATURES_MAX + 2)].concat(), ""));
        assert_eq!(header.passed_over, 3);
        assert_eq!(header.parsed().expect("it has fields").dkim_headers.len(), SIGNATURES_MAX);
        let header = Header::of(&asked(&[field, &*"a: b\r\n".repeat(FIELDS_MAX)].concat(), ""));
        assert_eq!(header.passed_over, 1);
    }

    #[test]
    fn blank_lines_at_the_end_are_no_text() {
        for (text, wanted) in [
            ("a\r\n", "a\r\n"),
            ("a \r\n", "a \r\n"),
            ("a\r\n \r\n\t\r\n", "a\r\n"),
            ("a \t\r\n\r\n \r\n\r\n", "a \t\r\n"),
            (" \r\n a\r\n\r\nb", " \r\n a\r\n\r\nb"),
            ("a\r\n\x0c\r\n", "a\r\n\x0c\r\n"),
            ("a  ", "a  "),
            (" \r\n\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(without_blank_end(text.as_bytes()), wanted.as_bytes(), "{text:?}");
        }
    }
}
