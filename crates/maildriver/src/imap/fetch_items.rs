//! What FETCH may ask of a letter.

use super::command::astring_list;
use super::cursor::{Bad, Cursor, Read};
use super::limits::{ITEMS_MAX, MIME_DEPTH_MAX};

/// One thing asked of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchItem {
    Flags,
    Uid,
    InternalDate,
    Size,
    ModSeq,
    Envelope,
    /// BODYSTRUCTURE, or without extension data BODY.
    Structure {
        extended: bool,
    },
    /// A part of the letter's bytes.
    Bytes(Section),
}

/// A part of a letter's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// What it is called in the answer, with everything that was asked.
    pub label: String,
    /// MIME parts from the outside in, from 1.
    pub path: Vec<u32>,
    pub text: SectionText,
    /// The first byte and how many.
    pub partial: Option<(u32, u32)>,
    /// Leaves `\Seen` as it is.
    pub peek: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SectionText {
    All,
    Header,
    /// Header fields by name: those, or all but those.
    Fields {
        names: Vec<Vec<u8>>,
        not: bool,
    },
    Text,
    Mime,
}

impl FetchItem {
    /// Whether the letter's bytes are needed.
    pub fn needs_letter(&self) -> bool {
        matches!(self, FetchItem::Envelope | FetchItem::Structure { .. } | FetchItem::Bytes(_))
    }

    /// Whether who asks has seen the letter.
    pub fn sees(&self) -> bool {
        matches!(self, FetchItem::Bytes(section) if !section.peek)
    }
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Read<Vec<FetchItem>> {
    use FetchItem::{Envelope, Flags, InternalDate, Size, Structure};
    for (name, more) in [("ALL", 1), ("FULL", 2), ("FAST", 0)] {
        if c.keyword(name) {
            let all = [Flags, InternalDate, Size, Envelope, Structure { extended: false }];
            return Ok(all[..3 + more].to_vec());
        }
    }
    if !c.take(b'(') {
        return Ok(vec![item(c)?]);
    }
    let mut items = vec![item(c)?];
    while !c.take(b')') {
        c.space()?;
        if items.len() == ITEMS_MAX {
            return Err(Bad("too many items"));
        }
        items.push(item(c)?);
    }
    Ok(items)
}

fn item(c: &mut Cursor<'_>) -> Read<FetchItem> {
    let word = c.word()?;
    let whole = |label: &str, text, peek| {
        FetchItem::Bytes(Section { label: label.to_owned(), path: Vec::new(), text, partial: None, peek })
    };
    Ok(match word.as_str() {
        "FLAGS" => FetchItem::Flags,
        "UID" => FetchItem::Uid,
        "INTERNALDATE" => FetchItem::InternalDate,
        "RFC822.SIZE" => FetchItem::Size,
        "MODSEQ" => FetchItem::ModSeq,
        "ENVELOPE" => FetchItem::Envelope,
        "BODYSTRUCTURE" => FetchItem::Structure { extended: true },
        "RFC822" => whole("RFC822", SectionText::All, false),
        "RFC822.HEADER" => whole("RFC822.HEADER", SectionText::Header, true),
        "RFC822.TEXT" => whole("RFC822.TEXT", SectionText::Text, false),
        "BODY" if c.peek() != Some(b'[') => FetchItem::Structure { extended: false },
        "BODY" => FetchItem::Bytes(section(c, false)?),
        "BODY.PEEK" => FetchItem::Bytes(section(c, true)?),
        _ => return Err(Bad("an item of FETCH that is not known")),
    })
}

fn section(c: &mut Cursor<'_>, peek: bool) -> Read<Section> {
    c.expect(b'[', "a section was expected")?;
    let mut path = Vec::new();
    let mut label = String::from("BODY[");
    while c.peek().is_some_and(|b| b.is_ascii_digit()) {
        let number = c.number()?;
        if number == 0 || path.len() > 2 * MIME_DEPTH_MAX {
            return Err(Bad("a section that cannot be"));
        }
        if !path.is_empty() {
            label.push('.');
        }
        label.push_str(&number.to_string());
        path.push(number);
        if c.peek() == Some(b']') {
            break;
        }
        c.expect(b'.', "a section that cannot be read")?;
        if !c.peek().is_some_and(|b| b.is_ascii_digit()) {
            if c.peek() == Some(b']') {
                return Err(Bad("a section that cannot be"));
            }
            label.push('.');
        }
    }
    let text = if c.peek() == Some(b']') {
        SectionText::All
    } else {
        section_text(c, &mut label, !path.is_empty())?
    };
    c.expect(b']', "a section has no end")?;
    label.push(']');
    let mut partial = None;
    if c.take(b'<') {
        let first = c.number()?;
        c.expect(b'.', "a part of a section has a first byte and a length")?;
        let count = c.number()?;
        c.expect(b'>', "a part of a section has no end")?;
        if count == 0 {
            return Err(Bad("a part of a section has a length above 0"));
        }
        label.push_str(&format!("<{first}>"));
        partial = Some((first, count));
    }
    Ok(Section { label, path, text, partial, peek })
}

fn section_text(c: &mut Cursor<'_>, label: &mut String, of_part: bool) -> Read<SectionText> {
    let word = c.word()?;
    label.push_str(&word);
    Ok(match word.as_str() {
        "HEADER" => SectionText::Header,
        "TEXT" => SectionText::Text,
        "MIME" if of_part => SectionText::Mime,
        "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
            c.space()?;
            let names = astring_list(c)?;
            // The label goes back to the client: only what a field's name can be.
            if names.iter().flatten().any(|b| !b.is_ascii_graphic() || b":()\"\\{".contains(b)) {
                return Err(Bad("a header field that cannot be"));
            }
            let shown: Vec<String> = names.iter().map(|name| super::write::astring(name)).collect();
            label.push_str(&format!(" ({})", shown.join(" ")));
            SectionText::Fields { names, not: word.ends_with("NOT") }
        }
        _ => return Err(Bad("a section that is not known")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::input::Part;

    fn read(text: &str) -> Read<Vec<FetchItem>> {
        let parts = [Part::Text(text.into())];
        let mut c = Cursor::new(&parts);
        parse(&mut c).and_then(|items| c.end().map(|()| items))
    }

    fn label(text: &str) -> String {
        match &read(text).unwrap()[..] {
            [FetchItem::Bytes(section)] => section.label.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sections() {
        assert_eq!(label("body[]"), "BODY[]");
        assert_eq!(label("body.peek[1.2.mime]<0.100>"), "BODY[1.2.MIME]<0>");
        assert_eq!(label("BODY[2.HEADER.FIELDS (to \"from\")]"), "BODY[2.HEADER.FIELDS (to from)]");
        assert_eq!(read("full").unwrap().len(), 5);
        for wrong in [
            "body[",
            "body[0]",
            "body[1.]",
            "body[mime]",
            "body[]<0.0>",
            "body[]<1>",
            "body[header.fields ()]",
            "()",
            "(uid",
            "x",
            "uid)",
            "body[1.x]",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
