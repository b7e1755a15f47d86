//! Messages in files: records one after another, each complete in itself, so that files can be appended to
//! and joined.
//!
//! ```text
//!  0 … 3   "UMSG"
//!  4       version of this layout, 1        5 … 7  zero
//!  8 … 11  length of the message, little-endian
//! 12 … 15  CRC-32 of bytes 4 … 11 and the message
//! 16 …     the message
//! ```

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::{DecodeError, EncodeError, MESSAGE_BYTES_MAX, Message};
use crate::crc::crc32;

const MAGIC: [u8; 4] = *b"UMSG";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;

/// Why a message was not written. The file may hold the beginning of a record, which readers report as
/// [`ReadError::Torn`].
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The message cannot be encoded; nothing was written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The file does not take it.
    #[error("cannot write a message: {0}")]
    Io(#[from] io::Error),
}

/// Why a message was not read. The file's position is somewhere in the bad record: read no further, or begin
/// again elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file ends within a record, as after a crash while it was written. What precedes it is good.
    #[error("the last record is cut off")]
    Torn,
    /// Something else than a record.
    #[error("not a file of messages")]
    NotMessages,
    /// A layout of a later program.
    #[error("a record of layout {0}; this program reads layout {VERSION}")]
    UnknownVersion(u8),
    /// The checksum does not fit.
    #[error("a damaged record")]
    Damaged,
    /// The record was written like this, but it is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The file cannot be read.
    #[error("cannot read a message: {0}")]
    Io(#[from] io::Error),
}

impl Message {
    /// Writes the message as one record. Flushing and syncing are the caller's.
    pub fn write_to(&self, mut to: impl Write) -> Result<(), WriteError> {
        let body = self.encode()?;
        let length = u32::try_from(body.len()).expect("a message is bounded far below 4 GiB");
        let mut header = [0; HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[8..12].copy_from_slice(&length.to_le_bytes());
        let sum = crc32(&[&header[4..12], &body]);
        header[12..16].copy_from_slice(&sum.to_le_bytes());
        to.write_all(&header)?;
        to.write_all(&body)?;
        Ok(())
    }

    /// Reads one record; `None` at the end of the file. The message's length is believed only as far as the
    /// file goes. Reads in small pieces: give it a buffered reader.
    pub fn read_from(mut from: impl Read) -> Result<Option<Message>, ReadError> {
        let mut header = [0; HEADER_BYTES];
        match read_all(&mut from, &mut header)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            short => {
                return Err(if MAGIC.starts_with(&header[..short.min(4)]) {
                    ReadError::Torn
                } else {
                    ReadError::NotMessages
                });
            }
        }
        let length = parse_header(&header)?;
        let mut body = Vec::new();
        from.take(length as u64).read_to_end(&mut body)?;
        if body.len() < length {
            return Err(ReadError::Torn);
        }
        if crc32(&[&header[4..12], &body]).to_le_bytes() != header[12..16] {
            return Err(ReadError::Damaged);
        }
        Ok(Some(Message::decode(&Bytes::from(body))?))
    }
}

/// Every message of a file; after an error there are no more.
pub fn messages(mut from: impl Read) -> impl Iterator<Item = Result<Message, ReadError>> {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let result = Message::read_from(&mut from).transpose();
        ended = !matches!(result, Some(Ok(_)));
        result
    })
}

/// The length of the message that the header announces.
fn parse_header(header: &[u8; HEADER_BYTES]) -> Result<usize, ReadError> {
    if header[0..4] != MAGIC {
        return Err(ReadError::NotMessages);
    }
    if header[4] != VERSION {
        return Err(ReadError::UnknownVersion(header[4]));
    }
    let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    match length > MESSAGE_BYTES_MAX {
        true => Err(ReadError::Damaged),
        false => Ok(length),
    }
}

/// Fills the buffer as far as the file goes and says how far.
fn read_all(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(count: u32) -> Vec<u8> {
        let mut file = Vec::new();
        for number in 0..count {
            Message::new().with("number", number).write_to(&mut file).expect("memory");
        }
        file
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_may_be_joined() {
        let mut file = written(3);
        file.extend(written(2));
        let numbers: Vec<u32> =
            messages(&file[..]).map(|m| m.expect("good").get("number").expect("there")).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_torn_tail_is_told_from_the_end_wherever_it_is_cut() {
        let file = written(2);
        let first = written(1).len();
        for end in 0..=file.len() {
            let mut read = messages(&file[..end]);
            let whole = usize::from(end >= first) + usize::from(end == file.len());
            for _ in 0..whole {
                assert!(matches!(read.next(), Some(Ok(_))), "cut at {end}");
            }
            if end == 0 || end == first || end == file.len() {
                assert!(read.next().is_none(), "cut at {end}");
            } else {
                assert!(matches!(read.next(), Some(Err(ReadError::Torn))), "cut at {end}");
                assert!(read.next().is_none(), "nothing after an error");
            }
        }
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let good = written(1);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let error = Message::read_from(&bad[..]).expect_err("a changed byte");
            match at {
                0..4 => assert!(matches!(error, ReadError::NotMessages)),
                4 => assert!(matches!(error, ReadError::UnknownVersion(_))),
                8..12 => assert!(matches!(error, ReadError::Torn | ReadError::Damaged)),
                _ => assert!(matches!(error, ReadError::Damaged), "byte {at}: {error}"),
            }
        }
    }

    #[test]
    fn an_announced_length_is_not_believed() {
        let mut huge = written(1);
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Message::read_from(&huge[..]), Err(ReadError::Damaged)));
    }
}
