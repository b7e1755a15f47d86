//! Reading a command's parts from left to right: atoms, strings, numbers, sets.

use bytes::Bytes;

use super::input::Part;
use super::limits::{RANGES_MAX, STRING_BYTES_MAX};

/// Why a command cannot be read: what the client is told after BAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub &'static str);

pub(crate) type Read<T> = Result<T, Bad>;

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Of(u32),
    /// `*`
    Last,
}

/// Sequence numbers or UIDs as they were written; `*` is resolved when the mailbox is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set(pub Vec<(Number, Number)>);

impl Set {
    /// As runs of numbers, `*` being the highest in use.
    pub fn runs(&self, last: u32) -> Vec<(u32, u32)> {
        let value = |number: Number| match number {
            Number::Of(n) => n,
            Number::Last => last,
        };
        self.0.iter().map(|(a, b)| (value(*a).min(value(*b)), value(*a).max(value(*b)))).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    parts: &'a [Part],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(parts: &'a [Part]) -> Cursor<'a> {
        Cursor { parts, at: 0 }
    }

    fn text(&self) -> &'a [u8] {
        match self.parts.first() {
            Some(Part::Text(text)) => &text[self.at.min(text.len())..],
            Some(Part::Literal(_)) | None => &[],
        }
    }

    pub fn peek(&self) -> Option<u8> {
        self.text().first().copied()
    }

    pub fn is_at_end(&self) -> bool {
        self.text().is_empty() && self.parts.len() <= 1
    }

    pub fn end(&self) -> Read<()> {
        if self.is_at_end() { Ok(()) } else { Err(Bad("more than the command takes")) }
    }

    /// Takes a byte if it is next.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, byte: u8, what: &'static str) -> Read<()> {
        if self.take(byte) { Ok(()) } else { Err(Bad(what)) }
    }

    pub fn space(&mut self) -> Read<()> {
        self.expect(b' ', "a space was expected")
    }

    pub fn while_(&mut self, good: impl Fn(u8) -> bool) -> &'a [u8] {
        let text = self.text();
        let end = text.iter().position(|b| !good(*b)).unwrap_or(text.len());
        self.at += end;
        &text[..end]
    }

    /// A word in capitals.
    pub fn word(&mut self) -> Read<String> {
        let word = self.while_(|b| b.is_ascii_alphanumeric() || b"-.=+_$".contains(&b));
        if word.is_empty() {
            return Err(Bad("a word was expected"));
        }
        Ok(String::from_utf8_lossy(word).to_ascii_uppercase())
    }

    /// Takes this word, written in capitals here, if it is next.
    pub fn keyword(&mut self, word: &str) -> bool {
        let text = self.text();
        let next = text.get(word.len()).copied();
        let found = text.len() >= word.len()
            && text[..word.len()].eq_ignore_ascii_case(word.as_bytes())
            && !next.is_some_and(|b| b.is_ascii_alphanumeric());
        self.at += if found { word.len() } else { 0 };
        found
    }

    pub fn atom(&mut self) -> Read<&'a [u8]> {
        let atom = self.while_(is_atom);
        if atom.is_empty() { Err(Bad("an atom was expected")) } else { Ok(atom) }
    }

    pub fn number64(&mut self) -> Read<u64> {
        let digits = self.while_(|b| b.is_ascii_digit());
        let text = std::str::from_utf8(digits).map_err(|_| Bad("a number was expected"))?;
        text.parse().map_err(|_| Bad("a number was expected"))
    }

    pub fn number(&mut self) -> Read<u32> {
        u32::try_from(self.number64()?).map_err(|_| Bad("a number is too high"))
    }

    /// A literal, which may be as long as the reader let it be.
    pub fn literal(&mut self) -> Option<Bytes> {
        let [Part::Text(text), Part::Literal(literal), rest @ ..] = self.parts else { return None };
        if self.at < text.len() {
            return None;
        }
        self.parts = rest;
        self.at = 0;
        Some(literal.clone())
    }

    pub fn string(&mut self) -> Read<Vec<u8>> {
        if let Some(literal) = self.literal() {
            return bounded(literal.to_vec());
        }
        self.expect(b'"', "a string was expected")?;
        let mut out = Vec::new();
        loop {
            let byte = self.peek().ok_or(Bad("a quoted string has no end"))?;
            self.at += 1;
            match byte {
                b'"' => return bounded(out),
                b'\\' => {
                    let quoted = self.peek().filter(|b| b"\"\\".contains(b));
                    out.push(quoted.ok_or(Bad("only quotes and backslashes are escaped"))?);
                    self.at += 1;
                }
                b'\r' | b'\n' | 0 => return Err(Bad("a quoted string has a character that it cannot have")),
                _ => out.push(byte),
            }
        }
    }

    pub fn astring(&mut self) -> Read<Vec<u8>> {
        match self.peek() {
            Some(b'"') | None => self.string(),
            Some(_) => self.run(|b| is_atom(b) || b == b']'),
        }
    }

    /// A pattern of LIST.
    pub fn pattern(&mut self) -> Read<Vec<u8>> {
        match self.peek() {
            Some(b'"') | None => self.string(),
            Some(_) => self.run(|b| is_atom(b) || b"]%*".contains(&b)),
        }
    }

    fn run(&mut self, good: impl Fn(u8) -> bool) -> Read<Vec<u8>> {
        let run = self.while_(good);
        if run.is_empty() {
            return Err(Bad("a string was expected"));
        }
        bounded(run.to_vec())
    }

    pub fn set(&mut self) -> Read<Set> {
        let mut ranges = Vec::new();
        loop {
            let first = self.set_number()?;
            let last = if self.take(b':') { self.set_number()? } else { first };
            if ranges.len() == RANGES_MAX {
                return Err(Bad("too many ranges in a set"));
            }
            ranges.push((first, last));
            if !self.take(b',') {
                return Ok(Set(ranges));
            }
        }
    }

    fn set_number(&mut self) -> Read<Number> {
        if self.take(b'*') {
            return Ok(Number::Last);
        }
        match self.number()? {
            0 => Err(Bad("0 names no letter")),
            n => Ok(Number::Of(n)),
        }
    }
}

fn bounded(text: Vec<u8>) -> Read<Vec<u8>> {
    if text.len() > STRING_BYTES_MAX { Err(Bad("a string is too long")) } else { Ok(text) }
}

/// Bytes of an atom. `]` ends an atom in no place where we read one, but is not part of it either.
pub(crate) fn is_atom(b: u8) -> bool {
    // 8-bit bytes are no atoms, but clients send them in names; what reads the name judges.
    (b.is_ascii_graphic() || b >= 0x80) && !b"(){%*\"\\]".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_in_all_their_forms() {
        let parts = [
            Part::Text(b"abc \"a \\\"b\\\\\" ".to_vec()),
            Part::Literal(Bytes::from_static(b"x\r\n")),
            Part::Text(b" z".to_vec()),
        ];
        let mut cursor = Cursor::new(&parts);
        assert_eq!(cursor.astring().unwrap(), b"abc");
        cursor.space().unwrap();
        assert_eq!(cursor.astring().unwrap(), b"a \"b\\");
        cursor.space().unwrap();
        assert_eq!(cursor.astring().unwrap(), b"x\r\n");
        cursor.space().unwrap();
        assert_eq!(cursor.astring().unwrap(), b"z");
        cursor.end().unwrap();
    }

    #[test]
    fn sets() {
        let read = |text: &str| {
            let parts = [Part::Text(text.into())];
            let mut cursor = Cursor::new(&parts);
            cursor.set().and_then(|set| cursor.end().map(|()| set.runs(7)))
        };
        assert_eq!(read("1,3:5,*:2").unwrap(), [(1, 1), (3, 5), (2, 7)]);
        for wrong in ["", "0", "1,", "1:", ":2", "a", "4294967296", "1 2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&vec!["1"; RANGES_MAX + 1].join(",")).is_err());
    }
}
