//! A letter's texts for SEARCH: transfer encodings, charsets and encoded words decoded, in lower case.

use mail_parser::{HeaderValue, Message, MessageParser, PartType};

use super::limits::MIME_DEPTH_MAX;
use crate::dates::{Day, day_of};
use crate::header::field;

/// One letter, read for searching.
pub(crate) struct Texts<'a> {
    letter: &'a [u8],
    message: Option<Message<'a>>,
}

impl<'a> Texts<'a> {
    pub fn of(letter: &'a [u8]) -> Texts<'a> {
        Texts {
            letter,
            message: MessageParser::new().with_mime_headers().default_header_text().parse(letter),
        }
    }

    /// Whether a field of this name has this text; with an empty text, whether there is one.
    pub fn header_has(&self, name: &str, text: &str) -> bool {
        let Some(message) = &self.message else { return false };
        let named = message.headers().iter().filter(|header| header.name.as_str().eq_ignore_ascii_case(name));
        named.map(|header| self.value(header)).any(|value| value.contains(text))
    }

    fn value(&self, header: &mail_parser::Header<'_>) -> String {
        match &header.value {
            HeaderValue::Text(text) => text.to_lowercase(),
            HeaderValue::TextList(list) => list.join(" ").to_lowercase(),
            _ => {
                let raw = self.letter.get(header.offset_start as usize..header.offset_end as usize);
                String::from_utf8_lossy(raw.unwrap_or_default()).to_lowercase()
            }
        }
    }

    pub fn body_has(&self, text: &str) -> bool {
        self.message.as_ref().is_some_and(|message| bodies(message, text, 0))
    }

    /// The header or a body.
    pub fn has(&self, text: &str) -> bool {
        let Some(message) = &self.message else { return false };
        let line = |header: &mail_parser::Header<'_>| {
            format!("{}: {}", header.name.as_str().to_lowercase(), self.value(header))
        };
        message.headers().iter().any(|header| line(header).contains(text)) || self.body_has(text)
    }

    /// The day of `Date:` as it was written, whatever its zone (RFC 3501, 6.4.4).
    pub fn sent(&self) -> Option<Day> {
        let date = field(self.letter, "date")?;
        let date = mail_parser::DateTime::parse_rfc822(std::str::from_utf8(&date).ok()?)?;
        Some(day_of(i64::from(date.year), i64::from(date.month), i64::from(date.day)))
    }
}

fn bodies(message: &Message<'_>, text: &str, depth: usize) -> bool {
    message.parts.iter().any(|part| match &part.body {
        PartType::Text(body) | PartType::Html(body) => body.to_lowercase().contains(text),
        PartType::Message(inner) => {
            let header = |h: &mail_parser::Header<'_>| {
                h.value.as_text().is_some_and(|v| v.to_lowercase().contains(text))
            };
            depth < MIME_DEPTH_MAX && (inner.headers().iter().any(header) || bodies(inner, text, depth + 1))
        }
        PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => false,
    })
}
