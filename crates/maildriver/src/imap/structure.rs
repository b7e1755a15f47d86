//! BODYSTRUCTURE and BODY (RFC 3501, 7.4.2), and the sections of BODY[...].

use std::borrow::Cow;

use super::envelope::envelope;
use super::fetch_items::{Section, SectionText};
use super::mime::{Kind, Part, with_parameters};
use super::write::{nstring, string};
use crate::header::{field, fields};

/// Writes the structure of a part and all in it.
pub(crate) fn structure(out: &mut Vec<u8>, letter: &[u8], part: &Part, extended: bool) {
    let header = &letter[part.header.clone()];
    out.push(b'(');
    if let Kind::Multi(parts) = &part.kind {
        parts.iter().for_each(|child| structure(out, letter, child, extended));
        out.push(b' ');
        string(out, &part.content_type.sub);
        if extended {
            out.push(b' ');
            parameters(out, &part.content_type.parameters);
            disposition_language_location(out, header);
        }
        return out.push(b')');
    }
    string(out, &part.content_type.main);
    out.push(b' ');
    string(out, &part.content_type.sub);
    out.push(b' ');
    parameters(out, &part.content_type.parameters);
    out.push(b' ');
    nstring(out, field(header, "content-id").as_deref());
    out.push(b' ');
    nstring(out, field(header, "content-description").as_deref());
    out.push(b' ');
    let encoding = field(header, "content-transfer-encoding").filter(|value| !value.is_empty());
    string(out, encoding.as_deref().unwrap_or(b"7bit"));
    let body = &letter[part.body.clone()];
    out.extend_from_slice(format!(" {}", body.len()).as_bytes());
    if let Kind::Message(inner) = &part.kind {
        out.push(b' ');
        envelope(out, &letter[inner.header.clone()]);
        out.push(b' ');
        structure(out, letter, inner, extended);
    }
    if matches!(part.kind, Kind::Message(_)) || part.content_type.main.eq_ignore_ascii_case(b"text") {
        let lines = body.iter().filter(|b| **b == b'\n').count();
        out.extend_from_slice(format!(" {lines}").as_bytes());
    }
    if extended {
        out.push(b' ');
        nstring(out, field(header, "content-md5").as_deref());
        disposition_language_location(out, header);
    }
    out.push(b')');
}

fn parameters(out: &mut Vec<u8>, parameters: &[(Vec<u8>, Vec<u8>)]) {
    if parameters.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for (n, (name, value)) in parameters.iter().enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        string(out, name);
        out.push(b' ');
        string(out, value);
    }
    out.push(b')');
}

fn disposition_language_location(out: &mut Vec<u8>, header: &[u8]) {
    out.push(b' ');
    match field(header, "content-disposition").filter(|value| !value.is_empty()) {
        Some(value) => {
            let (kind, all) = with_parameters(&value);
            out.push(b'(');
            string(out, &kind);
            out.push(b' ');
            parameters(out, &all);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    nstring(out, field(header, "content-language").as_deref());
    out.push(b' ');
    nstring(out, field(header, "content-location").as_deref());
}

/// The bytes of a section; none if the letter has no such part.
pub(crate) fn section<'a>(letter: &'a [u8], whole: &Part, section: &Section) -> Option<Cow<'a, [u8]>> {
    let bytes = named(letter, whole, section)?;
    let Some((first, count)) = section.partial else { return Some(bytes) };
    let first = (first as usize).min(bytes.len());
    let last = first.saturating_add(count as usize).min(bytes.len());
    Some(match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[first..last]),
        Cow::Owned(bytes) => Cow::Owned(bytes[first..last].to_vec()),
    })
}

fn named<'a>(letter: &'a [u8], whole: &Part, section: &Section) -> Option<Cow<'a, [u8]>> {
    let part = match section.path.is_empty() {
        true => None,
        false => Some(find(whole, &section.path)?),
    };
    // HEADER and TEXT of a part are those of the letter in it.
    let message = || match part.map(|part| &part.kind) {
        None => Some(whole),
        Some(Kind::Message(inner)) => Some(&**inner),
        Some(Kind::Single | Kind::Multi(_)) => None,
    };
    Some(match &section.text {
        SectionText::All => Cow::Borrowed(part.map_or(letter, |part| &letter[part.body.clone()])),
        SectionText::Mime => Cow::Borrowed(&letter[part?.header.clone()]),
        SectionText::Header => Cow::Borrowed(&letter[message()?.header.clone()]),
        SectionText::Text => Cow::Borrowed(&letter[message()?.body.clone()]),
        SectionText::Fields { names, not } => {
            let asked = |found: &[u8]| names.iter().any(|name| name.eq_ignore_ascii_case(found));
            let header = &letter[message()?.header.clone()];
            let wanted = fields(header).filter(|(name, _)| asked(name) != *not);
            let mut out: Vec<u8> = wanted.flat_map(|(_, field)| field).copied().collect();
            out.extend_from_slice(b"\r\n");
            Cow::Owned(out)
        }
    })
}

fn find<'a>(whole: &'a Part, path: &[u32]) -> Option<&'a Part> {
    let (first, rest) = path.split_first()?;
    let mut part = of_message(whole, *first)?;
    for number in rest {
        part = match &part.kind {
            Kind::Multi(parts) => parts.get(*number as usize - 1)?,
            Kind::Message(inner) => of_message(inner, *number)?,
            Kind::Single => return None,
        };
    }
    Some(part)
}

/// A letter that is not divided is its own part 1.
fn of_message(message: &Part, number: u32) -> Option<&Part> {
    match &message.kind {
        Kind::Multi(parts) => parts.get(number as usize - 1),
        Kind::Single | Kind::Message(_) => (number == 1).then_some(message),
    }
}
