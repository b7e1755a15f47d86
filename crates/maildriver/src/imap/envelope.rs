//! ENVELOPE (RFC 3501, 7.4.2): fields of the header as they are, addresses taken apart, nothing decoded.

use super::limits::ENVELOPE_ADDRESSES_MAX;
use super::write::nstring;
use crate::header::field;

/// Writes the envelope of a header.
pub(crate) fn envelope(out: &mut Vec<u8>, header: &[u8]) {
    let text = |out: &mut Vec<u8>, name: &str| nstring(out, field(header, name).as_deref());
    out.push(b'(');
    text(out, "date");
    out.push(b' ');
    text(out, "subject");
    let from = field(header, "from");
    for name in ["from", "sender", "reply-to", "to", "cc", "bcc"] {
        out.push(b' ');
        let own = field(header, name).filter(|value| !value.is_empty());
        // Who sends and who is answered is the author unless something else is said.
        let value = if matches!(name, "sender" | "reply-to") { own.or_else(|| from.clone()) } else { own };
        addresses(out, &value.unwrap_or_default());
    }
    out.push(b' ');
    text(out, "in-reply-to");
    out.push(b' ');
    text(out, "message-id");
    out.push(b')');
}

/// One line of an address list.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Address { name: Option<Vec<u8>>, local: Vec<u8>, domain: Vec<u8> },
    GroupStart(Vec<u8>),
    GroupEnd,
}

fn addresses(out: &mut Vec<u8>, value: &[u8]) {
    let items = parse(value);
    if items.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for item in &items {
        let (name, local, domain) = match item {
            Item::Address { name, local, domain } => (name.as_deref(), Some(&local[..]), Some(&domain[..])),
            Item::GroupStart(name) => (None, Some(&name[..]), None),
            Item::GroupEnd => (None, None, None),
        };
        out.push(b'(');
        nstring(out, name);
        out.extend_from_slice(b" NIL ");
        nstring(out, local);
        out.push(b' ');
        nstring(out, domain);
        out.push(b')');
    }
    out.push(b')');
}

/// What was gathered of an address so far.
#[derive(Default)]
struct Gathered {
    /// Words before `<`, or the address itself.
    words: Vec<u8>,
    space: bool,
    /// Between `<` and `>`.
    angle: Option<Vec<u8>>,
    comment: Vec<u8>,
}

impl Gathered {
    fn push(&mut self, text: &[u8]) {
        let space = std::mem::take(&mut self.space);
        let to = self.angle.as_mut().unwrap_or(&mut self.words);
        if space && !to.is_empty() {
            to.push(b' ');
        }
        to.extend_from_slice(text);
    }

    fn finish(&mut self, items: &mut Vec<Item>) {
        let Gathered { words, angle, comment, .. } = std::mem::take(self);
        let some = |text: Vec<u8>| Some(text).filter(|text| !text.is_empty());
        let (name, address) = match angle {
            Some(address) => (some(words).or(some(comment)), address),
            None => (some(comment), words),
        };
        // A source route is of no use to anybody (RFC 5322, 4.4).
        let address = match address.strip_prefix(b"@").and_then(|_| address.iter().position(|b| *b == b':')) {
            Some(at) => address[at + 1..].to_vec(),
            None => address,
        };
        if address.is_empty() {
            return;
        }
        let (local, domain) = match address.iter().rposition(|b| *b == b'@') {
            Some(at) => (address[..at].to_vec(), address[at + 1..].to_vec()),
            None => (address, Vec::new()),
        };
        items.push(Item::Address { name, local, domain });
    }
}

fn parse(value: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut now = Gathered::default();
    let mut in_group = false;
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        if items.len() >= ENVELOPE_ADDRESSES_MAX {
            break;
        }
        rest = after;
        match byte {
            b'"' => {
                let (text, after) = quoted(rest);
                now.push(&text);
                rest = after;
            }
            b'(' => {
                let (text, after) = comment(rest);
                now.comment = text;
                rest = after;
            }
            b'<' if now.angle.is_none() => {
                now.angle = Some(Vec::new());
                now.space = false;
            }
            b'>' => now.space = true,
            b',' if now
                .angle
                .as_ref()
                .is_none_or(|angle| !angle.starts_with(b"@") || angle.contains(&b':')) =>
            {
                now.finish(&mut items)
            }
            b':' if now.angle.is_none() && !in_group => {
                let name = std::mem::take(&mut now).words;
                items.push(Item::GroupStart(name));
                in_group = true;
            }
            b';' if in_group => {
                now.finish(&mut items);
                items.push(Item::GroupEnd);
                in_group = false;
            }
            b' ' | b'\t' => now.space = true,
            _ if now.angle.is_some() && now.space && rest.is_empty() => {}
            other => {
                if matches!(other, b'@' | b'.') && now.angle.is_none() && now.words.contains(&b'@') {
                    now.space = false;
                }
                now.push(&[*other]);
            }
        }
    }
    now.finish(&mut items);
    if in_group {
        items.push(Item::GroupEnd);
    }
    items
}

/// The rest of a quoted string, and what is behind it.
fn quoted(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => return (out, &text[at..]),
            b'\\' => {
                out.extend(text.get(at));
                at += 1;
            }
            other => out.push(*other),
        }
    }
    (out, &[])
}

/// The rest of a comment, and what is behind it.
fn comment(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut out = Vec::new();
    let (mut at, mut depth) = (0, 1u32);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' => at += 1,
            _ => {}
        }
        if depth == 0 {
            return (out, &text[at..]);
        }
        out.push(if *byte == b'\\' { text.get(at - 1).copied().unwrap_or(b' ') } else { *byte });
    }
    (out, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let mut out = Vec::new();
        addresses(&mut out, value.as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn addresses_are_taken_apart() {
        for (value, wanted) in [
            ("a@x.org", "((NIL NIL \"a\" \"x.org\"))"),
            ("Ann B <a@x.org>, c@y", "((\"Ann B\" NIL \"a\" \"x.org\")(NIL NIL \"c\" \"y\"))"),
            ("\"B, \\\"Ann\\\"\" <\"a b\"@x.org>", "((\"B, \\\"Ann\\\"\" NIL \"a b\" \"x.org\"))"),
            ("a@x.org (Ann (the one))", "((\"Ann (the one)\" NIL \"a\" \"x.org\"))"),
            (
                "friends: a@x, b@x;, c@y",
                "((NIL NIL \"friends\" NIL)(NIL NIL \"a\" \"x\")(NIL NIL \"b\" \"x\")(NIL NIL NIL NIL)(NIL NIL \"c\" \"y\"))",
            ),
            ("undisclosed-recipients:;", "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))"),
            ("<@r1,@r2:a@x.org>", "((NIL NIL \"a\" \"x.org\"))"),
            ("=?utf-8?q?J=C3=B6rg?= <j@x>", "((\"=?utf-8?q?J=C3=B6rg?=\" NIL \"j\" \"x\"))"),
            ("", "NIL"),
            (", ,", "NIL"),
            ("\"", "NIL"),
            ("(((", "NIL"),
        ] {
            assert_eq!(written(value), wanted, "{value}");
        }
    }
}
