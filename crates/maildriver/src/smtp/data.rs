//! DATA (RFC 5321, 4.5.2): dots taken away, and the one end that there is, CR LF dot CR LF. Whatever else looks like
//! an end is text, and text in which CR or LF stands alone is refused: two servers that disagree where a letter
//! ends would let its sender write the next one in somebody else's name.

use super::input::Body;

/// Takes the dots away.
#[derive(Debug, Default)]
pub(super) struct Unstuffer {
    at: At,
}

/// What was read last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// CR LF, or nothing.
    #[default]
    LineStart,
    Line,
    Cr,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line, and CR.
    DotCr,
}

impl Unstuffer {
    /// Reads on, from the front of `input` into the body. True at the end.
    pub fn read(&mut self, input: &mut &[u8], body: &mut Body) -> bool {
        while let Some((first, rest)) = input.split_first() {
            match (self.at, first) {
                (At::LineStart, b'.') => self.step(input, rest, At::Dot),
                (At::Dot, b'\r') => self.step(input, rest, At::DotCr),
                (At::DotCr, b'\n') => {
                    *input = rest;
                    return true;
                }
                (At::DotCr, _) => {
                    body.push(b"\r");
                    self.at = At::Cr;
                }
                (At::Cr, b'\n') => {
                    body.push(b"\n");
                    self.step(input, rest, At::LineStart);
                }
                (At::Cr | At::LineStart | At::Line, b'\r') => {
                    body.push(b"\r");
                    self.step(input, rest, At::Cr);
                }
                (At::LineStart | At::Line | At::Cr | At::Dot, _) => {
                    let end = input.iter().position(|b| *b == b'\r').unwrap_or(input.len());
                    body.push(&input[..end]);
                    *input = &input[end..];
                    self.at = At::Line;
                }
            }
        }
        false
    }

    fn step<'a>(&mut self, input: &mut &'a [u8], rest: &'a [u8], at: At) {
        *input = rest;
        self.at = at;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of bytes that are read in these pieces: the body, if its line ends are good, and what is behind
    /// the end.
    fn read(bytes: &[u8], piece: usize) -> Option<(Option<Vec<u8>>, Vec<u8>)> {
        let (mut unstuffer, mut body) = (Unstuffer::default(), Body::new(1 << 20));
        for (n, chunk) in bytes.chunks(piece).enumerate() {
            let mut rest = chunk;
            if unstuffer.read(&mut rest, &mut body) {
                let used = n * piece + chunk.len() - rest.len();
                let whole = body.take();
                return Some((whole.ok().map(|b| b.to_vec()), bytes[used..].to_vec()));
            }
        }
        None
    }

    fn stuffed(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in text.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    #[test]
    fn only_one_end_is_the_end() {
        for fake in [
            "\n.\n",
            "\r.\r",
            "\n.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\n.\r",
            "\r.\n",
            "\r.\r\n",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\r\n.\r\r\n",
            "\r\r\n.\r\r\n",
            "\n\n.\r\n",
            "\r\n. \r\n",
        ] {
            let bytes = format!("x{fake}MAIL FROM:<evil@x>\r\n.\r\nbehind");
            for piece in 1..bytes.len() {
                let (body, behind) = read(bytes.as_bytes(), piece).expect("it ends");
                assert_eq!(behind, b"behind", "{fake:?} in pieces of {piece}");
                assert!(body.is_none() || fake == "\r\n. \r\n", "{fake:?} was taken");
            }
        }
    }

    #[test]
    fn dots() {
        let text =
            |bytes: &[u8]| read(bytes, 7).expect("it ends").0.map(|b| String::from_utf8(b).expect("text"));
        assert_eq!(text(b".\r\n"), Some(String::new()));
        assert_eq!(text(b"..\r\n.\r\n"), Some(".\r\n".to_owned()));
        assert_eq!(text(b"a.b\r\n..c\r\n.d\r\n.\r\n"), Some("a.b\r\n.c\r\nd\r\n".to_owned()));
        assert_eq!(text(b"a\r\n...\r\n.\r\n"), Some("a\r\n..\r\n".to_owned()));
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back(lines in proptest::collection::vec("[.ab\u{e9}]{0,4}", 0..20), piece in 1..30usize) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut bytes = stuffed(text.as_bytes());
            bytes.extend_from_slice(b"QUIT\r\n");
            prop_assert_eq!(read(&bytes, piece), Some((Some(text.into_bytes()), b"QUIT\r\n".to_vec())));
        }

        /// Line ends and dots in any order: where they are cut makes no difference.
        #[test]
        fn pieces_make_no_difference(bytes in "[.\r\nx]{0,40}", piece in 1..10usize) {
            let bytes = bytes.as_bytes();
            prop_assert_eq!(read(bytes, piece), read(bytes, bytes.len().max(1)));
            let end = bytes.windows(5).position(|w| w == b"\r\n.\r\n").map(|at| at + 5);
            let end = if bytes.starts_with(b".\r\n") { Some(3) } else { end };
            prop_assert_eq!(read(bytes, piece).map(|(_, behind)| bytes.len() - behind.len()), end);
        }
    }
}
