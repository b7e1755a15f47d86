//! Bytes into commands: lines, and the literals between them. Nothing over its bound is kept (RFC 7888).

use bytes::Bytes;

use super::limits::{
    LINE_BYTES_MAX, LINE_BYTES_MAX_BEFORE_LOGIN, LITERAL_BYTES_MAX, LITERAL_BYTES_MAX_BEFORE_LOGIN,
    LITERALS_MAX, SKIPPED_BYTES_MAX, TAG_BYTES_MAX,
};

/// A piece of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text between literals, without the line's end and the literal's announcement.
    Text(Vec<u8>),
    /// A literal.
    Literal(Bytes),
}

impl Part {
    /// In bytes.
    pub fn len(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Literal(literal) => literal.len(),
        }
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A whole command or line.
    Whole(Vec<Part>),
    /// A literal is announced and the client waits for leave to send it.
    Continue,
    /// A command was over a bound and is forgotten; its tag, if it had one.
    TooBig(Vec<u8>),
    /// So much is over a bound that reading on makes no sense.
    Hopeless,
}

/// How much a command may take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub logged_in: bool,
    /// The longest letter that APPEND takes.
    pub letter_bytes_max: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    parts: Vec<Part>,
    line: Vec<u8>,
    /// Bytes of the literal that is being read, and how many are missing.
    literal: Option<(Vec<u8>, usize)>,
    /// Bytes of a refused literal that are still to come.
    skip: usize,
    /// The command is refused and read to its end only.
    refused: bool,
    text_bytes: usize,
    literal_bytes: usize,
}

impl Reader {
    /// Reads on. Takes from the front of `input` and says what came; none when all was taken.
    pub fn read(&mut self, input: &mut &[u8], bounds: Bounds) -> Option<Input> {
        loop {
            if self.skip > 0 {
                let taken = self.skip.min(input.len());
                *input = &input[taken..];
                self.skip -= taken;
            }
            if let Some((literal, missing)) = &mut self.literal {
                let taken = (*missing).min(input.len());
                literal.extend_from_slice(&input[..taken]);
                *input = &input[taken..];
                *missing -= taken;
                if *missing == 0 {
                    let (literal, _) = self.literal.take().unwrap_or_default();
                    self.parts.push(Part::Literal(literal.into()));
                }
            }
            if input.is_empty() {
                return None;
            }
            let room = bounds.line_bytes_max().saturating_sub(self.text_bytes + self.line.len());
            let Some(end) = input.iter().position(|b| *b == b'\n') else {
                // Of a line without end nothing is kept but its start, which has the tag.
                self.line.extend_from_slice(&input[..room.min(input.len())]);
                self.refused |= room < input.len();
                *input = &[];
                return None;
            };
            self.refused |= room < end;
            self.line.extend_from_slice(&input[..room.min(end)]);
            *input = &input[end + 1..];
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            if let Some(result) = self.line_ended(bounds) {
                return Some(result);
            }
        }
    }

    /// Bytes of the command that is coming.
    pub fn memory_bytes(&self) -> usize {
        let literal = self.literal.as_ref().map_or(0, |(literal, _)| literal.len());
        let parts = self.parts.iter().map(Part::len).sum::<usize>();
        parts + literal + self.line.len()
    }

    fn line_ended(&mut self, bounds: Bounds) -> Option<Input> {
        let line = std::mem::take(&mut self.line);
        let announced = announced(&line);
        if self.parts.is_empty() {
            self.parts.push(Part::Text(Vec::new()));
        }
        let Some((at, length, waits)) = announced else {
            return Some(self.finished(line));
        };
        let length_max = bounds.literal_bytes_max(self.first_text(&line));
        let fits = usize::try_from(length).is_ok_and(|length| self.literal_bytes + length <= length_max);
        let count = self.parts.iter().filter(|part| matches!(part, Part::Literal(_))).count();
        self.refused |= !fits || count >= LITERALS_MAX;
        if self.refused {
            if waits {
                return Some(self.finished(line));
            }
            // The client sends it whatever we say.
            return match usize::try_from(length) {
                Ok(skip) if skip <= bounds.skipped_bytes_max() => {
                    self.skip = skip;
                    self.push_text(line);
                    None
                }
                _ => Some(Input::Hopeless),
            };
        }
        let length = length as usize;
        self.literal_bytes += length;
        self.text_bytes += line.len();
        self.push_text(line[..at].to_vec());
        match length {
            0 => self.parts.push(Part::Literal(Bytes::new())),
            _ => self.literal = Some((Vec::with_capacity(length.min(64 << 10)), length)),
        }
        waits.then_some(Input::Continue)
    }

    fn finished(&mut self, line: Vec<u8>) -> Input {
        self.push_text(line);
        let whole = std::mem::take(self);
        if !whole.refused {
            return Input::Whole(whole.parts);
        }
        let tag = match whole.parts.first() {
            Some(Part::Text(text)) => text.split(|b| *b == b' ').next().unwrap_or_default().to_vec(),
            Some(Part::Literal(_)) | None => Vec::new(),
        };
        let good = !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && tag.iter().all(|b| is_tag(*b));
        Input::TooBig(if good { tag } else { Vec::new() })
    }

    /// Text joins text: only literals divide a command.
    fn push_text(&mut self, text: Vec<u8>) {
        match self.parts.last_mut() {
            // Of a refused command only the first line is of use.
            Some(Part::Text(before)) if before.is_empty() => *before = text,
            Some(Part::Text(_)) => {}
            Some(Part::Literal(_)) | None => self.parts.push(Part::Text(text)),
        }
    }

    fn first_text<'a>(&'a self, line: &'a [u8]) -> &'a [u8] {
        match self.parts.first() {
            Some(Part::Text(text)) if !text.is_empty() => text,
            _ => line,
        }
    }
}

impl Bounds {
    fn line_bytes_max(&self) -> usize {
        if self.logged_in { LINE_BYTES_MAX } else { LINE_BYTES_MAX_BEFORE_LOGIN }
    }

    fn literal_bytes_max(&self, first_text: &[u8]) -> usize {
        let word = first_text.split(|b| *b == b' ').nth(1).unwrap_or_default();
        match self.logged_in {
            true if word.eq_ignore_ascii_case(b"APPEND") => {
                self.letter_bytes_max + LITERAL_BYTES_MAX_BEFORE_LOGIN
            }
            true => LITERAL_BYTES_MAX,
            false => LITERAL_BYTES_MAX_BEFORE_LOGIN,
        }
    }

    fn skipped_bytes_max(&self) -> usize {
        if self.logged_in { SKIPPED_BYTES_MAX } else { LITERAL_BYTES_MAX_BEFORE_LOGIN }
    }
}

pub(crate) fn is_tag(b: u8) -> bool {
    b.is_ascii_graphic() && !b"(){%*\"\\+".contains(&b)
}

/// A literal announced at a line's end: where `{` is, its length, whether the client waits.
fn announced(line: &[u8]) -> Option<(usize, u64, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let at = inner.iter().rposition(|b| *b == b'{')?;
    let number = &inner[at + 1..];
    let (digits, waits) = match number.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (number, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number that no u64 holds is over every bound.
    let length =
        digits.iter().fold(0u64, |sum, d| sum.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    Some((at, length, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Bounds = Bounds { logged_in: true, letter_bytes_max: 1 << 20 };
    const BEFORE: Bounds = Bounds { logged_in: false, letter_bytes_max: 1 << 20 };

    fn all(bytes: &[u8], bounds: Bounds, step: usize) -> Vec<Input> {
        let mut reader = Reader::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            let mut rest = piece;
            while let Some(input) = reader.read(&mut rest, bounds) {
                out.push(input);
            }
        }
        out
    }

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    fn literal(text: &'static str) -> Part {
        Part::Literal(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_and_literals_whatever_the_pieces() {
        let bytes = b"a LOGIN {3}\r\njoe {4+}\r\nx\r\ny\r\n\r\nb NOOP\n";
        for step in 1..bytes.len() {
            let whole = vec![text("a LOGIN "), literal("joe"), text(" "), literal("x\r\ny"), text("")];
            let wanted = [
                Input::Continue,
                Input::Whole(whole),
                Input::Whole(vec![text("")]),
                Input::Whole(vec![text("b NOOP")]),
            ];
            assert_eq!(all(bytes, AFTER, step), wanted, "pieces of {step}");
        }
    }

    #[test]
    fn what_is_too_big_is_not_kept() {
        assert_eq!(all(b"a LOGIN {5000}\r\nb NOOP\r\n", BEFORE, 7)[0], Input::TooBig(b"a".to_vec()));
        assert_eq!(all(b"a LOGIN {5000+}\r\n", BEFORE, 7), [Input::Hopeless]);
        assert_eq!(all(b"a X {99999999999999999999999+}\r\n", AFTER, 7), [Input::Hopeless]);
        let mut skipped = b"a X {70000+}\r\n".to_vec();
        skipped.extend_from_slice(&[b'\n'; 70_000]);
        skipped.extend_from_slice(b" end\r\nb NOOP\r\n");
        let wanted = [Input::TooBig(b"a".to_vec()), Input::Whole(vec![text("b NOOP")])];
        assert_eq!(all(&skipped, AFTER, 999), wanted);
        let mut endless = b"a ".to_vec();
        endless.resize(LINE_BYTES_MAX * 3, b'x');
        endless.extend_from_slice(b"\r\nb NOOP\r\n");
        assert_eq!(all(&endless, AFTER, 4_096), wanted);
    }

    #[test]
    fn an_empty_literal_is_a_part() {
        let wanted = vec![text("a LOGIN "), literal(""), text(" x")];
        assert_eq!(all(b"a LOGIN {0+}\r\n x\r\n", BEFORE, 3), [Input::Whole(wanted)]);
    }
}
