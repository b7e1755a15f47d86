//! Control messages to bytes and back: minicbor with numbered fields, so that unknown fields are skipped.

use bytes::Bytes;
use minicbor::{Decode, Encode};

/// The longest control message; a link carries nothing longer.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Why bytes are not a message. Decoding keeps no state, so nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the reader allows.
    #[error("a message of {bytes} bytes; {max} are allowed")]
    TooLong {
        /// The message's bytes.
        bytes: usize,
        /// The reader's bound.
        max: usize,
    },
    /// Not an encoding of what was expected.
    #[error("a malformed message: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// Good, and then more bytes.
    #[error("{0} bytes behind the end of a message")]
    Trailing(usize),
}

/// Encodes a message.
///
/// # Panics
/// If a hand-written `Encode` fails by itself; writing to memory does not.
pub fn encode<T: Encode<()>>(message: &T) -> Bytes {
    let bytes = minicbor::to_vec(message).expect("encoding into memory does not fail");
    Bytes::from(bytes)
}

/// Decodes exactly one message of at most [`MESSAGE_BYTES_MAX`] bytes.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, DecodeError> {
    decode_within(bytes, MESSAGE_BYTES_MAX)
}

/// Decodes exactly one message of at most `bytes_max` bytes.
pub fn decode_within<'b, T: Decode<'b, ()>>(bytes: &'b [u8], bytes_max: usize) -> Result<T, DecodeError> {
    if bytes.len() > bytes_max {
        return Err(DecodeError::TooLong { bytes: bytes.len(), max: bytes_max });
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode()?;
    match bytes.len() - decoder.position() {
        0 => Ok(message),
        rest => Err(DecodeError::Trailing(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Older {
        #[n(0)]
        number: u32,
    }

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Newer {
        #[n(0)]
        number: u32,
        #[n(7)]
        extra: Option<Vec<String>>,
    }

    #[test]
    fn an_older_reader_skips_a_newer_field_and_a_newer_one_misses_it() {
        let newer = Newer { number: 4, extra: Some(vec!["x".into()]) };
        assert_eq!(decode::<Older>(&encode(&newer)).expect("skips"), Older { number: 4 });
        assert_eq!(
            decode::<Newer>(&encode(&Older { number: 4 })).expect("misses"),
            Newer { number: 4, extra: None }
        );
    }

    #[test]
    fn bytes_beyond_the_end_or_the_bound_are_refused() {
        let mut bytes = encode(&Older { number: 4 }).to_vec();
        assert!(matches!(decode_within::<Older>(&bytes, 1), Err(DecodeError::TooLong { max: 1, .. })));
        bytes.push(0);
        assert!(matches!(decode::<Older>(&bytes), Err(DecodeError::Trailing(1))));
        assert!(matches!(decode::<Older>(&[]), Err(DecodeError::Malformed(_))));
    }
}
