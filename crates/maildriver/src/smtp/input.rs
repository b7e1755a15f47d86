//! Bytes into lines, letters and chunks. Nothing over its bound is kept, and no line ends otherwise than with CR LF.

use bytes::Bytes;

use super::data::Unstuffer;
use super::limits::{AUTH_LINE_BYTES_MAX, SKIPPED_BYTES_MAX, TEXT_LINE_BYTES_MAX};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line, without its end.
    Line(Vec<u8>),
    /// A line over its bound, which is forgotten.
    LongLine,
    /// CR or LF alone, in a command.
    BareLineEnd,
    /// A letter has come to its end.
    Letter,
    /// A chunk of a letter has.
    Chunk { last: bool },
    /// So much is over a bound that reading on makes no sense.
    Hopeless,
}

/// Why a letter cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooBig,
    BareLineEnd,
    Nul,
    LongLine,
}

/// A letter that is coming.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    bytes_max: usize,
    fault: Option<Fault>,
    skipped: usize,
    /// Bytes since the last line end.
    line: usize,
    cr: bool,
}

impl Body {
    pub fn new(bytes_max: usize) -> Body {
        Body { bytes_max, ..Body::default() }
    }

    /// Adds text, and sees to its line ends. Of what cannot be taken nothing is kept.
    pub fn push(&mut self, text: &[u8]) {
        for byte in text {
            self.fault_if((*byte == b'\n') != self.cr, Fault::BareLineEnd);
            self.fault_if(*byte == 0, Fault::Nul);
            self.cr = *byte == b'\r';
            self.line = if *byte == b'\n' { 0 } else { self.line + 1 };
            self.fault_if(self.line > TEXT_LINE_BYTES_MAX, Fault::LongLine);
        }
        self.fault_if(self.bytes.len() + text.len() > self.bytes_max, Fault::TooBig);
        match self.fault {
            None => self.bytes.extend_from_slice(text),
            Some(_) => self.skipped += text.len(),
        }
    }

    fn fault_if(&mut self, wrong: bool, fault: Fault) {
        // A line end that could be taken for the letter's outweighs the rest: it ends the connection.
        if wrong && (self.fault.is_none() || fault == Fault::BareLineEnd) {
            self.fault = Some(fault);
            self.skipped += self.bytes.len();
            self.bytes = Vec::new();
        }
    }

    /// The letter, at its end.
    pub fn take(&mut self) -> Result<Bytes, Fault> {
        self.fault_if(self.cr, Fault::BareLineEnd);
        let whole = std::mem::take(self);
        whole.fault.map_or(Ok(whole.bytes.into()), Err)
    }

    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What is being read.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Lines,
    Data(Unstuffer),
    Chunk {
        left: u64,
        last: bool,
        /// Whether it is wanted.
        kept: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    phase: Phase,
    line: Vec<u8>,
    cr: bool,
    long: bool,
    pub body: Body,
}

impl Reader {
    /// The letter of DATA comes now.
    pub fn begin_data(&mut self, bytes_max: usize) {
        self.body = Body::new(bytes_max);
        self.phase = Phase::Data(Unstuffer::default());
    }

    /// A chunk comes now; its bytes join those of the chunks before.
    pub fn begin_chunk(&mut self, bytes: u64, last: bool, kept: bool) {
        self.phase = Phase::Chunk { left: bytes, last, kept };
    }

    /// A chunk of nothing has come.
    pub fn end_chunk(&mut self) {
        self.phase = Phase::Lines;
    }

    /// Whether a letter is being read.
    pub fn is_in_letter(&self) -> bool {
        !matches!(self.phase, Phase::Lines)
    }

    /// Reads on. Takes from the front of `input` and says what came; none when all was taken.
    pub fn read(&mut self, input: &mut &[u8]) -> Option<Input> {
        match &mut self.phase {
            Phase::Lines => self.read_line(input),
            Phase::Data(unstuffer) => {
                if unstuffer.read(input, &mut self.body) {
                    self.phase = Phase::Lines;
                    return Some(Input::Letter);
                }
                (self.body.skipped > SKIPPED_BYTES_MAX).then_some(Input::Hopeless)
            }
            Phase::Chunk { left, last, kept } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if *kept {
                    self.body.push(&input[..taken]);
                }
                *input = &input[taken..];
                *left -= taken as u64;
                let (ended, last) = (*left == 0, *last);
                if ended {
                    self.phase = Phase::Lines;
                }
                ended.then_some(Input::Chunk { last })
            }
        }
    }

    fn read_line(&mut self, input: &mut &[u8]) -> Option<Input> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            match (std::mem::take(&mut self.cr), byte) {
                (true, b'\n') => {
                    let line = std::mem::take(&mut self.line);
                    let long = std::mem::take(&mut self.long);
                    return Some(if long { Input::LongLine } else { Input::Line(line) });
                }
                (true, _) | (false, b'\n') => return Some(Input::BareLineEnd),
                (false, b'\r') => self.cr = true,
                (false, _) if self.line.len() < AUTH_LINE_BYTES_MAX => self.line.push(*byte),
                (false, _) => self.long = true,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_with_both() {
        let all = |bytes: &[u8], piece: usize| {
            let mut reader = Reader::default();
            let mut out = Vec::new();
            for mut chunk in bytes.chunks(piece) {
                while let Some(input) = reader.read(&mut chunk) {
                    out.push(input);
                }
            }
            out
        };
        let long = [&[b'x'; AUTH_LINE_BYTES_MAX + 1][..], b"\r\nNOOP\r\n"].concat();
        for piece in [1, 2, 3, 50_000] {
            let two = [Input::Line(b"a b".to_vec()), Input::Line(Vec::new())];
            assert_eq!(all(b"a b\r\n\r\n", piece), two);
            for bare in ["a\n", "a\rb\r\n", "a\r\r\n"] {
                assert_eq!(all(bare.as_bytes(), piece)[0], Input::BareLineEnd, "{bare:?}");
            }
            assert_eq!(all(&long, piece), [Input::LongLine, Input::Line(b"NOOP".to_vec())]);
        }
    }

    #[test]
    fn what_is_wrong_with_a_letter_is_found_and_not_kept() {
        for (text, fault) in [
            (&b"a\r\nb\n"[..], Fault::BareLineEnd),
            (b"a\rb\r\n", Fault::BareLineEnd),
            (b"a\r", Fault::BareLineEnd),
            (b"a\0b\r\n", Fault::Nul),
            (b"0123456789\r\n", Fault::TooBig),
            (b"0123456789\0\r\n\n", Fault::BareLineEnd),
        ] {
            let mut body = Body::new(10);
            text.iter().for_each(|byte| body.push(&[*byte]));
            assert_eq!(body.take(), Err(fault), "{text:?}");
        }
        let mut body = Body::new(1 << 20);
        body.push(&vec![b'x'; TEXT_LINE_BYTES_MAX]);
        assert_eq!(body.fault(), None);
        body.push(b"x");
        assert_eq!((body.fault(), body.memory_bytes()), (Some(Fault::LongLine), 0));
    }

    proptest! {
        /// However a letter is cut into chunks, and these into pieces, it is the same letter.
        #[test]
        fn chunks_join(text in "([.a]{0,5}\r\n){0,20}", cuts in proptest::collection::vec(0..100usize, 0..6), piece in 1..9usize) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut reader = Reader { body: Body::new(1 << 20), ..Reader::default() };
            for range in cuts.windows(2).filter(|range| range[0] < range[1]) {
                reader.begin_chunk((range[1] - range[0]) as u64, false, true);
                let came: Vec<Input> = text[range[0]..range[1]]
                    .chunks(piece)
                    .filter_map(|mut chunk| reader.read(&mut chunk))
                    .collect();
                prop_assert_eq!(came, [Input::Chunk { last: false }]);
            }
            prop_assert_eq!(reader.body.take().unwrap(), text);
        }
    }
}
