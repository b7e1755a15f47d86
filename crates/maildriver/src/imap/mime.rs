//! A letter as MIME parts, each by the range of its bytes. FETCH tells bytes as they are stored, so nothing is
//! decoded here. Depth and number of parts are bounded; what is beyond is one part that is not looked into.

use std::ops::Range;

use super::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX};
use crate::header::{field, header_length};

/// One part, or the whole letter.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The header with the empty line behind it.
    pub header: Range<usize>,
    pub body: Range<usize>,
    pub content_type: ContentType,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Single,
    Multi(Vec<Part>),
    /// A letter within the letter.
    Message(Box<Part>),
}

/// `Content-Type:`, or another field of a value and parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContentType {
    pub main: Vec<u8>,
    pub sub: Vec<u8>,
    pub parameters: Parameters,
}

impl ContentType {
    fn text_plain() -> ContentType {
        let charset = (b"charset".to_vec(), b"us-ascii".to_vec());
        ContentType { main: b"text".to_vec(), sub: b"plain".to_vec(), parameters: vec![charset] }
    }

    fn message() -> ContentType {
        ContentType { main: b"message".to_vec(), sub: b"rfc822".to_vec(), parameters: Vec::new() }
    }

    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.main.eq_ignore_ascii_case(main.as_bytes()) && self.sub.eq_ignore_ascii_case(sub.as_bytes())
    }
}

/// The letter's parts.
pub(crate) fn parse(letter: &[u8]) -> Part {
    let mut left = MIME_PARTS_MAX;
    part(letter, 0..letter.len(), false, 0, &mut left)
}

fn part(letter: &[u8], range: Range<usize>, in_digest: bool, depth: usize, left: &mut usize) -> Part {
    *left = left.saturating_sub(1);
    let body_at = range.start + header_length(&letter[range.clone()]);
    let (header, body) = (range.start..body_at, body_at..range.end);
    let default = || if in_digest { ContentType::message() } else { ContentType::text_plain() };
    let given = field(&letter[header.clone()], "content-type").map(|value| content_type(&value));
    let mut content_type = given.flatten().unwrap_or_else(default);
    let deeper = depth < MIME_DEPTH_MAX && *left > 0;
    let mut kind = Kind::Single;
    if content_type.main.eq_ignore_ascii_case(b"multipart") {
        let parts = if deeper { children(letter, &body, &content_type, depth, left) } else { Vec::new() };
        if parts.is_empty() {
            // One that cannot be taken apart is told as the text that it is.
            content_type = ContentType::text_plain();
        } else {
            kind = Kind::Multi(parts);
        }
    } else if content_type.is("message", "rfc822") {
        if deeper {
            kind = Kind::Message(Box::new(part(letter, body.clone(), false, depth + 1, left)));
        } else {
            content_type = ContentType::text_plain();
        }
    }
    Part { header, body, content_type, kind }
}

fn children(
    letter: &[u8],
    body: &Range<usize>,
    content_type: &ContentType,
    depth: usize,
    left: &mut usize,
) -> Vec<Part> {
    let named = content_type.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"));
    let Some((_, boundary)) = named.filter(|(_, boundary)| !boundary.is_empty()) else { return Vec::new() };
    let in_digest = content_type.sub.eq_ignore_ascii_case(b"digest");
    let mut ranges = Vec::new();
    let mut start = None;
    let mut at = body.start;
    while at < body.end {
        let line_end = letter[at..body.end].iter().position(|b| *b == b'\n').map_or(body.end, |n| at + n + 1);
        if let Some(last) = is_boundary(&letter[at..line_end], boundary)
            // Past the bound the rest belongs to the last part.
            && (ranges.len() + 2 < *left || last || start.is_none())
        {
            if let Some(start) = start {
                ranges.push(start..without_line_end(letter, start, at));
            }
            start = Some(line_end);
            if last {
                start = None;
                break;
            }
        }
        at = line_end;
    }
    // A part that nothing ends goes to the end.
    if let Some(start) = start {
        ranges.push(start..body.end);
    }
    ranges.into_iter().map(|range| part(letter, range, in_digest, depth + 1, left)).collect()
}

/// Whether a line is a boundary, and whether it is the last.
fn is_boundary(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, last) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    rest.iter().all(|b| b.is_ascii_whitespace()).then_some(last)
}

/// The line end before a boundary belongs to the boundary (RFC 2046, 5.1.1).
fn without_line_end(letter: &[u8], start: usize, end: usize) -> usize {
    let text = &letter[start.min(end)..end];
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    start.min(end) + text.len()
}

/// A media type with its parameters; none if it is none.
fn content_type(value: &[u8]) -> Option<ContentType> {
    let (whole, parameters) = with_parameters(value);
    let slash = whole.iter().position(|b| *b == b'/')?;
    let (main, sub) = (whole[..slash].trim_ascii(), whole[slash + 1..].trim_ascii());
    let token = |text: &[u8]| !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic());
    (token(main) && token(sub)).then(|| ContentType { main: main.to_vec(), sub: sub.to_vec(), parameters })
}

/// Names and values, as they were written.
pub(crate) type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// A value and its parameters: `value; name=value; name="value"`. Comments are left out.
pub(crate) fn with_parameters(text: &[u8]) -> (Vec<u8>, Parameters) {
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    // For each piece, where its value begins if that was quoted: a `=` or space in it is kept.
    let (mut quoted, mut depth, mut escaped) = (false, 0u32, false);
    for byte in text {
        let piece = pieces.last_mut().expect("there is always a piece");
        match byte {
            _ if escaped => {
                escaped = false;
                if depth == 0 {
                    piece.push(*byte);
                }
            }
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => piece.push(*byte),
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            b';' => pieces.push(Vec::new()),
            _ => piece.push(*byte),
        }
    }
    let mut pieces = pieces.into_iter();
    let value = pieces.next().unwrap_or_default().trim_ascii().to_vec();
    let parameter = |piece: Vec<u8>| {
        let equals = piece.iter().position(|b| *b == b'=')?;
        let name = piece[..equals].trim_ascii();
        (!name.is_empty()).then(|| (name.to_vec(), piece[equals + 1..].trim_ascii().to_vec()))
    };
    (value, pieces.filter_map(parameter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_where_they_are() {
        let letter = b"Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\npre\r\n--a b\r\n\r\none\r\n--a b  \r\nContent-Type: Text/HTML (x)\r\n\r\ntwo\r\n\r\n--a b--\r\npost";
        let whole = parse(letter);
        let Kind::Multi(parts) = &whole.kind else { panic!("{whole:?}") };
        assert_eq!(&letter[parts[0].body.clone()], b"one");
        assert_eq!(&letter[parts[1].body.clone()], b"two\r\n");
        assert!(parts[1].content_type.is("text", "html"));
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn deep_and_many_are_bounded() {
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
        let mut depth = 0;
        let mut at = &parse(deep.as_bytes());
        while let Kind::Message(inner) = &at.kind {
            depth += 1;
            at = inner;
        }
        assert_eq!(depth, MIME_DEPTH_MAX);
        let many = format!("Content-Type: multipart/mixed; boundary=x\n\n{}", "--x\n\n".repeat(100_000));
        let Kind::Multi(parts) = parse(many.as_bytes()).kind else { panic!() };
        assert!(parts.len() <= MIME_PARTS_MAX, "{}", parts.len());
    }

    #[test]
    fn what_is_no_mime() {
        for letter in [
            &b""[..],
            b"\r\n",
            b"\n",
            b"no header",
            b"Content-Type: multipart/mixed\n\nx",
            b":",
            b"a\n b\n\n",
            b"Content-Type: ;;;\n\n",
        ] {
            assert!(matches!(parse(letter).kind, Kind::Single));
        }
    }
}
