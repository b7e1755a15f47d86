//! How answers are written: atoms, quoted strings, literals, sets, flags.

use mail::{FlagNames, MailboxName};

use super::command::SYSTEM_FLAGS;
use super::cursor::is_atom;

/// The shortest form in which a text can be sent.
pub(crate) fn astring(text: &[u8]) -> String {
    // Only for what has no controls: the reader of names has seen to it.
    let atom = !text.is_empty()
        && text.iter().all(|b| is_atom(*b) && b.is_ascii())
        && !text.eq_ignore_ascii_case(b"NIL");
    if atom { String::from_utf8_lossy(text).into_owned() } else { quoted(&String::from_utf8_lossy(text)) }
}

/// A quoted string of text that has no line ends.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// A mailbox's name.
pub(crate) fn mailbox(name: &MailboxName) -> String {
    astring(name.to_utf7().as_bytes())
}

/// A string of whatever bytes a letter has: quoted if that can be, else a literal (8-bit in headers, quotes
/// over several lines).
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > 1_000 || text.iter().any(|b| !(b' '..=b'~').contains(b)) {
        return literal(out, text);
    }
    out.push(b'"');
    for byte in text {
        if b"\"\\".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// A literal. A NUL cannot be sent in one (RFC 3501, 4.3.1); it is told as another byte of the same length.
pub(crate) fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
    let start = out.len();
    out.extend_from_slice(bytes);
    out[start..].iter_mut().filter(|b| **b == 0).for_each(|b| *b = 0x80);
}

/// A string, or NIL.
pub(crate) fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Flags in parentheses, the session's `\Recent` in front.
pub(crate) fn flags(names: &FlagNames, recent: bool) -> String {
    let recent = recent.then(|| "\\Recent".to_owned());
    let all: Vec<String> = recent.into_iter().chain(flag_texts(names)).collect();
    format!("({})", all.join(" "))
}

/// Flags and keywords, one by one.
pub(crate) fn flag_texts(names: &FlagNames) -> Vec<String> {
    let system = SYSTEM_FLAGS.iter().filter(|(flag, _)| names.system.has(*flag)).map(|(_, name)| *name);
    system.chain(names.keywords.iter().map(|keyword| keyword.as_str())).map(str::to_owned).collect()
}

/// Numbers as a set: `1:3,7`.
pub(crate) fn set(runs: &[(u32, u32)]) -> String {
    let run = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}:{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let written = |text: &[u8]| {
            let mut out = Vec::new();
            string(&mut out, text);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(written(b"a \"b\\"), "\"a \\\"b\\\\\"");
        assert_eq!(written("\u{e9}".as_bytes()), "{2}\r\n\u{e9}");
        assert_eq!(astring(b"nil"), "\"nil\"");
        assert_eq!(astring(b"a b"), "\"a b\"");
        assert_eq!(astring(b""), "\"\"");
        assert_eq!(set(&[(1, 3), (7, 7)]), "1:3,7");
    }
}
