//! Lines and bodies. One JSON object a line; `body_len` raw bytes follow if the object says so.

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest header line, in bytes, without its line feed.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a stream of items can't be read on. Framing is lost: end the session.
#[derive(Debug, thiserror::Error)]
pub enum FramingError {
    /// No line feed within [`LINE_BYTES_MAX`].
    #[error("a header line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A body over [`BODY_BYTES_MAX`].
    #[error("a body of {0} bytes is announced; at most {BODY_BYTES_MAX} are taken")]
    BodyTooLong(u64),
    /// The line is no JSON object, or `body_len` is no number.
    #[error("a header line is not a JSON object: {0}")]
    NotJson(String),
    /// The stream ended within an item.
    #[error("the stream ended within an item")]
    Truncated,
}

/// One header line, still as JSON text, with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The JSON object.
    pub line: Bytes,
    /// The bytes behind it.
    pub body: Bytes,
}

impl Item {
    /// Reads the header line as `T`. The error text is for the peer.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.line).map_err(|error| error.to_string())
    }
}

/// Cuts a stream into items: `extend` with what arrived, then `next` until it returns `None`. Holds at most
/// one unfinished item: [`LINE_BYTES_MAX`] + [`BODY_BYTES_MAX`] and what one read brought.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of the buffer already searched for a line feed.
    searched: usize,
    /// A line whose body has not come whole.
    waiting: Option<(Bytes, usize)>,
}

#[derive(serde::Deserialize)]
struct Length {
    #[serde(default)]
    body_len: u64,
}

impl Decoder {
    /// Where a reader may put what arrives.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes what arrived.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole item, if it has come. After an error the decoder must not be used again.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Item>, FramingError> {
        let (line, body_len) = match self.waiting.take() {
            Some(waiting) => waiting,
            None => match self.line()? {
                Some(line) => {
                    let Length { body_len } = serde_json::from_slice(&line)
                        .map_err(|error| FramingError::NotJson(error.to_string()))?;
                    if body_len > BODY_BYTES_MAX as u64 {
                        return Err(FramingError::BodyTooLong(body_len));
                    }
                    (line, body_len as usize)
                }
                None => return Ok(None),
            },
        };
        if self.buffer.len() < body_len {
            self.waiting = Some((line, body_len));
            return Ok(None);
        }
        Ok(Some(Item { line, body: self.buffer.split_to(body_len).freeze() }))
    }

    /// Call when the stream has ended: an unfinished item is an error.
    pub fn finish(&self) -> Result<(), FramingError> {
        if self.buffer.is_empty() && self.waiting.is_none() { Ok(()) } else { Err(FramingError::Truncated) }
    }

    fn line(&mut self) -> Result<Option<Bytes>, FramingError> {
        match self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
            Some(at) if self.searched + at > LINE_BYTES_MAX => Err(FramingError::LineTooLong),
            Some(at) => {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.buffer.len() > LINE_BYTES_MAX => Err(FramingError::LineTooLong),
            None => {
                self.searched = self.buffer.len();
                Ok(None)
            }
        }
    }
}

/// Writes one header line (with its line feed) behind `out`. The caller writes the body behind it and has put
/// its length into `header`.
pub fn encode<T: Serialize>(header: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, header).expect("the session vocabulary serialises");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_whole_however_the_stream_is_cut() {
        let stream = b"{\"op\":\"x\",\"body_len\":3}\nabc{\"op\":\"y\"}\n{\"op\":\"z\",\"body_len\":0}\n";
        for step in 1..stream.len() {
            let (mut decoder, mut items) = (Decoder::default(), Vec::new());
            for piece in stream.chunks(step) {
                decoder.extend(piece);
                while let Some(item) = decoder.next().expect("well-formed") {
                    items.push(item);
                }
            }
            assert_eq!(items.len(), 3);
            assert_eq!(&items[0].body[..], b"abc");
            assert!(decoder.finish().is_ok());
        }
    }

    #[test]
    fn hostile_streams_are_refused_within_their_bounds() {
        let mut long = Decoder::default();
        long.extend(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert!(matches!(long.next(), Err(FramingError::LineTooLong)));

        let mut big = Decoder::default();
        big.extend(b"{\"body_len\":99999999999}\n");
        assert!(matches!(big.next(), Err(FramingError::BodyTooLong(_))));

        let mut garbage = Decoder::default();
        garbage.extend(b"GET / HTTP/1.1\r\n");
        assert!(matches!(garbage.next(), Err(FramingError::NotJson(_))));

        let mut short = Decoder::default();
        short.extend(b"{\"body_len\":5}\nab");
        assert!(matches!(short.next(), Ok(None)));
        assert!(matches!(short.finish(), Err(FramingError::Truncated)));
    }
}
